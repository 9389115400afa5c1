//! Questions of ssh and of a credential plugin at a terminal: nothing is written over them, and a signal ends them.

use super::Scene;
use crate::{
    interrupt::{WITHIN, children},
    plugin::{Account, command},
    terminal::Terminal,
};
use rustix::process::{Signal, kill_process};
use serde_json::json;
use std::{fs, path::Path, process::Command, time::Instant};
use testbed::{Action, Kubeconfig, Rule, Sshd, User};

trials! {
    questions:
    full {
        question_of_ssh_is_not_written_over,
        question_of_a_credential_plugin_is_not_written_over,
        signal_ends_ssh_that_asks_for_a_password,
    }
}

fn question_of_ssh_is_not_written_over() {
    let scene = Scene::new("question");
    let key = scene.sshd.dir().join("key");
    let locked = Command::new("ssh-keygen").args(["-q", "-p", "-P", "", "-N", "secret", "-f"]).arg(key).output();
    assert!(locked.expect("ssh-keygen starts").status.success());
    scene.routed.rule(Rule::new("GET", "", Action::Delay(WITHIN / 4)).times(20));
    let mut terminal = Terminal::start(&scene.joining(), 200);
    terminal.expect(" to answer, 0s");
    terminal.expect(&format!("connecting to {}\r\n", scene.typed()));
    terminal.expect("Enter passphrase for key '");
    terminal.expect("': ");
    // A live line would be drawn several times meanwhile.
    for _ in 0..5 {
        scene.account.cluster.kubectl_ok(&["get", "nodes"]);
    }
    terminal.press("secret\r");
    assert_eq!(terminal.expect("\r\n"), "", "something is written over the question");
    let joined = terminal.end().succeeded();
    assert!(joined.stdout.contains("4 of 4 targets up"), "{}", joined.stdout);

    let place = scene.typed();
    for (words, waits) in [
        (&["rotate", "--now"][..], "waiting for the cluster to issue a new token, 0s"),
        (&["leave", "east", "--yes"], "waiting for east to answer, 0s"),
    ] {
        let words = [words, &["-p", &place]].concat();
        let mut command = command(&scene.routed.kubeconfig(), &words);
        let mut terminal = Terminal::start(command.env("PATH", scene.sshd.path()), 200);
        terminal.expect("connecting to ssh://prom/");
        terminal.expect("': ");
        terminal.press("secret\r");
        terminal.expect(waits);
        terminal.end().succeeded();
    }
}

fn question_of_a_credential_plugin_is_not_written_over() {
    let account = Account::new(&testbed::shared().east, "question");
    let home = tempfile::tempdir().expect("a folder");
    let admin = account.cluster.admin();
    let User::Certificate(client) = &admin.user else { panic!("an administrator has a certificate") };
    let pem = |file: &Path| fs::read_to_string(file).expect("PEM");
    let (credential, kubeconfig) = (home.path().join("credential"), home.path().join("kubeconfig"));
    let status = json!({ "clientCertificateData": pem(&client.certificate), "clientKeyData": pem(&client.key) });
    let answer = json!({ "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": status });
    fs::write(&credential, answer.to_string()).expect("a file");
    let script = format!("printf 'Code: ' >&2; read code; cat {}", credential.display());
    let user = User::Exec { command: "sh".to_owned(), args: vec!["-c".to_owned(), script] };
    let asks = Kubeconfig { user, ..admin.clone() }.content().replace("\"Never\"", "\"IfAvailable\"");
    fs::write(&kubeconfig, asks).expect("a file");
    let words = ["join", "--dry-run=client", "--namespace", &account.namespace];
    let mut terminal = Terminal::start(command(&kubeconfig, &words).env("PATH", "/usr/bin:/bin"), 200);
    terminal.expect("Code: ");
    terminal.press("1\r");
    let seen = terminal.end().succeeded().stdout;
    assert!(seen.contains(" created (dry run)") && !seen.contains("waiting for"), "{seen}");
}

fn signal_ends_ssh_that_asks_for_a_password() {
    let sshd = Sshd::start_with(&["PasswordAuthentication yes"], &[]).expect("sshd starts");
    let east = testbed::shared().east.kubeconfig();
    let place = "ssh://prom/etc/prometheus";
    for (words, signal) in [
        (&["status", "-p", place][..], Some(Signal::TERM)),
        (&["status", "-p", place], Some(Signal::HUP)),
        (&["status", "-p", place], None),
        (&["rotate", "-p", place], Some(Signal::TERM)),
        (&["rules", "-p", place], Some(Signal::TERM)),
        (&["join", "--namespace=e2e-password", "--yes", "-p", place], Some(Signal::TERM)),
        (&["join", "--namespace=e2e-password", "--yes", "-p", place], None),
    ] {
        let plugin = command(east, words);
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap : INT; \"$@\"; echo ended; stty -a; echo finished", "sh"]);
        shell.arg(plugin.get_program()).args(plugin.get_args());
        shell.env("KUBECONFIG", east).env("PATH", sshd.path_with_a_refused_key());
        let mut terminal = Terminal::start(&shell, 200);
        terminal.expect("password: ");
        let plugin = children(children(terminal.pid())[0].as_raw_nonzero().get().cast_unsigned())[0];
        let ssh = children(plugin.as_raw_nonzero().get().cast_unsigned());
        assert_eq!(ssh.len(), 1, "{words:?}");
        let asked = Instant::now();
        match signal {
            Some(signal) => kill_process(plugin, signal).expect("it runs"),
            None => terminal.press("\u{3}"),
        }
        terminal.expect("ended");
        let took = asked.elapsed();
        assert!(took <= WITHIN, "{words:?} ended {took:?} after {signal:?}: {}", terminal.seen());
        let ssh = format!("/proc/{}", ssh[0].as_raw_nonzero());
        assert!(!Path::new(&ssh).exists(), "{words:?}: ssh still runs after {signal:?}: {}", terminal.seen());
        let modes = terminal.expect("finished");
        assert!(modes.contains(" echo ") && !modes.contains("-echo "), "{words:?} after {signal:?}: {modes}");
        let seen = terminal.end().stdout;
        assert!(seen.contains("(Interrupted): interrupted by "), "{words:?} after {signal:?}: {seen}");
    }
}
