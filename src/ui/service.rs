//! What systemd is told of a service of `Type=notify`: `sd_notify(3)`.

use std::{env, ffi::OsString, os::unix::net::UnixDatagram};

/// The service manager that started this process; nobody, where none did.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<OsString>,
}

impl ServiceManager {
    pub fn of_this_process() -> Self {
        Self { socket: env::var_os("NOTIFY_SOCKET") }
    }

    /// `READY=1`, `STATUS=…`; one assignment a line. A manager that does not listen stops nobody.
    pub fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket {
            let _ = UnixDatagram::unbound().and_then(|ours| send(&ours, socket, state.as_bytes()));
        }
    }
}

/// A name that begins with @ is in the abstract namespace of Linux.
#[cfg(target_os = "linux")]
fn send(ours: &UnixDatagram, socket: &OsString, state: &[u8]) -> std::io::Result<usize> {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr},
    };
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => ours.send_to_addr(state, &SocketAddr::from_abstract_name(name)?),
        None => ours.send_to(state, socket),
    }
}

#[cfg(not(target_os = "linux"))]
fn send(ours: &UnixDatagram, socket: &OsString, state: &[u8]) -> std::io::Result<usize> {
    ours.send_to(state, socket)
}
