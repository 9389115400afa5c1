//! Two commands for one cluster at the same time: none deletes what the other uses, and Prometheus scrapes on.

use crate::plugin::{Account, Run};
use std::{thread, time::Duration};
use testbed::{Action, FaultProxy, Prometheus, Rule};

trials! {
    concurrency:
    full {
        two_joins_and_two_leaves_share_an_account,
        join_beside_a_leave_that_deletes_the_account,
        join_beside_a_leave_that_deletes_the_rights,
        join_beside_a_leave_that_deletes_the_fence,
        join_beside_a_leave_that_deletes_the_namespace,
        join_that_fails_beside_a_join_deletes_nothing_of_it,
    }
}

const SOON: Duration = Duration::from_secs(40);
/// Longer than an API server remembers a token, and than it takes to enforce a policy.
const TOKEN_CACHE: Duration = Duration::from_secs(12);
/// Longer than a join takes.
const HELD: Duration = Duration::from_secs(15);

fn prometheus() -> Prometheus {
    Prometheus::start("global: {scrape_interval: 1s}\n").expect("Prometheus starts")
}

fn typed(prometheus: &Prometheus) -> String {
    prometheus.dir().display().to_string()
}

fn join(account: &Account, prometheus: &Prometheus) -> Run {
    account.run(&["join", "-p", &typed(prometheus), "--scrape-interval=1s"])
}

/// Without the namespace, because the record has it.
fn leave(account: &Account, prometheus: &Prometheus) -> Run {
    crate::plugin::run(account.cluster.kubeconfig(), &["leave", "east", "--yes", "-p", &typed(prometheus)])
}

/// Whether its token scrapes and the fence keeps the token to its jobs, when no API server remembers anything else.
fn is_scraped(account: &Account, prometheus: &Prometheus) {
    thread::sleep(TOKEN_CACHE);
    prometheus.wait_for_targets(4, SOON).expect("all targets are scraped");
    let checked =
        crate::plugin::run(account.cluster.kubeconfig(), &["check", "east", "-p", &typed(prometheus)]).succeeded();
    assert!(checked.stdout.contains("the fence refuses "), "{}", checked.stdout);
}

fn is_gone(account: &Account) {
    let gone = testbed::until(Duration::from_secs(60), || account.objects().is_empty().then_some(()));
    gone.unwrap_or_else(|| panic!("still there: {:?}", account.objects()));
}

fn both<A: Send, B: Send>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B + Send) -> (A, B) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().expect("no panic"), other)
    })
}

fn two_joins_and_two_leaves_share_an_account() {
    let east = Account::new(&testbed::shared().east, "beside-two");
    let (one, other) = (prometheus(), prometheus());
    for _ in 0..2 {
        let (first, second) = both(|| join(&east, &one), || join(&east, &other));
        first.succeeded();
        second.succeeded();
        is_scraped(&east, &one);
        is_scraped(&east, &other);
        assert_eq!(east.secrets().len(), 2, "one token each");
        let (first, second) = both(|| leave(&east, &one), || leave(&east, &other));
        first.succeeded();
        second.succeeded();
        is_gone(&east);
    }
}

/// `held`: the deletion of the leave that waits until the join has ended.
fn join_beside_a_leave(name: &str, held: impl FnOnce(&str) -> String, passing: impl FnOnce(&str) -> Option<String>) {
    let east = Account::new(&testbed::shared().east, name);
    let (one, other) = (prometheus(), prometheus());
    join(&east, &other).succeeded();
    let proxy = FaultProxy::in_front_of(east.cluster).expect("a proxy");
    if let Some(path) = passing(&east.namespace) {
        proxy.rule(Rule::new("DELETE", &path, Action::Pass));
    }
    let held = held(&east.namespace);
    proxy.rule(Rule::new("DELETE", &held, Action::Delay(HELD)).times(1));
    let leave = || {
        let arguments = ["leave", "east", "--yes", "--request-timeout=60s", "-p", &typed(&other)];
        crate::plugin::run(&proxy.kubeconfig(), &arguments)
    };
    let joins = || {
        let is_held = || {
            let mut requests = proxy.requests().into_iter();
            requests.any(|request| request.method == "DELETE" && request.path.ends_with(&held)).then_some(())
        };
        testbed::until(Duration::from_secs(60), is_held).expect("the leave comes to this deletion");
        join(&east, &one)
    };
    let (left, joined) = both(leave, joins);
    joined.succeeded();
    let left = left.succeeded();
    let stays = format!("service account {}/prometheus stays, because another run has begun to use it", east.namespace);
    let namespace_stays = format!("namespace/{} is not deleted: it contains ", east.namespace);
    assert!(left.stderr.contains(&stays) || left.stderr.contains(&namespace_stays), "{}", left.stderr);
    is_scraped(&east, &one);
    assert_eq!(east.secrets().len(), 1, "one token: {:?}", east.secrets());
    self::leave(&east, &one).succeeded();
    is_gone(&east);
}

fn join_beside_a_leave_that_deletes_the_account() {
    join_beside_a_leave("beside-account", |_| "/serviceaccounts/prometheus".to_owned(), |_| None);
}

fn join_beside_a_leave_that_deletes_the_rights() {
    join_beside_a_leave("beside-rights", |name| format!("/clusterroles/prom-federate.{name}.prometheus"), |_| None);
}

fn join_beside_a_leave_that_deletes_the_fence() {
    let policy = |name: &str| format!("/validatingadmissionpolicies/prom-federate.{name}.prometheus");
    join_beside_a_leave("beside-fence", policy, |_| None);
}

fn join_beside_a_leave_that_deletes_the_namespace() {
    let inside = |name: &str| Some(format!("/namespaces/{name}/"));
    join_beside_a_leave("beside-namespace", |name| format!("/api/v1/namespaces/{name}"), inside);
}

/// The failed join has created everything, and its undo waits until the other join has ended.
fn join_that_fails_beside_a_join_deletes_nothing_of_it() {
    let east = Account::new(&testbed::shared().east, "beside-undo");
    let (one, other) = (prometheus(), prometheus());
    let proxy = FaultProxy::in_front_of(east.cluster).expect("a proxy");
    proxy.rule(Rule::new("DELETE", "/serviceaccounts/prometheus", Action::Delay(HELD)).times(1));
    let fails = || {
        let arguments = ["join", "-p", &typed(&other), "--reload=command:false", "--request-timeout=60s"];
        east.run_with(&proxy.kubeconfig(), &arguments)
    };
    let joins = || {
        let is_held = || {
            let mut requests = proxy.requests().into_iter();
            requests
                .any(|request| request.method == "DELETE" && request.path.contains("/serviceaccounts/"))
                .then_some(())
        };
        testbed::until(Duration::from_secs(60), is_held).expect("the undo comes to this deletion");
        join(&east, &one)
    };
    let (failed, joined) = both(fails, joins);
    joined.succeeded();
    let failed = failed.failed("ReloadFailed", &["the command of --reload ended with exit status: 1"]);
    assert!(failed.stderr.contains("stay, because other destinations use it"), "{}", failed.stderr);
    is_scraped(&east, &one);
    assert_eq!(east.secrets().len(), 1, "one token: {:?}", east.secrets());
    leave(&east, &one).succeeded();
    is_gone(&east);
}
