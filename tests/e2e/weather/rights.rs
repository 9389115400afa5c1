//! What the user may not do, and what is not ours to touch.

use super::{GONE_WITHIN, untouched, writes};
use crate::plugin::Account;
use serde_json::{Value, json};
use std::path::PathBuf;
use testbed::{Cluster, FaultProxy};

trials! {
    weather_rights:
    smoke {
    }
    full {
        administrator_cannot_grant_more_than_own_rights,
        foreign_role_stays,
        a_namespace_that_is_being_deleted,
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

/// Resources and verbs.
fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

/// All that a join reads.
fn reads() -> Vec<Value> {
    vec![
        rule("", &["namespaces", "serviceaccounts", "secrets", "nodes"], &["get", "list"]),
        rule(RBAC, &["clusterroles", "clusterrolebindings"], &["get"]),
        rule(ADMISSION, &["validatingadmissionpolicies", "validatingadmissionpolicybindings"], &["get"]),
    ]
}

/// All that a join writes, but for the rights that it hands out.
fn writing() -> Vec<Value> {
    vec![
        rule(
            "",
            &["namespaces", "serviceaccounts", "secrets", "serviceaccounts/token"],
            &["create", "patch", "delete"],
        ),
        rule(RBAC, &["clusterroles", "clusterrolebindings"], &["create", "patch", "delete"]),
        rule(
            ADMISSION,
            &["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
            &["create", "patch", "delete"],
        ),
    ]
}

/// The rights of the scraper, which its administrator must have too.
fn granted() -> Value {
    rule("", &["nodes", "nodes/proxy"], &["get", "list", "watch"])
}

/// A user with a client certificate and these rights.
fn user(cluster: &Cluster, name: &str, rules: &[Value]) -> PathBuf {
    let role = json!({ "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules });
    let binding = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": name },
        "roleRef": { "apiGroup": RBAC, "kind": "ClusterRole", "name": name },
        "subjects": [{ "apiGroup": RBAC, "kind": "User", "name": name }],
    });
    cluster.apply(&format!("{role}\n---\n{binding}\n"));
    // The authorizer reads both through watches.
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": { "user": name, "resourceAttributes": {
            "group": rules[0]["apiGroups"][0], "resource": rules[0]["resources"][0], "verb": rules[0]["verbs"][0],
        }},
    });
    let allowed = || {
        let answer = cluster
            .api()
            .post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)
            .expect("the API server answers");
        (answer.json()["status"]["allowed"] == true).then_some(())
    };
    testbed::until(GONE_WITHIN, allowed).expect("the rights arrive");
    cluster.kubeconfig_for(name, &[]).expect("a kubeconfig")
}

/// RBAC's own rule: who grants nodes/proxy must hold it. `auth can-i` would say yes to everything here.
fn administrator_cannot_grant_more_than_own_rights() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "escalation");
    let jane = user(east, "jane-escalates", &[reads(), writing()].concat());
    account
        .run_with(&jane, &["join"])
        .failed("EscalationForbidden", &["east: ", "jane-escalates", "nodes/proxy", "hint: Ask an administrator"]);
    untouched(&account);
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    account.run_with(&proxy.kubeconfig(), &["join", "--as=jane-escalates"]).failed("EscalationForbidden", &[]);
    assert_eq!(writes(&proxy), Vec::<String>::new());

    // With what she lacks she may: administrator she need not be.
    let lisa = user(east, "lisa-may", &[reads(), writing(), vec![granted()]].concat());
    account.run_with(&lisa, &["join"]).succeeded();

    // So too of the right to renew: roles she may write, and tokens of this namespace not issue.
    let namespaced = rule(RBAC, &["roles", "rolebindings"], &["get", "create", "patch"]);
    let but_tokens = |rules: Vec<Value>| {
        let mut rules = rules;
        rules[0]["resources"] = json!(["namespaces", "serviceaccounts", "secrets"]);
        rules
    };
    let kate =
        user(east, "kate-escalates", &[but_tokens(writing()), reads(), vec![granted(), namespaced.clone()]].concat());
    account
        .run_with(&kate, &["join", "--self-renew"])
        .failed("EscalationForbidden", &["kate-escalates", "serviceaccounts/token", "hint: Ask an administrator"]);
    let mary = user(east, "mary-may", &[writing(), reads(), vec![granted(), namespaced]].concat());
    account.run_with(&mary, &["join", "--self-renew"]).succeeded();
}

/// A foreign role has the name of the plugin's role.
fn foreign_role_stays() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "their-role");
    let name = account.cluster_scoped_name();
    east.kubectl_ok(&["create", "clusterrole", &name, "--verb=get", "--resource=pods", "--field-manager=terraform"]);
    let stored = || east.kubectl_ok(&["get", "clusterrole", &name, "--output=yaml", "--show-managed-fields"]);
    let before = stored();
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    for mode in ["none", "server"] {
        account.run_with(&proxy.kubeconfig(), &["join", &format!("--dry-run={mode}")]).failed(
            "NotOurs",
            &[
                &format!("clusterrole.{RBAC}/{name} exists and has another owner (managed by terraform)"),
                "rules",
                "--service-account NAME",
            ],
        );
    }
    assert_eq!(writes(&proxy), Vec::<String>::new());
    assert_eq!(stored(), before);
    assert_eq!(account.objects(), [format!("/apis/{RBAC}/v1/clusterroles/{name}")]);
    // Nor does leave take it away.
    let run = account.run(&["leave"]).succeeded();
    assert!(run.stderr.contains(&format!("clusterrole.{RBAC}/{name} has another owner and stays")), "{}", run.stderr);
    assert_eq!(stored(), before);
}

fn a_namespace_that_is_being_deleted() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "terminating");
    let namespace = &account.namespace;
    east.kubectl_ok(&["create", "namespace", namespace]);
    east.kubectl_ok(&["--namespace", namespace, "create", "configmap", "held"]);
    let held = |finalizers: Value| {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/held");
        let change = json!({ "metadata": { "finalizers": finalizers } });
        assert!(east.api().patch(&path, &change).expect("the API server answers").is_success());
    };
    held(json!(["example.com/hold"]));
    east.kubectl_ok(&["delete", "namespace", namespace, "--wait=false"]);
    account.run(&["join"]).failed(
        "BeingDeleted",
        &[&format!("east: namespace/{namespace} is being deleted"), "hint: Wait until it is gone"],
    );
    assert_eq!(account.objects(), [format!("/api/v1/namespaces/{namespace}")], "only what was there");
    held(json!([]));
}
