//! Ctrl-C and SIGTERM while a push to another host waits.

use super::{MAIN, SCRAPED_WITHIN, Scene};
use crate::{
    interrupt::{Frozen, Running, children, hanging_program},
    plugin::{Run, command},
    push::{assert_same, but_what_stays, tree},
};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Stdio,
    time::Duration,
};
use testbed::{Action, PrometheusSpec, Rule, Sshd};

trials! {
    ssh_interrupted:
    full {
        ctrl_c_in_a_terminal_leaves_the_connection_for_the_undo,
        promtool_of_that_host_does_not_delay_an_interrupt,
        frozen_ssh_does_not_delay_an_interrupt,
        frozen_sshd_does_not_delay_an_interrupt,
        frozen_sshd_does_not_cost_the_token_in_use,
        frozen_ssh_with_nothing_to_undo_is_cut_at_once,
        ssh_that_does_not_connect_does_not_delay_an_interrupt,
        two_hosts_are_reached_at_the_same_time,
    }
}

/// For a host to undo its changes over the connection, then by itself, and for the cluster: 5 s, 3 s and the rest.
const UNDONE_WITHIN: Duration = Duration::from_secs(10);

/// That host has the files that it had before, and the cluster has no account.
fn is_undone(scene: &Scene, before: &BTreeMap<String, String>, within: Duration) {
    let undone = || (but_what_stays(tree(scene.prometheus.dir())) == *before).then_some(());
    testbed::until(within, undone)
        .unwrap_or_else(|| assert_same(&but_what_stays(tree(scene.prometheus.dir())), before, "not undone"));
    let gone = || scene.account.objects().is_empty().then_some(());
    testbed::until(SCRAPED_WITHIN, gone).unwrap_or_else(|| panic!("{:?}", scene.account.objects()));
}

/// A join whose new jobs are in place, and whose scrapes hang.
fn unscraped(scene: &Scene) -> Running {
    scene.routed.rule(Rule::new("GET", "/api/v1/nodes", Action::Hang).by("Prometheus"));
    let running = Running::start(&mut scene.joining());
    let fragment = scene.prometheus.dir().join("prom-federate/east.scrape.yml");
    testbed::until(SCRAPED_WITHIN, || fragment.exists().then_some(())).expect("it is in place");
    running
}

/// Ctrl-C in a terminal is for ssh as well, which outlives it, so that the undo can use the connection.
fn ctrl_c_in_a_terminal_leaves_the_connection_for_the_undo() {
    let scene = Scene::new("ctrl-c");
    let before = but_what_stays(tree(scene.prometheus.dir()));
    scene.routed.rule(Rule::new("GET", "/api/v1/nodes", Action::Hang).by("Prometheus"));
    let child = scene.joining().process_group(0).stderr(Stdio::piped()).spawn().expect("the plugin starts");
    let group = Pid::from_raw(child.id().cast_signed()).expect("a pid");
    let fragment = scene.prometheus.dir().join("prom-federate/east.scrape.yml");
    testbed::until(SCRAPED_WITHIN, || fragment.exists().then_some(())).expect("it is in place");
    kill_process_group(group, Signal::INT).expect("it is interrupted");
    let run: Run = child.wait_with_output().expect("it ends").into();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert!(run.stderr.contains("error (Interrupted): "), "{}", run.stderr);
    for unexpected in ["Not undone", "is lost", "has not confirmed", "did not end"] {
        assert!(!run.stderr.contains(unexpected), "{}", run.stderr);
    }
    assert_same(&but_what_stays(tree(scene.prometheus.dir())), &before, "it is undone when the run has ended");
    is_undone(&scene, &before, Duration::ZERO);
}

/// promtool hangs there for its 30 s, so that the shell answers nothing: the run ends, and that host undoes by itself.
fn promtool_of_that_host_does_not_delay_an_interrupt() {
    let tools = tempfile::tempdir().expect("a folder");
    hanging_program(tools.path(), "promtool");
    let path = format!("SetEnv PATH={}:{}", tools.path().display(), std::env::var("PATH").unwrap_or_default());
    let sshd = Sshd::start_with(&[&path], &[]).expect("sshd starts");
    let scene = Scene::with("unheard", sshd, &PrometheusSpec::new(MAIN));
    let before = but_what_stays(tree(scene.prometheus.dir()));
    let running = Running::start(&mut scene.joining());
    testbed::until(SCRAPED_WITHIN, || tools.path().join("begun").exists().then_some(())).expect("promtool is begun");
    let run = running.interrupt(Signal::INT).undid_its_work(UNDONE_WITHIN);
    assert!(!run.stderr.contains("Not deleted"), "{}", run.stderr);
    assert!(run.stderr.contains("prom has not confirmed that it undid"), "{}", run.stderr);
    is_undone(&scene, &before, Duration::from_secs(60));
}

/// The ssh of this host stops while the jobs are in place and not verified.
fn frozen_ssh_does_not_delay_an_interrupt() {
    let scene = Scene::new("frozen-ssh");
    let before = but_what_stays(tree(scene.prometheus.dir()));
    let running = unscraped(&scene);
    let frozen = Frozen::new(running.children());
    let run = running.interrupt(Signal::TERM).undid_its_work(UNDONE_WITHIN);
    assert!(run.stderr.contains("prom has not confirmed that it undid"), "{}", run.stderr);
    // The plugin has killed it.
    is_undone(&scene, &before, SCRAPED_WITHIN);
    drop(frozen);
}

/// The connection's process of that host stops, as everything does when a network fails silently.
fn frozen_sshd_does_not_delay_an_interrupt() {
    let scene = Scene::new("frozen-sshd");
    let before = but_what_stays(tree(scene.prometheus.dir()));
    let running = unscraped(&scene);
    // Prometheus has read the new jobs, and the plugin verifies them.
    let loaded =
        || (scene.prometheus.log().matches("Completed loading of configuration file").count() > 1).then_some(());
    testbed::until(SCRAPED_WITHIN, loaded).expect("Prometheus has the new jobs");
    let frozen = Frozen::new(children(scene.sshd.pid()));
    let run = running.interrupt(Signal::INT).undid_its_work(UNDONE_WITHIN);
    assert!(run.stderr.contains("prom has not confirmed that it undid"), "{}", run.stderr);
    drop(frozen);
    is_undone(&scene, &before, SCRAPED_WITHIN);
}

/// The same while a rotation waits for scrapes: that host may go on with either token for hours.
fn frozen_sshd_does_not_cost_the_token_in_use() {
    let scene = Scene::new("frozen-rotate");
    scene.join(&[]).succeeded();
    let link = scene.prometheus.dir().join("prom-federate/east/current");
    let live = || fs::read_link(&link).expect("a link");
    let secret = |generation: &Path| {
        let record = link.with_file_name(generation).join("cluster.json");
        let record: Value = serde_json::from_str(&fs::read_to_string(record).expect("a record")).expect("JSON");
        record["boundSecret"]["name"].as_str().expect("a name").to_owned()
    };
    let before = live();
    scene.routed.rule(Rule::new("GET", "/api/v1/nodes/", Action::Hang).by("Prometheus"));
    let typed = scene.typed();
    let mut rotating = command(&scene.routed.kubeconfig(), &["rotate", "--now", "-p", &typed]);
    let running = Running::start(rotating.env("PATH", scene.sshd.path()));
    testbed::until(SCRAPED_WITHIN, || (live() != before).then_some(())).expect("the new token is in place");
    let frozen = Frozen::new(children(scene.sshd.pid()));
    let run = running.interrupt(Signal::INT).undid_its_work(UNDONE_WITHIN);
    let (old, new) = (secret(&before), secret(&live()));
    let summary = "the rotation of 1 of 1 clusters failed; 1 may use the new token";
    for said in ["prom has not confirmed that it undid", &format!("stays valid (secret/{new})"), summary] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    for secret in [old, new] {
        assert!(scene.account.secrets().contains(&secret), "{secret} of {:?}", scene.account.secrets());
    }
    drop(frozen);
    testbed::until(SCRAPED_WITHIN, || (live() == before).then_some(())).expect("the host undoes its changes");
    scene.routed.clear_rules();
    scene.run(&["rotate", "--now", "-p", &typed]).succeeded();
    assert_eq!(scene.account.secrets(), [secret(&live())]);
}

/// The ssh of this host stops while the cluster is asked for a token: that host has the lock and no changes.
fn frozen_ssh_with_nothing_to_undo_is_cut_at_once() {
    let scene = Scene::new("frozen-idle");
    let before = but_what_stays(tree(scene.prometheus.dir()));
    scene.routed.rule(Rule::new("POST", "/token", Action::Hang));
    let running = Running::start(&mut scene.joining());
    let asked = || scene.routed.requests().iter().any(|request| request.path.ends_with("/token")).then_some(());
    testbed::until(SCRAPED_WITHIN, asked).expect("a token is asked for");
    let frozen = Frozen::new(running.children());
    // The account was new, so the cluster has something to undo.
    let run = running.interrupt(Signal::INT).undid_its_work(Duration::from_secs(1));
    assert!(run.stderr.contains("prom: the connection did not end"), "{}", run.stderr);
    is_undone(&scene, &before, Duration::ZERO);
    drop(frozen);
    scene.routed.clear_rules();
    scene.join(&[]).succeeded();
}

/// A program in place of ssh that makes a file in the folder and then runs this text. Its standard input ends with the
/// plugin.
fn hanging_ssh(then: &str) -> (tempfile::TempDir, String) {
    let tools = tempfile::tempdir().expect("a folder");
    let ssh = tools.path().join("ssh");
    let script = format!("#!/bin/sh\ncd {}\ntouch begun.$$\n{then}\n", tools.path().display());
    fs::write(&ssh, script).expect("a file");
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap_or_default());
    (tools, path)
}

fn ssh_that_does_not_connect_does_not_delay_an_interrupt() {
    for (arguments, signal) in [
        (&["status"][..], Signal::INT),
        (&["status"], Signal::TERM),
        (&["rotate", "--watch"], Signal::INT),
        (&["rotate", "--watch"], Signal::TERM),
    ] {
        let (tools, path) = hanging_ssh("cat > /dev/null");
        let arguments = [arguments, &["-p", "ssh://prom/etc/prometheus"]].concat();
        let mut command = command(testbed::shared().east.kubeconfig(), &arguments);
        let running = Running::start(command.env("PATH", path));
        let begun = || (fs::read_dir(tools.path()).expect("a folder").count() > 1).then_some(());
        testbed::until(SCRAPED_WITHIN, begun).expect("ssh is begun");
        running.interrupt(signal).ended_at_once();
    }
}

/// Each of the two connections fails only after the other one has begun.
fn two_hosts_are_reached_at_the_same_time() {
    let both = "until [ \"$(ls begun.* | wc -l)\" -ge 2 ]; do sleep 0.05; done; echo 'both have begun' >&2; exit 255";
    let (_tools, path) = hanging_ssh(both);
    let arguments = ["status", "-p", "ssh://one/etc/prometheus", "-p", "ssh://two/etc/prometheus"];
    let mut command = command(testbed::shared().east.kubeconfig(), &arguments);
    let command = command.env("PATH", path).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the plugin starts");
    let ended = testbed::until(SCRAPED_WITHIN, || child.try_wait().expect("it is ours"));
    if ended.is_none() {
        child.kill().expect("it runs");
    }
    let run: Run = child.wait_with_output().expect("it ends").into();
    assert!(run.stderr.contains("both have begun"), "one host waited for the other: {}", run.stderr);
}
