//! The metrics file of `rotate` for `node_exporter`'s textfile collector, in Prometheus' text format.

use crate::model::{
    report::account_limits::{Limit, LimitsHistory},
    token::TokenLife,
};
use jiff::Timestamp;

/// One cluster at one destination.
#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    pub destination: String,
    pub cluster: String,
    /// The life of the token in use; none if its record cannot be read.
    pub token: Option<TokenLife>,
    /// The last failure since this process started.
    pub last_failure: Option<Timestamp>,
    /// Whether the last try failed.
    pub failing: bool,
    /// None where nothing proves them.
    pub limits: Option<LimitsHistory>,
}

impl ClusterMetrics {
    /// None without a fence, and before the first proof.
    fn fence(&self) -> Option<(&LimitsHistory, &Limit)> {
        let limits = self.limits.as_ref()?;
        Some((limits, limits.last()?.fence.as_ref()?))
    }
}

/// As of something that never happened.
fn or_never(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::as_second)
}

type Value = fn(&ClusterMetrics) -> Option<i64>;

const FAMILIES: [(&str, &str, Value); 8] = [
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
        "fence_enforced",
        "Whether the fence refuses requests outside of the jobs; absent without a fence and while it is unknown.",
        |cluster| Some(cluster.fence()?.1.holds()?.into()),
    ),
    (
        "fence_last_check_timestamp_seconds",
        "When it was last known whether the fence is enforced; 0 if never since rotate started.",
        |cluster| Some(or_never(cluster.fence()?.0.fence_known())),
    ),
    (
        "rights_narrow",
        "Whether the account has only the rights that its jobs need, as far as its token can see; absent while unknown.",
        |cluster| Some(cluster.limits.as_ref()?.last()?.rights.holds()?.into()),
    ),
    (
        "rights_last_check_timestamp_seconds",
        "When it was last known whether the rights are narrow; 0 if never since rotate started.",
        |cluster| {
            cluster
                .limits
                .as_ref()
                .filter(|limits| limits.last().is_some())
                .map(|limits| or_never(limits.rights_known()))
        },
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
    use crate::{
        error::{Error, Reason},
        model::report::account_limits::AccountLimits,
    };

    #[test]
    fn unknown_limits_have_no_sample() {
        let now = "2026-11-24T09:12:00Z".parse().unwrap();
        let unknown = || Limit::Unknown(Error::new(Reason::Timeout, "no answer"));
        let broken = || Limit::Broken(Error::new(Reason::FenceNotEnforced, "answers 200"));
        let shown = |seen: Vec<AccountLimits>| {
            let mut limits = LimitsHistory::default();
            for one in seen {
                limits.saw(one, now);
            }
            let cluster = ClusterMetrics {
                destination: "/d".into(),
                cluster: "east".into(),
                token: None,
                last_failure: None,
                failing: false,
                limits: Some(limits),
            };
            let text = textfile(&[cluster]).replace("{cluster=\"east\",destination=\"/d\"}", "");
            let ours = text.lines().filter(|line| line.contains("_fence_") || line.contains("_rights_"));
            let samples = ours.filter_map(|line| line.strip_prefix("prom_federate_"));
            samples.map(|line| line.replace("last_check_timestamp_seconds", "at")).collect::<Vec<_>>().join(", ")
        };
        let seen = |fence, rights| AccountLimits { fence, rights };
        assert_eq!(shown(vec![]), "");
        assert_eq!(
            shown(vec![seen(Some(Limit::Holds), Limit::Holds)]),
            "fence_enforced 1, fence_at 1795511520, rights_narrow 1, rights_at 1795511520"
        );
        assert_eq!(
            shown(vec![seen(Some(broken()), broken())]),
            "fence_enforced 0, fence_at 1795511520, rights_narrow 0, rights_at 1795511520"
        );
        assert_eq!(shown(vec![seen(Some(unknown()), unknown())]), "fence_at 0, rights_at 0");
        assert_eq!(
            shown(vec![seen(Some(Limit::Holds), broken()), seen(Some(unknown()), unknown())]),
            "fence_at 1795511520, rights_at 1795511520"
        );
        assert_eq!(shown(vec![seen(None, Limit::Holds)]), "rights_narrow 1, rights_at 1795511520");
    }

    #[test]
    fn textfile_has_every_family() {
        let mut limits = LimitsHistory::default();
        let rights = Limit::Broken(Error::new(Reason::CheckFailed, "too wide"));
        limits.saw(AccountLimits { fence: Some(Limit::Holds), rights }, "2026-11-24T10:12:00Z".parse().unwrap());
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
            limits: Some(limits),
        };
        let west = ClusterMetrics {
            destination: "/srv/a \"b\\c\"\nd".into(),
            cluster: "west".into(),
            token: None,
            last_failure: Some("2026-11-24T21:12:00Z".parse().unwrap()),
            failing: true,
            limits: None,
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
            # HELP prom_federate_fence_enforced Whether the fence refuses requests outside of the jobs; absent without a fence and while it is unknown.
            # TYPE prom_federate_fence_enforced gauge
            prom_federate_fence_enforced{cluster="east",destination="/etc/prometheus"} 1
            # HELP prom_federate_fence_last_check_timestamp_seconds When it was last known whether the fence is enforced; 0 if never since rotate started.
            # TYPE prom_federate_fence_last_check_timestamp_seconds gauge
            prom_federate_fence_last_check_timestamp_seconds{cluster="east",destination="/etc/prometheus"} 1795515120
            # HELP prom_federate_rights_narrow Whether the account has only the rights that its jobs need, as far as its token can see; absent while unknown.
            # TYPE prom_federate_rights_narrow gauge
            prom_federate_rights_narrow{cluster="east",destination="/etc/prometheus"} 0
            # HELP prom_federate_rights_last_check_timestamp_seconds When it was last known whether the rights are narrow; 0 if never since rotate started.
            # TYPE prom_federate_rights_last_check_timestamp_seconds gauge
            prom_federate_rights_last_check_timestamp_seconds{cluster="east",destination="/etc/prometheus"} 1795515120
            # HELP prom_federate_rotation_failing Whether the last try to replace the token failed, or its record cannot be read.
            # TYPE prom_federate_rotation_failing gauge
            prom_federate_rotation_failing{cluster="east",destination="/etc/prometheus"} 0
            prom_federate_rotation_failing{cluster="west",destination="/srv/a \"b\\c\"\nd"} 1
            "#
        );
        assert_eq!(textfile(&[]).lines().count(), 3);
    }
}
