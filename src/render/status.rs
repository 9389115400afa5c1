//! The table of `status`, as kubectl prints tables.

use super::table::columns;
use crate::model::{
    job::Job,
    report::status::{ClusterStatus, FenceSeen, FenceStatus, StatusReport, TargetsStatus, TokenState, TokenStatus},
    text::{duration::Seconds, line::escaped},
    token::expiry::NEVER,
};

/// The cell of an unknown value.
const UNKNOWN: &str = "-";
const MEBI: u64 = 1 << 20;
const GIBI: u64 = 1 << 30;
const TEBI: u64 = 1 << 40;

/// One row for each cluster and destination; empty without clusters.
pub fn table(report: &StatusReport) -> String {
    if report.clusters.is_empty() {
        return String::new();
    }
    let several = report.destinations.len() > 1;
    let headers = ["CLUSTER", "DESTINATION", "JOBS", "TOKEN", "FENCE", "NODES", "TARGETS", "CPU", "MEMORY", "STATUS"];
    let mut rows = vec![headers.map(str::to_owned).to_vec()];
    rows.extend(report.clusters.iter().map(row));
    if !several {
        for row in &mut rows {
            row.remove(1);
        }
    }
    columns(&rows)
}

fn row(status: &ClusterStatus) -> Vec<String> {
    let or_unknown = |cell: Option<String>| cell.unwrap_or_else(|| UNKNOWN.to_owned());
    vec![
        escaped(&status.cluster),
        escaped(&status.destination),
        or_unknown((!status.jobs.is_empty()).then(|| kinds(&status.jobs))),
        or_unknown(status.token.as_ref().map(token)),
        or_unknown(status.fence.map(|fence| shown(fence).to_owned())),
        or_unknown(status.nodes.map(|nodes| nodes.to_string())),
        or_unknown(status.targets.map(|TargetsStatus { up, total, .. }| format!("{up}/{total}"))),
        or_unknown(status.cpu_cores.map(cores)),
        or_unknown(status.memory_bytes.map(memory)),
        status.status.to_owned(),
    ]
}

/// The kinds of jobs, without their places, which would fill the line.
fn kinds(jobs: &[Job]) -> String {
    let mut names: Vec<&str> = jobs.iter().map(Job::name).collect();
    names.dedup();
    names.join(",")
}

/// `24h, 7h left`
fn token(token: &TokenStatus) -> String {
    if token.expires == NEVER {
        return "never expires".to_owned();
    }
    let granted = u64::try_from(token.granted_seconds).unwrap_or_default();
    // The life is counted from the creation of the Secret, a moment before the token's issue.
    let granted = if granted < 600 { granted } else { granted.saturating_add(30) / 60 * 60 };
    let life = format!("{}, {} left", Seconds(granted), left(token.left_seconds));
    match token.state {
        TokenState::Fresh => life,
        TokenState::Due | TokenState::Late => format!("{life}, due"),
        TokenState::Expired => "expired".to_owned(),
    }
}

/// A duration in one unit, rounded down, with at least two digits if possible.
fn left(seconds: i64) -> String {
    let (value, unit) = match seconds {
        172_800.. => (seconds / 86_400, "d"),
        7_200.. => (seconds / 3_600, "h"),
        120.. => (seconds / 60, "m"),
        _ => (seconds.max(0), "s"),
    };
    format!("{value}{unit}")
}

/// The state of the fence's objects. `status` does not know whether the fence is enforced.
fn shown(fence: FenceStatus) -> &'static str {
    match fence {
        FenceStatus { seen: Some(FenceSeen::Present), .. } => "present",
        FenceStatus { seen: Some(FenceSeen::Changed), .. } => "changed",
        FenceStatus { required: false, .. } => "off",
        FenceStatus { seen: Some(FenceSeen::Absent), .. } => "absent",
        FenceStatus { seen: None, .. } => "unknown",
    }
}

/// CPU as in `kubectl top`: `1250m`.
fn cores(cores: f64) -> String {
    format!("{:.0}m", cores * 1000.0)
}

/// `512Mi`, `3.2Gi`, rounded.
fn memory(bytes: u64) -> String {
    let rounded = |unit: u64| (bytes.saturating_add(unit / 2)) / unit;
    let tenths = |unit: u64| {
        let tenths = rounded(unit / 10);
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    if rounded(MEBI) < 1024 {
        format!("{}Mi", rounded(MEBI))
    } else if rounded(GIBI) < 1024 {
        format!("{}Gi", tenths(GIBI))
    } else {
        format!("{}Ti", tenths(TEBI))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::report::status::{
        DestinationStatus, JobFacts, PrometheusFacts, Recorded,
        tests::{facts, job},
    };
    use jiff::Timestamp;

    fn report(destinations: &[&str], now: &str) -> StatusReport {
        let now = now.parse().unwrap();
        let mut clusters = Vec::new();
        for destination in destinations {
            let mut east = facts("east");
            east.in_prometheus = Ok(PrometheusFacts {
                is_included: true,
                url: "http://localhost:9090".into(),
                jobs: vec![
                    JobFacts { pending: 1, ..job(Job::Cadvisor, 1, &[]) },
                    job(Job::Kubelet, 1, &["server returned HTTP status 503 Service Unavailable"]),
                ],
                cpu_cores: Some(0.0496),
                memory_bytes: Some(512 * MEBI),
            });
            let mut unseen = facts("a-cluster-with-a-long-name");
            unseen.in_cluster = Err("no kubeconfig".into());
            unseen.in_prometheus = Err("stopped".into());
            let mut remains = facts("remains");
            remains.recorded = Recorded::NoJobs;
            clusters.extend([facts("west"), east, unseen, remains].into_iter().map(|mut facts| {
                facts.destination = (*destination).to_owned();
                ClusterStatus::new(&facts, now)
            }));
        }
        let destination =
            |name: &&str| DestinationStatus { destination: (*name).to_owned(), reader: "Prometheus 3.16.0".into() };
        StatusReport::new(now, destinations.iter().map(destination).collect(), clusters)
    }

    #[test]
    fn table_has_a_row_for_each_cluster() {
        insta::assert_snapshot!(table(&report(&["/etc/prometheus"], "2026-11-24T12:00:00Z")));
        assert_eq!(table(&StatusReport::new(Timestamp::UNIX_EPOCH, Vec::new(), Vec::new())), "");
    }

    #[test]
    fn table_distinguishes_destinations() {
        insta::assert_snapshot!(table(&report(&["/etc/one", "/etc/two"], "2026-11-25T10:00:00Z")));
    }

    #[test]
    fn report_as_json() {
        insta::assert_snapshot!(crate::render::report::json(&report(&["/etc/prometheus"], "2026-11-25T01:30:00Z")));
    }

    #[test]
    fn token_shows_its_remaining_life() {
        let shown = |granted_seconds, left_seconds, state| {
            token(&TokenStatus {
                bound_secret: String::new(),
                issued: Timestamp::UNIX_EPOCH,
                expires: Timestamp::UNIX_EPOCH,
                granted_seconds,
                left_seconds,
                state,
            })
        };
        for (granted, left, state, expected) in [
            (604_801, 604_800, TokenState::Fresh, "7d, 7d left"),
            (604_800, 604_799, TokenState::Fresh, "7d, 6d left"),
            (86_402, 172_799, TokenState::Fresh, "24h, 47h left"),
            (86_400, 7_199, TokenState::Due, "24h, 119m left, due"),
            (601, 119, TokenState::Late, "10m, 119s left, due"),
            (599, 1, TokenState::Late, "9m59s, 1s left, due"),
            (86_400, -1, TokenState::Expired, "expired"),
            // A record that was written by hand.
            (-1, 10, TokenState::Fresh, "0s, 10s left"),
            (i64::MAX, i64::MAX, TokenState::Fresh, "2562047788015215h30m, 106751991167300d left"),
        ] {
            assert_eq!(shown(granted, left, state), expected);
        }
    }

    #[test]
    fn usage_is_shown_as_in_kubectl_top() {
        for (cpu, expected) in [(0.0, "0m"), (0.0004, "0m"), (0.25, "250m"), (1.25, "1250m"), (1000.0, "1000000m")] {
            assert_eq!(cores(cpu), expected);
        }
        for (bytes, expected) in [
            (0, "0Mi"),
            (512 * MEBI, "512Mi"),
            (1023 * MEBI + MEBI / 3, "1023Mi"),
            (GIBI - MEBI / 3, "1.0Gi"),
            (3 * GIBI + GIBI / 4 - MEBI, "3.2Gi"),
            (1000 * GIBI, "1000.0Gi"),
            (1536 * GIBI, "1.5Ti"),
            (u64::MAX, "16777216.0Ti"),
        ] {
            assert_eq!(memory(bytes), expected);
        }
    }

    #[test]
    fn fence_column_shows_only_observed_states() {
        for (required, seen, expected) in [
            (true, Some(FenceSeen::Present), "present"),
            (true, Some(FenceSeen::Changed), "changed"),
            (true, Some(FenceSeen::Absent), "absent"),
            (true, None, "unknown"),
            (false, Some(FenceSeen::Present), "present"),
            (false, Some(FenceSeen::Changed), "changed"),
            (false, Some(FenceSeen::Absent), "off"),
            (false, None, "off"),
        ] {
            assert_eq!(shown(FenceStatus { required, seen }), expected, "{required} {seen:?}");
        }
    }
}
