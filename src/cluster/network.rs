//! What requests to API servers go over: the network, or a service that stands in for it, so that a test can run whole
//! commands on API servers of its own without a socket.

use super::tls;
use crate::{
    error::{Error, Result},
    kubeconfig::Identity,
    model::text::{encoding::base64, header},
};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    body::{self, Bytes},
    rt::{Read, Write},
};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{
        Builder,
        connect::{
            Connection, HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
    },
    rt::{TokioExecutor, TokioTimer},
};
use kube::{Config, client::Body};
use percent_encoding::percent_decode_str;
use rustls::{ClientConfig, pki_types::ServerName};
use std::time::Duration;
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

/// Answers every request that would go over the network; its URI names the server.
pub type StandIn = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

tokio::task_local! {
    static STAND_IN: StandIn;
}

/// Runs `work` with every connection to an API server made to `service` instead.
pub async fn on<T>(service: StandIn, work: impl Future<Output = T>) -> T {
    STAND_IN.scope(service, work).await
}

/// How long a connection is kept for the next request: longer than the pauses between the steps for one cluster, and so
/// short that clusters that wait for others keep nothing open.
const IDLE: Duration = Duration::from_secs(5);

/// Lets this process have as many connections as several clusters need, as far as the hard limit allows. `at_once`: as many
/// are worked on at the same time; others of the last seconds still have connections.
pub fn raise_open_files(clusters: usize, at_once: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const OF_A_CLUSTER: u64 = 32;
    const OTHERS: u64 = 256;
    let limit = getrlimit(Resource::Nofile);
    let connected = clusters.min(at_once.saturating_mul(8)) as u64;
    let needed = connected.saturating_mul(OF_A_CLUSTER).saturating_add(OTHERS);
    let needed = limit.maximum.map_or(needed, |maximum| needed.min(maximum));
    if limit.current.is_some_and(|current| current < needed) {
        // Where the system refuses, the clusters beyond the limit fail with its words.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum });
    }
}

/// The same for both: the network and what stands in for it.
pub(super) type Connections = BoxCloneSyncService<Request<Body>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// Connections to the server, through the proxy if there is one. Nothing is sent yet.
///
/// # Errors
/// A CA or a server name that cannot be used.
pub(super) fn connections(config: &Config, identity: Option<Identity>) -> Result<Connections> {
    if let Ok(service) = STAND_IN.try_with(Clone::clone) {
        return Ok(boxed(service));
    }
    let tls = Tls { config: tls::config(config.root_cert.as_deref(), identity)?, name: server_name(config)? };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let Some(proxy) = config.proxy_url.clone() else { return Ok(over(config, &tls, tcp)) };
    Ok(match proxy.scheme_str() {
        Some("socks5") => over(config, &tls, SocksV5::new(proxy, tcp)),
        Some("https") => over(config, &tls, authenticated(&proxy, Tunnel::new(proxy.clone(), tls.on(tcp)))),
        _ => over(config, &tls, authenticated(&proxy, Tunnel::new(proxy.clone(), tcp))),
    })
}

/// TLS to a server and, as in Go, to a proxy before it.
struct Tls {
    config: ClientConfig,
    /// In place of the host in the URL.
    name: Option<ServerName<'static>>,
}

impl Tls {
    fn on<C>(&self, connector: C) -> HttpsConnector<C> {
        let builder = HttpsConnectorBuilder::new().with_tls_config(self.config.clone()).https_or_http();
        let builder = match self.name.clone() {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        builder.enable_http1().wrap_connector(connector)
    }
}

fn server_name(config: &Config) -> Result<Option<ServerName<'static>>> {
    let parsed = config.tls_server_name.clone().map(ServerName::try_from).transpose();
    parsed.map_err(|_| Error::usage("the TLS server name is neither a DNS name nor an address"))
}

/// With the user and the password in the URL of the proxy.
fn authenticated<C>(proxy: &Uri, tunnel: Tunnel<C>) -> Tunnel<C> {
    let user = proxy.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
    let basic = |(user, _): (&str, &str)| -> Option<HeaderValue> {
        let pair: Vec<u8> = percent_decode_str(user).collect();
        header::value(format!("Basic {}", base64(&pair)).as_bytes()).ok()
    };
    match user.and_then(basic) {
        Some(value) => tunnel.with_auth(value),
        None => tunnel,
    }
}

fn over<C>(config: &Config, tls: &Tls, connector: C) -> Connections
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    let mut connector = TimeoutConnector::new(tls.on(connector));
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    // The timer closes what is idle although nothing more is sent.
    let mut client = Builder::new(TokioExecutor::new());
    boxed(client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build::<_, Body>(connector))
}

fn boxed<S, B>(service: S) -> Connections
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service =
        service.map_response(|answer: Response<B>| answer.map(|body| body.map_err(Into::into).boxed_unsync()));
    BoxCloneSyncService::new(service.map_err(Into::into))
}
