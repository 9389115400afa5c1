//! Connections from another host to a server that it reaches, each on the standard input and output of an ssh of its own.

use super::{client::forward, remote::Remote};
use crate::{
    host::local::programs::on_path,
    model::{store::location::SshLocation, text::line},
};
use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use std::{
    env, io,
    pin::Pin,
    process::Stdio,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};
use tower::Service;

/// How much of ssh's standard error is kept.
const KEPT: usize = 4096;

/// Makes such connections.
#[derive(Clone)]
pub(in crate::host) struct Forward {
    location: SshLocation,
    timeout: Option<Duration>,
}

impl Forward {
    pub(in crate::host) fn of(remote: &Remote, timeout: Option<Duration>) -> Self {
        Self { location: remote.location.clone(), timeout }
    }

    fn connect(&self, server: &Uri) -> io::Result<Forwarded> {
        let default = if server.scheme_str() == Some("https") { 443 } else { 80 };
        let server = format!("{}:{}", server.host().unwrap_or_default(), server.port_u16().unwrap_or(default));
        let program = on_path("ssh", &env::var_os("PATH").unwrap_or_default());
        let program = program.ok_or_else(|| io::Error::other("ssh is not in PATH"))?;
        let mut command = forward(&program, &self.location, self.timeout, &server);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.kill_on_drop(true).spawn()?;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(input), Some(output), Some(errors)) => {
                Ok(Forwarded { input, output, errors, said: Vec::new(), has_answered: false, _child: child })
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Service<Uri> for Forward {
    type Response = TokioIo<Forwarded>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        std::future::ready(self.connect(&server).map(TokioIo::new))
    }
}

/// One connection. Dropping it ends its ssh.
pub(in crate::host) struct Forwarded {
    input: ChildStdin,
    output: ChildStdout,
    errors: ChildStderr,
    said: Vec<u8>,
    /// Whether the server has sent anything: until then, ssh may have something to say.
    has_answered: bool,
    _child: Child,
}

impl Forwarded {
    /// Why ssh has no connection, when it has closed its output.
    fn poll_complaint(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let mut chunk = [0; 1024];
            let mut part = ReadBuf::new(&mut chunk);
            let read = ready!(Pin::new(&mut self.errors).poll_read(cx, &mut part));
            if read.is_err() || part.filled().is_empty() {
                return Poll::Ready(io::Error::other(complaint(&String::from_utf8_lossy(&self.said))));
            }
            self.said.extend_from_slice(part.filled());
            self.said.drain(..self.said.len().saturating_sub(KEPT));
        }
    }
}

/// Texts of OpenSSH: `clientloop.c`, `channels.c`.
fn complaint(said: &str) -> String {
    match said.lines().find_map(|line| Some(line.split_once("open failed: ")?.1)) {
        Some(why) if why.contains("administratively prohibited") => {
            "its ssh server forwards no connection to it (AllowTcpForwarding and PermitOpen of sshd_config)".to_owned()
        }
        Some(why) => line::escaped(why.trim_start_matches("connect failed: ").trim()),
        None => match line::last(said) {
            last if last.is_empty() => "ssh ended without output".to_owned(),
            last => last,
        },
    }
}

impl Connection for Forwarded {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.output).poll_read(cx, buf))?;
        this.has_answered |= buf.filled().len() > before;
        if this.has_answered || buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        this.poll_complaint(cx).map(Err)
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match ready!(Pin::new(&mut this.input).poll_write(cx, buf)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !this.has_answered => {
                this.poll_complaint(cx).map(Err)
            }
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().input).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().input).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_tells_why_there_is_no_connection() {
        for (said, why) in [
            (
                "channel 0: open failed: administratively prohibited: open failed\r\nstdio forwarding failed\r\n",
                "its ssh server forwards no connection to it (AllowTcpForwarding and PermitOpen of sshd_config)",
            ),
            (
                "channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed\r\n",
                "Connection refused",
            ),
            ("banner\nadmin@prom: Permission denied (publickey).\r\n", "admin@prom: Permission denied (publickey)."),
            ("", "ssh ended without output"),
        ] {
            assert_eq!(complaint(said), why);
        }
    }
}
