//! `rotate` under a real Prometheus that scrapes every second: ten minutes with a rotation every twenty seconds, of a
//! cluster close by, which may not lose a scrape, and of two that are 50 ms away. Then what a rotation costs: round trips,
//! and three clusters in one run against one. Fails if a limit is passed.
//!
//! The two lose scrapes: Prometheus drops the targets of a discovery whose token has another path until the new one has
//! listed the nodes (`discovery/manager.go`, `allGroups`), which takes as many round trips as the next update waits for.
//!
//! `cargo bench --bench rotate -- 60` does with that many seconds instead of ten minutes.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use testbed::{Cluster, ClusterSpec, Delay, Kubeconfig, Prometheus};

const SOAK: Duration = Duration::from_secs(600);
const EVERY: Duration = Duration::from_secs(20);
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
    let bench = Bench { prometheus: Prometheus::start("global: {}\n").expect("Prometheus starts") };
    let mixed = bench.kubeconfig("mixed", &mixed);
    for name in NAMES {
        bench.join(&mixed, name);
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
    prometheus: Prometheus,
}

impl Bench {
    /// Rotates again and again, and asks Prometheus afterwards what it has of every target.
    fn soak(&self, duration: Duration, kubeconfig: &Path, limits: &mut Limits) {
        let targets = NAMES.len() * TARGETS;
        self.prometheus.wait_for_targets(targets, Duration::from_secs(30)).expect("all are up");
        sleep(Duration::from_secs(2));
        println!(
            "\n{} s, a scrape of every target each second, a rotation of all each {} s\n",
            duration.as_secs(),
            EVERY.as_secs()
        );
        let started = Instant::now();
        let mut walls = Vec::new();
        while started.elapsed() + EVERY < duration {
            walls.push(self.rotate(kubeconfig, &[]).as_secs_f64());
            let next = EVERY * u32::try_from(walls.len()).expect("some");
            sleep(next.saturating_sub(started.elapsed()));
        }
        sleep(duration.saturating_sub(started.elapsed()));
        let seconds = started.elapsed().as_secs();
        let rotations = f64::from(u32::try_from(walls.len()).expect("some")).max(1.0);
        println!("{} rotations, {:.2} s each (median, with a scrape by every new token)\n", walls.len(), median(walls));
        for name in NAMES {
            let over = |function: &str| format!("min({function}(up{{cluster=\"{name}\"}}[{seconds}s]))");
            limits.at_least(&format!("{name}: targets"), self.number(&format!("count(up{{cluster=\"{name}\"}})")), 2.0);
            limits.at_least(&format!("{name}: least up"), self.number(&over("min_over_time")), 1.0);
            // Where the window begins and ends is not where the scrapes are.
            let expected = Duration::from_secs(seconds - 1).as_secs_f64();
            let fewest = self.number(&over("count_over_time"));
            if name == NAMES[0] {
                limits.at_least(&format!("{name}: fewest scrapes of a target"), fewest, expected);
            } else {
                limits.at_most(
                    &format!("{name}: scrapes lost by a rotation"),
                    (expected - fewest).max(0.0) / rotations,
                    2.0,
                );
            }
        }
        println!();
    }

    fn costs(&self, near: &Path, far: &Path, limits: &mut Limits) {
        // Without the wait for a scrape, which takes up to an interval, every run goes the same way.
        let unseen = |kubeconfig: &Path, cluster: &str| {
            median(
                (0..=RUNS)
                    .map(|_| self.rotate(kubeconfig, &[cluster, "--reload=none"]).as_secs_f64())
                    .skip(1)
                    .collect(),
            )
        };
        let (fast, slow) = (unseen(near, "near"), unseen(far, "near"));
        println!("one cluster, without the scrape: {:.0} ms, at 50 ms round trip {:.0} ms\n", fast * 1e3, slow * 1e3);
        limits.at_most("sequential round trips", (slow - fast) / RTT.as_secs_f64(), 8.5);
        let seen = |clusters: &[&str]| median((0..RUNS).map(|_| self.rotate(far, clusters).as_secs_f64()).collect());
        let (one, all) = (seen(&["near"]), seen(&NAMES));
        limits.at_most("one cluster at 50 ms, with the scrape: s", one, 3.0);
        limits.at_most("three of them in one run: of one", all / one, 1.7);
    }

    fn number(&self, query: &str) -> f64 {
        self.prometheus.number(query).expect("Prometheus answers").unwrap_or(0.0)
    }

    fn kubeconfig(&self, name: &str, contexts: &[Kubeconfig]) -> PathBuf {
        let path = self.prometheus.dir().join("data").join(name);
        std::fs::write(&path, Kubeconfig::merged(contexts)).expect("a file");
        path
    }

    fn join(&self, kubeconfig: &Path, context: &str) {
        self.run(kubeconfig, &["join", "--context", context, "--scrape-interval=1s", "--yes"]);
    }

    fn rotate(&self, kubeconfig: &Path, arguments: &[&str]) -> Duration {
        let started = Instant::now();
        self.run(kubeconfig, &[&["rotate", "--now"], arguments].concat());
        started.elapsed()
    }

    fn run(&self, kubeconfig: &Path, arguments: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"))
            .args(arguments)
            .arg("-p")
            .arg(self.prometheus.dir())
            .env_clear()
            .env("KUBECONFIG", kubeconfig)
            .stdin(Stdio::null())
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
