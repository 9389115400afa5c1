//! `--long-lived-token`: a controller puts it into its Secret, it is good for ever, and leave ends it.

use crate::{
    plugin::{Account, run},
    push::generations,
    raw,
};
use serde_json::{Value, json};
use std::{path::PathBuf, time::Duration};
use testbed::{Prometheus, PrometheusSpec};

trials! {
    long_lived:
    smoke {
        long_lived_token_scrapes_until_leave,
    }
    full {
        rotate_skips_long_lived_tokens,
    }
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);
const JOB: [&str; 3] = ["--long-lived-token", "--jobs=kubelet", "--scrape-interval=1s"];

fn secret(account: &Account) -> Value {
    let [name] = &account.secrets()[..] else { panic!("one Secret: {:?}", account.secrets()) };
    let path = format!("/api/v1/namespaces/{}/secrets/{name}", account.namespace);
    account.cluster.api().get(&path).expect("the API server answers").json()
}

fn long_lived_token_scrapes_until_leave() {
    let account = Account::new(&testbed::shared().east, "long-lived");
    let joined = account.join(&[&JOB[..], &["-v", "9"]].concat());
    for text in [
        "Warning: with --long-lived-token the token never expires and is never rotated",
        "token that never expires",
        "9 other requests refused by the fence",
    ] {
        assert!(joined.stderr.contains(text), "no {text:?}: {}", joined.stderr);
    }
    let token = joined.token();
    let signature = token.rsplit('.').next().expect("a JWT");
    assert!(!joined.stderr.contains(signature), "the token was logged");
    assert!(joined.stdout.contains(", valid until its Secret is deleted: "), "{}", joined.stdout);
    let secret = secret(&account);
    assert_eq!(secret["type"], "kubernetes.io/service-account-token");
    assert_eq!(secret["metadata"]["annotations"]["prom-federate.io/expires"], "never");
    let spec = PrometheusSpec::new("scrape_config_files: [a.scrape.yml]\n").file("a.scrape.yml", joined.stdout.clone());
    let prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
    prometheus.wait_for_targets(2, SCRAPED_WITHIN).expect("both nodes are up");
    // A join of another kind leaves it alone.
    account.join(&JOB[1..]);
    assert_eq!(raw::request(account.cluster, &token, "GET", "/version").0, 200);

    let left = account.run(&["leave"]).succeeded();
    assert!(left.stderr.contains("a token that worked before now gets 401 (after "), "{}", left.stderr);
    assert_eq!(raw::request(account.cluster, &token, "GET", "/version").0, 401);
    assert_eq!(account.objects(), Vec::<String>::new());
}

fn rotate_skips_long_lived_tokens() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "long-lived-push");
    let prometheus = Prometheus::start("global: {scrape_interval: 15s}\n").expect("Prometheus starts");
    let dir = prometheus.dir().display().to_string();
    let joined = account.join(&[&JOB[..], &["-p", &dir, "--output=json"]].concat());
    let report: Value = serde_json::from_str(&joined.stdout).expect("JSON");
    let told = &report["destinations"][0];
    assert_eq!((told["targets"].as_u64(), told["targetsUp"].as_u64()), (Some(2), Some(2)), "{told}");
    assert_eq!(told["token"], json!({ "boundSecret": account.secrets()[0] }), "it has no life to tell of");
    let ours = prometheus.dir().join("prom-federate");
    let rules = std::fs::read_to_string(ours.join("east.rules.yml")).expect("rules");
    assert!(!rules.contains("PromFederateTokenExpiring"), "{rules}");

    let before = secret(&account)["metadata"]["uid"].clone();
    for arguments in [&["rotate"][..], &["rotate", "--now"], &["rotate", "east", "--now"]] {
        let rotated = run(east.kubeconfig(), &[arguments, &["-p", &dir]].concat()).succeeded();
        assert!(rotated.stderr.contains("east  not rotated: its token never expires"), "{}", rotated.stderr);
    }
    assert_eq!(secret(&account)["metadata"]["uid"], before);

    // Joining again replaces it, and ends the one before.
    account.join(&[&JOB[..], &["-p", &dir]].concat());
    assert_ne!(secret(&account)["metadata"]["uid"], before);
    let token = |generation: &PathBuf| std::fs::read_to_string(generation.join("token")).ok();
    let tokens: Vec<String> = generations(prometheus.dir(), "east").iter().filter_map(token).collect();
    let [token] = &tokens[..] else { panic!("one generation: {}", tokens.len()) };
    assert_eq!(raw::request(east, token, "GET", "/version").0, 200);
    run(east.kubeconfig(), &["leave", "east", "--yes", "-p", &dir]).succeeded();
    assert_eq!(raw::request(east, token, "GET", "/version").0, 401);
}
