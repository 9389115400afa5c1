//! The pipes to the ssh of one connection: a request goes in, an answer comes out.

use super::answer::{Answer, Item, answer, last_words};
use crate::model::text::limits;
use rustix::process::{Pid, Signal, kill_process};
use std::{io, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How much of ssh's standard error is kept.
const KEPT: usize = 16 * 1024;
const CHUNK: usize = 64 * 1024;
/// The limit for ssh to end after it has closed its standard output.
const EXITS_WITHIN: Duration = Duration::from_secs(1);

/// Dropping it kills ssh. The shell on the other host then reads the end of its standard input.
pub(super) struct Channel {
    child: Child,
    /// None when nothing more is sent.
    input: Option<ChildStdin>,
    output: ChildStdout,
    errors: Errors,
    received: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Closed,
    TooLong,
}

impl Channel {
    pub(super) fn start(mut command: Command) -> io::Result<Self> {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.kill_on_drop(true).spawn()?;
        let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let errors = Errors { pipe: Some(errors), kept: Vec::new() };
        Ok(Self { input: child.stdin.take(), child, output, errors, received: Vec::new() })
    }

    /// Sends a request and waits for the whole answer. The caller must close the channel if it cancels this: part of the
    /// request may be sent.
    pub(super) async fn exchange(&mut self, text: &str, mark: &str) -> Result<Answer, End> {
        let Self { input, output, errors, received, .. } = self;
        let input = input.as_mut().ok_or(End::Closed)?;
        let sent = async {
            input.write_all(text.as_bytes()).await.map_err(|_| End::Closed)?;
            input.flush().await.map_err(|_| End::Closed)
        };
        let answered = async {
            loop {
                received.reserve(CHUNK);
                tokio::select! {
                    read = output.read_buf(received) => if !read.is_ok_and(|count| count > 0) {
                        return Err(End::Closed);
                    },
                    () = errors.read() => {}
                }
                if let Some(answer) = answer(received, mark) {
                    received.clear();
                    return Ok(answer);
                }
                if received.len() > limits::SSH {
                    return Err(End::TooLong);
                }
            }
        };
        // Concurrently: a shell whose answer fills the pipe does not read the rest of the request.
        tokio::try_join!(sent, answered).map(|((), answer)| answer)
    }

    /// The shell on the other host reads the end of its standard input.
    pub(super) fn close(&mut self) {
        self.input = None;
    }

    /// Has ssh end itself: a question at the terminal turns the echo off, and a killed ssh could not turn it on again.
    pub(super) async fn terminate(&mut self) -> bool {
        self.close();
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may have ended meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
        self.child.wait().await.is_ok()
    }

    /// Closes the channel, waits for ssh to end, and kills it after this time. Returns the shell's last item; none if the
    /// shell did not end in time.
    pub(super) async fn end(&mut self, mark: &str, within: Duration) -> Option<Item> {
        self.close();
        let ended = timeout(within, async {
            loop {
                self.received.reserve(CHUNK);
                tokio::select! {
                    read = self.output.read_buf(&mut self.received) => match read {
                        Ok(1..) if self.received.len() <= limits::SSH => {}
                        _ => break,
                    },
                    () = self.errors.read() => {}
                }
            }
            let _ = self.child.wait().await;
        });
        let has_ended = ended.await.is_ok();
        let _ = self.child.start_kill();
        last_words(&self.received, mark).filter(|_| has_ended)
    }

    /// The end of ssh's standard error, and its exit status if it has ended.
    pub(super) async fn complaint(&mut self) -> (String, Option<String>) {
        self.close();
        let all = async {
            while self.errors.pipe.is_some() {
                self.errors.read().await;
            }
            self.child.wait().await
        };
        // The master process of a shared connection (ControlPersist) may keep the pipe open.
        let _ = timeout(EXITS_WITHIN, all).await;
        let ended = self.child.try_wait().ok().flatten().map(|status| status.to_string());
        (String::from_utf8_lossy(&self.errors.kept).into_owned(), ended)
    }
}

/// Standard error of ssh.
struct Errors {
    /// None at its end.
    pipe: Option<ChildStderr>,
    kept: Vec<u8>,
}

impl Errors {
    /// Reads more of it; never returns after its end.
    async fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return std::future::pending().await };
        self.kept.reserve(CHUNK);
        if !pipe.read_buf(&mut self.kept).await.is_ok_and(|count| count > 0) {
            self.pipe = None;
        }
        self.kept.drain(..self.kept.len().saturating_sub(KEPT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    /// A shell of this host in place of ssh.
    fn channel(text: &str) -> Channel {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        Channel::start(command).expect("a shell starts")
    }

    #[tokio::test]
    async fn long_requests_and_answers_cross_in_the_pipes() {
        let mut channel = channel("yes error | head -c 600000 >&2; exec cat");
        let body = "x".repeat(4 * 1024 * 1024);
        let request = format!("\nM file x\n{body}\nM done 0\n");
        let answer = timeout(SOON, channel.exchange(&request, "M")).await.expect("no pipe is full for ever");
        assert_eq!(answer.expect("an answer").items[0].body.len(), body.len());
        let (said, ended) = channel.complaint().await;
        assert!(said.len() <= KEPT && said.ends_with("error\n"), "{} bytes", said.len());
        assert_eq!(ended.as_deref(), Some("exit status: 0"));
    }

    #[tokio::test]
    async fn cancelled_request_leaves_the_last_words_of_the_shell() {
        let mut channel = channel("cat > /dev/null; printf '\\nM undone\\na: no\\n'");
        let cancelled = timeout(Duration::from_millis(10), channel.exchange("request\n", "M")).await;
        assert!(cancelled.is_err());
        let undone = timeout(SOON, channel.end("M", SOON)).await.expect("it ends");
        assert_eq!(undone.map(|item| item.text()), Some("a: no\n".to_owned()));
    }

    #[tokio::test]
    async fn shell_that_does_not_end_is_killed() {
        let mut channel = channel("trap '' TERM INT HUP; exec sleep 600");
        assert_eq!(channel.end("M", Duration::from_millis(50)).await, None);
        let status = timeout(SOON, channel.child.wait()).await.expect("it is killed").expect("a status");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }
}
