//! What rotations and proofs of a watch have seen: they run at the same time, and one file has the metrics of both.

use super::recurring::RecurringError;
use crate::{
    clock,
    error::Error,
    model::{
        report::account_limits::{AccountLimits, LimitsHistory},
        text::names::ClusterName,
    },
    render::metrics::ClusterMetrics,
    stages::{interrupt::ends_within, metrics_file},
    ui::Ui,
};
use std::{cell::RefCell, collections::BTreeMap, convert::Infallible, path::PathBuf, time::Duration};
use tokio::{
    sync::{Mutex, Notify},
    time::sleep,
};

/// The limit after a signal.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// Between two writes because of proofs, of which a fleet makes several a second.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Board {
    file: Option<PathBuf>,
    ui: Ui,
    /// As the last rotation left it; none before the first one.
    clusters: RefCell<Option<Vec<ClusterMetrics>>>,
    /// By destination and cluster.
    limits: RefCell<BTreeMap<(String, ClusterName), LimitsHistory>>,
    changed: Notify,
    /// Held while the file is written, with the error of the last time.
    unwritten: Mutex<RecurringError>,
}

impl Board {
    pub(super) fn new(file: Option<PathBuf>, ui: Ui) -> Self {
        Self {
            file,
            ui,
            clusters: RefCell::default(),
            limits: RefCell::default(),
            changed: Notify::new(),
            unwritten: Mutex::default(),
        }
    }

    /// After a rotation.
    pub(super) async fn show(&self, clusters: Vec<ClusterMetrics>) {
        self.clusters.replace(Some(clusters));
        self.write().await;
    }

    /// After a proof. Returns whether it is news.
    pub(super) fn saw(&self, place: &str, cluster: &ClusterName, limits: AccountLimits) -> bool {
        let mut all = self.limits.borrow_mut();
        let history = all.entry((place.to_owned(), cluster.clone())).or_default();
        let before = history.states();
        let is_news = history.saw(limits, clock::now());
        if history.states() != before {
            self.changed.notify_one();
        }
        is_news
    }

    /// After a destination, or one of its records, could not be read.
    pub(super) fn lost(&self, place: &str, cluster: Option<&ClusterName>, why: &Error) {
        let mut all = self.limits.borrow_mut();
        let is_one = |(of, one): &(String, ClusterName)| of == place && cluster.is_none_or(|cluster| cluster == one);
        for (_, history) in all.iter_mut().filter(|(key, _)| is_one(key)) {
            let before = history.states();
            history.lost(why);
            if history.states() != before {
                self.changed.notify_one();
            }
        }
    }

    /// Forgets the clusters of a destination that are not there any more.
    pub(super) fn keep(&self, place: &str, are_there: impl Fn(&ClusterName) -> bool) {
        self.limits.borrow_mut().retain(|(of, cluster), _| of != place || are_there(cluster));
    }

    /// Whether all limits of an account were seen to hold.
    pub(super) fn are_well(&self, place: &str, cluster: &ClusterName) -> bool {
        let limits = self.limits.borrow();
        let last = limits.get(&(place.to_owned(), cluster.clone())).and_then(LimitsHistory::last);
        last.is_some_and(|last| !last.are_broken() && !last.are_in_doubt())
    }

    /// Writes the file soon after a proof has changed it.
    pub(super) async fn follow(&self) -> Infallible {
        loop {
            self.changed.notified().await;
            self.write().await;
            sleep(PAUSE).await;
        }
    }

    async fn write(&self) {
        let Some(file) = &self.file else { return };
        let mut unwritten = self.unwritten.lock().await;
        let limits = self.limits.borrow().clone();
        let with_limits = |one: &ClusterMetrics| {
            let cluster = one.cluster.parse().ok();
            let limits = cluster.and_then(|cluster| limits.get(&(one.destination.clone(), cluster)).cloned());
            ClusterMetrics { limits, ..one.clone() }
        };
        let metrics = self.clusters.borrow().as_ref().map(|all| all.iter().map(with_limits).collect::<Vec<_>>());
        let Some(metrics) = metrics else { return };
        match ends_within(WRITTEN_WITHIN, metrics_file::write(file, &metrics)).await {
            Some(Ok(())) => unwritten.is_over(),
            Some(Err(error)) if unwritten.is_news(&error, clock::now()) => self.ui.warn(&error.to_string()),
            Some(Err(_)) | None => {}
        }
    }
}
