//! What the kernel says of a process that may read a configuration of Prometheus, on whichever host.

use super::remembered::Traces;
use std::{collections::BTreeSet, path::PathBuf};

/// As much of a command line as is read: a stranger's may be megabytes long.
pub(super) const COMMAND_LINE: u64 = 65_536;

/// The ends of the names of the environment variables that are read of a process: flags of vmagent that say what it reads and
/// where it answers. No other variable is kept, because others hold secrets.
pub(super) const VARIABLES: [&str; 7] = [
    "promscrape_config",
    "promscrape_configCheckInterval",
    "promscrape_config_strictParse",
    "httpListenAddr",
    "http_pathPrefix",
    "httpAuth_username",
    "tls",
];

/// What /proc says of a process.
#[derive(Debug)]
pub struct Process {
    pub pid: i32,
    /// As /proc has it: every word ends with a zero. The process chooses it.
    pub cmdline: Vec<u8>,
    /// Those of its environment variables that [`VARIABLES`] names, as `NAME=VALUE`. Empty unless its command line has it
    /// read them.
    pub environ: Vec<Vec<u8>>,
    pub exe: Option<PathBuf>,
    pub status: String,
    pub stat: String,
    /// With the process that looks.
    pub shares_network: bool,
}

/// What a host has to tell the readers of a destination by.
#[derive(Default, Debug)]
pub struct Candidates {
    /// Those that may be consumers.
    pub processes: Vec<Process>,
    /// None where other users may write to the folder of the main configuration.
    pub traces: Option<Traces>,
    /// The listening sockets of the network of the process that looks: lines of /proc/net/tcp and tcp6, see proc(5). None
    /// where there is no such file.
    pub listening: Option<String>,
}

/// A process that has our main configuration, and where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each for itself")]
pub struct Holding {
    /// Whether the absolute path names the same file for the process.
    pub shares_mounts: bool,
    /// Whether it has our folder, or its `prom-federate`, beside the path that it names.
    pub has_folder: bool,
    /// Whether the file is mounted by itself for the process, so that another file in its place would not reach it.
    pub mounts_file: bool,
    /// /proc/PID/cgroup, see cgroups(7).
    pub cgroup: String,
    /// The users who may replace its program: the owners of the file and of each folder on the way. None where still
    /// others may, or it cannot be told.
    pub program_writers: Option<BTreeSet<u32>>,
    /// Whether its program lies in the file system that is its root, and not in one that is mounted there.
    pub runs_own_program: bool,
    /// The inodes of its sockets; None where they cannot be looked at.
    pub sockets: Option<BTreeSet<u64>>,
    /// /proc/PID/stat after all of this: the number may have become another process' meanwhile.
    pub stat: String,
}

impl Process {
    pub(super) fn new(pid: i32, cmdline: Vec<u8>) -> Self {
        Self {
            pid,
            cmdline,
            environ: Vec::new(),
            exe: None,
            status: String::new(),
            stat: String::new(),
            shares_network: false,
        }
    }

    /// When it started, in clock ticks since the host's start.
    pub fn started(&self) -> Option<u64> {
        started_in(&self.stat)
    }
}

/// Field 22 of /proc/PID/stat, see proc(5). The second field, its name, may hold anything.
pub fn started_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(22 - 3)?.parse().ok()
}
