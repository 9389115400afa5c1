//! The Prometheus that reads a destination, and how it is reloaded.

use super::{CheckName, Item};
use crate::{
    error::{Error, Reason},
    model::text::figures::counted,
};

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
    pub load: ReaderLoad,
}

/// What a reader has to do, as far as it tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReaderLoad {
    /// That the plugin joined there.
    pub clusters: usize,
    /// In memory.
    pub series: Option<u64>,
    pub open_files: Option<u64>,
    /// How many it may open.
    pub most_files: Option<u64>,
}

/// Beyond these one server is no longer comfortable; docs/scale.md has the measurements.
const MANY_CLUSTERS: usize = 1_000;
const MANY_SERIES: u64 = 10_000_000;
/// Of the files that it may open, in percent.
const MANY_FILES: u64 = 80;

/// The Prometheus of a destination.
pub fn reader(
    ReaderFacts { name, reader, unseen, named_by, checker, is_collector, reload, load }: &ReaderFacts,
) -> Vec<Item> {
    let prometheus = match (unseen, named_by) {
        (None, _) => Item::pass(CheckName::Prometheus, format!("{name}: {reader} reads it")),
        (Some(why), Some(flag)) => Item::fail(
            CheckName::Prometheus,
            &Error::new(Reason::PrometheusUnreachable, format!("{flag}: {why}"))
                .hint("Is it running? Without --prometheus-url, the plugin finds Prometheus itself"),
        ),
        (Some(why), None) => Item::warn(CheckName::Prometheus, format!("{name}: cannot verify the result in Prometheus: {why}"))
            .hint("Start Prometheus, or name its address with --prometheus-url URL and its password with --prometheus-http-config FILE"),
    };
    let checker = match checker {
        Some(tool) => {
            Item::pass(CheckName::Promtool, format!("{name}: {tool} validates jobs before they are put in place"))
        }
        None if *is_collector => Item::warn(
            CheckName::Promtool,
            format!("{name}: otelcol validate cannot be run, so the collector is not reloaded unless you name a way"),
        )
        .hint("The collector must run, not in a container, and its program be one that only root may replace")
        .hint("Or name a way that you answer for: --reload=signal, --reload='command:systemctl restart otelcol'"),
        None => Item::warn(
            CheckName::Promtool,
            format!("{name}: no promtool to validate jobs before they are put in place"),
        )
        .hint("Put promtool on PATH; it is part of Prometheus"),
    };
    let reload = match reload {
        Some(how) => Item::pass(CheckName::Reload, format!("{name}: reloaded by {how}")),
        None => Item::warn(CheckName::Reload, format!("{name}: no way found to reload its configuration"))
            .hint("Name a command that reloads Prometheus: --reload='command:systemctl reload prometheus'"),
    };
    vec![prometheus, checker, reload, capacity(name, *load)]
}

/// Whether one server is enough for what it has to do.
pub fn capacity(name: &str, ReaderLoad { clusters, series, open_files, most_files }: ReaderLoad) -> Item {
    let mut message = format!("{name}: {}", counted(clusters, "cluster"));
    if let Some(series) = series {
        message += &format!(", {series} series");
    }
    let files = open_files.zip(most_files);
    if let Some((open, most)) = files {
        message += &format!(", {open} of {most} open files");
    }
    if files.is_some_and(|(open, most)| open.saturating_mul(100) > most.saturating_mul(MANY_FILES)) {
        return Item::warn(CheckName::Capacity, message).hint(
            "Let the service open more files, for example LimitNOFILE=65536 in its unit: each cluster needs two",
        );
    }
    if clusters > MANY_CLUSTERS || series.is_some_and(|series| series > MANY_SERIES) {
        let most = format!("{MANY_CLUSTERS} clusters or {} million series", MANY_SERIES / 1_000_000);
        return Item::warn(CheckName::Capacity, message)
            .hint(format!("Above {most}, distribute whole clusters over several servers: docs/scale.md"));
    }
    Item::pass(CheckName::Capacity, message)
}
