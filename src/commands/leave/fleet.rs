//! Several clusters are left: all are looked at, one question is asked for all, and each destination is written and
//! reloaded once. A cluster that fails costs no other.

use super::{clear, find::Places, taken_out, teardown::ClusterTeardown};
use crate::{
    cli::{FleetArgs, KubeArgs, LeaveArgs, Side},
    commands::{
        fleet::{Contexts, Ending, Fleet, Outcomes, of_seen},
        resolve::{administrator, connect_options, teller},
    },
    destination::Destination,
    error::{Error, Reason, Result},
    model::{
        report::LeaveReport,
        text::{figures::counted, limits, names::ClusterName, shell},
    },
    render,
    stages::{
        cluster_time::ClusterTime, connect::ConnectOptions, events::Events, interrupt::until_interrupted,
        side_by_side::side_by_side,
    },
    ui::Ui,
};

/// The context of a cluster, its label if a destination knows it, and what is to be taken away.
type Planned = (String, Option<ClusterName>, Result<ClusterTeardown>);

pub(super) async fn run(
    contexts: Contexts,
    args: &LeaveArgs,
    mut destinations: Vec<Destination>,
    ui: Ui,
) -> Result<()> {
    let one = LeaveArgs { fleet: FleetArgs::default(), ..args.clone() };
    let are_named = !args.clusters.is_empty();
    let command = |context: &str, label: Option<&ClusterName>| {
        let kube = KubeArgs { context: vec![context.to_owned()], ..one.kube.clone() };
        let clusters =
            label.filter(|_| are_named).map(|label| LeaveArgs { clusters: vec![label.clone()], ..one.clone() });
        shell::plugin(clusters.unwrap_or_else(|| LeaveArgs { kube, ..one.clone() }).words())
    };
    let mut told = Outcomes::new(ui, &command);
    let places = Places { args, destinations: &destinations, ui, is_for_one: false };
    let planned = match contexts {
        Contexts::Several(fleet) if !are_named => of_contexts(&fleet, &places, &mut told).await?,
        contexts => named(&contexts, &places).await?,
    };
    let mut teardowns = Vec::new();
    for (context, label, outcome) in planned {
        match outcome {
            Ok(teardown) => {
                teardown.tell(ui);
                teardowns.push((context, teardown));
            }
            Err(error) => told.failed(&context, label.as_ref(), error, None),
        }
    }
    let jobs_go = args.only != Some(Side::Cluster);
    let (done, mut teardowns): (Vec<_>, Vec<_>) =
        teardowns.into_iter().partition(|(_, teardown)| teardown.is_done(&destinations, jobs_go));
    for (context, teardown) in done {
        told.add(&context, Some(teardown.report.cluster.clone()), NOTHING, Some(teardown.report));
    }
    for (_, teardown) in &mut teardowns {
        teardown.report.fragments = teardown.fragments(&destinations, jobs_go);
    }
    if !teardowns.is_empty() && (args.how.dry_run.is_wanted() || !args.how.yes) {
        ui.tell(&render::fleet::deletions(teardowns.iter().map(|(_, teardown)| &teardown.report)));
    }
    if args.how.dry_run.is_wanted() {
        for (context, mut teardown) in teardowns {
            let fragments = teardown.report.fragments.clone();
            match teardown.rehearse(args.how.dry_run, fragments).await {
                Ok(()) => told.add(&context, Some(teardown.report.cluster.clone()), "planned", Some(teardown.report)),
                Err(error) => told.failed(&context, teardown.label.as_ref(), error, None),
            }
        }
        return told.end(&ENDING, args.how.output);
    }
    if teardowns.is_empty() {
        return told.end(&ENDING, args.how.output);
    }
    if !args.how.yes {
        let question = format!("Leave {}?", counted(teardowns.len(), "cluster"));
        until_interrupted(async { ui.confirm(&question, "leave") }).await?;
    }

    let labels = teardowns.iter().filter(|_| jobs_go).filter_map(|(_, teardown)| teardown.label.clone());
    let labels: Vec<ClusterName> = labels.collect();
    let pushes = match taken_out(&mut destinations, &labels, ui).await {
        Ok(pushes) => pushes,
        Err(error) => {
            for (context, teardown) in teardowns {
                told.failed(&context, teardown.label.as_ref(), error.clone(), None);
            }
            return told.end(&ENDING, args.how.output);
        }
    };
    let tell = teller(ui);
    let events = Events::new(&tell);
    // The steps of several are not told, because they happen at the same time.
    let live = ui.live(teardowns.len());
    let uninstalled = teardowns.into_iter().map(async |(context, mut teardown)| {
        let _live = live.of(&teardown.report.cluster, "leaving", None);
        let outcome = teardown.uninstall(events.only_warnings()).await;
        if outcome.is_ok() {
            teardown.tell_end(ui);
            clear(&teardown, &pushes, events).await;
        }
        (context, teardown, outcome)
    });
    let uninstalled = side_by_side(uninstalled, args.fleet.parallel.get()).await;
    drop(live);
    for (context, ClusterTeardown { label, report, .. }, outcome) in uninstalled {
        match outcome {
            Ok(()) => told.add(&context, Some(report.cluster.clone()), "left", Some(report)),
            Err(error) => told.failed(&context, label.as_ref(), error, Some(report)),
        }
    }
    told.end(&ENDING, args.how.output)
}

const NOTHING: &str = "nothing to remove";

const ENDING: Ending<LeaveReport> = Ending {
    kind: "LeaveReportList",
    reason: Reason::LeftoverObjects,
    not_done: "are not left",
    column: ("DELETED", |report| Some(counted(report.objects.len(), "object"))),
    objects: |report| &report.objects,
};

/// The clusters of the contexts. Those that the destinations do not know are left already.
async fn of_contexts(fleet: &Fleet, places: &Places<'_>, told: &mut Outcomes<'_, LeaveReport>) -> Result<Vec<Planned>> {
    let Places { args, destinations, ui, .. } = places;
    fleet.refuse_what_is_about_one(of_seen(&args.seen))?;
    told.order(fleet);
    let options = connect_options(&args.kube, &args.seen, None, &args.fleet, *ui);
    let uids = fleet.uids(&options, *ui).await;
    let mut clusters = Vec::new();
    for (chosen, uid) in told.each_cluster_once(uids, |uid| Some(uid)) {
        match places.label_of(&uid) {
            None if !destinations.is_empty() => told.add(&chosen.name, None, NOTHING, None),
            label => clusters.push((chosen, label)),
        }
    }
    let live = ui.live(clusters.len());
    let planned = clusters.into_iter().map(async |(chosen, label)| {
        let _live = live.of(&chosen.name, "planning", Some(limits::for_cluster(options.connection.timeout)));
        let connect = fleet.connect(&chosen, &options);
        let planned = within(&options, async {
            match &label {
                Some(label) => places.by_label(label, &connect).await,
                None => places.printed(&connect).await,
            }
        });
        let planned = planned.await;
        (chosen.name, label, planned)
    });
    Ok(side_by_side(planned, options.at_once).await)
}

/// The clusters of these labels, each by the context of its join, or by the one of several that leads to it.
async fn named(contexts: &Contexts, places: &Places<'_>) -> Result<Vec<Planned>> {
    let Places { args, ui, .. } = places;
    if !args.kube.context.is_empty() {
        return Err(Error::usage("--context is for one cluster, and several are named")
            .hint("Omit it: leave reaches each cluster with the context of its join"));
    }
    let asks = args.only != Some(Side::Prometheus);
    let mut options = administrator(&args.kube, &args.fleet, *ui);
    if asks {
        options = contexts.administrator(options, *ui).await;
    }
    let options = &options;
    let planned = args.clusters.iter().map(|label| async move {
        let context = places.record_of(label).map_or_else(|| label.to_string(), |record| record.context.clone());
        let planned = if asks {
            within(options, places.by_label(label, options)).await
        } else {
            Ok(places.without_its_cluster(label))
        };
        (context, Some(label.clone()), planned)
    });
    Ok(side_by_side(planned, options.at_once).await)
}

/// One that does not answer in time fails alone.
async fn within<T>(options: &ConnectOptions, work: impl Future<Output = Result<T>>) -> Result<T> {
    ClusterTime::begin(options.connection.timeout).bound(Box::pin(work)).await
}
