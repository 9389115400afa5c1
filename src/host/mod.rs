//! A host with the folder of a main configuration: this one, or another over ssh. What is done there is awaited in the
//! same way, so that nothing keeps the event loop.

#[cfg(test)]
pub(crate) mod conformance;
mod http;
pub(crate) mod local;
pub mod main_file;
pub mod outcome;
pub mod ownership;
pub mod process;
pub mod remembered;
mod run;
mod ssh;
mod tree;

use crate::{
    clock,
    error::{Error, Result},
    model::{
        access::PrometheusLocation,
        store::{
            install::{FileOwnership, Operation, Step},
            location::{FileOwner, SshLocation},
        },
        text::names::ClusterName,
    },
    render::script::Question,
};
use ::http::Uri;
use jiff::{SignedDuration, Timestamp};
use local::{machine, processes, programs};
use main_file::ReadMain;
use ownership::{Folder, Ids, Written};
use process::{Candidates, Holding};
use run::complaint_of;
use std::{
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

pub use http::ClientAccess;
pub(crate) use http::{HttpClient, NoAnswer};
pub use local::folder::LocalFolder;
pub(crate) use local::folder::{replace, resolved};
pub use outcome::{AfterCut, Attempt, Ended, Program, Validation};
pub use ssh::remote::Remote;
pub(crate) use ssh::{
    http::{Fetched, NO_HTTP_PROGRAM},
    open::names_over_open_connection,
    session::ended,
};
pub use tree::{Stamps, Tree};

/// Where the folder is.
#[derive(Clone, Debug)]
pub enum Host {
    Local { root: LocalFolder },
    Ssh(Remote),
}

/// Held while a run writes; the system releases it when the process ends, however that happens.
#[derive(Debug)]
pub enum Lock {
    Local(File),
    /// Held by the shell there until the connection ends.
    Ssh,
}

impl Host {
    /// Connects to another host and finds the main configuration: the host, the folder, the file's name and the file.
    ///
    /// # Errors
    /// [`crate::error::Reason::DestinationUnusable`]; what a connection fails with.
    pub async fn connect(
        location: &SshLocation,
        timeout: Option<Duration>,
    ) -> Result<(Self, PathBuf, String, ReadMain)> {
        let found = Remote::open(location, timeout).await?;
        Ok((Self::Ssh(found.remote), found.root, found.main, found.read))
    }

    fn remote(&self) -> Option<&Remote> {
        match self {
            Self::Local { .. } => None,
            Self::Ssh(remote) => Some(remote),
        }
    }

    /// As people know it; none of this one.
    pub fn name(&self) -> Option<&str> {
        self.remote().map(Remote::host)
    }

    /// A path on it, for people: `/etc/prometheus/x`, or `admin@prom:/etc/prometheus/x` as scp writes it.
    pub fn shown(&self, path: &Path) -> String {
        let place = self.remote().map(|remote| format!("{}:", remote.place)).unwrap_or_default();
        format!("{place}{}", path.display())
    }

    /// As it calls itself.
    pub fn nodename(&self) -> String {
        match self {
            Self::Local { .. } => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            Self::Ssh(remote) => remote.nodename.clone(),
        }
    }

    /// The machine, as a hash of its ID; none where it has none of its own.
    pub fn machine(&self) -> Option<String> {
        match self {
            Self::Local { .. } => machine::machine_of(Path::new("/etc")),
            Self::Ssh(remote) => remote.machine.clone(),
        }
    }

    /// From where its Prometheus sees clusters.
    pub fn prometheus_location(&self) -> PrometheusLocation {
        match self {
            Self::Local { .. } => PrometheusLocation::ThisHost,
            Self::Ssh(_) => PrometheusLocation::AnotherHost,
        }
    }

    /// The user who writes there.
    pub fn ids(&self) -> Ids {
        match self {
            Self::Local { .. } => Ids::own(),
            Self::Ssh(remote) => remote.ids.clone(),
        }
    }

    /// Whether it writes as root, which sudo made it.
    pub fn is_root_by_sudo(&self) -> bool {
        self.remote().is_some_and(Remote::is_root_by_sudo)
    }

    /// Whether the connection to it is lost: then it undoes by itself what is not finished.
    pub fn is_lost(&self) -> bool {
        self.remote().is_some_and(Remote::is_lost)
    }

    /// Whether a Prometheus can be asked from it.
    pub fn can_request(&self) -> bool {
        self.remote().is_none_or(Remote::can_ask)
    }

    /// A client of one server.
    ///
    /// # Errors
    /// As [`HttpClient::local`].
    pub(crate) fn http_client(
        &self,
        url: Uri,
        timeout: Option<Duration>,
        access: Option<&ClientAccess>,
    ) -> Result<HttpClient, NoAnswer> {
        match (self, access) {
            (Self::Local { .. }, access) => HttpClient::local(url, timeout, access),
            (Self::Ssh(remote), Some(access)) => Ok(HttpClient::forwarded(remote, url, timeout, access)),
            (Self::Ssh(remote), None) => {
                let url = url.to_string().trim_end_matches('/').to_owned();
                Ok(HttpClient::Ssh { remote: remote.clone(), url })
            }
        }
    }

    /// Whether it can prove the address, the CA and a token of an API server. What this host proves is proven otherwise.
    pub fn can_prove(&self, tls_server_name: Option<&str>) -> bool {
        self.remote().is_some_and(|remote| remote.can_prove(tls_server_name))
    }

    /// What there is of one cluster, or of all.
    pub async fn tree(&self, cluster: Option<&ClusterName>) -> Result<Tree> {
        match self {
            Self::Local { root } => root.tree(cluster).await,
            Self::Ssh(remote) => remote.tree(cluster.map(ClusterName::as_str)).await,
        }
    }

    /// All files there are, unread; none of another host.
    pub async fn stamps(&self) -> Result<Option<Stamps>> {
        match self {
            Self::Local { root } => root.stamps().await.map(Some),
            Self::Ssh(_) => Ok(None),
        }
    }

    /// A file as text.
    pub async fn read(&self, path: &str) -> Result<Attempt<String>> {
        match self {
            Self::Local { root } => Ok(root.text(path).await.into()),
            Self::Ssh(remote) => remote.read(path).await,
        }
    }

    /// The main configuration; none if it is not there any more. Refused with what is to be said of it.
    pub async fn read_main(&self, main: &str) -> Result<Attempt<ReadMain>> {
        match self {
            Self::Local { root } => Ok(match root.read_main(main).await {
                Ok(read) => Attempt::Done(read),
                Err(error) if error.kind() == ErrorKind::NotFound => Attempt::Absent,
                Err(error) => Attempt::Refused(error.to_string()),
            }),
            Self::Ssh(remote) => remote.read_main().await,
        }
    }

    pub async fn has(&self, path: &str) -> Result<bool> {
        match self {
            Self::Local { root } => Ok(root.has(path).await),
            Self::Ssh(remote) => Ok(remote.are_there(&[path.to_owned()]).await?[0]),
        }
    }

    /// Takes the lock; none if another run holds it.
    ///
    /// # Errors
    /// [`crate::error::Reason::WriteFailed`]
    pub async fn lock(&self, path: &str) -> Result<Option<Lock>> {
        match self {
            Self::Local { root } => Ok(root.lock(path).await?.map(Lock::Local)),
            Self::Ssh(remote) => Ok(remote.lock().await?.then_some(Lock::Ssh)),
        }
    }

    /// Executes the steps in order; `note` is told what undoes each, before it begins. Another host undoes by itself what
    /// was begun when the connection is lost.
    ///
    /// # Errors
    /// [`crate::error::Reason::WriteFailed`], naming the file.
    pub async fn run(&self, ownership: FileOwnership, steps: &[Step], note: impl FnMut(Operation)) -> Result<()> {
        match self {
            Self::Local { root } => root.run(ownership, steps, note).await,
            Self::Ssh(remote) => {
                let mut undo = Vec::new();
                let outcome = remote.run_noting(ownership, steps, &mut undo).await;
                undo.into_iter().for_each(note);
                outcome
            }
        }
    }

    /// One operation; it is on the disk when this returns.
    pub async fn execute(&self, ownership: FileOwnership, operation: &Operation) -> Result<()> {
        match self {
            Self::Local { root } => root.execute(ownership, operation).await,
            Self::Ssh(remote) => {
                let step = Step { operation: operation.clone(), undo: None };
                remote.run_noting(ownership, &[step], &mut Vec::new()).await
            }
        }
    }

    /// Undoes what was done, last first; all are tried. Returns what could not be. A host to which the connection is lost
    /// does it by itself.
    pub async fn undo(&self, ownership: FileOwnership, undo: &[Operation]) -> Vec<Error> {
        let mut left = Vec::new();
        for operation in undo.iter().rev() {
            left.extend(self.execute(ownership, operation).await.err().filter(|_| !self.is_lost()));
        }
        left
    }

    /// What is said where an undo does not end in time. Of another host see [`Self::not_undone`].
    pub fn undo_is_late(&self) -> Vec<Error> {
        match self {
            Self::Local { root } => vec![root.is_late()],
            Self::Ssh(_) => Vec::new(),
        }
    }

    /// After the connection to another host was lost: waits a moment for that host to undo what is not finished. Returns
    /// what it did not undo, or that it has not confirmed anything, for people.
    pub async fn not_undone(&self) -> Vec<String> {
        match self {
            Self::Local { .. } => Vec::new(),
            Self::Ssh(remote) => remote.not_undone().await,
        }
    }

    /// Whether the connection to another host is lost, which has not confirmed its undo: it may still be as the run left it.
    pub fn is_in_doubt(&self) -> bool {
        self.remote().is_some_and(Remote::is_in_doubt)
    }

    /// What was done stays. Until this is said, another host undoes it when the connection to it is lost.
    ///
    /// # Errors
    /// [`crate::error::Reason::SshFailed`]: it was lost, and it is unknown whether the host has heard this.
    pub async fn finished(&self) -> Result<()> {
        match self {
            Self::Local { .. } => Ok(()),
            Self::Ssh(remote) => remote.finished().await,
        }
    }

    /// What another host does when the connection to it is lost and everything is undone.
    pub async fn prepare_for_a_cut(&self, reload: &AfterCut<'_>) -> Result<()> {
        match self {
            Self::Local { .. } => Ok(()),
            Self::Ssh(remote) => remote.after_a_cut(reload).await,
        }
    }

    /// Its clock: not earlier and not later than these.
    pub async fn now(&self) -> Result<(Timestamp, Timestamp)> {
        let now = match self {
            Self::Local { .. } => clock::now(),
            Self::Ssh(remote) => remote.now().await?,
        };
        let is_coarse = self.remote().is_some() && now.subsec_nanosecond() == 0;
        Ok((now, now + SignedDuration::from_secs(is_coarse.into())))
    }

    /// Its processes that may be consumers, and for whom earlier deliveries were.
    pub async fn candidates(&self) -> Result<Candidates> {
        match self {
            Self::Local { root } => {
                let root = root.to_path_buf();
                Ok(off_the_loop(move || processes::candidates(&root)).await.unwrap_or_default())
            }
            Self::Ssh(remote) => remote.candidates().await,
        }
    }

    /// Which of these processes mean the main configuration by these paths.
    pub async fn holding(&self, named: &[(i32, PathBuf)], config: &Path) -> Result<Vec<Option<Holding>>> {
        match self {
            Self::Local { .. } => {
                let (named, config) = (named.to_vec(), config.to_owned());
                let holding =
                    move || named.iter().map(|(pid, path)| processes::holding(*pid, path, &config)).collect::<Vec<_>>();
                Ok(off_the_loop(holding).await.unwrap_or_default())
            }
            Self::Ssh(remote) => remote.holding(named).await,
        }
    }

    /// What Go's linker has noted of the program of the process of this number that started then: lines with the package
    /// and with the modules that tell what it reads again. None where nothing is known.
    pub async fn build_information(&self, pid: i32, started: u64) -> Result<Option<String>> {
        match self {
            Self::Local { .. } => {
                Ok(off_the_loop(move || processes::build_information_of(pid, started)).await.flatten())
            }
            Self::Ssh(remote) => remote.build_information(pid, started).await,
        }
    }

    /// Whether a link can take the place of another one in one step.
    pub fn can_point(&self) -> bool {
        self.remote().is_none_or(|remote| remote.tools.mv)
    }

    /// Sends SIGHUP to the process of this number that started then.
    pub async fn hang_up(&self, pid: i32, started: u64) -> Result<Attempt<()>> {
        match self {
            Self::Local { .. } => Ok(processes::hang_up(pid, started)),
            Self::Ssh(remote) => remote.hang_up(pid, started).await,
        }
    }

    /// Whether a program is there that may be run. Of another host this is known of its `PATH` alone; the other programs
    /// are looked at when they are run.
    pub fn has_program(&self, program: &Program) -> bool {
        match (self, program) {
            (Self::Local { .. }, program) => local_program(program).is_some(),
            (Self::Ssh(remote), Program::OnPath(name)) => *name == "promtool" && remote.tools.promtool,
            (Self::Ssh(_), Program::At(_)) => true,
        }
    }

    /// Has a program run that looks at a file, by its path in the folder, which is the last argument: `prefix` stands before
    /// it. Keeps what it complains about.
    pub async fn check(
        &self,
        program: &Program,
        arguments: &[&str],
        prefix: &str,
        path: &str,
        limit: Duration,
    ) -> Result<Validation> {
        let root = match self {
            Self::Ssh(remote) => {
                let last = format!("{prefix}{path}");
                let arguments: Vec<&str> = arguments.iter().copied().chain([last.as_str()]).collect();
                return remote.check(program, &arguments, limit).await;
            }
            Self::Local { root } => root,
        };
        let Some(program) = local_program(program) else { return Ok(Validation::Absent) };
        let mut last = std::ffi::OsString::from(prefix);
        last.push(root.join(path));
        let mut command = Command::new(&program);
        command.args(arguments).arg(last);
        Ok(checked(command, &program, limit).await)
    }

    /// The same with the environment and the working folder of a process, and without another argument. What makes the
    /// dynamic linker run other code is left out, because the process may be another user's.
    pub async fn check_as(
        &self,
        pid: i32,
        program: &Program,
        arguments: &[String],
        limit: Duration,
    ) -> Result<Validation> {
        if let Self::Ssh(remote) = self {
            return remote.check_as(pid, program, arguments, limit).await;
        }
        let Some(program) = local_program(program) else { return Ok(Validation::Absent) };
        let Some(environment) = processes::environment(pid) else { return Ok(Validation::Absent) };
        let mut command = Command::new(&program);
        command.args(arguments).env_clear().envs(environment).current_dir(format!("/proc/{pid}/cwd"));
        Ok(checked(command, &program, limit).await)
    }

    /// Whether a process listens, and with which sockets: the listening sockets of this network, see proc(5).
    pub async fn listening(&self) -> Result<Option<String>> {
        match self {
            Self::Local { .. } => Ok(off_the_loop(processes::listening_sockets).await.flatten()),
            Self::Ssh(remote) => remote.listening().await,
        }
    }

    /// Has a shell run a command of `--reload`. What it prints may be a secret, and so may the command.
    pub async fn run_reload_command(&self, command: &str, limit: Duration) -> Result<Ended> {
        if let Self::Ssh(remote) = self {
            return remote.command(command, limit).await;
        }
        let mut shell = Command::new("sh");
        Ok(match tokio::time::timeout(limit, complaint_of(shell.args(["-c", command]))).await {
            Err(_) => Ended::Late,
            Ok(Err(error)) => Ended::NotRun(error.to_string()),
            Ok(Ok((status, _))) if status.success() => Ended::Well,
            Ok(Ok((status, said))) => Ended::Badly { how: format!("with {status}"), said },
        })
    }

    /// Of the user whom `--owner` names: the user's number, the user's group and the group's number, where there are such.
    pub async fn look_up(&self, owner: &FileOwner) -> Result<[Option<u32>; 3]> {
        match self {
            Self::Local { .. } => Ok(ownership::look_up(owner).await),
            Self::Ssh(remote) => remote.look_up(owner).await,
        }
    }

    /// The folders on the way to ours, innermost first, itself among them.
    pub async fn way(&self) -> Result<Vec<Folder>> {
        match self {
            Self::Local { root } => Ok(root.way().await),
            Self::Ssh(remote) => remote.way().await,
        }
    }

    /// The folders that are written to, as far as they exist: the folder of the main configuration first, which is the first
    /// on the way, then the plugin's folder. Of another host only the first: the shell there refuses the others.
    ///
    /// # Errors
    /// [`crate::error::Reason::DestinationUnusable`]
    pub async fn written(&self, way: &[Folder]) -> Result<Vec<Written>> {
        match self {
            Self::Local { root } => root.written().await,
            Self::Ssh(_) => Ok(way.first().map(Written::by_mode).into_iter().collect()),
        }
    }

    /// Asks an API server with a token, under a CA that is in a file of our folder; refused where there is no answer that
    /// can be trusted, absent where this host proves it otherwise or the other has no program to ask with.
    pub async fn ask_api_server(&self, question: &Question<'_>) -> Result<Attempt<u16>> {
        match self.remote().filter(|remote| remote.can_prove(question.tls_server_name)) {
            None => Ok(Attempt::Absent),
            Some(remote) => remote.ask_api_server(question).await,
        }
    }
}

/// The processes of this host that may be consumers.
pub async fn processes_here() -> Vec<process::Process> {
    off_the_loop(|| processes::candidates(Path::new("/"))).await.unwrap_or_default().processes
}

/// The absolute path by which this host has the file that a process has by `path`; none where it is another file.
pub async fn path_here(pid: i32, path: &Path) -> Option<PathBuf> {
    let path = path.to_owned();
    off_the_loop(move || processes::path_here(pid, &path)).await.flatten()
}

/// Paths of processes may lead to a file system that does not answer.
async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Runs a program that looks at files, and keeps what it complains about.
async fn checked(mut command: Command, program: &Path, limit: Duration) -> Validation {
    let name = program.display();
    match tokio::time::timeout(limit, complaint_of(&mut command)).await {
        Err(_) => Validation::Undecided(format!("{name} did not end within {limit:?}")),
        Ok(Err(error)) => Validation::Undecided(format!("{name} cannot be run: {error}")),
        Ok(Ok((status, _))) if status.success() => Validation::Accepted,
        Ok(Ok((status, _))) if status.code().is_none() => Validation::Undecided(format!("{name} ended with {status}")),
        Ok(Ok((status, said))) if said.trim_ascii().is_empty() => {
            Validation::Rejected(format!("{name} ended with {status}"))
        }
        Ok(Ok((_, said))) => Validation::Rejected(said),
    }
}

fn local_program(program: &Program) -> Option<PathBuf> {
    match program {
        Program::OnPath(name) => programs::on_path(name, &std::env::var_os("PATH").unwrap_or_default()),
        Program::At(path) => programs::is_trusted(path).then(|| path.clone()),
    }
}
