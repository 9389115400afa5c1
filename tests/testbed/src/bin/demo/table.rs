//! What Prometheus knows about each cluster, asked of its API.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use testbed::{Prometheus, Target};

const RATES: Duration = Duration::from_secs(90);
/// cAdvisor reads a cgroup every ten seconds or so, less often than we scrape: a rate over fewer of its readings would
/// be anything between nothing and double.
const CPU: &str = "sum by (cluster) (rate(container_cpu_usage_seconds_total{id=\"/\"}[1m])) \
    and on (cluster) min by (cluster) (changes(container_cpu_usage_seconds_total{id=\"/\"}[1m])) >= 2";
const MEMORY: &str = "sum by (cluster) (container_memory_working_set_bytes{id=\"/\"})";

pub(crate) struct Row {
    cluster: String,
    nodes: usize,
    up: usize,
    targets: usize,
    /// In cores.
    cpu: f64,
    /// In bytes.
    memory: f64,
}

/// Ask until there are numbers for every cluster that has targets.
pub(crate) fn rows(prometheus: &Prometheus, targets: &[Target]) -> Result<Vec<Row>> {
    let clusters: BTreeSet<&str> = targets.iter().map(|target| target.label("cluster")).collect();
    let ask = |promql| {
        let complete = |values: &BTreeMap<String, f64>| clusters.iter().all(|cluster| values.contains_key(*cluster));
        let answer = |prometheus: &Prometheus| by_cluster(prometheus, promql).ok().filter(complete);
        prometheus.wait_until(RATES, answer).with_context(|| format!("no value for some cluster: {promql}"))
    };
    let (cpu, memory) = (ask(CPU)?, ask(MEMORY)?);
    let row = |cluster: &&str| {
        let own: Vec<&Target> = targets.iter().filter(|target| target.label("cluster") == *cluster).collect();
        Row {
            cluster: (*cluster).to_owned(),
            nodes: own.iter().map(|target| target.label("node")).collect::<BTreeSet<_>>().len(),
            up: own.iter().filter(|target| target.is_up()).count(),
            targets: own.len(),
            cpu: cpu[*cluster],
            memory: memory[*cluster],
        }
    };
    Ok(clusters.iter().map(row).collect())
}

fn by_cluster(prometheus: &Prometheus, promql: &str) -> Result<BTreeMap<String, f64>> {
    let result = prometheus.query(promql)?;
    let read = |sample: &serde_json::Value| {
        let cluster = sample["metric"]["cluster"].as_str()?.to_owned();
        Some((cluster, sample["value"][1].as_str()?.parse().ok()?))
    };
    Ok(result.as_array().into_iter().flatten().filter_map(read).collect())
}

pub(crate) fn render(rows: &[Row]) -> String {
    let mut text = format!("{:<10} {:>5} {:>12} {:>12} {:>12}", "CLUSTER", "NODES", "TARGETS UP", "CPU", "MEMORY");
    for row in rows {
        let targets = format!("{}/{}", row.up, row.targets);
        let cpu = format!("{:.2} cores", row.cpu);
        let memory = format!("{:.1} GiB", row.memory / f64::from(1 << 30));
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{:<10} {:>5} {targets:>12} {cpu:>12} {memory:>12}", row.cluster, row.nodes);
    }
    text
}
