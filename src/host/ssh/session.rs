//! One connection to another host: the system's ssh, and a POSIX shell on that host that reads requests from its standard
//! input and answers in items. Nothing is installed there, and the arguments of no process have more than `sh`.

use super::{
    answer::Answer,
    channel::{Channel, End},
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
    env, fmt, mem,
    sync::{
        Arc, Mutex as StdMutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

/// The limit for connecting: a user may type a password or compare a host key. sshd allows two minutes.
const GREETED_WITHIN: Duration = Duration::from_secs(180);
/// The limit for a shell to release the lock and to end after everything is finished.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// The limit for a host to confirm its own undo after the connection was cut.
const UNDONE_WITHIN: Duration = Duration::from_secs(3);

/// How many of its errors are shown.
const SHOWN: usize = 10;

/// A shell on another host. Dropping it ends that shell, which undoes unfinished changes and releases the lock.
pub(super) struct Session {
    /// As in the arguments of ssh: `admin@prom-0`, with a port other than 22.
    pub host: String,
    /// Whether the shell runs as root by sudo.
    pub by_sudo: bool,
    /// Whether the user may neither write to the folder nor become root.
    pub restricted: bool,
    mark: String,
    channel: Arc<Mutex<Channel>>,
    /// Why the shell answers no more requests.
    lost: OnceLock<Error>,
    /// Whether the shell has something to undo when its standard input ends.
    has_unfinished: AtomicBool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.host).finish()
    }
}

impl Session {
    /// Connects. Becomes root by sudo if the user may not write to the folder and sudo needs no password. ssh itself asks
    /// on the terminal for passwords. `timeout` is for the connection to be made.
    ///
    /// # Errors
    /// [`Reason::HostUnreachable`], [`Reason::HostKeyUnknown`], [`Reason::SshRefused`], [`Reason::SshFailed`], with the
    /// error that ssh printed.
    pub(super) async fn open(location: &SshLocation, timeout: Option<Duration>) -> Result<Self> {
        let unable = |why: String| {
            Error::new(Reason::SshFailed, format!("ssh cannot be run: {why}"))
                .hint("Install it (Debian: apt-get install openssh-client), or name a folder of this host: -p DIR")
        };
        let program = on_path("ssh", &env::var_os("PATH").unwrap_or_default());
        let program = program.ok_or_else(|| unable("it is not in PATH".to_owned()))?;
        let channel = Channel::start(ssh(&program, location, timeout)).map_err(|error| unable(error.to_string()))?;
        let (host, mark) = (shown(location), mark());
        let mut opening = Opening { host: host.clone(), channel: Some(channel) };
        let channel = opening.channel();
        let limit = Instant::now() + GREETED_WITHIN;
        let greeting = library(&mark) + &format!("rights {}\nsay done $?\n", word(&location.path));
        let Ok(Ok(answer)) = timeout_at(limit, channel.exchange(&greeting, &mark)).await else {
            let (said, ended) = channel.complaint().await;
            return Err(refusal(location, &said, ended.as_deref()));
        };
        let by_sudo = answer.has("sudo");
        if by_sudo {
            let become_root = async {
                // When the first shell answers, it has read this line and nothing after it.
                channel.exchange("say done 0; exec sudo -n sh\n", &mark).await?;
                channel.exchange(&(library(&mark) + "say done 0\n"), &mark).await
            };
            if !matches!(timeout_at(limit, become_root).await, Ok(Ok(_))) {
                let said = line::last(&channel.complaint().await.0);
                return Err(Error::new(Reason::SshFailed, format!("{host}: sudo cannot run a shell: {said}"))
                    .hint("Connect as a user who may write there, or as root: ssh://root@HOST/DIR"));
            }
        }
        Ok(Self {
            host,
            by_sudo,
            restricted: answer.has("restricted"),
            mark,
            channel: Arc::new(Mutex::new(opening.done())),
            lost: OnceLock::new(),
            has_unfinished: AtomicBool::new(false),
        })
    }

    /// Has the shell run a text, all of it or nothing, with an empty standard input. Cancelling this cuts the connection:
    /// only the host knows what the request has changed, and undoes it.
    ///
    /// # Errors
    /// [`Reason::SshFailed`] without an answer within `limit`.
    pub(super) async fn ask(&self, request: &str, limit: Duration) -> Result<Answer> {
        let text = format!("request() {{\n:\n{request}\n}}\nrequest < /dev/null\nsay done $?\n");
        let mut asking = Asking { session: self, channel: self.channel.lock().await, is_answered: false };
        if let Some(lost) = self.lost.get() {
            return Err(lost.clone());
        }
        let why = match timeout(limit, asking.channel.exchange(&text, &self.mark)).await {
            Ok(Ok(answer)) => {
                asking.is_answered = true;
                return Ok(answer);
            }
            Ok(Err(End::Closed)) => match line::last(&asking.channel.complaint().await.0) {
                said if said.is_empty() => "it was closed".to_owned(),
                said => said,
            },
            Ok(Err(End::TooLong)) => "the answer is too long".to_owned(),
            Err(_) => format!("it did not answer within {limit:?}"),
        };
        Err(self.lost_because(&why))
    }

    fn lost_because(&self, why: &str) -> Error {
        let error = Error::new(Reason::SshFailed, format!("{}: the connection is lost: {why}", self.host));
        self.lost.get_or_init(|| error.hint("Run the command again")).clone()
    }

    /// Whether the shell answers no more requests.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Whether the shell has not confirmed that it has undone unfinished changes.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_lost() && self.has_unfinished.load(Ordering::Relaxed)
    }

    /// Notes whether the shell has something to undo when its standard input ends.
    pub(super) fn note_unfinished(&self, has_unfinished: bool) {
        self.has_unfinished.store(has_unfinished, Ordering::Relaxed);
    }

    /// After the connection was lost: waits for the host to confirm that it has undone unfinished changes. Returns what it
    /// could not undo, or that it has not confirmed the undo.
    pub(super) async fn not_undone(&self) -> Vec<String> {
        if !self.is_in_doubt() {
            return Vec::new();
        }
        let host = &self.host;
        match self.channel.lock().await.end(&self.mark, UNDONE_WITHIN).await {
            None => vec![format!(
                "{host} has not confirmed that it undid the unfinished changes; it undoes unfinished changes by itself when it notices the loss"
            )],
            Some(undone) => {
                self.note_unfinished(false);
                undone
                    .text()
                    .lines()
                    .take(SHOWN)
                    .map(|left| format!("Not undone on {host}: {}", line::escaped(left)))
                    .collect()
            }
        }
    }

    /// A line of output that begins so is part of an answer.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }
}

/// A connection that is being made: ssh may ask at the terminal.
struct Opening {
    host: String,
    /// None when it is made.
    channel: Option<Channel>,
}

impl Opening {
    fn channel(&mut self) -> &mut Channel {
        self.channel.as_mut().expect("it is not made yet")
    }

    fn done(mut self) -> Channel {
        self.channel.take().expect("it is made once")
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let (Some(mut channel), Ok(runtime)) = (self.channel.take(), Handle::try_current()) else { return };
        let end = async move { channel.terminate().await };
        note_end(mem::take(&mut self.host), runtime.spawn(end));
    }
}

/// A request without an answer yet.
struct Asking<'a> {
    session: &'a Session,
    channel: MutexGuard<'a, Channel>,
    is_answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.session.lost_because("the run was interrupted while the host did not answer");
            self.channel.close();
        }
    }
}

/// The ends of connections that were dropped; each says whether the shell ended in time.
static ENDING: StdMutex<Vec<(String, JoinHandle<bool>)>> = StdMutex::new(Vec::new());

impl Drop for Session {
    fn drop(&mut self) {
        // Otherwise dropping the channel kills ssh.
        let (false, Ok(runtime)) = (self.is_lost(), Handle::try_current()) else { return };
        let (channel, mark) = (Arc::clone(&self.channel), mem::take(&mut self.mark));
        let end = async move { channel.lock().await.end(&mark, ENDS_WITHIN).await.is_some() };
        note_end(mem::take(&mut self.host), runtime.spawn(end));
    }
}

fn note_end(host: String, end: JoinHandle<bool>) {
    let mut ending = ENDING.lock().unwrap_or_else(PoisonError::into_inner);
    ending.retain(|(_, end)| !end.is_finished());
    ending.push((host, end));
}

/// Waits until the shells of dropped connections have ended, so that their locks are free. Returns the hosts whose shells
/// did not end.
pub(crate) async fn ended(within: Duration) -> Vec<String> {
    let ending = mem::take(&mut *ENDING.lock().unwrap_or_else(PoisonError::into_inner));
    let limit = Instant::now() + within;
    let mut left = Vec::new();
    for (host, mut end) in ending {
        if !matches!(timeout_at(limit, &mut end).await, Ok(Ok(true))) {
            end.abort();
            left.push(host);
        }
    }
    left
}

fn mark() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the system has random numbers");
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The shell joins the mark from two halves, so an echo of the request is no answer.
fn library(mark: &str) -> String {
    let (one, other) = mark.split_at(mark.len() / 2);
    [&format!("mark={one}''{other}\n"), script::OPERATIONS, script::HOST, script::SESSION].concat()
}
