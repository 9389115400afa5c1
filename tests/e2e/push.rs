//! `join -p DIR` on the real thing: what it leaves, what it takes back, and that nothing is lost whenever it ends.

mod copied;
mod disk;
mod foreign;
mod input;
mod interrupted;
mod kill;
mod left;
mod power;
mod taken_back;

pub(crate) use copied::Machine;
pub(crate) use foreign::{RootOnly, STRANGER, give_by_default, mkfifo};
pub(crate) use taken_back::{Mounted, fill};

use crate::plugin::{Account, Run, command};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use testbed::{Prometheus, PrometheusSpec, Target};

pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let modules = [
        copied::trials(),
        disk::trials(),
        foreign::trials(),
        left::trials(),
        input::trials(),
        kill::trials(),
        power::trials(),
        taken_back::trials(),
        interrupted::trials(),
    ];
    modules.into_iter().flatten().collect()
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);

/// A main configuration with comments.
const MAIN: &str = "\
# The main thing.
global:
  scrape_interval: 1s # often
rule_files: [] # none yet
scrape_configs:
- job_name: self
  static_configs: [{targets: ['localhost:1']}] # is down
";

/// The account of a test and the Prometheus that its jobs go to.
pub(crate) struct Scene<'a> {
    account: Account<'a>,
    prometheus: Prometheus,
}

impl<'a> Scene<'a> {
    fn new(name: &str) -> Scene<'static> {
        Scene::with(name, &PrometheusSpec::new(MAIN))
    }

    fn with(name: &str, spec: &PrometheusSpec) -> Scene<'static> {
        let account = Account::new(&testbed::shared().east, &format!("push-{name}"));
        Scene { account, prometheus: Prometheus::start_with(spec).expect("Prometheus starts") }
    }

    /// Another destination of the same account.
    fn beside(other: &Scene<'a>) -> Scene<'a> {
        let account = Account { cluster: other.account.cluster, namespace: other.account.namespace.clone() };
        Scene { account, prometheus: Prometheus::start(MAIN).expect("Prometheus starts") }
    }

    fn dir(&self) -> &Path {
        self.prometheus.dir()
    }

    fn typed(&self) -> &str {
        self.dir().to_str().expect("UTF-8")
    }

    /// What joins this scene, with more arguments.
    fn arguments<'b>(&'b self, more: &[&'b str]) -> Vec<&'b str> {
        let mut all = vec!["join", "--scrape-interval=1s", "-p", self.typed()];
        all.extend(["--namespace", &self.account.namespace, "--yes"]);
        all.extend(more);
        all
    }

    fn try_join(&self, more: &[&str]) -> Run {
        command(self.account.cluster.kubeconfig(), &self.arguments(more)).output().expect("the plugin starts").into()
    }

    fn join(&self, more: &[&str]) -> Run {
        self.try_join(more).succeeded()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The path of the token in use, relative to the folder: in its generation, also where the jobs name the link to it.
    /// None without jobs.
    fn token_path(&self, cluster: &str) -> Option<String> {
        let text = fs::read_to_string(self.dir().join(format!("prom-federate/{cluster}.scrape.yml"))).ok()?;
        let jobs = prom_federate::yaml::read(&text).expect("YAML");
        let named: Vec<&str> = jobs["scrape_configs"]
            .as_array()
            .expect("jobs")
            .iter()
            .map(|job| job["authorization"]["credentials_file"].as_str().expect("a path"))
            .collect();
        assert!(named.iter().all(|path| *path == named[0]), "{named:?}");
        let link = fs::read_link(self.dir().join(format!("prom-federate/{cluster}/current")));
        Some(match named[0].strip_prefix(&format!("{cluster}/current/")) {
            Some(file) => format!("prom-federate/{cluster}/{}/{file}", link.expect("a link").display()),
            None => format!("prom-federate/{}", named[0]),
        })
    }

    /// The record of the generation in use.
    fn record(&self, cluster: &str) -> Value {
        let token = self.token_path(cluster).expect("there are jobs");
        serde_json::from_str(&self.read(&token.replace("/token", "/cluster.json"))).expect("JSON")
    }

    fn generations(&self, cluster: &str) -> Vec<String> {
        folders_of(&self.dir().join("prom-federate").join(cluster))
    }

    /// Names of the Secrets that say they are this destination's, whatever its identity's random part.
    fn secrets(&self) -> Vec<String> {
        let path = format!("/api/v1/namespaces/{}/secrets", self.account.namespace);
        let list = self.account.cluster.api().get(&path).expect("the API server answers").json();
        let ours = |item: &&Value| {
            let destination = item["metadata"]["annotations"]["prom-federate.io/destination"].as_str();
            destination.is_some_and(|text| text.contains(&format!("{}#", self.typed())))
        };
        let items = list["items"].as_array().into_iter().flatten();
        items.filter(ours).map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// Nothing but the token in use is valid, and nothing but its generation is there.
    fn is_tidy(&self, cluster: &str) {
        assert_eq!(self.secrets(), [self.record(cluster)["boundSecret"]["name"].as_str().expect("a name")]);
        assert_eq!(self.generations(cluster).len(), 1, "{:?}", self.generations(cluster));
        let names = tree(self.dir());
        let staged: Vec<&String> =
            names.keys().filter(|name| name.contains(".new") || name.contains(".check")).collect();
        assert_eq!(staged, Vec::<&String>::new());
    }

    /// The targets of our jobs, all of which are up.
    fn all_up(&self, count: usize) -> Vec<Target> {
        let ours = || -> Vec<Target> {
            let targets = self.prometheus.targets().unwrap_or_default();
            targets.into_iter().filter(|target| target.pool.starts_with("prom-federate/")).collect()
        };
        let up = || Some(ours()).filter(|targets| targets.len() == count && targets.iter().all(Target::is_up));
        testbed::until(SCRAPED_WITHIN, up).unwrap_or_else(|| panic!("not all up: {:?}", ours()))
    }

    /// Where Prometheus goes for its jobs, without repetitions.
    fn addresses(&self) -> Vec<String> {
        let targets = self.prometheus.targets().expect("Prometheus answers");
        let ours = targets.into_iter().filter(|target| target.pool.starts_with("prom-federate/"));
        let mut addresses: Vec<String> =
            ours.map(|target| target.scrape_url.split("/api/").next().unwrap_or_default().to_owned()).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }
}

/// The names of the folders in a folder; links are none.
pub(crate) fn folders_of(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry"));
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The folders of the generations of a cluster, oldest first.
pub(crate) fn generations(prometheus: &Path, cluster: &str) -> Vec<PathBuf> {
    let folder = prometheus.join("prom-federate").join(cluster);
    let mut generations: Vec<PathBuf> = folders_of(&folder).into_iter().map(|name| folder.join(name)).collect();
    generations.sort();
    generations
}

/// Every file of a folder but what Prometheus itself keeps there, with owner, mode and content.
pub(crate) fn tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry")) {
            // A run may be undoing its changes meanwhile.
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if name == "data" || name == "prometheus.log" {
                continue;
            }
            let content = match fs::read_link(&path) {
                Ok(to) => Ok(format!("-> {}", to.display())),
                Err(_) => fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
            };
            let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o7777);
            found.insert(name, format!("{uid}:{gid} {mode:o} {}", content.unwrap_or_default()));
            if metadata.is_dir() {
                walk(&path, root, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// Two trees are the same; otherwise says where they differ, and no more.
pub(crate) fn assert_same(after: &BTreeMap<String, String>, before: &BTreeMap<String, String>, about: &str) {
    let names = after.keys().chain(before.keys().filter(|name| !after.contains_key(*name)));
    let differ: Vec<&String> = names.filter(|name| after.get(*name) != before.get(*name)).collect();
    assert!(differ.is_empty(), "{differ:?} differ: {about}");
}

/// The same without what a run leaves behind on purpose: our folder with its lock and its name, and a copy.
pub(crate) fn but_what_stays(mut tree: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = ["prom-federate", "prom-federate/.lock", "prom-federate/.id", "prom-federate/.owner"];
    for name in ours.into_iter().chain(["prometheus.yml.before-prom-federate"]) {
        tree.remove(name);
    }
    tree
}

/// The text behind the last dot of a token, which is unique.
pub(crate) fn signature(token: &str) -> &str {
    token.trim().rsplit('.').next().expect("a JWT")
}

/// A user with neither a name here nor a group in common with us.
const NOBODY: u32 = 65534;

/// Becomes that user. The program is opened before: it lies in our home.
fn as_nobody() -> [&'static str; 3] {
    let script = "exec 3< \"$0\"; exec setpriv --reuid=65534 --regid=65534 --clear-groups /proc/self/fd/3 \"$@\"";
    ["sh", "-c", script]
}

/// A folder of the user nobody, outside of the testbed's own, which is for its user alone.
fn folder_of_nobody() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let inner = folder.path().join("prometheus");
    fs::create_dir(&inner).expect("a folder");
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).expect("a mode");
    std::os::unix::fs::chown(&inner, Some(NOBODY), Some(NOBODY)).expect("root may");
    folder
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// strace, which ends the plugin at a system call and says what it did.
pub(crate) fn strace() -> Command {
    Command::new("strace")
}
