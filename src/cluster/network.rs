//! What requests to API servers go over: the network, or a service that stands in for it, so that a test can run whole
//! commands on API servers of its own without a socket.

use crate::model::text::{encoding::base64, header};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    body::{self, Bytes},
    rt::{Read, Write},
};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{
        Builder,
        connect::{
            Connection, HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
    },
    rt::TokioExecutor,
};
use kube::{
    Config,
    client::{Body, ConfigExt},
};
use percent_encoding::percent_decode_str;
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

/// The same for both: the network and what stands in for it.
pub(super) type Connections = BoxCloneSyncService<Request<Body>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// Connections to the server, through the proxy if there is one. Nothing is sent yet.
pub(super) fn connections(config: &Config) -> kube::Result<Connections> {
    if let Ok(service) = STAND_IN.try_with(Clone::clone) {
        return Ok(boxed(service));
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let Some(proxy) = config.proxy_url.clone() else { return over(config, tcp) };
    match proxy.scheme_str() {
        Some("socks5") => over(config, SocksV5::new(proxy, tcp)),
        Some("https") => {
            let tls = config.rustls_https_connector_with_connector(tcp)?;
            over(config, authenticated(&proxy, Tunnel::new(proxy.clone(), tls)))
        }
        _ => over(config, authenticated(&proxy, Tunnel::new(proxy.clone(), tcp))),
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

fn over<C>(config: &Config, connector: C) -> kube::Result<Connections>
where
    C: Service<Uri> + Clone + Send + Sync + 'static,
    C::Response: Connection + Read + Write + Send + Unpin + 'static,
    C::Future: Send + 'static,
    C::Error: std::error::Error + Send + Sync + 'static,
{
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    Ok(boxed(Builder::new(TokioExecutor::new()).build::<_, Body>(connector)))
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
