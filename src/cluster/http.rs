//! HTTP to an API server: a client within our limits that reports its requests, and an answer that is read in time.

use super::{
    connections::{AnswerBody, Connections, copy},
    network::{Network, Protocols},
};
use crate::{
    clock,
    error::{Error, Reason},
    model::{
        job::exposition::{Content, Exposition, FallbackProtocol},
        text::{
            json,
            limits::{HEAD, METRICS_PAGE, OBJECT, append, size},
            line::escaped,
        },
        token::clock::ClockLead,
    },
};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
    uri::{Authority, PathAndQuery},
};
use http_body_util::BodyExt;
use kube::{Config, client::Body, core::Status};
use serde::Deserialize;
use serde_json::Value;
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tower::BoxError;

/// One request and its outcome, for `-v`. Never headers or bodies.
#[derive(Clone, Debug)]
pub struct ApiCall {
    pub method: Method,
    /// The whole address, without what may be secret in it.
    pub url: String,
    pub status: Option<u16>,
    pub took: Duration,
}

impl fmt::Display for ApiCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, url, status, took } = self;
        let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        write!(f, "{method} {url} {status} in {} ms", took.as_millis())
    }
}

/// Is told of every request.
pub type Log = Arc<dyn Fn(ApiCall) + Send + Sync>;

/// An HTTP answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub code: u16,
    pub body: String,
    /// Where a redirect leads.
    pub location: Option<String>,
}

impl Answer {
    pub(super) fn new<B>(head: &Response<B>, body: Vec<u8>) -> Self {
        let body =
            String::from_utf8(body).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Self { code: head.status().as_u16(), body, location: text(head, header::LOCATION) }
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        json::read(self.body.as_bytes(), OBJECT.memory).unwrap_or_default()
    }

    /// Whether the API server itself says this, and not what it forwarded a request to.
    pub fn is_of_the_api_server(&self) -> bool {
        let body = self.json();
        body["kind"] == "Status" && body["apiVersion"] == "v1"
    }

    /// The text of the body in one line.
    pub(super) fn words(&self) -> String {
        let body: String = self.body.chars().take(HEAD).collect();
        escaped(&body.split_whitespace().collect::<Vec<_>>().join(" ")).chars().take(500).collect()
    }

    /// `302 to https://login/`, `403: <html>`: what came of a request, in one line.
    pub fn shown(&self) -> String {
        /// Enough to recognise a page.
        const WORDS: usize = 120;
        let words: String = self.words().chars().take(WORDS).collect();
        let to = self.location.iter().map(|location| {
            let location: String = escaped(location).chars().take(WORDS).collect();
            format!(" to {location}")
        });
        let said = if words.is_empty() { String::new() } else { format!(": {words}") };
        format!("{}{}{said}", self.code, to.collect::<String>())
    }

    /// What the answer says: the message of a Status, or the text itself, its first line.
    pub fn message(&self) -> String {
        let status = status(self.body.as_bytes());
        // Another program's JSON is a Status without any message.
        let text = status.as_ref().map(|status| &status.message).filter(|text| !text.is_empty()).unwrap_or(&self.body);
        escaped(text.lines().next().unwrap_or_default()).chars().take(500).collect()
    }
}

/// The Status that an answer is; its message is for people.
pub(super) fn status(body: &[u8]) -> Option<Status> {
    let mut status = Status::deserialize(json::read(body, OBJECT.memory).ok()?).ok()?;
    if status.message.len() > HEAD {
        status.message = status.message.chars().take(HEAD / 4).collect();
    }
    Some(status)
}

impl From<Response<Vec<u8>>> for Answer {
    fn from(response: Response<Vec<u8>>) -> Self {
        let (head, body) = response.into_parts();
        Self::new(&Response::from_parts(head, ()), body)
    }
}

/// A header's text.
fn text<B>(head: &Response<B>, name: HeaderName) -> Option<String> {
    Some(String::from_utf8_lossy(head.headers().get(name)?.as_bytes()).into_owned())
}

/// A page of metrics, which was parsed as it came.
#[derive(Clone, Debug)]
pub struct MetricsPage {
    /// The beginning, for what an answer that is no page says.
    pub answer: Answer,
    pub content: Content,
    pub bytes: usize,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    InTime,
    /// The answer to this path has more bytes than this.
    TooLong(String, usize),
    Failed(BoxError),
}

/// The error about an answer that was not read to its end.
pub(super) fn too_long(path: &str, bytes: usize) -> Error {
    Error::new(Reason::LimitExceeded, format!("the answer to {path} has more than {}", size(bytes)))
        .hint("The plugin reads no more of it, so that one server cannot take all memory. Who answers there?")
}

/// The same of an answer whose JSON takes more memory than that.
pub(super) fn too_large(path: &str, memory: usize) -> Error {
    too_long(path, memory).reworded(|message| format!("{message} in memory"))
}

/// Sends a request and reads the whole answer, whatever its status, within limits.
pub(super) async fn send(
    client: &Client,
    request: Request<Body>,
    limit: Option<Duration>,
    bytes: usize,
) -> Result<Response<Vec<u8>>, NoAnswer> {
    let path = request.uri().path().to_owned();
    let mut read = Vec::new();
    let head = receive(client, request, limit, |_, piece| {
        if append(&mut read, piece, bytes) { Ok(true) } else { Err(NoAnswer::TooLong(path.clone(), bytes)) }
    });
    let head = head.await?;
    Ok(head.map(|()| read))
}

/// The same where only the code and the beginning of an answer matter.
pub(super) async fn send_for_head(
    client: &Client,
    request: Request<Body>,
    limit: Option<Duration>,
) -> Result<Answer, NoAnswer> {
    let mut read = Vec::new();
    let head = receive(client, request, limit, |_, piece| {
        read.extend_from_slice(&piece[..piece.len().min(HEAD - read.len())]);
        Ok(read.len() < HEAD)
    });
    Ok(Answer::new(&head.await?, read))
}

/// What Prometheus accepts (prometheus `scrape/scrape.go`, `acceptHeader`): some targets answer JSON otherwise.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                      text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";

/// How much of a page is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// Enough to see that it is a page of metrics.
    Beginning,
}

/// The same for a page of metrics, which is not kept.
pub(super) async fn send_for_metrics(
    client: &Client,
    mut request: Request<Body>,
    limit: Option<Duration>,
    extent: Extent,
    fallback: Option<FallbackProtocol>,
) -> Result<MetricsPage, NoAnswer> {
    let path = request.uri().path().to_owned();
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
    let (mut read, mut bytes) = (Vec::new(), 0_usize);
    let (mut exposition, mut is_cut) = (None, false);
    let opened = |head: &Response<()>| Exposition::new(text(head, header::CONTENT_TYPE).as_deref(), fallback);
    let head = receive(client, request, limit, |head, piece| {
        read.extend_from_slice(&piece[..piece.len().min(HEAD - read.len())]);
        exposition.get_or_insert_with(|| opened(head)).read(piece);
        bytes += piece.len();
        if bytes > METRICS_PAGE {
            return Err(NoAnswer::TooLong(path.clone(), METRICS_PAGE));
        }
        is_cut = extent == Extent::Beginning && bytes >= HEAD;
        Ok(!is_cut)
    });
    let head = head.await?;
    let exposition = exposition.unwrap_or_else(|| opened(&head));
    let content = if is_cut { exposition.beginning() } else { exposition.finish() };
    Ok(MetricsPage { answer: Answer::new(&head, read), content, bytes })
}

/// Sends a request and hands over the body as it comes, until `take` wants no more.
async fn receive(
    client: &Client,
    request: Request<Body>,
    limit: Option<Duration>,
    mut take: impl FnMut(&Response<()>, &[u8]) -> Result<bool, NoAnswer>,
) -> Result<Response<()>, NoAnswer> {
    let call = Box::pin(async {
        let (head, mut body) = client.send(request, limit).await.map_err(NoAnswer::Failed)?.into_parts();
        let head = Response::from_parts(head, ());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(NoAnswer::Failed)?;
            if let Some(piece) = frame.data_ref()
                && !take(&head, piece)?
            {
                break;
            }
        }
        Ok(head)
    });
    within(limit, call).await
}

/// `None`: waits for ever.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, NoAnswer>>,
) -> Result<T, NoAnswer> {
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| NoAnswer::InTime)?,
    }
}

/// kube's defaults wait for ever.
pub(super) fn bound(config: &mut Config, timeout: Option<Duration>) {
    config.connect_timeout = timeout;
    config.read_timeout = timeout;
    config.write_timeout = timeout;
    config.reset_reader_on_write = true;
}

/// Sends requests to one server, and reports each.
#[derive(Clone)]
pub(super) struct Client {
    connections: Connections,
    base: Uri,
    /// The credentials.
    headers: Arc<[(HeaderName, HeaderValue)]>,
    log: Option<Log>,
    /// By the first answer that has a date.
    clock: Arc<OnceLock<ClockLead>>,
}

impl Client {
    pub(super) fn new(network: &Network, protocols: Protocols, log: Option<Log>) -> Self {
        let Config { cluster_url, headers, .. } = network.config();
        let connections = network.connections(protocols);
        Self { connections, base: cluster_url.clone(), headers: headers.as_slice().into(), log, clock: Arc::default() }
    }

    /// The clock of the server. None before its first answer.
    pub(super) fn clock(&self) -> Option<ClockLead> {
        self.clock.get().copied()
    }

    /// Opens a connection for what follows, and sends nothing over it.
    pub(super) async fn open(&self, limit: Option<Duration>) -> Result<(), NoAnswer> {
        within(limit, async { self.connections.open().await.map_err(NoAnswer::Failed) }).await
    }

    /// Sends it again when the server says so, as client-go does. An answer that asks for a wait beyond the limit is the
    /// answer.
    async fn send(
        &self,
        mut request: Request<Body>,
        limit: Option<Duration>,
    ) -> Result<Response<AnswerBody>, BoxError> {
        let started = tokio::time::Instant::now();
        for _ in 0..AGAIN {
            let again = copy(&request);
            let answer = self.send_once(request).await?;
            let wait = retry_after(&answer);
            let in_time = wait.filter(|wait| limit.is_none_or(|limit| started.elapsed() + *wait < limit));
            match (again, in_time) {
                (Some(again), Some(wait)) => {
                    drop(answer);
                    tokio::time::sleep(wait).await;
                    request = again;
                }
                _ => return Ok(answer),
            }
        }
        self.send_once(request).await
    }

    async fn send_once(&self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        let (method, url, started) = (request.method().clone(), shown(&self.base, request.uri()), Instant::now());
        let answer = match addressed(request, &self.base, &self.headers) {
            Ok(request) => self.connections.send(request).await,
            Err(error) => Err(error.into()),
        };
        let date = answer.as_ref().ok().and_then(|answer| answer.headers().get(header::DATE));
        if let Some(lead) = date.and_then(|date| ClockLead::of_answer(date.as_bytes(), clock::now())) {
            let _ = self.clock.set(lead);
        }
        if let Some(log) = &self.log {
            let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            log(ApiCall { method, url, status, took: started.elapsed() });
        }
        answer
    }
}

/// How often a request is sent again because the server asks for it (client-go `rest/request.go`, `maxRetries`).
const AGAIN: usize = 10;

/// When a server that refuses all requests for now wants this one again: an API server that has too many at once, or that
/// starts (client-go `rest/with_retry.go`, `checkWait`).
fn retry_after<B>(answer: &Response<B>) -> Option<Duration> {
    let is_for_now = answer.status() == StatusCode::TOO_MANY_REQUESTS || answer.status().is_server_error();
    let seconds = text(answer, header::RETRY_AFTER)?.parse().ok()?;
    is_for_now.then(|| Duration::from_secs(seconds))
}

/// The request as it goes over the network: with the address of the server, and with the credentials.
fn addressed(
    mut request: Request<Body>,
    base: &Uri,
    headers: &[(HeaderName, HeaderValue)],
) -> http::Result<Request<Body>> {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(format!("{}{path}", base.path().trim_end_matches('/')).try_into()?);
    *request.uri_mut() = Uri::from_parts(parts)?;
    for (name, value) in headers {
        request.headers_mut().try_append(name, value.clone()).map_err(http::Error::from)?;
    }
    Ok(request)
}

/// The address of a request, for people: no user and password of the server's, and of the query only the values that
/// are known to be no secrets.
fn shown(base: &Uri, path: &Uri) -> String {
    const HARMLESS: [&str; 6] = ["command", "dryRun", "fieldManager", "labelSelector", "limit", "output"];
    let authority = base.authority().map(Authority::as_str).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let scheme = base.scheme_str().unwrap_or_default();
    let mut shown = format!("{scheme}://{host}{}{}", base.path().trim_end_matches('/'), path.path());
    for (index, pair) in path.query().into_iter().flat_map(|query| query.split('&')).enumerate() {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = if HARMLESS.contains(&key) { value } else { "***" };
        shown += &format!("{}{key}={value}", if index == 0 { '?' } else { '&' });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::error::from_status, hostile, model::text::line::drives_a_terminal};

    #[test]
    fn logged_address_shows_no_secret() {
        for (base, path, url) in [
            ("https://east:6443", "/version", "https://east:6443/version"),
            ("http://127.0.0.1:8001", "/version", "http://127.0.0.1:8001/version"),
            (
                "https://rancher/k8s/clusters/c-1/",
                "/api/v1/nodes?limit=1",
                "https://rancher/k8s/clusters/c-1/api/v1/nodes?limit=1",
            ),
            ("https://me:hunter2@east", "/version", "https://east/version"),
            ("https://east", "/x?token=hunter2&dryRun=All&hunter2", "https://east/x?token=***&dryRun=All&hunter2=***"),
        ] {
            assert_eq!(shown(&base.parse().unwrap(), &path.parse().unwrap()), url);
        }
    }

    #[test]
    fn requests_end_at_the_timeout() {
        let limit = Some(Duration::from_secs(10));
        let mut config = Config::new(Uri::from_static("https://east"));
        bound(&mut config, limit);
        assert_eq!([config.connect_timeout, config.read_timeout, config.write_timeout], [limit; 3]);
        assert!(config.reset_reader_on_write);
    }

    #[test]
    fn hostile_answers_are_survived() {
        let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"nodes \"n\" is forbidden: admission webhook \"w\" denied the request: no","reason":"Forbidden","details":{"name":"n","kind":"nodes","causes":[{"reason":"x","message":"y","field":"z"}],"retryAfterSeconds":1},"code":403}"#;
        let list = r#"{"items":[{}],"metadata":{"remainingItemCount":18446744073709551615,"continue":"x"}}"#;
        hostile::bytes(&[status.as_bytes(), b"<html>\n<title>Log in</title>", list.as_bytes()], |body| {
            let answer = Answer::new(&Response::new(()), body.to_vec());
            for said in [answer.shown(), answer.words(), answer.message()] {
                assert!(!said.contains(drives_a_terminal) && said.len() < 9_000, "{said}");
            }
            let _ = (answer.is_of_the_api_server(), super::super::count(&answer.json()));
            if let Some(status) = super::status(body) {
                let error = from_status(&status);
                assert!(!error.to_string().contains(drives_a_terminal) && !error.hints.is_empty(), "{error}");
            }
        });
    }
}
