//! Whatever fails, the old token stays in use and nothing of the new one is left.

use super::{Scene, State, keeps_old_token, killed::strace};
use crate::plugin::Run;
use serde_json::json;
use testbed::{Action, FaultProxy, Rule};

trials! {
    rotate_fails:
    full {
        rotation_with_a_failed_proof_is_undone,
        rotation_with_a_rejected_reload_is_undone,
        rotation_without_targets_is_undone,
        rotation_on_a_full_disk_is_undone,
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
            "error (ProofFailed): east: /api/v1/nodes/",
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
