//! `join`: observe, plan, confirm, grant; then print the jobs, or push them to the destinations. A failure undoes all of
//! it.

mod candidate;
mod fleet;
mod joining;
mod report;
mod settings;
mod wizard;

use super::{
    resolve::{formatted, open, wait_for},
    wanted::name_after,
};
use crate::{
    cli::JoinArgs,
    error::{Error, Result},
    model::{report::Line, store::location::Location, text::shell, token::clock},
    render::conversation,
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
use candidate::{ReadyToJoin, connected};
use futures_util::future::try_join_all;
use joining::{Joining, Voice, push};
use report::{dry_run, report};
use settings::JoinSettings;
use std::slice;

pub(super) async fn run(args: JoinArgs, ui: Ui) -> Result<()> {
    if !args.interactive {
        return Box::pin(as_told(args, ui)).await;
    }
    let args = Box::pin(wizard::answered(args, ui)).await?;
    let command = shell::plugin(args.words());
    let outcome = Box::pin(as_told(args, ui)).await;
    ui.say(&format!("The same without the questions before the plan: {command}"));
    outcome
}

async fn as_told(args: JoinArgs, ui: Ui) -> Result<()> {
    let mut settings = JoinSettings::new(args, ui)?;
    match settings.fleet.take() {
        Some((fleet, one)) => Box::pin(fleet::run(&fleet, &one, settings, ui)).await,
        None => Box::pin(one(settings, ui)).await,
    }
}

/// The cluster of one context.
async fn one(settings: JoinSettings, ui: Ui) -> Result<()> {
    let JoinSettings {
        fleet: _,
        connect,
        wanted,
        cluster_name,
        derived,
        locations,
        options,
        consent,
        as_script,
        unsafe_output,
        how,
        keep_on_failure,
    } = settings;
    let connected =
        until_interrupted(Box::pin(connected(connect, wanted, |cluster, time| wait_for(cluster, time, ui)))).await?;
    let location = Location::prometheus_location(&locations);
    let looked = async { Ok(tokio::join!(connected.looked_at(location), open(&locations, &options, ui))) };
    let (candidate, opened) = until_interrupted(Box::pin(looked)).await?;
    let candidate = candidate?;
    let (mut destinations, unopened) =
        opened.map_or_else(|error| (Vec::new(), vec![error]), |opened| (opened, Vec::new()));
    // A known cluster keeps its label, whatever its context is called.
    let label = cluster_name.or_else(|| known_label(&candidate.survey, &destinations)).or(derived);
    let label = label.map_or_else(|| name_after(&candidate.cluster), Ok)?;
    let ready = candidate.readied(label, &destinations, unopened, consent);
    let ready = until_interrupted(Box::pin(ready)).await?;
    let ReadyToJoin { ready, warnings: discovered, neighbours } = ready;
    let Ready { prepared, renamed, permissions } = ready;
    let label = &prepared.request.cluster;
    let pushes = destinations.iter_mut().map(|destination| Deliver::new(destination, slice::from_ref(label)));
    let pushes = until_interrupted(try_join_all(pushes)).await?;
    pushes.iter().try_for_each(|push| push.refuse_a_second_job(&prepared.request))?;

    let mut warnings = warnings(&prepared, &pushes, discovered, unsafe_output);
    warnings.extend(conversation::neighbours(&prepared.request, &neighbours));
    ui.tell(&conversation::found(
        &prepared.request,
        &prepared.access,
        prepared.unreachable.is_none(),
        &prepared.observed.version,
        permissions,
    ));
    for push in &pushes {
        ui.tell(&conversation::destination(&push.reader()));
    }
    for warning in &warnings {
        ui.warn(warning);
    }
    let report = report(&prepared, warnings);
    let changes =
        || pushes.iter().flat_map(|push| push.changes(slice::from_ref(label), &renamed)).collect::<Vec<Line>>();
    if how.dry_run.is_wanted() {
        ui.tell(&changes());
        return until_interrupted(dry_run(&prepared, report, &how, ui)).await;
    }
    if !how.yes {
        let (mut lines, question) = conversation::question(&prepared.request, &prepared.access, &prepared.plan);
        lines.extend(changes());
        ui.tell(&lines);
        until_interrupted(async { ui.confirm(&question, "join") }).await?;
    }

    let joining = Joining {
        prepared: &prepared,
        renamed: &renamed,
        journal: Journal::default(),
        output: how.output,
        as_script,
        keep_on_failure,
        voice: Voice::AtOnce(ui),
    };
    if pushes.is_empty() {
        return Box::pin(joining.print(report, ui)).await;
    }
    let joined = Box::pin(push(&[joining], pushes, vec![report], 1, ui)).await;
    let (report, outcome) = joined.into_iter().next().expect("one cluster was pushed");
    if let (Some(output), false) = (how.output, report.destinations.is_empty()) {
        ui.print(&formatted(output, &report, &report.objects))?;
    }
    outcome
}

/// The warnings before the question.
fn warnings(
    prepared: &Prepared,
    pushes: &[Deliver],
    discovered: Vec<String>,
    unsafe_output: Option<String>,
) -> Vec<String> {
    let Prepared { cluster, access, unreachable, request, observed, kubelets, plan, .. } = prepared;
    let mut warnings = conversation::warnings(request, plan, &observed.left_fence);
    let clock = cluster.clock().and_then(|lead| lead.told("the API server"));
    warnings.extend(clock.map(|told| format!("{told}. {}", clock::CORRECT)));
    let of_pushes = pushes.iter().flat_map(|push| push.warnings(&observed.secrets));
    warnings.extend(discovered.into_iter().chain(of_pushes));
    // A Prometheus on this very host may use a loopback address.
    warnings.extend(pushes.is_empty().then(|| conversation::loopback(access)).flatten());
    warnings.extend(unsafe_output);
    warnings.extend(kubelets.distrusted.iter().map(Error::to_string));
    warnings.extend(pushes.is_empty().then(|| conversation::handover(plan)).flatten());
    warnings.extend(prepared.kubelets_are_unseen().then(conversation::kubelets_are_to_be_seen));
    warnings.extend(unreachable.as_ref().map(|error| conversation::unreachable(error, &cluster.url)));
    warnings
}
