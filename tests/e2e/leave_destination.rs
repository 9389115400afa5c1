//! Leaving a destination: which side goes, what another one uses, and what a killed run left.

use crate::plugin::{Account, Run, command, run};
use std::{fs, path::Path, time::Duration};
use testbed::{Kubeconfig, Prometheus};

trials! {
    leave_destination:
    full {
        account_of_another_destination_stays,
        leave_removes_one_side_at_a_time,
        leave_removes_several_clusters,
        leave_continues_after_a_kill,
    }
}

const SOON: Duration = Duration::from_secs(40);

fn prometheus() -> Prometheus {
    Prometheus::start("global: {scrape_interval: 1s}\n").expect("Prometheus starts")
}

fn typed(prometheus: &Prometheus) -> String {
    prometheus.dir().display().to_string()
}

fn join(account: &Account, prometheus: &Prometheus) {
    account.join(&["-p", &typed(prometheus), "--scrape-interval=1s"]);
}

fn leave(kubeconfig: &Path, arguments: &[&str]) -> Run {
    let mut all = vec!["leave", "--yes"];
    all.extend(arguments);
    run(kubeconfig, &all)
}

fn has_no_targets(prometheus: &Prometheus) {
    let gone = prometheus.wait_until(SOON, |prometheus| prometheus.targets().ok().filter(Vec::is_empty));
    assert!(gone.is_some(), "{:?}", prometheus.targets());
}

fn account_of_another_destination_stays() {
    let east = Account::new(&testbed::shared().east, "leave-one");
    let (one, other) = (prometheus(), prometheus());
    join(&east, &one);
    join(&east, &other);
    assert_eq!(east.secrets().len(), 2);
    let report = leave(east.cluster.kubeconfig(), &["east", "-p", &typed(&one)]).succeeded();
    let stays = format!("service account {}/prometheus stays, because other destinations use it", east.namespace);
    assert!(report.stderr.contains(&stays), "{}", report.stderr);
    assert!(
        report.stderr.contains("a token that worked before now gets 401 (after "),
        "this one's token is dead: {}",
        report.stderr
    );
    has_no_targets(&one);
    assert!(!one.dir().join("prom-federate/east").exists());
    assert_eq!(east.secrets().len(), 1);
    other.wait_for_targets(4, SOON).expect("the other destination scrapes as before");
    leave(east.cluster.kubeconfig(), &["east", "-p", &typed(&other)]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
}

fn leave_removes_one_side_at_a_time() {
    let east = Account::new(&testbed::shared().east, "leave-side");
    let prometheus = prometheus();
    join(&east, &prometheus);
    let run = leave(east.cluster.kubeconfig(), &["east", "--only=prometheus", "-p", &typed(&prometheus)]).succeeded();
    assert!(run.stderr.contains("nothing is removed from the cluster"), "{}", run.stderr);
    has_no_targets(&prometheus);
    assert_eq!(east.secrets().len(), 1, "the cluster was not asked");
    let left = leave(east.cluster.kubeconfig(), &["--namespace", &east.namespace]).succeeded();
    assert!(
        left.stderr.contains("other destinations use it"),
        "only --only cluster ends what others use: {}",
        left.stderr
    );
    leave(east.cluster.kubeconfig(), &["--only=cluster", "--namespace", &east.namespace]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
}

fn leave_removes_several_clusters() {
    let shared = testbed::shared();
    let accounts = [Account::new(&shared.east, "leave-both"), Account::new(&shared.west, "leave-both")];
    let prometheus = prometheus();
    for account in &accounts {
        join(account, &prometheus);
    }
    let kubeconfig = prometheus.dir().join("kubeconfig");
    fs::write(&kubeconfig, Kubeconfig::merged(&[shared.east.admin(), shared.west.admin()])).expect("a kubeconfig");
    let unknown = leave(&kubeconfig, &["east", "north", "-p", &typed(&prometheus)]);
    unknown.failed("ClusterUnknown", &["north", "Known clusters: east, west"]);
    let dry = command(&kubeconfig, &["leave", "east", "-p", &typed(&prometheus), "--dry-run=server"]).output();
    assert!(
        String::from_utf8_lossy(&dry.expect("the plugin starts").stdout)
            .contains("east.scrape.yml deleted (server dry run)")
    );
    prometheus.wait_for_targets(8, SOON).expect("nothing has happened yet");
    let run = leave(&kubeconfig, &["east", "west", "-p", &typed(&prometheus), "--output=json"]).succeeded();
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((report["kind"].as_str(), report["items"].as_array().map(Vec::len)), (Some("LeaveReportList"), Some(2)));
    has_no_targets(&prometheus);
    for account in &accounts {
        assert_eq!(account.objects(), Vec::<String>::new());
    }
}

/// Killed when the jobs were out and before the cluster was asked.
fn leave_continues_after_a_kill() {
    let east = Account::new(&testbed::shared().east, "leave-killed");
    let prometheus = prometheus();
    join(&east, &prometheus);
    for file in ["east.rules.yml", "east.scrape.yml"] {
        fs::remove_file(prometheus.dir().join("prom-federate").join(file)).expect("a file of the join");
    }
    leave(east.cluster.kubeconfig(), &["east", "-p", &typed(&prometheus)]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
    assert!(!prometheus.dir().join("prom-federate/east").exists());
    has_no_targets(&prometheus);
}
