//! What requests to API servers go over: the network, or a service that stands in for it, so that a test can run whole
//! commands on API servers of its own without a socket.

use super::{connections::Connections, tls};
use crate::{
    error::{Error, Result},
    kubeconfig::Identity,
    model::text::{encoding::base64, header},
};
use http::{HeaderValue, Request, Response, Uri};
use hyper::rt::{Read, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::{
    Connection, HttpConnector,
    proxy::{SocksV5, Tunnel},
};
use kube::{Config, client::Body};
use percent_encoding::percent_decode_str;
use rustls::{ClientConfig, pki_types::ServerName};
use std::env;
use tower::{BoxError, Service, util::BoxCloneSyncService};

/// Answers every request that would go over the network; its URI names the server.
pub type StandIn = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

tokio::task_local! {
    static STAND_IN: StandIn;
}

/// Runs `work` with every connection to an API server made to `service` instead.
pub async fn on<T>(service: StandIn, work: impl Future<Output = T>) -> T {
    STAND_IN.scope(service, work).await
}

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

/// How a server is reached. Clones share the TLS sessions, so that a further connection costs both ends less.
#[derive(Clone)]
pub(super) struct Network {
    config: Config,
    way: Way,
}

#[derive(Clone)]
enum Way {
    /// `name`: in place of the host in the URL.
    Tls {
        config: Box<ClientConfig>,
        name: Option<ServerName<'static>>,
    },
    StandIn(StandIn),
}

/// What a connection may speak.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocols {
    /// HTTP/2 where the server speaks it, unless `DISABLE_HTTP2` is set, as in client-go (apimachinery `util/net/http.go`).
    Any,
    Http1,
}

impl Network {
    /// # Errors
    /// A CA or a server name that cannot be used.
    pub(super) fn new(config: Config, identity: Option<Identity>) -> Result<Self> {
        if let Ok(service) = STAND_IN.try_with(Clone::clone) {
            return Ok(Self { config, way: Way::StandIn(service) });
        }
        let name = config.tls_server_name.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|_| Error::usage("the TLS server name is neither a DNS name nor an address"))?;
        let tls = tls::config(config.root_cert.as_deref(), identity)?;
        Ok(Self { config, way: Way::Tls { config: Box::new(tls), name } })
    }

    /// The server's URL, what is sent with each request, and the proxy.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// New connections, through the proxy if there is one. Nothing is sent yet.
    pub(super) fn connections(&self, protocols: Protocols) -> Connections {
        let Config { cluster_url: server, proxy_url: proxy, .. } = &self.config;
        let (config, name) = match &self.way {
            Way::Tls { config, name } => (config, name.as_ref()),
            Way::StandIn(service) => return Connections::standing_in(server.clone(), service.clone()),
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // As in Go: a small request does not wait until the one before it was acknowledged.
        tcp.set_nodelay(true);
        let tls = Tls { config, name, protocols };
        let Some(proxy) = proxy.clone() else { return self.over(tls.on(tcp)) };
        match proxy.scheme_str() {
            Some("socks5") => self.over(tls.on(SocksV5::new(proxy, tcp))),
            Some("https") => {
                let to_proxy = Tls { protocols: Protocols::Http1, ..tls };
                self.over(tls.on(authenticated(&proxy, Tunnel::new(proxy.clone(), to_proxy.on(tcp)))))
            }
            _ => self.over(tls.on(authenticated(&proxy, Tunnel::new(proxy.clone(), tcp)))),
        }
    }

    fn over<C>(&self, connector: HttpsConnector<C>) -> Connections
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: Connection + Read + Write + Send + Unpin + 'static,
        C::Future: Send + 'static,
        C::Error: std::error::Error + Send + Sync + 'static,
    {
        let mut connector = TimeoutConnector::new(connector);
        connector.set_connect_timeout(self.config.connect_timeout);
        connector.set_read_timeout(self.config.read_timeout);
        connector.set_write_timeout(self.config.write_timeout);
        connector.set_reset_reader_on_write(self.config.reset_reader_on_write);
        Connections::new(self.config.cluster_url.clone(), connector)
    }
}

/// TLS to a server and, as in Go, to a proxy before it.
#[derive(Clone, Copy)]
struct Tls<'a> {
    config: &'a ClientConfig,
    name: Option<&'a ServerName<'static>>,
    protocols: Protocols,
}

impl Tls<'_> {
    fn on<C>(self, connector: C) -> HttpsConnector<C> {
        let builder = HttpsConnectorBuilder::new().with_tls_config(self.config.clone()).https_or_http();
        let builder = match self.name.cloned() {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let is_disabled = env::var_os("DISABLE_HTTP2").is_some_and(|value| !value.is_empty());
        if self.protocols == Protocols::Http1 || is_disabled {
            builder.enable_http1().wrap_connector(connector)
        } else {
            builder.enable_http1().enable_http2().wrap_connector(connector)
        }
    }
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
