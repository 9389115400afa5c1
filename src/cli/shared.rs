//! Flags of several commands.

use super::value;
use crate::model::{
    access::url::{ApiServerUrl, ProxyUrl},
    account::{Account, DEFAULT_ACCOUNT, DEFAULT_NAMESPACE},
    job::{DEFAULT_JOBS, JobSpecs, ScrapeTiming, exposition::FallbackProtocol, limits::Size},
    store::{
        location::{FileOwner, Location},
        reload::ReloadMode,
    },
    text::{
        duration::{RequestTimeout, Seconds},
        names::{AccountName, Namespace},
    },
};
use clap::{Args, ValueEnum, ValueHint};
use std::{num::NonZero, path::PathBuf};

/// The help of `-p`.
pub(super) const DESTINATION: &str = "Folder of prometheus.yml or of a collector's config.yaml, or that file, on this host or on another host (ssh://[USER@]HOST[:PORT]/DIR), or \
                           operator://NAMESPACE[/NAME][?context=CONTEXT]; can be repeated for an HA pair";
pub(super) const DESTINATIONS: &str = "Folder of prometheus.yml or of a collector's config.yaml, or that file, on this host or on another host (ssh://[USER@]HOST[:PORT]/DIR); or \
                            operator://NAMESPACE[/[KIND/]NAME][?context=CONTEXT], a prometheus or prometheusagent of Prometheus Operator, or a vmagent of VictoriaMetrics' operator; can be repeated for \
                            an HA pair\n\n\
                            The plugin reaches the operator's cluster with the same kubeconfig and with the context in this value, \
                            or else the current context; --context and --as are for the scraped clusters.";

#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct WhatArgs {
    /// Comma-separated scrape jobs: cadvisor, kubelet, default (both), resource, probes, apiserver, slis,
    /// kube-state-metrics, service=NAMESPACE/[https:]SERVICE:PORT[/PATH], node-exporter[=NAMESPACE[:PORT]],
    /// pods=NAMESPACE[/PATH] (annotated), federate[=NAMESPACE/SERVICE:PORT],
    /// aggregated=GROUP/VERSION/RESOURCE/NAME[/SUBRESOURCE]
    #[arg(long, value_name = "LIST", default_value = DEFAULT_JOBS, help_heading = "What")]
    pub jobs: JobSpecs,
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
    /// Directly to port 10250 of each node, by the right to nodes/metrics alone
    Kubelet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FenceArg {
    /// Fail if the API server cannot enforce it
    Required,
    /// No policy: the token can then read every pod's logs through the API server
    Off,
}

#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct AccountArgs {
    /// Namespace of the account; not the context's
    #[arg(short, long, default_value = DEFAULT_NAMESPACE, help_heading = "What")]
    pub namespace: Namespace,
    /// Service account that Prometheus uses
    #[arg(long, value_name = "NAME", default_value = DEFAULT_ACCOUNT, help_heading = "What")]
    pub service_account: AccountName,
}

impl Default for AccountArgs {
    fn default() -> Self {
        Account::default().into()
    }
}

impl From<Account> for AccountArgs {
    fn from(Account { namespace, name }: Account) -> Self {
        Self { namespace, service_account: name }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "The cluster as Prometheus sees it")]
pub struct SeenArgs {
    /// Address of the API server, https://HOST:PORT [default: the kubeconfig's]
    #[arg(long, value_name = "URL")]
    pub api_server: Option<ApiServerUrl>,
    /// PEM file with the CA of the API server
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub api_server_ca_file: Option<PathBuf>,
    /// Name to verify the API server's certificate against
    #[arg(long, value_name = "NAME", value_parser = value::server_name)]
    pub api_server_tls_name: Option<String>,
    /// Proxy between Prometheus and the API server, http, https or socks5; the plugin itself uses the kubeconfig's or the
    /// environment's proxy
    #[arg(long, value_name = "URL")]
    pub api_server_proxy: Option<ProxyUrl>,
}

#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct TimingArgs {
    /// How often to scrape
    #[arg(long, value_name = "DURATION", default_value_t = ScrapeTiming::INTERVAL, value_parser = value::pace, help_heading = "What")]
    pub scrape_interval: Seconds,
    /// How long a scrape may take; at most the interval [default: 30s, or the interval if that is shorter]
    #[arg(long, value_name = "DURATION", value_parser = value::pace, help_heading = "What")]
    pub scrape_timeout: Option<Seconds>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct LimitArgs {
    /// Largest page that Prometheus reads of a target; 0 is no limit [default: 64MB for jobs of nodes, 256MB for others]
    #[arg(long, value_name = "SIZE", help_heading = "What")]
    pub body_size_limit: Option<Size>,
    /// Most samples of one scrape; 0 is no limit [default: 500000 for jobs of nodes, 2000000 for others]
    #[arg(long, value_name = "NUMBER", help_heading = "What")]
    pub sample_limit: Option<u64>,
    /// How Prometheus 3 reads a page of a service or pod that has no content type of metrics
    #[arg(long, value_name = "PROTOCOL", value_parser = value::fallback_protocol(), help_heading = "What")]
    pub fallback_scrape_protocol: Option<FallbackProtocol>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct KubeletArgs {
    /// PEM file with the CA of the kubelets, for --route=kubelet and the proof of --pin-nodes [default: the API server's]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "The cluster as Prometheus sees it")]
    pub kubelet_ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Where to")]
pub struct DestinationArgs {
    #[arg(short, long, help = DESTINATION, long_help = DESTINATIONS, value_name = "DESTINATION", env = "PROM_FEDERATE_PROMETHEUS", value_hint = ValueHint::AnyPath)]
    pub prometheus: Vec<Location>,
    /// Base URL of Prometheus' API, to verify the result [default: found from the running process]
    #[arg(long, value_name = "URL", requires = "prometheus", value_parser = value::http_url)]
    pub prometheus_url: Option<String>,
    /// File with the password, token, CA or client certificate for Prometheus' API, in the format of promtool's
    /// --http.config.file
    #[arg(long, value_name = "FILE", requires = "prometheus", value_hint = ValueHint::FilePath)]
    pub prometheus_http_config: Option<PathBuf>,
    /// How to reload Prometheus: auto, http, signal, none or command:COMMAND
    #[arg(long, value_name = "HOW", default_value_t, requires = "prometheus", value_parser = value::Reload, hide_possible_values = true)]
    pub reload: ReloadMode,
    /// The program that reads the jobs [default: found from the running process]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<FormatArg>,
    /// User, and optionally group, of Prometheus; it is remembered [default: remembered, or found from the running process]
    #[arg(long, value_name = "USER[:GROUP]", requires = "prometheus")]
    pub owner: Option<FileOwner>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Where to")]
pub struct ClashArgs {
    /// Give a cluster that the destination knows a new label
    #[arg(long, requires = "prometheus")]
    pub rename: bool,
    /// Let this cluster take the label of another cluster, which is gone
    #[arg(long, requires = "prometheus")]
    pub replace: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// Prometheus 2.43 or later, also as an agent
    Prometheus,
    /// vmagent, also within a single-node storage server
    Vmagent,
    /// OpenTelemetry Collector with the Prometheus receiver, 0.107 or later
    Otel,
    /// For join without -p: print a POSIX script with a token, which delivers the jobs on the host of Prometheus
    Script,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "How")]
pub struct HowArgs {
    /// Only show what would be done: client reads the cluster and sends no write, server lets it validate the writes
    #[arg(long, value_enum, value_name = "MODE", default_value_t = DryRunArg::None, hide_possible_values = false)]
    pub dry_run: DryRunArg,
    /// Show the report on standard output in this format
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DryRunArg {
    #[default]
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

/// How many clusters, and which.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Many clusters")]
pub struct FleetArgs {
    /// Use every context of the kubeconfig. --context can also be repeated, have * and ?, and leave contexts out:
    /// --context 'prod-*' --context '^prod-old'
    #[arg(long, conflicts_with = "context")]
    pub all_contexts: bool,
    /// Use the contexts of this file, one on each line, or LABEL=CONTEXT; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with_all = ["context", "all_contexts"])]
    pub contexts_from: Option<PathBuf>,
    /// Clusters that are worked on at the same time
    #[arg(long, value_name = "NUMBER", default_value_t = DEFAULT_PARALLEL)]
    pub parallel: NonZero<usize>,
}

/// Enough to hide the round trips of a fleet, few enough for the files and the memory of any machine.
pub const DEFAULT_PARALLEL: NonZero<usize> = NonZero::new(8).expect("not zero");

impl Default for FleetArgs {
    fn default() -> Self {
        Self { all_contexts: false, contexts_from: None, parallel: DEFAULT_PARALLEL }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "The cluster as you reach it")]
pub struct KubeArgs {
    /// Path to the kubeconfig file to use for CLI requests
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
    /// The name of the kubeconfig context to use
    #[arg(long, value_name = "NAME")]
    pub context: Vec<String>,
    /// Username to impersonate for the operation
    #[arg(long = "as", value_name = "USER", value_parser = value::header)]
    pub impersonate: Option<String>,
    /// Group to impersonate for the operation; this flag can be repeated
    #[arg(long = "as-group", value_name = "GROUP", requires = "impersonate", value_parser = value::header)]
    pub impersonate_groups: Vec<String>,
    /// UID to impersonate for the operation
    #[arg(long = "as-uid", value_name = "UID", requires = "impersonate", value_parser = value::header)]
    pub impersonate_uid: Option<String>,
    /// User extra to impersonate for the operation, KEY=VALUE; this flag can be repeated, also for one key
    #[arg(long = "as-user-extra", value_name = "KEY=VALUE", requires = "impersonate", value_parser = value::pair)]
    pub impersonate_extra: Vec<(String, String)>,
    /// The length of time to wait before giving up on a single server request; zero means don't timeout
    #[arg(long, value_name = "DURATION", default_value_t)]
    pub request_timeout: RequestTimeout,
    /// Number for the log level verbosity: from 6 on every request is logged, never its headers or body
    #[arg(short = 'v', long = "v", value_name = "LEVEL", default_value_t = 0)]
    pub verbosity: u8,
}
