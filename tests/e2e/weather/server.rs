//! Servers that refuse, lose, ignore or garble what is asked of them: whatever a run created is gone afterwards.

use super::{GONE_WITHIN, answer, undone, untouched, writes};
use crate::plugin::{Account, Run, command};
use serde_json::json;
use std::{
    process::Stdio,
    time::{Duration, Instant},
};
use testbed::{Action, Cluster, ClusterSpec, FaultProxy, Rule};

trials! {
    weather_server:
    smoke {
        a_write_that_is_refused_midway,
        a_token_that_is_refused,
    }
    full {
        no_policy_api,
        policies_that_are_not_enforced,
        a_kubelet_that_refuses_the_api_server,
        a_cluster_without_nodes,
        a_server_that_is_overloaded,
        answers_that_make_no_sense,
        answers_cannot_drive_a_terminal,
        no_token_is_issued,
        a_lost_answer_is_undone,
        a_connection_that_closes_midway,
        a_fence_that_cannot_be_written,
        undoing_that_fails_is_said,
        what_fences_leftovers_stays,
        a_node_that_is_down_is_passed_over,
        all_nodes_are_down,
        a_leave_that_was_killed_is_finished,
        a_leave_that_is_refused_midway,
        a_termination_undoes_everything,
    }
}

/// A special cluster for what lacks the policies, and whose kubelets let nobody in.
fn bare() -> &'static Cluster {
    testbed::special("bare", || ClusterSpec::new("bare").without_policies().without_kubelet_admin_binding())
}

fn no_policy_api() {
    let account = Account::new(bare(), "no-policy-api");
    account.run(&["join"]).failed(
        "PolicyApiMissing",
        &[
            "bare: this API server has no ValidatingAdmissionPolicy",
            "Kubernetes 1.30 or later has",
            "hint: --fence=off joins all the same, but without the fence a thief of the token",
            "RBAC cannot limit `get nodes/proxy`",
        ],
    );
    untouched(&account);
}

fn a_kubelet_that_refuses_the_api_server() {
    let cluster = bare();
    let account = Account::new(cluster, "kubelet");
    let run = account.run(&["join", "--fence=off"]).failed(
        "KubeletForbidden",
        &[
            "the kubelet refuses the API server's own identity kube-apiserver-kubelet-client, not our account",
            "system:kubelet-api-admin",
        ],
    );
    undone(&account, &run);
    // The hint is a command that helps, and where there is no fence --fence=off is the way out.
    let hint = run
        .stderr
        .split_once("Grant it what kubeadm grants: kubectl ")
        .expect("the hint")
        .1
        .lines()
        .next()
        .unwrap_or_default();
    cluster.kubectl_ok(&hint.split(' ').collect::<Vec<_>>());
    // The kubelet remembers its refusal for a while.
    let joined = || Some(account.run(&["join", "--fence=off"])).filter(|run| run.code == Some(0));
    let run = testbed::until(Duration::from_secs(60), joined).expect("the kubelet lets the API server in");
    assert!(run.stderr.contains("no fence, so nothing else of them is refused"), "{}", run.stderr);
    account.run(&["leave"]).succeeded();
    untouched(&account);
}

fn policies_that_are_not_enforced() {
    let cluster = testbed::special("ignoring", || ClusterSpec::new("ignoring").policies_ignored());
    let account = Account::new(cluster, "ignored");
    let run = account.run(&["join"]).failed(
        "FenceNotEnforced",
        &[
            "ignoring: ",
            &account.cluster_scoped_name(),
            "does not enforce it",
            "--disable-admission-plugins",
            "hint: --fence=off joins all the same, but without the fence",
        ],
    );
    undone(&account, &run);
}

fn a_cluster_without_nodes() {
    let cluster = testbed::special("empty", || ClusterSpec::new("empty").nodes(0));
    let account = Account::new(cluster, "no-nodes");
    let proxy = FaultProxy::in_front_of(cluster).expect("a proxy");
    account.run_with(&proxy.kubeconfig(), &["join"]).failed(
        "NoNodes",
        &["empty: the cluster has no nodes, so nothing could be proven; nothing was written", "kubectl get nodes"],
    );
    assert_eq!(writes(&proxy), Vec::<String>::new());
    untouched(&account);
}

/// kube-rs by itself would try each request for a quarter of an hour.
fn a_server_that_is_overloaded() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "overloaded");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    for (status, reason) in [(503, "ServiceUnavailable"), (429, "TooManyRequests"), (504, "Timeout")] {
        proxy.clear_rules();
        proxy.rule(Rule::new("*", "/", answer(status, reason, "the server is currently unable to handle the request")));
        for subcommand in ["join", "leave"] {
            proxy.forget_requests();
            let started = Instant::now();
            account
                .run_with(&proxy.kubeconfig(), &[subcommand])
                .failed("ApiServerError", &["east: ", reason, "unable to handle the request"]);
            assert!(
                started.elapsed() < Duration::from_secs(4),
                "{subcommand} at {status} took {:?}",
                started.elapsed()
            );
            let mut asked: Vec<_> = proxy
                .requests()
                .into_iter()
                .filter(|request| request.path != "/version")
                .map(|request| request.path)
                .collect();
            let all = asked.len();
            asked.sort();
            asked.dedup();
            assert!(all > 0 && all - asked.len() <= 1, "asked again and again: {asked:?}");
        }
    }
    untouched(&account);
}

fn answers_that_make_no_sense() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "nonsense");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    // A front's log-in page, say.
    proxy.rule(Rule::new("*", "/", Action::Answer { status: 200, body: json!("<html>Sign in</html>") }));
    for subcommand in ["join", "leave"] {
        account.run_with(&proxy.kubeconfig(), &[subcommand]).failed("ApiServerError", &["east: ", "the answer to /"]);
    }
    untouched(&account);
}

fn answers_cannot_drive_a_terminal() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "escapes");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    let evil = "evil\u{1b}[2J\u{9b}31m\r\u{7}\u{202e}text";
    for path in ["/version", "/secrets?", "/nodes?", "/clusterroles/"] {
        for status in [500, 403, 409] {
            proxy.clear_rules();
            proxy.rule(Rule::new("GET", path, answer(status, evil, evil)));
            let run = account.run_with(&proxy.kubeconfig(), &["join"]);
            assert_eq!(run.code, Some(1), "{path} {status}: {}", run.stderr);
            assert!(run.stderr.contains("evil\\u{1b}[2J\\u{9b}31m\\r\\u{7}"), "{path} {status}: {}", run.stderr);
            assert!(
                !run.stderr.contains(['\u{1b}', '\u{9b}', '\r', '\u{7}', '\u{202e}']),
                "{path} {status}: {:?}",
                run.stderr
            );
        }
    }
    // Also what the kubelet answers to the proof.
    proxy.clear_rules();
    proxy.rule(Rule::new("GET", "/proxy/metrics", answer(400, "BadRequest", evil)));
    let run = account.run_with(&proxy.kubeconfig(), &["join"]).failed("ProofFailed", &["evil\\u{1b}[2J"]);
    assert!(!run.stderr.contains(['\u{1b}', '\u{9b}', '\r', '\u{7}', '\u{202e}']), "{:?}", run.stderr);
    undone(&account, &run);
}

/// A join whose requests are spoiled by a rule: it fails, and nothing of it is left.
fn spoiled(name: &str, rule: Rule, reason: &str, says: &[&str]) -> Run {
    let east = &testbed::shared().east;
    let account = Account::new(east, name);
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(rule);
    let run = account.run_with(&proxy.kubeconfig(), &["join"]).failed(reason, says);
    undone(&account, &run);
    run
}

fn no_token_is_issued() {
    let rule = Rule::new("POST", "/serviceaccounts/prometheus/token", answer(500, "InternalError", "no signing key"));
    let says = ["east: a token of service account e2e-no-token/prometheus", "no signing key"];
    let run = spoiled("no-token", rule, "ApiServerError", &says);
    assert!(run.stderr.contains("undone: 7 objects"), "{}", run.stderr);
}

/// The Secret was stored, only nobody said so.
fn a_lost_answer_is_undone() {
    let run = spoiled(
        "lost",
        Rule::new("PATCH", "/secrets/", Action::LoseAnswer),
        "ConnectionFailed",
        &["east: ", "secret/prometheus-"],
    );
    assert!(run.stderr.contains("undone: 7 objects"), "{}", run.stderr);
    // Nor is a token whose answer is lost any good: the Secret that it is bound to goes.
    spoiled(
        "lost-token",
        Rule::new("POST", "/token", Action::LoseAnswer),
        "ConnectionFailed",
        &["a token of service account"],
    );
}

fn a_write_that_is_refused_midway() {
    let refusal = answer(403, "Forbidden", "admission webhook \"guard.example.com\" denied the request");
    let run = spoiled(
        "midway",
        Rule::new("PATCH", "/clusterrolebindings/", refusal),
        "Forbidden",
        &["east: ", "clusterrolebinding", "guard.example.com"],
    );
    assert!(run.stderr.contains("undone: 6 objects"), "all but the binding: {}", run.stderr);
}

fn a_connection_that_closes_midway() {
    // The first PATCH of the role is a dry run.
    spoiled(
        "closes",
        Rule::new("PATCH", "/clusterroles/", Action::Close).skip(1),
        "ConnectionFailed",
        &["east: ", "clusterrole.rbac"],
    );
}

/// No right is granted while the fence is not there.
fn a_fence_that_cannot_be_written() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "fence-refused");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(Rule::new("PATCH", "/validatingadmissionpolicybindings/", answer(500, "InternalError", "etcd is full")));
    let run = account
        .run_with(&proxy.kubeconfig(), &["join"])
        .failed("ApiServerError", &["validatingadmissionpolicybinding", "etcd is full"]);
    let writes = writes(&proxy);
    assert!(
        !writes.iter().any(|write| write.starts_with("PATCH") && write.contains("/clusterrolebindings/")),
        "{writes:?}"
    );
    undone(&account, &run);
}

fn undoing_that_fails_is_said() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "undo-fails");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(Rule::new("POST", "/token", answer(500, "InternalError", "no signing key")));
    proxy.rule(Rule::new("DELETE", "/clusterroles/", answer(500, "InternalError", "try again later")));
    let name = account.cluster_scoped_name();
    let left = format!("clusterrole.rbac.authorization.k8s.io/{name}");
    let leave = "kubectl prom-federate leave --context east --namespace e2e-undo-fails";
    // Why it failed comes first, what is left is a hint.
    let run = account.run_with(&proxy.kubeconfig(), &["join"]).failed(
        "ApiServerError",
        &["no signing key", &format!("hint: Left behind: {left} ("), "try again later", leave],
    );
    let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}");
    let only_it = || account.objects().contains(&path).then_some(());
    testbed::until(GONE_WITHIN, only_it).unwrap_or_else(|| panic!("{:?}\n{}", account.objects(), run.stderr));
    let hint = run.stderr.lines().find(|line| line.contains("Left behind")).unwrap_or_default();
    for gone in ["secret/", "serviceaccount/", "clusterrolebinding"] {
        assert!(!hint.contains(gone), "{gone} was deleted: {hint}");
    }
    // And that command does it.
    account.run(&["leave"]).succeeded();
    testbed::until(GONE_WITHIN, || account.objects().is_empty().then_some(())).expect("nothing is left");
}

/// While the account is still bound to its rights, its fence stands.
fn what_fences_leftovers_stays() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "fenced-leftovers");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(Rule::new("POST", "/token", answer(500, "InternalError", "no signing key")));
    proxy.rule(Rule::new("DELETE", "/clusterrolebindings/", answer(500, "InternalError", "try again later")));
    let run =
        account.run_with(&proxy.kubeconfig(), &["join"]).failed("ApiServerError", &["Left behind: clusterrolebinding"]);
    let objects = account.objects();
    for kept in ["clusterrolebindings", "validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
        assert!(objects.iter().any(|path| path.contains(kept)), "{kept} is gone: {objects:?}\n{}", run.stderr);
        let singular = kept.replace("policies", "policy");
        assert!(run.stderr.contains(singular.trim_end_matches('s')), "does not say {singular}: {}", run.stderr);
    }
    account.run(&["leave"]).succeeded();
    testbed::until(GONE_WITHIN, || account.objects().is_empty().then_some(())).expect("nothing is left");
}

fn a_node_that_is_down_is_passed_over() {
    let east = &testbed::shared().east;
    let [first, second] = &east.node_names()[..] else { panic!("east has two nodes") };
    let page = format!("/nodes/{first}/proxy/metrics/cadvisor");
    for (name, action) in
        [("down", answer(503, "ServiceUnavailable", "dial tcp: connection refused")), ("hangs", Action::Hang)]
    {
        let account = Account::new(east, &format!("node-{name}"));
        let proxy = FaultProxy::in_front_of(east).expect("a proxy");
        proxy.rule(Rule::new("GET", &page, action));
        let run = account.run_with(&proxy.kubeconfig(), &["join", "--request-timeout=2s"]).succeeded();
        assert!(run.stderr.contains(&format!("from {second}; ")), "{}", run.stderr);
    }
}

fn all_nodes_are_down() {
    let refusal = answer(503, "ServiceUnavailable", "dial tcp: connection refused");
    spoiled(
        "all-down",
        Rule::new("GET", "/proxy/metrics", refusal),
        "ProofFailed",
        &["east: ", "/proxy/metrics", "answers 503", "connection refused", "kubectl get --raw"],
    );
}

/// A front such as Rancher takes no tokens of service accounts.
fn a_token_that_is_refused() {
    let refusal = answer(401, "Unauthorized", "Unauthorized");
    // Ours is the only list of nodes that asks for just one.
    let run = spoiled(
        "front",
        Rule::new("GET", "/nodes?limit=1", refusal).skip(1),
        "AccountRefused",
        &["answers 401 to the new token", "--api-server"],
    );
    assert!(run.stderr.contains("undone: 7 objects"), "{}", run.stderr);
}

fn a_leave_that_was_killed_is_finished() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "killed");
    account.join(&[]);
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(Rule::new("DELETE", "/clusterrolebindings/", Action::Hang));
    let mut child = command(&proxy.kubeconfig(), &["leave", "--yes", "--namespace", &account.namespace])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the plugin starts");
    let asked = || {
        proxy
            .requests()
            .iter()
            .any(|request| request.path.contains("/clusterrolebindings/") && request.method == "DELETE")
            .then_some(())
    };
    testbed::until(Duration::from_secs(20), asked).expect("the binding is to be deleted");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let left = account.objects();
    assert!(account.secrets().is_empty() && !left.iter().any(|path| path.contains("serviceaccounts")), "{left:?}");
    assert_eq!(left.len(), 5, "{left:?}");
    account.run(&["leave"]).succeeded();
    untouched(&account);
}

/// What stays, stays fenced, and the next leave finishes.
fn a_leave_that_is_refused_midway() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "leave-midway");
    account.join(&[]);
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(Rule::new(
        "DELETE",
        "/clusterrolebindings/",
        answer(403, "Forbidden", "admission webhook \"guard.example.com\" denied the request"),
    ));
    account
        .run_with(&proxy.kubeconfig(), &["leave"])
        .failed("Forbidden", &["east: ", "clusterrolebinding", "guard.example.com"]);
    let left = account.objects();
    assert_eq!(
        left.iter().filter(|path| path.contains("validatingadmissionpolic")).count(),
        2,
        "the fence went before the rights: {left:?}"
    );
    account.run(&["leave"]).succeeded();
    untouched(&account);
}

/// CI systems and closing terminals do not press Ctrl-C.
fn a_termination_undoes_everything() {
    let east = &testbed::shared().east;
    for (name, signal) in [("term", rustix::process::Signal::TERM), ("hup", rustix::process::Signal::HUP)] {
        let account = Account::new(east, &format!("signal-{name}"));
        let proxy = FaultProxy::in_front_of(east).expect("a proxy");
        proxy.rule(Rule::new("POST", "/token", Action::Hang));
        let child = command(&proxy.kubeconfig(), &["join", "--yes", "--namespace", &account.namespace])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the plugin starts");
        let asked = || proxy.requests().iter().any(|request| request.path.ends_with("/token")).then_some(());
        testbed::until(Duration::from_secs(20), asked).expect("a token is asked for");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).expect("it runs");
        let run = Run::from(child.wait_with_output().expect("it ends"));
        assert_eq!(run.code, Some(130), "{}", run.stderr);
        assert!(run.stderr.contains("error (Interrupted)"), "{}", run.stderr);
        undone(&account, &run);
    }
}
