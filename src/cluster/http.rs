//! HTTP to an API server: a client within our limits that reports its requests, and an answer that is read in time.

use super::network;
use crate::model::text::line::escaped;
use http::{Method, Request, Response, Uri, uri::Authority};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt},
    core::Status,
};
use serde_json::Value;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt,
    layer::layer_fn,
    util::{BoxService, Either, option_layer},
};

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
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub body: String,
}

impl Answer {
    pub(super) fn new(response: &Response<Vec<u8>>) -> Self {
        Self { code: response.status().as_u16(), body: String::from_utf8_lossy(response.body()).into_owned() }
    }

    /// Whether the API server itself says this, and not what it forwarded a request to.
    pub fn is_of_the_api_server(&self) -> bool {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["kind"] == "Status" && body["apiVersion"] == "v1"
    }

    /// What the answer says: the message of a Status, or the text itself, its first line.
    pub fn message(&self) -> String {
        let status: Option<Status> = serde_json::from_str(&self.body).ok();
        let text = status.map_or_else(|| self.body.clone(), |status| status.message);
        escaped(text.lines().next().unwrap_or_default()).chars().take(500).collect()
    }
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    InTime,
    Failed(kube::Error),
}

/// Sends a request and reads the whole answer, whatever its status, within a limit.
pub(super) async fn send(
    client: &Client,
    request: Request<Body>,
    limit: Option<Duration>,
) -> Result<Response<Vec<u8>>, NoAnswer> {
    let call = async {
        let (head, body) = client.send(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect_bytes().await?.to_vec()))
    };
    let answer = match limit {
        None => call.await,
        Some(limit) => tokio::time::timeout(limit, call).await.map_err(|_| NoAnswer::InTime)?,
    };
    answer.map_err(NoAnswer::Failed)
}

/// kube's defaults wait for ever and retry for a quarter of an hour.
pub(super) fn bound(config: &mut Config, timeout: Option<Duration>) {
    config.connect_timeout = timeout;
    config.read_timeout = timeout;
    config.write_timeout = timeout;
    config.reset_reader_on_write = true;
    config.default_retry = false;
}

/// A client that reports each request to `log`.
pub(super) fn build(config: Config, log: Option<Log>) -> kube::Result<Client> {
    let base = config.cluster_url.clone();
    match network::stand_in() {
        None => Ok(ClientBuilder::try_from(config)?.with_layer(&logging(base, log)).build()),
        Some(service) => {
            let service = ServiceBuilder::new()
                .map_err(BoxError::from)
                .layer(config.base_uri_layer())
                .option_layer(config.auth_layer()?)
                .layer(config.extra_headers_layer()?)
                .service(service);
            Ok(ClientBuilder::new(service, config.default_namespace).with_layer(&logging(base, log)).build())
        }
    }
}

/// A layer that does nothing without a `log`.
fn logging<S, B>(
    base: Uri,
    log: Option<Log>,
) -> impl Layer<S, Service = Either<BoxService<Request<Body>, Response<B>, BoxError>, S>>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send + 'static,
    B: 'static,
{
    option_layer(log.map(|log| layer_fn(move |inner| logged(inner, base.clone(), log.clone()))))
}

fn logged<S, B>(inner: S, base: Uri, log: Log) -> BoxService<Request<Body>, Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: 'static,
{
    let mut inner = inner.map_err(Into::into);
    tower::service_fn(move |request: Request<Body>| {
        let (method, url) = (request.method().clone(), shown(&base, request.uri()));
        let (started, log) = (Instant::now(), log.clone());
        let answer = inner.call(request);
        async move {
            let answer: Result<Response<B>, BoxError> = answer.await;
            let status = answer.as_ref().ok().map(|response| response.status().as_u16());
            log(ApiCall { method, url, status, took: started.elapsed() });
            answer
        }
    })
    .boxed()
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

    /// kube's defaults wait for ever, and retry what is answered with 429, 503 or 504 for a quarter of an hour.
    #[test]
    fn requests_end_at_the_timeout_and_are_not_repeated() {
        let limit = Some(Duration::from_secs(10));
        let mut config = Config::new(Uri::from_static("https://east"));
        bound(&mut config, limit);
        assert_eq!([config.connect_timeout, config.read_timeout, config.write_timeout], [limit; 3]);
        assert!(config.reset_reader_on_write && !config.default_retry);
    }
}
