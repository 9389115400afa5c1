//! When a token is replaced, what takes its place, and by whose credentials.

use super::{Place, Scene, reports};
use crate::raw;
use std::{fs, time::Duration};
use testbed::{ClusterSpec, FaultProxy, Kubeconfig};

trials! {
    rotate_replaces:
    smoke {
        only_due_tokens_rotate,
        rotation_uses_a_new_secret_and_path,
    }
    full {
        token_is_due_after_half_of_its_granted_life,
        recorded_context_is_used_if_it_is_the_same_cluster,
        new_address_is_used_unless_it_was_given,
        unverified_rotation_keeps_the_old_token_for_one_more,
        leftovers_of_killed_runs_are_deleted_and_foreign_ones_stay,
    }
}

const DAY: i64 = 24 * 60;

fn only_due_tokens_rotate() {
    let scene = Scene::joined("due", &[]);
    let before = scene.state();
    let reloads = scene.place.reloads();
    let run = scene.rotate(&["--output=json"]).succeeded();
    assert!(run.stderr.starts_with("east  not due before 20"), "{}", run.stderr);
    let report = &reports(&run)[0];
    assert_eq!((&report["cluster"], &report["rotated"]), (&"east".into(), &false.into()));
    assert!(report["due"].is_string() && report["expires"].is_string(), "{report}");
    scene
        .rotate(&["nowhere", "--now"])
        .failed("ClusterUnknown", &["there is no cluster nowhere", "hint: Known clusters: east"]);
    before.is(&scene.state());
    assert_eq!(scene.place.reloads(), reloads);

    scene.place.pass("east", 4 * DAY);
    let old = scene.place.live("east");
    let run = scene.rotate(&["east", "--output=json"]).succeeded();
    let report = &reports(&run)[0];
    assert_eq!((&report["rotated"], &report["by"]), (&true.into(), &"an administrator".into()));
    assert_eq!((&report["targetsUp"], &report["targets"]), (&4.into(), &4.into()));
    assert_ne!(scene.place.live("east"), old);
    scene.place.is_tidy(&scene.account, "east");
    // The next one is due in half of the new life.
    assert!(scene.rotate(&[]).succeeded().stderr.starts_with("east  not due before 20"));
}

fn token_is_due_after_half_of_its_granted_life() {
    let cluster = testbed::special("capped", || ClusterSpec::new("capped").token_cap(Duration::from_secs(3600)));
    let scene = Scene::joined_in(cluster, "granted", &["--duration=7d", "--cluster-name=capped"]);
    scene.place.pass("capped", 28);
    assert!(scene.rotate(&[]).succeeded().stderr.contains("capped  not due before"));
    let old = scene.place.live("capped");
    scene.place.pass("capped", 3);
    scene.rotate(&[]).succeeded();
    assert_ne!(scene.place.live("capped"), old);
}

fn rotation_uses_a_new_secret_and_path() {
    let scene = Scene::joined("replaces", &[]);
    let Scene { account, place } = &scene;
    let (generation, secret, token) = (place.live("east"), place.secret("east"), place.file("east", "token"));
    let run = scene.rotate(&["--now"]).succeeded();
    for said in ["new token until 20", "issued by an administrator and proven", "4 of 4 targets up"] {
        assert!(run.stderr.contains(said), "{}", run.stderr);
    }
    let deleted = format!("secret/{secret} deleted (its token was replaced)");
    assert!(run.stderr.contains(&deleted), "{}", run.stderr);
    assert!(!run.stderr.contains(&token) && !run.stderr.contains(&place.file("east", "token")));
    assert_eq!(run.stdout, "");
    assert_ne!(place.live("east"), generation);
    assert_ne!(place.secret("east"), secret);
    place.is_tidy(account, "east");
    assert_eq!(raw::request(account.cluster, &place.file("east", "token"), "GET", "/api/v1/nodes").0, 200);
    testbed::until(Duration::from_secs(20), || {
        (raw::request(account.cluster, token.trim(), "GET", "/version").0 == 401).then_some(())
    })
    .expect("the old token is refused");
    place.all_up("east", 4);
    // The rights are as they were.
    assert_eq!(account.objects().len(), 9, "{:?}", account.objects());
}

fn recorded_context_is_used_if_it_is_the_same_cluster() {
    let shared = testbed::shared();
    let scene = Scene::joined("context", &[]);
    let before = scene.state();
    // The name that joined now means another cluster, and the right one has another name.
    let wrong = Kubeconfig { context: "east".into(), ..shared.west.admin() };
    let right = Kubeconfig { context: "east-2".into(), ..shared.east.admin() };
    let path = scene.place.dir().join("data/kubeconfig");
    fs::write(&path, Kubeconfig::merged(&[wrong, right])).expect("a kubeconfig");
    let run = scene.place.rotate(&path, &["--now"]);
    super::keeps_old_token(
        run,
        &[
            "error (ClusterKnown): east: the context east leads to another cluster than the one that was joined as east",
            "hint: Name the right context: kubectl prom-federate rotate east --context NAME",
        ],
    );
    before.is(&scene.state());
    scene.place.rotate(&path, &["--now", "--context=east-2"]).succeeded();
    assert_eq!(scene.place.record("east")["context"], "east-2");
    scene.place.is_tidy(&scene.account, "east");
}

fn new_address_is_used_unless_it_was_given() {
    let east = &testbed::shared().east;
    let moved = FaultProxy::in_front_of(east).expect("a proxy");
    let scene = Scene::joined("address", &[]);
    scene.place.rotate(&moved.kubeconfig(), &["--now"]).succeeded();
    assert_eq!(scene.place.record("east")["access"]["apiServer"], moved.url());
    let targets = scene.place.all_up("east", 4);
    assert!(targets.iter().all(|target| target.scrape_url.starts_with(&moved.url())), "{targets:?}");

    scene.place.join(&scene.account, &["--api-server", east.url()]);
    scene.place.rotate(&moved.kubeconfig(), &["--now"]).succeeded();
    assert_eq!(scene.place.record("east")["access"]["apiServer"], east.url());
    let targets = scene.place.all_up("east", 4);
    assert!(targets.iter().all(|target| target.scrape_url.starts_with(east.url())), "{targets:?}");
    scene.place.is_tidy(&scene.account, "east");
}

fn unverified_rotation_keeps_the_old_token_for_one_more() {
    let scene = Scene::joined("unseen", &[]);
    // Not reloaded, it reads the new token all the same.
    let run = scene.rotate(&["--now", "--reload=none"]).succeeded();
    assert!(run.stderr.contains("not reloaded (--reload=none), 4 of 4 targets up"), "{}", run.stderr);
    scene.place.is_tidy(&scene.account, "east");

    let Scene { account, place } = scene;
    let kubeconfig = account.cluster.kubeconfig();
    let dir = place.dir().to_str().expect("UTF-8").to_owned();
    let Place { prometheus } = place;
    let (generation, secret) = {
        let place = Place { prometheus };
        let before = (place.live("east"), place.secret("east"));
        place.prometheus.stop();
        before
    };
    // It does not run, and who will read it is remembered.
    let rotate = || crate::plugin::run(kubeconfig, &["rotate", "--now", "-p", &dir]);
    rotate().succeeded();
    assert!(account.secrets().contains(&secret) && account.secrets().len() == 2, "{:?}", account.secrets());
    assert!(fs::exists(format!("{dir}/prom-federate/east/{generation}/token")).expect("a folder"));
    rotate().succeeded();
    assert!(!account.secrets().contains(&secret) && account.secrets().len() == 2, "{:?}", account.secrets());
    assert!(!fs::exists(format!("{dir}/prom-federate/east/{generation}")).expect("a folder"));
}

fn leftovers_of_killed_runs_are_deleted_and_foreign_ones_stay() {
    let scene = Scene::joined("leftovers", &[]);
    let Scene { account, place } = &scene;
    let other = Place::new();
    other.join(account, &[]);
    let others = other.secret("east");
    // A Secret of this destination that no record knows, and a generation that no jobs name, without a record.
    let path = format!("/api/v1/namespaces/{}/secrets", account.namespace);
    let mut secret = account.cluster.api().get(&format!("{path}/{}", place.secret("east"))).expect("a Secret").json();
    secret["metadata"] = serde_json::json!({
        "name": "prometheus-left", "labels": secret["metadata"]["labels"], "annotations": secret["metadata"]["annotations"],
    });
    let created = account.cluster.api().post(&path, &secret).expect("the API server answers");
    assert!(created.is_success(), "{}", created.body);
    account.cluster.kubectl_ok(&["--namespace", &account.namespace, "create", "secret", "generic", "somebodys"]);
    let left = place.ours().join("east/20200101t000000z-x7k2w1");
    fs::create_dir(&left).expect("a folder");
    fs::write(left.join("token"), "ey").expect("a file");
    fs::create_dir(place.ours().join("east/backup")).expect("a folder");
    for staged in ["east.scrape.yml.new", "east.rules.yml.new"] {
        fs::write(place.ours().join(staged), "half of").expect("a file");
    }

    scene.rotate(&["--now"]).succeeded();
    let mut expected = vec![place.secret("east"), others.clone(), "somebodys".to_owned()];
    expected.sort();
    assert_eq!(account.secrets(), expected);
    let mut generations = place.generations("east");
    generations.sort();
    assert_eq!(generations, [place.live("east"), "backup".to_owned()], "what is not ours stays");
    fs::remove_dir(place.ours().join("east/backup")).expect("a folder");
    place.accepted();
    place.all_up("east", 4);
    other.all_up("east", 4);
    assert_eq!(other.secret("east"), others);
}
