//! `rotate`.

use super::{
    shared::{DataOutput, DestinationArgs, FleetArgs, KubeArgs},
    value,
};
use crate::model::text::{duration::Seconds, names::ClusterName};
use clap::{Args, ValueHint};
use std::path::PathBuf;

/// Replace the tokens that are due, or all with --now, and deliver them together; then revoke the old tokens.
///
/// A token is due at half of its granted life. rotate reaches each cluster with the context of its join, or with
/// --context, of several with the one that leads to it; a cluster that was joined with --self-renew needs no kubeconfig. After a failure the old token stays in
/// place. With --watch, rotate keeps running and replaces each token when it is due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct RotateArgs {
    /// Clusters by their label [default: all of the destination]
    #[arg(value_name = "CLUSTER")]
    pub clusters: Vec<ClusterName>,
    /// Also replace tokens that are not due
    #[arg(long, help_heading = "What")]
    pub now: bool,
    /// Keep running and replace each token when it is due; write each event as a line of logfmt to standard error
    #[arg(long, conflicts_with_all = ["now", "output"], help_heading = "How")]
    pub watch: bool,
    /// Print a systemd service that runs this program with --watch and these flags
    #[arg(long, conflicts_with_all = ["now", "output"], help_heading = "How")]
    pub print_unit: bool,
    /// Write metrics to this file; name it *.prom for the textfile collector of Prometheus' node exporter
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "How")]
    pub metrics_file: Option<PathBuf>,
    /// With --watch, how often to prove that the fence is enforced and the rights are narrow, at most 30m; 0s: never
    /// [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = value::proof_interval, help_heading = "How")]
    pub proof_interval: Option<Seconds>,
    #[command(flatten)]
    pub to: DestinationArgs,
    /// Show the report on standard output in this format
    #[arg(short, long, value_enum, value_name = "FORMAT", help_heading = "How")]
    pub output: Option<DataOutput>,
    #[command(flatten)]
    pub fleet: FleetArgs,
    #[command(flatten)]
    pub kube: KubeArgs,
}
