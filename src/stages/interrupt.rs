//! Work that can be interrupted, so that its caller can clean up.

use crate::error::{Error, Reason, Result};
use std::sync::OnceLock;

/// By whom this process was asked to end. It stays asked: what begins afterwards is refused, so that of many clusters
/// none is begun after the signal.
static ASKED: OnceLock<&'static str> = OnceLock::new();

/// Ends the work as soon as Ctrl-C is pressed, the terminal is closed or somebody (a CI system whose job is cancelled)
/// ends this process, so that the caller can clean up.
///
/// # Errors
/// [`Reason::Interrupted`], and what the work fails with.
pub async fn until_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    if let Some(signal) = interrupted() {
        return Err(error(signal));
    }
    tokio::select! {
        outcome = work => outcome,
        signal = interruption() => Err(error(signal)),
    }
}

/// Waits until this process is asked to end; returns what asked. What works meanwhile with [`until_interrupted`] ends.
pub async fn interruption() -> &'static str {
    let signal = end_asked().await;
    ASKED.get_or_init(|| signal)
}

/// What asked this process to end, if anything did.
pub fn interrupted() -> Option<&'static str> {
    ASKED.get().copied()
}

fn error(signal: &str) -> Error {
    Error::new(Reason::Interrupted, format!("interrupted by {signal}"))
}

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
