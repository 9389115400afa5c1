//! Servers behind real TLS whose answers the caller gives, as far away as wanted: many API servers in one process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::delay::listen;
use crate::fault::server_tls;
use crate::pki::Pki;
use crate::runtime::runtime;

/// The answer of a server; none breaks the request off.
pub type Respond = dyn Fn(&Parts, Bytes) -> Option<hyper::Response<Bytes>> + Send + Sync;

/// What servers speak over TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// HTTP/1.1 as well, as the client likes.
    Two,
    One,
}

/// Simulated servers with one certificate for `127.0.0.1`, which run until the process ends.
pub struct Simulated {
    ca: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    acceptor: TlsAcceptor,
    /// The time that a round trip takes.
    rtt: Duration,
    connections: AtomicUsize,
    /// Ends all connections.
    hang_up: Notify,
}

impl Simulated {
    /// Keeps the certificates in `dir`.
    pub fn new(dir: &Path, rtt: Duration, http: Http) -> Result<Self> {
        let pki = Pki::create(dir, "simulated")?;
        let mut tls = server_tls(&pki.server("simulated", &["127.0.0.1".to_owned()])?)?;
        if http == Http::Two {
            tls.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        }
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let shared = Shared { acceptor, rtt, connections: AtomicUsize::new(0), hang_up: Notify::new() };
        Ok(Self { ca: pki.ca_file(), shared: Arc::new(shared) })
    }

    pub fn ca_file(&self) -> &Path {
        &self.ca
    }

    /// A further server, at the address that is returned.
    pub fn serve(&self, respond: Arc<Respond>) -> Result<SocketAddr> {
        let (listener, address) = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        runtime()?.spawn(accept(listener, Arc::clone(&self.shared), respond));
        Ok(address)
    }

    /// How many connections all servers have accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Ends all connections.
    pub fn hang_up(&self) {
        self.shared.hang_up.notify_waiters();
    }
}

const HTTP2: &[u8] = b"h2";

async fn accept(listener: TcpListener, shared: Arc<Shared>, respond: Arc<Respond>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let (shared, respond) = (Arc::clone(&shared), Arc::clone(&respond));
        tokio::spawn(async move {
            tokio::select! {
                () = talk(client, &shared, respond) => {}
                () = shared.hang_up.notified() => {}
            }
        });
    }
}

/// A round trip for the connection, one for TLS 1.3 and one for each request.
async fn talk(client: TcpStream, shared: &Shared, respond: Arc<Respond>) {
    let _ = client.set_nodelay(true);
    let rtt = shared.rtt;
    sleep(2 * rtt).await;
    let Ok(client) = shared.acceptor.accept(client).await else { return };
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let respond = Arc::clone(&respond);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
            sleep(rtt).await;
            respond(&head, body).map(|response| response.map(Full::new)).ok_or(Closed)
        }
    });
    let is_http2 = client.get_ref().1.alpn_protocol() == Some(HTTP2);
    let client = TokioIo::new(client);
    // The client closes it.
    if is_http2 {
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(client, service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(client, service).await;
    }
}

#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("closed by the caller")
    }
}

impl std::error::Error for Closed {}
