//! An operator that has ended while a command waits for it.

use super::{SOON, Scene, all_up, release};
use crate::plugin::Run;
use std::{
    thread,
    time::{Duration, Instant},
};
use testbed::{ENDING, hub};

trials! {
    operator_ended:
    full {
        operator_that_has_ended_costs_no_token_and_is_named,
    }
}

/// For an operator, 30 s; for what comes before and after.
const AT_MOST: Duration = Duration::from_secs(60);

/// `join`, `rotate` and `leave` have written to the hub before the operator ends, as far as the operator can know: it has
/// not generated what they wait for.
fn operator_that_has_ended_costs_no_token_and_is_named() {
    let named = ["ending-join", "ending-rotate", "ending-leave"];
    let [to_join, to_rotate, to_leave] = [0, 1, 2].map(|number| {
        hub().prometheus(ENDING[number], "kps", &release()).expect("a Prometheus");
        Scene::within(named[number], ENDING[number])
    });
    let operator = hub().operator_that_ends().expect("the operator starts");
    to_rotate.join(&[]);
    to_leave.join(&[]);
    let operated = to_rotate.operated();
    let prometheus = operated.prometheus();
    all_up(prometheus, 4);
    let (began, before, secrets) = (Instant::now(), to_rotate.secret(), to_rotate.account.secrets());
    drop(operator);

    let timed = |run: &dyn Fn() -> Run| {
        let started = Instant::now();
        let run = run();
        assert!(started.elapsed() < AT_MOST, "{:?}: {}", started.elapsed(), run.stderr);
        run
    };
    let (joined, rotated, left) = thread::scope(|scope| {
        let joined = scope.spawn(|| timed(&|| to_join.try_join(&[])));
        let rotated = scope.spawn(|| timed(&|| to_rotate.run("rotate", &["--now"])));
        let left = timed(&|| to_leave.run("leave", &["east", "--yes"]));
        (joined.join().expect("it ends"), rotated.join().expect("it ends"), left)
    });
    let named = "the operator has not put the jobs into the configuration of prometheus/kps";
    let next = |scene: &Scene| format!("kubectl -n {} describe prometheus/kps", scene.namespace);
    joined.failed("NotGenerated", &[named, &next(&to_join)]);
    to_join.is_untouched();
    rotated.failed("RotationFailed", &["error (NotGenerated): ", named, &next(&to_rotate)]);
    assert_eq!(to_rotate.secret()["data"], before["data"]);
    assert_eq!(to_rotate.account.secrets(), secrets, "the new token is revoked, the old one not");
    let left = left.succeeded();
    assert!(left.stderr.contains("still has them in its configuration: does its operator run?"), "{}", left.stderr);
    to_leave.is_untouched();

    // It comes back while a join waits for it.
    let (joined, operator) = thread::scope(|scope| {
        let joined = scope.spawn(|| to_join.try_join(&[]));
        let written = || to_join.objects().iter().any(|name| name.contains("prometheusrule")).then_some(());
        testbed::until(SOON, written).expect("the join waits for the operator");
        let operator = hub().operator_that_ends().expect("the operator starts");
        (joined.join().expect("it ends").succeeded(), operator)
    });
    assert!(joined.stderr.contains("has them in its configuration"), "{}", joined.stderr);
    let url = format!("--prometheus-url={}", prometheus.url());
    to_rotate.run("rotate", &["--now", &url]).succeeded();
    assert_eq!(to_rotate.account.secrets().len(), 1);
    all_up(prometheus, 4);
    let failed = prometheus.failed_scrapes("east", began.elapsed().as_secs(), Duration::from_secs(1));
    assert_eq!(failed.expect("Prometheus answers"), Vec::<String>::new());
    let generated = || hub().generated(&to_leave.namespace, "kps").ok().flatten();
    let is_gone = || generated().filter(|config| !config.contains("prom-federate-east")).map(|_| ());
    testbed::until(SOON, is_gone).expect("the operator takes the jobs out");
    to_join.run("leave", &["east", "--yes"]).succeeded();
    to_rotate.run("leave", &["east", "--yes"]).succeeded();
    drop(operator);
}
