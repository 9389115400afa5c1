//! `rotate --watch` for an hour: three clusters whose tokens live ten minutes, one close by and two that are 50 ms away, a
//! Prometheus that reads a token again and one that keeps the first. No scrape of a target may be missing or fail, and the
//! watch may not grow. Fails if a limit is passed.
//!
//! `cargo bench --bench watch -- 900` does with that many seconds instead of an hour.

#[expect(dead_code, reason = "the benchmarks share it")]
mod common;

use common::Limits;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use testbed::{Cluster, ClusterSpec, Delay, Kubeconfig, Prometheus, PrometheusSpec, Release};

const TIME: Duration = Duration::from_secs(3600);
/// The shortest that an API server issues.
const LIFETIME: &str = "10m";
const RTT: Duration = Duration::from_millis(50);
const NAMES: [&str; 3] = ["near", "far", "farther"];
/// Jobs of each cluster, which has one node.
const TARGETS: usize = 2;
const SCRAPED_EVERY: Duration = Duration::from_secs(5);
/// As often it is looked how large the watch is.
const PARTS: u32 = 10;
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    testbed::supervise_if_asked();
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let time = seconds.map_or(TIME, Duration::from_secs);
    let clusters = NAMES.map(|name| Cluster::start(&ClusterSpec::new(name)).expect("a cluster"));
    let delays = [1, 2].map(|index| Delay::in_front_of(clusters[index].address(), RTT).expect("a delay"));
    let mut contexts = clusters.each_ref().map(Cluster::admin);
    for (context, delay) in contexts[1..].iter_mut().zip(&delays) {
        context.server = delay.url();
    }
    let destinations = [Release::Current, Release::V3_14].map(|release| {
        Prometheus::start_with(&PrometheusSpec::new("global: {}\n").release(release)).expect("it starts")
    });
    let kubeconfig = destinations[0].dir().join("data/kubeconfig");
    fs::write(&kubeconfig, Kubeconfig::merged(&contexts)).expect("a file");

    let mut limits = Limits::default();
    soak(&destinations, &kubeconfig, time, &mut limits);
    drop(destinations);
    drop(clusters);
    testbed::shutdown();
    limits.exit_code()
}

fn soak(destinations: &[Prometheus], kubeconfig: &Path, time: Duration, limits: &mut Limits) {
    let plugin = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"));
        command.args(words).env_clear().env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
        command
    };
    let interval = format!("--scrape-interval={}s", SCRAPED_EVERY.as_secs());
    let duration = format!("--duration={LIFETIME}");
    let folders: Vec<&str> = destinations.iter().map(|one| one.dir().to_str().expect("UTF-8")).collect();
    for folder in &folders {
        for name in NAMES {
            let join = plugin(&["join", "--context", name, "-p", folder, &interval, &duration, "--yes"]).output();
            let join = join.expect("it starts");
            assert!(join.status.success(), "{}", String::from_utf8_lossy(&join.stderr));
        }
    }
    for prometheus in destinations {
        prometheus.wait_for_targets(NAMES.len() * TARGETS, Duration::from_secs(60)).expect("all are up");
    }
    // A join has the discovery of each job begun anew, which is passed on up to 10 s later.
    sleep(Duration::from_secs(15));

    let said = destinations[0].dir().join("data/watch");
    let words: Vec<&str> =
        ["rotate", "--watch"].into_iter().chain(folders.iter().flat_map(|folder| ["-p", folder])).collect();
    let mut watch = Watch(
        plugin(&words)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).expect("a file"))
            .spawn()
            .expect("it starts"),
    );
    let started = Instant::now();
    let mut sizes = Vec::new();
    let mut generations = BTreeSet::new();
    while started.elapsed() < time {
        sleep(LOOKED_AT_EVERY);
        if let Some(status) = watch.0.try_wait().expect("a process") {
            panic!("the watch has ended: {status}: {}", fs::read_to_string(&said).unwrap_or_default());
        }
        for folder in &folders {
            let entries = |name| fs::read_dir(Path::new(folder).join("prom-federate").join(name)).expect("a folder");
            let entries = NAMES.into_iter().flat_map(entries).map(|entry| entry.expect("an entry"));
            let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            generations.extend(folders.map(|folder| folder.path()));
        }
        if started.elapsed() * PARTS > time * u32::try_from(sizes.len() + 1).expect("few") {
            sizes.push(watch.size());
        }
    }
    let seconds = started.elapsed().as_secs();
    println!("{seconds} s, tokens of {LIFETIME}, a scrape of each target every {} s\n", SCRAPED_EVERY.as_secs());
    let tokens = generations.len() - folders.len() * NAMES.len();
    println!("tokens replaced: {tokens}");
    for (part, (memory, files)) in (1..).zip(&sizes) {
        println!("the watch after {part} of {PARTS} parts of the time: {memory:.1} MB, {files} open files");
    }
    println!();

    // Where the window begins and ends is not where the scrapes are.
    let expected = Duration::from_secs(seconds / SCRAPED_EVERY.as_secs() - 1).as_secs_f64();
    for (prometheus, release) in destinations.iter().zip(["3.16", "3.14"]) {
        let number = |query: &str| prometheus.number(query).expect("Prometheus answers").unwrap_or(0.0);
        for name in NAMES {
            let up = format!("up{{cluster=\"{name}\"}}");
            let over = |function: &str| number(&format!("min({function}({up}[{seconds}s]))"));
            let what = |what: &str| format!("Prometheus {release}, {name}: {what}");
            limits.at_least(&what("targets"), number(&format!("count({up})")), 2.0);
            limits.at_least(&what("least up"), over("min_over_time"), 1.0);
            limits.at_least(&what("fewest scrapes of a target"), over("count_over_time"), expected);
        }
    }
    let (first, second) = sizes.split_at(sizes.len() / 2);
    let most = |sizes: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| sizes.iter().map(of).fold(0.0, f64::max);
    let grown = |of| most(second, of) / most(first, of);
    limits.at_most("most memory in the second half, of the first", grown(|size| size.0), 1.1);
    limits.at_most("most open files in the second half, of the first", grown(|size| size.1), 1.0);
}

/// Ends with the bench, whatever happens.
struct Watch(Child);

impl Watch {
    /// Its resident memory in MB, and its open files.
    fn size(&self) -> (f64, f64) {
        let of = |file: &str| format!("/proc/{}/{file}", self.0.id());
        let status = fs::read_to_string(of("status")).expect("it runs");
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        let kilobytes: f64 = kilobytes.expect("Linux says it");
        let files = u32::try_from(fs::read_dir(of("fd")).expect("it runs").count()).expect("few");
        (kilobytes / 1e3, f64::from(files))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
