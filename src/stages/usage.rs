//! CPU and memory of clusters: one query for all clusters of a Prometheus.

use crate::{
    destination::Sample,
    model::{
        job::Job,
        report::status::Usage,
        store::record::Record,
        text::{duration::Seconds, names::ClusterName},
    },
};
use std::collections::BTreeMap;

/// cAdvisor reads the root cgroup at its own interval, which grows to a minute if nothing changes.
const LEAST_WINDOW: Seconds = Seconds(120);
/// Names of more bytes are not in the query, so that every proxy takes its URL. Prometheus then answers for all clusters.
const NAMES: usize = 2000;
/// The label of a sample that says which figure it is.
const FIGURE: &str = "figure";
const FIGURES: [&str; 4] = ["cpu", "cpu_capacity", "memory", "memory_capacity"];

/// The query for what the nodes use and have, of each cluster by its first job that has these series. None if no
/// cluster has such a job.
pub(super) fn query<'a>(records: impl Iterator<Item = &'a Record>) -> Option<String> {
    let mut sources: BTreeMap<[Option<String>; 4], Vec<&ClusterName>> = BTreeMap::new();
    for record in records {
        if let Some(figures) = figures(record) {
            sources.entry(figures).or_default().push(&record.cluster);
        }
    }
    let parts = sources.into_iter().flat_map(|(figures, clusters)| {
        let names = clusters.iter().map(|name| name.as_str().replace('.', "[.]")).collect::<Vec<_>>().join("|");
        let clusters = if names.len() > NAMES { "!=\"\"".to_owned() } else { format!("=~\"{names}\"") };
        let figures = FIGURES.into_iter().zip(figures);
        figures.filter_map(move |(figure, promql)| {
            let promql = promql?.replace("CLUSTERS", &format!("cluster{clusters}"));
            Some(format!("label_replace({promql}, \"{FIGURE}\", \"{figure}\", \"\", \"\")"))
        })
    });
    Some(parts.collect::<Vec<_>>().join(" or ")).filter(|query| !query.is_empty())
}

/// The answer, by cluster.
pub(super) fn of(samples: &[Sample]) -> BTreeMap<String, Usage> {
    let mut clusters: BTreeMap<String, Usage> = BTreeMap::new();
    for Sample { labels, value } in samples.iter().filter(|sample| sample.value.is_finite()) {
        let label = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
        let usage = clusters.entry(label("cluster").to_owned()).or_default();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bytes; a cast of floats saturates"
        )]
        let bytes = *value as u64;
        match label(FIGURE) {
            "cpu" => usage.cpu_cores = Some(*value),
            "cpu_capacity" => usage.cpu_capacity_cores = Some(*value),
            "memory" => usage.memory_bytes = Some(bytes),
            "memory_capacity" => usage.memory_capacity_bytes = Some(bytes),
            _ => {}
        }
    }
    clusters
}

/// The [`FIGURES`] of a record's first job that has them, where `CLUSTERS` stands for the selector of clusters.
fn figures(record: &Record) -> Option<[Option<String>; 4]> {
    let window = Seconds(record.scrape_interval.0.saturating_mul(4)).max(LEAST_WINDOW);
    let knows = |job: &&Job| matches!(job, Job::Cadvisor | Job::Resource | Job::NodeExporter(..));
    let job = record.jobs.iter().find(knows)?;
    let labels: String = record.jobs.selector(job).iter().map(|(name, value)| format!(",{name}=\"{value}\"")).collect();
    let series = |name: &str, more: &str| format!("{name}{{CLUSTERS{labels}{more}}}[{window}]");
    // With a range, because an instant query finds no sample older than five minutes.
    let last = |name: &str, more: &str| format!("sum by (cluster) (last_over_time({}))", series(name, more));
    let rate = |name: &str, more: &str| format!("sum by (cluster) (rate({}))", series(name, more));
    Some(match job {
        // The root cgroup of each node.
        Job::Cadvisor => [
            Some(rate("container_cpu_usage_seconds_total", ",id=\"/\"")),
            Some(last("machine_cpu_cores", "")),
            Some(last("container_memory_working_set_bytes", ",id=\"/\"")),
            Some(last("machine_memory_bytes", "")),
        ],
        Job::Resource => [
            Some(rate("node_cpu_usage_seconds_total", "")),
            None,
            Some(last("node_memory_working_set_bytes", "")),
            None,
        ],
        // The formula of kube-prometheus' rules for nodes.
        _ => [
            Some(rate("node_cpu_seconds_total", ",mode!~\"idle|iowait|steal\"")),
            Some(format!(
                "count by (cluster) (last_over_time({}))",
                series("node_cpu_seconds_total", ",mode=\"idle\"")
            )),
            Some(format!(
                "{} - {}",
                last("node_memory_MemTotal_bytes", ""),
                last("node_memory_MemAvailable_bytes", "")
            )),
            Some(last("node_memory_MemTotal_bytes", "")),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::report::status::tests::record;

    fn asked(clusters: &[(&str, &str)]) -> String {
        let records: Vec<Record> =
            clusters.iter().map(|(name, jobs)| Record { jobs: jobs.parse().unwrap(), ..record(name) }).collect();
        query(records.iter()).unwrap_or_default().replace(" or ", "\nor ")
    }

    #[test]
    fn usage_query_uses_the_first_job_that_has_it() {
        insta::assert_snapshot!(asked(&[("east", "resource,default")]));
        insta::assert_snapshot!(asked(&[("east", "resource,node-exporter=monitoring")]));
        insta::assert_snapshot!(asked(&[("east", "kubelet,node-exporter=monitoring")]));
        // Federated series may cover the same pages.
        insta::assert_snapshot!(asked(&[("east", "cadvisor,federate=monitoring/prometheus-k8s:web")]));
        assert_eq!(asked(&[("east", "kubelet,apiserver,pods=shop/metrics")]), "");
    }

    #[test]
    fn clusters_with_the_same_job_share_a_query() {
        let query = asked(&[("east", "default"), ("north", "resource"), ("west", "cadvisor")]);
        assert_eq!(query.matches("cluster=~\"east|west\"").count(), 4, "{query}");
        assert_eq!(query.matches("cluster=~\"north\"").count(), 2, "{query}");
        assert!(asked(&[("east.1", "default")]).contains("cluster=~\"east[.]1\""), "a dot stands for itself");
        let names: Vec<String> = (0..1000).map(|number| format!("cluster-{number}")).collect();
        let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "default")).collect();
        assert!(asked(&many).len() < 1000 && asked(&many).contains("{cluster!=\"\","), "{}", asked(&many));
    }

    #[test]
    fn answer_is_split_by_cluster() {
        let sample = |cluster: &str, figure: &str, value| Sample {
            labels: [("cluster", cluster), (FIGURE, figure)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            value,
        };
        let answer = [
            sample("east", "cpu", 1.5),
            sample("east", "cpu_capacity", 4.0),
            sample("east", "memory", f64::NAN),
            sample("west", "memory", 1e300),
            sample("west", "other", 1.0),
        ];
        let east = Usage { cpu_cores: Some(1.5), cpu_capacity_cores: Some(4.0), ..Usage::default() };
        let west = Usage { memory_bytes: Some(u64::MAX), ..Usage::default() };
        assert_eq!(of(&answer), [("east".to_owned(), east), ("west".to_owned(), west)].into());
    }
}
