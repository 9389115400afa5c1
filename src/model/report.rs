//! What a command did, as data: printed as text, JSON or YAML.

use super::plan::Verb;
use jiff::Timestamp;
use serde::Serialize;

/// The version of the reports' format. Fields are only ever added.
pub const API_VERSION: &str = "prom-federate.io/v1";

/// A line of the conversation, before it is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Said(String),
    /// Something that was done and seen to be true.
    Done(String),
    Warned(String),
}

/// One object and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectReport {
    /// kubectl's spelling: `serviceaccount/prometheus`.
    pub name: String,
    #[serde(serialize_with = "shown")]
    pub verb: Verb,
}

/// The new token, without itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenReport {
    pub bound_secret: String,
    pub asked_seconds: u64,
    pub granted_seconds: u64,
    #[serde(serialize_with = "shown")]
    pub expires: Timestamp,
}

/// What the proof with the new token showed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProofReport {
    pub nodes: u64,
    pub node: String,
    pub pages: Vec<PageReport>,
    /// How many other requests the fence refused; 0 without a fence.
    pub refused: usize,
    /// How many ways to more than a renewal were refused; absent without `--self-renew`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewals_refused: Option<usize>,
}

/// A page that was read with the new token.
#[derive(Clone, Debug, Serialize)]
pub struct PageReport {
    pub job: String,
    pub samples: usize,
}

/// What `join` did, or would do.
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
    pub warnings: Vec<String>,
    /// The jobs, with the token: what `join` prints otherwise.
    #[serde(rename = "scrape_configs", skip_serializing_if = "Option::is_none")]
    pub scrape_configs: Option<serde_json::Value>,
}

/// What `leave` took away, or would take away.
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
    /// Somebody else's objects with our names, left alone.
    pub spared: Vec<String>,
    /// Seconds until a token of the account was refused; absent where no token could be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_refused_after_seconds: Option<u64>,
}

fn shown<S: serde::Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
