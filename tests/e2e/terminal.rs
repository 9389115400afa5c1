//! The plugin at a terminal of its own, by util-linux' `script`.

use crate::plugin::Run;
use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const SOON: Duration = Duration::from_secs(90);

/// A terminal with one program. It ends with the program, or when this is dropped.
pub(crate) struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    seen: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<()>>,
    /// How much of what was seen was expected already.
    read: usize,
}

impl Terminal {
    /// Of 24 lines and as many columns, with the environment of `command`.
    pub(crate) fn start(command: &Command, columns: u16) -> Self {
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().expect("UTF-8"))).collect();
        let line = format!("stty rows 24 cols {columns}; exec {}", words.join(" "));
        let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .envs(set)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has script");
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut screen, keyboard) = (child.stdout.take().expect("a pipe"), child.stdin.take().expect("a pipe"));
        let all = Arc::clone(&seen);
        let reader = thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut some) {
                all.lock().expect("nothing panicked").extend(&some[..count]);
            }
        });
        Self { child, keyboard, seen, reader: Some(reader), read: 0 }
    }

    /// The number of the process whose child is the program.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything so far.
    pub(crate) fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("nothing panicked")).into_owned()
    }

    /// Waits for a text after what was expected before. Returns what came before it.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let found = testbed::until(SOON, || {
            let seen = self.seen.lock().expect("nothing panicked");
            let at = seen[self.read..].windows(text.len()).position(|window| window == text.as_bytes());
            at.map(|at| self.read + at + text.len())
        });
        let found = found.unwrap_or_else(|| panic!("no {text:?} at the terminal: {:?}", self.seen()));
        let seen = self.seen.lock().expect("nothing panicked");
        let before = String::from_utf8_lossy(&seen[self.read..found - text.len()]).into_owned();
        self.read = found;
        drop(seen);
        before
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("it listens");
    }

    /// Waits for the end. Standard output and standard error are one.
    pub(crate) fn end(mut self) -> Run {
        let ended = testbed::until(SOON, || self.child.try_wait().expect("it is ours"));
        let status = ended.unwrap_or_else(|| panic!("it does not end: {:?}", self.seen()));
        self.reader.take().expect("it reads").join().expect("it reads");
        Run { code: status.code(), stdout: self.seen(), stderr: String::new() }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
