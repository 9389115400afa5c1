//! Who reads a destination, and how it is made to read what is new.

use super::Item;
use crate::error::{Error, Reason};

/// Who reads a destination, and how it is made to read what is new.
pub struct ReaderFacts {
    /// As the destination was typed.
    pub name: String,
    /// `Prometheus 3.16.0`
    pub reader: String,
    /// Why nobody can look at the result.
    pub unseen: Option<String>,
    /// It was named with `--prometheus-url`.
    pub is_named: bool,
    /// promtool, or vmagent itself.
    pub checker: Option<&'static str>,
    /// How it would be reloaded; none if nothing can be done, or nothing runs.
    pub reload: Option<&'static str>,
}

/// The Prometheus of a destination.
pub fn reader(ReaderFacts { name, reader, unseen, is_named, checker, reload }: &ReaderFacts) -> Vec<Item> {
    let prometheus = match unseen {
        None => Item::pass("prometheus", format!("{name}: {reader} reads it")),
        Some(why) if *is_named => Item::fail(
            "prometheus",
            &Error::new(Reason::PrometheusUnreachable, format!("--prometheus-url: {why}"))
                .hint("Is it running? Leave the flag out to have it looked for"),
        ),
        Some(why) => Item::warn("prometheus", format!("{name}: nobody can look at the result: {why}"))
            .hint("Start it, or name its address: --prometheus-url http://HOST:9090"),
    };
    let checker = match checker {
        Some(tool) => Item::pass("promtool", format!("{name}: {tool} looks at jobs before they are in place")),
        None => {
            Item::warn("promtool", format!("{name}: there is no promtool to look at jobs before they are in place"))
                .hint("Put promtool on PATH; it comes with Prometheus")
        }
    };
    let reload = match reload {
        Some(how) => Item::pass("reload", format!("{name}: reloaded by {how}")),
        None => Item::warn("reload", format!("{name}: nothing there can be told to read its configuration again"))
            .hint("Name a command that reloads it: --reload='command:systemctl reload prometheus'"),
    };
    vec![prometheus, checker, reload]
}
