//! What another host undoes by itself, when the connection to it is lost.

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

    /// There is nothing any more that a lost connection would take back.
    pub(in crate::host) async fn finished(&self) -> Result<()> {
        self.session.ask("finished\nagain() { :; }", SOON).await.map(drop)
    }

    /// What a lost connection has done there after everything is undone.
    pub(in crate::host) async fn after_a_cut(&self, reload: &AfterCut<'_>) -> Result<()> {
        let text = match reload {
            AfterCut::Nothing => String::new(),
            AfterCut::Post(url) => self.request("POST", url, None),
            AfterCut::HangUp(processes) => {
                processes.iter().map(|(pid, started)| format!("hang_up {pid} {started}\n")).collect()
            }
            AfterCut::Command { command, limit } => reload_command(command, *limit) + "reload_command",
        };
        self.session.ask(&format!("again() {{\n:\n{text}\n}}"), SOON).await.map(drop)
    }
}
