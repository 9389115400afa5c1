//! `leave`: plan, confirm, take away and prove that it is gone.

use super::{connection, formatted};
use crate::{
    cli::{DryRunArg, LeaveArgs},
    cluster::{self, DryRun, Scraper},
    error::Result,
    model::{
        names::ClusterName,
        plan::{LeavePlan, Verb},
        report::{API_VERSION, LeaveReport, ObjectReport},
    },
    render,
    stages::take_away::TakeAway,
    ui::Ui,
};
use futures_util::future::try_join_all;

pub(super) async fn run(args: LeaveArgs, ui: Ui) -> Result<()> {
    let LeaveArgs { account, seen, how, kube } = args;
    let account = account.account();
    let (choice, connection) = connection(&kube, &seen, ui);
    let (cluster, access) = cluster::connect(cluster::select(&choice)?, &connection).await?;
    let scraper = Scraper::new(&access, &connection)?;

    let take_away = TakeAway { cluster: &cluster, scraper: &scraper, account: &account, ui };
    let mut plan = take_away.plan().await?;
    let mut report = LeaveReport {
        api_version: API_VERSION,
        kind: "LeaveReport",
        cluster: ClusterName::from_context(&cluster.context)
            .map_or_else(|| cluster.context.clone(), |name| name.to_string()),
        api_server: access.url.to_string(),
        dry_run: None,
        objects: deleted(&plan),
        spared: plan.spared.iter().map(ToString::to_string).collect(),
        token_refused_after_seconds: None,
    };
    ui.say(&format!("{}  {}", report.cluster, report.api_server));
    for spared in &report.spared {
        ui.warn(&format!("{spared} is not ours and stays"));
    }
    if let Some((suffix, mode)) = how.dry_run.suffix() {
        if how.dry_run == DryRunArg::Server {
            try_join_all(plan.deletions().map(|deletion| cluster.delete(deletion, DryRun::Server))).await?;
        }
        report.dry_run = Some(mode);
        return ui.print(&match how.output {
            Some(output) => formatted(output, &report, &report.objects),
            None => render::report::verbs(&report.objects, suffix),
        });
    }
    if report.objects.is_empty() {
        ui.done(&format!("nothing of ours is there for service account {account}"));
    } else {
        if !how.yes {
            for object in &report.objects {
                ui.say(&format!("  {} will be deleted", object.name));
            }
            ui.confirm(&format!("Leave {} ({})?", report.cluster, report.api_server), "leave")?;
        }
        report.token_refused_after_seconds = take_away.run(&mut plan).await?;
        report.objects = deleted(&plan);
        take_away.prove_gone(&plan).await?;
        ui.done("nothing of ours is left");
    }
    how.output.map_or(Ok(()), |output| ui.print(&formatted(output, &report, &report.objects)))
}

fn deleted(plan: &LeavePlan) -> Vec<ObjectReport> {
    plan.deletions()
        .map(|deletion| ObjectReport { name: deletion.reference.to_string(), verb: Verb::Deleted })
        .collect()
}
