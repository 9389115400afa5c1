//! The connection with the admin's credentials, and every request that goes over it.

use super::{
    error::{from_kube, from_status, timeout},
    kubeconfig::Selected,
};
use crate::error::{Error, Reason, Result};
use crate::model::{
    access::{Access, ApiServerUrl, CertificateAuthority, Origin, ProxyUrl},
    shell,
};
use http::{Method, Request, Response};
use jiff::Timestamp;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::{AuthInfo, KubeConfigOptions},
    core::Status,
};
use serde_json::Value;
use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tower::{BoxError, Service, ServiceExt, layer::util::Identity, util::BoxService};

/// One request and its outcome, for `-v`. Never headers or bodies.
#[derive(Clone, Debug)]
pub struct ApiCall {
    pub method: Method,
    pub uri: String,
    pub status: Option<u16>,
    pub took: Duration,
}

/// Is told of every request.
pub type Log = Arc<dyn Fn(ApiCall) + Send + Sync>;

/// How to reach an API server, beside what the kubeconfig says.
#[derive(Clone, Default)]
pub struct Connection {
    /// `None`: wait for ever.
    pub timeout: Option<Duration>,
    /// The cluster as Prometheus sees it, where it differs from the kubeconfig.
    pub api_server: Option<ApiServerUrl>,
    pub ca_file: Option<PathBuf>,
    /// One that is remembered counts like one in a file.
    pub ca: Option<CertificateAuthority>,
    pub tls_server_name: Option<String>,
    /// Prometheus' proxy, and the scraper's; the administrator's is the kubeconfig's or the environment's.
    pub api_server_proxy: Option<ProxyUrl>,
    pub log: Option<Log>,
}

/// A cluster, with the admin's credentials.
pub struct Cluster {
    client: Client,
    /// The same connection without the credentials.
    pub(super) anonymous: Config,
    /// What to call this cluster in messages: its context.
    pub context: String,
    /// The address in the kubeconfig.
    pub url: String,
    timeout: Option<Duration>,
    client_certificate_expires: Option<Timestamp>,
}

/// Prepares the connection; nothing is sent yet. Also says how Prometheus is to reach the cluster.
///
/// # Errors
/// [`Reason::InvalidKubeconfig`], [`Reason::InsecureKubeconfig`], [`Reason::InvalidArgument`] for a bad CA file.
pub async fn connect(selected: Selected, connection: &Connection) -> Result<(Cluster, Access)> {
    let client_certificate_expires = selected.client_certificate_expires();
    let plugin = selected.user.exec.as_ref().and_then(|exec| exec.command.clone());
    let Selected { context, mut kubeconfig, files, insecure, .. } = selected;
    let ca_of_flag = connection.ca_file.as_deref().map(read_ca).transpose()?.or_else(|| connection.ca.clone());
    if insecure && ca_of_flag.is_none() {
        return Err(Error::new(
            Reason::InsecureKubeconfig,
            format!("context {context} has insecure-skip-tls-verify; a token is only ever sent over verified TLS"),
        )
        // Whoever answers unverified could name a CA of its own, so none is taken from there
        // (docs/decisions/no-ca-from-an-unverified-server.md).
        .hint("Name the cluster's CA with --api-server-ca-file FILE (the kubeconfig's own connection is verified with it too)")
        .hint("From a network that you trust: kubectl get configmap kube-root-ca.crt -o jsonpath='{.data.ca\\.crt}' > FILE"));
    }
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        cluster.insecure_skip_tls_verify = None;
    }
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|error| Error::new(Reason::InvalidKubeconfig, format!("{files}: {error}")))?;
    if insecure {
        config.root_cert = ca_of_flag.as_ref().map(|ca| ca.certificates.clone());
        config.tls_server_name = config.tls_server_name.or_else(|| connection.tls_server_name.clone());
    }
    bound(&mut config, connection.timeout);
    let url = config.cluster_url.to_string();
    let mut anonymous = config.clone();
    anonymous.auth_info = AuthInfo::default();
    let access = access(&config, connection, ca_of_flag, &context)?;
    let client = build(config, connection.log.clone()).map_err(|error| {
        let error = from_kube(&error, &url);
        match &plugin {
            Some(command) if error.reason == Reason::CredentialPluginFailed => {
                error.about(format!("the credential plugin {}", shell::word(command)))
            }
            _ => error,
        }
        .about(&context)
    })?;
    let cluster = Cluster {
        client,
        anonymous,
        context,
        url: url.trim_end_matches('/').to_owned(),
        timeout: connection.timeout,
        client_certificate_expires,
    };
    Ok((cluster, access))
}

/// An address from a flag brings its own CA, or is vouched for by the kubeconfig's; the proof decides whether it fits.
fn access(
    config: &Config,
    connection: &Connection,
    ca_of_flag: Option<CertificateAuthority>,
    context: &str,
) -> Result<Access> {
    let (url, origin) = if let Some(url) = &connection.api_server {
        (url.clone(), Origin::Flag)
    } else {
        let url = config.cluster_url.to_string();
        let parsed = url.parse().map_err(|error| {
            Error::new(Reason::InvalidKubeconfig, format!("context {context}: the server {url} {error}"))
                .hint("Name the address that Prometheus is to use with --api-server https://HOST:PORT")
        })?;
        (parsed, Origin::Kubeconfig)
    };
    let ca = ca_of_flag.or_else(|| {
        let certificates = config.root_cert.clone()?;
        Some(CertificateAuthority { certificates, origin: Origin::Kubeconfig.to_string() })
    });
    let tls_server_name = connection
        .tls_server_name
        .clone()
        .or_else(|| config.tls_server_name.clone().filter(|_| origin == Origin::Kubeconfig));
    Ok(Access { url, origin, ca, tls_server_name, proxy: connection.api_server_proxy.clone() })
}

fn read_ca(file: &Path) -> Result<CertificateAuthority> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let shown = file.display();
    let refused = |why: &str| {
        Error::usage(format!("--api-server-ca-file {shown} {why}"))
            .hint("The cluster has it too: kubectl get configmap kube-root-ca.crt -o jsonpath='{.data.ca\\.crt}'")
    };
    let pem = std::fs::read(file).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(&pem)
        .map(|certificate| certificate.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| refused(&format!("is not PEM: {error}")))?;
    if certificates.is_empty() || certificates.iter().any(|der| crate::model::certificate::valid_until(der).is_none()) {
        return Err(refused("holds no PEM certificate"));
    }
    Ok(CertificateAuthority { certificates, origin: shown.to_string() })
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
    let builder = ClientBuilder::try_from(config)?;
    Ok(match log {
        None => builder.with_layer(&Identity::new()).build(),
        Some(log) => builder.with_layer(&tower::layer::layer_fn(move |inner| logged(inner, log.clone()))).build(),
    })
}

fn logged<S, B>(inner: S, log: Log) -> BoxService<Request<Body>, Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: 'static,
{
    let mut inner = inner.map_err(Into::into);
    tower::service_fn(move |request: Request<Body>| {
        let (method, uri) = (request.method().clone(), request.uri().to_string());
        let (started, log) = (Instant::now(), log.clone());
        let answer = inner.call(request);
        async move {
            let answer: Result<Response<B>, BoxError> = answer.await;
            let status = answer.as_ref().ok().map(|response| response.status().as_u16());
            log(ApiCall { method, uri, status, took: started.elapsed() });
            answer
        }
    })
    .boxed()
}

impl Cluster {
    /// Sends a request and reads the answer as JSON. Not by kube's `Client::request`: of an answer that does not parse
    /// it would log the whole, tokens included, and it hides the status code.
    ///
    /// # Errors
    /// Names the context; see [`super::error`].
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Response<Value>, Failure> {
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, content_type)
            .body(Body::from(bytes))
            .map_err(|error| self.garbled(path, &error.to_string()))?;
        let (status, bytes) = self
            .within(async {
                let response = self.client.send(request).await?;
                Ok((response.status(), response.into_body().collect_bytes().await?))
            })
            .await?;
        if status.is_client_error() || status.is_server_error() {
            // A proxy or an API that is not there answers with plain text.
            let parsed: Option<Status> = serde_json::from_slice(&bytes).ok();
            let mut answer = parsed.unwrap_or_else(|| Status {
                message: String::from_utf8_lossy(&bytes).trim().to_owned(),
                ..Status::default()
            });
            answer.code = status.as_u16();
            // A kind that is switched off is answered with details that are empty.
            let details = answer.details.as_ref().is_some_and(|details| !details.name.is_empty());
            return Err(Failure {
                code: Some(answer.code),
                details,
                ..self.failure(self.explained(from_status(&answer)))
            });
        }
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| self.garbled(path, &error.to_string()))?;
        if !json.is_object() {
            return Err(self.garbled(path, "it is not an object"));
        }
        let mut response = Response::new(json);
        *response.status_mut() = status;
        Ok(response)
    }

    fn garbled(&self, path: &str, why: &str) -> Failure {
        self.failure(
            Error::new(Reason::ApiServerError, format!("the answer to {path} is not to be understood: {why}"))
                .hint(format!("Is {} the address of an API server? Check with: kubectl get --raw /version", self.url)),
        )
    }

    /// Within the request timeout, and with the error in our words.
    async fn within<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        let outcome = match self.timeout {
            None => Ok(call.await),
            Some(limit) => tokio::time::timeout(limit, call).await,
        };
        match outcome {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failure(self.explained(from_kube(&error, &self.url)))),
            Err(_elapsed) => Err(self.failure(timeout(&self.url))),
        }
    }

    fn failure(&self, error: Error) -> Failure {
        Failure { error, context: self.context.clone(), code: None, details: false }
    }

    /// A server says only 401; that the certificate has expired can be seen from here.
    fn explained(&self, error: Error) -> Error {
        match self.client_certificate_expires {
            Some(end) if error.reason == Reason::Unauthorized && end < Timestamp::now() => Error::new(
                Reason::ClientCertificateExpired,
                format!("the client certificate of this context expired on {}", end.strftime("%Y-%m-%d %H:%M UTC")),
            )
            .hint("Get a new kubeconfig from whoever runs the cluster (kubeadm: kubeadm certs renew admin.conf)"),
            _ => error,
        }
    }
}

/// A failed request, with what code decides on.
pub(super) struct Failure {
    error: Error,
    context: String,
    pub code: Option<u16>,
    /// Whether the server said which object it is about: an object that is missing, not the whole API.
    pub details: bool,
}

impl Failure {
    /// The error, saying which cluster it is about and what in it.
    pub(super) fn about(self, subject: impl std::fmt::Display) -> Error {
        self.error.about(subject).about(self.context)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error.about(failure.context)
    }
}
