//! `status`.

use super::{
    shared::{DESTINATION, DESTINATIONS, DataOutput, FleetArgs, KubeArgs},
    value,
};
use crate::model::{store::location::Location, text::names::ClusterName};
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Show each cluster of a destination, from the destination, the cluster and Prometheus. Writes nothing.
///
/// Below the table are the problems, each with the next command. The exit code is 1 if a cluster needs attention: a token
/// has expired, was revoked or is overdue for renewal; a required fence is gone; a job is missing from Prometheus, was
/// rejected by an operator, or has no target that is up; a record cannot be read, or the cluster does not confirm it. A source that cannot be read is named and is not a failure. The contexts
/// are those of the joins, or of several that are named the one that leads to the cluster; none is used for another
/// cluster.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// Clusters by their label [default: all of the destination]
    #[arg(value_name = "CLUSTER")]
    pub clusters: Vec<ClusterName>,
    #[arg(short, long, help = DESTINATION, long_help = DESTINATIONS, value_name = "DESTINATION", env = "PROM_FEDERATE_PROMETHEUS", value_hint = ValueHint::AnyPath, required = true)]
    pub prometheus: Vec<Location>,
    /// Base URL of Prometheus' API [default: found from the running process]
    #[arg(long, value_name = "URL", value_parser = value::http_url)]
    pub prometheus_url: Option<String>,
    /// File with the password, token, CA or client certificate for Prometheus' API, in the format of promtool's
    /// --http.config.file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub prometheus_http_config: Option<PathBuf>,
    /// Show the report on standard output in this format instead of a table
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<DataOutput>,
    /// Show only the clusters that need attention; the summary counts all
    #[arg(long)]
    pub only_broken: bool,
    /// Look again every 10 seconds until Ctrl-C: a screen on a terminal, elsewhere a line of logfmt for each change
    #[arg(short, long, conflicts_with = "output")]
    pub watch: bool,
    #[command(flatten)]
    pub fleet: FleetArgs,
    #[command(flatten)]
    pub kube: KubeArgs,
}
