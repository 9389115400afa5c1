//! The processes of this host, by /proc; where there is none, none is found.

use super::{build_information::build_information, mounts::mount_of, programs::writer_of, traces::traces};
use crate::{
    host::{
        Attempt,
        process::{COMMAND_LINE, Candidates, Holding, Process, VARIABLES, started_in},
    },
    model::store::layout,
};
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// In the arguments or the program of each that may be a consumer: names of programs, and flags of those that have another.
const NAMES: [&str; 10] = [
    "prometheus",
    "vmagent",
    "victoria-metrics",
    "vmsingle",
    "otelco",
    "otel-col",
    "opentelemetry-col",
    "--config",
    "-config.file",
    "-promscrape.config",
];

/// An environment is at most that large, see execve(2).
const ENVIRONMENT_SIZE: u64 = 2 << 20;

/// vmagent reads flags from its environment with this flag.
const ENVIRONMENT: &[u8] = b"envflag.enable";

/// Those that may be consumers. Processes that may not be looked into are skipped.
pub(in crate::host) fn candidates(root: &Path) -> Candidates {
    let mut pids: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid > 0)
        .collect();
    pids.sort_unstable();
    Candidates {
        processes: pids.into_iter().filter_map(candidate).collect(),
        traces: traces(root),
        listening: listening_sockets(),
    }
}

/// The absolute path by which this host has the file that a process has by `path`; none where it is another file.
pub(in crate::host) fn path_here(pid: i32, path: &Path) -> Option<PathBuf> {
    let here =
        if path.is_absolute() { path.to_owned() } else { fs::read_link(folder_of(pid).join("cwd")).ok()?.join(path) };
    holding(pid, path, &here).map(|_| here)
}

/// None where the system does not tell.
pub(in crate::host) fn listening_sockets() -> Option<String> {
    let tables: Vec<String> = ["tcp", "tcp6"].iter().filter_map(|name| listening(name)).collect();
    (!tables.is_empty()).then(|| tables.concat())
}

/// The environment that a process was started with, but for what the dynamic linker reads, see ld.so(8). None where it may
/// not be read.
pub(in crate::host) fn environment(pid: i32) -> Option<Vec<(OsString, OsString)>> {
    let mut environ = Vec::new();
    File::open(folder_of(pid).join("environ")).ok()?.take(ENVIRONMENT_SIZE).read_to_end(&mut environ).ok()?;
    let pair = |variable: &[u8]| {
        let at = variable.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (OsStr::from_bytes(&variable[..at]), OsStr::from_bytes(&variable[at + 1..]));
        let is_linkers = name.as_bytes().starts_with(b"LD_") || name == "GLIBC_TUNABLES";
        (!name.is_empty() && !is_linkers).then(|| (name.to_owned(), value.to_owned()))
    };
    Some(environ.split(|byte| *byte == 0).filter_map(pair).collect())
}

/// The listening sockets of a table of this network: state 0A.
fn listening(table: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/self/net/{table}")).ok()?;
    let listening = text.lines().filter(|line| line.split_whitespace().nth(3) == Some("0A"));
    Some(listening.map(|line| format!("{line}\n")).collect())
}

fn candidate(pid: i32) -> Option<Process> {
    let folder = folder_of(pid);
    let mut cmdline = Vec::new();
    File::open(folder.join("cmdline")).ok()?.take(COMMAND_LINE).read_to_end(&mut cmdline).ok()?;
    let mut process = Process::new(pid, cmdline);
    process.exe = fs::read_link(folder.join("exe")).ok();
    let exe = process.exe.as_ref().map(|exe| exe.as_os_str().as_bytes()).unwrap_or_default();
    let is_named = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).to_lowercase();
        NAMES.iter().any(|name| text.contains(name))
    };
    if !is_named(&process.cmdline) && !is_named(exe) {
        return None;
    }
    if process.cmdline.windows(ENVIRONMENT.len()).any(|word| word == ENVIRONMENT) {
        process.environ = variables(&folder);
    }
    process.status = fs::read_to_string(folder.join("status")).ok()?;
    process.stat = fs::read_to_string(folder.join("stat")).ok()?;
    process.shares_network = fs::read_link(folder.join("ns/net")).ok() == fs::read_link("/proc/self/ns/net").ok();
    Some(process)
}

fn variables(process: &Path) -> Vec<Vec<u8>> {
    let mut environ = Vec::new();
    let read = File::open(process.join("environ")).map(|file| file.take(COMMAND_LINE).read_to_end(&mut environ));
    if !matches!(read, Ok(Ok(_))) {
        return Vec::new();
    }
    let is_flag = |variable: &&[u8]| {
        let name = variable.split(|byte| *byte == b'=').next().unwrap_or_default();
        VARIABLES.iter().any(|flag| name.ends_with(flag.as_bytes()))
    };
    environ.split(|byte| *byte == 0).filter(is_flag).map(<[u8]>::to_vec).collect()
}

/// Whether a process means our main configuration by a path.
pub(in crate::host) fn holding(pid: i32, path: &Path, config: &Path) -> Option<Holding> {
    let (ours, root) = (fs::canonicalize(config).ok()?, config.parent()?);
    let id = file_id(&fs::metadata(&ours).ok()?);
    let process = folder_of(pid);
    let is = |file: &Option<File>, id: FileId| file.as_ref().and_then(id_of) == Some(id);
    let beside = path.parent().unwrap_or(Path::new("/"));
    let mut reached = reached(&process, path).into_iter().zip(self::reached(&process, beside));
    let (file, folder) = reached.find(|(file, _)| is(file, id))?;
    Some(Holding {
        shares_mounts: in_root(&process, &ours).as_ref().and_then(id_of) == Some(id),
        has_folder: folder.as_ref().is_some_and(|folder| is_our_folder(folder, root)),
        mounts_file: file.zip(folder).is_some_and(|(file, folder)| lies_in_another_mount(&file, &folder)),
        cgroup: fs::read_to_string(process.join("cgroup")).unwrap_or_default(),
        program_writers: program_writers(&process),
        runs_own_program: device(&process.join("exe")).is_some_and(|exe| device(&process.join("root")) == Some(exe)),
        sockets: sockets(&process),
        stat: fs::read_to_string(process.join("stat")).unwrap_or_default(),
    })
}

/// Whether a folder of a process is ours, or has our own in it.
fn is_our_folder(folder: &File, root: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).ok().as_ref().map(file_id);
    if id_of(folder).is_some_and(|folder| id(root) == Some(folder)) {
        return true;
    }
    let ours = id(&root.join(layout::FOLDER));
    ours.is_some() && path_in(folder, Path::new(layout::FOLDER)).as_ref().and_then(id_of) == ours
}

/// Of a file and its folder.
fn lies_in_another_mount(file: &File, folder: &File) -> bool {
    mount_of(file).zip(mount_of(folder)).is_some_and(|(file, folder)| file != folder)
}

fn device(path: &Path) -> Option<u64> {
    Some(fs::metadata(path).ok()?.dev())
}

/// The link leads to the file itself, also where its name is another's by now. The folders are those of its own root.
fn program_writers(process: &Path) -> Option<BTreeSet<u32>> {
    let (exe, root) = (process.join("exe"), process.join("root"));
    let path = fs::read_link(&exe).ok()?;
    let folders = path.ancestors().skip(1).map(|folder| root.join(folder.strip_prefix("/").unwrap_or(folder)));
    [exe].into_iter().chain(folders).map(|path| writer_of(&path)).collect()
}

fn sockets(process: &Path) -> Option<BTreeSet<u64>> {
    let links = fs::read_dir(process.join("fd")).ok()?.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    Some(links.filter_map(|link| inode_of_socket(link.as_os_str())).collect())
}

/// `socket:[12345]`
fn inode_of_socket(link: &OsStr) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Of the program of the process that started then.
pub(in crate::host) fn build_information_of(pid: i32, started: u64) -> Option<String> {
    let found = build_information(&folder_of(pid).join("exe"))?;
    is_still_the_same(pid, started).then_some(found)
}

/// Whether this number is not another process' by now.
fn is_still_the_same(pid: i32, started: u64) -> bool {
    let stat = fs::read_to_string(folder_of(pid).join("stat")).ok();
    stat.and_then(|stat| started_in(&stat)) == Some(started)
}

/// Sends SIGHUP to the process that started then; absent where it has ended.
pub(in crate::host) fn hang_up(pid: i32, started: u64) -> Attempt<()> {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return Attempt::Absent };
    match signal(pid, started) {
        Some(Ok(())) => Attempt::Done(()),
        // It ended after it was looked at.
        None | Some(Err(rustix::io::Errno::SRCH)) => Attempt::Absent,
        Some(Err(error)) => Attempt::Refused(io::Error::from(error).to_string()),
    }
}

/// None where this number is another process' by now. The descriptor stays with one process, whatever becomes of its
/// number, so the start time that is read behind it is that process' or shows that it has ended.
fn signal(pid: rustix::process::Pid, started: u64) -> Option<rustix::io::Result<()>> {
    use rustix::process::{Signal, kill_process};
    let is_still_the_same = || is_still_the_same(pid.as_raw_nonzero().get(), started);
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => return is_still_the_same().then(|| pidfd_send_signal(process, Signal::HUP)),
            // Linux before 5.3, or a filter of system calls that does not know it.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
            Err(error) => return Some(Err(error)),
        }
    }
    is_still_the_same().then(|| kill_process(pid, Signal::HUP))
}

fn folder_of(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

type FileId = (u64, u64);

fn file_id(metadata: &fs::Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

fn id_of(file: &File) -> Option<FileId> {
    file.metadata().ok().as_ref().map(file_id)
}

/// What a path of a process leads to, in the ways in which it may.
fn reached(process: &Path, path: &Path) -> [Option<File>; 2] {
    if path.is_absolute() {
        return [in_root(process, path), None];
    }
    // The link leads to the folder itself, whatever it is called in which namespace. An absolute symbolic link on the
    // way is the exception: it is of the root of the process.
    let cwd = process.join("cwd");
    let in_cwd = fs::read_link(&cwd).ok().and_then(|cwd| in_root(process, &cwd.join(path)));
    [by_path(&cwd.join(path)), in_cwd]
}

#[cfg(target_os = "linux")]
const BY_PATH: rustix::fs::OFlags = rustix::fs::OFlags::PATH.union(rustix::fs::OFlags::CLOEXEC);

/// A file or folder that is not opened for its content: that might have an effect.
#[cfg(target_os = "linux")]
fn by_path(path: &Path) -> Option<File> {
    Some(rustix::fs::open(path, BY_PATH, rustix::fs::Mode::empty()).ok()?.into())
}

#[cfg(target_os = "linux")]
fn path_in(folder: &File, path: &Path) -> Option<File> {
    Some(rustix::fs::openat(folder, path, BY_PATH, rustix::fs::Mode::empty()).ok()?.into())
}

/// The file that an absolute path names for the process: its root is the root of the symbolic links on the way too.
#[cfg(target_os = "linux")]
fn in_root(process: &Path, path: &Path) -> Option<File> {
    use rustix::{
        fs::{Mode, ResolveFlags, openat2},
        io::Errno,
    };
    let root = by_path(&process.join("root"))?;
    match openat2(&root, path, BY_PATH, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(file) => Some(file.into()),
        // Linux before 5.6, or a filter of system calls that does not know it.
        Err(Errno::NOSYS | Errno::PERM) => path_in(&root, path.strip_prefix("/").ok()?),
        Err(_) => None,
    }
}

/// Without /proc no process is found.
#[cfg(not(target_os = "linux"))]
fn by_path(_: &Path) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn path_in(_: &File, _: &Path) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn in_root(_: &Path, _: &Path) -> Option<File> {
    None
}
