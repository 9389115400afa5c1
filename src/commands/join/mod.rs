//! `join`: observe, plan, confirm, grant; then print the jobs, or push them to the destinations. A failure undoes all of
//! it.

mod joining;
mod report;
mod settings;

use super::{
    resolve::{open, teller},
    wanted::name_after,
};
use crate::{
    cli::JoinArgs,
    error::{Error, Result},
    model::{report::Line, store::location::Location},
    render::conversation,
    stages::{
        deliver::Deliver,
        events::Events,
        grant::apply::Journal,
        prepare::{
            Prepared,
            discover::discover,
            preflight::{Preflight, Ready, known_label},
            survey_and_reach,
        },
    },
    ui::Ui,
};
use futures_util::future::try_join_all;
use joining::Joining;
use report::{dry_run, report};
use settings::JoinSettings;

pub(super) async fn run(args: JoinArgs, ui: Ui) -> Result<()> {
    let JoinSettings {
        connect,
        wanted,
        cluster_name,
        locations,
        options,
        consent,
        as_script,
        unsafe_output,
        how,
        keep_on_failure,
    } = JoinSettings::new(args, ui)?;
    let (cluster, named) = connect.connect().await?;
    let (jobs, discovered) =
        discover(&cluster, &wanted.jobs, wanted.route.clone(), wanted.node_selector.clone()).await?;
    let wanted = wanted.federating(&jobs)?;

    let (desired, location) = (wanted.desired(&jobs), Location::prometheus_location(&locations));
    let ((survey, reached), opened, (neighbours, _)) = tokio::join!(
        survey_and_reach(&cluster, named, &connect, &desired, location),
        open(&locations, &options),
        Box::pin(cluster.neighbours(&desired.account))
    );
    let (mut destinations, unopened) =
        opened.map_or_else(|error| (Vec::new(), vec![error]), |opened| (opened, Vec::new()));
    // A known cluster keeps its label, whatever its context is called.
    let label = cluster_name.or_else(|| known_label(&survey, &destinations));
    let label = label.map_or_else(|| name_after(&cluster), Ok)?;
    let request = wanted.request(jobs, label);
    let preflight = Preflight {
        cluster,
        options: connect,
        request,
        consent,
        destinations: &destinations,
        unopened,
        survey,
        reached,
    };
    let Ready { prepared, renamed, permissions } = Box::pin(Box::pin(preflight.run()).await.ready()).await?;
    let label = &prepared.request.cluster;
    let pushes = try_join_all(destinations.iter_mut().map(|destination| Deliver::new(destination, label))).await?;
    for push in &pushes {
        push.refuse_a_second_job(&prepared.request).await?;
    }

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
    let changes = || pushes.iter().flat_map(|push| push.changes(label, &renamed)).collect::<Vec<Line>>();
    if how.dry_run.is_wanted() {
        ui.tell(&changes());
        return dry_run(&prepared, report, &how, ui).await;
    }
    if !how.yes {
        let (mut lines, question) = conversation::question(&prepared.request, &prepared.access, &prepared.plan);
        lines.extend(changes());
        ui.tell(&lines);
        ui.confirm(&question, "join")?;
    }

    let tell = teller(ui);
    let joining = Joining {
        prepared: &prepared,
        journal: &Journal::default(),
        output: how.output,
        as_script,
        ui,
        events: Events::new(&tell),
    };
    Box::pin(joining.run(pushes, &renamed, report, keep_on_failure)).await
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
