//! One connection to another host: the system's ssh, and a POSIX shell at its other end that is fed on standard input
//! and answers in items. Nothing is installed there, and nothing but `sh` is in anybody's arguments.
//!
//! A thread owns the pipes of each connection, so that a request is awaited like every other answer.

use super::{
    answer::{Answer, answer},
    client::{refusal, shown, ssh},
};
use crate::{
    error::{Error, Reason, Result},
    host::local::programs::on_path,
    model::{
        store::location::SshLocation,
        text::{line, shell::word},
    },
    render::script,
};
use std::{
    env, fmt,
    io::{ErrorKind, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The time for typing a password or comparing a host key; sshd itself allows two minutes.
const GREETED_WITHIN: Duration = Duration::from_secs(180);
/// Of what ssh complains about.
const SAID: usize = 16 * 1024;
/// For the shell at the other end to take back what is not finished.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// For an answer that is no longer awaited, because the run was interrupted. Then the connection is cut in any case, and
/// the shell at the other end undoes what is not finished: what the request has changed is known there alone.
const ABANDONED_WITHIN: Duration = Duration::from_millis(500);
/// For a shell that did answer to undo what is not finished.
const UNDONE_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks whether an answer is still awaited.
const GLANCE: Duration = Duration::from_millis(50);

/// A shell on another host. Dropping it ends it, and it takes back what was not finished.
pub(super) struct Session {
    /// As ssh was told: `admin@prom-0`, with the port if it is another.
    pub host: String,
    /// Whether it is root by way of sudo.
    pub by_sudo: bool,
    /// Whether it may neither write where it was asked to nor become root for that.
    pub restricted: bool,
    mark: String,
    /// None when it is over.
    requests: Option<mpsc::Sender<Request>>,
    /// Why nothing can be asked any more.
    lost: Arc<OnceLock<Error>>,
    worker: Option<JoinHandle<()>>,
}

/// A text of shell, and where its answer goes.
struct Request {
    text: String,
    limit: Duration,
    /// None where it does not matter.
    answer: Option<oneshot::Sender<Result<Answer>>>,
}

/// What is known of a connection once it has come about.
struct Greeted {
    by_sudo: bool,
    restricted: bool,
}

struct Channel {
    child: Child,
    /// None when it is over.
    input: Option<ChildStdin>,
    output: mpsc::Receiver<Vec<u8>>,
    complaints: Arc<Mutex<Vec<u8>>>,
    received: Vec<u8>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.host).finish()
    }
}

impl Session {
    /// Connects, and becomes root by sudo where that is needed to write there and allowed without a password. ssh itself
    /// asks on the terminal for what it needs. `timeout` is for the connection to come about.
    ///
    /// # Errors
    /// [`Reason::HostUnreachable`], [`Reason::HostKeyUnknown`], [`Reason::SshRefused`], [`Reason::SshFailed`], in ssh's
    /// own words.
    pub(super) async fn open(location: &SshLocation, timeout: Option<Duration>) -> Result<Self> {
        let host = shown(location);
        let mark = mark();
        let (requests, received) = mpsc::channel();
        let lost = Arc::new(OnceLock::new());
        let (greeted, greeting) = oneshot::channel();
        let worker = {
            let (host, mark, lost, location) = (host.clone(), mark.clone(), Arc::clone(&lost), location.clone());
            thread::spawn(move || match Channel::open(&location, &host, &mark, timeout, &|| greeted.is_closed()) {
                Err(error) => drop(greeted.send(Err(error))),
                Ok((mut channel, facts)) => {
                    let is_awaited = greeted.send(Ok(facts)).is_ok();
                    if is_awaited {
                        channel.serve(&received, &host, &mark, &lost);
                    }
                    channel.end(if is_awaited { ENDS_WITHIN } else { Duration::ZERO });
                }
            })
        };
        let Greeted { by_sudo, restricted } = greeting.await.unwrap_or_else(|_| Err(closed(&host)))?;
        Ok(Self { host, by_sudo, restricted, mark, requests: Some(requests), lost, worker: Some(worker) })
    }

    /// Has a text of shell run, all of it or nothing. Its standard input is empty. Where the answer is no longer awaited,
    /// the connection is cut unless it comes at once.
    ///
    /// # Errors
    /// [`Reason::SshFailed`] when there is no answer within `limit` or ever.
    pub(super) async fn ask(&self, request: &str, limit: Duration) -> Result<Answer> {
        if let Some(lost) = self.lost.get() {
            return Err(lost.clone());
        }
        let text = format!("request() {{\n:\n{request}\n}}\nrequest < /dev/null\nsay done $?\n");
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.as_ref().map(|requests| requests.send(Request { text, limit, answer: Some(answer) }));
        match (sent, answered.await) {
            (Some(Ok(())), Ok(answer)) => answer,
            _ => Err(self.lost.get().cloned().unwrap_or_else(|| closed(&self.host))),
        }
    }

    /// The same where nothing can be awaited: the answer does not matter.
    pub(super) fn tell(&self, request: &str, limit: Duration) {
        let text = format!("{request} < /dev/null\nsay done $?\n");
        if let (None, Some(requests)) = (self.lost.get(), &self.requests) {
            let _ = requests.send(Request { text, limit, answer: None });
        }
    }

    /// Whether nothing can be asked any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// A line that begins so is ours.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.requests.take());
        // The shell at the other end undoes what is not finished: within a bounded time.
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
enum End {
    Closed,
    Late,
    /// The run was interrupted.
    Abandoned,
}

fn closed(host: &str) -> Error {
    lost(host, "it was closed")
}

fn lost(host: &str, why: &str) -> Error {
    Error::new(Reason::SshFailed, format!("{host}: the connection is lost: {why}"))
        .hint(UNDONE_THERE)
        .hint("Run the command again")
}

/// What becomes of work that a lost connection left unfinished.
pub(crate) const UNDONE_THERE: &str = "That host undoes unfinished changes by itself when it notices the loss";

impl Channel {
    /// See [`Session::open`].
    fn open(
        location: &SshLocation,
        host: &str,
        mark: &str,
        timeout: Option<Duration>,
        is_abandoned: &dyn Fn() -> bool,
    ) -> Result<(Self, Greeted)> {
        let unable = |why: String| {
            Error::new(Reason::SshFailed, format!("ssh cannot be run: {why}"))
                .hint("Install it (Debian: apt-get install openssh-client), or name a folder of this host: -p DIR")
        };
        let program = on_path("ssh", &env::var_os("PATH").unwrap_or_default());
        let program = program.ok_or_else(|| unable("it is not in PATH".to_owned()))?;
        let mut command = ssh(&program, location, timeout);
        let mut channel = Self::start(&mut command).map_err(|error| unable(error.to_string()))?;
        let greeting = library(mark) + &format!("rights {}\nsay done $?\n", word(&location.path));
        let Ok(answer) = channel.exchange(&greeting, mark, GREETED_WITHIN, is_abandoned) else {
            return Err(channel.refused(location));
        };
        let by_sudo = answer.has("sudo");
        if by_sudo {
            // The shell that ends here has read this line to its end when it answers, and nothing behind it.
            let become_root = channel.exchange("say done 0; exec sudo -n sh\n", mark, GREETED_WITHIN, is_abandoned);
            let greeting = library(mark) + "say done 0\n";
            if become_root.and_then(|_| channel.exchange(&greeting, mark, GREETED_WITHIN, is_abandoned)).is_err() {
                let said = line::last(&channel.complaint());
                return Err(Error::new(Reason::SshFailed, format!("{host}: sudo cannot run a shell: {said}"))
                    .hint("Connect as a user who may write there, or as root: ssh://root@HOST/DIR"));
            }
        }
        Ok((channel, Greeted { by_sudo, restricted: answer.has("restricted") }))
    }

    /// Answers one request after another until there are no more or the connection is lost.
    fn serve(&mut self, requests: &mpsc::Receiver<Request>, host: &str, mark: &str, lost_for: &OnceLock<Error>) {
        for Request { text, limit, answer } in requests {
            let is_abandoned = || answer.as_ref().is_some_and(oneshot::Sender::is_closed);
            let outcome = self.exchange(&text, mark, limit, &is_abandoned);
            let patience = match outcome {
                Ok(_) => UNDONE_WITHIN,
                Err(End::Abandoned) => ABANDONED_WITHIN,
                Err(End::Closed | End::Late) => Duration::ZERO,
            };
            let outcome = outcome.and_then(|answer| if is_abandoned() { Err(End::Abandoned) } else { Ok(answer) });
            let outcome = outcome.map_err(|end| {
                let why = match end {
                    End::Late => format!("it did not answer within {limit:?}"),
                    End::Abandoned => "the run was interrupted while the host did not answer".to_owned(),
                    End::Closed => match line::last(&self.complaint()) {
                        said if said.is_empty() => "it was closed".to_owned(),
                        said => said,
                    },
                };
                let error = lost(host, &why);
                let _ = lost_for.set(error.clone());
                self.end(patience);
                error
            });
            let is_lost = outcome.is_err();
            let _ = answer.map(|answer| answer.send(outcome));
            if is_lost {
                return;
            }
        }
    }

    fn start(command: &mut Command) -> std::io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (input, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (sender, output) = mpsc::channel();
        thread::spawn(move || chunks(stdout, |chunk| sender.send(chunk.to_vec()).is_ok()));
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&complaints);
        thread::spawn(move || {
            chunks(stderr, |chunk| {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(chunk);
                let surplus = kept.len().saturating_sub(SAID);
                kept.drain(..surplus);
                true
            });
        });
        Ok(Self { child, input, output, complaints, received: Vec::new() })
    }

    fn exchange(
        &mut self,
        text: &str,
        mark: &str,
        limit: Duration,
        is_abandoned: &dyn Fn() -> bool,
    ) -> Result<Answer, End> {
        let input = self.input.as_mut().ok_or(End::Closed)?;
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).map_err(|_| End::Closed)?;
        let started = Instant::now();
        let mut abandoned = None;
        loop {
            let left = limit.saturating_sub(started.elapsed());
            match self.output.recv_timeout(left.min(GLANCE)) {
                Ok(chunk) => self.received.extend(chunk),
                Err(mpsc::RecvTimeoutError::Timeout) if left <= GLANCE => return Err(End::Late),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(End::Closed),
            }
            if let Some(answer) = answer(&self.received, mark) {
                self.received.clear();
                return Ok(answer);
            }
            if is_abandoned() && abandoned.get_or_insert_with(Instant::now).elapsed() >= ABANDONED_WITHIN {
                return Err(End::Abandoned);
            }
        }
    }

    /// What ssh said last, when it has ended; else nothing.
    fn complaint(&mut self) -> String {
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < Duration::from_secs(1) {
            thread::sleep(Duration::from_millis(10));
        }
        // Its last words may be on their way through the pipe.
        thread::sleep(Duration::from_millis(20));
        let said = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Why there is no session.
    fn refused(&mut self, location: &SshLocation) -> Error {
        let said = self.complaint();
        self.end(Duration::ZERO);
        let ended = self.child.try_wait().ok().flatten().map(|status| status.to_string());
        refusal(location, &said, ended.as_deref())
    }

    fn end(&mut self, patience: Duration) {
        drop(self.input.take());
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && started.elapsed() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn chunks(from: Option<impl Read>, mut take: impl FnMut(&[u8]) -> bool) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if !take(&buffer[..count]) {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn mark() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The mark is not what we send: whatever repeats our words is no answer.
fn library(mark: &str) -> String {
    let (one, other) = mark.split_at(mark.len() / 2);
    [&format!("mark={one}''{other}\n"), script::OPERATIONS, script::HOST, script::SESSION].concat()
}
