//! The Prometheus that reads a destination, and how it is reloaded.

use super::Item;
use crate::error::{Error, Reason};

/// The Prometheus that reads a destination, and how it is reloaded.
pub struct ReaderFacts {
    /// The destination as given on the command line.
    pub name: String,
    /// `Prometheus 3.16.0`
    pub reader: String,
    /// Why the result cannot be verified in this Prometheus.
    pub unseen: Option<String>,
    /// The flag by which it must answer.
    pub named_by: Option<&'static str>,
    /// promtool, or vmagent or a collector itself.
    pub checker: Option<&'static str>,
    /// Whether a reload ends the reader if the configuration is invalid.
    pub is_collector: bool,
    /// How it would be reloaded; none if it does not run or cannot be reloaded.
    pub reload: Option<&'static str>,
}

/// The Prometheus of a destination.
pub fn reader(
    ReaderFacts { name, reader, unseen, named_by, checker, is_collector, reload }: &ReaderFacts,
) -> Vec<Item> {
    let prometheus = match (unseen, named_by) {
        (None, _) => Item::pass("prometheus", format!("{name}: {reader} reads it")),
        (Some(why), Some(flag)) => Item::fail(
            "prometheus",
            &Error::new(Reason::PrometheusUnreachable, format!("{flag}: {why}"))
                .hint("Is it running? Without --prometheus-url, the plugin finds Prometheus itself"),
        ),
        (Some(why), None) => Item::warn("prometheus", format!("{name}: cannot verify the result in Prometheus: {why}"))
            .hint("Start Prometheus, or name its address with --prometheus-url URL and its password with --prometheus-http-config FILE"),
    };
    let checker = match checker {
        Some(tool) => Item::pass("promtool", format!("{name}: {tool} validates jobs before they are put in place")),
        None if *is_collector => Item::warn(
            "promtool",
            format!("{name}: otelcol validate cannot be run, so the collector is not reloaded unless you name a way"),
        )
        .hint("The collector must run, not in a container, and its program be one that only root may replace")
        .hint("Or name a way that you answer for: --reload=signal, --reload='command:systemctl restart otelcol'"),
        None => Item::warn("promtool", format!("{name}: no promtool to validate jobs before they are put in place"))
            .hint("Put promtool on PATH; it is part of Prometheus"),
    };
    let reload = match reload {
        Some(how) => Item::pass("reload", format!("{name}: reloaded by {how}")),
        None => Item::warn("reload", format!("{name}: no way found to reload its configuration"))
            .hint("Name a command that reloads Prometheus: --reload='command:systemctl reload prometheus'"),
    };
    vec![prometheus, checker, reload]
}
