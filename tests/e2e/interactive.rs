//! `join --interactive` at a real terminal: each question, wrong answers, Ctrl-C, and the command that it prints.

use crate::{
    plugin::{Account, Run, command, run},
    terminal::Terminal,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use testbed::{Kubeconfig, Prometheus};

trials! {
    interactive:
    full {
        answers_become_a_join_and_its_command,
        two_clusters_are_one_plan_one_question_and_one_command,
        flags_that_are_given_are_not_asked_for,
        ctrl_c_at_any_question_writes_nothing,
        lists_fit_a_terminal_of_80_columns,
    }
}

const QUESTIONS: [&str; 6] = [
    "Clusters to join, by context",
    "Jobs, with their series and rights",
    "Other jobs",
    "Route to the kubelets",
    "Token lifetime",
    "Destination of the jobs",
];

/// A kubeconfig of both clusters beside a Prometheus; east is the current context.
fn both(prometheus: &Prometheus) -> PathBuf {
    let shared = testbed::shared();
    let path = prometheus.dir().join("kubeconfig");
    fs::write(&path, Kubeconfig::merged(&[shared.east.admin(), shared.west.admin()])).expect("a kubeconfig");
    path
}

fn wizard(account: &Account, kubeconfig: &Path) -> Terminal {
    wizard_with(account, kubeconfig, &[])
}

fn wizard_with(account: &Account, kubeconfig: &Path, flags: &[&str]) -> Terminal {
    // A line of the list of configurations has the long path of a test.
    wizard_of(account, kubeconfig, flags, 200)
}

fn wizard_of(account: &Account, kubeconfig: &Path, flags: &[&str], columns: u16) -> Terminal {
    let words = ["join", "--interactive", "--namespace", &account.namespace, "--scrape-interval=1s"];
    Terminal::start(&command(kubeconfig, &[&words[..], flags].concat()), columns)
}

/// The command that the wizard prints at the end, without the program.
fn printed(joined: &Run) -> &str {
    let says = "The same without the questions before the plan: kubectl prom-federate ";
    // Behind what clears the progress of several clusters.
    let (_, command) = joined.stdout.split_once(says).unwrap_or_else(|| panic!("no command: {:?}", joined.stdout));
    command.lines().next().expect("a line").trim_end()
}

fn answers_become_a_join_and_its_command() {
    let account = Account::new(&testbed::shared().east, "wizard");
    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let (kubeconfig, dir) = (both(&prometheus), prometheus.dir().to_str().expect("a path"));
    let mut terminal = wizard(&account, &kubeconfig);
    terminal.expect(QUESTIONS[0]);
    // East is marked, and no more after a space.
    terminal.press(" \r");
    terminal.expect("mark at least one context");
    terminal.expect(QUESTIONS[0]);
    terminal.press("\r");
    terminal.expect(QUESTIONS[1]);
    terminal.press("jj \r");
    terminal.expect(QUESTIONS[2]);
    terminal.press("nonsense\r");
    terminal.expect("unknown job 'nonsense'");
    terminal.expect(QUESTIONS[2]);
    terminal.press("apiserver\r");
    terminal.expect(QUESTIONS[3]);
    terminal.press("j\r");
    terminal.expect(QUESTIONS[4]);
    terminal.press("5m\r");
    terminal.expect("must be at least 10m");
    terminal.expect(QUESTIONS[4]);
    terminal.press("1h\r");
    terminal.expect(QUESTIONS[5]);
    // Upwards from the first is the last. Configurations of younger processes are near it.
    terminal.press("k");
    terminal.expect(&format!("{dir}/prometheus.yml of Prometheus (process "));
    terminal.press("k\r");
    terminal.expect("Destination: ");
    terminal.press("ssh://\r");
    terminal.expect("the destination does not name a folder of a host");
    terminal.expect("Destination: ");
    terminal.press(&format!("{dir}\r"));
    terminal.expect("Join east (https://127.0.0.1:");
    terminal.press("y");
    terminal.expect("waiting for the API server to apply the rights and show every page, 0s");
    terminal.expect(" to scrape the targets of 1 cluster, 0s of at most 1");
    let joined = terminal.end().succeeded();
    let printed = printed(&joined);
    let expected = format!(
        "join --context east --namespace {} --jobs cadvisor,kubelet,resource,apiserver --pin-nodes --scrape-interval 1s --duration 1h -p {dir}",
        account.namespace
    );
    assert_eq!(printed, expected);

    let words: Vec<&str> = printed.split_whitespace().chain(["--yes"]).collect();
    let again = run(&kubeconfig, &words).succeeded();
    let changed: Vec<&str> =
        again.stderr.lines().filter(|line| line.ends_with(" created") || line.ends_with(" configured")).collect();
    assert!(matches!(changed[..], [secret] if secret.starts_with("  secret/")), "{changed:?}");
    assert!(again.stderr.contains(" UTC: 1h\n"), "{}", again.stderr);
    account.run(&["leave", "east", "-p", dir]).succeeded();
}

fn two_clusters_are_one_plan_one_question_and_one_command() {
    let shared = testbed::shared();
    let accounts = [Account::new(&shared.east, "wizard-two"), Account::new(&shared.west, "wizard-two")];
    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let (kubeconfig, dir) = (both(&prometheus), prometheus.dir().to_str().expect("a path"));
    let mut terminal = wizard(&accounts[0], &kubeconfig);
    terminal.expect(QUESTIONS[0]);
    // West is below east, which is marked.
    terminal.press("j \r");
    terminal.expect("Clusters to join: east, west");
    for question in &QUESTIONS[1..5] {
        terminal.expect(question);
        terminal.press("\r");
    }
    terminal.expect(QUESTIONS[5]);
    // Upwards from the first is the last: jobs of several clusters cannot be printed.
    terminal.press("k\r");
    let list = terminal.expect("Destination: ");
    assert!(list.contains("another folder") && !list.contains("none: print the jobs"), "{list}");
    terminal.press(&format!("{dir}\r"));
    let found = terminal.expect("will be issued (for 7d), bound to a new Secret");
    let plan = anstream::adapter::strip_str(&found).to_string();
    let lines: Vec<&str> = plan.lines().map(str::trim_end).collect();
    for begin in ["east  https://127.0.0.1:", "west  https://127.0.0.1:"] {
        assert!(lines.iter().any(|line| line.starts_with(begin)), "no {begin}: {plan}");
    }
    for change in ["namespace: 2 will be created", "serviceaccount: 2 will be created"] {
        assert!(lines.iter().any(|line| line.trim() == change), "no {change}: {plan}");
    }
    terminal.expect("Join 2 clusters?");
    for account in &accounts {
        assert_eq!(account.objects(), Vec::<String>::new(), "before the answer");
    }
    terminal.press("y");
    let joined = terminal.end().succeeded();
    let expected = format!(
        "join --context east --context west --namespace {} --scrape-interval 1s -p {dir}",
        accounts[0].namespace
    );
    let printed = printed(&joined);
    assert_eq!(printed, expected);

    let words: Vec<&str> = printed.split_whitespace().chain(["--yes"]).collect();
    let again = run(&kubeconfig, &words).succeeded();
    let unchanged = again.stdout.lines().filter(|line| line.contains(" unchanged ")).count();
    assert_eq!(unchanged, 2, "{}", again.stdout);
    accounts[0].run_with(&kubeconfig, &["leave", "east", "west", "-p", dir]).succeeded();
    for account in &accounts {
        assert_eq!(account.objects(), Vec::<String>::new());
    }
}

/// Each has its default, which the wizard offers too.
fn flags_that_are_given_are_not_asked_for() {
    let account = Account::new(&testbed::shared().east, "wizard-given");
    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let kubeconfig = both(&prometheus);
    let mut terminal = wizard_with(&account, &kubeconfig, &["--jobs=default", "--route=apiserver", "--duration=168h"]);
    terminal.expect(QUESTIONS[0]);
    terminal.press("\r");
    let between = terminal.expect(QUESTIONS[5]);
    for question in &QUESTIONS[1..5] {
        assert!(!between.contains(question), "{question}: {between}");
    }
    terminal.press("\u{3}");
    assert_eq!(terminal.end().code, Some(130));
    assert_eq!(account.objects(), Vec::<String>::new());
}

fn ctrl_c_at_any_question_writes_nothing() {
    let account = Account::new(&testbed::shared().east, "wizard-int");
    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let kubeconfig = both(&prometheus);
    for last in 0..QUESTIONS.len() {
        let mut terminal = wizard(&account, &kubeconfig);
        for question in &QUESTIONS[..last] {
            terminal.expect(question);
            terminal.press("\r");
        }
        terminal.expect(QUESTIONS[last]);
        terminal.press("\u{3}");
        let run = terminal.end();
        assert_eq!(run.code, Some(130), "{}: {}", QUESTIONS[last], run.stdout);
        let says = "(Interrupted): interrupted by Ctrl-C, nothing was written";
        assert!(run.stdout.contains(says), "{}: {:?}", QUESTIONS[last], run.stdout);
        let at = |escape: &str| run.stdout.rfind(escape);
        assert!(at("\u{1b}[?25h") >= at("\u{1b}[?25l"), "the cursor is hidden: {:?}", run.stdout);
        assert_eq!(account.objects(), Vec::<String>::new());
    }
}

/// A line that the terminal wraps stays where it is when a list is shown again after a key.
fn lists_fit_a_terminal_of_80_columns() {
    let account = Account::new(&testbed::shared().east, "wizard-80");
    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let kubeconfig = both(&prometheus);
    let long = format!("arn:aws:eks:eu-central-1:123456789012:cluster/{}", "production-".repeat(6));
    let shared = testbed::shared();
    let contexts = [shared.east.admin(), Kubeconfig { context: long, ..shared.west.admin() }];
    fs::write(&kubeconfig, Kubeconfig::merged(&contexts)).expect("a kubeconfig");
    let mut terminal = wizard_of(&account, &kubeconfig, &[], 80);
    for question in QUESTIONS {
        terminal.expect(question);
        // Shows a list once more.
        let is_list = !["Other jobs", "Token lifetime"].contains(&question);
        let ends = question == QUESTIONS[QUESTIONS.len() - 1];
        terminal.press(match (is_list, ends) {
            (true, true) => "j\u{3}",
            (true, false) => "jk\r",
            (false, _) => "\r",
        });
    }
    let shown = anstream::adapter::strip_str(&terminal.end().stdout).to_string();
    let items: Vec<&str> = shown.lines().filter(|line| line.starts_with("> ") || line.starts_with("  ")).collect();
    for part in ["[x] cadvisor", "arn:aws:eks:", "…", "none: print the jobs"] {
        assert!(items.iter().any(|item| item.contains(part)), "no {part}: {shown}");
    }
    for item in items {
        assert!(item.trim_end().chars().count() < 80, "{item:?}");
    }
}
