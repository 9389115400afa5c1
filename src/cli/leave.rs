//! `leave`.

use super::shared::{AccountArgs, DestinationArgs, FleetArgs, HowArgs, KubeArgs, SeenArgs};
use crate::model::text::names::ClusterName;
use clap::{Args, ValueEnum};

/// Remove the access: jobs, then tokens and account, then rights, then the fence; verify that a token is refused.
///
/// Takes about ten seconds, because an API server caches for that long that a token is valid. Objects that another
/// destination uses stay, and so do objects of other owners; leave names both. Delete printed jobs yourself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct LeaveArgs {
    /// Clusters by their label at the destination [default: the clusters of the contexts]
    #[arg(value_name = "CLUSTER", requires = "prometheus")]
    pub clusters: Vec<ClusterName>,
    #[command(flatten)]
    pub to: DestinationArgs,
    /// Remove only one side, if the other one is dead; cluster without -p removes everything, also for other destinations
    #[arg(long, value_enum, value_name = "SIDE", help_heading = "What")]
    pub only: Option<Side>,
    #[command(flatten)]
    pub account: AccountArgs,
    #[command(flatten)]
    pub seen: SeenArgs,
    #[command(flatten)]
    pub how: HowArgs,
    #[command(flatten)]
    pub fleet: FleetArgs,
    #[command(flatten)]
    pub kube: KubeArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// Accounts, rights and tokens; writes no destination
    Cluster,
    /// Jobs and their files; contacts no cluster, so tokens stay valid until they expire
    Prometheus,
}
