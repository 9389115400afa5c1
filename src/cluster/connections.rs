//! The connections of a client to one server: one for all requests where the server speaks HTTP/2, as API servers do, else
//! one for each request at a time. hyper-util's client alone would open one for each of the first requests, and then
//! keep one of them.

use http::{Request, Response, Uri};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{
    body::{self, Bytes, Incoming},
    client::conn::http2::{self, SendRequest},
    rt::{Read, Write},
};
use hyper_util::{
    client::legacy::{self, connect::Connection},
    rt::{TokioExecutor, TokioTimer},
};
use kube::client::Body;
use std::{
    error::Error as _,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tower::{BoxError, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

/// How long a connection is kept for the next request: longer than the pauses between the steps for one cluster, and so
/// short that clusters that wait for others keep nothing open.
const IDLE: Duration = Duration::from_secs(5);

/// How often a request is sent that the server does not process.
const TRIES: usize = 3;

/// The body of an answer, as it comes.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// What requests to one server go over: its connections, or what stands in for them in a test.
#[derive(Clone)]
pub(super) struct Connections {
    requests: BoxCloneSyncService<Request<Body>, Response<AnswerBody>, BoxError>,
    opening: BoxCloneSyncService<(), (), BoxError>,
}

impl Connections {
    /// To the server in this URL. Nothing is sent yet.
    pub(super) fn new<C>(server: Uri, connector: C) -> Self
    where
        C: Service<Uri> + Clone + Send + Sync + 'static,
        C::Response: Connection + Read + Write + Send + Unpin + 'static,
        C::Future: Send + 'static,
        C::Error: Into<BoxError>,
    {
        let pool = Arc::new(Pool::new(server, BoxCloneSyncService::new(connector.map_err(Into::into))));
        let opened = Arc::clone(&pool);
        Self {
            requests: boxed(service_fn(move |request| Arc::clone(&pool).send(request))),
            opening: BoxCloneSyncService::new(service_fn(move |()| {
                let pool = Arc::clone(&opened);
                async move { pool.open().await.map(drop) }
            })),
        }
    }

    /// What stands in has no connections: it is asked for something instead.
    pub(super) fn standing_in<S>(server: Uri, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let asked = service.clone().map_response(drop).map_request(move |()| {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = server.clone();
            request
        });
        Self { requests: boxed(service), opening: BoxCloneSyncService::new(asked) }
    }

    /// The answer, whose body is still to come.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        self.requests.clone().oneshot(request).await
    }

    /// Opens a connection for what follows, if there is none, and sends nothing over it: an API server closes one
    /// over which an anonymous request came by HTTP/2 (apiserver `endpoints/filters/authentication.go`).
    pub(super) async fn open(&self) -> Result<(), BoxError> {
        self.opening.clone().oneshot(()).await
    }
}

type Connector<T> = BoxCloneSyncService<Uri, T, BoxError>;

struct Pool<T> {
    server: Uri,
    connector: Connector<T>,
    protocol: Arc<Mutex<Protocol>>,
    /// A connection that showed that the server speaks HTTP/1.1, and when it was opened.
    spare: Arc<Mutex<Option<(T, Instant)>>>,
    http1: legacy::Client<Connector<T>, Body>,
}

/// What the server speaks, as far as a connection showed it.
enum Protocol {
    Unknown,
    Http1,
    Http2(Http2),
}

#[derive(Clone)]
struct Http2 {
    connection: SendRequest<Body>,
    opened: Instant,
    used: Instant,
}

impl<T: Connection + Read + Write + Send + Unpin + 'static> Pool<T> {
    fn new(server: Uri, connector: Connector<T>) -> Self {
        let spare: Arc<Mutex<Option<(T, Instant)>>> = Arc::default();
        let (first, further) = (Arc::clone(&spare), connector.clone());
        let first_or_further = service_fn(move |server| {
            let (first, further) = (Arc::clone(&first), further.clone());
            async move {
                match first.lock().await.take() {
                    Some((stream, opened)) if opened.elapsed() < IDLE => Ok(stream),
                    _ => further.oneshot(server).await,
                }
            }
        });
        // The timer closes what is idle although nothing more is sent.
        let http1 = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(BoxCloneSyncService::new(first_or_further));
        Self { server, connector, protocol: Arc::new(Mutex::new(Protocol::Unknown)), spare, http1 }
    }

    async fn send(self: Arc<Self>, mut request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let mut tries = 0;
        loop {
            let Some(Http2 { mut connection, opened, .. }) = self.open().await? else {
                return Ok(self.http1.request(request).await?);
            };
            let copy = copy(&request);
            let mut failed = match connection.try_send_request(request).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let (unsent, error) = (failed.take_message(), failed.into_error());
            tries += 1;
            match unsent.or(copy.filter(|_| is_unprocessed(&error))) {
                Some(unprocessed) if tries < TRIES => request = unprocessed,
                _ => return Err(error.into()),
            }
            self.abandon(opened).await;
        }
    }

    /// No request goes over this connection any more.
    async fn abandon(&self, opened: Instant) {
        let mut protocol = self.protocol.lock().await;
        if matches!(&*protocol, Protocol::Http2(current) if current.opened == opened) {
            *protocol = Protocol::Unknown;
        }
    }

    /// The connection for HTTP/2, which is opened if there is none. Those who come meanwhile wait for it.
    async fn open(&self) -> Result<Option<Http2>, BoxError> {
        let mut protocol = self.protocol.lock().await;
        match &mut *protocol {
            Protocol::Http1 => return Ok(None),
            Protocol::Http2(current) if !current.connection.is_closed() => {
                current.used = Instant::now();
                return Ok(Some(current.clone()));
            }
            Protocol::Http2(_) | Protocol::Unknown => {}
        }
        let stream = self.connector.clone().oneshot(self.server.clone()).await?;
        if !stream.connected().is_negotiated_h2() {
            *self.spare.lock().await = Some((stream, Instant::now()));
            *protocol = Protocol::Http1;
            return Ok(None);
        }
        let (connection, driver) =
            http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).handshake(stream).await?;
        // How it ended is told to the requests.
        tokio::spawn(async move { drop(driver.await) });
        let opened = Instant::now();
        let current = Http2 { connection, opened, used: opened };
        *protocol = Protocol::Http2(current.clone());
        tokio::spawn(close_when_idle(Arc::downgrade(&self.protocol)));
        Ok(Some(current))
    }
}

/// The same request once more, if its body can be had again.
pub(super) fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    Some(copy)
}

/// Whether the server says that it did nothing about a request, so that any may be sent again (RFC 9113, section 8.7): an API
/// server with `--goaway-chance` sends clients away so that they spread.
fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.find_map(|cause| cause.downcast_ref::<h2::Error>()).is_some_and(|error| {
        error.is_remote()
            && (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)
                || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Lets go of the connection, which ends after its last answer.
async fn close_when_idle(protocol: Weak<Mutex<Protocol>>) {
    let mut pause = IDLE;
    loop {
        sleep(pause).await;
        let Some(protocol) = protocol.upgrade() else { return };
        let mut protocol = protocol.lock().await;
        let Protocol::Http2(current) = &*protocol else { return };
        pause = IDLE.saturating_sub(current.used.elapsed());
        if pause.is_zero() {
            *protocol = Protocol::Unknown;
            return;
        }
    }
}

fn boxed<S, B>(service: S) -> BoxCloneSyncService<Request<Body>, Response<AnswerBody>, BoxError>
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::network::{Network, Protocols},
        model::access::certificate::certificates,
    };
    use futures_util::future::try_join_all;
    use kube::Config;
    use tempfile::TempDir;
    use testbed::{Http, Simulated};

    /// Real servers, one of which answers its path; the connections to that one.
    struct Scene {
        servers: Simulated,
        url: Uri,
        network: Network,
        _dir: TempDir,
    }

    impl Scene {
        fn new(http: Http) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let servers = Simulated::new(dir.path(), Duration::ZERO, http).unwrap();
            let answer = |head: &http::request::Parts, _| Some(Response::new(Bytes::from(head.uri.path().to_owned())));
            let address = servers.serve(Arc::new(answer)).unwrap();
            let url: Uri = format!("https://{address}/").parse().unwrap();
            let mut config = Config::new(url.clone());
            config.root_cert = Some(certificates(&std::fs::read(servers.ca_file()).unwrap()));
            let network = Network::new(config, None).unwrap();
            Self { servers, url, network, _dir: dir }
        }

        async fn ask(&self, connections: &Connections) -> Result<(), BoxError> {
            let request = Request::get(self.url.clone()).body(Body::empty())?;
            let answer = connections.send(request).await?;
            assert_eq!(answer.into_body().collect().await?.to_bytes(), "/");
            Ok(())
        }

        async fn ask_at_once(&self, connections: &Connections, requests: usize) {
            try_join_all((0..requests).map(|_| self.ask(connections))).await.unwrap();
        }
    }

    #[tokio::test]
    async fn requests_share_one_connection_over_http2() {
        let scene = Scene::new(Http::Two);
        let connections = scene.network.connections(Protocols::Any);
        scene.ask_at_once(&connections, 20).await;
        connections.open().await.unwrap();
        scene.ask(&connections).await.unwrap();
        assert_eq!(scene.servers.connections(), 1);
        // Others have their own.
        scene.ask(&scene.network.connections(Protocols::Any)).await.unwrap();
        assert_eq!(scene.servers.connections(), 2);
        scene.ask_at_once(&scene.network.connections(Protocols::Http1), 3).await;
        assert!(scene.servers.connections() > 2);
    }

    #[tokio::test]
    async fn connection_that_was_opened_serves_a_request_over_http1_too() {
        let scene = Scene::new(Http::One);
        let connections = scene.network.connections(Protocols::Any);
        connections.open().await.unwrap();
        for _ in 0..2 {
            scene.ask(&connections).await.unwrap();
        }
        assert_eq!(scene.servers.connections(), 1);
        scene.ask_at_once(&connections, 20).await;
    }

    #[tokio::test]
    async fn connection_that_the_server_closed_is_replaced() {
        for http in [Http::Two, Http::One] {
            let scene = Scene::new(http);
            let connections = scene.network.connections(Protocols::Any);
            for closed in 0..3 {
                // Until this side has heard of it.
                while scene.ask(&connections).await.is_err() {}
                assert_eq!(scene.servers.connections(), closed + 1);
                scene.servers.hang_up();
                while scene.ask(&connections).await.is_ok() && scene.servers.connections() == closed + 1 {}
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connection_is_closed() {
        let (stream, server) = tokio::io::duplex(1 << 16);
        let handshake = http2::handshake(TokioExecutor::new(), hyper_util::rt::TokioIo::new(stream));
        let (connection, driver) = handshake.await.unwrap();
        let ended = tokio::spawn(driver);
        let current = Http2 { connection, opened: Instant::now(), used: Instant::now() };
        let protocol = Arc::new(Mutex::new(Protocol::Http2(current)));
        tokio::spawn(close_when_idle(Arc::downgrade(&protocol)));
        sleep(IDLE / 2).await;
        if let Protocol::Http2(current) = &mut *protocol.lock().await {
            current.used = Instant::now();
        }
        sleep(IDLE * 9 / 10).await;
        assert!(!ended.is_finished());
        sleep(IDLE / 5).await;
        assert!(ended.await.unwrap().is_ok());
        drop(server);
    }
}
