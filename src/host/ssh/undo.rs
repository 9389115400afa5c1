//! The undo that another host runs by itself when the connection to it is lost.

use super::{
    programs::reload_command,
    remote::{Remote, SOON},
};
use crate::{error::Result, host::AfterCut};

impl Remote {
    /// Whether the host undoes unfinished changes by itself, because the connection is lost.
    pub(in crate::host) fn is_lost(&self) -> bool {
        self.session.is_lost()
    }

    /// See [`crate::host::Host::is_in_doubt`].
    pub(in crate::host) fn is_in_doubt(&self) -> bool {
        self.session.is_in_doubt()
    }

    /// See [`crate::host::Host::not_undone`].
    pub(in crate::host) async fn not_undone(&self) -> Vec<String> {
        self.session.not_undone().await
    }

    /// Has the host forget its undo, because everything is finished.
    pub(in crate::host) async fn finished(&self) -> Result<()> {
        self.session.ask("finished\nagain() { :; }", SOON).await?;
        self.session.note_unfinished(false);
        Ok(())
    }

    /// Tells the host how to reload Prometheus after its undo.
    pub(in crate::host) async fn after_a_cut(&self, reload: &AfterCut<'_>) -> Result<()> {
        let text = match reload {
            AfterCut::Nothing => String::new(),
            AfterCut::Post(url) => self.request("POST", url, Some(SOON)),
            AfterCut::HangUp(processes) => {
                processes.iter().map(|(pid, started)| format!("hang_up {pid} {started}\n")).collect()
            }
            AfterCut::Command { command, limit } => reload_command(command, *limit) + "reload_command",
        };
        self.session.ask(&format!("again() {{\n:\n{text}\n}}"), SOON).await.map(drop)
    }
}
