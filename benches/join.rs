//! `join --yes` against the three kubectl commands that it replaces, paired run by run on a real cluster, at 0 and at
//! 50 ms round trip, with everything in place and fresh. Fails if a limit is passed. Ratios, because machines differ.

#[expect(dead_code, reason = "the benchmarks share it")]
mod common;

use common::{Cost, Limits, median};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use testbed::{Cluster, ClusterSpec, Delay};

const PAIRS: usize = 11;
const RTT: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    testbed::supervise_if_asked();
    let cluster = Cluster::start(&ClusterSpec::new("bench").nodes(1)).expect("a cluster");
    let delay = Delay::in_front_of(cluster.address(), RTT).expect("a delay");
    let near = cluster.kubeconfig().to_owned();
    let far = cluster.kubeconfig_with(&delay.url(), Some(cluster.ca_file())).expect("a kubeconfig");
    let bench = Bench { dir: cluster.dir().join("bench"), node: cluster.node_names().remove(0), _cluster: cluster };
    std::fs::create_dir_all(&bench.dir).expect("a folder");

    let mut limits = Limits::default();
    let mut in_place = [Duration::ZERO; 2];
    let mut fresh = [Duration::ZERO; 2];
    println!("\n{PAIRS} pairs each, medians; join / the three kubectl commands\n");
    println!(
        "{:<10} {:>6}   {:>7} {:>7} {:>6}   {:>6} {:>6} {:>6}   {:>8}",
        "state", "rtt", "join", "kubectl", "ratio", "cpu", "cpu", "ratio", "memory"
    );
    for (index, (rtt, kubeconfig)) in [("0 ms", &near), ("50 ms", &far)].into_iter().enumerate() {
        let pair = bench.pairs(kubeconfig, |_| "in-place".to_owned());
        pair.print("in place", rtt);
        limits.at_most(&format!("in place, {rtt}: wall, of kubectl's"), pair.wall_ratio(), 0.4);
        limits.at_most(&format!("in place, {rtt}: CPU, of kubectl's"), pair.cpu_ratio(), 0.25);
        limits.at_most("memory, MB", pair.join.memory_mb, 40.0);
        in_place[index] = pair.join.wall;
        let pair = bench.pairs(kubeconfig, |run| format!("fresh-{index}-{run}"));
        pair.print("fresh", rtt);
        limits.at_most(&format!("fresh, {rtt}: CPU, of kubectl's"), pair.cpu_ratio(), 0.25);
        fresh[index] = pair.join.wall;
    }
    println!();
    let trips = |slow: Duration, fast: Duration| slow.saturating_sub(fast).as_secs_f64() / RTT.as_secs_f64();
    // Half a round trip of noise: the next one would show as a whole one.
    limits.at_most("in place: sequential round trips", trips(in_place[1], in_place[0]), 6.5);
    limits.at_most("fresh, 50 ms: seconds beyond 7 round trips", (fresh[1].saturating_sub(7 * RTT)).as_secs_f64(), 2.0);
    let version = median((0..PAIRS).map(|_| bench.plugin(&near, &["version"]).wall.as_secs_f64() * 1e3).collect());
    limits.at_most("version: ms", version, 10.0);
    let size = std::fs::metadata(env!("CARGO_BIN_EXE_kubectl-prom_federate")).expect("the binary").len();
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    limits.at_most("binary: MB", size as f64 / 1e6, 10.0);
    testbed::shutdown();
    limits.exit_code()
}

/// Medians of all runs.
struct Pair {
    join: Cost,
    kubectl: Cost,
    wall_ratios: Vec<f64>,
    cpu_ratios: Vec<f64>,
}

impl Pair {
    fn wall_ratio(&self) -> f64 {
        median(self.wall_ratios.clone())
    }

    fn cpu_ratio(&self) -> f64 {
        median(self.cpu_ratios.clone())
    }

    fn print(&self, state: &str, rtt: &str) {
        println!(
            "{state:<10} {rtt:>6}   {:>5} ms {:>5} ms {:>6.2}   {:>3} ms {:>3} ms {:>5.2}   {:>5.1} MB",
            self.join.wall.as_millis(),
            self.kubectl.wall.as_millis(),
            self.wall_ratio(),
            self.join.cpu.as_millis(),
            self.kubectl.cpu.as_millis(),
            self.cpu_ratio(),
            self.join.memory_mb
        );
    }
}

struct Bench {
    /// Runs as long as the benchmark.
    _cluster: Cluster,
    dir: PathBuf,
    node: String,
}

impl Bench {
    /// Both in turn, each in a namespace of its own; the first pair warms up and does not count.
    fn pairs(&self, kubeconfig: &Path, namespace: impl Fn(usize) -> String) -> Pair {
        let runs: Vec<(Cost, Cost)> = (0..=PAIRS)
            .map(|run| {
                let namespace = namespace(run);
                let join = self.plugin(kubeconfig, &["join", "--yes", "--namespace", &format!("join-{namespace}")]);
                (join, self.kubectl(kubeconfig, &format!("kubectl-{namespace}")))
            })
            .skip(1)
            .collect();
        let side = |cost: fn(&(Cost, Cost)) -> Cost| Cost {
            wall: Duration::from_secs_f64(median(runs.iter().map(|run| cost(run).wall.as_secs_f64()).collect())),
            cpu: Duration::from_secs_f64(median(runs.iter().map(|run| cost(run).cpu.as_secs_f64()).collect())),
            memory_mb: median(runs.iter().map(|run| cost(run).memory_mb).collect()),
        };
        Pair {
            join: side(|run| run.0),
            kubectl: side(|run| run.1),
            wall_ratios: runs
                .iter()
                .map(|(join, kubectl)| join.wall.as_secs_f64() / kubectl.wall.as_secs_f64())
                .collect(),
            cpu_ratios: runs.iter().map(|(join, kubectl)| join.cpu.as_secs_f64() / kubectl.cpu.as_secs_f64()).collect(),
        }
    }

    fn plugin(&self, kubeconfig: &Path, arguments: &[&str]) -> Cost {
        self.run(env!("CARGO_BIN_EXE_kubectl-prom_federate").as_ref(), kubeconfig, arguments)
    }

    /// What people type today: apply account and role, create a token, read one page with it.
    fn kubectl(&self, kubeconfig: &Path, namespace: &str) -> Cost {
        let manifest = self.dir.join("manifest.json");
        std::fs::write(&manifest, by_hand(namespace).to_string()).expect("a file");
        let kubectl = &testbed::tools().kubectl;
        let apply = self.run(kubectl, kubeconfig, &["apply", "-f", &manifest.display().to_string()]);
        let create = self.run(
            kubectl,
            kubeconfig,
            &["create", "token", "prometheus", "--namespace", namespace, "--duration=168h"],
        );
        let token = std::fs::read_to_string(self.dir.join("stdout")).expect("a token");
        let page = format!("/api/v1/nodes/{}/proxy/metrics/cadvisor", self.node);
        // The admin's certificate would win over --token, so the context has to be one without.
        let by_token = self.by_token(kubeconfig, token.trim());
        let get = self.run(kubectl, &by_token, &["get", "--raw", &page]);
        Cost {
            wall: apply.wall + create.wall + get.wall,
            cpu: apply.cpu + create.cpu + get.cpu,
            memory_mb: apply.memory_mb.max(create.memory_mb).max(get.memory_mb),
        }
    }

    fn by_token(&self, kubeconfig: &Path, token: &str) -> PathBuf {
        let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("the testbed writes JSON");
        config["users"][0]["user"] = json!({ "token": token });
        let path = self.dir.join("by-token");
        std::fs::write(&path, config.to_string()).expect("a file");
        path
    }

    fn run(&self, program: &Path, kubeconfig: &Path, arguments: &[&str]) -> Cost {
        common::run(program, &self.dir, kubeconfig, arguments)
    }
}

/// The recipe with the rights that these jobs need, in a namespace of its own.
fn by_hand(namespace: &str) -> serde_json::Value {
    let name = format!("by-hand-{namespace}");
    let rbac = "rbac.authorization.k8s.io/v1";
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } },
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "prometheus", "namespace": namespace } },
        { "apiVersion": rbac, "kind": "ClusterRole", "metadata": { "name": name }, "rules": [
            { "apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"] },
            { "apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"] },
        ] },
        { "apiVersion": rbac, "kind": "ClusterRoleBinding", "metadata": { "name": name },
          "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
          "subjects": [{ "kind": "ServiceAccount", "name": "prometheus", "namespace": namespace }] },
    ] })
}
