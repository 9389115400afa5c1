//! An account that may renew its own token, and that it may do nothing more.

use crate::{plugin::Account, raw};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::ClusterSpec;

trials! {
    self_renew:
    smoke {
        account_renews_only_its_own_token_on_the_agreed_terms,
    }
    full {
        refusal_names_no_secret,
        leave_deletes_renewal_and_revokes_renewed_tokens,
        a_second_join_lets_the_first_token_renew_itself_too,
        the_right_needs_the_policy_in_force,
        deleting_the_secret_ends_renewal,
        audiences_and_lives_follow_the_server,
    }
}

/// Who refuses.
#[derive(Debug, PartialEq)]
enum Answer {
    Granted,
    /// RBAC: the account lacks the right.
    Rbac,
    /// Our policy about renewals, by its own message.
    Policy,
    /// Whatever the server refuses by itself.
    Other(u16),
}

const DAY: u64 = 86_400;

fn answer(account: &Account, (code, body): &(u16, String)) -> Answer {
    match code {
        201 => Answer::Granted,
        403 => Answer::Rbac,
        422 if body.contains(&format!("ValidatingAdmissionPolicy '{}'", account.renewal_name())) => Answer::Policy,
        other => Answer::Other(*other),
    }
}

fn token_path(account: &Account, name: &str) -> String {
    format!("/api/v1/namespaces/{}/serviceaccounts/{name}/token", account.namespace)
}

fn spec(seconds: u64, secret: &str) -> Value {
    json!({ "expirationSeconds": seconds, "boundObjectRef": { "apiVersion": "v1", "kind": "Secret", "name": secret } })
}

/// With one field set to another value, or removed.
fn with(mut spec: Value, field: &str, value: Value) -> Value {
    let (parent, key) = field.rsplit_once('/').expect("a pointer");
    let parent = spec.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
    if value.is_null() {
        parent.remove(key)
    } else {
        parent.insert(key.to_owned(), value)
    };
    spec
}

fn ask(account: &Account, token: &str, name: &str, spec: &Value) -> (u16, String) {
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
    raw::post(account.cluster, token, &token_path(account, name), &request)
}

/// A token by renewal, as a holder of the first token gets it.
fn renewed(account: &Account, token: &str, secret: &str) -> String {
    let (code, body) = ask(account, token, "prometheus", &spec(DAY, secret));
    assert_eq!(code, 201, "{body}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    body["status"]["token"].as_str().expect("a token").to_owned()
}

fn account_renews_only_its_own_token_on_the_agreed_terms() {
    let account = Account::new(&testbed::shared().east, "renew");
    let run = account.join(&["--self-renew", "--duration", "1d"]);
    assert!(run.stderr.contains("Warning: with --self-renew a thief can renew a stolen token"), "{}", run.stderr);
    assert!(
        run.stderr.contains("the token can renew itself, bound to its Secret and for at most 24h; 6 other requests"),
        "{}",
        run.stderr
    );
    let token = run.token();
    let [secret] = &account.secrets()[..] else { panic!("one Secret: {:?}", account.secrets()) };
    account.cluster.kubectl_ok(&["--namespace", &account.namespace, "create", "secret", "generic", "another"]);
    account.cluster.kubectl_ok(&["--namespace", &account.namespace, "create", "serviceaccount", "another"]);
    let node = account.cluster.node_names()[0].clone();
    let good = || spec(DAY, secret);
    let table = [
        ("as agreed", "prometheus", good(), Answer::Granted),
        ("a shorter life", "prometheus", spec(600, secret), Answer::Granted),
        (
            "the server's own audience by name",
            "prometheus",
            with(good(), "/audiences", json!(["https://kubernetes.default.svc"])),
            Answer::Granted,
        ),
        (
            "the life that is the server's default",
            "prometheus",
            with(good(), "/expirationSeconds", Value::Null),
            Answer::Granted,
        ),
        ("unbound", "prometheus", with(good(), "/boundObjectRef", Value::Null), Answer::Policy),
        ("bound to an empty reference", "prometheus", with(good(), "/boundObjectRef", json!({})), Answer::Policy),
        (
            "bound to a Secret without a name",
            "prometheus",
            with(good(), "/boundObjectRef/name", Value::Null),
            Answer::Policy,
        ),
        (
            "bound without a version",
            "prometheus",
            with(good(), "/boundObjectRef/apiVersion", Value::Null),
            Answer::Policy,
        ),
        (
            "bound to another version",
            "prometheus",
            with(good(), "/boundObjectRef/apiVersion", json!("v2")),
            Answer::Policy,
        ),
        ("bound to another Secret that is there", "prometheus", spec(DAY, "another"), Answer::Policy),
        ("bound to a Secret that is not there", "prometheus", spec(DAY, "nowhere"), Answer::Policy),
        (
            "bound to a node",
            "prometheus",
            with(spec(DAY, &node), "/boundObjectRef/kind", json!("Node")),
            Answer::Policy,
        ),
        ("bound to a pod", "prometheus", with(good(), "/boundObjectRef/kind", json!("Pod")), Answer::Policy),
        ("another audience", "prometheus", with(good(), "/audiences", json!(["vault"])), Answer::Policy),
        (
            "another audience besides",
            "prometheus",
            with(good(), "/audiences", json!(["https://kubernetes.default.svc", "vault"])),
            Answer::Policy,
        ),
        ("a second longer", "prometheus", spec(DAY + 1, secret), Answer::Policy),
        ("as long as there is", "prometheus", spec(1 << 32, secret), Answer::Policy),
        ("another account", "another", good(), Answer::Rbac),
        ("an account that is not there", "nobody", good(), Answer::Rbac),
    ];
    for (what, name, spec, expected) in table {
        let got = ask(&account, &token, name, &spec);
        assert_eq!(answer(&account, &got), expected, "{what}: {got:?}");
    }
    let secrets = format!("/api/v1/namespaces/{}/secrets", account.namespace);
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies".to_owned();
    for path in [secrets.clone(), format!("{secrets}/{secret}"), policies] {
        assert_eq!(raw::request(account.cluster, &token, "GET", &path).0, 403, "{path}");
    }
    // A renewed token is as good, and renews itself in turn.
    let next = renewed(&account, &renewed(&account, &token, secret), secret);
    assert_eq!(raw::request(account.cluster, &next, "GET", "/api/v1/nodes").0, 200);
}

/// An unguessable name keeps a stolen token from the Secret of another. An expression that fails on a
/// field that is not there would be shown whole.
fn refusal_names_no_secret() {
    let account = Account::new(&testbed::shared().east, "renew-silent");
    let token = account.join(&["--self-renew"]).token();
    let [secret] = &account.secrets()[..] else { panic!("one Secret: {:?}", account.secrets()) };
    for bound in [
        Value::Null,
        json!({}),
        json!({ "name": "x" }),
        json!({ "kind": "Secret" }),
        // One's own Secret, and only one field missing.
        json!({ "kind": "Secret", "apiVersion": "v1" }),
        json!({ "kind": "Secret", "name": secret }),
        json!({ "apiVersion": "v1", "name": secret }),
        json!({ "kind": "Secret", "apiVersion": "v1", "uid": "x" }),
        json!({ "kind": "Secret", "apiVersion": "v1", "name": "x" }),
    ] {
        let (code, body) = ask(&account, &token, "prometheus", &json!({ "boundObjectRef": bound }));
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let message = body["message"].as_str().unwrap_or_default();
        assert_eq!(code, 422, "{bound}: {message}");
        let ours = "denied request: e2e-renew-silent/prometheus may only renew its own token: bound to its own Secret, \
                    for this API server, no longer than agreed";
        assert!(message.ends_with(ours), "{bound}: {message}");
        assert!(!body.to_string().contains(secret.as_str()), "{body}");
    }
}

fn leave_deletes_renewal_and_revokes_renewed_tokens() {
    let account = Account::new(&testbed::shared().east, "renew-leave");
    let token = account.join(&["--self-renew"]).token();
    let secret = account.secrets().remove(0);
    let next = renewed(&account, &token, &secret);
    assert_eq!(account.objects().len(), 13, "{:?}", account.objects());
    account.run(&["leave"]).succeeded();
    assert_eq!(account.objects(), Vec::<String>::new());
    for token in [token, next] {
        assert_eq!(raw::request(account.cluster, &token, "GET", "/version").0, 401);
        assert_eq!(ask(&account, &token, "prometheus", &spec(600, &secret)).0, 401);
    }
}

fn a_second_join_lets_the_first_token_renew_itself_too() {
    let account = Account::new(&testbed::shared().east, "renew-twice");
    let bounded = account.join(&[]).token();
    let of_bounded = account.secrets().remove(0);
    let first = account.join(&["--self-renew"]).token();
    let of_first = account.secrets().into_iter().find(|name| *name != of_bounded).expect("a second Secret");
    let second = account.join(&["--self-renew"]).token();
    renewed(&account, &first, &of_first);
    renewed(&account, &second, &of_first);
    // A token that was to end does end.
    let got = ask(&account, &bounded, "prometheus", &spec(600, &of_bounded));
    assert_eq!(answer(&account, &got), Answer::Policy, "{got:?}");
}

/// Without the policy the same requests succeed: what it is for, and that the tests above could fail.
fn the_right_needs_the_policy_in_force() {
    let account = Account::new(&testbed::shared().east, "renew-unlimited");
    let token = account.join(&["--self-renew"]).token();
    let policy = account.renewal_name();
    account.cluster.kubectl_ok(&["delete", "validatingadmissionpolicybinding", &policy]);
    let unbound = json!({ "expirationSeconds": 600, "audiences": ["vault"] });
    let seen = testbed::until(Duration::from_secs(5), || {
        (answer(&account, &ask(&account, &token, "prometheus", &unbound)) == Answer::Granted).then_some(())
    });
    assert!(seen.is_some(), "not seen: the policy is not enforced any more");
    // The next join puts it back and proves it.
    let run = account.join(&["--self-renew"]);
    let created = format!("validatingadmissionpolicybinding.admissionregistration.k8s.io/{policy} created");
    assert!(run.stderr.contains(&created), "{}", run.stderr);
    let got = ask(&account, &token, "prometheus", &unbound);
    assert_eq!(answer(&account, &got), Answer::Policy, "{got:?}");
}

/// The administrator's way to evict a thief: every token of that Secret ends, and no more can be had.
fn deleting_the_secret_ends_renewal() {
    let account = Account::new(&testbed::shared().east, "renew-evict");
    let token = account.join(&["--self-renew"]).token();
    let secret = account.secrets().remove(0);
    let next = renewed(&account, &token, &secret);
    account.cluster.kubectl_ok(&["--namespace", &account.namespace, "delete", "secret", &secret]);
    // The server may remember the token for ten seconds; it gives nothing new meanwhile.
    let (code, _) = ask(&account, &next, "prometheus", &spec(600, &secret));
    assert!(code == 404 || code == 401, "{code}");
    let seen = testbed::until(Duration::from_secs(20), || {
        (raw::request(account.cluster, &next, "GET", "/version").0 == 401).then_some(())
    });
    assert!(seen.is_some(), "not seen: the token is refused");
}

/// Audiences of an API server's own making, and one that grants less than it is asked for: the policy is about what is
/// asked, so a renewal asks for the same as the join did.
fn audiences_and_lives_follow_the_server() {
    let cluster = testbed::special("audiences", || {
        ClusterSpec::new("audiences")
            .token_cap(Duration::from_secs(3600))
            .api_server_flag("--api-audiences=https://api.example.org/,it's \\ours")
    });
    let account = Account::new(cluster, "renew-audiences");
    let run = account.join(&["--self-renew", "--duration=7d"]);
    assert!(run.stderr.contains("7d asked, 1h granted by this server"), "{}", run.stderr);
    let (token, secret) = (run.token(), account.secrets().remove(0));
    let asked = |audiences: Value| with(spec(7 * DAY, &secret), "/audiences", audiences);
    for (audiences, expected) in [
        (json!([]), Answer::Granted),
        (json!(["https://api.example.org/", "it's \\ours"]), Answer::Granted),
        (json!(["https://api.example.org/"]), Answer::Policy),
        (json!(["https://kubernetes.default.svc"]), Answer::Policy),
        (json!(["https://api.example.org/", "it's \\ours", "vault"]), Answer::Policy),
    ] {
        let got = ask(&account, &token, "prometheus", &asked(audiences.clone()));
        assert_eq!(answer(&account, &got), expected, "{audiences}: {got:?}");
    }
    let got = ask(&account, &token, "prometheus", &spec(7 * DAY + 1, &secret));
    assert_eq!(answer(&account, &got), Answer::Policy, "it would be granted an hour all the same: {got:?}");
}
