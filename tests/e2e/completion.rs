//! Completion through the real kubectl, in each shell that kubectl completes in.

use crate::terminal::Terminal;
use std::{
    env,
    ffi::OsString,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};
use testbed::{Action, FaultProxy, Rule};

trials! {
    completion:
    full {
        each_shell_completes_through_kubectl,
        places_of_jobs_are_those_of_the_cluster,
        cluster_that_does_not_answer_is_not_waited_for,
    }
}

const TRIES: usize = 5;

/// What a user has on PATH.
fn path() -> OsString {
    let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"));
    let completions = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let folders = [plugin, &testbed::tools().kubectl].map(|program| program.parent().expect("a folder"));
    env::join_paths([folders[0], folders[1], &completions, "/usr/bin".as_ref(), "/bin".as_ref()]).expect("a PATH")
}

fn each_shell_completes_through_kubectl() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("prom-federate");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("western.scrape.yml"), "").expect("a file");
    for (words, begun) in [
        (
            &["bash", "--norc", "--noprofile", "-i"][..],
            ". /usr/share/bash-completion/bash_completion; . <(kubectl completion bash)",
        ),
        (&["zsh", "-f", "-i"], "autoload -Uz compinit && compinit -u; . <(kubectl completion zsh)"),
        (&["fish", "--no-config", "-i"], "kubectl completion fish | source"),
    ] {
        let mut shell = Command::new(words[0]);
        shell.args(&words[1..]).env("PATH", path()).env("HOME", home.path());
        shell.env("KUBECONFIG", testbed::shared().east.kubeconfig()).env("PROM_FEDERATE_PROMETHEUS", home.path());
        let mut terminal = Terminal::start(&shell, 200);
        terminal.press(&format!("{begun}; printf '<%s>' begun\r"));
        terminal.expect("<begun>");
        for (typed, completed) in [
            ("rot", "<rotate>"),
            ("status --only", "<status><--only-broken>"),
            ("join --context ea", "<join><--context><east>"),
            ("join --context=ea", "<join><--context=east>"),
            ("leave wes", "<leave><western>"),
            ("join --jobs kubelet,apis", "<join><--jobs><kubelet,apiserver>"),
            ("join --jobs service=kube-sy", "<join><--jobs><service=kube-system/>"),
            ("join --jobs service=default/ht", "<join><--jobs><service=default/https:kubernetes:https>"),
        ] {
            let mut said = String::new();
            // On a busy machine a look at the cluster may take too long.
            let is_completed = (0..TRIES).any(|_| {
                // At the beginning of the line, so that the shell says which words it has.
                terminal.press(&format!("kubectl prom-federate {typed}\t\x01printf '<%s>' \x05 end\r"));
                said = terminal.expect("<end>");
                said.contains(&format!("<kubectl><prom-federate>{completed}"))
            });
            assert!(is_completed, "{}: {typed} is not {completed}: {said:?}", words[0]);
        }
        terminal.press("exit\r");
        terminal.end();
    }
}

/// As kubectl answers a shell: a candidate a line, then a directive.
fn completed(kubeconfig: &Path, words: &[&str]) -> String {
    let mut kubectl = Command::new(&testbed::tools().kubectl);
    kubectl.args(["__complete", "prom-federate"]).args(words).env("PATH", path()).env("KUBECONFIG", kubeconfig);
    String::from_utf8_lossy(&kubectl.output().expect("kubectl runs").stdout).into_owned()
}

fn places_of_jobs_are_those_of_the_cluster() {
    let shared = testbed::shared();
    let east = shared.east.kubeconfig();
    let west = shared.west.kubeconfig().to_str().expect("UTF-8");
    for (words, answer) in [
        (&["join", "--jobs=pods=kube-sys"][..], "pods=kube-system\n:4\n"),
        (&["join", "--jobs", "node-exporter=kube-sys"], "node-exporter=kube-system:9100\n:4\n"),
        (&["check", "--jobs=kubelet,federate=kube-sys"], "kubelet,federate=kube-system/\n:6\n"),
        (&["join", "--jobs=kube-state-metrics=default/"], "kube-state-metrics=default/https:kubernetes:https\n:4\n"),
        (&["join", "--jobs=service=no-such-namespace/"], ":4\n"),
        (&["join", "--jobs=service=Not A Name/"], ":4\n"),
        (&["join", "--jobs=unknown=kube"], ":4\n"),
        (&["join", "--context=no-such", "--jobs=pods=kube-sys"], ":4\n"),
        (&["join", "--context=east", "--jobs=pods=kube-sys"], "pods=kube-system\n:4\n"),
        (&["join", "--kubeconfig", west, "--context", ""], "west\n:4\n"),
        (&["join", "--kubeconfig", west, "--jobs=pods=kube-sys"], "pods=kube-system\n:4\n"),
    ] {
        let said = (0..TRIES).map(|_| completed(east, words)).find(|said| said == answer);
        assert!(said.is_some(), "{words:?}: {:?}, not {answer:?}", completed(east, words));
    }
}

fn cluster_that_does_not_answer_is_not_waited_for() {
    let proxy = FaultProxy::in_front_of(&testbed::shared().east).expect("a proxy");
    proxy.rule(Rule::new("GET", "/api/v1/namespaces", Action::Hang));
    let time = |jobs: &str| {
        let started = Instant::now();
        let answer = completed(&proxy.kubeconfig(), &["join", jobs]);
        (answer, started.elapsed())
    };
    let (_, without) = time("--jobs=kubel");
    let (answer, waited) = time("--jobs=pods=");
    assert_eq!(answer, ":4\n");
    // The rest of a busy second is kubectl's own.
    assert!(waited < without + Duration::from_secs(1), "{waited:?}, {without:?} without a look");
}
