//! Finds the target of a job among the usual deployments in a cluster. Pure: the caller passes the objects.

use super::{Endpoint, Job, UnresolvedJob, pod::NODE_EXPORTERS};
use crate::{
    error::{Error, Reason, Result},
    model::text::names::Namespace,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The lists to read, and one label selector for each request.
pub struct Question {
    pub searched: Searched,
    pub selectors: Vec<String>,
}

/// The kind of objects that show the place of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Searched {
    Services,
    DaemonSets,
}

/// The label of the Service that the Prometheus Operator makes in each namespace for all its Prometheus.
const OPERATED: &str = "operated-prometheus";

/// The lists to read for a job; none for annotated pods.
pub fn question(unresolved: &UnresolvedJob) -> Option<Question> {
    let (searched, selectors) = match unresolved {
        // The labels of kube-prometheus and the charts, then those of the older example manifests.
        UnresolvedJob::KubeStateMetrics => (
            Searched::Services,
            vec!["app.kubernetes.io/name=kube-state-metrics".to_owned(), "k8s-app=kube-state-metrics".to_owned()],
        ),
        UnresolvedJob::Federate => {
            (Searched::Services, vec!["app.kubernetes.io/name=prometheus".to_owned(), format!("{OPERATED}=true")])
        }
        UnresolvedJob::NodeExporter => {
            let names = NODE_EXPORTERS.join(",");
            let labels = crate::model::job::pod::APP_LABELS.map(|label| format!("{label} in ({names})"));
            (Searched::DaemonSets, labels.to_vec())
        }
        UnresolvedJob::Pods(_) => return None,
    };
    Some(Question { searched, selectors })
}

/// The names of ports that serve metrics, the best first. kube-prometheus puts kube-rbac-proxy in front of
/// `https-main`, which the proof then reports.
const METRICS_PORTS: [&str; 4] = ["http-metrics", "http", "metrics", "https-main"];
const PROMETHEUS_PORTS: [&str; 3] = ["web", "http-web", "http"];

/// The jobs for the objects that were found, each once.
fn candidates(unresolved: &UnresolvedJob, found: &[Value]) -> Vec<Job> {
    let jobs: BTreeSet<Job> = match unresolved {
        UnresolvedJob::KubeStateMetrics => {
            found.iter().flat_map(|service| endpoints(service, &METRICS_PORTS)).map(Job::KubeStateMetrics).collect()
        }
        UnresolvedJob::Federate => of_prometheus(found).into_iter().map(Job::Federate).collect(),
        UnresolvedJob::NodeExporter => found.iter().flat_map(node_exporters).collect(),
        UnresolvedJob::Pods(_) => BTreeSet::new(),
    };
    jobs.into_iter().collect()
}

/// As many candidates a person reads; the error has their number.
const SHOWN: usize = 10;

/// The only candidate.
///
/// # Errors
/// [`Reason::TargetNotFound`]; [`Reason::TargetUnclear`], with a value of `--jobs` for each of the first candidates.
pub fn choose(unresolved: &UnresolvedJob, found: &[Value]) -> Result<Job> {
    let mut candidates = candidates(unresolved, found);
    if candidates.len() == 1 {
        return Ok(candidates.remove(0));
    }
    if candidates.is_empty() {
        let labels = question(unresolved).map(|question| question.selectors.join(" or ")).unwrap_or_default();
        let kind = if *unresolved == UnresolvedJob::NodeExporter { "DaemonSet" } else { "Service" };
        return Err(Error::new(
            Reason::TargetNotFound,
            format!("{unresolved}: no {kind} in the cluster has the label {labels} and a port"),
        )
        .hint(format!("If its name differs, write: --jobs={}", unresolved.in_full())));
    }
    let error =
        Error::new(Reason::TargetUnclear, format!("{unresolved}: {} candidates in the cluster", candidates.len()));
    Err(candidates.into_iter().take(SHOWN).fold(error, |error, job| error.hint(format!("Choose one: --jobs={job}"))))
}

/// The Operator's Service covers all Prometheus of a namespace, so a separate Service is preferred.
fn of_prometheus(services: &[Value]) -> Vec<Endpoint> {
    let mut by_namespace: BTreeMap<Namespace, (Vec<Endpoint>, Vec<Endpoint>)> = BTreeMap::new();
    for service in services {
        let is_operated = service["metadata"]["labels"][OPERATED] == "true";
        for endpoint in endpoints(service, &PROMETHEUS_PORTS) {
            let (own, operated) = by_namespace.entry(endpoint.namespace().clone()).or_default();
            if is_operated { operated } else { own }.push(endpoint);
        }
    }
    by_namespace.into_values().flat_map(|(own, operated)| if own.is_empty() { operated } else { own }).collect()
}

/// The best port of a Service, or all ports if no name is known.
pub fn endpoints(service: &Value, preferred: &[&str]) -> Vec<Endpoint> {
    let metadata = &service["metadata"];
    let (Some(name), Some(Ok(namespace))) =
        (metadata["name"].as_str(), metadata["namespace"].as_str().map(str::parse::<Namespace>))
    else {
        return Vec::new();
    };
    // The API server does not forward requests to an external name.
    if service["spec"]["type"] == "ExternalName" {
        return Vec::new();
    }
    let ports: Vec<(String, bool)> = service["spec"]["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|port| port["protocol"].as_str().is_none_or(|protocol| protocol == "TCP"))
        .filter_map(|port| {
            let number = port["port"].as_u64()?;
            let name = port["name"].as_str().filter(|name| !name.is_empty());
            let https = name.is_some_and(|name| name.starts_with("https")) || matches!(number, 443 | 8443);
            Some((name.map_or_else(|| number.to_string(), str::to_owned), https))
        })
        .collect();
    let best = preferred.iter().find_map(|name| ports.iter().find(|(port, _)| port == name));
    let chosen = best.map_or_else(|| ports.clone(), |best| vec![best.clone()]);
    chosen.iter().filter_map(|(port, https)| Endpoint::new(namespace.clone(), name, port, *https)).collect()
}

fn node_exporters(daemon_set: &Value) -> Vec<Job> {
    let Some(Ok(namespace)) = daemon_set["metadata"]["namespace"].as_str().map(str::parse::<Namespace>) else {
        return Vec::new();
    };
    let containers = daemon_set["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
    let ports: Vec<(&str, u16)> = containers
        .flat_map(|container| container["ports"].as_array().into_iter().flatten())
        .filter_map(|port| {
            let number = port["containerPort"].as_u64().and_then(|number| u16::try_from(number).ok())?;
            Some((port["name"].as_str().unwrap_or_default(), number))
        })
        .collect();
    let best = METRICS_PORTS.iter().find_map(|name| ports.iter().find(|(port, _)| port == name));
    let chosen = best.map_or_else(|| ports.clone(), |best| vec![*best]);
    chosen.into_iter().map(|(_, port)| Job::NodeExporter(namespace.clone(), port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(namespace: &str, name: &str, ports: &[(&str, u16)]) -> Value {
        let ports: Vec<Value> = ports.iter().map(|(name, port)| json!({ "name": name, "port": port })).collect();
        json!({ "metadata": { "namespace": namespace, "name": name }, "spec": { "ports": ports } })
    }

    fn operated(namespace: &str) -> Value {
        let mut service = service(namespace, "prometheus-operated", &[("web", 9090), ("grpc", 10901)]);
        service["metadata"]["labels"] = json!({ OPERATED: "true" });
        service
    }

    fn daemon_set(namespace: &str, ports: &[(&str, u16)]) -> Value {
        let ports: Vec<Value> =
            ports.iter().map(|(name, port)| json!({ "name": name, "containerPort": port })).collect();
        json!({
            "metadata": { "namespace": namespace, "name": "n" },
            "spec": { "template": { "spec": { "containers": [{ "ports": ports }] } } },
        })
    }

    fn outcome(unresolved: &UnresolvedJob, found: &[Value]) -> String {
        match choose(unresolved, found) {
            Ok(job) => job.to_string(),
            Err(error) => format!("{}: {error}\n{}", error.reason, error.hints.join("\n")),
        }
    }

    #[test]
    fn usual_deployments_are_found() {
        use UnresolvedJob::{Federate, KubeStateMetrics, NodeExporter};
        for (unresolved, found, job) in [
            (
                KubeStateMetrics,
                vec![service("kube-system", "kube-state-metrics", &[("http-metrics", 8080), ("telemetry", 8081)])],
                "kube-state-metrics=kube-system/kube-state-metrics:http-metrics",
            ),
            (
                KubeStateMetrics,
                vec![service("m", "ksm", &[("https-main", 8443), ("https-self", 9443)])],
                "kube-state-metrics=m/https:ksm:https-main",
            ),
            (KubeStateMetrics, vec![service("m", "ksm", &[("", 8080)])], "kube-state-metrics=m/ksm:8080"),
            // One Service that matches two labels.
            (
                KubeStateMetrics,
                vec![service("m", "ksm", &[("http", 80)]), service("m", "ksm", &[("http", 80)])],
                "kube-state-metrics=m/ksm:http",
            ),
            (
                Federate,
                vec![operated("m"), service("m", "prometheus-k8s", &[("web", 9090), ("reloader-web", 8080)])],
                "federate=m/prometheus-k8s:web",
            ),
            (Federate, vec![operated("m")], "federate=m/prometheus-operated:web"),
            (NodeExporter, vec![daemon_set("m", &[("metrics", 9100)])], "node-exporter=m:9100"),
            (NodeExporter, vec![daemon_set("m", &[("", 9101)])], "node-exporter=m:9101"),
        ] {
            assert_eq!(outcome(&unresolved, &found), job);
        }
    }

    #[test]
    fn unclear_target_lists_the_candidates() {
        let two = [service("a", "prometheus", &[("web", 9090)]), operated("b")];
        insta::assert_snapshot!(outcome(&UnresolvedJob::Federate, &two), @"
        TargetUnclear: federate: 2 candidates in the cluster
        Choose one: --jobs=federate=a/prometheus:web
        Choose one: --jobs=federate=b/prometheus-operated:web
        ");
        insta::assert_snapshot!(outcome(&UnresolvedJob::KubeStateMetrics, &[service("a", "ksm", &[("x", 1), ("y", 2)])]), @"
        TargetUnclear: kube-state-metrics: 2 candidates in the cluster
        Choose one: --jobs=kube-state-metrics=a/ksm:x
        Choose one: --jobs=kube-state-metrics=a/ksm:y
        ");
        insta::assert_snapshot!(outcome(&UnresolvedJob::NodeExporter, &[]), @"
        TargetNotFound: node-exporter: no DaemonSet in the cluster has the label app.kubernetes.io/name in (node-exporter,prometheus-node-exporter) or k8s-app in (node-exporter,prometheus-node-exporter) or app in (node-exporter,prometheus-node-exporter) and a port
        If its name differs, write: --jobs=node-exporter=NAMESPACE
        ");
        let external = json!({ "metadata": { "namespace": "a", "name": "p" }, "spec": { "type": "ExternalName", "ports": [{ "port": 80 }] } });
        for nothing in [external, json!(null), json!({ "metadata": { "namespace": "../a", "name": "p" } })] {
            assert!(outcome(&UnresolvedJob::Federate, &[nothing]).starts_with("TargetNotFound"));
        }
    }
}
