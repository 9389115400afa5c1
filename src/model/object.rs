//! The Kubernetes objects of one account, as `join` wants them and `manifests` prints them.

use super::{
    account::Account,
    destination::Identity,
    fence,
    job::Jobs,
    names::Namespace,
    renewal::{self, Terms},
    rights::{self, Rule, Scope},
    token,
};
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
/// On a bound Secret: when its token is dead anyway, RFC 3339 or [`NEVER_EXPIRES`].
pub const EXPIRES_ANNOTATION: &str = "prom-federate.io/expires";
pub const NEVER_EXPIRES: &str = "never";

/// The kinds of objects that we deal with.
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
}

impl Kind {
    pub fn group(self) -> &'static str {
        match self {
            Self::Namespace | Self::ServiceAccount | Self::Secret => "",
            Self::Role | Self::RoleBinding | Self::ClusterRole | Self::ClusterRoleBinding => {
                "rbac.authorization.k8s.io"
            }
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
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
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

    /// The role and the binding that give an account rights in a namespace, or everywhere. Their name is the account's
    /// in every namespace, so they can be found again.
    pub fn grant(account: &Account, namespace: Option<&Namespace>) -> [Self; 2] {
        let kinds = match namespace {
            None => [Kind::ClusterRole, Kind::ClusterRoleBinding],
            Some(_) => [Kind::Role, Kind::RoleBinding],
        };
        let namespace = namespace.map(Namespace::to_string);
        kinds.map(|kind| Self { kind, namespace: namespace.clone(), name: account.cluster_scoped_name() })
    }

    /// All that an account may have beside its rights in other namespaces, whatever its jobs are: with the policies,
    /// where the API server knows such.
    pub fn of_account(account: &Account, policies: bool) -> Vec<Self> {
        let at = |kind, namespace: Option<&Namespace>, name: &str| Self {
            kind,
            namespace: namespace.map(Namespace::to_string),
            name: name.to_owned(),
        };
        let (fence, renewal) = (account.cluster_scoped_name(), account.renewal_name());
        let mut references = Self::grant(account, None).to_vec();
        references.push(at(Kind::Namespace, None, account.namespace.as_str()));
        references.push(at(Kind::ServiceAccount, Some(&account.namespace), account.name.as_str()));
        if policies {
            references.extend([Kind::Role, Kind::RoleBinding].map(|kind| at(kind, Some(&account.namespace), &renewal)));
            for name in [&fence, &renewal] {
                references.push(at(Kind::ValidatingAdmissionPolicy, None, name));
                references.push(at(Kind::ValidatingAdmissionPolicyBinding, None, name));
            }
        }
        references
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
    pub account: Account,
    pub jobs: Jobs,
    pub namespace: Object,
    pub service_account: Object,
    /// What the jobs need cluster-wide, then namespace by namespace.
    pub grants: Vec<Grant>,
    /// Policy and binding, none with `--fence=off`.
    pub fence: Option<[Object; 2]>,
    /// None without `--self-renew`.
    pub self_renew: Option<SelfRenew>,
    /// Whether its tokens are put into their Secrets by a controller.
    pub long_lived: bool,
}

/// Rights of an account in one namespace, or everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub role: Object,
    pub binding: Object,
    /// Those of the role, with their reasons.
    pub rules: Vec<Rule>,
}

/// The right of an account to renew its own token, and the policy that limits it.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfRenew {
    /// Policy and binding.
    pub policy: [Object; 2],
    pub role: Object,
    pub role_binding: Object,
}

impl Desired {
    pub fn new(account: &Account, jobs: &Jobs, fence: Fence, managed_by: ManagedBy) -> Self {
        let object =
            |kind, namespace: Option<&str>, name: &str, fields| new_object(kind, namespace, name, managed_by, fields);
        let cluster_wide = account.cluster_scoped_name();
        Self {
            account: account.clone(),
            jobs: jobs.clone(),
            namespace: object(Kind::Namespace, None, account.namespace.as_str(), json!({})),
            service_account: object(
                Kind::ServiceAccount,
                Some(account.namespace.as_str()),
                account.name.as_str(),
                // No pod is meant to run as this account.
                json!({ "automountServiceAccountToken": false }),
            ),
            grants: rights::scopes(jobs).into_iter().map(|scope| Grant::new(account, scope, managed_by)).collect(),
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
            self_renew: None,
            long_lived: false,
        }
    }

    /// With the right to renew the token on these terms.
    #[must_use]
    pub fn with_self_renew(self, account: &Account, terms: &Terms) -> Self {
        Self { self_renew: Some(SelfRenew::new(account, terms)), ..self }
    }

    /// Every object, policies before the rights that they limit.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.for_scraping().chain(self.self_renew.iter().flat_map(SelfRenew::objects))
    }

    pub fn has(&self, reference: &ObjectRef) -> bool {
        self.objects().any(|object| object.reference == *reference)
    }

    /// The objects without which there is no scraping.
    pub(super) fn for_scraping(&self) -> impl Iterator<Item = &Object> {
        let grants = self.grants.iter().flat_map(|grant| [&grant.role, &grant.binding]);
        self.fence.iter().flatten().chain([&self.namespace, &self.service_account]).chain(grants)
    }
}

impl Grant {
    fn new(account: &Account, Scope { namespace, rules }: Scope, managed_by: ManagedBy) -> Self {
        let [role, binding] = ObjectRef::grant(account, namespace.as_ref());
        let object = |reference: &ObjectRef, fields| {
            new_object(reference.kind, reference.namespace.as_deref(), &reference.name, managed_by, fields)
        };
        let manifests: Vec<Value> = rules.iter().map(Rule::manifest).collect();
        Self {
            binding: object(
                &binding,
                json!({
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": role.kind.to_string(), "name": role.name },
                    "subjects": [{ "kind": "ServiceAccount", "name": account.name.as_str(), "namespace": account.namespace.as_str() }],
                }),
            ),
            role: object(&role, json!({ "rules": manifests })),
            rules,
        }
    }
}

impl SelfRenew {
    pub fn new(account: &Account, terms: &Terms) -> Self {
        let name = account.renewal_name();
        let namespace = account.namespace.as_str();
        let object = |kind, namespace: Option<&str>, fields| new_object(kind, namespace, &name, ManagedBy::Us, fields);
        Self {
            policy: [
                object(Kind::ValidatingAdmissionPolicy, None, json!({ "spec": renewal::policy_spec(account, terms) })),
                object(
                    Kind::ValidatingAdmissionPolicyBinding,
                    None,
                    json!({ "spec": { "policyName": name, "validationActions": ["Deny"] } }),
                ),
            ],
            role: object(
                Kind::Role,
                Some(namespace),
                json!({ "rules": [{
                    "apiGroups": [""],
                    "resources": ["serviceaccounts/token"],
                    // The account's name is in the path of the request, so that RBAC can compare it here
                    // (Kubernetes `pkg/apis/rbac/v1/evaluation_helpers.go`).
                    "resourceNames": [account.name.as_str()],
                    "verbs": ["create"],
                }] }),
            ),
            role_binding: object(
                Kind::RoleBinding,
                Some(namespace),
                json!({
                    "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
                    "subjects": [{ "kind": "ServiceAccount", "name": account.name.as_str(), "namespace": namespace }],
                }),
            ),
        }
    }

    /// The policy, then the role, then the binding that puts the role into force.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.policy.iter().chain([&self.role, &self.role_binding])
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

/// The same for a token that a controller puts into it and that never expires: the kind that clusters before 1.24 made
/// for every account, and that is never removed if it was made by hand (KEP-2799).
pub fn long_lived_secret(account: &Account, name: &str, destination: &Identity) -> Object {
    let mut secret = bound_secret(account, name, destination, token::NEVER);
    secret.manifest["metadata"]["annotations"][EXPIRES_ANNOTATION] = json!(NEVER_EXPIRES);
    secret.manifest["type"] = json!("kubernetes.io/service-account-token");
    secret.manifest["metadata"]["annotations"]["kubernetes.io/service-account.name"] = json!(account.name.as_str());
    if let Some(fields) = secret.manifest.as_object_mut() {
        // The controller is to write into it.
        fields.remove("immutable");
    }
    secret
}

/// The same for a token that renews itself: nobody can say when its Secret is of no more use, so it does not expire.
#[must_use]
pub fn without_expiry(mut secret: Object) -> Object {
    if let Some(annotations) = secret.manifest["metadata"]["annotations"].as_object_mut() {
        annotations.remove(EXPIRES_ANNOTATION);
    }
    secret
}

/// A label's value has at most 63 characters, an account's name up to 169: a long one is cut, and its bound Secrets
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::duration::Seconds;

    fn account(namespace: &str, name: &str) -> Account {
        Account { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn rights_are_bound_where_they_are_needed_and_nowhere_else() {
        let jobs = "apiserver,pods=shop/metrics,service=a/b:80".parse().unwrap();
        let desired = Desired::new(&account("n", "x"), &jobs, Fence::Off, ManagedBy::Us);
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let paths: Vec<String> = desired.objects().skip(2).map(|object| object.reference.path()).collect();
        assert_eq!(
            paths,
            [
                format!("{rbac}/clusterroles/prom-federate.n.x"),
                format!("{rbac}/clusterrolebindings/prom-federate.n.x"),
                format!("{rbac}/namespaces/a/roles/prom-federate.n.x"),
                format!("{rbac}/namespaces/a/rolebindings/prom-federate.n.x"),
                format!("{rbac}/namespaces/shop/roles/prom-federate.n.x"),
                format!("{rbac}/namespaces/shop/rolebindings/prom-federate.n.x"),
            ]
        );
        for Grant { role, binding, .. } in &desired.grants {
            assert_eq!(binding.manifest["roleRef"]["name"], json!(role.reference.name));
            assert_eq!(binding.manifest["roleRef"]["kind"], json!(role.reference.kind.to_string()));
            assert_eq!(binding.manifest["subjects"][0]["namespace"], json!("n"), "the account's, not the role's");
        }
    }

    #[test]
    fn the_right_to_renew_is_one_verb_on_one_name() {
        let terms = Terms { secrets: vec!["a-x".into()], audiences: vec!["api".into()], cap: Seconds(600) };
        let SelfRenew { policy: [policy, binding], role, role_binding } = SelfRenew::new(&account("n", "a"), &terms);
        assert_eq!(
            role.reference.path(),
            "/apis/rbac.authorization.k8s.io/v1/namespaces/n/roles/prom-federate-renew.n.a"
        );
        assert_eq!(
            role.manifest["rules"],
            json!([{ "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["a"], "verbs": ["create"] }])
        );
        assert_eq!(
            role_binding.manifest["subjects"],
            json!([{ "kind": "ServiceAccount", "name": "a", "namespace": "n" }])
        );
        assert_eq!(role_binding.manifest["roleRef"]["name"], json!(role.reference.name));
        assert_eq!(
            binding.manifest["spec"],
            json!({ "policyName": policy.reference.name, "validationActions": ["Deny"] })
        );
        assert_eq!(
            policy.manifest["spec"]["matchConditions"][0]["expression"],
            json!("request.userInfo.username == 'system:serviceaccount:n:a'")
        );
        assert_eq!(policy.manifest["spec"]["failurePolicy"], json!("Fail"));
    }

    /// An account's name may have dots: the longest and the most misleading ones.
    #[test]
    fn no_name_is_too_long_or_anothers() {
        let longest = account(&"n".repeat(63), &"a".repeat(169));
        assert_eq!(longest.renewal_name().len(), 253);
        for (one, other) in [(account("renew", "n.a"), account("n", "a")), (account("n", "renew.a"), account("n", "a"))]
        {
            assert_ne!(one.cluster_scoped_name(), other.renewal_name());
            assert_ne!(one.renewal_name(), other.renewal_name());
        }
    }

    #[test]
    fn a_secret_of_a_token_that_renews_itself_or_lives_for_ever_never_expires() {
        let secret = bound_secret(&account("n", "a"), "a-x", &Identity::printed(), jiff::Timestamp::UNIX_EPOCH);
        assert!(secret.manifest["metadata"]["annotations"].get(EXPIRES_ANNOTATION).is_some());
        let long_lived = long_lived_secret(&account("n", "a"), "a-x", &Identity::printed());
        assert_eq!(
            (&long_lived.manifest["type"], long_lived.manifest.get("immutable")),
            (&json!("kubernetes.io/service-account-token"), None)
        );
        assert_eq!(
            long_lived.manifest["metadata"]["annotations"],
            json!({ DESTINATION_ANNOTATION: "stdout", EXPIRES_ANNOTATION: "never", "kubernetes.io/service-account.name": "a" })
        );
        let secret = without_expiry(secret);
        assert_eq!(secret.manifest["metadata"]["annotations"], json!({ DESTINATION_ANNOTATION: "stdout" }));
    }
}
