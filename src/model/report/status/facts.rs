//! The facts about a cluster: from its record, from the cluster, from Prometheus.

use super::{Commands, Write};
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
            terms::Unconfirmed,
        },
        text::names::ClusterName,
        token::{bound_secret::BoundSecret, clock::ClockLead},
    },
};
use serde::Serialize;
use serde_json::Value;

/// The facts about one cluster at one destination. A source that could not be read has its reason.
pub struct Facts {
    pub cluster: ClusterName,
    /// As given on the command line.
    pub destination: String,
    /// How the commands about it are written.
    pub write: Write,
    pub recorded: Recorded,
    /// Generations that no jobs name, left by a killed run.
    pub leftovers: Vec<Generation>,
    /// The operator's reasons for rejecting jobs, one line each.
    pub refused: Vec<String>,
    /// The clock of the API server. None if it has not answered.
    pub clock: Option<ClockLead>,
    pub in_cluster: Result<ClusterFacts, String>,
    pub in_prometheus: Result<PrometheusFacts, String>,
}

impl Facts {
    pub(crate) fn commands(&self) -> Commands<'_> {
        let terms = self.in_cluster.as_ref().ok().and_then(|seen| seen.terms.as_ref());
        Commands { cluster: &self.cluster, destination: &self.destination, write: self.write, terms }
    }
}

/// The record at the destination.
pub enum Recorded {
    Record(Box<Record>),
    /// There are no jobs, only leftovers of a killed run.
    NoJobs,
    Unreadable(Error),
}

/// The facts that an administrator sees in the cluster.
pub struct ClusterFacts {
    /// None if no job is scraped from nodes and the caller may not list them.
    pub nodes: Result<Option<u64>, String>,
    pub fence: Result<FenceSeen, String>,
    /// The guard; none with `--fence=off`.
    pub guard: Result<Option<FenceSeen>, String>,
    /// The policy that limits renewals; none without `--self-renew`.
    pub renewal: Result<Option<FenceSeen>, String>,
    /// None if nodes are not pinned.
    pub pins: Result<Option<PinFacts>, String>,
    pub secrets: Result<SecretFacts, String>,
    /// Whether the cluster confirms the terms of the record. None if its note could not be read.
    pub terms: Option<Result<(), Unconfirmed>>,
}

/// The difference between the pinned nodes of a role and the nodes of the cluster, as `NAME:PORT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinFacts {
    /// Nodes that are not pinned, so they are not scraped.
    pub new: Vec<String>,
    /// Pinned nodes that do not exist any more.
    pub gone: Vec<String>,
    /// Whether the role still has the right to all nodes, for earlier jobs.
    pub is_open: bool,
}

impl PinFacts {
    /// From the role as the API server returned it, and from all nodes.
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
    /// The fence is as `join` makes it for these jobs. Only a refused request would show that it is enforced.
    Present,
    /// The fence exists and differs from what `join` makes.
    Changed,
    Absent,
}

/// The bound Secrets of one destination in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// Whether the bound Secret of the token in use exists. Without it the API server refuses the token.
    pub in_use_exists: bool,
    /// The names of this destination's bound Secrets that no record names.
    pub leftovers: Vec<String>,
}

impl SecretFacts {
    /// `existing`: the account's bound Secrets of all destinations. `known`: the Secrets in the records of this
    /// destination, of all clusters, because a cluster has two records while it is renamed.
    pub fn new(existing: &[BoundSecret], in_use: &SecretRecord, identity: &Identity, known: &[&SecretRecord]) -> Self {
        let is = |secret: &BoundSecret, record: &SecretRecord| secret.name == record.name && secret.uid == record.uid;
        Self {
            in_use_exists: existing.iter().any(|secret| is(secret, in_use)),
            leftovers: existing
                .iter()
                .filter(|secret| identity.is(&secret.destination))
                .filter(|secret| !known.iter().any(|record| is(secret, record)))
                .map(|secret| secret.name.clone())
                .collect(),
        }
    }
}

/// The state of the jobs in Prometheus.
pub struct PrometheusFacts {
    /// Whether the destination's configuration includes the file of the jobs.
    pub is_included: bool,
    /// The URL of its API, without a final slash.
    pub url: String,
    pub jobs: Vec<JobFacts>,
    pub usage: Usage,
}

/// What all nodes of a cluster use, and what they have. None where Prometheus has no such series.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub cpu_cores: Option<f64>,
    pub cpu_capacity_cores: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub memory_capacity_bytes: Option<u64>,
}

/// A target that is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownTarget {
    /// The label `instance`: a node's name for jobs of nodes.
    pub instance: String,
    pub error: String,
}

/// The targets of one job.
pub struct JobFacts {
    pub job: Job,
    /// Whether Prometheus has the job at all.
    pub is_known: bool,
    pub up: usize,
    pub down: Vec<DownTarget>,
    /// Not scraped yet.
    pub pending: usize,
}
