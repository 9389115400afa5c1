//! A directory of the real vmagent, new, old, or a single-node `VictoriaMetrics`: joined, renewed, left.

use crate::plugin::{Account, Run, command};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use testbed::{Scraper, Vmagent, VmagentSpec};

trials! {
    vmagent:
    smoke {
        jobs_of_vmagent_are_rotated_and_removed,
    }
    full {
        rejected_jobs_of_vmagent_are_undone,
        vmagent_by_environment_on_a_file_of_prometheus_is_joined,
        an_old_vmagent_scrapes_what_the_new_one_does,
        old_vmagent_without_reload_metrics_is_not_trusted,
        a_single_node_victoriametrics_is_a_vmagent_too,
    }
}

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

fn current(dir: &Path) -> PathBuf {
    fs::read_link(dir.join("prom-federate/east/current")).expect("a link")
}

fn jobs_of_vmagent_are_rotated_and_removed() {
    let east = Account::new(&testbed::shared().east, "vmagent");
    let vmagent = Vmagent::start("# Mine.\nglobal:\n  scrape_interval: 5s\n").expect("vmagent starts");
    let config = vmagent.dir().join("vmagent.yml").display().to_string();
    let joined = join(&east, &config).succeeded();
    for said in ["read by vmagent", "checked by vmagent -promscrape.config.dryRun", "4 of 4 targets up"] {
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

    let old = current(vmagent.dir());
    let rotated = run(&east, &["rotate", "--now", "-p", &config]).succeeded();
    assert!(rotated.stderr.contains("4 of 4 targets up"), "{}", rotated.stderr);
    assert_eq!(fragment(vmagent.dir()), first, "the jobs name the link");
    assert_ne!(current(vmagent.dir()), old, "which leads to the new token");
    assert_eq!(east.secrets().len(), 1);

    run(&east, &["leave", "east", "-p", &config, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
    let gone = testbed::until(SCRAPED_WITHIN, || vmagent.targets().ok().filter(Vec::is_empty));
    assert!(gone.is_some(), "{:?}", vmagent.targets());
    assert!(!vmagent.dir().join("prom-federate/east").exists());
}

fn rejected_jobs_of_vmagent_are_undone() {
    let east = Account::new(&testbed::shared().east, "vmagent-refuses");
    let vmagent = Vmagent::start("scrape_config_files: [prom-federate/*.scrape.yml]\n").expect("vmagent starts");
    // A foreign fragment that vmagent rejects: it would stop this and every later reload.
    vmagent.write("prom-federate/other.scrape.yml", "scrape_configs: []\n").expect("a file");
    let config = vmagent.dir().join("vmagent.yml").display().to_string();
    let run = join(&east, &config);
    run.failed("ConfigRefused", &["vmagent -promscrape.config.dryRun rejects", "Nothing was put in place"]);
    assert!(!vmagent.dir().join("prom-federate/east.scrape.yml").exists());
    // A namespace takes a moment.
    let gone = testbed::until(SCRAPED_WITHIN, || east.objects().is_empty().then_some(()));
    assert!(gone.is_some(), "what the run created is deleted again: {:?}", east.objects());
}

/// Without its own flag the dry run would refuse the keys that vmagent does not know.
fn vmagent_by_environment_on_a_file_of_prometheus_is_joined() {
    let east = Account::new(&testbed::shared().east, "vmagent-environment");
    let of_prometheus =
        "global: {scrape_interval: 5s, evaluation_interval: 5s}\nrule_files: [rules/*.yml]\nalerting: {}\n";
    let spec = VmagentSpec::new(of_prometheus).by_environment("VM_").flag("-promscrape.config.strictParse=false");
    let vmagent = start(&spec);
    let config = vmagent.dir().join("vmagent.yml").display().to_string();
    let joined = join(&east, &config).succeeded();
    for said in ["read by vmagent", "checked by vmagent -promscrape.config.dryRun", "4 of 4 targets up"] {
        assert!(joined.stderr.contains(said), "no {said:?}: {}", joined.stderr);
    }
}

/// A release of 2022, and a single-node `VictoriaMetrics` that keeps what it sends: what is stored is what counts.
fn an_old_vmagent_scrapes_what_the_new_one_does() {
    let east = Account::new(&testbed::shared().east, "vmagent-old");
    let storage = start(&VmagentSpec::new("scrape_configs: []\n").scraper(Scraper::SingleNode));
    let vmagent = start(
        &VmagentSpec::new("global: {scrape_interval: 5s}\n")
            .scraper(Scraper::Debian)
            .remote_write(storage.remote_write()),
    );
    let config = vmagent.dir().join("vmagent.yml").display().to_string();
    let joined = join(&east, &config).succeeded();
    for said in ["read by vmagent", "checked by vmagent", "4 of 4 targets up"] {
        assert!(joined.stderr.contains(said), "no {said:?}: {}", joined.stderr);
    }
    is_stored(&storage);
    let first = fragment(vmagent.dir());
    field_is_refused(&vmagent, &first);

    let rotated = run(&east, &["rotate", "--now", "-p", &config]).succeeded();
    assert!(rotated.stderr.contains("4 of 4 targets up"), "{}", rotated.stderr);
    assert_ne!(fragment(vmagent.dir()), first, "a new token is a new path");
    assert_eq!(east.secrets().len(), 1);

    run(&east, &["leave", "east", "-p", &config, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
    let gone = testbed::until(SCRAPED_WITHIN, || storage.query("up").ok().filter(Vec::is_empty));
    assert!(gone.is_some(), "its targets are marked stale: {:?}", storage.query("up"));
}

/// The field that no delivery to a vmagent has is why: this release ends on it.
fn field_is_refused(vmagent: &Vmagent, fragment: &str) {
    let with = fragment.replace("  - role: node\n", "  - role: node\n    follow_redirects: false\n");
    assert_ne!(with, fragment, "there is a discovery: {fragment}");
    let dry_run = |fragment: &str| {
        vmagent.write("other/x.yml", fragment).expect("a file");
        vmagent.write("other.yml", "scrape_config_files: [other/*.yml]\n").expect("a file");
        let mut command = Command::new(vmagent.program());
        command.args(["-promscrape.config.dryRun", "-promscrape.config=other.yml"]).current_dir(vmagent.dir());
        Run::from(command.output().expect("vmagent starts"))
    };
    assert_eq!(dry_run(fragment).code, Some(0));
    let refused = dry_run(&with);
    assert_ne!(refused.code, Some(0), "this release is not as old as the test wants it: {}", refused.stderr);
    assert!(refused.stderr.contains("field follow_redirects not found"), "{}", refused.stderr);
}

/// It counts the changes that it took and says nothing of one that it refuses. Nor may it be asked beforehand here:
/// others could have changed the program. A rotation that is believed to have worked ends the token that is in use.
fn old_vmagent_without_reload_metrics_is_not_trusted() {
    let east = Account::new(&testbed::shared().east, "vmagent-silent");
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("vmagent");
    fs::copy("/usr/bin/vmagent", &program).expect("apt-get install --yes victoria-metrics");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o775)).expect("a mode");
    let vmagent = start(&VmagentSpec::new("global: {scrape_interval: 5s}\n").scraper(Scraper::Debian).program(program));
    let config = vmagent.dir().join("vmagent.yml").display().to_string();
    let joined = join(&east, &config).succeeded();
    assert!(!joined.stderr.contains("checked by"), "{}", joined.stderr);
    let (first, secrets) = (fragment(vmagent.dir()), east.secrets());

    let other = "prom-federate/other.scrape.yml";
    vmagent.write(other, "scrape_configs: []\n").expect("a file");
    let rotate = || run(&east, &["rotate", "--now", "-p", &config]);
    rotate().failed("ReloadFailed", &["has not read its configuration again within"]);
    assert_eq!(fragment(vmagent.dir()), first);
    assert_eq!(east.secrets(), secrets, "the token in use stays, the new one goes");
    vmagent.wait_for_targets(4, SCRAPED_WITHIN).expect("it scrapes as before");

    fs::remove_file(vmagent.dir().join(other)).expect("a file");
    rotate().succeeded();
    assert!(!east.secrets().iter().any(|secret| secrets.contains(secret)), "{:?}", east.secrets());
}

/// It scrapes by itself, and takes the alerts of `rules` as vmalert reads them.
fn a_single_node_victoriametrics_is_a_vmagent_too() {
    let east = Account::new(&testbed::shared().east, "vmagent-single");
    let single = start(&VmagentSpec::new("global: {scrape_interval: 5s}\n").scraper(Scraper::SingleNode));
    let config = single.dir().join("vmagent.yml").display().to_string();
    let joined = join(&east, &config).succeeded();
    for said in ["read by vmagent", "checked by vmagent", "4 of 4 targets up"] {
        assert!(joined.stderr.contains(said), "no {said:?}: {}", joined.stderr);
    }
    is_stored(&single);

    let rules = run(&east, &["rules", "-p", &config]).succeeded().stdout;
    assert!(rules.contains("PromFederateTokenExpiring") && rules.contains("PromFederateClusterAbsent"), "{rules}");
    single.write("rules.yml", &rules).expect("a file");
    let vmalert = single.program().with_file_name("vmalert");
    let checked = Command::new(vmalert).args(["-dryRun", "-rule=rules.yml"]).current_dir(single.dir()).output();
    Run::from(checked.expect("vmalert starts")).succeeded();

    run(&east, &["leave", "east", "-p", &config, "--yes"]).succeeded();
    assert_eq!(east.objects(), Vec::<String>::new());
}

fn start(spec: &VmagentSpec) -> Vmagent {
    Vmagent::start_with(spec).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Both pages of both nodes, and every one of them up.
fn is_stored(storage: &Vmagent) {
    let stored = || {
        let series = storage.query("up").ok()?;
        let ours = |(labels, value): &(serde_json::Value, String)| labels["cluster"] == "east" && value == "1";
        (series.len() == 4 && series.iter().all(ours)).then_some(())
    };
    let seen = testbed::until(SCRAPED_WITHIN, stored);
    assert!(seen.is_some(), "not all of it is stored: {:?}", storage.query("up"));
}
