//! `check`.

use super::shared::{
    ClashArgs, DataOutput, DestinationArgs, FleetArgs, KubeArgs, KubeletArgs, SeenArgs, TimingArgs, WhatArgs,
};
use crate::model::{
    kube::label_selector::LabelSelector,
    text::{name_template::NameTemplate, names::ClusterName},
};
use clap::Args;

/// Find every problem that would stop a join with the same flags; continue where join would stop. Writes nothing.
///
/// For a cluster that the destination knows, check tests the existing access instead: the API server accepts the token,
/// the token reads every page, other requests are refused, rights and objects are as join makes them, and Prometheus
/// scrapes the cluster. Then the settings of the join count, not the flags. The exit code is 1 if a check failed; warnings
/// do not change it. check requests no token: even a dry run of the request would issue a real one.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Clusters by their label at the destination [default: all of the destination, or the cluster of the context]
    #[arg(value_name = "CLUSTER", requires = "prometheus")]
    pub clusters: Vec<ClusterName>,
    #[command(flatten)]
    pub what: WhatArgs,
    /// Value of the cluster label [default: the context's name]
    #[arg(long, value_name = "NAME", help_heading = "What")]
    pub cluster_name: Option<ClusterName>,
    /// The labels of clusters that the destination does not know yet: text with {context}, {cluster}, {user} or
    /// {namespace} of the kubeconfig [default: {context}]
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "cluster_name", help_heading = "What")]
    pub cluster_name_template: Option<NameTemplate>,
    /// The nodes of the jobs of nodes, by their labels in kubectl's syntax, such as 'type!=virtual-kubelet' [default: all]
    #[arg(long, value_name = "SELECTOR", help_heading = "What")]
    pub node_selector: Option<LabelSelector>,
    #[command(flatten)]
    pub pace: TimingArgs,
    /// Whether the account may renew its own token
    #[arg(long, help_heading = "What")]
    pub self_renew: bool,
    /// Whether the role grants each node by NAME:PORT
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
    pub fleet: FleetArgs,
    #[command(flatten)]
    pub kube: KubeArgs,
}
