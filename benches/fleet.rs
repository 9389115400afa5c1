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
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};
use testbed::{Http, Kubeconfig, Simulated, Trust, User};

const CLUSTERS: usize = 1_000;
const RTT: Duration = Duration::from_millis(50);
fn main() -> ExitCode {
    testbed::supervise_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, count, dir] = &arguments[..]
        && serve == SERVE
    {
        serve_until_the_input_ends(count.parse().expect("a number"), dir.as_ref());
        return ExitCode::SUCCESS;
    }
    let clusters = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(CLUSTERS);
    let mut limits = Limits::default();
    println!("\n{:<14} {:>8}   {:>8} {:>8} {:>9}", "command", "clusters", "wall", "CPU", "memory");
    let few = clusters.div_ceil(100);
    let small = Fleet::new(few).commands();
    let large = Fleet::new(clusters).commands();
    println!();
    for ((command, seconds, words), (small, large)) in COMMANDS.into_iter().zip(small.into_iter().zip(large)) {
        limits.at_most(&format!("{command}: s"), large.wall.as_secs_f64(), seconds);
        limits.at_most(&format!("{command}: memory, MB"), large.memory_mb, 200.0);
        if words.contains(&"--parallel") {
            // Linear: the larger fleet costs each cluster no more, and shares what every run costs.
            let each = |cost: Cost, of: usize| cost.cpu.as_secs_f64() / f64::from(u32::try_from(of).expect("few"));
            let ratio = each(large, clusters) / each(small, few);
            limits.at_most(&format!("{command}: CPU of a cluster, of one in a hundredth of them"), ratio, 1.2);
        }
    }
    testbed::shutdown();
    limits.exit_code()
}

/// As many clusters at a time. A first join mostly waits for the API server to read a policy.
const PARALLEL: &str = "64";
const FIRST: &str = "128";
/// The context that is joined when all others are.
const LAST: &str = "last";
/// Each command with the seconds that it may take for a thousand clusters, in their order.
const COMMANDS: [(&str, f64, &[&str]); 7] = [
    ("join", 20.0, &["join", "--context=cluster-*", "--parallel", FIRST, "--yes", "--reload=none", "--owner=0:0"]),
    (
        "join again",
        10.0,
        &["join", "--context=cluster-*", "--parallel", PARALLEL, "--yes", "--reload=none", "--owner=0:0"],
    ),
    // 1.25 of them wait for the API server to read a policy.
    ("join one more", 4.0, &["join", "--context", LAST, "--yes", "--reload=none", "--owner=0:0"]),
    ("rotate", 20.0, &["rotate", "--now", "--parallel", PARALLEL, "--reload=none", "--owner=0:0"]),
    ("status", 10.0, &["status", "--parallel", PARALLEL]),
    ("check", 10.0, &["check", "--parallel", PARALLEL]),
    ("completion", 0.05, &["__complete", "join", "--context", ""]),
];

/// The first argument of the process that has the servers: the memory of the one that starts a command counts as the
/// command's until it has begun (Linux `fs/exec.c`, `exec_mmap`).
const SERVE: &str = "serve";

/// Clusters, and the folder of a Prometheus that does not run.
struct Fleet {
    count: usize,
    dir: PathBuf,
    kubeconfig: PathBuf,
    servers: Child,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.servers.stdin.take());
        let _ = self.servers.wait();
    }
}

impl Fleet {
    fn new(count: usize) -> Self {
        let dir = testbed::run_dir().expect("a folder").join(format!("fleet-{count}"));
        std::fs::create_dir_all(dir.join("prometheus")).expect("a folder");
        std::fs::write(dir.join("prometheus/prometheus.yml"), "global: {}\n").expect("a file");
        let mut servers = Command::new(std::env::current_exe().expect("this program"))
            .args([SERVE, &count.to_string()])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut kubeconfig = String::new();
        let serving = servers.stdout.as_mut().expect("its output");
        BufReader::new(serving).read_line(&mut kubeconfig).expect("a line");
        Self { count, kubeconfig: PathBuf::from(kubeconfig.trim()), dir, servers }
    }

    fn commands(&self) -> Vec<Cost> {
        COMMANDS.iter().map(|(what, _, words)| self.run(what, words)).collect()
    }

    fn run(&self, what: &str, words: &[&str]) -> Cost {
        let prometheus = self.dir.join("prometheus").display().to_string();
        let to: &[&str] = if words[0] == "__complete" { &[] } else { &["-p", &prometheus] };
        let program = env!("CARGO_BIN_EXE_kubectl-prom_federate");
        let cost = run(program, &self.dir, &self.kubeconfig, &[words, to].concat());
        println!(
            "{what:<14} {:>8}   {:>6.2} s {:>6.2} s {:>6.1} MB",
            self.count,
            cost.wall.as_secs_f64(),
            cost.cpu.as_secs_f64(),
            cost.memory_mb
        );
        cost
    }
}

/// Prints the path of a kubeconfig with a context for each server.
fn serve_until_the_input_ends(count: usize, dir: &Path) {
    network::raise_open_files(count + 1, count + 1);
    let servers = Simulated::new(&dir.join("pki"), RTT, Http::Two).expect("certificates");
    let context = |name: String| {
        let server = Arc::new(ApiServer::new());
        let address = servers.serve(Arc::new(move |head, body| respond(&server, head, body))).expect("a port");
        Kubeconfig {
            context: name,
            server: format!("https://{address}"),
            trust: Trust::File(servers.ca_file().to_owned()),
            user: User::Token("admin".to_owned()),
            namespace: None,
            proxy_url: None,
            tls_server_name: None,
        }
    };
    let contexts: Vec<Kubeconfig> =
        (0..count).map(|number| format!("cluster-{number:04}")).chain([LAST.to_owned()]).map(context).collect();
    let kubeconfig = dir.join("kubeconfig");
    std::fs::write(&kubeconfig, Kubeconfig::merged(&contexts)).expect("a file");
    println!("{}", kubeconfig.display());
    let _ = std::io::stdin().read_line(&mut String::new());
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
