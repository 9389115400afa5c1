//! `--long-lived-token` where no token can be had, and where only it can.

use crate::{World, api::Lack, assert_undone};
use serde_json::json;
use testbed::{Action, Rule};

const JOIN: [&str; 3] = ["join", "--long-lived-token", "--jobs=kubelet"];

#[test]
fn long_lived_token_is_read_from_its_secret_and_leave_ends_it() {
    let world = World::new();
    let run = world.run(&JOIN).succeeded();
    for text in ["Warning: with --long-lived-token the token never expires", "9 other requests refused by the fence"] {
        assert!(run.stderr.contains(text), "no {text:?}: {}", run.stderr);
    }
    assert!(run.stdout.contains(", valid until its Secret is deleted: "), "{}", run.stdout);
    // A join of another kind leaves it alone.
    world.run(&["join", "--jobs=kubelet"]).succeeded();
    assert_eq!(world.get(&run.token(), "/version").0, 200);
    world.run(&["leave"]).succeeded();
    assert_eq!(world.get(&run.token(), "/version").0, 401);
}

/// As an API server before 1.22 answers.
#[test]
fn api_server_without_token_request_needs_a_long_lived_token() {
    let world = World::new();
    world.east().state().lacks.insert(Lack::TokenRequest);
    let run = world.run(&["join"]).failed(
        "TokenRequestMissing",
        &["east: the API server has no TokenRequest", "hint: If it cannot be upgraded: join --long-lived-token"],
    );
    assert_undone(&world, &run);
    world.run(&JOIN).succeeded();
    let left = world.run(&["leave"]).succeeded();
    assert!(left.stderr.contains("no token to verify that access has ended"), "{}", left.stderr);
    assert_eq!(world.east().ours(), Vec::<String>::new());
}

#[test]
fn missing_token_controller_is_reported() {
    let world = World::new();
    world.east().state().lacks.insert(Lack::TokenController);
    let run = world.run(&JOIN).failed(
        "TokenNotIssued",
        &[
            "east: no controller has put a token into secret/prometheus-",
            " within 10 s",
            "serviceaccount-token-controller",
        ],
    );
    let asked = |request: &testbed::Request| request.method == "GET" && request.path.contains("/secrets/prometheus-");
    let asked = world.east().requests().into_iter().filter(asked).count();
    assert!(asked < 20, "it asks gently: {asked}");
    assert_undone(&world, &run);
}

/// Another Secret of this name may hold whatever was written into it.
#[test]
fn token_of_another_secret_is_not_taken() {
    let world = World::new();
    let other =
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "uid": "another" }, "data": { "token": "eA==" } });
    let rule = Rule::new("GET", "/secrets/prometheus-", Action::Answer { status: 200, body: other });
    world.east().rule(rule);
    let run =
        world.run(&JOIN).failed("TokenNotIssued", &["east: no controller has put a token into secret/prometheus-"]);
    assert_undone(&world, &run);
}
