//! What would stop a join, all of it at once, and without a single write.

use crate::{
    NAME, Run, World,
    api::{Lack, RBAC},
    assert_untouched,
};
use serde_json::{Value, json};

/// The names of the items of `check -o json` that failed, each once.
fn failed(run: &Run) -> Vec<String> {
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}{}", run.stdout, run.stderr));
    let clusters = report["clusters"].as_array().expect("clusters").iter();
    let items = clusters.flat_map(|cluster| cluster["items"].as_array().expect("items"));
    let failed = items.filter(|item| item["status"] == "fail");
    let mut names: Vec<String> = failed.map(|item| item["name"].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

#[track_caller]
fn assert_stopped(run: &Run, says: &[&str]) {
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.starts_with("error (CheckFailed): "), "{}", run.stderr);
    for text in says {
        assert!(run.stdout.contains(text), "does not say {text:?}: {}{}", run.stdout, run.stderr);
    }
}

#[test]
fn healthy_cluster_passes_and_nothing_is_written() {
    let world = World::new();
    let run = world.run(&["check"]).succeeded();
    for text in [
        "  ✔ the API server answers: Kubernetes v1.",
        "  ✔ you may make every change (20 permissions)\n",
        "  ✔ the API server issues tokens that expire\n",
        "  ✔ 2 nodes × ",
        " 0 failed\n",
    ] {
        assert!(run.stdout.contains(text), "no {text:?}: {}", run.stdout);
    }
    world.run(&["check", "--self-renew"]).succeeded();
    assert_untouched(&world);
    let asked_for_a_token = |request: &testbed::Request| request.path.contains("/token");
    assert!(!world.east().requests().iter().any(asked_for_a_token), "to try it would mint a real token");
}

#[test]
fn each_missing_permission_is_an_item() {
    let world = World::new();
    let group = "rbac.authorization.k8s.io";
    let rules = [
        json!({ "apiGroups": [""], "resources": ["namespaces", "serviceaccounts", "secrets", "nodes"], "verbs": ["get", "list"] }),
        json!({ "apiGroups": [group], "resources": ["clusterroles", "clusterrolebindings"], "verbs": ["get", "create"] }),
        json!({ "apiGroups": ["admissionregistration.k8s.io"], "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"], "verbs": ["get"] }),
    ];
    world.east().state().grant("jane", &rules);
    let config = world.kubeconfig("jane", "east", &json!({ "token": "jane" }));
    let run = world.with(&config, &["check"]);
    assert_stopped(
        &run,
        &[
            "  ✗ jane may not create validatingadmissionpolicies.admissionregistration.k8s.io ",
            &format!("  ✗ jane may not patch clusterroles.{group} {NAME}\n"),
            &format!(
                "    hint: Check with: kubectl --kubeconfig {config} auth can-i patch clusterroles.{group}/{NAME}\n"
            ),
            "  ✗ jane may not create serviceaccounts/token prometheus in namespace prom-federate\n",
            "    hint: Ask an administrator of the cluster to run this",
            "  ! unknown: ",
        ],
    );
    assert!(!run.stdout.contains("may not create clusterroles."), "she may: {}", run.stdout);
    // A stranger learns everything that he may not read.
    world.east().state().grant("stranger", &[]);
    let config = world.kubeconfig("stranger", "east", &json!({ "token": "stranger" }));
    let names = failed(&world.with(&config, &["check", "-o", "json"]));
    for name in ["identity", "policies", "objects", "nodes", "bound-secrets", "permissions"] {
        assert!(names.contains(&name.to_owned()), "{name} is not among {names:?}");
    }
}

#[test]
fn api_server_without_policies_is_one_failure() {
    let world = World::new();
    world.east().state().lacks.insert(Lack::Policies);
    let run = world.run(&["check", "-o", "json"]);
    assert_eq!((run.code, failed(&run)), (Some(1), vec!["policies".to_owned()]));
    assert_stopped(
        &world.run(&["check"]),
        &[
            "this API server has no ValidatingAdmissionPolicy; it needs Kubernetes 1.30 or later\n",
            "    hint: To join without a fence: --fence=off; but ",
        ],
    );
    world.run(&["check", "--fence=off"]).succeeded();
}

#[test]
fn kubelet_that_refuses_the_api_server_is_one_failure() {
    let world = World::new();
    let body = "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes, subresource=metrics)";
    world.east().state().pages.values_mut().for_each(|page| *page = (403, body.to_owned()));
    let run = world.run(&["check"]);
    assert_stopped(
        &run,
        &[
            "the kubelet refuses the API server's own identity kube-apiserver-kubelet-client",
            "    hint: Create the binding that kubeadm creates: kubectl --kubeconfig ",
            " create clusterrolebinding kubelet-api-admin ",
            " 1 failed\n",
        ],
    );
    assert!(run.stderr.contains("\nhint: east: Create the binding that kubeadm creates"), "{}", run.stderr);
}

#[test]
fn everything_that_stops_a_join_is_named_at_once() {
    let world = World::new();
    let role = format!("{RBAC}/clusterroles/{NAME}");
    world.east().state().put(&role, json!({ "rules": [] }), "terraform");
    let run = world.run(&["check", "-p", "/nonexistent"]);
    assert_stopped(
        &run,
        &[
            &format!(
                "clusterrole.rbac.authorization.k8s.io/{NAME} exists and has another owner (managed by terraform)"
            ),
            "  ✗ cannot open the destination /nonexistent",
            "  ✔ you may make every change (20 permissions)\n",
            " 2 failed\n",
        ],
    );
    assert!(run.stderr.contains("hint: east: Name the folder of prometheus.yml"), "{}", run.stderr);
    let run = world.with("/nonexistent/config", &["check", "-o", "json"]);
    assert_eq!((run.code, failed(&run)), (Some(1), vec!["kubeconfig".to_owned()]));
}
