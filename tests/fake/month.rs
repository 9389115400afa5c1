//! `rotate --watch` for a simulated month: the clock of the watch and of the API servers passes at once when everything
//! waits. The folder of the destination is a real one.
//!
//! `MONTH=1000 CARGO_PROFILE_DEV_OPT_LEVEL=2 cargo test --test fake -- month --nocapture` keeps that many clusters for
//! thirty days, or `DAYS`, and looks at the size of this process, which has the API servers too.

use crate::{World, prometheus_folder};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env, fs, mem,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::time::sleep;

/// In a `cargo test`.
const CLUSTERS: usize = 6;
const DAYS: usize = 3;
/// With `MONTH`.
const MONTH: usize = 30;
const HOUR: Duration = Duration::from_secs(3600);
/// What API servers grant of the seven days that `join` asks for: EKS and AKS, GKE, others.
const GRANTED: [Option<u64>; 3] = [Some(24 * 3600), Some(48 * 3600), None];

/// A folder of a Prometheus that does not run.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(prometheus_folder())
    }

    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [words, &["-p", self.0.path().to_str().expect("UTF-8"), "--reload=none"]].concat()
    }

    /// The folder of the token that the jobs of a cluster name.
    fn live(&self, cluster: &str) -> PathBuf {
        let ours = self.0.path().join("prom-federate");
        let jobs = read(&ours.join(format!("{cluster}.scrape.yml")));
        let file = jobs.lines().find_map(|line| line.trim().strip_prefix("credentials_file: ")).expect("a file");
        ours.join(file.trim_matches('"')).parent().expect("a folder").to_owned()
    }

    fn token(&self, cluster: &str) -> String {
        read(&self.live(cluster).join("token")).trim().to_owned()
    }

    fn life(&self, cluster: &str) -> Life {
        let record: Value = serde_json::from_str(&read(&self.live(cluster).join("cluster.json"))).expect("JSON");
        let time = |field: &str| record["token"][field].as_str().expect("a time").parse().expect("a time");
        Life { issued: time("issued"), expires: time("expires") }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Clone, Copy)]
struct Life {
    issued: Timestamp,
    expires: Timestamp,
}

/// What a watch said of its rotations.
struct Rotations {
    in_place: BTreeMap<String, Life>,
    count: usize,
    by_hand: usize,
    /// Of the life of a token, how much was left when it was replaced.
    least: f64,
    most: f64,
}

impl Rotations {
    fn new(in_place: BTreeMap<String, Life>) -> Self {
        Self { in_place, count: 0, by_hand: 0, least: 1.0, most: 0.0 }
    }

    fn read(&mut self, said: &str) {
        for line in said.lines() {
            let field = |name: &str| {
                let value = line.split_once(&format!("{name}=")).map(|(_, rest)| rest);
                value.and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("no {name}: {line}"))
            };
            let time = |name: &str| field(name).parse::<Timestamp>().expect("a time");
            match field("event") {
                "started" => continue,
                "warning" if line.contains(": no running Prometheus reads ") => continue,
                "rotated" => {}
                _ => panic!("{line}"),
            }
            let (at, expires) = (time("ts"), time("expires"));
            let before = self.in_place.insert(field("cluster").to_owned(), Life { issued: at, expires });
            let before = before.expect("it was joined");
            let seconds = |from: Timestamp, to: Timestamp| (to - from).total(jiff::Unit::Second).expect("a number");
            let left = seconds(at, before.expires) / seconds(before.issued, before.expires);
            assert!(left > 0.0, "too late: {line}");
            (self.least, self.most) = (self.least.min(left), self.most.max(left));
            self.count += 1;
        }
    }
}

/// Of this process, with the API servers in it: resident memory in MB, and open files.
fn size() -> (f64, usize) {
    let status = read(Path::new("/proc/self/status"));
    let kilobytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    let kilobytes: f64 = kilobytes.expect("Linux says it");
    (kilobytes / 1e3, fs::read_dir("/proc/self/fd").expect("Linux says it").count())
}

/// Once a day a run by hand replaces a token, which the watch then replaces no earlier than any other.
#[test]
fn watch_replaces_each_token_in_time_and_none_twice_for_a_month() {
    let number = |name: &str| env::var(name).ok().map(|number| number.parse::<usize>().expect("a number"));
    let asked = number("MONTH");
    let (count, days) = asked.map_or((CLUSTERS, DAYS), |count| (count, number("DAYS").unwrap_or(MONTH)));
    let names: Vec<String> = (0..count).map(|number| format!("cluster-{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let started = Instant::now();
    let (world, folder) = (World::of(&names), Folder::new());
    for (name, granted) in names.iter().zip(GRANTED.into_iter().cycle()) {
        world.cluster(name).state().token_cap = granted;
    }
    world.run(&folder.words(&["join", "--all-contexts", "--parallel=64", "--owner=0:0"])).succeeded();
    let joined = started.elapsed();

    let issued = |name: &&str| {
        let server = world.cluster(name);
        let asked = |request: &testbed::Request| request.method == "POST" && request.path.ends_with("/token");
        let asked = server.requests().into_iter().filter(asked).count();
        server.forget_requests();
        server.state().forget_expired_tokens();
        asked
    };
    assert_eq!(names.iter().map(issued).sum::<usize>(), count);
    let mut rotations = Rotations::new(names.iter().map(|name| ((*name).to_owned(), folder.life(name))).collect());
    let mut sizes = Vec::new();
    let watch = folder.words(&["rotate", "--watch", "--proof-interval=0s"]);
    let watched = world.watching(&watch, async |said| {
        let mut tokens = 0;
        for day in 0..days {
            for hour in 0..24 {
                sleep(HOUR).await;
                rotations.read(&mem::take(&mut *said.lock().expect("nothing panicked")));
                if hour == 12 {
                    let name = names[day % count];
                    let by_hand = folder.words(&["rotate", name, "--now"]);
                    world.run_beside(&by_hand).await.succeeded();
                    rotations.in_place.insert(name.to_owned(), folder.life(name));
                    rotations.by_hand += 1;
                }
                for name in &names {
                    let credentials = format!("Bearer {}", folder.token(name));
                    let user = world.cluster(name).state().authenticate(Some(&credentials));
                    assert!(user.is_some(), "{name}, day {day}, hour {hour}: Prometheus has a token that is refused");
                }
                tokens += names.iter().map(issued).sum::<usize>();
            }
            let (memory, files) = size();
            println!("after day {}: {} rotations, {memory:.1} MB, {files} open files", day + 1, rotations.count);
            sizes.push((memory, files));
        }
        tokens
    });
    let Rotations { count: by_watch, by_hand, least, most, .. } = rotations;
    println!("{count} clusters, {days} days: {by_watch} rotations by the watch, {by_hand} by hand");
    println!("life left at the replacement: {:.1} % to {:.1} %", least * 100.0, most * 100.0);
    let cpu = clock_gettime(ClockId::ProcessCPUTime).tv_sec;
    println!("{} s for the joins, {} s in all, {cpu} s of CPU", joined.as_secs(), started.elapsed().as_secs());
    assert_eq!(watched, by_watch + by_hand, "each token that was issued is one that was delivered");
    // At half of its life, and then a jitter of up to 5 % of the other half.
    assert!(least > 0.47 && most <= 0.5, "{least} to {most}");
    // Other tests of this process are not of the size that is looked at.
    if asked.is_some() {
        let (half, last) = (sizes[days / 2], sizes[days - 1]);
        assert!(last.0 < half.0 * 1.05, "the memory has grown: {sizes:?}");
        // Work with files may be under way.
        assert!(last.1 <= half.1 + 8, "files stay open: {sizes:?}");
    }
}
