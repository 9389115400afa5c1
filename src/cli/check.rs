//! `check`.

use super::shared::{ClashArgs, DataOutput, DestinationArgs, KubeArgs, KubeletArgs, PaceArgs, SeenArgs, WhatArgs};
use crate::model::text::names::ClusterName;
use clap::Args;

/// Look for everything that would stop a join with the same flags, and go on where join would stop. Writes nothing.
///
/// A cluster that the destination knows is proven instead: its token is taken and reads every page, other requests are
/// refused, rights and objects are as join makes them, Prometheus scrapes it. What was joined then counts, not the flags.
/// The exit code is 1 if anything failed; warnings stop nothing. No token is asked for: even a dry run would mint one.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Clusters by their label at the destination; all that it knows, or the one of the context, unless given
    #[arg(value_name = "CLUSTER", requires = "prometheus")]
    pub clusters: Vec<ClusterName>,
    #[command(flatten)]
    pub what: WhatArgs,
    /// Value of the cluster label; the context's name unless given
    #[arg(long, value_name = "NAME", help_heading = "What")]
    pub cluster_name: Option<ClusterName>,
    #[command(flatten)]
    pub pace: PaceArgs,
    /// Whether the account is to renew its own token
    #[arg(long, help_heading = "What")]
    pub self_renew: bool,
    /// Whether every node would be named with its port
    #[arg(long, help_heading = "What")]
    pub pin_nodes: bool,
    #[command(flatten)]
    pub seen: SeenArgs,
    #[command(flatten)]
    pub kubelet: KubeletArgs,
    #[command(flatten)]
    pub to: DestinationArgs,
    #[command(flatten)]
    pub clash: ClashArgs,
    /// Show the report on standard output in this format instead of a list
    #[arg(short, long, value_enum, value_name = "FORMAT", help_heading = "How")]
    pub output: Option<DataOutput>,
    #[command(flatten)]
    pub kube: KubeArgs,
}
