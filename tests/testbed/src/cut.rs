//! An ssh whose connection ends at one exchange: a program between its user and OpenSSH's client, which it kills there. It
//! knows where requests to a shell and answers end, as the plugin writes them.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// The folder of the plan and of what was asked.
const FOLDER: &str = "TESTBED_CUT_SSH";
const CHUNK: usize = 64 * 1024;

/// Where in an exchange the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The host gets nothing of the request.
    Before,
    HalfOfTheRequest,
    /// The host has answered, and none of the answer arrives.
    After,
    HalfOfTheAnswer,
}

impl Cut {
    pub const ALL: [Self; 4] = [Self::Before, Self::HalfOfTheRequest, Self::After, Self::HalfOfTheAnswer];
}

/// A client of a host, first on a PATH.
#[derive(Debug)]
pub struct CutSsh {
    folder: PathBuf,
}

impl CutSsh {
    /// `client` is a program that becomes OpenSSH's client.
    pub(crate) fn new(folder: PathBuf, client: &Path) -> Result<Self> {
        fs::create_dir(&folder)?;
        let program = folder.join("ssh");
        // This very program, even when a build has replaced its file meanwhile.
        let script = format!(
            "#!/bin/sh\nexec env {FOLDER}={} /proc/{}/exe {} \"$@\"\n",
            folder.display(),
            std::process::id(),
            client.display()
        );
        fs::write(&program, script)?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        let new = Self { folder };
        new.cut(None)?;
        Ok(new)
    }

    pub fn path(&self) -> String {
        format!("{}:{}", self.folder.display(), std::env::var("PATH").unwrap_or_default())
    }

    /// Where the next connections end: at a request of this name, after so many of its name; nowhere if `None`. Forgets
    /// what was asked.
    pub fn cut(&self, at: Option<(&str, usize, Cut)>) -> Result<()> {
        fs::write(self.folder.join("asked"), "")?;
        let plan = at.map(|(asked, before, cut)| format!("{cut:?} {before} {asked}")).unwrap_or_default();
        Ok(fs::write(self.folder.join("plan"), plan)?)
    }

    /// The names of the requests: the first and the last command of each.
    pub fn asked(&self) -> Result<Vec<String>> {
        Ok(fs::read_to_string(self.folder.join("asked"))?.lines().map(str::to_owned).collect())
    }
}

/// Becomes such a client if this process was started as one; otherwise returns at once.
pub fn cut_ssh_if_asked() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let code = relay(Path::new(&folder)).unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "testbed: ssh: {error:#}");
        255
    });
    // The other thread may still wait for a request.
    #[expect(clippy::disallowed_methods, reason = "this process never was its caller's")]
    std::process::exit(code);
}

fn relay(folder: &Path) -> Result<i32> {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (program, arguments) = words.split_first().context("no client")?;
    let mut client = Command::new(program);
    client.args(arguments).env_remove(FOLDER);
    // A connection to a server has no exchanges.
    if arguments.iter().any(|word| word == "-W") {
        return Err(client.exec()).context("run ssh");
    }
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("run ssh")?;
    let pid = Pid::from_child(&client);
    let plan = Plan::read(&fs::read_to_string(folder.join("plan"))?);
    let is_half = plan.as_ref().is_some_and(|plan| plan.cut == Cut::HalfOfTheAnswer);
    let cuts_answer = Arc::new(AtomicBool::new(false));
    let (input, mut output) = (client.stdin.take().context("its input")?, client.stdout.take().context("its output")?);
    let requests = Requests { input, asked: File::options().append(true).open(folder.join("asked"))? };
    let cuts = Arc::clone(&cuts_answer);
    thread::spawn(move || {
        // A client that has ended takes no more requests.
        let _ = requests.pass(plan, &cuts, pid);
    });
    let (mut chunk, mut held, mut to) = (vec![0; CHUNK], Vec::new(), io::stdout());
    loop {
        let count = output.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        if !cuts_answer.load(Ordering::Acquire) {
            to.write_all(&chunk[..count])?;
            to.flush()?;
            continue;
        }
        held.extend_from_slice(&chunk[..count]);
        if ends_answer(&held) {
            if is_half {
                to.write_all(&held[..held.len() / 2])?;
                to.flush()?;
            }
            kill_process(pid, Signal::KILL)?;
            break;
        }
    }
    Ok(client.wait()?.code().unwrap_or(255))
}

struct Plan {
    asked: String,
    before: usize,
    cut: Cut,
}

impl Plan {
    fn read(text: &str) -> Option<Self> {
        let (cut, rest) = text.split_once(' ')?;
        let (before, asked) = rest.split_once(' ')?;
        let cut = Cut::ALL.into_iter().find(|known| format!("{known:?}") == cut)?;
        Some(Self { asked: asked.to_owned(), before: before.parse().ok()?, cut })
    }

    /// What is done to this request.
    fn at(&mut self, asked: &str) -> Option<Cut> {
        if self.asked != asked {
            return None;
        }
        let is_now = self.before == 0;
        self.before = self.before.wrapping_sub(1);
        is_now.then_some(self.cut)
    }
}

struct Requests {
    input: ChildStdin,
    asked: File,
}

impl Requests {
    fn pass(mut self, mut plan: Option<Plan>, cuts_answer: &AtomicBool, client: Pid) -> io::Result<()> {
        let (mut chunk, mut request) = (vec![0; CHUNK], Vec::new());
        loop {
            while !ends_request(&request) {
                match io::stdin().read(&mut chunk)? {
                    // The client reads the end of its input.
                    0 => return Ok(()),
                    count => request.extend_from_slice(&chunk[..count]),
                }
            }
            let asked = named(&request);
            writeln!(self.asked, "{asked}")?;
            match plan.as_mut().and_then(|plan| plan.at(&asked)) {
                Some(Cut::Before) => return Ok(kill_process(client, Signal::KILL)?),
                Some(Cut::HalfOfTheRequest) => return self.input.write_all(&request[..request.len() / 2]),
                Some(Cut::After | Cut::HalfOfTheAnswer) => cuts_answer.store(true, Ordering::Release),
                None => {}
            }
            self.input.write_all(&request)?;
            request.clear();
        }
    }
}

fn ends_request(text: &[u8]) -> bool {
    text.ends_with(b"\nsay done $?\n") || text.ends_with(b"\nsay done 0\n")
}

/// The last line is the mark of the connection, `done` and a number.
fn ends_answer(text: &[u8]) -> bool {
    let Some(line) = text.strip_suffix(b"\n").and_then(|text| text.rsplit(|byte| *byte == b'\n').next()) else {
        return false;
    };
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    matches!(words[..], [mark, b"done", number] if mark.len() == 32 && number.iter().all(u8::is_ascii_digit))
}

/// No more of a request than the names of its first and last command: it may have a token.
fn named(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let lines = text.lines().skip_while(|line| ["request() {", ":"].contains(line));
    let lines: Vec<&str> = lines.take_while(|line| *line != "request < /dev/null").collect();
    let word =
        |line: Option<&&str>| line.and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned();
    let last = lines.iter().rev().find(|line| !["}", ""].contains(*line) && !line.starts_with("say done"));
    format!("{} ... {}", word(lines.first()), word(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_requests_and_answers_are_seen() {
        let request = b"request() {\n:\nlocate /etc\nagain\n}\nrequest < /dev/null\nsay done $?\n";
        assert!(ends_request(request) && !ends_request(&request[..request.len() - 1]));
        assert_eq!(named(request), "locate ... again");
        let answer = b"\n0123456789abcdef0123456789abcdef done 0\n";
        assert!(ends_answer(answer) && !ends_answer(&answer[..answer.len() - 1]));
        assert!(!ends_answer(b"it is done 0\n") && !ends_answer(b""));
    }
}
