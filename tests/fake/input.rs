//! What the user or the kubeconfig got wrong; nothing is ever written.

use crate::{World, assert_untouched};
use serde_json::json;

#[test]
fn missing_kubeconfig_is_named() {
    let world = World::new();
    world
        .with("/nowhere/config", &["join"])
        .failed("KubeconfigNotFound", &["cannot read the kubeconfig /nowhere/config: No such file"]);
    let folder = world.path("").display().to_string();
    world.with(&folder, &["join"]).failed("KubeconfigNotFound", &["Is a directory"]);
}

#[test]
fn kubeconfig_that_is_no_yaml_is_refused() {
    let world = World::new();
    for content in ["apiVersion: v1\nclusters: [\n", "- apiVersion: v1\n"] {
        let path = world.file("broken", content);
        world.with(&path, &["join"]).failed("InvalidKubeconfig", &[&path, "kubectl config view"]);
    }
}

/// `kubectl config view` shows a doubled key once.
#[test]
fn doubled_key_of_a_kubeconfig_is_named_with_both_lines() {
    let world = World::new();
    let path = world.file("doubled", "kind: Config\nusers:\n- name: a\n  user:\n    token: a\n    token: hunter2\n");
    let says = "the key token is there twice, on lines 5 and 6";
    let run =
        world.with(&path, &["join"]).failed("InvalidKubeconfig", &[&path, says, "hint: kubectl takes the last one"]);
    assert!(!run.stderr.contains("hunter2") && !run.stderr.contains("config view"), "{}", run.stderr);
}

/// A parser that quotes the line it stumbles over must not quote a token.
#[test]
fn broken_kubeconfig_keeps_its_secrets() {
    let world = World::new();
    for user in ["{token: [hunter2]}", "{token: {hunter2: hunter2}}", "{token: \"hunter2}"] {
        let users = format!("users: [{{name: a, user: {user}}}]\n");
        let path = world.file("broken", &format!("apiVersion: v1\nkind: Config\ncurrent-context: a\n{users}"));
        let run = world.with(&path, &["join"]).failed("InvalidKubeconfig", &[]);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    }
}

#[test]
fn unknown_context_lists_the_known_ones() {
    let world = World::of(&["east", "west"]);
    world.run(&["join", "--context=easst"]).failed(
        "ContextNotFound",
        &["there is no context easst in ", "hint: Choose one with --context NAME: east, west"],
    );
    let path = world.kubeconfig("no-current-context", "", &json!({ "token": "admin" }));
    world.with(&path, &["join"]).failed("ContextNotFound", &["has no current context", "--context NAME: east"]);
    let empty = world.file("empty", "");
    world.with(&empty, &["join"]).failed("ContextNotFound", &["has no current context", "it has no contexts"]);
}

#[test]
fn context_without_its_cluster_is_refused() {
    let world = World::new();
    let contexts = "contexts: [{name: a, context: {cluster: shop, user: a}}]\n";
    let path = world.file("no-cluster", &format!("apiVersion: v1\nkind: Config\ncurrent-context: a\n{contexts}"));
    let says = "context a names the cluster shop, which does not exist";
    world.with(&path, &["join"]).failed("InvalidKubeconfig", &[says]);
}

/// As Rancher wrote it for the contexts of single nodes. kubectl asks for a user name.
#[test]
fn context_without_its_user_is_refused() {
    let world = World::new();
    let config = std::fs::read_to_string(world.path("config")).expect("a kubeconfig");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    config["contexts"][0]["context"]["user"] = "ec2-node-1".into();
    let path = world.file("no-user", &config.to_string());
    let says = "context east names the user ec2-node-1, which does not exist";
    world.with(&path, &["join", "--yes"]).failed("InvalidKubeconfig", &[says]);
}

/// As Talos wrote it.
#[test]
fn context_without_a_name_is_the_current_one() {
    let world = World::new();
    let config = std::fs::read_to_string(world.path("config")).expect("a kubeconfig");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    config["contexts"][0]["name"] = "".into();
    config["current-context"] = "".into();
    let path = world.file("no-name", &config.to_string());
    let run = world.with(&path, &["join", "--yes"]);
    assert!(run.code == Some(2) && run.stderr.contains("--cluster-name NAME"), "{}", run.stderr);
    let run = world.with(&path, &["join", "--yes", "--cluster-name=talos"]).succeeded();
    assert_eq!(run.jobs()[0]["job_name"], "prom-federate/talos/cadvisor");
    world.with(&path, &["leave", "--yes"]).succeeded();
}

/// No cluster can be called what the context is called.
#[test]
fn context_that_is_no_cluster_name_needs_one() {
    let world = World::new();
    let config = std::fs::read_to_string(world.path("config")).expect("a kubeconfig");
    let path = world.file("far-east", &config.replace("\"east\"", "\"東\""));
    let run = world.with(&path, &["join", "--yes"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.starts_with("error (InvalidArgument): "), "{}", run.stderr);
    assert!(run.stderr.contains("--cluster-name NAME"), "{}", run.stderr);
    assert_untouched(&world);
}

/// Two clusters under one label would be one cluster in every query.
#[test]
fn contexts_of_two_clusters_that_yield_one_name_need_another() {
    let world = World::of(&["east", "west"]);
    let config = std::fs::read_to_string(world.path("config")).expect("a kubeconfig");
    let named = |east: &str, west: &str| {
        let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
        for (at, name) in [east, west].iter().enumerate() {
            config["contexts"][at]["name"] = (*name).into();
        }
        world.file("namesakes", &config.to_string())
    };
    for (east, west, says) in [
        (
            "eu/shop",
            "us/shop",
            "the contexts eu/shop and us/shop lead to two clusters, but yield the same cluster name shop",
        ),
        ("East", "east", "yield the same cluster name East, except for case"),
    ] {
        let path = named(east, west);
        for words in [&["join", "--context", east, "--yes"][..], &["check", "--context", east]] {
            let run = world.with(&path, words);
            assert_eq!(run.code, Some(2), "{}", run.stderr);
            assert!(run.stderr.contains(says) && run.stderr.contains("--cluster-name NAME"), "{}", run.stderr);
        }
    }
    assert_untouched(&world);
    let path = named("eu/shop", "us/shop");
    let run = world.with(&path, &["join", "--context=eu/shop", "--cluster-name=eu-shop", "--yes"]).succeeded();
    assert_eq!(run.jobs()[0]["job_name"], "prom-federate/eu-shop/cadvisor");
}

#[test]
fn refused_connection_names_the_address() {
    let world = World::new();
    let config = std::fs::read_to_string(world.path("config")).expect("a kubeconfig");
    let path = world.file("elsewhere", &config.replace("east.example:6443", "nowhere.example:6443"));
    for command in ["join", "leave"] {
        world.with(&path, &[command, "--yes"]).failed(
            "ConnectionRefused",
            &["east: ", "https://nowhere.example:6443", "was refused", "kubectl cluster-info"],
        );
    }
    // As Prometheus would see it: another address, and the error says whose it is.
    world
        .run(&["join", "--api-server=https://nowhere.example:6443"])
        .failed("ConnectionRefused", &["as Prometheus would see it (--api-server)", "https://nowhere.example:6443"]);
    assert_untouched(&world);
}

#[test]
fn server_without_tls_is_refused() {
    let world = World::new();
    let config = std::fs::read_to_string(world.path("config")).expect("a kubeconfig");
    for (server, says) in [
        ("http://127.0.0.1:1", &["context east", "http://127.0.0.1:1", "is not https"][..]),
        ("127.0.0.1:1", &["127.0.0.1:1"]),
    ] {
        let path = world.file("plain", &config.replace("https://east.example:6443", server));
        world.with(&path, &["join", "--yes"]).failed("InvalidKubeconfig", says);
    }
    assert_untouched(&world);
}

#[test]
fn unverified_tls_is_refused() {
    let world = World::new();
    let config = std::fs::read_to_string(world.path("config")).expect("a kubeconfig");
    let path =
        world.file("unverified", &config.replace("{\"server\"", "{\"insecure-skip-tls-verify\":true,\"server\""));
    for command in ["join", "leave"] {
        world.with(&path, &[command, "--yes"]).failed(
            "InsecureKubeconfig",
            &[
                "context east has insecure-skip-tls-verify",
                "hint: Name the cluster's CA with --api-server-ca-file FILE",
            ],
        );
    }
    assert_untouched(&world);
}

#[test]
fn ca_file_that_is_none_is_refused() {
    let world = World::new();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (path, says) in [
        ("/nowhere/ca.crt".to_owned(), "--api-server-ca-file /nowhere/ca.crt"),
        (world.file("no.crt", ""), "no.crt contains no PEM certificate"),
        (world.file("garbage.crt", garbage), "garbage.crt contains no PEM certificate"),
        (world.file("cut.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n"), "cut.crt"),
    ] {
        let run = world.run(&["join", "--api-server-ca-file", &path]);
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(says), "{}", run.stderr);
    }
    assert_untouched(&world);
}

#[test]
fn refused_credentials_are_not_repeated() {
    let world = World::new();
    for (user, reason, says) in [
        (json!({ "token": "nonsense" }), "Unauthorized", "kubectl auth whoami"),
        (json!({}), "Forbidden", "system:anonymous"),
    ] {
        let path = world.kubeconfig("other-user", "east", &user);
        for command in ["join", "leave"] {
            let run = world.with(&path, &[command, "--yes"]).failed(reason, &["east: ", says]);
            assert!(!run.stderr.contains("nonsense"), "{}", run.stderr);
        }
    }
    assert_untouched(&world);
}

#[test]
fn questions_need_a_terminal() {
    let world = World::new();
    world.asked(&["join", "--interactive"]).failed(
        "ConfirmationNeeded",
        &["join --interactive asks questions", "not a terminal", "kubectl prom-federate join --help"],
    );
    assert_untouched(&world);
}
