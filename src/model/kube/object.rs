//! References to Kubernetes objects, and their manifests.

use crate::model::{account::Account, text::names::Namespace};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The plugin's field manager, and the value of the ownership label.
pub const FIELD_MANAGER: &str = "kubectl-prom-federate";
/// The ownership label.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The kinds of objects that the plugin reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Namespace,
    ServiceAccount,
    Secret,
    Role,
    RoleBinding,
    ClusterRole,
    ClusterRoleBinding,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
    /// One scrape job, of Prometheus Operator.
    ScrapeConfig,
    /// Alerting rules, of Prometheus Operator.
    PrometheusRule,
    /// A Prometheus that Prometheus Operator runs.
    Prometheus,
    /// The same in agent mode, which evaluates no rules and answers no queries.
    PrometheusAgent,
    /// One scrape job, of `VictoriaMetrics`' operator.
    VMScrapeConfig,
    /// A vmagent that this operator runs.
    VMAgent,
}

impl Kind {
    pub fn group(self) -> &'static str {
        match self {
            Self::Namespace | Self::ServiceAccount | Self::Secret => "",
            Self::Role | Self::RoleBinding | Self::ClusterRole | Self::ClusterRoleBinding => {
                "rbac.authorization.k8s.io"
            }
            Self::ValidatingAdmissionPolicy | Self::ValidatingAdmissionPolicyBinding => "admissionregistration.k8s.io",
            Self::ScrapeConfig | Self::PrometheusRule | Self::Prometheus | Self::PrometheusAgent => {
                "monitoring.coreos.com"
            }
            Self::VMScrapeConfig | Self::VMAgent => "operator.victoriametrics.com",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::ScrapeConfig | Self::PrometheusAgent => "v1alpha1",
            Self::VMScrapeConfig | Self::VMAgent => "v1beta1",
            _ => "v1",
        }
    }

    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::ServiceAccount => "serviceaccounts",
            Self::Secret => "secrets",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
            Self::ClusterRole => "clusterroles",
            Self::ClusterRoleBinding => "clusterrolebindings",
            Self::ValidatingAdmissionPolicy => "validatingadmissionpolicies",
            Self::ValidatingAdmissionPolicyBinding => "validatingadmissionpolicybindings",
            Self::ScrapeConfig => "scrapeconfigs",
            Self::PrometheusRule => "prometheusrules",
            Self::Prometheus => "prometheuses",
            Self::PrometheusAgent => "prometheusagents",
            Self::VMScrapeConfig => "vmscrapeconfigs",
            Self::VMAgent => "vmagents",
        }
    }

    /// As kubectl writes it before a name: `scrapeconfig`.
    pub fn singular(self) -> String {
        self.to_string().to_lowercase()
    }

    pub fn is_fence(self) -> bool {
        matches!(self, Self::ValidatingAdmissionPolicy | Self::ValidatingAdmissionPolicyBinding)
    }
}

/// The value of `kind:` in a manifest.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A reference to an object: kind, namespace (none if the kind is cluster-scoped), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub kind: Kind,
    pub namespace: Option<String>,
    pub name: String,
}

impl ObjectRef {
    /// A Secret in the account's namespace.
    pub fn secret(account: &Account, name: &str) -> Self {
        Self { kind: Kind::Secret, namespace: Some(account.namespace.to_string()), name: name.to_owned() }
    }

    /// The role and the binding that give an account rights in a namespace, or cluster-wide. They have the same name,
    /// the account's, in every namespace, so that they can be found again.
    pub fn grant(account: &Account, namespace: Option<&Namespace>) -> [Self; 2] {
        let kinds = match namespace {
            None => [Kind::ClusterRole, Kind::ClusterRoleBinding],
            Some(_) => [Kind::Role, Kind::RoleBinding],
        };
        let namespace = namespace.map(Namespace::to_string);
        kinds.map(|kind| Self { kind, namespace: namespace.clone(), name: account.cluster_scoped_name() })
    }

    /// All objects that an account may have, apart from its rights in other namespaces. `policies`: whether the API
    /// server has admission policies.
    pub fn of_account(account: &Account, policies: bool) -> Vec<Self> {
        let at = |kind, namespace: Option<&Namespace>, name: &str| Self {
            kind,
            namespace: namespace.map(Namespace::to_string),
            name: name.to_owned(),
        };
        let (fence, renewal, guard) = (account.cluster_scoped_name(), account.renewal_name(), account.guard_name());
        let mut references = Self::grant(account, None).to_vec();
        references.push(at(Kind::Namespace, None, account.namespace.as_str()));
        references.push(at(Kind::ServiceAccount, Some(&account.namespace), account.name.as_str()));
        if policies {
            references.extend([Kind::Role, Kind::RoleBinding].map(|kind| at(kind, Some(&account.namespace), &renewal)));
            for name in [&fence, &renewal, &guard] {
                references.push(at(Kind::ValidatingAdmissionPolicy, None, name));
                references.push(at(Kind::ValidatingAdmissionPolicyBinding, None, name));
            }
        }
        references
    }

    /// The path of this object in the API server.
    pub fn path(&self) -> String {
        format!("{}/{}", Self::list(self.kind, self.namespace.as_deref()), self.name)
    }

    /// The path of all objects of a kind, in one namespace if there is one.
    pub fn list(kind: Kind, namespace: Option<&str>) -> String {
        let root = if kind.group().is_empty() { "/api" } else { "/apis" };
        let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        format!("{root}/{}{namespace}/{}", kind.api_version(), kind.plural())
    }
}

/// kubectl's spelling: `clusterrole.rbac.authorization.k8s.io/NAME`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.singular();
        match self.kind.group() {
            "" => write!(f, "{kind}/{}", self.name),
            group => write!(f, "{kind}.{group}/{}", self.name),
        }
    }
}

/// An object with all fields that the plugin sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub reference: ObjectRef,
    /// The whole manifest, `apiVersion` and `kind` included. Plans share it.
    pub manifest: Arc<Value>,
}

impl Object {
    pub fn manifest_mut(&mut self) -> &mut Value {
        Arc::make_mut(&mut self.manifest)
    }
}

pub(in crate::model) fn new_object(
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
    managed_by: ManagedBy,
    fields: Value,
) -> Object {
    // Never app.kubernetes.io/instance: Argo CD claims what carries it.
    let mut labels = json!({ "app.kubernetes.io/name": "prom-federate", "app.kubernetes.io/part-of": "prom-federate" });
    if managed_by == ManagedBy::Us {
        labels[MANAGED_BY] = json!(FIELD_MANAGER);
        labels["app.kubernetes.io/version"] = json!(env!("CARGO_PKG_VERSION"));
    }
    let mut metadata = json!({ "name": name, "labels": labels });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let mut manifest = Map::new();
    manifest.insert("apiVersion".into(), json!(kind.api_version()));
    manifest.insert("kind".into(), json!(kind.to_string()));
    manifest.insert("metadata".into(), metadata);
    if let Value::Object(fields) = fields {
        manifest.extend(fields);
    }
    Object {
        reference: ObjectRef { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() },
        manifest: Arc::new(Value::Object(manifest)),
    }
}

/// The objects that exist, as the API server returned them.
pub type Existing = BTreeMap<ObjectRef, Value>;

/// The change to an object, in kubectl's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Created,
    Configured,
    Unchanged,
    Deleted,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        })
    }
}

/// An object to delete, with the UID that was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub reference: ObjectRef,
    pub uid: String,
}

/// The tool that manages the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagedBy {
    Us,
    /// Another tool, such as Git. The objects lack the ownership label, so `leave` keeps them.
    Other,
}
