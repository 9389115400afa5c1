//! The Kubernetes objects of one account, as `join` wants them and `manifests` prints them.

use super::{
    Account, fence, guard,
    renewal::{self, Limits},
    rights::{self, Rule, Scope},
};
use crate::model::{
    job::Jobs,
    kube::object::{Kind, ManagedBy, Object, ObjectRef, new_object},
};
use serde_json::{Value, json};

/// Whether the account gets its policies, which are the fence and the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    Required,
    Off,
}

/// The objects of one account in a cluster, without its bound Secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub account: Account,
    pub jobs: Jobs,
    pub namespace: Object,
    pub service_account: Object,
    /// The cluster-wide rights first, then those of each namespace.
    pub grants: Vec<Grant>,
    /// Policy and binding; none with `--fence=off`.
    pub fence: Option<[Object; 2]>,
    /// Policy and binding; none with `--fence=off`.
    pub guard: Option<[Object; 2]>,
    /// None without `--self-renew`.
    pub self_renew: Option<SelfRenew>,
    /// Whether a controller writes the account's token into its Secret.
    pub long_lived: bool,
}

/// Rights of an account in one namespace, or everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub role: Object,
    pub binding: Object,
    /// The rules of the role, with their reasons.
    pub rules: Vec<Rule>,
}

/// The right of an account to renew its own token, and the policy that limits this right.
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
        let policy = |name: &str, policy: Value, binding: Value| {
            (fence == Fence::Required).then(|| {
                [(Kind::ValidatingAdmissionPolicy, policy), (Kind::ValidatingAdmissionPolicyBinding, binding)]
                    .map(|(kind, spec)| object(kind, None, name, json!({ "spec": spec })))
            })
        };
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
            fence: policy(&cluster_wide, fence::policy_spec(account, jobs), fence::binding_spec(account)),
            guard: policy(&account.guard_name(), guard::policy_spec(account), guard::binding_spec(account)),
            self_renew: None,
            long_lived: false,
        }
    }

    /// Adds the right to renew the token within these limits.
    #[must_use]
    pub fn with_self_renew(self, account: &Account, limits: &Limits) -> Self {
        Self { self_renew: Some(SelfRenew::new(account, limits)), ..self }
    }

    /// Every object, policies before the rights that they limit.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.for_scraping().chain(self.self_renew.iter().flat_map(SelfRenew::objects))
    }

    pub fn has(&self, reference: &ObjectRef) -> bool {
        self.objects().any(|object| object.reference == *reference)
    }

    /// Whether this is a part of the guard, which limits other users and not the account.
    pub fn is_guard(&self, reference: &ObjectRef) -> bool {
        self.guard.iter().flatten().any(|object| object.reference == *reference)
    }

    /// The objects that scraping needs, and the guard.
    pub(in crate::model) fn for_scraping(&self) -> impl Iterator<Item = &Object> {
        let grants = self.grants.iter().flat_map(|grant| [&grant.role, &grant.binding]);
        self.fence.iter().chain(&self.guard).flatten().chain([&self.namespace, &self.service_account]).chain(grants)
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
    pub fn new(account: &Account, limits: &Limits) -> Self {
        let name = account.renewal_name();
        let namespace = account.namespace.as_str();
        let object = |kind, namespace: Option<&str>, fields| new_object(kind, namespace, &name, ManagedBy::Us, fields);
        Self {
            policy: [
                object(Kind::ValidatingAdmissionPolicy, None, json!({ "spec": renewal::policy_spec(account, limits) })),
                object(Kind::ValidatingAdmissionPolicyBinding, None, json!({ "spec": renewal::binding_spec(account) })),
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

    /// In the order in which they are created: policy, role, binding of the role.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.policy.iter().chain([&self.role, &self.role_binding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::duration::Seconds;

    fn account(namespace: &str, name: &str) -> Account {
        Account { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn rights_are_bound_only_in_the_namespaces_of_the_jobs() {
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
    fn self_renew_grants_one_verb_on_one_name() {
        let limits = Limits { secrets: vec!["a-x".into()], audiences: vec!["api".into()], cap: Seconds(600) };
        let SelfRenew { policy: [policy, binding], role, role_binding } = SelfRenew::new(&account("n", "a"), &limits);
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

    /// An account's name may have dots: tests the longest and the most misleading names.
    #[test]
    fn object_names_are_valid_and_unique_for_every_account() {
        let longest = account(&"n".repeat(63), &"a".repeat(169));
        assert_eq!(longest.renewal_name().len(), 253);
        for (one, other) in [(account("renew", "n.a"), account("n", "a")), (account("n", "renew.a"), account("n", "a"))]
        {
            assert_ne!(one.cluster_scoped_name(), other.renewal_name());
            assert_ne!(one.renewal_name(), other.renewal_name());
        }
    }
}
