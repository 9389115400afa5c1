//! How long what was granted or refused may take to arrive.

use crate::{
    cluster::Answer,
    error::Result,
    stages::poll::{Pauses, poll},
};
use std::time::Duration;
use tokio::time::Instant;

/// RBAC reaches each API server through a watch of its own; until then a right that was granted is refused.
pub(in crate::stages) const RIGHTS_ARRIVE_WITHIN: Duration = Duration::from_secs(5);
/// An API server reads its policies once a second (apiserver `policy_source.go`, `policyRefreshIntervalDefault`), each on
/// its own clock, and compiles those that have changed. Under load it is late: with 32 new policies and two busy cores
/// it took longer than three seconds.
const NEW_FENCE_HOLDS_WITHIN: Duration = Duration::from_secs(10);
/// A fence that holds nowhere after this, though nobody has just written it, does not hold.
const STANDING_FENCE_HOLDS_WITHIN: Duration = Duration::from_secs(3);
/// After a policy was written, every API server enforces it within this time: that second, and the way to a slow one.
pub(in crate::stages) const POLICY_HOLDS_AFTER: Duration = Duration::from_millis(1250);
/// Each try that may reach another API server costs both sides a handshake.
const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(300);
pub(in crate::stages) const PAUSE: Duration = Duration::from_millis(150);
pub(in crate::stages) const BETWEEN_TRIES: Pauses = Pauses::even(PAUSE);

/// Tries until everything is refused that should be. A try returns the first request that passed, with its `answer`.
/// `is_new`: whether this run has written the policy.
///
/// # Errors
/// Outside: a request without an answer. Inside: what passes still.
pub(super) async fn refused<P>(
    is_new: bool,
    look: impl AsyncFn() -> Result<Option<P>>,
    answer: impl Fn(&P) -> &Answer,
) -> Result<Result<(), P>> {
    // RBAC that has not arrived refuses these too: it is given the same time as for the pages.
    let patience = |passed: &P| match answer(passed).code {
        401 | 403 => RIGHTS_ARRIVE_WITHIN,
        _ if is_new => NEW_FENCE_HOLDS_WITHIN,
        _ => STANDING_FENCE_HOLDS_WITHIN,
    };
    let looked = poll(patience, BETWEEN_TRIES, async || match look().await {
        Ok(None) => Ok(Ok(())),
        Ok(Some(passed)) => Err(passed),
        Err(error) => Ok(Err(error)),
    });
    match looked.await {
        Ok(refused) => refused.map(Ok),
        Err(passed) => Ok(Err(passed)),
    }
}

/// Tries until everything is refused by API servers that have had the time to read a policy, which exists `since` then.
/// Each try uses connections of its own, which may reach other API servers.
///
/// # Errors
/// As [`refused`].
pub(super) async fn stays_refused<P>(
    since: Instant,
    look: impl AsyncFn() -> Result<Option<P>>,
) -> Result<Result<(), P>> {
    let (started, mut holds_since) = (Instant::now(), since);
    loop {
        let left = POLICY_HOLDS_AFTER.saturating_sub(holds_since.elapsed());
        tokio::time::sleep(BETWEEN_CONNECTIONS.min(left)).await;
        match look().await? {
            None if left <= BETWEEN_CONNECTIONS => return Ok(Ok(())),
            None => {}
            Some(passed) if started.elapsed() > NEW_FENCE_HOLDS_WITHIN => return Ok(Err(passed)),
            Some(_) => holds_since = Instant::now(),
        }
    }
}
