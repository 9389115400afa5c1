//! The command line: clap types, the values that they parse, and the inverse. Depends only on the model.

mod check;
mod completion;
mod dashboard;
mod examples;
mod join;
mod leave;
mod manifests;
mod rotate;
mod rules;
mod shared;
mod status;
mod value;
mod words;

pub use check::CheckArgs;
pub use completion::{CompletionArgs, Shell};
pub use dashboard::{DashboardArg, DashboardArgs, DashboardOutput};
pub use join::{JoinArgs, Typed};
pub use leave::{LeaveArgs, Side};
pub use manifests::ManifestsArgs;
pub use rotate::RotateArgs;
pub use rules::RulesArgs;
pub use shared::{
    AccountArgs, ClashArgs, DEFAULT_PARALLEL, DataOutput, DestinationArgs, DryRunArg, FenceArg, FleetArgs, FormatArg,
    HowArgs, KubeArgs, KubeletArgs, LimitArgs, Output, RouteArg, SeenArgs, TimingArgs, WhatArgs,
};
pub use status::StatusArgs;
pub use value::lifetime;
pub use words::{next, rotate_all};

use clap::{Parser, Subcommand};

/// Let a Prometheus outside a Kubernetes cluster scrape the cluster through its API server.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    name = "kubectl-prom_federate",
    bin_name = "kubectl prom-federate",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = examples::ALL
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Give Prometheus access to a cluster and print the scrape jobs
    #[command(after_help = examples::JOIN)]
    Join(JoinArgs),
    /// Remove the access and verify that it has ended
    #[command(after_help = examples::LEAVE)]
    Leave(LeaveArgs),
    /// Replace tokens before they expire
    #[command(after_help = examples::ROTATE)]
    Rotate(RotateArgs),
    /// Show each cluster that a destination knows: token, fence, targets, CPU and memory in use
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// Find problems that would stop a join, or test the access of joined clusters; writes nothing
    #[command(after_help = examples::CHECK)]
    Check(CheckArgs),
    /// Print the objects that join would apply, with the reason for each rule
    #[command(after_help = examples::MANIFESTS)]
    Manifests(ManifestsArgs),
    /// Print alerting rules: token expiring, cluster absent, cluster down
    #[command(after_help = examples::RULES)]
    Rules(RulesArgs),
    /// Print Grafana dashboards over all clusters: fleet, cluster, nodes, pods, scrape
    #[command(after_help = examples::DASHBOARD)]
    Dashboard(DashboardArgs),
    /// Print the completion script of a shell, or kubectl's
    #[command(after_help = examples::COMPLETION)]
    Completion(CompletionArgs),
    /// Print the version
    #[command(after_help = examples::VERSION)]
    Version,
}
