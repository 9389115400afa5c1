//! Renewal: the right of an account to request its next token itself, and the `ValidatingAdmissionPolicy` that limits
//! this right. Default deny.
//!
//! RBAC alone would let a thief request a token without a binding, which cannot be revoked, for any audience and for
//! 136 years (kubernetes#60659). The server runs admission after it has filled in its own audiences and before it looks
//! up the bound object (Kubernetes `pkg/registry/core/serviceaccount/storage/token.go`). So the policy recognises a
//! request for the default audiences by the list that the server filled in for the first token.

use super::{Account, policy};
use crate::model::{
    kube::{diff::is_exactly, object::Deletion},
    text::duration::Seconds,
    token::{self, MAXIMUM, MINIMUM},
};
use serde_json::{Value, json};

/// The powers that every holder of the token has, a thief included.
pub const LIMIT: &str = "with --self-renew a thief can renew a stolen token, again and again, \
                         until an administrator deletes the Secret that it is bound to, or runs leave";

/// The limits within which an account may renew its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The names of the Secrets that a new token may be bound to: one for each token in use.
    pub secrets: Vec<String>,
    /// Exactly the API server's own audiences.
    pub audiences: Vec<String>,
    /// The longest life that a request may ask for.
    pub cap: Seconds,
}

impl Limits {
    /// The account may not renew its token.
    pub const NONE: Self = Self { secrets: Vec::new(), audiences: Vec::new(), cap: Seconds(0) };
}

/// The `spec` of the policy.
pub fn policy_spec(account: &Account, limits: &Limits) -> Value {
    policy::spec(account, "CREATE", &["serviceaccounts/token"], &expression(account, limits), &message(account))
}

/// CEL. `has()` guards every field: an error would refuse the request too, but would show the caller the whole
/// expression with the names of the Secrets.
fn expression(account: &Account, limits: &Limits) -> String {
    let name = format!("request.namespace == '{}' && request.name == '{}'", account.namespace, account.name);
    let bound = "object.spec.boundObjectRef";
    let secret = format!(
        "has({bound}) && has({bound}.kind) && {bound}.kind == 'Secret' && has({bound}.apiVersion) && {bound}.apiVersion == 'v1' \
         && has({bound}.name) && {bound}.name in {}",
        list(&limits.secrets)
    );
    let audiences = format!("has(object.spec.audiences) && object.spec.audiences == {}", list(&limits.audiences));
    let life = format!("has(object.spec.expirationSeconds) && object.spec.expirationSeconds <= {}", limits.cap.0);
    [name, secret, audiences, life].join(" && ")
}

/// Whether policy and binding limit renewals as `join` does, whatever the Secrets, the audiences and the life.
pub fn is_limit(account: &Account, policy: &Value, binding: &Value) -> bool {
    is_policy(account, policy) && is_exactly(&binding_spec(account), &binding["spec"])
}

pub(in crate::model) fn is_policy(account: &Account, policy: &Value) -> bool {
    let limits = policy["spec"]["validations"][0]["expression"].as_str().and_then(limits_of);
    limits.is_some_and(|limits| is_exactly(&policy_spec(account, &limits), &policy["spec"]))
}

/// The `spec` of the binding that puts the policy into force.
pub fn binding_spec(account: &Account) -> Value {
    json!({ "policyName": account.renewal_name(), "validationActions": ["Deny"] })
}

/// The limits of an expression as [`expression()`] writes it; of another one, limits that it does not have.
fn limits_of(expression: &str) -> Option<Limits> {
    let after = |text: &str| Some(expression.split_once(text)?.1);
    Some(Limits {
        secrets: strings(after("boundObjectRef.name in [")?)?,
        audiences: strings(after("object.spec.audiences == [")?)?,
        cap: Seconds(after("object.spec.expirationSeconds <= ")?.parse().ok()?),
    })
}

/// The strings of a list, as [`list`] writes them, up to its closing bracket.
fn strings(mut rest: &str) -> Option<Vec<String>> {
    let mut strings = Vec::new();
    while !rest.starts_with(']') {
        let (text, after) = rest.strip_prefix('\'')?.split_once('\'')?;
        let mut parts = text.split("\\U");
        let mut string = parts.next()?.to_owned();
        for part in parts {
            let (code, plain) = part.split_at_checked(8)?;
            string.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
            string += plain;
        }
        strings.push(string);
        rest = after.strip_prefix(", ").unwrap_or(after);
    }
    Some(strings)
}

/// The same for all limits and without the Secrets' names, because a refused caller sees this message.
fn message(account: &Account) -> String {
    format!(
        "{account} may only renew its own token: bound to its own Secret, for this API server, no longer than agreed"
    )
}

fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", quoted.join(", "))
}

/// A CEL string. Characters that could end the string or begin an escape become code points (CEL specification, "String
/// and Bytes Values"): an audience is any text that an API server was started with.
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

/// Whether this account's renewal policy refused a request. A 403 of RBAC proves nothing.
pub fn is_refusal(account: &Account, code: u16, message: &str) -> bool {
    policy::is_refusal(&account.renewal_name(), code, message)
}

/// A `TokenRequest` that must be refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// `a token without its Secret`
    pub what: &'static str,
    pub path: String,
    pub request: Value,
    /// Whether RBAC may refuse the request before the policy sees it.
    pub by_rbac: bool,
}

impl Attempt {
    /// Whether this answer is a refusal by the policy, or by RBAC where that counts.
    pub fn is_refused(&self, account: &Account, code: u16, message: &str) -> bool {
        is_refusal(account, code, message) || (self.by_rbac && code == 403)
    }
}

/// The requests that the policy must refuse. If one were granted, its token would have the shortest possible life and be
/// forgotten with this process. Only the request for too long a life cannot be short.
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
        attempt("a token without a bound object", token::request(MINIMUM, None)),
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
    // The API server refuses more than the maximum without the policy.
    if cap < MAXIMUM {
        attempts.push(attempt("a token with a longer life", token::request(Seconds(cap.0 + 1), Some(secret))));
    }
    attempts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
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
    fn expression_checks_secret_audience_and_life() {
        let limits = Limits {
            secrets: vec!["prometheus-x".into(), "prometheus-y".into()],
            audiences: vec!["https://kubernetes.default.svc".into()],
            cap: Seconds(604_800),
        };
        insta::assert_snapshot!(expression(&account(), &limits).replace(" && ", "\n&& "), @r"
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
        assert_eq!(limits_of(&expression(&account(), &limits)), Some(limits));
        assert_eq!(limits_of(&expression(&account(), &Limits::NONE)), Some(Limits::NONE));
        let none = expression(&account(), &Limits::NONE);
        assert!(none.contains(".name in []") && none.contains("audiences == []"), "{none}");
    }

    #[test]
    fn only_a_policy_that_join_makes_limits_renewals() {
        let limits =
            Limits { secrets: vec!["prometheus-x".into()], audiences: vec!["a, 'b'] \\".into()], cap: Seconds(600) };
        let limit = |change: fn(&mut Value, &mut Value)| {
            let mut policy = json!({ "spec": policy_spec(&account(), &limits) });
            let mut binding = json!({ "spec": binding_spec(&account()) });
            change(&mut policy, &mut binding);
            is_limit(&account(), &policy, &binding)
        };
        assert!(limit(|_, _| ()));
        assert!(!limit(|policy, _| policy["spec"]["validations"][0]["expression"] = json!("true")));
        assert!(!limit(|policy, _| {
            let validation = &mut policy["spec"]["validations"][0]["expression"];
            *validation = json!(format!("{} || true", validation.as_str().unwrap_or_default()));
        }));
        assert!(!limit(|policy, _| policy["spec"]["matchConstraints"]["excludeResourceRules"] = json!([{}])));
        assert!(!limit(|_, binding| binding["spec"]["validationActions"] = json!(["Warn"])));
        assert!(!limit(|_, binding| binding["spec"]["paramRef"] = json!({ "name": "x" })));
    }

    /// A refused holder of the token sees this message.
    #[test]
    fn message_names_no_secret() {
        insta::assert_snapshot!(message(&account()), @"prom-federate/prometheus may only renew its own token: bound to its own Secret, for this API server, no longer than agreed");
    }

    #[test]
    fn only_the_accounts_own_policy_counts_as_a_refusal() {
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

    /// Each attempt differs from an allowed request in one field, so each proves that the policy checks this field.
    #[test]
    fn attempts_each_break_one_term() {
        let attempts = forbidden(&account(), &secret(), Seconds(604_800));
        let lines: Vec<String> =
            attempts.iter().map(|attempt| format!("{}: {}", attempt.what, attempt.request["spec"])).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        a token without a bound object: {"audiences":[],"expirationSeconds":600}
        a token bound to another Secret: {"audiences":[],"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"another"},"expirationSeconds":600}
        a token bound to a node: {"audiences":[],"boundObjectRef":{"apiVersion":"v1","kind":"Node","name":"prometheus-x"},"expirationSeconds":600}
        a token for another audience: {"audiences":["another"],"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"prometheus-x","uid":"u"},"expirationSeconds":600}
        a token of another service account: {"audiences":[],"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"prometheus-x","uid":"u"},"expirationSeconds":600}
        a token with a longer life: {"audiences":[],"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"prometheus-x","uid":"u"},"expirationSeconds":604801}
        "#);
        assert_eq!(forbidden(&account(), &secret(), MAXIMUM).len(), 5, "no life is longer than the maximum");
    }

    proptest! {
        #[test]
        fn audiences_cannot_end_their_string(audience in ".*") {
            let text = quoted(&audience);
            let inner = &text[1..text.len() - 1];
            prop_assert!(!inner.contains(['\'', '"', '\n', '\r']));
            prop_assert_eq!(inner.matches('\\').count(), inner.matches("\\U").count());
        }
    }

    #[test]
    fn hostile_expressions_are_survived() {
        let limits = Limits {
            secrets: vec!["prometheus-x".to_owned(), "prometheus-y".to_owned()],
            audiences: vec!["https://kubernetes.default.svc".to_owned(), "a'\"\\\n".to_owned()],
            cap: Seconds(86_400),
        };
        hostile::texts(&[&super::expression(&account(), &limits)], |text| {
            if let Some(limits) = limits_of(text) {
                assert_eq!(limits_of(&super::expression(&account(), &limits)), Some(limits));
            }
        });
    }
}
