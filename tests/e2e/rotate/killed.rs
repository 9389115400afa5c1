//! A rotation that ends at any change of a file: Prometheus goes on, would start with what is there, and the next
//! rotation leaves nothing behind.

use super::{Place, Scene};
use crate::plugin::{Account, Run};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
};

trials! {
    rotate_killed:
    full {
        rotation_survives_a_kill_at_every_change,
        rotation_with_two_reloads_survives_a_kill_at_every_change_after_the_first,
        kill_between_commit_and_reload_is_finished_by_the_next_run,
    }
}

/// Side by side, because most of each is waiting.
const LANES: usize = 4;
/// What changes files. Left out is what also happens at other occasions: opening, and writing.
const CHANGES: &str = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,chmod,fchmod,fsync,fdatasync";

/// A system call of the plugin, by its name and how many of that name went before.
struct Point {
    call: String,
    number: usize,
    /// As strace shows it.
    line: String,
}

fn rotation_survives_a_kill_at_every_change() {
    let account = Account::new(&testbed::shared().east, "rotate-killed");
    let places: Vec<Place> = (0..LANES).map(|_| Place::new()).collect();
    for place in &places {
        place.join(&account, &[]);
        place.all_up("east", 4);
    }
    let points = Point::of(&places[0], account.cluster.kubeconfig());
    assert!(points.len() > 15, "{}", points.len());
    let points = Mutex::new(VecDeque::from(points));
    let next = || points.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for place in &places {
            scope.spawn(|| {
                while let Some(point) = next() {
                    point.kill_and_mend(place, &account);
                }
                place.lost_no_scrape("east", 600);
            });
        }
    });
}

/// Where the jobs get another path of the token, the old discovery ends with a reload of its own.
fn rotation_with_two_reloads_survives_a_kill_at_every_change_after_the_first() {
    let account = Account::new(&testbed::shared().east, "rotate-overlap");
    let place = Place::new();
    place.join(&account, &[]);
    place.all_up("east", 4);
    let earlier = || {
        place.names_the_generation();
        place.prometheus.reload().expect("it reads that");
    };
    earlier();
    let points = Point::of(&place, account.cluster.kubeconfig());
    let is_commit = |point: &Point| point.call.starts_with("rename") && point.line.contains("east.scrape.yml\"");
    let commits: Vec<usize> =
        points.iter().enumerate().filter_map(|(at, point)| is_commit(point).then_some(at)).collect();
    let [first, second] = commits[..] else {
        panic!("{:?}", points.iter().map(|point| &point.line).collect::<Vec<_>>())
    };
    assert!(first < second);
    for point in &points[first + 1..] {
        earlier();
        point.kill_and_mend(&place, &account);
    }
    place.lost_no_scrape("east", 600);
}

impl Point {
    /// Runs a rotation that ends well, and finds all the moments between which a file changes.
    fn of(place: &Place, kubeconfig: &Path) -> Vec<Self> {
        let lines = place.traced(kubeconfig, CHANGES);
        let ours = place.ours().to_string_lossy().into_owned();
        let mut counts = BTreeMap::<String, usize>::new();
        let (mut points, mut was_sync) = (Vec::new(), false);
        for line in lines {
            let call = line.split('(').next().unwrap_or_default().to_owned();
            let number = counts.entry(call.clone()).or_default();
            *number += 1;
            // Since the call before a second sync, or one that fails, nothing has changed.
            let is_sync = |point: &Self| point.call == "fsync";
            let point = Self { call, number: *number, line: line.replace(&ours, "") };
            let is_repeated = is_sync(&point) && was_sync;
            if line.contains(&ours) && !line.contains(" = -1 ") {
                was_sync = is_sync(&point);
                points.extend(Some(point).filter(|_| !is_repeated));
            }
        }
        points
    }

    fn kill_and_mend(&self, place: &Place, account: &Account) {
        let Self { call, number, line } = self;
        let (in_use, reloads) = (place.live("east"), place.reloads());
        let mut strace = strace();
        strace.args(killed_at(call, *number));
        let output = place.under(strace, account.cluster.kubeconfig(), &["rotate", "--now"]).output().expect("strace");
        assert_eq!(output.status.signal(), Some(9), "{line}: {}", String::from_utf8_lossy(&output.stderr));

        let in_use = if place.reloads() == reloads { in_use } else { place.live("east") };
        for generation in [in_use, place.live("east")] {
            let file = |name: &str| place.read(&format!("prom-federate/east/{generation}/{name}"));
            let record: Value = serde_json::from_str(&file("cluster.json")).expect("JSON");
            let secret = record["boundSecret"]["name"].as_str().expect("a name").to_owned();
            assert!(account.secrets().contains(&secret), "the token in use is revoked: {line}");
            assert!(file("token").starts_with("ey") && file("ca.crt").starts_with("-----BEGIN"), "{line}");
        }
        place.accepted();
        place.all_up("east", 4);

        let run = place.rotate(account.cluster.kubeconfig(), &["--now"]);
        assert_eq!(run.code, Some(0), "after {line}: {}", run.stderr);
        assert_eq!(place.secrets(account), [place.secret("east")], "after {line}");
        assert_eq!(place.generations("east"), [place.live("east")], "after {line}");
        let staged: Vec<_> =
            place.files().into_keys().filter(|path| path.to_string_lossy().ends_with(".new")).collect();
        assert!(staged.is_empty(), "{staged:?} after {line}");
    }
}

impl Place {
    /// The account's Secrets that name this destination.
    fn secrets(&self, account: &Account) -> Vec<String> {
        let path = format!("/api/v1/namespaces/{}/secrets", account.namespace);
        let list = account.cluster.api().get(&path).expect("the API server answers").json();
        let here = format!("{}#", self.dir().display());
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let is_ours = |item: &&Value| {
            item["metadata"]["annotations"]["prom-federate.io/destination"]
                .as_str()
                .is_some_and(|text| text.contains(&here))
        };
        items
            .iter()
            .filter(is_ours)
            .map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The calls of one rotation that ends well, in order, with the paths that they are about.
    pub(super) fn traced(&self, kubeconfig: &Path, calls: &str) -> Vec<String> {
        let trace = self.dir().join("data/trace");
        let mut strace = strace();
        strace.args(["-y", "-o"]).arg(&trace).args(["-e", &format!("trace={calls}"), "-e", "signal=none"]);
        let run: Run = self.under(strace, kubeconfig, &["rotate", "--now"]).output().expect("strace starts").into();
        run.succeeded();
        let trace = fs::read_to_string(&trace).expect("a trace");
        trace.lines().filter_map(|line| Some(line.split_once(' ')?.1.trim_start().to_owned())).collect()
    }

    /// The plugin under strace, without its child processes.
    pub(super) fn under(&self, mut strace: Command, kubeconfig: &Path, arguments: &[&str]) -> Command {
        let plugin = self.command(kubeconfig, arguments);
        strace.arg(plugin.get_program()).args(plugin.get_args()).env_clear();
        strace.envs(plugin.get_envs().filter_map(|(name, value)| Some((name, value?))));
        strace
    }
}

/// What has strace end its program as it enters a call. What it does not trace it does not end either.
fn killed_at(call: &str, number: usize) -> [String; 6] {
    let inject = format!("inject={call}:signal=SIGKILL:when={number}");
    ["-o".into(), "/dev/null".into(), "-e".into(), format!("trace={call}"), "-e".into(), inject]
}

/// Whatever it says itself is no part of what the plugin says.
pub(super) fn strace() -> Command {
    let mut strace = Command::new("/usr/bin/strace");
    // With all threads of the plugin, and without the programs that it runs.
    strace.args(["-qq", "--follow-forks", "--detach-on=execve"]);
    strace
}

/// The new jobs are in place but not loaded: the token in use ends when the new one is due, so the next
/// rotation must not wait until then.
fn kill_between_commit_and_reload_is_finished_by_the_next_run() {
    let scene = Scene::joined("unfinished", &[]);
    let Scene { account, place } = &scene;
    let kubeconfig = account.cluster.kubeconfig();
    let lines = place.traced(kubeconfig, "fsync");
    let folder = place.ours().display().to_string();
    // The folder is synced after each of its files; last after the rules, which follow the jobs.
    let last = lines.iter().rposition(|line| line.contains(&format!("<{folder}>"))).expect("a sync of our folder") + 1;
    let (old, reloads) = (place.live("east"), place.reloads());
    let mut killed = strace();
    killed.args(killed_at("fsync", last));
    let output = place.under(killed, kubeconfig, &["rotate", "--now"]).output().expect("strace starts");
    assert_eq!(output.status.signal(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
    assert_ne!(place.live("east"), old);
    assert_eq!(place.reloads(), reloads);

    scene.rotate(&[]).succeeded();
    assert!(place.reloads() > reloads, "it is read");
    place.is_tidy(account, "east");
    assert!(scene.rotate(&[]).succeeded().stderr.starts_with("east  not due before"), "once is enough");
}
