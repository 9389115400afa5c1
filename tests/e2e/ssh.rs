//! `-p ssh://HOST/DIR` on the real thing: OpenSSH's server, a Prometheus that runs on its host, and everything that can
//! be wrong in between.

use crate::{
    plugin::{Account, Run, command},
    trials,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::Duration,
};
use testbed::{FaultProxy, Front, Prometheus, PrometheusSpec, Sshd, machine_address};

trials!(
    ssh:
    a_cluster_is_joined_rotated_shown_and_left_over_ssh,
);

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);
const MAIN: &str = "global:\n  scrape_interval: 1s # often\n";

/// An account, a way to its cluster that another host has too, and a host with a Prometheus.
struct Scene {
    account: Account<'static>,
    routed: FaultProxy,
    sshd: Sshd,
    prometheus: Prometheus,
}

impl Scene {
    fn new(name: &str) -> Self {
        Self::with(name, Sshd::start().expect("sshd starts"), &PrometheusSpec::new(MAIN))
    }

    fn with(name: &str, sshd: Sshd, spec: &PrometheusSpec) -> Self {
        let east = &testbed::shared().east;
        let address = machine_address().expect("an address");
        let front = Front { address, hosts: vec![address.to_string()], ..Front::default() };
        Self {
            account: Account::new(east, &format!("ssh-{name}")),
            routed: FaultProxy::with(east, front).expect("a proxy"),
            sshd,
            prometheus: Prometheus::start_with(spec).expect("Prometheus starts"),
        }
    }

    fn typed(&self) -> String {
        format!("ssh://prom{}", self.prometheus.dir().display())
    }

    fn run_on(&self, path: &str, arguments: &[&str]) -> Run {
        command(&self.routed.kubeconfig(), arguments).env("PATH", path).output().expect("the plugin starts").into()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_on(&self.sshd.path(), arguments)
    }

    fn join(&self, more: &[&str]) -> Run {
        let typed = self.typed();
        let mut all = vec!["join", "--scrape-interval=1s", "-p", &typed, "--cluster-name=east", "--yes"];
        all.extend(["--namespace", &self.account.namespace]);
        all.extend(more);
        self.run(&all)
    }
}

/// Owner, mode and content of everything but what Prometheus itself keeps.
fn tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            let (path, metadata) = (entry.path(), entry.metadata().expect("metadata"));
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if name == "data" || name == "prometheus.log" {
                continue;
            }
            let content = fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let mode = metadata.permissions().mode() & 0o7777;
            found.insert(
                name,
                format!("{}:{} {mode:o} {}", metadata.uid(), metadata.gid(), content.unwrap_or_default()),
            );
            if metadata.is_dir() {
                walk(&path, root, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn a_cluster_is_joined_rotated_shown_and_left_over_ssh() {
    let scene = Scene::new("life");
    let run = scene.join(&[]).succeeded();
    eprintln!("{}", run.stderr);
    assert_eq!(scene.sshd.logins(), 1, "one connection does it all");
    assert!(run.stderr.contains("prom reaches the API server too, with this token under this CA"), "{}", run.stderr);
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
    let typed = scene.typed();
    let status = scene.run(&["status", "-p", &typed, "-o", "json"]).succeeded();
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    eprintln!("{status:#}");
    let before = scene.account.secrets();
    let run = scene.run(&["rotate", "--now", "-p", &typed]).succeeded();
    eprintln!("{}", run.stderr);
    assert_ne!(scene.account.secrets(), before);
    assert_eq!(scene.account.secrets().len(), 1);
    eprintln!("{:#?}", tree(scene.prometheus.dir()).keys());
    let run = scene.run(&["leave", "east", "-p", &typed, "--yes"]).succeeded();
    eprintln!("{}", run.stderr);
    assert_eq!(scene.account.objects(), Vec::<String>::new());
}
