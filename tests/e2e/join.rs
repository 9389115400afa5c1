//! Joining: what is installed, what a second join does, what a dry run sends.

use crate::plugin::{Account, command, run};
use serde_json::json;
use std::io::Read;
use testbed::{Action, FaultProxy, Rule};

trials! {
    join:
    smoke {
        installs_and_prints,
        a_second_join_changes_nothing_but_the_token,
        a_dry_run_sends_no_write,
        a_dry_run_prints_what_the_run_then_does_in_its_order,
        manifests_applied_by_git_are_used_and_spared,
        kubectl_finds_the_plugin,
        an_interrupt_undoes_everything,
    }
    full {
        token_is_only_in_the_jobs,
        fewer_jobs_are_proven_against_the_former_fence,
        impersonation_is_passed_on,
    }
}

fn installs_and_prints() {
    let east = Account::new(&testbed::shared().east, "join");
    let run = east.join(&["--cluster-name=shop"]);
    for verb in [
        "namespace/e2e-join created",
        "serviceaccount/prometheus created",
        "proven with that token: 2 nodes",
        "8 other requests refused by the fence",
    ] {
        assert!(run.stderr.contains(verb), "no {verb:?}: {}", run.stderr);
    }
    assert_eq!(run.jobs()[0]["job_name"], "prom-federate/shop/cadvisor");
    assert!(run.stderr.contains("is a loopback address"), "{}", run.stderr);
    assert_eq!(east.objects().len(), 9, "{:?}", east.objects());
}

/// A line of a run about an object, without why it changed; none for what a dry run cannot know: Secrets of tokens.
fn change(line: &str) -> Option<String> {
    let mut words = line.strip_prefix("  ").unwrap_or(line).split(' ');
    let (name, verb) = (words.next()?, words.next()?);
    let is_object = name.contains('/') && ["created", "configured", "unchanged", "deleted"].contains(&verb);
    (is_object && !name.starts_with("secret/")).then(|| format!("{name} {verb}"))
}

fn a_dry_run_prints_what_the_run_then_does_in_its_order() {
    let account = Account::new(&testbed::shared().east, "same-order");
    let mut deleted = 0;
    for arguments in [
        &["join", "--jobs=cadvisor", "--self-renew"][..],
        &["join", "--jobs=cadvisor,apiserver", "--self-renew"],
        &["join", "--jobs=cadvisor,apiserver", "--pin-nodes"],
        &["join", "--jobs=cadvisor,apiserver"],
    ] {
        let mut shown: Vec<Vec<String>> = Vec::new();
        for mode in ["--dry-run=client", "--dry-run=server"] {
            let run = account.run(&[arguments, &[mode]].concat()).succeeded();
            shown.push(run.stdout.lines().filter_map(change).collect());
        }
        let run = account.run(arguments).succeeded();
        let done: Vec<String> = run.stderr.lines().filter_map(change).collect();
        assert!(done.len() > 5, "{}", run.stderr);
        assert_eq!(shown, [done.clone(), done.clone()], "{arguments:?}: {}", run.stderr);
        deleted += done.iter().filter(|line| line.ends_with("deleted")).count();
    }
    assert_eq!(deleted, 4, "the right to renew went");
}

fn a_second_join_changes_nothing_but_the_token() {
    let east = Account::new(&testbed::shared().east, "twice");
    let first = east.join(&[]);
    let second = east.join(&[]);
    assert_eq!(second.stderr.matches(" unchanged\n").count(), 8, "{}", second.stderr);
    assert_eq!(second.stderr.matches(" created\n").count(), 1, "only the new Secret: {}", second.stderr);
    assert_ne!(first.token(), second.token());
    assert_eq!(east.secrets().len(), 2);
}

fn a_dry_run_sends_no_write() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "dry-run");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    for mode in ["client", "server"] {
        proxy.forget_requests();
        let run = account.run_with(&proxy.kubeconfig(), &["join", &format!("--dry-run={mode}")]).succeeded();
        assert_eq!(run.stdout.matches(" created (").count(), 8, "{}", run.stdout);
        for request in proxy.requests() {
            let harmless = request.method == "GET"
                || request.path.contains("dryRun=All")
                || request.path.ends_with("/selfsubjectaccessreviews");
            assert!(harmless, "{mode}: {} {}", request.method, request.path);
        }
    }
    assert_eq!(account.objects(), Vec::<String>::new());
}

/// The former fence has the same name and refuses all but the page of the job that is no longer chosen.
fn fewer_jobs_are_proven_against_the_former_fence() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "narrow");
    account.join(&[]);
    let name = account.cluster_scoped_name();
    let policy = format!("/validatingadmissionpolicies/{name}");
    let path = format!("/apis/admissionregistration.k8s.io/v1{policy}");
    let stored = east.api().get(&path).expect("the API server answers").json();
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    let narrow = || account.run_with(&proxy.kubeconfig(), &["join", "--jobs=kubelet"]);
    let not_enforced = "/proxy/metrics/cadvisor answers 200 to the new token";

    // An API server that goes by the former policy all the time.
    proxy.rule(Rule::new("PATCH", &policy, Action::Answer { status: 200, body: stored }));
    narrow().failed("FenceNotEnforced", &["east: ", not_enforced]);

    // And one of several that does, while the first that was asked does not.
    let message = format!("ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: no");
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": 422 });
    proxy.rule(Rule::new("GET", "/proxy/metrics/cadvisor", Action::Answer { status: 422, body: status }).times(1));
    narrow().failed("FenceNotEnforced", &["east: ", not_enforced]);

    proxy.clear_rules();
    let run = narrow().succeeded();
    assert!(run.stderr.contains("9 other requests refused by the fence"), "{}", run.stderr);
}

fn token_is_only_in_the_jobs() {
    let east = Account::new(&testbed::shared().east, "secrecy");
    let run = east.join(&["-v", "9"]);
    let token = run.token();
    let signature = token.rsplit('.').next().expect("a JWT");
    let request = format!("PATCH {}/api/v1/namespaces/e2e-secrecy/secrets/", east.cluster.url());
    assert!(run.stderr.contains(&request), "-v shows requests: {}", run.stderr);
    assert!(!run.stderr.contains(signature), "the token was logged");
    let secrets = east.cluster.kubectl_ok(&["--namespace", &east.namespace, "get", "secrets", "--output=yaml"]);
    assert!(!secrets.contains(signature), "the bound Secret holds the token");
}

/// Objects that a run leaves as they are; a warning that ends with the same word is none.
pub(crate) fn unchanged(stderr: &str) -> usize {
    stderr.lines().filter(|line| line.starts_with("  ") && line.ends_with(" unchanged")).count()
}

fn manifests_applied_by_git_are_used_and_spared() {
    let east = Account::new(&testbed::shared().east, "git");
    let manifests = run(east.cluster.kubeconfig(), &["manifests", "--namespace", &east.namespace]).succeeded().stdout;
    east.cluster.apply(&manifests);
    let run = east.join(&[]);
    assert_eq!(unchanged(&run.stderr), 8, "{}", run.stderr);
    assert_eq!(run.stderr.matches("has another owner and is used unchanged").count(), 7, "{}", run.stderr);
    east.run(&["leave"]).succeeded();
    assert_eq!(east.objects().len(), 8, "leave spares what Git owns: {:?}", east.objects());
}

fn kubectl_finds_the_plugin() {
    let east = Account::new(&testbed::shared().east, "kubectl");
    let plugin = std::path::Path::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"));
    let completions = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
    let path =
        std::env::join_paths([plugin.parent().expect("a folder"), &completions, "/usr/bin".as_ref(), "/bin".as_ref()])
            .expect("a PATH");
    let kubectl = |arguments: &[&str]| {
        let output = std::process::Command::new(&testbed::tools().kubectl)
            .args(arguments)
            .env("PATH", &path)
            .env("KUBECONFIG", east.cluster.kubeconfig())
            .output()
            .expect("kubectl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(
        kubectl(&["prom-federate", "join", "--context=east", "--dry-run=client", "--namespace", &east.namespace])
            .contains("created (dry run)")
    );
    assert!(
        kubectl(&["__complete", "prom-federate", "jo"]).starts_with("join"),
        "{}",
        kubectl(&["__complete", "prom-federate", "jo"])
    );
    assert!(kubectl(&["__complete", "prom-federate", "join", "--context", ""]).starts_with("east"));
}

/// Ctrl-C while the token request hangs: what was created before is deleted again.
fn an_interrupt_undoes_everything() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "interrupt");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    proxy.rule(Rule::new("POST", "/serviceaccounts/prometheus/token", Action::Hang));
    let mut child = command(&proxy.kubeconfig(), &["join", "--yes", "--namespace", &account.namespace])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    let asked = || proxy.requests().iter().any(|request| request.path.contains("/token")).then_some(());
    testbed::until(std::time::Duration::from_secs(10), asked).expect("a token is asked for");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let code = child.wait().expect("it ends").code();
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("error (Interrupted)"), "{stderr}");
    let gone = || account.objects().is_empty().then_some(());
    testbed::until(std::time::Duration::from_secs(30), gone)
        .unwrap_or_else(|| panic!("left behind: {:?}\n{stderr}", account.objects()));
}

fn impersonation_is_passed_on() {
    let east = Account::new(&testbed::shared().east, "impersonate");
    east.run(&["join", "--as=jane", "--as-group=system:masters", "--dry-run=client"]).succeeded();
    east.run(&["join", "--as=jane", "--dry-run=client"]).failed("Forbidden", &["User \"jane\" cannot get resource"]);
}
