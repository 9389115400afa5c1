//! `--self-renew`: the right to renew comes after its limit and goes before it.

use crate::{World, api::Lack, assert_undone, assert_untouched};
use http::Method;
use serde_json::json;

const RENEWAL: &str = "prom-federate-renew.prom-federate.prometheus";

/// What a command sends about the objects of the right to renew, by their resources.
fn sent(world: &World, method: &str, words: &[&str]) -> Vec<String> {
    world.east().forget_requests();
    world.run(words).succeeded();
    let writes = world.east().writes();
    let ours = writes.iter().filter(|write| write.starts_with(method) && write.ends_with(RENEWAL));
    ours.filter_map(|write| write.rsplit('/').nth(1)).map(str::to_owned).collect()
}

/// What the account's own request for a next token gets.
fn renewed(world: &World, token: &str, secret: &str) -> (u16, String) {
    let bound = json!({ "apiVersion": "v1", "kind": "Secret", "name": secret });
    let spec = json!({ "audiences": [], "expirationSeconds": 600, "boundObjectRef": bound });
    let path = "/api/v1/namespaces/prom-federate/serviceaccounts/prometheus/token";
    world.send(token, Method::POST, path, &json!({ "spec": spec }).to_string())
}

#[test]
fn account_renews_its_own_token_on_the_agreed_terms_only() {
    let world = World::new();
    let token = world.run(&["join", "--self-renew"]).succeeded().token();
    let secret = world.east().secrets().remove(0);
    assert_eq!(renewed(&world, &token, &secret).0, 201);
    let (code, body) = renewed(&world, &token, "another");
    assert_eq!(code, 422, "{body}");
    assert!(body.contains(RENEWAL) && !body.contains(&secret), "{body}");
}

/// Never a right without its limit.
#[test]
fn limit_of_renewals_comes_first_and_goes_last() {
    let world = World::new();
    let [policy, policy_binding] = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
    let mut order = sent(&world, "PATCH", &["join", "--self-renew"]);
    order[..2].sort();
    assert_eq!(order, [policy, policy_binding, "roles", "rolebindings"]);
    assert_eq!(sent(&world, "DELETE", &["join"]), ["rolebindings", "roles", policy_binding, policy]);
    world.run(&["join", "--self-renew"]).succeeded();
    let mut order = sent(&world, "DELETE", &["leave"]);
    order[2..].sort();
    assert_eq!(order, ["rolebindings", "roles", policy, policy_binding]);
}

#[test]
fn join_without_it_takes_the_right_away_and_leaves_the_rest() {
    let world = World::new();
    let token = world.run(&["join", "--self-renew"]).succeeded().token();
    let secret = world.east().secrets().remove(0);
    let shown = world.run(&["join", "--dry-run=server"]).succeeded().stdout;
    let role = format!("role.rbac.authorization.k8s.io/{RENEWAL} deleted (server dry run)");
    assert!(shown.contains(&role), "{shown}");
    assert_eq!(world.east().ours().len(), 13, "{:?}", world.east().ours());
    let run = world.run(&["join"]).succeeded();
    assert!(run.stderr.contains("deleted (joined without --self-renew)"), "{}", run.stderr);
    // Namespace, account, role, binding, fence and guard (2 each), two Secrets.
    assert_eq!(world.east().ours().len(), 10, "{:?}", world.east().ours());
    for token in [token, run.token()] {
        assert_eq!(world.get(&token, "/api/v1/nodes").0, 200, "scrapes go on");
        assert_eq!(renewed(&world, &token, &secret).0, 403, "the right has gone");
    }
}

#[test]
fn dry_run_shows_the_right_to_renew() {
    let world = World::new();
    let shown = |mode: &str| world.run(&["join", "--self-renew", &format!("--dry-run={mode}")]).succeeded().stdout;
    for (mode, policy, right) in
        [("client", "(dry run)", "(dry run)"), ("server", "(server dry run)", "(server dry run, not validated)")]
    {
        let text = shown(mode);
        for line in [
            format!("validatingadmissionpolicy.admissionregistration.k8s.io/{RENEWAL} created {policy}\n"),
            format!("role.rbac.authorization.k8s.io/{RENEWAL} created {right}\n"),
            format!("rolebinding.rbac.authorization.k8s.io/{RENEWAL} created {right}\n"),
        ] {
            assert!(text.contains(&line), "no {line}: {text}");
        }
    }
    assert_untouched(&world);
    world.run(&["join", "--self-renew"]).succeeded();
    let text = shown("server");
    assert!(text.contains(&format!("{RENEWAL} configured (server dry run)\n")), "{text}");
    assert!(!text.contains("not validated"), "{text}");
    assert_eq!(world.east().secrets().len(), 1, "a dry run makes none");
}

#[test]
fn policy_about_renewals_that_is_not_enforced_fails_the_join() {
    let world = World::new();
    world.east().state().lacks.insert(Lack::Enforcement);
    let run = world.run(&["join", "--self-renew", "--fence=off"]).failed(
        "FenceNotEnforced",
        &[
            "east: ",
            RENEWAL,
            "for a token without a bound object with 201, where the policy should refuse the request",
            "hint: Omit --self-renew",
        ],
    );
    assert!(!run.stderr.contains("fake.token."), "a token: {}", run.stderr);
    assert_undone(&world, &run);
}
