//! A short look elsewhere while a person waits at the prompt.

use crate::{cluster::tls, error::Result};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::timeout;

/// A person waits at the prompt.
const LONGEST: Duration = Duration::from_millis(200);

/// What these looks find, all at the same time. Whatever fails, or takes longer, has found nothing.
pub(super) fn found<T>(looks: impl Iterator<Item = impl Future<Output = Result<Vec<T>>>>) -> Vec<T> {
    tls::install();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop can be had");
    let found = runtime.block_on(async { join_all(looks.map(|look| timeout(LONGEST, look))).await });
    // Not awaited: a resolver of names that does not answer must not keep the prompt.
    runtime.shutdown_background();
    found.into_iter().flatten().flatten().flatten().collect()
}
