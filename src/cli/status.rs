//! `status`.

use super::{
    shared::{DESTINATION, DESTINATIONS, DataOutput, KubeArgs},
    value,
};
use crate::model::{store::location::Location, text::names::ClusterName};
use clap::{Args, ValueHint};

/// Show each cluster that a destination knows, as the destination, the cluster and Prometheus see it. Writes nothing.
///
/// Below the table stands what is wrong, with the next command. The exit code is 1 if somebody must act: a token has
/// expired, was revoked or should have been renewed, a required fence is gone, a job is missing from Prometheus, has no
/// targets or none that is up, a record cannot be read. What cannot be asked is named and no failure. The contexts are
/// those of the joins, used only where they lead to the same cluster still.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// Clusters by their label; all that the destination knows unless given
    #[arg(value_name = "CLUSTER")]
    pub clusters: Vec<ClusterName>,
    #[arg(short, long, help = DESTINATION, long_help = DESTINATIONS, value_name = "DESTINATION", env = "PROM_FEDERATE_PROMETHEUS", value_hint = ValueHint::AnyPath, required = true)]
    pub prometheus: Vec<Location>,
    /// Base URL of Prometheus' API; the running process is asked for it unless given
    #[arg(long, value_name = "URL", value_parser = value::http_url)]
    pub prometheus_url: Option<String>,
    /// Show the report on standard output in this format instead of a table
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<DataOutput>,
    #[command(flatten)]
    pub kube: KubeArgs,
}
