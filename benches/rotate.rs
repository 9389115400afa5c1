//! `rotate` under a Prometheus that reads a token again, one that keeps the first token and a vmagent, which scrape every
//! second: ten minutes with a rotation every twenty seconds, of a cluster close by and of two that are 50 ms away. None may
//! lose a scrape. Then what a rotation costs: round trips, and three clusters in one run against one. Fails if a limit is
//! passed.
//!
//! `cargo bench --bench rotate -- 60` does with that many seconds instead of ten minutes.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};
use testbed::{Cluster, ClusterSpec, Delay, Kubeconfig, Prometheus, PrometheusSpec, Release, Vmagent, VmagentSpec};

const SOAK: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_secs(20);
const ARRIVES_WITHIN: Duration = Duration::from_secs(5);
const RTT: Duration = Duration::from_millis(50);
const RUNS: usize = 11;
const NAMES: [&str; 3] = ["near", "far", "farther"];
/// Jobs of each cluster, which has one node.
const TARGETS: usize = 2;

fn main() -> ExitCode {
    testbed::supervise_if_asked();
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let soak = seconds.map_or(SOAK, Duration::from_secs);
    let clusters = NAMES.map(|name| Cluster::start(&ClusterSpec::new(name)).expect("a cluster"));
    let delays = clusters.each_ref().map(|cluster| Delay::in_front_of(cluster.address(), RTT).expect("a delay"));
    let near = clusters.each_ref().map(Cluster::admin);
    let far = [0, 1, 2].map(|index| Kubeconfig { server: delays[index].url(), ..near[index].clone() });
    let mixed = [near[0].clone(), far[1].clone(), far[2].clone()];

    let mut limits = Limits::default();
    let bench = Bench::start();
    let mixed = bench.kubeconfig("mixed", &mixed);
    for name in NAMES {
        for folder in bench.folders() {
            run(&mixed, folder, &["join", "--context", name, "--scrape-interval=1s", "--yes"]);
        }
    }
    bench.soak(soak, &mixed, &mut limits);
    bench.costs(&bench.kubeconfig("near", &near), &bench.kubeconfig("far", &far), &mut limits);
    drop(bench);
    drop(clusters);
    testbed::shutdown();
    if limits.passed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What has to hold.
#[derive(Default)]
struct Limits {
    /// Whether one was passed.
    passed: bool,
}

impl Limits {
    fn at_most(&mut self, what: &str, value: f64, limit: f64) {
        self.hold(what, value, &format!("at most {limit}"), value <= limit);
    }

    fn at_least(&mut self, what: &str, value: f64, limit: f64) {
        self.hold(what, value, &format!("at least {limit}"), value >= limit);
    }

    fn hold(&mut self, what: &str, value: f64, limit: &str, holds: bool) {
        self.passed |= !holds;
        println!("{what:<56} {value:>7.2}  ({limit})  {}", if holds { "ok" } else { "FAILED" });
    }
}

struct Bench {
    /// Scrapes itself, and stores what vmagent scrapes.
    rereading: Prometheus,
    keeping: Prometheus,
    vmagent: Vmagent,
}

impl Bench {
    fn start() -> Self {
        let receiver = PrometheusSpec::new("global: {}\n").flag("--web.enable-remote-write-receiver");
        let rereading = Prometheus::start_with(&receiver).expect("Prometheus starts");
        let address = rereading.address();
        let own = format!(
            "scrape_configs:\n- {{job_name: self, scrape_interval: 1s, static_configs: [{{targets: ['{address}']}}]}}\n"
        );
        rereading.write("prometheus.yml", &own).expect("a file");
        rereading.reload().expect("it reads that");
        let keeping = Prometheus::start_with(&PrometheusSpec::new("global: {}\n").release(Release::V3_14))
            .expect("Prometheus 3.14 starts");
        // Prometheus has series with the same labels of its own.
        let labels = "global:\n  external_labels: {scraper: vmagent}\n";
        let write = format!("{}/api/v1/write", rereading.url());
        let vmagent = Vmagent::start_with(&VmagentSpec::new(labels).remote_write(write)).expect("vmagent starts");
        Self { rereading, keeping, vmagent }
    }

    fn folders(&self) -> [PathBuf; 3] {
        [self.rereading.dir().to_owned(), self.keeping.dir().to_owned(), self.vmagent.dir().join("vmagent.yml")]
    }

    /// Each consumer: its name, who has its samples, and what selects them.
    fn scrapers(&self) -> [(&'static str, &Prometheus, &'static str); 3] {
        [
            ("Prometheus", &self.rereading, ",scraper=\"\""),
            ("Prometheus 3.14", &self.keeping, ""),
            ("vmagent", &self.rereading, ",scraper=\"vmagent\""),
        ]
    }

    /// Rotates again and again, and asks afterwards what there is of every target.
    fn soak(&self, duration: Duration, kubeconfig: &Path, limits: &mut Limits) {
        let targets = NAMES.len() * TARGETS;
        // Its own target is one more.
        self.rereading.wait_for_targets(targets + 1, Duration::from_secs(60)).expect("all are up");
        self.keeping.wait_for_targets(targets, Duration::from_secs(60)).expect("all are up");
        self.vmagent.wait_for_targets(targets, Duration::from_secs(60)).expect("all are up");
        // A join has the discovery of each job begun anew, which is passed on up to 10 s later.
        sleep(Duration::from_secs(15));
        println!(
            "\n{} s, a scrape of every target each second, a rotation of all each {} s\n",
            duration.as_secs(),
            EVERY.as_secs()
        );
        let reloads = || self.rereading.log().matches("Loading configuration file").count();
        let before = reloads();
        let started = Instant::now();
        let mut walls = [const { Vec::new() }; 3];
        while started.elapsed() + EVERY < duration {
            thread::scope(|scope| {
                for (folder, walls) in self.folders().into_iter().zip(&mut walls) {
                    scope.spawn(move || walls.push(rotate(kubeconfig, &folder, &[]).as_secs_f64()));
                }
            });
            let next = EVERY * u32::try_from(walls[0].len()).expect("some");
            sleep(next.saturating_sub(started.elapsed()));
        }
        sleep(duration.saturating_sub(started.elapsed()));
        let seconds = started.elapsed().as_secs();
        // What vmagent scrapes arrives later.
        sleep(ARRIVES_WITHIN);
        let late = ARRIVES_WITHIN.as_secs();
        // Where the window begins and ends is not where the scrapes are.
        let expected = Duration::from_secs(seconds - 1).as_secs_f64();
        for ((what, prometheus, labels), walls) in self.scrapers().into_iter().zip(walls) {
            let number = |query: &str| prometheus.number(query).expect("Prometheus answers").unwrap_or(0.0);
            let rotations = walls.len();
            println!(
                "{what}: {rotations} rotations, {:.2} s each (median, with a scrape by every token)",
                median(walls)
            );
            for name in NAMES {
                let up = format!("up{{cluster=\"{name}\"{labels}}}");
                let over = |function: &str| number(&format!("min({function}({up}[{seconds}s] offset {late}s))"));
                limits.at_least(&format!("  {name}: targets"), number(&format!("count({up})")), 2.0);
                limits.at_least(&format!("  {name}: least up"), over("min_over_time"), 1.0);
                limits.at_least(&format!("  {name}: fewest scrapes of a target"), over("count_over_time"), expected);
            }
        }
        let reloads = u32::try_from(reloads() - before).expect("few");
        limits.at_most("reloads of the Prometheus that reads again", f64::from(reloads), 0.0);
        println!();
    }

    fn costs(&self, near: &Path, far: &Path, limits: &mut Limits) {
        // Without the wait for a scrape, which takes up to an interval, every run goes the same way: a folder that no
        // process reads.
        let alone = self.rereading.dir().join("data/alone");
        std::fs::create_dir(&alone).expect("a folder");
        std::fs::write(alone.join("prometheus.yml"), "global: {}\n").expect("a file");
        run(near, &alone, &["join", "--context=near", "--owner=0", "--yes"]);
        let unseen = |kubeconfig: &Path| {
            median((0..=RUNS).map(|_| rotate(kubeconfig, &alone, &["near"]).as_secs_f64()).skip(1).collect())
        };
        let (fast, slow) = (unseen(near), unseen(far));
        println!("one cluster, without the scrape: {:.0} ms, at 50 ms round trip {:.0} ms\n", fast * 1e3, slow * 1e3);
        limits.at_most("sequential round trips", (slow - fast) / RTT.as_secs_f64(), 8.5);
        let seen = |clusters: &[&str]| {
            median((0..RUNS).map(|_| rotate(far, self.rereading.dir(), clusters).as_secs_f64()).collect())
        };
        let (one, all) = (seen(&["near"]), seen(&NAMES));
        limits.at_most("one cluster at 50 ms, with the scrape: s", one, 3.0);
        limits.at_most("three of them in one run: of one", all / one, 1.7);
    }

    fn kubeconfig(&self, name: &str, contexts: &[Kubeconfig]) -> PathBuf {
        let path = self.rereading.dir().join("data").join(name);
        std::fs::write(&path, Kubeconfig::merged(contexts)).expect("a file");
        path
    }
}

fn rotate(kubeconfig: &Path, destination: &Path, arguments: &[&str]) -> Duration {
    let started = Instant::now();
    run(kubeconfig, destination, &[&["rotate", "--now"], arguments].concat());
    started.elapsed()
}

fn run(kubeconfig: &Path, destination: impl AsRef<Path>, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"))
        .args(arguments)
        .arg("-p")
        .arg(destination.as_ref())
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
