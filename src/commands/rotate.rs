//! `rotate`: new tokens for the clusters whose tokens are due, delivered together; the old ones are retired.

use super::{
    fleet::Contexts,
    print_unit,
    resolve::{administrator, chosen, destinations, formatted, teller},
    watch,
};
use crate::{
    cli::{self, FleetArgs, RotateArgs},
    clock,
    destination::Destination,
    error::{Error, Reason, Result},
    model::{
        report::{API_VERSION, RotateReport, RotationReport},
        text::names::ClusterName,
    },
    render::metrics::ClusterMetrics,
    stages::{
        connect::ConnectOptions,
        events::Events,
        interrupt::interrupted,
        metrics_file,
        rotate::{Which, is_named, record_of, rotate_one},
    },
    ui::Ui,
};

pub(super) async fn run(mut args: RotateArgs, ui: Ui) -> Result<()> {
    if args.to.prometheus.is_empty() {
        return Err(
            Error::usage("rotate needs a destination").hint("Name it with -p DIR, or in PROM_FEDERATE_PROMETHEUS")
        );
    }
    let contexts = Contexts::new(&args.fleet, &mut args.kube, None)?;
    args.fleet = FleetArgs { parallel: args.fleet.parallel, ..FleetArgs::default() };
    if let (Contexts::Several(fleet), true) = (&contexts, args.watch || args.print_unit) {
        let count = fleet.contexts.len();
        return Err(Error::usage(format!("a service takes at most one context, and {count} are meant"))
            .hint("Omit them: rotate --watch reaches each cluster with the context of its join"));
    }
    if args.print_unit {
        return print_unit::run(&args, ui).await;
    }
    if args.watch {
        return watch::run(args, ui.journal()).await;
    }
    let mut destinations = destinations(&args.to, &args.kube, ui).await?;
    let names: Vec<&str> = destinations.iter().map(Destination::name).collect();
    chosen(&args.clusters, destinations.iter().flat_map(Destination::installed), &names)?;
    let which = if args.now { Which::All(&args.clusters) } else { Which::Due(&args.clusters) };
    let options = contexts.administrator(administrator(&args.kube, &args.fleet, ui), ui).await;
    let report = rotate(&mut destinations, &which, &options, ui).await;
    if let Some(output) = args.output {
        ui.print(&formatted(output.into(), &report, &[]))?;
    }
    if let Some(file) = &args.metrics_file {
        metrics_file::write(file, &metrics(&mut destinations, &args.clusters, &report).await?).await?;
    }
    outcome(&report)
}

/// One destination after the other; in each, all clusters that are due. What failed is said.
async fn rotate(destinations: &mut [Destination], which: &Which<'_>, options: &ConnectOptions, ui: Ui) -> RotateReport {
    let mut clusters = Vec::new();
    let tell = teller(ui);
    for destination in destinations {
        let reports = rotate_one(destination, which, options, cli::next, Events::new(&tell)).await;
        for report in &reports {
            match (&report.failure, &report.cluster) {
                // A context is often called like its cluster.
                (Some(error), Some(cluster)) if error.is_about(cluster) => ui.error(error),
                (Some(error), Some(cluster)) => ui.error(&error.clone().about(cluster)),
                (Some(error), None) => ui.error(error),
                (None, _) => {}
            }
        }
        clusters.extend(reports);
    }
    RotateReport { api_version: API_VERSION, kind: "RotateReport", clusters }
}

/// What is in use now, and what has failed.
async fn metrics(
    destinations: &mut [Destination],
    named: &[ClusterName],
    report: &RotateReport,
) -> Result<Vec<ClusterMetrics>> {
    let now = clock::now();
    let mut metrics = Vec::new();
    for destination in destinations {
        destination.read_clusters_again().await?;
        for (cluster, installed) in destination.installed() {
            let live = record_of(installed);
            let failing = live.is_err()
                || report
                    .clusters
                    .iter()
                    .any(|report| report.failure.is_some() && report.is_about(destination.name(), cluster));
            if is_named(cluster, named) && !matches!(live, Ok(None)) {
                metrics.push(ClusterMetrics {
                    destination: destination.name().to_owned(),
                    cluster: cluster.to_string(),
                    token: live.ok().flatten().map(|record| record.token),
                    last_failure: failing.then_some(now),
                    failing,
                    limits: None,
                });
            }
        }
    }
    Ok(metrics)
}

/// Exit code 1 if anything failed; what failed has been said.
fn outcome(report: &RotateReport) -> Result<()> {
    let failed = report.clusters.iter().filter(|cluster| cluster.error.is_some()).count();
    if failed == 0 {
        return Ok(());
    }
    let all = report.clusters.len();
    let is_in_doubt = |one: &&RotationReport| one.failure.as_ref().is_some_and(Error::is_in_doubt);
    let kept = match report.clusters.iter().filter(is_in_doubt).count() {
        0 => format!("{failed} of {all} clusters keep their old token"),
        doubtful => format!("the rotation of {failed} of {all} clusters failed; {doubtful} may use the new token"),
    };
    let (error, next) = match interrupted() {
        Some(signal) => {
            let error = Error::new(Reason::Interrupted, format!("interrupted by {signal}: {kept}"));
            (error, "Run the command again: it replaces the tokens that are due")
        }
        None => (Error::new(Reason::RotationFailed, kept), "Fix the problems above and run the command again"),
    };
    Err(error.hint("Show the expiry of each token: kubectl prom-federate status -p DIR").hint(next))
}
