//! The processes of this host, by /proc; where there is none, none is found.

use crate::host::{
    Attempt,
    process::{Holding, Process, started_in},
};
use std::{
    fs, io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// In the arguments or the program of each that may be a consumer.
const NAMES: [&str; 4] = ["prometheus", "vmagent", "victoria-metrics", "vmsingle"];

/// Those that may be consumers. Processes that may not be looked into are skipped.
pub(in crate::host) fn candidates() -> Vec<Process> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut pids: Vec<i32> = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid > 0)
        .collect();
    pids.sort_unstable();
    pids.into_iter().filter_map(candidate).collect()
}

fn candidate(pid: i32) -> Option<Process> {
    let folder = folder_of(pid);
    let mut process = Process::new(pid, fs::read(folder.join("cmdline")).ok()?);
    process.exe = fs::read_link(folder.join("exe")).ok();
    let exe = process.exe.as_ref().map(|exe| exe.as_os_str().as_bytes()).unwrap_or_default();
    let is_named = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).to_lowercase();
        NAMES.iter().any(|name| text.contains(name))
    };
    if !is_named(&process.cmdline) && !is_named(exe) {
        return None;
    }
    process.status = fs::read_to_string(folder.join("status")).ok()?;
    process.stat = fs::read_to_string(folder.join("stat")).ok()?;
    process.shares_network = fs::read_link(folder.join("ns/net")).ok() == fs::read_link("/proc/self/ns/net").ok();
    Some(process)
}

/// Whether a process means our main configuration by a path.
pub(in crate::host) fn holding(pid: i32, path: &Path, config: &Path) -> Option<Holding> {
    let config = fs::canonicalize(config).ok()?;
    let id = file_id(&fs::metadata(&config).ok()?);
    let process = folder_of(pid);
    names(&process, path, id).then(|| Holding { shares_mounts: in_root(&process, &config) == Some(id) })
}

/// Sends SIGHUP; absent where the process has ended: its number may be another's by now, whom SIGHUP ends.
pub(in crate::host) fn hang_up(pid: i32, started: u64) -> Attempt<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let now = fs::read_to_string(folder_of(pid).join("stat")).ok().and_then(|stat| started_in(&stat));
    match Pid::from_raw(pid).filter(|_| now == Some(started)) {
        None => Attempt::Absent,
        Some(pid) => match kill_process(pid, Signal::HUP) {
            Ok(()) => Attempt::Done(()),
            Err(error) => Attempt::Refused(io::Error::from(error).to_string()),
        },
    }
}

fn folder_of(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

type FileId = (u64, u64);

fn file_id(metadata: &fs::Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// Whether a path that the process names is this file.
fn names(process: &Path, path: &Path, id: FileId) -> bool {
    if path.is_absolute() {
        return in_root(process, path) == Some(id);
    }
    // The link leads to the folder itself, whatever it is called in which namespace. An absolute symbolic link on the
    // way is the exception: it is of the root of the process.
    let cwd = process.join("cwd");
    fs::metadata(cwd.join(path)).is_ok_and(|metadata| file_id(&metadata) == id)
        || fs::read_link(cwd).is_ok_and(|cwd| in_root(process, &cwd.join(path)) == Some(id))
}

/// The file that an absolute path names for the process: its root is the root of the symbolic links on the way too.
fn in_root(process: &Path, path: &Path) -> Option<FileId> {
    let root = process.join("root");
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
        use std::{fs::File, os::unix::fs::OpenOptionsExt};
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(&root).ok()?;
        match openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Ok(file) => return File::from(file).metadata().ok().as_ref().map(file_id),
            // Linux before 5.6, or a filter of system calls that does not know it.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
            Err(_) => return None,
        }
    }
    fs::metadata(root.join(path.strip_prefix("/").ok()?)).ok().as_ref().map(file_id)
}
