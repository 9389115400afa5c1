//! Work that can be interrupted, so that its caller can clean up.

use crate::error::{Error, Reason, Result};
use std::sync::OnceLock;

/// The signal that asked this process to end. Work that begins afterwards is refused, so that no further cluster is
/// started after the signal.
static ASKED: OnceLock<&'static str> = OnceLock::new();

/// Ends the work at Ctrl-C, at SIGTERM (a CI system that cancels a job) or when the terminal is closed, so that the caller
/// can clean up.
///
/// # Errors
/// [`Reason::Interrupted`], and the errors of the work.
pub async fn until_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    if let Some(signal) = interrupted() {
        return Err(error(signal));
    }
    tokio::select! {
        outcome = work => outcome,
        signal = interruption() => Err(error(signal)),
    }
}

/// Waits for a signal that ends this process, and returns it. Work within [`until_interrupted`] ends then.
pub async fn interruption() -> &'static str {
    let signal = end_asked().await;
    ASKED.get_or_init(|| signal)
}

/// The signal that asked this process to end, if there was one.
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
            // Then the signal ends the process by default.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = received(SignalKind::interrupt()) => "Ctrl-C",
        () = received(SignalKind::terminate()) => "SIGTERM",
        () = received(SignalKind::hangup()) => "SIGHUP",
    }
}
