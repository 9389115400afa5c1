//! On the host of Prometheus, without any kubeconfig: the account renews its token with the one that it has.

use super::{Place, Scene, State, keeps_old_token};
use crate::{
    plugin::{Account, Run},
    raw,
};
use std::fs;

trials! {
    rotate_itself:
    smoke {
        rotation_needs_only_the_token,
    }
    full {
        revoked_or_expired_token_is_reported_with_the_next_command,
        missing_right_to_renew_is_reported,
    }
}

impl Scene {
    /// As a timer on the host runs it: no environment, and a home without a kubeconfig.
    pub(super) fn rotate_alone(&self, more: &[&str]) -> Run {
        let home = self.place.dir().join("data/home");
        fs::create_dir_all(&home).expect("a folder");
        let mut command = self.place.command(home.as_path(), &[&["rotate"], more].concat());
        command.env_remove("KUBECONFIG").env("HOME", home);
        command.output().expect("the plugin starts").into()
    }
}

fn rotation_needs_only_the_token() {
    let scene = Scene::joined("alone", &["--self-renew", "--duration=1d"]);
    let Scene { account, place } = &scene;
    let (generation, secret, token) = (place.live("east"), place.secret("east"), place.file("east", "token"));
    assert!(scene.rotate_alone(&[]).succeeded().stderr.starts_with("east  not due before"));
    place.pass("east", 13 * 60);
    let record = place.record("east");
    let run = scene.rotate_alone(&["--output=json"]).succeeded();
    let report = &super::reports(&run)[0];
    assert_eq!((&report["by"], &report["targetsUp"]), (&"the account itself".into(), &4.into()));
    assert_ne!(place.live("east"), generation);
    assert_ne!(place.file("east", "token"), token);
    assert_eq!(place.secret("east"), secret, "only the token changes");
    // What it remembers is the same but for the token's life, and what it replaced.
    let mut renewed = place.record("east");
    let replaced = renewed["replaces"].take();
    assert_eq!(replaced[0]["generation"], generation);
    for key in ["token", "replaces"] {
        assert_ne!(renewed[key], record[key]);
        renewed[key] = record[key].clone();
    }
    assert_eq!(renewed, record);
    place.is_tidy(account, "east");
    // And the next one by the renewed token, in its turn.
    scene.rotate_alone(&["--now"]).succeeded();
    place.is_tidy(account, "east");
    assert_eq!(place.secret("east"), secret);

    // An administrator revokes all other tokens.
    let token = place.file("east", "token");
    scene.rotate(&["--now"]).succeeded();
    assert_ne!(place.secret("east"), secret);
    place.is_tidy(account, "east");
    let (code, body) = raw::request(account.cluster, place.file("east", "token").trim(), "GET", "/version");
    assert_eq!(code, 200, "{body}");
    scene.rotate_alone(&["--now"]).succeeded();
    assert!(!run.stderr.contains(token.trim()));
    place.is_tidy(account, "east");
}

fn revoked_or_expired_token_is_reported_with_the_next_command() {
    let scene = Scene::joined("revoked", &["--self-renew"]);
    let Scene { account, place } = &scene;
    // Only the server's log distinguishes an expired token from a missing one.
    let token = place.ours().join("east").join(place.live("east")).join("token");
    let good = fs::read_to_string(&token).expect("a token");
    fs::write(&token, &good[..good.len() - 8]).expect("a token");
    place.pass("east", 20 * 24 * 60);
    let says_what_to_do = |scene: &Scene, died: bool| {
        let before: State = scene.state();
        let run = scene.rotate_alone(&["--now"]).failed(
            "RotationFailed",
            &[
                "error (AccountRefused): east: ",
                "the server answers 401: the token has expired or was revoked",
                "hint: An administrator of the cluster can issue a new token: kubectl prom-federate rotate east --now -p ",
            ],
        );
        assert_eq!(run.stderr.contains("hint: The old token expired on 20"), died, "{}", run.stderr);
        assert_eq!(run.stderr.matches("error (AccountRefused)").count(), 1, "{}", run.stderr);
        assert!(!run.stderr.contains("kubeconfig"), "{}", run.stderr);
        before.is(&scene.state());
    };
    says_what_to_do(&scene, true);
    fs::write(&token, good).expect("a token");
    scene.rotate(&["--now"]).succeeded();

    account.cluster.kubectl_ok(&["--namespace", &account.namespace, "delete", "secret", &place.secret("east")]);
    testbed::until(super::SCRAPED_WITHIN, || {
        (raw::request(account.cluster, place.file("east", "token").trim(), "GET", "/version").0 == 401).then_some(())
    })
    .expect("the token is refused");
    says_what_to_do(&scene, false);
    // With the Secret its terms have gone, so only a join knows them.
    super::keeps_old_token(
        scene.rotate(&["east", "--now"]),
        &[
            "error (RecordNotConfirmed): east: ",
            "hint: Check each of these terms, which only the record has: kubectl prom-federate join ",
        ],
    );
    place.join(account, &["--self-renew"]);
    scene.rotate_alone(&["--now"]).succeeded();
    place.is_tidy(account, "east");
}

fn missing_right_to_renew_is_reported() {
    let scene = Scene { account: Account::new(&testbed::shared().east, "rotate-noright"), place: Place::new() };
    scene.place.join(&scene.account, &[]);
    let before = scene.state();
    keeps_old_token(
        scene.rotate_alone(&["--now"]),
        &[
            "error (KubeconfigNotFound): east: no kubeconfig: ",
            "hint: A cluster that was joined with --self-renew needs no kubeconfig",
        ],
    );
    before.is(&scene.state());
}
