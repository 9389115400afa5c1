//! The checklist of `check`, from facts: before a join, and for a joined cluster.

mod before_join;
mod destination;
mod joined;
#[cfg(test)]
mod tests;

pub use crate::model::plan::Drift;
pub use before_join::{
    DestinationFacts, JoinFacts, Measured, NodeFacts, Reach, address, destinations, kubelet, load, namespace, target,
    token_request,
};
pub use destination::{ReaderFacts, ReaderLoad, capacity, reader};
pub use joined::{
    AdminFacts, Binding, FIND_BINDING, TokenFacts, dangerous, dangers, of_status, of_the_token_in_use, surplus,
};

use super::API_VERSION;
use crate::error::{Error, Reason, Result, listed};
use serde::Serialize;

listed! {
    /// What is checked: the names in a report, which are stable.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum CheckName {
        Account,
        Address,
        Admission,
        Bindings,
        BoundSecrets,
        Ca,
        Capacity,
        Clock,
        Cluster,
        Configuration,
        Connection,
        Destination,
        Escalation,
        Fence,
        FenceEnforced,
        Guard,
        Identity,
        Jobs,
        Kubeconfig,
        Kubelet,
        Kubelets,
        Label,
        Leftovers,
        Load,
        Loopback,
        Namespace,
        Nodes,
        Objects,
        Operator,
        OtherDestinations,
        Pages,
        Permissions,
        Policies,
        Prometheus,
        Promtool,
        Readable,
        Record,
        Reload,
        Renewal,
        Rights,
        Scraped,
        Targets,
        Token,
        TokenLife,
        TokenRequest,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    Pass,
    /// Does not stop a join.
    Warn,
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Several items have the same name if one check has several results.
    pub name: CheckName,
    pub status: Status,
    pub message: String,
    /// The next steps, with commands.
    pub hints: Vec<String>,
    /// The error with which `join` fails.
    #[serde(skip)]
    error: Option<Error>,
}

impl Item {
    pub fn pass(name: CheckName, message: impl Into<String>) -> Self {
        Self { name, status: Status::Pass, message: message.into(), hints: Vec::new(), error: None }
    }

    pub fn warn(name: CheckName, message: impl Into<String>) -> Self {
        Self { status: Status::Warn, ..Self::pass(name, message) }
    }

    pub fn fail(name: CheckName, error: &Error) -> Self {
        Self {
            status: Status::Fail,
            hints: error.hints.clone(),
            error: Some(error.clone()),
            ..Self::pass(name, error.to_string())
        }
    }

    /// A check without a result, which does not stop a join.
    pub fn unknown(name: CheckName, error: &Error) -> Self {
        Self { hints: error.hints.clone(), ..Self::warn(name, format!("unknown: {error}")) }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Items in the order of the steps of `join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Checklist(pub Vec<Item>);

impl Checklist {
    /// # Errors
    /// The error with which `join` fails: that of the first failed item.
    pub fn verdict(&self) -> Result<()> {
        let first = self.0.iter().find(|item| item.status == Status::Fail);
        match first.and_then(|item| item.error.clone()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub fn count(&self, status: Status) -> usize {
        self.0.iter().filter(|item| item.status == status).count()
    }
}

/// The checks of one cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCheck {
    pub cluster: String,
    /// None for a check before a join.
    pub destination: Option<String>,
    pub api_server: Option<String>,
    pub items: Checklist,
}

/// `check -o json`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub failed: usize,
    pub warnings: usize,
    pub clusters: Vec<ClusterCheck>,
}

impl CheckReport {
    pub fn new(clusters: Vec<ClusterCheck>) -> Self {
        let count = |status| clusters.iter().map(|check| check.items.count(status)).sum();
        Self {
            api_version: API_VERSION,
            kind: "CheckReport",
            failed: count(Status::Fail),
            warnings: count(Status::Warn),
            clusters,
        }
    }

    pub fn total(&self) -> usize {
        self.clusters.iter().map(|check| check.items.0.len()).sum()
    }

    /// # Errors
    /// [`Reason::CheckFailed`] if anything failed, with what to do about the first.
    pub fn verdict(&self) -> Result<()> {
        let mut all = self.clusters.iter().flat_map(|check| check.items.0.iter().map(move |item| (check, item)));
        let Some((check, item)) = all.find(|(_, item)| item.status == Status::Fail) else { return Ok(()) };
        let error = Error::new(Reason::CheckFailed, format!("{} of {} checks failed", self.failed, self.total()));
        Err(match item.hints.first() {
            Some(hint) => error.hint(format!("{}: {hint}", check.cluster)),
            None => error,
        })
    }
}

fn from<T>(name: CheckName, fact: &Result<T>, says: impl FnOnce(&T) -> String) -> Item {
    match fact {
        Ok(value) => Item::pass(name, says(value)),
        Err(error) => Item::fail(name, error),
    }
}

fn or_unknown<T>(name: CheckName, fact: &Result<T>, says: impl FnOnce(&T) -> Vec<Item>) -> Vec<Item> {
    match fact {
        Ok(value) => says(value),
        Err(error) => vec![Item::unknown(name, error)],
    }
}

fn has(items: &[Item], name: CheckName) -> bool {
    items.iter().any(|item| item.name == name)
}
