//! `join`.

use super::{
    shared::{ClashArgs, DestinationArgs, HowArgs, KubeArgs, KubeletArgs, PaceArgs, SeenArgs, WhatArgs},
    value,
};
use crate::model::{
    job::Selector,
    text::{duration::Seconds, names::ClusterName},
    token,
};
use clap::Args;

/// Plan, prove, change, prove; then print the scrape jobs on standard output, a token among them.
///
/// Installs the least RBAC for the jobs and the fence that limits it, issues a token of bounded life, and proves with
/// nothing but that token that the jobs work and everything else is refused. If that fails, what was created is
/// deleted again. A second join changes nothing and prints a new token.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags, each for itself")]
pub struct JoinArgs {
    #[command(flatten)]
    pub what: WhatArgs,
    /// Value of the cluster label; the context's name unless given
    #[arg(long, value_name = "NAME", help_heading = "What")]
    pub cluster_name: Option<ClusterName>,
    #[command(flatten)]
    pub pace: PaceArgs,
    /// Series that the job federate takes, as up or {job="shop"}; can be repeated [default: recording rules and up]
    #[arg(long, value_name = "SELECTOR", help_heading = "What")]
    pub federate_match: Vec<Selector>,
    /// Keep the cAdvisor series that kube-prometheus-stack drops
    #[arg(long, help_heading = "What")]
    pub keep_all_metrics: bool,
    /// Requested lifetime of the token, at least 10m; the server may grant less
    #[arg(long, value_name = "DURATION", default_value_t = token::DEFAULT, value_parser = value::lifetime, help_heading = "What")]
    pub duration: Seconds,
    /// Let the account renew its own token and nothing more, for at most --duration each time; whoever steals the
    /// token can renew it too, until an administrator deletes its Secret or leaves
    #[arg(long, help_heading = "What")]
    pub self_renew: bool,
    /// Name every node with its port in the role, so that the token is worth nothing at a kubelet; new nodes need
    /// another join or rotate
    #[arg(long, help_heading = "What")]
    pub pin_nodes: bool,
    /// A token that never expires and lies in its Secret, for clusters that issue no others; rather join again before a
    /// token expires, or rotate
    #[arg(long, conflicts_with_all = ["self_renew", "duration"], help_heading = "What")]
    pub long_lived_token: bool,
    #[command(flatten)]
    pub seen: SeenArgs,
    #[command(flatten)]
    pub kubelet: KubeletArgs,
    #[command(flatten)]
    pub to: DestinationArgs,
    #[command(flatten)]
    pub clash: ClashArgs,
    #[command(flatten)]
    pub how: HowArgs,
    /// Leave what a failed run created, to look at it
    #[arg(long, help_heading = "How")]
    pub keep_on_failure: bool,
    #[command(flatten)]
    pub kube: KubeArgs,
}
