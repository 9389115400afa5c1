//! Completion through the real kubectl, in each shell that kubectl completes in.

use crate::{
    interrupt::{Frozen, children},
    operator::Scene,
    terminal::Terminal,
};
use std::{
    env,
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use testbed::{Action, FaultProxy, Kubeconfig, Rule, Sshd, User, hub};

trials! {
    completion:
    full {
        each_shell_completes_through_kubectl,
        each_shell_completes_clusters_of_other_hosts_and_operators,
        places_of_jobs_are_those_of_the_cluster,
        cluster_that_does_not_answer_is_not_waited_for,
        clusters_of_another_host_need_an_open_connection,
        clusters_of_an_operator_take_one_request,
        no_credential_plugin_runs,
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

/// A folder of a Prometheus that has jobs of `western`.
fn folder() -> TempDir {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("prom-federate");
    fs::create_dir(&folder).expect("a folder");
    for file in ["western.scrape.yml", "western.rules.yml", "not a name.scrape.yml"] {
        fs::write(folder.join(file), "").expect("a file");
    }
    home
}

fn each_shell_completes_through_kubectl() {
    let home = folder();
    let place = home.path().to_str().expect("UTF-8");
    let environment = [
        ("PATH", path()),
        ("HOME", place.into()),
        ("KUBECONFIG", testbed::shared().east.kubeconfig().into()),
        ("PROM_FEDERATE_PROMETHEUS", place.into()),
    ];
    each_shell_completes(
        &environment,
        &[
            ("rot", "<rotate>"),
            ("status --only", "<status><--only-broken>"),
            ("join --context ea", "<join><--context><east>"),
            ("join --context=ea", "<join><--context=east>"),
            ("leave wes", "<leave><western>"),
            ("join --context ^ea", "<join><--context><^east>"),
            ("join --context=^ea", "<join><--context=^east>"),
            ("rotate --reload sig", "<rotate><--reload><signal>"),
            ("rotate --reload=sig", "<rotate><--reload=signal>"),
            ("join --jobs kubelet,apis", "<join><--jobs><kubelet,apiserver>"),
            ("join --jobs service=kube-sy", "<join><--jobs><service=kube-system/>"),
            ("join --jobs service=default/ht", "<join><--jobs><service=default/https:kubernetes:https>"),
        ],
    );
}

fn each_shell_completes_clusters_of_other_hosts_and_operators() {
    let home = folder();
    let sshd = sshd();
    let _open = OpenConnection::new(&sshd);
    let scene = Scene::new("completion-shells");
    scene.join(&[]);
    let environment = [
        ("PATH", path_with(&sshd)),
        ("HOME", home.path().into()),
        ("KUBECONFIG", hub().cluster().kubeconfig().into()),
        ("PROM_FEDERATE_PROMETHEUS", "".into()),
    ];
    let there = format!("ssh://prom{}", home.path().display());
    // kubectl's script for fish takes a `?` for a pattern.
    let hub = format!("operator://{}/kps", scene.namespace);
    each_shell_completes(
        &environment,
        &[
            (&format!("rotate -p {there} wes"), &format!("<rotate><-p><{there}><western>")),
            (&format!("rotate -p {hub} ea"), &format!("<rotate><-p><{hub}><east>")),
        ],
    );
    scene.run("leave", &["east", "--yes"]).succeeded();
}

/// What is typed becomes these words.
fn each_shell_completes(environment: &[(&str, OsString)], all: &[(&str, &str)]) {
    for (words, begun) in [
        (
            &["bash", "--norc", "--noprofile", "-i"][..],
            ". /usr/share/bash-completion/bash_completion; . <(kubectl completion bash)",
        ),
        (&["zsh", "-f", "-i"], "autoload -Uz compinit && compinit -u; . <(kubectl completion zsh)"),
        (&["fish", "--no-config", "-i"], "kubectl completion fish | source"),
    ] {
        let mut shell = Command::new(words[0]);
        shell.args(&words[1..]).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut terminal = Terminal::start(&shell, 200);
        terminal.press(&format!("{begun}; printf '<%s>' begun\r"));
        terminal.expect("<begun>");
        for (typed, completed) in all {
            // kubectl's script for zsh takes a bare `^` for a pattern of file names.
            let typed = if words[0] == "zsh" { typed.replace('^', "\\^") } else { (*typed).to_owned() };
            let mut said = String::new();
            // On a busy machine a look elsewhere may take too long.
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
    completed_with(path(), kubeconfig, words)
}

fn completed_with(path: OsString, kubeconfig: &Path, words: &[&str]) -> String {
    let mut kubectl = Command::new(&testbed::tools().kubectl);
    kubectl.args(["__complete", "prom-federate"]).args(words).env("PATH", path).env("KUBECONFIG", kubeconfig);
    String::from_utf8_lossy(&kubectl.output().expect("kubectl runs").stdout).into_owned()
}

/// What is not answered is not waited for. The rest of a busy second is kubectl's own.
fn is_not_waited_for(completed: impl Fn() -> String) {
    let time = |completed: &dyn Fn() -> String| {
        let started = Instant::now();
        (completed(), started.elapsed())
    };
    let (_, without) = time(&|| self::completed(Path::new("/dev/null"), &["join", "--jobs=kubel"]));
    let (answer, waited) = time(&completed);
    assert_eq!(answer, ":4\n");
    assert!(waited < without + Duration::from_secs(1), "{waited:?}, {without:?} without a look");
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
        (&["join", "--context=east", "--context=^no-such", "--jobs=pods=kube-sys"], "pods=kube-system\n:4\n"),
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
    is_not_waited_for(|| completed(&proxy.kubeconfig(), &["join", "--jobs=pods="]));
}

/// A host whose login shell starts at once: bash reads no .bashrc below the first level.
fn sshd() -> Sshd {
    Sshd::start_with(&["SetEnv SHLVL=1"], &[]).expect("sshd starts")
}

fn path_with(sshd: &Sshd) -> OsString {
    let folders = [sshd.path().into(), path()];
    env::join_paths(folders.iter().flat_map(env::split_paths)).expect("a PATH")
}

/// A connection that its user keeps open with `ControlMaster`. It ends when this is dropped.
struct OpenConnection {
    _folder: TempDir,
    path: String,
}

impl OpenConnection {
    fn new(sshd: &Sshd) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = format!("  ControlPath {}/%C\n", folder.path().display());
        let config = sshd.dir().join("known/config");
        let before = fs::read_to_string(&config).expect("a configuration");
        fs::write(&config, before + &socket).expect("a configuration");
        let open = Self { _folder: folder, path: sshd.path() };
        assert!(open.ssh(&["-M", "-N", "-f"]), "ssh connects");
        open
    }

    fn ssh(&self, words: &[&str]) -> bool {
        let mut ssh = Command::new("ssh");
        ssh.args(words).arg("prom").env("PATH", &self.path);
        let quiet = ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().expect("ssh starts").success()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.ssh(&["-O", "exit"]);
    }
}

fn clusters_of_another_host_need_an_open_connection() {
    let (home, sshd) = (folder(), sshd());
    let place = format!("ssh://prom{}", home.path().display());
    let file = format!("{place}/prometheus.yml");
    let of = |place: &str| completed_with(path_with(&sshd), Path::new("/dev/null"), &["leave", "-p", place, "wes"]);
    assert_eq!(of(&place), ":4\n");
    assert!(!sshd.log().contains("Connection from"), "it connects: {}", sshd.log());

    let open = OpenConnection::new(&sshd);
    for place in [&place, &file] {
        let said = (0..TRIES).map(|_| of(place)).find(|said| said == "western\n:4\n");
        assert!(said.is_some(), "{place}: {:?}", of(place));
    }
    assert_eq!(of(&format!("{place}/no/such")), ":4\n");
    assert_eq!(sshd.logins(), 1);

    let frozen = Frozen::new(children(sshd.pid()));
    is_not_waited_for(|| of(&place));
    drop((frozen, open));
}

fn clusters_of_an_operator_take_one_request() {
    let scene = Scene::new("completion");
    scene.join(&[]);
    let proxy = FaultProxy::in_front_of(hub().cluster()).expect("a proxy");
    let of = |object: &str| {
        let place = format!("operator://{}{object}", scene.namespace);
        completed(&proxy.kubeconfig(), &["rotate", "--prometheus", &place, "ea"])
    };
    for object in ["/kps", "", "/prometheus/kps?context=hub"] {
        let said = (0..TRIES).map(|_| of(object)).find(|said| said == "east\n:4\n");
        assert!(said.is_some(), "{object}: {:?}", of(object));
    }
    for object in ["/prometheusagent/kps", "/other", "/kps?context=no-such"] {
        assert_eq!(of(object), ":4\n", "{object}");
    }
    proxy.forget_requests();
    assert!((0..TRIES).any(|_| of("/kps") == "east\n:4\n"));
    let requests = proxy.requests();
    let secrets = format!("/api/v1/namespaces/{}/secrets?", scene.namespace);
    assert!(requests.iter().all(|request| request.path.starts_with(&secrets)), "{requests:?}");

    proxy.rule(Rule::new("GET", "/secrets", Action::Hang));
    is_not_waited_for(|| of("/kps"));
    scene.run("leave", &["east", "--yes"]).succeeded();
}

/// Each may ask for something.
fn no_credential_plugin_runs() {
    let home = tempfile::tempdir().expect("a folder");
    let ran = home.path().join("ran");
    let admin = testbed::shared().east.admin();
    let (command, args) = ("touch".to_owned(), vec![ran.display().to_string()]);
    let kubeconfig = home.path().join("kubeconfig");
    fs::write(&kubeconfig, Kubeconfig { user: User::Exec { command, args }, ..admin }.content()).expect("a file");
    for words in [&["join", "--jobs=pods=kube-sys"][..], &["leave", "-p", "operator://default", "ea"]] {
        assert_eq!(completed(&kubeconfig, words), ":4\n");
    }
    assert!(!ran.exists(), "the plugin has run");
}
