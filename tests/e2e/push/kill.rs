//! Nothing is lost, whenever the run is killed: the Prometheus that runs goes on, would go on after a restart, and the
//! next run tidies up.

use super::{MAIN, Scene, strace, tree};
use crate::plugin::{Run, command};
use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};
use testbed::{Action, FaultProxy, Rule, Target};

trials! {
    push_kill:
    full {
        first_push_survives_a_kill_at_every_change,
        edit_in_place_survives_a_kill_at_every_change,
        second_push_survives_a_kill_at_every_change,
        leave_survives_a_kill_at_every_change,
        push_survives_a_kill_at_every_write_to_the_cluster,
        push_that_is_interrupted_at_any_change_is_whole_or_undone,
    }
}

/// At a time: most of each is waiting. Five trials that do so stand beside each other, on one cluster.
const LANES: usize = 2;
const ASKED_WITHIN: Duration = Duration::from_secs(10);
const SCRAPED_WITHIN: Duration = Duration::from_secs(30);

fn first_push_survives_a_kill_at_every_change() {
    let lanes = Lanes::of("kill-first");
    // The account is there, so that it takes less time; the destination has never been written.
    lanes.0[0].account.join(&[]);
    let points = Point::all(&lanes.0[0]);
    assert!(points.len() > 15, "{points:#?}");
    lanes.run(points, |scene, point| {
        forget(scene);
        let before = State::of(scene);
        point.kill(scene);
        before.holds(scene, &point.what);
        scene.join(&[]);
        scene.all_up(4);
        scene.is_tidy("east");
        assert!(scene.read("prometheus.yml.before-prom-federate") == MAIN, "{}", point.what);
    });
}

/// What a second name of the main configuration asks for: another file may not take its place.
fn edit_in_place_survives_a_kill_at_every_change() {
    let lanes = Lanes::of("kill-in-place");
    let forget = |scene: &Scene| {
        forget(scene);
        fs::hard_link(scene.dir().join("prometheus.yml"), scene.dir().join("other.yml")).expect("a name");
    };
    lanes.0[0].account.join(&[]);
    forget(&lanes.0[0]);
    let points: Vec<Point> =
        Point::all(&lanes.0[0]).into_iter().filter(|point| point.what.contains("/prometheus.yml")).collect();
    assert!(points.len() > 4, "{points:#?}");
    lanes.run(points, |scene, point| {
        forget(scene);
        let before = State::of(scene);
        point.kill(scene);
        before.holds(scene, &point.what);
        scene.join(&[]);
        scene.all_up(4);
        scene.is_tidy("east");
        assert!(scene.read("prometheus.yml.before-prom-federate") == MAIN, "{}", point.what);
        assert!(!scene.dir().join("prometheus.yml.prom-federate.new").exists(), "{}", point.what);
        assert_eq!(scene.read("other.yml"), scene.read("prometheus.yml"), "{}", point.what);
    });
}

fn second_push_survives_a_kill_at_every_change() {
    let lanes = Lanes::of("kill-second");
    for scene in &lanes.0 {
        scene.join(&[]);
    }
    let points = Point::all(&lanes.0[0]);
    assert!(points.len() > 15, "{points:#?}");
    lanes.run(points, |scene, point| {
        let before = State::of(scene);
        point.kill(scene);
        before.holds(scene, &point.what);
        scene.join(&[]);
        scene.all_up(4);
        scene.is_tidy("east");
    });
}

/// Until Prometheus does not use the token any more, it is there and valid.
fn leave_survives_a_kill_at_every_change() {
    let lanes = Lanes::of("kill-leave");
    for scene in &lanes.0 {
        scene.join(&[]);
    }
    let words: Words = |scene| vec!["leave", "east", "-p", scene.typed(), "--yes"];
    let leave = |scene: &Scene| -> Run {
        command(scene.account.cluster.kubeconfig(), &words(scene)).output().expect("the plugin starts").into()
    };
    let points = Point::all_of(&lanes.0[0], words);
    assert!(points.len() > 4, "{points:#?}");
    lanes.run(points, |scene, point| {
        scene.join(&[]);
        scene.all_up(4);
        let before = State::of(scene);
        point.kill(scene);
        before.holds(scene, &point.what);
        let again = leave(scene);
        let was_done = again.stderr.contains("error (ClusterUnknown)");
        assert!(again.code == Some(0) || was_done, "{}: {}", point.what, again.stderr);
        assert_eq!(scene.secrets(), Vec::<String>::new(), "{}: {}", point.what, again.stderr);
        // A folder without anything in it is no cluster.
        let is_left = |name: &String| name.starts_with("prom-federate/east") && name != "prom-federate/east";
        let left: Vec<String> = tree(scene.dir()).into_keys().filter(is_left).collect();
        assert_eq!(left, Vec::<String>::new(), "{}: {}", point.what, again.stderr);
    });
}

/// By Ctrl-C at one point, by systemd's signal at the next.
fn push_that_is_interrupted_at_any_change_is_whole_or_undone() {
    let lanes = Lanes::of("interrupted-anywhere");
    for scene in &lanes.0 {
        scene.join(&[]);
    }
    let points = Point::all(&lanes.0[0]);
    assert!(points.len() > 15, "{points:#?}");
    let signals = ["SIGINT", "SIGTERM"].into_iter().cycle();
    lanes.run(points.into_iter().zip(signals).collect(), |scene, (point, signal)| {
        let before = State::of(scene);
        let run: Run = point.tampered(scene, &format!("signal={signal}")).into();
        before.holds(scene, &point.what);
        assert!(run.code == Some(0) || run.code == Some(130), "{point:?}, {signal}: {:?} {}", run.code, run.stderr);
        // Undone: the jobs have the token that they had.
        if run.code != Some(0) {
            assert!(run.stderr.contains("error (Interrupted)"), "{point:?}, {signal}: {}", run.stderr);
            scene.is_tidy("east");
        }
        scene.join(&[]);
        scene.all_up(4);
        scene.is_tidy("east");
    });
}

fn push_survives_a_kill_at_every_write_to_the_cluster() {
    let scene = Scene::new("kill-requests");
    let proxy = FaultProxy::in_front_of(scene.account.cluster).expect("a proxy");
    let api_server = format!("--api-server={}", scene.account.cluster.url());
    let arguments = scene.arguments(&[&api_server]);
    scene.join(&[&api_server]);
    let join = || command(&proxy.kubeconfig(), &arguments).output().expect("the plugin starts");
    Run::from(join()).succeeded();
    let writes: Vec<(String, String)> = proxy
        .requests()
        .into_iter()
        .filter(|request| request.method != "GET" && !request.path.contains("dryRun=All"))
        .filter(|request| !request.path.contains("/selfsubject"))
        .map(|request| (request.method, request.path.rsplit_once('/').expect("a path").0.to_owned()))
        .collect();
    assert!(writes.len() >= 4, "a Secret, a token, its expiry, and the old Secret: {writes:?}");
    let mut counts = BTreeMap::new();
    for write in writes {
        let count = counts.entry(write.clone()).or_insert(0);
        proxy.clear_rules();
        proxy.forget_requests();
        proxy.rule(Rule::new(&write.0, &write.1, Action::Hang).skip(*count));
        *count += 1;
        let (count, before) = (*count, State::of(&scene));
        let mut child = command(&proxy.kubeconfig(), &arguments).stderr(Stdio::null()).spawn().expect("it starts");
        let asked = || {
            let requests = proxy.requests();
            let like = requests.iter().filter(|request| request.method == write.0 && request.path.contains(&write.1));
            (like.count() >= count).then_some(())
        };
        testbed::until(ASKED_WITHIN, asked).unwrap_or_else(|| panic!("{write:?} is not asked"));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        before.holds(&scene, &format!("{write:?} {count}"));
        proxy.clear_rules();
        Run::from(join()).succeeded();
        scene.all_up(4);
        scene.is_tidy("east");
    }
}

/// Several destinations of one account, worked on side by side.
pub(super) struct Lanes(pub(super) Vec<Scene<'static>>);

impl Lanes {
    pub(super) fn of(name: &str) -> Self {
        let first = Scene::new(name);
        // One after the other: two at a time would both make the account.
        first.account.join(&[]);
        let others: Vec<Scene> = (1..LANES).map(|_| Scene::beside(&first)).collect();
        Self(std::iter::once(first).chain(others).collect())
    }

    pub(super) fn run<T: Debug + Send>(&self, each: Vec<T>, work: impl Fn(&Scene, &T) + Sync) {
        let each = Mutex::new(each.into_iter());
        let next = || each.lock().unwrap_or_else(PoisonError::into_inner).next();
        thread::scope(|scope| {
            for scene in &self.0 {
                scope.spawn(|| {
                    while let Some(one) = next() {
                        let _said = SaidIfItFails(&one);
                        work(scene, &one);
                    }
                });
            }
        });
    }
}

/// A thread's own message does not say where it was.
struct SaidIfItFails<'a, T: Debug>(&'a T);

impl<T: Debug> Drop for SaidIfItFails<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("killed at {:?}", self.0);
        }
    }
}

/// The system calls by which the plugin changes files, but for those whose number depends on more than that: `write`
/// also says things, `openat` also reads.
const CHANGES: &str = "mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat,\
                       chmod,fchmod,fchmodat,chown,fchown,fchownat,truncate,ftruncate,pwrite64,fsync,fdatasync";

/// The words of a command for a scene.
pub(super) type Words = for<'a, 'b> fn(&'a Scene<'b>) -> Vec<&'a str>;

/// A moment at which a run is killed: as it enters a system call.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// Of the command that is killed.
    words: Words,
    pub(super) call: String,
    /// Which of the calls of this name.
    number: usize,
    pub(super) what: String,
}

impl Point {
    /// Every state of the files that a run passes through: it is run once and watched. Where nothing has changed since
    /// the point before, there is no other.
    pub(super) fn all_of(scene: &Scene, words: Words) -> Vec<Self> {
        let trace = scene.dir().join("data/trace");
        let mut watched = strace();
        watched.args(["-y", "-s", "0", "-o"]).arg(&trace);
        watched.args(["-e", "signal=none", "-e", &format!("trace={CHANGES},openat,write")]);
        let run: Run = with_plugin(watched, scene, words).output().expect("strace starts").into();
        run.succeeded();
        let text = fs::read_to_string(&trace).expect("a trace");
        Self::read(&text, scene.dir(), words)
    }

    /// The same of a join.
    pub(super) fn all(scene: &Scene) -> Vec<Self> {
        Self::all_of(scene, |scene| scene.arguments(&[]))
    }

    fn read(trace: &str, dir: &Path, words: Words) -> Vec<Self> {
        let dir = dir.to_string_lossy();
        let mut numbers = BTreeMap::new();
        let mut points = Vec::new();
        let mut has_changed = true;
        for line in trace.lines() {
            let Some((thread, line)) = line.split_once(' ') else { continue };
            let Some((call, _)) = line.trim_start().split_once('(') else { continue };
            // strace counts the calls of each thread.
            let number = numbers.entry((thread, call.to_owned())).or_insert(0);
            *number += 1;
            if !line.contains(&*dir) {
                continue;
            }
            if CHANGES.split(',').any(|change| change.trim() == call) && has_changed {
                points.push(Self { words, call: call.to_owned(), number: *number, what: line.replace(&*dir, "") });
                has_changed = false;
            }
            let is_change = match call {
                "fsync" | "fdatasync" => false,
                "openat" => line.contains("O_CREAT"),
                _ => true,
            };
            has_changed |= is_change && !line.contains(" = -1 ");
        }
        points
    }

    /// Runs the plugin, which does not get beyond this point.
    pub(super) fn kill(&self, scene: &Scene) {
        let output = self.tampered(scene, "signal=SIGKILL");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(9), "not killed at {}: {} {stderr}", self.what, output.status);
    }

    /// Runs the plugin, to which the system gives this error at this point, and nothing is done.
    pub(super) fn fail(&self, scene: &Scene, error: &str) -> Run {
        self.tampered(scene, &format!("error={error}")).into()
    }

    fn tampered(&self, scene: &Scene, how: &str) -> Output {
        let Self { words, call, number, .. } = self;
        let mut strace = strace();
        // Only what is traced is counted.
        strace.args(["-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
        strace.arg(format!("inject={call}:{how}:when={number}"));
        with_plugin(strace, scene, *words).output().expect("strace starts")
    }
}

/// The plugin alone is watched and killed with all its threads, not what it runs.
fn with_plugin(mut strace: Command, scene: &Scene, words: Words) -> Command {
    strace.args(["-qq", "--follow-forks", "--detach-on=execve"]);
    strace.arg(env!("CARGO_BIN_EXE_kubectl-prom_federate")).args(words(scene));
    strace.env_clear().env("KUBECONFIG", scene.account.cluster.kubeconfig()).stdin(Stdio::null());
    strace
}

/// As before the first push.
fn forget(scene: &Scene) {
    for name in tree(scene.dir()).into_keys().filter(|name| !name.starts_with("prom-federate/")) {
        let path = scene.dir().join(name);
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
    fs::write(scene.dir().join("prometheus.yml"), MAIN).expect("a file");
    scene.prometheus.reload().expect("it reads that");
    for name in scene.secrets() {
        let path = format!("/api/v1/namespaces/{}/secrets/{name}", scene.account.namespace);
        scene.account.cluster.api().delete(&path).expect("the API server answers");
    }
}

/// What a Prometheus scrapes, and with what.
pub(super) struct State {
    targets: Vec<String>,
    token: Option<String>,
    /// When it last read its configuration.
    loaded: Option<f64>,
}

const LOADED: &str = "prometheus_config_last_reload_success_timestamp_seconds ";

impl State {
    pub(super) fn of(scene: &Scene) -> Self {
        let targets = scene.prometheus.targets().expect("Prometheus answers");
        let up = targets.into_iter().filter(Target::is_up).map(|target| target.scrape_url).collect();
        let metrics = scene.prometheus.get("/metrics").expect("Prometheus answers").body;
        let loaded = metrics.lines().find_map(|line| line.strip_prefix(LOADED)?.parse().ok());
        Self { targets: up, token: scene.token_path("east"), loaded }
    }

    /// After a kill.
    pub(super) fn holds(&self, scene: &Scene, killed_at: &str) {
        let now = Self::of(scene);
        // What it scrapes with is there and valid: the API server remembers a good token for ten seconds, so that a
        // target is up says little.
        let in_use = if now.loaded == self.loaded { &self.token } else { &now.token };
        for path in [in_use, &now.token].into_iter().flatten() {
            let record = scene.read(&path.replace("/token", "/cluster.json"));
            let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
            let secret = record["boundSecret"]["name"].as_str().expect("a name").to_owned();
            assert!(scene.secrets().contains(&secret), "{path} is revoked, killed at {killed_at}");
            assert!(scene.read(path).starts_with("ey"), "{path} is no token, killed at {killed_at}");
            scene.read(&path.replace("/token", "/ca.crt"));
        }
        if now.loaded == self.loaded {
            // One scrape may take too long on a busy machine; what does not come back is lost.
            let down = || {
                let up = Self::of(scene).targets;
                self.targets.iter().filter(|target| !up.contains(target)).cloned().collect::<Vec<String>>()
            };
            testbed::until(SCRAPED_WITHIN, || down().is_empty().then_some(()))
                .unwrap_or_else(|| panic!("{:?} are down, killed at {killed_at}", down()));
        }
        // A restart would load it.
        let promtool = &testbed::tools().promtool;
        let mut check = Command::new(promtool);
        let output =
            check.args(["check", "config"]).arg(scene.dir().join("prometheus.yml")).output().expect("promtool");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}, killed at {killed_at}");
    }
}
