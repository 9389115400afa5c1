//! A `ValidatingAdmissionPolicy` about the requests of one account.

use super::Account;
use serde_json::{Value, json};

/// The `spec` of a policy that refuses the account's requests to these resources unless `expression` admits them.
pub(super) fn spec(account: &Account, operation: &str, resources: &[&str], expression: &str, message: &str) -> Value {
    json!({
        // An error in the policy refuses the request.
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "resourceRules": [rule(&[operation], resources)],
        },
        "matchConditions": [{
            "name": "this-account-only",
            "expression": format!("request.userInfo.username == '{}'", account.user()),
        }],
        "validations": [{ "expression": expression, "message": message, "reason": "Invalid" }],
    })
}

/// Requests of a policy, to resources of the core group.
pub(super) fn rule(operations: &[&str], resources: &[&str]) -> Value {
    json!({
        "apiGroups": [""],
        "apiVersions": ["*"],
        "operations": operations,
        "resources": resources,
        "scope": "*",
    })
}

/// Whether the policy and binding of this name refused a request. The API server writes
/// `ValidatingAdmissionPolicy 'NAME' with binding 'NAME' denied request: …`.
pub(super) fn is_refusal(name: &str, code: u16, message: &str) -> bool {
    code == 422 && message.contains(&denial(name))
}

/// A part of every refusal by the policy and binding of this name.
pub(super) fn denial(name: &str) -> String {
    format!("ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request")
}
