//! Taking the access away, and the proof of it.

use crate::{
    plugin::{Account, command},
    raw,
    terminal::Terminal,
};

trials! {
    leave:
    smoke {
        leave_deletes_all_objects_and_the_token_is_refused,
    }
    full {
        namespace_with_other_objects_stays,
        a_dry_run_deletes_nothing,
        a_terminal_shows_what_leave_waits_for,
    }
}

fn leave_deletes_all_objects_and_the_token_is_refused() {
    let east = Account::new(&testbed::shared().east, "leave");
    let token = east.join(&[]).token();
    east.join(&[]);
    assert_eq!(east.objects().len(), 10, "{:?}", east.objects());
    let run = east.run(&["leave"]).succeeded();
    assert!(run.stderr.contains("a token that worked before now gets 401 (after "), "{}", run.stderr);
    assert!(run.stderr.contains("all objects of the plugin are deleted"), "{}", run.stderr);
    assert_eq!(east.objects(), Vec::<String>::new());
    assert_eq!(raw::request(east.cluster, &token, "GET", "/version").0, 401);
}

fn namespace_with_other_objects_stays() {
    let east = Account::new(&testbed::shared().east, "shared-namespace");
    east.join(&[]);
    east.cluster.kubectl_ok(&["--namespace", &east.namespace, "create", "configmap", "shop"]);
    let run = east.run(&["leave"]).succeeded();
    let stays = format!("namespace/{} is not deleted: it contains configmaps/shop", east.namespace);
    assert!(run.stderr.contains(&stays), "{}", run.stderr);
    assert_eq!(east.objects(), [format!("/api/v1/namespaces/{}", east.namespace)]);
}

fn a_dry_run_deletes_nothing() {
    let east = Account::new(&testbed::shared().east, "leave-dry-run");
    east.join(&[]);
    let before = east.objects();
    for mode in ["client", "server"] {
        let run = east.run(&["leave", &format!("--dry-run={mode}")]).succeeded();
        assert_eq!(run.stdout.lines().count(), 9, "{}", run.stdout);
        assert_eq!(east.objects(), before, "{mode}");
    }
}

/// The line is there while something is waited for, and is gone at the end.
fn a_terminal_shows_what_leave_waits_for() {
    let east = Account::new(&testbed::shared().east, "leave-waits");
    east.join(&[]);
    let words = ["leave", "--yes", "--namespace", &east.namespace];
    let mut terminal = Terminal::start(&command(east.cluster.kubeconfig(), &words), 100);
    terminal.expect("waiting for the API server to refuse the deleted token, 0s of at most 30s");
    terminal.expect("verified: a token that worked before now gets 401");
    let end = terminal.end().succeeded();
    let last = end.stdout.rsplit("\r\u{1b}[2K").next().expect("a line");
    assert!(last.ends_with("all objects of the plugin are deleted\r\n"), "{last:?}");
}
