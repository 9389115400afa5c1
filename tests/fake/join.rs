//! Joining: what is installed, in which order, what a second join does, what a dry run sends.

use crate::{NAME, World, api::ADMISSION, assert_untouched, refusal};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use testbed::{Action, Rule};

#[test]
fn join_installs_and_prints() {
    let world = World::new();
    let run = world.run(&["join", "--cluster-name=shop"]).succeeded();
    for text in [
        "namespace/prom-federate created",
        "serviceaccount/prometheus created",
        "proven with that token: 2 nodes",
        "8 other requests refused by the fence",
    ] {
        assert!(run.stderr.contains(text), "no {text:?}: {}", run.stderr);
    }
    assert_eq!(run.jobs()[0]["job_name"], "prom-federate/shop/cadvisor");
    assert_eq!(world.east().ours().len(), 9, "{:?}", world.east().ours());
}

#[test]
fn second_join_changes_only_the_token() {
    let world = World::new();
    let first = world.run(&["join"]).succeeded();
    let second = world.run(&["join"]).succeeded();
    assert_eq!(second.stderr.matches(" unchanged\n").count(), 8, "{}", second.stderr);
    assert_eq!(second.stderr.matches(" created\n").count(), 1, "only the new Secret: {}", second.stderr);
    assert_ne!(first.token(), second.token());
    assert_eq!(world.east().secrets().len(), 2);
}

#[test]
fn dry_run_sends_no_write() {
    let world = World::new();
    for mode in ["client", "server"] {
        let run = world.run(&["join", &format!("--dry-run={mode}")]).succeeded();
        assert_eq!(run.stdout.matches(" created (").count(), 8, "{}", run.stdout);
        assert_untouched(&world);
    }
}

/// Each of them is part of a good configuration, and of none any more when the plugin's other files are there.
#[test]
fn pattern_that_would_match_other_files_of_the_plugin_is_named_before_anything_is_written() {
    let world = World::new();
    for (text, pattern, file) in [
        ("scrape_config_files: [prom-federate/*]\n", "prom-federate/*", "prom-federate/.lock"),
        ("scrape_config_files: ['*/*']\n", "*/*", "prom-federate/.lock"),
        ("scrape_config_files: [jobs/*.yml, '*/*.yml']\n", "*/*.yml", "prom-federate/east.rules.yml"),
        ("scrape_config_files:\n- ./prom-federate/*/*/t*\n", "./prom-federate/*/*/t*", "/token"),
        ("rule_files: [prom-federate/*]\n", "prom-federate/*", "prom-federate/.lock"),
        ("rule_files: ['*/*.yml']\n", "*/*.yml", "prom-federate/east.scrape.yml"),
        ("rule_files: [prom-federate/e*]\n", "prom-federate/e*", "prom-federate/east.scrape.yml"),
        ("rule_files: ['*.new']\n", "*.new", "prometheus.yml.prom-federate.new"),
        ("scrape_config_files: [prom-federate/east.scrape.yml]\n", "prom-federate/east.scrape.yml", "twice"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("prometheus.yml"), text).expect("a file");
        let path = folder.path().to_str().expect("UTF-8");
        let run = world.run(&["join", "-p", path, "--cluster-name=east", "--owner=0:0", "--reload=none"]);
        run.failed("DestinationUnusable", &[pattern, file, "nothing was written"]);
        let entries = std::fs::read_dir(folder.path()).expect("a folder").flatten();
        assert_eq!(entries.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["prometheus.yml"], "{text}");
        assert_untouched(&world);
    }
}

/// Each of them is a good configuration.
#[test]
fn configuration_that_cannot_be_edited_gets_the_line_to_add_and_nothing_else() {
    let world = World::new();
    for (text, says) in [
        ("{\"scrape_configs\": [], \"rule_files\": [\"a.yml\"]}\n", "in braces (JSON), which is not edited"),
        ("rule_files: &all [a.yml]\n", "rule_files has an anchor, an alias or a tag"),
        (
            "global: {}\n---\nglobal: {}\n",
            "more than one YAML document, of which Prometheus reads the first: delete the others",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("prometheus.yml"), text).expect("a file");
        let path = folder.path().to_str().expect("UTF-8");
        let run = world.run(&["join", "-p", path, "--owner=0:0", "--reload=none"]);
        let run = run.failed("DestinationUnusable", &[says]);
        let is_told = run.stderr.contains(" to that list by hand")
            && run.stderr.contains("hint: Add this by hand and run the command again: ");
        assert!(is_told || run.stderr.contains("hint: Check the file: promtool check config "), "{}", run.stderr);
        let entries = std::fs::read_dir(folder.path()).expect("a folder").flatten();
        assert_eq!(entries.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["prometheus.yml"], "{text}");
        assert_eq!(std::fs::read_to_string(folder.path().join("prometheus.yml")).expect("a file"), text);
        assert_untouched(&world);
    }
}

/// As `kind delete cluster` and `kind create cluster` do. The record names the context.
#[test]
fn cluster_made_anew_under_its_context_is_joined_again_by_the_printed_command() {
    let world = World::of(&["east", "west"]);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("prometheus.yml"), "").expect("a file");
    let path = folder.path().to_str().expect("UTF-8");
    let join = ["join", "-p", path, "--owner=0:0", "--reload=none", "--jobs=kubelet", "--yes"];
    world.run(&join[..6]).succeeded();
    let kube_system = "/api/v1/namespaces/kube-system";
    let mut state = world.cluster("west").state();
    state.objects.get_mut(kube_system).expect("a namespace")["metadata"]["uid"] = json!("another");
    drop(state);
    let config = std::fs::read_to_string(world.path("config")).expect("a kubeconfig");
    let anew = world.file("anew", &config.replace("https://east.example", "https://west.example"));
    let printed = "kubectl prom-federate join --context east --cluster-name east --jobs kubelet --replace";
    for words in
        [&["rotate", "--now", "-p", path][..], &["status", "-p", path], &["leave", "east", "-p", path, "--yes"]]
    {
        let run = world.with(&anew, words);
        assert_eq!(run.code, Some(i32::from(words[0] != "status")), "{words:?}: a cluster is only not seen");
        let says = format!(
            "If the cluster was made anew, join it again (only the record has these terms, so check each): {printed}"
        );
        let shown = format!("{}{}", run.stdout, run.stderr).replace(&format!(" --kubeconfig {anew}"), "");
        assert!(shown.contains(&says), "{words:?}: {shown}");
    }
    assert_eq!(world.cluster("west").ours(), Vec::<String>::new());
    world.with(&anew, &join).failed("ClusterKnown", &["--replace"]);
    world.with(&anew, &[&join[..], &["--context=east", "--cluster-name=east", "--replace"]].concat()).succeeded();
}

fn label_node(world: &World, name: &str, key: &str, value: &str) {
    let labels = json!({ "metadata": { "labels": { key: value } } });
    world.east().state().put(&format!("/api/v1/nodes/{name}"), labels, "labeller");
}

/// In the jobs, in the proof, in the role of pinned nodes, and in what comes later.
#[test]
fn selector_of_nodes_holds_for_jobs_proof_and_rights() {
    let world = World::new();
    label_node(&world, "node-1", "type", "virtual-kubelet");
    // It has no page, and is not asked.
    world.east().rule(Rule::new("GET", "/nodes/node-1", refusal(404, "NotFound", "no kubelet")));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("prometheus.yml"), "").expect("a file");
    let path = folder.path().to_str().expect("UTF-8");
    let selector = "--node-selector=type!=virtual-kubelet,!eks.amazonaws.com/compute-type";
    let checked = world.run(&["check", selector]).succeeded();
    assert!(!checked.stdout.contains("node-1") && checked.stdout.contains("node-2"), "{}", checked.stdout);
    let to = ["-p", path, "--owner=0:0", "--reload=none"];
    let run = world.run(&[&["join", "--pin-nodes", selector][..], &to].concat()).succeeded();
    let shown = "jobs of nodes: only of nodes with type!=virtual-kubelet,!eks.amazonaws.com/compute-type";
    for text in [shown, "proven with that token: 1 node, "] {
        assert!(run.stderr.contains(text), "no {text:?}: {}", run.stderr);
    }
    let fragment = || std::fs::read_to_string(folder.path().join("prom-federate/east.scrape.yml")).expect("jobs");
    let selectors =
        "    selectors:\n    - {role: node, label: \"type!=virtual-kubelet,!eks.amazonaws.com/compute-type\"}\n";
    let pins = || {
        let role =
            world.east().state().objects[&format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{NAME}")].clone();
        role["rules"].as_array().into_iter().flatten().find_map(|rule| rule.get("resourceNames").cloned())
    };
    assert_eq!(fragment().matches(selectors).count(), 2, "{}", fragment());
    assert_eq!(pins(), Some(json!(["node-2:10250"])));

    world.east().state().put_node("node-3", true);
    world.run(&["rotate", "--now", "-p", path, "--reload=none"]).succeeded();
    assert_eq!(fragment().matches(selectors).count(), 2, "{}", fragment());
    assert_eq!(pins(), Some(json!(["node-2:10250", "node-3:10250"])));
    let jobs = fragment();
    let token = jobs.lines().find_map(|line| line.trim().strip_prefix("credentials_file: ")).expect("a token's file");
    let record = folder.path().join("prom-federate").join(token.trim_matches('"')).with_file_name("cluster.json");
    let text = std::fs::read_to_string(&record).expect("a record");
    assert!(text.contains("\"version\":3") || text.contains("\"version\": 3"), "{text}");

    // Who writes the record does not widen the right to pinned nodes.
    std::fs::write(&record, text.replace("type!=virtual-kubelet", "x!=y")).expect("a record");
    let refused = world.run(&["rotate", "--now", "-p", path, "--reload=none"]);
    assert_eq!(refused.code, Some(1));
    for text in
        ["--node-selector is x!=y,", "instead of type!=virtual-kubelet,", "--node-selector 'type!=virtual-kubelet"]
    {
        assert!(refused.stderr.contains(text), "no {text:?}: {}", refused.stderr);
    }
    assert_eq!(pins(), Some(json!(["node-2:10250", "node-3:10250"])));
}

/// A reader of the file may know no flag of the first one.
#[test]
fn printed_jobs_name_the_join_that_prints_them_again() {
    let world = World::new();
    let flags = ["--jobs=kubelet", "--node-selector=!x", "--cluster-name=shop", "--pin-nodes", "--scrape-interval=20s"];
    let run = world.run(&[&["join"][..], &flags].concat()).succeeded();
    let line = run.stdout.lines().find(|line| line.starts_with("# New token:")).expect("a line");
    let join = line.split_once("kubectl prom-federate ").expect("a command").1;
    assert!(
        join.ends_with(
            "--context east --cluster-name shop --jobs kubelet --node-selector '!x' --pin-nodes --scrape-interval 20s"
        ),
        "{join}"
    );
}

#[test]
fn number_of_selected_nodes_is_counted_whatever_the_list_says() {
    let world = World::new();
    for index in 3..20 {
        world.east().state().put_node(&format!("node-{index}"), true);
    }
    label_node(&world, "node-7", "type", "virtual-kubelet");
    let run = world.run(&["join", "--node-selector=type!=virtual-kubelet"]).succeeded();
    assert!(run.stderr.contains("proven with that token: 18 nodes, "), "{}", run.stderr);
}

#[test]
fn selector_of_no_node_or_for_no_job_is_refused() {
    let world = World::new();
    let says = [
        "--node-selector a=b selects no node",
        "hint: List the nodes that it selects: kubectl get nodes --selector a=b",
    ];
    world.run(&["join", "--node-selector=a=b"]).failed("NoNodes", &says);
    let run = world.run(&["join", "--jobs=apiserver", "--node-selector=a=b"]);
    assert!(run.code == Some(2) && run.stderr.contains("--node-selector needs a job of nodes"), "{}", run.stderr);
    assert_untouched(&world);
}

#[test]
fn fence_is_stored_before_the_rights_are_sent() {
    let world = World::new();
    let slow = Action::Delay(Duration::from_millis(300));
    world.east().rule(Rule::new("PATCH", "validatingadmissionpolic", slow));
    let stood = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stood);
    world.east().before("PATCH", "/clusterrolebindings/", move |state| {
        let fence = ["validatingadmissionpolicies", "validatingadmissionpolicybindings"];
        let stands = |kind: &str| state.objects.contains_key(&format!("{ADMISSION}/{kind}/{NAME}"));
        seen.store(fence.into_iter().all(stands), Ordering::Relaxed);
    });
    world.run(&["join"]).succeeded();
    assert!(stood.load(Ordering::Relaxed), "{:?}", world.east().writes());
}

/// The former fence has the same name and refuses all but the page of the job that is no longer chosen.
#[test]
fn former_fence_does_not_prove_fewer_jobs() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    let policy = format!("/validatingadmissionpolicies/{NAME}");
    let path = format!("/apis/admissionregistration.k8s.io/v1{policy}");
    let stored = world.east().state().objects[&path].clone();
    let narrow = || world.run(&["join", "--jobs=kubelet"]);
    let not_enforced = "/proxy/metrics/cadvisor answers 200 to the new token";

    // An API server that goes by the former policy all the time.
    world.east().rule(Rule::new("PATCH", &policy, Action::Answer { status: 200, body: stored }));
    narrow().failed("FenceNotEnforced", &["east: ", not_enforced]);

    // And one of several that does, while the first that was asked does not.
    let message = format!("ValidatingAdmissionPolicy '{NAME}' with binding '{NAME}' denied request: no");
    world.east().rule(Rule::new("GET", "/proxy/metrics/cadvisor", refusal(422, "Invalid", &message)).times(1));
    narrow().failed("FenceNotEnforced", &["east: ", not_enforced]);

    world.east().clear_rules();
    let run = narrow().succeeded();
    assert!(run.stderr.contains("9 other requests refused by the fence"), "{}", run.stderr);
}

#[test]
fn fence_off_leaves_an_existing_fence() {
    let world = World::new();
    world.run(&["join", "--jobs=kubelet"]).succeeded();
    let before = world.east().ours();
    // The fence would refuse the page of the other job.
    world.run(&["join", "--fence=off"]).failed(
        "FenceStands",
        &[
            &format!("east: validatingadmissionpolicy.admissionregistration.k8s.io/{NAME}"),
            "would refuse /metrics/cadvisor of a node;",
            "nothing was written",
            "hint: Join without --fence=off",
        ],
    );
    assert_eq!(world.east().ours(), before);
    let run = world.run(&["join", "--jobs=kubelet", "--fence=off"]).succeeded();
    let warning = "Warning: --fence=off: this account has a fence, for /metrics of a node, which stays";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    assert!(!run.stderr.contains("no fence"), "{}", run.stderr);
    assert_eq!(world.get(&run.token(), "/api/v1/nodes/node-1/proxy/configz").0, 422);
    // As the hint says.
    let run = world.run(&["join"]).succeeded();
    assert!(run.stderr.contains("8 other requests refused by the fence"), "{}", run.stderr);
}

#[test]
fn capped_token_life_is_reported() {
    let world = World::new();
    world.east().state().token_cap = Some(3600);
    let run = world.run(&["join", "--duration=7d"]).succeeded();
    assert!(run.stderr.contains("7d asked, 1h granted by this server"), "{}", run.stderr);
}

#[test]
fn expired_secrets_are_deleted() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    let secret = world.east().secrets().remove(0);
    let path = format!("/api/v1/namespaces/prom-federate/secrets/{secret}");
    let expires = |when: &str| {
        let mut state = world.east().state();
        let secret = state.objects.get_mut(&path).expect("it is there");
        secret["metadata"]["annotations"]["prom-federate.io/expires"] = json!(when);
    };
    expires("2099-01-01T00:00:00Z");
    world.run(&["join"]).succeeded();
    assert!(world.east().secrets().contains(&secret));
    expires("2020-01-01T00:00:00Z");
    let run = world.run(&["join"]).succeeded();
    assert!(run.stderr.contains(&format!("secret/{secret} deleted (its token had expired)")), "{}", run.stderr);
    assert!(!world.east().secrets().contains(&secret));
    assert_eq!(world.east().secrets().len(), 2);
}

#[test]
fn report_is_json() {
    let world = World::new();
    let run = world.run(&["join", "--output=json"]).succeeded();
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&report["apiVersion"], &report["kind"]), (&json!("prom-federate.io/v1"), &json!("JoinReport")));
    assert_eq!(report["token"]["grantedSeconds"], 604_800);
    assert_eq!(report["token"]["boundSecret"], world.east().secrets()[0]);
    assert_eq!(report["proof"]["nodes"], 2);
    assert_eq!(report["objects"].as_array().map(Vec::len), Some(9));
    assert!(report["scrape_configs"][0]["authorization"]["credentials"].is_string(), "the token is in the jobs");
}

#[test]
fn names_are_printed_only_in_a_dry_run() {
    let world = World::new();
    let run = world.run(&["join", "--output=name"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    let run = world.run(&["join", "--output=name", "--dry-run=client"]).succeeded();
    assert!(run.stdout.lines().any(|line| line == "serviceaccount/prometheus"), "{}", run.stdout);
}

#[test]
fn token_is_only_in_the_jobs() {
    let world = World::new();
    let run = world.run(&["join", "-v", "9"]).succeeded();
    assert!(run.stderr.contains("PATCH https://east.example:6443/api/v1/namespaces/prom-federate/secrets/"));
    assert!(!run.stderr.contains(&run.token()), "the token was logged: {}", run.stderr);
    let stored = serde_json::to_string(&world.east().state().objects).expect("JSON");
    assert!(!stored.contains(&run.token()), "an object holds the token");
}

#[test]
fn each_cluster_is_reached_by_its_context() {
    let world = World::of(&["east", "west"]);
    for context in ["east", "west"] {
        let run = world.run(&["join", "--dry-run=client", "--context", context]).succeeded();
        let found = format!("{context}  https://{context}.example:6443  Kubernetes v");
        assert!(run.stderr.contains(&found), "{}", run.stderr);
    }
    world.run(&["join", "--context=west"]).succeeded();
    assert_untouched(&world);
    assert_eq!(world.cluster("west").ours().len(), 9);
}

#[test]
fn impersonation_is_passed_on() {
    let world = World::new();
    world.run(&["join", "--as=jane", "--as-group=system:masters", "--dry-run=client"]).succeeded();
    let run = world.run(&["join", "--as=jane", "--dry-run=client"]);
    run.failed("Forbidden", &["User \"jane\" cannot get resource"]);
}

#[test]
fn commands_that_write_ask_first() {
    let world = World::new();
    let needed = |command: &str| world.asked(&[command]);
    needed("join").failed("ConfirmationNeeded", &["join asks before it writes", "--yes", "--dry-run=server"]);
    assert_untouched(&world);
    world.run(&["join"]).succeeded();
    world.east().forget_requests();
    needed("leave").failed("ConfirmationNeeded", &["leave asks before it writes", "--yes"]);
    assert_eq!(world.east().writes(), Vec::<String>::new());
}

#[test]
fn answer_of_a_person_counts() {
    let world = World::new().answering(false);
    let no = world.asked(&["join"]);
    assert_eq!((no.code, no.stdout.as_str()), (Some(1), ""), "{}", no.stderr);
    for text in ["namespace/prom-federate will be created", "error (Cancelled)", "nothing was written"] {
        assert!(no.stderr.contains(text), "does not say {text:?}: {}", no.stderr);
    }
    assert_untouched(&world);
    let world = World::new().answering(true);
    world.asked(&["join"]).succeeded();
    assert_eq!(world.east().ours().len(), 9);
    world.asked(&["leave"]).succeeded();
    assert_eq!(world.east().ours(), Vec::<String>::new());
}

const COLLECTOR: &str = "exporters:\n  debug: {}\nservice:\n  pipelines:\n    metrics:\n      receivers: [a]\n      exporters: [debug]\nreceivers:\n  a: {}\n";

/// Nothing is known of its addresses, so that it gets no API.
#[test]
fn collector_that_does_not_run_gets_a_receiver() {
    let world = World::new();
    let path = world.file("config.yaml", COLLECTOR);
    let to = ["join", "-p", &path, "--owner=0:0", "--reload=none"];
    let run = world.run(&to);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let edited = std::fs::read_to_string(&path).expect("a configuration");
    assert!(edited.contains("      receivers: [a, prometheus/federate]\n"), "{edited}");
    assert!(edited.contains("prom-federate/*.scrape.yml") && !edited.contains("api_server"), "{edited}");
}

#[test]
fn format_must_be_that_of_the_configuration() {
    let world = World::new();
    let (collector, prometheus) = (world.file("config.yaml", COLLECTOR), world.file("prometheus.yml", "global: {}\n"));
    for (path, format, is) in [
        (&collector, "prometheus", "is a configuration of an OpenTelemetry Collector"),
        (&collector, "vmagent", "is a configuration of an OpenTelemetry Collector"),
        (&prometheus, "otel", "is a configuration of Prometheus or vmagent"),
    ] {
        let format = format!("--format={format}");
        let run = world.run(&["join", "-p", path, &format, "--owner=0:0", "--reload=none"]);
        assert!(run.code == Some(2) && run.stderr.contains(is), "{format}: {}", run.stderr);
    }
    assert_untouched(&world);
}
