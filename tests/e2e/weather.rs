//! Bad input and bad weather: a clear error, its reason and hint, exit code 1, and nothing left behind.

mod input;
mod output;
mod prometheus;
mod rights;
mod server;

use crate::plugin::{Account, Run};
use std::time::Duration;
use testbed::{Action, FaultProxy};

pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    let modules = [input::trials(), output::trials(), prometheus::trials(), rights::trials(), server::trials()];
    modules.into_iter().flatten().collect()
}

/// A namespace needs seconds to go.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// The Status that an API server answers with when it refuses.
fn answer(status: u16, reason: &str, message: &str) -> Action {
    let body = serde_json::json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status,
    });
    Action::Answer { status, body }
}

/// What was sent through the proxy to change something: neither reads nor dry runs nor questions about permissions.
fn writes(proxy: &FaultProxy) -> Vec<String> {
    proxy
        .requests()
        .into_iter()
        .filter(|request| {
            request.method != "GET" && !request.path.contains("dryRun=All") && !request.path.contains("/selfsubject")
        })
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

/// Nothing of the account was ever there.
fn untouched(account: &Account) {
    assert_eq!(account.objects(), Vec::<String>::new());
}

/// Everything that was created is gone again, the namespace after a while.
fn undone(account: &Account, run: &Run) {
    let gone = || account.objects().is_empty().then_some(());
    testbed::until(GONE_WITHIN, gone).unwrap_or_else(|| panic!("left behind: {:?}\n{}", account.objects(), run.stderr));
    assert!(run.stderr.contains("  undone: "), "nothing was undone: {}", run.stderr);
}
