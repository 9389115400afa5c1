//! The nodes of a cluster, and their kubelets.

use super::{
    panel::{Section, always, lines, with},
    variable::Variable,
};

pub(super) fn variables() -> Vec<Variable> {
    vec![Variable::DataSource, Variable::cluster(), Variable::node()]
}

pub(super) fn sections() -> Vec<Section> {
    vec![
        always(vec![
            lines("CPU used", "percentunit", &[(
                r#"sum by (node) (rate(container_cpu_usage_seconds_total{cluster="$cluster",node=~"$node",id="/",metrics_path="/metrics/cadvisor"}[5m])) / sum by (node) (machine_cpu_cores{cluster="$cluster",node=~"$node",metrics_path="/metrics/cadvisor"})"#,
                "{{node}}",
            )]),
            lines("Memory used", "percentunit", &[(
                r#"sum by (node) (container_memory_working_set_bytes{cluster="$cluster",node=~"$node",id="/",metrics_path="/metrics/cadvisor"}) / sum by (node) (machine_memory_bytes{cluster="$cluster",node=~"$node",metrics_path="/metrics/cadvisor"})"#,
                "{{node}}",
            )]),
            lines("Received", "Bps", &[(
                r#"sum by (node) (rate(container_network_receive_bytes_total{cluster="$cluster",node=~"$node",id="/",metrics_path="/metrics/cadvisor"}[5m]))"#,
                "{{node}}",
            )])
            .about("On the interfaces of the node; those that join it with pods are dropped."),
            lines("Sent", "Bps", &[(
                r#"sum by (node) (rate(container_network_transmit_bytes_total{cluster="$cluster",node=~"$node",id="/",metrics_path="/metrics/cadvisor"}[5m]))"#,
                "{{node}}",
            )]),
            lines("Disk used", "percentunit", &[(
                r#"max by (node, device) (container_fs_usage_bytes{cluster="$cluster",node=~"$node",id="/"} / (container_fs_limit_bytes{cluster="$cluster",node=~"$node",id="/"} > 0))"#,
                "{{node}} {{device}}",
            )]),
            lines("Pods running", "none", &[(
                r#"sum by (node) (kubelet_running_pods{cluster="$cluster",node=~"$node",metrics_path="/metrics"})"#,
                "{{node}}",
            )]),
            lines("Kubelet: 99 % of relists of its pods take at most", "s", &[(
                r#"histogram_quantile(0.99, sum by (le, node) (rate(kubelet_pleg_relist_duration_seconds_bucket{cluster="$cluster",node=~"$node",metrics_path="/metrics"}[5m])))"#,
                "{{node}}",
            )]),
            lines("Kubelet: operations of the container runtime", "ops", &[(
                r#"sum by (node) (rate(kubelet_runtime_operations_total{cluster="$cluster",node=~"$node",metrics_path="/metrics"}[5m]))"#,
                "{{node}}",
            )]),
            lines("Kubelet: memory", "bytes", &[(
                r#"sum by (node) (process_resident_memory_bytes{cluster="$cluster",node=~"$node",job="kubelet",metrics_path="/metrics"})"#,
                "{{node}}",
            )]),
            lines("Kubelet: CPU", "none", &[(
                r#"sum by (node) (rate(process_cpu_seconds_total{cluster="$cluster",node=~"$node",job="kubelet",metrics_path="/metrics"}[5m]))"#,
                "{{node}}",
            )]),
        ]),
        with("Volumes: where pods have any", vec![
            lines("Space used", "percentunit", &[(
                r#"max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_used_bytes{cluster="$cluster",node=~"$node"} / kubelet_volume_stats_capacity_bytes{cluster="$cluster",node=~"$node"})"#,
                "{{namespace}}/{{persistentvolumeclaim}}",
            )]),
            lines("Inodes used", "percentunit", &[(
                r#"max by (namespace, persistentvolumeclaim) (kubelet_volume_stats_inodes_used{cluster="$cluster",node=~"$node"} / (kubelet_volume_stats_inodes{cluster="$cluster",node=~"$node"} > 0))"#,
                "{{namespace}}/{{persistentvolumeclaim}}",
            )]),
        ]),
        with("Pressure: Kubernetes 1.34 or later, cgroup v2", vec![
            lines("Time that tasks waited for CPU", "percentunit", &[(
                r#"sum by (node) (rate(container_pressure_cpu_waiting_seconds_total{cluster="$cluster",node=~"$node",id="/"}[5m]))"#,
                "{{node}}",
            )]),
            lines("Time that tasks waited for memory", "percentunit", &[(
                r#"sum by (node) (rate(container_pressure_memory_waiting_seconds_total{cluster="$cluster",node=~"$node",id="/"}[5m]))"#,
                "{{node}}",
            )]),
            lines("Time that tasks waited for the disk", "percentunit", &[(
                r#"sum by (node) (rate(container_pressure_io_waiting_seconds_total{cluster="$cluster",node=~"$node",id="/"}[5m]))"#,
                "{{node}}",
            )])
            .size(24, 8),
        ]),
        with("With --jobs resource", vec![
            lines("CPU used, as kubectl top shows it", "none", &[(
                r#"sum by (node) (rate(node_cpu_usage_seconds_total{cluster="$cluster",node=~"$node",metrics_path="/metrics/resource"}[5m]))"#,
                "{{node}}",
            )])
            .about("Cores in use. metrics-server reads the same page."),
            lines("Memory used, as kubectl top shows it", "bytes", &[(
                r#"sum by (node) (node_memory_working_set_bytes{cluster="$cluster",node=~"$node",metrics_path="/metrics/resource"})"#,
                "{{node}}",
            )]),
        ]),
        with("With --jobs node-exporter", vec![
            lines("Load for each CPU", "none", &[(
                r#"sum by (node) (node_load1{cluster="$cluster",node=~"$node",job="node-exporter"}) / count by (node) (node_cpu_seconds_total{cluster="$cluster",node=~"$node",job="node-exporter",mode="idle"})"#,
                "{{node}}",
            )]),
            lines("Space used of filesystems", "percentunit", &[(
                r#"max by (node, mountpoint) (1 - node_filesystem_avail_bytes{cluster="$cluster",node=~"$node",job="node-exporter",fstype!~"tmpfs|overlay|ramfs"} / node_filesystem_size_bytes{cluster="$cluster",node=~"$node",job="node-exporter",fstype!~"tmpfs|overlay|ramfs"})"#,
                "{{node}} {{mountpoint}}",
            )]),
            lines("CPU by mode", "percentunit", &[(
                r#"avg by (node, mode) (rate(node_cpu_seconds_total{cluster="$cluster",node=~"$node",job="node-exporter",mode!="idle"}[5m]))"#,
                "{{node}} {{mode}}",
            )]),
            lines("Time that disks are busy", "percentunit", &[(
                r#"max by (node, device) (rate(node_disk_io_time_seconds_total{cluster="$cluster",node=~"$node",job="node-exporter"}[5m]))"#,
                "{{node}} {{device}}",
            )]),
        ]),
    ]
}
