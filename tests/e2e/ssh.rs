//! `-p ssh://HOST/DIR` on the real thing: OpenSSH's server, a Prometheus that runs on its host, and everything that can
//! be wrong in between.

pub(crate) mod cut;
pub(crate) mod interrupted;
pub(crate) mod main_file;
pub(crate) mod questions;

use crate::{
    clocks::off_by,
    needs,
    plugin::{Account, Run, command},
    push::{
        Machine, Mounted, RootOnly, STRANGER, assert_same, but_what_stays, fill, give_by_default, mkfifo, signature,
        strace, tree,
    },
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use testbed::{
    Action, Collector, CollectorSpec, FaultProxy, Front, Prometheus, PrometheusSpec, Rule, Sshd, machine_address,
};

trials! {
    ssh:
    smoke {
        a_cluster_is_joined_rotated_shown_and_left_over_ssh,
        a_script_delivers_by_itself,
    }
    full {
        push_makes_the_same_files_locally_and_over_ssh,
        failed_connection_is_one_error_and_changes_nothing,
        loopback_address_is_refused_for_another_host,
        access_that_the_host_cannot_verify_is_not_delivered,
        jobs_rejected_by_promtool_there_are_not_put_in_place,
        banner_of_a_login_shell_is_ignored,
        missing_login_shell_is_reported,
        host_with_only_busybox_is_a_destination,
        missing_programs_of_that_host_are_reported,
        full_disk_of_that_host_is_reported_and_undone,
        lost_connection_is_undone_on_that_host,
        token_is_in_no_argument_on_either_host,
        token_of_a_script_is_in_no_argument_and_no_other_file,
        lock_excludes_a_second_run,
        sudo_is_used_where_it_is_needed_and_allowed,
        every_reload_mode_works_over_ssh,
        two_hosts_are_delivered_independently,
        watch_rotates_over_ssh,
        vmagent_of_another_host_is_a_destination,
        collector_of_another_host_is_a_destination,
        script_delivers_to_a_collector,
        failed_script_is_undone,
        unsafe_folder_of_that_host_is_refused,
        copy_of_that_host_gets_a_token_of_its_own,
        clock_that_differs_from_that_hosts_is_reported,
    }
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);
const MAIN: &str = "global:\n  scrape_interval: 1s # often\n";

/// An account, a way to its cluster that another host has too, and a host with a Prometheus.
struct Scene {
    account: Account<'static>,
    routed: FaultProxy,
    sshd: Sshd,
    prometheus: Prometheus,
}

impl Scene {
    fn new(name: &str) -> Self {
        Self::with(name, Sshd::start().expect("sshd starts"), &PrometheusSpec::new(MAIN))
    }

    fn with(name: &str, sshd: Sshd, spec: &PrometheusSpec) -> Self {
        let east = &testbed::shared().east;
        let address = machine_address().expect("an address");
        let front = Front { address, hosts: vec![address.to_string()], ..Front::default() };
        Self {
            account: Account::new(east, &format!("ssh-{name}")),
            routed: FaultProxy::with(east, front).expect("a proxy"),
            sshd,
            prometheus: Prometheus::start_with(spec).expect("Prometheus starts"),
        }
    }

    fn typed(&self) -> String {
        format!("ssh://prom{}", self.prometheus.dir().display())
    }

    fn run_on(&self, path: &str, arguments: &[&str]) -> Run {
        command(&self.routed.kubeconfig(), arguments).env("PATH", path).output().expect("the plugin starts").into()
    }

    fn run(&self, arguments: &[&str]) -> Run {
        self.run_on(&self.sshd.path(), arguments)
    }

    fn join(&self, more: &[&str]) -> Run {
        self.joining().args(more).output().expect("the plugin starts").into()
    }

    /// About to join.
    fn joining(&self) -> Command {
        let typed = self.typed();
        let mut all = vec!["join", "--scrape-interval=1s", "-p", &typed, "--cluster-name=east", "--yes"];
        all.extend(["--namespace", &self.account.namespace]);
        let mut command = command(&self.routed.kubeconfig(), &all);
        command.env("PATH", self.sshd.path());
        command
    }
}

fn a_cluster_is_joined_rotated_shown_and_left_over_ssh() {
    let promtool = testbed::tools().promtool.parent().expect("a folder").display().to_string();
    let path = format!("SetEnv PATH={promtool}:{}", std::env::var("PATH").unwrap_or_default());
    let sshd = Sshd::start_with(&[&path], &[]).expect("sshd starts");
    let scene = Scene::with("life", sshd, &PrometheusSpec::new(MAIN));
    let before = tree(scene.prometheus.dir());
    let run = scene.join(&[]).succeeded();
    assert_eq!(scene.sshd.logins(), 1, "one connection does it all");
    for text in [
        "prom reaches the API server too, with this token and this CA",
        "4 of 4 targets up",
        &format!(
            "prom:{}/prom-federate/east.scrape.yml in place, checked by promtool",
            scene.prometheus.dir().display()
        ),
    ] {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
    let there = tree(scene.prometheus.dir());
    assert_eq!(there["prometheus.yml.before-prom-federate"], before["prometheus.yml"]);

    let typed = scene.typed();
    let status = scene.run(&["status", "-p", &typed, "-o", "json"]).succeeded();
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!(status["destinations"][0]["reader"], "Prometheus 3.16.0");
    assert_eq!(status["clusters"][0]["status"], "ok", "{status:#}");
    assert_eq!(status["clusters"][0]["targets"]["up"], 4, "{status:#}");
    let rules = scene.run(&["rules", "-p", &typed]).succeeded();
    assert!(rules.stdout.contains("east"), "{}", rules.stdout);
    let check = scene.run(&["check", "-p", &typed]);
    assert!(check.code == Some(0), "{}{}", check.stdout, check.stderr);

    let secrets = scene.account.secrets();
    scene.run(&["rotate", "--now", "-p", &typed]).succeeded();
    let renewed = scene.account.secrets();
    assert!(renewed.len() == 1 && renewed != secrets, "{renewed:?} after {secrets:?}");
    // A user of that host names the same destination by its path.
    let dir = scene.prometheus.dir().display().to_string();
    scene.run(&["rotate", "--now", "-p", &dir]).succeeded();
    assert_eq!(scene.account.secrets().len(), 1);
    scene.run(&["rotate", "--now", "-p", &typed]).succeeded();
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");

    scene.run(&["leave", "east", "-p", &typed, "--yes"]).succeeded();
    assert_eq!(scene.account.objects(), Vec::<String>::new());
    let after = tree(scene.prometheus.dir());
    let left: Vec<&String> = after.keys().filter(|name| name.contains("east")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn clock_that_differs_from_that_hosts_is_reported() {
    let scene = Scene::new("clock");
    for (offset, side) in [("+24h", "ahead of"), ("-24h", "behind")] {
        let run: Run = off_by(offset, scene.joining()).output().expect("the plugin starts").into();
        let run = run.succeeded();
        for whose in ["the API server", "prom"] {
            let told = format!("the clock of this machine is 24h {side} the clock of {whose}. ");
            assert!(run.stderr.contains(&told), "no {told:?}: {}", run.stderr);
        }
        assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    }
}

fn push_makes_the_same_files_locally_and_over_ssh() {
    let scene = Scene::new("same");
    let here = Prometheus::start(MAIN).expect("Prometheus starts");
    let dir = here.dir().display().to_string();
    scene.join(&["-p", &dir]).succeeded();
    let of = |root: &Path| -> Vec<String> {
        let named = |(name, content): (String, String)| {
            let parts = name.split('/').map(|part| match part {
                part if part.starts_with("20") => "GENERATION",
                part if part.starts_with("rotated-") => "rotated-ID.json",
                part => part,
            });
            let parts: Vec<&str> = parts.collect();
            let rights: Vec<&str> = content.split(' ').take(2).collect();
            let content =
                if name.ends_with("ca.crt") || name.ends_with("prometheus.yml") { content.as_str() } else { "" };
            format!("{} {} {content}", parts.join("/"), rights.join(" "))
        };
        tree(root).into_iter().map(named).collect()
    };
    assert_eq!(of(scene.prometheus.dir()), of(here.dir()));
}

/// The cluster is unchanged after every failure to connect.
fn failed_connection_is_one_error_and_changes_nothing() {
    let scene = Scene::new("none");
    let east = ["--cluster-name=east", "--yes", "--namespace", &scene.account.namespace];
    let join = |path: &str, destination: &str| {
        let mut all = vec!["join", "-p", destination, "--request-timeout=3s"];
        all.extend(east);
        scene.run_on(path, &all)
    };
    let (path, typed) = (scene.sshd.path(), scene.typed());
    let closed = format!("ssh://127.0.0.1:{}/etc/prometheus", testbed::refused_port().port());
    let hidden = scene.sshd.dir().join("known/config").display().to_string();
    for (run, reason, says) in [
        (join(&path, &closed), "HostUnreachable", "Connection refused"),
        (join(&path, "ssh://no-such-host.invalid/etc/prometheus"), "HostUnreachable", "Could not resolve hostname"),
        (join(&scene.sshd.path_with_a_refused_key(), &typed), "SshRefused", "Permission denied (publickey)"),
        (
            join(&scene.sshd.path_without_the_host_key(), &typed),
            "HostKeyUnknown",
            "Connect once by hand and compare the key: ssh ",
        ),
        (join("/nonexistent", &typed), "SshFailed", "it is not in PATH"),
        (join(&path, "ssh://prom/no/such/folder"), "DestinationUnusable", "cannot open /no/such/folder: No such file"),
        (join(&path, "ssh://prom/proc"), "DestinationUnusable", "has no prometheus.yml"),
        (join(&path, &format!("ssh://prom{hidden}")), "DestinationUnusable", "is not a configuration of Prometheus"),
    ] {
        run.failed(reason, &[says]);
        assert_eq!(scene.account.objects(), Vec::<String>::new(), "{reason}");
    }
    // A host that accepts and says nothing.
    let silent = testbed::Silent::start().expect("a listener");
    let run = join(&path, &format!("ssh://127.0.0.1:{}/etc/prometheus", silent.address().port()));
    run.failed("HostUnreachable", &["banner exchange"]);
}

fn loopback_address_is_refused_for_another_host() {
    let scene = Scene::new("loopback");
    let typed = scene.typed();
    let kubeconfig = scene.account.cluster.kubeconfig();
    let mut refused = command(kubeconfig, &["join", "-p", &typed, "--yes", "--namespace", &scene.account.namespace]);
    let run: Run = refused.env("PATH", scene.sshd.path()).output().expect("the plugin starts").into();
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("is a loopback address, and Prometheus is on another host"), "{}", run.stderr);
    assert!(run.stderr.contains("--api-server https://HOST:PORT"), "{}", run.stderr);
    assert_eq!(scene.account.objects(), Vec::<String>::new());
}

/// The host sends a request to the API server before the delivery, and the response decides.
fn access_that_the_host_cannot_verify_is_not_delivered() {
    let scene = Scene::new("proof");
    let before = but_what_stays(tree(scene.prometheus.dir()));
    let unauthorized = Action::Answer { status: 401, body: serde_json::json!({}) };
    for (action, says) in [(unauthorized, ": it refuses the new token"), (Action::Close, "does not reach")] {
        scene.routed.clear_rules();
        scene.routed.rule(Rule::new("GET", "/version", action).by("curl"));
        scene.join(&[]).failed("ProofFailed", &[says, "Nothing was put in place"]);
        assert_same(&but_what_stays(tree(scene.prometheus.dir())), &before, says);
        let gone = || scene.account.objects().is_empty().then_some(());
        testbed::until(SCRAPED_WITHIN, gone).unwrap_or_else(|| panic!("{says}: {:?}", scene.account.objects()));
    }
}

/// promtool of that host validates the files there. One that is killed rejects nothing.
fn jobs_rejected_by_promtool_there_are_not_put_in_place() {
    let tools = tempfile::tempdir().expect("a folder");
    let promtool = tools.path().join("promtool");
    let path = format!("SetEnv PATH={}:{}", tools.path().display(), std::env::var("PATH").unwrap_or_default());
    let scene =
        Scene::with("promtool", Sshd::start_with(&[&path], &[]).expect("sshd starts"), &PrometheusSpec::new(MAIN));
    let before = but_what_stays(tree(scene.prometheus.dir()));
    let file = format!("prom:{}/prom-federate/east.scrape.yml", scene.prometheus.dir().display());
    for (does, says) in [
        (
            "echo \"  FAILED: $4: not today\" >&2; exit 1",
            format!("promtool rejects {file}: east.scrape.yml: not today"),
        ),
        ("exit 3", format!("promtool rejects {file}: it ended with exit status 3")),
        ("kill -KILL $$", format!("promtool came to no verdict on {file}: it ended with exit status 137")),
    ] {
        fs::write(&promtool, format!("#!/bin/sh\ncase \"$*\" in *east.scrape.yml.new) {does} ;; esac\n"))
            .expect("a file");
        fs::set_permissions(&promtool, fs::Permissions::from_mode(0o755)).expect("a mode");
        scene.join(&[]).failed("ConfigRefused", &[&says]);
        assert_same(&but_what_stays(tree(scene.prometheus.dir())), &before, &says);
        let gone = || scene.account.objects().is_empty().then_some(());
        testbed::until(SCRAPED_WITHIN, gone).unwrap_or_else(|| panic!("{says}: {:?}", scene.account.objects()));
    }
}

/// Text before the first answer on both streams, and text like a prompt.
fn banner_of_a_login_shell_is_ignored() {
    let banner = "ForceCommand echo 'Welcome to prom!'; echo 'Last login: never' >&2; printf '$ '; eval \"$SSH_ORIGINAL_COMMAND\"";
    let scene =
        Scene::with("banner", Sshd::start_with(&[banner], &[]).expect("sshd starts"), &PrometheusSpec::new(MAIN));
    let run = scene.join(&[]).succeeded();
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    assert!(!run.stderr.contains("Welcome") && run.stdout.is_empty(), "{}{}", run.stderr, run.stdout);
}

fn missing_login_shell_is_reported() {
    let none = "ForceCommand echo 'This account is currently not available.'; exit 1";
    let scene =
        Scene::with("nologin", Sshd::start_with(&[none], &[]).expect("sshd starts"), &PrometheusSpec::new(MAIN));
    scene.join(&[]).failed("SshFailed", &["cannot start a shell", "Test by hand: ssh prom sh"]);
}

/// A host with the shell, the tools and the wget of busybox. That wget verifies no certificate and gets no token.
fn host_with_only_busybox_is_a_destination() {
    let tools = tempfile::tempdir().expect("a folder");
    let installed = Command::new("busybox").args(["--install", "-s"]).arg(tools.path()).status();
    assert!(installed.is_ok_and(|status| status.success()), "busybox is missing: apt-get install --yes busybox");
    let path = format!("SetEnv PATH={}", tools.path().display());
    let scene =
        Scene::with("busybox", Sshd::start_with(&[&path], &[]).expect("sshd starts"), &PrometheusSpec::new(MAIN));
    let run = scene.join(&[]).succeeded();
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    assert!(!run.stderr.contains("reaches the API server too"), "it cannot know: {}", run.stderr);
    let typed = scene.typed();
    scene.run(&["rotate", "--now", "-p", &typed]).succeeded();
    assert_eq!(scene.account.secrets().len(), 1);
    scene.run(&["leave", "east", "-p", &typed, "--yes"]).succeeded();
    assert_eq!(scene.account.objects(), Vec::<String>::new());
}

/// Programs of this machine, and no others, in a folder.
fn only(programs: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let needed =
        "sh ls sed grep cat readlink id uname mkdir rm rmdir mv chmod chown wc head dd sync sort cut date getent";
    for program in needed.split(' ').chain(programs.iter().copied()) {
        let path = std::env::var("PATH").unwrap_or_default();
        let found = path.split(':').map(|folder| Path::new(folder).join(program)).find(|file| file.exists());
        std::os::unix::fs::symlink(found.unwrap_or_else(|| panic!("no {program}")), folder.path().join(program))
            .expect("a link");
    }
    folder
}

/// No flock, no promtool, neither curl nor wget: a delivery is reloaded and not verified. With GNU's wget alone
/// everything is seen.
fn missing_programs_of_that_host_are_reported() {
    let none = only(&[]);
    let path = format!("SetEnv PATH={}", none.path().display());
    let scene = Scene::with("bare", Sshd::start_with(&[&path], &[]).expect("sshd starts"), &PrometheusSpec::new(MAIN));
    let run = scene.join(&[]).succeeded();
    assert!(run.stderr.contains("neither curl nor wget is installed on that host"), "{}", run.stderr);
    assert!(run.stderr.contains("no scrape with the new token was observed"), "{}", run.stderr);
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
    assert!(!scene.prometheus.dir().join("prom-federate/.lock.d").exists());

    let wget = only(&["wget", "flock"]);
    let path = format!("SetEnv PATH={}", wget.path().display());
    let scene = Scene::with("wget", Sshd::start_with(&[&path], &[]).expect("sshd starts"), &PrometheusSpec::new(MAIN));
    let run = scene.join(&[]).succeeded();
    assert!(run.stderr.contains("prom reaches the API server too"), "{}", run.stderr);
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    let unauthorized = Action::Answer { status: 401, body: serde_json::json!({}) };
    scene.routed.rule(Rule::new("GET", "/version", unauthorized).by("Wget"));
    scene.join(&[]).failed("ProofFailed", &[": it refuses the new token"]);
}

/// A full disk and one that is read-only, as root sees them.
fn full_disk_of_that_host_is_reported_and_undone() {
    needs::root();
    let scene = Scene::new("disk");
    let folder = tempfile::tempdir().expect("a folder");
    let mounted = Mounted::tmpfs(folder.path(), "size=64k,mode=700");
    fs::write(folder.path().join("prometheus.yml"), MAIN).expect("a file");
    let typed = format!("ssh://prom{}", folder.path().display());
    let arguments = ["join", "-p", &typed, "--owner=0", "--yes", "--namespace", &scene.account.namespace];
    for free in [0, 8192, 24 * 1024] {
        let _ = fs::remove_dir_all(folder.path().join("prom-federate"));
        let filler = folder.path().join("filler");
        let _ = fs::remove_file(&filler);
        fill(&filler, free);
        let before = but_what_stays(tree(folder.path()));
        scene
            .run(&arguments)
            .failed("WriteFailed", &["prom: cannot write prom", "No space left on device", "Free space there"]);
        let after = but_what_stays(tree(folder.path()));
        assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{free}");
        assert_eq!(after["prometheus.yml"], before["prometheus.yml"]);
        let gone = || scene.account.objects().is_empty().then_some(());
        testbed::until(SCRAPED_WITHIN, gone).unwrap_or_else(|| panic!("{free}: {:?}", scene.account.objects()));
    }
    let _ = fs::remove_dir_all(folder.path().join("prom-federate"));
    mounted.make_read_only();
    scene.run(&arguments).failed("WriteFailed", &["Read-only file system", "Mount it writable"]);
    drop(mounted);
}

/// The connection ends when the new files are staged, and again when they are in place. The host undoes the delivery, and
/// its Prometheus continues with the previous jobs.
fn lost_connection_is_undone_on_that_host() {
    let scene = Scene::new("cut");
    let before = but_what_stays(tree(scene.prometheus.dir()));
    let is_undone = |what: &str| {
        let same = || (but_what_stays(tree(scene.prometheus.dir())) == before).then_some(());
        testbed::until(SCRAPED_WITHIN, same)
            .unwrap_or_else(|| assert_same(&but_what_stays(tree(scene.prometheus.dir())), &before, what));
        let no_jobs = || scene.prometheus.targets().ok().filter(Vec::is_empty);
        testbed::until(SCRAPED_WITHIN, no_jobs).unwrap_or_else(|| panic!("{what}: there are targets"));
        let gone = || scene.account.objects().is_empty().then_some(());
        testbed::until(SCRAPED_WITHIN, gone).unwrap_or_else(|| panic!("{what}: {:?}", scene.account.objects()));
    };
    let is_there = |name: &str| tree(scene.prometheus.dir()).keys().any(|path| path.ends_with(name));
    for (what, rule, sign) in [
        ("staged", Rule::new("GET", "/version", Action::Hang).by("curl"), "ca.crt"),
        ("in place", Rule::new("GET", "/api/v1/nodes", Action::Hang).by("Prometheus"), "east.scrape.yml"),
    ] {
        scene.routed.clear_rules();
        scene.routed.rule(rule);
        let run = std::thread::scope(|scope| {
            let run = scope.spawn(|| scene.join(&["--request-timeout=5s"]));
            testbed::until(SCRAPED_WITHIN, || is_there(sign).then_some(()))
                .unwrap_or_else(|| panic!("{what}: no {sign}"));
            scene.sshd.cut().expect("it is cut");
            run.join().expect("it ends")
        });
        run.failed("SshFailed", &["the connection is lost", "undoes unfinished changes by itself"]);
        is_undone(what);
    }
    // A kill of the plugin on this side cuts the connection too.
    let mut child = scene.joining().spawn().expect("the plugin starts");
    testbed::until(SCRAPED_WITHIN, || is_there("east.scrape.yml").then_some(())).expect("it is in place");
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    let same = || (but_what_stays(tree(scene.prometheus.dir())) == before).then_some(());
    testbed::until(SCRAPED_WITHIN, same).expect("it is undone");
    // The next run converges.
    scene.routed.clear_rules();
    scene.join(&[]).succeeded();
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
    assert_eq!(scene.account.secrets().len(), 1);
}

/// A command under strace, which logs every program with its arguments and environment, and what is written where.
pub(crate) fn traced(log: &Path) -> Vec<String> {
    let words = ["strace", "-f", "-y", "-qq", "-e", "trace=execve,write,writev,pwrite64", "-v", "-s", "100000", "-o"];
    words.iter().map(|word| (*word).to_owned()).chain([log.display().to_string()]).collect()
}

/// A secret is written to pipes, sockets and its own file, and is in no argument and no environment.
pub(crate) fn assert_hidden(log: &Path, secret: &str) {
    let traced = fs::read_to_string(log).expect("a log");
    assert!(traced.contains("execve("), "{traced}");
    assert!(secret.len() > 20, "{secret}");
    for line in traced.lines().filter(|line| line.contains(secret)) {
        let (_, call) = line.split_once(' ').expect("a process and a call");
        let to =
            call.trim_start().strip_prefix("write").and_then(|call| Some(call.split_once('<')?.1.split_once('>')?.0));
        let is_hidden = |to: &str| {
            ["pipe:", "socket:", "TCP:", "UNIX"].iter().any(|kind| to.starts_with(kind)) || to.ends_with("/token")
        };
        assert!(to.is_some_and(is_hidden), "{}: {}", log.display(), line.replace(secret, "SECRET"));
    }
}

/// The arguments of every program on both hosts.
fn token_is_in_no_argument_on_either_host() {
    let logs = tempfile::tempdir().expect("a folder");
    let (there, here) = (logs.path().join("there"), logs.path().join("here"));
    strace();
    let wrapper = traced(&there);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let scene = Scene::with("argv", Sshd::start_with(&[], &wrapper).expect("sshd starts"), &PrometheusSpec::new(MAIN));
    let mut joining = traced(&here);
    let own = scene.joining();
    joining.push(own.get_program().to_string_lossy().into_owned());
    joining.extend(own.get_args().map(|word| word.to_string_lossy().into_owned()));
    let mut command = Command::new(&joining[0]);
    command.args(&joining[1..]).env_clear().env("KUBECONFIG", scene.routed.kubeconfig()).env("PATH", scene.sshd.path());
    let run: Run = command.stdin(Stdio::null()).output().expect("it starts").into();
    run.succeeded();
    let files = tree(scene.prometheus.dir());
    let token = files.iter().find(|(name, _)| name.ends_with("/token")).expect("a token").1.clone();
    for log in [there, here] {
        assert!(fs::read_to_string(&log).expect("a log").contains("\"sh\""), "{}", log.display());
        assert_hidden(&log, signature(&token));
    }
}

/// Before 5.1, bash wrote every here-document to a file of the folder for temporary files, and still does as if it were
/// that release. A variable of the environment is exported again when it is set.
fn token_of_a_script_is_in_no_argument_and_no_other_file() {
    let scene = Scene::new("hidden-script");
    let dir = scene.prometheus.dir().display().to_string();
    let (file, log) = (scene.sshd.dir().join("east.sh"), scene.sshd.dir().join("trace"));
    for shell in [&["sh"][..], &["busybox", "sh"], &["bash"]] {
        script(&scene, &file);
        let mut words = traced(&log);
        words.extend(shell.iter().map(|word| (*word).to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(&file).args(["--edit", &dir]).env("BASH_COMPAT", "50").env("text", "exported");
        let run: Run = command.output().expect("strace starts").into();
        run.succeeded();
        let files = tree(scene.prometheus.dir());
        let (_, token) = files.iter().rfind(|(name, _)| name.ends_with("/token")).expect("a token");
        assert_hidden(&log, signature(token));
    }
}

fn lock_excludes_a_second_run() {
    let scene = Scene::new("lock");
    scene.join(&[]).succeeded();
    let lock =
        fs::File::options().write(true).open(scene.prometheus.dir().join("prom-federate/.lock")).expect("a lock");
    lock.lock().expect("it is ours");
    let run =
        scene.join(&[]).failed("DestinationBusy", &["another run of kubectl prom-federate is writing to ssh://prom"]);
    assert!(run.stderr.contains("when sshd notices the loss"), "{}", run.stderr);
    drop(lock);
    scene.join(&[]).succeeded();
}

/// The printed script of another join, in a file.
fn script(scene: &Scene, file: &Path) {
    let mut all = vec!["join", "--format=script", "--scrape-interval=1s", "--cluster-name=east", "--yes"];
    all.extend(["--namespace", &scene.account.namespace]);
    let run = scene.run(&all).succeeded();
    assert!(run.stderr.contains("printed a script with a token that delivers the jobs of east"), "{}", run.stderr);
    fs::write(file, run.stdout).expect("a file");
}

/// Runs it, with more arguments.
fn by(shell: &[&str], file: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(file).args(arguments).output().expect("a shell").into()
}

fn a_script_delivers_by_itself() {
    let scene = Scene::new("script");
    let dir = scene.prometheus.dir().display().to_string();
    let file = scene.sshd.dir().join("east.sh");
    script(&scene, &file);
    let run = by(&["sh"], &file, &[&dir]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("or run this with --edit: scrape_config_files: - prom-federate/*.scrape.yml"),
        "{}",
        run.stderr
    );
    assert!(!scene.prometheus.dir().join("prom-federate").exists());

    let main = scene.prometheus.dir().join("prometheus.yml");
    let text = fs::read_to_string(&main).expect("the main configuration");
    fs::write(&main, format!("{text}\nrule_files: [mine.yml, prom-federate/*]\n")).expect("a file");
    for shell in [&["sh"][..], &["busybox", "sh"]] {
        let run = by(shell, &file, &["--edit", &dir]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("prom-federate/* in rule_files matches prom-federate/.id too"), "{}", run.stderr);
    }
    fs::write(&main, text).expect("a file");
    assert!(!scene.prometheus.dir().join("prom-federate").exists());

    let run = by(&["sh"], &file, &["--edit", &dir]).succeeded();
    for text in ["with this token and this CA", "4 of 4 targets up", "east.scrape.yml in place"] {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
    assert!(scene.prometheus.dir().join("prometheus.yml.before-prom-federate").exists());

    // Another one takes its place, by another shell.
    script(&scene, &file);
    by(&["busybox", "sh"], &file, &[&dir]).succeeded();
    // And one by way of ssh, whose own standard input it is.
    script(&scene, &file);
    let mut ssh = Command::new("ssh");
    ssh.args(["prom", "sh", "-s", "--", &dir]).env("PATH", scene.sshd.path());
    let run: Run = ssh.stdin(fs::File::open(&file).expect("a file")).output().expect("ssh starts").into();
    let run = run.succeeded();
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    // It is a destination like any other from then on.
    let typed = scene.typed();
    let status = scene.run(&["status", "-p", &typed]);
    assert!(status.stdout.contains("east"), "{}{}", status.stdout, status.stderr);
    scene.run(&["rotate", "--now", "-p", &typed]).succeeded();
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
    scene.run(&["leave", "east", "-p", &typed, "--yes"]).succeeded();
    let left = tree(scene.prometheus.dir());
    assert!(!left.keys().any(|name| name.contains("east")), "{:?}", left.keys());
}

fn failed_script_is_undone() {
    let scene = Scene::new("bad-script");
    let dir = scene.prometheus.dir().display().to_string();
    let file = scene.sshd.dir().join("east.sh");
    script(&scene, &file);
    let before = but_what_stays(tree(scene.prometheus.dir()));
    for (rule, says) in [
        (Rule::new("GET", "/version", Action::Close).by("curl"), "this host does not reach https://"),
        (Rule::new("GET", "/api/v1/nodes", Action::Close).by("Prometheus"), "no target is up"),
    ] {
        scene.routed.clear_rules();
        scene.routed.rule(rule);
        let run = by(&["sh"], &file, &["--edit", &dir]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains(says), "{}", run.stderr);
        assert_same(&but_what_stays(tree(scene.prometheus.dir())), &before, says);
    }
    // A truncated script does nothing.
    let text = fs::read(&file).expect("a script");
    for cut in [text.len() - 2, text.len() / 2] {
        let part = scene.sshd.dir().join("part.sh");
        fs::write(&part, &text[..cut]).expect("a file");
        by(&["sh"], &part, &["--edit", &dir]);
        assert_same(&but_what_stays(tree(scene.prometheus.dir())), &before, "cut off");
    }
}

/// A user of that host who is not root; `sudoers` is all that sudo there knows. In a namespace of its own: nothing of
/// this machine is changed.
fn host_with_a_user(sudoers: &str, keys: &Path) -> Sshd {
    let write = |name: &str, text: &str| {
        let path = keys.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let passwd = fs::read_to_string("/etc/passwd").expect("users");
    let passwd = write("passwd", &(passwd + "admin:*:54321:54321::/:/bin/sh\n"));
    let sudoers = write("sudoers", sudoers);
    fs::set_permissions(&sudoers, fs::Permissions::from_mode(0o440)).expect("a mode");
    let mount = format!("mount --bind {passwd} /etc/passwd && mount --bind {sudoers} /etc/sudoers && exec \"$@\"");
    let line = format!("AuthorizedKeysFile {}/authorized_keys", keys.display());
    let sshd = Sshd::start_with(&[&line], &["unshare", "--mount", "sh", "-c", &mount, "sh"]).expect("sshd starts");
    fs::copy(sshd.dir().join("key.pub"), keys.join("authorized_keys")).expect("a key");
    sshd
}

/// A user who may not write becomes root by sudo if sudo needs no password. Otherwise an error names the missing permission
/// before the first write.
fn sudo_is_used_where_it_is_needed_and_allowed() {
    needs::root();
    let keys = tempfile::tempdir().expect("a folder");
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let sshd = host_with_a_user("admin ALL=(root) NOPASSWD: ALL\n", keys.path());
    let scene = Scene::with("sudo", sshd, &PrometheusSpec::new(MAIN));
    // Only root may enter the folder.
    let typed = format!("ssh://admin@prom{}", scene.prometheus.dir().display());
    let arguments = ["join", "--scrape-interval=1s", "-p", &typed, "--cluster-name=east", "--yes"];
    let all = [&arguments[..], &["--namespace", &scene.account.namespace]].concat();
    let run = scene.run(&all).succeeded();
    assert!(run.stderr.contains("prometheus.yml as root, by sudo, read by Prometheus 3.16.0"), "{}", run.stderr);
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    scene.run(&["rotate", "--now", "-p", &typed]).succeeded();
    scene.run(&["leave", "east", "-p", &typed, "--yes"]).succeeded();

    let keys = tempfile::tempdir().expect("a folder");
    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let sshd = host_with_a_user("admin ALL=(root) ALL\n", keys.path());
    let scene = Scene::with("no-sudo", sshd, &PrometheusSpec::new(MAIN));
    let all = [&arguments[..], &["--namespace", &scene.account.namespace]].concat();
    let let_it = "or allow this user sudo without a password";
    scene.run(&all).failed("DestinationUnusable", &["admin@prom: cannot open ", "Permission denied", let_it]);
    // A folder that admin may read and not write.
    let folder = keys.path().join("prometheus");
    fs::create_dir(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::write(folder.join("prometheus.yml"), MAIN).expect("a file");
    fs::set_permissions(folder.join("prometheus.yml"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let typed = format!("ssh://admin@prom{}", folder.display());
    let all = ["join", "-p", &typed, "--cluster-name=east", "--yes", "--namespace", &scene.account.namespace];
    scene.run(&all).failed("WriteFailed", &["admin@prom: cannot write prom-federate: Permission denied", let_it]);
    scene.run(&["status", "-p", &typed]).succeeded();
    assert_eq!(scene.account.objects(), Vec::<String>::new());
}

/// By SIGHUP, by a command of the host, by HTTP and not at all.
fn every_reload_mode_works_over_ssh() {
    let scene =
        Scene::with("reload", Sshd::start().expect("sshd starts"), &PrometheusSpec::new(MAIN).without_lifecycle());
    let run = scene.join(&[]).succeeded();
    assert!(run.stderr.contains("Prometheus 3.16.0 reloaded, 4 of 4 targets up"), "{}", run.stderr);
    let pid = scene.prometheus.pid();
    let command = format!("--reload=command:kill -HUP {pid}");
    let run = scene.join(&[&command]).succeeded();
    assert!(run.stderr.contains("Prometheus 3.16.0 reloaded, 4 of 4 targets up"), "{}", run.stderr);
    let before = but_what_stays(tree(scene.prometheus.dir()));
    scene
        .join(&["--reload=command:echo 'no such unit' >&2; exit 3"])
        .failed("ReloadFailed", &["ended on prom with exit status 3: no such unit"]);
    assert_same(&but_what_stays(tree(scene.prometheus.dir())), &before, "a reload that fails");
    scene.join(&["--reload=http"]).failed("ReloadFailed", &["does not allow a reload over HTTP"]);
    assert_same(&but_what_stays(tree(scene.prometheus.dir())), &before, "a reload that is not allowed");
    let run = scene.join(&["--reload=none"]).succeeded();
    assert!(run.stderr.contains("not reloaded (--reload=none)"), "{}", run.stderr);
}

fn two_hosts_are_delivered_independently() {
    let scene = Scene::new("pair");
    let other = Scene::with("pair-b", Sshd::start().expect("sshd starts"), &PrometheusSpec::new(MAIN));
    let second = format!("ssh://prom{}", other.prometheus.dir().display());
    // One sshd serves both folders here: two logins all the same.
    let run = scene.join(&["-p", &second]).succeeded();
    assert_eq!(scene.sshd.logins(), 2);
    assert_eq!(run.stderr.matches("4 of 4 targets up").count(), 2, "{}", run.stderr);
    let run = scene.join(&["-p", "ssh://prom/no/such/folder"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let twice = scene.typed();
    let run = scene.join(&["-p", &twice]);
    assert!(run.stderr.contains("is named twice"), "{}", run.stderr);
    for typed in [&twice, &second] {
        scene.run(&["leave", "east", "-p", typed, "--yes"]).succeeded();
    }
    assert_eq!(scene.account.objects(), Vec::<String>::new());
}

/// `rotate --watch` connects to read the records, to rotate, and to read the tokens that it proves, and disconnects in
/// between.
fn watch_rotates_over_ssh() {
    use std::io::{BufRead, BufReader};
    let scene = Scene::new("watch");
    scene.join(&["--duration=10m"]).succeeded();
    // Due at half of its life; the record is made older, as time would do it.
    let typed = scene.typed();
    let record =
        tree(scene.prometheus.dir()).into_keys().find(|name| name.ends_with("cluster.json")).expect("a record");
    let record = scene.prometheus.dir().join(record);
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&record).expect("a file")).expect("JSON");
    let issued = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(9);
    json["token"]["issued"] = issued.to_string().into();
    fs::write(&record, json.to_string()).expect("a file");
    let before = scene.account.secrets();
    let metrics = scene.prometheus.dir().join("metrics.prom");
    let flag = format!("--metrics-file={}", metrics.display());
    let mut watch = command(&scene.routed.kubeconfig(), &["rotate", "--watch", "-p", &typed, &flag]);
    let mut watch = watch.env("PATH", scene.sshd.path()).stderr(Stdio::piped()).spawn().expect("the plugin starts");
    let lines = BufReader::new(watch.stderr.take().expect("its log")).lines();
    let rotated =
        lines.map_while(Result::ok).find(|line| line.contains("event=rotated") || line.contains("level=error"));
    let limited = ["fence_enforced", "rights_narrow"].map(|name| format!("prom_federate_{name}{{cluster=\"east\""));
    let is_proven = |text: &String| {
        let is_well = |begins| text.lines().any(|line| line.starts_with(begins) && line.ends_with(" 1"));
        limited.iter().all(is_well)
    };
    // If the rotation replaced the token meanwhile, it is proven again after a minute.
    let proven = testbed::until(4 * SCRAPED_WITHIN, || fs::read_to_string(&metrics).ok().filter(is_proven));
    let _ = watch.kill();
    let _ = watch.wait();
    assert!(proven.is_some(), "{:?}", fs::read_to_string(&metrics));
    assert!(rotated.as_ref().is_some_and(|line| line.contains("event=rotated")), "{rotated:?}");
    let after = scene.account.secrets();
    assert!(after.len() == 1 && after != before, "{after:?} after {before:?}");
}

fn vmagent_of_another_host_is_a_destination() {
    let scene = Scene::new("vmagent");
    let vmagent = testbed::Vmagent::start("scrape_configs: []\n").unwrap_or_else(|error| panic!("{error:#}"));
    let typed = format!("ssh://prom{}/vmagent.yml", vmagent.dir().display());
    let mut all = vec!["join", "--scrape-interval=1s", "-p", &typed, "--cluster-name=east", "--yes"];
    all.extend(["--namespace", &scene.account.namespace]);
    let run = scene.run(&all).succeeded();
    assert!(
        run.stderr.contains("checked by vmagent -promscrape.config.dryRun, vmagent reloaded, 4 of 4 targets up"),
        "{}",
        run.stderr
    );
    scene.run(&["rotate", "--now", "-p", &typed]).succeeded();
    scene.run(&["leave", "east", "-p", &typed, "--yes"]).succeeded();
    assert_eq!(scene.account.objects(), Vec::<String>::new());
}

fn script_delivers_to_a_collector() {
    let scene = Scene::new("script-collector");
    let collector = Collector::start(&CollectorSpec::in_two_files()).unwrap_or_else(|error| panic!("{error:#}"));
    let config = collector.dir().join("receivers.yaml").display().to_string();
    let file = scene.sshd.dir().join("east.sh");
    script(&scene, &file);
    let url = format!("PROMETHEUS_URL=http://{}", collector.api());
    let deliver = |shell: &[&str]| by(&[&["env", &url], shell].concat(), &file, &[&config]);

    let other = "prom-federate/other.scrape.yml";
    collector.write(other, "scrape_configs: [{job_name: 7, nonsense: 1}]\n").expect("a file");
    for shell in [&["sh"][..], &["busybox", "sh"]] {
        let run = deliver(shell);
        assert!(run.code == Some(1) && run.stderr.contains("otelcol validate rejects"), "{}", run.stderr);
    }
    fs::remove_file(collector.dir().join(other)).expect("a file");
    for shell in [&["sh"][..], &["busybox", "sh"]] {
        let run = deliver(shell).succeeded();
        assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    }
    assert!(collector.runs(), "{}", collector.log());
    let rest = collector.dir().join("config.yaml");
    fs::write(rest, "exporters: {}\n").expect("a file");
    let run = deliver(&["sh"]);
    assert!(run.code == Some(1) && run.stderr.contains("otelcol validate rejects"), "{}", run.stderr);
    assert!(collector.runs(), "{}", collector.log());
}

/// It is validated there, with its own environment, and no SIGHUP ends it.
fn collector_of_another_host_is_a_destination() {
    let scene = Scene::new("collector");
    let collector = Collector::start(&CollectorSpec::in_two_files()).unwrap_or_else(|error| panic!("{error:#}"));
    let typed = format!("ssh://prom{}/receivers.yaml", collector.dir().display());
    let mut all = vec!["join", "--scrape-interval=1s", "-p", &typed, "--cluster-name=east", "--yes"];
    all.extend(["--namespace", &scene.account.namespace]);
    let run = scene.run(&all).succeeded();
    let said = "checked by otelcol validate, OpenTelemetry Collector reloaded, 4 of 4 targets up";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    let rotated = scene.run(&["rotate", "--now", "-p", &typed]).succeeded();
    assert!(rotated.stderr.contains("reads the new token without a reload, 4 of 4 targets up"), "{}", rotated.stderr);

    let rest = collector.dir().join("config.yaml");
    let good = fs::read_to_string(&rest).expect("a configuration");
    fs::write(&rest, good.replace("${env:EXPORTER}", "missing")).expect("a file");
    let leave = ["leave", "east", "-p", &typed, "--yes"];
    scene.run(&leave).failed("ReloadFailed", &["otelcol validate rejects", "missing", "would end the process"]);
    fs::write(&rest, good).expect("a file");
    scene.run(&leave).succeeded();
    assert_eq!(scene.account.objects(), Vec::<String>::new());
    assert!(collector.runs(), "{}", collector.log());
}

/// Two hosts with one name and one path: the folder was copied from one to the other.
fn copy_of_that_host_gets_a_token_of_its_own() {
    let scene = Scene::new("copied");
    let dir = scene.prometheus.dir();
    let machines = ["00000000000000000000000000000001", "00000000000000000000000000000002"];
    let [here, there] = machines.map(|id| Machine::of(dir, Some(id)));
    let started = |machine: &Machine| {
        let words = machine.words();
        Sshd::start_with(&[], &words.iter().map(String::as_str).collect::<Vec<_>>()).expect("sshd starts")
    };
    let on = |sshd: &Sshd, words: &[&str]| scene.run_on(&sshd.path(), words);
    let (typed, namespace) = (scene.typed(), scene.account.namespace.clone());
    let join =
        ["join", "--scrape-interval=1s", "-p", &typed, "--cluster-name=east", "--owner=0", "--yes", "-n", &namespace];
    let rotate = ["rotate", "--now", "-p", &typed];
    let original = started(&here);
    on(&original, &join).succeeded();
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
    there.copy();
    let copy = started(&there);
    let secrets = scene.account.secrets();
    on(&copy, &rotate).failed("RecordNotConfirmed", &["on another machine, of which this folder is a copy"]);
    assert_eq!(scene.account.secrets(), secrets);
    on(&copy, &join).succeeded();
    for sshd in [&original, &copy, &original] {
        on(sshd, &rotate).succeeded();
    }
    assert!(scene.account.secrets().len() >= 2, "{:?}", scene.account.secrets());
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
}

/// A shell has no open folders: as root it writes only where no other user may rename. Nor does it follow links or wait.
fn unsafe_folder_of_that_host_is_refused() {
    use std::os::unix::fs::{chown, symlink};
    needs::root();
    let scene = Scene::new("not-safe");
    let dir = scene.prometheus.dir().to_owned();
    let (shown, ours) = (dir.display().to_string(), dir.join("prom-federate"));
    let file = scene.sshd.dir().join("east.sh");
    script(&scene, &file);
    let root_only = RootOnly::beside(scene.sshd.dir());
    let refuse = |says: &[&str]| {
        let run = scene.join(&[]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let shells: [&[&str]; 2] = [&["sh"], &["busybox", "sh"]];
        let by_script = shells.map(|shell| by(shell, &file, &["--edit", &shown, "0"]));
        for run in [run].iter().chain(&by_script) {
            assert_ne!(run.code, Some(0), "{says:?}: {}", run.stderr);
            for text in says {
                assert!(run.stderr.contains(text), "does not say {text:?}: {}", run.stderr);
            }
            root_only.is_untouched(&run.stderr);
        }
    };
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");

    let by_hand = |says: &[&str]| {
        let run = by(&["sh"], &file, &["--edit", &shown, "0"]);
        assert!(run.code == Some(1) && says.iter().all(|text| run.stderr.contains(text)), "{says:?}: {}", run.stderr);
    };
    chown(&dir, Some(STRANGER), None).expect("root may");
    let (owner, mend) = (format!("it belongs to user {STRANGER}"), format!("chown root: {shown}"));
    scene.join(&[]).failed("UnsafeFolder", &[&owner, &mend, "connect as that user"]);
    by_hand(&[&format!("user {STRANGER} may write in {shown}"), &format!("run there chown root {shown}")]);
    chown(&dir, Some(0), None).expect("root may");
    mode(&dir, 0o757);
    scene.join(&[]).failed("UnsafeFolder", &["every user may write in it", &format!("chmod o-w {shown}")]);
    by_hand(&[&format!("every user may write in {shown}"), "chmod o-w"]);
    mode(&dir, 0o755);
    assert!(!ours.exists(), "nothing was written");

    symlink(root_only.path(), &ours).expect("a link");
    refuse(&["symbolic link"]);
    fs::remove_file(&ours).expect("a link");
    fs::create_dir(&ours).expect("a folder");
    mode(&ours, 0o700);
    chown(&ours, None, Some(STRANGER)).expect("root may");
    mode(&ours, 0o770);
    refuse(&[&format!("group {STRANGER} may write in {}", ours.display()), "run there chmod g-w"]);
    chown(&ours, None, Some(0)).expect("root may");
    mode(&ours, 0o700);
    symlink(root_only.path().join("nologin"), ours.join(".lock")).expect("a link");
    refuse(&[".lock is a symbolic link to"]);
    fs::remove_file(ours.join(".lock")).expect("a link");
    mkfifo(&ours.join(".lock"));
    refuse(&[".lock is not a regular file"]);
    fs::remove_file(ours.join(".lock")).expect("a pipe");
    symlink(root_only.path(), ours.join("east")).expect("a link");
    refuse(&["is a symbolic link"]);
    fs::remove_file(ours.join("east")).expect("a link");

    // What is read: named, and not waited for.
    let zzz = ours.join("zzz.scrape.yml");
    mkfifo(&zzz);
    let typed = scene.typed();
    let run = scene.run(&["status", "-p", &typed]);
    assert!(
        format!("{}{}", run.stdout, run.stderr).contains("zzz.scrape.yml: it is a folder, a pipe or a device"),
        "{run:?}"
    );
    fs::remove_file(&zzz).expect("a pipe");
    fs::File::create(&zzz).and_then(|file| file.set_len(1 << 40)).expect("a file");
    let run = scene.run(&["status", "-p", &typed]);
    assert!(format!("{}{}", run.stdout, run.stderr).contains("zzz.scrape.yml: it is larger than 1 MiB"), "{run:?}");
    fs::remove_file(&zzz).expect("a file");

    let main = dir.join("prometheus.yml");
    let elsewhere = scene.sshd.dir().join("shared.yml");
    fs::rename(&main, &elsewhere).expect("a file");
    symlink(&elsewhere, &main).expect("a link");
    refuse(&[&format!("is a symbolic link to {}", elsewhere.display())]);
    fs::rename(&elsewhere, &main).expect("a file");

    give_by_default(&dir, STRANGER);
    refuse(&["default access list", "setfacl -k"]);
    rustix::fs::removexattr(&dir, "system.posix_acl_default").expect("a list");
    scene.join(&[]).succeeded();
    scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
    scene.run(&["leave", "east", "-p", &typed, "--yes"]).succeeded();
}
