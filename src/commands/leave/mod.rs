//! `leave`: plan, confirm, take the jobs out of the destinations, take the access away and prove that it is gone.

mod find;
mod fleet;
mod teardown;

use super::{
    fleet::Contexts,
    resolve::{administrator, chosen, connect_options, destinations, formatted, teller},
};
use crate::{
    cli::{LeaveArgs, Side},
    destination::Destination,
    error::{Error, Reason, Result},
    model::text::names::ClusterName,
    render,
    stages::{deliver::Deliver, events::Events, interrupt::until_interrupted},
    ui::Ui,
};
use find::Places;
use std::slice;
use teardown::ClusterTeardown;

pub(super) async fn run(mut args: LeaveArgs, ui: Ui) -> Result<()> {
    let contexts = Contexts::new(&args.fleet, &mut args.kube, None)?;
    let destinations = destinations(&args.to, &args.kube, ui).await?;
    let names: Vec<&str> = destinations.iter().map(Destination::name).collect();
    chosen(&args.clusters, destinations.iter().flat_map(Destination::installed), &names)?;
    if args.only == Some(Side::Prometheus) && args.clusters.is_empty() {
        return Err(Error::usage("--only prometheus contacts no cluster, so name the clusters: CLUSTER... -p DIR")
            .hint("List them: kubectl prom-federate status -p DIR"));
    }
    match contexts {
        Contexts::One { .. } if args.clusters.len() < 2 => Box::pin(one(&args, destinations, ui)).await,
        contexts => Box::pin(fleet::run(contexts, &args, destinations, ui)).await,
    }
}

async fn one(args: &LeaveArgs, mut destinations: Vec<Destination>, ui: Ui) -> Result<()> {
    let places = Places { args, destinations: &destinations, ui, is_for_one: true };
    let mut teardown = match args.clusters.first() {
        Some(label) if args.only == Some(Side::Prometheus) => places.without_its_cluster(label),
        Some(label) => places.by_label(label, &administrator(&args.kube, &args.fleet, ui)).await?,
        None => places.by_context(&connect_options(&args.kube, &args.seen, None, &args.fleet, ui)).await?,
    };
    let jobs_go = args.only != Some(Side::Cluster);
    teardown.tell(ui);
    let fragments = teardown.fragments(&destinations, jobs_go);
    if args.how.dry_run.is_wanted() {
        teardown.rehearse(args.how.dry_run, fragments).await?;
        return rehearsed(&teardown, args, ui);
    }
    if teardown.is_done(&destinations, jobs_go) {
        let what = if teardown.report.used_by.is_empty() { "nothing" } else { "nothing else" };
        let whose = teardown
            .side
            .as_ref()
            .map_or_else(|| teardown.report.cluster.clone(), |side| format!("service account {}", side.account));
        ui.done(&format!("{what} to remove for {whose}"));
        return print(&teardown, args, ui);
    }
    if !args.how.yes {
        for gone in fragments.iter().chain(teardown.report.objects.iter().map(|object| &object.name)) {
            ui.say(&format!("  {gone} will be deleted"));
        }
        let question = format!("Leave {}?", teardown.report.cluster);
        until_interrupted(async { ui.confirm(&question, "leave") }).await?;
    }
    let labels = teardown.label.as_ref().filter(|_| jobs_go).map(slice::from_ref).unwrap_or_default();
    let pushes = taken_out(&mut destinations, labels, ui).await?;
    teardown.report.fragments = fragments;
    let tell = teller(ui);
    let events = Events::new(&tell);
    if let Err(error) = teardown.uninstall(events).await {
        ui.error(&error);
        print(&teardown, args, ui)?;
        let reason = if error.reason == Reason::Interrupted { Reason::Interrupted } else { Reason::LeftoverObjects };
        return Err(Error::new(reason, format!("could not remove everything of {}", teardown.report.cluster))
            .hint("Fix the problems above and run leave again: it continues"));
    }
    teardown.tell_end(ui);
    clear(&teardown, &pushes, events).await;
    print(&teardown, args, ui)
}

/// Removes the jobs of these clusters from every destination that has them.
async fn taken_out<'a>(
    destinations: &'a mut [Destination],
    labels: &[ClusterName],
    ui: Ui,
) -> Result<Vec<Deliver<'a>>> {
    let known = |installed: &Destination| labels.iter().any(|label| installed.installed().contains_key(label));
    let mut pushes = Vec::new();
    for destination in destinations.iter_mut().filter(|destination| known(destination)) {
        let mut push = Deliver::to_remove(destination);
        push.begin(&[]).await?;
        pushes.push(push);
    }
    let tell = teller(ui);
    for push in &pushes {
        let known: Vec<ClusterName> =
            labels.iter().filter(|label| push.installed().contains_key(label)).cloned().collect();
        let reloaded = push.take_out(&known, Events::new(&tell)).await?;
        ui.done(&format!("removed the jobs from {}: {} {reloaded}", push.name(), push.reader().name));
    }
    Ok(pushes)
}

/// Deletes what the destinations remember of a cluster that is left.
async fn clear(teardown: &ClusterTeardown, pushes: &[Deliver<'_>], events: Events<'_>) {
    for (label, push) in teardown.label.iter().flat_map(|label| pushes.iter().map(move |push| (label, push))) {
        push.clear(label, None, events).await;
    }
}

fn rehearsed(teardown: &ClusterTeardown, args: &LeaveArgs, ui: Ui) -> Result<()> {
    if args.how.output.is_some() {
        return print(teardown, args, ui);
    }
    let suffix = args.how.dry_run.suffix();
    let files = teardown.report.fragments.iter().map(|file| format!("{file} deleted{suffix}\n"));
    let objects = render::report::verbs(&teardown.report.objects, suffix);
    ui.print(&files.chain([objects]).collect::<String>())
}

fn print(ClusterTeardown { report, .. }: &ClusterTeardown, args: &LeaveArgs, ui: Ui) -> Result<()> {
    args.how.output.map_or(Ok(()), |output| ui.print(&formatted(output, report, &report.objects)))
}
