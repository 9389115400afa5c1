//! `leave`.

use super::shared::{AccountArgs, DestinationArgs, HowArgs, KubeArgs, SeenArgs};
use crate::model::text::names::ClusterName;
use clap::{Args, ValueEnum};

/// Take the access away: jobs first, then tokens and account, then the rights, then the fence; prove that a token is refused.
///
/// Takes about ten seconds, because an API server remembers for that long that a token was good. What another
/// destination uses stays, and so does what belongs to somebody else; both are named. Jobs that were printed are yours
/// to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct LeaveArgs {
    /// Clusters by their label at the destination; the one of the context unless given
    #[arg(value_name = "CLUSTER", requires = "prometheus")]
    pub clusters: Vec<ClusterName>,
    #[command(flatten)]
    pub to: DestinationArgs,
    /// Only one side, because the other one is dead; cluster without -p takes everything, whoever uses it
    #[arg(long, value_enum, value_name = "SIDE", help_heading = "What")]
    pub only: Option<Side>,
    #[command(flatten)]
    pub account: AccountArgs,
    #[command(flatten)]
    pub seen: SeenArgs,
    #[command(flatten)]
    pub how: HowArgs,
    #[command(flatten)]
    pub kube: KubeArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// Accounts, rights and tokens; no destination is written
    Cluster,
    /// Jobs and their files; no cluster is asked, and tokens live until they expire
    Prometheus,
}
