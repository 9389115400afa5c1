//! The clusters of several contexts: all are looked at, one question is asked for all, and each destination is written
//! once. A cluster that fails costs no other.

use super::{
    candidate::{Candidate, ReadyToJoin, connected},
    joining::{Joining, Voice, push},
    report::{rehearsed, report},
    settings::{JoinOfOne, JoinSettings},
    warnings,
};
use crate::{
    cli::DryRunArg,
    clock,
    commands::{
        fleet::{Ending, Fleet, OTHER_LABELS, Outcomes, same_label},
        resolve::open,
        wanted::name_after,
    },
    destination::Destination,
    error::{Error, Reason, Result},
    model::{
        kube::contexts::ChosenContext,
        plan::request::JoinRequest,
        report::JoinReport,
        store::{label_conflict::Consent, location::Location},
        text::{figures::counted, names::ClusterName},
    },
    render::{self, conversation},
    stages::{
        deliver::Deliver,
        grant::apply::Journal,
        interrupt::until_interrupted,
        prepare::{
            Prepared,
            preflight::{Ready, known_label},
        },
    },
    ui::Ui,
};
use futures_util::future::try_join_all;
use std::collections::BTreeMap;

pub(super) async fn run(fleet: &Fleet, one: &JoinOfOne, settings: JoinSettings, ui: Ui) -> Result<()> {
    let JoinSettings { connect, wanted, locations, options, consent, how, keep_on_failure, .. } = settings;
    let at_once = connect.at_once;
    let place = Location::prometheus_location(&locations);
    let mut destinations = until_interrupted(Box::pin(open(&locations, &options, ui))).await?;
    // A cluster that is to be joined is kept until all are delivered together: with what its join needs, and no more.
    let look =
        async |_: &ChosenContext, connect| connected(connect, wanted.clone(), |_, _| ()).await?.looked_at(place).await;
    let judge =
        async |chosen: &ChosenContext, candidate| Box::pin(seen(chosen, candidate, &destinations, consent)).await;
    let looked = async { Ok(fleet.each_judged(&connect, ui, look, judge).await) };
    let looked = until_interrupted(Box::pin(looked)).await?;
    let command = |context: &str, label: Option<&ClusterName>| one.command(context, label);
    let mut told = Outcomes::new(ui, &command);
    told.order(fleet);
    let clusters = told.each_cluster_once(looked, |seen| seen.uid.as_deref());
    let mut ready = Vec::new();
    for (label, (context, found)) in labelled(clusters)? {
        match found {
            Found::Standing => told.add(&context, Some(label.to_string()), "unchanged", None),
            Found::Ready(one) => ready.push(*one),
            Found::Failed(error) => told.failed(&context, Some(&label), error, None),
        }
    }

    let labels: Vec<ClusterName> = ready.iter().map(|one| one.ready.prepared.request.cluster.clone()).collect();
    let pushes = destinations.iter_mut().map(|destination| Deliver::new(destination, &labels));
    let pushes = until_interrupted(try_join_all(pushes)).await?;
    let joins = without_second_jobs(ready, &pushes, &mut told);
    for push in &pushes {
        ui.tell(&conversation::destination(&push.reader()));
    }
    let mut reports = Vec::new();
    for one in &joins {
        reports.push(found(one, &pushes, ui));
    }

    if !joins.is_empty() && (how.dry_run.is_wanted() || !how.yes) {
        let labels: Vec<ClusterName> = joins.iter().map(|one| one.ready.prepared.request.cluster.clone()).collect();
        let plans = joins.iter().map(|one| &one.ready.prepared.plan);
        ui.tell(&render::fleet::changes(plans, (!wanted.long_lived).then_some(wanted.duration)));
        ui.tell(&pushes.iter().flat_map(|push| push.changes(&labels, &[])).collect::<Vec<_>>());
    }
    if how.dry_run.is_wanted() {
        let rehearsals = async {
            for (one, report) in joins.iter().zip(reports) {
                rehearsal(&one.ready.prepared, report, how.dry_run, &mut told).await;
            }
            Ok(())
        };
        until_interrupted(rehearsals).await?;
        return told.end(&ENDING, how.output);
    }
    if joins.is_empty() {
        return told.end(&ENDING, how.output);
    }
    if !how.yes {
        let question = format!("Join {}?", counted(joins.len(), "cluster"));
        until_interrupted(async { ui.confirm(&question, "join") }).await?;
    }

    let live = ui.live(joins.len());
    let joinings: Vec<Joining<'_>> = joins
        .iter()
        .map(|ReadyToJoin { ready: Ready { prepared, renamed, .. }, .. }| Joining {
            prepared,
            renamed,
            journal: Journal::default(),
            output: how.output,
            as_script: false,
            keep_on_failure,
            voice: Voice::together(ui, live.of(prepared.request.cluster.as_str(), "waiting", None)),
        })
        .collect();
    let outcomes = Box::pin(push(&joinings, pushes, reports, at_once, ui)).await;
    drop(live);
    for (joining, (report, outcome)) in joinings.iter().zip(outcomes) {
        let (context, label) = (&joining.prepared.cluster.context, &joining.prepared.request.cluster);
        match outcome {
            Ok(()) => told.add(context, Some(label.to_string()), "joined", Some(report)),
            Err(error) => told.failed(context, Some(label), error, Some(report)),
        }
    }
    told.end(&ENDING, how.output)
}

const ENDING: Ending<JoinReport> = Ending {
    kind: "JoinReportList",
    reason: Reason::JoinFailed,
    not_done: "are not joined",
    column: ("TARGETS", render::fleet::targets),
    objects: |report| &report.objects,
};

/// What is seen of the cluster of a context.
struct Seen {
    uid: Option<String>,
    /// The one that is given, that a destination knows it by, of the template, or the context's name.
    label: Result<ClusterName>,
    found: Found,
}

enum Found {
    /// A run before this one has got so far.
    Standing,
    Ready(Box<ReadyToJoin>),
    Failed(Error),
}

/// Looks at one cluster, and judges it unless it stands. Only a cluster with a label can be judged.
async fn seen(chosen: &ChosenContext, candidate: Candidate, destinations: &[Destination], consent: Consent) -> Seen {
    let uid = candidate.survey.uid.clone().ok();
    let label = chosen.label.clone().or_else(|| known_label(&candidate.survey, destinations));
    let own = || name_after(&candidate.cluster).map_err(|error| error.without_hints().hint(OTHER_LABELS));
    let label = label.or_else(|| chosen.derived.clone()).map_or_else(own, Ok);
    let found = match (&label, &uid) {
        (Err(error), _) => Found::Failed(error.clone()),
        (Ok(label), Some(uid)) if stands(destinations, uid, &candidate.request(label.clone())) => Found::Standing,
        (Ok(label), _) => match candidate.readied(label.clone(), destinations, Vec::new(), consent).await {
            Ok(ready) => Found::Ready(Box::new(ready)),
            Err(error) => Found::Failed(error),
        },
    };
    Seen { uid, label, found }
}

/// What was found of each cluster, with its context, by its label.
///
/// # Errors
/// A context that yields no label, or the label of another.
fn labelled(clusters: Vec<(ChosenContext, Seen)>) -> Result<BTreeMap<ClusterName, (String, Found)>> {
    let mut labelled: BTreeMap<ClusterName, (String, Found)> = BTreeMap::new();
    for (ChosenContext { name, .. }, Seen { label, found, .. }) in clusters {
        let label = label?;
        if let Some((other, _)) = labelled.get(&label) {
            return Err(same_label(other, &name, &label));
        }
        labelled.insert(label, (name, found));
    }
    Ok(labelled)
}

/// Whether every destination has exactly these jobs in use, with a token that is not due: a run before this one has got so
/// far.
fn stands(destinations: &[Destination], uid: &str, request: &JoinRequest) -> bool {
    let now = clock::now();
    destinations.iter().all(|destination| {
        destination.installed().values().flatten().any(|installed| {
            installed.record().is_some_and(|record| {
                record.uid == uid && record.request() == *request && !record.token.is_due(installed.arrived(), now)
            })
        })
    })
}

/// Says what was found of a cluster.
fn found(
    ReadyToJoin { ready: Ready { prepared, permissions, .. }, warnings: discovered, neighbours }: &ReadyToJoin,
    pushes: &[Deliver<'_>],
    ui: Ui,
) -> JoinReport {
    let (request, access) = (&prepared.request, &prepared.access);
    let is_reached = prepared.unreachable.is_none();
    ui.tell(&conversation::found(request, access, is_reached, &prepared.observed.version, *permissions));
    let mut warnings = warnings(prepared, pushes, discovered.clone(), None);
    warnings.extend(conversation::neighbours(request, neighbours));
    for warning in &warnings {
        ui.warn(&format!("{}: {warning}", request.cluster));
    }
    report(prepared, warnings)
}

/// Those whose jobs no other file has already.
fn without_second_jobs(
    ready: Vec<ReadyToJoin>,
    pushes: &[Deliver<'_>],
    told: &mut Outcomes<'_, JoinReport>,
) -> Vec<ReadyToJoin> {
    let mut joins = Vec::new();
    for one in ready {
        let Prepared { request, cluster, .. } = &one.ready.prepared;
        match pushes.iter().try_for_each(|push| push.refuse_a_second_job(request)) {
            Ok(()) => joins.push(one),
            Err(error) => told.failed(&cluster.context, Some(&request.cluster), error, None),
        }
    }
    joins
}

async fn rehearsal(prepared: &Prepared, report: JoinReport, mode: DryRunArg, told: &mut Outcomes<'_, JoinReport>) {
    let (context, label) = (&prepared.cluster.context, &prepared.request.cluster);
    match rehearsed(prepared, mode).await {
        Ok(objects) => {
            let objects = objects.into_iter().map(|(object, _)| object).collect();
            let report = JoinReport { dry_run: mode.word(), objects, ..report };
            told.add(context, Some(label.to_string()), "planned", Some(report));
        }
        Err(error) => told.failed(context, Some(label), error, None),
    }
}
