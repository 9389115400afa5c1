//! Processes of another host.

use super::{
    answer::{Answer, Item},
    ownership::owned,
    remote::{Remote, SOON},
};
use crate::{
    error::Result,
    host::{
        Attempt,
        process::{Candidates, Holding, Process},
        remembered::Traces,
    },
    model::text::shell::word,
};
use std::{collections::BTreeSet, path::PathBuf, str::FromStr};

impl Remote {
    /// The processes of that host that may be consumers, by their arguments or their program, and what earlier deliveries
    /// left.
    pub(in crate::host) async fn candidates(&self) -> Result<Candidates> {
        let answer = self.session.ask("traces\nlistening\nconsumers", SOON).await?;
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
                "variables" => process.environ = item.body.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect(),
                "status" => process.status = item.text(),
                "stat" => process.stat = item.text(),
                "same-network" => process.shares_network = true,
                _ => {}
            }
        }
        Ok(Candidates { processes, traces: traces(&answer), listening: answer.first("listening").map(Item::text) })
    }

    /// Which of these processes reach the main configuration by these paths.
    pub(in crate::host) async fn holding(&self, named: &[(i32, PathBuf)]) -> Result<Vec<Option<Holding>>> {
        let mut found = vec![None; named.len()];
        let mut left: Vec<usize> = (0..named.len()).collect();
        // Answers are told apart by the process, so each process is asked about one path at a time.
        while !left.is_empty() {
            let mut pids = BTreeSet::new();
            let (now, later): (Vec<usize>, Vec<usize>) = left.into_iter().partition(|at| pids.insert(named[*at].0));
            let asked = now.iter().map(|at| &named[*at]);
            let asked: String =
                asked.filter_map(|(pid, path)| Some(format!("holds {pid} {}\n", word(path.to_str()?)))).collect();
            let answer = self.session.ask(&asked, SOON).await?;
            for at in now {
                found[at] = holding(&answer, named[at].0);
            }
            left = later;
        }
        Ok(found)
    }

    /// The listening sockets of its network; none where it does not tell.
    pub(in crate::host) async fn listening(&self) -> Result<Option<String>> {
        Ok(self.session.ask("listening", SOON).await?.first("listening").map(Item::text))
    }

    pub(in crate::host) async fn build_information(&self, pid: i32, started: u64) -> Result<Option<String>> {
        let answer = self.session.ask(&format!("build_information {pid} {started}"), SOON).await?;
        Ok(answer.first("build-information").map(Item::text))
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

/// Each item is about one process.
fn holding(answer: &Answer, pid: i32) -> Option<Holding> {
    let pid = pid.to_string();
    let find = |kind: &str| answer.items.iter().find(|item| item.kind == kind && item.of == pid);
    let text = |kind: &str| find(kind).map(Item::text).unwrap_or_default();
    find("holds")?;
    Some(Holding {
        shares_mounts: find("shares").is_some(),
        has_folder: find("has-folder").is_some(),
        mounts_file: find("mounts-file").is_some(),
        cgroup: text("cgroup"),
        program_writers: find("writers").and_then(|item| numbers(&item.text())),
        runs_own_program: find("own-program").is_some(),
        sockets: find("sockets").and_then(|item| numbers(&item.text())),
        stat: text("again"),
    })
}

/// All or none of them.
fn numbers<T: FromStr + Ord>(text: &str) -> Option<BTreeSet<T>> {
    text.split_whitespace().map(|number| number.parse().ok()).collect()
}

fn traces(answer: &Answer) -> Option<Traces> {
    answer.first("traces")?;
    let owned = |kind: &str| answer.first(kind).and_then(|item| owned(&item.text()));
    let note = answer.first("note").map(Item::text);
    Some(Traces { folder: owned("our-folder"), note: owned("note-file").zip(note), token: owned("token-file") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::remembered::Owned;
    use crate::hostile;

    fn answer(items: &[(&str, &str, &str)]) -> Answer {
        let item = |(kind, of, body): &(&str, &str, &str)| Item {
            kind: (*kind).into(),
            of: (*of).into(),
            body: (*body).into(),
        };
        Answer { items: items.iter().map(item).collect(), succeeded: true }
    }

    #[test]
    fn facts_belong_to_one_process() {
        let answer = answer(&[
            ("holds", "7", ""),
            ("shares", "7", ""),
            ("has-folder", "7", ""),
            ("cgroup", "7", "0::/system.slice/prometheus.service\n"),
            ("writers", "7", "0\n0\n101\n"),
            ("sockets", "7", "41\n42\n"),
            ("again", "7", "7 (prometheus) S"),
            ("holds", "8", ""),
            ("own-program", "8", ""),
            ("mounts-file", "8", ""),
            // It could not be told who may.
            ("writers", "8", "0\nx\n"),
            ("shares", "9", ""),
        ]);
        let of = |pid| holding(&answer, pid);
        let seven = of(7).expect("it holds");
        assert!(seven.shares_mounts && seven.has_folder && !seven.mounts_file && !seven.runs_own_program);
        assert_eq!(seven.cgroup, "0::/system.slice/prometheus.service\n");
        assert_eq!(seven.program_writers, Some(BTreeSet::from([0, 101])));
        assert_eq!(seven.sockets, Some(BTreeSet::from([41, 42])));
        assert_eq!(seven.stat, "7 (prometheus) S");
        let eight = Holding { mounts_file: true, runs_own_program: true, ..Holding::default() };
        assert_eq!((of(8), of(9)), (Some(eight), None));
    }

    #[test]
    fn traces_are_read_from_ls() {
        let found = traces(&answer(&[
            ("traces", "", ""),
            ("our-folder", "", "drwxr-x--- 3 0 101 4096 Nov 29 10:00 prom-federate\n"),
            ("note-file", "", "-rw-r----- 1 0 101 8 Nov 29 10:00 prom-federate/.owner\n"),
            ("note", "", "100:101\n"),
            ("token-file", "", "ls: cannot access"),
        ]));
        let folder = Some(Owned { mode: 0o750, uid: 0, gid: 101 });
        let note = Some((Owned { mode: 0o640, uid: 0, gid: 101 }, "100:101\n".to_owned()));
        assert_eq!(found, Some(Traces { folder, note, token: None }));
        assert_eq!(traces(&answer(&[("note", "", "0:0")])), None);
        assert_eq!(traces(&answer(&[("traces", "", ""), ("note", "", "0:0")])), Some(Traces::default()));
    }

    #[test]
    fn hostile_answers_are_survived() {
        hostile::texts(&["-rw-r----- 1 0 101 8 Nov 29 10:00 .owner\n", "0\n101\n", "100:101\n"], |body| {
            for kind in ["holds", "writers", "sockets", "our-folder", "note-file", "note"] {
                let answer = answer(&[("holds", "1", ""), ("traces", "", ""), (kind, "1", body)]);
                let _ = (holding(&answer, 1), traces(&answer).and_then(|traces| traces.remembered(7)));
            }
        });
    }
}
