//! Work that can be interrupted, so that its caller can clean up.

use crate::error::{Error, Reason, Result};
use std::{
    future::pending,
    sync::{LazyLock, Once},
    time::Duration,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{Instant, sleep_until},
};

/// For the undo of objects in a cluster, from the signal on: an API server that does not answer must not keep the run.
pub const OBJECTS_UNDONE_WITHIN: Duration = Duration::from_secs(30);

/// The signal that asked this process to end, and when. Work that begins afterwards is refused, so that no further
/// cluster is started after the signal.
static ASKED: LazyLock<watch::Sender<Option<(&'static str, Instant)>>> = LazyLock::new(|| watch::Sender::new(None));

/// Ends the work at Ctrl-C, at SIGTERM (a CI system that cancels a job) or when the terminal is closed, so that the caller
/// can clean up.
///
/// # Errors
/// [`Reason::Interrupted`], and the errors of the work.
pub async fn until_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    listen();
    if let Some(signal) = interrupted() {
        return Err(error(signal));
    }
    tokio::select! {
        outcome = work => outcome,
        signal = interruption() => Err(error(signal)),
    }
}

/// Ends work that a signal must not end, undo above all, when it takes longer than this after the signal. Then there is
/// no outcome.
pub async fn ends_within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let over = async {
        let (_, asked) = asked().await;
        sleep_until(asked + limit).await;
    };
    tokio::select! {
        biased;
        outcome = work => Some(outcome),
        () = over => None,
    }
}

/// Has signals that end this process heard from here on. Before, they end it at once, because there is nothing to undo.
///
/// # Panics
/// Outside of an event loop.
pub fn listen() {
    static LISTENS: Once = Once::new();
    LISTENS.call_once(|| {
        // If one cannot be heard, it ends the process as before.
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(|kind| signal(kind).ok());
        tokio::spawn(async move {
            let signal = tokio::select! {
                () = received(interrupt) => "Ctrl-C",
                () = received(terminate) => "SIGTERM",
                () = received(hangup) => "SIGHUP",
            };
            ASKED.send_replace(Some((signal, Instant::now())));
        });
    });
}

/// Waits for a signal that ends this process, and returns it. Work within [`until_interrupted`] ends then.
pub async fn interruption() -> &'static str {
    asked().await.0
}

/// The signal that asked this process to end, if there was one.
pub fn interrupted() -> Option<&'static str> {
    ASKED.borrow().map(|(signal, _)| signal)
}

fn error(signal: &str) -> Error {
    Error::new(Reason::Interrupted, format!("interrupted by {signal}"))
}

async fn asked() -> (&'static str, Instant) {
    match ASKED.subscribe().wait_for(Option::is_some).await.ok().and_then(|asked| *asked) {
        Some(asked) => asked,
        None => pending().await,
    }
}

async fn received(signal: Option<Signal>) {
    match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => pending().await,
    }
}
