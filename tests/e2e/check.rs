//! What would stop a join, and the proof of what was joined, on real clusters and a real Prometheus.

use crate::{
    plugin::{Account, Run, run},
    push::generations,
};
use serde_json::{Value, json};
use std::{fs, path::Path, time::Duration};
use testbed::{ClusterSpec, FaultProxy, Kubeconfig, Prometheus, special};

trials! {
    check:
    smoke {
        nothing_stops_a_join_of_a_healthy_cluster,
        a_joined_cluster_is_proven,
    }
    full {
        object_that_a_policy_of_the_cluster_refuses_is_found,
        check_names_a_certificate_for_other_names,
        check_finds_a_revoked_token_and_a_stale_secret,
        check_finds_surplus_rights,
        check_finds_a_deleted_fence,
        join_repairs_a_hole_in_a_policy,
        check_finds_a_fence_that_is_not_enforced,
        check_finds_jobs_missing_in_prometheus,
        check_sends_no_write,
    }
}

const SOON: Duration = Duration::from_secs(60);
const RBAC: &str = "rbac.authorization.k8s.io";

/// `check` of an account; `join` of it takes the same flags.
fn check(account: &Account, kubeconfig: &Path, arguments: &[&str]) -> Run {
    run(kubeconfig, &[&["check", "--namespace", &account.namespace], arguments].concat())
}

/// Name, status and message of each item of `check -o json`.
fn items(run: &Run) -> Vec<(String, String, String)> {
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}{}", run.stdout, run.stderr));
    assert_eq!((&report["apiVersion"], &report["kind"]), (&json!("prom-federate.io/v1"), &json!("CheckReport")));
    let clusters = report["clusters"].as_array().expect("clusters").iter();
    let items = clusters.flat_map(|cluster| cluster["items"].as_array().expect("items"));
    let text = |item: &Value, key: &str| item[key].as_str().expect("text").to_owned();
    items.map(|item| (text(item, "name"), text(item, "status"), text(item, "message"))).collect()
}

/// The names of the items that failed, each once.
fn failed(run: &Run) -> Vec<String> {
    let mut names: Vec<String> =
        items(run).into_iter().filter(|(_, status, _)| status == "fail").map(|(name, ..)| name).collect();
    names.sort();
    names.dedup();
    names
}

#[track_caller]
fn says(run: &Run, all: &[&str]) {
    for text in all {
        assert!(run.stdout.contains(text), "does not say {text:?}: {}{}", run.stdout, run.stderr);
    }
}

#[track_caller]
fn stopped(run: Run, all: &[&str]) -> Run {
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.starts_with("error (CheckFailed): "), "{}", run.stderr);
    says(&run, all);
    run
}

/// East, joined at a Prometheus that scrapes it every second.
struct Joined<'a> {
    account: Account<'a>,
    prometheus: Prometheus,
}

impl Joined<'_> {
    fn new(name: &str) -> Self {
        Self::with(name, &[])
    }

    fn with(name: &str, more: &[&str]) -> Self {
        let account = Account::new(&testbed::shared().east, name);
        let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
        let joined = Self { account, prometheus };
        joined.account.join(&[&["-p", joined.dir(), "--scrape-interval=1s"], more].concat());
        joined
    }

    fn dir(&self) -> &str {
        self.prometheus.dir().to_str().expect("a path")
    }

    fn check(&self, arguments: &[&str]) -> Run {
        run(self.account.cluster.kubeconfig(), &[&["check", "-p", self.dir()], arguments].concat())
    }

    /// Whether `check` has come to be as expected: rights arrive through a watch, a token is remembered.
    fn becomes(&self, expected: impl Fn(&Run) -> bool) -> Run {
        testbed::until(SOON, || Some(self.check(&[])).filter(&expected)).unwrap_or_else(|| {
            let run = self.check(&[]);
            panic!("{:?}\n{}{}", run.code, run.stdout, run.stderr)
        })
    }
}

fn nothing_stops_a_join_of_a_healthy_cluster() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "check-fresh");
    let run = check(&account, east.kubeconfig(), &[]).succeeded();
    says(
        &run,
        &[
            "east  https://127.0.0.1:",
            "  ✔ the API server answers: Kubernetes v1.",
            "  ✔ address (from the kubeconfig) and CA (from the kubeconfig, valid until ",
            "  ✔ you may make every change (20 permissions)\n",
            "  ✔ none of the objects exists yet\n",
            "  ✔ the API server issues tokens that expire\n",
            "  ! https://127.0.0.1:",
            "    hint: Name the address that Prometheus must use: --api-server https://HOST:PORT\n",
            "  ✔ 2 nodes × ",
            " samples a second\n",
            " warning, 0 failed\n",
        ],
    );
    assert_eq!(run.stderr, "");
    assert_eq!(account.objects(), Vec::<String>::new());

    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let dir = prometheus.dir().to_str().expect("a path");
    let run = check(&account, east.kubeconfig(), &["-p", dir]).succeeded();
    says(
        &run,
        &[
            "join would add the plugin's files to the main configuration",
            ": Prometheus can read the files of a join, and other users cannot\n",
            ": Prometheus 3.",
            ": reloaded by HTTP\n",
            ": 0 clusters, ",
        ],
    );
    // By another way it is the cluster that was joined meanwhile.
    account.join(&["-p", dir, "--scrape-interval=1s"]);
    let known =
        || Some(check(&account, east.kubeconfig(), &["-p", dir, "--context=east"])).filter(|run| run.code == Some(0));
    says(&testbed::until(SOON, known).expect("all is well"), &["  ✔ the API server accepts the token\n"]);
}

fn check_names_a_certificate_for_other_names() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "check-names");
    let run = check(&account, east.kubeconfig(), &["--api-server-tls-name=other.example.com", "-o", "json"]);
    assert_eq!((run.code, failed(&run)), (Some(1), vec!["address".to_owned()]));
    let (_, _, message) = items(&run).into_iter().find(|(name, ..)| name == "address").expect("an item");
    assert!(message.contains("as Prometheus would see it") && message.contains("certificate"), "{message}");
}

fn a_joined_cluster_is_proven() {
    let joined = Joined::new("check-joined");
    let run = joined.becomes(|run| run.code == Some(0));
    says(
        &run,
        &[
            "east  https://127.0.0.1:",
            "  ✔ the token expires on ",
            "  ✔ the fence exists, as join makes it\n",
            "  ✔ Prometheus has every job, 4 of 4 targets up\n",
            "  ✔ address (from the record) and CA (from ",
            "  ✔ the API server accepts the token\n",
            "  ✔ the token reads cadvisor ",
            "  ✔ the fence refuses 8 other requests\n",
            "  ✔ the account has exactly the rights that the jobs need\n",
            "  ✔ the objects are as join makes them, with exactly these rights\n",
            "  ✔ no other binding grants the account rights\n",
            ": 1 cluster, ",
            " open files\n",
            " samples every 1s: about ",
            ", 0 warnings, 0 failed\n",
        ],
    );
    assert_eq!(run.stderr, "");
    let run = joined.check(&["east", "-o", "json"]);
    assert_eq!((run.code, failed(&run)), (Some(0), Vec::new()));
    let token = fs::read_to_string(generations(joined.prometheus.dir(), "east")[0].join("token")).expect("a token");
    let run = joined.check(&["-v", "9"]);
    assert!(!run.stdout.contains(token.trim()) && !run.stderr.contains(token.trim()));

    // On the host of Prometheus there is no kubeconfig: what the token can show is proven all the same.
    let alone = self::run(Path::new("/nonexistent"), &["check", "-p", joined.dir()]).succeeded();
    says(&alone, &["  ! not seen: ", "  ✔ the fence refuses 8 other requests\n"]);
    joined.check(&["north"]).failed("ClusterUnknown", &["Known clusters: east"]);
}

fn check_finds_a_revoked_token_and_a_stale_secret() {
    let joined = Joined::new("check-revoked");
    let Account { cluster, namespace } = &joined.account;
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let mut secret = cluster.api().get(&path).expect("an answer").json()["items"][0].take();
    let used = secret["metadata"]["name"].as_str().expect("a name").to_owned();
    let mut leave = |name: &str, destination: Option<&str>| {
        let metadata = &secret["metadata"];
        let mut metadata = json!({"name": name, "labels": metadata["labels"], "annotations": metadata["annotations"]});
        if let Some(destination) = destination {
            metadata["annotations"]["prom-federate.io/destination"] = json!(destination);
        }
        secret["metadata"] = metadata;
        assert!(cluster.api().post(&path, &secret).expect("an answer").is_success());
    };
    leave("prometheus-left", None);
    leave("prometheus-other", Some("directory://elsewhere/etc/prometheus#x7k2"));
    let run = joined.becomes(|run| run.code == Some(0));
    says(
        &run,
        &[
            "  ! a killed or still running run left secret/prometheus-left in the cluster",
            "    hint: The next rotate removes them: kubectl prom-federate rotate east --now -p ",
            "  ✔ secret/prometheus-other belongs to directory://elsewhere/etc/prometheus\n",
        ],
    );
    cluster.kubectl_ok(&["--namespace", namespace, "delete", "secret", &used]);
    let run = joined.becomes(|run| run.stdout.contains("  ✗ /api/v1/nodes?limit=1 answers 401 to the token\n"));
    let renew = "    hint: Issue a new token with the terms that the cluster has noted: kubectl prom-federate join --context east --cluster-name east ";
    stopped(
        run,
        &["  ✗ /api/v1/nodes?limit=1 answers 401 to the token\n", &format!("  ✗ secret/{used} is gone"), renew],
    );
}

fn check_finds_surplus_rights() {
    let joined = Joined::new("check-widened");
    let cluster = joined.account.cluster;
    let name = joined.account.cluster_scoped_name();
    let change = json!([{ "op": "add", "path": "/rules/-", "value": { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] } }]);
    cluster.kubectl_ok(&["patch", "clusterrole", &name, "--type=json", "--patch", &change.to_string()]);
    let run = joined.becomes(|run| run.stdout.contains("the account may get secrets"));
    stopped(
        run,
        &[
            &format!("  ✗ clusterrole.{RBAC}/{name} differs from what join makes in rules\n"),
            "    hint: Restore it: kubectl prom-federate join --context east --cluster-name east --namespace e2e-check-widened",
            &format!("delete the object first: kubectl delete clusterrole.{RBAC}/{name}\n"),
            "  ✗ the account may get secrets, which join never grants\n",
        ],
    );
    // As the hints say: kubectl has the field now.
    let again = ["join", "-p", joined.dir(), "--scrape-interval=1s"];
    let run = joined.account.run(&again);
    assert!(run.stderr.starts_with("east ") && run.stderr.contains("error (NotOurs): "), "{}", run.stderr);
    cluster.kubectl_ok(&["delete", "clusterrole", &name]);
    joined.account.run(&again).succeeded();
    joined.becomes(|run| run.code == Some(0));

    // A foreign binding of a harmless role.
    let subject = format!("--serviceaccount={}:prometheus", joined.account.namespace);
    let binding = format!("extra-{}", joined.account.namespace);
    cluster.kubectl_ok(&["create", "clusterrolebinding", &binding, "--clusterrole=view", &subject]);
    let run = joined.becomes(|run| run.stdout.contains("which the jobs do not need"));
    stopped(
        run,
        &[
            &format!(
                "  ✗ clusterrolebinding.{RBAC}/{binding} grants the account ClusterRole/view, which join never does\n"
            ),
            &format!("kubectl describe clusterrolebinding.{RBAC}/{binding}\n"),
            "  ! the account may also get,list,watch pods",
        ],
    );
    cluster.kubectl_ok(&["delete", "clusterrolebinding", &binding]);
    // And a role that lacks what it should have.
    cluster.kubectl_ok(&[
        "patch",
        "clusterrole",
        &name,
        "--type=json",
        "--patch",
        r#"[{"op":"remove","path":"/rules/1"}]"#,
    ]);
    let run = joined.becomes(|run| run.stdout.contains("  ✗ /api/v1/nodes/"));
    stopped(run, &["answers 403 to the token: ", " differs from what join makes in rules\n"]);
}

fn check_finds_a_deleted_fence() {
    let joined = Joined::new("check-unfenced");
    let name = joined.account.cluster_scoped_name();
    joined.account.cluster.kubectl_ok(&["delete", "validatingadmissionpolicybinding", &name]);
    let run = joined.becomes(|run| run.stdout.contains("this API server does not enforce"));
    stopped(
        run,
        &[
            &format!("  ✗ validatingadmissionpolicybinding.admissionregistration.k8s.io/{name} is gone\n"),
            &format!("  ✗ validatingadmissionpolicy.admissionregistration.k8s.io/{name} or its binding is gone"),
            " answers 200 to the token, where the policy should refuse the request\n",
        ],
    );
}

/// Each makes a policy admit more, by fields that `join` does not set or by those that it sets.
fn join_repairs_a_hole_in_a_policy() {
    let joined = Joined::with("check-hollow", &["--self-renew"]);
    let (account, cluster) = (&joined.account, joined.account.cluster);
    let (fence, renewal) = (account.cluster_scoped_name(), account.renewal_name());
    let except = |resource: &str| {
        json!({ "spec": { "matchConstraints": { "excludeResourceRules": [
            { "apiGroups": [""], "apiVersions": ["*"], "operations": ["*"], "resources": [resource] }
        ] } } })
    };
    let elsewhere = json!({ "namespaceSelector": { "matchLabels": { "of": "nobody" } } });
    let policy = "validatingadmissionpolicy.admissionregistration.k8s.io";
    let binding = "validatingadmissionpolicybinding.admissionregistration.k8s.io";
    for (kind, name, hole) in [
        (policy, &fence, except("nodes/proxy")),
        (policy, &fence, json!({ "spec": { "matchConstraints": elsewhere } })),
        (binding, &fence, json!({ "spec": { "matchResources": elsewhere } })),
        (binding, &fence, json!({ "spec": { "validationActions": ["Audit"] } })),
        (
            policy,
            &fence,
            json!({ "spec": { "matchConditions": [
            { "name": "this-account-only", "expression": format!("request.userInfo.username == 'system:serviceaccount:{}:prometheus'", account.namespace) },
            { "name": "never", "expression": "false" },
        ] } }),
        ),
        (policy, &renewal, except("serviceaccounts/token")),
        (binding, &renewal, json!({ "spec": { "validationActions": ["Audit"] } })),
    ] {
        cluster.kubectl_ok(&["patch", kind, name, "--type=merge", "--patch", &hole.to_string()]);
        let status = run(cluster.kubeconfig(), &["status", "-p", joined.dir()]);
        let named = format!("{policy}/{name} differs from what this release's join makes");
        assert!(status.stderr.contains(&named), "{hole}: {}", status.stderr);
        let checked = joined.check(&[]);
        assert!(
            checked.stdout.contains(&format!("  ✗ {kind}/{name} differs from what join makes in spec")),
            "{hole}: {}",
            checked.stdout
        );
        let again = account.join(&["-p", joined.dir(), "--scrape-interval=1s", "--self-renew"]);
        assert!(again.stderr.contains(&format!("{kind}/{name} configured")), "{hole}: {}", again.stderr);
        let status = run(cluster.kubeconfig(), &["status", "-p", joined.dir()]);
        assert!(!status.stderr.contains("differs"), "{hole}: {}", status.stderr);
    }
    joined.becomes(|run| run.code == Some(0));
}

/// Only a token shows it, so only where one was issued.
fn check_finds_a_fence_that_is_not_enforced() {
    let cluster = special("ignoring", || ClusterSpec::new("ignoring").policies_ignored());
    let account = Account::new(cluster, "check-ignored");
    check(&account, cluster.kubeconfig(), &[]).succeeded();
    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let dir = prometheus.dir().to_str().expect("a path");
    account.join(&["-p", dir, "--fence=off", "--scrape-interval=1s"]);
    // As if it had been joined with a fence that was enforced then.
    let record = generations(prometheus.dir(), "ignoring")[0].join("cluster.json");
    let fenced = fs::read_to_string(&record).expect("a record").replace("\"fenced\": false", "\"fenced\": true");
    fs::write(&record, fenced).expect("a record");
    let manifests = run(cluster.kubeconfig(), &["manifests", "--namespace", &account.namespace]).succeeded().stdout;
    cluster.apply(&manifests);
    let run = run(cluster.kubeconfig(), &["check", "-p", dir, "-o", "json"]);
    assert!(failed(&run).contains(&"fence-enforced".to_owned()), "{}", run.stdout);
}

fn check_finds_jobs_missing_in_prometheus() {
    let joined = Joined::new("check-jobs");
    joined.becomes(|run| run.code == Some(0));
    fs::write(joined.prometheus.dir().join("prometheus.yml"), "global: {}\n").expect("a configuration");
    joined.prometheus.reload().expect("it reloads");
    stopped(
        joined.check(&[]),
        &[
            " does not have the job prom-federate/east/cadvisor, because its configuration does not include the file of the jobs any more",
            "  ✔ the token reads cadvisor ",
            "  ✔ the fence refuses 8 other requests",
        ],
    );
}

fn check_sends_no_write() {
    let joined = Joined::new("check-reads");
    let east = joined.account.cluster;
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    joined.becomes(|run| run.code == Some(0));
    let before = joined.account.objects();
    let fresh = Account::new(east, "check-reads-fresh");
    // Through the proxy with the administrator's and with the account's own credentials.
    let record = generations(joined.prometheus.dir(), "east")[0].join("cluster.json");
    let text = fs::read_to_string(&record).expect("a record");
    fs::write(&record, text.replace(east.url(), &proxy.url())).expect("a record");
    let client = Kubeconfig { context: "east".into(), ..proxy.client() };
    let kubeconfig = east.write_kubeconfig(&client).expect("a kubeconfig");
    run(&kubeconfig, &["check", "-p", joined.dir()]).succeeded();
    check(&fresh, &kubeconfig, &["--self-renew"]).succeeded();
    let requests = proxy.requests();
    assert!(requests.iter().any(|request| request.authorization), "the account's own requests are among them");
    for request in requests {
        let path = &request.path;
        let harmless = request.method == "GET"
            || request.method == "PATCH" && path.contains("dryRun=All")
            || request.method == "POST" && path.contains("/selfsubject");
        assert!(harmless && !path.contains("/token"), "{} {path}", request.method);
    }
    assert_eq!(joined.account.objects(), before);
    assert_eq!(fresh.objects(), Vec::<String>::new());
}

/// A policy or a webhook of somebody else about our namespace: `check` finds it, `join` says whose it is, and a namespace
/// that an administrator made as it demands is a way on.
fn object_that_a_policy_of_the_cluster_refuses_is_found() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "refused");
    let (space, api) = (&account.namespace, east.api());
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let rules =
        json!([{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["namespaces"] }]);
    let ours = json!([{ "name": "ours", "expression": format!("object.metadata.name == '{space}'") }]);
    let make = |kind: &str, object: &Value| {
        let made = api.post(&format!("{admission}/{kind}"), object).and_then(|answer| answer.success("make it"));
        made.expect("made");
    };
    make(
        "validatingadmissionpolicies",
        &json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": "needs-team" },
            "spec": {
                "matchConstraints": { "resourceRules": rules }, "matchConditions": ours,
                "validations": [{ "expression": "'team' in object.metadata.?labels.orValue({})", "message": "needs the label team" }],
            },
        }),
    );
    make(
        "validatingadmissionpolicybindings",
        &json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": "needs-team" }, "spec": { "policyName": "needs-team", "validationActions": ["Deny"] },
        }),
    );
    let refused = |says: &[&str]| {
        let found = || {
            let run = check(&account, east.kubeconfig(), &[]);
            (run.code == Some(1) && says.iter().all(|says| run.stdout.contains(says))).then_some(())
        };
        testbed::until(SOON, found)
            .unwrap_or_else(|| panic!("not found: {}", check(&account, east.kubeconfig(), &[]).stdout));
        let run = account.run(&["join"]);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(says.iter().all(|says| run.stderr.contains(says)), "{}", run.stderr);
        testbed::until(SOON, || account.objects().is_empty().then_some(())).expect("nothing is left");
    };
    refused(&[
        "needs the label team",
        "The ValidatingAdmissionPolicy 'needs-team' with binding 'needs-team' of this cluster",
        "manifests",
    ]);
    for kind in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
        api.delete(&format!("{admission}/{kind}/needs-team"))
            .expect("an answer")
            .success("delete it")
            .expect("deleted");
    }
    make(
        "validatingwebhookconfigurations",
        &json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "dead" },
            "webhooks": [{
                "name": "dead.example.com", "rules": rules, "matchConditions": ours, "timeoutSeconds": 1,
                "clientConfig": { "url": "https://127.0.0.1:1/" }, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            }],
        }),
    );
    refused(&["The admission webhook \"dead.example.com\" of this cluster does not answer"]);
    let gone = api.delete(&format!("{admission}/validatingwebhookconfigurations/dead")).expect("an answer");
    gone.success("delete it").expect("deleted");
}
