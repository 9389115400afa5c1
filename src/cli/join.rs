//! `join`.

use super::{
    shared::{
        ClashArgs, DestinationArgs, FleetArgs, HowArgs, KubeArgs, KubeletArgs, LimitArgs, SeenArgs, TimingArgs,
        WhatArgs,
    },
    value,
};
use crate::model::{
    job::Selector,
    kube::label_selector::LabelSelector,
    text::{duration::Seconds, name_template::NameTemplate, names::ClusterName},
    token,
};
use clap::{ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};

/// Grant Prometheus access to a cluster, prove it, and print the scrape jobs with a token, or deliver them with -p.
///
/// Installs the minimal RBAC rights for the jobs, and the fence, which limits these rights. Issues a token that expires.
/// Verifies with only this token that the jobs work and that other requests are refused. If that fails, join deletes the
/// objects that it created. A second join changes no object and issues a new token.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags, each for itself")]
pub struct JoinArgs {
    // Before the flags themselves: clap forgets the source of a value with the value.
    #[command(flatten)]
    pub typed: Typed,
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
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Series for the job federate, such as up or {job="shop"}; can be repeated [default: recording rules and up]
    #[arg(long, value_name = "SELECTOR", help_heading = "What")]
    pub federate_match: Vec<Selector>,
    /// Keep the series that the drop lists of the jobs drop
    #[arg(long, help_heading = "What")]
    pub keep_all_metrics: bool,
    /// Requested lifetime of the token, at least 10m; the server may grant less
    #[arg(long, value_name = "DURATION", default_value_t = token::DEFAULT, value_parser = value::lifetime, help_heading = "What")]
    pub duration: Seconds,
    /// Let the account renew its own token, for at most --duration each time, and nothing more. A thief can renew a stolen
    /// token too, until an administrator deletes its Secret or runs leave
    #[arg(long, help_heading = "What")]
    pub self_renew: bool,
    /// Grant nodes by NAME:PORT, so that the token is useless at a kubelet itself; run join or rotate again after adding
    /// nodes
    #[arg(long, help_heading = "What")]
    pub pin_nodes: bool,
    /// Use a token that never expires, stored in its Secret, for clusters that issue no short-lived tokens. Prefer
    /// short-lived tokens and rotate
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
    /// Keep the objects that a failed run created, for debugging
    #[arg(long, help_heading = "How")]
    pub keep_on_failure: bool,
    /// Ask at the terminal for clusters, jobs, route, token lifetime and destination, except where a flag says it; show the
    /// plan, ask, and print the same command as flags
    #[arg(long, conflicts_with_all = ["yes", "output"], help_heading = "How")]
    pub interactive: bool,
    #[command(flatten)]
    pub fleet: FleetArgs,
    #[command(flatten)]
    pub kube: KubeArgs,
}

/// The flags with a default that `--interactive` does not ask for because they were typed. All are false without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    pub jobs: bool,
    pub route: bool,
    pub duration: bool,
}

impl FromArgMatches for Typed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_typed =
            |flag| matches.get_flag("interactive") && matches.value_source(flag) == Some(ValueSource::CommandLine);
        Ok(Self { jobs: is_typed("jobs"), route: is_typed("route"), duration: is_typed("duration") })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// It has no flag of its own.
impl Args for Typed {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}
