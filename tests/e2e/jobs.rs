//! Every job against what it scrapes: rights, fence, labels, and what is said where it cannot be scraped.

use crate::{
    exporter::{Exporter, aggregated_api, label, namespace, pod},
    plugin::Account,
    raw,
    trial::suffix,
};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{ClusterSpec, FaultProxy, Prometheus, PrometheusSpec, Vmagent, promtool_check};

trials! {
    jobs:
    smoke {
        every_job_is_scraped,
    }
    full {
        vmagent_scrapes_every_job,
        a_target_reaches_its_page_and_no_other,
        target_is_discovered_by_its_label,
        page_of_an_aggregated_api_is_scraped_and_no_other,
        join_names_targets_that_cannot_be_scraped,
        page_of_another_content_type_is_read_by_a_named_protocol,
        jobs_are_widened_and_narrowed,
        without_jobs_of_nodes_no_node_is_needed,
        manifests_need_every_place,
    }
}

pub(crate) const SCRAPED_WITHIN: Duration = Duration::from_secs(30);

/// The page says of whose namespace and cluster it speaks, as kube-state-metrics' does of the first.
const KUBE_STATE: &[(&str, &str)] = &[(
    "/metrics",
    "# TYPE kube_pod_info gauge\nkube_pod_info{namespace=\"shop\",pod=\"web\",cluster=\"elsewhere\"} 1\n",
)];
const SHOP: &[(&str, &str)] = &[("/metrics", "shop_orders_total 3\n"), ("/m/x", "shop_hidden_total 4\n")];
const NODE: &[(&str, &str)] = &[("/metrics", "node_load1 0.5\n")];

/// A namespace in which something of each kind runs.
pub(crate) struct Workloads {
    pub(crate) namespace: String,
    _prometheus: Prometheus,
    _exporters: Vec<Exporter>,
    pub(crate) node_exporter_port: u16,
}

impl Workloads {
    pub(crate) fn start(cluster: &'static testbed::Cluster, name: &str) -> Self {
        let space = format!("e2e-run-{name}{}", suffix());
        namespace(cluster, &space);
        let config = "global: {scrape_interval: 1s, external_labels: {cluster: elsewhere}}\n\
                      scrape_configs: [{job_name: inner, static_configs: [{targets: ['127.0.0.1:1']}]}]\n\
                      rule_files: [rules.yml]\n";
        let rules = "groups: [{name: g, interval: 1s, rules: [{record: 'job:orders:sum', expr: vector(7)}]}]\n";
        let spec = PrometheusSpec::new(config).file("rules.yml", rules).reachable_from_clusters();
        let prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
        prometheus
            .wait_until(SCRAPED_WITHIN, |it| it.number("job:orders:sum").ok().flatten())
            .expect("it has evaluated its rule");
        let (kube_state, shop) = (Exporter::http(KUBE_STATE), Exporter::http(SHOP));
        let (secure, node) = (Exporter::https(cluster, SHOP), Exporter::http(NODE));
        let service = |name: &str, port: &str, backend| {
            cluster.service(&space, name, port, 8080, backend).expect("a service");
        };
        service("prometheus-k8s", "web", prometheus.address());
        service("kube-state-metrics", "http", kube_state.address);
        service("secure", "https", secure.address);
        let annotated = |name: &str, more: Value, address| {
            let mut annotations = more;
            annotations["prometheus.io/scrape"] = json!("true");
            pod(cluster, &space, name, &annotations, &json!({}), address);
        };
        annotated("plain", json!({}), shop.address);
        annotated("by-port", json!({ "prometheus.io/port": shop.address.port().to_string() }), secure.address);
        annotated("by-path", json!({ "prometheus.io/path": "/m/x" }), shop.address);
        annotated("by-tls", json!({ "prometheus.io/scheme": "https" }), secure.address);
        pod(cluster, &space, "no-scrape", &json!({ "prometheus.io/scrape": "false" }), &json!({}), shop.address);
        let labels = json!({ "app.kubernetes.io/name": "node-exporter" });
        pod(cluster, &space, "node-exporter-x7k2p", &json!({}), &labels, node.address);
        let node_exporter_port = node.address.port();
        Self {
            namespace: space,
            _prometheus: prometheus,
            _exporters: vec![kube_state, shop, secure, node],
            node_exporter_port,
        }
    }

    pub(crate) fn jobs(&self) -> String {
        let Self { namespace, node_exporter_port, .. } = self;
        format!(
            "--jobs=default,resource,probes,apiserver,slis,kube-state-metrics={namespace}/kube-state-metrics:http,\
             service={namespace}/https:secure:https/m/x,node-exporter={namespace}:{node_exporter_port},pods={namespace},\
             federate={namespace}/prometheus-k8s:web"
        )
    }
}

fn every_job_is_scraped() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "every-job");
    let workloads = Workloads::start(east, "every-job");
    // A kubelet has results of its health checks once somebody has asked for them.
    for node in east.node_names() {
        let health = east.api().get(&format!("/api/v1/nodes/{node}/proxy/healthz")).expect("the API server answers");
        assert!(health.is_success(), "{}", health.body);
    }
    let run = account.join(&[&workloads.jobs(), "--scrape-interval=1s", "--cluster-name=shop"]);
    let checked = promtool_check(&run.stdout).expect("promtool runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let prometheus = Prometheus::start(&run.stdout).expect("Prometheus starts");
    // Five pages of two nodes; two of the API server, three Services, a node-exporter, four annotated pods.
    let targets = prometheus.wait_for_targets(20, SCRAPED_WITHIN).expect("all are up");

    let (space, port) = (&workloads.namespace, workloads.node_exporter_port.to_string());
    let mut lines: Vec<String> = targets
        .iter()
        .filter(|target| target.label("job") != "kubelet")
        .map(|target| {
            let mut line = target.pool.clone();
            for (name, value) in target.labels.as_object().expect("labels") {
                if !["cluster", "instance", "job", "metrics_path", "namespace", "pod", "service"]
                    .contains(&name.as_str())
                {
                    continue;
                }
                line += &format!(" {name}={}", value.as_str().unwrap_or_default());
            }
            let line = line.replace(space, "NS").replace(&port, "9100").replace(&east.address().to_string(), "API");
            // The ports of the annotated pods are this run's own.
            let (pool, labels) = line.split_once(' ').expect("labels");
            let labels: Vec<String> = labels
                .split(' ')
                .map(|label| match label.split_once(':') {
                    Some((pod, port)) if pool.contains("/pods/") && port.chars().all(|c| c.is_ascii_digit()) => {
                        format!("{pod}:PORT")
                    }
                    _ => label.to_owned(),
                })
                .collect();
            format!("{pool} {}", labels.join(" "))
        })
        .collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @"
    prom-federate/shop/apiserver cluster=shop instance=API job=apiserver metrics_path=/metrics
    prom-federate/shop/apiserver-slis cluster=shop instance=API job=apiserver metrics_path=/metrics/slis
    prom-federate/shop/federate/NS/prometheus-k8s:web cluster=shop instance=prometheus-k8s.NS:web job=federate metrics_path=/federate
    prom-federate/shop/kube-state-metrics/NS/kube-state-metrics:http cluster=shop instance=kube-state-metrics.NS:http job=kube-state-metrics metrics_path=/metrics
    prom-federate/shop/node-exporter/NS:9100 cluster=shop instance=node-exporter-x7k2p:9100 job=node-exporter metrics_path=/metrics namespace=NS pod=node-exporter-x7k2p
    prom-federate/shop/pods/NS/m/x cluster=shop instance=by-path:PORT job=kubernetes-pods metrics_path=/m/x namespace=NS pod=by-path
    prom-federate/shop/pods/NS/metrics cluster=shop instance=by-port:PORT job=kubernetes-pods metrics_path=/metrics namespace=NS pod=by-port
    prom-federate/shop/pods/NS/metrics cluster=shop instance=by-tls:PORT job=kubernetes-pods metrics_path=/metrics namespace=NS pod=by-tls
    prom-federate/shop/pods/NS/metrics cluster=shop instance=plain:PORT job=kubernetes-pods metrics_path=/metrics namespace=NS pod=plain
    prom-federate/shop/service/NS/https:secure:https/m/x cluster=shop instance=secure.NS:https job=secure metrics_path=/m/x namespace=NS service=secure
    ");
    // Every target has labels of its own, so that none writes into another's series.
    let mut instances: Vec<String> = targets.iter().map(|target| target.labels.to_string()).collect();
    instances.sort();
    instances.dedup();
    assert_eq!(instances.len(), targets.len());

    let number = |query: &str| prometheus.number(query).ok().flatten();
    for (query, expected) in [
        // What a page says of others wins, but not whose cluster it is.
        ("count(kube_pod_info{cluster=\"shop\",namespace=\"shop\",pod=\"web\",job=\"kube-state-metrics\"})", 1.0),
        ("sum({__name__=\"job:orders:sum\",cluster=\"shop\",metrics_path=\"\"})", 7.0),
        ("count(up{job=\"inner\",instance=\"127.0.0.1:1\",cluster=\"shop\"})", 1.0),
        ("sum(shop_hidden_total{job=\"secure\",service=\"secure\"})", 4.0),
        ("sum(shop_hidden_total{job=\"kubernetes-pods\",pod=\"by-path\"})", 4.0),
        ("sum(shop_orders_total{job=\"kubernetes-pods\"})", 9.0),
        ("count(node_load1{job=\"node-exporter\"})", 1.0),
        ("count(up{job=\"apiserver\"} == 1)", 2.0),
        ("count(count by (job, instance) (kubernetes_healthcheck{metrics_path=\"/metrics/slis\"} == 1))", 3.0),
        ("count(node_cpu_usage_seconds_total{metrics_path=\"/metrics/resource\"})", 2.0),
    ] {
        testbed::until(SCRAPED_WITHIN, || (number(query) == Some(expected)).then_some(()))
            .unwrap_or_else(|| panic!("{query}: {:?} instead of {expected}", number(query)));
    }
    assert_eq!(prometheus.number("count({cluster=\"elsewhere\"})").expect("Prometheus answers"), None);

    let run = account.run(&["leave"]).succeeded();
    assert!(run.stderr.contains("all objects of the plugin are deleted"), "{}", run.stderr);
    assert_eq!(roles(&account), Vec::<String>::new());
    let there = east.api().get(&format!("/api/v1/namespaces/{space}/services/secure")).expect("the API server answers");
    assert!(there.is_success(), "what is scraped stays");
}

fn vmagent_scrapes_every_job() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "vm-jobs");
    let workloads = Workloads::start(east, "vm-jobs");
    let printed = account.join(&[&workloads.jobs(), "--scrape-interval=1s"]).stdout;
    let vmagent = Vmagent::start(&for_vmagent(&printed)).expect("vmagent starts");
    vmagent.wait_for_targets(20, SCRAPED_WITHIN).expect("all are up");
}

/// Printed jobs, which are for Prometheus, without the fields that vmagent refuses.
pub(crate) fn for_vmagent(printed: &str) -> String {
    let refused = [
        "    follow_redirects:",
        "  body_size_limit:",
        "  label_limit:",
        "  label_name_length_limit:",
        "  label_value_length_limit:",
    ];
    let kept = printed.lines().filter(|line| !refused.iter().any(|field| line.starts_with(field)));
    kept.map(|line| format!("{line}\n")).collect()
}

/// Each job's page, and its neighbours, by the very requests.
fn a_target_reaches_its_page_and_no_other() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "pages");
    let workloads = Workloads::start(east, "pages");
    let run = account.join(&[&workloads.jobs()]);
    let token = run.token();
    let space = format!("/api/v1/namespaces/{}", workloads.namespace);
    let services = format!("{space}/services");
    let pods = format!("{space}/pods");
    let port = workloads.node_exporter_port;
    for (path, code) in [
        (format!("{services}/prometheus-k8s:web/proxy/federate?match%5B%5D=up"), 200),
        // Not what --federate-match says: no policy sees the query.
        (format!("{services}/prometheus-k8s:web/proxy/federate?match%5B%5D=%7B__name__%21%3D%22%22%7D"), 200),
        (format!("{services}/prometheus-k8s:web/proxy/api/v1/status/config"), 422),
        (format!("{services}/prometheus-k8s:web/proxy/metrics"), 422),
        (format!("{services}/prometheus-k8s:web/proxy/federate/"), 422),
        (format!("{services}/prometheus-k8s:web/proxy/federate/../api/v1/status/config"), 422),
        // Another spelling of the same port: RBAC compares the text.
        (format!("{services}/prometheus-k8s:8080/proxy/federate"), 403),
        (format!("{services}/http:prometheus-k8s:web/proxy/federate"), 403),
        (format!("{services}/secure:https/proxy/m/x"), 403),
        (format!("{services}/https:secure:https/proxy/m/x"), 200),
        (format!("{services}/https:secure:https/proxy/metrics"), 422),
        (format!("{services}/kube-state-metrics:http/proxy/metrics"), 200),
        (format!("{services}/kube-state-metrics:http/proxy/m/x"), 422),
        (format!("{pods}/node-exporter-x7k2p:{port}/proxy/metrics"), 200),
        (format!("{pods}/node-exporter-x7k2p:{port}/proxy/debug/pprof/"), 422),
        (format!("{pods}/node-exporter-x7k2p/proxy/metrics"), 422),
        (format!("{pods}/node-exporter-x7k2p:name/proxy/metrics"), 422),
        (pods.clone(), 200),
        (format!("{pods}?fieldSelector=metadata.name%3Dplain"), 200),
        (format!("{pods}/plain"), 403),
        (format!("{pods}/plain/log"), 403),
        ("/api/v1/pods".to_owned(), 403),
        (services.clone(), 403),
        ("/metrics".to_owned(), 200),
        ("/metrics/slis".to_owned(), 200),
        ("/debug/pprof/".to_owned(), 403),
        ("/api/v1/namespaces/default/services/https:kubernetes:https/proxy/metrics".to_owned(), 403),
    ] {
        let (answered, body) = raw::request(east, &token, "GET", &path);
        assert_eq!(answered, code, "{path}: {body}");
        assert!(code != 422 || body.contains(&account.cluster_scoped_name()), "not by the fence: {path}: {body}");
    }
}

/// As on EKS, whose control plane shows itself there.
fn page_of_an_aggregated_api_is_scraped_and_no_other() {
    const GROUP: &str = "metrics.eks.amazonaws.com";
    const PAGES: &[(&str, &str)] = &[
        ("/apis/metrics.eks.amazonaws.com/v1", "{}"),
        ("/apis/metrics.eks.amazonaws.com/v1/kcm/container/metrics", "workqueue_depth{name=\"job\"} 1\n"),
        ("/apis/metrics.eks.amazonaws.com/v1/ksh/container/metrics", "scheduler_pending_pods{queue=\"active\"} 2\n"),
        ("/apis/metrics.eks.amazonaws.com/v1/ksh/other/metrics", "secret 3\n"),
    ];
    // Without a kube-proxy, no address of a Service leads anywhere.
    let spec = || ClusterSpec::new("aggregated").api_server_flag("--enable-aggregator-routing=true");
    let cluster = testbed::special("aggregated", spec);
    let account = Account::new(cluster, "aggregated");
    let pages = |names: &[&str]| {
        let jobs: Vec<String> =
            names.iter().map(|name| format!("aggregated={GROUP}/v1/{name}/container/metrics")).collect();
        format!("--jobs={}", jobs.join(","))
    };
    let without = Account::new(cluster, "not-aggregated");
    without.run(&["join", &pages(&["kcm"])]).failed("TargetUnavailable", &["answers 404", "kubectl get apiservices"]);

    let _server = aggregated_api(cluster, GROUP, PAGES);
    let page = format!("/apis/{GROUP}/v1/kcm/container/metrics");
    let run = account.join(&[&pages(&["kcm", "ksh"]), "--scrape-interval=1s"]);
    let prometheus = Prometheus::start(&run.stdout).expect("Prometheus starts");
    prometheus.wait_for_targets(2, SCRAPED_WITHIN).expect("both are up");
    for query in ["workqueue_depth{job=\"kube-controller-manager\"}", "scheduler_pending_pods{job=\"kube-scheduler\"}"]
    {
        let number = prometheus.wait_until(SCRAPED_WITHIN, |it| it.number(query).ok().flatten());
        assert!(number.is_some(), "{query}");
    }
    let token = run.token();
    for (path, code) in [
        (page, 200),
        (format!("/apis/{GROUP}/v1/ksh/other/metrics"), 403),
        (format!("/apis/{GROUP}/v1/ksh/container"), 403),
        (format!("/apis/{GROUP}/v1/ksh"), 403),
        (format!("/apis/{GROUP}/v1/other/container/metrics"), 403),
        ("/api/v1/nodes".to_owned(), 403),
        ("/metrics".to_owned(), 403),
    ] {
        let (answered, body) = raw::request(cluster, &token, "GET", &path);
        assert_eq!(answered, code, "{path}: {body}");
    }
}

fn target_is_discovered_by_its_label() {
    let west = &testbed::shared().west;
    let account = Account::new(west, "found");
    let workloads = Workloads::start(west, "found");
    let space = &workloads.namespace;
    account
        .run(&["join", "--jobs=kube-state-metrics"])
        .failed("TargetNotFound", &["no Service in the cluster", "--jobs=kube-state-metrics=NAMESPACE/SERVICE:PORT"]);
    label(west, space, "kube-state-metrics", &json!({ "app.kubernetes.io/name": "kube-state-metrics" }));
    label(west, space, "prometheus-k8s", &json!({ "app.kubernetes.io/name": "prometheus" }));
    let run = account.join(&["--jobs=kube-state-metrics,federate", "--federate-match={__name__=~\"job:.*\"}"]);
    let names: Vec<String> =
        run.jobs().as_array().expect("jobs").iter().map(|job| job["job_name"].to_string()).collect();
    assert_eq!(
        names,
        [
            format!("\"prom-federate/west/kube-state-metrics/{space}/kube-state-metrics:http\""),
            format!("\"prom-federate/west/federate/{space}/prometheus-k8s:web\""),
        ]
    );
    assert_eq!(run.jobs()[1]["params"]["match[]"], json!(["{__name__=~\"job:.*\"}"]));

    // With a second candidate the user must choose, and nothing was written.
    label(west, space, "secure", &json!({ "k8s-app": "kube-state-metrics" }));
    let before = roles(&account);
    account.run(&["join", "--jobs=kube-state-metrics"]).failed(
        "TargetUnclear",
        &[
            &format!("hint: Choose one: --jobs=kube-state-metrics={space}/kube-state-metrics:http"),
            &format!("hint: Choose one: --jobs=kube-state-metrics={space}/https:secure:https"),
        ],
    );
    assert_eq!(roles(&account), before);
}

fn join_names_targets_that_cannot_be_scraped() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "unscrapable");
    let space = "e2e-run-unscrapable";
    namespace(east, space);
    let shop = Exporter::http(SHOP);
    let secure = Exporter::https(east, SHOP);
    let empty = Exporter::http(&[
        ("/metrics", "# nothing yet\n"),
        ("/html", "Content-Type: text/html\r\n\r\n<html>\n<body>\n"),
        ("/json", "Content-Type: application/json\r\n\r\n{\"up\": 1}\n"),
        ("/broken", "up 1\nshop_orders_total three\n"),
        ("/open", "Content-Type: application/openmetrics-text; version=1.0.0\r\n\r\nup 1\n"),
        ("/typed", "Content-Type: text/html\r\n\r\nshop_orders_total 3\n"),
    ]);
    // A kubelet asks who is there, as kube-rbac-proxy does.
    let kubelet: std::net::SocketAddr = east.kubelet_url(0).trim_start_matches("https://").parse().expect("an address");
    for (name, backend) in
        [("shop", shop.address), ("secure", secure.address), ("empty", empty.address), ("asks", kubelet)]
    {
        east.service(space, name, "web", 80, backend).expect("a service");
    }
    let slice = format!("/apis/discovery.k8s.io/v1/namespaces/{space}/endpointslices/empty");
    for (job, reason, says) in [
        ("service=SPACE/https:asks:web", "TargetForbidden", "as kube-rbac-proxy and oauth-proxy do"),
        ("service=SPACE/shop:web/other", "TargetUnavailable", "answers 404"),
        ("service=SPACE/empty:web", "TargetUnavailable", "answers without any sample"),
        ("service=SPACE/empty:web/html", "TargetUnavailable", "cannot parse: line 1 is not a sample: <html>"),
        ("service=SPACE/empty:web/json", "TargetUnavailable", "cannot parse: line 1 has labels"),
        ("service=SPACE/empty:web/broken", "TargetUnavailable", "line 2 has no value: shop_orders_total three"),
        ("service=SPACE/empty:web/open", "TargetUnavailable", "does not end with # EOF"),
        ("service=SPACE/empty:web/typed", "TargetUnavailable", "--fallback-scrape-protocol=PrometheusText0.0.4"),
        ("service=SPACE/empty:web/typed", "TargetUnavailable", "content type \"text/html\", so Prometheus 3 refuses"),
        ("service=SPACE/nowhere:web", "TargetUnavailable", "nowhere:web/proxy/metrics has no endpoints"),
        ("service=SPACE/https:shop:web", "TargetUnavailable", "tls: first record does not look like a TLS handshake"),
        ("service=e2e-no-such-namespace/shop:web", "TargetNotFound", "there is no namespace e2e-no-such-namespace"),
        ("pods=SPACE", "TargetNotFound", "prometheus.io/scrape"),
        ("node-exporter=SPACE", "TargetNotFound", "has a node-exporter label"),
        ("federate=SPACE/shop:web", "TargetUnavailable", "/federate answers 404"),
    ] {
        account.run(&["join", &format!("--jobs={}", job.replace("SPACE", space))]).failed(reason, &["east: ", says]);
        // A namespace takes its time.
        testbed::until(SCRAPED_WITHIN, || account.objects().is_empty().then_some(()))
            .unwrap_or_else(|| panic!("{job}: left behind: {:?}", account.objects()));
        assert_eq!(roles(&account), Vec::<String>::new(), "{job}: undone");
    }
    east.api().delete(&slice).expect("the API server answers").success("delete it").expect("deleted");
    let nothing_behind = || {
        let path = format!("/api/v1/namespaces/{space}/services/empty:web/proxy/metrics");
        (east.api().get(&path).expect("the API server answers").status == 503).then_some(())
    };
    testbed::until(SCRAPED_WITHIN, nothing_behind).expect("the API server has seen it");
    account
        .run(&["join", &format!("--jobs=service={space}/empty:web")])
        .failed("TargetUnavailable", &["has no endpoints: the Service or its port does not exist"]);
}

/// Prometheus 3 reads a page of another content type only if the job says how. A page without any gets one from the API
/// server (Go `net/http`, `DetectContentType`).
fn page_of_another_content_type_is_read_by_a_named_protocol() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "untyped");
    let space = "e2e-run-untyped";
    namespace(east, space);
    let shop = Exporter::http(&[
        ("/metrics", "X-Shop: web\r\n\r\nshop_orders_total 3\n"),
        ("/typed", "Content-Type: text/html\r\n\r\nshop_orders_total 3\n"),
    ]);
    east.service(space, "shop", "web", 80, shop.address).expect("a service");
    let jobs = format!("--jobs=kubelet,service={space}/shop:web,service={space}/shop:web/typed");
    let run = account.join(&[&jobs, "--fallback-scrape-protocol=PrometheusText0.0.4", "--scrape-interval=1s"]);
    assert_eq!(run.stdout.matches("fallback_scrape_protocol: PrometheusText0.0.4").count(), 2, "{}", run.stdout);
    let prometheus = Prometheus::start(&run.stdout).expect("Prometheus starts");
    prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
}

fn jobs_are_widened_and_narrowed() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "widen");
    let space = "e2e-run-widen";
    namespace(east, space);
    let shop = Exporter::http(SHOP);
    for name in ["shop", "other"] {
        east.service(space, name, "web", 80, shop.address).expect("a service");
    }
    let page = format!("/api/v1/namespaces/{space}/services/shop:web/proxy/metrics");
    let name = account.cluster_scoped_name();
    let cluster_wide = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}");
    let has_cluster_role = || east.api().get(&cluster_wide).expect("the API server answers").is_success();

    let token = account.join(&["--jobs=kubelet"]).token();
    assert_eq!(raw::request(east, &token, "GET", &page).0, 403);
    let both = format!("--jobs=kubelet,service={space}/shop:web,service={space}/other:web");
    account.join(&[&both]);
    assert_eq!(raw::request(east, &token, "GET", &page).0, 200, "rights are the account's");

    // A Service less changes its role; the fence is seen to refuse it, or RBAC.
    let run = account.join(&[&format!("--jobs=kubelet,service={space}/other:web")]);
    assert!(run.stderr.contains("role.rbac.authorization.k8s.io/"), "{}", run.stderr);
    let code = raw::request(east, &token, "GET", &page).0;
    assert!(code == 403 || code == 422, "{code}");
    account.join(&[&both]);

    // No nodes any more: what is cluster-wide goes.
    let run = account.join(&[&format!("--jobs=service={space}/shop:web")]);
    assert!(
        run.stderr
            .contains(&format!("clusterrole.rbac.authorization.k8s.io/{name} deleted (no job needs it any more)")),
        "{}",
        run.stderr
    );
    assert!(!has_cluster_role());
    // No namespace of others any more: the role there goes, after the fence was seen to refuse its page.
    let run = account.join(&["--jobs=kubelet"]);
    assert!(
        run.stderr.contains(&format!("role.rbac.authorization.k8s.io/{name} deleted in namespace {space}")),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("10 other requests refused by the fence"), "{}", run.stderr);
    assert_eq!(roles(&account), Vec::<String>::new());
    assert!(has_cluster_role());
    let run = account.join(&["--jobs=kubelet"]);
    assert_eq!(crate::join::unchanged(&run.stderr), 8, "{}", run.stderr);
    assert!(!run.stderr.contains(" deleted"), "{}", run.stderr);
}

fn without_jobs_of_nodes_no_node_is_needed() {
    let cluster = testbed::special("no-nodes", || ClusterSpec::new("no-nodes").nodes(0));
    let account = Account::new(cluster, "no-nodes");
    account.run(&["join"]).failed("NoNodes", &["the cluster has no nodes"]);
    let proxy = FaultProxy::in_front_of(cluster).expect("a proxy");
    let run = account.run_with(&proxy.kubeconfig(), &["join", "--jobs=apiserver"]).succeeded();
    assert!(run.stderr.contains("proven with that token: apiserver "), "{}", run.stderr);
    assert!(
        run.stderr.contains("Warning: the job apiserver reads the API server that the address leads to"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("10250"), "{}", run.stderr);
    assert!(proxy.requests().iter().all(|request| !request.path.contains("/nodes")), "{:?}", proxy.requests());
    let prometheus = Prometheus::start(&run.stdout).expect("Prometheus starts");
    prometheus.wait_for_targets(1, Duration::from_secs(90)).expect("it is up");
}

fn manifests_need_every_place() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "git-jobs");
    let workloads = Workloads::start(east, "git-jobs");
    let manifests = account.cluster.kubeconfig();
    let pods = format!("pods={}", workloads.namespace);
    let run = crate::plugin::run(manifests, &["manifests", &format!("--jobs={pods}")]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("write {pods}/metrics")), "{}", run.stderr);
    let jobs = workloads.jobs().replace(&pods, &format!("{pods}/metrics,{pods}/m/x"));
    let printed = crate::plugin::run(manifests, &["manifests", &jobs, "--namespace", &account.namespace]).succeeded();
    east.apply(&printed.stdout);
    let run = account.join(&[&jobs]);
    // The rights in two scopes, fence and guard, account and namespace.
    assert_eq!(crate::join::unchanged(&run.stderr), 10, "{}", run.stderr);
    let run = account.run(&["leave"]).succeeded();
    assert!(run.stderr.contains("has another owner and stays"), "{}", run.stderr);
    assert_eq!(roles(&account).len(), 2, "what Git owns stays");
}

/// The roles and bindings of an account in single namespaces, as `NAMESPACE/KIND`.
pub(crate) fn roles(account: &Account) -> Vec<String> {
    let name = account.cluster_scoped_name();
    let mut found = Vec::new();
    for kind in ["roles", "rolebindings"] {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{kind}?fieldSelector=metadata.name={name}");
        let list = account.cluster.api().get(&path).expect("the API server answers").json();
        for item in list["items"].as_array().expect("a list") {
            found.push(format!("{}/{kind}", item["metadata"]["namespace"].as_str().unwrap_or_default()));
        }
    }
    found
}
