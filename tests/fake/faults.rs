//! Servers that refuse, lose, ignore or garble what is asked of them: whatever a run created is gone afterwards.

use crate::{NAME, Run, World, api::Lack, assert_undone, assert_untouched, refusal};
use serde_json::json;
use std::time::Duration;
use testbed::{Action, Rule};

#[test]
fn api_server_without_policies_is_refused() {
    let world = World::new();
    world.east().state().lacks.insert(Lack::Policies);
    world.run(&["join"]).failed(
        "PolicyApiMissing",
        &[
            "east: this API server has no ValidatingAdmissionPolicy",
            "it needs Kubernetes 1.30 or later",
            "hint: To join without a fence: --fence=off; but without the fence a thief of the token",
            "RBAC cannot limit `get nodes/proxy`",
        ],
    );
    assert_untouched(&world);
    let run = world.run(&["join", "--fence=off"]).succeeded();
    assert!(run.stderr.contains("no fence, so other pages of these targets are not refused"), "{}", run.stderr);
}

#[test]
fn kubelet_that_refuses_the_api_server_is_named() {
    let world = World::new();
    let body = "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes, subresource=metrics)";
    world.east().state().pages.values_mut().for_each(|page| *page = (403, body.to_owned()));
    let run = world.run(&["join"]).failed(
        "KubeletForbidden",
        &[
            "the kubelet refuses the API server's own identity kube-apiserver-kubelet-client, not the account",
            "hint: Create the binding that kubeadm creates: kubectl create clusterrolebinding kubelet-api-admin ",
        ],
    );
    assert_undone(&world, &run);
}

#[test]
fn policies_that_are_not_enforced_fail_the_join() {
    let world = World::new();
    world.east().state().lacks.insert(Lack::Enforcement);
    let run = world.run(&["join"]).failed(
        "FenceNotEnforced",
        &[
            "east: ",
            NAME,
            "does not enforce it",
            "--disable-admission-plugins",
            "hint: To join without a fence: --fence=off; but without the fence",
        ],
    );
    assert_undone(&world, &run);
}

/// Whether the policy is enforced is unknown then.
#[test]
fn refusal_before_the_fence_is_no_verdict_on_it() {
    let world = World::new();
    for (answer, says) in [
        (refusal(403, "Forbidden", "nodes is forbidden"), "answers 403 to the new token before the fence is asked"),
        (
            refusal(429, "TooManyRequests", "too many requests"),
            "answers 429 to the new token before the fence is asked",
        ),
    ] {
        world.east().clear_rules();
        world.east().rule(Rule::new("GET", "/configz", answer));
        let run = world.run(&["join"]).failed("ProofFailed", &["east: ", "/configz ", says]);
        assert_undone(&world, &run);
    }
}

#[test]
fn cluster_without_nodes_is_refused() {
    let world = World::new();
    for node in ["node-1", "node-2"] {
        world.east().state().remove(&format!("/api/v1/nodes/{node}"));
    }
    let says = "east: the cluster has no nodes, so nothing could be proven; nothing was written";
    world.run(&["join"]).failed("NoNodes", &[says, "kubectl get nodes"]);
    assert_untouched(&world);
}

#[test]
fn answers_that_are_no_json_are_refused() {
    let world = World::new();
    // A front's log-in page, say.
    world.east().rule(Rule::new("*", "/", Action::Answer { status: 200, body: json!("<html>Sign in</html>") }));
    for command in ["join", "leave"] {
        world.run(&[command]).failed(
            "ApiServerError",
            &[
                "east: ",
                "answers 200: \"<html>Sign in</html>\", which is not an answer of an API server",
                "log in there",
            ],
        );
    }
    for (status, text, reason) in [
        (302, "<a href=\"/login\">\n  Found</a>", "ApiServerError"),
        (401, "<html>\n  Sign in</html>", "Unauthorized"),
        (403, "{\"Code\":{\"Code\":\"Forbidden\"}}", "Forbidden"),
        (503, "<html>busy</html>", "ApiServerError"),
    ] {
        world.east().clear_rules();
        world.east().rule(Rule::new("*", "/", Action::Text { status, text: text.to_owned() }));
        world.run(&["join"]).failed(reason, &["east: ", "A proxy or load balancer answers in place of the API server"]);
    }
    assert_untouched(&world);
}

/// Of a list: its items, and what follows them.
fn list(items: &serde_json::Value, more: &str) -> Action {
    Action::Answer { status: 200, body: json!({ "items": items, "metadata": { "continue": more } }) }
}

#[test]
fn list_that_does_not_end_is_refused() {
    let world = World::new();
    world.east().rule(Rule::new("GET", "/secrets?", list(&json!([]), "again")));
    let says = "/secrets?labelSelector=app.kubernetes.io/managed-by=kubectl-prom-federate";
    world.run(&["join"]).failed("ApiServerError", &["east: ", says, "its continue leads nowhere"]);
    // Each page leads to another one.
    world.east().clear_rules();
    for page in 0..500 {
        let rule = Rule::new("GET", "/roles?", list(&json!([]), &page.to_string()));
        world.east().rule(rule.times(1));
    }
    world.run(&["join"]).failed("LimitExceeded", &["east: the list ", "/roles?", "has more than 400 pages"]);
    assert_untouched(&world);
}

#[test]
fn answers_that_take_too_much_memory_are_refused() {
    let world = World::new();
    let long = "x".repeat(3 << 20);
    let many = vec![json!({}); 1 << 18];
    for (body, reason, says) in [
        (json!({ "gitVersion": long }), "LimitExceeded", "the answer to /version has more than 2 MiB"),
        (json!({ "gitVersion": many }), "LimitExceeded", "the answer to /version has more than 4 MiB in memory"),
    ] {
        world.east().clear_rules();
        world.east().rule(Rule::new("GET", "/version", Action::Answer { status: 200, body }));
        world.run(&["join"]).failed(reason, &["east: ", says]);
    }
    assert_untouched(&world);
}

#[test]
fn endless_answers_are_not_read_to_the_end() {
    let world = World::new();
    for (path, says) in [
        ("/version", "the answer to /version has more than 2 MiB"),
        ("/roles?", "the answer to /apis/rbac.authorization.k8s.io/v1/roles has more than 16 MiB"),
    ] {
        world.east().clear_rules();
        world.east().rule(Rule::new("*", path, Action::Endless));
        world.run(&["join"]).failed("LimitExceeded", &["east: ", says]);
        assert_untouched(&world);
    }
    // Objects exist by then.
    let rule = Rule::new("POST", "/serviceaccounts/prometheus/token", Action::Endless);
    assert_spoiled(rule, "LimitExceeded", &["/token has more than 2 MiB"]);
}

#[test]
fn answers_cannot_drive_a_terminal() {
    let world = World::new();
    let evil = "evil\u{1b}[2J\u{9b}31m\r\u{7}\u{202e}text";
    let drives = ['\u{1b}', '\u{9b}', '\r', '\u{7}', '\u{202e}'];
    for path in ["/version", "/secrets?", "/nodes?", "/clusterroles/"] {
        for status in [500, 403, 409] {
            world.east().clear_rules();
            world.east().rule(Rule::new("GET", path, refusal(status, evil, evil)));
            let run = world.run(&["join"]);
            assert_eq!(run.code, Some(1), "{path} {status}: {}", run.stderr);
            assert!(run.stderr.contains("evil\\u{1b}[2J\\u{9b}31m\\r\\u{7}"), "{path} {status}: {}", run.stderr);
            assert!(!run.stderr.contains(drives), "{path} {status}: {:?}", run.stderr);
        }
    }
    // Also what the kubelet answers to the proof.
    world.east().clear_rules();
    world.east().rule(Rule::new("GET", "/proxy/metrics", refusal(400, "BadRequest", evil)));
    let run = world.run(&["join"]).failed("ProofFailed", &["evil\\u{1b}[2J"]);
    assert!(!run.stderr.contains(drives), "{:?}", run.stderr);
    assert_undone(&world, &run);
}

/// A join whose requests are spoiled by a rule: it fails, and nothing of it is left.
#[track_caller]
fn assert_spoiled(rule: Rule, reason: &str, says: &[&str]) -> Run {
    let world = World::new();
    world.east().rule(rule);
    let run = world.run(&["join"]).failed(reason, says);
    assert_undone(&world, &run);
    run
}

#[test]
fn join_without_a_token_is_undone() {
    let rule = Rule::new("POST", "/serviceaccounts/prometheus/token", refusal(500, "InternalError", "no signing key"));
    let says = ["east: a token of service account prom-federate/prometheus", "no signing key"];
    let run = assert_spoiled(rule, "ApiServerError", &says);
    assert!(run.stderr.contains("undone: deleted 9 objects"), "{}", run.stderr);
}

/// The Secret was stored, and the answer was lost.
#[test]
fn lost_answer_is_undone() {
    let lost = Rule::new("PATCH", "/secrets/", Action::LoseAnswer);
    let run = assert_spoiled(lost, "ConnectionFailed", &["east: ", "secret/prometheus-"]);
    assert!(run.stderr.contains("undone: deleted 9 objects"), "{}", run.stderr);
    // Nor is a token whose answer is lost any good: the Secret that it is bound to goes.
    let lost = Rule::new("POST", "/token", Action::LoseAnswer);
    assert_spoiled(lost, "ConnectionFailed", &["a token of service account"]);
}

#[test]
fn write_that_is_refused_midway_is_undone() {
    let denied = refusal(403, "Forbidden", "admission webhook \"guard.example.com\" denied the request");
    let rule = Rule::new("PATCH", "/clusterrolebindings/", denied);
    let run = assert_spoiled(rule, "Forbidden", &["east: ", "clusterrolebinding", "guard.example.com"]);
    assert!(run.stderr.contains("undone: deleted 8 objects"), "all but the binding: {}", run.stderr);
}

#[test]
fn connection_that_closes_midway_is_undone() {
    // The first PATCH of the role is a dry run.
    let rule = Rule::new("PATCH", "/clusterroles/", Action::Close).skip(1);
    assert_spoiled(rule, "ConnectionFailed", &["east: ", "clusterrole.rbac"]);
}

#[test]
fn no_right_is_granted_without_its_fence() {
    let world = World::new();
    let full = refusal(500, "InternalError", "etcd is full");
    world.east().rule(Rule::new("PATCH", "/validatingadmissionpolicybindings/", full));
    let run = world.run(&["join"]).failed("ApiServerError", &["validatingadmissionpolicybinding", "etcd is full"]);
    let writes = world.east().writes();
    let grants = |write: &String| write.starts_with("PATCH") && write.contains("/clusterrolebindings/");
    assert!(!writes.iter().any(grants), "{writes:?}");
    assert_undone(&world, &run);
}

#[test]
fn undo_that_fails_names_what_is_left() {
    let world = World::new();
    let again = refusal(500, "InternalError", "try again later");
    world.east().rule(Rule::new("POST", "/token", refusal(500, "InternalError", "no signing key")));
    world.east().rule(Rule::new("DELETE", "/clusterroles/", again));
    let left = format!("clusterrole.rbac.authorization.k8s.io/{NAME}");
    // Why it failed comes first, what is left is a hint.
    let leave = "kubectl prom-federate leave --context east";
    let run = world.run(&["join"]).failed(
        "ApiServerError",
        &["no signing key", &format!("hint: Not deleted: {left} ("), "try again later", leave],
    );
    assert_eq!(world.east().ours(), [format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{NAME}")]);
    let hint = run.stderr.lines().find(|line| line.contains("Not deleted")).unwrap_or_default();
    for gone in ["secret/", "serviceaccount/", "clusterrolebinding"] {
        assert!(!hint.contains(gone), "{gone} was deleted: {hint}");
    }
    // And that command does it.
    world.east().clear_rules();
    world.run(&["leave"]).succeeded();
    assert_eq!(world.east().ours(), Vec::<String>::new());
}

/// While the account is still bound to its rights, its fence stands.
#[test]
fn fence_of_leftovers_stays() {
    let world = World::new();
    world.east().rule(Rule::new("POST", "/token", refusal(500, "InternalError", "no signing key")));
    let again = refusal(500, "InternalError", "try again later");
    world.east().rule(Rule::new("DELETE", "/clusterrolebindings/", again));
    let run = world.run(&["join"]).failed("ApiServerError", &["Not deleted: clusterrolebinding"]);
    let left = world.east().ours();
    for kept in ["clusterrolebindings", "validatingadmissionpolicies", "validatingadmissionpolicybindings"] {
        assert!(left.iter().any(|path| path.contains(&format!("/{kept}/"))), "{kept} is gone: {left:?}");
        let singular = kept.replace("policies", "policy");
        assert!(run.stderr.contains(singular.trim_end_matches('s')), "does not say {singular}: {}", run.stderr);
    }
    world.east().clear_rules();
    world.run(&["leave"]).succeeded();
    assert_eq!(world.east().ours(), Vec::<String>::new());
}

#[test]
fn node_that_is_down_is_passed_over() {
    let refused = refusal(503, "ServiceUnavailable", "dial tcp: connection refused");
    for action in [refused, Action::Hang] {
        let world = World::new();
        world.east().rule(Rule::new("GET", "/nodes/node-1/proxy/metrics/cadvisor", action));
        let run = world.run(&["join", "--request-timeout=2s"]).succeeded();
        assert!(run.stderr.contains("from node-2; "), "{}", run.stderr);
    }
}

/// Virtual kubelets, foreign agents, dead nodes: what a node itself answers says nothing of the others. Here it is the
/// first, and the second shows its pages.
#[test]
fn node_without_pages_is_named_and_passed_over() {
    let plain = |status, text: &str| Action::Text { status, text: text.to_owned() };
    for (action, says) in [
        (plain(404, "404 page not found\n"), "answers 404: 404 page not found"),
        (plain(405, ""), "answers 405"),
        (plain(401, "Unauthorized\n"), "client certificate"),
        (plain(403, "Forbidden (user=kubelet-client, verb=get)\n"), "refuses the API server's own identity"),
        (plain(403, "no\n"), "answers 403: no"),
        (plain(200, "<html>\n"), "line 1 is not a sample: <html>"),
        (plain(200, "# nothing\n"), "without any sample"),
        (refusal(404, "NotFound", "nodes \"node-1\" not found"), "not found"),
        (Action::Close, "node-1/proxy"),
    ] {
        let world = World::new();
        world.east().rule(Rule::new("GET", "/nodes/node-1/proxy/metrics/cadvisor", action));
        let run = world.run(&["join"]).succeeded();
        assert!(run.stderr.contains("samples from node-2; "), "{}", run.stderr);
        assert!(
            run.stderr.contains("Warning: 1 of 2 nodes that were asked shows its pages; not node-1: "),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains(says), "{says}: {}", run.stderr);
        let checked = world.run(&["check"]).succeeded();
        assert!(
            checked.stdout.contains("1 of 2 nodes that were asked shows its pages; not node-1"),
            "{}",
            checked.stdout
        );
    }
}

/// A healthy node behind a page of dead ones is found, and only a cluster without any is refused.
#[test]
fn only_healthy_node_is_found_among_many() {
    let world = World::new();
    let dead = |name: &str| {
        let refused = refusal(502, "BadGateway", "dial tcp: no route to host");
        Rule::new("GET", &format!("/nodes/{name}/proxy/metrics/cadvisor"), refused)
    };
    for index in 10..45 {
        let name = format!("aaa-{index}");
        world.east().state().put_node(&name, index > 30);
        world.east().rule(dead(&name));
    }
    let run = world.run(&["join"]).succeeded();
    assert!(run.stderr.contains("samples from node-1; "), "{}", run.stderr);
    assert!(run.stderr.contains("not aaa-31: "), "{}", run.stderr);
    world.east().rule(dead("node-1"));
    world.east().rule(dead("node-2"));
    world.run(&["join"]).failed("ProofFailed", &["none of 37 nodes shows its pages", "no route to host", "Also: "]);
}

/// Something between here and the API server that answers in its place.
#[test]
fn front_that_takes_no_service_account_is_named() {
    let plain = |status, text: &str| Action::Text { status, text: text.to_owned() };
    let rancher = json!({ "Code": { "Code": "Forbidden", "Status": 403 }, "Message": "system:unauthenticated" });
    for (action, says) in [
        (Action::Answer { status: 403, body: rancher }, "system:unauthenticated"),
        (plain(302, "<a href=/login>Found</a>"), "with 302 to /log-in: <a href=/login>"),
        (plain(200, "<html>Sign in</html>"), "with 200: <html>Sign in</html>"),
        (plain(400, "Bad Request"), "with 400: Bad Request"),
        (plain(401, "no"), "with 401: no"),
    ] {
        // Ours is the only list of nodes that asks for just one.
        let rule = Rule::new("GET", "/nodes?limit=1", action).skip(1);
        let run = assert_spoiled(rule, "AccountRefused", &[says, "not an answer of an API server", "--api-server"]);
        assert!(run.stderr.contains("undone: deleted 9 objects"), "{}", run.stderr);
    }
}

#[test]
fn join_without_a_reachable_node_is_undone() {
    let refused = refusal(503, "ServiceUnavailable", "dial tcp: connection refused");
    assert_spoiled(
        Rule::new("GET", "/proxy/metrics", refused),
        "ProofFailed",
        &["east: ", "/proxy/metrics", "answers 503", "connection refused", "kubectl get --raw"],
    );
}

/// A front such as Rancher takes no tokens of service accounts.
#[test]
fn token_that_is_refused_is_undone() {
    // Ours is the only list of nodes that asks for just one.
    let rule = Rule::new("GET", "/nodes?limit=1", refusal(401, "Unauthorized", "Unauthorized")).skip(1);
    let run = assert_spoiled(rule, "AccountRefused", &["answers 401 to the new token", "--api-server"]);
    assert!(run.stderr.contains("undone: deleted 9 objects"), "{}", run.stderr);
}

/// Otherwise `leave` would leave a token that works.
#[test]
fn answer_that_is_no_list_is_no_empty_list() {
    let world = World::new();
    world.run(&["join"]).succeeded();
    let pod = Action::Answer { status: 200, body: json!({ "kind": "Pod", "apiVersion": "v1", "metadata": {} }) };
    world.east().rule(Rule::new("GET", "/secrets?", pod));
    world.run(&["leave"]).failed("ApiServerError", &["east: ", "/secrets?", "is invalid: missing field `items`"]);
    assert_eq!(world.east().secrets().len(), 1);
}

/// client-go waits for as long as the API server asks for, and sends a request up to ten times more.
#[test]
fn request_that_the_api_server_wants_again_is_sent_again() {
    let later = || refusal(429, "TooManyRequests", "too many requests, please try again later");
    let world = World::new();
    // Every request is refused once, also those that write.
    let clean = World::new();
    clean.run(&["join"]).succeeded();
    for request in clean.east().requests() {
        let path = request.path.split('?').next().unwrap_or_default();
        let path = path.rsplit_once("/prometheus-").map_or(path, |(before, _)| before);
        world.east().rule(Rule::new(&request.method, path, later()).times(1));
    }
    let (run, took) = world.timed(&["join"]);
    let token = run.succeeded().token();
    assert_eq!(world.get(&token, "/api/v1/nodes").0, 200);
    assert!(took < Duration::from_secs(60), "{took:?}");

    // The limit for a request is one for all of these.
    let world = World::new();
    world.east().rule(Rule::new("GET", "/version", later()));
    let (run, took) = world.timed(&["join", "--request-timeout=4s"]);
    run.failed("ApiServerError", &["east: ", "too many requests"]);
    assert_eq!(world.east().requests().iter().filter(|request| request.path == "/version").count(), 4);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_untouched(&world);
}

#[test]
fn request_that_hangs_times_out() {
    let world = World::new();
    world.east().rule(Rule::new("*", "/", Action::Hang));
    for command in ["join", "leave"] {
        world
            .run(&[command, "--request-timeout=1s"])
            .failed("Timeout", &["east: ", "https://east.example:6443", "did not answer in time", "--request-timeout"]);
    }
    assert_untouched(&world);
}
