//! The user's side of the supervisor: start a server, ask whether it still runs, stop it.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::Signal;

use crate::supervisor::{Order, RUN_DIR, Report};

/// The folder of this run: logs, keys, kubeconfigs and data of all servers. It goes when the run ends, unless
/// `TESTBED_KEEP` is set.
pub fn run_dir() -> Result<&'static Path> {
    Ok(&supervisor()?.run_dir)
}

/// End all servers and wait until they are gone. Without this call they end right after the process does.
pub fn shutdown() {
    if let Ok(supervisor) = supervisor_if_started() {
        *supervisor.orders.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = supervisor.process.lock().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

/// A server that the supervisor runs for us; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Process {
    id: u64,
    pid: u32,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Start `argv` in `dir`, which also takes its temporary files, and its output as `<name>.log`.
    pub(crate) fn start(name: &str, dir: &Path, argv: Vec<String>) -> Result<Self> {
        let supervisor = supervisor()?;
        let id = supervisor.next.fetch_add(1, Ordering::Relaxed);
        let log = dir.join(format!("{name}.log"));
        // Nothing else of the user's environment: a proxy or a KUBECONFIG of theirs has no business in a test.
        let path = std::env::var("PATH").unwrap_or_default();
        let here = dir.to_string_lossy().into_owned();
        let env = vec![("PATH".into(), path), ("HOME".into(), here.clone()), ("TMPDIR".into(), here)];
        supervisor.order(&Order::Start { id, argv, log: log.clone(), cwd: dir.to_owned(), env })?;
        let pid = supervisor.states.wait(id, Duration::from_secs(30), |state| match state {
            State::Running(pid) => Some(Ok(*pid)),
            State::Failed(error) => Some(Err(anyhow!("{name}: {error}"))),
            State::Exited(_) => Some(Ok(0)),
        });
        let pid = pid.with_context(|| format!("{name}: the supervisor does not answer"))??;
        Ok(Self { id, pid, name: name.to_owned(), log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it did.
    pub(crate) fn exited(&self) -> Option<String> {
        let supervisor = supervisor().ok()?;
        supervisor.states.wait(self.id, Duration::ZERO, |state| match state {
            State::Exited(status) => Some(status.clone()),
            _ => None,
        })
    }

    /// Kill it and wait for its end. SIGKILL, because a kube-apiserver whose etcd goes first hangs on SIGTERM.
    pub(crate) fn stop(&self) {
        let Ok(supervisor) = supervisor() else { return };
        let signal = Signal::KILL.as_raw();
        if supervisor.order(&Order::Stop { id: self.id, signal }).is_ok() {
            supervisor.states.wait(self.id, Duration::from_secs(10), |state| match state {
                State::Exited(_) => Some(()),
                _ => None,
            });
        }
    }

    /// An error about this server that ends with the end of its log.
    pub(crate) fn error(&self, what: &str) -> anyhow::Error {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n  ");
        anyhow!("{} {what}; the end of {}:\n  {tail}", self.name, self.log.display())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
enum State {
    Running(u32),
    Failed(String),
    Exited(String),
}

/// What the supervisor reported last about each process.
#[derive(Default)]
struct States {
    by_id: Mutex<HashMap<u64, State>>,
    changed: Condvar,
}

impl States {
    fn set(&self, id: u64, state: State) {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).insert(id, state);
        self.changed.notify_all();
    }

    fn wait<T>(&self, id: u64, limit: Duration, ask: impl Fn(&State) -> Option<T>) -> Option<T> {
        let by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let unanswered = |by_id: &mut HashMap<u64, State>| by_id.get(&id).and_then(&ask).is_none();
        let waited = self.changed.wait_timeout_while(by_id, limit, unanswered);
        let (by_id, _) = waited.unwrap_or_else(PoisonError::into_inner);
        by_id.get(&id).and_then(ask)
    }
}

struct Supervisor {
    /// The pipe whose end ends everything. The standard library opens it so that no other child inherits it.
    orders: Mutex<Option<ChildStdin>>,
    process: Mutex<Child>,
    states: Arc<States>,
    next: AtomicU64,
    run_dir: PathBuf,
}

static SUPERVISOR: OnceLock<Result<Supervisor, String>> = OnceLock::new();

fn supervisor() -> Result<&'static Supervisor> {
    SUPERVISOR
        .get_or_init(|| Supervisor::start().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!("{error}"))
}

fn supervisor_if_started() -> Result<&'static Supervisor> {
    SUPERVISOR.get().and_then(|started| started.as_ref().ok()).context("no supervisor runs")
}

impl Supervisor {
    fn start() -> Result<Self> {
        if std::env::var_os(RUN_DIR).is_some() {
            bail!("main() of this program must begin with testbed::supervise_if_asked()");
        }
        // Short and in the temporary folder, because the nodes make Unix sockets below it, whose names have a limit.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let run_dir = std::env::temp_dir().join(format!("testbed-{}-{:x}", std::process::id(), now % 0x1000_0000));
        // This very program, even when a build has replaced its file meanwhile.
        let mut process = Command::new("/proc/self/exe")
            .arg0("testbed-supervisor")
            .env(RUN_DIR, &run_dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the testbed's supervisor")?;
        let orders = process.stdin.take().context("the supervisor's input")?;
        let mut reports = BufReader::new(process.stdout.take().context("the supervisor's output")?);
        let mut first = String::new();
        reports.read_line(&mut first)?;
        if !matches!(serde_json::from_str(&first), Ok(Report::Ready)) {
            bail!("no supervisor came up: does main() begin with testbed::supervise_if_asked()?");
        }
        let states = Arc::new(States::default());
        let reader = Arc::clone(&states);
        thread::spawn(move || read_reports(reports, &reader));
        Ok(Self {
            orders: Mutex::new(Some(orders)),
            process: Mutex::new(process),
            states,
            next: AtomicU64::new(1),
            run_dir,
        })
    }

    fn order(&self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = orders.as_mut().context("the testbed has been shut down")?;
        pipe.write_all(line.as_bytes()).context("the testbed's supervisor is gone")
    }
}

fn read_reports(reports: BufReader<ChildStdout>, states: &States) {
    for line in reports.lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Report::Started { id, pid }) => states.set(id, State::Running(pid)),
            Ok(Report::Failed { id, error }) => states.set(id, State::Failed(error)),
            Ok(Report::Exited { id, status }) => states.set(id, State::Exited(status)),
            Ok(Report::Ready) | Err(_) => {}
        }
    }
}
