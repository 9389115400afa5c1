//! Whole commands against an API server in this process: arguments in; requests, output and exit code out. What only a
//! real API server, kubelet or Prometheus can say is in `tests/e2e`.

mod api;
mod check;
mod clocks;
mod concurrency;
mod faults;
mod fleet;
mod input;
mod join;
mod killed;
mod leave;
mod long_lived;
mod matrix;
mod month;
mod policy;
mod rbac;
mod reads;
mod rights;
#[path = "../common/run.rs"]
mod run;
mod schemas;
mod self_renew;
mod world;

pub(crate) use run::Run;
use testbed::Action;
pub(crate) use world::{NAME, World, prometheus_folder};

/// The Status that an API server answers with when it refuses.
fn refusal(status: u16, reason: &str, message: &str) -> Action {
    let body = serde_json::json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status,
    });
    Action::Answer { status, body }
}

/// Nothing of the account was ever there.
#[track_caller]
fn assert_untouched(world: &World) {
    assert_eq!(world.east().writes(), Vec::<String>::new());
    assert_eq!(world.east().ours(), Vec::<String>::new());
}

/// Everything that was created is gone again.
#[track_caller]
fn assert_undone(world: &World, run: &Run) {
    assert_eq!(world.east().ours(), Vec::<String>::new(), "left behind: {}", run.stderr);
    assert!(run.stderr.contains("  undone: "), "nothing was undone: {}", run.stderr);
}
