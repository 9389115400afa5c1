//! Taking the access away, in which order, and what stays.

use crate::{
    NAME, World,
    api::{Lack, RBAC},
    refusal,
};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{Action, Rule};

#[test]
fn leave_deletes_everything_and_the_token_is_refused() {
    let world = World::new();
    let token = world.run(&["join"]).succeeded().token();
    world.run(&["join"]).succeeded();
    assert_eq!(world.get(&token, "/version").0, 200);
    let run = world.run(&["leave"]).succeeded();
    assert!(run.stderr.contains("a token that worked before now gets 401 (after "), "{}", run.stderr);
    assert!(run.stderr.contains("all objects of the plugin are deleted"), "{}", run.stderr);
    assert_eq!(world.east().ours(), Vec::<String>::new());
    assert_eq!(world.get(&token, "/version").0, 401);
}

#[test]
fn namespace_with_other_objects_stays() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    let configmap = "/api/v1/namespaces/prom-federate/configmaps/shop";
    world.east().state().put(configmap, json!({}), "kubectl");
    let run = world.run(&["leave"]).succeeded();
    assert!(
        run.stderr.contains("namespace/prom-federate is not deleted: it contains configmaps/shop"),
        "{}",
        run.stderr
    );
    assert_eq!(world.east().ours(), ["/api/v1/namespaces/prom-federate", configmap]);
}

/// Something appears after the plan and the ten seconds, just before the namespace would go.
#[test]
fn namespace_that_fills_meanwhile_stays() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    let configmap = "/api/v1/namespaces/prom-federate/configmaps/shop";
    world.east().before("DELETE", "/validatingadmissionpolicies/", |state| state.put(configmap, json!({}), "kubectl"));
    let run = world.run(&["leave", "--output=json"]).succeeded();
    assert!(
        run.stderr.contains("namespace/prom-federate is not deleted: it contains configmaps/shop"),
        "{}",
        run.stderr
    );
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let objects = report["objects"].as_array().expect("objects");
    let names: Vec<&str> = objects.iter().filter_map(|object| object["name"].as_str()).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    assert!(!names.contains(&"namespace/prom-federate"), "the report claims it: {names:?}");
    assert_eq!(world.east().ours(), ["/api/v1/namespaces/prom-federate", configmap]);
}

#[test]
fn leave_without_a_join_succeeds() {
    let world = World::new();
    let run = world.run(&["leave"]).succeeded();
    let nothing = "nothing to remove for service account prom-federate/prometheus";
    assert!(run.stderr.contains(nothing), "{}", run.stderr);
}

#[test]
fn dry_run_deletes_nothing() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    let before = world.east().ours();
    world.east().forget_requests();
    for mode in ["client", "server"] {
        let run = world.run(&["leave", &format!("--dry-run={mode}")]).succeeded();
        assert_eq!(run.stdout.lines().count(), 9, "{}", run.stdout);
        assert_eq!(world.east().ours(), before, "{mode}");
        assert_eq!(world.east().writes(), Vec::<String>::new(), "{mode}");
    }
}

/// Credentials, binding, role, fence, namespace: in this order, whatever the server's pace.
#[test]
fn fence_is_deleted_last() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    world.east().forget_requests();
    world.east().rule(Rule::new("DELETE", "serviceaccounts", Action::Delay(Duration::from_millis(300))));
    world.run(&["leave"]).succeeded();
    let writes = world.east().writes();
    let deleted = writes.iter().filter_map(|write| write.strip_prefix("DELETE "));
    let mut order: Vec<&str> = deleted.filter_map(|path| path.rsplit('/').nth(1)).collect();
    // Those that go at the same time arrive in any order.
    order[..2].sort_unstable();
    order[4..8].sort_unstable();
    assert_eq!(
        order,
        [
            "secrets",
            "serviceaccounts",
            "clusterrolebindings",
            "clusterroles",
            "validatingadmissionpolicies",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "validatingadmissionpolicybindings",
            "namespaces",
            // Of the announcement, which is needed until the namespace goes.
            "secrets"
        ]
    );
}

#[test]
fn objects_of_others_are_spared() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    // Argo CD takes the role over.
    let role = format!("{RBAC}/clusterroles/{NAME}");
    world.east().state().objects.get_mut(&role).expect("a role")["metadata"]["annotations"] =
        json!({ "argocd.argoproj.io/tracking-id": "shop" });
    let run = world.run(&["leave"]).succeeded();
    let spared = format!("clusterrole.rbac.authorization.k8s.io/{NAME} has another owner and stays");
    assert!(run.stderr.contains(&spared), "{}", run.stderr);
    assert_eq!(world.east().ours(), [role]);
}

#[test]
fn object_that_changed_its_uid_is_spared() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    let role = format!("{RBAC}/clusterroles/{NAME}");
    let path = role.clone();
    world.east().before("DELETE", "/clusterrolebindings/", move |state| {
        state.remove(&path);
        state.put(&path, json!({ "rules": [] }), "terraform");
    });
    world.run(&["leave"]).succeeded();
    assert_eq!(world.east().ours(), [role]);
}

#[test]
fn killed_leave_is_finished_by_the_next() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    world.killed_at(&["leave"], &Rule::new("DELETE", "/clusterrolebindings/", Action::Hang));
    let left = world.east().ours();
    assert!(!left.iter().any(|path| path.contains("/serviceaccounts/")), "{left:?}");
    assert_eq!((left.len(), world.east().secrets()), (8, Vec::new()), "with the announcement: {left:?}");
    world.run(&["leave"]).succeeded();
    assert_eq!(world.east().ours(), Vec::<String>::new());
}

/// What stays, stays fenced, and the next leave finishes.
#[test]
fn leave_that_is_refused_midway_keeps_the_fence() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    let denied = refusal(403, "Forbidden", "admission webhook \"guard.example.com\" denied the request");
    world.east().rule(Rule::new("DELETE", "/clusterrolebindings/", denied));
    world.run(&["leave"]).failed("Forbidden", &["east: ", "clusterrolebinding", "guard.example.com"]);
    let left = world.east().ours();
    let fence = left.iter().filter(|path| path.contains("validatingadmissionpolic"));
    assert_eq!(fence.count(), 4, "the fence went before the rights: {left:?}");
    world.east().clear_rules();
    world.run(&["leave"]).succeeded();
    assert_eq!(world.east().ours(), Vec::<String>::new());
}

/// What is in the namespace of an API that does not answer is not known.
#[test]
fn namespace_stays_while_an_aggregated_api_is_down() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    world.east().state().lacks.insert(Lack::AggregatedServer);
    let run = world.run(&["leave"]).succeeded();
    for text in [
        "Warning: namespace/prom-federate is not deleted: cannot tell whether it is empty: east: cannot read /apis/metrics.k8s.io/v1beta1: ",
        "Delete it later: kubectl prom-federate leave ",
        "all objects of the plugin are deleted except namespace/prom-federate",
    ] {
        assert!(run.stderr.contains(text), "no {text:?}: {}", run.stderr);
    }
    assert_eq!(world.east().ours(), ["/api/v1/namespaces/prom-federate"]);
    world.east().state().lacks.clear();
    world.run(&["leave", "--context", "east"]).succeeded();
    assert_eq!(world.east().ours(), Vec::<String>::new());
}
