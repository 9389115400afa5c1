//! The account: the `ServiceAccount` that a Prometheus uses in one cluster, and the names derived from it.

pub mod desired;
pub mod existing_fence;
pub mod fence;
pub mod guard;
pub mod neighbours;
mod policy;
pub mod renewal;
pub mod rights;
pub mod surplus;

use crate::model::text::names::{AccountName, Namespace};
use std::fmt;

/// A `ServiceAccount` by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub namespace: Namespace,
    pub name: AccountName,
}

impl Account {
    /// The user name that the API server gives to this account's tokens.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// The name of this account's cluster-scoped objects: role, binding and fence.
    /// A namespace has no dot, so two accounts never share a name.
    pub fn cluster_scoped_name(&self) -> String {
        format!("prom-federate.{}.{}", self.namespace, self.name)
    }

    /// The name of the objects that let the account renew its token. No account's [`Self::cluster_scoped_name`] begins
    /// with `prom-federate-renew`, so this name is never another account's fence.
    pub fn renewal_name(&self) -> String {
        format!("prom-federate-renew.{}.{}", self.namespace, self.name)
    }

    /// The name of the policy and the binding that keep others from becoming the account.
    pub fn guard_name(&self) -> String {
        format!("prom-federate-guard.{}.{}", self.namespace, self.name)
    }

    /// The path of the account's `TokenRequest`s in the API server.
    pub fn token_path(&self) -> String {
        format!("/api/v1/namespaces/{}/serviceaccounts/{}/token", self.namespace, self.name)
    }

    /// The flags that name this account in printed commands; empty for the default account.
    pub fn flags(&self) -> String {
        let mut flags = String::new();
        if self.namespace.as_str() != DEFAULT_NAMESPACE {
            flags += &format!(" --namespace {}", self.namespace);
        }
        if self.name.as_str() != DEFAULT_ACCOUNT {
            flags += &format!(" --service-account {}", self.name);
        }
        flags
    }
}

impl Default for Account {
    fn default() -> Self {
        let names = (DEFAULT_NAMESPACE.parse(), DEFAULT_ACCOUNT.parse());
        Self { namespace: names.0.expect("a namespace"), name: names.1.expect("a name") }
    }
}

/// The namespace that accounts live in unless `--namespace` names another.
pub const DEFAULT_NAMESPACE: &str = "prom-federate";
/// The account's name unless `--service-account` names another.
pub const DEFAULT_ACCOUNT: &str = "prometheus";

/// `prom-federate/prometheus`
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
