//! A thousand clusters: how long the commands take for all of them, and what they cost. The API servers are simulated, 50
//! ms away: the one of the tests (`tests/fake/api`), behind real TLS. Fails if a limit is passed.
//!
//! `cargo bench --bench fleet -- 100` does with that many clusters.

#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../tests/fake/api/mod.rs"]
mod api;
#[expect(dead_code, reason = "the benchmarks share it")]
mod common;
#[path = "../tests/fake/policy.rs"]
mod policy;
#[path = "../tests/fake/rbac.rs"]
mod rbac;

use api::{ApiServer, Verdict};
use common::{Cost, Limits, run};
use prom_federate::cluster::network;
use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use testbed::{Http, Kubeconfig, Simulated, Trust, User};

const CLUSTERS: usize = 1_000;
const RTT: Duration = Duration::from_millis(50);
/// Of the command line.
const PARALLEL: &str = "128";

fn main() -> ExitCode {
    testbed::supervise_if_asked();
    network::raise_open_files(CLUSTERS, CLUSTERS);
    let clusters = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(CLUSTERS);
    let mut limits = Limits::default();
    println!("\n{:<10} {:>8}   {:>8} {:>8} {:>9}", "command", "clusters", "wall", "CPU", "memory");
    let small = Fleet::new(clusters.div_ceil(100)).commands();
    let large = Fleet::new(clusters).commands();
    println!();
    for ((command, seconds), (few, many)) in LIMITS.into_iter().zip(small.into_iter().zip(large)) {
        limits.at_most(&format!("{command}: s"), many.wall.as_secs_f64(), seconds);
        limits.at_most(&format!("{command}: memory, MB"), many.memory_mb, 200.0);
        // Linear: the larger fleet costs each cluster no more, and shares what every run costs.
        let each = |cost: Cost, of: usize| cost.cpu.as_secs_f64() / f64::from(u32::try_from(of).expect("few"));
        let ratio = each(many, clusters) / each(few, clusters.div_ceil(100));
        limits.at_most(&format!("{command}: CPU of a cluster, of one in a hundredth of them"), ratio, 1.2);
    }
    testbed::shutdown();
    limits.exit_code()
}

/// How long each command may take, in seconds.
const LIMITS: [(&str, f64); 4] = [("join", 20.0), ("join again", 10.0), ("rotate", 20.0), ("status", 10.0)];

/// Clusters, and the folder of a Prometheus that does not run.
struct Fleet {
    count: usize,
    dir: PathBuf,
    kubeconfig: PathBuf,
}

impl Fleet {
    fn new(count: usize) -> Self {
        let dir = testbed::run_dir().expect("a folder").join(format!("fleet-{count}"));
        let servers = Simulated::new(&dir.join("pki"), RTT, Http::Two).expect("certificates");
        let contexts: Vec<Kubeconfig> = (0..count)
            .map(|number| {
                let server = Arc::new(ApiServer::new());
                let address = servers.serve(Arc::new(move |head, body| respond(&server, head, body))).expect("a port");
                Kubeconfig {
                    context: format!("cluster-{number:04}"),
                    server: format!("https://{address}"),
                    trust: Trust::File(servers.ca_file().to_owned()),
                    user: User::Token("admin".to_owned()),
                    namespace: None,
                    proxy_url: None,
                    tls_server_name: None,
                }
            })
            .collect();
        let kubeconfig = dir.join("kubeconfig");
        std::fs::write(&kubeconfig, Kubeconfig::merged(&contexts)).expect("a file");
        std::fs::create_dir_all(dir.join("prometheus")).expect("a folder");
        std::fs::write(dir.join("prometheus/prometheus.yml"), "global: {}\n").expect("a file");
        Self { count, dir, kubeconfig }
    }

    fn commands(&self) -> [Cost; 4] {
        let join = ["join", "--all-contexts", "--parallel", PARALLEL, "--yes"];
        [
            self.run("join", &join),
            self.run("join again", &join),
            self.run("rotate", &["rotate", "--now", "--parallel", PARALLEL]),
            self.run("status", &["status", "--parallel", PARALLEL]),
        ]
    }

    fn run(&self, what: &str, arguments: &[&str]) -> Cost {
        let prometheus = self.dir.join("prometheus").display().to_string();
        let to = ["-p", &prometheus];
        let unread: &[&str] = if arguments[0] == "status" { &[] } else { &["--reload=none", "--owner=0:0"] };
        let program = env!("CARGO_BIN_EXE_kubectl-prom_federate");
        let cost = run(program, &self.dir, &self.kubeconfig, &[arguments, &to, unread].concat());
        println!(
            "{what:<10} {:>8}   {:>6.2} s {:>6.2} s {:>6.1} MB",
            self.count,
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            cost.memory_mb
        );
        cost
    }
}

fn respond(
    server: &Arc<ApiServer>,
    head: &http::request::Parts,
    body: bytes::Bytes,
) -> Option<http::Response<bytes::Bytes>> {
    let Verdict::Answer(answer) = server.receive(head, body) else { return None };
    let response = http::Response::builder().status(answer.status).header("content-type", answer.content_type());
    response.body(answer.body.into()).ok()
}
