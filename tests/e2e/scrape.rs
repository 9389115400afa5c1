//! The printed jobs in the real Prometheus.

use crate::{
    exporter::{namespace, pod},
    plugin::Account,
};
use serde_json::json;
use std::time::Duration;
use testbed::{NodeExporter, Prometheus, PrometheusSpec, promtool_check};

trials! {
    scrape:
    smoke {
        two_clusters_in_one_prometheus,
    }
    full {
        drop_lists_shrink_the_largest_pages,
        drop_lists_of_slis_and_node_exporter_are_counted,
        items_paste_under_existing_jobs,
        promtool_accepts_every_output,
    }
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);

fn two_clusters_in_one_prometheus() {
    let shared = testbed::shared();
    let east = Account::new(&shared.east, "scrape");
    let west = Account::new(&shared.west, "scrape");
    let (east_jobs, west_jobs) = (east.join(&["--scrape-interval=1s"]), west.join(&["--scrape-interval=1s"]));
    let spec = PrometheusSpec::new("scrape_config_files: [prom-federate/*.scrape.yml]\n")
        .file("prom-federate/east.scrape.yml", east_jobs.stdout.clone())
        .file("prom-federate/west.scrape.yml", west_jobs.stdout.clone());
    let prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
    let targets = prometheus.wait_for_targets(8, SCRAPED_WITHIN).expect("all nodes of both clusters are up");

    let mut labels: Vec<String> = targets
        .iter()
        .map(|target| {
            let label = |name| target.label(name).to_owned();
            assert_eq!(label("instance"), label("node"));
            format!("{} {} {} {} {}", target.pool, label("cluster"), label("job"), label("node"), label("metrics_path"))
        })
        .collect();
    labels.sort();
    insta::assert_snapshot!(labels.join("\n"), @r"
    prom-federate/east/cadvisor east kubelet east-node-0 /metrics/cadvisor
    prom-federate/east/cadvisor east kubelet east-node-1 /metrics/cadvisor
    prom-federate/east/kubelet east kubelet east-node-0 /metrics
    prom-federate/east/kubelet east kubelet east-node-1 /metrics
    prom-federate/west/cadvisor west kubelet west-node-0 /metrics/cadvisor
    prom-federate/west/cadvisor west kubelet west-node-1 /metrics/cadvisor
    prom-federate/west/kubelet west kubelet west-node-0 /metrics
    prom-federate/west/kubelet west kubelet west-node-1 /metrics
    ");

    // The CPU of the nodes by cluster, as a dashboard asks for it.
    for cluster in ["east", "west"] {
        let cpu = format!("count(container_cpu_usage_seconds_total{{cluster=\"{cluster}\",id=\"/\",cpu=\"total\"}})");
        let nodes =
            testbed::until(SCRAPED_WITHIN, || prometheus.number(&cpu).ok().flatten().filter(|count| *count >= 2.0));
        assert_eq!(nodes, Some(2.0), "{cluster}");
    }
    // What kube-prometheus-stack drops is dropped.
    assert_eq!(prometheus.number("count(container_file_descriptors)").expect("Prometheus answers"), None);

    // Revoking one cluster's token by its bound Secret silences that cluster and no other.
    let secret = east.secrets().remove(0);
    east.cluster.kubectl_ok(&["--namespace", &east.namespace, "delete", "secret", &secret]);
    let up = |cluster: &str| prometheus.number(&format!("sum(up{{cluster=\"{cluster}\"}})")).ok().flatten();
    testbed::until(SCRAPED_WITHIN, || (up("east") == Some(0.0)).then_some(())).expect("the revoked token is refused");
    assert_eq!(up("west"), Some(4.0));
}

/// Prometheus counts what it scrapes and what it keeps.
fn drop_lists_shrink_the_largest_pages() {
    let east = Account::new(&testbed::shared().east, "drops");
    let kept = |flags: &[&str]| -> Vec<f64> {
        let jobs = east.join(&[&["--jobs=default,apiserver", "--scrape-interval=1s"], flags].concat()).stdout;
        let prometheus = Prometheus::start(&jobs).expect("Prometheus starts");
        prometheus.wait_for_targets(5, SCRAPED_WITHIN).expect("all are up");
        let share = |page: &str| {
            let share =
                format!("sum(scrape_samples_post_metric_relabeling{{{page}}}) / sum(scrape_samples_scraped{{{page}}})");
            let number = prometheus.wait_until(SCRAPED_WITHIN, |it| it.number(&share).ok().flatten());
            number.unwrap_or_else(|| panic!("no answer to {share}"))
        };
        ["job=\"apiserver\"", "metrics_path=\"/metrics/cadvisor\"", "job=\"kubelet\",metrics_path=\"/metrics\""]
            .map(share)
            .into()
    };
    let shares = kept(&[]);
    // How much of a page is left depends on what else the servers do.
    assert!(shares.iter().all(|share| (0.01..0.7).contains(share)), "{shares:?}");
    assert_eq!(kept(&["--keep-all-metrics"]), [1.0, 1.0, 1.0]);
}

/// What remains of these pages, by the names that are dropped.
fn drop_lists_of_slis_and_node_exporter_are_counted() {
    let east = Account::new(&testbed::shared().east, "small-drops");
    let space = format!("e2e-run-small-drops{}", crate::trial::suffix());
    namespace(east.cluster, &space);
    let exporter = NodeExporter::start().expect("a node exporter");
    let labels = json!({ "app.kubernetes.io/name": "node-exporter" });
    pod(east.cluster, &space, "node-exporter", &json!({}), &labels, exporter.address());
    let jobs = format!("--jobs=slis,node-exporter={space}:{}", exporter.address().port());
    let counts = |flags: &[&str]| -> Vec<(f64, f64)> {
        let jobs = east.join(&[&[jobs.as_str(), "--scrape-interval=1s"], flags].concat()).stdout;
        let prometheus = Prometheus::start(&jobs).expect("Prometheus starts");
        prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
        let number = |query: &str| {
            let number = prometheus.wait_until(SCRAPED_WITHIN, |it| it.number(query).ok().flatten());
            number.unwrap_or_else(|| panic!("no answer to {query}"))
        };
        let page = |(page, targets): (&str, u8)| {
            let (scraped, kept) = (
                format!("scrape_samples_scraped{{{page}}}"),
                format!("scrape_samples_post_metric_relabeling{{{page}}}"),
            );
            let of_all = |samples: &str| number(&format!("sum({samples}) and count({kept}) == {targets}"));
            (of_all(&scraped), of_all(&format!("{scraped} - {kept}")))
        };
        [("metrics_path=\"/metrics/slis\"", 3), ("job=\"node-exporter\"", 1)].map(page).into()
    };
    let [(slis, of_slis), (node, of_node)] = counts(&[])[..] else { panic!("two pages") };
    // Both kubelets and the API server: the time of their start.
    assert!((of_slis - 3.0).abs() < f64::EPSILON, "{of_slis} of {slis} samples of health checks");
    // The exporter's own runtime, and ten numbers of each interface.
    assert!(of_node >= 40.0 && of_node < node / 2.0, "{of_node} of {node} samples of the node exporter");
    let all = counts(&["--keep-all-metrics"]);
    assert!(all.iter().all(|(scraped, dropped)| *scraped > 0.0 && *dropped == 0.0), "{all:?}");
}

fn items_paste_under_existing_jobs() {
    let east = Account::new(&testbed::shared().east, "paste");
    let jobs = east.join(&["--scrape-interval=1s", "--jobs=kubelet"]).stdout;
    let items = jobs.split_once("scrape_configs:\n").expect("a mapping").1;
    let config = format!("scrape_configs:\n- job_name: self\n  static_configs: [{{targets: []}}]\n{items}");
    let prometheus = Prometheus::start(&config).expect("Prometheus starts");
    prometheus.wait_for_targets(2, SCRAPED_WITHIN).expect("both nodes are up");
}

fn promtool_accepts_every_output() {
    let east = Account::new(&testbed::shared().east, "promtool");
    for arguments in [
        &["--jobs=cadvisor"][..],
        &["--jobs=kubelet"],
        &["--jobs=default", "--keep-all-metrics"],
        &["--cluster-name=1_000", "--scrape-interval=90s"],
        &["--api-server-tls-name=localhost", "--scrape-timeout=5s"],
    ] {
        let output = promtool_check(&east.join(arguments).stdout).expect("promtool runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
