//! Rotate: the clusters of one destination that are due, renewed at the same time, delivered together; what they
//! replace is retired.

use super::{
    cluster_time::ClusterTime,
    connect::ConnectOptions,
    deliver::{Deliver, delivery::DeliveryResult},
    events::Events,
    renew::{Known, NotRenewed, Renewed, StoredCredentials},
    side_by_side::side_by_side,
};
use crate::{
    clock,
    cluster::network,
    destination::{Destination, Installed},
    error::{Error, Reason, Result},
    model::{
        report::{
            Issuer, ObjectReport, RotationReport,
            event::{Event, Wait},
            status::Write,
        },
        store::record::Record,
        text::{limits, names::ClusterName},
        token::{TokenLife, clock::ClockLead},
    },
    render::conversation,
};
use futures_util::future::join_all;
use jiff::Timestamp;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

/// Which clusters are to get a new token. Of names: no name means all.
pub enum Which<'a> {
    /// Those of these names that are due.
    Due(&'a [ClusterName]),
    /// All of these names.
    All(&'a [ClusterName]),
    /// These clusters, unless another run has replaced their token meanwhile.
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
    /// A rotation that was killed before its token was verified to be in use does not count: the previous token may still
    /// be in use, and expires when the new one is due.
    fn is_wanted(&self, can_be_verified: bool, installed: &Installed, record: &Record, now: Timestamp) -> bool {
        let is_unfinished = || can_be_verified && installed.pending().next().is_some();
        match self {
            Self::Due(_) => record.token.is_due(installed.arrived(), now) || is_unfinished(),
            Self::All(_) => true,
            Self::Chosen(chosen) => chosen.get(&record.cluster) == Some(&record.token),
        }
    }
}

/// Whether the command line means this cluster: no name means all.
pub fn is_named(cluster: &ClusterName, named: &[ClusterName]) -> bool {
    named.is_empty() || named.contains(cluster)
}

/// What is wanted of one destination, delivered together. What failed is in the reports and nowhere else.
pub async fn rotate_one(
    destination: &mut Destination,
    which: &Which<'_>,
    options: &ConnectOptions,
    write: Write,
    events: Events<'_>,
) -> Vec<RotationReport> {
    let name = destination.name().to_owned();
    let mut reports = Vec::new();
    let now = clock::now();
    let mut due = Vec::new();
    for (cluster, installed) in destination.installed().iter().filter(|(cluster, _)| which.includes(cluster)) {
        match (record_of(installed), installed) {
            (Err(error), _) => reports.push(RotationReport::failed(&name, Some(cluster), None, &error)),
            (Ok(Some(record)), _) if record.token.never_expires() => {
                events.report(Event::NotRotated(Box::new(record.clone())));
                reports.push(RotationReport::not_due(&name, record));
            }
            (Ok(Some(record)), Ok(known)) if which.is_wanted(destination.can_be_verified(), known, record, now) => {
                due.push(record.clone());
            }
            (Ok(None), _) => {}
            (Ok(Some(record)), known) => {
                let arrived = known.as_ref().ok().and_then(Installed::arrived);
                events.report(Event::NotDue { cluster: cluster.clone(), due: record.token.due_here(arrived) });
                reports.push(RotationReport::not_due(&name, record));
            }
        }
    }
    if due.is_empty() {
        return reports;
    }
    let pushed = match Deliver::as_it_is(destination).await {
        Ok(push) => {
            events.report(Event::Reader(push.reader()));
            push_renewed(push, which, options, write, events).await
        }
        Err(error) => Err(error),
    };
    reports.extend(pushed.unwrap_or_else(|error| due.iter().map(|old| failed(&name, old, None, &error)).collect()));
    reports
}

/// Under the lock: renews, delivers, retires. The error is of the destination, where nothing has begun.
async fn push_renewed(
    mut push: Deliver<'_>,
    which: &Which<'_>,
    options: &ConnectOptions,
    write: Write,
    events: Events<'_>,
) -> Result<Vec<RotationReport>> {
    let name = push.name().to_owned();
    let options = &options.reading_once();
    let identity = push.begin(&[]).await?;
    // Read again: another run may have rotated since the first read.
    let now = clock::now();
    let due: Vec<(&Installed, &Record)> = push
        .installed()
        .values()
        .flatten()
        .filter_map(|installed| Some((installed, installed.record()?)))
        .filter(|(_, record)| !record.token.never_expires())
        .filter(|(installed, record)| {
            which.includes(&record.cluster) && which.is_wanted(push.can_be_verified(), installed, record, now)
        })
        .collect();
    network::raise_open_files(due.len(), options.at_once);
    if !due.is_empty() && options.choice.read.as_ref().is_none_or(|kubeconfig| !kubeconfig.may_ask()) {
        let rounds = u32::try_from(due.len().div_ceil(options.at_once)).unwrap_or(u32::MAX);
        let within = limits::for_cluster(options.connection.timeout).saturating_mul(rounds);
        events.waits(Wait::Renewals(due.len()), Some(within));
    }
    let renewals = due.into_iter().map(|(installed, record)| {
        let (identity, typed, push) = (&identity, name.as_str(), &push);
        async move {
            let stored = match (push, &installed.live) {
                (_, None) => Err(Error::new(Reason::ClusterUnknown, "no jobs are in use")),
                (Deliver::Directory(push), Some(live)) => {
                    Ok(StoredCredentials::Files { directory: &push.destination.folder, generation: &live.generation })
                }
                (Deliver::Operator(push), Some(_)) => Ok(StoredCredentials::Secret(push.operator)),
            };
            match stored {
                Ok(stored) => {
                    let known = Known { typed, identity, record, stored, write, clock: Cell::default() };
                    let outcome = known.renew(options, events.rights_of(&record.cluster)).await;
                    (record, outcome, known.clock.get())
                }
                Err(error) => (record, Err(error.into()), None),
            }
        }
    });
    let renewed: Vec<(&Record, Result<Renewed, NotRenewed>, Option<ClockLead>)> =
        side_by_side(renewals, options.at_once).await;

    let mut not_renewed = Vec::new();
    let mut deliveries = Vec::new();
    let mut granted = Vec::new();
    for (record, outcome, clock) in renewed {
        match outcome {
            Ok(mut renewed) => {
                deliveries.extend(renewed.take_delivery());
                granted.push((record, renewed, clock));
            }
            Err(error) => not_renewed.push((record, error, clock)),
        }
    }
    let outcomes = match push.deliver(deliveries, &[], events).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            granted.iter().map(|(record, ..)| (record.cluster.clone(), Err(error.clone()))).collect::<Vec<_>>()
        }
    };
    let work = outcomes.into_iter().filter_map(|(cluster, outcome)| {
        Some((granted.iter().find(|(record, ..)| record.cluster == cluster)?, outcome))
    });
    let work = work.map(async |((old, renewed, clock), outcome)| {
        let told = RefCell::new(Vec::new());
        let tell = |event| told.borrow_mut().push(event);
        let report = settle(&push, (old, *clock), renewed, outcome, options, Events::new(&tell)).await;
        (report, told.into_inner())
    });
    // At the same time, and told for one cluster after the other.
    let mut reports = Vec::new();
    for (report, told) in side_by_side(work, options.at_once).await {
        for event in told {
            events.report(event);
        }
        reports.push(report);
    }
    // After the delivery, which does not wait for a cluster that answers slowly.
    let undone = not_renewed.into_iter().map(async |(record, not_renewed, clock)| {
        failed(&name, record, clock, &not_renewed.undo(events.rights_of(&record.cluster)).await)
    });
    let mut all = join_all(undone).await;
    all.append(&mut reports);
    Ok(all)
}

/// What follows the delivery of one cluster. `old` is the record before, `clock` that of the API server.
async fn settle(
    push: &Deliver<'_>,
    (old, clock): (&Record, Option<ClockLead>),
    renewed: &Renewed,
    outcome: Result<DeliveryResult>,
    options: &ConnectOptions,
    events: Events<'_>,
) -> RotationReport {
    let mut objects = renewed.objects.clone();
    let in_place = match outcome {
        Ok(in_place) => in_place,
        Err(error) => {
            let error = renewed.undo(error, events.only_warnings()).await;
            return RotationReport { objects, ..failed(push.name(), old, clock, &error) };
        }
    };
    let DeliveryResult { record, placed, away, .. } = &in_place;
    let by = if renewed.admin().is_some() { Issuer::Administrator } else { Issuer::Account };
    let (cluster, expires) = (record.cluster.clone(), record.token.expires);
    events.report(Event::Rotated { cluster: cluster.clone(), expires, by, away: away.clone() });
    events.report(Event::InPlace { reader: push.reader(), placed: placed.clone() });
    let time = || ClusterTime::begin(options.connection.timeout);
    match time().bound(Box::pin(renewed.hand_over(events))).await {
        Ok(handed_over) => objects.extend(handed_over.objects.into_iter().filter(ObjectReport::changes_rights)),
        Err(error) => events.report(Event::NotSettled { cluster: cluster.clone(), error }),
    }
    let retired = async { Ok(Box::pin(push.retire(&in_place, renewed.admin(), events)).await) };
    if let Err(error) = time().bound(retired).await {
        events.report(Event::NotClearedAway { cluster, error });
    }
    RotationReport { objects, ..RotationReport::rotated(push.name(), record, placed, away, by) }
}

/// `old` stays in use, unless the new token may be.
fn failed(destination: &str, old: &Record, clock: Option<ClockLead>, error: &Error) -> RotationReport {
    let mut error = error.clone();
    if !error.is_in_doubt() {
        error = error.hint(conversation::old_token(old.token, clock, clock::now()));
    }
    RotationReport::failed(destination, Some(&old.cluster), Some(old), &error)
}

/// What is in use of a cluster; none where nothing is, what a killed run left.
pub fn record_of(installed: &Result<Installed>) -> Result<Option<&Record>, Error> {
    let live = installed.as_ref().map_err(Clone::clone)?.live.as_ref();
    live.map(|live| live.record.as_ref().map_err(Clone::clone)).transpose()
}
