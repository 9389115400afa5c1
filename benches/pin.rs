//! `join --pin-nodes` on a real API server with 5,000 nodes: how large the role becomes, how long it takes to write it,
//! and what its length costs each scrape. One of the nodes is real, the others are objects; all
//! have names as long as a cloud gives them. Fails if a limit is passed.
//!
//! `cargo bench --bench pin -- 500` does with that many nodes; `--profile dev` does without a release build.

#[expect(dead_code, reason = "the benchmarks share it")]
mod common;

use common::{Cost, Limits};
use prom_federate::model::token::bearer::BearerToken;
use prom_federate::{
    cluster::{Connection, Scraper},
    model::access::{Access, CertificateAuthority, Origin},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};
use testbed::{Cluster, ClusterSpec};

const NODES: usize = 5_000;
/// Scrapes of each kind, in turns of ten.
const SCRAPES: usize = 400;
/// etcd's `--max-request-bytes`.
const ETCD_LIMIT: f64 = 1.5 * 1024.0 * 1024.0;
/// Of the API server's own clock: how long it took to decide on requests, and how many.
const AUTHORIZATION: &str = "authorization_duration_seconds";

fn main() -> ExitCode {
    testbed::supervise_if_asked();
    let nodes = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(NODES);
    let cluster = Cluster::start(&ClusterSpec::new("pin")).expect("a cluster");
    let real = cluster.node_names().remove(0);
    let port = cluster.kubelet_url(0).rsplit_once(':').expect("a port").1.to_owned();
    let page = |pin: &str| format!("/api/v1/nodes/{pin}/proxy/metrics/probes");
    let (first, last) = (page(&format!("{real}:{port}")), page(&format!("{}:10250", name(nodes - 2))));

    // One account whose role names one node, and one whose role names all.
    let one = join(&cluster, "one");
    add_nodes(&cluster, nodes - 1);
    let all = join(&cluster, "all");

    let mut limits = Limits::default();
    println!("\n{nodes} nodes, {} characters a name\n", name(0).len());
    let role = role(&cluster, "all");
    let named = role["rules"][1]["resourceNames"].as_array().expect("names").len();
    assert_eq!(named, nodes, "every node is named");
    limits.at_most("role: bytes of JSON, of etcd's limit", megabytes(&role) / (ETCD_LIMIT / 1e6), 1.0);
    println!("{:<60} {:>9.0}", "role: bytes of JSON", megabytes(&role) * 1e6);
    limits.at_most("join: writing the role, s", all.took("PATCH", "/clusterroles/").as_secs_f64(), 5.0);
    println!("{:<60} {:>9.2}", "join: all of it, 1 node: s", one.wall.as_secs_f64());
    limits.at_most("join: all of it, all nodes: s", all.wall.as_secs_f64(), 60.0);
    limits.at_most("join: memory, MB", all.memory_mb, 100.0);

    // RBAC compares one name after the other. An API server forwards nothing to the loopback address of the last one, so
    // that request ends right after the decision.
    let scrapes = [(&one.token, &*first, 200), (&all.token, &*first, 200), (&all.token, &*last, 400)];
    let [of_one, of_all, of_last] = run(&cluster, scrapes);
    println!("{:<60} {:>9.2}", "scrape, 1 name: ms", of_one.scrape.as_secs_f64() * 1e3);
    println!("{:<60} {:>9.2}", "scrape, all names: ms", of_all.scrape.as_secs_f64() * 1e3);
    println!("{:<60} {:>9.1}", "authorization, 1 name: µs", of_one.authorization * 1e6);
    println!("{:<60} {:>9.1}", "authorization, all names, the first: µs", of_all.authorization * 1e6);
    println!("{:<60} {:>9.1}", "authorization, all names, the last: µs", of_last.authorization * 1e6);
    limits.at_most("scrape: all names, of one name", of_all.scrape.as_secs_f64() / of_one.scrape.as_secs_f64(), 1.25);
    limits.at_most("authorization: more for the last, ms", (of_last.authorization - of_one.authorization) * 1e3, 1.0);
    drop(cluster);
    testbed::shutdown();
    limits.exit_code()
}

/// A join that has ended.
struct Joined {
    token: BearerToken,
    wall: Duration,
    memory_mb: f64,
    /// Its requests, as `-v 6` logs them.
    log: String,
}

impl Joined {
    /// The time of all requests of this kind.
    fn took(&self, method: &str, path: &str) -> Duration {
        let lines = self.log.lines().filter(|line| line.contains(method) && line.contains(path));
        let milliseconds = |line: &str| line.rsplit(' ').nth(1)?.parse::<u64>().ok();
        Duration::from_millis(lines.filter_map(milliseconds).sum())
    }
}

fn join(cluster: &Cluster, namespace: &str) -> Joined {
    let arguments = ["join", "--pin-nodes", "--jobs=probes", "--yes", "-v6", "--namespace", namespace];
    let program = env!("CARGO_BIN_EXE_kubectl-prom_federate");
    let Cost { wall, memory_mb, .. } = common::run(program, cluster.dir(), cluster.kubeconfig(), &arguments);
    let read = |file| std::fs::read_to_string(cluster.dir().join(file)).expect("text");
    let jobs = prom_federate::yaml::read(&read("stdout")).expect("YAML");
    let token = jobs["scrape_configs"][0]["authorization"]["credentials"].as_str().expect("a token").to_owned();
    Joined { token: token.into(), wall, memory_mb, log: read("stderr") }
}

/// As long as on EKS; the real node comes before them, because the proof takes the first.
fn name(number: usize) -> String {
    format!("worker-{:03}-{:03}-{:03}.eu-central-1.compute.internal", number / 65_536, number / 256 % 256, number % 256)
}

/// Nodes without kubelets, each as large as one with a few dozen images.
fn add_nodes(cluster: &Cluster, count: usize) {
    const AT_ONCE: usize = 8;
    let images: Vec<Value> = (0..40)
        .map(|image| json!({ "names": [format!("registry.example.com/team/application-{image}@sha256:{image:064}")], "sizeBytes": 1 }))
        .collect();
    let status = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": 10_250 } },
        "images": images,
    } });
    thread::scope(|scope| {
        for worker in 0..AT_ONCE {
            let status = &status;
            scope.spawn(move || {
                for number in (worker..count).step_by(AT_ONCE) {
                    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name(number) } });
                    cluster.api().post("/api/v1/nodes", &node).and_then(|it| it.success("a node")).expect("a node");
                    let path = format!("/api/v1/nodes/{}/status", name(number));
                    cluster.api().patch(&path, status).and_then(|it| it.success("its status")).expect("its status");
                }
            });
        }
    });
}

fn role(cluster: &Cluster, namespace: &str) -> Value {
    let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/prom-federate.{namespace}.prometheus");
    cluster.api().get(&path).and_then(|it| it.success("the role")).expect("the role").json()
}

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn megabytes(object: &Value) -> f64 {
    object.to_string().len() as f64 / 1e6
}

/// What one scrape costs.
#[derive(Clone, Copy)]
struct Scrape {
    /// The median, over one connection.
    scrape: Duration,
    /// Seconds that the API server took to decide on it, the mean.
    authorization: f64,
}

/// Scrapes through the API server, each a token, a path and the status of its answer, in turns, so that whatever else
/// the machine does meets all of them.
fn run<const KINDS: usize>(cluster: &Cluster, scrapes: [(&BearerToken, &str, u16); KINDS]) -> [Scrape; KINDS] {
    let certificates = CertificateDer::pem_file_iter(cluster.ca_file()).expect("a CA");
    let certificates = certificates.map(|der| der.expect("a certificate").to_vec()).collect();
    let access = Access {
        url: cluster.url().parse().expect("an address"),
        origin: Origin::Flag,
        ca: Some(CertificateAuthority { certificates, origin: "the benchmark".into() }),
        tls_server_name: None,
        proxy: None,
        kubelet_ca: None,
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Scraper::new(&access, &Connection::default()).expect("a client");
        let mut times = [(); KINDS].map(|()| Vec::new());
        let mut decisions = [(0.0, 0.0); KINDS];
        for turn in 0..=SCRAPES / 10 {
            for (index, (token, path, code)) in scrapes.into_iter().enumerate() {
                let before = authorization(cluster);
                for _ in 0..10 {
                    let started = Instant::now();
                    let answer = client.get(path, Some(token)).await.expect("an answer");
                    assert_eq!(answer.code, code, "{path}: {}", answer.message());
                    times[index].push(started.elapsed());
                }
                let after = authorization(cluster);
                // The first turn warms up.
                if turn == 0 {
                    times[index].clear();
                } else {
                    decisions[index].0 += after.0 - before.0;
                    decisions[index].1 += after.1 - before.1;
                }
            }
        }
        let mut kind = 0;
        times.map(|mut all: Vec<Duration>| {
            all.sort_unstable();
            let (seconds, count) = decisions[kind];
            kind += 1;
            Scrape { scrape: all[all.len() / 2], authorization: seconds / count }
        })
    })
}

/// Seconds and decisions of the API server so far; the few of everybody else are in it.
fn authorization(cluster: &Cluster) -> (f64, f64) {
    let metrics = cluster.api().get("/metrics").expect("metrics").body;
    let sum = |suffix: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with(&format!("{AUTHORIZATION}_{suffix}")));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    (sum("sum"), sum("count"))
}
