//! The results of commands as data, printed as text, JSON or YAML.

pub mod account_limits;
pub mod checklist;
pub mod event;
pub mod status;

use crate::{
    error::Error,
    model::{
        job::Job,
        kube::object::{Kind, ObjectRef, Verb},
        plan::{Change, Step},
        store::record::Record,
        text::{duration::Seconds, names::ClusterName, spelled},
    },
};
use jiff::Timestamp;
use serde::Serialize;
use std::fmt;

/// The version of the reports' format. Fields are only ever added.
pub const API_VERSION: &str = "prom-federate.io/v1";

/// A line of the conversation, before it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Said(String),
    /// A step that was done and verified.
    Done(String),
    Warned(String),
    /// What the run waits for, until the next line; and at most how long.
    Awaited(String, Option<Seconds>),
}

impl Line {
    /// With the name of the cluster in front, behind what it is indented by.
    #[must_use]
    pub fn about(self, cluster: &ClusterName) -> Self {
        let named = |text: String| {
            let rest = text.trim_start();
            let (indent, name) = (&text[..text.len() - rest.len()], format!("{cluster}: "));
            if rest.starts_with(&name) { text } else { format!("{indent}{name}{rest}") }
        };
        match self {
            Self::Said(text) => Self::Said(named(text)),
            Self::Done(text) => Self::Done(named(text)),
            Self::Warned(text) => Self::Warned(named(text)),
            Self::Awaited(text, at_most) => Self::Awaited(named(text), at_most),
        }
    }

    pub fn text(&self) -> &str {
        let (Self::Said(text) | Self::Done(text) | Self::Warned(text) | Self::Awaited(text, _)) = self;
        text
    }
}

/// One object and its change.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectReport {
    /// kubectl's spelling: `serviceaccount/prometheus`.
    pub name: String,
    #[serde(serialize_with = "shown")]
    pub verb: Verb,
    /// Whether the object decides what the account may do; a bound Secret does not.
    #[serde(skip)]
    pub is_right: bool,
}

impl ObjectReport {
    pub fn new(reference: &ObjectRef, verb: Verb) -> Self {
        Self { name: reference.to_string(), verb, is_right: reference.kind != Kind::Secret }
    }

    /// Whether a right changes.
    pub fn changes_rights(&self) -> bool {
        self.is_right && self.verb != Verb::Unchanged
    }

    /// The change as planned.
    pub fn of(step: &Step) -> Self {
        Self::new(&step.object.reference, step.verb)
    }

    /// The same of a write or a deletion.
    pub fn planned(change: Change<'_>) -> Self {
        match change {
            Change::Write(_, step) => Self::of(step),
            Change::Delete(_, deletion) => Self::deleted(&deletion.reference),
        }
    }

    pub fn deleted(reference: &ObjectRef) -> Self {
        Self::new(reference, Verb::Deleted)
    }
}

/// The metadata of the new token.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenReport {
    pub bound_secret: String,
    /// A token that never expires has neither this field nor the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted_seconds: Option<u64>,
    #[serde(serialize_with = "shown_if_known", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// The results of the proof with the new token.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProofReport {
    /// 0 if no job is scraped from nodes.
    pub nodes: u64,
    /// The node whose pages were read; absent if no job is scraped from nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How many of the nodes that were asked showed their pages.
    pub nodes_read: usize,
    /// Those that were asked and did not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes_without_pages: Vec<NodeWithoutPages>,
    pub pages: Vec<PageReport>,
    /// Jobs without a readable page. Only a renewal allows such jobs.
    #[serde(skip)]
    pub away: Vec<UnreachableJob>,
    /// The number of other requests that the fence refused; 0 with `--fence=off`.
    pub refused: usize,
    /// The number of requests that a kubelet itself refused; absent if none was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_by_kubelet: Option<usize>,
    /// The number of token requests beyond a renewal that were refused; absent without `--self-renew`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewals_refused: Option<usize>,
}

/// `1 of 3 nodes that were asked shows its pages; aaa-virtual: ...`; none if all do.
pub fn nodes_without_pages(read: usize, without: &[NodeWithoutPages]) -> Option<String> {
    /// As many are named.
    const NAMED: usize = 3;
    if without.is_empty() {
        return None;
    }
    let named: Vec<String> =
        without.iter().take(NAMED).map(|NodeWithoutPages { node, error }| format!("{node}: {error}")).collect();
    let more = without.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    Some(format!(
        "{read} of {} nodes that were asked {}; not {}{more}",
        read + without.len(),
        if read == 1 { "shows its pages" } else { "show their pages" },
        named.join("; ")
    ))
}

/// A node that was asked and did not show its pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeWithoutPages {
    pub node: String,
    #[serde(with = "spelled")]
    pub error: Error,
}

/// A job whose targets do not exist or do not answer, independently of the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreachableJob {
    #[serde(with = "spelled")]
    pub job: Job,
    #[serde(with = "spelled")]
    pub error: Error,
}

/// A page that was read with the new token.
#[derive(Clone, Debug, Serialize)]
pub struct PageReport {
    pub job: String,
    pub samples: usize,
}

/// The Prometheus that reads the jobs of a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Its main configuration.
    pub config: String,
    /// `Prometheus 3.16.0`
    pub name: String,
    /// Process and user, if the process was found.
    pub process: Option<(i32, u32)>,
    /// The user for whom the files are, if it is known.
    pub user: Option<u32>,
    /// Processes that claim to read it and have no say, each with the reason.
    pub ignored: Vec<String>,
    /// Why the result cannot be verified in this Prometheus.
    pub unseen: Option<String>,
}

impl Reader {
    /// Process and user, or the user for whom the files are.
    pub fn who(&self) -> Option<String> {
        match (self.process, self.user) {
            (Some((process, user)), _) => Some(format!("process {process}, user {user}")),
            (None, Some(user)) => Some(format!("user {user}, no process")),
            (None, None) => None,
        }
    }
}

/// Jobs that were put in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub fragment: String,
    /// As [`Reader::who`].
    pub reader: Option<String>,
    /// The host of Prometheus, if a request from there with the new token succeeded.
    pub proven_from: Option<String>,
    pub checked_by: Option<&'static str>,
    /// The difference, if the clock of Prometheus is not that of this machine.
    pub clock: Option<String>,
    /// `reloaded`, or why it was not reloaded.
    pub reloaded: String,
    pub verification: Verification,
}

/// Whether Prometheus verifiably scrapes the jobs of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    Verified(ScrapedTargets),
    /// Why the targets could not be observed.
    Unverified(String),
}

impl Verification {
    pub fn targets(&self) -> Option<&ScrapedTargets> {
        match self {
            Self::Verified(targets) => Some(targets),
            Self::Unverified(_) => None,
        }
    }
}

/// The targets that were scraped with a new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapedTargets {
    pub up: usize,
    pub total: usize,
    /// The targets that are down, with Prometheus' own error.
    pub down: Vec<String>,
}

/// A delivery of one cluster to one destination.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationReport {
    pub destination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<String>,
    /// The process and the user that read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenReport>,
    /// Targets that were scraped after the reload; absent if Prometheus could not be observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets_up: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl DestinationReport {
    pub fn placed(&mut self, Placed { fragment, reader, verification, .. }: &Placed) {
        self.fragment = Some(fragment.clone());
        self.reader.clone_from(reader);
        let targets = verification.targets();
        self.targets_up = targets.map(|targets| targets.up);
        self.targets = targets.map(|targets| targets.total);
    }
}

/// The result of `join`, or of its dry run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinReport {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub cluster: String,
    pub cluster_uid: String,
    pub api_server: String,
    pub version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<&'static str>,
    pub objects: Vec<ObjectReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofReport>,
    /// The result at each destination; empty if the jobs are printed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<DestinationReport>,
    pub warnings: Vec<String>,
    /// The jobs with the token, if they are printed.
    #[serde(rename = "scrape_configs", skip_serializing_if = "Option::is_none")]
    pub scrape_configs: Option<serde_json::Value>,
}

/// The result of a command for several contexts. `R` is its report of one cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetReport<R> {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub items: Vec<FleetRow<R>>,
}

/// What came of one context.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetRow<R> {
    pub context: String,
    /// The label, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// `failed`, `same cluster as CONTEXT`, or what the command did: `joined`, `planned`, `unchanged`, `passed`,
    /// `left`, `nothing to remove`.
    pub result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The command that goes on with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<R>,
}

/// The result of `rotate`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotateReport {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub clusters: Vec<RotationReport>,
}

/// One cluster at one destination, or a whole destination that could not be written.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationReport {
    pub destination: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub rotated: bool,
    /// Whose credentials requested the token.
    #[serde(serialize_with = "shown_if_known", skip_serializing_if = "Option::is_none")]
    pub by: Option<Issuer>,
    /// The expiry of the token that is in use now.
    #[serde(serialize_with = "shown_if_known", skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When the next rotation is due.
    #[serde(serialize_with = "shown_if_known", skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The process and the user that read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets_up: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<usize>,
    /// The jobs that were not proven, because their targets do not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub away: Vec<UnreachableJob>,
    /// Rights that changed: the names of pinned nodes, the Secrets that may renew a token, rights of a previous route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<ObjectReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The error with its hints, for the conversation.
    #[serde(skip)]
    pub failure: Option<Error>,
}

/// The identity that requested a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    Administrator,
    Account,
}

impl Issuer {
    /// One word, for a journal.
    pub fn word(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Account => "account",
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Administrator => "an administrator",
            Self::Account => "the account itself",
        })
    }
}

impl RotationReport {
    fn of(destination: &str, record: &Record) -> Self {
        Self {
            destination: destination.to_owned(),
            cluster: Some(record.cluster.to_string()),
            rotated: false,
            by: None,
            expires: Some(record.token.expires).filter(|_| !record.token.never_expires()),
            due: Some(record.token.due()).filter(|_| !record.token.never_expires()),
            reader: None,
            targets_up: None,
            targets: None,
            away: Vec::new(),
            objects: Vec::new(),
            reason: None,
            error: None,
            failure: None,
        }
    }

    /// Whether the report is about this cluster or about the whole destination.
    pub fn is_about(&self, destination: &str, cluster: &ClusterName) -> bool {
        self.destination == destination && self.cluster.as_ref().is_none_or(|name| name == cluster.as_str())
    }

    pub fn not_due(destination: &str, record: &Record) -> Self {
        Self::of(destination, record)
    }

    pub fn rotated(destination: &str, record: &Record, placed: &Placed, away: &[UnreachableJob], by: Issuer) -> Self {
        let targets = placed.verification.targets();
        Self {
            rotated: true,
            by: Some(by),
            reader: placed.reader.clone(),
            targets_up: targets.map(|targets| targets.up),
            targets: targets.map(|targets| targets.total),
            away: away.to_vec(),
            ..Self::of(destination, record)
        }
    }

    /// `old`: the record that stays in use.
    pub fn failed(destination: &str, cluster: Option<&ClusterName>, old: Option<&Record>, error: &Error) -> Self {
        Self {
            destination: destination.to_owned(),
            cluster: cluster.map(ToString::to_string),
            rotated: false,
            by: None,
            expires: old.map(|old| old.token.expires),
            due: old.map(|old| old.token.due()),
            reader: None,
            targets_up: None,
            targets: None,
            away: Vec::new(),
            objects: Vec::new(),
            reason: Some(error.reason.to_string()),
            error: Some(error.to_string()),
            failure: Some(error.clone()),
        }
    }
}

/// The result of `leave` for one cluster, or of its dry run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaveReport {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub cluster: String,
    pub api_server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<&'static str>,
    pub objects: Vec<ObjectReport>,
    /// Objects of other owners with the plugin's names, which stay.
    pub spared: Vec<String>,
    /// Other destinations that use the account, so that it stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// The deleted files of jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fragments: Vec<String>,
    /// Seconds until a token of the account was refused; absent if no token was available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_refused_after_seconds: Option<u64>,
}

fn shown<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn shown_if_known<S: serde::Serializer, T: fmt::Display>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
