//! What the user or the kubeconfig got wrong; nothing is ever written.

use super::untouched;
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
        a_silent_server,
        another_clusters_ca,
        a_name_that_is_not_in_the_certificate,
        unverified_tls,
        an_expired_client_certificate,
        a_credential_plugin_that_fails,
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

fn a_refused_connection() {
    let east = &testbed::shared().east;
    let url = format!("https://{}", testbed::refused_port());
    let path = east.kubeconfig_with(&url, None).expect("a kubeconfig");
    for subcommand in ["join", "leave"] {
        run(&path, &[subcommand, "--yes"])
            .failed("ConnectionRefused", &["east: ", &url, "was refused", "kubectl cluster-info"]);
    }
    // As Prometheus would see it: another address, and the error says whose it is.
    let account = Account::new(east, "refused-connection");
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
            &[
                "east: ",
                shared.east.url(),
                "is not signed by the given CA",
                "--api-server-ca-file",
                "certificate-authority",
            ],
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

fn a_credential_plugin_that_fails() {
    let east = &testbed::shared().east;
    let script = "echo 'please run: cloud login' >&2; echo secret-of-the-plugin; exit 3";
    let user = User::Exec { command: "/bin/sh".to_owned(), args: vec!["-c".to_owned(), script.to_owned()] };
    let path = east.write_kubeconfig(&Kubeconfig { user, ..east.admin() }).expect("a kubeconfig");
    let run = run(&path, &["join", "--yes"]).failed("CredentialPluginFailed", &["/bin/sh", "please run: cloud login"]);
    assert!(!run.stderr.contains("secret-of-the-plugin"), "{}", run.stderr);
}
