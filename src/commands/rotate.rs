//! `rotate`: new tokens for the clusters whose tokens are due, delivered with one reload; the old ones are retired.

use super::{connection, destinations, formatted, known_somewhere};
use crate::{
    cli::{RotateArgs, SeenArgs},
    destination::{Destination, Installed},
    error::{Error, Reason, Result},
    model::{
        names::ClusterName,
        record::Record,
        report::{API_VERSION, RotateReport, RotationReport},
    },
    render::conversation,
    stages::{
        push::{InPlace, Push},
        renew::{Known, Renewed, Way},
    },
    ui::Ui,
};
use futures_util::{StreamExt, stream};
use jiff::Timestamp;

/// Clusters that are renewed at the same time: enough to hide their round trips, few enough for one event loop.
const AT_ONCE: usize = 8;

pub(super) async fn run(args: RotateArgs, ui: Ui) -> Result<()> {
    let destinations = destinations(&args.to, &args.kube).await?;
    if destinations.is_empty() {
        return Err(Error::usage("rotate needs the destination whose tokens it is to replace")
            .hint("Name it with -p DIR, or in PROM_FEDERATE_PROMETHEUS"));
    }
    let (choice, connection) = connection(&args.kube, &SeenArgs::default(), ui);
    let report = rotate(destinations, &Which::of(&args), &Way { choice, connection }, ui).await?;
    if let Some(output) = args.output {
        ui.print(&formatted(output.into(), &report, &[]))?;
    }
    outcome(&report)
}

/// Which clusters are to get a new token.
pub(super) struct Which<'a> {
    pub(super) named: &'a [ClusterName],
    /// Also those that are not due.
    pub(super) now: bool,
}

impl<'a> Which<'a> {
    fn of(args: &'a RotateArgs) -> Self {
        Self { named: &args.clusters, now: args.now }
    }

    fn includes(&self, cluster: &ClusterName) -> bool {
        self.named.is_empty() || self.named.contains(cluster)
    }
}

/// One destination after the other; in each, all clusters that are due.
pub(super) async fn rotate(
    mut destinations: Vec<Destination>,
    which: &Which<'_>,
    way: &Way,
    ui: Ui,
) -> Result<RotateReport> {
    known_somewhere(which.named, &destinations)?;
    let mut clusters = Vec::new();
    for destination in &mut destinations {
        clusters.extend(rotate_one(destination, which, way, ui).await);
    }
    Ok(RotateReport { api_version: API_VERSION, kind: "RotateReport", clusters })
}

async fn rotate_one(destination: &mut Destination, which: &Which<'_>, way: &Way, ui: Ui) -> Vec<RotationReport> {
    let name = destination.name().to_owned();
    let mut reports = Vec::new();
    let now = Timestamp::now();
    let mut is_any_due = false;
    for (cluster, installed) in destination.installed.iter().filter(|(cluster, _)| which.includes(cluster)) {
        match record_of(installed) {
            Err(error) => reports.push(failed(&name, cluster, None, &error, ui)),
            Ok(None) => {}
            Ok(Some(record)) if record.token.never_expires() => {
                ui.say(&conversation::not_rotated(record));
                reports.push(RotationReport::not_due(&name, record));
            }
            Ok(Some(record)) if which.now || record.token.due() <= now => is_any_due = true,
            Ok(Some(record)) => {
                ui.say(&format!("{cluster}  not due before {}", shown(record.token.due())));
                reports.push(RotationReport::not_due(&name, record));
            }
        }
    }
    if !is_any_due {
        return reports;
    }
    match Push::as_it_is(destination) {
        Ok(push) => reports.extend(push_renewed(push, which, way, ui).await),
        Err(error) => {
            ui.error(&error);
            reports.push(RotationReport::failed(&name, None, None, &error));
        }
    }
    reports
}

/// Under the lock: renews, delivers, retires.
async fn push_renewed(mut push: Push<'_>, which: &Which<'_>, way: &Way, ui: Ui) -> Vec<RotationReport> {
    let name = push.destination.name().to_owned();
    let identity = match push.begin() {
        Ok(identity) => identity,
        Err(error) => {
            ui.error(&error);
            return vec![RotationReport::failed(&name, None, None, &error)];
        }
    };
    // Looked at anew: somebody may have rotated since the first look.
    let now = Timestamp::now();
    let due: Vec<(&Installed, &Record)> = push
        .destination
        .installed
        .values()
        .flatten()
        .filter_map(|installed| Some((installed, installed.record()?)))
        .filter(|(_, record)| which.includes(&record.cluster) && !record.token.never_expires())
        .filter(|(_, record)| which.now || record.token.due() <= now)
        .collect();
    let directory = &push.destination.directory;
    let renewed: Vec<(&Record, Result<Renewed>)> = stream::iter(due)
        .map(|(installed, record)| {
            let identity = &identity;
            async move {
                let generation = installed.live.as_ref().map(|live| &live.generation);
                let outcome = match generation {
                    Some(generation) => Known { directory, identity, generation, record }.renew(way, ui.muted()).await,
                    None => Err(Error::new(Reason::ClusterUnknown, "nothing is in use")),
                };
                (record, outcome)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;

    let mut reports = Vec::new();
    let mut deliveries = Vec::new();
    let mut granted = Vec::new();
    for (record, outcome) in renewed {
        match outcome {
            Ok(mut renewed) => {
                deliveries.extend(renewed.take_delivery());
                granted.push((record, renewed));
            }
            Err(error) => reports.push(failed(&name, &record.cluster, Some(record), &error, ui)),
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
                failed(&name, &cluster, Some(old), &error, ui)
            }
        });
    }
    reports
}

async fn retired(push: &Push<'_>, in_place: &InPlace, renewed: &Renewed, ui: Ui) -> RotationReport {
    let InPlace { record, placed, .. } = in_place;
    let by = if renewed.admin().is_some() { "an administrator" } else { "the account itself" };
    ui.say(&record.cluster.to_string());
    ui.done(&format!("new token until {}, issued by {by} and proven", shown(record.token.expires)));
    ui.tell(&conversation::in_place(&push.destination.reader(), placed));
    push.retire(in_place, renewed.admin(), ui).await;
    RotationReport::rotated(push.destination.name(), record, placed, by)
}

fn failed(destination: &str, cluster: &ClusterName, old: Option<&Record>, error: &Error, ui: Ui) -> RotationReport {
    let mut error = error.clone();
    if let Some(old) = old {
        error = error.hint(conversation::old_token(old.token, Timestamp::now()));
    }
    ui.error(&error.clone().about(cluster));
    RotationReport::failed(destination, Some(cluster), old, &error)
}

/// What is in use of a cluster; none where nothing is, what a killed run left.
fn record_of(installed: &Result<Installed>) -> Result<Option<&Record>, Error> {
    let live = installed.as_ref().map_err(Clone::clone)?.live.as_ref();
    live.map(|live| live.record.as_ref().map_err(Clone::clone)).transpose()
}

fn shown(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// Exit code 1 if anything failed; what failed has been said.
pub(super) fn outcome(report: &RotateReport) -> Result<()> {
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
