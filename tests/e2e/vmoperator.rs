//! `-p operator://…` on the real operator of `VictoriaMetrics`, whose generated configuration real vmagents scrape with.

use crate::{
    operator::{SOON, Scene, behind, converges_after_any_kill, objects_of, refuse},
    plugin::{Run, command},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, thread, time::Instant};
use testbed::{Kubeconfig, Operated, Prometheus, PrometheusSpec, Target, User, Validity, Vmagent, VmagentSpec, hub};

trials! {
    vmoperator:
    smoke {
        vmagent_scrapes_rotates_and_loses_jobs,
    }
    full {
        rejected_jobs_are_undone,
        unselectable_jobs_are_rejected_before_any_write,
        selectors_choose_the_namespace,
        rotation_keeps_every_target_on_its_shard,
        jobs_of_several_secrets_are_found,
        deleted_job_is_reported_and_written_again,
        verdict_counts_without_the_right_to_the_configuration,
        next_run_converges_after_any_kill,
        operator_that_generates_nothing_costs_no_token_and_is_named,
        missing_kinds_are_rejected,
    }
}

/// With a `VMAgent` of this spec in a namespace of its own.
fn scene(name: &str, spec: &Value) -> Scene {
    let scene = Scene::within(&format!("vm-{name}"), &format!("vm-{name}{}", crate::trial::suffix()));
    hub().vmagent(&scene.namespace, "kps", spec).expect("a VMAgent");
    scene
}

fn release() -> Value {
    json!({ "scrapeConfigSelector": { "matchLabels": { "release": "vm" } } })
}

fn operated(scene: &Scene) -> Operated<Vmagent> {
    operated_by(scene, |spec| spec)
}

fn operated_by(scene: &Scene, adapt: impl FnOnce(VmagentSpec) -> VmagentSpec) -> Operated<Vmagent> {
    hub().run_vmagent(&scene.namespace, "kps", adapt).expect("vmagent starts")
}

fn url(operated: &Operated<Vmagent>) -> String {
    format!("--prometheus-url=http://{}", operated.vmagent().address())
}

fn objects(scene: &Scene) -> Vec<String> {
    objects_of("secrets,vmscrapeconfigs", hub().cluster(), &scene.namespace)
}

fn is_untouched(scene: &Scene) {
    assert_eq!(objects(scene), Vec::<String>::new());
    let gone = testbed::until(SOON, || scene.account.objects().is_empty().then_some(()));
    assert!(gone.is_some(), "{:?}", scene.account.objects());
}

fn all_up(operated: &Operated<Vmagent>, count: usize) -> Vec<Target> {
    operated.vmagent().wait_for_targets(count, SOON).unwrap_or_else(|error| panic!("{error:#}"))
}

fn vmagent_scrapes_rotates_and_loses_jobs() {
    let storage = PrometheusSpec::new("global: {}\n").flag("--web.enable-remote-write-receiver");
    let storage = Prometheus::start_with(&storage).expect("Prometheus starts");
    let scene = scene("whole", &release());
    let pace = "--scrape-interval=3s";
    let run = scene.join(&[pace]);
    let space = &scene.namespace;
    for said in [
        &format!("✔ to vmagent/kps in namespace {space} of hub, read by vmagent 1.133.0"),
        &format!("secret/prom-federate-east and 2 VMScrapeConfigs in namespace {space}"),
        "vmagent 1.133.0 has them in its configuration (secret/vmagent-kps)",
        "no scrape with the new token was observed: name the address of its vmagent",
    ] {
        assert!(run.stderr.contains(said), "does not say {said:?}: {}", run.stderr);
    }
    assert!(!run.stderr.contains("sends the token along"), "{}", run.stderr);
    assert_eq!(
        objects(&scene),
        [
            "secret/prom-federate-east",
            "vmscrapeconfig.operator.victoriametrics.com/prom-federate-east-cadvisor",
            "vmscrapeconfig.operator.victoriametrics.com/prom-federate-east-kubelet",
        ]
    );
    let write = format!("{}/api/v1/write", storage.url());
    let operated = operated_by(&scene, |spec| spec.remote_write(write));
    all_up(&operated, 4);
    let samples = |query: &str| storage.number(query).expect("an answer");
    let first = "count(up{cluster=\"east\"})";
    testbed::until(SOON, || (samples(first) == Some(4.0)).then_some(())).expect("the storage has all targets");
    let began = Instant::now();

    // Without the API it is not known whether the vmagent has stopped to use the old token.
    let before = scene.secret()["data"]["token"].clone();
    let rotated = scene.run("rotate", &["--now"]).succeeded();
    assert!(rotated.stderr.contains("vmagent 1.133.0 has them in its configuration"), "{}", rotated.stderr);
    assert_ne!(scene.secret()["data"]["token"], before);
    assert_eq!(scene.account.secrets().len(), 2);

    let url = url(&operated);
    let rotated = scene.run("rotate", &["--now", &url]).succeeded();
    assert!(rotated.stderr.contains("4 of 4 targets up"), "{}", rotated.stderr);
    assert_eq!(scene.account.secrets(), [scene.record()["boundSecret"]["name"].as_str().expect("a name")]);
    assert_eq!(scene.record()["replaces"], json!([]));

    // A revoked token would fail after the ten seconds for which an API server remembers that it was valid.
    let scrapes = "min(count_over_time(up{cluster=\"east\"}[24s]))";
    let whole = || (began.elapsed().as_secs() > 24 && samples(scrapes) >= Some(8.0)).then_some(());
    testbed::until(SOON, whole).unwrap_or_else(|| panic!("{:?} scrapes of 8", samples(scrapes)));
    let window = began.elapsed().as_secs();
    let least = format!("min(min_over_time(up{{cluster=\"east\"}}[{window}s]))");
    assert_eq!(samples(&least), Some(1.0), "no scrape failed");
    let expected = window / 3;
    let all = format!("min(count_over_time(up{{cluster=\"east\"}}[{window}s]))");
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let least = expected.saturating_sub(1) as f64;
    assert!(samples(&all) >= Some(least), "{:?} scrapes of {expected} in {window} s", samples(&all));

    let status = scene.run("status", &[&url]).succeeded();
    assert!(status.stdout.contains("4/4"), "{}{}", status.stdout, status.stderr);
    let check = scene.run("check", &["east", &url]);
    assert!(check.stdout.contains("4 of 4") && !check.stdout.contains("rejects"), "{}{}", check.stdout, check.stderr);
    let again = scene.join(&[pace, &url]);
    assert!(again.stderr.contains("4 of 4 targets up"), "{}", again.stderr);
    // The operator does not react to a deletion, so a join deletes before it writes.
    scene.join(&[pace, "--jobs=kubelet"]);
    let generated = hub().generated_for_vmagent(&scene.namespace, "kps").expect("the hub answers").expect("a text");
    assert!(generated.contains("east-kubelet") && !generated.contains("east-cadvisor"), "the job cadvisor is left");
    all_up(&operated, 2);

    let left = scene.run("leave", &["east", "--yes"]).succeeded();
    for said in
        ["vmagent 1.133.0 does not have them in its configuration any more", "all objects of the plugin are deleted"]
    {
        assert!(left.stderr.contains(said), "does not say {said:?}: {}", left.stderr);
    }
    is_untouched(&scene);
    let none = testbed::until(SOON, || operated.vmagent().targets().ok().filter(Vec::is_empty));
    assert!(none.is_some(), "{:?}", operated.vmagent().targets());
}

fn refuse_in(namespace: &str) {
    refuse("operator.victoriametrics.com", "v1beta1", "VMScrapeConfig", namespace);
}

fn rejected_jobs_are_undone() {
    let scene = scene("refused", &release());
    refuse_in(&scene.namespace);
    let says = ["the operator rejects vmscrapeconfig", "vmagent/kps", "scrape class \"absent\" not supported"];
    scene.try_join(&[]).failed("ConfigRefused", &says);
    is_untouched(&scene);

    let policy = format!("e2e-refuse-{}", scene.namespace);
    hub().cluster().kubectl_ok(&["delete", "mutatingadmissionpolicybinding", &policy]);
    scene.join(&[]);
    let operated = operated(&scene);
    all_up(&operated, 4);
    let (before, secrets) = (scene.secret(), scene.account.secrets());
    refuse_in(&scene.namespace);
    let failed = scene.run("rotate", &["--now"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("the operator rejects"), "{}", failed.stderr);
    assert_eq!(scene.secret()["data"], before["data"]);
    assert_eq!(scene.account.secrets(), secrets, "the new token is revoked, the old one not");
    // The policy of this test has its hand in what was put back too.
    let refused = || {
        let status = scene.run("status", &[]);
        assert_eq!(status.code, Some(1), "{}", status.stderr);
        status.stderr.contains("the operator rejects vmscrapeconfig").then_some(())
    };
    testbed::until(SOON, refused).expect("the operator has looked at what was put back");
}

fn unselectable_jobs_are_rejected_before_any_write() {
    let helm = json!({ "matchLabels": { "app.kubernetes.io/managed-by": "Helm" } });
    let nowhere = json!({ "matchLabels": { "no": "such" } });
    for (name, spec, says) in [
        ("nil", json!({}), "it has no scrapeConfigSelector, so it selects no VMScrapeConfig"),
        ("helm", json!({ "scrapeConfigSelector": helm }), "requires app.kubernetes.io/managed-by=Helm"),
        ("nowhere", json!({ "scrapeConfigNamespaceSelector": nowhere }), "selects no existing namespace"),
        (
            "ingest",
            json!({ "selectAllByDefault": true, "ingestOnlyMode": true }),
            "it has ingestOnlyMode, in which it takes no VMScrapeConfig",
        ),
    ] {
        let scene = scene(name, &spec);
        scene.try_join(&[]).failed("DestinationUnusable", &[says]);
        is_untouched(&scene);
    }
    let scene = scene("check", &json!({}));
    let (address, namespace) =
        (format!("--api-server={}", scene.front.url()), format!("--namespace={}", scene.account.namespace));
    let flags = [address.as_str(), "--api-server-tls-name=localhost", &namespace, "--context=east"];
    let checked = scene.run("check", &flags);
    assert_eq!(checked.code, Some(1), "{}", checked.stdout);
    assert!(checked.stdout.contains("has no scrapeConfigSelector"), "{}", checked.stdout);
    // What its hint says.
    let patch = "{\"spec\":{\"scrapeConfigSelector\":{}}}";
    hub().cluster().kubectl_ok(&["-n", &scene.namespace, "patch", "vmagent/kps", "--type=merge", "-p", patch]);
    let checked = scene.run("check", &flags).succeeded();
    assert!(checked.stdout.contains("as objects that this vmagent selects (dry run)"), "{}", checked.stdout);
    scene.join(&[]);
    all_up(&operated(&scene), 4);
}

fn selectors_choose_the_namespace() {
    let jobs = "vm-jobs-of-placed";
    hub().namespace(jobs, &json!({ "jobs-of": "vm-placed" })).expect("a namespace");
    for (name, spec, place) in [
        (
            "placed",
            json!({ "scrapeConfigNamespaceSelector": { "matchLabels": { "jobs-of": "vm-placed" } } }),
            Some(jobs),
        ),
        ("all", json!({ "selectAllByDefault": true }), None),
    ] {
        let scene = scene(name, &spec);
        scene.join(&["--jobs=kubelet"]);
        let place = place.unwrap_or(&scene.namespace);
        assert_eq!(objects_of("secrets,vmscrapeconfigs", hub().cluster(), place).len(), 2, "{name}");
        let operated = operated(&scene);
        let ours = || {
            let targets = operated.vmagent().targets().unwrap_or_default();
            // One that selects everything has the jobs of other trials too.
            let of_place = format!("scrapeConfig/{place}/prom-federate-east-kubelet");
            let ours = targets.iter().filter(|target| target.pool == of_place && target.is_up());
            (ours.count() == 2).then_some(())
        };
        testbed::until(SOON, ours).unwrap_or_else(|| panic!("{name}: {:?}", operated.vmagent().targets()));
        scene.run("leave", &["east", "--yes"]).succeeded();
        assert_eq!(objects_of("secrets,vmscrapeconfigs", hub().cluster(), place), Vec::<String>::new(), "{name}");
    }
}

fn rotation_keeps_every_target_on_its_shard() {
    let scene = scene("shards", &json!({ "scrapeConfigSelector": {}, "shardCount": 2 }));
    scene.join(&["--jobs=default,resource,probes"]);
    let shards = [0, 1].map(|number| {
        let flag = |name: &str, value: u8| format!("-promscrape.cluster.{name}={value}");
        operated_by(&scene, |spec| spec.flag(flag("membersCount", 2)).flag(flag("memberNum", number)))
    });
    // Two nodes with four pages each, and the shard that has each.
    let targets = || {
        let of_shard = |number: usize| {
            let targets = shards[number].vmagent().targets().unwrap_or_default();
            let up = targets.into_iter().filter(Target::is_up);
            up.map(move |target| ((target.pool.clone(), target.label("node").to_owned()), number)).collect::<Vec<_>>()
        };
        let all: Vec<_> = [0, 1].into_iter().flat_map(of_shard).collect();
        let by_target: BTreeMap<_, _> = all.iter().cloned().collect();
        (all.len() == 8 && by_target.len() == 8).then_some(by_target)
    };
    let before = testbed::until(SOON, targets).expect("each of eight targets is on one shard");
    for _ in 0..2 {
        scene.run("rotate", &["--now"]).succeeded();
        // Both have the new token before their targets are compared.
        let record = scene.record();
        let generation = scene.secret()["metadata"]["annotations"]["prom-federate.io/generation"].clone();
        let has = |shard: &Operated<Vmagent>| {
            let config = shard.vmagent().get("/config").expect("vmagent answers").body;
            config.matches(generation.as_str().expect("a generation")).count() == 4
        };
        testbed::until(SOON, || shards.iter().all(has).then_some(())).unwrap_or_else(|| panic!("{record}"));
        assert_eq!(testbed::until(SOON, targets), Some(before.clone()));
    }
    let one = before.values().next().expect("a target");
    let rotated = scene.run("rotate", &["--now", &url(&shards[*one])]).succeeded();
    assert!(rotated.stderr.contains("targets up"), "what this shard has: {}", rotated.stderr);
}

fn jobs_of_several_secrets_are_found() {
    let scene = scene("room", &release());
    // The page of a busy API server takes more than a second.
    scene.join(&["--jobs=default,resource,probes,apiserver", "--scrape-interval=5s"]);
    let more = format!("/api/v1/namespaces/{}/secrets/vmagent-kps-sc-1", scene.namespace);
    let more = hub().cluster().api().get(&more).expect("the hub answers");
    assert_eq!(more.status, 200, "the jobs fit into one Secret");
    let operated = operated(&scene);
    all_up(&operated, 9);
    let rotated = scene.run("rotate", &["--now", &url(&operated)]).succeeded();
    assert!(rotated.stderr.contains("9 of 9 targets up"), "{}", rotated.stderr);
    scene.run("leave", &["east", "--yes"]).succeeded();
    is_untouched(&scene);
}

fn deleted_job_is_reported_and_written_again() {
    let scene = scene("deleted", &release());
    scene.join(&[]);
    let operated = operated(&scene);
    all_up(&operated, 4);
    let job = "prom-federate-east-kubelet";
    hub().cluster().kubectl_ok(&["delete", "vmscrapeconfig", job, "-n", &scene.namespace]);
    let status = scene.run("status", &[]);
    assert_eq!(status.code, Some(1), "{}", status.stderr);
    assert!(status.stderr.contains(&format!("{job} is gone. Write it again: kubectl")), "{}", status.stderr);
    scene.run("rotate", &["--now"]).succeeded();
    all_up(&operated, 4);
    // The two operators do not share their objects' names.
    hub().prometheus(&scene.namespace, "kps", &json!({ "scrapeConfigSelector": {} })).expect("a Prometheus");
    scene.run("status", &[]).failed("DestinationUnusable", &["is a Prometheus and a VMAgent", "/vmagent/kps"]);
    let of = |kind: &str| format!("operator://{}/{kind}/kps?context=hub", scene.namespace);
    let run = |arguments: &[&str]| -> Run { command(&scene.kubeconfig, arguments).output().expect("it starts").into() };
    run(&["status", "-p", &of("vmagent")]).succeeded();
    let (namespace, address) = (format!("--namespace={}", scene.account.namespace), scene.front.url());
    let prometheus = of("prometheus");
    let second = ["join", "--yes", "-p", &prometheus, &namespace, "--api-server", &address];
    run(&[&second[..], &["--api-server-tls-name=localhost"]].concat())
        .failed("ClusterKnown", &["already has jobs of east", "/vmagent/kps"]);
}

fn verdict_counts_without_the_right_to_the_configuration() {
    let scene = scene("rights", &release());
    let cluster = hub().cluster();
    let client = cluster.client_certificate("joe", &[], Validity::current()).expect("a certificate");
    let joe = Kubeconfig { user: User::Certificate(client), ..cluster.admin() };
    std::fs::write(&scene.kubeconfig, Kubeconfig::merged(&[testbed::shared().east.admin(), joe]))
        .expect("a kubeconfig");
    let space = &scene.namespace;
    scene.try_join(&[]).failed("Forbidden", &["joe"]);
    let grant = |jobs: &str| {
        cluster.apply(&format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: joe, namespace: {space}}}
rules:
- {{apiGroups: [''], resources: [secrets], verbs: [list, create]}}
- {{apiGroups: [''], resources: [secrets], resourceNames: [prom-federate-east], verbs: [get, patch, delete]}}
- {{apiGroups: [operator.victoriametrics.com], resources: [vmagents], verbs: [list]}}
- {{apiGroups: [operator.victoriametrics.com], resources: [vmscrapeconfigs], verbs: [{jobs}]}}
"
        ));
    };
    grant("list, get");
    cluster.kubectl_ok(&["create", "rolebinding", "joe", "-n", space, "--role=joe", "--user=joe"]);
    let uid = ["--verb=get", "--resource=namespaces", "--resource-name=kube-system"];
    cluster.kubectl_ok(&[&["create", "clusterrole", "joe"], &uid[..]].concat());
    cluster.kubectl_ok(&["create", "clusterrolebinding", "joe", "--clusterrole=joe", "--user=joe"]);
    scene.try_join(&[]).failed("Forbidden", &["joe", "vmscrapeconfigs"]);
    is_untouched(&scene);
    grant("list, get, create, patch, delete");
    let run = scene.join(&[]);
    assert!(run.stderr.contains("its operator has accepted them"), "{}", run.stderr);
    all_up(&operated(&scene), 4);
}

fn next_run_converges_after_any_kill() {
    let scene = scene("killed", &release());
    let proxy = behind(&scene);
    scene.join(&[]);
    let operated = operated(&scene);
    let address = format!("http://{}", operated.vmagent().address());
    let count = "the Secret, two jobs, and the record without what was replaced";
    converges_after_any_kill(&scene, &proxy, &address, (4, count), || {
        all_up(&operated, 4);
    });
}

/// From here on the operator cannot write the configuration of the vmagent in this namespace.
fn stop_generation_in(namespace: &str) {
    let name = format!("e2e-stop-{namespace}");
    hub().cluster().apply(&format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  matchConstraints:
    resourceRules:
    - {{apiGroups: [''], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [secrets]}}
  matchConditions:
  - {{name: here, expression: 'request.namespace == \"{namespace}\" && request.name.startsWith(\"vmagent-\")'}}
  validations: [{{expression: 'false'}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}, validationActions: [Deny]}}
"
    ));
    let path = format!("/api/v1/namespaces/{namespace}/secrets?dryRun=All");
    let probe = json!({ "metadata": { "name": "vmagent-probe" } });
    let is_enforced =
        || hub().cluster().api().post(&path, &probe).is_ok_and(|answer| answer.status == 422).then_some(());
    testbed::until(SOON, is_enforced).expect("the policy is enforced");
}

/// The operator sees the objects and gets no further. The plugin waits for two minutes.
fn operator_that_generates_nothing_costs_no_token_and_is_named() {
    let [to_join, to_rotate, to_leave] =
        ["stuck-join", "stuck-rotate", "stuck-leave"].map(|name| scene(name, &release()));
    to_rotate.join(&[]);
    to_leave.join(&[]);
    let operated = operated(&to_rotate);
    all_up(&operated, 4);
    let (before, secrets) = (to_rotate.secret(), to_rotate.account.secrets());
    for scene in [&to_join, &to_rotate, &to_leave] {
        stop_generation_in(&scene.namespace);
    }
    let (joined, rotated, left) = thread::scope(|scope| {
        let joined = scope.spawn(|| to_join.try_join(&[]));
        let rotated = scope.spawn(|| to_rotate.run("rotate", &["--now"]));
        let left = to_leave.run("leave", &["east", "--yes"]);
        (joined.join().expect("it ends"), rotated.join().expect("it ends"), left)
    });
    let named = "the operator has not put the jobs into the configuration of vmagent/kps within 120s";
    joined.failed("NotGenerated", &[named]);
    is_untouched(&to_join);
    rotated.failed("RotationFailed", &["error (NotGenerated): ", named]);
    assert_eq!(to_rotate.secret()["data"], before["data"]);
    assert_eq!(to_rotate.account.secrets(), secrets, "the new token is revoked, the old one not");
    all_up(&operated, 4);
    let left = left.succeeded();
    assert!(left.stderr.contains("still has them in its configuration: does its operator run?"), "{}", left.stderr);
    is_untouched(&to_leave);

    // In all namespaces, or the operator goes on trying.
    for scene in [&to_join, &to_rotate, &to_leave] {
        let policy = format!("e2e-stop-{}", scene.namespace);
        hub().cluster().kubectl_ok(&["delete", "validatingadmissionpolicybinding", &policy]);
    }
    to_rotate.run("rotate", &["--now", &url(&operated)]).succeeded();
    assert_eq!(to_rotate.account.secrets().len(), 1);
    all_up(&operated, 4);
}

fn missing_kinds_are_rejected() {
    let shared = testbed::shared();
    let file = shared.east.dir().join("without-vmoperator");
    std::fs::write(&file, Kubeconfig::merged(&[shared.east.admin(), shared.west.admin()])).expect("a file");
    let location = "operator://default/vmagent/main?context=west";
    let absent: Run = command(&file, &["join", "--yes", "-p", location]).output().expect("it starts").into();
    absent.failed(
        "DestinationUnusable",
        &["operator of VictoriaMetrics is too old or missing", "the hub knows no VMAgent"],
    );
}
