//! The pods of a namespace.

use super::{
    panel::{Key, Section, always, lines, table, with},
    variable::Variable,
};

pub(super) fn variables() -> Vec<Variable> {
    vec![Variable::DataSource, Variable::cluster(), Variable::namespace(), Variable::pod()]
}

pub(super) fn sections() -> Vec<Section> {
    let key = |label, title, url| Key { label, title, url };
    let keys = vec![
        key("namespace", "Namespace", None),
        key(
            "pod",
            "Pod",
            Some(
                "/d/prom-federate-pods?${datasource:queryparam}&${cluster:queryparam}&${namespace:queryparam}&var-pod=${__value.raw}&${__url_time_range}",
            ),
        ),
        key(
            "node",
            "Node",
            Some(
                "/d/prom-federate-nodes?${datasource:queryparam}&${cluster:queryparam}&var-node=${__value.raw}&${__url_time_range}",
            ),
        ),
    ];
    vec![
        always(vec![
            lines("CPU by pod", "none", &[(
                r#"sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",container!="POD",metrics_path="/metrics/cadvisor"}[5m]))"#,
                "{{namespace}}/{{pod}}",
            )])
            .about("Cores in use."),
            lines("Memory by pod", "bytes", &[(
                r#"sum by (namespace, pod) (container_memory_working_set_bytes{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",container!="POD",metrics_path="/metrics/cadvisor"})"#,
                "{{namespace}}/{{pod}}",
            )])
            .about("The working set, by which the kubelet evicts pods."),
            lines("Memory by container, without caches", "bytes", &[(
                r#"sum by (namespace, pod, container) (container_memory_rss{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",container!="POD",metrics_path="/metrics/cadvisor"})"#,
                "{{namespace}}/{{pod}} {{container}}",
            )]),
            lines("Time in which the CPU limit held a container back", "percentunit", &[(
                r#"sum by (namespace, pod, container) (rate(container_cpu_cfs_throttled_periods_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",metrics_path="/metrics/cadvisor"}[5m])) / sum by (namespace, pod, container) (rate(container_cpu_cfs_periods_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",metrics_path="/metrics/cadvisor"}[5m]) > 0)"#,
                "{{namespace}}/{{pod}} {{container}}",
            )]),
            lines("Received", "Bps", &[(
                r#"sum by (namespace, pod) (rate(container_network_receive_bytes_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",metrics_path="/metrics/cadvisor"}[5m]))"#,
                "{{namespace}}/{{pod}}",
            )]),
            lines("Sent", "Bps", &[(
                r#"sum by (namespace, pod) (rate(container_network_transmit_bytes_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",metrics_path="/metrics/cadvisor"}[5m]))"#,
                "{{namespace}}/{{pod}}",
            )]),
            lines("Killed for want of memory in an hour", "none", &[(
                r#"sum by (namespace, pod, container) (increase(container_oom_events_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",metrics_path="/metrics/cadvisor"}[1h]))"#,
                "{{namespace}}/{{pod}} {{container}}",
            )]),
            lines("Processes", "none", &[(
                r#"sum by (namespace, pod) (container_processes{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",container!="POD",metrics_path="/metrics/cadvisor"})"#,
                "{{namespace}}/{{pod}}",
            )]),
            table("Pods", keys, &[
                ("CPU cores used", "short", r#"sum by (namespace, pod, node) (rate(container_cpu_usage_seconds_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",container!="POD",metrics_path="/metrics/cadvisor"}[5m]))"#),
                ("Memory used", "bytes", r#"sum by (namespace, pod, node) (container_memory_working_set_bytes{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",container!="POD",metrics_path="/metrics/cadvisor"})"#),
                ("Containers", "none", r#"count by (namespace, pod, node) (container_memory_working_set_bytes{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",container!="POD",metrics_path="/metrics/cadvisor"})"#),
            ]),
        ]),
        with("With --jobs probes", vec![
            lines("Probes that failed in an hour", "none", &[(
                r#"sum by (namespace, pod, container, probe_type) (increase(prober_probe_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",metrics_path="/metrics/probes",result="failed"}[1h]))"#,
                "{{namespace}}/{{pod}} {{container}} {{probe_type}}",
            )]),
            lines("99 % of probes take at most", "s", &[(
                r#"histogram_quantile(0.99, sum by (le, namespace, pod, container, probe_type) (rate(prober_probe_duration_seconds_bucket{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",metrics_path="/metrics/probes"}[5m])))"#,
                "{{namespace}}/{{pod}} {{container}} {{probe_type}}",
            )]),
        ]),
        with("With --jobs kube-state-metrics", vec![
            lines("CPU used of the limit", "percentunit", &[(
                r#"sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",container!="POD",metrics_path="/metrics/cadvisor"}[5m])) / sum by (namespace, pod) (kube_pod_container_resource_limits{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",resource="cpu"})"#,
                "{{namespace}}/{{pod}}",
            )]),
            lines("Memory used of the limit", "percentunit", &[(
                r#"sum by (namespace, pod) (container_memory_working_set_bytes{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",container!="",container!="POD",metrics_path="/metrics/cadvisor"}) / sum by (namespace, pod) (kube_pod_container_resource_limits{cluster="$cluster",namespace=~"$namespace",pod=~"$pod",resource="memory"})"#,
                "{{namespace}}/{{pod}}",
            )]),
            lines("Restarts in an hour", "none", &[(
                r#"sum by (namespace, pod, container) (increase(kube_pod_container_status_restarts_total{cluster="$cluster",namespace=~"$namespace",pod=~"$pod"}[1h]))"#,
                "{{namespace}}/{{pod}} {{container}}",
            )]),
            lines("Containers that wait", "none", &[(
                r#"sum by (namespace, pod, reason) (kube_pod_container_status_waiting_reason{cluster="$cluster",namespace=~"$namespace",pod=~"$pod"})"#,
                "{{namespace}}/{{pod}} {{reason}}",
            )]),
        ]),
    ]
}
