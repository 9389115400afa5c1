//! One connection to another host: the system's ssh, and a POSIX shell at its other end that is fed on standard input
//! and answers in items. Nothing is installed there, and nothing but `sh` is in anybody's arguments.
//!
//! A thread owns the pipes of each connection, so that a request is awaited like every other answer.

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
    path::Path,
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
/// `done 255` and the end of the line.
const LAST: usize = 16;
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
pub(in crate::host) struct Session {
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

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::host) struct Item {
    /// What it is, `file`.
    pub kind: String,
    /// Of what, the rest of the line.
    pub of: String,
    pub body: Vec<u8>,
}

impl Item {
    /// What is no UTF-8 is shown as such.
    pub(in crate::host) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// All that a request was answered.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::host) struct Answer {
    pub items: Vec<Item>,
    pub succeeded: bool,
}

impl Answer {
    pub(in crate::host) fn first(&self, kind: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.kind == kind)
    }

    pub(in crate::host) fn has(&self, kind: &str) -> bool {
        self.first(kind).is_some()
    }
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
    pub(in crate::host) async fn open(location: &SshLocation, timeout: Option<Duration>) -> Result<Self> {
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
    pub(in crate::host) async fn ask(&self, request: &str, limit: Duration) -> Result<Answer> {
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
    pub(in crate::host) fn tell(&self, request: &str, limit: Duration) {
        let text = format!("{request} < /dev/null\nsay done $?\n");
        if let (None, Some(requests)) = (self.lost.get(), &self.requests) {
            let _ = requests.send(Request { text, limit, answer: None });
        }
    }

    /// Whether nothing can be asked any more.
    pub(in crate::host) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// A line that begins so is ours.
    pub(in crate::host) fn mark(&self) -> &str {
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

/// Keys, agents, known hosts and everything else are ssh's and its configuration's business. Nothing of ours is
/// forwarded to that host.
///
/// Ctrl-C in a terminal, and its end, are for every program in it. ssh is to outlive them, so that what has begun can be
/// taken back: OpenSSH leaves a signal ignored that it finds so (`clientloop.c`).
fn ssh(program: &Path, location: &SshLocation, timeout: Option<Duration>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' INT HUP; exec \"$@\"", "sh"]).arg(program);
    command.args(["-T", "-a", "-x", "-o", "ClearAllForwardings=yes"]);
    // A host that is gone is noticed within half a minute.
    command.args(["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]);
    if let Some(timeout) = timeout {
        command.arg("-o").arg(format!("ConnectTimeout={}", timeout.as_secs().max(1)));
    }
    if let Some(port) = location.port {
        command.arg("-p").arg(port.to_string());
    }
    if let Some(user) = &location.user {
        command.arg("-l").arg(user);
    }
    command.args(["--", &location.host, "sh"]);
    command
}

fn shown(SshLocation { user, host, port, .. }: &SshLocation) -> String {
    let user = user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
    format!("{user}{host}{port}")
}

/// The command to connect by hand.
fn by_hand(SshLocation { user, host, port, .. }: &SshLocation) -> String {
    let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
    let user = user.as_ref().map(|user| format!("{}@", word(user))).unwrap_or_default();
    format!("ssh {port}{user}{host}")
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

/// The items of an answer that is whole. What came before the first is a login shell's banner.
fn answer(received: &[u8], mark: &str) -> Option<Answer> {
    let start = format!("\n{mark} ");
    let start = start.as_bytes();
    // The last thing that comes; nothing follows before we ask again.
    let tail = received.len().saturating_sub(start.len() + LAST);
    let last = tail + received[tail..].windows(start.len()).rposition(|window| window == start)?;
    let end = std::str::from_utf8(&received[last + start.len()..]).ok()?.strip_prefix("done ")?.strip_suffix('\n')?;
    let mut items = Vec::new();
    let mut rest = &received[find(received, start)? + start.len()..];
    loop {
        let next = find(rest, start);
        let item = &rest[..next.unwrap_or(rest.len())];
        let Some(next) = next else { break };
        let line_end = find(item, b"\n").unwrap_or(item.len());
        let head = String::from_utf8_lossy(&item[..line_end]).into_owned();
        let (kind, of) = head.split_once(' ').unwrap_or((&head, ""));
        let body = item.get(line_end + 1..).unwrap_or_default().to_vec();
        items.push(Item { kind: kind.to_owned(), of: of.to_owned(), body });
        rest = &rest[next + start.len()..];
    }
    Some(Answer { items, succeeded: end == "0" })
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

/// Texts of OpenSSH: `sshconnect.c`, `misc.c`, `ssh.c`, `sshconnect2.c`; what a login shell of one who may not log in
/// says is nologin(8)'s.
fn refusal(location: &SshLocation, said: &str, ended: Option<&str>) -> Error {
    let (host, by_hand) = (shown(location), by_hand(location));
    let has = |texts: &[&str]| texts.iter().any(|text| said.contains(text));
    // The terse last line is of no use where ssh explains itself above it.
    let line = |text: &str| said.lines().find(|line| line.contains(text)).map(line::escaped);
    let last = match line::last(said) {
        last if last.is_empty() => format!("it ended without output ({})", ended.unwrap_or("no status")),
        last => last,
    };
    let error = |reason, why: String| Error::new(reason, format!("{host}: {why}"));
    if has(&["REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
        return error(Reason::HostKeyUnknown, "its host key differs from the known key".to_owned())
            .hint("This may be an attack. If the host was reinstalled, ask its administrator for the new key")
            .hint(format!("Connect by hand: {by_hand}"));
    }
    if has(&["Host key verification failed", "host key is known for"]) {
        let why = line("host key is known for").unwrap_or(last);
        return error(Reason::HostKeyUnknown, format!("its host key is not known: {why}"))
            .hint(format!("Connect once by hand and compare the key: {by_hand}"));
    }
    let unreachable =
        ["Could not resolve hostname", "connect to host", "banner exchange", "kex_exchange_identification"];
    if let Some(why) = unreachable.iter().find_map(|text| line(text)) {
        return error(Reason::HostUnreachable, why.trim_start_matches("ssh: ").to_owned())
            .hint("Is the host running, and is the name correct? Names of your ssh configuration work too")
            .hint("To wait longer: --request-timeout");
    }
    if let Some(why) = line("Permission denied (").or_else(|| line("Too many authentication failures")) {
        return error(Reason::SshRefused, why)
            .hint(format!("Connect by hand: {by_hand}"))
            .hint("Name another user: ssh://USER@HOST/DIR; keys and agents are as in your ssh configuration");
    }
    error(Reason::SshFailed, format!("cannot start a shell: {last}")).hint(format!("Test by hand: {by_hand} sh"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answer_ends_at_its_last_line_and_skips_banners() {
        let received = b"Welcome!\nfile x\n\nM file a b\none\n\ntwo\n\nM there\n\nM done 0\n";
        let item = |kind: &str, of: &str, body: &str| Item { kind: kind.into(), of: of.into(), body: body.into() };
        let items = vec![item("file", "a b", "one\n\ntwo\n"), item("there", "", "")];
        assert_eq!(answer(received, "M"), Some(Answer { items, succeeded: true }));
        for cut in 0..received.len() {
            assert_eq!(answer(&received[..cut], "M"), None, "{cut}");
        }
        assert_eq!(answer(b"\nM done 1\n", "M"), Some(Answer { items: Vec::new(), succeeded: false }));
        assert_eq!(answer(b"mark=M'' done 0\n", "M"), None);
    }

    proptest! {
        #[test]
        fn no_answer_panics_and_every_body_is_read_back(noise in ".{0,20}", body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mark = "0123456789abcdef";
            let received = [noise.as_bytes(), b"\n0123456789abcdef file x\n", &body, b"\n0123456789abcdef done 0\n"].concat();
            let answer = answer(&received, mark).expect("it is whole");
            prop_assert_eq!(&answer.items[0].body, &body);
            let _ = super::answer(&body, "a");
        }
    }

    #[test]
    fn ssh_errors_have_a_reason_and_a_next_step() {
        let errors = [
            ("ssh: Could not resolve hostname prom: Name or service not known\r\n", "exit status: 255"),
            ("ssh: connect to host 10.0.0.5 port 22: Connection refused\r\n", "exit status: 255"),
            ("Warning\nConnection timed out during banner exchange\r\nConnection to 10.0.0.5 port 22 timed out\r\n", "exit status: 255"),
            ("No ED25519 host key is known for prom and you have requested strict checking.\r\nHost key verification failed.\r\n", "exit status: 255"),
            ("Host key verification failed.\r\n", "exit status: 255"),
            ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n…\r\nHost key verification failed.\r\n", "exit status: 255"),
            ("\u{1b}[1mBanner\nprom: Permission denied (publickey,password).\r\n", "exit status: 255"),
            ("This account is currently not available.\n", "exit status: 1"),
            ("", "exit status: 255"),
        ]
        .map(|(said, ended)| {
            let error = refusal(&"prom:2222/p".parse().unwrap(), said, Some(ended));
            format!("{}: {error}\n{}", error.reason, error.hints.iter().map(|hint| format!("  hint: {hint}\n")).collect::<String>())
        });
        insta::assert_snapshot!(errors.concat());
    }

    #[test]
    fn destination_is_never_an_option_or_a_command() {
        let location: SshLocation = "admin@prom:2222/etc/$(id)".parse().unwrap();
        let command = ssh(Path::new("/usr/bin/ssh"), &location, Some(Duration::from_millis(10)));
        let words: Vec<String> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(words[words.len() - 7..], ["-p", "2222", "-l", "admin", "--", "prom", "sh"]);
        assert!(words.contains(&"ConnectTimeout=1".to_owned()));
        assert!(!words.iter().any(|word| word.contains("StrictHostKeyChecking")));
    }
}
