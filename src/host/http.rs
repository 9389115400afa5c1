//! HTTP requests to one server from a host: by this process, or by a program of another host.

use super::{Attempt, Fetched, NO_HTTP_PROGRAM, Remote, ssh::forward::Forward};
use crate::{
    clock,
    error::{Error, Result},
    model::{
        access::certificate::tls_error,
        text::{
            limits::{METRICS_LINE, PROMETHEUS, append, size},
            line,
        },
        token::clock::ClockLead,
    },
};
use http::{
    HeaderValue, Method, Request, Uri,
    header::{AUTHORIZATION, DATE},
    uri::PathAndQuery,
};
use http_body_util::BodyExt;
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{
        Builder,
        connect::{Connection, HttpConnector},
    },
    rt::TokioExecutor,
};
use kube::{Client, client::Body};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use rustls_platform_verifier::ConfigVerifierExt;
use std::{
    error::Error as StdError,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::Mutex;
use tower::{BoxError, Service, ServiceBuilder};

/// How a server wants its clients to be.
#[derive(Clone)]
pub struct ClientAccess {
    /// `Authorization`, marked as sensitive.
    pub authorization: Option<HeaderValue>,
    pub tls: ClientConfig,
    /// In place of the host in the URL.
    pub server_name: Option<ServerName<'static>>,
}

/// A client of one server.
#[derive(Clone)]
pub(crate) enum HttpClient {
    /// With the clock of the server, by the first answer that has a date.
    Local(Client, Arc<OnceLock<ClockLead>>),
    /// By this process too, over connections from another host, so that what it sends ends at the server. Each connection
    /// is a login there, so the requests share one.
    Forwarded { client: Client, turn: Arc<Mutex<()>>, from: String },
    /// The URL has no slash at its end.
    Ssh { remote: Remote, url: String },
}

/// Why a request has no answer.
pub(crate) enum NoAnswer {
    Late(Duration),
    /// It was not read to its end.
    TooLong(String),
    Failed {
        /// The other host that sent the request.
        from: Option<String>,
        why: String,
    },
    Untrusted(rustls::Error),
    /// The connection to the other host is lost.
    HostLost(Error),
}

impl HttpClient {
    /// A client on the event loop that runs. `timeout` is for the connection.
    ///
    /// # Errors
    /// [`NoAnswer::Failed`] where there is no TLS.
    pub(crate) fn local(url: Uri, timeout: Option<Duration>, access: Option<&ClientAccess>) -> Result<Self, NoAnswer> {
        let access = match access {
            Some(access) => access.clone(),
            None => ClientAccess { authorization: None, tls: trusting_the_system(&url)?, server_name: None },
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        Ok(Self::Local(access.client(url, timeout, tcp), Arc::default()))
    }

    pub(super) fn forwarded(remote: &Remote, url: Uri, timeout: Option<Duration>, access: &ClientAccess) -> Self {
        let client = access.client(url, timeout, Forward::of(remote, timeout));
        Self::Forwarded { client, turn: Arc::default(), from: remote.host().to_owned() }
    }

    /// The clock of a server that this process asks. None before the first answer.
    pub(crate) fn clock(&self) -> Option<ClockLead> {
        match self {
            Self::Local(_, clock) => clock.get().copied(),
            Self::Forwarded { .. } | Self::Ssh { .. } => None,
        }
    }

    /// An answer, whatever its code. `path` follows the URL of the server.
    pub(crate) async fn send(&self, method: Method, path: &str, limit: Option<Duration>) -> Result<Fetched, NoAnswer> {
        if let Self::Ssh { remote, url } = self {
            return fetch(remote, &method, &format!("{url}{path}"), limit, None).await;
        }
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        let mut body = Vec::new();
        let take = |piece: &[u8]| {
            if append(&mut body, piece, PROMETHEUS.bytes) { Ok(true) } else { Err(too_long(path)) }
        };
        let code = self.receive(request, limit, take).await?;
        Ok(Fetched { code, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Reads a page line by line until `read` has enough, and returns its code. Another host leaves out the lines that do
    /// not match the extended regular expression `only`.
    pub(crate) async fn lines(
        &self,
        path: &str,
        limit: Option<Duration>,
        only: &str,
        mut read: impl FnMut(&str) -> bool,
    ) -> Result<u16, NoAnswer> {
        if let Self::Ssh { remote, url } = self {
            let page = fetch(remote, &Method::GET, &format!("{url}{path}"), limit, Some(only)).await?;
            let _ = page.body.lines().any(read);
            return Ok(page.code);
        }
        // A connection that is not read to the end of an answer is closed.
        let reads_all = matches!(self, Self::Forwarded { .. });
        let mut has_enough = false;
        let request = Request::get(path).body(Body::empty());
        let mut begun = Vec::new();
        let take = |piece: &[u8]| {
            for part in piece.split_inclusive(|byte| *byte == b'\n') {
                begun.extend_from_slice(part);
                if begun.len() > METRICS_LINE {
                    let limit = size(METRICS_LINE);
                    return Err(NoAnswer::TooLong(format!("a line of the answer to {path} has more than {limit}")));
                }
                if part.ends_with(b"\n") {
                    has_enough = has_enough || read(String::from_utf8_lossy(&begun).trim_end());
                    if has_enough && !reads_all {
                        return Ok(false);
                    }
                    begun.clear();
                }
            }
            Ok(true)
        };
        let code = self.receive(request, limit, take).await?;
        // A text may end without the end of a line.
        let _ = !begun.is_empty() && !has_enough && read(&String::from_utf8_lossy(&begun));
        Ok(code)
    }

    /// Hands over the body of an answer to a request of this process, as [`receive`] does.
    async fn receive(
        &self,
        request: http::Result<Request<Body>>,
        limit: Option<Duration>,
        take: impl FnMut(&[u8]) -> Result<bool, NoAnswer>,
    ) -> Result<u16, NoAnswer> {
        match self {
            Self::Local(client, clock) => {
                let saw = |lead| {
                    let _ = clock.set(lead);
                };
                within(limit, receive(client, request, take, saw)).await?
            }
            Self::Forwarded { client, turn, from } => {
                let _turn = turn.lock().await;
                within(limit, receive(client, request, take, drop)).await?.map_err(|error| match error {
                    NoAnswer::Failed { why, .. } => NoAnswer::Failed { from: Some(from.clone()), why },
                    other => other,
                })
            }
            Self::Ssh { .. } => unreachable!("another program reads the answer"),
        }
    }
}

impl ClientAccess {
    /// The same as who asks without a password.
    pub(crate) fn anonymous(&self) -> Self {
        Self { authorization: None, ..self.clone() }
    }

    fn client<C>(&self, url: Uri, timeout: Option<Duration>, connector: C) -> Client
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: Connection + Read + Write + Send + Unpin + 'static,
        C::Future: Send + 'static,
        C::Error: Into<BoxError>,
    {
        let builder = HttpsConnectorBuilder::new().with_tls_config(self.tls.clone()).https_or_http();
        let builder = match self.server_name.clone() {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let mut connector = TimeoutConnector::new(builder.enable_http1().wrap_connector(connector));
        connector.set_connect_timeout(timeout);
        let authorization = self.authorization.clone();
        let service = ServiceBuilder::new()
            .filter(move |request| addressed(request, &url, authorization.as_ref()).map_err(BoxError::from))
            .service(Builder::new(TokioExecutor::new()).build::<_, Body>(connector));
        Client::new(service, "default")
    }
}

/// A server is verified by the CAs of the system, which are read only where there is TLS.
fn trusting_the_system(url: &Uri) -> Result<ClientConfig, NoAnswer> {
    if url.scheme_str() != Some("https") {
        return Ok(ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    }
    ClientConfig::with_platform_verifier().map_err(|error| failed(&error))
}

/// The request as it goes over the network.
fn addressed(
    mut request: Request<Body>,
    base: &Uri,
    authorization: Option<&HeaderValue>,
) -> http::Result<Request<Body>> {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(format!("{}{path}", base.path().trim_end_matches('/')).try_into()?);
    *request.uri_mut() = Uri::from_parts(parts)?;
    request.headers_mut().extend(authorization.map(|value| (AUTHORIZATION, value.clone())));
    Ok(request)
}

/// Hands over the body of an answer as it comes, until `take` wants no more, and returns the code.
async fn receive(
    client: &Client,
    request: http::Result<Request<Body>>,
    mut take: impl FnMut(&[u8]) -> Result<bool, NoAnswer>,
    saw: impl FnOnce(ClockLead),
) -> Result<u16, NoAnswer> {
    let request = request.map_err(|error| failed(&error))?;
    let (head, mut body) = client.send(request).await.map_err(|error| failed(&error))?.into_parts();
    if let Some(lead) = head.headers.get(DATE).and_then(|date| ClockLead::of_answer(date.as_bytes(), clock::now())) {
        saw(lead);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&error))?;
        if let Some(piece) = frame.data_ref()
            && !take(piece)?
        {
            break;
        }
    }
    Ok(head.status.as_u16())
}

fn too_long(path: &str) -> NoAnswer {
    let path = path.split('?').next().unwrap_or(path);
    NoAnswer::TooLong(format!("the answer to {path} has more than {}", size(PROMETHEUS.bytes)))
}

async fn fetch(
    remote: &Remote,
    method: &Method,
    url: &str,
    limit: Option<Duration>,
    only: Option<&str>,
) -> Result<Fetched, NoAnswer> {
    let from = Some(remote.host().to_owned());
    match remote.fetch(method.as_str(), url, limit, only).await.map_err(NoAnswer::HostLost)? {
        Attempt::Done(fetched) => Ok(fetched),
        Attempt::Refused(why) => Err(NoAnswer::Failed { from, why }),
        Attempt::Absent => Err(NoAnswer::Failed { from, why: NO_HTTP_PROGRAM.to_owned() }),
    }
}

async fn within<T>(limit: Option<Duration>, call: impl Future<Output = T>) -> Result<T, NoAnswer> {
    match limit {
        None => Ok(call.await),
        Some(limit) => tokio::time::timeout(limit, call).await.map_err(|_| NoAnswer::Late(limit)),
    }
}

/// The cause is at the end of a chain of wrappers.
fn failed(error: &(dyn StdError + 'static)) -> NoAnswer {
    let mut deepest = error;
    loop {
        if let Some(error) = tls_error(deepest) {
            return NoAnswer::Untrusted(error.clone());
        }
        match deepest.source() {
            Some(cause) => deepest = cause,
            None => break,
        }
    }
    NoAnswer::Failed { from: None, why: line::first(&deepest.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::tls, model::text::header};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// The head of the only request that a server gets, in lower case.
    async fn request(access: &ClientAccess) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prefix/", listener.local_addr().unwrap()).parse().unwrap();
        let client = HttpClient::local(url, None, Some(access)).unwrap_or_else(|_| panic!("a client"));
        let served = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            String::from_utf8(head).unwrap().to_lowercase()
        };
        let (head, answer) = tokio::join!(served, client.send(Method::GET, "/-/ready?a=b", None));
        assert!(answer.is_ok_and(|answer| (answer.code, answer.body.as_str()) == (200, "ok")));
        head
    }

    #[tokio::test]
    async fn authorization_is_sent_unless_the_client_is_anonymous() {
        let access = ClientAccess {
            authorization: header::value(b"Bearer hunter2").ok(),
            tls: tls::trusting_none().unwrap(),
            server_name: None,
        };
        let head = request(&access).await;
        assert!(head.starts_with("get /prefix/-/ready?a=b http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nauthorization: bearer hunter2\r\n"), "{head}");
        let head = request(&access.anonymous()).await;
        assert!(!head.contains("authorization") && !head.contains("hunter2"), "{head}");
    }
}
