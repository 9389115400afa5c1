//! Dashboards: each query of each panel and variable, asked of a real Prometheus that scrapes real clusters.

use crate::{
    exporter::{Exporter, aggregated_api, namespace, pod},
    plugin::{Account, run},
};
use serde_json::{Value, json};
use std::{fs, net::SocketAddr, path::Path, thread, time::Duration};
use testbed::{Cluster, ClusterSpec, Container, KubeStateMetrics, NodeExporter, Prometheus, grafana_check};

trials! {
    dashboard:
    smoke {
        every_query_has_data_of_its_cluster,
    }
    full {
        grafana_knows_every_field,
        config_map_is_applied,
    }
}

const DASHBOARDS: [&str; 5] = ["fleet", "cluster", "nodes", "pods", "scrape"];
/// cAdvisor finds a new cgroup within ten seconds, and a rate needs two of its samples.
const SOON: Duration = Duration::from_secs(90);

/// What a kubelet says of its disk, of volumes and, on cgroup v2, of pressure, none of which this machine has.
const DISKS: &[(&str, &str)] = &[(
    "/metrics",
    r#"kubelet_volume_stats_used_bytes{node="n",namespace="shop",persistentvolumeclaim="data"} 1e9
kubelet_volume_stats_capacity_bytes{node="n",namespace="shop",persistentvolumeclaim="data"} 2e9
kubelet_volume_stats_inodes_used{node="n",namespace="shop",persistentvolumeclaim="data"} 10
kubelet_volume_stats_inodes{node="n",namespace="shop",persistentvolumeclaim="data"} 20
container_fs_usage_bytes{node="n",id="/",device="/dev/sda1"} 1e9
container_fs_limit_bytes{node="n",id="/",device="/dev/sda1"} 2e9
container_pressure_cpu_waiting_seconds_total{node="n",id="/"} 1
container_pressure_memory_waiting_seconds_total{node="n",id="/"} 1
container_pressure_io_waiting_seconds_total{node="n",id="/"} 1
"#,
)];
/// What `rotate --watch --metrics-file` writes, of both clusters.
const ROTATE: &[(&str, &str)] = &[(
    "/metrics",
    r#"prom_federate_fence_enforced{cluster="north",destination="/p"} 1
prom_federate_fence_enforced{cluster="south",destination="/p"} 1
"#,
)];
/// What EKS shows of its control plane, in the names of the real programs.
const GROUP: &str = "metrics.eks.amazonaws.com";
const CONTROL_PLANE: &[(&str, &str)] = &[
    ("/apis/metrics.eks.amazonaws.com/v1", "{}"),
    (
        "/apis/metrics.eks.amazonaws.com/v1/kcm/container/metrics",
        "workqueue_depth{name=\"job\"} 1\nworkqueue_adds_total{name=\"job\"} 3\n",
    ),
    (
        "/apis/metrics.eks.amazonaws.com/v1/ksh/container/metrics",
        "scheduler_pending_pods{queue=\"active\"} 2\n\
         scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} 5\n",
    ),
];

/// A cluster in which something runs, joined with all that the dashboards ask for.
struct Joined<'a> {
    account: Account<'a>,
    space: String,
    _containers: Vec<Container>,
    _servers: [Exporter; 2],
    _kube_state: KubeStateMetrics,
    node_exporter: NodeExporter,
}

impl<'a> Joined<'a> {
    fn prepare(cluster: &'a Cluster) -> Self {
        let account = Account::new(cluster, "boards");
        let space = "e2e-run-boards".to_owned();
        namespace(cluster, &space);
        let kube_state = KubeStateMetrics::start(cluster).expect("kube-state-metrics");
        let disks = Exporter::http(DISKS);
        let node_exporter = NodeExporter::start().expect("a node exporter");
        for (name, address) in [("kube-state-metrics", kube_state.address()), ("disks", disks.address)] {
            cluster.service(&space, name, "http", 8080, address).expect("a service");
        }
        let labels = json!({ "app.kubernetes.io/name": "node-exporter" });
        pod(cluster, &space, "node-exporter", &json!({}), &labels, node_exporter.address());
        // On a node without a kubelet, which leaves its status alone.
        bind(cluster, &space, "node-exporter", "elsewhere");
        crash(cluster, &space, "node-exporter");
        deployment(cluster, &space);
        let nodes = cluster.node_names();
        for node in &nodes {
            let health =
                cluster.api().get(&format!("/api/v1/nodes/{node}/proxy/healthz")).expect("the API server answers");
            assert!(health.is_success(), "{}", health.body);
        }
        probed_pod(cluster, &space, &nodes[0], disks.address);
        let container =
            |node: &String, pod: &str| Container::start(node, &space, pod, "app").expect("a container in a cgroup");
        let containers = nodes.iter().zip(["web", "store"]).map(|(node, pod)| container(node, pod)).collect();
        let servers = [disks, aggregated_api(cluster, GROUP, CONTROL_PLANE)];
        Self { account, space, _containers: containers, _servers: servers, _kube_state: kube_state, node_exporter }
    }

    fn join(&self, jobs: &str, prometheus: &Prometheus) {
        let Self { account, space, node_exporter, .. } = self;
        let jobs = jobs.replace("SPACE", space).replace("PORT", &node_exporter.address().port().to_string());
        let dir = prometheus.dir().to_str().expect("a path");
        account.join(&[&format!("--jobs={jobs}"), "--scrape-interval=1s", "-p", dir]);
    }
}

/// A cluster of this trial's own: the state of others is not on its pages, and its API server finds a server behind it
/// without a kube-proxy. They end with the trial: kubelets go on probing, and API servers asking for what they aggregate.
fn cluster(name: &str) -> Cluster {
    let spec = ClusterSpec::new(name).nodes(2).api_server_flag("--enable-aggregator-routing=true");
    Cluster::start(&spec).expect("a cluster")
}

/// A pod on a real kubelet, which probes a server of this test: one page that is there, and one that is not.
fn probed_pod(cluster: &Cluster, space: &str, node: &str, server: SocketAddr) {
    let container = |name: &str, path: &str| {
        let get = json!({ "host": server.ip(), "port": server.port(), "path": path });
        let resources =
            json!({ "requests": { "cpu": "100m", "memory": "64Mi" }, "limits": { "cpu": "500m", "memory": "128Mi" } });
        json!({
            "name": name, "image": "e2e.invalid/c", "resources": resources,
            "readinessProbe": { "httpGet": get, "periodSeconds": 1 },
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "web" },
        "spec": {
            "nodeName": node, "automountServiceAccountToken": false,
            "containers": [container("app", "/metrics"), container("broken", "/nothing")],
        },
    });
    let pods = format!("/api/v1/namespaces/{space}/pods");
    cluster.api().post(&pods, &pod).expect("the API server answers").success("make the pod").expect("made");
}

/// As a kubelet reports a container that ends again and again.
fn crash(cluster: &Cluster, space: &str, name: &str) {
    let container = json!({
        "name": "c", "image": "e2e.invalid/c", "imageID": "", "ready": false, "restartCount": 3,
        "state": { "waiting": { "reason": "CrashLoopBackOff" } },
    });
    let path = format!("/api/v1/namespaces/{space}/pods/{name}/status");
    let change = json!({ "status": { "containerStatuses": [container] } });
    cluster.api().patch(&path, &change).expect("the API server answers").success("write its status").expect("written");
}

/// No controller acts on it, so its replica is missing.
fn deployment(cluster: &Cluster, space: &str) {
    let labels = json!({ "app": "web" });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "app", "image": "e2e.invalid/c" }] },
            },
        },
    });
    let path = format!("/apis/apps/v1/namespaces/{space}/deployments");
    cluster.api().post(&path, &deployment).expect("the API server answers").success("make it").expect("made");
}

fn bind(cluster: &Cluster, space: &str, name: &str, node: &str) {
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    let path = format!("/api/v1/namespaces/{space}/pods/{name}/binding");
    cluster.api().post(&path, &binding).expect("the API server answers").success("bind the pod").expect("bound");
}

fn dashboard(name: &str) -> Value {
    let printed = run(Path::new("/dev/null"), &["dashboard", name]).succeeded();
    serde_json::from_str(&printed.stdout).expect("JSON")
}

/// The expressions of panels, as `TITLE: EXPR`, in rows that are open at first or in all.
fn panels(board: &Value, are_all: bool) -> Vec<(String, String)> {
    let outer = board["panels"].as_array().expect("panels");
    let closed = outer.iter().filter(|_| are_all).flat_map(|row| row["panels"].as_array().into_iter().flatten());
    let queries = |panel: &Value| -> Vec<(String, String)> {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| (title.clone(), target["expr"].as_str().expect("a query").to_owned())).collect()
    };
    outer.iter().chain(closed).flat_map(queries).collect()
}

/// What Grafana asks to fill a variable, as the query whose series have its values.
fn variables(board: &Value) -> Vec<(String, String)> {
    let list = board["templating"]["list"].as_array().expect("variables");
    let asked = list.iter().filter(|one| one["type"] == "query");
    asked
        .map(|one| {
            let query = one["query"]["query"].as_str().expect("a query");
            let inner =
                query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).expect("its function");
            let (selector, label) = inner.rsplit_once(", ").expect("a label");
            (format!("${label}"), format!("count by ({label}) ({selector})"))
        })
        .collect()
}

/// Asks every query until it has data, except those with some series, and returns those that never have any.
fn without_data(prometheus: &Prometheus, cluster: &str, are_all: bool, except: &[&str]) -> Vec<String> {
    let mut missing = Vec::new();
    for name in DASHBOARDS {
        let board = dashboard(name);
        for (title, query) in panels(&board, are_all).into_iter().chain(variables(&board)) {
            if except.iter().any(|series| query.contains(series)) {
                continue;
            }
            // As Grafana fills them in, with all nodes, namespaces and pods chosen.
            let asked = ["node", "namespace", "pod"].iter().fold(query.replace("$cluster", cluster), |query, name| {
                query.replace(&format!("\"${name}\""), "\".+\"")
            });
            let found = prometheus.wait_until(if missing.is_empty() { SOON } else { Duration::from_secs(5) }, |it| {
                let result = it.query(&asked).expect("the query is well-formed");
                let rows = result.as_array()?.clone();
                // In the overview each cluster has its row.
                let of = |label: &str| rows.iter().any(|row| row["metric"]["cluster"] == label);
                (!rows.is_empty() && (name != "fleet" || of(cluster))).then_some(rows)
            });
            if found.is_none() {
                missing.push(format!("{name}, {title}: {asked}"));
            }
        }
    }
    missing
}

fn every_query_has_data_of_its_cluster() {
    let (north, south) = thread::scope(|scope| {
        let south = scope.spawn(|| cluster("south"));
        (cluster("north"), south.join().expect("a cluster"))
    });
    let (north, south) = (Joined::prepare(&north), Joined::prepare(&south));
    let prometheus =
        Prometheus::start("global: {scrape_interval: 1s, evaluation_interval: 1s}\n").expect("Prometheus starts");
    let rotate = Exporter::http(ROTATE);
    // It scrapes itself, as most do, and the node exporter with the metrics file of a watch.
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}
scrape_configs:
- job_name: prometheus
  static_configs: [{{targets: ['{}']}}]
- job_name: watch
  honor_labels: true
  static_configs: [{{targets: ['{}']}}]
",
        prometheus.address(),
        rotate.address
    );
    prometheus.write("prometheus.yml", &config).expect("written");
    prometheus.reload().expect("it reads that");

    north.join("default", &prometheus);
    assert_eq!(
        without_data(&prometheus, "north", false, &["container_fs_"]),
        Vec::<String>::new(),
        "by the default jobs"
    );

    let all = "default,resource,probes,apiserver,slis,aggregated=metrics.eks.amazonaws.com/v1/kcm/container/metrics,\
               aggregated=metrics.eks.amazonaws.com/v1/ksh/container/metrics,\
               kube-state-metrics=SPACE/kube-state-metrics:http,service=SPACE/disks:http,node-exporter=SPACE:PORT";
    for joined in [&north, &south] {
        joined.join(all, &prometheus);
    }
    for cluster in ["north", "south"] {
        assert_eq!(without_data(&prometheus, cluster, true, &[]), Vec::<String>::new(), "{cluster}");
    }
    // As dashboards and rules of others ask: by the label of the cluster, and with joins on the labels of kube-prometheus.
    for query in [
        "count by (cluster) (kube_node_info)",
        "count by (cluster) (kubelet_running_pods * on (cluster, instance) group_left (node) kubelet_node_name)",
        "count by (cluster) (sum by (cluster, namespace, pod) (container_memory_working_set_bytes{job=\"kubelet\",metrics_path=\"/metrics/cadvisor\",image!=\"\"}) * on (cluster, namespace, pod) group_left (node) max by (cluster, namespace, pod, node) (kube_pod_info{job=\"kube-state-metrics\"}))",
        "count by (cluster) (apiserver_request_sli_duration_seconds_bucket{job=\"apiserver\",le=~\"(1|5|30)(.0)?\"})",
        "count by (cluster) (node_load1{job=\"node-exporter\"} / on (cluster, instance) sum by (cluster, instance) (node_cpu_seconds_total))",
    ] {
        let both = |it: &Prometheus| (it.query(query).ok()?.as_array()?.len() == 2).then_some(());
        assert!(prometheus.wait_until(SOON, both).is_some(), "{query}");
    }
    // Two clusters of two nodes each: no panel counts four. The node of the node-exporter has no kubelet.
    let first = |board: &str, title: &str| {
        let found = panels(&dashboard(board), false).into_iter().find(|(panel, _)| panel == title);
        found.unwrap_or_else(|| panic!("{board} has no panel {title}")).1.replace("$cluster", "north")
    };
    assert_eq!(prometheus.number(&first("cluster", "Nodes")).expect("an answer"), Some(3.0));
    let pods = prometheus.query(&first("pods", "CPU by pod").replace("$namespace", &north.space).replace("$pod", ".+"));
    let mut pods: Vec<String> = pods
        .expect("an answer")
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["metric"]["pod"].to_string())
        .collect();
    pods.sort();
    assert_eq!(pods, ["\"store\"", "\"web\""]);
}

/// By the types that Grafana publishes for programs that make dashboards.
fn grafana_knows_every_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().to_str().expect("a path");
    let written = run(Path::new("/dev/null"), &["dashboard", "--out", dir]).succeeded();
    let files: Vec<_> =
        DASHBOARDS.iter().map(|name| folder.path().join(format!("prom-federate-{name}.json"))).collect();
    assert!(
        files.iter().all(|file| written.stderr.contains(&format!("{} written", file.display()))),
        "{}",
        written.stderr
    );
    let files: Vec<&Path> = files.iter().map(AsRef::as_ref).collect();
    let checked = grafana_check(&files).expect("the program runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    // It does find what is wrong.
    let text = fs::read_to_string(files[0]).expect("it is there").replace("\"gridPos\"", "\"gridPlace\"");
    let wrong = folder.path().join("wrong.json");
    fs::write(&wrong, text).expect("written");
    assert!(!grafana_check(&[&wrong]).expect("the program runs").status.success());
}

/// Also by the client, which keeps the whole object in an annotation of at most 256 KiB.
fn config_map_is_applied() {
    let east = &testbed::shared().east;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dashboards.yaml");
    let printed = run(Path::new("/dev/null"), &["dashboard", "-o", "configmap"]).succeeded();
    fs::write(&file, printed.stdout).expect("written");
    let file = file.to_str().expect("a path");
    let said = east.kubectl_ok(&["apply", "--namespace=default", "-f", file]);
    assert!(said.contains("configmap/prom-federate-dashboards created"), "{said}");
    east.kubectl_ok(&["delete", "--namespace=default", "-f", file]);
}
