//! What a destination has of one cluster.

use crate::{
    error::Result,
    model::{
        store::{
            install::Present,
            layout::Generation,
            record::{Record, SecretRecord},
        },
        text::{names::ClusterName, shell},
    },
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// What a destination has of one cluster.
#[derive(Clone, Debug)]
pub struct Installed {
    pub cluster: ClusterName,
    /// What the jobs name; none where a run was killed before or after there were any.
    pub live: Option<Live>,
    /// Every generation that has a folder, oldest first, the live one included; with its Secret if its record says.
    pub generations: BTreeMap<Generation, Option<SecretRecord>>,
    pub present: Present,
    /// The newest record of a cluster that has no jobs any more: a run was killed before or after there were any.
    pub remains: Option<Record>,
}

/// The generation that is in use.
#[derive(Clone, Debug)]
pub struct Live {
    pub generation: Generation,
    /// [`Reason::DestinationUnusable`] where it is missing or broken, [`Reason::RecordTooNew`].
    pub record: Result<Record>,
}

impl Installed {
    /// Generations that no jobs name and no live record waits for: what a killed run left.
    pub fn leftovers(&self) -> Vec<&Generation> {
        let expected = |generation: &&Generation| {
            let replaced = |record: &Record| record.replaces.iter().any(|one| one.generation == **generation);
            self.live.as_ref().is_some_and(|live| live.generation == **generation)
                || self.record().is_some_and(replaced)
        };
        self.generations.keys().filter(|generation| !expected(generation)).collect()
    }

    /// What the live one took the place of and what is still there, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Generation> {
        let live = self.live.as_ref().map(|live| &live.generation);
        self.generations.keys().filter(move |generation| Some(*generation) != live)
    }

    /// When the live one came, by the clock of the machine that delivered it.
    pub fn arrived(&self) -> Option<Timestamp> {
        self.live.as_ref()?.generation.made()
    }

    /// The record in use, if there is one that can be read.
    pub fn record(&self) -> Option<&Record> {
        self.live.as_ref()?.record.as_ref().ok()
    }
}

/// The hint where a record cannot be read.
pub(super) fn join_again(cluster: &ClusterName, destination: &str) -> String {
    let words = ["join", "--cluster-name", cluster.as_str(), "--context", "CONTEXT", "-p", destination];
    format!("Join the cluster again to write it: {}", shell::plugin(words))
}
