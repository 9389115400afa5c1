//! No terminal to ask at, and no reader for the token.

use super::{undone, untouched};
use crate::{
    plugin::{Account, Run, command},
    terminal::Terminal,
};
use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use testbed::{Action, FaultProxy, Rule};

trials! {
    weather_output:
    full {
        the_answer_at_a_terminal_counts,
        standard_output_that_is_closed,
        closed_pipe_is_reported_for_a_token,
        a_full_disk,
        world_readable_output_is_taken_from_other_users,
    }
}

const PLUGIN: &str = env!("CARGO_BIN_EXE_kubectl-prom_federate");

/// Runs the plugin at a terminal of its own, with the jobs in a file, and types `keys` as soon as it asks.
fn at_a_terminal(account: &Account, subcommand: &str, keys: &str) -> Run {
    let jobs = testbed::run_dir().expect("a folder").join(format!("{}-{subcommand}.yml", account.namespace));
    let line = format!("umask 077; exec {PLUGIN} {subcommand} --namespace {} >{}", account.namespace, jobs.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env("KUBECONFIG", account.cluster.kubeconfig());
    let mut terminal = Terminal::start(&shell, 200);
    terminal.expect("[y/N]");
    terminal.press(keys);
    let run = terminal.end();
    Run { stdout: std::fs::read_to_string(jobs).expect("the file is there"), stderr: run.stdout, ..run }
}

fn the_answer_at_a_terminal_counts() {
    let account = Account::new(&testbed::shared().east, "terminal");
    let no = at_a_terminal(&account, "join", "n");
    assert_eq!((no.code, no.stdout.as_str()), (Some(1), ""), "{}", no.stderr);
    for text in ["namespace/e2e-terminal will be created", "(https://127.0.0.1:", "Cancelled", "nothing was written"] {
        assert!(no.stderr.contains(text), "does not say {text:?}: {}", no.stderr);
    }
    untouched(&account);
    // Enter takes the default, which is no.
    let enter = at_a_terminal(&account, "join", "\n");
    assert_eq!((enter.code, enter.stdout.as_str()), (Some(1), ""), "{}", enter.stderr);
    let interrupt = at_a_terminal(&account, "join", "\u{3}");
    assert_eq!((interrupt.code, interrupt.stdout.as_str()), (Some(130), ""), "{}", interrupt.stderr);
    untouched(&account);
    let yes = at_a_terminal(&account, "join", "y").succeeded();
    assert!(!yes.token().is_empty());
    let kept = at_a_terminal(&account, "leave", "n");
    assert_eq!(kept.code, Some(1), "{}", kept.stderr);
    assert_eq!(account.objects().len(), 9);
    at_a_terminal(&account, "leave", "y").succeeded();
    untouched(&account);
}

fn standard_output_that_is_closed() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "closed");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    let output = Command::new("/bin/sh")
        .args(["-c", "exec \"$0\" \"$@\" >&-", PLUGIN, "join", "--yes", "--namespace", &account.namespace])
        .env_clear()
        .env("KUBECONFIG", proxy.kubeconfig())
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    Run::from(output)
        .failed("OutputClosed", &["nothing was written", "hint: Redirect it to a file that only you can read"]);
    assert_eq!(proxy.requests().len(), 0);
    untouched(&account);
}

/// `join | true`: the reader is gone when the token would be printed.
fn closed_pipe_is_reported_for_a_token() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "pipe-closed");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(Rule::new("POST", "/token", Action::Delay(Duration::from_millis(500))));
    let mut child = command(&proxy.kubeconfig(), &["join", "--yes", "--namespace", &account.namespace])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    let asked = || proxy.requests().iter().any(|request| request.path.ends_with("/token")).then_some(());
    testbed::until(Duration::from_secs(20), asked).expect("a token is asked for");
    drop(child.stdout.take());
    let run = Run::from(child.wait_with_output().expect("it ends"));
    let run = run.failed("OutputClosed", &["Broken pipe", "hint: "]);
    undone(&account, &run);
}

fn a_full_disk() {
    let account = Account::new(&testbed::shared().east, "full");
    let full = File::create("/dev/full").expect("Linux has one");
    let arguments = ["join", "--yes", "--namespace", &account.namespace];
    let run = Run::from(command(account.cluster.kubeconfig(), &arguments).stdout(full).output().expect("it starts"));
    let run = run.failed("OutputClosed", &["No space left", "hint: "]);
    undone(&account, &run);

    // Of a second join only what it added goes: one Secret.
    account.join(&[]);
    let before = account.objects();
    let full = File::create("/dev/full").expect("Linux has one");
    let run = Run::from(command(account.cluster.kubeconfig(), &arguments).stdout(full).output().expect("it starts"));
    let run = run.failed("OutputClosed", &["No space left"]);
    assert!(run.stderr.contains("undone: deleted 1 object"), "{}", run.stderr);
    assert_eq!(account.objects(), before);
    // What has no token may be lost: nothing is undone, but it is said.
    for arguments in [&["manifests"][..], &["version"], &["join", "--help"], &["completion", "bash"]] {
        let full = File::create("/dev/full").expect("Linux has one");
        let run = Run::from(command(Path::new(""), arguments).stdout(full).output().expect("it starts"));
        run.failed("OutputClosed", &["No space left"]);
    }
}

fn world_readable_output_is_taken_from_other_users() {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let account = Account::new(&testbed::shared().east, "umask");
    let join = |mode: u32| {
        let path = testbed::run_dir().expect("a folder").join(format!("jobs-{mode:o}.yml"));
        let file = File::options().write(true).create(true).truncate(true).mode(mode).open(&path).expect("a file");
        let arguments = ["join", "--yes", "--namespace", &account.namespace];
        let run =
            Run::from(command(account.cluster.kubeconfig(), &arguments).stdout(file).output().expect("it starts"))
                .succeeded();
        let now = std::fs::metadata(&path).expect("a file").mode() & 0o777;
        (run.stderr, now)
    };
    for (mode, now, warning) in [
        (
            0o644,
            0o600,
            Some(
                "Warning: other users could read the file that gets the token (mode 0644), so its mode is 0600 now; next time set umask 077 first",
            ),
        ),
        (0o604, 0o600, Some("(mode 0604), so its mode is 0600 now")),
        // Prometheus reads by its group.
        (0o640, 0o640, Some("Warning: the group of the file that gets the token can read it (mode 0640)")),
        (0o600, 0o600, None),
    ] {
        let (stderr, left) = join(mode);
        assert_eq!(left, now, "{mode:o}");
        match warning {
            Some(warning) => assert!(stderr.contains(warning), "{stderr}"),
            None => assert!(!stderr.contains("the file that gets the token"), "{stderr}"),
        }
    }
}
