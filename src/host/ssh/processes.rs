//! Processes of another host.

use super::remote::{Remote, SOON};
use crate::{
    error::Result,
    host::{
        Attempt,
        process::{Holding, Process},
    },
    model::text::shell::word,
};
use std::path::PathBuf;

impl Remote {
    /// The processes of that host that may be consumers, by their arguments or their program.
    pub(in crate::host) async fn candidates(&self) -> Result<Vec<Process>> {
        let answer = self.session.ask("consumers", SOON).await?;
        let mut processes: Vec<Process> = Vec::new();
        for item in &answer.items {
            if item.kind == "process" {
                processes.extend(item.of.parse().ok().map(|pid| Process::new(pid, item.body.clone())));
                continue;
            }
            let Some(process) = processes.last_mut() else { continue };
            match item.kind.as_str() {
                "exe" => {
                    let exe = PathBuf::from(item.text().trim_end_matches('\n'));
                    process.exe = Some(exe).filter(|exe| exe.is_absolute());
                }
                "status" => process.status = item.text(),
                "stat" => process.stat = item.text(),
                "same-network" => process.shares_network = true,
                _ => {}
            }
        }
        Ok(processes)
    }

    /// Which of these processes reach the main configuration by these paths.
    pub(in crate::host) async fn holding(&self, named: &[(i32, PathBuf)]) -> Result<Vec<Option<Holding>>> {
        let asked: String =
            named.iter().filter_map(|(pid, path)| Some(format!("holds {pid} {}\n", word(path.to_str()?)))).collect();
        let answer = self.session.ask(&asked, SOON).await?;
        let says =
            |kind: &str, pid: i32| answer.items.iter().any(|item| item.kind == kind && item.of == pid.to_string());
        let holding = |pid: i32| says("holds", pid).then(|| Holding { shares_mounts: says("shares", pid) });
        Ok(named.iter().map(|(pid, _)| holding(*pid)).collect())
    }

    /// Sends SIGHUP; absent where the process has ended.
    pub(in crate::host) async fn hang_up(&self, pid: i32, started: u64) -> Result<Attempt<()>> {
        let answer = self.session.ask(&format!("hang_up {pid} {started}"), SOON).await?;
        Ok(match answer.first("refused") {
            Some(refused) => Attempt::Refused(refused.complaint()),
            None if answer.has("gone") => Attempt::Absent,
            None => Attempt::Done(()),
        })
    }
}
