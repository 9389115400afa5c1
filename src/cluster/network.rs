//! What requests to API servers go over: the network, or a service that stands in for it, so that a test can run whole
//! commands on API servers of its own without a socket.

use http::{Request, Response};
use kube::client::Body;
use tower::{BoxError, util::BoxCloneSyncService};

/// Answers every request that would go over the network; its URI names the server.
pub type StandIn = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

tokio::task_local! {
    static STAND_IN: StandIn;
}

/// Runs `work` with every connection to an API server made to `service` instead.
pub async fn on<T>(service: StandIn, work: impl Future<Output = T>) -> T {
    STAND_IN.scope(service, work).await
}

pub(super) fn stand_in() -> Option<StandIn> {
    STAND_IN.try_with(Clone::clone).ok()
}
