//! `rotate --watch`, and its metrics.

use crate::{
    needs,
    plugin::{Account, command},
    push::{generations, mkfifo, strace},
    raw,
};
use jiff::{SignedDuration, Timestamp};
use prom_federate::{
    model::{
        store::record::Record,
        token::{TokenLife, schedule::RotationHistory},
    },
    render::unit::{Root, RunsAs, Unit},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};
use testbed::{Action, FaultProxy, Kubeconfig, Prometheus, PrometheusSpec, Rule, User};

trials! {
    watch:
    smoke {
        watch_renews_due_tokens,
    }
    full {
        watch_includes_new_clusters_and_retries_missing_destinations,
        failure_is_retried_after_a_minute,
        broken_token_file_ends_no_watch,
        signal_during_a_rotation_undoes_it,
        no_rotation_begins_after_a_signal,
        pipe_among_the_jobs_is_reported_and_sigterm_is_heard,
        sigterm_is_heard_while_the_file_system_hangs,
        metrics_pass_promtool,
        fence_and_rights_are_proven_with_the_token_in_use,
        silent_api_server_is_neither_well_nor_broken_and_delays_nothing,
        a_service_has_the_capabilities_that_it_needs_and_no_other,
        a_service_in_the_group_of_prometheus_gives_no_file_away,
    }
}

/// A watch reads the records once a minute, and a rotation waits for scrapes.
const PATIENCE: Duration = Duration::from_secs(100);
/// A kubeconfig that is not there, as on the host of a Prometheus.
const NONE: &str = "/nonexistent/kubeconfig";

/// A Prometheus that an account of its own was joined to, as `east`.
struct Joined {
    account: Account<'static>,
    prometheus: Prometheus,
}

impl Joined {
    fn new(name: &str, flags: &[&str]) -> Self {
        let account = Account::new(&testbed::shared().east, &format!("watch-{name}"));
        let prometheus = Prometheus::start("global: {scrape_interval: 1s}\n").expect("Prometheus starts");
        let joined = Self { account, prometheus };
        joined.join(flags);
        joined
    }

    fn join(&self, flags: &[&str]) {
        let pace = ["--scrape-interval=1s", "--scrape-timeout=1s", "--cluster-name=east"];
        let mut all = vec!["join", "-p", self.folder()];
        all.extend(pace.iter().chain(flags));
        self.account.run(&all).succeeded();
    }

    fn folder(&self) -> &str {
        self.prometheus.dir().to_str().expect("UTF-8")
    }

    /// The record that is in use: there is but one, because what it replaced was retired.
    fn record_file(&self) -> PathBuf {
        self.record_file_of("east")
    }

    fn record_file_of(&self, cluster: &str) -> PathBuf {
        let generations = generations(self.prometheus.dir(), cluster);
        assert_eq!(generations.len(), 1, "{generations:?}");
        generations[0].join("cluster.json")
    }

    fn record(&self) -> Record {
        Self::read(&self.record_file())
    }

    fn read(file: &Path) -> Record {
        Record::read(&fs::read_to_string(file).expect("a file")).expect("a record")
    }

    /// Has the token's life such that it is due that many seconds from now.
    fn due_in(&self, seconds: i64) {
        Self::set_due(&self.record_file(), seconds);
    }

    fn set_due(file: &Path, seconds: i64) {
        let now = Timestamp::now();
        let life = TokenLife { issued: now, expires: now + SignedDuration::from_mins(10) };
        let mut record = Self::read(file);
        let shift = now.duration_since(RotationHistory::default().next(&record.uid, life, None, now))
            + SignedDuration::from_secs(seconds);
        record.token = TokenLife { issued: life.issued + shift, expires: life.expires + shift };
        // In one step, for a watch may be reading it.
        let staged = file.with_extension("new");
        fs::copy(file, &staged).expect("a file with the same mode");
        fs::write(&staged, serde_json::to_string(&record).expect("JSON")).expect("a file");
        fs::rename(&staged, file).expect("the record");
    }

    fn watch(&self, kubeconfig: &Path, flags: &[&str]) -> Watch {
        let mut all = vec!["rotate", "--watch", "-p", self.folder()];
        all.extend(flags);
        Watch::start(command(kubeconfig, &all))
    }
}

/// A watch that runs; dropping it ends it.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the plugin starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (line, lines) = channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        Self { child, lines }
    }

    /// The next event of that name; others may come before. Nothing but events is said.
    fn event(&self, name: &str) -> String {
        let mut before = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else { panic!("no event {name} after {before:#?}") };
            assert!(line.starts_with("ts=2") && line.contains(" level="), "no event: {line}");
            if line.contains(&format!(" event={name}")) {
                return line;
            }
            before.push(line);
        }
    }

    /// Asks it to end, and returns its exit code and what it still said.
    fn end(mut self, signal: Signal) -> (Option<i32>, Vec<String>) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        let code = self.child.wait().expect("it ends").code();
        (code, self.lines.iter().collect())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A value of a line.
fn value(line: &str, key: &str) -> String {
    let line = &format!(" {line}");
    let value = line.split_once(&format!(" {key}=")).unwrap_or_else(|| panic!("no {key}: {line}")).1;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split(' ').next(),
    }
    .unwrap_or_default()
    .to_owned()
}

fn time(line: &str, key: &str) -> Timestamp {
    value(line, key).parse().expect("a time")
}

/// By the account itself, as a service that systemd started.
fn watch_renews_due_tokens() {
    let joined = Joined::new("due", &["--self-renew", "--duration=2h"]);
    let folder = tempfile::tempdir().expect("a folder");
    let notified = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
    notified.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let state = || {
        let mut buffer = [0; 1000];
        let length = notified.recv(&mut buffer).expect("a state");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    joined.due_in(5);
    let due = joined.record();
    let metrics = folder.path().join("prom-federate.prom");
    let flag = format!("--metrics-file={}", metrics.display());
    let mut command = command(Path::new(NONE), &["rotate", "--watch", "-p", joined.folder(), &flag]);
    command.env("NOTIFY_SOCKET", folder.path().join("notify"));
    let watch = Watch::start(command);
    let started = watch.event("started");
    assert_eq!(value(&started, "destinations"), joined.folder());
    let ready = state();
    assert!(ready.starts_with("READY=1\nSTATUS=next: east at "), "{ready}");
    let rotated = watch.event("rotated");
    let words = ["destination", "cluster", "by", "targets_up", "targets"].map(|key| value(&rotated, key));
    assert_eq!(words, [joined.folder(), "east", "account", "4", "4"]);
    let record = joined.record();
    assert!(record.token.issued > due.token.issued, "{rotated}");
    assert_eq!(time(&rotated, "expires").as_second(), record.token.expires.as_second());
    let wait = time(&rotated, "due").duration_since(record.token.issued).as_secs();
    assert!((3600..3600 + 180 + 90).contains(&wait), "{wait}: {rotated}");
    let expiry = format!(
        "prom_federate_token_expiry_timestamp_seconds{{cluster=\"east\",destination=\"{}\"}} {}\n",
        joined.folder(),
        record.token.expires.as_second()
    );
    let written = testbed::until(PATIENCE, || fs::read_to_string(&metrics).ok().filter(|text| text.contains(&expiry)));
    assert!(written.is_some_and(|text| text.contains("prom_federate_rotation_failing{") && text.ends_with("} 0\n")));
    let (code, last) = watch.end(Signal::TERM);
    assert_eq!((code, last.len(), value(&last[0], "event").as_str()), (Some(0), 1, "stopped"), "{last:?}");
    while state().trim_end() != "STOPPING=1" {}
    joined.prometheus.wait_for_targets(4, PATIENCE).expect("it goes on scraping");
}

fn watch_includes_new_clusters_and_retries_missing_destinations() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("not yet");
    let joined = Joined::new("joins", &[]);
    fs::rename(joined.prometheus.dir().join("prom-federate"), folder.path().join("aside")).expect("a folder");
    let kubeconfig = joined.account.cluster.kubeconfig();
    let watch = joined.watch(kubeconfig, &["-p", missing.to_str().expect("UTF-8"), "east"]);
    let failed = watch.event("failed");
    assert_eq!(value(&failed, "destination"), missing.to_string_lossy());
    assert_eq!((value(&failed, "reason").as_str(), value(&failed, "retry_in").as_str()), ("DestinationUnusable", "1m"));
    assert!(value(&watch.event("warning"), "msg").contains("has a cluster east yet"));
    fs::rename(folder.path().join("aside"), joined.prometheus.dir().join("prom-federate")).expect("a folder");
    joined.due_in(0);
    let rotated = watch.event("rotated");
    assert_eq!((value(&rotated, "cluster").as_str(), value(&rotated, "by").as_str()), ("east", "administrator"));
    assert_eq!(joined.account.secrets().len(), 1, "the old token is retired");
    assert_eq!(watch.end(Signal::INT).0, Some(0));
}

fn failure_is_retried_after_a_minute() {
    let joined = Joined::new("failure", &[]);
    let proxy = FaultProxy::in_front_of(joined.account.cluster).expect("a proxy");
    joined.due_in(0);
    let old = joined.record();
    let refused = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no\u{1b}[2J \"today\"", "reason": "Forbidden", "code": 403});
    proxy.rule(Rule::new("POST", "/serviceaccounts/prometheus/token", Action::Answer { status: 403, body: refused }));
    let metrics = joined.prometheus.dir().join("metrics.prom");
    let flag = format!("--metrics-file={}", metrics.display());
    let watch = joined.watch(&proxy.kubeconfig(), &[&flag]);
    let failed = watch.event("failed");
    let said = ["cluster", "reason", "retry_in"].map(|key| value(&failed, key));
    assert_eq!(said, ["east", "Forbidden", "1m"], "{failed}");
    assert!(!failed.contains('\u{1b}') && failed.contains("The old token stays in use"), "{failed}");
    assert_eq!(joined.record(), old);
    let failing = |text: &String| {
        text.contains("prom_federate_rotation_last_failure_timestamp_seconds{") && text.ends_with("} 1\n")
    };
    testbed::until(PATIENCE, || fs::read_to_string(&metrics).ok().filter(failing)).expect("the metrics say so");
    proxy.clear_rules();
    let rotated = watch.event("rotated");
    let waited = time(&rotated, "ts").duration_since(time(&failed, "ts")).as_secs();
    assert!((59..90).contains(&waited), "{waited}");
    let well = |text: &String| text.contains("last_failure_timestamp_seconds{") && text.ends_with("} 0\n");
    testbed::until(PATIENCE, || fs::read_to_string(&metrics).ok().filter(well)).expect("the metrics say so");
    let (code, last) = watch.end(Signal::TERM);
    assert_eq!((code, last.len()), (Some(0), 1), "{last:?}");
}

/// No process that renews one cluster may end because of the credentials of another.
fn broken_token_file_ends_no_watch() {
    let joined = Joined::new("token-file", &[]);
    let cluster = joined.account.cluster;
    let (token, kubeconfig) = (joined.prometheus.dir().join("tok"), joined.prometheus.dir().join("kubeconfig"));
    cluster.apply(ADMINISTRATOR);
    let good = cluster.kubectl_ok(&["-n", "kube-system", "create", "token", "field-administrator"]);
    fs::write(&token, &good).expect("a file");
    Kubeconfig { user: User::TokenFile(token.clone()), ..cluster.admin() }.write(&kubeconfig).expect("a kubeconfig");
    let watch = joined.watch(&kubeconfig, &[]);
    watch.event("started");
    fs::write(&token, format!("{good}\nhunter2\n")).expect("a file");
    joined.due_in(0);
    let failed = watch.event("failed");
    assert_eq!(value(&failed, "reason"), "CredentialPluginFailed", "{failed}");
    assert!(failed.contains("line break") && failed.contains("tok") && !failed.contains("hunter2"), "{failed}");
    fs::write(&token, good).expect("a file");
    watch.event("rotated");
    let (code, last) = watch.end(Signal::TERM);
    assert_eq!(code, Some(0), "{last:?}");
}

/// An account that may do everything.
const ADMINISTRATOR: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "field-administrator", "namespace": "kube-system"}},
    {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "field-administrator"},
     "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
     "subjects": [{"kind": "ServiceAccount", "name": "field-administrator", "namespace": "kube-system"}]}]}"#;

fn signal_during_a_rotation_undoes_it() {
    let joined = Joined::new("end", &[]);
    let secrets = joined.account.secrets();
    for (signal, expected) in [(Signal::TERM, 0), (Signal::INT, 130)] {
        let proxy = FaultProxy::in_front_of(joined.account.cluster).expect("a proxy");
        joined.due_in(0);
        let old = joined.record();
        proxy.rule(Rule::new("POST", "/serviceaccounts/prometheus/token", Action::Hang));
        let watch = joined.watch(&proxy.kubeconfig(), &[]);
        let asked = || proxy.requests().iter().any(|request| request.path.contains("/token")).then_some(());
        testbed::until(PATIENCE, asked).expect("a token is asked for");
        let (code, last) = watch.end(signal);
        assert_eq!(code, Some(expected), "{last:?}");
        let events: Vec<String> =
            last.iter().filter(|line| line.starts_with("ts=")).map(|line| value(line, "event")).collect();
        assert_eq!(events[events.len() - 2..], ["failed", "stopped"], "{last:?}");
        assert_eq!((joined.account.secrets(), joined.record()), (secrets.clone(), old), "{last:?}");
    }
}

/// Also not by a `rotate` that only listens while it waits for something.
fn no_rotation_begins_after_a_signal() {
    let joined = Joined::new("signal", &[]);
    let second = Prometheus::start("global: {scrape_interval: 1s}\n").expect("Prometheus starts");
    let other = second.dir().to_str().expect("UTF-8");
    joined.account.run(&["join", "-p", other, "--scrape-interval=1s", "--scrape-timeout=1s"]).succeeded();
    let proxy = FaultProxy::in_front_of(joined.account.cluster).expect("a proxy");
    proxy.rule(Rule::new("POST", "/serviceaccounts/prometheus/token", Action::Hang));
    let arguments = ["rotate", "--now", "-p", joined.folder(), "-p", other];
    let mut child = command(&proxy.kubeconfig(), &arguments).stderr(Stdio::null()).spawn().expect("the plugin starts");
    let asked = || proxy.requests().iter().filter(|request| request.path.contains("/token")).count();
    testbed::until(PATIENCE, || (asked() > 0).then_some(())).expect("a token is asked for");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    assert_ne!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(asked(), 1);
    assert_eq!(joined.account.secrets().len(), 2, "one for each destination, as before");
}

/// A reader of a pipe waits for a writer, who never comes.
fn pipe_among_the_jobs_is_reported_and_sigterm_is_heard() {
    let joined = Joined::new("pipe", &["--self-renew"]);
    mkfifo(&joined.prometheus.dir().join("prom-federate/zzz.scrape.yml"));
    let watch = joined.watch(Path::new(NONE), &[]);
    let failed = watch.event("failed");
    assert!(failed.contains("zzz.scrape.yml is a named pipe, not a file"), "{failed}");
    let (code, _) = watch.end(Signal::TERM);
    assert_eq!(code, Some(0));
}

/// The plugin alone reads links by this call: there strace keeps its thread for ten minutes.
fn sigterm_is_heard_while_the_file_system_hangs() {
    let joined = Joined::new("stuck", &["--self-renew"]);
    let mut stuck = strace();
    // The program is the child of this process, which sends the signal to it.
    stuck.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=readlinkat"]);
    stuck.args(["-e", "inject=readlinkat:delay_enter=600s", env!("CARGO_BIN_EXE_kubectl-prom_federate")]);
    stuck.args(["rotate", "--watch", "-p", joined.folder()]).env_clear().env("KUBECONFIG", NONE);
    let watch = Watch::start(stuck);
    watch.event("started");
    let pid = watch.child.id();
    let status = |key: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process, at least a zombie");
        status.lines().find_map(|line| line.strip_prefix(key)).expect("a line").trim().to_owned()
    };
    let tracer = status("TracerPid:").parse().ok().and_then(Pid::from_raw).expect("strace");
    kill_process(Pid::from_child(&watch.child), Signal::TERM).expect("it runs");
    let has_exited = || status("State:").starts_with('Z').then_some(());
    testbed::until(Duration::from_secs(20), has_exited).expect("it exits");
    // strace may keep a killed thread until the delay is over, and the process with it.
    kill_process(tracer, Signal::KILL).expect("strace runs");
    let (code, said) = watch.end(Signal::TERM);
    assert_eq!(code, Some(0), "{said:?}");
}

fn metrics_pass_promtool() {
    let joined = Joined::new("metrics", &[]);
    let metrics = joined.prometheus.dir().join("rotate.prom");
    let flag = format!("--metrics-file={}", metrics.display());
    let rotate = |kubeconfig: &Path, more: &[&str], code| {
        let mut all = vec!["rotate", "-p", joined.folder(), &flag];
        all.extend(more);
        let output = command(kubeconfig, &all).output().expect("the plugin starts");
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::metadata(&metrics).expect("a file").permissions().mode() & 0o777, 0o644);
        let text = fs::read_to_string(&metrics).expect("a file");
        let mut promtool = Command::new(&testbed::tools().promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool starts");
        promtool.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("a pipe");
        let checked = promtool.wait_with_output().expect("it ends");
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}\n{text}");
        text
    };
    let kubeconfig = joined.account.cluster.kubeconfig();
    let expiry = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("prom_federate_token_expiry")).expect("a sample");
        line.rsplit_once(' ').expect("a number").1.parse::<i64>().expect("a number")
    };
    let not_due = rotate(kubeconfig, &[], 0);
    assert_eq!(expiry(&not_due), joined.record().token.expires.as_second());
    assert!(not_due.ends_with("} 0\n") && !not_due.contains("last_failure"), "{not_due}");
    assert!(expiry(&rotate(kubeconfig, &["--now"], 0)) >= expiry(&not_due));
    let failed = rotate(Path::new(NONE), &["--now"], 1);
    assert!(failed.ends_with("} 1\n") && failed.contains("last_failure"), "{failed}");
    assert_eq!(expiry(&failed), joined.record().token.expires.as_second());
}

/// The value of a metric of a cluster in the metrics file; none where the metric is absent.
fn metric(file: &Path, name: &str, cluster: &str) -> Option<i64> {
    let begins = format!("prom_federate_{name}{{cluster=\"{cluster}\"");
    let text = fs::read_to_string(file).ok()?;
    text.lines().find(|line| line.starts_with(&begins))?.rsplit_once(' ')?.1.parse().ok()
}

/// Fence and rights, as the metrics file has them soon.
fn becomes(file: &Path, cluster: &str, expected: (Option<i64>, Option<i64>)) {
    let seen = || (metric(file, "fence_enforced", cluster), metric(file, "rights_narrow", cluster));
    let is_seen = testbed::until(PATIENCE, || (seen() == expected).then_some(()));
    assert!(is_seen.is_some(), "not {expected:?} but {:?}", seen());
}

/// As on the host of Prometheus, with no kubeconfig. What an administrator changes is seen at the API server.
fn fence_and_rights_are_proven_with_the_token_in_use() {
    let joined = Joined::new("limits", &["--self-renew"]);
    let (account, cluster) = (&joined.account, joined.account.cluster);
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = folder.path().join("prom-federate.prom");
    let flag = format!("--metrics-file={}", metrics.display());
    let watch = joined.watch(Path::new(NONE), &["--proof-interval=1s", &flag]);
    becomes(&metrics, "east", (Some(1), Some(1)));
    assert!(metric(&metrics, "fence_last_check_timestamp_seconds", "east") >= Some(Timestamp::now().as_second() - 60));

    let binding = format!("validatingadmissionpolicybinding/{}", account.cluster_scoped_name());
    let saved = folder.path().join("binding.json");
    let mut object: Value =
        serde_json::from_str(&cluster.kubectl_ok(&["get", &binding, "--output=json"])).expect("an object");
    object["metadata"].as_object_mut().expect("metadata").retain(|key, _| key == "name" || key == "labels");
    fs::write(&saved, object.to_string()).expect("a file");
    cluster.kubectl_ok(&["delete", &binding]);
    let broken = watch.event("limits");
    let said = ["level", "cluster", "fence", "rights", "reason"].map(|key| value(&broken, key));
    assert_eq!(said, ["error", "east", "broken", "narrow", "FenceNotEnforced"], "{broken}");
    for text in [
        &account.cluster_scoped_name(),
        " answers 200 to the token, where the policy should refuse the request\"",
        &format!("kubectl prom-federate check east -p {}", joined.folder()),
    ] {
        assert!(broken.contains(text), "no {text}: {broken}");
    }
    becomes(&metrics, "east", (Some(0), Some(1)));
    cluster.kubectl_ok(&["create", "--filename", saved.to_str().expect("UTF-8")]);
    let well = watch.event("limits");
    assert_eq!(["level", "fence", "rights"].map(|key| value(&well, key)), ["info", "enforced", "narrow"], "{well}");
    becomes(&metrics, "east", (Some(1), Some(1)));

    let subject = format!("--serviceaccount={}:prometheus", account.namespace);
    let wider = format!("wider-{}", account.namespace);
    for (role, says) in [("view", "may also get,list,watch "), ("edit", "may get secrets")] {
        cluster.kubectl_ok(&["create", "clusterrolebinding", &wider, &format!("--clusterrole={role}"), &subject]);
        let wide = testbed::until(PATIENCE, || Some(watch.event("limits")).filter(|line| line.contains(says)));
        let wide = wide.expect("an event");
        assert_eq!(["level", "fence", "rights"].map(|key| value(&wide, key)), ["error", "enforced", "wide"], "{wide}");
        becomes(&metrics, "east", (Some(1), Some(0)));
        cluster.kubectl_ok(&["delete", "clusterrolebinding", &wider]);
        let narrow = testbed::until(PATIENCE, || Some(watch.event("limits")).filter(|line| line.contains("=narrow")));
        assert!(narrow.is_some_and(|line| line.contains(" level=info ")));
        becomes(&metrics, "east", (Some(1), Some(1)));
    }

    // Another run replaces the token: the proof is made with the new one, which tells nothing else meanwhile.
    let token_in_use = || fs::read_to_string(joined.record_file().with_file_name("token")).expect("a token");
    let replaced = token_in_use();
    joined.join(&["--self-renew"]);
    let refused = || Some(raw::request(cluster, replaced.trim(), "GET", "/version").0).filter(|code| *code == 401);
    assert!(testbed::until(PATIENCE, refused).is_some(), "the Secret of the first token is deleted");
    cluster.kubectl_ok(&["delete", &binding]);
    let broken = watch.event("limits");
    assert_eq!(["fence", "rights"].map(|key| value(&broken, key)), ["broken", "narrow"], "{broken}");
    becomes(&metrics, "east", (Some(0), Some(1)));

    // Without its record nothing is known of a cluster.
    let (token, record) = (token_in_use(), joined.record_file());
    fs::write(&record, "{").expect("a file");
    becomes(&metrics, "east", (None, None));
    assert!(metric(&metrics, "fence_last_check_timestamp_seconds", "east") > Some(0));
    let (code, said) = watch.end(Signal::TERM);
    assert_eq!(code, Some(0), "{said:?}");
    assert!(said.iter().all(|line| !line.contains(token.trim())));
}

/// East does not answer; west is rotated and proven meanwhile.
fn silent_api_server_is_neither_well_nor_broken_and_delays_nothing() {
    let prometheus = Prometheus::start("global: {scrape_interval: 1s}\n").expect("Prometheus starts");
    let [east, west] = [&testbed::shared().east, &testbed::shared().west];
    let joined = Joined { account: Account::new(east, "watch-silent"), prometheus };
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    let other = Account::new(west, "watch-talks");
    let flags = ["join", "-p", joined.folder(), "--scrape-interval=1s", "--scrape-timeout=1s", "--self-renew"];
    joined.account.run_with(&proxy.kubeconfig(), &[&flags[..], &["--cluster-name=east"]].concat()).succeeded();
    other.run(&[&flags[..], &["--cluster-name=west"]].concat()).succeeded();
    let metrics = joined.prometheus.dir().join("metrics.prom");
    let flag = format!("--metrics-file={}", metrics.display());
    let flags = ["--proof-interval=1s", "--request-timeout=30s", &flag];
    let watch = joined.watch(Path::new(NONE), &flags);
    becomes(&metrics, "east", (Some(1), Some(1)));
    becomes(&metrics, "west", (Some(1), Some(1)));
    assert_eq!(watch.end(Signal::TERM).0, Some(0));

    proxy.rule(Rule::new("*", "/", Action::Hang));
    proxy.forget_requests();
    Joined::set_due(&joined.record_file_of("west"), 0);
    let watch = joined.watch(Path::new(NONE), &flags);
    let started = watch.event("started");
    assert_eq!(value(&watch.event("rotated"), "cluster"), "west");
    let binding = format!("validatingadmissionpolicybinding/{}", other.cluster_scoped_name());
    west.kubectl_ok(&["delete", &binding]);
    let broken = watch.event("limits");
    assert_eq!(["cluster", "fence"].map(|key| value(&broken, key)), ["west", "broken"], "{broken}");
    // East has two proofs of 30 seconds each until it is unknown.
    let unknown = watch.event("limits");
    let words = ["level", "cluster", "fence", "rights", "reason"].map(|key| value(&unknown, key));
    assert_eq!(words, ["warn", "east", "unknown", "unknown", "Timeout"], "{unknown}");
    let waited = time(&unknown, "ts").duration_since(time(&started, "ts")).as_secs();
    assert!((60..80).contains(&waited), "{waited}: {unknown}");
    becomes(&metrics, "east", (None, None));
    becomes(&metrics, "west", (Some(0), Some(1)));
    assert_eq!(metric(&metrics, "fence_last_check_timestamp_seconds", "east"), Some(0));
    assert!(!proxy.requests().is_empty());

    proxy.clear_rules();
    let well = watch.event("limits");
    assert_eq!(["level", "cluster", "fence"].map(|key| value(&well, key)), ["info", "east", "enforced"], "{well}");
    becomes(&metrics, "east", (Some(1), Some(1)));
    assert_eq!(watch.end(Signal::TERM).0, Some(0));
}

/// Those in the unit of root.
fn capabilities(gives_files: bool) -> Vec<String> {
    let unit = Unit {
        program: "/x",
        arguments: &[],
        writable: &[],
        runs_as: RunsAs::Root(Root { group: None, finds_prometheus: true, gives_files, reads_files: false }),
        reads_home: false,
        kubeconfig: None,
        http_config: None,
        runs_a_command: false,
    };
    let unit = unit.render();
    let line = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).expect("a line");
    line.split(' ').map(|name| name.trim_start_matches("CAP_").to_lowercase()).collect()
}

/// The group of Prometheus is that of the service: then no file is given away, which the unit's filter would prevent.
fn a_service_in_the_group_of_prometheus_gives_no_file_away() {
    needs::root();
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder");
    let config = folder.path().join("prometheus.yml");
    fs::write(&config, "global: {scrape_interval: 1s}\n").expect("a file");
    let wrapper = [
        "setpriv",
        "--reuid=61001",
        "--regid=61001",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
    ];
    let spec = PrometheusSpec::new("").config_file(config.to_str()).wrapper(&wrapper);
    let _prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
    let account = Account::new(&testbed::shared().west, "watch-group");
    let path = folder.path().to_str().expect("UTF-8");
    account
        .run(&["join", "-p", path, "--owner=61001:61001", "--scrape-interval=1s", "--scrape-timeout=1s"])
        .succeeded();

    let set: String = capabilities(false).iter().map(|name| format!(",+{name}")).collect();
    let plugin = command(account.cluster.kubeconfig(), &["rotate", "--now", "--reload=signal", "-p", path]);
    let mut limited = Command::new("strace");
    limited.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=chown,fchown,lchown,fchownat:error=EPERM"]);
    limited.args([
        "setpriv",
        "--regid=61001",
        "--clear-groups",
        "--no-new-privs",
        &format!("--bounding-set=-all{set}"),
    ]);
    limited.arg(plugin.get_program()).args(plugin.get_args()).env("KUBECONFIG", account.cluster.kubeconfig());
    let run: crate::plugin::Run = limited.output().expect("strace starts").into();
    let run = run.succeeded();
    assert!(run.stderr.contains("Prometheus 3.16.0 reloaded, 4 of 4 targets up"), "{}", run.stderr);
}

/// Prometheus is another user than root, in root's group: then the files belong to that user.
fn a_service_has_the_capabilities_that_it_needs_and_no_other() {
    needs::root();
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=0",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder");
    let config = folder.path().join("prometheus.yml");
    fs::write(&config, "global: {scrape_interval: 1s}\n").expect("a file");
    let spec = PrometheusSpec::new("").config_file(config.to_str()).wrapper(&nobody);
    let _prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
    let account = Account::new(&testbed::shared().west, "watch-capabilities");
    let path = folder.path().to_str().expect("UTF-8");
    let owner = "--owner=65534:0";
    account.run(&["join", "-p", path, owner, "--scrape-interval=1s", "--scrape-timeout=1s"]).succeeded();

    let needed = capabilities(true);
    let rotate = |capabilities: &[&String]| {
        let set: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
        let plugin = command(account.cluster.kubeconfig(), &["rotate", "--now", "--reload=signal", "-p", path]);
        let mut limited = Command::new("setpriv");
        limited.args(["--no-new-privs", &format!("--bounding-set=-all{set}")]).arg(plugin.get_program());
        limited.args(plugin.get_args()).env("KUBECONFIG", account.cluster.kubeconfig());
        let output = limited.output().expect("setpriv starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = rotate(&needed.iter().collect::<Vec<_>>());
    assert_eq!(code, Some(0), "{said}");
    for one in &needed {
        let (code, said) = rotate(&needed.iter().filter(|name| *name != one).collect::<Vec<_>>());
        assert_eq!(code, Some(1), "without {one}: {said}");
    }
}
