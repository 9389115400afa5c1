//! One cluster.

use super::{
    panel::{Key, Section, always, lines, stat, table, with},
    variable::Variable,
};

pub(super) fn variables() -> Vec<Variable> {
    vec![Variable::DataSource, Variable::cluster()]
}

pub(super) fn sections() -> Vec<Section> {
    let key = |label, title, url| Key { label, title, url: Some(url) };
    let node = key(
        "node",
        "Node",
        "/d/prom-federate-nodes?${datasource:queryparam}&${cluster:queryparam}&var-node=${__value.raw}&${__url_time_range}",
    );
    let namespace = key(
        "namespace",
        "Namespace",
        "/d/prom-federate-pods?${datasource:queryparam}&${cluster:queryparam}&var-namespace=${__value.raw}&${__url_time_range}",
    );
    vec![
        always(vec![
            stat("Nodes", "none", r#"count(count by (node) (up{cluster="$cluster",node!=""}))"#),
            stat("Targets down", "none", r#"sum(scrape_samples_scraped{cluster="$cluster"} == bool 0)"#),
            stat("CPU used", "percentunit", r#"sum(rate(container_cpu_usage_seconds_total{cluster="$cluster",id="/",metrics_path="/metrics/cadvisor"}[5m])) / sum(machine_cpu_cores{cluster="$cluster",metrics_path="/metrics/cadvisor"})"#),
            stat("Memory used", "percentunit", r#"sum(container_memory_working_set_bytes{cluster="$cluster",id="/",metrics_path="/metrics/cadvisor"}) / sum(machine_memory_bytes{cluster="$cluster",metrics_path="/metrics/cadvisor"})"#),
            stat("Pods running", "none", r#"sum(kubelet_running_pods{cluster="$cluster",metrics_path="/metrics"})"#),
            stat("Containers running", "none", r#"sum(kubelet_running_containers{cluster="$cluster",metrics_path="/metrics",container_state="running"})"#),
            lines("CPU by namespace", "none", &[(
                r#"sum by (namespace) (rate(container_cpu_usage_seconds_total{cluster="$cluster",metrics_path="/metrics/cadvisor",container!="",container!="POD"}[5m]))"#,
                "{{namespace}}",
            )])
            .about("Cores in use."),
            lines("Memory by namespace", "bytes", &[(
                r#"sum by (namespace) (container_memory_working_set_bytes{cluster="$cluster",metrics_path="/metrics/cadvisor",container!="",container!="POD"})"#,
                "{{namespace}}",
            )]),
            table("Nodes", vec![node], &[
                ("CPU cores", "none", r#"sum by (node) (machine_cpu_cores{cluster="$cluster",metrics_path="/metrics/cadvisor"})"#),
                ("CPU used", "percentunit", r#"sum by (node) (rate(container_cpu_usage_seconds_total{cluster="$cluster",id="/",metrics_path="/metrics/cadvisor"}[5m])) / sum by (node) (machine_cpu_cores{cluster="$cluster",metrics_path="/metrics/cadvisor"})"#),
                ("Memory", "bytes", r#"sum by (node) (machine_memory_bytes{cluster="$cluster",metrics_path="/metrics/cadvisor"})"#),
                ("Memory used", "percentunit", r#"sum by (node) (container_memory_working_set_bytes{cluster="$cluster",id="/",metrics_path="/metrics/cadvisor"}) / sum by (node) (machine_memory_bytes{cluster="$cluster",metrics_path="/metrics/cadvisor"})"#),
                ("Pods", "none", r#"sum by (node) (kubelet_running_pods{cluster="$cluster",metrics_path="/metrics"})"#),
                ("Pages up", "none", r#"sum by (node) (scrape_samples_scraped{cluster="$cluster",node!=""} > bool 0)"#),
            ]),
            table("Namespaces", vec![namespace], &[
                ("Pods", "none", r#"count by (namespace) (count by (namespace, pod) (container_memory_working_set_bytes{cluster="$cluster",metrics_path="/metrics/cadvisor",pod!=""}))"#),
                ("CPU cores used", "short", r#"sum by (namespace) (rate(container_cpu_usage_seconds_total{cluster="$cluster",metrics_path="/metrics/cadvisor",container!="",container!="POD"}[5m]))"#),
                ("Memory used", "bytes", r#"sum by (namespace) (container_memory_working_set_bytes{cluster="$cluster",metrics_path="/metrics/cadvisor",container!="",container!="POD"})"#),
                ("Received", "Bps", r#"sum by (namespace) (rate(container_network_receive_bytes_total{cluster="$cluster",metrics_path="/metrics/cadvisor",pod!=""}[5m]))"#),
                ("Sent", "Bps", r#"sum by (namespace) (rate(container_network_transmit_bytes_total{cluster="$cluster",metrics_path="/metrics/cadvisor",pod!=""}[5m]))"#),
            ]),
        ]),
        with("With --jobs kube-state-metrics", vec![
            lines("Pods by phase", "none", &[(r#"sum by (phase) (kube_pod_status_phase{cluster="$cluster"})"#, "{{phase}}")]),
            lines("Restarts of containers in an hour", "none", &[(
                r#"sum by (namespace) (increase(kube_pod_container_status_restarts_total{cluster="$cluster"}[1h]))"#,
                "{{namespace}}",
            )]),
            lines("CPU: requests and what nodes can allocate", "none", &[
                (r#"sum(kube_pod_container_resource_requests{cluster="$cluster",resource="cpu"})"#, "requests"),
                (r#"sum(kube_node_status_allocatable{cluster="$cluster",resource="cpu"})"#, "allocatable"),
            ]),
            lines("Memory: requests and what nodes can allocate", "bytes", &[
                (r#"sum(kube_pod_container_resource_requests{cluster="$cluster",resource="memory"})"#, "requests"),
                (r#"sum(kube_node_status_allocatable{cluster="$cluster",resource="memory"})"#, "allocatable"),
            ]),
            lines("Replicas that are missing", "none", &[(
                r#"sum by (namespace) (kube_deployment_spec_replicas{cluster="$cluster"} - kube_deployment_status_replicas_available{cluster="$cluster"})"#,
                "{{namespace}}",
            )])
            .size(24, 8),
        ]),
        with("With --jobs apiserver", vec![
            lines("Requests to the API server", "reqps", &[(
                r#"sum by (code) (rate(apiserver_request_total{cluster="$cluster",job="apiserver"}[5m]))"#,
                "{{code}}",
            )]),
            lines("99 % of requests take at most", "s", &[(
                r#"histogram_quantile(0.99, sum by (le, verb) (rate(apiserver_request_sli_duration_seconds_bucket{cluster="$cluster",job="apiserver",verb!="WATCH"}[5m])))"#,
                "{{verb}}",
            )]),
            lines("Requests in flight", "none", &[(
                r#"sum by (request_kind) (apiserver_current_inflight_requests{cluster="$cluster",job="apiserver"})"#,
                "{{request_kind}}",
            )]),
            lines("Stored objects", "short", &[(
                r#"topk(10, max by (resource) (apiserver_resource_objects{cluster="$cluster",job="apiserver"} or apiserver_storage_objects{cluster="$cluster",job="apiserver"}))"#,
                "{{resource}}",
            )]),
        ]),
        control_plane(),
        with("With --jobs slis", vec![
            lines("Health checks that fail", "none", &[(
                r#"sum by (job, name) (kubernetes_healthcheck{cluster="$cluster",metrics_path="/metrics/slis"} == bool 0)"#,
                "{{job}} {{name}}",
            )])
            .size(24, 8),
        ]),
    ]
}

/// Where the provider shows its scheduler and its controller manager.
fn control_plane() -> Section {
    let panels = vec![
        lines(
            "Pods that wait for a node",
            "none",
            &[(r#"sum by (queue) (scheduler_pending_pods{cluster="$cluster",job="kube-scheduler"})"#, "{{queue}}")],
        ),
        lines(
            "Attempts to find a node for a pod",
            "ops",
            &[(
                r#"sum by (result) (rate(scheduler_schedule_attempts_total{cluster="$cluster",job="kube-scheduler"}[5m]))"#,
                "{{result}}",
            )],
        ),
        lines(
            "Objects that wait for a controller",
            "none",
            &[(
                r#"topk(10, max by (name) (workqueue_depth{cluster="$cluster",job="kube-controller-manager"}))"#,
                "{{name}}",
            )],
        ),
        lines(
            "Objects added for a controller",
            "ops",
            &[(
                r#"topk(10, sum by (name) (rate(workqueue_adds_total{cluster="$cluster",job="kube-controller-manager"}[5m])))"#,
                "{{name}}",
            )],
        ),
    ];
    with("With --jobs aggregated, where it brings the scheduler and the controller manager", panels)
}
