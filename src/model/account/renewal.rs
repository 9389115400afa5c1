//! Renewal: the right of an account to ask for its next token itself, and the `ValidatingAdmissionPolicy` that limits
//! it to just that. Default deny.
//!
//! RBAC alone would let a thief shed the binding, and with it the revocation, ask for any audience and for 136 years
//! (kubernetes#60659). The server runs admission when it has filled in its own audiences and before it looks the bound
//! object up (Kubernetes `pkg/registry/core/serviceaccount/storage/token.go`), so a request for the default is
//! recognised by the very list that the server filled in when it issued the first token.

use super::{Account, fence::is_refusal_by};
use crate::model::{
    kube::object::Deletion,
    text::duration::Seconds,
    token::{self, MAXIMUM, MINIMUM},
};
use serde_json::{Value, json};

/// What holders of the token can do, the rightful one and any other.
pub const LIMIT: &str = "with --self-renew whoever steals the token can renew it too, again and again, \
                         until an administrator deletes the Secret that it is bound to, or leaves";

/// How far an account may renew its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The Secrets that a new token may be bound to, by name: one for each token that is in use.
    pub secrets: Vec<String>,
    /// Exactly the API server's own.
    pub audiences: Vec<String>,
    /// The longest life that may be asked for.
    pub cap: Seconds,
}

impl Terms {
    /// Not at all.
    pub const NONE: Self = Self { secrets: Vec::new(), audiences: Vec::new(), cap: Seconds(0) };
}

/// The `spec` of the policy.
pub fn policy_spec(account: &Account, terms: &Terms) -> Value {
    json!({
        // An error in the policy refuses the request.
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "resourceRules": [{
                "apiGroups": [""],
                "apiVersions": ["*"],
                "operations": ["CREATE"],
                "resources": ["serviceaccounts/token"],
                "scope": "*",
            }],
        },
        "matchConditions": [{
            "name": "this-account-only",
            "expression": format!("request.userInfo.username == '{}'", account.user()),
        }],
        "validations": [{ "expression": expression(account, terms), "message": message(account), "reason": "Invalid" }],
    })
}

/// CEL. Every field is asked for before it is read: an error would refuse as well, but show the caller the whole
/// expression, and in it the names of the Secrets, which nobody is to guess.
fn expression(account: &Account, terms: &Terms) -> String {
    let name = format!("request.namespace == '{}' && request.name == '{}'", account.namespace, account.name);
    let bound = "object.spec.boundObjectRef";
    let secret = format!(
        "has({bound}) && has({bound}.kind) && {bound}.kind == 'Secret' && has({bound}.apiVersion) && {bound}.apiVersion == 'v1' \
         && has({bound}.name) && {bound}.name in {}",
        list(&terms.secrets)
    );
    let audiences = format!("has(object.spec.audiences) && object.spec.audiences == {}", list(&terms.audiences));
    let life = format!("has(object.spec.expirationSeconds) && object.spec.expirationSeconds <= {}", terms.cap.0);
    [name, secret, audiences, life].join(" && ")
}

/// The same for every terms, and silent about the Secrets: whoever is refused reads it.
fn message(account: &Account) -> String {
    format!(
        "{account} may only renew its own token: bound to its own Secret, for this API server, no longer than agreed"
    )
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A CEL string. What could end it or begin an escape is written as its code point (CEL specification, "String and
/// Bytes Values"): an audience is any text that an API server was started with.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-._~:/?#[]@!&()*+,;=% ".contains(c) {
                c.to_string()
            } else {
                format!("\\U{:08x}", u32::from(c))
            }
        })
        .collect();
    format!("'{escaped}'")
}

/// Whether a refusal came from this account's policy about renewals. A 403 of RBAC proves nothing.
pub fn is_refusal(account: &Account, code: u16, message: &str) -> bool {
    is_refusal_by(&account.renewal_name(), code, message)
}

/// Something that the token must not get: a `TokenRequest` and who is to refuse it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// `a token without its Secret`
    pub what: &'static str,
    pub path: String,
    pub request: Value,
    /// RBAC may refuse it too, before the policy is asked.
    pub by_rbac: bool,
}

impl Attempt {
    /// Whether this answer refuses it and means it.
    pub fn is_refused(&self, account: &Account, code: u16, message: &str) -> bool {
        is_refusal(account, code, message) || (self.by_rbac && code == 403)
    }
}

/// What the policy must refuse. Should one of them be granted, it is a token of the shortest life there is, and ends
/// with this process; only the one that asks for too long a life cannot be short.
pub fn forbidden(account: &Account, secret: &Deletion, cap: Seconds) -> Vec<Attempt> {
    let attempt = |what, request| Attempt { what, path: account.token_path(), request, by_rbac: false };
    let within = || token::request(MINIMUM, Some(secret));
    let with = |pointer: &str, value: Value| {
        let mut request = within();
        if let Some(field) = request.pointer_mut(pointer) {
            *field = value;
        }
        request
    };
    let bound_to = |kind: &str, name: &str| {
        with("/spec/boundObjectRef", json!({ "apiVersion": "v1", "kind": kind, "name": name }))
    };
    let other = if account.name.as_str() == "default" { "prometheus" } else { "default" };
    let mut attempts = vec![
        attempt("a token that is bound to nothing", token::request(MINIMUM, None)),
        attempt("a token bound to another Secret", bound_to("Secret", "another")),
        attempt("a token bound to a node", bound_to("Node", &secret.reference.name)),
        attempt("a token for another audience", with("/spec/audiences", json!(["another"]))),
        Attempt {
            what: "a token of another service account",
            path: format!("/api/v1/namespaces/{}/serviceaccounts/{other}/token", account.namespace),
            request: within(),
            by_rbac: true,
        },
    ];
    // More than the most there is would be refused without the policy.
    if cap < MAXIMUM {
        attempts.push(attempt("a token of a longer life", token::request(Seconds(cap.0 + 1), Some(secret))));
    }
    attempts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kube::object::{Kind, ObjectRef};
    use proptest::prelude::*;

    fn account() -> Account {
        Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() }
    }

    fn secret() -> Deletion {
        let reference =
            ObjectRef { kind: Kind::Secret, namespace: Some("prom-federate".into()), name: "prometheus-x".into() };
        Deletion { reference, uid: "u".into() }
    }

    #[test]
    fn the_expression_says_secret_audience_and_life() {
        let terms = Terms {
            secrets: vec!["prometheus-x".into(), "prometheus-y".into()],
            audiences: vec!["https://kubernetes.default.svc".into()],
            cap: Seconds(604_800),
        };
        insta::assert_snapshot!(expression(&account(), &terms).replace(" && ", "\n&& "), @r"
        request.namespace == 'prom-federate'
        && request.name == 'prometheus'
        && has(object.spec.boundObjectRef)
        && has(object.spec.boundObjectRef.kind)
        && object.spec.boundObjectRef.kind == 'Secret'
        && has(object.spec.boundObjectRef.apiVersion)
        && object.spec.boundObjectRef.apiVersion == 'v1'
        && has(object.spec.boundObjectRef.name)
        && object.spec.boundObjectRef.name in ['prometheus-x', 'prometheus-y']
        && has(object.spec.audiences)
        && object.spec.audiences == ['https://kubernetes.default.svc']
        && has(object.spec.expirationSeconds)
        && object.spec.expirationSeconds <= 604800
        ");
        let none = expression(&account(), &Terms::NONE);
        assert!(none.contains(".name in []") && none.contains("audiences == []"), "{none}");
    }

    /// What is refused is read by whoever holds the token.
    #[test]
    fn the_message_names_no_secret() {
        insta::assert_snapshot!(message(&account()), @"prom-federate/prometheus may only renew its own token: bound to its own Secret, for this API server, no longer than agreed");
    }

    #[test]
    fn only_our_own_policy_counts() {
        let ours = "ValidatingAdmissionPolicy 'prom-federate-renew.prom-federate.prometheus' with binding \
                    'prom-federate-renew.prom-federate.prometheus' denied request: no";
        let fence = ours.replace("-renew", "");
        let [unbound, .., other, _] = &forbidden(&account(), &secret(), Seconds(600))[..] else { panic!() };
        for (attempt, code, message, refused) in [
            (unbound, 422, ours, true),
            (unbound, 403, ours, false),
            (unbound, 422, &fence, false),
            (unbound, 201, "", false),
            (other, 422, ours, true),
            (other, 403, "forbidden", true),
            (other, 404, "not found", false),
        ] {
            assert_eq!(attempt.is_refused(&account(), code, message), refused, "{} {code} {message}", attempt.what);
        }
    }

    /// Each differs from what is allowed in one thing, so each shows that the policy looks at it.
    #[test]
    fn what_must_be_refused() {
        let attempts = forbidden(&account(), &secret(), Seconds(604_800));
        let lines: Vec<String> =
            attempts.iter().map(|attempt| format!("{}: {}", attempt.what, attempt.request["spec"])).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        a token that is bound to nothing: {"audiences":[],"expirationSeconds":600}
        a token bound to another Secret: {"audiences":[],"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"another"},"expirationSeconds":600}
        a token bound to a node: {"audiences":[],"boundObjectRef":{"apiVersion":"v1","kind":"Node","name":"prometheus-x"},"expirationSeconds":600}
        a token for another audience: {"audiences":["another"],"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"prometheus-x","uid":"u"},"expirationSeconds":600}
        a token of another service account: {"audiences":[],"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"prometheus-x","uid":"u"},"expirationSeconds":600}
        a token of a longer life: {"audiences":[],"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"prometheus-x","uid":"u"},"expirationSeconds":604801}
        "#);
        assert_eq!(forbidden(&account(), &secret(), MAXIMUM).len(), 5, "nothing is longer than the most there is");
    }

    proptest! {
        #[test]
        fn no_audience_ends_its_string(audience in ".*") {
            let text = quoted(&audience);
            let inner = &text[1..text.len() - 1];
            prop_assert!(!inner.contains(['\'', '"', '\n', '\r']));
            prop_assert_eq!(inner.matches('\\').count(), inner.matches("\\U").count());
        }
    }
}
