//! Whatever fails, the old token stays in use and nothing of the new one is left.

use super::Place;
use super::{Scene, State, keeps_old_token, killed::strace};
use crate::plugin::Run;
use serde_json::json;
use std::net::SocketAddr;
use testbed::{Action, Cluster, ClusterSpec, FaultProxy, Front, Rule};

trials! {
    rotate_fails:
    full {
        rotation_with_a_failed_proof_is_undone,
        rotation_with_a_rejected_reload_is_undone,
        rotation_without_targets_is_undone,
        rotation_on_a_full_disk_is_undone,
        node_without_pages_stops_neither_join_nor_rotation,
    }
}

impl Scene {
    /// Nothing has changed on either side since then.
    fn is_still(&self, before: &State) {
        before.is(&self.state());
        self.place.all_up("east", 4);
    }
}

fn rotation_with_a_failed_proof_is_undone() {
    let scene = Scene::joined("unproven", &[]);
    let before = scene.state();
    let reloads = scene.place.reloads();
    let proxy = FaultProxy::in_front_of(scene.account.cluster).expect("a proxy");
    let refusal = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "message": "no" });
    proxy.rule(Rule::new("GET", "/proxy/metrics", Action::Answer { status: 403, body: refusal }));
    let run = scene.place.rotate(&proxy.kubeconfig(), &["--now"]);
    keeps_old_token(
        run,
        &[
            "error (ProofFailed): east: none of 2 nodes shows its pages: /api/v1/nodes/",
            "answers 403 to the new token",
            "1 of 1 clusters keep their old token",
        ],
    );
    scene.is_still(&before);
    assert_eq!(scene.place.reloads(), reloads, "there was nothing to read");
}

/// An error in a file of another owner.
fn rotation_with_a_rejected_reload_is_undone() {
    let scene = Scene::joined("refused", &[]);
    let rules = scene.place.ours().join("somebodys.rules.yml");
    std::fs::write(&rules, "groups: [{name: 1, rules: [{alert: x}]}]").expect("a file");
    let before = scene.state();
    keeps_old_token(scene.rotate(&["--now"]), &["error (ReloadFailed): east: ", "somebodys.rules.yml"]);
    scene.is_still(&before);
    std::fs::remove_file(&rules).expect("a file");
    scene.rotate(&["--now"]).succeeded();
    scene.place.is_tidy(&scene.account, "east");
}

/// Prometheus alone lists nodes page by page and watches them: it finds nothing to scrape, and the proof is sound.
fn rotation_without_targets_is_undone() {
    let scene = Scene::joined("down", &[]);
    let before = scene.state();
    let proxy = FaultProxy::in_front_of(scene.account.cluster).expect("a proxy");
    for only_prometheus in ["/api/v1/nodes?limit=500&resourceVersion=0", "watch=true"] {
        proxy.rule(Rule::new("GET", only_prometheus, Action::Answer { status: 500, body: json!({}) }));
    }
    let run = scene.place.rotate(&proxy.kubeconfig(), &["--now"]);
    keeps_old_token(run, &["error (NotScraped): east: ", "has found no targets for it"]);
    scene.is_still(&before);
}

/// At whatever file it is noticed.
fn rotation_on_a_full_disk_is_undone() {
    let scene = Scene::joined("full", &[]);
    let Scene { account, place } = &scene;
    let kubeconfig = account.cluster.kubeconfig();
    let syncs = place.traced(kubeconfig, "fsync").len();
    let (mut kept, mut replaced) = (0, 0);
    for number in (1..=syncs).step_by(4) {
        let before = scene.state();
        let mut strace = strace();
        strace.args([
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync",
            "-e",
            &format!("inject=fsync:error=ENOSPC:when={number}"),
        ]);
        let run: Run = place.under(strace, kubeconfig, &["rotate", "--now"]).output().expect("strace starts").into();
        if run.code == Some(0) {
            // Only to take the old generation away there was no room: the new one is in use.
            assert!(
                run.stderr.contains("could not delete old tokens and files, the next run will"),
                "{number}: {}",
                run.stderr
            );
            replaced += 1;
            continue;
        }
        keeps_old_token(run, &["error (WriteFailed): ", "No space left on device", "hint: Free space there"]);
        scene.is_still(&before);
        kept += 1;
    }
    assert!(kept > 2 && replaced < 2, "{kept} {replaced}");
    scene.rotate(&["--now"]).succeeded();
    place.is_tidy(account, "east");
}

/// A server at a kubelet's address that is no kubelet, as a virtual node has, and a node that is gone: whatever the API
/// server passes on from there is no word about the account.
fn node_without_pages_stops_neither_join_nor_rotation() {
    let cluster = Cluster::start(&ClusterSpec::new("odd")).expect("a cluster");
    // An API server connects to no loopback address of a node.
    let machine = testbed::machine_address().expect("an address");
    let odd = FaultProxy::with(&cluster, Front { address: machine, ..Front::default() }).expect("a server with TLS");
    add_node(&cluster, "aaa-virtual", odd.address(), true);
    for index in 10..22 {
        add_node(&cluster, &format!("aab-{index}"), SocketAddr::new(machine, 1), false);
    }
    let place = Place::new();
    let text = |status, text: &str| Action::Text { status, text: text.to_owned() };
    for (index, (action, says)) in [
        (text(404, "404 page not found\n"), "answers 404: 404 page not found"),
        (text(401, "Unauthorized\n"), "does not accept the API server's client certificate"),
        (text(403, "Forbidden (user=kubelet-client, verb=get)\n"), "refuses the API server's own identity"),
        (text(405, "no\n"), "answers 405: no"),
        (text(200, "<html>\n"), "cannot parse: line 1 is not a sample: <html>"),
        (Action::Close, "aaa-virtual"),
    ]
    .into_iter()
    .enumerate()
    {
        odd.clear_rules();
        odd.rule(Rule::new("*", "/", action));
        let joined = if index == 0 {
            let run = place.run(cluster.kubeconfig(), &["join", "--scrape-interval=1s", "--yes"]).succeeded();
            assert!(run.stderr.contains("samples from odd-node-0; "), "{}", run.stderr);
            run
        } else {
            place.run(cluster.kubeconfig(), &["check", "odd"])
        };
        let shown = format!("{}{}", joined.stdout, joined.stderr);
        assert!(shown.contains("1 of 2 nodes that were asked shows its pages; not aaa-virtual: "), "{shown}");
        assert!(shown.contains(says), "{says}: {shown}");
        place.rotate(cluster.kubeconfig(), &["odd", "--now"]).succeeded();
    }
}

fn add_node(cluster: &Cluster, name: &str, kubelet: SocketAddr, is_ready: bool) {
    let api = cluster.api();
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
    api.post("/api/v1/nodes", &node).and_then(|answer| answer.success("a node")).expect("a node");
    let status = json!({ "status": {
        "conditions": [{ "type": "Ready", "status": if is_ready { "True" } else { "Unknown" } }],
        "addresses": [{ "type": "InternalIP", "address": kubelet.ip().to_string() }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet.port() } },
    } });
    let patched = api.patch(&format!("/api/v1/nodes/{name}/status"), &status);
    patched.and_then(|answer| answer.success("a node's status")).expect("a status");
}
