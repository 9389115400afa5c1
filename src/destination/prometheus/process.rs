//! The processes of this host that hold a configuration: what they are, as whom they run and where they listen.
//!
//! All facts come from /proc; without /proc no process is found. A command line is free text, so it is a claim: its words
//! say what a process reads and where it listens, and the kernel says which program it is, as whom it runs, what started
//! it, and whose socket listens there.

pub use super::command_line::ConsumerKind;
use super::{
    command_line::{CommandLine, base_url},
    sockets::{Listener, accepting},
    starter::Starter,
};
use crate::{
    error::Result,
    host::{
        self, Host,
        process::{Candidates, Holding, Process, started_in},
    },
    model::store::layout,
    render::main_config::MainConfig,
};
use http::Uri;
use std::{
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// A process that holds a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusProcess {
    pub pid: i32,
    /// The effective ones.
    pub uid: u32,
    pub gid: u32,
    /// The supplementary ones.
    pub groups: Vec<u32>,
    pub consumer: ConsumerKind,
    /// Its program, by the path that the process has it under.
    pub exe: Option<PathBuf>,
    /// The base URL of its API, without a slash at the end, as this host reaches it. `None` where the command line does
    /// not tell, or it listens in a network namespace of its own. What a file of it wants of clients is not known here.
    pub api: Option<String>,
    /// The base URL at which a collector shows its own metrics, by the same rules.
    pub own_metrics: Option<String>,
    /// What its command line wants of clients, which this program cannot give, as a sentence about it goes on.
    pub guard: Option<&'static str>,
    /// How often it looks for changes of its configuration by itself, if it does.
    pub auto_reload: Option<Duration>,
    /// Flags of the process that change how its configuration is read, as the program that validates it takes them.
    pub check_flags: Vec<String>,
    /// The configuration, as this host names it.
    pub config: PathBuf,
    /// Whether that absolute path names the same file for the process: not in a container that has it elsewhere.
    pub shares_mounts: bool,
    /// The path of its configuration on its command line.
    pub named: PathBuf,
    /// Whether it has our folder beside that path.
    pub has_folder: bool,
    /// Whether it has the file mounted by itself.
    pub mounts_file: bool,
    /// In clock ticks since the host's start: with the pid it names one process for ever.
    pub started: u64,
    /// Why the kernel does not show that an administrator started it; none where it does.
    pub doubt: Option<Doubt>,
}

impl PrometheusProcess {
    /// The folder of its configuration, as the process names it.
    pub fn folder(&self) -> &Path {
        folder_of(if self.shares_mounts { &self.config } else { &self.named })
    }

    pub fn is_collector(&self) -> bool {
        self.consumer == ConsumerKind::Collector
    }

    /// A collector that compares its configuration without the files that it names (the gate of the collector's
    /// `service/metadata.yaml`).
    pub fn reloads_no_files(&self) -> bool {
        let gates = self.check_flags.iter().filter_map(|flag| flag.strip_prefix("--feature-gates="));
        gates.flat_map(|gates| gates.split(',')).any(|gate| gate.trim_start_matches('+') == "service.partialReload")
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Why a process may be any user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It has been given rights of another user than its own, as by a program that belongs to root.
    ChangesUser,
    StartedBy(Starter),
    /// Others than root and its own user may replace the program.
    ProgramOfOthers,
    /// It runs a program that is no part of its container.
    ProgramFromOutside,
}

/// As a sentence about the process goes on.
impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangesUser => f.write_str("has the rights of another user than its own"),
            Self::StartedBy(Starter::Session) => f.write_str("was started by a user, in a session or a user's service"),
            Self::StartedBy(Starter::Unit(unit)) => write!(f, "was started by {unit}"),
            Self::StartedBy(_) => f.write_str("was not started by a system service of its name or a container"),
            Self::ProgramOfOthers => f.write_str("runs a program that another user may replace"),
            Self::ProgramFromOutside => f.write_str("runs a program that is not of its container's image"),
        }
    }
}

/// The processes of a host whose main configuration is this very file: the same device and inode, looked up with the
/// root and the working folder of the process, so that a container counts that has the folder bind-mounted. Processes
/// that may not be looked into are skipped.
///
/// A program is told by the name of its file. Of any other name, it is the one that answers at `url`, the address that an
/// administrator has named: that socket is its own, by the kernel. `main` is the content of the file, which a collector
/// and no other program reads if it is a collector's.
pub async fn processes(
    host: &Host,
    candidates: Candidates,
    listeners: &[Listener],
    config: &Path,
    url: Option<&str>,
    main: &MainConfig,
) -> Result<Vec<PrometheusProcess>> {
    let own = host.ids().uid;
    let said = |process: &Process| match command_line(process) {
        named if named.is_empty() && url.is_some() => CommandLine::by_flags(&process.cmdline),
        named => named,
    };
    let reads_such = |said: &CommandLine| (said.consumer == ConsumerKind::Collector) == main.is_collectors();
    let parsed = candidates.processes.iter().flat_map(|process| {
        said(process).into_iter().filter(reads_such).map(move |said| (said, process)).collect::<Vec<_>>()
    });
    let parsed: Vec<(CommandLine, &Process)> = parsed.collect();
    let named: Vec<(i32, PathBuf)> = parsed.iter().map(|(said, process)| (process.pid, said.config.clone())).collect();
    let holding = host.holding(&named, config).await?;
    let held = parsed.into_iter().zip(holding);
    let claim = |(mut said, process): (CommandLine, &Process), holding: Option<Holding>| {
        let holding = holding?;
        if said.consumer == ConsumerKind::Collector {
            let folder = folder_of(if holding.shares_mounts { config } else { &said.config });
            let receiver = main.receiver_of(folder, &layout::FRAGMENTS.replace('*', "x"));
            said.api = receiver.and_then(|receiver| base_url(receiver.api.as_deref()?.as_bytes(), ""));
            said.own_metrics = main.collector_metrics().and_then(|address| base_url(address.as_bytes(), ""));
        }
        let answers = |url: &str| process.shares_network && owns(url, listeners, &holding);
        if !said.is_named_so && !url.is_some_and(answers) {
            return None;
        }
        holder(own, said, process, config, listeners, &holding)
    };
    let mut found: Vec<PrometheusProcess> = held.filter_map(|(said, holding)| claim(said, holding)).collect();
    // A collector may name one file twice.
    found.dedup_by_key(|process| process.pid);
    Ok(found)
}

/// A main configuration of this host that a running program names.
pub struct Configuration {
    pub path: PathBuf,
    /// `Prometheus (process 812)`
    pub program: String,
}

/// Those of this host, for a person to choose from: a destination believes more than the command line when it is opened.
pub async fn configurations() -> Vec<Configuration> {
    let mut found: Vec<Configuration> = Vec::new();
    for process in host::processes_here().await {
        for said in command_line(&process).into_iter().filter(|said| said.is_named_so) {
            let path = host::path_here(process.pid, &said.config).await;
            if let Some(path) = path.filter(|path| found.iter().all(|known| known.path != *path)) {
                let program = format!("{} (process {})", said.consumer.name(), process.pid);
                found.push(Configuration { path, program });
            }
        }
    }
    found
}

fn command_line(process: &Process) -> Vec<CommandLine> {
    CommandLine::parse(&process.cmdline, &process.environ, process.exe.clone().map(program).as_deref())
}

fn holder(
    own: u32,
    said: CommandLine,
    process: &Process,
    config: &Path,
    listeners: &[Listener],
    holding: &Holding,
) -> Option<PrometheusProcess> {
    let ids = Ids::parse(&process.status)?;
    // Otherwise some of this is about another process, which has got the number.
    let started = process.started().filter(|started| started_in(&holding.stat) == Some(*started))?;
    let listens = |api: &String| process.shares_network && is_heard(api, listeners, holding, ids.uid);
    Some(PrometheusProcess {
        pid: process.pid,
        consumer: said.consumer,
        started,
        api: said.api.filter(&listens),
        own_metrics: said.own_metrics.filter(&listens),
        auto_reload: said.auto_reload,
        guard: said.guard,
        check_flags: said.check_flags,
        config: config.to_owned(),
        shares_mounts: holding.shares_mounts,
        named: said.config,
        has_folder: holding.has_folder,
        mounts_file: holding.mounts_file,
        doubt: doubt(own, &ids, holding),
        uid: ids.uid,
        gid: ids.gid,
        groups: ids.groups,
        exe: process.exe.clone().map(program),
    })
}

/// Whether all sockets that may answer at this address are the process' own.
fn is_heard(api: &str, listeners: &[Listener], holding: &Holding, uid: u32) -> bool {
    all_accepting(api, listeners, |listener| match &holding.sockets {
        Some(sockets) => sockets.contains(&listener.inode),
        None => listener.uid == uid,
    })
}

/// The same where nothing else tells what the process is: sockets that cannot be looked at are none of its own.
fn owns(url: &str, listeners: &[Listener], holding: &Holding) -> bool {
    let sockets = holding.sockets.as_ref();
    all_accepting(url, listeners, |listener| sockets.is_some_and(|sockets| sockets.contains(&listener.inode)))
}

pub(super) fn all_accepting(url: &str, listeners: &[Listener], is_own: impl Fn(&Listener) -> bool) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    let default = if url.scheme_str() == Some("https") { 443 } else { 80 };
    let Some(host) = url.host() else { return false };
    let mut listeners = accepting(listeners, host, url.port_u16().unwrap_or(default)).peekable();
    listeners.peek().is_some() && listeners.all(is_own)
}

/// Root and the user of the command may read what is written anyway, so their processes need no proof.
fn doubt(own: u32, ids: &Ids, holding: &Holding) -> Option<Doubt> {
    if !ids.is_one_user {
        return Some(Doubt::ChangesUser);
    }
    if ids.uid == 0 || ids.uid == own {
        return None;
    }
    let only = |users: &[u32]| {
        let writers = holding.program_writers.as_ref();
        writers.is_some_and(|writers| writers.iter().all(|uid| *uid == own || users.contains(uid)))
    };
    match Starter::of(&holding.cgroup) {
        // The unit decides whose the process is: its program may be that user's.
        Starter::Service => (!only(&[0, ids.uid])).then_some(Doubt::ProgramOfOthers),
        Starter::Container if !holding.runs_own_program => Some(Doubt::ProgramFromOutside),
        Starter::Container => (!only(&[0])).then_some(Doubt::ProgramOfOthers),
        other => Some(Doubt::StartedBy(other)),
    }
}

/// Linux marks a program whose file was replaced.
fn program(exe: PathBuf) -> PathBuf {
    match exe.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => PathBuf::from(OsStr::from_bytes(path)),
        None => exe,
    }
}

/// As whom a process runs.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Whether it has no rights but those of this user: a program that belongs to root and has the set-user-ID bit, and that
    /// any user may start, has others.
    is_one_user: bool,
}

impl Ids {
    /// From /proc/PID/status, where `Uid:` and `Gid:` have the real, effective, saved and file system's one, see proc(5).
    fn parse(status: &str) -> Option<Self> {
        let numbers = |key: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        let [real, uid, saved, files] = numbers("Uid:")?[..] else { return None };
        Some(Self {
            uid,
            gid: *numbers("Gid:")?.get(1)?,
            groups: numbers("Groups:").unwrap_or_default(),
            is_one_user: [real, saved, files] == [uid; 3],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::sockets::listeners;
    use super::*;
    use crate::hostile;
    use std::collections::BTreeSet;

    #[test]
    fn effective_ids_count() {
        let status =
            "Name:\tprometheus\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nVmPeak:\t1 kB\n";
        assert_eq!(Ids::parse(status), Some(Ids { uid: 2, gid: 6, groups: vec![9, 10], is_one_user: false }));
        let alone = "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t \n";
        assert_eq!(Ids::parse(alone).map(|ids| ids.groups), Some(vec![]));
        let one = Ids::parse("Uid:\t2\t2\t2\t2\nGid:\t5\t6\t7\t8\n");
        assert_eq!(one, Some(Ids { uid: 2, gid: 6, groups: vec![], is_one_user: true }));
        for broken in ["", "Uid:\t1\nGid:\t1\t1\t1\t1", "Uid:\ta\tb\nGid:\t1\t1"] {
            assert_eq!(Ids::parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn replaced_program_keeps_its_path() {
        assert_eq!(program("/bin/prometheus (deleted)".into()), PathBuf::from("/bin/prometheus"));
        assert_eq!(program("/bin/prometheus".into()), PathBuf::from("/bin/prometheus"));
    }

    #[tokio::test]
    async fn missing_configuration_is_held_by_no_process() {
        let host = Host::Local { root: "/nowhere".into() };
        let candidates = host.candidates().await.expect("a look");
        let main = MainConfig::read("").expect("a configuration");
        let found = processes(&host, candidates, &[], Path::new("/nowhere/prometheus.yml"), None, &main);
        assert_eq!(found.await, Ok(Vec::new()));
    }

    #[test]
    fn administrator_must_have_started_the_process_of_another_user() {
        const CONTAINER: &str =
            "0::/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n";
        let service = "0::/system.slice/prometheus.service\n";
        let cron = "0::/system.slice/cron.service\n";
        let by_cron = Some(Doubt::StartedBy(Starter::Unit("cron.service".into())));
        let unknown = Some(Doubt::StartedBy(Starter::Unknown));
        for (what, uid, cgroup, writers, runs_own_program, expected) in [
            ("root", 0, "", None, false, None),
            ("the user of the command", 7, "", None, false, None),
            ("a service", 101, service, Some(vec![0]), false, None),
            ("a service with a program of its user", 101, service, Some(vec![0, 101]), false, None),
            ("a service with a program of ours", 101, service, Some(vec![0, 7]), false, None),
            ("a service with another's", 101, service, Some(vec![0, 102]), false, Some(Doubt::ProgramOfOthers)),
            ("a service with everybody's", 101, service, None, false, Some(Doubt::ProgramOfOthers)),
            ("a container", 101, CONTAINER, Some(vec![0]), true, None),
            ("a program of the host there", 101, CONTAINER, Some(vec![0]), false, Some(Doubt::ProgramFromOutside)),
            ("a program written there", 101, CONTAINER, Some(vec![0, 101]), true, Some(Doubt::ProgramOfOthers)),
            ("the system's program by cron", 101, cron, Some(vec![0]), true, by_cron),
            ("the system's program", 101, "0::/\n", Some(vec![0]), true, unknown.clone()),
            ("nothing known", 101, "", None, false, unknown),
        ] {
            let ids = Ids { uid, gid: 1, groups: vec![], is_one_user: true };
            let program_writers = writers.map(BTreeSet::from_iter);
            let cgroup = cgroup.to_owned();
            let holding = Holding { cgroup, program_writers, runs_own_program, ..Holding::default() };
            assert_eq!(doubt(7, &ids, &holding), expected, "{what}");
            let changed = Ids { is_one_user: false, ..ids };
            assert_eq!(doubt(7, &changed, &holding), Some(Doubt::ChangesUser), "{what}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn api_is_heard_only_at_sockets_of_the_process() {
        let line =
            |address: &str, uid: u32, inode: u64| format!("0: {address}:2382 0:0 0A 0:0 0:0 0 {uid} 0 {inode}\n");
        let (loopback, all) = (line("0100007F", 101, 41), line("00000000", 102, 42));
        for (what, table, sockets, expected) in [
            ("its own", loopback.clone(), Some(vec![40, 41]), true),
            ("another's", loopback.clone(), Some(vec![40]), false),
            ("its own and another's", [&*loopback, &all].concat(), Some(vec![41]), false),
            ("none", String::new(), Some(vec![41]), false),
            ("of its user", loopback, None, true),
            ("of another user", all, None, false),
        ] {
            let holding = Holding { sockets: sockets.map(BTreeSet::from_iter), ..Holding::default() };
            let listeners = listeners(&table);
            assert_eq!(is_heard("http://127.0.0.1:9090/x", &listeners, &holding, 101), expected, "{what}");
            // By its sockets alone: those of its user may be another program's.
            let is_known = holding.sockets.is_some();
            assert_eq!(owns("http://127.0.0.1:9090/x", &listeners, &holding), expected && is_known, "{what}");
            assert!(!owns("http://127.0.0.1", &listeners, &holding), "{what}");
        }
    }

    #[test]
    fn hostile_processes_are_survived() {
        let status = "Name:\tprometheus\nUid:\t101\t101\t101\t101\nGid:\t102\t102\t102\t102\nGroups:\t7 8 \n";
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 9 0 8123 1 2";
        hostile::texts(&[status, stat], |text| {
            let _ = (Ids::parse(text), started_in(text));
        });
    }
}
