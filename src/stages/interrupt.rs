//! Work that can be interrupted, so that its caller can clean up.

use crate::error::{Error, Reason, Result};

/// Ends the work as soon as Ctrl-C is pressed, the terminal is closed or somebody (a CI system whose job is cancelled)
/// ends this process, so that the caller can clean up.
pub async fn until_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        outcome = work => outcome,
        signal = end_asked() => Err(Error::new(Reason::Interrupted, format!("interrupted by {signal}"))),
    }
}

#[cfg(unix)]
async fn end_asked() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let received = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => drop(signals.recv().await),
            // Then the signal ends the process as it always did.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = received(SignalKind::interrupt()) => "Ctrl-C",
        () = received(SignalKind::terminate()) => "SIGTERM",
        () = received(SignalKind::hangup()) => "SIGHUP",
    }
}

#[cfg(not(unix))]
async fn end_asked() -> &'static str {
    let _ = tokio::signal::ctrl_c().await;
    "Ctrl-C"
}
