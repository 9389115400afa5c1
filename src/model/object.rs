//! The Kubernetes objects of one account, as `join` wants them and `manifests` prints them.

use super::{account::Account, destination::Identity, fence, job::Jobs, rights};
use serde_json::{Map, Value, json};
use std::fmt;

/// Our field manager, and the value of the ownership label.
pub const FIELD_MANAGER: &str = "kubectl-prom-federate";
/// The ownership label.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// On a bound Secret: the account whose token it carries the life of.
pub const ACCOUNT_LABEL: &str = "prom-federate.io/account";
/// On a bound Secret: where its token went.
pub const DESTINATION_ANNOTATION: &str = "prom-federate.io/destination";
/// On a bound Secret: when its token is dead anyway, RFC 3339.
pub const EXPIRES_ANNOTATION: &str = "prom-federate.io/expires";

/// The kinds of objects that we deal with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Namespace,
    ServiceAccount,
    Secret,
    ClusterRole,
    ClusterRoleBinding,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
}

impl Kind {
    pub fn group(self) -> &'static str {
        match self {
            Self::Namespace | Self::ServiceAccount | Self::Secret => "",
            Self::ClusterRole | Self::ClusterRoleBinding => "rbac.authorization.k8s.io",
            Self::ValidatingAdmissionPolicy | Self::ValidatingAdmissionPolicyBinding => "admissionregistration.k8s.io",
        }
    }

    /// All of our kinds are at v1.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        }
    }

    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::ServiceAccount => "serviceaccounts",
            Self::Secret => "secrets",
            Self::ClusterRole => "clusterroles",
            Self::ClusterRoleBinding => "clusterrolebindings",
            Self::ValidatingAdmissionPolicy => "validatingadmissionpolicies",
            Self::ValidatingAdmissionPolicyBinding => "validatingadmissionpolicybindings",
        }
    }

    pub fn is_fence(self) -> bool {
        matches!(self, Self::ValidatingAdmissionPolicy | Self::ValidatingAdmissionPolicyBinding)
    }
}

/// As in `kind:` of a manifest.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which object: kind, namespace if it lives in one, name.
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

    /// The path of this object in the API server.
    pub fn path(&self) -> String {
        let root = match self.kind.group() {
            "" => "/api/v1".to_owned(),
            group => format!("/apis/{group}/v1"),
        };
        let namespace = self.namespace.as_ref().map(|n| format!("/namespaces/{n}")).unwrap_or_default();
        format!("{root}{namespace}/{}/{}", self.kind.plural(), self.name)
    }
}

/// kubectl's spelling: `clusterrole.rbac.authorization.k8s.io/NAME`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.to_string().to_lowercase();
        match self.kind.group() {
            "" => write!(f, "{kind}/{}", self.name),
            group => write!(f, "{kind}.{group}/{}", self.name),
        }
    }
}

/// An object with all the fields that we set.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub reference: ObjectRef,
    /// The whole manifest, `apiVersion` and `kind` included.
    pub manifest: Value,
}

/// Who will look after the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagedBy {
    Us,
    /// Git, say: without our label, so that `leave` spares them.
    Other,
}

/// Whether the account is to be fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    Required,
    Off,
}

/// All that one account needs in a cluster, the bound Secret excepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub namespace: Object,
    pub service_account: Object,
    pub role: Object,
    pub role_binding: Object,
    /// Policy and binding, none with `--fence=off`.
    pub fence: Option<[Object; 2]>,
}

impl Desired {
    pub fn new(account: &Account, jobs: &Jobs, fence: Fence, managed_by: ManagedBy) -> Self {
        let object =
            |kind, namespace: Option<&str>, name: &str, fields| new_object(kind, namespace, name, managed_by, fields);
        let cluster_wide = account.cluster_scoped_name();
        let rules: Vec<Value> = rights::rules(jobs)
            .iter()
            .map(|rule| json!({ "apiGroups": [""], "resources": [rule.resource], "verbs": rule.verbs }))
            .collect();
        Self {
            namespace: object(Kind::Namespace, None, account.namespace.as_str(), json!({})),
            service_account: object(
                Kind::ServiceAccount,
                Some(account.namespace.as_str()),
                account.name.as_str(),
                // No pod is meant to run as this account.
                json!({ "automountServiceAccountToken": false }),
            ),
            role: object(Kind::ClusterRole, None, &cluster_wide, json!({ "rules": rules })),
            role_binding: object(
                Kind::ClusterRoleBinding,
                None,
                &cluster_wide,
                json!({
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": cluster_wide },
                    "subjects": [{ "kind": "ServiceAccount", "name": account.name.as_str(), "namespace": account.namespace.as_str() }],
                }),
            ),
            fence: (fence == Fence::Required).then(|| {
                [
                    object(
                        Kind::ValidatingAdmissionPolicy,
                        None,
                        &cluster_wide,
                        json!({ "spec": fence::policy_spec(account, jobs) }),
                    ),
                    object(
                        Kind::ValidatingAdmissionPolicyBinding,
                        None,
                        &cluster_wide,
                        json!({ "spec": fence::binding_spec(account) }),
                    ),
                ]
            }),
        }
    }

    /// Every object, the fence before the rights.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.fence.iter().flatten().chain([&self.namespace, &self.service_account, &self.role, &self.role_binding])
    }
}

/// The empty Secret that one token is bound to: deleting it revokes that token.
pub fn bound_secret(account: &Account, name: &str, destination: &Identity, expires: jiff::Timestamp) -> Object {
    let mut secret = new_object(
        Kind::Secret,
        Some(account.namespace.as_str()),
        name,
        ManagedBy::Us,
        json!({ "type": "Opaque", "immutable": true }),
    );
    secret.manifest["metadata"]["labels"][ACCOUNT_LABEL] = json!(label_value(account.name.as_str()));
    secret.manifest["metadata"]["annotations"] =
        json!({ DESTINATION_ANNOTATION: destination.to_string(), EXPIRES_ANNOTATION: expires.to_string() });
    secret
}

/// A label's value has at most 63 characters, an account's name up to 170: a long one is cut, and its bound Secrets
/// are told from another's by the name that they begin with.
pub fn label_value(name: &str) -> &str {
    name.get(..63).map_or(name, |cut| cut.trim_end_matches(['.', '-']))
}

fn new_object(kind: Kind, namespace: Option<&str>, name: &str, managed_by: ManagedBy, fields: Value) -> Object {
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
        manifest: Value::Object(manifest),
    }
}
