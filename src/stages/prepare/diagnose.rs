//! Diagnose: what is true of clusters that were joined, with their own tokens and as an administrator. Reads, and nothing
//! else: what fails is an answer like any other.

use super::{discover::pinned, measure::measure, observe::survey};
use crate::{
    destination::Destination,
    error::{Error, Result},
    model::{
        plan::{self, request::JoinRequest},
        report::{
            checklist::{self, AdminFacts, CheckName, Checklist, Item},
            status::{ClusterStatus, Facts, FenceSeen, Recorded},
        },
        store::record::Record,
        text::names::ClusterName,
        token::bound_secret::BoundSecret,
    },
    stages::{
        cluster_time::ClusterTime,
        collect::Collector,
        prove::{Pages, live::with_token},
        renew::StoredCredentials,
        side_by_side::side_by_side,
    },
};
use futures_util::future::join_all;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// One cluster of one destination, checked from all sides.
pub struct Inspected {
    pub status: ClusterStatus,
    pub items: Checklist,
}

/// Proves what is there, with what is there.
pub async fn joined(collector: &Collector<'_>, clusters: &BTreeSet<ClusterName>, now: Timestamp) -> Vec<Inspected> {
    let facts = collector.run(clusters).await;
    let inspected = facts.into_iter().map(async |facts| {
        let status = ClusterStatus::new(&facts, now);
        let mut items = checklist::of_status(&status);
        if let Recorded::Record(record) = &facts.recorded {
            let time = ClusterTime::begin(collector.options.connection.timeout);
            let beyond = time.bound(async { Ok(Box::pin(beyond_status(collector, &facts, record, now)).await) });
            let unknown = |late: Error| vec![Item::unknown(CheckName::Objects, &late.about(&record.context))];
            items.extend(beyond.await.unwrap_or_else(unknown));
        }
        Inspected { status, items: Checklist(items) }
    });
    let loads = join_all(collector.destinations.iter().map(Destination::load));
    let (mut inspected, loads) = tokio::join!(side_by_side(inspected, collector.options.at_once), loads);
    // It is about all clusters of a destination, and said once.
    for (destination, load) in collector.destinations.iter().zip(loads) {
        if let Some(first) = inspected.iter_mut().find(|one| one.status.destination == destination.name()) {
            first.items.0.push(checklist::capacity(destination.name(), load));
        }
    }
    inspected
}

async fn beyond_status(collector: &Collector<'_>, facts: &Facts, record: &Record, now: Timestamp) -> Vec<Item> {
    let destination = collector.destinations.iter().find(|destination| destination.name() == facts.destination);
    let live = destination.and_then(|destination| {
        let live = destination.installed().get(&facts.cluster)?.as_ref().ok()?.live.as_ref()?;
        Some((destination, StoredCredentials::of(destination, live)))
    });
    let Some((destination, stored)) = live else { return Vec::new() };
    let connection = &collector.options.connection;
    let proven =
        async { with_token(&stored.read(record).await?, record, connection, Pages::OfTargetsThatAnswer).await };
    let (token, admin) = tokio::join!(proven, async {
        // Nothing counts before the UID is seen to fit.
        match &facts.in_cluster {
            Ok(seen) => {
                let has_guard = seen.guard == Ok(Some(FenceSeen::Present));
                Some(by_admin(collector, destination, record, has_guard).await)
            }
            Err(_) => None,
        }
    });
    let commands = facts.commands();
    let secrets = facts.in_cluster.as_ref().ok().and_then(|seen| seen.secrets.as_ref().ok());
    let is_revoked = secrets.is_some_and(|secrets| !secrets.in_use_exists);
    let again = commands.join("Restore it", record);
    let renew = if is_revoked {
        commands.join("Issue a new token", record)
    } else {
        format!("Issue a new token: {}", commands.now())
    };
    let mut items = match token {
        Ok(token) => token.items(&again, &renew, now),
        Err(error) => vec![Item::fail(CheckName::Token, &error)],
    };
    match admin {
        Some(Ok(admin)) => items.extend(admin.items(&again, record.scrape_interval)),
        Some(Err(error)) => items.push(Item::unknown(CheckName::Objects, &error)),
        None => {}
    }
    items
}

/// What an administrator sees beside what `status` shows.
async fn by_admin(
    collector: &Collector<'_>,
    destination: &Destination,
    record: &Record,
    has_guard: bool,
) -> Result<AdminFacts> {
    let (cluster, _) = collector.options_of(destination, record).await?.connect().await?;
    let request = record.request();
    let jobs = pinned(&cluster, request.jobs).await?;
    let request = JoinRequest { jobs, ..request };
    let (account, desired) = (record.account(), request.desired());
    let (survey, bindings, neighbours) = tokio::join!(
        Box::pin(survey(&cluster, &request.jobs, &desired)),
        cluster.bindings_of(&account),
        Box::pin(cluster.neighbours(&account))
    );
    let measured = match survey.nodes {
        Ok(Some(nodes)) => measure(&cluster, &record.jobs, &nodes).await.map(|measured| Some((nodes.total, measured))),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    Ok(AdminFacts {
        drift: match survey.unread.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(plan::drift(&desired, &survey.existing)),
        },
        bindings: bindings
            .map(|bindings| bindings.into_iter().filter(|binding| !desired.has(&binding.reference)).collect()),
        others: others(survey.secrets.unwrap_or_default(), destination),
        measured,
        namespace: checklist::namespace(&account, has_guard, &neighbours),
    })
}

fn others(secrets: Vec<BoundSecret>, destination: &Destination) -> Vec<BoundSecret> {
    let identity = destination.identity();
    secrets.into_iter().filter(|secret| !identity.is(&secret.destination)).collect()
}
