//! What a token of ours can do, and that it can do nothing else.

pub(crate) mod table;

use crate::{
    plugin::Account,
    raw::{request, request_at_kubelet, websocket, websocket_at_kubelet},
};

trials! {
    rights:
    smoke {
        only_the_pages_of_the_jobs,
        exec_by_websocket_is_refused_by_the_fence,
    }
    full {
        without_a_fence_the_same_token_reaches_the_kubelet,
        the_fence_does_not_bind_the_kubelet_itself,
    }
}

/// Who refuses.
#[derive(Debug, PartialEq)]
enum Answer {
    Ok,
    /// RBAC: the account lacks the right.
    Rbac,
    /// Our policy, by its own message.
    Fence,
}

fn answer(account: &Account, (code, body): (u16, String)) -> Answer {
    match code {
        200 => Answer::Ok,
        403 => Answer::Rbac,
        422 if body.contains(&format!("ValidatingAdmissionPolicy '{}'", account.cluster_scoped_name())) => {
            Answer::Fence
        }
        other => panic!("{other}: {body}"),
    }
}

fn only_the_pages_of_the_jobs() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "rights");
    let token = account.join(&["--jobs", "cadvisor"]).token();
    let node = &east.node_names()[0];
    let proxy = format!("/api/v1/nodes/{node}/proxy");
    let table = [
        ("GET", "/api/v1/nodes".to_owned(), Answer::Ok),
        // The right to list and watch covers one node by its name.
        ("GET", format!("/api/v1/nodes?fieldSelector=metadata.name%3D{node}"), Answer::Ok),
        ("GET", format!("/api/v1/watch/nodes/{node}?timeoutSeconds=1"), Answer::Ok),
        ("GET", format!("{proxy}/metrics/cadvisor"), Answer::Ok),
        // The other job of the kubelet was not chosen.
        ("GET", format!("{proxy}/metrics"), Answer::Fence),
        ("GET", format!("{proxy}/metrics/probes"), Answer::Fence),
        ("GET", format!("{proxy}/metrics/resource"), Answer::Fence),
        ("GET", format!("{proxy}/"), Answer::Fence),
        ("GET", proxy.clone(), Answer::Fence),
        ("GET", format!("{proxy}/configz"), Answer::Fence),
        ("GET", format!("{proxy}/pods"), Answer::Fence),
        ("GET", format!("{proxy}/logs/"), Answer::Fence),
        ("GET", format!("{proxy}/metrics/cadvisor/"), Answer::Fence),
        ("GET", format!("{proxy}/metrics/cadvisor/../../configz"), Answer::Fence),
        ("GET", format!("{proxy}/metrics/%2e%2e/configz"), Answer::Fence),
        ("GET", format!("{proxy}/metrics%2f..%2fconfigz"), Answer::Fence),
        ("GET", format!("{proxy}//configz"), Answer::Fence),
        ("GET", format!("{proxy}/configz?path=/metrics/cadvisor"), Answer::Fence),
        ("GET", format!("/api/v1/nodes/{node}:10250/proxy/metrics/cadvisor"), Answer::Fence),
        ("GET", format!("/api/v1/nodes/https:{node}:10250/proxy/metrics/cadvisor"), Answer::Fence),
        ("POST", format!("{proxy}/run/default/pod/container?cmd=id"), Answer::Rbac),
        ("POST", format!("{proxy}/metrics/cadvisor"), Answer::Rbac),
        ("GET", format!("/api/v1/nodes/{node}"), Answer::Rbac),
        ("DELETE", format!("/api/v1/nodes/{node}"), Answer::Rbac),
        ("GET", "/api/v1/pods".to_owned(), Answer::Rbac),
        ("GET", "/api/v1/secrets".to_owned(), Answer::Rbac),
        ("GET", format!("/api/v1/namespaces/{}/secrets", account.namespace), Answer::Rbac),
        ("GET", "/api/v1/configmaps".to_owned(), Answer::Rbac),
        ("GET", "/api/v1/services".to_owned(), Answer::Rbac),
        ("GET", "/api/v1/namespaces/default/services/kubernetes/proxy/".to_owned(), Answer::Rbac),
        ("GET", "/metrics".to_owned(), Answer::Rbac),
        ("POST", format!("/api/v1/namespaces/{}/serviceaccounts/prometheus/token", account.namespace), Answer::Rbac),
    ];
    for (method, path, expected) in table {
        assert_eq!(answer(&account, request(east, &token, method, &path)), expected, "{method} {path}");
    }
}

fn exec_path(node: &str) -> String {
    format!("/api/v1/nodes/{node}/proxy/exec/default/pod/container?command=id&output=1")
}

fn exec_by_websocket_is_refused_by_the_fence() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "exec");
    let token = account.join(&[]).token();
    let refused = websocket(east, &token, &exec_path(&east.node_names()[0]));
    assert_eq!(answer(&account, refused), Answer::Fence);
}

/// What the fence is for, and that the tests above could fail: RBAC alone lets the same requests through to the kubelet.
fn without_a_fence_the_same_token_reaches_the_kubelet() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "unfenced");
    let run = account.join(&["--fence=off"]);
    assert!(
        run.stderr.contains("Warning: --fence=off: without the fence a thief of the token can read every pod's"),
        "{}",
        run.stderr
    );
    let (token, node) = (run.token(), &east.node_names()[0]);
    assert_eq!(request(east, &token, "GET", &format!("/api/v1/nodes/{node}/proxy/configz")).0, 200);
    assert_eq!(
        request(east, &token, "GET", &format!("/api/v1/nodes/{node}/proxy/metrics/../configz")).0,
        200,
        "the path is cleaned after admission"
    );
    let (code, body) = websocket(east, &token, &exec_path(node));
    assert!(
        code == 400 && body.contains("you must specify at least 1 of stdin, stdout, stderr"),
        "not the kubelet's exec handler: {code} {body}"
    );
}

/// The limit that SECURITY.md states: at the kubelet's own port only RBAC counts.
fn the_fence_does_not_bind_the_kubelet_itself() {
    let east = &testbed::shared().east;
    let token = Account::new(east, "limit").join(&[]).token();
    assert_eq!(
        request_at_kubelet(east, 0, &token, "/metrics/cadvisor").0,
        403,
        "needs nodes/metrics, which is not granted"
    );
    assert_eq!(request_at_kubelet(east, 0, &token, "/configz").0, 200);
    let (code, body) = websocket_at_kubelet(east, 0, &token, "/exec/default/pod/container?command=id&output=1");
    assert!(code == 404 && body.contains("pod does not exist"), "exec is not authorised: {code} {body}");
}
