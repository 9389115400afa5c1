//! Interrupts the plugin while it waits, and measures how soon it says so and how soon it ends.

use crate::plugin::Run;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A second, without slack: the slowest of 16 took 0.1 s, with eight trials at a time and a build beside them on two cores.
pub(crate) const WITHIN: Duration = Duration::from_secs(1);
/// A plugin that has not ended by then does not end.
const ENDS: Duration = Duration::from_secs(60);

/// The plugin while it runs.
pub(crate) struct Running {
    child: Child,
    /// What it prints on standard error, line by line.
    lines: mpsc::Receiver<(Instant, String)>,
}

/// The plugin after a signal.
pub(crate) struct Interrupted {
    pub(crate) run: Run,
    /// From the signal to the first line, or to the end without any.
    heard: Duration,
    /// From the signal to the end.
    ended: Duration,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the plugin starts");
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().expect("its standard error"));
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send((Instant::now(), line));
            }
        });
        Self { child, lines }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The programs that it has started and that still run.
    pub(crate) fn children(&self) -> Vec<Pid> {
        children(self.pid().as_raw_nonzero().get().cast_unsigned())
    }

    /// Sends a signal, and waits for the end.
    pub(crate) fn interrupt(mut self, signal: Signal) -> Interrupted {
        let asked = Instant::now();
        kill_process(self.pid(), signal).expect("it runs");
        let code = testbed::until(ENDS, || self.child.try_wait().expect("it is ours"));
        let ended = asked.elapsed();
        if code.is_none() {
            self.child.kill().expect("it runs");
            self.child.wait().expect("it ends");
        }
        // The thread ends with the pipe.
        let lines: Vec<(Instant, String)> = self.lines.iter().collect();
        let stderr = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        assert!(code.is_some(), "the plugin did not end after {signal:?}: {stderr}");
        let first = lines.iter().find(|(time, _)| *time >= asked);
        let heard = first.map_or(ended, |(time, _)| *time - asked);
        let code = code.and_then(|status| status.code());
        Interrupted { run: Run { code, stdout: String::new(), stderr }, heard, ended }
    }
}

impl Interrupted {
    /// It said within a second that it was interrupted, and undid its work within `undo`.
    #[track_caller]
    pub(crate) fn undid_its_work(self, undo: Duration) -> Run {
        let Self { run, heard, ended } = self;
        assert_eq!(run.code, Some(130), "{}", run.stderr);
        assert!(run.stderr.contains("Warning: interrupted by "), "{}", run.stderr);
        assert!(run.stderr.contains("error (Interrupted): "), "{}", run.stderr);
        assert!(heard <= WITHIN, "the first line came after {heard:?}: {}", run.stderr);
        assert!(ended <= WITHIN + undo, "it ended after {ended:?}: {}", run.stderr);
        run
    }

    /// It ended within a second: there was nothing to undo. Before its first write the signal itself ends the plugin.
    #[track_caller]
    pub(crate) fn ended_at_once(self) -> Run {
        let Self { run, ended, .. } = self;
        assert!(matches!(run.code, None | Some(0 | 130)), "{:?}: {}", run.code, run.stderr);
        assert!(ended <= WITHIN, "it ended after {ended:?}: {}", run.stderr);
        run
    }
}

/// Processes that do not run until this is dropped.
pub(crate) struct Frozen(Vec<Pid>);

impl Frozen {
    pub(crate) fn new(processes: Vec<Pid>) -> Self {
        assert!(!processes.is_empty(), "there is a process to freeze");
        for pid in &processes {
            kill_process(*pid, Signal::STOP).expect("it runs");
        }
        Self(processes)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            // One that was killed meanwhile is gone.
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

/// The processes that a process has started.
pub(crate) fn children(pid: u32) -> Vec<Pid> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    listed.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// A program that makes the file `begun` in the same folder and does not end.
pub(crate) fn hanging_program(folder: &Path, name: &str) {
    let program = folder.join(name);
    let script = format!("#!/bin/sh\ntouch {}/begun\nexec sleep 600\n", folder.display());
    fs::write(&program, script).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
}
