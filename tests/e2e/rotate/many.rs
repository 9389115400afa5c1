//! Several clusters in one run, of `join` or `rotate`: side by side, with one reload, each on its own.

use super::{Place, keeps_old_token};
use crate::plugin::{Account, Run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use testbed::{Action, Delay, FaultProxy, Kubeconfig, Request, Rule};

trials! {
    rotate_many:
    smoke {
        clusters_rotate_concurrently,
        contexts_are_joined_with_one_reload,
    }
    full {
        context_that_hangs_costs_no_other,
        contexts_are_checked_and_left_with_one_reload,
        interrupted_check_of_contexts_shows_those_that_were_checked,
        interrupted_join_of_contexts_undoes_each,
        interrupted_leave_of_contexts_goes_on_with_the_next,
        interrupted_rotation_of_clusters_keeps_the_old_tokens,
        live_lines_are_for_a_terminal_only,
        many_contexts_need_few_open_files,
        only_named_clusters_rotate_with_one_reload,
        unreachable_cluster_keeps_its_token,
        cluster_whose_targets_stay_down_keeps_its_token,
        hostile_cluster_fails_alone,
        hung_cluster_fails_alone_and_is_undone,
    }
}

/// East and west in one Prometheus.
struct Both {
    east: Account<'static>,
    west: Account<'static>,
    place: Place,
}

impl Both {
    fn joined(name: &str) -> Self {
        let both = Self::new(name);
        both.place.join(&both.east, &[]);
        both.place.join(&both.west, &[]);
        both
    }

    fn new(name: &str) -> Self {
        let shared = testbed::shared();
        let namespace = format!("rotate-{name}");
        let (east, west) = (Account::new(&shared.east, &namespace), Account::new(&shared.west, &namespace));
        Self { east, west, place: Place::new() }
    }

    /// The flags that join every context of a kubeconfig.
    fn all_contexts(&self) -> [&str; 6] {
        let namespace = self.east.namespace.as_str();
        ["join", "--all-contexts", "--yes", "--scrape-interval=1s", "--namespace", namespace]
    }

    /// One kubeconfig with both contexts.
    fn kubeconfig(&self, contexts: &[Kubeconfig]) -> PathBuf {
        let path = self.place.dir().join("data/kubeconfig");
        fs::write(&path, Kubeconfig::merged(contexts)).expect("a kubeconfig");
        path
    }

    /// With 100 MB of memory: an allocation beyond that ends the plugin. The peak that `wait4` returns would contain the
    /// memory of the process that starts the plugin.
    fn rotate_in_100_mb(&self, kubeconfig: &Path, more: &[&str]) -> Run {
        let mut limited = Command::new("/bin/sh");
        limited.args(["-c", "ulimit -d 97656 && exec \"$@\"", "sh"]);
        let mut limited = self.place.under(limited, kubeconfig, &[&["rotate"], more].concat());
        // Without promtool, which would have the same limit and needs more.
        limited.env("PATH", "/nowhere").output().expect("sh starts").into()
    }

    fn live(&self) -> [String; 2] {
        ["east", "west"].map(|cluster| self.place.live(cluster))
    }

    fn is_tidy(&self) {
        self.place.is_tidy(&self.east, "east");
        self.place.is_tidy(&self.west, "west");
    }
}

fn contexts_are_joined_with_one_reload() {
    let both = Both::new("contexts");
    let kubeconfig = both.kubeconfig(&[both.east.cluster.admin(), both.west.cluster.admin()]);
    let reloads = both.place.reloads();
    let run = both.place.run(&kubeconfig, &both.all_contexts()).succeeded();
    assert_eq!(both.place.reloads(), reloads + 1);
    let table = "CLUSTER   CONTEXT   RESULT   TARGETS   NEXT\n\
                 east      east      joined   4/4       -\n\
                 west      west      joined   4/4       -\n";
    assert_eq!(run.stdout, table, "{}", run.stderr);
    both.is_tidy();
    // Again: nothing is missing.
    let live = both.live();
    let run = both.place.run(&kubeconfig, &both.all_contexts()).succeeded();
    assert_eq!(run.stdout.matches(" unchanged ").count(), 2, "{}", run.stdout);
    assert_eq!((both.live(), both.place.reloads()), (live, reloads + 1));
    both.place.rotate(&kubeconfig, &["--now"]).succeeded();
    both.is_tidy();
}

/// A namespace goes some time after its deletion.
fn is_gone(account: &Account) {
    let gone = testbed::until(Duration::from_secs(60), || account.objects().is_empty().then_some(()));
    gone.unwrap_or_else(|| panic!("still there: {:?}", account.objects()));
}

fn context_that_hangs_costs_no_other() {
    let both = Both::new("contexts-hang");
    let proxy = FaultProxy::in_front_of(both.west.cluster).expect("a proxy");
    proxy.rule(Rule::new("PATCH", "/clusterrolebindings/", Action::Hang));
    let kubeconfig = both.kubeconfig(&[both.east.cluster.admin(), proxy.client()]);
    let run = both.place.run(&kubeconfig, &[&both.all_contexts()[..], &["--request-timeout=3s"]].concat());
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("error (Timeout): west: "), "{}", run.stderr);
    assert!(run.stderr.contains("error (JoinFailed): 1 of 2 contexts are not joined"), "{}", run.stderr);
    assert!(run.stdout.contains("east      east      joined   4/4       -\n"), "{}", run.stdout);
    assert!(
        run.stdout.contains("west      west      failed   -         kubectl prom-federate join --"),
        "{}",
        run.stdout
    );
    is_gone(&both.west);
    both.place.is_tidy(&both.east, "east");
    // The same command goes on.
    proxy.clear_rules();
    let run = both.place.run(&kubeconfig, &both.all_contexts()).succeeded();
    assert!(run.stdout.contains("east      east      unchanged "), "{}", run.stdout);
    both.is_tidy();
}

fn contexts_are_checked_and_left_with_one_reload() {
    let both = Both::joined("contexts-left");
    let kubeconfig = both.kubeconfig(&[both.east.cluster.admin(), both.west.cluster.admin()]);
    let run = both.place.run(&kubeconfig, &["check", "--all-contexts"]).succeeded();
    for text in ["the API server accepts the token", "0 failed\n", " passed "] {
        assert_eq!(run.stdout.matches(text).count(), 2, "{text}: {}", run.stdout);
    }
    let reloads = both.place.reloads();
    let run = both.place.run(&kubeconfig, &["leave", "--all-contexts", "--yes"]).succeeded();
    assert_eq!(both.place.reloads(), reloads + 1);
    assert_eq!(run.stdout.matches(" left ").count(), 2, "{}", run.stdout);
    for account in [&both.east, &both.west] {
        is_gone(account);
    }
}

/// The plugin, interrupted when `proxy` has got this request and lets it hang.
fn interrupted(mut command: Command, proxy: &FaultProxy, method: &str, path: &str) -> Run {
    proxy.rule(Rule::new(method, path, Action::Hang));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the plugin starts");
    let is_it = |request: &Request| request.method == method && request.path.contains(path);
    testbed::until(Duration::from_secs(60), || proxy.requests().iter().any(is_it).then_some(())).expect("it hangs");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let run: Run = child.wait_with_output().expect("it ends").into();
    proxy.clear_rules();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert!(run.stderr.contains("error (Interrupted): interrupted by Ctrl-C: "), "{}", run.stderr);
    run
}

fn interrupted_check_of_contexts_shows_those_that_were_checked() {
    let both = Both::new("contexts-check-int");
    let proxy = FaultProxy::in_front_of(both.west.cluster).expect("a proxy");
    let kubeconfig = both.kubeconfig(&[both.east.cluster.admin(), proxy.client()]);
    let command = both.place.command(&kubeconfig, &["check", "--all-contexts", "--parallel=1"]);
    let run = interrupted(command, &proxy, "GET", "/api/v1/nodes");
    assert!(run.stdout.contains("\neast      east      passed "), "{}", run.stdout);
    assert!(run.stdout.contains("\n-         west      failed "), "{}", run.stdout);
    assert!(run.stderr.contains("1 of 2 contexts did not pass"), "{}", run.stderr);
}

fn interrupted_leave_of_contexts_goes_on_with_the_next() {
    let both = Both::joined("contexts-leave-int");
    let proxy = FaultProxy::in_front_of(both.west.cluster).expect("a proxy");
    let kubeconfig = both.kubeconfig(&[both.east.cluster.admin(), proxy.client()]);
    let leave = ["leave", "--all-contexts", "--yes", "--request-timeout=60s"];
    let command = both.place.command(&kubeconfig, &leave);
    let run = interrupted(command, &proxy, "DELETE", "/clusterrolebindings/");
    assert_eq!(run.stdout.matches(" failed ").count(), 2, "{}", run.stdout);
    let run = both.place.run(&kubeconfig, &leave).succeeded();
    assert_eq!(run.stdout.matches(" left ").count(), 2, "{}", run.stdout);
    for account in [&both.east, &both.west] {
        is_gone(account);
    }
}

fn interrupted_rotation_of_clusters_keeps_the_old_tokens() {
    let both = Both::joined("rotate-int");
    let proxy = FaultProxy::in_front_of(both.west.cluster).expect("a proxy");
    let kubeconfig = both.kubeconfig(&[both.east.cluster.admin(), proxy.client()]);
    let (live, reloads) = (both.live(), both.place.reloads());
    let command = both.place.command(&kubeconfig, &["rotate", "--now", "--request-timeout=60s"]);
    let run = interrupted(command, &proxy, "POST", "/token");
    for cluster in ["east", "west"] {
        assert!(run.stderr.contains(&format!("error (Interrupted): {cluster}: ")), "{}", run.stderr);
    }
    assert_eq!((both.live(), both.place.reloads()), (live, reloads));
    both.is_tidy();
    both.place.rotate(&kubeconfig, &["--now"]).succeeded();
    both.is_tidy();
}

/// Clusters that wait for the others keep no connection.
fn many_contexts_need_few_open_files() {
    let both = Both::new("contexts-many");
    let admin = both.east.cluster.admin();
    let named = |number| Kubeconfig { context: format!("east-{number}"), ..admin.clone() };
    let kubeconfig = both.kubeconfig(&(0..60).map(named).collect::<Vec<_>>());
    let mut command = both.place.command(&kubeconfig, &[&both.all_contexts()[..], &["--dry-run=client"]].concat());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the plugin starts");
    let (files, mut most) = (format!("/proc/{}/fd", child.id()), 0);
    let ended = testbed::until(Duration::from_secs(300), || {
        most = most.max(fs::read_dir(&files).map_or(0, Iterator::count));
        child.try_wait().expect("it runs")
    });
    assert!(ended.expect("it ends").success());
    assert!((20..600).contains(&most), "{most} open files");
}

fn live_lines_are_for_a_terminal_only() {
    let both = Both::new("contexts-live");
    let kubeconfig = both.kubeconfig(&[both.east.cluster.admin(), both.west.cluster.admin()]);
    let run = both.place.run(&kubeconfig, &both.all_contexts()).succeeded();
    assert!(!run.stderr.contains(['\u{1b}', '\r']) && !run.stderr.contains("of 2 clusters"), "{:?}", run.stderr);
    let again = both.place.command(&kubeconfig, &[&both.all_contexts()[..], &["--jobs=kubelet"]].concat());
    let words = [again.get_program()].into_iter().chain(again.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().expect("UTF-8"))).collect();
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]).stdin(Stdio::null());
    let set = again.get_envs().filter_map(|(name, value)| Some((name, value?))).filter(|(name, _)| *name != "PATH");
    let run: Run = terminal.envs(set).env("TERM", "xterm").env("NO_COLOR", "1").output().expect("script starts").into();
    assert_eq!(run.code, Some(0), "{}", run.stdout);
    for text in [" of 2 clusters, ", "  east: asking", "  west: asking"] {
        assert!(run.stdout.contains(text), "no {text:?}: {:?}", run.stdout);
    }
    let is_coloured = (0..8).any(|colour| run.stdout.contains(&format!("\u{1b}[3{colour}m")));
    assert!(!is_coloured, "a colour: {:?}", run.stdout);
    // What stays is whole lines.
    assert!(run.stdout.contains("  ✔ east: token until ") && run.stdout.contains("joined"), "{:?}", run.stdout);
}

fn interrupted_join_of_contexts_undoes_each() {
    let both = Both::new("contexts-int");
    let proxy = FaultProxy::in_front_of(both.west.cluster).expect("a proxy");
    proxy.rule(Rule::new("PATCH", "/clusterrolebindings/", Action::Hang));
    let kubeconfig = both.kubeconfig(&[both.east.cluster.admin(), proxy.client()]);
    let mut command = both.place.command(&kubeconfig, &both.all_contexts());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the plugin starts");
    let hangs = || proxy.requests().iter().any(|request| request.path.contains("/clusterrolebindings/")).then_some(());
    testbed::until(Duration::from_secs(30), hangs).expect("west hangs");
    testbed::until(Duration::from_secs(30), || (!both.east.secrets().is_empty()).then_some(()))
        .expect("east is granted");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let run: Run = child.wait_with_output().expect("it ends").into();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert!(
        run.stderr.contains("error (Interrupted): interrupted by Ctrl-C: 2 of 2 contexts are not joined"),
        "{}",
        run.stderr
    );
    assert_eq!(run.stdout.matches(" failed ").count(), 2, "{}", run.stdout);
    for account in [&both.east, &both.west] {
        is_gone(account);
    }
    assert!(!both.place.dir().join("prom-federate/east.scrape.yml").exists());
}

fn only_named_clusters_rotate_with_one_reload() {
    let both = Both::joined("named");
    let kubeconfig = both.kubeconfig(&[both.east.cluster.admin(), both.west.cluster.admin()]);
    let ([east, west], reloads) = (both.live(), both.place.reloads());
    both.place.rotate(&kubeconfig, &["--now"]).succeeded();
    assert_eq!(both.place.reloads(), reloads + 1);
    both.is_tidy();
    let [new_east, new_west] = both.live();
    assert!(new_east != east && new_west != west);
    both.place.rotate(&kubeconfig, &["west", "--now"]).succeeded();
    assert_eq!(both.place.live("east"), new_east);
    assert_ne!(both.place.live("west"), new_west);
    // Due or not is each cluster's own.
    let west = both.place.live("west");
    both.place.pass("east", 4 * 24 * 60);
    let run = both.place.rotate(&kubeconfig, &[]).succeeded();
    assert!(run.stderr.contains("west  not due before"), "{}", run.stderr);
    assert_eq!(both.place.live("west"), west);
    assert_ne!(both.place.live("east"), new_east);
    both.is_tidy();
}

fn clusters_rotate_concurrently() {
    let both = Both::joined("parallel");
    let rtt = Duration::from_millis(400);
    let far =
        [&both.east, &both.west].map(|account| Delay::in_front_of(account.cluster.address(), rtt).expect("a delay"));
    let contexts = [(&both.east, &far[0]), (&both.west, &far[1])]
        .map(|(account, delay)| Kubeconfig { server: delay.url(), ..account.cluster.admin() });
    let kubeconfig = both.kubeconfig(&contexts);
    // Without waiting for scrapes, which take as long for many clusters as for one.
    let took = |clusters: &[&str]| {
        let started = Instant::now();
        both.place.rotate(&kubeconfig, &[clusters, &["--now", "--reload=none"]].concat()).succeeded();
        started.elapsed()
    };
    let [east, west] = both.live();
    // Other trials take their share of the machine, so the best of three counts. One after the other takes twice as long.
    let pairs: Vec<[Duration; 2]> = (0..3).map(|_| [took(&["east"]), took(&["east", "west"])]).collect();
    assert!(pairs.iter().all(|[one, _]| *one > 4 * rtt), "it is slow: {pairs:?}");
    assert!(pairs.iter().any(|[one, two]| *two < *one * 3 / 2), "for one, for two: {pairs:?}");
    let [new_east, new_west] = both.live();
    assert!(new_east != east && new_west != west);
}

fn unreachable_cluster_keeps_its_token() {
    let both = Both::joined("unreachable");
    let gone = Kubeconfig { server: format!("https://{}", testbed::refused_port()), ..both.east.cluster.admin() };
    let kubeconfig = both.kubeconfig(&[gone, both.west.cluster.admin()]);
    let ([east, west], reloads) = (both.live(), both.place.reloads());
    let run = both.place.rotate(&kubeconfig, &["--now"]);
    keeps_old_token(
        run,
        &["error (ConnectionRefused): east: ", ", in 6d23h", "1 of 2 clusters keep their old token", "west\n"],
    );
    assert_eq!(both.place.reloads(), reloads + 1);
    let [kept, replaced] = both.live();
    assert_eq!(kept, east);
    assert_ne!(replaced, west);
    both.is_tidy();
    // With nothing to deliver there is nothing to read.
    keeps_old_token(both.place.rotate(&kubeconfig, &["east", "--now"]), &["1 of 1 clusters keep their old token"]);
    assert_eq!(both.place.reloads(), reloads + 1);
}

fn cluster_whose_targets_stay_down_keeps_its_token() {
    let both = Both::joined("half");
    let proxy = FaultProxy::in_front_of(both.east.cluster).expect("a proxy");
    for only_prometheus in ["/api/v1/nodes?limit=500&resourceVersion=0", "watch=true"] {
        proxy.rule(Rule::new("GET", only_prometheus, Action::Answer { status: 500, body: json!({}) }));
    }
    let kubeconfig = both.kubeconfig(&[proxy.client(), both.west.cluster.admin()]);
    let [east, west] = both.live();
    let run = both.place.rotate(&kubeconfig, &["--now"]);
    keeps_old_token(run, &["error (NotScraped): east: ", "1 of 2 clusters keep their old token"]);
    let [kept, replaced] = both.live();
    assert_eq!(kept, east);
    assert_ne!(replaced, west);
    both.is_tidy();
}

/// Whatever the other one sends, for little time and memory.
fn hostile_cluster_fails_alone() {
    let both = Both::joined("hostile");
    let proxy = FaultProxy::in_front_of(both.east.cluster).expect("a proxy");
    let kubeconfig = both.kubeconfig(&[proxy.client(), both.west.cluster.admin()]);
    let items = |items: Value, more: &str| Action::Answer {
        status: 200,
        body: json!({ "items": items, "metadata": { "continue": more } }),
    };
    let many = items(json!(vec![json!([[0]]); 2_000_000]), "");
    for (path, action) in [
        ("/", Action::Endless),
        ("/proxy/metrics/cadvisor", Action::Endless),
        ("/secrets?", items(json!([]), "more")),
        ("/", many),
    ] {
        proxy.clear_rules();
        proxy.rule(Rule::new("GET", path, action.clone()));
        let ([east, west], started) = (both.live(), Instant::now());
        let run = both.rotate_in_100_mb(&kubeconfig, &["--now"]);
        keeps_old_token(run, &[": east: ", "1 of 2 clusters keep their old token"]);
        assert!(started.elapsed() < Duration::from_secs(90), "{path}: {:?}", started.elapsed());
        let [kept, replaced] = both.live();
        assert_eq!(kept, east);
        assert_ne!(replaced, west);
        proxy.clear_rules();
        both.is_tidy();
    }
}

/// Its bound Secret is there by then; the other one is delivered when the time of this one is over.
fn hung_cluster_fails_alone_and_is_undone() {
    let both = Both::joined("hung");
    let proxy = FaultProxy::in_front_of(both.east.cluster).expect("a proxy");
    proxy.rule(Rule::new("POST", "/serviceaccounts/prometheus/token", Action::Hang));
    let kubeconfig = both.kubeconfig(&[proxy.client(), both.west.cluster.admin()]);
    let [east, west] = both.live();
    let run = both.place.rotate(&kubeconfig, &["--now", "--request-timeout=0"]);
    keeps_old_token(
        run,
        &[
            "error (Timeout): east: the renewal did not end within 150s; the other clusters do not wait for it",
            "hint: To wait longer: --request-timeout",
            "1 of 2 clusters keep their old token",
        ],
    );
    let [kept, replaced] = both.live();
    assert_eq!(kept, east);
    assert_ne!(replaced, west);
    both.is_tidy();
}
