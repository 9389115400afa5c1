//! The undo of a delivery to a directory.

use crate::{
    destination::Directory,
    error::{Error, Reason, Result},
    model::{
        store::{
            install::{FileOwnership, Operation, Step},
            layout,
        },
        text::names::ClusterName,
    },
    stages::interrupt::ends_within,
};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

/// For the undo of files, from the signal that interrupted the run. Another host that is slower undoes them by itself.
const UNDONE_WITHIN: Duration = Duration::from_secs(5);
/// For Prometheus to read the previous configuration again, from the signal that interrupted the run.
const RELOADED_WITHIN: Duration = Duration::from_secs(10);

/// Executes the changes of a run to a destination, and keeps the undo of unfinished ones.
#[derive(Default)]
pub(super) struct UndoLog {
    pub(super) ownership: FileOwnership,
    /// In order, each with its cluster, or none if it belongs to all clusters.
    entries: RefCell<Vec<(Option<ClusterName>, Operation)>>,
    /// Whether a step was sent that puts something in place.
    was_in_place: Cell<bool>,
}

impl UndoLog {
    pub(super) fn new(ownership: FileOwnership) -> Self {
        Self { ownership, ..Self::default() }
    }

    /// Removes and returns the undo of a cluster.
    pub(super) fn take(&self, cluster: &ClusterName) -> Vec<Operation> {
        let (taken, kept) = self.entries.take().into_iter().partition(|(of, _)| of.as_ref() == Some(cluster));
        *self.entries.borrow_mut() = kept;
        let taken: Vec<(Option<ClusterName>, Operation)> = taken;
        taken.into_iter().map(|(_, operation)| operation).collect()
    }

    pub(super) fn take_all(&self) -> Vec<Operation> {
        self.entries.take().into_iter().map(|(_, operation)| operation).collect()
    }

    pub(super) async fn run(
        &self,
        destination: &Directory,
        cluster: Option<&ClusterName>,
        steps: &[Step],
    ) -> Result<()> {
        self.run_as(destination, self.ownership, cluster, steps).await
    }

    /// The same with other readers.
    pub(super) async fn run_as(
        &self,
        destination: &Directory,
        ownership: FileOwnership,
        cluster: Option<&ClusterName>,
        steps: &[Step],
    ) -> Result<()> {
        if steps.iter().any(|step| is_in_place(&step.operation) || matches!(step.operation, Operation::Point { .. })) {
            self.was_in_place.set(true);
        }
        let note = |undo| self.entries.borrow_mut().push((cluster.cloned(), undo));
        destination.folder.host.run(ownership, steps, note).await
    }

    /// Discards the undo.
    ///
    /// # Errors
    /// [`Reason::SshFailed`]: the connection was lost. That host keeps everything if it heard this before, and undoes
    /// everything if not; an end that it confirms may be either.
    pub(super) async fn finished(&self, destination: &Directory) -> Result<()> {
        self.take_all();
        let host = &destination.folder.host;
        let finished = match ends_within(UNDONE_WITHIN, host.finished()).await {
            Some(finished) => finished,
            // It says that the connection is lost.
            None => host.finished().await,
        };
        match finished {
            Ok(()) => Ok(()),
            Err(error) => Err(host.not_undone().await.into_iter().fold(error, Error::hint).in_doubt()),
        }
    }

    /// Undoes unfinished changes. Adds to the error what could not be undone.
    pub(super) async fn take_back(&self, destination: &Directory, error: Error) -> Error {
        let host = &destination.folder.host;
        let left = self.restore(destination, &self.take_all(), Some(&error)).await;
        // A lost connection has no undo log to clear.
        let _ = ends_within(UNDONE_WITHIN, host.finished()).await;
        left.into_iter().chain(host.not_undone().await).fold(error, Error::hint)
    }

    /// Whether something may still be in place after [`Self::take_back`].
    pub(super) fn is_in_doubt(&self, destination: &Directory) -> bool {
        self.was_in_place.get() && destination.folder.host.is_in_doubt()
    }

    /// Undoes this, and lets Prometheus read what was there before: in a short time where the run was interrupted. Returns
    /// what must be done by hand.
    pub(super) async fn restore(
        &self,
        destination: &Directory,
        undo: &[Operation],
        failed: Option<&Error>,
    ) -> Vec<String> {
        let was_in_place = undo.iter().any(is_in_place);
        let host = &destination.folder.host;
        let left = ends_within(UNDONE_WITHIN, host.undo(self.ownership, undo)).await;
        let left = left.unwrap_or_else(|| host.undo_is_late());
        let mut by_hand: Vec<String> = left.into_iter().map(|left| format!("Not undone: {left}")).collect();
        if failed.is_some_and(|error| error.reason == Reason::Interrupted) {
            // Where the connection is cut meanwhile, that host must not undo the same again.
            let _ = ends_within(UNDONE_WITHIN, host.finished()).await;
        }
        // A host to which the connection is lost has Prometheus reload by itself.
        if !was_in_place || host.is_lost() {
            return by_hand;
        }
        let reload = async {
            let (now, _) = destination.now().await?;
            destination.reload(now).await
        };
        let reloaded = ends_within(RELOADED_WITHIN, reload).await.unwrap_or_else(|| {
            let why = format!("it has not read its configuration again within {RELOADED_WITHIN:?}");
            Err(Error::new(Reason::ReloadFailed, why))
        });
        // A configuration that cannot be read is refused before and after; Prometheus goes on with what it has.
        if let Err(error) = reloaded
            && !failed.is_some_and(|failed| failed.is_same_failure(&error))
        {
            by_hand.push(format!("The old jobs are restored; reload Prometheus yourself: {error}"));
        }
        by_hand
    }
}

/// Whether this changes what Prometheus reads.
fn is_in_place(operation: &Operation) -> bool {
    matches!(operation, Operation::Rename { .. } | Operation::Overwrite { .. })
        || matches!(operation, Operation::Remove { path } if path.ends_with(layout::FRAGMENT_SUFFIX))
}
