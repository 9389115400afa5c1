//! What time it is: by the clock of this machine, or by one that stands in for it, so that a test can let months pass.

use jiff::Timestamp;
use tokio::time::Instant;

tokio::task_local! {
    /// What it showed, and when.
    static STAND_IN: (Timestamp, Instant);
}

pub fn now() -> Timestamp {
    STAND_IN.try_with(|(shown, at)| *shown + at.elapsed()).unwrap_or_else(|_| Timestamp::now())
}

/// Runs `work` by a clock that showed this time then and goes as tokio's does.
pub async fn stand_in<T>((shown, at): (Timestamp, Instant), work: impl Future<Output = T>) -> T {
    STAND_IN.scope((shown, at), work).await
}
