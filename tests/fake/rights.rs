//! What the user may not do, and what is not ours to touch.

use crate::{
    NAME, World,
    api::{ADMISSION, RBAC},
    assert_untouched,
};
use serde_json::{Value, json};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
const ADMISSION_GROUP: &str = "admissionregistration.k8s.io";

/// Resources and verbs.
fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

/// All that a join reads.
fn reads() -> Vec<Value> {
    vec![
        rule("", &["namespaces", "serviceaccounts", "secrets", "nodes"], &["get", "list"]),
        rule(RBAC_GROUP, &["clusterroles", "clusterrolebindings"], &["get"]),
        rule(ADMISSION_GROUP, &["validatingadmissionpolicies", "validatingadmissionpolicybindings"], &["get"]),
    ]
}

/// All that a join writes, but for the rights that it hands out.
fn writes() -> Vec<Value> {
    let verbs = ["create", "patch", "delete"];
    let policies = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
    vec![
        rule("", &["namespaces", "serviceaccounts", "secrets", "serviceaccounts/token"], &verbs),
        rule(RBAC_GROUP, &["clusterroles", "clusterrolebindings"], &verbs),
        rule(ADMISSION_GROUP, &policies, &verbs),
    ]
}

/// The rights of the scraper, which its administrator must have too.
fn granted() -> Value {
    rule("", &["nodes", "nodes/proxy"], &["get", "list", "watch"])
}

/// A world with a user who has these rights.
fn world_with(user: &str, rules: &[Value]) -> World {
    let world = World::new();
    world.east().state().grant(user, rules);
    world
}

#[test]
fn every_missing_permission_is_named() {
    let mut rules = reads();
    rules.push(rule("", &["namespaces", "serviceaccounts"], &["create", "patch"]));
    rules.push(rule("", &["secrets"], &["create", "patch"]));
    let world = world_with("jane", &rules);
    let run = world.run_as("jane", &["join"]).failed(
        "Forbidden",
        &[
            "east: jane may not ",
            &format!("create clusterroles.{RBAC_GROUP} {NAME}"),
            &format!("patch clusterroles.{RBAC_GROUP} {NAME}"),
            &format!("create clusterrolebindings.{RBAC_GROUP} {NAME}"),
            &format!("patch validatingadmissionpolicies.{ADMISSION_GROUP} {NAME}"),
            &format!("create validatingadmissionpolicybindings.{ADMISSION_GROUP} {NAME}"),
            "delete secrets in namespace prom-federate",
            "create serviceaccounts/token prometheus in namespace prom-federate",
            "nothing was written",
            "hint: Check with: kubectl auth can-i ",
            "kubectl prom-federate manifests",
        ],
    );
    for held in ["create namespaces", "patch serviceaccounts", "create secrets"] {
        assert!(!run.stderr.contains(held), "she may {held}: {}", run.stderr);
    }
    // A dry run says the same, and not a single write is tried.
    for mode in ["client", "server"] {
        let dry_run = format!("--dry-run={mode}");
        world.run_as("jane", &["join", &dry_run]).failed("Forbidden", &["jane may not "]);
    }
    assert_untouched(&world);
}

/// RBAC's own rule: who grants `nodes/proxy` must hold it.
#[test]
fn role_that_grants_more_than_the_user_holds_is_refused() {
    let world = world_with("jane", &[reads(), writes()].concat());
    let says = ["east: ", "jane", "nodes/proxy", "hint: Ask an administrator"];
    world.run_as("jane", &["join"]).failed("EscalationForbidden", &says);
    assert_untouched(&world);
    world.east().state().grant("lisa", &[reads(), writes(), vec![granted()]].concat());
    world.run_as("lisa", &["join"]).succeeded();
}

/// The API server would refuse the role, changed or not; it is there and stays as it is.
#[test]
fn role_that_exists_needs_no_right_to_grant_it() {
    let world = world_with("jane", &[reads(), writes()].concat());
    world.run(&["join"]).succeeded();
    let run = world.run_as("jane", &["join"]).succeeded();
    assert_eq!(run.stderr.matches(" unchanged\n").count(), 8, "{}", run.stderr);
    world.east().state().remove(&format!("{RBAC}/clusterroles/{NAME}"));
    world.run_as("jane", &["join"]).failed("EscalationForbidden", &["east: ", "jane"]);
}

#[test]
fn user_without_rights_to_policies_can_join_without_a_fence() {
    let but_policies = |rules: Vec<Value>| {
        rules.into_iter().filter(|rule| rule["apiGroups"][0] != ADMISSION_GROUP).collect::<Vec<_>>()
    };
    let way_out = "hint: To join without a fence: --fence=off; but without the fence a thief of the token";
    let world = world_with("jane", &but_policies([reads(), writes(), vec![granted()]].concat()));
    let unread = "User \"jane\" cannot get resource \"validatingadmissionpolic";
    world.run_as("jane", &["join"]).failed("Forbidden", &[unread, way_out]);
    world.east().state().grant("lisa", &[reads(), but_policies(writes()), vec![granted()]].concat());
    let policy = format!("create validatingadmissionpolicies.{ADMISSION_GROUP} {NAME}");
    world.run_as("lisa", &["join"]).failed("Forbidden", &["lisa may not ", &policy, way_out]);
    assert_untouched(&world);
    let run = world.run_as("jane", &["join", "--fence=off"]).succeeded();
    for warning in [
        "Warning: --fence=off: without the fence a thief of the token",
        "Warning: cannot tell whether this account has a fence",
    ] {
        assert!(run.stderr.contains(warning), "{}", run.stderr);
    }
}

#[test]
fn user_without_any_right_learns_what_is_missing() {
    let world = world_with("stranger", &[]);
    let says = ["east: ", "User \"stranger\" cannot ", "hint: Ask an administrator"];
    world.run_as("stranger", &["join"]).failed("Forbidden", &says);
    assert_untouched(&world);
}

#[test]
fn leave_without_the_permission_changes_nothing() {
    // Whether something is left of a right to renew is asked too, and not to know would be no end.
    let renewal = rule(RBAC_GROUP, &["roles", "rolebindings"], &["get"]);
    let world = world_with("jane", &[reads(), vec![renewal]].concat());
    world.run(&["join"]).succeeded();
    let before = world.east().ours();
    let says = ["east: ", "User \"jane\" cannot delete resource", "hint: "];
    world.run_as("jane", &["leave"]).failed("Forbidden", &says);
    world.east().state().grant("blind", &reads());
    world.run_as("blind", &["leave"]).failed("Forbidden", &["User \"blind\" cannot get resource \"role"]);
    assert_eq!(world.east().ours(), before);
}

/// A role of another manager has the name that ours would have.
#[test]
fn role_of_another_manager_is_left_alone() {
    let world = World::new();
    let path = format!("{RBAC}/clusterroles/{NAME}");
    let theirs = json!({ "rules": [rule("", &["pods"], &["get"])] });
    world.east().state().put(&path, theirs, "terraform");
    let before = world.east().state().objects[&path].clone();
    for mode in ["none", "server"] {
        world.run(&["join", &format!("--dry-run={mode}")]).failed(
            "NotOurs",
            &[
                &format!("clusterrole.{RBAC_GROUP}/{NAME} exists and has another owner (managed by terraform)"),
                "rules",
                "--service-account NAME",
            ],
        );
    }
    let run = world.run(&["leave"]).succeeded();
    assert!(
        run.stderr.contains(&format!("clusterrole.{RBAC_GROUP}/{NAME} has another owner and stays")),
        "{}",
        run.stderr
    );
    assert_eq!(world.east().writes(), Vec::<String>::new());
    assert_eq!(world.east().state().objects[&path], before);
}

/// A policy with our name that lets everything pass would be no fence.
#[test]
fn policy_of_another_manager_is_no_fence() {
    let world = World::new();
    let spec = json!({
        "matchConstraints": { "resourceRules": [rule("", &["pods"], &[])] },
        "validations": [{ "expression": "true" }],
    });
    let path = format!("{ADMISSION}/validatingadmissionpolicies/{NAME}");
    world.east().state().put(&path, json!({ "spec": spec }), "kubectl");
    world.run(&["join"]).failed(
        "NotOurs",
        &[
            &format!(
                "validatingadmissionpolicy.{ADMISSION_GROUP}/{NAME} exists and has another owner (managed by kubectl)"
            ),
            "spec",
            "manifests",
        ],
    );
    assert_eq!(world.east().ours(), [path]);
}

#[test]
fn namespace_that_is_being_deleted_is_refused() {
    let world = World::new();
    let path = "/api/v1/namespaces/prom-federate";
    world.east().state().put(path, json!({ "metadata": { "deletionTimestamp": "2026-11-29T00:00:00Z" } }), "kubectl");
    let says = ["east: namespace/prom-federate is being deleted", "hint: Wait until it is gone"];
    world.run(&["join"]).failed("BeingDeleted", &says);
    assert_eq!(world.east().ours(), [path], "only what was there");
}
