//! `rules`.

use super::value;
use crate::model::{
    job::{DEFAULT_JOBS, Jobs, ScrapeTiming},
    store::location::Location,
    text::{duration::Seconds, names::ClusterName},
};
use clap::{Args, ValueHint};

/// Print one file of alerting rules for these clusters, for Prometheus or vmalert. Contacts no cluster.
///
/// The rules watch each cluster by name. One alert fires if a job has no targets, another one if most targets of the
/// cluster are down. With -p the expiry of the token is known, and a third alert fires if the token was not renewed.
/// Destinations of join have these rules already, except agents.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct RulesArgs {
    /// Values of the cluster label, as in join [default: all of the destination]
    #[arg(value_name = "CLUSTER", required_unless_present = "prometheus")]
    pub clusters: Vec<ClusterName>,
    /// Take clusters, jobs, interval and expiry from this destination: folder of prometheus.yml on this host, that file, or
    /// an operator's Prometheus as in join -p
    #[arg(short, long, value_name = "DESTINATION", env = "PROM_FEDERATE_PROMETHEUS", value_hint = ValueHint::AnyPath, conflicts_with_all = ["jobs", "scrape_interval"], help_heading = "What")]
    pub prometheus: Option<Location>,
    /// Comma-separated scrape jobs with their places, as reported by join
    #[arg(long, value_name = "LIST", default_value = DEFAULT_JOBS, help_heading = "What")]
    pub jobs: Jobs,
    /// Scrape interval of the jobs: an alert waits for ten scrapes, and at least 5m
    #[arg(long, value_name = "DURATION", default_value_t = ScrapeTiming::INTERVAL, value_parser = value::pace, help_heading = "What")]
    pub scrape_interval: Seconds,
}
