//! `rules`.

use super::value;
use crate::model::{
    job::{DEFAULT_JOBS, Jobs, Pace},
    store::location::Location,
    text::{duration::Seconds, names::ClusterName},
};
use clap::{Args, ValueHint};

/// Print one file of alerting rules for these clusters, for Prometheus or vmalert. Talks to no cluster.
///
/// Every cluster is watched by name: an alert says that there is nothing to scrape, for any of its jobs, or that most of
/// what is there cannot be scraped. When the token expires is known where join wrote the jobs to a destination: another
/// alert then says that it was not renewed. There these rules are in place already, unless an agent reads it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct RulesArgs {
    /// Values of the cluster label, as join was given them; all that the destination knows unless given
    #[arg(value_name = "CLUSTER", required_unless_present = "prometheus")]
    pub clusters: Vec<ClusterName>,
    /// Folder of prometheus.yml on this host, that file, or an operator's Prometheus as join -p has it: its clusters,
    /// with their jobs, interval and expiry
    #[arg(short, long, value_name = "DESTINATION", env = "PROM_FEDERATE_PROMETHEUS", value_hint = ValueHint::AnyPath, conflicts_with_all = ["jobs", "scrape_interval"], help_heading = "What")]
    pub prometheus: Option<Location>,
    /// Comma-separated scrape jobs with their places, as join reports them
    #[arg(long, value_name = "LIST", default_value = DEFAULT_JOBS, help_heading = "What")]
    pub jobs: Jobs,
    /// How often they scrape: an alert waits for ten scrapes, and at least 5m
    #[arg(long, value_name = "DURATION", default_value_t = Pace::INTERVAL, value_parser = value::pace, help_heading = "What")]
    pub scrape_interval: Seconds,
}
