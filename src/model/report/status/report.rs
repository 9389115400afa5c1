//! The report of `status`: the verdict as data and as text.

use super::FenceSeen;
use crate::{
    error::{Error, Reason, Result, listed},
    model::{
        job::Job,
        report::{API_VERSION, Line},
        text::spelled,
        token::TokenLife,
    },
};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

listed! {
    /// The kinds of problems, the most important first. The names are stable and listed in `docs/troubleshooting.md`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    pub enum ProblemReason {
        RecordUnreadable,
        TokenExpired,
        TokenRevoked,
        RecordNotConfirmed,
        JobRefused,
        JobMissing,
        NoTargets,
        JobDown,
        FenceAbsent,
        TokenNotRenewed,
        FenceChanged,
        GuardAbsent,
        GuardChanged,
        ClocksDiffer,
        NodesOpen,
        NodesNotPinned,
        TargetsDown,
        NotOurs,
        NoJobs,
        NodesGone,
        Leftovers,
    }
}

impl ProblemReason {
    /// Whether the problem needs an administrator's attention.
    pub fn is_broken(self) -> bool {
        self <= Self::TokenNotRenewed
    }

    /// The text in the table.
    pub(in crate::model) fn shown(self) -> &'static str {
        match self {
            Self::RecordUnreadable => "record unreadable",
            Self::TokenExpired => "token expired",
            Self::TokenRevoked => "token revoked",
            Self::RecordNotConfirmed => "record not confirmed",
            Self::JobRefused => "job refused",
            Self::JobMissing => "job missing",
            Self::NoTargets => "no targets",
            Self::JobDown => "job down",
            Self::FenceAbsent => "fence absent",
            Self::TokenNotRenewed => "token not renewed",
            Self::FenceChanged => "fence changed",
            Self::GuardAbsent => "guard absent",
            Self::GuardChanged => "guard changed",
            Self::ClocksDiffer => "clocks differ",
            Self::NodesOpen => "nodes open",
            Self::NodesNotPinned => "nodes not pinned",
            Self::NodesGone => "nodes gone",
            Self::TargetsDown => "targets down",
            Self::NotOurs => "not ours",
            Self::NoJobs => "no jobs",
            Self::Leftovers => "leftovers",
        }
    }
}

/// A problem and the next step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub reason: ProblemReason,
    pub message: String,
    /// The next step: a sentence with a command or an address.
    pub next: String,
}

/// `status -o json`. All fields are always present; an unknown field is null.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    pub api_version: &'static str,
    pub kind: &'static str,
    /// When the report was made, by the clock of this machine. `leftSeconds` is by the clock of the API server where that
    /// is known and differs.
    #[serde(with = "spelled")]
    pub time: Timestamp,
    pub summary: Summary,
    pub destinations: Vec<DestinationStatus>,
    pub clusters: Vec<ClusterStatus>,
}

/// The clusters by their worst status at any destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub clusters: usize,
    pub need_attention: usize,
    /// Those with other problems, or with a source that could not be read.
    pub have_warnings: usize,
    pub ok: usize,
    pub targets_up: usize,
    pub targets: usize,
}

/// How much a status matters, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    NeedsAttention,
    HasWarnings,
    Ok,
}

/// The Prometheus of a destination.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationStatus {
    /// As given on the command line.
    pub destination: String,
    /// `Prometheus 3.16.0`
    pub reader: String,
}

/// The sources of facts about a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    Prometheus,
    Cluster,
    Nodes,
    Fence,
    Guard,
    Renewal,
    Secrets,
}

impl Source {
    /// The text before `not seen`.
    fn shown(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::Cluster => "cluster",
            Self::Nodes => "nodes",
            Self::Fence => "fence",
            Self::Guard => "guard",
            Self::Renewal => "limits of the renewal",
            Self::Secrets => "bound Secrets",
        }
    }
}

/// A source that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unseen {
    pub source: Source,
    pub why: String,
}

/// One cluster of one destination.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    pub cluster: String,
    pub destination: String,
    /// `ok`, or the most important problem, as in the table.
    pub status: &'static str,
    /// Whether the problem needs an administrator's attention.
    pub needs_attention: bool,
    pub uid: Option<String>,
    pub context: Option<String>,
    pub api_server: Option<String>,
    pub namespace: Option<String>,
    pub service_account: Option<String>,
    #[serde(serialize_with = "in_full")]
    pub jobs: Vec<Job>,
    pub token: Option<TokenStatus>,
    pub fence: Option<FenceStatus>,
    /// None if the guard could not be read, or is not required.
    pub guard: Option<FenceSeen>,
    pub nodes: Option<u64>,
    pub targets: Option<TargetsStatus>,
    pub cpu_cores: Option<f64>,
    pub cpu_capacity_cores: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub memory_capacity_bytes: Option<u64>,
    pub problems: Vec<Problem>,
    pub unseen: Vec<Unseen>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    pub bound_secret: String,
    #[serde(with = "spelled")]
    pub issued: Timestamp,
    #[serde(with = "spelled")]
    pub expires: Timestamp,
    pub granted_seconds: i64,
    /// Negative after the token has expired.
    pub left_seconds: i64,
    pub state: TokenState,
}

/// The phase of a token's life, see [`TokenLife`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenState {
    Fresh,
    Due,
    /// The token is overdue for renewal.
    Late,
    Expired,
}

impl TokenState {
    pub(in crate::model) fn new(life: TokenLife, now: Timestamp) -> Self {
        if now >= life.expires {
            Self::Expired
        } else if now >= life.warning() {
            Self::Late
        } else if now >= life.due() {
            Self::Due
        } else {
            Self::Fresh
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FenceStatus {
    pub required: bool,
    /// None if the fence could not be read.
    pub seen: Option<FenceSeen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TargetsStatus {
    pub up: usize,
    pub down: usize,
    /// Not scraped yet.
    pub pending: usize,
    pub total: usize,
}

/// Each job as in `--jobs`.
fn in_full<S: Serializer>(jobs: &[Job], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(jobs.iter().map(Job::to_string))
}

impl ClusterStatus {
    pub fn severity(&self) -> Severity {
        match (self.needs_attention, self.problems.is_empty() && self.unseen.is_empty()) {
            (true, _) => Severity::NeedsAttention,
            (false, false) => Severity::HasWarnings,
            (false, true) => Severity::Ok,
        }
    }
}

impl Summary {
    fn of(clusters: &[ClusterStatus]) -> Self {
        let mut summary = Self::default();
        let mut worst: BTreeMap<&str, Severity> = BTreeMap::new();
        for status in clusters {
            let severity = worst.entry(&status.cluster).or_insert(Severity::Ok);
            *severity = status.severity().min(*severity);
            summary.targets_up += status.targets.map_or(0, |targets| targets.up);
            summary.targets += status.targets.map_or(0, |targets| targets.total);
        }
        summary.clusters = worst.len();
        for severity in worst.into_values() {
            match severity {
                Severity::NeedsAttention => summary.need_attention += 1,
                Severity::HasWarnings => summary.have_warnings += 1,
                Severity::Ok => summary.ok += 1,
            }
        }
        summary
    }
}

impl StatusReport {
    /// Sorts the clusters by name; the destinations of a cluster keep the order of the command line.
    pub fn new(time: Timestamp, destinations: Vec<DestinationStatus>, mut clusters: Vec<ClusterStatus>) -> Self {
        clusters.sort_by(|one, other| one.cluster.cmp(&other.cluster));
        let summary = Summary::of(&clusters);
        Self { api_version: API_VERSION, kind: "StatusReport", time, summary, destinations, clusters }
    }

    /// Leaves out the clusters that need no attention; the summary stays.
    #[must_use]
    pub fn only_broken(mut self) -> Self {
        self.clusters.retain(|status| status.needs_attention);
        self
    }

    /// The clusters for a person: by severity, by the most important problem, then by name.
    pub fn worst_first(&self) -> Vec<&ClusterStatus> {
        let mut clusters: Vec<&ClusterStatus> = self.clusters.iter().collect();
        let problem = |status: &ClusterStatus| status.problems.first().map(|worst| worst.reason);
        clusters.sort_by_key(|status| (status.severity(), problem(status).is_none(), problem(status)));
        clusters
    }

    /// The problems and the sources that could not be read, one line each.
    pub fn lines(&self) -> Vec<Line> {
        let several = self.destinations.len() > 1;
        let mut lines = Vec::new();
        for status in self.worst_first() {
            let at = if several { format!(" at {}", status.destination) } else { String::new() };
            for Problem { message, next, .. } in &status.problems {
                lines.push(Line::Warned(format!("{}{at}: {message}. {next}", status.cluster)));
            }
        }
        // Without a kubeconfig or a Prometheus all clusters have the same reason, so one line names them all.
        let mut unseen: BTreeMap<&Unseen, BTreeSet<&str>> = BTreeMap::new();
        for status in &self.clusters {
            for one in &status.unseen {
                unseen.entry(one).or_default().insert(&status.cluster);
            }
        }
        for (Unseen { source, why }, clusters) in unseen {
            let clusters: Vec<&str> = clusters.into_iter().collect();
            lines.push(Line::Said(format!("{}: {} not seen: {why}", clusters.join(", "), source.shown())));
        }
        lines
    }

    /// How many tokens of each destination have expired, where there are several: its host was down for long.
    pub fn expired_together(&self) -> impl Iterator<Item = (&str, usize)> {
        let expired =
            |status: &&ClusterStatus| status.token.as_ref().is_some_and(|token| token.state == TokenState::Expired);
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for status in self.clusters.iter().filter(expired) {
            *counts.entry(&status.destination).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count > 1)
    }

    /// # Errors
    /// [`Reason::StatusBroken`] if a cluster needs attention.
    pub fn verdict(&self) -> Result<()> {
        let Summary { need_attention: count, clusters: of, .. } = self.summary;
        let Some(first) = self.worst_first().into_iter().find(|status| status.needs_attention) else { return Ok(()) };
        let clusters = if of == 1 { "cluster" } else { "clusters" };
        let needs = if count == 1 { "needs" } else { "need" };
        let next = first.problems.first().map(|worst| format!("{}: {}", first.cluster, worst.next));
        Err(Error::new(Reason::StatusBroken, format!("{count} of {of} {clusters} {needs} attention"))
            .hint(next.unwrap_or_default()))
    }
}
