//! `status` for a person: a table as kubectl prints tables, or a view that fits the terminal.

use super::{
    logfmt::{self, Level},
    paint::{Painted, Tone, plain, width},
    table::{painted_columns, table_width},
};
use crate::model::{
    job::Job,
    report::status::{
        ClusterStatus, FenceSeen, FenceStatus, Problem, Severity, StatusReport, Summary, TargetsStatus, TokenState,
        TokenStatus,
    },
    text::{
        duration::Seconds,
        figures::counted,
        line::{escaped, shortened_within},
    },
    token::expiry::NEVER,
};
use std::collections::BTreeMap;

/// The cell of an unknown value.
const UNKNOWN: &str = "-";
const MEBI: u64 = 1 << 20;
const GIBI: u64 = 1 << 30;
const TEBI: u64 = 1 << 40;
/// From these shares on, CPU and memory in use have a colour, as in the dashboards.
const HIGH: f64 = 0.8;
const CRITICAL: f64 = 0.9;
/// The least that is left of a name which does not fit.
const SHORT_NAME: usize = 12;
/// Bars begin after so many characters of a figure or more: 9.9 cores and 99.9 GiB do not move those of a watch.
const FIGURE: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Cluster,
    Destination,
    Jobs,
    Token,
    Fence,
    Nodes,
    Targets,
    Cpu,
    Memory,
    Status,
}

const COLUMNS: [(Column, &str); 10] = [
    (Column::Cluster, "CLUSTER"),
    (Column::Destination, "DESTINATION"),
    (Column::Jobs, "JOBS"),
    (Column::Token, "TOKEN"),
    (Column::Fence, "FENCE"),
    (Column::Nodes, "NODES"),
    (Column::Targets, "TARGETS"),
    (Column::Cpu, "CPU"),
    (Column::Memory, "MEMORY"),
    (Column::Status, "STATUS"),
];

/// How much of a report is shown.
#[derive(Clone, Copy)]
struct Detail {
    without: &'static [Column],
    /// The cells of a bar; none without bars.
    bar: Option<usize>,
    /// Whether a bar has its figure too.
    percent: bool,
    /// Whether the granted life of a token is left out.
    short_token: bool,
    /// The longest name of a cluster.
    name: usize,
    /// The longest destination, of which only what distinguishes it is shown then.
    destination: Option<usize>,
}

const IN_FULL: Detail =
    Detail { without: &[], bar: None, percent: false, short_token: false, name: usize::MAX, destination: None };

/// From the widest to the narrowest, what is left out and shortened for a terminal.
const NARROWER: [Detail; 7] = [
    Detail { bar: Some(8), percent: true, ..IN_FULL },
    Detail { without: &[Column::Jobs], bar: Some(8), percent: true, ..IN_FULL },
    Detail { without: &[Column::Jobs, Column::Nodes], bar: Some(8), percent: true, ..IN_FULL },
    Detail { without: DETAILS, bar: Some(8), percent: true, ..IN_FULL },
    Detail { without: DETAILS, bar: Some(8), percent: true, short_token: true, ..IN_FULL },
    Detail { without: DETAILS, bar: Some(5), short_token: true, ..IN_FULL },
    Detail { without: DETAILS, short_token: true, ..IN_FULL },
];
const DETAILS: &[Column] = &[Column::Jobs, Column::Nodes, Column::Fence];
const DETAILS_AND_USAGE: &[Column] = &[Column::Jobs, Column::Nodes, Column::Fence, Column::Cpu, Column::Memory];

/// One row for each cluster and destination, in full: for a pipe or a file. Empty without clusters.
pub fn table(report: &StatusReport) -> String {
    if report.clusters.is_empty() { String::new() } else { plain(&painted_columns(&rows(report, IN_FULL))) }
}

/// `3 clusters: 1 needs attention, 2 ok; 8 of 12 targets up`
pub fn summary(report: &StatusReport) -> Painted {
    let Summary { clusters, need_attention, have_warnings, ok, targets_up, targets } = report.summary;
    let needs = if need_attention == 1 { "needs" } else { "need" };
    let parts = [
        (need_attention, Tone::Bad, format!("{needs} attention")),
        (have_warnings, Tone::Caution, "with warnings".to_owned()),
        (ok, Tone::Good, "ok".to_owned()),
    ];
    let mut line = vec![(Tone::Plain, counted(clusters, "cluster"))];
    for (count, tone, what) in parts.into_iter().filter(|(count, ..)| *count > 0) {
        let separator = if line.len() == 1 { ": " } else { ", " };
        line.extend([(Tone::Plain, separator.to_owned()), (tone, format!("{count} {what}"))]);
    }
    if targets > 0 {
        line.push((Tone::Plain, format!("; {targets_up} of {} up", counted(targets, "target"))));
    }
    line
}

/// The summary and the rows, worst first, for a terminal of `columns` characters.
pub fn view(report: &StatusReport, columns: usize) -> Vec<Painted> {
    let mut lines = vec![summary(report)];
    if !report.clusters.is_empty() {
        lines.extend(painted_columns(&fitting(report, columns)));
    }
    lines
}

/// The same for a terminal of `columns` and `lines` that is written again and again: then the problems, and below why
/// the report is `failing` to be renewed.
pub fn screen(report: &StatusReport, columns: usize, lines: usize, failing: Option<&str>) -> Vec<Painted> {
    let mut shown = view(report, columns);
    let space = lines.saturating_sub(1);
    if shown.len() > space {
        let hidden = shown.len() + 1 - space;
        shown.truncate(space.saturating_sub(1));
        shown.push(vec![(Tone::Faint, format!("… {hidden} more"))]);
    } else {
        let problem = |status: &ClusterStatus, problem: &Problem| {
            let tone = if problem.reason.is_broken() { Tone::Bad } else { Tone::Caution };
            vec![(tone, escaped(&status.cluster)), (Tone::Plain, format!(": {}", escaped(&problem.message)))]
        };
        let problems = report
            .worst_first()
            .into_iter()
            .flat_map(|status| status.problems.iter().map(move |one| problem(status, one)));
        let space = space - shown.len();
        shown.extend([vec![]].into_iter().chain(problems).take(space));
        shown.pop_if(|last| last.is_empty());
    }
    let note = (Tone::Faint, report.time.strftime("%H:%M:%S UTC, again every 10 seconds; Ctrl-C ends").to_string());
    shown.push(vec![failing.map_or(note, |failing| (Tone::Bad, escaped(failing)))]);
    shown.into_iter().map(|line| cut(line, columns)).collect()
}

/// What changed since the report before: a line of logfmt for each cluster with another status or other problems, and
/// for each that has gone.
pub fn changes(before: Option<&StatusReport>, report: &StatusReport) -> Vec<String> {
    let of = |report: &StatusReport| -> BTreeMap<(String, String), ClusterStatus> {
        let key = |status: &ClusterStatus| (status.cluster.clone(), status.destination.clone());
        report.clusters.iter().map(|status| (key(status), status.clone())).collect()
    };
    let (mut before, now) = (before.map(of).unwrap_or_default(), report.worst_first());
    let mut lines = Vec::new();
    for status in now {
        let past = before.remove(&(status.cluster.clone(), status.destination.clone()));
        let reasons = |status: &ClusterStatus| status.problems.iter().map(|one| one.reason).collect::<Vec<_>>();
        if past.as_ref().is_some_and(|past| past.status == status.status && reasons(past) == reasons(status)) {
            continue;
        }
        let level = match status.severity() {
            Severity::NeedsAttention => Level::Error,
            Severity::HasWarnings => Level::Warn,
            Severity::Ok => Level::Info,
        };
        let worst = status.problems.first();
        let fields = [
            ("destination", Some(status.destination.clone())),
            ("cluster", Some(status.cluster.clone())),
            ("status", Some(status.status.to_owned())),
            ("was", past.map(|past| past.status.to_owned())),
            ("targets_up", status.targets.map(|targets| targets.up.to_string())),
            ("targets", status.targets.map(|targets| targets.total.to_string())),
            ("msg", worst.map(|worst| worst.message.clone())),
            ("hint", worst.map(|worst| worst.next.clone())),
        ];
        let known: Vec<(&str, String)> = fields.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        lines.push(logfmt::line(report.time, level, "status", &known));
    }
    let gone = before.into_values().map(|ClusterStatus { cluster, destination, .. }| {
        logfmt::line(report.time, Level::Info, "gone", &[("destination", destination), ("cluster", cluster)])
    });
    lines.extend(gone);
    lines
}

/// The rows with as much detail as fits.
fn fitting(report: &StatusReport, columns: usize) -> Vec<Vec<Painted>> {
    let mut narrowest = rows(report, NARROWER[0]);
    for detail in &NARROWER[1..] {
        if table_width(&narrowest) <= columns {
            return narrowest;
        }
        narrowest = rows(report, *detail);
    }
    let mut detail = NARROWER[NARROWER.len() - 1];
    // The longest of a column, without what is too much.
    let shorter = |rows: &[Vec<Painted>], column: usize| {
        let too_wide = table_width(rows).saturating_sub(columns);
        let longest = rows.iter().map(|row| width(&row[column])).max().unwrap_or_default();
        (too_wide > 0).then(|| longest.saturating_sub(too_wide).max(SHORT_NAME))
    };
    if report.destinations.len() > 1 {
        // Which destination it is says more than CPU and memory.
        for without in [DETAILS, DETAILS_AND_USAGE] {
            if table_width(&narrowest) > columns {
                detail = Detail { without, destination: Some(usize::MAX), ..detail };
                narrowest = rows(report, detail);
            }
        }
        if let Some(longest) = shorter(&narrowest, 1) {
            detail.destination = Some(longest);
            narrowest = rows(report, detail);
        }
    }
    match shorter(&narrowest, 0) {
        Some(name) => rows(report, Detail { name, ..detail }),
        None => narrowest,
    }
}

/// What distinguishes each destination from the others, by the parts between slashes: `…/prometheus-a`, `…/host-a/…`.
fn distinct(destinations: &[&str]) -> Vec<String> {
    let parts: Vec<Vec<&str>> = destinations.iter().map(|destination| destination.split('/').collect()).collect();
    let Some((first, others)) = parts.split_first() else { return Vec::new() };
    let alike = |count: &dyn Fn(&Vec<&str>) -> usize| others.iter().map(count).min().unwrap_or_default();
    let begin = alike(&|other| first.iter().zip(other).take_while(|(one, other)| one == other).count());
    let end =
        alike(&|other| first.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count());
    let short = |parts: &Vec<&str>| match parts.get(begin..parts.len().saturating_sub(end)) {
        Some(own) if own.iter().any(|part| !part.is_empty()) => {
            let (before, after) = (if begin > 0 { "…/" } else { "" }, if end > 0 { "/…" } else { "" });
            format!("{before}{}{after}", own.join("/"))
        }
        _ => parts.join("/"),
    };
    parts.iter().map(short).collect()
}

/// A line of at most as many characters.
fn cut(line: Painted, columns: usize) -> Painted {
    let mut left = columns;
    let mut kept = Painted::new();
    for (tone, text) in line {
        let text = shortened(&text, left);
        left -= text.chars().count();
        kept.push((tone, text));
    }
    kept
}

fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let kept = text.chars().take(longest.saturating_sub(1));
    if longest == 0 { String::new() } else { kept.chain(['…']).collect() }
}

fn rows(report: &StatusReport, detail: Detail) -> Vec<Vec<Painted>> {
    let several = report.destinations.len() > 1;
    let is_shown = |column: &Column| !detail.without.contains(column) && (several || *column != Column::Destination);
    let columns: Vec<(Column, &str)> = COLUMNS.into_iter().filter(|(column, _)| is_shown(column)).collect();
    let head = columns.iter().map(|(_, head)| vec![(Tone::Plain, (*head).to_owned())]).collect();
    let common = Common::of(report, detail);
    let row = |status: &ClusterStatus| columns.iter().map(|(column, _)| cell(status, *column, &common)).collect();
    [head].into_iter().chain(report.worst_first().into_iter().map(row)).collect()
}

/// What the cells of a column have in common.
struct Common {
    detail: Detail,
    /// How wide the figures before the bars are.
    cpu: usize,
    memory: usize,
    /// As they are shown.
    destinations: BTreeMap<String, String>,
}

impl Common {
    fn of(report: &StatusReport, detail: Detail) -> Self {
        let widest = |of: fn(&ClusterStatus) -> Option<String>| {
            let widths = report.clusters.iter().filter_map(of).map(|shown| shown.len());
            widths.chain([FIGURE]).max().unwrap_or_default()
        };
        let names: Vec<&str> = report.destinations.iter().map(|one| one.destination.as_str()).collect();
        let shown = match detail.destination {
            Some(longest) => distinct(&names).iter().map(|name| shortened_within(&escaped(name), longest)).collect(),
            None => names.iter().map(|name| escaped(name)).collect::<Vec<_>>(),
        };
        Self {
            detail,
            cpu: widest(|status| status.cpu_cores.map(cores)),
            memory: widest(|status| status.memory_bytes.map(memory)),
            destinations: names.into_iter().map(str::to_owned).zip(shown).collect(),
        }
    }
}

fn cell(status: &ClusterStatus, column: Column, common: &Common) -> Painted {
    let detail = common.detail;
    let known = match column {
        Column::Cluster => Some((Tone::Plain, shortened(&escaped(&status.cluster), detail.name))),
        Column::Destination => common.destinations.get(&status.destination).map(|shown| (Tone::Plain, shown.clone())),
        Column::Jobs => (!status.jobs.is_empty()).then(|| (Tone::Plain, kinds(&status.jobs))),
        Column::Token => status.token.as_ref().map(|token| token_cell(token, detail.short_token)),
        Column::Fence => status.fence.map(shown),
        Column::Nodes => status.nodes.map(|nodes| (Tone::Plain, nodes.to_string())),
        Column::Targets => status.targets.map(|TargetsStatus { up, down, total, .. }| {
            let tone = match (up, down) {
                (_, 0) => Tone::Plain,
                (0, _) => Tone::Bad,
                _ => Tone::Caution,
            };
            (tone, format!("{up}/{total}"))
        }),
        Column::Cpu => {
            let shown = status.cpu_cores.map(|used| format!("{:<1$}", cores(used), common.cpu));
            return usage(shown, status.cpu_cores, status.cpu_capacity_cores, detail);
        }
        #[expect(clippy::cast_precision_loss, reason = "a share of it is shown")]
        Column::Memory => {
            let [used, capacity] =
                [status.memory_bytes, status.memory_capacity_bytes].map(|bytes| bytes.map(|bytes| bytes as f64));
            let shown = status.memory_bytes.map(|used| format!("{:<1$}", memory(used), common.memory));
            return usage(shown, used, capacity, detail);
        }
        Column::Status => Some((
            match status.severity() {
                Severity::NeedsAttention => Tone::Bad,
                Severity::HasWarnings => Tone::Caution,
                Severity::Ok => Tone::Good,
            },
            status.status.to_owned(),
        )),
    };
    vec![known.unwrap_or_else(|| (Tone::Faint, UNKNOWN.to_owned()))]
}

/// `1250m  ███░░░░░  31%`, as far as it is known and wanted. `shown` is as wide as all of its column.
fn usage(shown: Option<String>, used: Option<f64>, capacity: Option<f64>, detail: Detail) -> Painted {
    let Some(shown) = shown else { return vec![(Tone::Faint, UNKNOWN.to_owned())] };
    let share = used.zip(capacity).map(|(used, capacity)| used / capacity).filter(|share| share.is_finite());
    let tone = match share {
        Some(CRITICAL..) => Tone::Bad,
        Some(HIGH..) => Tone::Caution,
        _ => Tone::Plain,
    };
    let (Some(cells), Some(share)) = (detail.bar, share) else {
        return vec![(tone, shown.trim_end().to_owned())];
    };
    let share = share.clamp(0.0, 1.0);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few cells"
    )]
    let full = (share * cells as f64).round() as usize;
    let mut cell =
        vec![(Tone::Plain, format!("{shown} ")), (tone, "█".repeat(full)), (Tone::Faint, "░".repeat(cells - full))];
    cell.extend(detail.percent.then(|| (tone, format!(" {:>3.0}%", share * 100.0))));
    cell
}

/// The kinds of jobs, without their places, which would fill the line.
fn kinds(jobs: &[Job]) -> String {
    let mut names: Vec<&str> = jobs.iter().map(Job::name).collect();
    names.dedup();
    names.join(",")
}

fn token_cell(status: &TokenStatus, is_short: bool) -> (Tone, String) {
    let tone = match status.state {
        _ if status.expires == NEVER => Tone::Plain,
        TokenState::Fresh | TokenState::Due => Tone::Plain,
        TokenState::Late => Tone::Caution,
        TokenState::Expired => Tone::Bad,
    };
    let text = token(status);
    let short = text.split_once(", ").filter(|_| is_short).map(|(_, left)| left.to_owned());
    (tone, short.unwrap_or(text))
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
fn shown(fence: FenceStatus) -> (Tone, String) {
    let (tone, text) = match fence {
        FenceStatus { seen: Some(FenceSeen::Present), .. } => (Tone::Plain, "present"),
        FenceStatus { seen: Some(FenceSeen::Changed), .. } => (Tone::Caution, "changed"),
        FenceStatus { required: false, .. } => (Tone::Plain, "off"),
        FenceStatus { seen: Some(FenceSeen::Absent), .. } => (Tone::Bad, "absent"),
        FenceStatus { seen: None, .. } => (Tone::Faint, "unknown"),
    };
    (tone, text.to_owned())
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
        DestinationStatus, Facts, FenceSeen as Seen, JobFacts, PrometheusFacts, Recorded, Usage,
        tests::{facts, job},
    };
    use crate::render::paint::coloured;
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
                usage: Usage { cpu_cores: Some(0.0496), memory_bytes: Some(512 * MEBI), ..Usage::default() },
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

    /// A fleet with one cluster of each kind, and healthy ones up to `count`.
    fn fleet(count: usize) -> StatusReport {
        fleet_at(&["/etc/prometheus"], count)
    }

    fn fleet_at(destinations: &[&str], count: usize) -> StatusReport {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let with_usage = |name: &str, cpu: f64, memory: u64| {
            let mut facts = facts(name);
            facts.in_prometheus.as_mut().unwrap().usage = Usage {
                cpu_cores: Some(cpu),
                cpu_capacity_cores: Some(8.0),
                memory_bytes: Some(memory * GIBI),
                memory_capacity_bytes: Some(64 * GIBI),
            };
            facts
        };
        let at = |destination: &&str| {
            let mut unfenced = with_usage("west", 7.9, 12);
            unfenced.in_cluster.as_mut().unwrap().fence = Ok(Seen::Absent);
            let mut down = with_usage("production-europe-west", 0.3, 55);
            down.in_prometheus.as_mut().unwrap().jobs =
                vec![job(Job::Cadvisor, 1, &["server returned HTTP status 503 Service Unavailable"])];
            let mut unseen = facts("north");
            unseen.in_cluster = Err("no kubeconfig".into());
            unseen.in_prometheus.as_mut().unwrap().usage = Usage::default();
            let named = (4..count).map(|number| with_usage(&format!("cluster-{number:04}"), 2.5, 20));
            let facts = named.chain([unfenced, down, unseen, with_usage("east", 1.25, 3)]);
            let here = facts.map(|facts| Facts { destination: (*destination).to_owned(), ..facts });
            here.map(|facts| ClusterStatus::new(&facts, now)).collect::<Vec<_>>()
        };
        let destination =
            |name: &&str| DestinationStatus { destination: (*name).to_owned(), reader: "Prometheus 3.16.0".into() };
        let clusters = destinations.iter().flat_map(at).collect();
        StatusReport::new(now, destinations.iter().map(destination).collect(), clusters)
    }

    #[test]
    fn view_fits_the_terminal_and_begins_with_the_worst() {
        for columns in [80, 120, 200] {
            let lines = view(&fleet(5), columns);
            assert!(lines.iter().all(|line| width(line) <= columns), "{}", plain(&lines));
            insta::assert_snapshot!(format!("view_of_{columns}_columns"), plain(&lines));
        }
        let coloured = coloured(&view(&fleet(5), 80)).replace('\u{1b}', "^");
        insta::assert_snapshot!("view_of_80_columns_in_colour", coloured);
    }

    #[test]
    fn destinations_are_shown_by_what_distinguishes_them() {
        for (destinations, expected) in [
            (&["/etc/prometheus-a", "/etc/prometheus-b"][..], &["…/prometheus-a", "…/prometheus-b"][..]),
            (&["ssh://a/etc/prometheus", "ssh://b/etc/prometheus"], &["…/a/…", "…/b/…"]),
            (&["/etc/prometheus", "ssh://b/etc/prometheus"], &["/etc/prometheus", "ssh://b/…"]),
            (&["/srv/a", "/srv/a/b"], &["/srv/a", "…/b"]),
            (&["operator://monitoring/k8s", "/etc"], &["operator://monitoring/k8s", "/etc"]),
            (&["/etc/prometheus"], &["/etc/prometheus"]),
            (&[], &[]),
        ] {
            assert_eq!(distinct(destinations), expected);
        }
        for pair in
            [["/etc/prometheus-a", "/etc/prometheus-b"], ["/etc/prometheus", "ssh://host-b.example.org/etc/prometheus"]]
        {
            let lines = view(&fleet_at(&pair, 5), 80);
            assert!(lines.iter().all(|line| width(line) <= 80), "{}", plain(&lines));
        }
        insta::assert_snapshot!(plain(&view(&fleet_at(&["ssh://a/etc/prometheus", "ssh://b/etc/prometheus"], 5), 80)));
    }

    #[test]
    fn bars_begin_in_one_column() {
        let mut report = fleet(5);
        report.clusters[0].cpu_cores = Some(123.4);
        report.clusters[0].memory_bytes = Some(200 * GIBI);
        let lines = plain(&view(&report, 200));
        let bars = |line: &str| {
            line.char_indices()
                .filter(|(_, one)| "█░".contains(*one))
                .map(|(at, _)| line[..at].chars().count())
                .collect::<Vec<_>>()
        };
        let mut begins: Vec<_> = lines.lines().map(bars).filter(|bars| !bars.is_empty()).collect();
        begins.dedup();
        assert_eq!(begins.len(), 1, "{lines}");
    }

    #[test]
    fn names_are_cut_at_the_narrowest() {
        for columns in 0..80 {
            let lines = screen(&fleet(5), columns, 24, None);
            assert!(lines.iter().all(|line| width(line) <= columns), "{columns}: {}", plain(&lines));
        }
        insta::assert_snapshot!(plain(&view(&fleet(5), 60)));
    }

    #[test]
    fn thousand_clusters_fit_on_a_screen() {
        let lines = screen(&fleet(1000), 80, 12, None);
        assert_eq!(lines.len(), 12);
        insta::assert_snapshot!(plain(&lines));
        insta::assert_snapshot!(plain(&view(&fleet(1000).only_broken(), 80)));
    }

    #[test]
    fn screen_shows_what_is_wrong_below_the_table() {
        insta::assert_snapshot!(plain(&screen(&fleet(4), 80, 24, None)));
        for lines in 0..12 {
            assert!(screen(&fleet(4), 80, lines, Some("error (NotFound): away")).len() <= lines.max(2), "{lines}");
        }
    }

    #[test]
    fn changes_are_lines_of_logfmt() {
        let report = |names: &[&str], damage: fn(&mut Facts)| {
            let now = "2026-11-24T12:00:00Z".parse().unwrap();
            let status = |name: &&str| {
                let mut facts = facts(name);
                damage(&mut facts);
                ClusterStatus::new(&facts, now)
            };
            StatusReport::new(now, Vec::new(), names.iter().map(status).collect())
        };
        let both = report(&["east", "west"], |_| {});
        let only_east = report(&["east"], |facts| facts.in_cluster.as_mut().unwrap().fence = Ok(Seen::Absent));
        assert_eq!(changes(Some(&both), &both), Vec::<String>::new());
        let lines = [changes(None, &both), changes(Some(&both), &only_east), changes(Some(&only_east), &both)].concat();
        insta::assert_snapshot!(lines.join("\n"));
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
            assert_eq!(shown(FenceStatus { required, seen }).1, expected, "{required} {seen:?}");
        }
    }
}
