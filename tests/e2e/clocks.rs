//! The clock of the plugin's machine is a day off; those of the clusters and of Prometheus are right.

use crate::plugin::{Account, Run, command};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs::{self, File},
    process::Command,
    thread,
    time::Duration,
};
use testbed::{Prometheus, Target};

trials! {
    clocks:
    full {
        clock_that_is_a_day_ahead_costs_nothing,
        clock_that_is_a_day_behind_costs_nothing,
        watch_with_a_clock_that_is_a_day_off_renews_once,
    }
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);

/// The command, on a machine whose clock is so much ahead. The program `faketime` would be a parent that passes on no
/// signal.
pub(crate) fn off_by(offset: &str, mut command: Command) -> Command {
    command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1").env("FAKETIME", offset);
    // A process measures how long it waits by a clock that nobody sets.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    command
}

struct Off<'a> {
    offset: &'static str,
    account: &'a Account<'static>,
}

impl Off<'_> {
    fn command(&self, words: &[&str], prometheus: &Prometheus) -> Command {
        let mut command = command(self.account.cluster.kubeconfig(), words);
        command.arg("-p").arg(prometheus.dir());
        command.env("PATH", testbed::tools().promtool.parent().expect("a folder"));
        off_by(self.offset, command)
    }

    fn run(&self, words: &[&str], prometheus: &Prometheus) -> Run {
        self.command(words, prometheus).output().expect("the plugin starts").into()
    }

    fn join(&self, prometheus: &Prometheus) -> Run {
        let words = ["join", "--yes", "--scrape-interval=1s", "--duration=12h", "--namespace", &self.account.namespace];
        self.run(&words, prometheus).succeeded()
    }
}

fn prometheus() -> Prometheus {
    Prometheus::start("global: {evaluation_interval: 1s}\n").expect("Prometheus starts")
}

fn are_up(prometheus: &Prometheus) {
    let up = || prometheus.targets().ok().filter(|targets| targets.len() == 4 && targets.iter().all(Target::is_up));
    testbed::until(SCRAPED_WITHIN, up).unwrap_or_else(|| panic!("not up: {:?}", prometheus.targets()));
}

fn reasons(run: &Run) -> Vec<String> {
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    assert_eq!(report["clusters"][0]["token"]["state"], "fresh", "{report}");
    let problems = report["clusters"][0]["problems"].as_array().expect("problems");
    problems.iter().map(|problem| problem["reason"].as_str().expect("a reason").to_owned()).collect()
}

fn costs_nothing(offset: &'static str, side: &str) {
    let told = format!("the clock of this machine is 24h {side} the clock of the API server");
    let account = Account::new(&testbed::shared().east, &format!("clock-{}", side.replace(" of", "")));
    let off = Off { offset, account: &account };
    let says = |run: Run| {
        assert!(run.stderr.contains(&told), "{}", run.stderr);
        run
    };
    let (one, other) = (prometheus(), prometheus());
    for prometheus in [&one, &other] {
        let run = says(off.join(prometheus));
        assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    }
    let run = says(off.run(&["rotate", "--now"], &one).succeeded());
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    assert_eq!(account.secrets().len(), 2, "the old token is retired");
    assert_eq!(reasons(&off.run(&["status", "--output=json"], &one).succeeded()), ["ClocksDiffer"]);
    let run = says(off.run(&["leave", "east", "--yes"], &one).succeeded());
    assert!(run.stderr.contains("other destinations use it"), "{}", run.stderr);
    assert_eq!(account.secrets().len(), 1);
    are_up(&other);
    says(off.run(&["leave", "east", "--yes"], &other).succeeded());
    assert_eq!(account.objects(), Vec::<String>::new());
}

fn clock_that_is_a_day_ahead_costs_nothing() {
    costs_nothing("+24h", "ahead of");
}

fn clock_that_is_a_day_behind_costs_nothing() {
    costs_nothing("-24h", "behind");
}

/// A token that another machine brought is replaced at once, because its age is not known here.
fn watch_with_a_clock_that_is_a_day_off_renews_once() {
    let watched = [("+24h", "ahead"), ("-24h", "behind")].map(|(offset, side)| {
        let account = Account::new(&testbed::shared().east, &format!("clock-watch-{side}"));
        let prometheus = prometheus();
        Off { offset: "+0", account: &account }.join(&prometheus);
        let log = prometheus.dir().join("data/watch.log");
        let mut watch = Off { offset, account: &account }.command(&["rotate", "--watch"], &prometheus);
        let watch = watch.stderr(File::create(&log).expect("a file")).spawn().expect("the plugin starts");
        (offset, account, prometheus, log, watch)
    });
    // A watch looks once a minute.
    thread::sleep(Duration::from_secs(75));
    let ended = watched.map(|(offset, account, prometheus, log, mut watch)| {
        kill_process(Pid::from_child(&watch), Signal::TERM).expect("it runs");
        watch.wait().expect("it ends");
        (offset, account, prometheus, log)
    });
    for (offset, account, prometheus, log) in ended {
        let log = fs::read_to_string(log).expect("text");
        assert_eq!(log.matches(" event=rotated ").count(), 1, "{offset}: {log}");
        assert!(
            log.contains(" event=warning ") && log.contains("the clock of this machine is 24h "),
            "{offset}: {log}"
        );
        assert_eq!(account.secrets().len(), 1, "{offset}");
        are_up(&prometheus);
    }
}
