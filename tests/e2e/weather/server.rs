//! Servers that refuse, lose, ignore or garble what is asked of them: whatever a run created is gone afterwards.

use super::{answer, undone, untouched};
use crate::{
    interrupt::Running,
    plugin::{Account, Run, command},
};
use std::{
    process::Stdio,
    time::{Duration, Instant},
};
use testbed::{Action, Cluster, ClusterSpec, FaultProxy, Rule};

trials! {
    weather_server:
    smoke {
    }
    full {
        a_kubelet_that_refuses_the_api_server,
        a_server_that_is_overloaded,
        a_lost_answer_is_undone,
        each_fault_of_the_matrix_is_survived,
        a_termination_undoes_everything,
        a_dry_run_that_waits_ends_at_once,
    }
}

/// A special cluster for what lacks the policies, and whose kubelets refuse every client.
fn bare() -> &'static Cluster {
    testbed::special("bare", || ClusterSpec::new("bare").without_policies().without_kubelet_admin_binding())
}

fn a_kubelet_that_refuses_the_api_server() {
    let cluster = bare();
    let account = Account::new(cluster, "kubelet");
    let run = account.run(&["join", "--fence=off"]).failed(
        "KubeletForbidden",
        &[
            "the kubelet refuses the API server's own identity kube-apiserver-kubelet-client, not the account",
            "system:kubelet-api-admin",
        ],
    );
    undone(&account, &run);
    // The hint is a command that helps, and where there is no fence --fence=off is the way out.
    let hint = run
        .stderr
        .split_once("Create the binding that kubeadm creates: kubectl ")
        .expect("the hint")
        .1
        .lines()
        .next()
        .unwrap_or_default();
    cluster.kubectl_ok(&hint.split(' ').collect::<Vec<_>>());
    // The kubelet remembers its refusal for a while.
    let joined = || Some(account.run(&["join", "--fence=off"])).filter(|run| run.code == Some(0));
    let run = testbed::until(Duration::from_secs(60), joined).expect("the kubelet lets the API server in");
    assert!(run.stderr.contains("no fence, so other pages of these targets are not refused"), "{}", run.stderr);
    account.run(&["leave"]).succeeded();
    untouched(&account);
}

/// kube-rs by itself would try each request for a quarter of an hour. After a 429 with `Retry-After` a request is sent
/// again, until `--request-timeout` has passed.
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
                .run_with(&proxy.kubeconfig(), &[subcommand, "--request-timeout=3s"])
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
            let again = if status == 429 { 3 * asked.len() } else { 1 };
            assert!(all > 0 && all - asked.len() <= again, "asked again and again: {asked:?}");
        }
    }
    untouched(&account);
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

/// The Secret was stored, but its answer was lost.
fn a_lost_answer_is_undone() {
    let run = spoiled(
        "lost",
        Rule::new("PATCH", "/secrets/", Action::LoseAnswer),
        "ConnectionFailed",
        &["east: ", "secret/prometheus-"],
    );
    assert!(run.stderr.contains("undone: deleted 9 objects"), "{}", run.stderr);
    // Nor is a token whose answer is lost any good: the Secret that it is bound to goes.
    spoiled(
        "lost-token",
        Rule::new("POST", "/token", Action::LoseAnswer),
        "ConnectionFailed",
        &["a token of service account"],
    );
}

/// `tests/fake/matrix.rs` does so with every request.
fn each_fault_of_the_matrix_is_survived() {
    const LIMIT: Duration = Duration::from_secs(2);
    let east = &testbed::shared().east;
    let account = Account::new(east, "matrix");
    // It is not the plugin's, so that no run waits for its end.
    east.kubectl_ok(&["create", "namespace", &account.namespace]);
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    for (fault, action) in testbed::faults(LIMIT) {
        proxy.rule(Rule::new("PATCH", "/secrets/", action));
        let started = Instant::now();
        let run = account.run_with(&proxy.kubeconfig(), &["join", "--request-timeout=2s"]);
        proxy.clear_rules();
        assert!(started.elapsed() < LIMIT * 15, "{fault}: {:?}", started.elapsed());
        assert!(!run.stderr.contains("eyJ"), "{fault}: a token is shown: {}", run.stderr);
        if run.code == Some(0) {
            assert_eq!(fault, "slow", "{}", run.stderr);
            account.run(&["leave"]).succeeded();
            continue;
        }
        for says in ["error (", "east: ", "\nhint: "] {
            assert!(run.stderr.contains(says), "{fault}: no {says}: {:?} {}", run.code, run.stderr);
        }
        let unnamed = account.secrets().into_iter().find(|name| !run.stderr.contains(name.as_str()));
        assert_eq!(unnamed, None, "{fault}: {}", run.stderr);
    }
    account.join(&[]);
    account.run(&["leave"]).succeeded();
    assert_eq!(account.secrets(), Vec::<String>::new());
    east.kubectl_ok(&["delete", "namespace", &account.namespace, "--wait=false"]);
}

/// What is read before the question hears a signal too, whether it is asked or not.
fn a_dry_run_that_waits_ends_at_once() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "dry-signal");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    // Only the rehearsal of the plan sends this.
    let rehearsal = "/validatingadmissionpolicybindings/";
    proxy.rule(Rule::new("PATCH", rehearsal, Action::Hang));
    let words = ["join", "--dry-run=server", "--request-timeout=0", "--namespace", &account.namespace];
    let running = Running::start(&mut command(&proxy.kubeconfig(), &words));
    let asked = || proxy.requests().iter().any(|request| request.path.contains(rehearsal)).then_some(());
    testbed::until(Duration::from_secs(20), asked).expect("the binding is rehearsed");
    running.interrupt(rustix::process::Signal::INT).ended_at_once();
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
