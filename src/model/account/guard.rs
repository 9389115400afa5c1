//! The guard: a `ValidatingAdmissionPolicy` that keeps other users of the account's namespace from becoming the account.
//!
//! RBAC cannot: `edit` in a namespace includes pods that run as any of its accounts, tokens of them, and Secrets that a
//! controller fills with a token that never ends (Kubernetes `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`,
//! `system:aggregate-to-edit`). A user who joins needs the same rights there, so the guard asks for one more: to patch
//! the guard itself, or to [`USE`] it.
//!
//! `edit` also includes impersonation, which no admission policy sees. But an impersonated account has no UID, which the
//! holder of a token has (apiserver `pkg/endpoints/filters/impersonation`), so it gets no token.

use super::{Account, policy};
use crate::model::{
    kube::{
        diff::is_exactly,
        object::{Kind, ObjectRef},
        permission::Permission,
    },
    token::bound_secret::{LEGACY_ACCOUNT_ANNOTATION, LEGACY_TYPE},
};
use serde_json::{Value, json};

/// The verb on the guard with which a user who may not change it may issue tokens of the account.
pub const USE: &str = "use";

/// The powers of other users of the namespace despite the guard.
pub const LIMIT: &str = "the guard refuses pods and tokens of the account to other users there; a user who may impersonate it can still do \
                         what the fence admits, and a user who may delete its Secrets can end its tokens";

/// Their powers without the guard.
pub const WITHOUT: &str =
    "without the guard, users who may create pods, Secrets or tokens there have all rights of the account";

/// The `spec` of the policy.
pub fn policy_spec(account: &Account) -> Value {
    let rule = |operations: &[&str], resource: &str| policy::rule(operations, &[resource]);
    let of = |resource: &str, condition: &str| format!("request.resource.resource != '{resource}' || {condition}");
    let validation = |expression: String, message: String| json!({ "expression": expression, "message": message, "reason": "Invalid" });
    json!({
        // An error in the policy refuses the request. No request to another namespace evaluates the policy.
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            // The API server sets this label to the name of the namespace (KEP-2161).
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": account.namespace.as_str() } },
            "objectSelector": {},
            "resourceRules": [
                rule(&["CREATE"], "pods"),
                // A pod from before the guard.
                rule(&["UPDATE"], "pods/ephemeralcontainers"),
                rule(&["CREATE"], "serviceaccounts/token"),
                rule(&["CREATE", "UPDATE"], "secrets"),
            ],
        },
        "matchConditions": [{ "name": "this-account-only", "expression": concerned(account) }],
        "variables": [{ "name": "trusted", "expression": trusted(account) }],
        "validations": [
            validation("request.resource.resource != 'pods'".to_owned(), format!("no pod may run as {account}, which is for a Prometheus outside of the cluster")),
            validation(of("serviceaccounts", &bound(account)), format!("a token of {account} must be bound to a Secret that join made for it")),
            validation(of("serviceaccounts", "variables.trusted"), format!("tokens of {account} need the permission to patch or use this policy")),
            validation(of("secrets", "variables.trusted"), format!("a Secret with a token of {account} needs the permission to patch or use this policy")),
        ],
    })
}

/// Whether a request is about the account. `has()` guards every field, because an error would refuse the requests of
/// others.
fn concerned(account: &Account) -> String {
    let name = &account.name;
    let annotated = |object: &str| {
        format!(
            "has({object}.metadata.annotations) && '{LEGACY_ACCOUNT_ANNOTATION}' in {object}.metadata.annotations \
             && {object}.metadata.annotations['{LEGACY_ACCOUNT_ANNOTATION}'] == '{name}'"
        )
    };
    // The controller updates its Secrets, and their type never changes.
    let secret = format!(
        "has(object.type) && object.type == '{LEGACY_TYPE}' && {} && !(oldObject != null && {})",
        annotated("object"),
        annotated("oldObject")
    );
    let pod = format!("has(object.spec.serviceAccountName) && object.spec.serviceAccountName == '{name}'");
    // The account renews its token within the limits of the renewal policy.
    let itself = format!(
        "request.userInfo.username == '{}' && has(request.userInfo.uid) && request.userInfo.uid != ''",
        account.user()
    );
    format!(
        "request.resource.resource == 'pods' ? {pod} : request.resource.resource == 'secrets' ? {secret} : \
         request.name == '{name}' && !({itself})"
    )
}

/// Whether the user may change the guard or use it.
fn trusted(account: &Account) -> String {
    let guard = format!(
        "authorizer.group('admissionregistration.k8s.io').resource('validatingadmissionpolicies').name('{}')",
        account.guard_name()
    );
    format!("{guard}.check('patch').allowed() || {guard}.check('{USE}').allowed()")
}

/// Whether the token is bound to a Secret with a name as `join` gives it.
fn bound(account: &Account) -> String {
    let bound = "object.spec.boundObjectRef";
    let name = account.name.as_str().replace('.', "[.]");
    format!(
        "has({bound}) && has({bound}.kind) && {bound}.kind == 'Secret' && has({bound}.name) \
         && {bound}.name.matches('^{name}-[a-z0-9]{{16}}$')"
    )
}

/// The `spec` of the binding that puts the policy into force.
pub fn binding_spec(account: &Account) -> Value {
    json!({ "policyName": account.guard_name(), "validationActions": ["Deny"] })
}

/// Whether policy and binding are as `join` makes them.
pub fn stands(account: &Account, policy: &Value, binding: &Value) -> bool {
    is_exactly(&policy_spec(account), &policy["spec"]) && is_exactly(&binding_spec(account), &binding["spec"])
}

/// Policy and binding.
pub fn references(account: &Account) -> [ObjectRef; 2] {
    [Kind::ValidatingAdmissionPolicy, Kind::ValidatingAdmissionPolicyBinding].map(|kind| ObjectRef {
        kind,
        namespace: None,
        name: account.guard_name(),
    })
}

/// The permissions of which one lets a user issue tokens of the account.
pub fn trust(account: &Account) -> [Permission; 2] {
    let [policy, _] = references(account);
    [Permission::of(USE, &policy), Permission::of("patch", &policy)]
}

/// A part of every refusal of this account's guard.
pub fn denial(account: &Account) -> String {
    policy::denial(&account.guard_name())
}

/// The next step of a user whom the guard refused a token.
pub fn needs_trust(account: &Account) -> String {
    let [policy, _] = references(account);
    format!(
        "Ask an administrator of the cluster for the verb {USE} on {policy}; check with: {}",
        trust(account)[0].can_i()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Account {
        Account { namespace: "shop".parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn expressions_name_one_account() {
        let spec = policy_spec(&account("prom.x"));
        insta::assert_snapshot!(serde_json::to_string_pretty(&spec).unwrap().replace(" && ", "\n&& "));
    }

    #[test]
    fn only_a_guard_that_join_makes_stands() {
        let stands = |change: fn(&mut Value, &mut Value)| {
            let mut policy = json!({ "spec": policy_spec(&account("a")) });
            let mut binding = json!({ "spec": binding_spec(&account("a")) });
            change(&mut policy, &mut binding);
            super::stands(&account("a"), &policy, &binding)
        };
        assert!(stands(|_, _| ()));
        for (what, holds) in [
            (
                "an exception",
                stands(|policy, _| policy["spec"]["matchConstraints"]["excludeResourceRules"] = json!([{}])),
            ),
            ("another condition", stands(|policy, _| policy["spec"]["matchConditions"] = json!([]))),
            ("fewer validations", stands(|policy, _| policy["spec"]["validations"] = json!([]))),
            ("another trust", stands(|policy, _| policy["spec"]["variables"][0]["expression"] = json!("true"))),
            ("only audits", stands(|_, binding| binding["spec"]["validationActions"] = json!(["Audit"]))),
            ("a selector", stands(|_, binding| binding["spec"]["matchResources"] = json!({ "x": "y" }))),
        ] {
            assert!(!holds, "{what}");
        }
    }

    #[test]
    fn refusal_of_the_guard_is_its_own() {
        let longest = Account { namespace: "n".repeat(63).parse().unwrap(), name: "a".repeat(169).parse().unwrap() };
        assert_eq!(longest.guard_name().len(), 253, "the longest name of an object");
        assert_eq!(
            denial(&account("a")),
            "ValidatingAdmissionPolicy 'prom-federate-guard.shop.a' with binding 'prom-federate-guard.shop.a' denied request"
        );
    }
}
