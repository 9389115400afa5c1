//! The drop list of each job: series that neither kube-prometheus' rules and dashboards nor the public dashboards named in
//! docs/dashboards.md ask for, and that are many. Reasons and numbers: docs/decisions/drop-lists.md.

use crate::model::job::Job;

/// Source labels, and the regular expression of their values joined by `;`.
type Drop = (&'static str, &'static str);

/// In the order in which they are written; empty for pages that are small or whose owner chooses what is on them.
pub(super) fn of(job: &Job) -> &'static [Drop] {
    match job {
        Job::Cadvisor => CADVISOR,
        Job::Kubelet => KUBELET,
        Job::Apiserver => APISERVER,
        Job::KubeletSlis | Job::ApiserverSlis => SLIS,
        Job::NodeExporter(..) => NODE_EXPORTER,
        Job::Resource
        | Job::Probes
        | Job::Aggregated(_)
        | Job::KubeStateMetrics(_)
        | Job::Service(..)
        | Job::Pods(..)
        | Job::Federate(_) => &[],
    }
}

/// The series that kube-prometheus-stack drops by default (its values.yaml, `cAdvisorMetricRelabelings`), except those
/// that its own dashboards ask for: swap, and the seconds of throttling. The root cgroup stays, because it has the node's
/// own CPU and memory, but not its interfaces to the pods, of which networks make one for each pod.
const CADVISOR: &[Drop] = &[
    ("__name__", "container_cpu_(load_average_10s|load_d_average_10s|system_seconds_total|user_seconds_total)"),
    (
        "__name__",
        "container_fs_(io_current|io_time_seconds_total|io_time_weighted_seconds_total|reads_merged_total|sector_reads_total|sector_writes_total|writes_merged_total)",
    ),
    ("__name__", "container_(memory_mapped_file|file_descriptors|tasks_state|threads_max|spec_.*)"),
    ("__name__, scope", "container_memory_failures_total;hierarchy"),
    (
        "__name__, interface",
        "container_network_.*;([0-9a-f]{15}|(azv|cali|cilium|cni|eni|gke|lxc|nodelocaldns|tunl|veth).*)",
    ),
    ("id, pod", "/.+;"),
];
/// What the libraries of every component say of themselves, and histograms that nothing asks for: the more pods and volumes,
/// the more they are.
const KUBELET: &[Drop] = &[
    ("__name__", OF_THE_RUNTIME),
    (
        "__name__",
        "(apiserver|authentication|authorization|kubelet_evented_pleg|kubelet_http|kubelet_topology_manager|workqueue)_.+",
    ),
    (
        "__name__",
        "(csi_operations_seconds|kubelet_containers_per_pod_count|kubelet_image_pull_duration_seconds|kubelet_pleg_pod_relist_duration_seconds|kubelet_pod_status_sync_duration_seconds|kubelet_pod_worker_start_duration_seconds|rest_client_rate_limiter_duration_seconds|rest_client_request_size_bytes|rest_client_response_size_bytes|volume_operation_total_seconds)_bucket",
    ),
];
/// Goroutines and threads stay.
const OF_THE_RUNTIME: &str = "go_(cgo|cpu|gc|godebug|memory|memstats|sched|sync)_.+|(disabled|hidden|registered)_metrics_total|kubernetes_feature_enabled";
/// Histograms whose buckets are most of the page. The request latencies keep some: 1, 5 and 30 seconds are the service
/// level objectives by which kube-prometheus alerts.
const APISERVER: &[Drop] = &[
    ("__name__, le", THINNED),
    (
        "__name__",
        "apiserver_watch_(cache_initialization_duration_seconds|cache_read_wait_seconds|events_dispatch_duration_seconds|events_sizes|list_duration_seconds)_(bucket|count|sum)",
    ),
    (
        "__name__",
        "apiserver_(admission_controller_admission_duration_seconds|admission_step_admission_duration_seconds|flowcontrol_.+|request_body_size_bytes|request_filter_duration_seconds|response_sizes)_bucket",
    ),
    (
        "__name__",
        "(field_validation_request_duration_seconds|informer_processing_latency_seconds|rest_client_request_size_bytes|rest_client_response_size_bytes|workqueue_work_duration_seconds)_bucket",
    ),
    ("__name__", OF_THE_RUNTIME),
];
/// The buckets at 0.05, 0.1, 0.4, 1, 2, 5, 10, 30 and 60 seconds stay.
const THINNED: &str = "(apiserver_request|apiserver_request_sli|apiserver_request_slo|etcd_request)_duration_seconds_bucket;(0\\.005|0\\.025|0\\.15|0\\.2|0\\.25|0\\.3|0\\.35|0\\.45|0\\.5|0\\.6|0\\.7|0\\.8|0\\.9|1\\.25|1\\.5|1\\.75|2\\.5|3|3\\.5|4|4\\.5|6|7|8|9|15|20|25|40|45|50)(\\.0)?";
/// Every page of the process has it.
const SLIS: &[Drop] = &[("__name__", "process_start_time_seconds")];
/// Interfaces and mounts of pods, as kube-prometheus has node-exporter leave them out by its flags, the numbers by which the
/// kernel knows an interface, and what the exporter says of its own runtime.
const NODE_EXPORTER: &[Drop] = &[
    ("__name__", "(go|promhttp)_.+"),
    (
        "__name__",
        "node_network_(address_assign_type|device_id|dormant|flags|iface_id|iface_link|iface_link_mode|name_assign_type|net_dev_group|protocol_type)",
    ),
    (
        "__name__, device",
        "node_(arp_entries|network_.+);([0-9a-f]{15}|(azv|cali|cilium|cni|eni|gke|lxc|nodelocaldns|tunl|veth).*)",
    ),
    ("__name__, mountpoint", "node_filesystem_.+;/(run/containerd|run/k3s/containerd|var/lib/kubelet/pods)/.+"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;
    use std::collections::BTreeMap;

    /// By the first rule that matches, as Prometheus does: all of the joined values.
    fn is_dropped(job: &Job, name: &str, labels: &[(&str, &str)]) -> bool {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().chain([("__name__", name)]).collect();
        of(job).iter().any(|(sources, regex)| {
            let values: Vec<&str> =
                sources.split(", ").map(|source| labels.get(source).copied().unwrap_or_default()).collect();
            Regex::new(&format!("^(?s:{regex})$")).unwrap().is_match(&values.join(";"))
        })
    }

    #[test]
    fn drop_lists_spare_what_dashboards_ask_for() {
        use Job::{Apiserver, Cadvisor, Kubelet};
        let exporter = Job::NodeExporter("monitoring".parse().unwrap(), 9100);
        let pod = ("pod", "web");
        for (job, name, labels, dropped) in [
            (&Cadvisor, "container_cpu_usage_seconds_total", &[("id", "/")][..], false),
            (&Cadvisor, "container_cpu_usage_seconds_total", &[("id", "/system.slice")], true),
            (&Cadvisor, "container_cpu_usage_seconds_total", &[("id", "/kubepods/x"), pod], false),
            (&Cadvisor, "container_cpu_user_seconds_total", &[("id", "/kubepods/x"), pod], true),
            (&Cadvisor, "container_memory_swap", &[("id", "/kubepods/x"), pod], false),
            (&Cadvisor, "container_cpu_cfs_throttled_seconds_total", &[("id", "/kubepods/x"), pod], false),
            (&Cadvisor, "container_memory_failures_total", &[("id", "/"), ("scope", "container")], false),
            (&Cadvisor, "container_memory_failures_total", &[("id", "/"), ("scope", "hierarchy")], true),
            (&Cadvisor, "container_pressure_cpu_waiting_seconds_total", &[("id", "/")], false),
            (&Cadvisor, "container_network_receive_bytes_total", &[("id", "/"), ("interface", "eth0")], false),
            (&Cadvisor, "container_network_receive_bytes_total", &[("id", "/"), ("interface", "ens5")], false),
            (&Cadvisor, "container_network_receive_bytes_total", &[("id", "/"), ("interface", "eni0a1b2c3d4e5")], true),
            (&Cadvisor, "container_network_transmit_errors_total", &[("id", "/"), ("interface", "azvd1e2f3")], true),
            (&Cadvisor, "container_network_receive_bytes_total", &[pod, ("interface", "cali1234")], true),
            (
                &Cadvisor,
                "container_network_receive_bytes_total",
                &[("id", "/"), ("interface", "0123456789abcde")],
                true,
            ),
            (&Cadvisor, "machine_cpu_cores", &[], false),
            (&Kubelet, "kubelet_running_pods", &[], false),
            (&Kubelet, "kubelet_pleg_relist_duration_seconds_bucket", &[("le", "1")], false),
            (&Kubelet, "kubelet_volume_stats_used_bytes", &[], false),
            (&Kubelet, "storage_operation_duration_seconds_bucket", &[("le", "1")], false),
            (&Kubelet, "rest_client_requests_total", &[], false),
            (&Kubelet, "go_goroutines", &[], false),
            (&Kubelet, "go_memstats_alloc_bytes", &[], true),
            (&Kubelet, "workqueue_queue_duration_seconds_bucket", &[("le", "1")], true),
            (&Apiserver, "workqueue_queue_duration_seconds_bucket", &[("le", "1")], false),
            (&Apiserver, "apiserver_request_sli_duration_seconds_bucket", &[("le", "1")], false),
            (&Apiserver, "apiserver_request_sli_duration_seconds_bucket", &[("le", "5.0")], false),
            (&Apiserver, "apiserver_request_sli_duration_seconds_bucket", &[("le", "30")], false),
            (&Apiserver, "apiserver_request_sli_duration_seconds_bucket", &[("le", "+Inf")], false),
            (&Apiserver, "apiserver_request_duration_seconds_bucket", &[("le", "3.0")], true),
            (&Apiserver, "apiserver_request_duration_seconds_bucket", &[("le", "0.05")], false),
            (&Apiserver, "apiserver_watch_events_sizes_sum", &[], true),
            (&Apiserver, "apiserver_client_certificate_expiration_seconds_bucket", &[("le", "1800")], false),
            (&Apiserver, "apiserver_admission_webhook_admission_duration_seconds_bucket", &[("le", "1")], false),
            (&Job::KubeletSlis, "kubernetes_healthcheck", &[], false),
            (&exporter, "node_network_receive_bytes_total", &[("device", "ens5")], false),
            (&exporter, "node_network_receive_bytes_total", &[("device", "veth1a2b")], true),
            (&exporter, "node_network_up", &[("device", "ens5")], false),
            (&exporter, "node_network_iface_link", &[("device", "ens5")], true),
            (&exporter, "node_filesystem_avail_bytes", &[("mountpoint", "/var/lib/kubelet")], false),
            (&exporter, "node_filesystem_avail_bytes", &[("mountpoint", "/var/lib/kubelet/pods/u/volumes/x")], true),
        ] {
            assert_eq!(is_dropped(job, name, labels), dropped, "{job}: {name} {labels:?}");
        }
    }
}
