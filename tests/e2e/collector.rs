//! A directory of the real OpenTelemetry Collector: joined, rotated, left; never ended by a reload.

use crate::plugin::{Account, Run, command};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use testbed::{Collector, CollectorSpec};

trials! {
    collector:
    smoke {
        collector_is_joined_rotated_and_left,
    }
    full {
        collector_gets_a_receiver_by_one_edit,
        broken_configuration_of_a_collector_is_not_reloaded,
        collector_of_several_files_and_variables_is_joined,
        collector_under_another_name_is_named,
        collector_without_an_api_says_what_its_metrics_show,
        every_collector_of_a_configuration_is_reloaded,
    }
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(40);

fn run(account: &Account, arguments: &[&str]) -> Run {
    command(account.cluster.kubeconfig(), arguments).output().expect("the plugin starts").into()
}

fn join(account: &Account, destination: &str, more: &[&str]) -> Run {
    let namespace = account.namespace.as_str();
    let all = [&["join", "-p", destination, "--namespace", namespace, "--scrape-interval=1s", "--yes"], more].concat();
    run(account, &all)
}

fn start(spec: &CollectorSpec) -> Collector {
    Collector::start(spec).unwrap_or_else(|error| panic!("{error:#}"))
}

fn folder(collector: &Collector) -> String {
    collector.dir().display().to_string()
}

fn current(dir: &Path) -> PathBuf {
    fs::read_link(dir.join("prom-federate/east/current")).expect("a link")
}

fn reloads(collector: &Collector) -> usize {
    collector.log().matches("Config updated, restart service").count()
}

fn collector_is_joined_rotated_and_left() {
    let east = Account::new(&testbed::shared().east, "collector");
    let collector = start(&CollectorSpec::with_receiver());
    let here = folder(&collector);
    let before = fs::read_to_string(collector.dir().join("config.yaml")).expect("the configuration");
    let joined = join(&east, &here, &[]).succeeded();
    for said in [
        "config.yaml, read by OpenTelemetry Collector (process ",
        "checked by otelcol validate",
        "reloaded, 4 of 4 targets up",
    ] {
        assert!(joined.stderr.contains(said), "no {said:?}: {}", joined.stderr);
    }
    collector.wait_for_targets(4, SCRAPED_WITHIN).expect("both nodes are up, twice");
    assert_eq!(fs::read_to_string(collector.dir().join("config.yaml")).expect("the configuration"), before);
    assert!(!collector.dir().join("prom-federate/east.rules.yml").exists(), "it knows no rules");
    assert_eq!(reloads(&collector), 1);

    let old = current(collector.dir());
    let rotated = run(&east, &["rotate", "--now", "-p", &here]).succeeded();
    let without = "reads the new token without a reload, 4 of 4 targets up";
    assert!(rotated.stderr.contains(without), "{}", rotated.stderr);
    assert_ne!(current(collector.dir()), old);
    assert_eq!((reloads(&collector), east.secrets().len()), (1, 1));
    let status = run(&east, &["status", "-p", &here]).succeeded();
    assert!(status.stdout.contains("4/4") && status.stdout.contains("ok"), "{}{}", status.stdout, status.stderr);

    run(&east, &["leave", "east", "-p", &here, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
    let gone = testbed::until(SCRAPED_WITHIN, || Collector::targets_at(collector.api()).ok().filter(Vec::is_empty));
    assert!(gone.is_some() && collector.runs(), "{}", collector.log());
    assert!(!collector.dir().join("prom-federate/east").exists());
}

fn collector_gets_a_receiver_by_one_edit() {
    let east = Account::new(&testbed::shared().east, "collector-edit");
    let collector = start(&CollectorSpec::plain());
    let here = folder(&collector);
    let shown = run(&east, &["join", "-p", &here, "--namespace", &east.namespace, "--dry-run=client"]).succeeded();
    for line in [
        "+      receivers: [prometheus/self, prometheus/federate] # and others",
        "+  prometheus/federate:",
        "+        - ",
        "+    api_server:",
    ] {
        let is_shown =
            [&shown.stdout, &shown.stderr].iter().any(|text| text.contains(line.trim_end_matches("        - ")));
        assert!(is_shown, "no {line:?}: {}{}", shown.stdout, shown.stderr);
    }
    let joined = join(&east, &here, &[]).succeeded();
    assert!(joined.stderr.contains("reloaded, 4 of 4 targets up"), "{}", joined.stderr);
    let main = fs::read_to_string(collector.dir().join("config.yaml")).expect("the configuration");
    assert!(main.starts_with("# Mine.\n") && main.contains("  # Scrapes itself.\n"), "{main}");
    run(&east, &["leave", "east", "-p", &here, "--yes"]).succeeded();
    assert!(collector.runs(), "a receiver without jobs is a valid one: {}", collector.log());
    assert_eq!(east.objects(), Vec::<String>::new());
}

/// It would end with SIGHUP.
fn broken_configuration_of_a_collector_is_not_reloaded() {
    let east = Account::new(&testbed::shared().east, "collector-broken");
    let collector = start(&CollectorSpec::with_receiver());
    let here = folder(&collector);
    collector
        .write("prom-federate/other.scrape.yml", "scrape_configs: [{job_name: 7, nonsense: 1}]\n")
        .expect("a file");
    join(&east, &here, &[])
        .failed("ConfigRefused", &["otelcol validate rejects", "nonsense", "Nothing was put in place"]);
    assert!(!collector.dir().join("prom-federate/east.scrape.yml").exists());
    fs::remove_file(collector.dir().join("prom-federate/other.scrape.yml")).expect("a file");
    // A namespace takes a moment.
    let gone = testbed::until(SCRAPED_WITHIN, || east.objects().is_empty().then_some(()));
    assert!(gone.is_some(), "what the run created is deleted again: {:?}", east.objects());

    join(&east, &here, &[]).succeeded();
    let config = collector.dir().join("config.yaml");
    let good = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, good.replace("exporters: [debug]", "exporters: [missing]")).expect("a file");
    let left = run(&east, &["leave", "east", "-p", &here, "--yes"]);
    left.failed("ReloadFailed", &["otelcol validate rejects", "missing", "would end the process"]);
    assert!(collector.runs() && collector.dir().join("prom-federate/east.scrape.yml").exists(), "{}", collector.log());
    fs::write(&config, good).expect("a file");
    run(&east, &["leave", "east", "-p", &here, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
    assert!(collector.runs());
}

fn collector_of_several_files_and_variables_is_joined() {
    let east = Account::new(&testbed::shared().east, "collector-several");
    let collector = start(&CollectorSpec::in_two_files());
    let named = collector.dir().join("receivers.yaml").display().to_string();
    let joined = join(&east, &named, &[]).succeeded();
    for said in ["receivers.yaml, read by OpenTelemetry Collector", "checked by otelcol validate", "4 of 4 targets up"]
    {
        assert!(joined.stderr.contains(said), "no {said:?}: {}", joined.stderr);
    }
    run(&east, &["leave", "east", "-p", &named, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
}

fn collector_under_another_name_is_named() {
    let east = Account::new(&testbed::shared().east, "collector-named");
    let collector = start(&CollectorSpec::with_receiver().program("edge"));
    let (here, url) = (folder(&collector), format!("--prometheus-url=http://{}", collector.api()));
    let joined = join(&east, &here, &[&url]).succeeded();
    for said in ["read by OpenTelemetry Collector (process ", "reloaded, 4 of 4 targets up"] {
        assert!(joined.stderr.contains(said), "no {said:?}: {}", joined.stderr);
    }
    run(&east, &["leave", "east", "-p", &here, &url, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
}

/// Its previous token stays valid then, because no scrape was seen.
fn collector_without_an_api_says_what_its_metrics_show() {
    let east = Account::new(&testbed::shared().east, "collector-metrics");
    let mut spec = CollectorSpec::with_receiver();
    spec.config = spec.config.replace("enabled: true", "enabled: false");
    let collector = start(&spec);
    let here = folder(&collector);
    let joined = join(&east, &here, &[]).succeeded();
    for said in ["reloaded", "has no api_server", "metric points that receiver prometheus/federate has accepted"] {
        assert!(joined.stderr.contains(said), "no {said:?}: {}", joined.stderr);
    }
    run(&east, &["rotate", "--now", "-p", &here]).succeeded();
    assert_eq!(east.secrets().len(), 2);
    run(&east, &["leave", "east", "-p", &here, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
}

fn every_collector_of_a_configuration_is_reloaded() {
    let east = Account::new(&testbed::shared().east, "collector-both");
    let first = start(&CollectorSpec::with_receiver());
    let config = first.dir().join("config.yaml").display().to_string();
    // The same file, and ports of its own.
    let other = "yaml:receivers::prometheus/federate::api_server::server_config::endpoint: 127.0.0.1:{api}";
    let metrics = "yaml:service::telemetry::metrics::readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]";
    let flags = [&config, other, metrics].map(|location| format!("--config={location}"));
    let second = start(&CollectorSpec::plain().flags(&flags.each_ref().map(String::as_str)));
    let joined = join(&east, &config, &[]).succeeded();
    assert!(joined.stderr.contains("4 of 4 targets up"), "{}", joined.stderr);
    assert_eq!((reloads(&first), reloads(&second)), (1, 1));
    second.wait_for_targets(4, SCRAPED_WITHIN).expect("both nodes are up, twice");
    run(&east, &["leave", "east", "-p", &config, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
}
