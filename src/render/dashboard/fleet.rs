//! All clusters of a Prometheus: a row for each.

use super::{
    panel::{Key, Section, YES_OR_NO, always, lines, table},
    variable::Variable,
};

pub(super) fn variables() -> Vec<Variable> {
    vec![Variable::DataSource]
}

pub(super) fn sections() -> Vec<Section> {
    let cluster = Key {
        label: "cluster",
        title: "Cluster",
        url: Some("/d/prom-federate-cluster?${datasource:queryparam}&var-cluster=${__value.raw}&${__url_time_range}"),
    };
    vec![always(vec![
        table("Clusters", vec![cluster], &[
            ("Nodes", "none", r#"count by (cluster) (count by (cluster, node) (up{cluster!="",node!=""}))"#),
            // Federated series of `up` are no targets of this Prometheus.
            ("Targets", "none", r#"count by (cluster) (scrape_samples_scraped{cluster!=""})"#),
            ("Targets up", "none", r#"sum by (cluster) (scrape_samples_scraped{cluster!=""} > bool 0)"#),
            ("CPU used", "percentunit", CPU),
            ("CPU cores", "none", r#"sum by (cluster) (machine_cpu_cores{cluster!="",metrics_path="/metrics/cadvisor"})"#),
            ("Memory used", "percentunit", MEMORY),
            ("Memory", "bytes", r#"sum by (cluster) (machine_memory_bytes{cluster!="",metrics_path="/metrics/cadvisor"})"#),
            ("Token expires", "dateTimeFromNow", r#"min by (cluster) (prom_federate_token_expiry_timestamp_seconds{cluster!=""}) * 1000"#),
            ("Last rotation", "dateTimeFromNow", LAST_ROTATION),
            ("Fence enforced", YES_OR_NO, r#"min by (cluster) (prom_federate_fence_enforced{cluster!=""})"#),
            ("Series", "short", r#"sum by (cluster) (scrape_samples_post_metric_relabeling{cluster!=""})"#),
            ("Samples/s", "short", r#"sum by (cluster) (sum_over_time(scrape_samples_post_metric_relabeling{cluster!=""}[10m])) / 600"#),
            ("Slowest scrape", "s", r#"max by (cluster) (scrape_duration_seconds{cluster!=""})"#),
        ])
        .about("Expiry of tokens: from the delivered rules or from rotate --watch --metrics-file, as the fence. Last rotation: from the metrics file, or from Prometheus if it scrapes itself."),
        lines("CPU used", "percentunit", &[(CPU, "{{cluster}}")]),
        lines("Memory used", "percentunit", &[(MEMORY, "{{cluster}}")]),
        lines("Targets down", "none", &[(
            r#"sum by (cluster) (scrape_samples_scraped{cluster!=""} == bool 0)"#,
            "{{cluster}}",
        )]),
        lines("Series", "short", &[(
            r#"sum by (cluster) (scrape_samples_post_metric_relabeling{cluster!=""})"#,
            "{{cluster}}",
        )]),
        lines("Time until the token expires", "s", &[(
            r#"min by (cluster) (prom_federate_token_expiry_timestamp_seconds{cluster!=""}) - time()"#,
            "{{cluster}}",
        )]),
        lines("New series a minute", "short", &[(
            r#"sum by (cluster) (sum_over_time(scrape_series_added{cluster!=""}[10m])) / 10"#,
            "{{cluster}}",
        )])
        .about("Churn: pods that come and go. The first scrapes of a cluster are new altogether."),
    ])]
}

const CPU: &str = r#"sum by (cluster) (rate(container_cpu_usage_seconds_total{cluster!="",id="/",metrics_path="/metrics/cadvisor"}[5m])) / sum by (cluster) (machine_cpu_cores{cluster!="",metrics_path="/metrics/cadvisor"})"#;
const MEMORY: &str = r#"sum by (cluster) (container_memory_working_set_bytes{cluster!="",id="/",metrics_path="/metrics/cadvisor"}) / sum by (cluster) (machine_memory_bytes{cluster!="",metrics_path="/metrics/cadvisor"})"#;
/// The file by whose time Prometheus tells of a rotation is in the folder of its cluster.
const LAST_ROTATION: &str = r#"max by (cluster) (prom_federate_rotation_last_success_timestamp_seconds{cluster!=""} or label_replace(prometheus_sd_file_mtime_seconds{filename=~"(.*/)?prom-federate/[^/]+/current/rotated-.*"}, "cluster", "$1", "filename", "(?:.*/)?prom-federate/([^/]+)/current/.*")) * 1000"#;
