//! The time that one cluster has, so that it costs no other cluster more and a run ends.

use crate::{
    error::{Error, Reason, Result},
    model::text::limits,
};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

#[derive(Clone, Copy, Debug)]
pub struct ClusterTime {
    pub within: Duration,
    end: Instant,
}

impl ClusterTime {
    /// [`limits::for_cluster`] from now on.
    pub fn begin(request_timeout: Option<Duration>) -> Self {
        let within = limits::for_cluster(request_timeout);
        Self { within, end: Instant::now() + within }
    }

    /// # Errors
    /// [`Reason::Timeout`], what `work` fails with.
    pub async fn bound<T>(self, work: impl Future<Output = Result<T>>) -> Result<T> {
        timeout_at(self.end, work).await.unwrap_or_else(|_| {
            Err(Error::new(Reason::Timeout, format!("there are no answers within {:?}", self.within))
                .hint("To wait longer: --request-timeout"))
        })
    }
}
