//! `rotate`: new tokens for the clusters whose tokens are due, delivered with one reload; the old ones are retired.

use super::{chosen, connection, destinations, formatted, print_unit, watch};
use crate::{
    cli::{RotateArgs, SeenArgs},
    destination::{Installed, Opened},
    error::{Error, Reason, Result},
    model::{
        report::{API_VERSION, Issuer, RotateReport, RotationReport},
        store::record::Record,
        text::names::ClusterName,
        token::TokenLife,
    },
    render::{conversation, metrics::ClusterMetrics},
    stages::{
        deliver::{Deliver, directory::InPlace},
        metrics_file,
        renew::{Beside, Known, Renewed, Way},
    },
    ui::Ui,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Clusters that are renewed at the same time: enough to hide their round trips, few enough for one event loop.
const AT_ONCE: usize = 8;

pub(super) async fn run(args: RotateArgs, ui: Ui) -> Result<()> {
    if args.to.prometheus.is_empty() {
        return Err(Error::usage("rotate needs the destination whose tokens it is to replace")
            .hint("Name it with -p DIR, or in PROM_FEDERATE_PROMETHEUS"));
    }
    if args.print_unit {
        return print_unit::run(&args, ui);
    }
    if args.watch {
        return watch::run(args, ui.journal()).await;
    }
    let mut destinations = destinations(&args.to, &args.kube, ui).await?;
    let names: Vec<&str> = destinations.iter().map(Opened::name).collect();
    chosen(&args.clusters, destinations.iter().flat_map(Opened::installed), &names)?;
    let which = if args.now { Which::All(&args.clusters) } else { Which::Due(&args.clusters) };
    let (choice, connection) = connection(&args.kube, &SeenArgs::default(), ui);
    let report = rotate(&mut destinations, &which, &Way { choice, connection }, ui).await;
    if let Some(output) = args.output {
        ui.print(&formatted(output.into(), &report, &[]))?;
    }
    if let Some(file) = &args.metrics_file {
        metrics_file::write(file, &metrics(&destinations, &args.clusters, &report).await?)?;
    }
    outcome(&report)
}

/// Which clusters are to get a new token. Of names: no name means all.
pub(super) enum Which<'a> {
    /// Those of these names that are due.
    Due(&'a [ClusterName]),
    /// All of these names.
    All(&'a [ClusterName]),
    /// These, unless somebody has replaced their token meanwhile.
    Chosen(&'a BTreeMap<ClusterName, TokenLife>),
}

impl Which<'_> {
    fn includes(&self, cluster: &ClusterName) -> bool {
        match self {
            Self::Due(named) | Self::All(named) => is_named(cluster, named),
            Self::Chosen(chosen) => chosen.contains_key(cluster),
        }
    }

    /// Whether the token of one that is included is to be replaced.
    ///
    /// A rotation that was killed before anybody saw its token in use counts as none: the token before it may be in use
    /// still, and dies when the new one is due.
    fn is_wanted(&self, can_be_looked_at: bool, installed: &Installed, record: &Record, now: Timestamp) -> bool {
        let is_unfinished = || can_be_looked_at && installed.pending().next().is_some();
        match self {
            Self::Due(_) => record.token.due() <= now || is_unfinished(),
            Self::All(_) => true,
            Self::Chosen(chosen) => chosen.get(&record.cluster) == Some(&record.token),
        }
    }
}

/// Whether the command line means this cluster: no name means all.
pub(super) fn is_named(cluster: &ClusterName, named: &[ClusterName]) -> bool {
    named.is_empty() || named.contains(cluster)
}

/// One destination after the other; in each, all clusters that are due. What failed is said.
async fn rotate(destinations: &mut [Opened], which: &Which<'_>, way: &Way, ui: Ui) -> RotateReport {
    let mut clusters = Vec::new();
    for destination in destinations {
        let reports = rotate_one(destination, which, way, ui).await;
        for report in &reports {
            match (&report.failure, &report.cluster) {
                // A context is often called like its cluster.
                (Some(error), Some(cluster)) if error.message.starts_with(&format!("{cluster}: ")) => ui.error(error),
                (Some(error), Some(cluster)) => ui.error(&error.clone().about(cluster)),
                (Some(error), None) => ui.error(error),
                (None, _) => {}
            }
        }
        clusters.extend(reports);
    }
    RotateReport { api_version: API_VERSION, kind: "RotateReport", clusters }
}

/// What is wanted of one destination, with one reload. What failed is in the reports and nowhere else.
pub(super) async fn rotate_one(destination: &mut Opened, which: &Which<'_>, way: &Way, ui: Ui) -> Vec<RotationReport> {
    let name = destination.name().to_owned();
    let mut reports = Vec::new();
    let now = Timestamp::now();
    let mut due = Vec::new();
    for (cluster, installed) in destination.installed().iter().filter(|(cluster, _)| which.includes(cluster)) {
        match (record_of(installed), installed) {
            (Err(error), _) => reports.push(RotationReport::failed(&name, Some(cluster), None, &error)),
            (Ok(Some(record)), _) if record.token.never_expires() => {
                ui.say(&conversation::not_rotated(record));
                reports.push(RotationReport::not_due(&name, record));
            }
            (Ok(Some(record)), Ok(known)) if which.is_wanted(destination.can_be_looked_at(), known, record, now) => {
                due.push(record.clone());
            }
            (Ok(None), _) => {}
            (Ok(Some(record)), _) => {
                ui.say(&format!("{cluster}  not due before {}", shown(record.token.due())));
                reports.push(RotationReport::not_due(&name, record));
            }
        }
    }
    if due.is_empty() {
        return reports;
    }
    let pushed = match Deliver::as_it_is(destination) {
        Ok(push) => push_renewed(push, which, way, ui).await,
        Err(error) => Err(error),
    };
    reports.extend(pushed.unwrap_or_else(|error| due.iter().map(|old| failed(&name, old, &error)).collect()));
    reports
}

/// Under the lock: renews, delivers, retires. The error is of the destination, where nothing has begun.
async fn push_renewed(mut push: Deliver<'_>, which: &Which<'_>, way: &Way, ui: Ui) -> Result<Vec<RotationReport>> {
    let name = push.name().to_owned();
    let identity = push.begin().await?;
    // Looked at anew: somebody may have rotated since the first look.
    let now = Timestamp::now();
    let due: Vec<(&Installed, &Record)> = push
        .installed()
        .values()
        .flatten()
        .filter_map(|installed| Some((installed, installed.record()?)))
        .filter(|(_, record)| !record.token.never_expires())
        .filter(|(installed, record)| {
            which.includes(&record.cluster) && which.is_wanted(push.can_be_looked_at(), installed, record, now)
        })
        .collect();
    let mut renewed: Vec<(&Record, Result<Renewed>)> = stream::iter(due)
        .map(|(installed, record)| {
            let (identity, typed, push) = (&identity, name.as_str(), &push);
            async move {
                let beside = match (push, &installed.live) {
                    (_, None) => Err(Error::new(Reason::ClusterUnknown, "nothing is in use")),
                    (Deliver::Directory(push), Some(live)) => {
                        Ok(Beside::Files { directory: &push.destination.directory, generation: &live.generation })
                    }
                    (Deliver::Operator(push), Some(_)) => Ok(Beside::Secret(push.operator)),
                };
                let outcome = match beside {
                    Ok(beside) => Known { typed, identity, record, beside }.renew(way, ui.muted()).await,
                    Err(error) => Err(error),
                };
                (record, outcome)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    renewed.sort_by(|(one, _), (other, _)| one.cluster.cmp(&other.cluster));

    let mut reports = Vec::new();
    let mut deliveries = Vec::new();
    let mut granted = Vec::new();
    for (record, outcome) in renewed {
        match outcome {
            Ok(mut renewed) => {
                deliveries.extend(renewed.take_delivery());
                granted.push((record, renewed));
            }
            Err(error) => reports.push(failed(&name, record, &error)),
        }
    }
    let outcomes = match push.deliver(deliveries, &[]).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            granted.iter().map(|(record, _)| (record.cluster.clone(), Err(error.clone()))).collect::<Vec<_>>()
        }
    };
    for (cluster, outcome) in outcomes {
        let Some((old, renewed)) = granted.iter().find(|(record, _)| record.cluster == cluster) else { continue };
        reports.push(match outcome {
            Ok(in_place) => retired(&push, &in_place, renewed, ui).await,
            Err(error) => {
                let error = renewed.undo(error, ui.muted()).await;
                failed(&name, old, &error)
            }
        });
    }
    Ok(reports)
}

async fn retired(push: &Deliver<'_>, in_place: &InPlace, renewed: &Renewed, ui: Ui) -> RotationReport {
    let InPlace { record, placed, away, .. } = in_place;
    let by = if renewed.admin().is_some() { Issuer::Administrator } else { Issuer::Account };
    ui.say(&record.cluster.to_string());
    ui.done(&format!("new token until {}, issued by {by} and proven", shown(record.token.expires)));
    for away in away {
        ui.warn(&conversation::away(&record.cluster, away));
    }
    ui.tell(&conversation::in_place(&push.reader(), placed));
    if let Err(error) = renewed.settle(ui).await {
        ui.warn(&format!("{}: {error}; the next rotate goes on", record.cluster));
    }
    push.retire(in_place, renewed.admin(), ui).await;
    RotationReport::rotated(push.name(), record, placed, away, by)
}

/// `old` stays in use.
fn failed(destination: &str, old: &Record, error: &Error) -> RotationReport {
    let error = error.clone().hint(conversation::old_token(old.token, Timestamp::now()));
    RotationReport::failed(destination, Some(&old.cluster), Some(old), &error)
}

/// What is in use now, and what has failed.
async fn metrics(destinations: &[Opened], named: &[ClusterName], report: &RotateReport) -> Result<Vec<ClusterMetrics>> {
    let now = Timestamp::now();
    let mut metrics = Vec::new();
    for destination in destinations {
        for (cluster, installed) in destination.clusters().await? {
            let live = record_of(&installed);
            let failing = live.is_err()
                || report
                    .clusters
                    .iter()
                    .any(|report| report.failure.is_some() && report.is_about(destination.name(), &cluster));
            if is_named(&cluster, named) && !matches!(live, Ok(None)) {
                metrics.push(ClusterMetrics {
                    destination: destination.name().to_owned(),
                    cluster: cluster.to_string(),
                    token: live.ok().flatten().map(|record| record.token),
                    last_failure: failing.then_some(now),
                    failing,
                });
            }
        }
    }
    Ok(metrics)
}

/// What is in use of a cluster; none where nothing is, what a killed run left.
pub(super) fn record_of(installed: &Result<Installed>) -> Result<Option<&Record>, Error> {
    let live = installed.as_ref().map_err(Clone::clone)?.live.as_ref();
    live.map(|live| live.record.as_ref().map_err(Clone::clone)).transpose()
}

fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Exit code 1 if anything failed; what failed has been said.
fn outcome(report: &RotateReport) -> Result<()> {
    let failed = report.clusters.iter().filter(|cluster| cluster.error.is_some()).count();
    if failed == 0 {
        return Ok(());
    }
    Err(Error::new(
        Reason::RotationFailed,
        format!("{failed} of {} clusters keep their old token", report.clusters.len()),
    )
    .hint("See how long each token lives: kubectl prom-federate status -p DIR")
    .hint("Mend what is named above and run the command again"))
}
