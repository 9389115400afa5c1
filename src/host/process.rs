//! What /proc says of a process that may read a configuration of Prometheus, on whichever host.

use std::path::PathBuf;

/// What /proc says of a process.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    /// As /proc has it: every word ends with a zero.
    pub cmdline: Vec<u8>,
    pub exe: Option<PathBuf>,
    pub status: String,
    pub stat: String,
    /// With the process that looks.
    pub shares_network: bool,
}

/// A process that has our main configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Whether the absolute path names the same file for the process.
    pub shares_mounts: bool,
}

impl Process {
    pub(super) fn new(pid: i32, cmdline: Vec<u8>) -> Self {
        Self { pid, cmdline, exe: None, status: String::new(), stat: String::new(), shares_network: false }
    }

    /// When it started, in clock ticks since the host's start.
    pub fn started(&self) -> Option<u64> {
        started_in(&self.stat)
    }
}

/// Field 22 of /proc/PID/stat, see proc(5). The second field, its name, may hold anything.
pub(super) fn started_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(22 - 3)?.parse().ok()
}
