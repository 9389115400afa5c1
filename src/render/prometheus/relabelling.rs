//! The relabelling of one job: address, path and labels of its targets, and of its samples.

use super::{ScrapeJobs, drops};
use crate::{
    model::job::{Endpoint, Job, pod, target::Target},
    yaml,
};
use std::fmt::Write;

/// Doubles each dollar, because a replacement is a template.
pub(super) fn literal(value: &str) -> String {
    yaml::quoted(&value.replace('$', "$$"))
}

/// The address of the requests: the API server, or the discovered address of a kubelet.
pub(super) fn address(text: &mut String, jobs: ScrapeJobs, target: &Target) {
    let address = literal(&jobs.access.url.address());
    let api_server = format!("  - {{target_label: __address__, replacement: {address}}}\n");
    // A kubelet that reports no port has the default port.
    let with_port =
        "  - {source_labels: [__address__], regex: '(.+):0', target_label: __address__, replacement: '${1}:10250'}\n";
    match target {
        Target::Kubelets { .. } => *text += with_port,
        Target::PinnedNodes { .. } => {
            let path = path(jobs, target, "${1}:${2}");
            // The port is in the discovered address, which a later rule replaces with the API server's.
            let _ = write!(
                text,
                "{with_port}  - {{source_labels: [__meta_kubernetes_node_name, __address__], regex: '(.+);.+:(\\d+)', target_label: __metrics_path__, replacement: {path}}}
{api_server}"
            );
        }
        _ => *text += &api_server,
    }
}

/// `__metrics_path__`, quoted.
fn path(jobs: ScrapeJobs, target: &Target, subject: &str) -> String {
    let prefix = if let Target::Kubelets { .. } = target { "" } else { jobs.access.url.prefix() };
    yaml::quoted(&format!("{}{}", prefix.replace('$', "$$"), target.page(subject)))
}

/// The selection of targets, their path, and the labels that distinguish them.
pub(super) fn targets(text: &mut String, jobs: ScrapeJobs, job: &Job, target: &Target) {
    let path = path(jobs, target, "${1}");
    match target {
        Target::Nodes { .. } => {
            let _ = writeln!(
                text,
                "  - {{source_labels: [__meta_kubernetes_node_name], target_label: __metrics_path__, replacement: {path}}}"
            );
        }
        Target::Kubelets { .. } => {
            let _ = writeln!(text, "  - {{target_label: __metrics_path__, replacement: {path}}}");
        }
        _ => {}
    }
    match job {
        Job::Cadvisor | Job::Kubelet | Job::Resource | Job::Probes | Job::KubeletSlis => {
            let _ = write!(
                text,
                "  - {{source_labels: [__meta_kubernetes_node_name], target_label: node}}
  - {{source_labels: [__meta_kubernetes_node_name], target_label: instance}}
"
            );
        }
        Job::Apiserver | Job::ApiserverSlis | Job::Aggregated(_) => {
            static_target(text, &path, &jobs.access.url.address());
        }
        // kube-prometheus has no more labels here: the namespaces and Services on the page are those of other objects.
        Job::KubeStateMetrics(endpoint) | Job::Federate(endpoint) => static_target(text, &path, &endpoint.instance()),
        Job::Service(endpoint, _) => {
            static_target(text, &path, &endpoint.instance());
            service_labels(text, endpoint);
        }
        Job::NodeExporter(_, port) => {
            let labels: Vec<String> =
                pod::APP_LABELS.iter().map(|label| format!("{POD}label_{}", meta(label))).collect();
            let _ = write!(
                text,
                "  - {{action: keep, source_labels: [{labels}], regex: '(.*;)?({names})(;.*)?'}}
  - {{action: keep, source_labels: [{POD}phase], regex: Running}}
  - {{action: keep, source_labels: [{POD}container_port_number], regex: '{port}'}}
  - {{source_labels: [{POD}name, {POD}container_port_number], separator: ':', target_label: __metrics_path__, replacement: {path}}}
  - {{source_labels: [{POD}node_name], target_label: node}}
  - {{source_labels: [{POD}name, {POD}container_port_number], separator: ':', target_label: instance}}
  - {{source_labels: [{POD}node_name], regex: '(.+)', target_label: instance}}
",
                labels = labels.join(", "),
                names = pod::NODE_EXPORTERS.join("|"),
            );
            pod_labels(text);
        }
        Job::Pods(_, annotated) => {
            let annotation = |key: &str| format!("{POD}annotation_{}", meta(key));
            let (scrape, port) = (annotation(pod::SCRAPE), annotation(pod::PORT));
            let (at, scheme) = (annotation(pod::PATH), annotation(pod::SCHEME));
            // A missing annotation means the default path.
            let usual = if annotated.as_str() == "/metrics" { "()|" } else { "" };
            let _ = write!(
                text,
                "  - {{action: keep, source_labels: [{scrape}], regex: 'true'}}
  - {{action: keep, source_labels: [{POD}phase], regex: Running}}
  - {{action: keep, source_labels: [{at}], regex: '{usual}{regex}'}}
  - {{source_labels: [{port}, {POD}container_port_number], regex: '(\\d+);.*|.*;(\\d+)', target_label: __tmp_port, replacement: '${{1}}${{2}}'}}
  - {{action: keep, source_labels: [__tmp_port], regex: '\\d+'}}
  - {{source_labels: [{POD}name, __tmp_port], separator: ':', target_label: __tmp_pod}}
  - {{source_labels: [__tmp_pod], target_label: instance}}
  # The scheme of the target is part of its name; __scheme__ is the scheme of the API server.
  - {{source_labels: [{scheme}, __tmp_pod], regex: 'https;(.+)', target_label: __tmp_pod, replacement: 'https:${{1}}'}}
  - {{source_labels: [__tmp_pod], target_label: __metrics_path__, replacement: {path}}}
",
                regex = annotated.as_str().replace('.', "\\."),
            );
            pod_labels(text);
        }
    }
}

const POD: &str = "__meta_kubernetes_pod_";

/// The name of a label or annotation in Prometheus (`util/strutil`, `SanitizeLabelName`).
fn meta(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn static_target(text: &mut String, path: &str, instance: &str) {
    let _ = writeln!(text, "  - {{target_label: __metrics_path__, replacement: {path}}}");
    let _ = writeln!(text, "  - {{target_label: instance, replacement: {}}}", literal(instance));
}

fn service_labels(text: &mut String, endpoint: &Endpoint) {
    for (label, value) in [("namespace", endpoint.namespace().as_str()), ("service", endpoint.service())] {
        let _ = writeln!(text, "  - {{target_label: {label}, replacement: {}}}", literal(value));
    }
}

fn pod_labels(text: &mut String) {
    let _ = writeln!(text, "  - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}");
    let _ = writeln!(text, "  - {{source_labels: [{POD}name], target_label: pod}}");
}

pub(super) fn metrics(text: &mut String, jobs: ScrapeJobs, job: &Job) {
    let drops = if jobs.request.keep_all_metrics { &[] } else { drops::of(job) };
    if !drops.is_empty() {
        *text += "  metric_relabel_configs:\n";
    }
    for (labels, regex) in drops {
        let _ = writeln!(text, "  - {{action: drop, source_labels: [{labels}], regex: '{regex}'}}");
    }
    if job.honors_labels() {
        let cluster = literal(jobs.request.cluster.as_str());
        let _ = write!(
            text,
            "  metric_relabel_configs:
  # The page's own labels win, except for this one.
  - {{target_label: cluster, replacement: {cluster}}}
"
        );
    }
    if matches!(job, Job::Federate(_)) {
        *text += "  # Remove the label from federated series; up of this job keeps it.
  - {source_labels: [metrics_path], regex: /federate, target_label: metrics_path, replacement: ''}
";
    }
}
