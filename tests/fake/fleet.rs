//! Commands for several contexts: which are meant, one question, each cluster for itself, each destination once.

use crate::{Run, World, prometheus_folder, refusal};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use testbed::{Action, Rule};

/// A folder of a Prometheus that does not run.
struct Destination(TempDir);

impl Destination {
    fn new() -> Self {
        Self(prometheus_folder())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// A join to it.
    fn join<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let to = ["join", "-p", self.path().to_str().expect("UTF-8"), "--owner=0:0", "--reload=none"];
        [&to[..], more].concat()
    }

    /// Another command about it.
    fn with<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [words, &["-p", self.path().to_str().expect("UTF-8")]].concat()
    }

    /// The files of records.
    fn records(&self) -> Vec<PathBuf> {
        let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let clusters = folders(&self.path().join("prom-federate"));
        clusters
            .flat_map(|cluster| folders(&cluster))
            .map(|one| one.join("cluster.json"))
            .filter(|one| one.exists())
            .collect()
    }

    /// The labels that have jobs.
    fn labels(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path().join("prom-federate")) else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut labels: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(".scrape.yml")?.to_owned())).collect();
        labels.sort();
        labels
    }
}

/// The cells of the table below its head.
fn rows(run: &Run) -> Vec<Vec<String>> {
    let rows = run.stdout.lines().skip(1);
    rows.map(|row| row.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect())
        .collect()
}

/// Result by context.
fn results(run: &Run) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let items = report["items"].as_array().expect("items").iter();
    let mut results: Vec<_> = items.map(|item| (text(&item["context"]), text(&item["result"]))).collect();
    results.sort();
    results
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

#[test]
fn contexts_of_patterns_are_joined_with_one_question() {
    let world = World::of(&["prod-a", "prod-b", "prod-old", "test"]).answering(true);
    let to = Destination::new();
    let run = world.asked(&to.join(&["--context", "prod-*", "--context=^prod-old"])).succeeded();
    assert_eq!(to.labels(), ["prod-a", "prod-b"]);
    for once in ["  namespace: 2 will be created\n", "prometheus.yml will be edited", ", read by "] {
        assert_eq!(run.stderr.matches(once).count(), 1, "{once}: {}", run.stderr);
    }
    for line in ["  prod-a: serviceaccount/prometheus created\n", "  ✔ prod-b: proven with that token: "] {
        assert!(run.stderr.contains(line), "no {line:?}: {}", run.stderr);
    }
    let rows = rows(&run);
    assert_eq!(
        rows.iter().map(|row| &row[..3]).collect::<Vec<_>>(),
        [["prod-a", "prod-a", "joined"], ["prod-b", "prod-b", "joined"]]
    );
    for name in ["prod-old", "test"] {
        assert_eq!(world.cluster(name).ours(), Vec::<String>::new());
    }
}

#[test]
fn next_run_goes_on_with_what_is_missing() {
    let world = World::of(&["east", "west"]);
    let to = Destination::new();
    world.cluster("west").rule(Rule::new("POST", "/token", refusal_of_tokens()));
    let run = world.run(&to.join(&["--all-contexts", "-o", "json"]));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert_eq!(results(&run), pairs(&[("east", "joined"), ("west", "failed")]));
    assert!(run.stderr.contains("error (JoinFailed): 1 of 2 contexts are not joined"), "{}", run.stderr);
    assert_eq!(world.cluster("west").ours(), Vec::<String>::new(), "it is undone: {}", run.stderr);
    assert_eq!(to.labels(), ["east"]);

    world.cluster("west").clear_rules();
    let before = world.cluster("east").writes().len();
    let run = world.run(&to.join(&["--all-contexts", "-o", "json"])).succeeded();
    assert_eq!(results(&run), pairs(&[("east", "unchanged"), ("west", "joined")]));
    assert_eq!(world.cluster("east").writes().len(), before, "nothing is written to a cluster that is joined");
    assert_eq!(to.labels(), ["east", "west"]);
    // With another request it is joined again.
    let run = world.run(&to.join(&["--all-contexts", "-o", "json", "--jobs=kubelet"])).succeeded();
    assert_eq!(results(&run), pairs(&[("east", "joined"), ("west", "joined")]));
}

fn refusal_of_tokens() -> Action {
    refusal(500, "InternalError", "no tokens today")
}

#[test]
fn cluster_that_fails_costs_no_other() {
    let refused = refusal(403, "Forbidden", "not for you");
    for (rule, reason) in [
        (Rule::new("*", "/", Action::Close), "ConnectionFailed"),
        (Rule::new("*", "/", Action::Hang), "Timeout"),
        (Rule::new("*", "/", refused), "Forbidden"),
        (Rule::new("PATCH", "/clusterrolebindings/", Action::Hang), "Timeout"),
        (Rule::new("*", "/proxy/", Action::Text { status: 200, text: "<html>".to_owned() }), ""),
    ] {
        let world = World::of(&["bad", "east", "west"]);
        let to = Destination::new();
        world.cluster("bad").rule(rule);
        let run = world.run(&to.join(&["--context=*"]));
        assert_eq!(run.code, Some(1), "{reason}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("error ({reason}")), "{reason}: {}", run.stderr);
        assert_eq!(to.labels(), ["east", "west"], "{reason}: {}", run.stderr);
        let row = run.stdout.lines().find(|line| line.contains("failed")).expect("a row");
        let next = row.split_once("kubectl prom-federate join ").expect("a command").1;
        let words = ["--context bad", "--owner 0:0", "--reload none", "-p "];
        assert!(words.into_iter().all(|words| next.contains(words)), "{row}");
        world.cluster("bad").clear_rules();
        let left = world.cluster("bad").secrets();
        assert_eq!(left, Vec::<String>::new(), "{reason}: {}", run.stderr);
    }
}

/// A kubeconfig with these contexts, each for a cluster and all with the administrator's token.
fn kubeconfig(world: &World, contexts: &[(&str, &str)]) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": contexts[0].0,
        "clusters": contexts.iter().map(|(name, cluster)| json!({
            "name": name, "cluster": { "server": format!("https://{cluster}.example:6443") },
        })).collect::<Vec<_>>(),
        "users": [{ "name": "admin", "user": { "token": "admin" } }],
        "contexts": contexts.iter().map(|(name, _)| json!({
            "name": name, "context": { "cluster": name, "user": "admin" },
        })).collect::<Vec<_>>(),
    });
    world.file("contexts", &config.to_string())
}

#[test]
fn contexts_of_one_cluster_are_used_once() {
    let world = World::of(&["east", "west"]);
    let to = Destination::new();
    let config = kubeconfig(&world, &[("admin", "east"), ("viewer", "east"), ("west", "west")]);
    let run = world.with(&config, &to.join(&["--all-contexts", "-o=json", "--yes"])).succeeded();
    assert_eq!(results(&run), pairs(&[("admin", "joined"), ("viewer", "same cluster as admin"), ("west", "joined")]));
    assert!(run.stderr.contains("Warning: viewer: same cluster as admin, which is used"), "{}", run.stderr);
    assert_eq!(world.cluster("east").secrets().len(), 1);
}

#[test]
fn two_clusters_with_one_label_stop_everything_before_a_write() {
    let world = World::of(&["east", "west"]);
    let to = Destination::new();
    let config = kubeconfig(&world, &[("team a", "east"), ("team-a", "west")]);
    let run = world.with(&config, &to.join(&["--all-contexts", "--yes"]));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("yield the same cluster name team-a"), "{}", run.stderr);
    for name in ["east", "west"] {
        assert_eq!(world.cluster(name).writes(), Vec::<String>::new());
    }
    let list = world.file("list", "# one and the other\none=team a\ntwo=team-a\n");
    world.with(&config, &to.join(&["--contexts-from", &list, "--yes"])).succeeded();
    assert_eq!(to.labels(), ["one", "two"]);
}

#[test]
fn template_gives_each_cluster_its_label() {
    let world = World::of(&["east", "west"]);
    let to = Destination::new();
    let template = "--cluster-name-template=eu-{context}.{user}";
    world.run(&to.join(&["--all-contexts", template])).succeeded();
    assert_eq!(to.labels(), ["eu-east.east", "eu-west.west"]);
    // What a destination knows keeps its label.
    let run = world.run(&to.join(&["--all-contexts", "--cluster-name-template=x-{context}", "-o=json"])).succeeded();
    assert_eq!(results(&run), pairs(&[("east", "unchanged"), ("west", "unchanged")]));
    let run = world.run(&["join", "--cluster-name-template=one-{cluster}"]).succeeded();
    assert_eq!(run.jobs()[0]["job_name"], "prom-federate/one-east/cadvisor");
    let run = world.run(&["check", "--all-contexts", template]).succeeded();
    assert!(run.stdout.contains("eu-east.east  https://"), "{}", run.stdout);
}

#[test]
fn template_without_a_label_for_each_cluster_stops_everything_before_a_write() {
    let world = World::of(&["east", "west"]);
    let to = Destination::new();
    let config = kubeconfig(&world, &[("east", "east"), ("west", "west")]);
    for (template, says) in [
        ("{namespace}", "yields no cluster name for the context east: {namespace} is empty\n"),
        ("{user}", "the contexts east and west would both get the label admin\n"),
    ] {
        let template = format!("--cluster-name-template={template}");
        let run = world.with(&config, &to.join(&["--all-contexts", "--yes", &template]));
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(says), "{}", run.stderr);
        assert_eq!((world.east().writes(), to.labels()), (Vec::new(), Vec::new()));
    }
}

#[test]
fn one_context_that_a_pattern_means_is_joined_as_if_it_were_named() {
    let world = World::of(&["east", "west"]);
    let run = world.run(&["join", "--context=w*"]).succeeded();
    assert_eq!(run.jobs()[0]["job_name"], "prom-federate/west/cadvisor");
    let list = world.file("list", "shop=east\n");
    let run = world.run(&["join", "--contexts-from", &list]).succeeded();
    assert_eq!(run.jobs()[0]["job_name"], "prom-federate/shop/cadvisor");
}

#[test]
fn what_is_about_one_cluster_or_needs_a_destination_is_refused() {
    let world = World::of(&["east", "west"]);
    let to = Destination::new();
    for (flags, says) in [
        (
            to.join(&["--all-contexts", "--cluster-name=x"]),
            "--cluster-name is about one cluster, and 2 contexts are meant",
        ),
        (to.join(&["--context=east", "--context=west", "--rename"]), "--rename is about one cluster"),
        (to.join(&["--all-contexts", "--api-server=https://x:6443"]), "--api-server is about one cluster"),
        (vec!["join", "--all-contexts"], "2 contexts need a destination"),
        (to.join(&["--context=east", "--context=^e*"]), "no context is left"),
        (vec!["check", "--all-contexts", "--cluster-name=x"], "--cluster-name is about one cluster"),
    ] {
        let run = world.run(&flags);
        assert_eq!(run.code, Some(2), "{flags:?}: {}", run.stderr);
        assert!(run.stderr.contains(says), "{flags:?}: {}", run.stderr);
    }
    for pattern in ["--context=north*", "--context=^north"] {
        world
            .run(&to.join(&[pattern, "--context=east"]))
            .failed("ContextNotFound", &["north", "kubectl config get-contexts"]);
    }
    let list = world.file("list", "east\nnorth\n");
    world.run(&to.join(&["--contexts-from", &list])).failed("ContextNotFound", &["list: ", "north"]);
    world.east().rule(Rule::new("*", "/", Action::Delay(Duration::ZERO)));
    assert_eq!(to.labels(), Vec::<String>::new());
}

#[test]
fn dry_run_of_several_contexts_sends_no_write() {
    let world = World::of(&["east", "west"]);
    let to = Destination::new();
    for mode in ["client", "server"] {
        let dry = format!("--dry-run={mode}");
        let run = world.run(&to.join(&["--all-contexts", &dry, "-o=json"])).succeeded();
        assert_eq!(results(&run), pairs(&[("east", "planned"), ("west", "planned")]));
        for name in ["east", "west"] {
            assert_eq!(world.cluster(name).writes(), Vec::<String>::new());
        }
    }
    assert_eq!(to.labels(), Vec::<String>::new());
}

#[test]
fn check_of_several_contexts_reports_one_after_the_other_and_fails_if_one_failed() {
    let world = World::of(&["bad", "east", "west"]);
    world.cluster("bad").rule(Rule::new("*", "/", Action::Close));
    let run = world.run(&["check", "--all-contexts"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("error (CheckFailed): 1 of 3 contexts did not pass\n"), "{}", run.stderr);
    let heads: Vec<&str> = run.stdout.lines().filter(|line| line.contains("  https://")).collect();
    assert_eq!(heads.iter().filter_map(|head| head.split(' ').next()).collect::<Vec<_>>(), ["bad", "east", "west"]);
    let table = run.stdout.split_once("CLUSTER ").expect("a table").1;
    let table: Vec<String> =
        table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(
        table[0].starts_with("bad bad failed ")
            && table[0].contains("kubectl prom-federate check --")
            && table[0].ends_with(" --context bad"),
        "{table:?}"
    );
    assert!(table[1].starts_with("east east passed ") && table[2].starts_with("west west passed "), "{table:?}");
    for name in ["bad", "east", "west"] {
        assert_eq!(world.cluster(name).writes(), Vec::<String>::new());
    }
}

#[test]
fn check_of_several_contexts_as_data_has_an_item_for_each() {
    let world = World::of(&["east", "west"]);
    let config = kubeconfig(&world, &[("admin", "east"), ("viewer", "east"), ("west", "west")]);
    let run = world.with(&config, &["check", "--all-contexts", "-o=json"]).succeeded();
    assert_eq!(results(&run), pairs(&[("admin", "passed"), ("viewer", "same cluster as admin"), ("west", "passed")]));
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(
        (&report["kind"], &report["items"][0]["report"]["kind"]),
        (&json!("CheckReportList"), &json!("CheckReport"))
    );
    // What a join would refuse.
    let list = world.file("list", "x=admin\nx=west\n");
    let run = world.with(&config, &["check", "--contexts-from", &list]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stdout.contains("✗ the contexts admin and west would both get the label x\n"), "{}", run.stdout);
}

#[test]
fn no_is_an_answer_for_all() {
    let world = World::of(&["east", "west"]).answering(false);
    let to = Destination::new();
    let run = world.asked(&to.join(&["--all-contexts"]));
    assert_ne!(run.code, Some(0), "{}", run.stderr);
    assert_eq!((to.labels(), world.east().writes()), (Vec::new(), Vec::new()));
}

/// The host of Prometheus was down for so long that no token is left.
#[test]
fn one_command_brings_back_a_destination_whose_tokens_have_all_expired() {
    let world = World::of(&["east", "west"]);
    let to = Destination::new();
    world.run(&to.join(&["--all-contexts", "--jobs=kubelet"])).succeeded();
    for record in to.records() {
        let mut json: Value = serde_json::from_str(&fs::read_to_string(&record).expect("a record")).expect("JSON");
        json["token"] = json!({ "issued": "2026-01-01T00:00:00Z", "expires": "2026-01-02T00:00:00Z" });
        fs::write(&record, json.to_string()).expect("a record");
    }
    let path = to.path().to_str().expect("UTF-8");
    let command = format!("kubectl prom-federate rotate -p {path}");
    let run = world.run(&["status", "-p", path]);
    let hint = format!("hint: All 2 tokens of {path} that have expired: {command}\n");
    assert!(run.code == Some(1) && run.stderr.contains(&hint), "{}", run.stderr);
    let words: Vec<&str> = command.split(' ').skip(2).collect();
    let run = world.run(&[&words[..], &["--reload=none"]].concat()).succeeded();
    assert_eq!(run.stderr.matches("new token until ").count(), 2, "{}", run.stderr);
    let run = world.run(&["status", "-p", path]);
    assert!(!run.stdout.contains("expired"), "{}", run.stdout);
}

#[test]
fn several_contexts_are_left_with_one_question() {
    let world = World::of(&["east", "north", "west"]).answering(true);
    let to = Destination::new();
    world.run(&to.join(&["--context=east", "--context=west"])).succeeded();
    let run = world.asked(&to.with(&["leave", "--all-contexts", "-o=json"])).succeeded();
    assert_eq!(results(&run), pairs(&[("east", "left"), ("north", "nothing to remove"), ("west", "left")]));
    for once in ["  namespace: 2 will be deleted\n", "east.scrape.yml will be deleted\n", "  ✔ removed the jobs from "]
    {
        assert_eq!(run.stderr.matches(once).count(), 1, "{once}: {}", run.stderr);
    }
    for name in ["east", "north", "west"] {
        assert_eq!(world.cluster(name).ours(), Vec::<String>::new());
    }
    assert_eq!((to.labels(), to.records()), (Vec::new(), Vec::new()));
}

#[test]
fn no_keeps_all_clusters() {
    let world = World::of(&["east", "west"]).answering(false);
    let to = Destination::new();
    world.run(&to.join(&["--all-contexts"])).succeeded();
    let before = world.east().writes();
    let run = world.asked(&to.with(&["leave", "--all-contexts"]));
    assert_ne!(run.code, Some(0), "{}", run.stderr);
    for mode in ["client", "server"] {
        let dry = format!("--dry-run={mode}");
        let run = world.asked(&to.with(&["leave", "--all-contexts", &dry, "-o=json"])).succeeded();
        assert_eq!(results(&run), pairs(&[("east", "planned"), ("west", "planned")]));
    }
    assert_eq!((to.labels().len(), world.east().writes()), (2, before));
}

#[test]
fn leave_goes_on_with_the_cluster_that_failed() {
    let refused = refusal(403, "Forbidden", "not for you");
    for (how, rule, reason) in [
        ("--all-contexts", Rule::new("DELETE", "/clusterrolebindings/", refused.clone()), "Forbidden"),
        ("--all-contexts", Rule::new("*", "/", Action::Close), "ConnectionFailed"),
        ("bad", Rule::new("*", "/", Action::Hang), "Timeout"),
        ("bad", Rule::new("*", "/", refused), "Forbidden"),
    ] {
        let world = World::of(&["bad", "east", "west"]);
        let to = Destination::new();
        world.run(&to.join(&["--all-contexts"])).succeeded();
        world.cluster("bad").rule(rule);
        // By their labels, or by their contexts.
        let leave: &[&str] = if how == "bad" { &["leave", "bad", "east", "west"] } else { &["leave", how] };
        let leave = to.with(&[leave, &["-o=json"]].concat());
        let run = world.run(&leave);
        assert_eq!(run.code, Some(1), "{reason}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("error ({reason}): bad")), "{reason}: {}", run.stderr);
        assert!(run.stderr.contains("error (LeftoverObjects): 1 of 3 "), "{reason}: {}", run.stderr);
        assert_eq!(results(&run), pairs(&[("bad", "failed"), ("east", "left"), ("west", "left")]), "{reason}");
        assert_eq!(world.cluster("west").ours(), Vec::<String>::new());
        assert_eq!(to.records().len(), 1, "the record of bad stays: {}", run.stderr);

        world.cluster("bad").clear_rules();
        let run = world.run(&to.with(&["leave", "--all-contexts", "-o=json"])).succeeded();
        let nothing = "nothing to remove";
        assert_eq!(results(&run), pairs(&[("bad", "left"), ("east", nothing), ("west", nothing)]), "{reason}");
        assert_eq!(world.cluster("bad").ours(), Vec::<String>::new(), "{reason}");
    }
}

#[test]
fn printed_jobs_of_several_contexts_are_left() {
    let world = World::of(&["east", "north", "west"]);
    for name in ["east", "west"] {
        world.run(&["join", "--context", name]).succeeded();
    }
    let run = world.run(&["leave", "--all-contexts", "-o=json"]).succeeded();
    assert_eq!(results(&run), pairs(&[("east", "left"), ("north", "nothing to remove"), ("west", "left")]));
    assert_eq!(world.cluster("west").ours(), Vec::<String>::new());
}

/// Of a joined cluster the contexts may have other names by now.
#[test]
fn each_joined_cluster_uses_the_context_that_leads_to_it() {
    let world = World::of(&["east", "west"]);
    let to = Destination::new();
    world.run(&to.join(&["--all-contexts"])).succeeded();
    let config = kubeconfig(&world, &[("east", "west"), ("new-east", "east"), ("new-west", "west")]);
    let rotate = to.with(&["rotate", "--now", "--reload=none"]);
    let run = world.with(&config, &rotate);
    assert!(run.code == Some(1) && run.stderr.contains("there is no context west"), "{}", run.stderr);
    let run = world.with(&config, &[&rotate[..], &["--all-contexts", "--parallel=1"]].concat()).succeeded();
    assert_eq!(run.stderr.matches("new token until ").count(), 2, "{}", run.stderr);
    let run = world.with(&config, &to.with(&["status", "--context=new-*", "-o=json"]));
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    for cluster in report["clusters"].as_array().expect("clusters") {
        assert_eq!(cluster["nodes"], 2, "{cluster}");
    }
    let run = world.with(&config, &to.with(&["leave", "east", "west", "--context=new-*", "--yes"])).succeeded();
    assert_eq!((to.labels(), world.cluster("west").ours()), (Vec::new(), Vec::new()), "{}", run.stderr);
}

#[test]
fn cluster_to_which_no_context_leads_fails_alone() {
    let world = World::of(&["bad", "east", "west"]);
    let to = Destination::new();
    world.run(&to.join(&["--all-contexts"])).succeeded();
    world.cluster("bad").rule(Rule::new("*", "/", Action::Close));
    let config = kubeconfig(&world, &[("bad", "bad"), ("east", "east")]);
    let run = world.with(&config, &to.with(&["rotate", "--now", "--reload=none", "--all-contexts"]));
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    for text in [
        "error (ConnectionFailed): bad: ",
        "error (ContextNotFound): west: none of the 2 contexts leads to this cluster\n",
        "hint: It was joined with the context west: add --context NAME\n",
        "2 of 3 clusters keep their old token",
    ] {
        assert!(run.stderr.contains(text), "no {text:?}: {}", run.stderr);
    }
    assert_eq!(run.stderr.matches("new token until ").count(), 1, "{}", run.stderr);
    for service in ["--watch", "--print-unit"] {
        let run = world.with(&config, &to.with(&["rotate", service, "--all-contexts"]));
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains("a service takes at most one context, and 2 are meant"), "{}", run.stderr);
    }
}
