//! Nodes that are none: a cluster of its own, because every other trial scrapes all nodes.

use super::Place;
use serde_json::json;
use std::net::SocketAddr;
use testbed::{Action, Cluster, ClusterSpec, FaultProxy, Front, Rule};

trials! {
    rotate_nodes:
    full {
        node_without_pages_stops_neither_join_nor_rotation,
    }
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
