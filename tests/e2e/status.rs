//! What the destination, the cluster and the real Prometheus say about clusters that were joined.

use crate::{
    plugin::{self, Account, Run, command, run},
    terminal::Terminal,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use testbed::{Action, FaultProxy, Kubeconfig, Prometheus, Rule, Vmagent, refused_port};

trials! {
    status:
    smoke {
        a_joined_cluster_is_ok,
    }
    full {
        a_revoked_token_needs_attention,
        vmagent_is_asked_for_what_it_supports,
        leftovers_of_killed_runs_are_named_without_foreign_ones,
        unreachable_sources_are_reported_without_failure,
        unreadable_records_and_unknown_clusters_are_reported,
        rules_of_a_destination_know_when_tokens_expire,
        a_terminal_shows_bars_and_begins_with_the_worst,
        a_wait_says_for_whom_and_for_how_long,
        a_watch_is_a_screen_on_a_terminal,
        a_watch_is_a_line_for_each_change_elsewhere,
    }
}

const SOON: Duration = Duration::from_secs(60);

/// A cluster at a Prometheus.
struct Joined<'a> {
    account: Account<'a>,
    prometheus: Prometheus,
}

impl Joined<'_> {
    /// East, scraped every second.
    fn new(name: &str) -> Self {
        let joined = Self::nowhere(name);
        joined.account.join(&["-p", joined.dir(), "--scrape-interval=1s"]);
        joined
    }

    fn nowhere(name: &str) -> Self {
        let account = Account::new(&testbed::shared().east, name);
        let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
        Self { account, prometheus }
    }

    fn dir(&self) -> &str {
        self.prometheus.dir().to_str().expect("a path")
    }

    fn status(&self, arguments: &[&str]) -> Run {
        status(self.account.cluster.kubeconfig(), self.dir(), arguments)
    }

    /// The only cluster of `status -o json`.
    fn data(&self) -> Value {
        let run = self.status(&["-o", "json"]);
        let mut report: Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!(report["kind"], "StatusReport");
        report["clusters"][0].take()
    }

    /// Whether `status` has come to be as expected.
    fn becomes(&self, expected: impl Fn(&Run) -> bool) -> Run {
        testbed::until(SOON, || Some(self.status(&[])).filter(&expected)).unwrap_or_else(|| {
            let run = self.status(&[]);
            panic!("{:?}\n{}{}", run.code, run.stdout, run.stderr)
        })
    }

    fn folder(&self) -> std::path::PathBuf {
        self.prometheus.dir().join("prom-federate/east")
    }

    /// The one generation of a first join.
    fn generation(&self) -> std::path::PathBuf {
        fs::canonicalize(self.folder().join("current")).expect("a generation")
    }
}

fn status(kubeconfig: &Path, dir: &str, arguments: &[&str]) -> Run {
    run(kubeconfig, &[&["status", "-p", dir][..], arguments].concat())
}

/// The cells of the row of a cluster.
fn row<'a>(run: &'a Run, cluster: &str) -> Vec<&'a str> {
    let line = run.stdout.lines().find(|line| line.starts_with(cluster)).unwrap_or_else(|| panic!("{}", run.stderr));
    line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[track_caller]
fn says(run: &Run, all: &[&str]) {
    for text in all {
        assert!(run.stderr.contains(text), "does not say {text:?}: {}", run.stderr);
    }
}

fn a_joined_cluster_is_ok() {
    let joined = Joined::new("status-ok");
    let before = fs::read_to_string(joined.generation().join("cluster.json")).expect("a record");
    // Usage is a rate: it takes two scrapes.
    let run = joined.becomes(|run| run.code == Some(0) && !row(run, "east").contains(&"-"));
    assert_eq!(run.stderr, "");
    let header = "CLUSTER JOBS TOKEN FENCE NODES TARGETS CPU MEMORY STATUS";
    assert_eq!(row(&run, "CLUSTER").join(" "), header);
    let cells = row(&run, "east");
    assert_eq!(cells[..2], ["east", "cadvisor,kubelet"]);
    assert!(["7d, 6d left", "7d, 7d left"].contains(&cells[2]), "{cells:?}");
    assert_eq!(cells[3..6], ["present", "2", "4/4"]);
    assert!(cells[6].ends_with('m') && cells[7].ends_with('i'), "{cells:?}");
    assert_eq!(cells[8], "ok");

    let data = joined.data();
    assert_eq!(data["needsAttention"], false);
    assert_eq!(data["targets"], json!({"up": 4, "down": 0, "pending": 0, "total": 4}));
    assert_eq!(data["fence"], json!({"required": true, "seen": "present"}));
    assert_eq!(data["token"]["boundSecret"], joined.account.secrets()[0]);
    assert!(data["memoryBytes"].is_u64() && data["cpuCores"].is_f64(), "{data}");
    let token = fs::read_to_string(joined.generation().join("token")).expect("a token");
    assert!(!joined.status(&["-o", "yaml", "-v", "9"]).stdout.contains(token.trim()));

    // status reports the missing fence as a failure, and writes nothing.
    let fence = joined.account.cluster_scoped_name();
    joined.account.cluster.kubectl_ok(&["delete", "validatingadmissionpolicybinding", &fence]);
    let run = joined.status(&[]);
    assert_eq!((run.code, row(&run, "east")[3]), (Some(1), "absent"), "{}", run.stderr);
    says(
        &run,
        &[
            "error (StatusBroken): 1 of 1 cluster needs attention\nhint: east: Restore it: kubectl prom-federate join --context east",
            &format!("validatingadmissionpolicy.admissionregistration.k8s.io/{fence} or its binding is gone"),
        ],
    );
    assert_eq!(fs::read_to_string(joined.generation().join("cluster.json")).expect("a record"), before);
}

fn a_revoked_token_needs_attention() {
    let joined = Joined::new("status-revoked");
    let secret = joined.account.secrets().remove(0);
    joined.account.cluster.kubectl_ok(&["--namespace", &joined.account.namespace, "delete", "secret", &secret]);
    let run = joined.becomes(|run| run.stderr.contains("4 targets are down"));
    assert_eq!(run.code, Some(1));
    assert_eq!(row(&run, "east")[5..], ["0/4", row(&run, "east")[6], row(&run, "east")[7], "token revoked"]);
    says(
        &run,
        &[
            &format!("secret/{secret} is gone, so the API server refuses its token with 401"),
            "4 targets are down: server returned HTTP status 401 Unauthorized (east-node-0 and east-node-1). The token is refused; issue a new one (only the record has these terms, so check each): kubectl prom-federate join --context east --cluster-name east ",
            "error (StatusBroken): ",
        ],
    );
    // Without the cluster it is known from Prometheus alone.
    let run = status(Path::new("/nonexistent"), joined.dir(), &[]);
    assert_eq!((run.code, *row(&run, "east").last().expect("a cell")), (Some(1), "job down"), "{}", run.stderr);
}

/// It stores nothing and has no list of jobs.
fn vmagent_is_asked_for_what_it_supports() {
    let account = Account::new(&testbed::shared().east, "status-vmagent");
    let vmagent = Vmagent::start("scrape_configs: []\n").expect("vmagent starts");
    let config = vmagent.dir().join("vmagent.yml");
    let config = config.to_str().expect("a path");
    account.join(&["-p", config, "--scrape-interval=1s"]);
    let looked = || Some(status(account.cluster.kubeconfig(), config, &[])).filter(|run| run.stdout.contains("4/4"));
    let run = testbed::until(SOON, looked).expect("all targets are up").succeeded();
    assert_eq!(row(&run, "east")[3..], ["present", "2", "4/4", "-", "-", "ok"]);
    assert_eq!(run.stderr, "");
}

fn leftovers_of_killed_runs_are_named_without_foreign_ones() {
    let joined = Joined::new("status-left");
    let Account { cluster, namespace } = &joined.account;
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let mut secret = cluster.api().get(&path).expect("an answer").json()["items"][0].take();
    let leave = |name: &str, destination: Option<&str>, secret: &mut Value| {
        let annotations = secret["metadata"]["annotations"].take();
        secret["metadata"] = json!({"name": name, "labels": secret["metadata"]["labels"], "annotations": annotations});
        if let Some(destination) = destination {
            secret["metadata"]["annotations"]["prom-federate.io/destination"] = json!(destination);
        }
        assert!(cluster.api().post(&path, secret).expect("an answer").is_success());
    };
    leave("prometheus-left", None, &mut secret);
    leave("prometheus-other", Some("directory://elsewhere/etc/prometheus#x7k2"), &mut secret);
    fs::create_dir(joined.folder().join("20200101t000000z-x7k2")).expect("a folder");

    let run = joined.becomes(|run| row(run, "east").contains(&"4/4"));
    assert_eq!((run.code, *row(&run, "east").last().expect("a cell")), (Some(0), "leftovers"), "{}", run.stderr);
    says(&run, &["left 1 folder that no jobs name and secret/prometheus-left in the cluster", "rotate east --now -p "]);
    assert!(!run.stderr.contains("prometheus-other"), "{}", run.stderr);
    assert!(joined.folder().join("20200101t000000z-x7k2").exists());
}

fn unreachable_sources_are_reported_without_failure() {
    let joined = Joined::new("status-unseen");
    joined.becomes(|run| row(run, "east").contains(&"4/4"));
    let shared = testbed::shared();
    let looked = |kubeconfig: &Path| {
        let run = status(kubeconfig, joined.dir(), &[]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let cells = row(&run, "east");
        assert_eq!(cells[3..6], ["unknown", "-", "4/4"]);
        assert_eq!(*cells.last().expect("a cell"), "cluster not seen");
        run
    };
    let refused = refused_port();
    let unreachable = shared.east.kubeconfig_with(&format!("https://{refused}"), None).expect("a kubeconfig");
    says(&looked(&unreachable), &["east: cluster not seen: ", &refused.to_string()]);
    let silent = testbed::Silent::start().expect("a server");
    let silent = shared.east.kubeconfig_with(&silent.url(), None).expect("a kubeconfig");
    let started = Instant::now();
    let run = status(&silent, joined.dir(), &["--request-timeout=3s"]).succeeded();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(6), "one timeout is waited for, not two: {took:?}");
    says(&run, &["east: cluster not seen: ", "did not answer in time"]);
    assert_eq!(row(&run, "east")[5], "4/4");
    // The context's name leads to another cluster today.
    let other = Kubeconfig { context: "east".into(), ..shared.west.admin() };
    let other = shared.west.write_kubeconfig(&other).expect("a kubeconfig");
    says(
        &looked(&other),
        &[
            "east: cluster not seen: the context east leads to another cluster",
            "Name the right context with --context NAME",
        ],
    );
    says(&looked(Path::new("/nonexistent")), &["east: cluster not seen: "]);
    // A user who may only read the UID of the cluster.
    let poor = shared.east.kubeconfig_for("nobody", &["nobodies"]).expect("a kubeconfig");
    let run = status(&poor, joined.dir(), &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);

    let other_name = Kubeconfig { context: "mine".into(), ..shared.east.admin() };
    let other_name = shared.east.write_kubeconfig(&other_name).expect("a kubeconfig");
    let run = status(&other_name, joined.dir(), &["east", "--context=mine"]).succeeded();
    assert_eq!(row(&run, "east")[3..5], ["present", "2"]);

    let url = joined.prometheus.url().to_owned();
    let dir = joined.dir().to_owned();
    joined.prometheus.stop();
    for arguments in [&[][..], &["--prometheus-url", &url]] {
        let run = status(shared.east.kubeconfig(), &dir, arguments).succeeded();
        says(&run, &["east: Prometheus not seen: no "]);
        assert_eq!(row(&run, "east")[3..], ["present", "2", "-", "-", "-", "Prometheus not seen"]);
    }
}

fn unreadable_records_and_unknown_clusters_are_reported() {
    let joined = Joined::nowhere("status-records");
    let run = joined.status(&[]).succeeded();
    says(&run, &["The destination has no clusters yet; join one: kubectl prom-federate join --context CONTEXT -p "]);
    assert_eq!(run.stdout, "");
    joined
        .status(&["east"])
        .failed("ClusterUnknown", &["there is no cluster east", "hint: The destination has no clusters yet"]);

    let arguments = ["-p", joined.dir(), "--scrape-interval=1s"];
    joined.account.join(&arguments);
    let west = Account::new(&testbed::shared().west, "status-records");
    west.join(&arguments);
    joined
        .status(&["north"])
        .failed("ClusterUnknown", &["there is no cluster north", "hint: Known clusters: east, west"]);
    let run = joined.status(&["--context=east"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    says(&run, &["--context is for one cluster"]);

    let record = joined.generation().join("cluster.json");
    let newer = fs::read_to_string(&record).expect("a record").replace("\"version\": 1", "\"version\": 99");
    fs::write(&record, newer).expect("a record");
    let run = joined.becomes(|run| row(run, "west").contains(&"4/4"));
    assert_eq!((run.code, *row(&run, "east").last().expect("a cell")), (Some(1), "record unreadable"));
    says(
        &run,
        &["a later release with a newer format. Use that release or a later one", "1 of 2 clusters needs attention"],
    );
    // The other one alone is well, as far as its own administrator is not asked.
    joined.status(&["west"]).succeeded();

    plugin::run(west.cluster.kubeconfig(), &["rules", "-p", joined.dir()]).failed("RecordTooNew", &["cluster.json"]);
}

fn rules_of_a_destination_know_when_tokens_expire() {
    let joined = Joined::new("status-rules");
    let dir = joined.dir();
    let printed = run(Path::new("/nonexistent"), &["rules", "-p", dir]).succeeded().stdout;
    let data = joined.data();
    let expires = data["token"]["expires"].as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time");
    assert!(printed.contains(&format!("vector({}))\n", expires.as_second())), "{printed}");
    assert!(printed.contains(&format!("kubectl prom-federate status east -p {dir}. ")), "{printed}");
    // It is what join put in place.
    let path = joined.prometheus.dir().join("prom-federate/east.rules.yml");
    assert_eq!(fs::read_to_string(path).expect("rules"), printed);
    assert_eq!(run(Path::new("/nonexistent"), &["rules", "east", "-p", dir]).succeeded().stdout, printed);
    run(Path::new("/nonexistent"), &["rules", "west", "-p", dir]).failed("ClusterUnknown", &["Known clusters: east"]);
    let file = joined.prometheus.dir().join("printed.yml");
    fs::write(&file, printed).expect("a file");
    let check = Command::new(&testbed::tools().promtool).args(["check", "rules", "--lint-fatal"]).arg(file).output();
    assert!(check.expect("promtool runs").status.success());
}

fn a_terminal_shows_bars_and_begins_with_the_worst() {
    let shared = testbed::shared();
    let joined = Joined::new("status-view");
    let west = Account::new(&shared.west, "status-view");
    west.join(&["-p", joined.dir(), "--scrape-interval=1s"]);
    let fence = west.cluster_scoped_name();
    west.cluster.kubectl_ok(&["delete", "validatingadmissionpolicybinding", &fence]);
    let both = joined.prometheus.dir().join("kubeconfig");
    fs::write(&both, Kubeconfig::merged(&[shared.east.admin(), shared.west.admin()])).expect("a kubeconfig");
    // Usage is a rate: it takes two readings of cAdvisor.
    let usage_is_known = || {
        let run = status(&both, joined.dir(), &["-o", "json"]);
        let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let clusters = report["clusters"].as_array().expect("clusters").iter();
        let figures = ["cpuCores", "cpuCapacityCores", "memoryBytes", "memoryCapacityBytes"];
        clusters.into_iter().all(|one| figures.iter().all(|name| one[name].is_number())).then_some(report)
    };
    let report = testbed::until(SOON, usage_is_known).expect("what both use, and what they have");
    let summary = json!({"clusters": 2, "needAttention": 1, "haveWarnings": 0, "ok": 1, "targetsUp": 8, "targets": 8});
    assert_eq!(report["summary"], summary);

    let words = ["status", "-p", joined.dir()];
    let run = Terminal::start(&command(&both, &words), 100).end();
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    let at = |text: &str| run.stdout.find(text).unwrap_or_else(|| panic!("no {text:?}: {:?}", run.stdout));
    assert!(at("2 clusters: \u{1b}[31m1 needs attention\u{1b}[0m") < at("CLUSTER   TOKEN"));
    assert!(at("CLUSTER   TOKEN") < at("\nwest ") && at("\nwest ") < at("\neast "), "{:?}", run.stdout);
    assert!(at("\u{1b}[31mfence absent\u{1b}[0m") < at("\u{1b}[32mok\u{1b}[0m"));
    let east = run.stdout.lines().find(|line| line.starts_with("east ")).expect("a row");
    assert!(east.contains('░') && east.contains('%') && !east.contains("cadvisor"), "{east}");

    let mut bare = command(&both, &[&words[..], &["--only-broken"]].concat());
    let run = Terminal::start(bare.env("NO_COLOR", "1"), 100).end();
    assert!(run.stdout.contains('░') && !run.stdout.contains("\u{1b}[3"), "a colour: {:?}", run.stdout);
    assert!(run.stdout.contains("1 ok") && !run.stdout.contains("\neast "), "{:?}", run.stdout);

    let run = status(&both, joined.dir(), &[]);
    assert!(run.stdout.starts_with("CLUSTER   JOBS ") && !run.stdout.contains(['░', '\u{1b}']), "{:?}", run.stdout);
    says(&run, &["2 clusters: 1 needs attention, 1 ok; 8 of 8 targets up\n"]);
}

fn a_wait_says_for_whom_and_for_how_long() {
    let joined = Joined::new("status-wait");
    let proxy = FaultProxy::in_front_of(joined.account.cluster).expect("a proxy");
    proxy.rule(Rule::new("*", "/", Action::Hang));
    let kubeconfig = joined.prometheus.dir().join("kubeconfig");
    proxy.client().write(&kubeconfig).expect("a kubeconfig");
    let mut terminal = Terminal::start(&command(&kubeconfig, &["status", "-p", joined.dir()]), 80);
    for text in ["  east: asking", " 1s of at most 2m30s", "  east: asking", " 2s of at most 2m30s"] {
        terminal.expect(text);
    }
    terminal.press("\u{3}");
    assert_eq!(terminal.end().code, Some(130));
}

fn a_watch_is_a_screen_on_a_terminal() {
    let joined = Joined::new("status-screen");
    let words = ["status", "--watch", "-p", joined.dir()];
    let mut terminal = Terminal::start(&command(joined.account.cluster.kubeconfig(), &words), 80);
    terminal.expect("\u{1b}[?1049h\u{1b}[?25l\u{1b}[H1 cluster: ");
    terminal.expect("again every 10 seconds; Ctrl-C ends");
    joined.account.cluster.kubectl_ok(&[
        "delete",
        "validatingadmissionpolicybinding",
        &joined.account.cluster_scoped_name(),
    ]);
    terminal.expect("\u{1b}[H1 cluster: \u{1b}[31m1 needs attention");
    terminal.expect("fence absent");
    terminal.press("\u{3}");
    let run = terminal.end();
    assert_eq!(run.code, Some(130), "{:?}", run.stdout);
    let after = run.stdout.rsplit_once("\u{1b}[?25h\u{1b}[?1049l").expect("the terminal is as before").1;
    assert_eq!(after.trim(), "\u{1b}[31merror\u{1b}[0m (Interrupted): interrupted by Ctrl-C");
}

fn a_watch_is_a_line_for_each_change_elsewhere() {
    let joined = Joined::new("status-lines");
    joined.becomes(|run| row(run, "east").contains(&"4/4"));
    let mut command = command(joined.account.cluster.kubeconfig(), &["status", "--watch", "-p", joined.dir()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the plugin starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    // A busy machine may let a scrape fail in between.
    let mut next = |status: &str| {
        let mut lines = lines.by_ref().map(|line| line.expect("UTF-8"));
        lines.find(|line| line.contains(status)).unwrap_or_else(|| panic!("no line with {status}"))
    };
    let first = next(" cluster=east status=ok ");
    assert!(first.contains(" level=info event=status "), "{first}");
    let fence = joined.account.cluster_scoped_name();
    joined.account.cluster.kubectl_ok(&["delete", "validatingadmissionpolicybinding", &fence]);
    let second = next(" status=\"fence absent\" ");
    assert!(second.contains(" level=error event=status ") && second.contains(" was="), "{second}");
    assert!(second.contains(" hint=\"Restore it: "), "{second}");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let run: Run = child.wait_with_output().expect("it ends").into();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert_eq!(run.stderr, "error (Interrupted): interrupted by Ctrl-C\n");
}
