//! TCP servers that answer late or never.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::runtime::runtime;

/// A proxy that makes a server as far away as `rtt`, the set-up of a connection included. Dropping it ends it.
#[derive(Debug)]
pub struct Delay {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Delay {
    pub fn in_front_of(server: SocketAddr, rtt: Duration) -> Result<Self> {
        Self::listening_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), server, rtt)
    }

    /// The same at an address of the caller's choice.
    pub fn listening_on(address: SocketAddr, server: SocketAddr, rtt: Duration) -> Result<Self> {
        let (listener, address) = listen(address)?;
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let accepting = runtime()?.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, server, rtt));
            }
        });
        Ok(Self { address, connections, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as that of an API server.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The kernel has accepted already: the round trip of the set-up passes here, before the first byte moves.
async fn carry(client: TcpStream, server: SocketAddr, rtt: Duration) {
    sleep(rtt).await;
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(pipe(from_client, to_server, rtt / 2), pipe(from_server, to_client, rtt / 2));
}

/// Reading goes on while earlier bytes are still under way, as on a long line.
async fn pipe(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (send, mut receive) = mpsc::channel::<(Instant, Vec<u8>)>(4096);
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if send.send((Instant::now() + delay, buffer[..count].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receive.recv().await {
            sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

/// A server that accepts every connection and never says a word. Dropping it ends it.
#[derive(Debug)]
pub struct Silent {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Silent {
    pub fn start() -> Result<Self> {
        let (listener, address) = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let accepting = runtime()?.spawn(async move {
            let mut open = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                open.push(client);
            }
        });
        Ok(Self { address, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as that of an API server.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A listener. Port 0 is one that the kernel chooses, taken at once and so never lost to another.
pub(crate) fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let _inside = runtime()?.enter();
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, address))
}
