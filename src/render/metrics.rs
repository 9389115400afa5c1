//! The metrics file of `rotate` for `node_exporter`'s textfile collector, in Prometheus' text format.

use crate::model::token::TokenLife;
use jiff::Timestamp;

/// One cluster at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMetrics {
    pub destination: String,
    pub cluster: String,
    /// The life of the token in use; none if its record cannot be read.
    pub token: Option<TokenLife>,
    /// The last failure since this process started.
    pub last_failure: Option<Timestamp>,
    /// Whether the last try failed.
    pub failing: bool,
}

type Value = fn(&ClusterMetrics) -> Option<i64>;

const FAMILIES: [(&str, &str, Value); 4] = [
    ("token_expiry_timestamp_seconds", "When the token that Prometheus uses for the cluster expires.", |cluster| {
        Some(cluster.token?.expires.as_second())
    }),
    (
        "rotation_last_success_timestamp_seconds",
        "When the token that Prometheus uses for the cluster was issued.",
        |cluster| Some(cluster.token?.issued.as_second()),
    ),
    (
        "rotation_last_failure_timestamp_seconds",
        "When replacing the token last failed, since rotate started.",
        |cluster| cluster.last_failure.map(Timestamp::as_second),
    ),
    (
        "rotation_failing",
        "Whether the last try to replace the token failed, or its record cannot be read.",
        |cluster| Some(cluster.failing.into()),
    ),
];

/// The text of the file, without families that have no sample.
pub fn textfile(clusters: &[ClusterMetrics]) -> String {
    let mut text = family("build_info", "The release of kubectl prom-federate that wrote this.");
    text += &format!("prom_federate_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION"));
    for (name, help, value) in FAMILIES {
        let samples: String = clusters
            .iter()
            .filter_map(|cluster| {
                let labels = format!(
                    "cluster=\"{}\",destination=\"{}\"",
                    escaped(&cluster.cluster),
                    escaped(&cluster.destination)
                );
                Some(format!("prom_federate_{name}{{{labels}}} {}\n", value(cluster)?))
            })
            .collect();
        if !samples.is_empty() {
            text += &(family(name, help) + &samples);
        }
    }
    text
}

fn family(name: &str, help: &str) -> String {
    format!("# HELP prom_federate_{name} {help}\n# TYPE prom_federate_{name} gauge\n")
}

/// Escapes a label value for the text format (Prometheus `docs/instrumenting/exposition_formats`).
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textfile_has_every_family() {
        let token = TokenLife {
            issued: "2026-11-24T09:12:00Z".parse().unwrap(),
            expires: "2026-11-25T09:12:00Z".parse().unwrap(),
        };
        let east = ClusterMetrics {
            destination: "/etc/prometheus".into(),
            cluster: "east".into(),
            token: Some(token),
            last_failure: None,
            failing: false,
        };
        let west = ClusterMetrics {
            destination: "/srv/a \"b\\c\"\nd".into(),
            cluster: "west".into(),
            token: None,
            last_failure: Some("2026-11-24T21:12:00Z".parse().unwrap()),
            failing: true,
        };
        insta::assert_snapshot!(
            textfile(&[east, west]).replace(env!("CARGO_PKG_VERSION"), "VERSION"),
            @r#"
            # HELP prom_federate_build_info The release of kubectl prom-federate that wrote this.
            # TYPE prom_federate_build_info gauge
            prom_federate_build_info{version="VERSION"} 1
            # HELP prom_federate_token_expiry_timestamp_seconds When the token that Prometheus uses for the cluster expires.
            # TYPE prom_federate_token_expiry_timestamp_seconds gauge
            prom_federate_token_expiry_timestamp_seconds{cluster="east",destination="/etc/prometheus"} 1795597920
            # HELP prom_federate_rotation_last_success_timestamp_seconds When the token that Prometheus uses for the cluster was issued.
            # TYPE prom_federate_rotation_last_success_timestamp_seconds gauge
            prom_federate_rotation_last_success_timestamp_seconds{cluster="east",destination="/etc/prometheus"} 1795511520
            # HELP prom_federate_rotation_last_failure_timestamp_seconds When replacing the token last failed, since rotate started.
            # TYPE prom_federate_rotation_last_failure_timestamp_seconds gauge
            prom_federate_rotation_last_failure_timestamp_seconds{cluster="west",destination="/srv/a \"b\\c\"\nd"} 1795554720
            # HELP prom_federate_rotation_failing Whether the last try to replace the token failed, or its record cannot be read.
            # TYPE prom_federate_rotation_failing gauge
            prom_federate_rotation_failing{cluster="east",destination="/etc/prometheus"} 0
            prom_federate_rotation_failing{cluster="west",destination="/srv/a \"b\\c\"\nd"} 1
            "#
        );
        assert_eq!(textfile(&[]).lines().count(), 3);
    }
}
