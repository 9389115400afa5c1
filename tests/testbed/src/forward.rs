//! A forward proxy, as companies have them between their people and the world: CONNECT over HTTP or HTTPS, and SOCKS 5.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::cluster::Cluster;
use crate::delay::listen;
use crate::fault::server_tls;
use crate::runtime::runtime;

/// The running proxy; dropping it ends it. Wherever it is asked to lead, it leads to one server.
#[derive(Debug)]
pub struct ForwardProxy {
    address: SocketAddr,
    tunnels: Arc<Mutex<Vec<Tunnel>>>,
    accepting: JoinHandle<()>,
}

/// What it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tunnel {
    /// `HOST:PORT`.
    pub to: String,
    /// The header `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl ForwardProxy {
    /// Speaks CONNECT and SOCKS 5 without a password, whichever a client begins with.
    pub fn to(server: SocketAddr) -> Result<Self> {
        Self::start(server, None)
    }

    /// Speaks CONNECT over TLS, with a certificate of this cluster's CA.
    pub fn over_tls(server: SocketAddr, cluster: &Cluster) -> Result<Self> {
        let hosts = ["localhost", "127.0.0.1"].map(str::to_owned);
        Self::start(server, Some(TlsAcceptor::from(Arc::new(server_tls(&cluster.server_certificate(&hosts)?)?))))
    }

    fn start(server: SocketAddr, acceptor: Option<TlsAcceptor>) -> Result<Self> {
        let (listener, address) = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let tunnels = Arc::<Mutex<Vec<Tunnel>>>::default();
        let seen = Arc::clone(&tunnels);
        let accepting = runtime()?.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                // An error is a client that went away or spoke something else.
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(client, server, &seen).await,
                        Some(acceptor) => serve(acceptor.accept(client).await?, server, &seen).await,
                    }
                });
            }
        });
        Ok(Self { address, tunnels, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every tunnel so far, in the order of arrival.
    pub fn tunnels(&self) -> Vec<Tunnel> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn forget_tunnels(&self) {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve<S>(mut client: S, server: SocketAddr, seen: &Mutex<Vec<Tunnel>>) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let first = client.read_u8().await?;
    let (tunnel, answer) = if first == 5 { socks(&mut client).await? } else { connect(first, &mut client).await? };
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(tunnel);
    let mut server = TcpStream::connect(server).await?;
    client.write_all(&answer).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn connect<S: AsyncRead + Unpin>(first: u8, client: &mut S) -> Result<(Tunnel, Vec<u8>)> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let mut lines = head.lines();
    let to = lines.next().and_then(|line| line.strip_prefix("CONNECT ")?.split(' ').next()).context("CONNECT")?;
    let authorization = lines
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"))
        .map(|(_, value)| value.to_owned());
    Ok((Tunnel { to: to.to_owned(), authorization }, b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec()))
}

/// RFC 1928, without authentication. The version of the greeting is read already.
async fn socks<S: AsyncRead + AsyncWrite + Unpin>(client: &mut S) -> Result<(Tunnel, Vec<u8>)> {
    let methods = client.read_u8().await?;
    client.read_exact(&mut vec![0; methods.into()]).await?;
    client.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => Ipv4Addr::from_bits(client.read_u32().await?).to_string(),
        3 => {
            let mut name = vec![0; client.read_u8().await?.into()];
            client.read_exact(&mut name).await?;
            String::from_utf8(name)?
        }
        other => bail!("an address of type {other}"),
    };
    let port = client.read_u16().await?;
    Ok((Tunnel { to: format!("{host}:{port}"), authorization: None }, vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
}
