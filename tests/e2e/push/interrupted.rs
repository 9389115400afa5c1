//! Ctrl-C and SIGTERM while a push to a folder waits.

use super::{
    MAIN, SCRAPED_WITHIN, Scene, assert_same, but_what_stays,
    taken_back::{Before, PAGES, PROMETHEUS},
    tree,
};
use crate::{
    interrupt::{Frozen, Running, hanging_program},
    plugin::command,
};
use rustix::process::{Pid, Signal};
use std::{fs, net::TcpListener, time::Duration};
use testbed::{Action, FaultProxy, Rule};

trials! {
    push_interrupted:
    full {
        missing_scrapes_do_not_delay_an_interrupt,
        first_push_is_undone_after_an_interrupt,
        promtool_does_not_delay_an_interrupt,
        reload_command_does_not_delay_an_interrupt,
        silent_prometheus_does_not_delay_an_interrupt,
        prometheus_that_stops_after_the_reload_does_not_delay_an_interrupt,
    }
}

/// For the deletion of files and of a Secret.
const UNDONE_WITHIN: Duration = Duration::from_secs(2);
/// For Prometheus to read the previous configuration again: 10 s from the signal on.
const RELOADED_WITHIN: Duration = Duration::from_secs(10);

/// A join whose new jobs Prometheus has read and cannot scrape.
fn unscraped(scene: &Scene, proxy: &FaultProxy) -> Running {
    proxy.rule(Rule::new("GET", PAGES, Action::Hang).by(PROMETHEUS));
    let api_server = format!("--api-server={}", proxy.url());
    let mut arguments = scene.arguments(&[&api_server]);
    arguments.retain(|argument| *argument != "--scrape-interval=1s");
    let running = Running::start(&mut command(scene.account.cluster.kubeconfig(), &arguments));
    let loaded = || scene.addresses().contains(&proxy.url()).then_some(());
    testbed::until(SCRAPED_WITHIN, loaded).expect("Prometheus has the new jobs");
    running
}

fn missing_scrapes_do_not_delay_an_interrupt() {
    let scene = Scene::new("interrupt");
    let proxy = FaultProxy::in_front_of(scene.account.cluster).expect("a proxy");
    scene.join(&[]);
    let before = Before::of(&scene);
    let run = unscraped(&scene, &proxy).interrupt(Signal::INT).undid_its_work(UNDONE_WITHIN);
    before.is_still(&scene, &run);
    scene.all_up(4);
}

fn first_push_is_undone_after_an_interrupt() {
    let scene = Scene::new("interrupt-first");
    let proxy = FaultProxy::in_front_of(scene.account.cluster).expect("a proxy");
    scene.account.join(&[]);
    let before = but_what_stays(tree(scene.dir()));
    let run = unscraped(&scene, &proxy).interrupt(Signal::TERM).undid_its_work(UNDONE_WITHIN);
    assert_same(&but_what_stays(tree(scene.dir())), &before, &run.stderr);
    assert_eq!((scene.secrets(), scene.addresses()), (vec![], vec![]), "{}", run.stderr);
}

/// promtool has 30 s.
fn promtool_does_not_delay_an_interrupt() {
    let scene = Scene::new("interrupt-promtool");
    scene.account.join(&[]);
    let before = but_what_stays(tree(scene.dir()));
    let tools = tempfile::tempdir().expect("a folder");
    hanging_program(tools.path(), "promtool");
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap_or_default());
    for signal in [Signal::INT, Signal::TERM] {
        let mut command = command(scene.account.cluster.kubeconfig(), &scene.arguments(&[]));
        let running = Running::start(command.env("PATH", &path));
        let begun = tools.path().join("begun");
        testbed::until(SCRAPED_WITHIN, || begun.exists().then_some(())).expect("promtool is begun");
        let run = running.interrupt(signal).undid_its_work(UNDONE_WITHIN);
        assert_same(&but_what_stays(tree(scene.dir())), &before, &run.stderr);
        assert!(!run.stderr.contains("reload Prometheus yourself"), "{}", run.stderr);
        assert_eq!(scene.secrets(), Vec::<String>::new(), "{}", run.stderr);
        fs::remove_file(&begun).expect("it was there");
    }
}

/// The command of --reload has 60 s. It hangs again when Prometheus is to read the previous configuration.
fn reload_command_does_not_delay_an_interrupt() {
    let scene = Scene::new("interrupt-reload");
    scene.account.join(&[]);
    let before = but_what_stays(tree(scene.dir()));
    let tools = tempfile::tempdir().expect("a folder");
    hanging_program(tools.path(), "reload");
    let reload = format!("--reload=command:exec {}/reload", tools.path().display());
    let mut command = command(scene.account.cluster.kubeconfig(), &scene.arguments(&[&reload]));
    let running = Running::start(command.env("PATH", std::env::var("PATH").unwrap_or_default()));
    testbed::until(SCRAPED_WITHIN, || tools.path().join("begun").exists().then_some(())).expect("it is begun");
    let run = running.interrupt(Signal::TERM).undid_its_work(RELOADED_WITHIN + UNDONE_WITHIN);
    assert_same(&but_what_stays(tree(scene.dir())), &before, &run.stderr);
    assert!(run.stderr.contains("reload Prometheus yourself"), "{}", run.stderr);
    assert_eq!(scene.secrets(), Vec::<String>::new(), "{}", run.stderr);
}

/// Prometheus accepts a connection and never answers, before anything is written.
fn silent_prometheus_does_not_delay_an_interrupt() {
    let scene = Scene::new("interrupt-silent");
    let before = tree(scene.dir());
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("--prometheus-url=http://{}", silent.local_addr().expect("an address"));
    for signal in [Signal::INT, Signal::TERM] {
        let running = Running::start(&mut command(scene.account.cluster.kubeconfig(), &scene.arguments(&[&url])));
        let asked = silent.accept().expect("the plugin asks");
        running.interrupt(signal).ended_at_once();
        drop(asked);
        assert_same(&tree(scene.dir()), &before, "nothing was written");
    }
}

/// Prometheus does not run any more when its targets are verified, and not when it is to read the previous configuration.
fn prometheus_that_stops_after_the_reload_does_not_delay_an_interrupt() {
    let scene = Scene::new("interrupt-stopped");
    let proxy = FaultProxy::in_front_of(scene.account.cluster).expect("a proxy");
    scene.account.join(&[]);
    let before = but_what_stays(tree(scene.dir()));
    assert_eq!(scene.read("prometheus.yml"), MAIN);
    let running = unscraped(&scene, &proxy);
    let pid = Pid::from_raw(scene.prometheus.pid().cast_signed()).expect("a pid");
    let stopped = Frozen::new(vec![pid]);
    let run = running.interrupt(Signal::INT).undid_its_work(RELOADED_WITHIN + UNDONE_WITHIN);
    assert_same(&but_what_stays(tree(scene.dir())), &before, &run.stderr);
    assert!(run.stderr.contains("reload Prometheus yourself"), "{}", run.stderr);
    assert_eq!(scene.secrets(), Vec::<String>::new(), "{}", run.stderr);
    drop(stopped);
}
