//! A Prometheus that wants a password, TLS and a client certificate, a vmagent that wants a password, and a program of
//! another name: here and over ssh.

use crate::{
    plugin::{Account, Run, command},
    push::{assert_same, tree},
    ssh::{assert_hidden, traced},
};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};
use tempfile::TempDir;
use testbed::{FaultProxy, Front, Prometheus, PrometheusSpec, Sshd, Vmagent, VmagentSpec, machine_address};

trials! {
    client_config:
    full {
        prometheus_with_password_tls_and_client_certificate_is_a_destination,
        the_same_prometheus_of_another_host_is_a_destination,
        password_is_in_no_argument_on_either_host,
        ssh_server_that_forwards_nothing_is_named_before_a_write,
        refused_password_is_named_before_a_write,
        certificate_that_is_not_trusted_is_named_in_words,
        vmagent_with_a_password_is_a_destination,
        program_of_another_name_is_found_at_the_named_address,
    }
}

const MAIN: &str = "global:\n  scrape_interval: 1s\n";
pub(crate) const PASSWORD: &str = "hunter2-of-jane";
/// User and password as they are sent.
pub(crate) const SENT: &str = "amFuZTpodW50ZXIyLW9mLWphbmU=";
/// Of that password.
pub(crate) const USERS: &str =
    "basic_auth_users: {jane: $2b$04$abcdefghijklmnopqrstuuuLR3nRZGQvPt1ihUoHVU79UQqABhAo6}\n";
const TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt, \
                   client_auth_type: RequireAndVerifyClientCert}\n";
/// The name in the certificate of the server.
const NAME: &str = "prometheus.example";

/// Certificates of a server and a client, and the client configuration file with its files.
struct Files {
    client: TempDir,
    ca: String,
    server: [String; 2],
}

impl Files {
    fn new() -> Self {
        let (key, mut params) = (KeyPair::generate().expect("a key"), CertificateParams::default());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = params.self_signed(&key).expect("a CA").pem();
        let issuer = Issuer::new(params, key);
        let issue = |names: &[&str], purpose: ExtendedKeyUsagePurpose| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let (key, mut params) =
                (KeyPair::generate().expect("a key"), CertificateParams::new(names).expect("names"));
            params.extended_key_usages = vec![purpose];
            [params.signed_by(&key, &issuer).expect("a certificate").pem(), key.serialize_pem()]
        };
        let server = issue(&[NAME], ExtendedKeyUsagePurpose::ServerAuth);
        let [certificate, key] = issue(&[], ExtendedKeyUsagePurpose::ClientAuth);
        let files = Self { client: tempfile::tempdir().expect("a folder"), ca, server };
        files.write("ca.crt", &files.ca);
        files.write("client.crt", &certificate);
        files.write("client.key", &key);
        files.write("password", &format!("{PASSWORD}\n"));
        files.write("http.yml", &format!("{BASIC}tls_config: {{ca_file: ca.crt, server_name: {NAME}, {PAIR}}}\n"));
        files
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.client.path().join(name), content).expect("a file");
    }

    fn flag(&self, name: &str) -> String {
        format!("--prometheus-http-config={}", self.client.path().join(name).display())
    }

    fn prometheus(&self, web: &str) -> Prometheus {
        let spec = PrometheusSpec::new(MAIN).file("web.yml", web).file("ca.crt", &self.ca);
        let [certificate, key] = &self.server;
        let spec = spec.file("server.crt", certificate).file("server.key", key).flag("--web.config.file=web.yml");
        Prometheus::start_with(&spec).expect("Prometheus starts")
    }
}

const BASIC: &str = "basic_auth: {username: jane, password_file: password}\n";
const TRUSTED: &str = "tls_config: {ca_file: ca.crt, server_name: prometheus.example}\n";
const PAIR: &str = "cert_file: client.crt, key_file: client.key";

fn run(account: &Account, arguments: &[&str]) -> Run {
    has_no_secret(command(account.cluster.kubeconfig(), arguments).output().expect("the plugin starts").into())
}

fn has_no_secret(run: Run) -> Run {
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains(PASSWORD) && !text.contains(SENT), "{text}");
    }
    run
}

fn join<'a>(account: &'a Account, typed: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["join", "-p", typed, "--cluster-name=east", "--scrape-interval=1s", "--yes"];
    all.extend(["--namespace", &account.namespace]);
    all.extend(more);
    all
}

fn says(run: &Run, texts: &[&str]) {
    for text in texts {
        assert!(run.stderr.contains(text), "no {text:?}: {}", run.stderr);
    }
}

/// Joined, rotated, shown, checked and left, each verified in Prometheus.
fn life(account: &Account, typed: &str, flag: &str, run: impl Fn(&[&str]) -> Run) {
    let joined = run(&join(account, typed, &[flag])).succeeded();
    says(&joined, &["read by Prometheus 3.16.0", "Prometheus 3.16.0 reloaded, 4 of 4 targets up"]);
    let rotated = run(&["rotate", "--now", "-p", typed, flag]).succeeded();
    says(&rotated, &["4 of 4 targets up", "deleted (its token was replaced)"]);
    let status = run(&["status", "-p", typed, flag, "-o", "json"]).succeeded();
    let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!(status["clusters"][0]["targets"]["up"], 4, "{status:#}");
    let check = run(&["check", "-p", typed, flag]);
    assert_eq!(check.code, Some(0), "{}{}", check.stdout, check.stderr);
    let left = run(&["leave", "east", "-p", typed, "--yes", flag]).succeeded();
    says(&left, &["Prometheus 3.16.0 reloaded"]);
    assert_eq!(account.objects(), Vec::<String>::new());
}

fn prometheus_with_password_tls_and_client_certificate_is_a_destination() {
    let (files, account) = (Files::new(), Account::new(&testbed::shared().east, "client-config"));
    let prometheus = files.prometheus(&format!("{USERS}{TLS}"));
    let typed = prometheus.dir().display().to_string();
    let unseen = run(&account, &join(&account, &typed, &["--dry-run=client"])).succeeded();
    let address = format!("Prometheus at {} accepts only TLS", prometheus.url());
    says(&unseen, &[&address]);
    life(&account, &typed, &files.flag("http.yml"), |arguments| run(&account, arguments));
}

/// A cluster with an address that another host reaches too.
fn routed() -> FaultProxy {
    let address = machine_address().expect("an address");
    let front = Front { address, hosts: vec![address.to_string()], ..Front::default() };
    FaultProxy::with(&testbed::shared().east, front).expect("a proxy")
}

fn run_over(sshd: &Sshd, kubeconfig: &Path, arguments: &[&str]) -> Run {
    let mut command = command(kubeconfig, arguments);
    has_no_secret(command.env("PATH", sshd.path()).output().expect("the plugin starts").into())
}

fn the_same_prometheus_of_another_host_is_a_destination() {
    let (files, account) = (Files::new(), Account::new(&testbed::shared().east, "client-config-ssh"));
    let prometheus = files.prometheus(&format!("{USERS}{TLS}"));
    let (sshd, routed) = (Sshd::start().expect("sshd starts"), routed());
    let typed = format!("ssh://prom{}", prometheus.dir().display());
    let kubeconfig = routed.kubeconfig();
    life(&account, &typed, &files.flag("http.yml"), |arguments| run_over(&sshd, &kubeconfig, arguments));
}

/// By SIGHUP, which is seen over the same connection.
fn password_is_in_no_argument_on_either_host() {
    let (files, account) = (Files::new(), Account::new(&testbed::shared().east, "client-config-argv"));
    let spec = PrometheusSpec::new(MAIN).file("web.yml", USERS).flag("--web.config.file=web.yml");
    let prometheus = Prometheus::start_with(&spec.without_lifecycle()).expect("Prometheus starts");
    let (there, here) = (files.client.path().join("there"), files.client.path().join("here"));
    let wrapper = traced(&there);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let (sshd, routed) = (Sshd::start_with(&[], &wrapper).expect("sshd starts"), routed());
    let typed = format!("ssh://prom{}", prometheus.dir().display());
    files.write("http.yml", BASIC);
    let (kubeconfig, flag) = (routed.kubeconfig(), files.flag("http.yml"));
    let own = command(&kubeconfig, &join(&account, &typed, &[&flag]));
    let words = traced(&here);
    let mut joining = Command::new(&words[0]);
    joining.args(&words[1..]).arg(own.get_program()).args(own.get_args());
    joining.env_clear().env("KUBECONFIG", &kubeconfig).env("PATH", sshd.path()).stdin(Stdio::null());
    let run = has_no_secret(joining.output().expect("strace starts").into()).succeeded();
    says(&run, &["Prometheus 3.16.0 reloaded, 4 of 4 targets up"]);
    for log in [there, here] {
        let execs = fs::read_to_string(&log).expect("a log");
        assert!(execs.contains("\"sh\"") && !execs.contains(PASSWORD), "{}", log.display());
        assert_hidden(&log, SENT);
    }
    assert_eq!(sshd.logins(), 3, "the shell, the question about TLS, and one connection for all other requests");
    run_over(&sshd, &kubeconfig, &["leave", "east", "-p", &typed, "--yes", &flag]).succeeded();
}

fn ssh_server_that_forwards_nothing_is_named_before_a_write() {
    let (files, account) = (Files::new(), Account::new(&testbed::shared().east, "client-config-closed"));
    let prometheus = files.prometheus(USERS);
    let (sshd, routed) = (Sshd::start_with(&["AllowTcpForwarding no"], &[]).expect("sshd starts"), routed());
    let typed = format!("ssh://prom{}", prometheus.dir().display());
    files.write("http.yml", BASIC);
    let before = tree(prometheus.dir());
    let run = run_over(&sshd, &routed.kubeconfig(), &join(&account, &typed, &[&files.flag("http.yml")]));
    run.failed("PrometheusUnreachable", &["from prom: its ssh server forwards no connection to it"]);
    assert_same(&tree(prometheus.dir()), &before, "nothing is written");
    assert_eq!(account.objects(), Vec::<String>::new());
}

fn refused_password_is_named_before_a_write() {
    let (files, account) = (Files::new(), Account::new(&testbed::shared().east, "client-config-refused"));
    let prometheus = files.prometheus(USERS);
    let typed = prometheus.dir().display().to_string();
    files.write("http.yml", BASIC);
    files.write("password", "another-password");
    let (flag, before) = (files.flag("http.yml"), tree(prometheus.dir()));
    let url = format!("--prometheus-url={}", prometheus.url());
    let says = format!("Prometheus at {} refuses the credentials of --prometheus-http-config", prometheus.url());
    for more in [&[&*flag][..], &[&flag, &url]] {
        run(&account, &join(&account, &typed, more)).failed("PrometheusError", &[&says]);
    }
    run(&account, &join(&account, &typed, &[&url])).failed("PrometheusError", &["wants a password", "FILE"]);
    let check = run(&account, &["check", "-p", &typed, &flag, "--namespace", &account.namespace]);
    assert!(check.code == Some(1) && check.stdout.contains(&says), "{}{}", check.stdout, check.stderr);
    assert_same(&tree(prometheus.dir()), &before, "nothing is written");
    assert_eq!(account.objects(), Vec::<String>::new());
    // Right again, and read again.
    files.write("password", PASSWORD);
    let joined = run(&account, &join(&account, &typed, &[&flag])).succeeded();
    self::says(&joined, &["4 of 4 targets up"]);
    let leave = ["leave", "east", "-p", &typed, "--yes", &flag];
    run(&account, &leave).succeeded();
}

fn certificate_that_is_not_trusted_is_named_in_words() {
    let (files, account) = (Files::new(), Account::new(&testbed::shared().east, "client-config-tls"));
    let prometheus = files.prometheus(TLS);
    let typed = prometheus.dir().display().to_string();
    files.write("other.crt", &Files::new().ca);
    for (tls, says) in [
        (format!("{{ca_file: other.crt, server_name: {NAME}, {PAIR}}}"), "signed by no CA that the plugin trusts"),
        (format!("{{ca_file: ca.crt, {PAIR}}}"), "not valid for this name; it is valid for prometheus.example"),
        (format!("{{ca_file: ca.crt, server_name: {NAME}}}"), "wants a client certificate"),
    ] {
        files.write("http.yml", &format!("tls_config: {tls}\n"));
        let run = run(&account, &join(&account, &typed, &[&files.flag("http.yml")]));
        run.failed("PrometheusUnreachable", &[says, "--prometheus-http-config FILE"]);
    }
    assert_eq!(account.objects(), Vec::<String>::new());
}

fn vmagent_with_a_password_is_a_destination() {
    for (name, flags, tls, guard) in [
        (
            "password",
            &["-httpAuth.username=jane", "-httpAuth.password=file://password"][..],
            "",
            "wants a password (-h",
        ),
        ("tls", &["-tls", "-tlsCertFile=server.crt", "-tlsKeyFile=server.key"], TRUSTED, "accepts only TLS (-tls)"),
    ] {
        let (files, name) = (Files::new(), format!("client-config-vmagent-{name}"));
        let account = Account::new(&testbed::shared().east, &name);
        let [certificate, key] = &files.server;
        let spec = VmagentSpec::new(MAIN).file("password", PASSWORD);
        let spec = spec.file("server.crt", certificate).file("server.key", key);
        let spec = flags.iter().fold(spec, |spec, flag| spec.flag(*flag));
        let vmagent = Vmagent::start_with(&spec).expect("vmagent starts");
        let config = vmagent.dir().join("vmagent.yml").display().to_string();
        files.write("http.yml", &format!("{BASIC}{tls}"));
        let flag = files.flag("http.yml");
        if tls.is_empty() {
            files.write("password", "another-password");
            run(&account, &join(&account, &config, &[&flag]))
                .failed("PrometheusError", &["refuses the credentials of"]);
            files.write("password", PASSWORD);
        }
        let unseen = run(&account, &join(&account, &config, &["--dry-run=client"])).succeeded();
        says(&unseen, &[guard, "--prometheus-http-config FILE"]);
        let joined = run(&account, &join(&account, &config, &[&flag])).succeeded();
        says(&joined, &["vmagent reloaded, 4 of 4 targets up"]);
        run(&account, &["leave", "east", "-p", &config, "--yes", &flag]).succeeded();
        assert_eq!(account.objects(), Vec::<String>::new());
    }
}

fn program_of_another_name_is_found_at_the_named_address() {
    let account = Account::new(&testbed::shared().east, "client-config-named");
    let renamed = "{ ln \"$1\" metrics-db 2> /dev/null || cp \"$1\" metrics-db; } && shift && exec ./metrics-db \"$@\"";
    let spec = PrometheusSpec::new(MAIN).wrapper(&["sh", "-c", renamed, "sh"]);
    let prometheus = Prometheus::start_with(&spec).expect("it starts");
    // Another one at whose address the same file is named.
    let other = Prometheus::start(MAIN).expect("Prometheus starts");
    let (here, there) = (prometheus.dir().display().to_string(), format!("ssh://prom{}", prometheus.dir().display()));
    let (url, wrong) = (format!("--prometheus-url={}", prometheus.url()), format!("--prometheus-url={}", other.url()));
    let (sshd, routed) = (Sshd::start().expect("sshd starts"), routed());
    let process = format!("(process {}, user ", prometheus.pid());
    for (more, is_found) in [(&[][..], false), (&[&*wrong][..], false), (&[&*url][..], true)] {
        let mut more = more.to_vec();
        more.push("--dry-run=client");
        let runs = [
            run(&account, &join(&account, &here, &more)),
            run_over(&sshd, &routed.kubeconfig(), &join(&account, &there, &more)),
        ];
        for run in runs {
            assert_eq!(run.stderr.contains(&process), is_found, "{more:?}: {}", run.stderr);
        }
    }
    let joined = run(&account, &join(&account, &here, &[&url, "--reload=signal"])).succeeded();
    says(&joined, &[&process, "4 of 4 targets up"]);
    run(&account, &["leave", "east", "-p", &here, "--yes", &url]).succeeded();
}
