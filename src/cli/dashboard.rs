//! `dashboard`.

use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;

/// Print Grafana dashboards over all clusters of a Prometheus. Contacts no cluster.
///
/// Import the JSON in Grafana, apply the config map where Grafana's sidecar looks for dashboards, or write the files into
/// a folder of Grafana's provisioning. The dashboards link to each other: a click on a cluster, a node, a namespace or a
/// pod opens it. What needs more jobs than the default ones is in rows that are closed at first.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct DashboardArgs {
    /// Which dashboard [default: fleet as JSON, all as a config map or in a folder]
    #[arg(value_enum, value_name = "DASHBOARD")]
    pub dashboard: Option<DashboardArg>,
    /// json for Grafana's import, or configmap for its sidecar, with the label `grafana_dashboard`
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t = DashboardOutput::Json)]
    pub output: DashboardOutput,
    /// Write the JSON of each dashboard into this folder instead
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "output")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DashboardArg {
    /// A row for each cluster: nodes, targets, CPU, memory, token, fence, series
    Fleet,
    /// The nodes and namespaces of a cluster
    Cluster,
    /// The nodes of a cluster and their kubelets
    Nodes,
    /// The pods of a namespace
    Pods,
    /// What Prometheus scrapes of a cluster, and what that costs
    Scrape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DashboardOutput {
    Json,
    Configmap,
}
