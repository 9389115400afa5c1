//! A directory of the real vmagent: joined, renewed, left.

use crate::{
    plugin::{Account, Run, command},
    trials,
};
use std::{fs, path::Path, time::Duration};
use testbed::Vmagent;

trials!(vmagent: jobs_of_a_vmagent_are_kept_alive_and_left, what_vmagent_refuses_is_taken_back);

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);

fn run(account: &Account, arguments: &[&str]) -> Run {
    command(account.cluster.kubeconfig(), arguments).output().expect("the plugin starts").into()
}

fn join(account: &Account, config: &str) -> Run {
    let namespace = account.namespace.as_str();
    run(account, &["join", "-p", config, "--namespace", namespace, "--scrape-interval=1s", "--yes"])
}

fn fragment(dir: &Path) -> String {
    fs::read_to_string(dir.join("prom-federate/east.scrape.yml")).expect("a fragment")
}

fn jobs_of_a_vmagent_are_kept_alive_and_left() {
    let east = Account::new(&testbed::shared().east, "vmagent");
    let vmagent = Vmagent::start("# Mine.\nglobal:\n  scrape_interval: 5s\n").expect("vmagent starts");
    let config = vmagent.dir().join("vmagent.yml").display().to_string();
    let joined = join(&east, &config).succeeded();
    for said in ["read by vmagent", "checked by vmagent -dryRun", "4 of 4 targets up"] {
        assert!(joined.stderr.contains(said), "no {said:?}: {}", joined.stderr);
    }
    let targets = vmagent.wait_for_targets(4, SCRAPED_WITHIN).expect("both nodes are up, twice");
    assert!(
        targets
            .iter()
            .all(|target| target.label("cluster") == "east" && target.label("node") == target.label("instance"))
    );
    let main = fs::read_to_string(&config).expect("the main configuration");
    assert!(main.starts_with("# Mine.\n") && !main.contains("rule_files"), "vmagent knows no rules: {main}");
    assert!(!vmagent.dir().join("prom-federate/east.rules.yml").exists());
    let first = fragment(vmagent.dir());
    let absolute = format!("credentials_file: \"{}/prom-federate/east/", vmagent.dir().display());
    assert!(first.contains(&absolute), "paths are absolute: {first}");

    let rotated = run(&east, &["rotate", "--now", "-p", &config]).succeeded();
    assert!(rotated.stderr.contains("4 of 4 targets up"), "{}", rotated.stderr);
    assert_ne!(fragment(vmagent.dir()), first, "a new token is a new path");
    assert_eq!(east.secrets().len(), 1);

    run(&east, &["leave", "east", "-p", &config, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
    let gone = testbed::until(SCRAPED_WITHIN, || vmagent.targets().ok().filter(Vec::is_empty));
    assert!(gone.is_some(), "{:?}", vmagent.targets());
    assert!(!vmagent.dir().join("prom-federate/east").exists());
}

fn what_vmagent_refuses_is_taken_back() {
    let east = Account::new(&testbed::shared().east, "vmagent-refuses");
    let vmagent = Vmagent::start("scrape_config_files: [prom-federate/*.scrape.yml]\n").expect("vmagent starts");
    // A fragment of somebody else's that no vmagent takes: it would stop this and every later reload.
    vmagent.write("prom-federate/other.scrape.yml", "scrape_configs: []\n").expect("a file");
    let config = vmagent.dir().join("vmagent.yml").display().to_string();
    let run = join(&east, &config);
    run.failed("ConfigRefused", &["vmagent -dryRun refuses", "Nothing was put in place"]);
    assert!(!vmagent.dir().join("prom-federate/east.scrape.yml").exists());
    // A namespace takes a moment.
    let gone = testbed::until(SCRAPED_WITHIN, || east.objects().is_empty().then_some(()));
    assert!(gone.is_some(), "what the run created is deleted again: {:?}", east.objects());
}
