//! Jobs of Services, pods and the API server at a destination: pushed, rotated by either way, shown and removed. A
//! target that is away keeps no token from being replaced.

use super::{Place, SCRAPED_WITHIN, Scene, reports};
use crate::{
    jobs::{Workloads, roles},
    plugin::{self, Account, Run},
    raw,
};
use serde_json::{Value, json};
use testbed::{Action, FaultProxy, Rule};

trials! {
    rotate_jobs:
    full {
        every_job_is_pushed_rotated_and_removed,
        unreachable_jobs_do_not_block_rotation,
        usage_is_known_without_cadvisor,
        scrape_limits_are_enforced_named_and_kept,
        drop_lists_of_another_release_are_replaced_with_the_token,
    }
}

impl Scene {
    fn status(&self, more: &[&str]) -> Run {
        let dir = self.place.dir().to_str().expect("a path");
        plugin::run(self.account.cluster.kubeconfig(), &[&["status", "-p", dir][..], more].concat())
    }

    fn check(&self) -> Run {
        let dir = self.place.dir().to_str().expect("a path");
        plugin::run(self.account.cluster.kubeconfig(), &["check", "-p", dir])
    }

    /// The only cluster of `status -o json`.
    fn data(&self) -> Value {
        let mut report: Value = serde_json::from_str(&self.status(&["-o", "json"]).stdout).expect("JSON");
        report["clusters"][0].take()
    }

    fn leave(&self) {
        let cluster = self.account.cluster;
        let run = self.place.run(cluster.kubeconfig(), &["leave", cluster.name(), "--yes"]).succeeded();
        assert!(run.stderr.contains("a token that worked before now gets 401 (after "), "{}", run.stderr);
        assert_eq!(self.account.objects(), Vec::<String>::new());
        assert_eq!(roles(&self.account), Vec::<String>::new());
        assert_eq!(self.place.generations(cluster.name()), Vec::<String>::new());
        let none = self.place.prometheus.wait_until(SCRAPED_WITHIN, |it| it.targets().ok().filter(Vec::is_empty));
        assert!(none.is_some(), "{:?}", self.place.prometheus.targets());
    }
}

/// The jobs, in their order: the API server, one Service, the pods of two paths, and one more Service.
fn jobs(Workloads { namespace, .. }: &Workloads) -> [String; 5] {
    [
        "apiserver".to_owned(),
        format!("service={namespace}/kube-state-metrics:http/metrics"),
        format!("pods={namespace}/m/x"),
        format!("pods={namespace}/metrics"),
        format!("federate={namespace}/prometheus-k8s:web"),
    ]
}

/// One of the API server, one of each Service, and four annotated pods.
const TARGETS: usize = 7;

fn every_job_is_pushed_rotated_and_removed() {
    let east = &testbed::shared().east;
    let workloads = Workloads::start(east, "rotated");
    let space = &workloads.namespace;
    let jobs = jobs(&workloads);
    let scene = Scene { account: Account::new(east, "rotate-jobs"), place: Place::new() };
    let Scene { account, place } = &scene;
    let asked = format!(
        "--jobs=apiserver,service={space}/kube-state-metrics:http,pods={space},federate={space}/prometheus-k8s:web"
    );
    let before = plugin::run(east.kubeconfig(), &["check", &asked, "--namespace", &account.namespace]).succeeded();
    for job in &jobs {
        assert!(before.stdout.contains(&format!(" samples of {job} through ")), "{job}: {}", before.stdout);
    }
    assert!(!before.stdout.contains("kubelet") && !before.stdout.contains(" nodes"), "{}", before.stdout);
    let run = place.join(account, &[&asked, "--self-renew", "--federate-match={__name__=~\"job:.*\"}"]);
    assert!(run.stderr.contains(&format!("{TARGETS} of {TARGETS} targets up")), "{}", run.stderr);
    // The record has the discovered places.
    let record = place.record("east");
    assert_eq!(
        (&record["jobs"], &record["federateMatch"]),
        (&json!(jobs.join(",")), &json!(["{__name__=~\"job:.*\"}"]))
    );
    let rules = place.read("prom-federate/east.rules.yml");
    for labels in [
        "job=\"apiserver\"".to_owned(),
        format!("job=\"kube-state-metrics\",metrics_path=\"/metrics\",instance=\"kube-state-metrics.{space}:http\""),
        format!("job=\"kubernetes-pods\",metrics_path=\"/m/x\",namespace=\"{space}\""),
        format!("job=\"federate\",metrics_path=\"/federate\",instance=\"prometheus-k8s.{space}:web\""),
    ] {
        assert!(rules.contains(&labels), "no {labels}: {rules}");
    }

    let is_well = || {
        let status = scene.status(&[]).succeeded();
        assert_eq!(status.stderr, "");
        let row: Vec<&str> = status.stdout.lines().nth(1).expect("a row").split("   ").map(str::trim).collect();
        let row: Vec<&str> = row.into_iter().filter(|cell| !cell.is_empty()).collect();
        assert_eq!(row[..2], ["east", "apiserver,service,pods,federate"]);
        assert_eq!(row[3..], ["present", "2", "7/7", "-", "-", "ok"]);
        assert_eq!(scene.data()["jobs"], json!(jobs));
        assert_eq!(account.secrets(), [place.secret("east")]);
        assert_eq!(place.generations("east"), [place.live("east")]);
        place.all_up("east", TARGETS);
    };
    is_well();

    // By an administrator: another Secret, and the old token dies.
    let (secret, token) = (place.secret("east"), place.file("east", "token"));
    let run = scene.rotate(&["--now", "--output=json"]).succeeded();
    let report = &reports(&run)[0];
    assert_eq!((&report["targetsUp"], &report["targets"], &report["away"]), (&json!(7), &json!(7), &Value::Null));
    assert_ne!(place.secret("east"), secret);
    is_well();
    testbed::until(SCRAPED_WITHIN, || (raw::request(east, token.trim(), "GET", "/version").0 == 401).then_some(()))
        .expect("the old token is refused");

    // By the account itself: the same Secret.
    let (secret, token) = (place.secret("east"), place.file("east", "token"));
    let run = scene.rotate_alone(&["--now", "--output=json"]).succeeded();
    let report = &reports(&run)[0];
    assert_eq!((&report["by"], &report["targetsUp"]), (&json!("the account itself"), &json!(7)));
    assert_ne!(place.file("east", "token"), token);
    assert_eq!(place.secret("east"), secret);
    is_well();
    let remembered = place.record("east");
    for key in ["jobs", "federateMatch", "selfRenew", "access"] {
        assert_eq!(remembered[key], record[key], "{key}");
    }

    // All of it is proven with what is there.
    let run = scene.check();
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    for said in [
        "the token reads apiserver ",
        "the fence refuses ",
        "the account has exactly the rights that the jobs need",
        "the objects are as join makes them, with exactly these rights",
        "no other binding grants the account rights",
    ] {
        assert!(run.stdout.contains(said), "no {said:?}: {}", run.stdout);
    }
    assert!(!run.stdout.contains("nodes ×"), "{}", run.stdout);

    // The right to list nodes is not necessary, because no job needs nodes.
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    let forbidden =
        json!({ "kind": "Status", "apiVersion": "v1", "code": 403, "reason": "Forbidden", "message": "no" });
    proxy.rule(Rule::new("GET", "/api/v1/nodes", Action::Answer { status: 403, body: forbidden }));
    let dir = place.dir().to_str().expect("a path");
    let run = plugin::run(&proxy.kubeconfig(), &["status", "-p", dir]).succeeded();
    assert!(run.stdout.contains("   present   -       7/7 "), "{}", run.stdout);
    assert_eq!(run.stderr, "");

    scene.leave();
    let there = east.api().get(&format!("/api/v1/namespaces/{space}/services/prometheus-k8s")).expect("it answers");
    assert!(there.is_success(), "what is scraped stays");
}

fn unreachable_jobs_do_not_block_rotation() {
    let west = &testbed::shared().west;
    let workloads = Workloads::start(west, "away");
    let space = &workloads.namespace;
    let [_, service, _, pods, _] = jobs(&workloads);
    let scene = Scene { account: Account::new(west, "rotate-away"), place: Place::new() };
    let Scene { account, place } = &scene;
    place.join(account, &[&format!("--jobs=apiserver,{service},{pods}"), "--self-renew"]);
    place.all_up("west", 5);
    west.kubectl_ok(&["--namespace", space, "delete", "service", "kube-state-metrics"]);
    west.kubectl_ok(&["--namespace", space, "delete", "pods", "--all", "--force", "--grace-period=0"]);
    let is_away = |run: &Run| {
        for job in [&service, &pods] {
            let said = format!("Warning: west: the job {job} has the new token, but could not be proven: ");
            assert!(run.stderr.contains(&said), "no {said:?}: {}", run.stderr);
        }
        let report = &reports(run)[0];
        let away: Vec<&Value> = report["away"].as_array().expect("a list").iter().map(|away| &away["job"]).collect();
        assert_eq!(away, [&json!(service), &json!(pods)]);
        assert_eq!((&report["targetsUp"], &report["targets"]), (&json!(1), &json!(1)));
        assert_eq!(account.secrets(), [place.secret("west")]);
        assert_eq!(place.generations("west"), [place.live("west")]);
    };
    let token = place.file("west", "token");
    is_away(&scene.rotate(&["--now", "--output=json"]).succeeded());
    assert_ne!(place.file("west", "token"), token);
    let token = place.file("west", "token");
    is_away(&scene.rotate_alone(&["--now", "--output=json"]).succeeded());
    assert_ne!(place.file("west", "token"), token);

    // That is for others to say, and they do.
    let run = testbed::until(SCRAPED_WITHIN, || {
        let run = scene.status(&[]);
        (run.stderr.contains("1 target is down") && run.stderr.contains("no running pod in namespace")).then_some(run)
    });
    let run = run.unwrap_or_else(|| panic!("{}", scene.status(&[]).stderr));
    assert!(run.stderr.contains("error (StatusBroken): 1 of 1 cluster needs attention"), "{}", run.stderr);
    let run = scene.check();
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    for said in ["the token reads apiserver ".to_owned(), format!("✗ {service}: "), format!("✗ {pods}: ")] {
        assert!(run.stdout.contains(&said), "no {said:?}: {}", run.stdout);
    }
    // A join goes on needing all of them, and check says so before.
    let wanted = format!("--jobs=apiserver,{service},{pods}");
    let before = plugin::run(west.kubeconfig(), &["check", &wanted, "--namespace", &account.namespace]);
    assert_eq!(before.code, Some(1), "{}{}", before.stdout, before.stderr);
    assert!(before.stdout.contains("2 failed\n") && before.stdout.contains("no running pod"), "{}", before.stdout);
    let run =
        place.run(west.kubeconfig(), &["join", "--namespace", &account.namespace, "--yes", &wanted, "--self-renew"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    scene.leave();
}

fn usage_is_known_without_cadvisor() {
    let east = &testbed::shared().east;
    let scene = Scene { account: Account::new(east, "rotate-usage"), place: Place::new() };
    scene.place.join(&scene.account, &["--jobs=resource"]);
    // Usage is a rate: it takes two scrapes.
    testbed::until(SCRAPED_WITHIN, || {
        let data = scene.data();
        (data["cpuCores"].is_f64() && data["memoryBytes"].as_u64() > Some(0)).then_some(())
    })
    .unwrap_or_else(|| panic!("{}", scene.data()));
    scene.leave();
}

/// By Prometheus, whose own error has a hint; the next rotation has the limits from the record.
fn scrape_limits_are_enforced_named_and_kept() {
    let scene = Scene::joined("limits", &["--body-size-limit=128MB", "--sample-limit=0"]);
    let fragment = || scene.place.read("prom-federate/east.scrape.yml");
    let is_kept = |fragment: String| {
        assert!(fragment.contains("body_size_limit: 128MB") && !fragment.contains("sample_limit"), "{fragment}");
        assert!(fragment.contains("label_value_length_limit: 65536"), "{fragment}");
    };
    is_kept(fragment());
    scene.place.rotate(scene.account.cluster.kubeconfig(), &["--now"]).succeeded();
    is_kept(fragment());
    for (flag, says, hint) in [
        ("--body-size-limit=16B", "body size limit exceeded", "then join with --body-size-limit"),
        ("--sample-limit=1", "sample limit exceeded", "then join with --sample-limit"),
    ] {
        let namespace = &scene.account.namespace;
        let more = ["join", "--scrape-interval=1s", "--namespace", namespace, "--yes", flag];
        let run = scene.place.run(scene.account.cluster.kubeconfig(), &more);
        assert!(run.stderr.contains("error (NotScraped): "), "{}", run.stderr);
        assert!(run.stderr.contains(says) && run.stderr.contains(hint), "{}", run.stderr);
        is_kept(fragment());
    }
}

/// Drop lists are no terms of a join: neither the record nor the note in the cluster has them.
fn drop_lists_of_another_release_are_replaced_with_the_token() {
    let scene = Scene::joined("drops", &[]);
    let Scene { place, account } = &scene;
    let file = "prom-federate/east.scrape.yml";
    let jobs = || prom_federate::yaml::read(&place.read(file)).expect("YAML");
    let (now, text) = (jobs(), place.read(file));
    let without =
        text.lines().filter(|line| !line.contains("action: drop") && !line.contains("metric_relabel_configs"));
    let other: String = without.map(|line| format!("{line}\n")).collect();
    place.prometheus.write(file, &other).expect("written");
    place.prometheus.reload().expect("Prometheus reads that");
    let kept = |it: &testbed::Prometheus| it.number("count(container_file_descriptors)").expect("an answer");
    assert!(place.prometheus.wait_until(SCRAPED_WITHIN, kept).is_some(), "the other release keeps them");
    let run = place.rotate(account.cluster.kubeconfig(), &["--now"]).succeeded();
    assert_eq!(jobs(), now, "{}", run.stderr);
    let gone = |it: &testbed::Prometheus| kept(it).is_none().then_some(());
    assert!(place.prometheus.wait_until(SCRAPED_WITHIN, gone).is_some(), "Prometheus has not read the new jobs");
    assert_eq!(scene.status(&[]).succeeded().stderr, "");
}
