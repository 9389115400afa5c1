//! The connection with the admin's credentials, and every request that goes over it.

use super::{
    error::{from_status, from_transport, timeout},
    http::{
        Answer, Client, Extent, Log, MetricsPage, NoAnswer, bound, send, send_for_metrics, status, too_large, too_long,
    },
    network::{Network, Protocols},
};
use crate::{
    clock,
    error::{Error, Reason, Result},
    kubeconfig::{
        self, Selected, certificate_authority, credentials, entries,
        plugin::CredentialPlugin,
        proxy::{Environment, Proxy, Scheme},
    },
    model::{
        access::{
            Access, CertificateAuthority, Origin,
            certificate::{certificates, valid_until},
            url::{ApiServerUrl, ProxyUrl},
        },
        job::exposition::FallbackProtocol,
        text::{
            figures::minute,
            json::{self, Unread},
            limits::{BASE_URL, Limit, OBJECT, size},
            line::escaped,
        },
        token::clock::ClockLead,
    },
};
use http::{Method, Request, Response, StatusCode, Uri};
use jiff::Timestamp;
use kube::{Config, client::Body, core::Status};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use serde_json::Value;
use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

/// How to reach an API server, beside what the kubeconfig says.
#[derive(Clone, Default)]
pub struct Connection {
    /// `None`: wait for ever.
    pub timeout: Option<Duration>,
    /// The cluster as Prometheus sees it, where it differs from the kubeconfig.
    pub api_server: Option<ApiServerUrl>,
    /// Verifies the administrator's connection too, if the kubeconfig skips that.
    pub ca_file: Option<PathBuf>,
    /// The CA in the record of a destination: Prometheus' connection only.
    pub ca: Option<CertificateAuthority>,
    /// Whether the access comes from the record of a destination.
    pub is_recorded: bool,
    pub tls_server_name: Option<String>,
    pub kubelet_ca_file: Option<PathBuf>,
    pub kubelet_ca: Option<CertificateAuthority>,
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
    /// Another context of the kubeconfig that yields the same cluster name for another cluster.
    pub namesake: Option<String>,
    /// The address in the kubeconfig.
    pub url: String,
    /// Through which it is reached, for people.
    proxy: Option<String>,
    /// Of each request.
    pub timeout: Option<Duration>,
    client_certificate_expires: Option<Timestamp>,
    /// Which gave the credentials, if they come from one.
    plugin: Option<CredentialPlugin>,
}

/// Prepares the connection without sending a request. Also returns how Prometheus reaches the cluster.
///
/// # Errors
/// [`Reason::InvalidKubeconfig`], [`Reason::InsecureKubeconfig`], [`Reason::InvalidArgument`] for a bad CA file.
pub async fn connect(selected: Selected, connection: &Connection) -> Result<(Cluster, Access)> {
    let of_file = connection.ca_file.as_deref().map(|file| read_ca("--api-server-ca-file", file)).transpose()?;
    let insecure = selected.cluster.insecure_skip_tls_verify;
    if insecure && of_file.is_none() {
        let context = &selected.context;
        let error = Error::new(
            Reason::InsecureKubeconfig,
            format!("context {context} has insecure-skip-tls-verify; the plugin sends tokens only over verified TLS"),
        );
        // An unverified server could name a CA of its own, so none is taken from it
        // (docs/decisions/no-ca-from-an-unverified-server.md). The writer of a record could do the same.
        let error = if connection.is_recorded {
            error.hint(
                "Name the cluster's CA in the kubeconfig: kubectl config set-cluster NAME --certificate-authority=FILE",
            )
        } else {
            error.hint("Name the cluster's CA with --api-server-ca-file FILE (the plugin's own connection is then verified with it too)")
        };
        return Err(error.hint("From a network that you trust: kubectl get configmap kube-root-ca.crt -o jsonpath='{.data.ca\\.crt}' > FILE"));
    }
    let mut config = config(&selected)?;
    if insecure {
        config.root_cert = of_file.as_ref().map(|ca| ca.certificates.clone());
        let of_flag = connection.tls_server_name.clone().filter(|_| !connection.is_recorded);
        config.tls_server_name = config.tls_server_name.or(of_flag);
    }
    bound(&mut config, connection.timeout);
    let access = access(&config, connection, of_file.or_else(|| connection.ca.clone()), &selected.context)?;
    let proxy = proxy(&selected.cluster, &config.cluster_url).map_err(|error| error.about(&selected.context))?;
    config.proxy_url =
        proxy.as_ref().map(|proxy| proxy_url(proxy).map_err(|error| error.about(&selected.context))).transpose()?;
    let anonymous = config.clone();
    // Last, because a plugin may be interactive.
    let credentials =
        credentials(&selected, connection.timeout).await.map_err(|error| error.about(&selected.context))?;
    config.headers = credentials.headers;
    let client_certificate_expires =
        credentials.identity.as_ref().and_then(|identity| valid_until(identity.cert.first()?));
    let url = config.cluster_url.to_string();
    let network = Network::new(config, credentials.identity).map_err(|error| error.about(&selected.context))?;
    let cluster = Cluster {
        client: Client::new(&network, Protocols::Any, connection.log.clone()),
        anonymous,
        context: selected.context,
        namesake: selected.namesake,
        url: url.trim_end_matches('/').to_owned(),
        proxy: proxy.map(|proxy| proxy.to_string()),
        timeout: connection.timeout,
        client_certificate_expires,
        plugin: selected.user.exec,
    };
    Ok((cluster, access))
}

/// Address, CA and server name of the kubeconfig; credentials are not in it yet.
fn config(selected: &Selected) -> Result<Config> {
    let Selected { cluster, context, files, .. } = selected;
    let invalid = |field: &str, text: &str, why: &str| {
        let shown: String = text.chars().take(200).collect();
        Error::new(Reason::InvalidKubeconfig, format!("{files}: the {field} {shown:?} {why}"))
            .hint("Inspect it: kubectl config view")
    };
    let url = server_url(&cluster.server).map_err(|why| invalid("server", &cluster.server, &why))?;
    let mut config = Config::new(url);
    let ca = certificate_authority(cluster).map_err(|error| error.about(context))?;
    config.root_cert = ca.map(|pem| certificates(&pem));
    config.tls_server_name = Some(cluster.tls_server_name.clone()).filter(|name| !name.is_empty());
    if let Some(name) = &config.tls_server_name {
        ServerName::try_from(name.as_str())
            .map_err(|_| invalid("tls-server-name", name, "is neither a DNS name nor an address"))?;
    }
    Ok(config)
}

/// The address in a kubeconfig, as a base to which paths can be added.
fn server_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("is not a URL: {error}"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err("is not a URL like https://HOST:PORT".to_owned());
    }
    if text.len() > BASE_URL {
        return Err(format!("has more than {}", size(BASE_URL)));
    }
    Ok(url)
}

/// With user and password, for the connection.
fn proxy_url(proxy: &Proxy) -> Result<Uri> {
    proxy.exposed().expose_secret().parse().map_err(|_| {
        Error::new(Reason::InvalidKubeconfig, format!("the proxy {proxy} has a user or password that fits into no URL"))
            .hint("Write other characters than letters and digits as %XX")
    })
}

/// The proxy through which the kubeconfig or the environment leads to the server. kube would hold `NO_PROXY` against
/// the proxy's address instead of the server's.
fn proxy(cluster: &entries::Cluster, server: &Uri) -> Result<Option<Proxy>> {
    // Capitals come first (Go's `httpproxy.FromEnvironment`); a plain server would have a proxy of its own.
    let variable = |names: [&str; 2]| names.iter().filter_map(|name| env::var(name).ok()).find(|text| !text.is_empty());
    let https_proxy = variable(["HTTPS_PROXY", "https_proxy"]).filter(|_| server.scheme_str() == Some("https"));
    let environment = Environment {
        https_proxy: https_proxy.unwrap_or_default(),
        no_proxy: variable(["NO_PROXY", "no_proxy"]).unwrap_or_default(),
    };
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    let proxy =
        Proxy::of(&cluster.proxy_url, &environment, host, server.port_u16().unwrap_or(443)).map_err(|error| {
            Error::new(Reason::InvalidArgument, format!("HTTPS_PROXY {error}"))
                .hint("Write HTTPS_PROXY=http://HOST:PORT, or add the server to NO_PROXY")
        })?;
    match &proxy {
        Some(proxy) if proxy.scheme() == Scheme::Socks5 && proxy.has_user() => Err(Error::new(
            Reason::InvalidKubeconfig,
            format!("the proxy {proxy} has a user and password, which the plugin cannot send to a SOCKS proxy"),
        )
        .hint("Use the proxy with http:// if it supports HTTP, or a SOCKS proxy on this machine (ssh -D)")),
        _ => Ok(proxy),
    }
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
                .hint("Name the address that Prometheus must use with --api-server https://HOST:PORT")
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
    let kubelet_ca = read_kubelet_ca(connection)?;
    Ok(Access { url, origin, ca, tls_server_name, proxy: connection.api_server_proxy.clone(), kubelet_ca })
}

/// The CA that was named for the kubelets.
///
/// # Errors
/// [`Reason::InvalidArgument`] for a bad file.
fn read_kubelet_ca(connection: &Connection) -> Result<Option<CertificateAuthority>> {
    let of_file = connection.kubelet_ca_file.as_deref().map(|file| read_ca("--kubelet-ca-file", file)).transpose()?;
    Ok(of_file.or_else(|| connection.kubelet_ca.clone()))
}

fn read_ca(flag: &str, file: &Path) -> Result<CertificateAuthority> {
    let shown = file.display();
    let refused = |why: &str| {
        Error::usage(format!("{flag} {shown} {why}"))
            .hint("Get the CA from the cluster: kubectl get configmap kube-root-ca.crt -o jsonpath='{.data.ca\\.crt}'")
    };
    let pem = kubeconfig::source::read(file).map_err(|error| refused(&format!("cannot be read: {error}")))?;
    let certificates = certificates(&pem);
    if certificates.is_empty() {
        return Err(refused("contains no PEM certificate"));
    }
    Ok(CertificateAuthority { certificates, origin: shown.to_string() })
}

impl Cluster {
    /// The clock of the API server. None before the first answer.
    pub fn clock(&self) -> Option<ClockLead> {
        self.client.clock()
    }

    /// The time by the clock of the API server, which tokens expire by; by the clock of this machine before the first
    /// answer.
    pub fn now(&self) -> Timestamp {
        self.clock().unwrap_or_default().at(clock::now())
    }

    /// Whether a credential plugin may ask at the terminal, at any request: it runs again when a credential expires.
    pub fn may_ask(&self) -> bool {
        self.plugin.as_ref().is_some_and(CredentialPlugin::may_ask)
    }

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
        let answer = self.exchange(method, path, content_type, body, OBJECT).await?;
        match json::read(answer.body(), OBJECT.memory) {
            Ok(json) if json.is_object() => Ok(answer.map(|_| json)),
            Err(Unread::TooLarge(memory)) => Err(self.failure(too_large(path, memory))),
            Ok(_) | Err(Unread::Invalid(_)) => Err(self.front(path, &answer.into())),
        }
    }

    /// Sends a request and reads an answer that is no refusal, within a limit.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
        limit: Limit,
    ) -> Result<Response<Vec<u8>>, Failure> {
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let asked = method.as_str().to_ascii_lowercase();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, content_type)
            .body(Body::from(bytes))
            .map_err(|error| self.garbled(path, &error.to_string()))?;
        let answer =
            send(&self.client, request, self.timeout, limit.bytes).await.map_err(|missed| self.missed(missed))?;
        let code = answer.status();
        if code == StatusCode::UNAUTHORIZED
            && let Some(plugin) = &self.plugin
        {
            kubeconfig::forget(plugin);
        }
        if code.is_client_error() || code.is_server_error() {
            let answer = Answer::from(answer);
            let is_front = !answer.is_of_the_api_server() && !is_plain(&answer);
            // That an object is not there is believed of an API server alone: `leave` would take what is left for gone.
            if is_front && code == StatusCode::NOT_FOUND {
                return Err(self.front(path, &answer));
            }
            let status = status(answer.body.as_bytes()).filter(|status| !status.message.is_empty());
            let status = status.unwrap_or_else(|| Status { message: answer.words(), ..Status::default() });
            // A kind that is switched off is answered with details that are empty.
            let details = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
            let error = self.explained(from_status(&Status { code: answer.code, ..status }));
            let error = if code == StatusCode::UNAUTHORIZED { error } else { naming(error, &asked, path) };
            let error = if is_front { error.hint(FRONT) } else { error };
            return Err(Failure { code: Some(answer.code), details, ..self.failure(error) });
        }
        if code.is_redirection() {
            return Err(self.front(path, &answer.into()));
        }
        Ok(answer)
    }

    /// Something else answered in place of an API server.
    fn front(&self, path: &str, answer: &Answer) -> Failure {
        let message = format!("{path} answers {}, which is not an answer of an API server", answer.shown());
        self.failure(
            Error::new(Reason::ApiServerError, message)
                .hint(FRONT)
                .hint(format!("Is {} the address of an API server? Check with: kubectl get --raw /version", self.url)),
        )
    }

    /// Reads a page of metrics, whatever the status of the answer.
    ///
    /// # Errors
    /// Only if there is no answer, or too much of it.
    pub async fn page(&self, path: &str, extent: Extent, fallback: Option<FallbackProtocol>) -> Result<MetricsPage> {
        let request = Request::get(path).body(Body::empty()).map_err(|error| self.garbled(path, &error.to_string()))?;
        let page = send_for_metrics(&self.client, request, self.timeout, extent, fallback).await;
        Ok(page.map_err(|missed| self.missed(missed))?)
    }

    pub(super) fn garbled(&self, path: &str, why: &str) -> Failure {
        // The library may repeat a text of the answer.
        let why: String = escaped(why).chars().take(200).collect();
        self.failure(
            Error::new(Reason::ApiServerError, format!("the answer to {path} is invalid: {why}"))
                .hint(format!("Is {} the address of an API server? Check with: kubectl get --raw /version", self.url)),
        )
    }

    /// The error in our words.
    fn missed(&self, missed: NoAnswer) -> Failure {
        self.failure(self.on_the_way(match missed {
            NoAnswer::InTime => timeout(&self.url),
            NoAnswer::TooLong(path, bytes) => too_long(&path, bytes),
            NoAnswer::Failed(error) => self.explained(from_transport(error, &self.url)),
        }))
    }

    pub(super) fn exceeded(&self, path: &str, what: &str) -> Failure {
        self.failure(
            Error::new(Reason::LimitExceeded, format!("the list {path} {what}"))
                .hint(format!("Check how long it is: kubectl get --raw '{path}?limit=1'")),
        )
    }

    /// Where there is a proxy, it may be the one to blame.
    fn on_the_way(&self, error: Error) -> Error {
        match &self.proxy {
            None => error,
            Some(proxy) => error.reworded(|message| format!("{message} (through the proxy {proxy})")),
        }
    }

    fn failure(&self, error: Error) -> Failure {
        Failure { error, context: self.context.clone(), code: None, details: false }
    }

    /// A server says only 401; that the certificate has expired can be seen from here.
    fn explained(&self, error: Error) -> Error {
        match self.client_certificate_expires {
            Some(end) if error.reason == Reason::Unauthorized && end < self.now() => Error::new(
                Reason::ClientCertificateExpired,
                format!("the client certificate of this context expired on {}", minute(end)),
            )
            .hint("Get a new kubeconfig from the cluster's administrator (kubeadm: kubeadm certs renew admin.conf)"),
            _ => error,
        }
    }
}

const FRONT: &str = "A proxy or load balancer answers in place of the API server: log in there, or correct the server in the kubeconfig";

/// Whether it is one of the answers that an API server gives as plain text: of a path that it does not know, if it is
/// overloaded or fails (apiserver `pkg/server/filters/priority-and-fairness.go`, `endpoints/handlers/responsewriters`;
/// kube-aggregator).
fn is_plain(answer: &Answer) -> bool {
    let text = answer.body.trim_end();
    match answer.code {
        404 => text == "404 page not found",
        429 => text == "Too many requests, please try again later.",
        500 => text.starts_with("Internal Server Error: "),
        503 => text == "service unavailable",
        _ => false,
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

/// Names the request where the answer names neither an object nor a resource, as client-go does for answers that are no
/// Status (apimachinery `pkg/api/errors`, `NewGenericServerResponse`).
fn naming(error: Error, verb: &str, path: &str) -> Error {
    let path = path.split('?').next().unwrap_or(path);
    let name = path.rsplit('/').next().unwrap_or(path);
    error.reworded(
        |message| {
            if message.contains(name) { message.to_owned() } else { format!("{message} ({verb} {path})") }
        },
    )
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error.about(failure.context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::network, kubeconfig::entries::User};
    use http::Response;
    use proptest::prelude::*;
    use std::convert::Infallible;
    use tower::{ServiceExt, util::BoxCloneSyncService};

    fn selected(server: &str, proxy_url: &str, tls_server_name: &str, user: User) -> Selected {
        let cluster = entries::Cluster {
            server: server.to_owned(),
            proxy_url: proxy_url.to_owned(),
            tls_server_name: tls_server_name.to_owned(),
            ..entries::Cluster::default()
        };
        let (context, user_name, files) = ("east".to_owned(), "jane".to_owned(), "config".to_owned());
        Selected { context, namesake: None, cluster, user_name, user, files }
    }

    /// Connects to a server that answers 200 to everything, and asks it for a page.
    fn ask(selected: Selected, path: &str) -> Result<MetricsPage> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answers = tower::service_fn(|_| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
        let service = BoxCloneSyncService::new(answers.map_err(Into::into));
        let connection = Connection { api_server: "https://elsewhere".parse().ok(), ..Connection::default() };
        runtime.block_on(network::on(service, async {
            let (cluster, _) = connect(selected, &connection).await?;
            cluster.page(path, Extent::Whole, None).await
        }))
    }

    #[test]
    fn server_that_is_no_address_is_named() {
        let long = format!("https://east/{}", "a".repeat(65_000));
        for (server, tls_server_name, says) in [
            ("east:6443", "", "the server \"east:6443\" is not a URL like https://HOST:PORT"),
            ("/api", "", "is not a URL"),
            ("https://", "", "is not a URL"),
            ("https://a b", "", "is not a URL"),
            ("ftp://east", "", "is not a URL"),
            (&long, "", "has more than 4 KiB"),
            ("https://east", "a b", "the tls-server-name \"a b\" is neither a DNS name nor an address"),
        ] {
            let error = ask(selected(server, "", tls_server_name, User::default()), "/version").unwrap_err();
            assert_eq!(error.reason, Reason::InvalidKubeconfig, "{error}");
            assert!(error.to_string().contains(says) && error.to_string().len() < 500, "{error}");
        }
        assert!(ask(selected("http://127.0.0.1:8001/x/", "", "", User::default()), "/version").is_ok());
    }

    #[test]
    fn path_that_fits_into_no_address_is_refused() {
        let path = format!("/{}", "a".repeat(65_530));
        let error = ask(selected("https://east/k8s/clusters/c-1", "", "", User::default()), &path).unwrap_err();
        assert!(error.to_string().contains("too long"), "{error}");
    }

    proptest! {
        #[test]
        fn text_of_a_kubeconfig_causes_no_panic(
            server in "(https?://)?[a-z0-9:@%/?#\\[\\].*]{0,12}.{0,3}",
            proxy in "((https?|socks5)://)?[a-z0-9:@%/.]{0,12}.{0,3}",
            name in "[a-z0-9.:]{0,6}.{0,2}",
            token: String,
        ) {
            let user = User { token: token.into(), ..User::default() };
            if let Err(error) = ask(selected(&server, &proxy, &name, user), "/version") {
                prop_assert!(!error.to_string().contains("worker") && !error.hints.is_empty(), "{error:?}");
            }
        }
    }
}
