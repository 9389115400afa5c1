//! The pods that a job scrapes. The rules are those of the relabelling in `render`. The proof uses them to choose a pod,
//! and the discovery uses them to read annotations.

use super::{Job, MetricsPath};
use crate::model::text::names::is_dns_subdomain;
use serde_json::Value;
use std::collections::BTreeSet;

/// The scrape annotations of a pod, the `prometheus.io/…` of Prometheus' own example configuration.
pub const SCRAPE: &str = "prometheus.io/scrape";
pub const PORT: &str = "prometheus.io/port";
pub const PATH: &str = "prometheus.io/path";
pub const SCHEME: &str = "prometheus.io/scheme";

/// The labels that identify node-exporter in its usual deployments: the charts, kube-prometheus and older manifests.
pub const APP_LABELS: [&str; 3] = ["app.kubernetes.io/name", "k8s-app", "app"];
/// The values of these labels.
pub const NODE_EXPORTERS: [&str; 2] = ["node-exporter", "prometheus-node-exporter"];

/// The segment of the URL for a pod, `[https:]POD:PORT`, if the job scrapes this pod.
pub fn subject(job: &Job, pod: &Value) -> Option<String> {
    // A pod's name goes into paths. The API server accepts only such names, so no real pod is skipped.
    let name = pod["metadata"]["name"].as_str().filter(|name| is_dns_subdomain(name))?;
    if pod["status"]["phase"] != "Running" {
        return None;
    }
    let declared = |port: u64| container_ports(pod).any(|declared| declared == port);
    match job {
        Job::NodeExporter(_, port) => {
            let label = |key: &&str| pod["metadata"]["labels"][*key].as_str();
            let is_one = APP_LABELS.iter().filter_map(label).any(|value| NODE_EXPORTERS.contains(&value));
            (is_one && declared(u64::from(*port))).then(|| format!("{name}:{port}"))
        }
        Job::Pods(_, path) => {
            let annotated = annotated_path(pod)?;
            if annotated != path.as_str() {
                return None;
            }
            let annotation = |key| pod["metadata"]["annotations"][key].as_str().unwrap_or_default();
            let is_number = |port: &&str| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit());
            let port = match Some(annotation(PORT)).filter(is_number) {
                Some(port) => port.to_owned(),
                None => container_ports(pod).next()?.to_string(),
            };
            let scheme = if annotation(SCHEME) == "https" { "https:" } else { "" };
            Some(format!("{scheme}{name}:{port}"))
        }
        _ => None,
    }
}

/// The annotated path of a pod; none if the pod is not annotated for scraping.
fn annotated_path(pod: &Value) -> Option<&str> {
    let annotations = &pod["metadata"]["annotations"];
    (annotations[SCRAPE] == "true").then(|| annotations[PATH].as_str().unwrap_or("/metrics"))
}

/// The annotated paths of pods.
#[derive(Debug, Default)]
pub struct AnnotatedPaths {
    pub paths: BTreeSet<MetricsPath>,
    /// How many pods have a path that no job can have.
    pub unknown: usize,
}

impl AnnotatedPaths {
    pub fn add(&mut self, pod: &Value) {
        match annotated_path(pod).map(str::parse) {
            None => {}
            Some(Ok(path)) => drop(self.paths.insert(path)),
            Some(Err(_)) => self.unknown += 1,
        }
    }
}

fn container_ports(pod: &Value) -> impl Iterator<Item = u64> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    ports.filter_map(|port| port["containerPort"].as_u64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::Jobs;
    use serde_json::json;

    fn pod(annotations: &[(&str, &str)], labels: &[(&str, &str)], ports: &[u64]) -> Value {
        let map = |pairs: &[(&str, &str)]| -> Value {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into()
        };
        let ports: Vec<Value> = ports.iter().map(|port| json!({ "containerPort": port })).collect();
        json!({
            "metadata": { "name": "web-1", "annotations": map(annotations), "labels": map(labels) },
            "spec": { "containers": [{ "ports": ports }] },
            "status": { "phase": "Running" },
        })
    }

    fn subjects(pod: &Value) -> String {
        let jobs: Jobs = "pods=shop/metrics,pods=shop/m,node-exporter=shop:9100,kubelet".parse().unwrap();
        let found = jobs.iter().filter_map(|job| Some(format!("{} {}", job.metrics_path(), subject(job, pod)?)));
        found.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn pod_is_scraped_by_its_annotations() {
        let yes = (SCRAPE, "true");
        for (annotations, labels, ports, expected) in [
            (&[][..], &[][..], &[80][..], ""),
            (&[(SCRAPE, "false")], &[], &[80], ""),
            (&[yes], &[], &[80, 81], "/metrics web-1:80"),
            (&[yes], &[], &[], ""),
            (&[yes, (PORT, "9102")], &[], &[80], "/metrics web-1:9102"),
            (&[yes, (PORT, "web")], &[], &[80], "/metrics web-1:80"),
            (&[yes, (PORT, "8443"), (SCHEME, "https")], &[], &[], "/metrics https:web-1:8443"),
            (&[yes, (PATH, "/m")], &[], &[80], "/m web-1:80"),
            (&[yes, (PATH, "/other")], &[], &[80], ""),
            (&[], &[("app", "node-exporter")], &[9100], "/metrics web-1:9100"),
            (&[], &[("app.kubernetes.io/name", "prometheus-node-exporter")], &[9100], "/metrics web-1:9100"),
            (&[], &[("app", "node-exporter")], &[9101], ""),
            (&[], &[("tier", "node-exporter")], &[9100], ""),
        ] {
            let mut pod = pod(annotations, labels, ports);
            assert_eq!(subjects(&pod), expected, "{annotations:?} {labels:?} {ports:?}");
            pod["status"]["phase"] = json!("Pending");
            assert_eq!(subjects(&pod), "");
        }
        assert_eq!(subjects(&json!(null)), "");
    }

    #[test]
    fn annotated_paths_of_a_namespace_are_collected() {
        let yes = (SCRAPE, "true");
        let pods = [
            pod(&[yes], &[], &[]),
            pod(&[yes, (PATH, "/m")], &[], &[]),
            pod(&[yes, (PATH, "/m")], &[], &[]),
            pod(&[yes, (PATH, "m?x=1")], &[], &[]),
            pod(&[(PATH, "/no")], &[], &[]),
        ];
        let mut found = AnnotatedPaths::default();
        for pod in &pods {
            found.add(pod);
        }
        let AnnotatedPaths { paths, unknown } = found;
        assert_eq!(paths.iter().map(MetricsPath::as_str).collect::<Vec<_>>(), ["/m", "/metrics"]);
        assert_eq!(unknown, 1);
    }
}
