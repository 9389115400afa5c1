//! No secret leaves: every command, in every format and at the highest verbosity, under strace, which shows what each
//! process and its children are given and what they write.

use crate::{
    client_config::{PASSWORD, SENT, USERS},
    exporter::namespace,
    operator,
    plugin::{Run, command},
    push::strace,
};
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use testbed::{
    Cluster, FaultProxy, ForwardProxy, Front, Kubeconfig, Prometheus, PrometheusSpec, Sshd, User, machine_address,
};

trials! {
    secrets:
    full {
        no_command_shows_a_secret,
        no_credential_of_an_administrator_is_shown,
        no_command_for_an_operator_shows_a_secret,
    }
}

const PROXY_PASSWORD: &str = "the-password-of-the-proxy";
const ACCOUNT: &str = "e2e-secrets";

/// An administrator whose credential plugin prints a token, behind a proxy with a password, with a Prometheus whose API
/// has another.
struct Scene {
    home: TempDir,
    /// What must stand nowhere at all: the administrator's.
    secrets: Vec<String>,
    /// The URL of the proxy with its password, in the environment of the plugin.
    https_proxy: Option<String>,
    sshd: Sshd,
    prometheus: Prometheus,
    proxy: ForwardProxy,
    /// The API server at an address that another host has too.
    routed: FaultProxy,
    /// Anything in the form of a token, whoever issued it.
    token: Regex,
    /// So many calls gave a mode to a file or folder of the plugin.
    modes: Cell<usize>,
}

impl Scene {
    fn new(east: &'static Cluster, trial: &str) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        fs::create_dir(home.path().join("tmp")).expect("a folder");
        let admin = administrator(east, trial);
        let answer = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": { "token": admin },
        });
        let plugin = home.path().join("get-token");
        fs::write(&plugin, format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")).expect("a program");
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).expect("it can run");
        let proxy = ForwardProxy::to(east.address()).expect("a proxy");
        let address = machine_address().expect("an address");
        let front = Front { address, hosts: vec![address.to_string()], ..Front::default() };
        let kubeconfig = Kubeconfig {
            user: User::Exec { command: plugin.display().to_string(), args: Vec::new() },
            proxy_url: Some(format!("http://me:{PROXY_PASSWORD}@{}", proxy.address())),
            ..east.admin()
        };
        kubeconfig.write(&home.path().join("config")).expect("a kubeconfig");
        fs::write(home.path().join("password"), PASSWORD).expect("a file");
        let http = "basic_auth: {username: jane, password_file: password}\n";
        fs::write(home.path().join("http.yml"), http).expect("a file");
        let spec = PrometheusSpec::new("global: {scrape_interval: 1s}\n").file("web.yml", USERS);
        let prometheus = Prometheus::start_with(&spec.flag("--web.config.file=web.yml")).expect("Prometheus starts");
        Self {
            home,
            secrets: vec![signature(&admin), PROXY_PASSWORD.into(), PASSWORD.into(), SENT.into()],
            https_proxy: None,
            sshd: Sshd::start().expect("sshd starts"),
            prometheus,
            proxy,
            routed: FaultProxy::with(east, front).expect("a proxy"),
            token: Regex::new(r"eyJ[\w-]{20,}\.[\w-]{20,}\.[\w-]{20,}").expect("a pattern"),
            modes: Cell::default(),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Another administrator, behind a proxy that the environment names. That is for API servers at other addresses.
    fn known_by(&mut self, user: User, secrets: Vec<String>) {
        let routed = self.routed.client();
        let kubeconfig = Kubeconfig { user, ..routed };
        kubeconfig.write(&self.at("config")).expect("a kubeconfig");
        self.secrets = secrets;
        let proxy = ForwardProxy::to(self.routed.address()).expect("a proxy");
        self.https_proxy = Some(format!("http://me:{PROXY_PASSWORD}@{}", proxy.address()));
        self.proxy = proxy;
    }

    fn assert_has_none(&self, what: &str, text: &str) {
        for secret in &self.secrets {
            assert!(!text.contains(secret), "{what}: {}", text.replace(secret, "SECRET"));
        }
    }

    /// The same of what no child is given, though it inherits the environment.
    fn assert_shows_none(&self, what: &str, text: &str) {
        self.assert_has_none(what, text);
        assert!(!text.contains(PROXY_PASSWORD), "{what}: {}", text.replace(PROXY_PASSWORD, "SECRET"));
    }

    /// Runs the plugin under strace, and looks at everything it shows but standard output.
    fn run(&self, arguments: &[&str]) -> Run {
        let log = self.at("trace");
        let own = command(&self.at("config"), arguments);
        let mut traced = strace();
        traced
            .args(["-f", "-y", "-qq", "-v", "-s", "100000", "-o"])
            .arg(&log)
            .args([
                "-e",
                "trace=execve,openat,mkdir,mkdirat,chmod,fchmod,fchmodat,write,writev,pwrite64,prctl,prlimit64",
            ])
            .arg(own.get_program())
            .args(own.get_args())
            .env_clear()
            .env("KUBECONFIG", self.at("config"))
            .env("HOME", self.home.path())
            .env("TMPDIR", self.at("tmp"))
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full")
            .env("PATH", self.path())
            .envs(self.https_proxy.iter().map(|url| ("HTTPS_PROXY", url)))
            .current_dir(self.home.path());
        let run: Run = traced.output().expect("strace starts").into();
        let shown = format!("{arguments:?}");
        self.assert_shows_none(&shown, &run.stdout);
        self.assert_shows_none(&shown, &run.stderr);
        assert!(!self.token.is_match(&run.stderr), "{shown}: {}", run.stderr);
        self.assert_kept(&shown, &fs::read_to_string(&log).expect("a log"));
        fs::remove_file(&log).expect("it is there");
        self.assert_files(&shown);
        run
    }

    /// Until it has looked at the destination and the cluster once.
    fn watch(&self, place: &[&str]) {
        let mut watch = command(&self.at("config"), &[&["rotate", "--watch", "-v=9"], place].concat());
        watch.envs(self.https_proxy.iter().map(|url| ("HTTPS_PROXY", url))).env("RUST_LOG", "trace");
        let mut child = watch.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the plugin starts");
        let mut said = String::new();
        for line in BufReader::new(child.stderr.take().expect("a pipe")).lines() {
            said += &line.expect("text");
            said.push('\n');
            if said.contains("/proxy/metrics") {
                kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
            }
        }
        child.wait().expect("it ends");
        assert!(said.contains("GET https://"), "-v=9 shows requests: {said}");
        self.assert_shows_none("a watch", &said);
        assert!(!self.token.is_match(&said), "{said}");
    }

    fn path(&self) -> String {
        let promtool = testbed::tools().promtool.parent().expect("a folder");
        format!("{}:{}", promtool.display(), self.sshd.path())
    }

    /// The system calls of the plugin and of all that it starts.
    fn assert_kept(&self, what: &str, log: &str) {
        let calls = log.lines().filter_map(|line| Some(line.split_once(' ')?.1.trim_start()));
        // No core file has what is in memory, from before the first secret on.
        let comes_before = |line: &&str| !(line.contains(" openat(") && line.contains("/config\""));
        let before: String = log.lines().take_while(comes_before).collect();
        assert!(before.contains("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE"), "{what}: it is dumpable");
        assert!(before.contains("RLIMIT_CORE, {rlim_cur=0, rlim_max=0}"), "{what}: it writes core files");
        let mut programs = 0;
        for call in calls {
            let (name, rest) = call.split_once('(').unwrap_or((call, ""));
            match name {
                "execve" => {
                    programs += 1;
                    self.assert_has_none(what, call);
                    assert!(!self.token.is_match(call), "{what}: {call}");
                }
                "write" | "writev" | "pwrite64" => {
                    let file = rest.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                    let to = file.map_or("", |(file, _)| file);
                    let is_passed_on = ["pipe:", "socket:", "TCP", "UNIX"].iter().any(|kind| to.starts_with(kind));
                    if !is_passed_on {
                        self.assert_has_none(what, call);
                    }
                    // Its own file, or a pipe: standard output, or to a shell of the other host.
                    let is_its_file = to.contains("/prom-federate/") && to.ends_with("/token");
                    assert!(!self.token.is_match(call) || is_passed_on || is_its_file, "{what}: {call}");
                }
                // For others not even for a moment: as it is made, and by every change after that.
                "openat" | "mkdir" | "mkdirat" | "chmod" | "fchmod" | "fchmodat" if is_ours(rest) => {
                    let mode = rest.rsplit_once(')').map_or(rest, |(arguments, _)| arguments);
                    let mode = mode.rsplit(", ").find(|word| word.starts_with('0') && word.len() > 1);
                    let mode = mode.and_then(|word| u32::from_str_radix(word, 8).ok());
                    assert!(mode.is_none_or(|mode| mode % 0o10 == 0), "{what}: {call}");
                    self.modes.set(self.modes.get() + usize::from(mode.is_some()));
                }
                _ => {}
            }
        }
        assert!(programs > 0, "{what}: {log}");
    }

    /// The files of this user and of the destination.
    fn assert_files(&self, what: &str) {
        let made_here = ["config", "get-token", "password", "admin-token"];
        let mut folders = vec![self.home.path().to_owned(), self.prometheus.dir().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
                if kind.is_dir() && entry.file_name() != "data" {
                    folders.push(path);
                } else if kind.is_file() && !made_here.iter().any(|name| path == self.at(name)) {
                    // Of the fixture, or Prometheus' own, which are not text.
                    let Ok(text) = fs::read_to_string(&path) else { continue };
                    let file = format!("{what}: {}", path.display());
                    self.assert_shows_none(&file, &text);
                    assert!(!self.token.is_match(&text) || path.ends_with("token"), "{file}");
                }
            }
        }
    }
}

/// A static token, one in a file, and the key of a certificate, with a proxy in `HTTPS_PROXY`.
fn no_credential_of_an_administrator_is_shown() {
    let east = &testbed::shared().east;
    let mut scene = Scene::new(east, "secrets-credentials");
    let token = administrator(east, "secrets-another");
    fs::write(scene.at("admin-token"), &token).expect("a file");
    let User::Certificate(client) = east.admin().user else { panic!("the administrator has a certificate") };
    let lines = key_lines(&client.key);
    for (user, secrets) in [
        (User::Token(token.clone()), vec![signature(&token)]),
        (User::TokenFile(scene.at("admin-token")), vec![signature(&token)]),
        (User::Certificate(client), lines),
    ] {
        scene.known_by(user, secrets);
        let space = format!("--namespace={ACCOUNT}-credentials{}", crate::trial::suffix());
        let dir = scene.prometheus.dir().display().to_string();
        let place = ["-p", dir.as_str(), "--reload=none"];
        for (words, is_shown) in [
            (vec!["join", "--yes", &space, "--output=json"], true),
            ([&["join", "--yes", "--cluster-name=east", &space][..], &place].concat(), false),
            ([&["rotate", "--now"][..], &place].concat(), false),
        ] {
            let run = scene.run(&[&words[..], &["-v=9"]].concat());
            assert!(run.code == Some(0), "{words:?}: {}{}", run.stdout, run.stderr);
            assert_eq!(scene.token.is_match(&run.stdout), is_shown, "{words:?}: {}", run.stdout);
        }
        scene.watch(&place);
        let run = scene.run(&[&["leave", "east", "--yes", "-v=9"][..], &place].concat());
        assert!(run.code == Some(0), "{}", run.stderr);
        let proxy = format!("http://me:{PROXY_PASSWORD}@127.0.0.1:1");
        scene.https_proxy = Some(proxy);
        let run = scene.run(&["join", "--yes", &space, "-v=9"]);
        assert!(run.code == Some(1) && run.stderr.contains("127.0.0.1:1"), "{}", run.stderr);
    }
}

/// Here tokens are in Secrets too, in base64, which begins with `ZXlK` for what begins with `eyJ`.
fn no_command_for_an_operator_shows_a_secret() {
    let token = Regex::new(r"eyJ[\w-]{20,}\.[\w-]{20,}|ZXlK[\w+/=]{60,}").expect("a pattern");
    let keys = [testbed::shared().east.admin(), testbed::hub().cluster().admin()].map(|admin| match admin.user {
        User::Certificate(client) => key_lines(&client.key),
        _ => panic!("the administrator has a certificate"),
    });
    let shows_none = |run: Run| {
        let run = run.succeeded();
        for text in [&run.stdout, &run.stderr] {
            assert!(!token.is_match(text), "{}", token.replace_all(text, "SECRET"));
            assert!(!keys.iter().flatten().any(|line| text.contains(line)), "a key is shown");
        }
        assert!(run.stderr.contains("/secrets"), "-v=9 shows requests: {}", run.stderr);
    };
    let scene = operator::Scene::new("secrets");
    shows_none(scene.join(&["-v=9"]));
    shows_none(scene.run("rotate", &["--now", "-v=9"]));
    for output in ["--output=json", "--output=yaml"] {
        shows_none(scene.run("status", &["-v=9", output]));
        shows_none(scene.run("check", &["-v=9", output]));
    }
    shows_none(scene.join(&["-v=9", "--output=json"]));
    shows_none(scene.run("leave", &["east", "--yes", "-v=9"]));
}

/// The lines of a private key.
fn key_lines(file: &Path) -> Vec<String> {
    let key = fs::read_to_string(file).expect("a key");
    let lines: Vec<String> = key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "a key has lines");
    lines
}

fn signature(token: &str) -> String {
    token.rsplit_once('.').expect("a signature").1.to_owned()
}

/// Whether a system call is about the plugin's folder of a destination or something in it, by path or descriptor.
fn is_ours(arguments: &str) -> bool {
    ["prom-federate/", "prom-federate>", "\"prom-federate\""].iter().any(|part| arguments.contains(part))
}

/// Makes an administrator for a trial, and returns its token.
pub(crate) fn administrator(cluster: &Cluster, trial: &str) -> String {
    let space = format!("e2e-admin-{trial}{}", crate::trial::suffix());
    namespace(cluster, &space);
    let post = |path: &str, object: &Value| {
        let answer = cluster.api().post(path, object).expect("the API server answers");
        answer.success(path).expect("made").json()
    };
    let accounts = format!("/api/v1/namespaces/{space}/serviceaccounts");
    post(&accounts, &json!({ "metadata": { "name": "admin" } }));
    let binding = json!({
        "metadata": { "name": space },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": "admin", "namespace": space }],
    });
    post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding);
    let token = post(&format!("{accounts}/admin/token"), &json!({ "spec": {} }));
    token["status"]["token"].as_str().expect("a token").to_owned()
}

fn no_command_shows_a_secret() {
    let east = &testbed::shared().east;
    let scene = Scene::new(east, "secrets");
    let dir = scene.prometheus.dir().display().to_string();
    let far = format!("ssh://prom{dir}");
    let (url, http) = (
        format!("--api-server={}", scene.routed.url()),
        format!("--prometheus-http-config={}", scene.at("http.yml").display()),
    );
    let space = format!("--namespace={ACCOUNT}{}", crate::trial::suffix());
    let api = format!("--prometheus-url={}", scene.prometheus.url());
    let account = [space.as_str(), "-v=9"];
    let with = |words: &[&str]| {
        let mut all = words.to_vec();
        all.extend(account);
        let run = scene.run(&all);
        assert!(run.code == Some(0), "{words:?}: {}{}", run.stdout, run.stderr);
        run
    };
    let printed = |words: &[&str], tokens: usize| {
        let run = with(words);
        let found: BTreeSet<&str> = scene.token.find_iter(&run.stdout).map(|found| found.as_str()).collect();
        assert_eq!(found.len(), tokens, "{words:?} prints other tokens: {}", run.stdout);
    };
    let join = ["join", "--yes", "--cluster-name=east", "--scrape-interval=1s", &url];
    let joined = |more: &[&str], tokens| printed(&[&join, more].concat(), tokens);
    // They ask no server, and have no -v.
    for words in [
        &["version"][..],
        &["rules", "east"],
        &["dashboard"],
        &["dashboard", "fleet", "--output=configmap"],
        &["completion", "bash"],
        &["manifests"],
    ] {
        let run = scene.run(words);
        assert!(run.code == Some(0), "{words:?}: {}", run.stderr);
    }
    for output in ["--output=json", "--output=yaml"] {
        printed(&["check", output], 0);
        for mode in ["--dry-run=client", "--dry-run=server"] {
            joined(&[mode, output], 0);
        }
        joined(&[output], 1);
    }
    joined(&["--format=script"], 1);
    joined(&["--self-renew"], 1);
    joined(&["--long-lived-token"], 1);
    for destination in [&dir, &far] {
        let place = ["-p", destination.as_str(), &http, &api];
        let there = |words: &[&str]| printed(&[words, &place].concat(), 0);
        for more in [&["--dry-run=server"][..], &[], &["--output=json"]] {
            joined(&[&place, more].concat(), 0);
        }
        let only_there = |words: &[&str]| {
            let run = scene.run(&[words, &place, &["-v=9"]].concat());
            assert!(
                run.code == Some(0) && !scene.token.is_match(&run.stdout),
                "{words:?}: {}{}",
                run.stdout,
                run.stderr
            );
        };
        for output in [&[][..], &["-o=json"]] {
            only_there(&[&["status"], output].concat());
            only_there(&[&["rotate", "--now"], output].concat());
            there(&[&["check"], output].concat());
        }
        let rules = scene.run(&["rules", "-p", destination]);
        assert!(rules.code == Some(0), "{}", rules.stderr);
        only_there(&["rotate", "--print-unit"]);
        let jobs = scene.prometheus.dir().join("prom-federate/east.scrape.yml");
        only_there(&["leave", "east", "--yes", "--dry-run=server"]);
        assert!(jobs.exists(), "a dry run deletes nothing");
        only_there(&["leave", "east", "--yes", "--output=json"]);
        assert!(!jobs.exists());
    }
    // What fails says more than what succeeds.
    for wrong in ["--request-timeout=1ms", "--api-server=https://127.0.0.1:1", "--jobs=service=a/b:1", "--duration=1s"]
    {
        let run = scene.run(&[&join[..], &account, &[wrong]].concat());
        assert!(run.code != Some(0) && !scene.token.is_match(&run.stdout), "{wrong}: {}", run.stdout);
    }
    fs::write(scene.at("password"), "another password").expect("a file");
    let refused = scene.run(&[&join[..], &account, &["-p", &dir, &http, &api]].concat());
    assert!(refused.code == Some(1) && !scene.token.is_match(&refused.stdout), "{}", refused.stderr);
    with(&["leave", "--yes"]);
    assert!(scene.modes.get() > 0, "strace shows no mode of a file");
}
