//! A proxy in front of an API server, over TLS, or of a Prometheus, that records every request and can spoil some.

use std::convert::Infallible;
use std::env;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::api;
use crate::cluster::Cluster;
use crate::delay::listen;
use crate::kubeconfig::{Kubeconfig, User};
use crate::pki::Client;
use crate::runtime::runtime;

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Answer in place of the API server, which does not see the request.
    Answer {
        status: u16,
        body: Value,
    },
    /// The same with plain text, as a kubelet or a proxy answers.
    Text {
        status: u16,
        text: String,
    },
    /// Close the connection without an answer; the API server does not see the request.
    Close,
    /// As where nobody listens. A proxy closes a connection that it has accepted already.
    Refuse,
    /// Let the API server do it, then close the connection without an answer.
    LoseAnswer,
    /// Let the API server do it, then close the connection after half of the answer.
    CutAnswer,
    /// Answer with a body that does not end; the API server does not see the request.
    Endless,
    /// Never answer; the API server does not see the request.
    Hang,
    /// Forward it after a while.
    Delay(Duration),
    Pass,
}

/// Of a matrix of requests and faults one cell in `usual` is run: each in so many. All with `FAULT_MATRIX=all`, those of
/// one fault and no other with its name.
pub fn share(fault: &str, usual: usize) -> Option<usize> {
    match env::var("FAULT_MATRIX").ok().as_deref() {
        None => Some(usual),
        Some(asked) => (asked == "all" || asked == fault).then_some(1),
    }
}

/// Where the fault "redirect" leads: a client that follows it is seen to ask for this.
pub const REDIRECTED: &str = "/log-in";

/// What a request may meet, by name. `limit` is the time that the client waits for an answer.
pub fn faults(limit: Duration) -> Vec<(&'static str, Action)> {
    let text = |status, text: &str| Action::Text { status, text: text.to_owned() };
    let refusal = |status: u16, reason: &str, message: &str| Action::Answer {
        status,
        body: json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status,
        }),
    };
    vec![
        ("refused", Action::Refuse),
        ("reset", Action::Close),
        ("answer lost", Action::LoseAnswer),
        ("slow", Action::Delay(limit * 3 / 4)),
        ("hang", Action::Hang),
        ("endless", Action::Endless),
        ("cut", Action::CutAnswer),
        ("half a JSON", text(200, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{\"na")),
        ("no JSON", text(200, "ok")),
        ("log-in page", text(200, "<!doctype html><html><title>Sign in</title></html>")),
        ("redirect", text(302, "<a href=\"/log-in\">Found</a>")),
        ("another object", Action::Answer { status: 200, body: json!({ "kind": "Pod", "apiVersion": "v1" }) }),
        ("401", refusal(401, "Unauthorized", "Unauthorized")),
        ("403", refusal(403, "Forbidden", "the request is forbidden")),
        ("409", refusal(409, "Conflict", "the object has been modified")),
        ("429", refusal(429, "TooManyRequests", "too many requests, please try again later")),
        ("500", refusal(500, "InternalError", "etcdserver: request timed out")),
        ("503", refusal(503, "ServiceUnavailable", "the server is currently unable to handle the request")),
        ("504", refusal(504, "Timeout", "the server was unable to return a response in the time allotted")),
    ]
}

/// Which requests an action is for. The first rule that matches a request decides.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Any method if `None`.
    pub method: Option<String>,
    /// A part of the path and query.
    pub path_contains: String,
    /// How the client's own name, `User-Agent`, begins. Any client if `None`.
    pub client: Option<String>,
    pub action: Action,
    /// How many matching requests pass before the action begins.
    pub skip: usize,
    /// How often the action happens, without end if `None`.
    pub times: Option<usize>,
}

impl Rule {
    /// Every request with this method, `*` for any, whose path contains this text.
    pub fn new(method: &str, path_contains: &str, action: Action) -> Self {
        let method = (method != "*").then(|| method.to_owned());
        Self { method, path_contains: path_contains.to_owned(), client: None, action, skip: 0, times: None }
    }

    /// Only requests of a client whose `User-Agent` begins like this.
    #[must_use]
    pub fn by(mut self, client: &str) -> Self {
        self.client = Some(client.to_owned());
        self
    }

    #[must_use]
    pub fn skip(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    /// Count this request and say what to do with it, if this rule is about it.
    pub fn take(&mut self, method: &str, path: &str, client: &str) -> Option<Action> {
        if self.method.as_ref().is_some_and(|own| own != method)
            || !path.contains(&self.path_contains)
            || self.client.as_ref().is_some_and(|own| !client.starts_with(own))
        {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return Some(Action::Pass);
        }
        match &mut self.times {
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(self.action.clone())
            }
            None => Some(self.action.clone()),
        }
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    pub body: Bytes,
    /// Whether it brought credentials of its own in a header.
    pub authorization: bool,
    /// Who it says it is: the headers `authorization` and `impersonate-…`, sorted.
    pub identity: Vec<(String, String)>,
}

impl Request {
    /// The body as JSON, `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a proxy is like to its clients.
#[derive(Clone, Debug)]
pub struct Front {
    /// Where it listens, on a port that the kernel chooses.
    pub address: IpAddr,
    /// The path in front of `/api`, as Rancher has one; whatever is outside is not found.
    pub prefix: String,
    /// Whom its certificate is for.
    pub hosts: Vec<String>,
}

impl Default for Front {
    fn default() -> Self {
        let hosts = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
        Self { address: Ipv4Addr::LOCALHOST.into(), prefix: String::new(), hosts }
    }
}

/// The running proxy; dropping it ends it.
pub struct FaultProxy {
    address: SocketAddr,
    url: String,
    /// Of a cluster, and its file.
    kubeconfig: Option<(Kubeconfig, PathBuf)>,
    inner: Arc<Inner>,
    accepting: JoinHandle<()>,
}

struct Inner {
    server: SocketAddr,
    prefix: String,
    /// Of an API server.
    tls: Option<Tls>,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<Request>>,
}

struct Tls {
    /// For a request with credentials of its own.
    plain: Arc<ClientConfig>,
    /// For one without, which is made with the administrator's.
    admin: Arc<ClientConfig>,
}

impl FaultProxy {
    /// In front of a server that speaks plain HTTP.
    pub fn of_http(server: SocketAddr) -> Result<Self> {
        let (listener, address) = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let (rules, requests) = Default::default();
        let inner = Arc::new(Inner { server, prefix: String::new(), tls: None, rules, requests });
        let accepting = runtime()?.spawn(accept(listener, None, Arc::clone(&inner)));
        Ok(Self { address, url: format!("http://{address}"), kubeconfig: None, inner, accepting })
    }

    pub fn in_front_of(cluster: &Cluster) -> Result<Self> {
        Self::with(cluster, Front::default())
    }

    pub fn with(cluster: &Cluster, Front { address, prefix, hosts }: Front) -> Result<Self> {
        let User::Certificate(admin) = cluster.admin().user else { bail!("the administrator has a certificate") };
        let (listener, address) = listen(SocketAddr::new(address, 0))?;
        let url = format!("https://{address}{prefix}");
        // The administrator's certificate stays in: the proxy never asks for it, but without any credentials kubectl
        // asks its user for a password.
        let kubeconfig = Kubeconfig { server: url.clone(), ..cluster.admin() };
        let path = cluster.write_kubeconfig(&kubeconfig)?;
        let inner = Arc::new(Inner {
            server: cluster.address(),
            prefix,
            tls: Some(Tls {
                plain: api::tls(cluster.ca_file(), None)?,
                admin: api::tls(cluster.ca_file(), Some(&admin))?,
            }),
            rules: Mutex::default(),
            requests: Mutex::default(),
        });
        let acceptor = TlsAcceptor::from(Arc::new(server_tls(&cluster.server_certificate(&hosts)?)?));
        let accepting = runtime()?.spawn(accept(listener, Some(acceptor), Arc::clone(&inner)));
        Ok(Self { address, url, kubeconfig: Some((kubeconfig, path)), inner, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// A kubeconfig of a client that is the administrator behind this proxy.
    pub fn kubeconfig(&self) -> PathBuf {
        self.of_cluster().1.clone()
    }

    /// The same, to be varied: with a token as its user, say.
    pub fn client(&self) -> Kubeconfig {
        self.of_cluster().0.clone()
    }

    fn of_cluster(&self) -> &(Kubeconfig, PathBuf) {
        self.kubeconfig.as_ref().expect("it is in front of a cluster")
    }

    /// Add a rule, after those that are there.
    pub fn rule(&self, rule: Rule) {
        lock(&self.inner.rules).push(rule);
    }

    pub fn clear_rules(&self) {
        lock(&self.inner.rules).clear();
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.inner.requests).clone()
    }

    pub fn forget_requests(&self) {
        lock(&self.inner.requests).clear();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl std::fmt::Debug for FaultProxy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FaultProxy").field("address", &self.address).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn server_tls(certificate: &Client) -> Result<ServerConfig> {
    let (chain, key) = certificate.load()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_no_client_auth().with_single_cert(chain, key)?)
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, inner: Arc<Inner>) {
    while let Ok((client, _)) = listener.accept().await {
        let (acceptor, inner) = (acceptor.clone(), Arc::clone(&inner));
        tokio::spawn(async move {
            let _ = client.set_nodelay(true);
            match acceptor {
                None => serve(client, inner).await,
                Some(acceptor) => {
                    if let Ok(client) = acceptor.accept(client).await {
                        serve(client, inner).await;
                    }
                }
            }
        });
    }
}

async fn serve(client: impl AsyncRead + AsyncWrite + Unpin + 'static, inner: Arc<Inner>) {
    let service = service_fn(move |request| Arc::clone(&inner).handle(request));
    // An error here is a connection that one of both sides closed, which is what a rule may ask for.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(client), service).await;
}

type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

impl Inner {
    /// An error closes the client's connection without an answer.
    async fn handle(self: Arc<Self>, request: hyper::Request<Incoming>) -> Result<hyper::Response<Body>, Closed> {
        let (mut head, body) = request.into_parts();
        let method = head.method.to_string();
        let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let Some(path) = path.strip_prefix(&self.prefix).filter(|rest| rest.starts_with('/')).map(str::to_owned) else {
            return answer(404, "not under this prefix", "text/plain");
        };
        head.uri = path.parse().map_err(|_| Closed)?;
        let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
        let authorization = head.headers.contains_key(AUTHORIZATION);
        let client = head.headers.get(USER_AGENT).and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned();
        let mut identity: Vec<(String, String)> = head
            .headers
            .iter()
            .filter(|(name, _)| *name == AUTHORIZATION || name.as_str().starts_with("impersonate-"))
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        identity.sort();
        lock(&self.requests).push(Request {
            method: method.clone(),
            path: path.clone(),
            body: body.clone(),
            authorization,
            identity,
        });
        let action = lock(&self.rules).iter_mut().find_map(|rule| rule.take(&method, &path, &client));
        let request = hyper::Request::from_parts(head, Full::new(body));
        match action.unwrap_or(Action::Pass) {
            Action::Answer { status, body } => answer(status, &body.to_string(), "application/json"),
            Action::Text { status, text } => answer(status, &text, "text/plain; version=0.0.4"),
            Action::Close | Action::Refuse => Err(Closed),
            Action::Endless => {
                let body = Endless.map_err(|never: Infallible| match never {}).boxed();
                hyper::Response::builder().header(CONTENT_TYPE, "application/json").body(body).map_err(|_| Closed)
            }
            Action::Hang => std::future::pending().await,
            Action::Delay(duration) => {
                tokio::time::sleep(duration).await;
                self.pass(request).await
            }
            Action::LoseAnswer => {
                let lost = self.pass(request).await?;
                // All of it, so that the API server has done all that was asked.
                let _ = lost.into_body().collect().await;
                Err(Closed)
            }
            Action::CutAnswer => {
                let (head, body) = self.pass(request).await?.into_parts();
                let whole = body.collect().await.map_err(|_| Closed)?.to_bytes();
                let body =
                    Cut { half: Some(whole.slice(..whole.len() / 2)), end: Box::pin(tokio::time::sleep(SENT_BY)) };
                Ok(hyper::Response::from_parts(head, body.map_err(Into::into).boxed()))
            }
            Action::Pass => self.pass(request).await,
        }
    }

    async fn pass(&self, request: hyper::Request<Full<Bytes>>) -> Result<hyper::Response<Body>, Closed> {
        match self.forward(request).await {
            Ok(response) => Ok(response),
            Err(error) => answer(502, &format!("the testbed's proxy: {error:#}"), "text/plain"),
        }
    }

    /// Each request over a connection of its own: whose credentials it has may change from one to the next.
    async fn forward(&self, request: hyper::Request<Full<Bytes>>) -> Result<hyper::Response<Body>> {
        let stream = TcpStream::connect(self.server).await.context("connect to the server")?;
        stream.set_nodelay(true)?;
        let Some(Tls { plain, admin }) = &self.tls else { return exchange(stream, request).await };
        let tls = if request.headers().contains_key(AUTHORIZATION) { plain } else { admin };
        let stream = TlsConnector::from(Arc::clone(tls)).connect(ServerName::from(self.server.ip()), stream).await?;
        exchange(stream, request).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: hyper::Request<Full<Bytes>>,
) -> Result<hyper::Response<Body>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.map(|body| body.map_err(Into::into).boxed()))
}

fn answer(status: u16, body: &str, kind: &str) -> Result<hyper::Response<Body>, Closed> {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never: Infallible| match never {}).boxed();
    let mut answer = hyper::Response::builder().status(status).header(CONTENT_TYPE, kind);
    // As API servers do, for the faults of these names.
    match status {
        302 => answer = answer.header(LOCATION, REDIRECTED),
        429 => answer = answer.header(RETRY_AFTER, "1"),
        _ => {}
    }
    answer.body(body).map_err(|_| Closed)
}

/// A body that does not end.
#[derive(Debug)]
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Of JSON it is the beginning of a text; of metrics, a line.
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'"'; 16 * 1024])))))
    }
}

/// What was begun is sent by then.
const SENT_BY: Duration = Duration::from_millis(20);

/// A body that breaks off.
#[derive(Debug)]
struct Cut {
    half: Option<Bytes>,
    end: Pin<Box<tokio::time::Sleep>>,
}

impl hyper::body::Body for Cut {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        match self.half.take() {
            Some(half) => Poll::Ready(Some(Ok(Frame::data(half)))),
            None => self.end.as_mut().poll(context).map(|()| Some(Err(Closed))),
        }
    }
}

#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("closed by a rule")
    }
}

impl std::error::Error for Closed {}
