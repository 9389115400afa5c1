//! A push that fails is taken back: the jobs that were there go on, and the new token is revoked.

use super::{MAIN, SCRAPED_WITHIN, Scene, assert_same, but_what_stays, tree};
use crate::{
    needs,
    plugin::{Run, command},
};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt};
use testbed::{Action, FaultProxy, Rule};

trials! {
    push_taken_back:
    smoke {
        rejected_reload_is_undone,
    }
    full {
        rejected_configuration_is_undone,
        promtool_without_a_verdict_rejects_nothing,
        failed_scrapes_are_undone,
        failed_destination_of_a_pair_keeps_its_old_token,
        full_disk_is_undone,
    }
}

/// An invalid edit of the main configuration since Prometheus last read it.
const BROKEN: &str = "# mine\nscrape_configs: [{job_name: mine}, {job_name: mine}]\n";
/// What Prometheus says about it.
const SAYS: &str = "found multiple scrape configs with job name \"mine\"";

/// The same in a configuration that has jobs already.
fn broken(main: &str) -> String {
    main.replace("scrape_configs:\n", "scrape_configs:\n- job_name: mine\n- job_name: mine\n")
}

/// Nothing of a run that failed is there: neither files nor Secrets, and Prometheus goes on with what it had.
pub(super) struct Before {
    files: std::collections::BTreeMap<String, String>,
    secrets: Vec<String>,
    addresses: Vec<String>,
}

impl Before {
    pub(super) fn of(scene: &Scene) -> Self {
        Self { files: tree(scene.dir()), secrets: scene.secrets(), addresses: scene.addresses() }
    }

    pub(super) fn is_still(&self, scene: &Scene, run: &Run) {
        assert_same(&tree(scene.dir()), &self.files, &run.stderr);
        assert_eq!(scene.secrets(), self.secrets, "{}", run.stderr);
        // Its service discovery brings back what it had found before.
        let same = || (scene.addresses() == self.addresses).then_some(());
        testbed::until(SCRAPED_WITHIN, same).unwrap_or_else(|| panic!("{:?}: {}", scene.addresses(), run.stderr));
    }
}

fn rejected_reload_is_undone() {
    let scene = Scene::new("reload");
    fs::write(scene.dir().join("prometheus.yml"), BROKEN).expect("a file");
    let before = but_what_stays(tree(scene.dir()));
    let run = scene.try_join(&[]).failed("ReloadFailed", &[SAYS, "keeps the previous one"]);
    let after = but_what_stays(tree(scene.dir()));
    assert_same(&after, &before, &run.stderr);
    assert_eq!(scene.secrets(), Vec::<String>::new(), "{}", run.stderr);
    let gone = || scene.account.objects().is_empty().then_some(());
    testbed::until(SCRAPED_WITHIN, gone).expect("the account was new and is gone");

    // And over jobs that work.
    fs::write(scene.dir().join("prometheus.yml"), MAIN).expect("a file");
    scene.join(&[]);
    let main = scene.read("prometheus.yml");
    fs::write(scene.dir().join("prometheus.yml"), broken(&main)).expect("a file");
    let before = Before::of(&scene);
    let run = scene.try_join(&[]).failed("ReloadFailed", &[SAYS]);
    before.is_still(&scene, &run);
    scene.all_up(4);
}

/// promtool says so before anything is in place.
fn rejected_configuration_is_undone() {
    let scene = Scene::new("promtool");
    fs::write(scene.dir().join("prometheus.yml"), BROKEN).expect("a file");
    let before = but_what_stays(tree(scene.dir()));
    let path = testbed::tools().promtool.parent().expect("a folder");
    let mut join = command(scene.account.cluster.kubeconfig(), &scene.arguments(&[]));
    let run: Run = join.env("PATH", path).output().expect("the plugin starts").into();
    run.failed("ConfigRefused", &["promtool rejects ", "/prometheus.yml: parsing", SAYS, "fix the problem"]);
    assert_same(&but_what_stays(tree(scene.dir())), &before, "");
    assert_eq!(scene.secrets(), Vec::<String>::new());
    assert!(scene.prometheus.log().matches("Loading configuration").count() <= 1, "{}", scene.prometheus.log());
}

/// It was killed, by the kernel that had no memory left for example, or it does not end.
fn promtool_without_a_verdict_rejects_nothing() {
    let scene = Scene::new("verdict");
    scene.join(&[]);
    let before = Before::of(&scene);
    let tools = tempfile::tempdir().expect("a folder");
    let promtool = tools.path().join("promtool");
    for (does, says) in
        [("kill -KILL $$", "ended with signal: 9 (SIGKILL)"), ("exec sleep 600", "did not end within 30s")]
    {
        fs::write(&promtool, format!("#!/bin/sh\n{does}\n")).expect("a file");
        fs::set_permissions(&promtool, fs::Permissions::from_mode(0o755)).expect("a mode");
        let mut join = command(scene.account.cluster.kubeconfig(), &scene.arguments(&[]));
        let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap_or_default());
        let run: Run = join.env("PATH", path).output().expect("the plugin starts").into();
        let run = run.failed("ConfigRefused", &["promtool came to no verdict on ", says, "Nothing was put in place"]);
        before.is_still(&scene, &run);
    }
    scene.all_up(4);
}

pub(super) const PAGES: &str = "/proxy/metrics";
/// How it calls itself: the plugin's own proof is let through.
pub(super) const PROMETHEUS: &str = "Prometheus/";

fn failed_scrapes_are_undone() {
    let scene = Scene::new("scrapes");
    let proxy = FaultProxy::in_front_of(scene.account.cluster).expect("a proxy");
    scene.join(&[]);
    let before = Before::of(&scene);
    proxy.rule(Rule::new("GET", PAGES, Action::Answer { status: 500, body: json!("no") }).by(PROMETHEUS));
    let api_server = format!("--api-server={}", proxy.url());
    let run = scene
        .try_join(&[&api_server])
        .failed("NotScraped", &["0 of 2 targets up", "server returned HTTP status 500", "/targets"]);
    before.is_still(&scene, &run);
    scene.all_up(4);

    // A first push has nothing to go back to.
    let first = Scene::beside(&scene);
    let before = but_what_stays(tree(first.dir()));
    first.try_join(&[&api_server]).failed("NotScraped", &["0 of 2 targets up"]);
    let after = but_what_stays(tree(first.dir()));
    assert_same(&after, &before, "");
    assert_eq!(first.secrets(), Vec::<String>::new());
    assert_eq!(first.addresses(), Vec::<String>::new());
}

/// Each has a token of its own, so what one of them lacks does not concern the other.
fn failed_destination_of_a_pair_keeps_its_old_token() {
    let a = Scene::new("pair");
    let b = Scene::beside(&a);
    let both = |more: &[&str]| -> Run {
        let mut all = a.arguments(more);
        all.extend(["-p", b.typed()]);
        command(a.account.cluster.kubeconfig(), &all).output().expect("the plugin starts").into()
    };
    both(&[]).succeeded();
    for scene in [&a, &b] {
        scene.all_up(4);
        scene.is_tidy("east");
    }
    assert_ne!(a.secrets(), b.secrets());

    let main = b.read("prometheus.yml");
    fs::write(b.dir().join("prometheus.yml"), broken(&main)).expect("a file");
    let (before, secrets_of_a) = (Before::of(&b), a.secrets());
    let run = both(&["--output=json"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for said in ["error (ReloadFailed): ", "1 of 2 destinations failed", b.typed(), SAYS] {
        assert!(run.stderr.contains(said), "does not say {said:?}: {}", run.stderr);
    }
    before.is_still(&b, &run);
    assert_ne!(a.secrets(), secrets_of_a);
    a.is_tidy("east");
    for scene in [&a, &b] {
        scene.all_up(4);
    }
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(report["destinations"][0]["error"], serde_json::Value::Null);
    assert!(report["destinations"][1]["error"].as_str().is_some_and(|said| said.contains(SAYS)), "{}", run.stdout);
}

/// Room for the name of the destination and for little else.
fn full_disk_is_undone() {
    needs::root();
    let folder = tempfile::tempdir().expect("a folder");
    let mounted = Mounted::tmpfs(folder.path(), "size=64k,mode=700");
    let account = crate::plugin::Account::new(&testbed::shared().east, "push-full");
    fs::write(folder.path().join("prometheus.yml"), MAIN).expect("a file");
    for free in [0, 8192, 24 * 1024] {
        let _ = fs::remove_dir_all(folder.path().join("prom-federate"));
        let filler = folder.path().join("filler");
        let _ = fs::remove_file(&filler);
        fill(&filler, free);
        let before = but_what_stays(tree(folder.path()));
        account
            .run(&["join", "--owner=0", "-p", folder.path().to_str().expect("UTF-8")])
            .failed("WriteFailed", &["cannot write ", "No space left on device", "Free space there"]);
        let after = but_what_stays(tree(folder.path()));
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{free}");
        assert_eq!(after["prometheus.yml"], before["prometheus.yml"]);
        let gone = || account.objects().is_empty().then_some(());
        testbed::until(SCRAPED_WITHIN, gone).unwrap_or_else(|| panic!("{free}: {:?}", account.objects()));
    }
    drop(mounted);
}

/// Takes all the room there is, but for so many bytes.
pub(crate) fn fill(path: &std::path::Path, free: u64) {
    use std::io::Write;
    let mut file = fs::File::create(path).expect("a file");
    while file.write_all(&[b'x'; 4096]).is_ok() {}
    let length = file.metadata().expect("metadata").len();
    file.set_len(length.saturating_sub(free)).expect("a shorter file");
}

/// A file system of a test's own.
pub(crate) struct Mounted(std::path::PathBuf);

impl Mounted {
    pub(crate) fn tmpfs(at: &std::path::Path, options: &str) -> Self {
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", at.to_str().expect("UTF-8")]);
        Self(at.to_owned())
    }

    pub(crate) fn make_read_only(&self) {
        run("mount", &["-o", "remount,ro", self.0.to_str().expect("UTF-8")]);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &["--lazy", self.0.to_str().expect("UTF-8")]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let status = std::process::Command::new(program).args(arguments).status().expect("it starts");
    assert!(status.success(), "{program} {arguments:?}");
}
