//! `rotate -p DIR` on the real thing: what is due gets a new token and no scrape is lost, what fails keeps the old one,
//! and whenever a run ends the next one tidies up.

mod current;
mod fails;
mod itself;
mod jobs;
mod killed;
mod many;
mod nodes;
mod records;
mod replaces;
mod watched;

use crate::{
    plugin::{Account, Run, command},
    push::folders_of,
};
use jiff::{Timestamp, ToSpan};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use testbed::{Cluster, Prometheus, PrometheusSpec, Target};

pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let modules = [
        current::trials(),
        fails::trials(),
        itself::trials(),
        jobs::trials(),
        killed::trials(),
        many::trials(),
        records::trials(),
        replaces::trials(),
        watched::trials(),
    ];
    modules.into_iter().flatten().collect()
}

/// Those that start a cluster, which takes both cores for seconds: away from those that lose no scrape.
pub(crate) fn trials_with_clusters() -> Vec<libtest_mimic::Trial> {
    nodes::trials()
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);
/// Prometheus scrapes nothing but what is pushed.
const MAIN: &str = "global: {evaluation_interval: 1s}\n";

/// A Prometheus and the folder that it reads, as a destination.
struct Place {
    prometheus: Prometheus,
}

impl Place {
    /// In these last seconds.
    #[track_caller]
    fn lost_no_scrape(&self, cluster: &str, seconds: u64) {
        let failed = self.prometheus.failed_scrapes(cluster, seconds, Duration::from_secs(1));
        assert_eq!(failed.expect("Prometheus answers"), Vec::<String>::new());
    }

    fn new() -> Self {
        Self::with(&PrometheusSpec::new(MAIN))
    }

    fn with(spec: &PrometheusSpec) -> Self {
        Self { prometheus: Prometheus::start_with(spec).expect("Prometheus starts") }
    }

    fn dir(&self) -> &Path {
        self.prometheus.dir()
    }

    /// A join of this account that scrapes every second.
    fn join(&self, account: &Account, more: &[&str]) -> Run {
        self.try_join(account, more).succeeded()
    }

    fn try_join(&self, account: &Account, more: &[&str]) -> Run {
        let mut all = vec!["join", "--scrape-interval=1s", "--namespace", &account.namespace, "--yes"];
        all.extend(more);
        self.run(account.cluster.kubeconfig(), &all)
    }

    fn rotate(&self, kubeconfig: &Path, more: &[&str]) -> Run {
        let mut all = vec!["rotate"];
        all.extend(more);
        self.run(kubeconfig, &all)
    }

    fn run(&self, kubeconfig: &Path, arguments: &[&str]) -> Run {
        self.command(kubeconfig, arguments).output().expect("the plugin starts").into()
    }

    /// The plugin with this destination, and with promtool at hand.
    fn command(&self, kubeconfig: &Path, arguments: &[&str]) -> Command {
        let mut command = command(kubeconfig, arguments);
        command.arg("-p").arg(self.dir()).env("PATH", testbed::tools().promtool.parent().expect("a folder"));
        command
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn ours(&self) -> PathBuf {
        self.dir().join("prom-federate")
    }

    /// The generation that the jobs of a cluster name, or the link that they name; all of them the same.
    fn live(&self, cluster: &str) -> String {
        let fragment = self.read(&format!("prom-federate/{cluster}.scrape.yml"));
        let jobs = prom_federate::yaml::read(&fragment).expect("YAML");
        let jobs = jobs["scrape_configs"].as_array().expect("jobs");
        let mut named: Vec<&str> =
            jobs.iter().filter_map(|job| job["authorization"]["credentials_file"].as_str()).collect();
        assert_eq!(named.len(), jobs.len(), "{fragment}");
        named.dedup();
        let [token] = named[..] else { panic!("{named:?}") };
        let folder = token.strip_prefix(&format!("{cluster}/")).and_then(|path| path.strip_suffix("/token"));
        match folder.expect("a path") {
            "current" => self.current(cluster).expect("a link"),
            generation => generation.to_owned(),
        }
    }

    /// Where the link leads.
    fn current(&self, cluster: &str) -> Option<String> {
        let link = self.ours().join(cluster).join("current");
        fs::read_link(link).ok().map(|to| to.to_string_lossy().into_owned())
    }

    fn file(&self, cluster: &str, name: &str) -> String {
        self.read(&format!("prom-federate/{cluster}/{}/{name}", self.live(cluster)))
    }

    /// What is remembered of a cluster.
    fn record(&self, cluster: &str) -> Value {
        serde_json::from_str(&self.file(cluster, "cluster.json")).expect("JSON")
    }

    fn secret(&self, cluster: &str) -> String {
        self.record(cluster)["boundSecret"]["name"].as_str().expect("a name").to_owned()
    }

    fn change_record(&self, cluster: &str, change: impl FnOnce(&mut Value)) {
        let mut record = self.record(cluster);
        change(&mut record);
        let path = self.ours().join(cluster).join(self.live(cluster)).join("cluster.json");
        fs::write(path, record.to_string()).expect("the record is written");
    }

    /// As if that much time had passed since the last rotation, for all that can be read of it.
    fn pass(&self, cluster: &str, minutes: i64) {
        self.change_record(cluster, |record| {
            for moment in ["issued", "expires"] {
                let time = &mut record["token"][moment];
                let then: Timestamp = time.as_str().expect("a time").parse().expect("a time");
                *time = (then - minutes.minutes()).to_string().into();
            }
        });
    }

    fn generations(&self, cluster: &str) -> Vec<String> {
        folders_of(&self.ours().join(cluster))
    }

    /// Every file of ours and the main configuration, with what is in it.
    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut folders = vec![self.ours()];
        let mut files = BTreeMap::from([(self.dir().join("prometheus.yml"), self.read("prometheus.yml"))]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let link = fs::read_link(&path).ok();
                if path.is_dir() && link.is_none() {
                    folders.push(path.clone());
                }
                let content = link.map(|to| to.to_string_lossy().into_owned());
                files.insert(path.clone(), content.unwrap_or_else(|| fs::read_to_string(path).unwrap_or_default()));
            }
        }
        files
    }

    /// How often Prometheus began to read its configuration, by its own log.
    fn reloads(&self) -> usize {
        self.prometheus.log().matches("Loading configuration file").count()
    }

    /// Waits until that many targets of a cluster are scraped, and all of them.
    fn all_up(&self, cluster: &str, count: usize) -> Vec<Target> {
        let of_cluster = || -> Vec<Target> {
            let targets = self.prometheus.targets().unwrap_or_default();
            targets.into_iter().filter(|target| target.label("cluster") == cluster).collect()
        };
        let up = || Some(of_cluster()).filter(|targets| targets.len() == count && targets.iter().all(Target::is_up));
        testbed::until(SCRAPED_WITHIN, up).unwrap_or_else(|| panic!("not up: {:?}", of_cluster()))
    }

    /// Nothing is there but what is in use, on both sides, and it is in use.
    fn is_tidy(&self, account: &Account, cluster: &str) {
        assert_eq!(account.secrets(), [self.secret(cluster)]);
        assert_eq!(self.generations(cluster), [self.live(cluster)]);
        let names: Vec<PathBuf> =
            self.files().into_keys().filter(|path| path.to_string_lossy().ends_with(".new")).collect();
        assert_eq!(names, Vec::<PathBuf>::new());
        self.accepted();
        self.all_up(cluster, 4);
    }

    /// A Prometheus that starts now would take all of it.
    fn accepted(&self) {
        let mut promtool = Command::new(&testbed::tools().promtool);
        let output =
            promtool.args(["check", "config"]).arg(self.dir().join("prometheus.yml")).output().expect("promtool");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// An account of the east cluster that one Prometheus has joined.
struct Scene {
    account: Account<'static>,
    place: Place,
}

impl Scene {
    fn joined(name: &str, more: &[&str]) -> Self {
        Self::joined_in(&testbed::shared().east, name, more)
    }

    fn joined_in(cluster: &'static Cluster, name: &str, more: &[&str]) -> Self {
        let scene = Self { account: Account::new(cluster, &format!("rotate-{name}")), place: Place::new() };
        scene.place.join(&scene.account, more);
        scene
    }

    fn rotate(&self, more: &[&str]) -> Run {
        self.place.rotate(self.account.cluster.kubeconfig(), more)
    }

    /// What is in use, to be compared with later.
    fn state(&self) -> State {
        let name = self.account.cluster.name();
        State { generation: self.place.live(name), secrets: self.account.secrets(), files: self.place.files() }
    }
}

/// What a destination has of a cluster, on both sides.
struct State {
    generation: String,
    secrets: Vec<String>,
    files: BTreeMap<PathBuf, String>,
}

impl State {
    /// The other one is the same. Files are told by their names: some hold tokens.
    fn is(&self, other: &Self) {
        assert_eq!((&self.generation, &self.secrets), (&other.generation, &other.secrets));
        let all: BTreeSet<&PathBuf> = self.files.keys().chain(other.files.keys()).collect();
        let differ: Vec<_> = all.into_iter().filter(|path| self.files.get(*path) != other.files.get(*path)).collect();
        assert!(differ.is_empty(), "{differ:?}");
    }
}

/// One report of `-o json`.
fn reports(run: &Run) -> Vec<Value> {
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    assert_eq!(report["kind"], "RotateReport");
    report["clusters"].as_array().expect("a list").clone()
}

/// Failed with this reason for the clusters, as the last line says of all.
fn keeps_old_token(run: Run, says: &[&str]) {
    let run = run.failed("RotationFailed", says);
    assert!(run.stderr.contains("hint: The old token stays in use and expires on "), "{}", run.stderr);
}
