//! The command line: clap types and nothing else.

mod value;

use crate::{
    completion,
    model::{
        access::url::{ApiServerUrl, ProxyUrl},
        account::{DEFAULT_ACCOUNT, DEFAULT_NAMESPACE},
        job::{Jobs, Selector, Wanted},
        store::{
            location::{FileOwner, Location},
            reload::ReloadMode,
        },
        text::{
            duration::Seconds,
            names::{AccountName, ClusterName, Namespace},
        },
    },
};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter};
use std::{path::PathBuf, time::Duration};

/// What `-p` names.
const DESTINATION: &str = "Folder of prometheus.yml, or that file, on this host or on another (ssh://[USER@]HOST[:PORT]/DIR), or \
                           operator://NAMESPACE[/NAME][?context=CONTEXT]; can be repeated for an HA pair";
const DESTINATIONS: &str = "Folder of prometheus.yml, or that file, on this host or on another (ssh://[USER@]HOST[:PORT]/DIR); or \
                            operator://NAMESPACE[/NAME][?context=CONTEXT], a Prometheus that an operator runs; can be repeated for \
                            an HA pair\n\n\
                            The cluster of an operator is reached with the same kubeconfig and the context that stands there, or \
                            else the current one; --context and --as mean the clusters that are scraped.";

/// Let a Prometheus outside a Kubernetes cluster scrape it through its API server.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-prom_federate",
    bin_name = "kubectl prom-federate",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give Prometheus access to a cluster and print the scrape jobs
    Join(JoinArgs),
    /// Take the access away and prove that it is gone
    Leave(LeaveArgs),
    /// Replace tokens before they expire
    Rotate(RotateArgs),
    /// Show each cluster that a destination knows: token, fence, targets, CPU and memory in use
    Status(StatusArgs),
    /// Say what would stop a join, or prove what is there of clusters that were joined; writes nothing
    Check(CheckArgs),
    /// Print the objects that join would apply, with the reason for each rule
    Manifests(ManifestsArgs),
    /// Print alerting rules: token expiring, cluster absent, cluster down
    Rules(RulesArgs),
    /// Print the completion script of a shell, or kubectl's
    Completion(CompletionArgs),
    /// Print the version
    Version,
}

/// Plan, prove, change, prove; then print the scrape jobs on standard output, a token among them.
///
/// Installs the least RBAC for the jobs and the fence that limits it, issues a token of bounded life, and proves with
/// nothing but that token that the jobs work and everything else is refused. If that fails, what was created is
/// deleted again. A second join changes nothing and prints a new token.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags, each for itself")]
pub struct JoinArgs {
    #[command(flatten)]
    pub what: WhatArgs,
    /// Value of the cluster label; the context's name unless given
    #[arg(long, value_name = "NAME", help_heading = "What")]
    pub cluster_name: Option<ClusterName>,
    /// How often to scrape
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = value::pace, help_heading = "What")]
    pub scrape_interval: Seconds,
    /// How long a scrape may take; at most the interval [default: 30s, or the interval if that is shorter]
    #[arg(long, value_name = "DURATION", value_parser = value::pace, help_heading = "What")]
    pub scrape_timeout: Option<Seconds>,
    /// Series that the job federate takes, as up or {job="shop"}; can be repeated [default: recording rules and up]
    #[arg(long, value_name = "SELECTOR", help_heading = "What")]
    pub federate_match: Vec<Selector>,
    /// Keep the cAdvisor series that kube-prometheus-stack drops
    #[arg(long, help_heading = "What")]
    pub keep_all_metrics: bool,
    /// Requested lifetime of the token, at least 10m; the server may grant less
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = value::lifetime, help_heading = "What")]
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
    /// PEM file with the CA of the kubelets, for --route=kubelet and the proof of --pin-nodes [default: the API server's]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "The cluster as Prometheus sees it")]
    pub kubelet_ca_file: Option<PathBuf>,
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

/// Take the access away: jobs first, then tokens and account, then the rights, then the fence; prove that a token is refused.
///
/// Takes about ten seconds, because an API server remembers for that long that a token was good. What another
/// destination uses stays, and so does what belongs to somebody else; both are named. Jobs that were printed are yours
/// to delete.
#[derive(Debug, Args)]
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

/// Replace the tokens that are due, or all with --now, and deliver them with one reload; then retire the old ones.
///
/// A token is due at half of the life that was granted. Each cluster is reached with the context that joined it, or with
/// --context; a cluster that was joined with --self-renew needs no kubeconfig. A failure leaves the old token in place.
/// With --watch it stays and does that on time, every time.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Clusters by their label; all that the destination knows unless given
    #[arg(value_name = "CLUSTER")]
    pub clusters: Vec<ClusterName>,
    /// Also those that are not due
    #[arg(long, help_heading = "What")]
    pub now: bool,
    /// Stay and replace each token when it is due; a line of logfmt an event on standard error
    #[arg(long, conflicts_with_all = ["now", "output"], help_heading = "How")]
    pub watch: bool,
    /// Print a systemd service that runs this program with --watch and these flags
    #[arg(long, conflicts_with_all = ["now", "output"], help_heading = "How")]
    pub print_unit: bool,
    /// Write metrics to this file, which a textfile collector of Prometheus' node exporter reads if it is a *.prom
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "How")]
    pub metrics_file: Option<PathBuf>,
    #[command(flatten)]
    pub to: DestinationArgs,
    /// Show the report on standard output in this format
    #[arg(short, long, value_enum, value_name = "FORMAT", help_heading = "How")]
    pub output: Option<DataOutput>,
    #[command(flatten)]
    pub kube: KubeArgs,
}

/// Show each cluster that a destination knows, as the destination, the cluster and Prometheus see it. Writes nothing.
///
/// Below the table stands what is wrong, with the next command. The exit code is 1 if somebody must act: a token has
/// expired, was revoked or should have been renewed, a required fence is gone, a job is missing from Prometheus, has no
/// targets or none that is up, a record cannot be read. What cannot be asked is named and no failure. The contexts are
/// those of the joins, used only where they lead to the same cluster still.
#[derive(Debug, Args)]
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

/// Look for everything that would stop a join with the same flags, and go on where join would stop. Writes nothing.
///
/// A cluster that the destination knows is proven instead: its token is taken and reads every page, other requests are
/// refused, rights and objects are as join makes them, Prometheus scrapes it. What was joined then counts, not the flags.
/// The exit code is 1 if anything failed; warnings stop nothing. No token is asked for: even a dry run would mint one.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Clusters by their label at the destination; all that it knows, or the one of the context, unless given
    #[arg(value_name = "CLUSTER", requires = "prometheus")]
    pub clusters: Vec<ClusterName>,
    #[command(flatten)]
    pub what: WhatArgs,
    /// Value of the cluster label; the context's name unless given
    #[arg(long, value_name = "NAME", help_heading = "What")]
    pub cluster_name: Option<ClusterName>,
    /// How often the jobs would scrape, for the estimate of the load
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = value::pace, help_heading = "What")]
    pub scrape_interval: Seconds,
    /// How long a scrape may take; at most the interval [default: 30s, or the interval if that is shorter]
    #[arg(long, value_name = "DURATION", value_parser = value::pace, help_heading = "What")]
    pub scrape_timeout: Option<Seconds>,
    /// Whether the account is to renew its own token
    #[arg(long, help_heading = "What")]
    pub self_renew: bool,
    /// Whether every node would be named with its port
    #[arg(long, help_heading = "What")]
    pub pin_nodes: bool,
    #[command(flatten)]
    pub seen: SeenArgs,
    /// PEM file with the CA of the kubelets, for --route=kubelet [default: the API server's]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "The cluster as Prometheus sees it")]
    pub kubelet_ca_file: Option<PathBuf>,
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

/// Print the objects that join would apply, for GitOps or review. Talks to no cluster.
///
/// They lack our ownership label: join uses what was applied from here as it is, and leave spares it.
#[derive(Debug, Args)]
pub struct ManifestsArgs {
    #[command(flatten)]
    pub what: WhatArgs,
}

/// Print one file of alerting rules for these clusters, for Prometheus or vmalert. Talks to no cluster.
///
/// Every cluster is watched by name: an alert says that there is nothing to scrape, for any of its jobs, or that most of
/// what is there cannot be scraped. When the token expires is known where join wrote the jobs to a destination: another
/// alert then says that it was not renewed. There these rules are in place already, unless an agent reads it.
#[derive(Debug, Args)]
pub struct RulesArgs {
    /// Values of the cluster label, as join was given them; all that the destination knows unless given
    #[arg(value_name = "CLUSTER", required_unless_present = "prometheus")]
    pub clusters: Vec<ClusterName>,
    /// Folder of prometheus.yml on this host, that file, or an operator's Prometheus as join -p has it: its clusters,
    /// with their jobs, interval and expiry
    #[arg(short, long, value_name = "DESTINATION", env = "PROM_FEDERATE_PROMETHEUS", value_hint = ValueHint::AnyPath, conflicts_with_all = ["jobs", "scrape_interval"], help_heading = "What")]
    pub prometheus: Option<Location>,
    /// Comma-separated scrape jobs with their places, as join reports them
    #[arg(long, value_name = "LIST", default_value = "default", help_heading = "What", add = ArgValueCandidates::new(completion::jobs))]
    pub jobs: Jobs,
    /// How often they scrape: an alert waits for ten scrapes, and at least 5m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = value::pace, help_heading = "What")]
    pub scrape_interval: Seconds,
}

#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// For `kubectl prom-federate` choose kubectl: it prints the program kubectl_complete-prom_federate
    pub shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    Kubectl,
}

#[derive(Debug, Args)]
pub struct WhatArgs {
    /// Comma-separated scrape jobs: cadvisor, kubelet, default (both), resource, probes, apiserver, kube-state-metrics,
    /// service=NAMESPACE/[https:]SERVICE:PORT[/PATH], node-exporter[=NAMESPACE[:PORT]], pods=NAMESPACE[/PATH] (annotated),
    /// federate[=NAMESPACE/SERVICE:PORT]
    #[arg(long, value_name = "LIST", default_value = "default", help_heading = "What", add = ArgValueCandidates::new(completion::jobs))]
    pub jobs: Wanted,
    #[command(flatten)]
    pub account: AccountArgs,
    /// Whether the policy that limits the account must be in force
    #[arg(long, value_enum, default_value_t = FenceArg::Required, help_heading = "What")]
    pub fence: FenceArg,
    /// How the jobs of nodes reach the kubelets
    #[arg(long, value_enum, value_name = "ROUTE", default_value_t = RouteArg::Apiserver, help_heading = "What")]
    pub route: RouteArg,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RouteArg {
    /// Through the API server, by the right to nodes/proxy
    Apiserver,
    /// Straight to port 10250 of each node, by the right to nodes/metrics alone
    Kubelet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FenceArg {
    /// Fail where it cannot be enforced
    Required,
    /// Go without: the token can then read every pod's logs through the API server
    Off,
}

#[derive(Debug, Args)]
pub struct AccountArgs {
    /// Namespace of the account; not the context's
    #[arg(short, long, default_value = DEFAULT_NAMESPACE, help_heading = "What")]
    pub namespace: Namespace,
    /// Service account that Prometheus uses
    #[arg(long, value_name = "NAME", default_value = DEFAULT_ACCOUNT, help_heading = "What")]
    pub service_account: AccountName,
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The cluster as Prometheus sees it")]
pub struct SeenArgs {
    /// Address of the API server, https://HOST:PORT; the kubeconfig's unless given
    #[arg(long, value_name = "URL")]
    pub api_server: Option<ApiServerUrl>,
    /// PEM file with the CA of the API server
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub api_server_ca_file: Option<PathBuf>,
    /// Name to verify the API server's certificate against
    #[arg(long, value_name = "NAME", value_parser = value::server_name)]
    pub api_server_tls_name: Option<String>,
    /// Proxy between Prometheus and the API server, http, https or socks5; yours is the kubeconfig's or the environment's
    #[arg(long, value_name = "URL")]
    pub api_server_proxy: Option<ProxyUrl>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where to")]
pub struct DestinationArgs {
    #[arg(short, long, help = DESTINATION, long_help = DESTINATIONS, value_name = "DESTINATION", env = "PROM_FEDERATE_PROMETHEUS", value_hint = ValueHint::AnyPath)]
    pub prometheus: Vec<Location>,
    /// Base URL of Prometheus' API, to look at the result; the running process is asked for it unless given
    #[arg(long, value_name = "URL", requires = "prometheus", value_parser = value::http_url)]
    pub prometheus_url: Option<String>,
    /// How to make Prometheus read it: auto, http, signal, none or command:COMMAND
    #[arg(long, value_name = "HOW", default_value = "auto", requires = "prometheus")]
    pub reload: ReloadMode,
    /// Who reads the jobs; the running process is asked unless given
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<FormatArg>,
    /// User, and perhaps group, that Prometheus runs as; the running process is asked unless given
    #[arg(long, value_name = "USER[:GROUP]", requires = "prometheus")]
    pub owner: Option<FileOwner>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Where to")]
pub struct ClashArgs {
    /// Give a cluster that the destination knows a new label
    #[arg(long, requires = "prometheus")]
    pub rename: bool,
    /// Let this cluster take the label of another one, which is gone
    #[arg(long, requires = "prometheus")]
    pub replace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// Prometheus 2.43 or later, also as an agent
    Prometheus,
    /// vmagent, also within a single-node storage server
    Vmagent,
    /// Printed by join without -p: a POSIX script, a token in it, that delivers on the host of Prometheus
    Script,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How")]
pub struct HowArgs {
    /// Only show what would be done: client asks the cluster but sends no write, server lets it validate the writes
    #[arg(long, value_enum, value_name = "MODE", default_value_t = DryRunArg::None, hide_possible_values = false)]
    pub dry_run: DryRunArg,
    /// Show the report on standard output in this format
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRunArg {
    None,
    Client,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Json,
    Yaml,
    Name,
}

/// Formats of a report that has no objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataOutput {
    Json,
    Yaml,
}

impl From<DataOutput> for Output {
    fn from(output: DataOutput) -> Self {
        match output {
            DataOutput::Json => Self::Json,
            DataOutput::Yaml => Self::Yaml,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "The cluster as you reach it")]
pub struct KubeArgs {
    /// Path to the kubeconfig file to use for CLI requests
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
    /// The name of the kubeconfig context to use
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(completion::contexts))]
    pub context: Option<String>,
    /// Username to impersonate for the operation
    #[arg(long = "as", value_name = "USER")]
    pub impersonate: Option<String>,
    /// Group to impersonate for the operation; this flag can be repeated
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate")]
    pub impersonate_groups: Vec<String>,
    /// UID to impersonate for the operation
    #[arg(long = "as-uid", value_name = "UID", requires = "impersonate")]
    pub impersonate_uid: Option<String>,
    /// User extra to impersonate for the operation, KEY=VALUE; this flag can be repeated, also for one key
    #[arg(long = "as-user-extra", value_name = "KEY=VALUE", requires = "impersonate", value_parser = value::pair)]
    pub impersonate_extra: Vec<(String, String)>,
    /// The length of time to wait before giving up on a single server request; zero means don't timeout
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::timeout)]
    pub request_timeout: Duration,
    /// Number for the log level verbosity: from 6 on every request is logged, never its headers or body
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    pub verbosity: u8,
}
