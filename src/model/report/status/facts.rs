//! What was seen of a cluster: by its record, in the cluster, in Prometheus.

use super::Commands;
use crate::{
    error::{Error, Result},
    model::{
        account::rights,
        job::{
            Job,
            route::{Node, Pins, Route},
        },
        store::{
            identity::Identity,
            layout::Generation,
            record::{Record, SecretRecord},
        },
        text::names::ClusterName,
        token::bound_secret::BoundSecret,
    },
};
use serde::Serialize;
use serde_json::Value;

/// What was seen of one cluster of one destination. What nobody could look at says why.
pub struct Facts {
    pub cluster: ClusterName,
    /// As it was typed.
    pub destination: String,
    pub recorded: Recorded,
    /// Generations that no jobs name: what a killed run left.
    pub leftovers: Vec<Generation>,
    /// What an operator has against the jobs, one line each.
    pub refused: Vec<String>,
    pub in_cluster: Result<ClusterFacts, String>,
    pub in_prometheus: Result<PrometheusFacts, String>,
}

impl Facts {
    pub(crate) fn commands(&self) -> Commands<'_> {
        Commands { cluster: &self.cluster, destination: &self.destination }
    }
}

/// What the destination remembers.
pub enum Recorded {
    Record(Box<Record>),
    /// There are no jobs, only what a killed run left.
    NoJobs,
    Unreadable(Error),
}

/// What an administrator sees in the cluster.
pub struct ClusterFacts {
    /// None where no job is scraped from nodes and whoever looks may not list them.
    pub nodes: Result<Option<u64>, String>,
    pub fence: Result<FenceSeen, String>,
    /// None where nodes are not pinned.
    pub pins: Result<Option<PinFacts>, String>,
    pub secrets: Result<SecretFacts, String>,
}

/// The nodes that a role names against those that there are, each as `NAME:PORT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinFacts {
    /// Are there and not named: nothing of them is scraped.
    pub new: Vec<String>,
    /// Are named and have gone.
    pub gone: Vec<String>,
    /// A right to all of them is still there, for jobs that were there before.
    pub is_open: bool,
}

impl PinFacts {
    /// From the role as the API server returned it, and all nodes.
    pub fn new(role: &Value, nodes: &[Node]) -> Self {
        let routes = rights::routes(role);
        let named = routes.iter().find_map(Route::pins).cloned().unwrap_or_default();
        let there = Pins::new(nodes);
        let owned = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
        Self {
            new: owned(&mut there.without(&named)),
            gone: owned(&mut named.without(&there)),
            is_open: routes.contains(&Route::ApiServer),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FenceSeen {
    /// As `join` makes it for these jobs. Whether it is enforced, only a request that it refuses would tell.
    Present,
    /// There, and something else than `join` makes.
    Changed,
    Absent,
}

/// The bound Secrets of one destination in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// Whether the one of the token in use is there. Without it the token is refused.
    pub in_use_exists: bool,
    /// Names of those that are this destination's and that no record of it knows.
    pub leftovers: Vec<String>,
}

impl SecretFacts {
    /// `existing` are those of the account, of whatever destination. `known` are those in the records of this one, of
    /// all its clusters: while a cluster is renamed it is there twice.
    pub fn new(
        existing: &[BoundSecret],
        in_use: &SecretRecord,
        identity: Option<&Identity>,
        known: &[&SecretRecord],
    ) -> Self {
        let is = |secret: &BoundSecret, record: &SecretRecord| secret.name == record.name && secret.uid == record.uid;
        Self {
            in_use_exists: existing.iter().any(|secret| is(secret, in_use)),
            leftovers: existing
                .iter()
                .filter(|secret| Some(&secret.destination) == identity)
                .filter(|secret| !known.iter().any(|record| is(secret, record)))
                .map(|secret| secret.name.clone())
                .collect(),
        }
    }
}

/// What Prometheus makes of the jobs.
pub struct PrometheusFacts {
    /// Of its API, without a slash at the end.
    pub url: String,
    pub jobs: Vec<JobFacts>,
    /// In use on all nodes.
    pub cpu_cores: Option<f64>,
    pub memory_bytes: Option<u64>,
}

/// The targets of one job.
pub struct JobFacts {
    pub job: Job,
    /// Whether Prometheus has the job at all.
    pub is_known: bool,
    pub up: usize,
    /// The last error of each target that is down.
    pub down: Vec<String>,
    /// Not scraped yet.
    pub pending: usize,
}
