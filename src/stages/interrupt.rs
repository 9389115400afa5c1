//! Work that can be interrupted, so that its caller can clean up.

use crate::error::{Error, Reason, Result};
use std::{
    future::pending,
    sync::{
        LazyLock, Once,
        atomic::{AtomicBool, Ordering},
    },
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

/// Whether there may be something to undo, so that the work ends itself.
static UNDOES: AtomicBool = AtomicBool::new(false);

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

/// Has work that ends itself hear signals from here on. Before, a signal ends this process at once, because there is
/// nothing to undo.
///
/// # Panics
/// Outside of an event loop.
pub fn listen() {
    UNDOES.store(true, Ordering::Relaxed);
    hear();
}

/// The end of a command that has nothing to undo, at a signal after [`hear`]; otherwise never.
pub async fn ended_at_once() -> Error {
    let signal = interruption().await;
    if UNDOES.load(Ordering::Relaxed) { pending().await } else { error(signal) }
}

/// Has signals heard while another program uses the terminal: this process then ends that program before itself.
///
/// # Panics
/// Outside of an event loop.
pub fn hear() {
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
