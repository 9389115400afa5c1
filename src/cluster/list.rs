//! The lists that are read of an API server.

use crate::model::{
    job::discovery::Searched,
    kube::{
        label_selector::LabelSelector,
        object::{Kind, ObjectRef},
    },
    text::{encoding::query_value, names::Namespace},
};
use serde_json::Value;
use std::fmt;

/// One list. Its text is its path.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    /// All nodes, or those that a selector selects.
    Nodes(Option<&'a LabelSelector>),
    /// All objects of a kind, in one namespace if there is one.
    Objects(Kind, Option<&'a str>),
    /// In all namespaces.
    Services,
    DaemonSets,
    ServicesOf(&'a Namespace),
    Pods(&'a Namespace),
}

impl List<'_> {
    /// The request for the first items.
    pub fn first(self, limit: u32) -> String {
        let and = if matches!(self, Self::Nodes(Some(_))) { '&' } else { '?' };
        format!("{self}{and}limit={limit}")
    }

    /// The request for the items after those of an answer with this `continue`, which is base64 for URLs.
    pub fn next(self, limit: u32, after: &str) -> String {
        format!("{}&continue={after}", self.first(limit))
    }

    /// The request for the items with these labels, as `key=value` or `key in (a,b)`.
    pub(super) fn with_labels(self, selector: &str) -> String {
        format!("{self}?labelSelector={}", selector.replace(' ', "%20"))
    }
}

/// How many items there are in all, of which an answer has the first. A server need not say how many remain
/// (Kubernetes `ListMeta.remainingItemCount`), and with a selector it does not: then the number is that of the answer or
/// one more.
pub fn count(list: &Value) -> u64 {
    let items = list["items"].as_array().map_or(0, Vec::len) as u64;
    let goes_on = list["metadata"]["continue"].as_str().is_some_and(|more| !more.is_empty());
    items.saturating_add(list["metadata"]["remainingItemCount"].as_u64().unwrap_or(u64::from(goes_on)))
}

impl From<Searched> for List<'_> {
    fn from(searched: Searched) -> Self {
        match searched {
            Searched::Services => Self::Services,
            Searched::DaemonSets => Self::DaemonSets,
        }
    }
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes(None) => f.write_str("/api/v1/nodes"),
            Self::Nodes(Some(selector)) => {
                write!(f, "/api/v1/nodes?labelSelector={}", query_value(&selector.to_string()))
            }
            Self::Objects(kind, namespace) => f.write_str(&ObjectRef::list(*kind, *namespace)),
            Self::Services => f.write_str("/api/v1/services"),
            Self::DaemonSets => f.write_str("/apis/apps/v1/daemonsets"),
            Self::ServicesOf(namespace) => write!(f, "/api/v1/namespaces/{namespace}/services"),
            Self::Pods(namespace) => write!(f, "/api/v1/namespaces/{namespace}/pods"),
        }
    }
}
