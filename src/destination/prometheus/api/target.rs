//! The targets of a Prometheus.

use crate::model::text::line;
use jiff::Timestamp;
use serde_json::Value;

/// One line of Prometheus' page of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name of its scrape job.
    pub pool: String,
    /// These two labels, empty if it has none of the name.
    pub node: String,
    pub instance: String,
    pub health: Health,
    /// What went wrong at the last scrape, on one line that no terminal minds; empty if nothing did.
    pub last_error: String,
    /// When the last scrape began, by Prometheus' clock; `None` before the first.
    pub last_scrape: Option<Timestamp>,
    pub scrape_url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    Down,
    /// Not yet scraped; vmagent says down then.
    Unknown,
}

impl Target {
    /// One of `activeTargets`. Never scraped is the year 1 to Prometheus, 1970 to vmagent.
    pub(super) fn read(value: &Value) -> Self {
        let last_scrape: Option<Timestamp> = text(value, "lastScrape").parse().ok();
        Self {
            pool: pool(value).to_owned(),
            node: text(&value["labels"], "node").to_owned(),
            instance: text(&value["labels"], "instance").to_owned(),
            health: match text(value, "health") {
                "up" => Health::Up,
                "down" => Health::Down,
                _ => Health::Unknown,
            },
            last_error: line::escaped(text(value, "lastError")),
            last_scrape: last_scrape.filter(|time| *time > Timestamp::UNIX_EPOCH),
            scrape_url: text(value, "scrapeUrl").to_owned(),
        }
    }
}

/// The name of the scrape job. A vmagent of 2022 gives the label `job` here, which relabelling makes; what it was before
/// is the name.
fn pool(target: &Value) -> &str {
    let (pool, before) = (text(target, "scrapePool"), text(&target["discoveredLabels"], "job"));
    if pool == text(&target["labels"], "job") && !before.is_empty() { before } else { pool }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(time: &str) -> Timestamp {
        time.parse().expect("a time")
    }

    #[test]
    fn targets_are_read() {
        let raw = json!({
            "labels": {"node": "n1", "instance": "n1", "job": "kubelet"},
            "scrapePool": "prom-federate/east/kubelet",
            "scrapeUrl": "https://x/metrics",
            "lastError": "server returned\u{1b}[2J HTTP status 401 Unauthorized",
            "lastScrape": "2026-11-25T11:15:55.5+01:00",
            "health": "down",
        });
        let read = Target::read(&raw);
        assert_eq!((read.pool.as_str(), read.node.as_str()), ("prom-federate/east/kubelet", "n1"));
        assert_eq!(read.health, Health::Down);
        assert_eq!(read.last_error, "server returned\\u{1b}[2J HTTP status 401 Unauthorized");
        assert_eq!(read.last_scrape, Some(at("2026-11-25T10:15:55.5Z")));
        // Never scraped, as Prometheus and as vmagent say it, and nonsense.
        for never in ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "", "yesterday"] {
            assert_eq!(Target::read(&json!({"lastScrape": never, "health": "unknown"})).last_scrape, None, "{never}");
        }
        assert_eq!(Target::read(&json!(null)).health, Health::Unknown);
        // As vmagent 1.79.5 has it.
        let job = "prom-federate/east/kubelet";
        let old = json!({"discoveredLabels": {"job": job}, "labels": {"job": "kubelet"}, "scrapePool": "kubelet"});
        assert_eq!(Target::read(&old).pool, job);
    }
}
