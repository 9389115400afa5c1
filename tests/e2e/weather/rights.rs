//! What the user may not do, and what is not ours to touch.

use super::{GONE_WITHIN, untouched, writes};
use crate::plugin::{Account, run};
use serde_json::{Value, json};
use std::path::PathBuf;
use testbed::{Cluster, FaultProxy};

trials! {
    weather_rights:
    smoke {
        every_missing_permission_is_named,
    }
    full {
        nobody_grants_more_than_he_holds,
        what_git_granted_needs_no_right_to_grant_it,
        without_permission_for_policies,
        a_reader_learns_what_he_may_not_read,
        a_role_that_is_not_ours,
        a_policy_that_is_not_ours,
        a_namespace_that_is_being_deleted,
        leave_without_the_permission,
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

/// What the scraper is allowed, and so whoever allows it must be.
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

fn every_missing_permission_is_named() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "reader");
    let mut rules = reads();
    rules.push(rule("", &["namespaces", "serviceaccounts"], &["create", "patch"]));
    rules.push(rule("", &["secrets"], &["create", "patch"]));
    let jane = user(east, "jane-reader", &rules);
    let name = account.cluster_scoped_name();
    let run = account.run_with(&jane, &["join"]).failed(
        "Forbidden",
        &[
            "east: jane-reader may not ",
            &format!("create clusterroles.{RBAC} {name}"),
            &format!("patch clusterroles.{RBAC} {name}"),
            &format!("create clusterrolebindings.{RBAC} {name}"),
            &format!("patch validatingadmissionpolicies.{ADMISSION} {name}"),
            &format!("create validatingadmissionpolicybindings.{ADMISSION} {name}"),
            "delete secrets in namespace e2e-reader",
            "create serviceaccounts/token prometheus in namespace e2e-reader",
            "nothing was written",
            "hint: Check with: kubectl auth can-i ",
            "kubectl prom-federate manifests",
        ],
    );
    for held in ["create namespaces", "patch serviceaccounts", "create secrets"] {
        assert!(!run.stderr.contains(held), "she may {held}: {}", run.stderr);
    }
    untouched(&account);

    // Not a single write was tried, and a dry run says the same.
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    for mode in ["none", "client", "server"] {
        let dry_run = format!("--dry-run={mode}");
        account
            .run_with(&proxy.kubeconfig(), &["join", "--as=jane-reader", &dry_run])
            .failed("Forbidden", &["jane-reader may not "]);
    }
    assert_eq!(writes(&proxy), Vec::<String>::new());
}

/// RBAC's own rule: who grants nodes/proxy must hold it. `auth can-i` would say yes to everything here.
fn nobody_grants_more_than_he_holds() {
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

/// The API server would refuse her the role, changed or not; it is there and stays as it is.
fn what_git_granted_needs_no_right_to_grant_it() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "git-granted");
    let manifests = run(east.kubeconfig(), &["manifests", "--namespace", &account.namespace]).succeeded().stdout;
    east.apply(&manifests);
    let jane = user(east, "jane-patches", &[reads(), writing()].concat());
    let run = account.run_with(&jane, &["join"]).succeeded();
    assert_eq!(run.stderr.matches(" unchanged\n").count(), 6, "{}", run.stderr);
    // Without the role she is refused as before.
    east.kubectl_ok(&["delete", "clusterrole", &account.cluster_scoped_name()]);
    account.run_with(&jane, &["join"]).failed("EscalationForbidden", &["east: ", "jane-patches"]);
}

fn without_permission_for_policies() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "no-policies");
    let but_policies =
        |rules: Vec<Value>| rules.into_iter().filter(|rule| rule["apiGroups"][0] != ADMISSION).collect::<Vec<_>>();
    let way_out = "hint: --fence=off joins all the same, but without the fence a thief of the token";
    let jane = user(east, "jane-unfenced", &but_policies([reads(), writing(), vec![granted()]].concat()));
    account
        .run_with(&jane, &["join"])
        .failed("Forbidden", &["User \"jane-unfenced\" cannot get resource \"validatingadmissionpolic", way_out]);
    let lisa = user(east, "lisa-unfenced", &[reads(), but_policies(writing()), vec![granted()]].concat());
    let policy = format!("create validatingadmissionpolicies.{ADMISSION} {}", account.cluster_scoped_name());
    account.run_with(&lisa, &["join"]).failed("Forbidden", &["lisa-unfenced may not ", &policy, way_out]);
    untouched(&account);
    let run = account.run_with(&jane, &["join", "--fence=off"]).succeeded();
    assert!(run.stderr.contains("Warning: --fence=off: without the fence a thief of the token"), "{}", run.stderr);
    assert!(run.stderr.contains("Warning: nobody can tell whether this account has a fence already"), "{}", run.stderr);
    account.run(&["leave"]).succeeded();
}

fn a_reader_learns_what_he_may_not_read() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "stranger");
    account
        .run_with(&east.kubeconfig_for("stranger", &[]).expect("a kubeconfig"), &["join"])
        .failed("Forbidden", &["east: ", "User \"stranger\" cannot ", "hint: Ask an administrator"]);
    untouched(&account);
}

fn leave_without_the_permission() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "leave-forbidden");
    account.join(&[]);
    let before = account.objects();
    // Whether something is left of a right to renew is asked too, and not to know would be no end.
    let renewal = rule(RBAC, &["roles", "rolebindings"], &["get"]);
    let jane = user(east, "jane-leaves", &[reads(), vec![renewal]].concat());
    account
        .run_with(&jane, &["leave"])
        .failed("Forbidden", &["east: ", "User \"jane-leaves\" cannot delete resource", "hint: "]);
    assert_eq!(account.objects(), before);
    let blind = user(east, "blind-leaves", &reads());
    account.run_with(&blind, &["leave"]).failed("Forbidden", &["User \"blind-leaves\" cannot get resource \"role"]);
    assert_eq!(account.objects(), before);
}

/// Somebody's role has the name that we would give ours.
fn a_role_that_is_not_ours() {
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
                &format!("clusterrole.{RBAC}/{name} exists and is not ours (managed by terraform)"),
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
    assert!(run.stderr.contains(&format!("clusterrole.{RBAC}/{name} is not ours and stays")), "{}", run.stderr);
    assert_eq!(stored(), before);
}

/// A policy with our name that lets everything pass would be no fence.
fn a_policy_that_is_not_ours() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "their-policy");
    let name = account.cluster_scoped_name();
    let policy = json!({
        "apiVersion": format!("{ADMISSION}/v1"), "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "matchConstraints": { "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }] },
            "validations": [{ "expression": "true" }],
        },
    });
    east.apply(&policy.to_string());
    account.run(&["join"]).failed(
        "NotOurs",
        &[
            &format!("validatingadmissionpolicy.{ADMISSION}/{name} exists and is not ours (managed by kubectl)"),
            "spec",
            "manifests",
        ],
    );
    assert_eq!(account.objects(), [format!("/apis/{ADMISSION}/v1/validatingadmissionpolicies/{name}")]);
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
