//! `-p operator://…` on the real Prometheus Operator, whose generated configuration real Prometheus scrape with.

pub(crate) mod ended;

use crate::plugin::{Account, Run, command};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use testbed::{
    Action, Cluster, ClusterSpec, Delay, FaultProxy, Kubeconfig, KubeletCertificates, Operated, Prometheus, QUIET,
    Rule, Target, UNWATCHED, User, Validity, hub, machine_address, operator_kinds,
};

trials! {
    operator:
    smoke {
        jobs_are_scraped_renewed_and_removed,
        check_reports_what_join_would_report,
    }
    full {
        series_equal_those_of_a_directory,
        every_node_is_scraped_by_one_shard,
        selected_nodes_are_the_only_targets,
        rejected_jobs_are_undone,
        rejection_without_status_is_read_from_events,
        jobs_that_no_operator_processes_are_undone,
        missing_secret_is_reported_and_restored,
        tenant_of_the_hub_steers_no_rotation,
        jobs_go_into_the_selected_namespace,
        agent_scrapes_and_is_told_from_the_prometheus_of_its_name,
        unselectable_jobs_are_rejected_before_any_write,
        prometheus_must_be_named_unambiguously,
        missing_or_old_crds_are_rejected,
        permissions_on_the_hub_are_checked_first,
        account_renews_itself,
        cluster_keeps_its_label,
        failed_write_undoes_all_earlier_writes,
        next_run_converges_after_any_kill,
        interrupt_is_undone,
        foreign_objects_stay,
        directory_and_operator_have_separate_tokens,
        watch_renews_due_tokens,
        jobs_use_every_route,
    }
}

pub(crate) const SOON: Duration = Duration::from_secs(40);

/// A Prometheus or vmagent of the hub, and the account whose jobs it gets, in `east` unless a test needs another cluster.
pub(crate) struct Scene {
    pub(crate) account: Account<'static>,
    pub(crate) namespace: String,
    pub(crate) kubeconfig: PathBuf,
    /// The cluster at an address that others can reach too.
    pub(crate) front: Delay,
}

fn release() -> Value {
    json!({ "scrapeConfigSelector": { "matchLabels": { "release": "kps" } }, "ruleSelector": {} })
}

impl Scene {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, &release())
    }

    /// In a namespace of its own, with a Prometheus that has this spec.
    fn with(name: &str, spec: &Value) -> Self {
        Self::of(&testbed::shared().east, name, spec)
    }

    /// Of another cluster.
    fn of(cluster: &'static Cluster, name: &str, spec: &Value) -> Self {
        let scene = Self::between(cluster, name, &format!("op-{name}{}", crate::trial::suffix()));
        hub().prometheus(&scene.namespace, "kps", spec).expect("a Prometheus");
        scene
    }

    /// Without a Prometheus.
    pub(crate) fn within(name: &str, namespace: &str) -> Self {
        Self::between(&testbed::shared().east, name, namespace)
    }

    pub(crate) fn between(cluster: &'static Cluster, name: &str, namespace: &str) -> Self {
        let contexts = [cluster.admin(), hub().cluster().admin()];
        let kubeconfig = cluster.dir().join(format!("with-hub-{name}"));
        std::fs::write(&kubeconfig, Kubeconfig::merged(&contexts)).expect("a kubeconfig");
        let address = machine_address().expect("an address");
        let front = Delay::listening_on((address, 0).into(), cluster.address(), Duration::ZERO).expect("a way there");
        let account = Account::new(cluster, &format!("op-{name}"));
        Self { account, namespace: namespace.to_owned(), kubeconfig, front }
    }

    pub(crate) fn typed(&self) -> String {
        format!("operator://{}/kps?context=hub", self.namespace)
    }

    pub(crate) fn run(&self, verb: &str, more: &[&str]) -> Run {
        let typed = self.typed();
        let mut all = vec![verb, "-p", &typed];
        all.extend(more);
        command(&self.kubeconfig, &all).output().expect("the plugin starts").into()
    }

    pub(crate) fn try_join(&self, more: &[&str]) -> Run {
        let (namespace, url) = (format!("--namespace={}", self.account.namespace), self.front.url());
        let address = format!("--api-server={url}");
        let mut all = vec!["--yes", &namespace, &address, "--api-server-tls-name=localhost"];
        all.extend(more);
        if !more.iter().any(|flag| flag.starts_with("--scrape-interval")) {
            all.push("--scrape-interval=1s");
        }
        self.run("join", &all)
    }

    pub(crate) fn join(&self, more: &[&str]) -> Run {
        self.try_join(more).succeeded()
    }

    fn operated(&self) -> Operated {
        hub().run(&self.namespace, "kps", 0).expect("Prometheus starts")
    }

    /// Objects of ours in the namespace. Where no operator looks, an interrupted join of another trial has some too.
    fn objects(&self) -> Vec<String> {
        let all = objects_in(hub().cluster(), &self.namespace);
        all.into_iter().filter(|name| !name.contains("prom-federate-interrupted")).collect()
    }

    pub(crate) fn secret(&self) -> Value {
        let path = format!("/api/v1/namespaces/{}/secrets/prom-federate-east", self.namespace);
        hub().cluster().api().get(&path).expect("the hub answers").json()
    }

    pub(crate) fn record(&self) -> Value {
        let secret = self.secret();
        let record = secret["metadata"]["annotations"]["prom-federate.io/record"].as_str().expect("a record");
        serde_json::from_str(record).expect("JSON")
    }

    /// Nothing was left on either side.
    fn is_untouched(&self) {
        assert_eq!(self.objects(), Vec::<String>::new());
        // A namespace takes its time to go.
        let gone = testbed::until(SOON, || self.account.objects().is_empty().then_some(()));
        assert!(gone.is_some(), "{:?}", self.account.objects());
    }
}

fn objects_in(cluster: &Cluster, namespace: &str) -> Vec<String> {
    objects_of("secrets,scrapeconfigs,prometheusrules", cluster, namespace)
}

/// Objects of ours.
pub(crate) fn objects_of(kinds: &str, cluster: &Cluster, namespace: &str) -> Vec<String> {
    let ours = "app.kubernetes.io/managed-by=kubectl-prom-federate";
    let listed = cluster.kubectl_ok(&["get", kinds, "-n", namespace, "-l", ours, "-o", "name"]);
    listed.lines().map(str::to_owned).collect()
}

/// The targets of our jobs, all of which are up.
fn all_up(prometheus: &Prometheus, count: usize) -> Vec<Target> {
    let ours = |it: &Prometheus| -> Vec<Target> {
        let targets = it.targets().unwrap_or_default();
        targets.into_iter().filter(|target| target.pool.contains("/prom-federate-")).collect()
    };
    let up = |it: &Prometheus| Some(ours(it)).filter(|all| all.len() == count && all.iter().all(Target::is_up));
    prometheus.wait_until(SOON, up).unwrap_or_else(|| panic!("not all up: {:?}", ours(prometheus)))
}

fn jobs_are_scraped_renewed_and_removed() {
    let scene = Scene::new("whole");
    // Not so often that a busy machine could fail a scrape by itself.
    let pace = "--scrape-interval=3s";
    let run = scene.join(&[pace]);
    for said in [
        "✔ to prometheus/kps in namespace op-whole of hub, read by Prometheus 3.11.0",
        "Warning: Prometheus 3.11 sends the token along",
        "Prometheus 3.11.0 has them in its configuration (secret/prometheus-kps)",
        "no scrape with the new token was observed: name the address of its Prometheus with --prometheus-url URL",
    ] {
        assert!(run.stderr.contains(said), "does not say {said:?}: {}", run.stderr);
    }
    assert_eq!(
        scene.objects(),
        [
            "secret/prom-federate-east",
            "scrapeconfig.monitoring.coreos.com/prom-federate-east-cadvisor",
            "scrapeconfig.monitoring.coreos.com/prom-federate-east-kubelet",
            "prometheusrule.monitoring.coreos.com/prom-federate-east",
        ]
    );
    let token = |secret: &Value| secret["data"]["token"].as_str().expect("a token").to_owned();
    let first = token(&scene.secret());
    let decoded = Command::new("sh").args(["-c", &format!("printf %s {first} | base64 -d | tail -c 1")]).output();
    assert_ne!(decoded.expect("sh runs").stdout, b"\n", "a newline makes Prometheus refuse the header");
    assert!(!run.stderr.contains(&first) && !scene.record().to_string().contains(&first));

    let operated = scene.operated();
    let prometheus = operated.prometheus();
    all_up(prometheus, 4);
    let began = Instant::now();
    let rules = prometheus.get("/api/v1/rules").expect("Prometheus answers").body;
    assert!(rules.contains("PromFederateTokenExpiring"), "{rules}");

    // It was not verified that Prometheus stopped using the old token, so the token stays valid.
    let rotated = scene.run("rotate", &["--now"]).succeeded();
    assert!(rotated.stderr.contains("new token until"), "{}", rotated.stderr);
    let second = token(&scene.secret());
    assert_ne!(first, second);
    assert_eq!(scene.account.secrets().len(), 2);
    assert_eq!(scene.record()["replaces"].as_array().map(Vec::len), Some(1));

    // With the API it is verified.
    let url = format!("--prometheus-url={}", prometheus.url());
    let rotated = scene.run("rotate", &["--now", &url]).succeeded();
    assert!(rotated.stderr.contains("4 of 4 targets up"), "{}", rotated.stderr);
    assert_eq!(scene.account.secrets(), [scene.record()["boundSecret"]["name"].as_str().expect("a name")]);
    assert_eq!(scene.record()["replaces"], json!([]));
    all_up(prometheus, 4);
    let window = began.elapsed().as_secs();
    let least = format!("min(min_over_time(up{{cluster=\"east\"}}[{window}s]))");
    assert_eq!(prometheus.number(&least).expect("an answer"), Some(1.0), "no scrape failed");
    assert!(scene.run("rotate", &[]).succeeded().stderr.contains("not due before"));

    let status = scene.run("status", &[&url]).succeeded();
    assert!(status.stdout.contains("east") && status.stdout.contains("ok"), "{}{}", status.stdout, status.stderr);
    let again = scene.join(&[pace, &url]);
    assert!(again.stderr.contains("4 of 4 targets up"), "{}", again.stderr);
    let rules: Run = command(&scene.kubeconfig, &["rules", "-p", &scene.typed()]).output().expect("it starts").into();
    assert!(rules.succeeded().stdout.contains("PromFederateTokenExpiring"));

    let left = scene.run("leave", &["east", "--yes"]).succeeded();
    for said in [
        "does not have them in its configuration any more",
        "a token that worked before now gets 401 (after ",
        "all objects of the plugin are deleted",
    ] {
        assert!(left.stderr.contains(said), "does not say {said:?}: {}", left.stderr);
    }
    scene.is_untouched();
    let none = prometheus.wait_until(SOON, |it| it.targets().ok().filter(Vec::is_empty));
    assert!(none.is_some(), "{:?}", prometheus.targets());
}

/// A move from a directory to an operator keeps dashboards and alerts.
fn series_equal_those_of_a_directory() {
    let scene = Scene::new("series");
    let jobs = "--jobs=default,resource,probes,apiserver";
    let printed = scene.account.join(&[jobs, "--scrape-interval=1s"]);
    scene.join(&[jobs]);
    let file = Prometheus::start(&printed.stdout).expect("Prometheus starts");
    let operated = scene.operated();
    all_up(operated.prometheus(), 9);
    file.wait_for_targets(9, SOON).expect("all are up");
    let labels = |prometheus: &Prometheus| -> Vec<String> {
        let targets = prometheus.targets().expect("targets");
        // The API server of one is behind another address.
        let own = [testbed::shared().east.address().to_string(), scene.front.address().to_string()];
        let mut labels: Vec<String> = targets
            .iter()
            .map(|target| own.iter().fold(target.labels.to_string(), |text, own| text.replace(own, "API")))
            .collect();
        labels.sort();
        labels
    };
    assert_eq!(labels(operated.prometheus()), labels(&file));
}

fn every_node_is_scraped_by_one_shard() {
    // The names of this cluster's nodes have hashes that differ in their last bit.
    let west = &testbed::shared().west;
    let scene = Scene::of(west, "shards", &json!({ "scrapeConfigSelector": {}, "shards": 2 }));
    scene.join(&["--jobs=default,apiserver"]);
    let shards = [0, 1].map(|shard| hub().run(&scene.namespace, "kps", shard).expect("Prometheus starts"));
    let pools = |one: &Operated| -> Vec<String> {
        let targets = one.prometheus().targets().unwrap_or_default();
        let up = targets.iter().filter(|target| target.is_up());
        up.map(|target| format!("{} {}", target.pool.rsplit('-').next().unwrap_or_default(), target.label("instance")))
            .collect()
    };
    let all = || {
        let mut all: Vec<String> = shards.iter().flat_map(pools).collect();
        all.sort();
        Some(all).filter(|all| all.len() == 5)
    };
    let all = testbed::until(SOON, all).unwrap_or_else(|| panic!("{:?}", shards.each_ref().map(pools)));
    let api = scene.front.address();
    let nodes = ["west-node-0", "west-node-1"];
    let mut expected: Vec<String> =
        nodes.iter().flat_map(|node| [format!("cadvisor {node}"), format!("kubelet {node}")]).collect();
    expected.push(format!("apiserver {api}"));
    expected.sort();
    assert_eq!(all, expected);
    // Not all by one, and what is of one node is together.
    let [one, other] = shards.each_ref().map(|shard| {
        let of_nodes = pools(shard).into_iter().filter_map(|pool| Some(pool.split_once("west-node-")?.1.to_owned()));
        of_nodes.collect::<Vec<String>>()
    });
    assert_eq!((one.len(), other.len()), (2, 2), "{one:?} {other:?}");
    assert_ne!(one[0], other[0]);

    let url = format!("--prometheus-url={}", shards[0].prometheus().url());
    let rotated = scene.run("rotate", &["--now", &url]).succeeded();
    assert!(rotated.stderr.contains("targets up"), "what this shard has: {}", rotated.stderr);
}

fn selected_nodes_are_the_only_targets() {
    let scene = Scene::new("selected");
    let operated = scene.operated();
    let url = format!("--prometheus-url={}", operated.prometheus().url());
    let selector = "--node-selector=kubernetes.io/hostname!=east-node-1";
    let joined = scene.join(&[selector, &url]);
    assert!(joined.stderr.contains("2 of 2 targets up"), "{}", joined.stderr);
    let rotated = scene.run("rotate", &["--now", &url]).succeeded();
    assert!(rotated.stderr.contains("2 of 2 targets up"), "{}", rotated.stderr);
    // None while it loads a configuration.
    let found = || operated.prometheus().targets().ok().filter(|targets| !targets.is_empty());
    let targets = testbed::until(SOON, found).expect("Prometheus has targets");
    let of_node = |target: &&Target| target.label("node") == "east-node-0";
    assert_eq!((targets.len(), targets.iter().filter(of_node).count()), (2, 2), "{targets:?}");
}

fn refuse_in(namespace: &str) {
    refuse("monitoring.coreos.com", "v1alpha1", "ScrapeConfig", namespace);
}

/// A foreign policy adds a scrape class to these jobs that the object which selects them does not have.
pub(crate) fn refuse(group: &str, version: &str, kind: &str, namespace: &str) {
    let name = format!("e2e-refuse-{namespace}");
    let plural = format!("{}s", kind.to_lowercase());
    hub().cluster().apply(&format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  matchConstraints:
    resourceRules:
    - {{apiGroups: [{group}], apiVersions: ['*'], operations: [CREATE, UPDATE], resources: [{plural}]}}
  matchConditions: [{{name: here, expression: 'request.namespace == \"{namespace}\"'}}]
  reinvocationPolicy: Never
  mutations:
  - patchType: JSONPatch
    jsonPatch: {{expression: '[JSONPatch{{op: \"add\", path: \"/spec/scrapeClass\", value: \"absent\"}}]'}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}}}
"
    ));
    let probe = json!({
        "apiVersion": format!("{group}/{version}"), "kind": kind,
        "metadata": { "name": "probe", "namespace": namespace }, "spec": {},
    });
    let path = format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}?dryRun=All");
    let is_enforced = || {
        let made = hub().cluster().api().post(&path, &probe).ok()?.json();
        (made["spec"]["scrapeClass"] == "absent").then_some(())
    };
    testbed::until(SOON, is_enforced).expect("the policy is enforced");
}

fn rejected_jobs_are_undone() {
    let scene = Scene::new("refused");
    refuse_in(&scene.namespace);
    scene
        .try_join(&[])
        .failed("ConfigRefused", &["the operator rejects scrapeconfig", "prometheus/kps", "scrapeClass \"absent\""]);
    scene.is_untouched();

    // What was there before is back, and scraped.
    hub().cluster().kubectl_ok(&["delete", "mutatingadmissionpolicybinding", "e2e-refuse-op-refused"]);
    scene.join(&[]);
    let operated = scene.operated();
    all_up(operated.prometheus(), 4);
    let (before, secrets) = (scene.secret(), scene.account.secrets());
    refuse_in(&scene.namespace);
    let failed = scene.run("rotate", &["--now"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("the operator rejects"), "{}", failed.stderr);
    assert_eq!(scene.secret()["data"], before["data"]);
    assert_eq!(scene.secret()["metadata"]["annotations"], before["metadata"]["annotations"]);
    assert_eq!(scene.account.secrets(), secrets, "the new token is revoked, the old one not");
    // The policy of this test has its hand in that too.
    let refused = || {
        let status = scene.run("status", &[]);
        assert_eq!(status.code, Some(1), "{}", status.stderr);
        status.stderr.contains("the operator rejects scrapeconfig").then_some(())
    };
    testbed::until(SOON, refused).expect("the operator has looked at what was put back");
}

fn rejection_without_status_is_read_from_events() {
    let scene = Scene::within("quiet", QUIET);
    hub().prometheus(QUIET, "kps", &release()).expect("a Prometheus");
    scene.join(&[]);
    let operated = scene.operated();
    all_up(operated.prometheus(), 4);
    refuse_in(QUIET);
    let failed = scene.run("rotate", &["--now"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("scrapeClass \"absent\" not found"), "{}", failed.stderr);
    assert_eq!(scene.account.secrets().len(), 1);
}

fn jobs_that_no_operator_processes_are_undone() {
    let scene = Scene::within("unwatched", UNWATCHED);
    hub().prometheus(UNWATCHED, "kps", &release()).expect("a Prometheus");
    scene.try_join(&[]).failed("NotGenerated", &["has not put the jobs into the configuration of prometheus/kps"]);
    scene.is_untouched();
    hub().prometheus("op-paused", "kps", &json!({ "scrapeConfigSelector": {}, "paused": true })).expect("a Prometheus");
    Scene::within("paused", "op-paused").try_join(&[]).failed("DestinationUnusable", &["is paused"]);
}

fn missing_secret_is_reported_and_restored() {
    let scene = Scene::new("missing");
    scene.join(&[]);
    hub().cluster().kubectl_ok(&["delete", "secret", "prom-federate-east", "-n", &scene.namespace]);
    let status = scene.run("status", &[]);
    assert_eq!(status.code, Some(1), "{}", status.stderr);
    assert!(status.stderr.contains("the record of east does not exist"), "{}", status.stderr);
    let rotated = scene.run("rotate", &["--now"]);
    assert!(rotated.stderr.contains("the record of east does not exist"), "{}", rotated.stderr);
    scene.join(&[]);
    let operated = scene.operated();
    all_up(operated.prometheus(), 4);
    assert_eq!(scene.account.secrets().len(), 1, "that of the lost token is cleared away or replaced");

    hub().cluster().kubectl_ok(&["delete", "scrapeconfig", "prom-federate-east-kubelet", "-n", &scene.namespace]);
    let status = scene.run("status", &[]);
    assert!(status.stderr.contains("prom-federate-east-kubelet is gone. Write it again: kubectl"), "{}", status.stderr);
    scene.run("rotate", &["--now"]).succeeded();
    all_up(operated.prometheus(), 4);
}

/// A tenant who may write the Secrets of that namespace writes the record, as the plugin's own field manager.
fn tenant_of_the_hub_steers_no_rotation() {
    let scene = Scene::new("tenant");
    scene.join(&[]);
    let before = scene.account.objects();
    let (honest, honest_record) = (scene.secret(), scene.record());
    let plant = |claims: &Value| {
        let mut secret = honest.clone();
        let metadata = secret["metadata"].as_object_mut().expect("metadata");
        metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
        let mut record = honest_record.clone();
        record.as_object_mut().expect("a record").extend(claims.as_object().expect("claims").clone());
        metadata["annotations"]["prom-federate.io/record"] = record.to_string().into();
        let path = hub().cluster().dir().join("planted-secret.json");
        std::fs::write(&path, secret.to_string()).expect("a file");
        let path = path.display().to_string();
        hub().cluster().kubectl_ok(&["delete", "secret", "prom-federate-east", "-n", &scene.namespace]);
        hub().cluster().kubectl_ok(&["apply", "--server-side", "--field-manager=kubectl-prom-federate", "-f", &path]);
    };
    for (claims, says) in [
        (
            json!({ "jobs": "cadvisor,kubelet,pods=kube-system/metrics", "fenced": false }),
            "--jobs is cadvisor,kubelet,pods=kube-system/metrics instead of cadvisor,kubelet, --fence is off instead of required",
        ),
        (json!({ "serviceAccount": "hubacct" }), "the cluster has no secret/"),
    ] {
        plant(&claims);
        let run = scene.run("rotate", &["--now"]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(
            run.stderr.contains("error (RecordNotConfirmed): east: ") && run.stderr.contains(says),
            "{}",
            run.stderr
        );
        assert_eq!(scene.account.objects(), before);
    }
    let roles = scene.account.cluster.kubectl_ok(&["get", "clusterroles", "-o", "name"]);
    assert!(!roles.contains("hubacct"), "{roles}");
    plant(&json!({}));
    scene.run("rotate", &["--now"]).succeeded();
}

fn jobs_go_into_the_selected_namespace() {
    let jobs = "op-jobs-of-placed";
    hub().namespace(jobs, &json!({ "jobs-of": "placed" })).expect("a namespace");
    let spec = json!({
        "scrapeConfigSelector": { "matchExpressions": [{ "key": "team", "operator": "In", "values": ["a", "b"] }] },
        "scrapeConfigNamespaceSelector": { "matchLabels": { "jobs-of": "placed" } },
    });
    let scene = Scene::with("placed", &spec);
    scene.join(&[]);
    assert_eq!(scene.objects(), Vec::<String>::new());
    assert_eq!(objects_in(hub().cluster(), jobs).len(), 3, "no rules: it selects none");
    let operated = scene.operated();
    all_up(operated.prometheus(), 4);
    // The operator does not watch Secrets of other namespaces.
    let url = format!("--prometheus-url={}", operated.prometheus().url());
    let rotated = scene.run("rotate", &["--now", &url]).succeeded();
    assert!(rotated.stderr.contains("4 of 4 targets up"), "{}", rotated.stderr);
    scene.run("leave", &["east", "--yes"]).succeeded();
    assert_eq!(objects_in(hub().cluster(), jobs), Vec::<String>::new());
}

fn agent_scrapes_and_is_told_from_the_prometheus_of_its_name() {
    let name = "agent";
    let scene = Scene::within(name, &format!("op-{name}{}", crate::trial::suffix()));
    let space = &scene.namespace;
    hub().agent(space, "kps", &json!({ "scrapeConfigSelector": {} })).expect("a PrometheusAgent");
    // Without a kind, the only object of the name.
    let joined = scene.join(&[]);
    for said in
        ["✔ to prometheusagent/kps in namespace op-agent", "read by Prometheus agent 3.11.0", "(secret/prom-agent-kps)"]
    {
        assert!(joined.stderr.contains(said), "does not say {said:?}: {}", joined.stderr);
    }
    assert!(!scene.objects().iter().any(|object| object.contains("prometheusrule")), "{:?}", scene.objects());
    let operated = hub().run_agent(space, "kps").expect("the agent starts");
    all_up(operated.prometheus(), 4);

    hub().prometheus(space, "kps", &json!({ "scrapeConfigSelector": {} })).expect("a Prometheus");
    let url = format!("--prometheus-url={}", operated.prometheus().url());
    scene
        .run("rotate", &["--now", &url])
        .failed("DestinationUnusable", &["is a Prometheus and a PrometheusAgent", "/prometheusagent/kps"]);
    let of = |kind: &str| format!("operator://{space}/{kind}/kps?context=hub");
    let run = |verb: &str, location: &str, more: &[&str]| -> Run {
        let all = [&[verb, "-p", location], more].concat();
        command(&scene.kubeconfig, &all).output().expect("the plugin starts").into()
    };
    let (agent, server) = (of("prometheusagent"), of("prometheus"));
    let rotated = run("rotate", &agent, &["--now", &url]).succeeded();
    assert!(rotated.stderr.contains("4 of 4 targets up"), "{}", rotated.stderr);
    assert_eq!(scene.account.secrets().len(), 1);
    // An operator may touch its configuration once more, and a reload forgets the scrapes.
    let status = || run("status", &agent, &[&url]).succeeded().stdout;
    let seen = testbed::until(SOON, || Some(status()).filter(|shown| shown.contains("4/4")));
    assert!(seen.is_some(), "{}", status());
    let (namespace, address) = (format!("--namespace={}", scene.account.namespace), scene.front.url());
    let second = ["--yes", &namespace, "--api-server", &address, "--api-server-tls-name=localhost"];
    run("join", &server, &second).failed("ClusterKnown", &["already has jobs of east", "/prometheusagent/kps"]);

    run("leave", &agent, &["east", "--yes"]).succeeded();
    scene.is_untouched();
    let every_node = json!({ "mode": "DaemonSet", "replicas": null });
    hub().agent(space, "nodes", &every_node).expect("a PrometheusAgent");
    run("join", &format!("operator://{space}/nodes?context=hub"), &second)
        .failed("DestinationUnusable", &["prometheusagent/nodes: it has mode DaemonSet"]);
}

fn unselectable_jobs_are_rejected_before_any_write() {
    for (name, spec, says) in [
        ("nil", json!({}), "has no scrapeConfigSelector"),
        (
            "helm",
            json!({ "scrapeConfigSelector": { "matchLabels": { "app.kubernetes.io/managed-by": "Helm" } } }),
            "requires app.kubernetes.io/managed-by=Helm",
        ),
        (
            "nowhere",
            json!({ "scrapeConfigSelector": {}, "scrapeConfigNamespaceSelector": { "matchLabels": { "no": "such" } } }),
            "selects no existing namespace",
        ),
    ] {
        let scene = Scene::with(name, &spec);
        scene.try_join(&[]).failed("DestinationUnusable", &[says]);
        scene.is_untouched();
    }
    let scene = Scene::new("loopback");
    let namespace = format!("--namespace={}", scene.account.namespace);
    let run = scene.run("join", &["--yes", &namespace]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("is a loopback address"), "{}", run.stderr);
    scene.is_untouched();
}

fn prometheus_must_be_named_unambiguously() {
    let scene = Scene::new("known");
    hub().prometheus(&scene.namespace, "other", &release()).expect("a Prometheus");
    let join = |location: String| -> Run {
        command(&scene.kubeconfig, &["join", "--yes", "-p", &location]).output().expect("it starts").into()
    };
    let space = &scene.namespace;
    join(format!("operator://{space}?context=hub"))
        .failed("DestinationUnusable", &["several Prometheus", "prometheus/kps, prometheus/other"]);
    join(format!("operator://{space}/kp?context=hub"))
        .failed("DestinationUnusable", &["there is no prometheus/kp", "It has prometheus/kps, prometheus/other"]);
    join("operator://default?context=hub".to_owned())
        .failed("DestinationUnusable", &["no Prometheus in namespace default"]);
    join(format!("operator://{space}/kps?context=nowhere")).failed("ContextNotFound", &["nowhere"]);
    // Jobs of both would be scraped twice.
    scene.join(&[]);
    let other = format!("operator://{space}/other?context=hub");
    let (namespace, url) = (format!("--namespace={}", scene.account.namespace), scene.front.url());
    let both = ["join", "--yes", &namespace, "--api-server", &url, "--api-server-tls-name=localhost", "-p", &other];
    let both: Run = command(&scene.kubeconfig, &both).output().expect("it starts").into();
    both.failed("ClusterKnown", &["already has jobs of east", "operator://op-known/kps"]);
}

fn missing_or_old_crds_are_rejected() {
    let scene = Scene::new("kinds");
    let shared = testbed::shared();
    let location = "operator://default?context=west";
    std::fs::write(&scene.kubeconfig, Kubeconfig::merged(&[shared.east.admin(), shared.west.admin()])).expect("a file");
    let absent: Run =
        command(&scene.kubeconfig, &["join", "--yes", "-p", location]).output().expect("it starts").into();
    absent.failed("DestinationUnusable", &["too old or missing", "the hub knows no Prometheus"]);

    // Before 0.71 discovery had no address of its own.
    let old = testbed::special("old-hub", || ClusterSpec::new("old-hub").nodes(0));
    let kinds = operator_kinds().expect("the operator's kinds");
    for kind in ["prometheuses", "prometheusrules", "scrapeconfigs"] {
        let text = std::fs::read_to_string(kinds.join(format!("monitoring.coreos.com_{kind}.yaml"))).expect("a kind");
        let mut kind = prom_federate::yaml::read(&text).expect("YAML");
        let schema = kind.pointer_mut(
            "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/kubernetesSDConfigs/items/properties",
        );
        if let Some(fields) = schema.and_then(Value::as_object_mut) {
            fields.remove("apiServer").expect("the field was there");
        }
        old.apply(&kind.to_string());
    }
    old.until_kinds_are_served().expect("they are served");
    old.apply(
        "{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, metadata: {name: kps, namespace: default}, \
         spec: {scrapeConfigSelector: {}}}",
    );
    std::fs::write(&scene.kubeconfig, Kubeconfig::merged(&[shared.east.admin(), old.admin()])).expect("a file");
    let location = "operator://default?context=old-hub";
    let (namespace, url) = (format!("--namespace={}", scene.account.namespace), scene.front.url());
    let arguments =
        ["join", "--yes", &namespace, "--api-server", &url, "--api-server-tls-name=localhost", "-p", location];
    let too_old: Run = command(&scene.kubeconfig, &arguments).output().expect("it starts").into();
    too_old.failed("DestinationUnusable", &["too old or missing", "apiServer"]);
    assert_eq!(objects_in(old, "default"), Vec::<String>::new());
    scene.is_untouched();
}

fn permissions_on_the_hub_are_checked_first() {
    let scene = Scene::new("rights");
    let cluster = hub().cluster();
    let client = cluster.client_certificate("jane", &[], Validity::current()).expect("a certificate");
    let jane = Kubeconfig { user: User::Certificate(client), ..cluster.admin() };
    let contexts = [testbed::shared().east.admin(), jane];
    std::fs::write(&scene.kubeconfig, Kubeconfig::merged(&contexts)).expect("a kubeconfig");
    scene.try_join(&[]).failed("Forbidden", &["prometheuses", "jane"]);

    let space = scene.namespace.clone();
    let grant = |verbs: &str, resources: &str| {
        let role = format!("{}-{}", verbs.replace([',', '*'], "x"), resources.replace(['.', ',', '*'], "x"));
        cluster.kubectl_ok(&["create", "role", &role, "-n", &space, "--verb", verbs, "--resource", resources]);
        cluster.kubectl_ok(&["create", "rolebinding", &role, "-n", &space, "--role", &role, "--user=jane"]);
    };
    grant(
        "get,list",
        "prometheuses.monitoring.coreos.com,scrapeconfigs.monitoring.coreos.com,prometheusrules.monitoring.coreos.com,secrets",
    );
    // The UID of the hub.
    cluster.kubectl_ok(&[
        "create",
        "clusterrole",
        "jane",
        "--verb=get",
        "--resource=namespaces",
        "--resource-name=kube-system",
    ]);
    cluster.kubectl_ok(&["create", "clusterrolebinding", "jane", "--clusterrole=jane", "--user=jane"]);
    scene.try_join(&[]).failed("Forbidden", &["jane"]);
    scene.is_untouched();

    // Without the right to read the generated configuration, the operator's verdict must do.
    cluster.kubectl_ok(&["delete", "role", "--all", "-n", &space]);
    cluster.kubectl_ok(&["delete", "rolebinding", "--all", "-n", &space]);
    cluster.apply(&format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: jane, namespace: {space}}}
rules:
- {{apiGroups: [''], resources: [secrets], verbs: [list, create]}}
- {{apiGroups: [''], resources: [secrets], resourceNames: [prom-federate-east], verbs: [get, patch, delete]}}
- {{apiGroups: [monitoring.coreos.com], resources: [prometheuses], verbs: [list]}}
- {{apiGroups: [monitoring.coreos.com], resources: [scrapeconfigs, prometheusrules], verbs: ['*']}}
"
    ));
    cluster.kubectl_ok(&["create", "rolebinding", "jane", "-n", &space, "--role=jane", "--user=jane"]);
    let run = scene.join(&[]);
    assert!(run.stderr.contains("its operator has accepted them"), "{}", run.stderr);
    let operated = scene.operated();
    all_up(operated.prometheus(), 4);
}

fn account_renews_itself() {
    let scene = Scene::new("itself");
    scene.join(&["--self-renew"]);
    let operated = scene.operated();
    all_up(operated.prometheus(), 4);
    let before = scene.secret()["data"]["token"].clone();
    // Where the hub can be reached and the cluster's administrator is not known.
    std::fs::write(&scene.kubeconfig, Kubeconfig::merged(&[hub().cluster().admin()])).expect("a kubeconfig");
    let url = format!("--prometheus-url={}", operated.prometheus().url());
    let run = scene.run("rotate", &["--now", &url]).succeeded();
    assert!(run.stderr.contains("issued by the account itself"), "{}", run.stderr);
    assert_ne!(scene.secret()["data"]["token"], before);
    all_up(operated.prometheus(), 4);
}

fn cluster_keeps_its_label() {
    let scene = Scene::new("label");
    scene.join(&[]);
    let operated = scene.operated();
    all_up(operated.prometheus(), 4);
    scene.try_join(&["--cluster-name=Orient"]).failed("ClusterKnown", &["knows this cluster", "as east"]);
    let url = format!("--prometheus-url={}", operated.prometheus().url());
    scene.join(&["--cluster-name=Orient", "--rename", &url]);
    let targets = all_up(operated.prometheus(), 4);
    assert!(targets.iter().all(|target| target.label("cluster") == "Orient"), "{targets:?}");
    assert!(scene.objects().iter().all(|name| !name.contains("east")), "{:?}", scene.objects());
    assert_eq!(scene.account.secrets().len(), 1);
    // Fewer jobs take the others out.
    scene.join(&["--cluster-name=Orient", "--jobs=kubelet", &url]);
    all_up(operated.prometheus(), 2);
}

/// The requests by which a join writes to the hub, in their order.
fn writes(proxy: &FaultProxy) -> Vec<(String, String, usize)> {
    let mut counts = BTreeMap::new();
    let requests = proxy.requests().into_iter();
    requests
        .filter(|request| request.method != "GET" && !request.path.contains("dryRun=All"))
        .map(|request| {
            let path = request.path.split('?').next().unwrap_or_default().to_owned();
            let before = counts.entry((request.method.clone(), path.clone())).or_insert(0);
            *before += 1;
            (request.method, path, *before - 1)
        })
        .collect()
}

/// What happens to one of them.
fn fault(proxy: &FaultProxy, (method, path, before): &(String, String, usize), action: Action) {
    proxy.clear_rules();
    // Dry runs go to the same paths.
    proxy.rule(Rule::new("*", "dryRun=All", Action::Pass));
    proxy.rule(Rule::new(method, &format!("{path}?"), action).skip(*before).times(1));
}

pub(crate) fn behind(scene: &Scene) -> FaultProxy {
    let proxy = FaultProxy::in_front_of(hub().cluster()).expect("a proxy");
    let contexts = [scene.account.cluster.admin(), proxy.client()];
    std::fs::write(&scene.kubeconfig, Kubeconfig::merged(&contexts)).expect("a kubeconfig");
    proxy
}

fn failed_write_undoes_all_earlier_writes() {
    let scene = Scene::new("faults");
    let proxy = behind(&scene);
    let refuse = || Action::Answer {
        status: 500,
        body: json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": "no more" }),
    };
    scene.join(&[]);
    let all = writes(&proxy);
    assert_eq!(all.len(), 4, "{all:?}");
    scene.run("leave", &["east", "--yes"]).succeeded();
    for write in &all {
        fault(&proxy, write, refuse());
        scene.try_join(&[]).failed("ApiServerError", &["no more"]);
        scene.is_untouched();
    }
    proxy.clear_rules();
    scene.join(&[]);
    let operated = scene.operated();
    let (before, secrets) = (scene.secret(), scene.account.secrets());
    for write in &all {
        fault(&proxy, write, refuse());
        let failed = scene.run("rotate", &["--now"]);
        assert_eq!(failed.code, Some(1), "{write:?}: {}", failed.stderr);
        assert_eq!(scene.secret()["data"], before["data"], "{write:?}");
        assert_eq!(scene.account.secrets(), secrets, "{write:?}");
    }
    all_up(operated.prometheus(), 4);
}

fn next_run_converges_after_any_kill() {
    let scene = Scene::new("killed");
    let proxy = behind(&scene);
    scene.join(&[]);
    let operated = scene.operated();
    let count = "the Secret, two jobs, rules, and the record without what was replaced";
    converges_after_any_kill(&scene, &proxy, operated.prometheus().url(), (5, count), || {
        all_up(operated.prometheus(), 4);
    });
}

/// Kill a rotation at each of its writes to the hub, of which there are so many.
pub(crate) fn converges_after_any_kill(
    scene: &Scene,
    proxy: &FaultProxy,
    url: &str,
    (count, which): (usize, &str),
    all_up: impl Fn(),
) {
    all_up();
    let url = format!("--prometheus-url={url}");
    proxy.forget_requests();
    scene.run("rotate", &["--now", &url]).succeeded();
    let all = writes(proxy);
    assert_eq!(all.len(), count, "{which}: {all:?}");
    for write in &all {
        proxy.forget_requests();
        fault(proxy, write, Action::Hang);
        let typed = scene.typed();
        let arguments = ["rotate", "--now", "-p", &typed, &url, "--request-timeout=0"];
        let mut child = command(&scene.kubeconfig, &arguments).stderr(Stdio::null()).spawn().expect("it starts");
        let asked = || writes(proxy).contains(write).then_some(());
        testbed::until(SOON, asked).unwrap_or_else(|| panic!("{write:?} is not asked"));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        all_up();
        proxy.clear_rules();
        scene.run("rotate", &["--now", &url]).succeeded();
        all_up();
        assert_eq!(scene.record()["replaces"], json!([]), "{write:?}");
        assert_eq!(scene.account.secrets(), [scene.record()["boundSecret"]["name"].as_str().expect("a name")]);
    }
}

fn interrupt_is_undone() {
    let scene = Scene::within("interrupted", UNWATCHED);
    // Another test may have made it.
    let _ = hub().prometheus(UNWATCHED, "interrupted", &release());
    let typed = format!("operator://{UNWATCHED}/interrupted?context=hub");
    let (namespace, address) =
        (format!("--namespace={}", scene.account.namespace), format!("--api-server={}", scene.front.url()));
    let arguments = [
        "join",
        "--yes",
        "-p",
        &typed,
        &namespace,
        &address,
        "--api-server-tls-name=localhost",
        "--cluster-name=interrupted",
    ];
    let child = command(&scene.kubeconfig, &arguments).stderr(Stdio::piped()).spawn().expect("it starts");
    let written = || {
        let path =
            format!("/apis/monitoring.coreos.com/v1/namespaces/{UNWATCHED}/prometheusrules/prom-federate-interrupted");
        hub().cluster().api().get(&path).ok().filter(testbed::Answer::is_success).map(|_| ())
    };
    testbed::until(SOON, written).expect("it waits for the operator");
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let run: Run = child.wait_with_output().expect("it ends").into();
    assert_eq!(run.code, Some(130), "{}", run.stderr);
    assert!(!run.stderr.contains("Not undone"), "{}", run.stderr);
    let left: Vec<String> =
        objects_in(hub().cluster(), UNWATCHED).into_iter().filter(|name| name.contains("interrupted")).collect();
    assert_eq!(left, Vec::<String>::new());
    let gone = testbed::until(SOON, || scene.account.objects().is_empty().then_some(()));
    assert!(gone.is_some(), "{:?}", scene.account.objects());
}

fn foreign_objects_stay() {
    let scene = Scene::new("foreign");
    let cluster = hub().cluster();
    let space = &scene.namespace;
    cluster.kubectl_ok(&["create", "secret", "generic", "prom-federate-east", "-n", space, "--from-literal=a=b"]);
    scene.try_join(&[]).failed("NotOurs", &["secret/prom-federate-east exists and has another owner; it stays"]);
    assert_eq!(scene.account.objects(), Vec::<String>::new(), "nothing was written to the cluster for it");
    assert_eq!(scene.secret()["data"], json!({ "a": "Yg==" }));
    // Labels alone make nothing ours.
    let labels = ["app.kubernetes.io/managed-by=kubectl-prom-federate", "prom-federate.io/cluster=east"];
    cluster.kubectl_ok(&["label", "secret", "prom-federate-east", "-n", space, labels[0], labels[1]]);
    scene.try_join(&[]).failed("NotOurs", &["exists and has another owner"]);
    scene.run("leave", &["east", "--yes"]).failed("ClusterUnknown", &["there is no cluster east"]);
    assert_eq!(scene.secret()["data"], json!({ "a": "Yg==" }));
}

fn check_reports_what_join_would_report() {
    let scene = Scene::new("check");
    let address = format!("--api-server={}", scene.front.url());
    let namespace = format!("--namespace={}", scene.account.namespace);
    let check = |scene: &Scene| {
        scene.run("check", &[&address, "--api-server-tls-name=localhost", &namespace, "--context=east"])
    };
    let before = check(&scene).succeeded();
    let says = "its cluster accepts the jobs as objects that this Prometheus selects (dry run)";
    assert!(before.stdout.contains(says), "{}", before.stdout);
    scene.is_untouched();
    let nil = Scene::with("check-nil", &json!({}));
    let stopped = check(&nil);
    assert_eq!(stopped.code, Some(1), "{}", stopped.stdout);
    assert!(stopped.stdout.contains("has no scrapeConfigSelector"), "{}", stopped.stdout);
    scene.join(&[]);
    let after = scene.run("check", &["east"]);
    assert!(after.stdout.contains("secret/prometheus-"), "{}{}", after.stdout, after.stderr);
    assert!(!after.stdout.contains("operator rejects"), "{}", after.stdout);
}

fn directory_and_operator_have_separate_tokens() {
    let scene = Scene::new("pair");
    let folder = Prometheus::start("global: {scrape_interval: 1s}\n").expect("Prometheus starts");
    let typed = folder.dir().display().to_string();
    scene.join(&["-p", &typed]);
    let operated = scene.operated();
    all_up(operated.prometheus(), 4);
    folder.wait_for_targets(4, SOON).expect("all are up");
    assert_eq!(scene.account.secrets().len(), 2);
    let status = scene.run("status", &["-p", &typed]);
    assert_eq!(status.stdout.matches("east").count(), 2, "{}{}", status.stdout, status.stderr);
    let left = scene.run("leave", &["east", "--yes"]).succeeded();
    assert!(left.stderr.contains("other destinations use it"), "{}", left.stderr);
    assert_eq!(scene.account.secrets().len(), 1);
    assert_eq!(scene.objects(), Vec::<String>::new());
}

fn watch_renews_due_tokens() {
    let scene = Scene::new("watch");
    scene.join(&["--jobs=kubelet"]);
    let operated = scene.operated();
    all_up(operated.prometheus(), 2);
    // As if it had been issued years ago, so that more than half of its life has passed.
    let mut record = scene.record();
    record["token"]["issued"] = json!("2020-01-01T00:00:00Z");
    let mut secret = scene.secret();
    secret["metadata"]["annotations"]["prom-federate.io/record"] = json!(record.to_string());
    let metadata = &secret["metadata"];
    secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": secret["data"],
        "metadata": { "name": metadata["name"], "labels": metadata["labels"], "annotations": metadata["annotations"] },
    });
    let file = scene.kubeconfig.with_extension("secret");
    std::fs::write(&file, secret.to_string()).expect("a file");
    let (file, space) = (file.to_str().expect("UTF-8"), scene.namespace.as_str());
    let manager = "--field-manager=kubectl-prom-federate";
    hub().cluster().kubectl_ok(&["apply", "--server-side", manager, "-n", space, "-f", file]);
    let typed = scene.typed();
    let metrics = scene.kubeconfig.with_extension("prom");
    let flag = format!("--metrics-file={}", metrics.display());
    let arguments = ["rotate", "--watch", "-p", &typed, &flag];
    let mut watch = command(&scene.kubeconfig, &arguments).stderr(Stdio::piped()).spawn().expect("the plugin starts");
    let renewed = || (scene.record()["token"]["issued"] != record["token"]["issued"]).then_some(());
    let is_renewed = testbed::until(SOON, renewed);
    let is_proven = |text: &String| {
        let is_well = |line: &str| line.starts_with("prom_federate_fence_enforced{") && line.ends_with(" 1");
        text.lines().any(is_well)
    };
    // If the rotation replaced the token meanwhile, it is proven again after a minute.
    let proven = testbed::until(3 * SOON, || std::fs::read_to_string(&metrics).ok().filter(is_proven));
    watch.kill().expect("it runs");
    let said = String::from_utf8_lossy(&watch.wait_with_output().expect("it ends").stderr).into_owned();
    assert!(is_renewed.is_some() && proven.is_some(), "{said}{:?}", std::fs::read_to_string(&metrics));
    all_up(operated.prometheus(), 2);
}

/// The kubelets' authority is a file more, and pinned nodes are names in relabelling rules.
fn jobs_use_every_route() {
    let own =
        testbed::special("op-kubelets", || ClusterSpec::new("own").kubelet_certificates(KubeletCertificates::Own));
    let scene = Scene::of(own, "routes", &release());
    let ca = own.kubelet_ca_file().display().to_string();
    scene.join(&["--cluster-name=east", "--route=kubelet", "--kubelet-ca-file", &ca]);
    assert!(scene.secret()["data"]["kubelet-ca.crt"].is_string(), "{}", scene.secret()["metadata"]);
    let operated = scene.operated();
    let straight = all_up(operated.prometheus(), 2);
    let kubelet = own.kubelet_url(0);
    assert!(straight.iter().all(|target| target.scrape_url.starts_with(&kubelet)), "{straight:?}");
    let url = format!("--prometheus-url={}", operated.prometheus().url());
    scene.run("rotate", &["--now", &url]).succeeded();
    scene.join(&["--cluster-name=east", "--pin-nodes", &url]);
    let pinned = all_up(operated.prometheus(), 2);
    let through = scene.front.url();
    assert!(pinned.iter().all(|target| target.scrape_url.starts_with(&through)), "{pinned:?}");
}
