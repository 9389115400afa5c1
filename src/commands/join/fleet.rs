//! The clusters of several contexts: all are looked at, one question is asked for all, and each destination is written
//! once. A cluster that fails costs no other.

use super::{
    candidate::{Candidate, ReadyToJoin, connected},
    joining::{Joining, Voice, push},
    report::{rehearsed, report},
    settings::{Fleet, JoinSettings},
    warnings,
};
use crate::{
    cli::{DryRunArg, Output},
    cluster::network,
    commands::{
        resolve::{formatted, open},
        wanted::{WantedJoin, name_after},
    },
    destination::Destination,
    error::{Error, Reason, Result},
    model::{
        access::PrometheusLocation,
        kube::contexts::ChosenContext,
        plan::request::JoinRequest,
        report::{API_VERSION, FleetReport, FleetRow, JoinReport},
        store::location::Location,
        text::{figures::counted, limits, names::ClusterName, shell},
    },
    render::{self, conversation},
    stages::{
        collect::late,
        connect::ConnectOptions,
        deliver::Deliver,
        grant::apply::Journal,
        interrupt::interrupted,
        prepare::{
            Prepared,
            preflight::{Ready, known_label},
        },
    },
    ui::Ui,
};
use futures_util::{StreamExt, future::try_join_all, stream};
use jiff::Timestamp;
use std::collections::BTreeMap;
use tokio::time::timeout;

pub(super) async fn run(fleet: Fleet, settings: JoinSettings, ui: Ui) -> Result<()> {
    let JoinSettings { connect, wanted, locations, options, consent, how, keep_on_failure, .. } = settings;
    let at_once = fleet.at_once;
    network::raise_open_files(fleet.contexts.len());
    let looks = look(&fleet, &connect, &wanted, Location::prometheus_location(&locations));
    let (looked, opened) = tokio::join!(looks, open(&locations, &options));
    let mut destinations = opened?;
    let mut told = Told { ui, fleet: &fleet, rows: Vec::new() };
    let candidates = labelled(told.each_cluster_once(looked), &destinations)?;

    let (standing, candidates): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|(label, candidate)| {
        candidate.survey.uid.as_ref().is_ok_and(|uid| stands(&destinations, uid, &candidate.request(label.clone())))
    });
    told.rows.extend(standing.into_iter().map(|(label, candidate)| FleetRow {
        cluster: Some(label.to_string()),
        ..row(&candidate.cluster.context, "unchanged")
    }));
    let looked_at = candidates.into_iter().map(async |(label, candidate)| {
        let context = candidate.cluster.context.clone();
        (context, label.clone(), candidate.readied(label, &destinations, Vec::new(), consent).await)
    });
    let looked_at: Vec<_> = stream::iter(looked_at).buffered(at_once).collect().await;
    let mut ready = Vec::new();
    for (context, label, outcome) in looked_at {
        match outcome {
            Ok(one) => ready.push(one),
            Err(error) => told.failed(&context, Some(&label), error, None),
        }
    }

    let labels: Vec<ClusterName> = ready.iter().map(|one| one.ready.prepared.request.cluster.clone()).collect();
    let pushes = destinations.iter_mut().map(|destination| Deliver::new(destination, &labels));
    let pushes = try_join_all(pushes).await?;
    let joins = told.without_second_jobs(ready, &pushes).await;
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
        for (one, report) in joins.iter().zip(reports) {
            told.rehearsed(&one.ready.prepared, report, how.dry_run).await;
        }
        return told.end(how.output);
    }
    if joins.is_empty() {
        return told.end(how.output);
    }
    if !how.yes {
        ui.confirm(&format!("Join {}?", counted(joins.len(), "cluster")), "join")?;
    }

    let joinings: Vec<Joining<'_>> = joins
        .iter()
        .map(|ReadyToJoin { ready: Ready { prepared, renamed, .. }, .. }| Joining {
            prepared,
            renamed,
            journal: Journal::default(),
            output: how.output,
            as_script: false,
            keep_on_failure,
            voice: Voice::together(ui),
        })
        .collect();
    let outcomes = Box::pin(push(&joinings, pushes, reports, at_once)).await;
    for (joining, (report, outcome)) in joinings.iter().zip(outcomes) {
        let (context, label) = (&joining.prepared.cluster.context, &joining.prepared.request.cluster);
        match outcome {
            Ok(()) => told.rows.push(FleetRow {
                cluster: Some(label.to_string()),
                report: Some(report),
                ..row(context, "joined")
            }),
            Err(error) => told.failed(context, Some(label), error, Some(report)),
        }
    }
    told.end(how.output)
}

const LABELS_IN_A_FILE: &str = "Give labels in a file of lines LABEL=CONTEXT, and use --contexts-from FILE";

/// What is seen of each context. One that does not answer in time fails alone.
async fn look(
    fleet: &Fleet,
    connect: &ConnectOptions,
    wanted: &WantedJoin,
    place: PrometheusLocation,
) -> Vec<(ChosenContext, Result<Candidate>)> {
    let within = limits::for_cluster(connect.connection.timeout);
    let looks = fleet.contexts.iter().cloned().map(|chosen| {
        let (mut connect, wanted) = (connect.clone(), wanted.clone());
        connect.choice.context = Some(chosen.name.clone());
        async move {
            let look = async { Ok(connected(connect, wanted).await?.looked_at(place).await) };
            (chosen, timeout(within, look).await.unwrap_or_else(|_| Err(late(within))))
        }
    });
    stream::iter(looks).buffered(fleet.at_once).collect().await
}

/// The label of each cluster: the one that is given, that a destination knows it by, or its context's name.
///
/// # Errors
/// A context that yields no label, or the label of another.
fn labelled(
    candidates: Vec<(ChosenContext, Candidate)>,
    destinations: &[Destination],
) -> Result<Vec<(ClusterName, Candidate)>> {
    let mut labelled: BTreeMap<ClusterName, Candidate> = BTreeMap::new();
    for (chosen, candidate) in candidates {
        let label = chosen.label.or_else(|| known_label(&candidate.survey, destinations));
        let own = || name_after(&candidate.cluster).map_err(|error| error.without_hints().hint(LABELS_IN_A_FILE));
        let label = label.map_or_else(own, Ok)?;
        if let Some(other) = labelled.get(&label) {
            let (one, other) = (shell::word(&other.cluster.context), shell::word(&chosen.name));
            return Err(Error::usage(format!("the contexts {one} and {other} would both get the label {label}"))
                .hint(LABELS_IN_A_FILE));
        }
        labelled.insert(label, candidate);
    }
    Ok(labelled.into_iter().collect())
}

/// Whether every destination has exactly these jobs in use, with a token that is not due: a run before this one has got so
/// far.
fn stands(destinations: &[Destination], uid: &str, request: &JoinRequest) -> bool {
    let now = Timestamp::now();
    destinations.iter().all(|destination| {
        let records = destination.installed().values().flatten().filter_map(|installed| installed.record());
        let mut of_cluster = records.filter(|record| record.uid == uid);
        of_cluster.any(|record| record.request() == *request && record.token.due() > now)
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

fn row(context: &str, result: &str) -> FleetRow {
    FleetRow {
        context: context.to_owned(),
        cluster: None,
        result: result.to_owned(),
        reason: None,
        error: None,
        next: None,
        report: None,
    }
}

/// What came of each context so far.
struct Told<'a> {
    ui: Ui,
    fleet: &'a Fleet,
    rows: Vec<FleetRow>,
}

impl Told<'_> {
    fn failed(&mut self, context: &str, label: Option<&ClusterName>, error: Error, report: Option<JoinReport>) {
        let error = if error.is_about(&context) { error } else { error.about(context) };
        self.ui.error(&error);
        self.rows.push(FleetRow {
            cluster: label.map(ToString::to_string),
            reason: Some(error.reason.to_string()),
            error: Some(error.to_string()),
            next: Some(self.fleet.command(context, label)),
            report,
            ..row(context, "failed")
        });
    }

    /// Those whose jobs no other file has already.
    async fn without_second_jobs(&mut self, ready: Vec<ReadyToJoin>, pushes: &[Deliver<'_>]) -> Vec<ReadyToJoin> {
        let mut joins = Vec::new();
        for one in ready {
            let Prepared { request, cluster, .. } = &one.ready.prepared;
            match try_join_all(pushes.iter().map(|push| push.refuse_a_second_job(request))).await {
                Ok(_) => joins.push(one),
                Err(error) => self.failed(&cluster.context, Some(&request.cluster), error, None),
            }
        }
        joins
    }

    async fn rehearsed(&mut self, prepared: &Prepared, report: JoinReport, mode: DryRunArg) {
        let (context, label) = (&prepared.cluster.context, &prepared.request.cluster);
        match rehearsed(prepared, mode).await {
            Ok(objects) => {
                let objects = objects.into_iter().map(|(object, _)| object).collect();
                let report = Some(JoinReport { dry_run: mode.word(), objects, ..report });
                self.rows.push(FleetRow { cluster: Some(label.to_string()), report, ..row(context, "planned") });
            }
            Err(error) => self.failed(context, Some(label), error, None),
        }
    }

    /// Contexts of one cluster count once.
    fn each_cluster_once(
        &mut self,
        looked: Vec<(ChosenContext, Result<Candidate>)>,
    ) -> Vec<(ChosenContext, Candidate)> {
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        let mut candidates = Vec::new();
        for (chosen, outcome) in looked {
            let candidate = match outcome {
                Ok(candidate) => candidate,
                Err(error) => {
                    self.failed(&chosen.name, None, error, None);
                    continue;
                }
            };
            if let Ok(uid) = &candidate.survey.uid {
                if let Some(other) = first.get(uid) {
                    let same = format!("same cluster as {other}");
                    self.ui.warn(&format!("{}: {same}, which is used", chosen.name));
                    self.rows.push(row(&chosen.name, &same));
                    continue;
                }
                first.insert(uid.clone(), chosen.name.clone());
            }
            candidates.push((chosen, candidate));
        }
        candidates
    }

    /// Exit code 1 if anything failed; what failed has been said.
    fn end(self, output: Option<Output>) -> Result<()> {
        let Self { ui, rows: items, .. } = self;
        let failed = items.iter().filter(|row| row.error.is_some()).count();
        let of = items.len();
        let report = FleetReport { api_version: API_VERSION, kind: "JoinReportList", items };
        let objects: Vec<_> =
            report.items.iter().filter_map(|row| row.report.as_ref()).flat_map(|one| one.objects.clone()).collect();
        ui.print(&output.map_or_else(|| render::fleet::table(&report), |output| formatted(output, &report, &objects)))?;
        if let Some(signal) = interrupted() {
            return Err(Error::new(
                Reason::Interrupted,
                format!("interrupted by {signal}: {failed} of {of} contexts are not joined"),
            )
            .hint("Run the command again: it goes on with what is missing"));
        }
        if failed == 0 {
            return Ok(());
        }
        Err(Error::new(Reason::JoinFailed, format!("{failed} of {of} contexts are not joined"))
            .hint("Fix the problems above and run the command again: it goes on with what is missing"))
    }
}
