//! Addresses and ports of this machine that a server may listen on.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Result, anyhow};

/// Below the range from which Linux takes the local ports of outgoing connections: one of those could sit on a port
/// between our test of it and the server's start.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// A port on which nothing listens, given out only once in this process. Another process may still take it first, so
/// the caller that starts a server on it tries again when that says "address already in use".
pub(crate) fn free() -> Result<u16> {
    static TAKEN: Mutex<Option<Taken>> = Mutex::new(None);
    let mut guard = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = guard.get_or_insert_with(Taken::new);
    for _ in RANGE {
        let port = taken.next;
        taken.next = if port + 1 == RANGE.end { RANGE.start } else { port + 1 };
        if is_free(port) && taken.ports.insert(port) {
            return Ok(port);
        }
    }
    Err(anyhow!("no free TCP port between {} and {}", RANGE.start, RANGE.end))
}

struct Taken {
    ports: HashSet<u16>,
    next: u16,
}

impl Taken {
    /// Processes that run side by side begin at different places.
    fn new() -> Self {
        let places = u32::from(RANGE.end - RANGE.start);
        let start = std::process::id().wrapping_mul(127) % places;
        let next = RANGE.start + u16::try_from(start).unwrap_or_default();
        Self { ports: HashSet::new(), next }
    }
}

fn is_free(port: u16) -> bool {
    // A server listening on one address of the machine is enough to refuse the address of all.
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
}

/// An address on which nothing listens: connecting to it is refused.
///
/// # Panics
/// When no port is free.
pub fn refused_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free().expect("a free port")))
}

/// This machine's own address on its network. Kubelets and the endpoints of Services may not be on a loopback address.
pub fn machine_address() -> Result<IpAddr> {
    static ADDRESS: OnceLock<Option<IpAddr>> = OnceLock::new();
    ADDRESS.get_or_init(|| address_of_default_route().or_else(first_local_address)).ok_or_else(|| {
        anyhow!("this machine has only loopback addresses; a kubelet needs one more (`ip addr add 192.0.2.1/32 dev lo` gives one)")
    })
}

/// Nothing is sent: connecting a UDP socket only chooses the route and with it the local address.
fn address_of_default_route() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(203, 0, 113, 1), 9)).ok()?;
    socket.local_addr().ok().map(|local| local.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// For a machine without a default route. In the kernel's table an address stands on the line before its `host LOCAL`.
fn first_local_address() -> Option<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/fib_trie").ok()?;
    let mut last = None;
    for line in table.lines() {
        if line.contains("host LOCAL") {
            let address: Option<Ipv4Addr> = last;
            if let Some(address) = address.filter(|address| !address.is_loopback()) {
                return Some(IpAddr::V4(address));
            }
        }
        last = line.trim().strip_prefix("|-- ").and_then(|address| address.parse().ok());
    }
    None
}
