//! What the user or the kubeconfig got wrong; nothing is ever written.

use super::{file, untouched};
use crate::plugin::{Account, command, run};
use std::{path::Path, time::Instant};
use testbed::{Kubeconfig, Silent, Trust, User, Validity};

trials! {
    weather_input:
    smoke {
        a_refused_connection,
    }
    full {
        no_kubeconfig,
        a_kubeconfig_that_was_named_is_missing,
        a_kubeconfig_that_is_no_yaml,
        a_broken_kubeconfig_keeps_its_secrets,
        an_unknown_context,
        no_current_context,
        a_context_without_its_cluster,
        a_silent_server,
        another_clusters_ca,
        a_name_that_is_not_in_the_certificate,
        plain_http,
        ca_files,
        unverified_tls,
        an_expired_client_certificate,
        credentials_that_are_refused,
        a_credential_plugin_that_is_missing,
        a_credential_plugin_that_fails,
        no_credentials,
        a_context_that_is_no_name,
    }
}

fn no_kubeconfig() {
    let home = testbed::run_dir().expect("a folder").join("home-of-nobody");
    std::fs::create_dir_all(&home).expect("a folder");
    let at_home = home.join(".kube/config").display().to_string();
    for subcommand in ["join", "leave"] {
        let output = command(Path::new(""), &[subcommand, "--yes"])
            .env_remove("KUBECONFIG")
            .env("HOME", &home)
            .output()
            .expect("it starts");
        crate::plugin::Run::from(output)
            .failed("KubeconfigNotFound", &[&at_home, "hint: Name one with --kubeconfig FILE or in KUBECONFIG"]);
    }
    // What is listed may be missing, but not all of it.
    run(Path::new("/nowhere/a:/nowhere/b"), &["join", "--yes"])
        .failed("KubeconfigNotFound", &["/nowhere/a, /nowhere/b"]);
}

fn a_kubeconfig_that_was_named_is_missing() {
    let arguments = ["join", "--yes", "--kubeconfig=/nowhere/config"];
    run(testbed::shared().east.kubeconfig(), &arguments)
        .failed("KubeconfigNotFound", &["cannot read the kubeconfig /nowhere/config: No such file"]);
}

fn a_kubeconfig_that_is_no_yaml() {
    let path = file("no-yaml", "apiVersion: v1\nclusters: [\n");
    run(&path, &["join", "--yes"]).failed("InvalidKubeconfig", &[&path.display().to_string(), "kubectl config view"]);
    let list = file("a-list", "- apiVersion: v1\n");
    run(&list, &["join", "--yes"]).failed("InvalidKubeconfig", &[&list.display().to_string()]);
    let folder = testbed::run_dir().expect("a folder");
    run(folder, &["join", "--yes"]).failed("KubeconfigNotFound", &["Is a directory"]);
}

/// A parser that quotes the line it stumbles over must not quote a token.
fn a_broken_kubeconfig_keeps_its_secrets() {
    for (name, user) in [
        ("token-list", "{token: [hunter2]}"),
        ("token-number", "{token: {hunter2: hunter2}}"),
        ("unclosed", "{token: \"hunter2}"),
    ] {
        let path = file(
            name,
            &format!("apiVersion: v1\nkind: Config\ncurrent-context: a\nusers: [{{name: a, user: {user}}}]\n"),
        );
        let run = run(&path, &["join", "--yes"]).failed("InvalidKubeconfig", &[]);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    }
}

fn an_unknown_context() {
    let shared = testbed::shared();
    let both = file("both", &Kubeconfig::merged(&[shared.east.admin(), shared.west.admin()]));
    run(&both, &["join", "--yes", "--context=easst"]).failed(
        "ContextNotFound",
        &["there is no context easst in ", "hint: Choose one with --context NAME: east, west"],
    );
}

fn no_current_context() {
    let path = file(
        "no-current-context",
        &testbed::shared().east.admin().content().replace("\"current-context\": \"east\"", "\"current-context\": \"\""),
    );
    run(&path, &["join", "--yes"]).failed("ContextNotFound", &["has no current context", "--context NAME: east"]);
    let empty = file("empty", "");
    run(&empty, &["join", "--yes"]).failed("ContextNotFound", &["has no current context", "it has none"]);
}

fn a_context_without_its_cluster() {
    let path = file(
        "no-cluster",
        "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: shop, user: a}}]\n",
    );
    run(&path, &["join", "--yes"])
        .failed("InvalidKubeconfig", &["context a names the cluster shop, which does not exist"]);
}

fn a_refused_connection() {
    let east = &testbed::shared().east;
    let url = format!("https://{}", testbed::refused_port());
    let path = east.kubeconfig_with(&url, None).expect("a kubeconfig");
    for subcommand in ["join", "leave"] {
        run(&path, &[subcommand, "--yes"])
            .failed("ConnectionRefused", &["east: ", &url, "was refused", "kubectl cluster-info"]);
    }
    // As Prometheus would see it: another address, and the error says whose it is.
    let account = Account::new(east, "refused");
    account
        .run(&["join", "--api-server", &url])
        .failed("ConnectionRefused", &["as Prometheus would see it (--api-server)", &url]);
    untouched(&account);
}

/// kube-rs by itself would wait for ever.
fn a_silent_server() {
    let east = &testbed::shared().east;
    let silent = Silent::start().expect("a server");
    let path = east.kubeconfig_with(&silent.url(), None).expect("a kubeconfig");
    for subcommand in ["join", "leave"] {
        let started = Instant::now();
        run(&path, &[subcommand, "--yes", "--request-timeout=1s"])
            .failed("Timeout", &["east: ", &silent.url(), "did not answer in time", "--request-timeout"]);
        let took = started.elapsed().as_millis();
        assert!((1000..4000).contains(&took), "{subcommand} took {took} ms");
    }
    let account = Account::new(east, "silent");
    account
        .run(&["join", "--request-timeout=1s", "--api-server", &silent.url()])
        .failed("Timeout", &["as Prometheus would see it (--api-server)"]);
    untouched(&account);
    let help = run(&path, &["join", "--help"]).succeeded().stdout;
    let flag = help.split("--request-timeout").nth(1).expect("the flag");
    assert!(flag.split("--").next().is_some_and(|text| text.contains("[default: 10s]")), "{help}");
}

fn another_clusters_ca() {
    let shared = testbed::shared();
    let path = shared.east.kubeconfig_with(shared.east.url(), Some(shared.west.ca_file())).expect("a kubeconfig");
    for subcommand in ["join", "leave"] {
        run(&path, &[subcommand, "--yes"]).failed(
            "CertificateNotTrusted",
            &["east: ", shared.east.url(), "is not signed by the CA", "--api-server-ca-file", "certificate-authority"],
        );
    }
    let account = Account::new(&shared.east, "wrong-ca");
    let west_ca = shared.west.ca_file().display().to_string();
    account
        .run(&["join", "--api-server-ca-file", &west_ca])
        .failed("CertificateNotTrusted", &["as Prometheus would see it"]);
    untouched(&account);
}

fn a_name_that_is_not_in_the_certificate() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "wrong-name");
    let url = format!("https://localhost:{}", east.address().port());
    let names = ["kubernetes.default.svc", "--api-server-tls-name localhost"];
    account
        .run(&["join", "--api-server", &url, "--api-server-tls-name=wrong.example"])
        .failed("CertificateNameMismatch", &names);
    account.run(&["join", "--api-server-tls-name=wrong.example"]).failed("CertificateNameMismatch", &names);
    untouched(&account);
    // The hint leads somewhere.
    account.join(&["--api-server", &url, "--api-server-tls-name=kubernetes.default.svc", "--dry-run=server"]);
}

fn plain_http() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "http");
    account
        .run(&["join", "--api-server=http://10.0.0.5:8080"])
        .refused_as_usage(&["http://10.0.0.5:8080", "is not https"]);
    account
        .run(&["join", "--api-server=10.0.0.5:6443"])
        .refused_as_usage(&["10.0.0.5:6443", "has no scheme; write https://HOST:PORT"]);
    let path = east.kubeconfig_with("http://127.0.0.1:1", None).expect("a kubeconfig");
    account
        .run_with(&path, &["join"])
        .failed("InvalidKubeconfig", &["context east", "http://127.0.0.1:1", "is not https"]);
    let path = east.kubeconfig_with("127.0.0.1:1", None).expect("a kubeconfig");
    account.run_with(&path, &["join"]).failed("InvalidKubeconfig", &["127.0.0.1:1"]);
    untouched(&account);
}

fn ca_files() {
    let account = Account::new(&testbed::shared().east, "ca-file");
    let join = |path: &Path| account.run(&["join", "--api-server-ca-file", &path.display().to_string()]);
    join(Path::new("/nowhere/ca.crt")).refused_as_usage(&["--api-server-ca-file /nowhere/ca.crt", "No such file"]);
    join(&file("no.crt", "")).refused_as_usage(&["no.crt holds no PEM certificate"]);
    join(&file("garbage.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
        .refused_as_usage(&["garbage.crt holds no PEM certificate"]);
    join(&file("cut.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n")).refused_as_usage(&["cut.crt"]);
    untouched(&account);
}

fn unverified_tls() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "unverified");
    let path = east.write_kubeconfig(&Kubeconfig { trust: Trust::Skip, ..east.admin() }).expect("a kubeconfig");
    for subcommand in ["join", "leave"] {
        account.run_with(&path, &[subcommand]).failed(
            "InsecureKubeconfig",
            &[
                "context east has insecure-skip-tls-verify",
                "hint: Name the cluster's CA with --api-server-ca-file FILE",
            ],
        );
    }
    untouched(&account);
    // With a CA everything is verified, also our own connection.
    let ca = east.ca_file().display().to_string();
    let joined = account.run_with(&path, &["join", "--api-server-ca-file", &ca]).succeeded();
    let pem = std::fs::read_to_string(&ca).expect("a CA");
    assert_eq!(joined.jobs()[0]["tls_config"]["ca"].as_str().map(str::trim), Some(pem.trim()), "{}", joined.stdout);
    assert!(!joined.stdout.contains("insecure_skip_verify"), "{}", joined.stdout);
    let west_ca = testbed::shared().west.ca_file().display().to_string();
    account.run_with(&path, &["leave", "--api-server-ca-file", &west_ca]).failed("CertificateNotTrusted", &[]);
    account.run_with(&path, &["leave", "--api-server-ca-file", &ca]).succeeded();
    untouched(&account);
}

fn an_expired_client_certificate() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "expired-admin");
    let expired = east.client_certificate("admin", &["system:masters"], Validity::expired()).expect("a certificate");
    let path =
        east.write_kubeconfig(&Kubeconfig { user: User::Certificate(expired), ..east.admin() }).expect("a kubeconfig");
    for subcommand in ["join", "leave"] {
        let run = account.run_with(&path, &[subcommand]).failed(
            "ClientCertificateExpired",
            &["east: the client certificate of this context expired on 20", " UTC", "hint: Get a new kubeconfig"],
        );
        assert_eq!(run.stderr.matches("east: ").count(), 1, "{}", run.stderr);
    }
    untouched(&account);
}

fn credentials_that_are_refused() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "unauthorized");
    let path = east.kubeconfig_with_token("nonsense").expect("a kubeconfig");
    for subcommand in ["join", "leave"] {
        let run = account.run_with(&path, &[subcommand]).failed("Unauthorized", &["east: ", "kubectl auth whoami"]);
        assert!(!run.stderr.contains("nonsense"), "{}", run.stderr);
    }
    untouched(&account);
}

fn no_credentials() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "anonymous");
    let path = east.write_kubeconfig(&Kubeconfig { user: User::Nobody, ..east.admin() }).expect("a kubeconfig");
    for subcommand in ["join", "leave"] {
        account.run_with(&path, &[subcommand]).failed("Forbidden", &["system:anonymous"]);
    }
    untouched(&account);
}

fn a_credential_plugin_that_is_missing() {
    let east = &testbed::shared().east;
    let user = User::Exec { command: "no-such-credential-plugin".to_owned(), args: Vec::new() };
    let path = east.write_kubeconfig(&Kubeconfig { user, ..east.admin() }).expect("a kubeconfig");
    for subcommand in ["join", "leave"] {
        run(&path, &[subcommand, "--yes"])
            .failed("CredentialPluginFailed", &["east: ", "no-such-credential-plugin", "kubectl get --raw /version"]);
    }
}

fn a_credential_plugin_that_fails() {
    let east = &testbed::shared().east;
    let script = "echo 'please run: cloud login' >&2; echo secret-of-the-plugin; exit 3";
    let user = User::Exec { command: "/bin/sh".to_owned(), args: vec!["-c".to_owned(), script.to_owned()] };
    let path = east.write_kubeconfig(&Kubeconfig { user, ..east.admin() }).expect("a kubeconfig");
    let run = run(&path, &["join", "--yes"]).failed("CredentialPluginFailed", &["/bin/sh", "please run: cloud login"]);
    assert!(!run.stderr.contains("secret-of-the-plugin"), "{}", run.stderr);
}

/// The context is called what no cluster may be called.
fn a_context_that_is_no_name() {
    let east = &testbed::shared().east;
    let path = file("far-east", &Kubeconfig { context: "東".to_owned(), ..east.admin() }.content());
    run(&path, &["join", "--yes", "--namespace=e2e-far-east"]).refused_as_usage(&["--cluster-name NAME"]);
}
