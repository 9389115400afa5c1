//! The routes to kubelets: straight to their port, or through the API server with every node named by its own.

use crate::{
    plugin::{Account, Run, command},
    raw::{request, request_at_kubelet, websocket_at_kubelet},
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use testbed::{
    Action, Cluster, ClusterSpec, FaultProxy, KubeletCertificates, Prometheus, PrometheusSpec, Rule, Vmagent,
    promtool_check,
};

trials! {
    routes:
    smoke {
        pushed_jobs_go_straight_to_the_kubelets,
        pinned_right_is_useless_at_a_kubelet,
    }
    full {
        printed_jobs_go_straight_to_the_kubelets,
        change_to_the_kubelet_route_fails_no_scrape,
        ca_that_did_not_sign_the_kubelets_is_named,
        unreachable_kubelets_must_be_scraped,
        change_to_pinned_nodes_fails_no_scrape_and_includes_new_nodes,
        right_from_a_foreign_role_is_named,
        pinned_nodes_are_renewed_by_the_account_itself,
        next_run_finishes_an_interrupted_handover,
        vmagent_uses_both_routes,
        safer_route_is_suggested_once,
        selected_nodes_are_the_only_targets,
    }
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(60);
/// Exec of a pod that is not there: a kubelet that lets it through answers 404.
const EXEC: &str = "/exec/default/pod/container?command=id&output=1";
const MAIN: &str = "global: {evaluation_interval: 1s}\n";

/// Two nodes whose kubelets have certificates of the cluster's own authority, as many managed clusters have.
fn signed() -> &'static Cluster {
    testbed::special("signed-kubelets", || {
        ClusterSpec::new("signed").nodes(2).kubelet_certificates(KubeletCertificates::Cluster)
    })
}

/// The rules about nodes that an account has everywhere, as `VERBS RESOURCE NAMES`.
fn rules(account: &Account) -> Vec<String> {
    let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{}", account.cluster_scoped_name());
    let role = account.cluster.api().get(&path).expect("the API server answers").json();
    let words = |value: &Value| {
        let all = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        all.collect::<Vec<_>>().join(",")
    };
    let rules = role["rules"].as_array().expect("rules").iter();
    let line = |rule: &Value| {
        format!("{} {} {}", words(&rule["verbs"]), words(&rule["resources"]), words(&rule["resourceNames"]))
    };
    rules.map(|rule| line(rule).trim().to_owned()).collect()
}

/// `NODE:PORT` of every node, in order.
fn pins(cluster: &Cluster) -> Vec<String> {
    let address = |node: usize| cluster.kubelet_url(node).rsplit_once(':').expect("a port").1.to_owned();
    let mut pins: Vec<String> =
        cluster.node_names().iter().enumerate().map(|(node, name)| format!("{name}:{}", address(node))).collect();
    pins.sort();
    pins
}

/// What is said before a join.
fn check(account: &Account, arguments: &[&str]) -> String {
    let mut all = vec!["check", "--namespace", &account.namespace];
    all.extend(arguments);
    crate::plugin::run(account.cluster.kubeconfig(), &all).stdout
}

/// A namespace needs a moment to go.
fn nothing_is_left(account: &Account) {
    testbed::until(SCRAPED_WITHIN, || account.objects().is_empty().then_some(())).expect("nothing is left");
}

/// The plugin with a destination.
fn push(prometheus: &Prometheus, account: &Account, arguments: &[&str]) -> Run {
    push_by(account.cluster.kubeconfig(), prometheus, account, arguments)
}

/// The same with another kubeconfig.
fn push_by(kubeconfig: &Path, prometheus: &Prometheus, account: &Account, arguments: &[&str]) -> Run {
    let mut command = command(kubeconfig, arguments);
    command.arg("-p").arg(prometheus.dir());
    if arguments[0] == "join" {
        command.args(["--namespace", &account.namespace, "--scrape-interval=1s", "--yes"]);
    }
    command.env("PATH", testbed::tools().promtool.parent().expect("a folder"));
    command.output().expect("the plugin starts").into()
}

fn printed_jobs_go_straight_to_the_kubelets() {
    let cluster = signed();
    let account = Account::new(cluster, "straight");
    let run = account.join(&["--route=kubelet", "--scrape-interval=1s", "--jobs=default,resource"]);
    assert_eq!(rules(&account), ["list,watch nodes", "get nodes/metrics"]);
    assert!(run.stderr.contains("requests through the API server refused"), "{}", run.stderr);
    assert!(run.stderr.contains("a kubelet itself refuses this token: 6 requests"), "{}", run.stderr);
    assert!(!run.stderr.contains("safer:") && !run.stderr.contains("10250"), "{}", run.stderr);

    let checked = promtool_check(&run.stdout).expect("promtool runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let prometheus = Prometheus::start(&run.stdout).expect("Prometheus starts");
    let targets = prometheus.wait_for_targets(6, SCRAPED_WITHIN).expect("all are up");
    for target in &targets {
        let node = cluster.node_names().iter().position(|name| name == target.label("instance")).expect("a node");
        assert!(target.scrape_url.starts_with(&cluster.kubelet_url(node)), "{}", target.scrape_url);
    }

    let token = run.token();
    let node = &cluster.node_names()[0];
    for (path, code) in [
        ("/metrics", 200),
        ("/metrics/cadvisor", 200),
        ("/configz", 403),
        ("/pods", 403),
        ("/logs/", 403),
        ("/run/default/pod/container?cmd=id", 403),
        (EXEC, 403),
    ] {
        assert_eq!(request_at_kubelet(cluster, 0, &token, path).0, code, "{path}");
    }
    assert_eq!(websocket_at_kubelet(cluster, 0, &token, EXEC).0, 403);
    for path in ["metrics", "metrics/cadvisor", "configz"] {
        let path = format!("/api/v1/nodes/{node}/proxy/{path}");
        assert_eq!(request(cluster, &token, "GET", &path).0, 403, "{path}");
    }
}

fn pushed_jobs_go_straight_to_the_kubelets() {
    let cluster =
        testbed::special("own-kubelets", || ClusterSpec::new("own").kubelet_certificates(KubeletCertificates::Own));
    let account = Account::new(cluster, "pushed-straight");
    let ca = cluster.kubelet_ca_file().display().to_string();
    account
        .run(&["join", "--route=kubelet"])
        .failed("CertificateNotTrusted", &["the kubelet of own-node-0: ", "--kubelet-ca-file FILE"]);
    assert_eq!(account.objects(), Vec::<String>::new(), "nothing was written");

    let prometheus = Prometheus::start(MAIN).expect("Prometheus starts");
    // From the one route to the other while it is scraped.
    push(&prometheus, &account, &["join"]).succeeded();
    let run = push(&prometheus, &account, &["join", "--route=kubelet", "--kubelet-ca-file", &ca]).succeeded();
    assert!(run.stderr.contains("2 of 2 targets up"), "{}", run.stderr);
    assert!(run.stderr.contains("verified that such requests are now refused"), "{}", run.stderr);
    assert_eq!(rules(&account), ["list,watch nodes", "get nodes/metrics"]);
    let kubelet = cluster.kubelet_url(0);
    let targets = prometheus.wait_for_targets(2, SCRAPED_WITHIN).expect("all are up");
    assert!(targets.iter().all(|target| target.scrape_url.starts_with(&kubelet)), "{targets:?}");

    let rotated = push(&prometheus, &account, &["rotate", "--now"]).succeeded();
    assert!(rotated.stderr.contains("2 of 2 targets up"), "{}", rotated.stderr);
    let fragment = std::fs::read_to_string(prometheus.dir().join("prom-federate/own.scrape.yml")).expect("a fragment");
    assert_eq!(fragment.matches("/kubelet-ca.crt").count(), 2, "{fragment}");

    // And back again, which needs another right.
    let run = push(&prometheus, &account, &["join"]).succeeded();
    assert!(run.stderr.contains("2 of 2 targets up"), "{}", run.stderr);
    assert_eq!(rules(&account), ["list,watch nodes", "get nodes/proxy"]);
}

/// Where the kubelets have another authority, Prometheus tries it on the old targets until it has discovered the new.
fn change_to_the_kubelet_route_fails_no_scrape() {
    let account = Account::new(signed(), "way");
    let prometheus = Prometheus::start(MAIN).expect("Prometheus starts");
    push(&prometheus, &account, &["join"]).succeeded();
    let run = push(&prometheus, &account, &["join", "--route=kubelet"]).succeeded();
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    assert!(run.stderr.contains("a kubelet itself refuses this token: 6 requests"), "{}", run.stderr);
    let failed = prometheus.failed_scrapes("signed", 600, Duration::from_secs(1)).expect("Prometheus answers");
    assert_eq!(failed, Vec::<String>::new(), "no scrape failed on the way");
}

fn ca_that_did_not_sign_the_kubelets_is_named() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "distrusted");
    let said = check(&account, &["--route=kubelet"]);
    assert!(said.contains("the kubelet of east-node-0: ") && said.contains("is not signed by the given CA"), "{said}");
    let said = check(&Account::new(signed(), "trusted"), &["--route=kubelet"]);
    assert!(said.contains("the CA verifies the kubelets that answer this host: signed-node-"), "{said}");
    let said = check(&Account::new(signed(), "trusted"), &["--pin-nodes"]);
    assert!(said.contains("21 permissions"), "{said}");
    account.run(&["join", "--route=kubelet"]).failed(
        "CertificateNotTrusted",
        &[
            "the kubelet of east-node-0: ",
            "is not signed by the given CA",
            "--kubelet-ca-file FILE",
            "Also: the kubelet of east-node-1",
        ],
    );
    // Signed by itself, and for the name of its host, where Prometheus goes to the node's address.
    let ca = east.kubelet_ca_file().display().to_string();
    account.run(&["join", "--route=kubelet", "--kubelet-ca-file", &ca]).failed(
        "CertificateNameMismatch",
        &["the kubelet of east-node-0: ", "is not valid for this name; it is valid for ", "serverTLSBootstrap"],
    );
    assert_eq!(account.objects(), Vec::<String>::new(), "nothing was written");
}

fn unreachable_kubelets_must_be_scraped() {
    let cluster = testbed::special("gone-kubelets", || {
        ClusterSpec::new("gone").kubelet_certificates(KubeletCertificates::Cluster)
    });
    let before = Account::new(cluster, "reached-before");
    let scraped = Prometheus::start(MAIN).expect("Prometheus starts");
    push(&scraped, &before, &["join"]).succeeded();
    cluster.kill_node(0);
    let account = Account::new(cluster, "unreached");
    let run = account.join(&["--route=kubelet"]);
    assert!(run.stderr.contains("Warning: no kubelet answers this host"), "{}", run.stderr);
    assert!(run.stderr.contains("1 node, whose pages this host cannot read"), "{}", run.stderr);
    let prometheus = Prometheus::start(MAIN).expect("Prometheus starts");
    let account = Account::new(cluster, "unreached-pushed");
    push(&prometheus, &account, &["join", "--route=kubelet"]).failed("NotScraped", &["0 of 1 targets up"]);
    nothing_is_left(&account);

    // What went by another route before goes on.
    push(&scraped, &before, &["join", "--route=kubelet"]).failed("NotScraped", &["0 of 1 targets up"]);
    let fragment = std::fs::read_to_string(scraped.dir().join("prom-federate/gone.scrape.yml")).expect("a fragment");
    assert!(fragment.contains("/api/v1/nodes/${1}/proxy/metrics"), "{fragment}");
    assert_eq!(rules(&before), ["list,watch nodes", "get nodes/metrics", "get nodes/proxy"]);
    let fence = before.cluster_scoped_name();
    let fence = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{fence}");
    let fence = cluster.api().get(&fence).expect("the API server answers").body;
    assert!(fence.contains("!request.name.contains(':')"), "{fence}");
}

fn pinned_right_is_useless_at_a_kubelet() {
    let cluster = signed();
    let account = Account::new(cluster, "pinned");
    let run = account.join(&["--pin-nodes", "--scrape-interval=1s"]);
    let pins = pins(cluster);
    assert_eq!(rules(&account), ["list,watch nodes", &format!("get nodes/proxy {}", pins.join(","))]);
    assert!(run.stderr.contains("a kubelet itself refuses this token: 7 requests"), "{}", run.stderr);
    assert!(run.stderr.contains("the nodes are pinned"), "{}", run.stderr);
    let prometheus = Prometheus::start(&run.stdout).expect("Prometheus starts");
    prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");

    let token = run.token();
    let (name, pin) = (&cluster.node_names()[0], &pins[0]);
    for (subject, path, code) in [
        (pin.as_str(), "metrics", 200),
        (pin.as_str(), "metrics/cadvisor", 200),
        (pin.as_str(), "metrics/resource", 422),
        (pin.as_str(), "configz", 422),
        (pin.as_str(), "metrics/../configz", 422),
        (pin.as_str(), "metrics%2f..%2fconfigz", 422),
        (name.as_str(), "metrics", 403),
        (name.as_str(), "configz", 403),
        (&format!("https:{pin}"), "metrics", 403),
        (&format!("{name}:1"), "metrics", 403),
        (&pin.replace(':', "%3A"), "metrics", 200),
    ] {
        let path = format!("/api/v1/nodes/{subject}/proxy/{path}");
        let (answered, body) = request(cluster, &token, "GET", &path);
        assert_eq!(answered, code, "{path}: {body}");
    }
    for path in
        ["/metrics", "/metrics/cadvisor", "/configz", "/pods", "/logs/", "/run/default/pod/container?cmd=id", EXEC]
    {
        assert_eq!(request_at_kubelet(cluster, 0, &token, path).0, 403, "{path}");
    }
    assert_eq!(websocket_at_kubelet(cluster, 0, &token, EXEC).0, 403);

    // The same pins again are no change.
    let run = account.join(&["--pin-nodes"]);
    assert!(!run.stderr.contains(" configured"), "{}", run.stderr);
    // Without the flag the right is wide again, and said to be.
    let run = account.join(&[]);
    assert!(run.stderr.contains("keep port 10250 of the nodes closed"), "{}", run.stderr);
    assert!(run.stderr.contains("Warning: the nodes of this account were pinned"), "{}", run.stderr);
    assert_eq!(rules(&account), ["list,watch nodes", "get nodes/proxy"]);
}

fn change_to_pinned_nodes_fails_no_scrape_and_includes_new_nodes() {
    let spec = ClusterSpec::new("growing").kubelet_certificates(KubeletCertificates::Cluster);
    let mut cluster = Cluster::start(&spec).expect("a cluster");
    let prometheus = Prometheus::start_with(&PrometheusSpec::new(MAIN)).expect("Prometheus starts");
    let namespace = "e2e-growing".to_owned();
    {
        let account = Account { cluster: &cluster, namespace: namespace.clone() };
        push(&prometheus, &account, &["join"]).succeeded();
        let run = push(&prometheus, &account, &["join", "--pin-nodes"]).succeeded();
        assert!(run.stderr.contains("2 of 2 targets up"), "{}", run.stderr);
        assert!(run.stderr.contains("verified that such requests are now refused"), "{}", run.stderr);
        assert!(run.stderr.contains("a kubelet itself refuses this token: 7 requests"), "{}", run.stderr);
        assert_eq!(rules(&account), ["list,watch nodes", &format!("get nodes/proxy {}", pins(&cluster).join(","))]);
        let failed = prometheus.failed_scrapes("growing", 600, Duration::from_secs(1)).expect("Prometheus answers");
        assert_eq!(failed, Vec::<String>::new(), "no scrape failed on the way");
    }

    let new = cluster.add_node().expect("a node");
    let account = Account { cluster: &cluster, namespace };
    let refused = prometheus.wait_until(SCRAPED_WITHIN, |it| {
        let query = format!("count(up{{cluster=\"growing\",instance=\"{new}\"}} == 0)");
        it.number(&query).ok().flatten().filter(|count| *count > 1.0)
    });
    assert_eq!(refused, Some(2.0), "a node that is not pinned is seen, and refused");
    let status = push(&prometheus, &account, &["status"]);
    assert!(status.stderr.contains(&format!("1 node is not pinned: {new}:")), "{}{}", status.stdout, status.stderr);
    let check = push(&prometheus, &account, &["check"]);
    assert!(check.stdout.contains(&format!("1 node is not pinned: {new}:")), "{}{}", check.stdout, check.stderr);

    let run = push(&prometheus, &account, &["rotate", "--now"]).succeeded();
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    assert_eq!(rules(&account), ["list,watch nodes", &format!("get nodes/proxy {}", pins(&cluster).join(","))]);
    let status = push(&prometheus, &account, &["status"]);
    assert!(!status.stderr.contains("pinned"), "{}", status.stderr);
    let check = push(&prometheus, &account, &["check"]).succeeded();
    assert!(!check.stdout.contains("not pinned"), "{}", check.stdout);
    let run = push(&prometheus, &account, &["leave", "growing", "--yes"]).succeeded();
    assert!(run.stderr.contains("all objects of the plugin are deleted"), "{}", run.stderr);
}

/// Between the delivery and the end both rights exist; the next run removes the wider one.
fn next_run_finishes_an_interrupted_handover() {
    let account = Account::new(signed(), "unsettled");
    let prometheus = Prometheus::start(MAIN).expect("Prometheus starts");
    push(&prometheus, &account, &["join"]).succeeded();
    let proxy = FaultProxy::in_front_of(account.cluster).expect("a proxy");
    // After the dry run, and what lets both through.
    proxy.rule(Rule::new("PATCH", "/clusterroles/", Action::Close).skip(2));
    let run = push_by(&proxy.kubeconfig(), &prometheus, &account, &["join", "--pin-nodes"]);
    run.failed("ConnectionFailed", &["The new jobs are in use: run the same command again to finish"]);
    assert_eq!(rules(&account).len(), 3, "{:?}", rules(&account));
    prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("the new jobs are in use");
    let status = push(&prometheus, &account, &["status"]);
    assert!(status.stderr.contains("the right to all nodes by their bare names still exists"), "{}", status.stderr);
    let rotated = push(&prometheus, &account, &["rotate", "--now"]).succeeded();
    assert!(rotated.stderr.contains("4 of 4 targets up"), "{}", rotated.stderr);
    assert_eq!(rules(&account), ["list,watch nodes", &format!("get nodes/proxy {}", pins(signed()).join(","))]);
}

fn vmagent_uses_both_routes() {
    for route in ["--route=kubelet", "--pin-nodes"] {
        let account = Account::new(signed(), &format!("vmagent{}", route.replace(['-', '='], "")));
        let printed = account.join(&[route, "--scrape-interval=1s"]).stdout;
        let vmagent = Vmagent::start(&crate::jobs::for_vmagent(&printed)).expect("vmagent starts");
        vmagent.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
    }
}

/// By Prometheus, by vmagent, by every route, and after a rotation. The real kubelet sets this label.
fn selected_nodes_are_the_only_targets() {
    let cluster = signed();
    let selector = "--node-selector=kubernetes.io/hostname notin (signed-node-1,x),!absent.example.com/label";
    for (name, route) in [("proxied", "--route=apiserver"), ("straight", "--route=kubelet"), ("pinned", "--pin-nodes")]
    {
        let account = Account::new(cluster, &format!("selected-{name}"));
        let prometheus = Prometheus::start(MAIN).expect("Prometheus starts");
        let checked = push(&prometheus, &account, &["check", selector, route]).succeeded();
        assert!(!checked.stdout.contains("signed-node-1"), "{}", checked.stdout);
        let run = push(&prometheus, &account, &["join", selector, route]).succeeded();
        assert!(run.stderr.contains("2 of 2 targets up"), "{}", run.stderr);
        let rotated = push(&prometheus, &account, &["rotate", "--now"]).succeeded();
        assert!(rotated.stderr.contains("2 of 2 targets up"), "{}", rotated.stderr);
        let targets = prometheus.targets().expect("Prometheus answers");
        assert_eq!(targets.len(), 2, "{targets:?}");
        assert!(targets.iter().all(|target| target.label("node") == "signed-node-0"), "{targets:?}");
        let status = push(&prometheus, &account, &["status"]).succeeded();
        assert!(!status.stderr.contains("not pinned"), "{}{}", status.stdout, status.stderr);
        if name == "pinned" {
            let pin = pins(cluster).into_iter().find(|pin| pin.starts_with("signed-node-0:")).expect("a node");
            assert_eq!(rules(&account), ["list,watch nodes", &format!("get nodes/proxy {pin}")]);
        }
        push(&prometheus, &account, &["join", route]).succeeded();
        prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("without it all nodes are scraped");
        push(&prometheus, &account, &["leave", "signed", "--yes"]).succeeded();
    }
    let account = Account::new(cluster, "selected-vmagent");
    let printed = account.join(&[selector, "--scrape-interval=1s"]).stdout;
    let vmagent = Vmagent::start(&crate::jobs::for_vmagent(&printed)).expect("vmagent starts");
    let targets = vmagent.wait_for_targets(2, SCRAPED_WITHIN).expect("the targets of one node");
    assert!(targets.iter().all(|target| target.label("node") == "signed-node-0"), "{targets:?}");
}

fn right_from_a_foreign_role_is_named() {
    let cluster = signed();
    let account = Account::new(cluster, "granted-twice");
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "e2e-wide" },
        "rules": [{ "apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"] }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "e2e-wide" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "e2e-wide" },
        "subjects": [{ "kind": "ServiceAccount", "name": "prometheus", "namespace": account.namespace }],
    });
    cluster.apply(&role.to_string());
    cluster.apply(&binding.to_string());
    account
        .run(&["join", "--pin-nodes"])
        .failed("ProofFailed", &["may get nodes/proxy of every node by its bare name", "kubectl auth can-i get nodes"]);
    nothing_is_left(&account);
}

fn pinned_nodes_are_renewed_by_the_account_itself() {
    let cluster = signed();
    let account = Account::new(cluster, "pinned-itself");
    let prometheus = Prometheus::start(MAIN).expect("Prometheus starts");
    push(&prometheus, &account, &["join", "--pin-nodes", "--self-renew"]).succeeded();
    let nowhere = prometheus.dir().join("no-kubeconfig");
    let mut rotate = command(&nowhere, &["rotate", "--now", "-p"]);
    let run: Run = rotate.arg(prometheus.dir()).output().expect("the plugin starts").into();
    let run = run.succeeded();
    assert!(run.stderr.contains("issued by the account itself"), "{}", run.stderr);
    assert!(run.stderr.contains("4 of 4 targets up"), "{}", run.stderr);
    assert_eq!(rules(&account).len(), 2);
}

fn safer_route_is_suggested_once() {
    let (signed, east) = (signed(), &testbed::shared().east);
    for (cluster, says) in [(signed, "safer: --route=kubelet"), (east, "safer: --pin-nodes")] {
        let account = Account::new(cluster, "safer");
        let run = account.join(&[]);
        assert_eq!(run.stderr.matches("safer: ").count(), 1, "{}", run.stderr);
        assert!(run.stderr.contains(says), "{}", run.stderr);
        assert!(!account.join(&["-o", "json"]).stderr.contains("safer: "), "not for programs");
        assert!(!account.join(&["--jobs=apiserver"]).stderr.contains("safer: "), "there is nothing to be safer");
    }
}
