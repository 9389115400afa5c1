//! API servers that people have, each joined as far as it allows and scraped by the real Prometheus with the printed jobs.

use crate::plugin::{Account, Run};
use std::time::Duration;
use testbed::{ClusterSpec, Kubernetes, Prometheus, PrometheusSpec, special};

trials! {
    servers:
    full {
        tokens_end_after_a_day,
        no_policy_api,
        policies_that_are_not_enforced,
        kubernetes_1_29,
    }
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);
const UNFENCED: [&str; 2] = ["--fence=off", "--scrape-interval=1s"];

/// Both jobs of its one node.
fn scraped(joined: &Run) {
    let printed = joined.stdout.clone();
    let spec = PrometheusSpec::new("scrape_config_files: [a.scrape.yml]\n").file("a.scrape.yml", printed);
    let prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
    prometheus.wait_for_targets(2, SCRAPED_WITHIN).unwrap_or_else(|error| panic!("{error:#}\n{}", prometheus.log()));
}

/// Nothing stays behind, and the token is dead.
fn left(account: &Account) {
    let left = account.run(&["leave"]).succeeded();
    assert!(left.stderr.contains("a token that worked before now gets 401 (after "), "{}", left.stderr);
    assert_eq!(account.objects(), Vec::<String>::new());
}

fn tokens_end_after_a_day() {
    let day = Duration::from_secs(24 * 3600);
    let account = Account::new(special("day", || ClusterSpec::new("day").token_cap(day)), "day");
    let joined = account.join(&["--scrape-interval=1s"]);
    assert!(joined.stderr.contains("7d asked, 24h granted by this server"), "{}", joined.stderr);
    scraped(&joined);
    left(&account);
}

fn no_policy_api() {
    let account = Account::new(special("old", || ClusterSpec::new("old").without_policies()), "old");
    account.run(&["join"]).failed("PolicyApiMissing", &["hint: To join without a fence: --fence=off; but "]);
    scraped(&account.join(&UNFENCED));
    left(&account);
}

fn policies_that_are_not_enforced() {
    let cluster = special("ignoring", || ClusterSpec::new("ignoring").policies_ignored());
    Account::new(cluster, "unenforced").run(&["join"]).failed("FenceNotEnforced", &["--fence=off"]);
    // The namespace of the one that was undone is still ending.
    let account = Account::new(cluster, "unfenced");
    scraped(&account.join(&UNFENCED));
    left(&account);
}

fn kubernetes_1_29() {
    let account = Account::new(special("v1-29", || ClusterSpec::new("v1-29").kubernetes(Kubernetes::V1_29)), "v1-29");
    account.run(&["join"]).failed(
        "PolicyApiMissing",
        &["it needs Kubernetes 1.30 or later", "hint: To join without a fence: --fence=off; but "],
    );
    let joined = account.join(&UNFENCED);
    assert!(joined.stderr.contains("Kubernetes v1.29.6"), "{}", joined.stderr);
    scraped(&joined);
    left(&account);
}
