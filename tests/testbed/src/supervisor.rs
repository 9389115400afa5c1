//! The supervisor: a second process of the same program that owns every server and outlives its user just long enough
//! to end them.
//!
//! It reads commands from its standard input. That pipe closes when the user ends, be it by return, panic, Ctrl-C or
//! SIGKILL; then the supervisor kills all its children and removes the run's folder.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::{Deserialize, Serialize};

/// The run's folder, which the supervisor makes and removes. In a process that has this variable `main` never runs.
pub(crate) const RUN_DIR: &str = "TESTBED_SUPERVISOR_RUN_DIR";
/// Set it to keep the logs.
const KEEP: &str = "TESTBED_KEEP";

#[derive(Serialize, Deserialize)]
pub(crate) enum Order {
    Start { id: u64, argv: Vec<String>, log: PathBuf, cwd: PathBuf, env: Vec<(String, String)> },
    Stop { id: u64, signal: i32 },
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Report {
    Ready,
    Started { id: u64, pid: u32 },
    Failed { id: u64, error: String },
    Exited { id: u64, status: String },
}

/// Become the supervisor if this process was started as one; otherwise return at once.
pub fn supervise_if_asked() {
    let Some(run_dir) = std::env::var_os(RUN_DIR) else {
        return;
    };
    let code = match supervise(Path::new(&run_dir)) {
        Ok(()) => 0,
        Err(error) => {
            // The other end of this pipe may be closed, and there is no other output.
            let _ = writeln!(io::stderr(), "testbed: supervisor: {error:#}");
            1
        }
    };
    // Nothing is left to be dropped: the children have ended, and main must not go on.
    #[expect(clippy::disallowed_methods, reason = "this process never was its caller's")]
    std::process::exit(code);
}

fn supervise(run_dir: &Path) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(run_dir).with_context(|| format!("make {}", run_dir.display()))?;
    let children = Arc::new(Children::default());
    let mut waiters = Vec::new();
    report(&Report::Ready);
    for line in io::stdin().lock().lines() {
        // Unreadable is as good as closed.
        let Ok(line) = line else { break };
        match serde_json::from_str(&line).context("read an order")? {
            Order::Start { id, argv, log, cwd, env } => match start(&argv, &log, &cwd, env) {
                Ok(child) => waiters.push(children.adopt(id, child)),
                Err(error) => report(&Report::Failed { id, error: format!("{error:#}") }),
            },
            Order::Stop { id, signal } => children.signal(id, signal),
        }
    }
    children.kill_all();
    for waiter in waiters {
        let _ = waiter.join();
    }
    if std::env::var_os(KEEP).is_none() {
        remove(run_dir)?;
    }
    Ok(())
}

/// Each child leads a process group of its own: its children end with it, and a terminal's Ctrl-C does not reach them.
fn start(argv: &[String], log: &Path, cwd: &Path, env: Vec<(String, String)>) -> Result<Child> {
    let (program, arguments) = argv.split_first().context("an empty command")?;
    let out = File::create(log).with_context(|| format!("make {}", log.display()))?;
    let err = out.try_clone()?;
    Command::new(program)
        .args(arguments)
        .current_dir(cwd)
        .env_clear()
        // Go's collector of garbage takes a fifth of an API server's time otherwise; memory is not what these machines lack.
        .env("GOGC", "400")
        .envs(env)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .with_context(|| format!("start {program}"))
}

#[derive(Default)]
struct Children {
    /// A child stays here until it is reaped, so a pid in this map is never another process.
    running: Mutex<HashMap<u64, Child>>,
}

impl Children {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopt(self: &Arc<Self>, id: u64, child: Child) -> JoinHandle<()> {
        let pid = Pid::from_child(&child);
        report(&Report::Started { id, pid: child.id() });
        self.lock().insert(id, child);
        let children = Arc::clone(self);
        thread::spawn(move || children.await_end(id, pid))
    }

    fn await_end(&self, id: u64, pid: Pid) {
        // Do not reap the child here: the reaping below must exclude a signal at the same time.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let mut running = self.lock();
        let _ = kill_process_group(pid, Signal::KILL);
        let status = match running.remove(&id).map(|mut child| child.wait()) {
            Some(Ok(status)) => status.to_string(),
            Some(Err(error)) => format!("unknown: {error}"),
            None => "unknown".into(),
        };
        drop(running);
        report(&Report::Exited { id, status });
    }

    fn signal(&self, id: u64, signal: i32) {
        if let (Some(child), Some(signal)) = (self.lock().get(&id), Signal::from_named_raw(signal)) {
            let _ = kill_process_group(Pid::from_child(child), signal);
        }
    }

    fn kill_all(&self) {
        for child in self.lock().values() {
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
        }
    }
}

fn report(report: &Report) {
    let mut line = serde_json::to_string(report).unwrap_or_default();
    line.push('\n');
    // A user that has gone needs no report; standard input tells the rest.
    let mut out = io::stdout().lock();
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// A command of the user that is still running, say kubectl with its cache, may write while we remove.
fn remove(run_dir: &Path) -> Result<()> {
    let removed = crate::wait::until(Duration::from_secs(5), || match fs::remove_dir_all(run_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => None,
        _ => Some(()),
    });
    removed.with_context(|| format!("remove {}", run_dir.display()))
}
