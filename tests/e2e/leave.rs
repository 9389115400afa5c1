//! Taking the access away, and the proof of it.

use crate::{plugin::Account, raw};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{Action, FaultProxy, Request, Rule};

trials! {
    leave:
    smoke {
        everything_goes_and_the_token_is_refused,
    }
    full {
        a_namespace_with_other_things_stays,
        a_namespace_that_fills_meanwhile_stays,
        nothing_there_is_fine,
        a_dry_run_deletes_nothing,
        the_fence_goes_last,
        what_is_not_ours_is_spared,
    }
}

fn everything_goes_and_the_token_is_refused() {
    let east = Account::new(&testbed::shared().east, "leave");
    let token = east.join(&[]).token();
    east.join(&[]);
    assert_eq!(east.objects().len(), 8, "{:?}", east.objects());
    let run = east.run(&["leave"]).succeeded();
    assert!(run.stderr.contains("is refused with 401 after"), "{}", run.stderr);
    assert!(run.stderr.contains("nothing of ours is left"), "{}", run.stderr);
    assert_eq!(east.objects(), Vec::<String>::new());
    assert_eq!(raw::request(east.cluster, &token, "GET", "/version").0, 401);
}

fn a_namespace_with_other_things_stays() {
    let east = Account::new(&testbed::shared().east, "shared-namespace");
    east.join(&[]);
    east.cluster.kubectl_ok(&["--namespace", &east.namespace, "create", "configmap", "shop"]);
    let run = east.run(&["leave"]).succeeded();
    let stays = format!("namespace/{} stays: configmaps/shop is in it", east.namespace);
    assert!(run.stderr.contains(&stays), "{}", run.stderr);
    assert_eq!(east.objects(), [format!("/api/v1/namespaces/{}", east.namespace)]);
}

/// Something appears after the plan and the ten seconds, just before the namespace would go.
fn a_namespace_that_fills_meanwhile_stays() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "filled-namespace");
    account.join(&[]);
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    let last = "/validatingadmissionpolicies/";
    proxy.rule(Rule::new("DELETE", last, Action::Delay(Duration::from_secs(3))));
    let run = std::thread::scope(|scope| {
        let leave = scope.spawn(|| account.run_with(&proxy.kubeconfig(), &["leave", "--output=json"]));
        let nearly_done = || {
            let asked = |request: &Request| request.method == "DELETE" && request.path.contains(last);
            proxy.requests().iter().any(asked).then_some(())
        };
        testbed::until(Duration::from_secs(40), nearly_done).expect("all but the namespace is deleted");
        let path = format!("/api/v1/namespaces/{}/configmaps", account.namespace);
        let shop = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "shop" } });
        assert!(east.api().post(&path, &shop).expect("the API server answers").is_success());
        leave.join().expect("leave ends")
    });
    let run = run.succeeded();
    let namespace = format!("namespace/{}", account.namespace);
    assert!(run.stderr.contains(&format!("{namespace} stays: configmaps/shop is in it")), "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let names: Vec<&str> =
        report["objects"].as_array().expect("objects").iter().filter_map(|o| o["name"].as_str()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert!(!names.contains(&namespace.as_str()), "the report claims it: {names:?}");
    assert_eq!(account.objects(), [format!("/api/v1/namespaces/{}", account.namespace)]);
}

fn nothing_there_is_fine() {
    let east = Account::new(&testbed::shared().east, "never-joined");
    let run = east.run(&["leave"]).succeeded();
    assert!(
        run.stderr.contains("nothing of ours is there for service account e2e-never-joined/prometheus"),
        "{}",
        run.stderr
    );
}

fn a_dry_run_deletes_nothing() {
    let east = Account::new(&testbed::shared().east, "leave-dry-run");
    east.join(&[]);
    let before = east.objects();
    for mode in ["client", "server"] {
        let run = east.run(&["leave", &format!("--dry-run={mode}")]).succeeded();
        assert_eq!(run.stdout.lines().count(), 7, "{}", run.stdout);
        assert_eq!(east.objects(), before, "{mode}");
    }
}

/// Credentials, binding, role, fence, namespace: in this order, whatever the server's pace.
fn the_fence_goes_last() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "leave-order");
    account.join(&[]);
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(Rule::new("DELETE", "serviceaccounts", Action::Delay(Duration::from_millis(300))));
    account.run_with(&proxy.kubeconfig(), &["leave"]).succeeded();
    let mut order: Vec<String> = proxy
        .requests()
        .into_iter()
        .filter(|request| request.method == "DELETE")
        .map(|request| {
            request.path.split('?').next().unwrap_or_default().rsplit('/').nth(1).unwrap_or_default().to_owned()
        })
        .collect();
    // Those that go at the same time arrive in any order.
    order[..2].sort();
    order[4..6].sort();
    assert_eq!(
        order,
        [
            "secrets",
            "serviceaccounts",
            "clusterrolebindings",
            "clusterroles",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "namespaces"
        ]
    );
}

fn what_is_not_ours_is_spared() {
    let east = Account::new(&testbed::shared().east, "leave-foreign");
    east.join(&[]);
    // Argo CD takes the role over.
    let role = east.cluster_scoped_name();
    east.cluster.kubectl_ok(&["annotate", "clusterrole", &role, "argocd.argoproj.io/tracking-id=shop"]);
    let run = east.run(&["leave"]).succeeded();
    assert!(
        run.stderr.contains(&format!("clusterrole.rbac.authorization.k8s.io/{role} is not ours and stays")),
        "{}",
        run.stderr
    );
    assert_eq!(east.objects(), [format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{role}")]);
}
