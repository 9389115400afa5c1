//! `join`: observe, plan, confirm, grant and print; undone if anything fails on the way.

use super::{connection, formatted, until_interrupted};
use crate::{
    cli::{DryRunArg, JoinArgs, Output},
    cluster::{self, Cluster, DryRun, Scraper},
    error::{Error, Result},
    model::{
        access::Access,
        duration::Seconds,
        job::Pace,
        names::ClusterName,
        object::Kind,
        plan::{JoinPlan, Step},
        report::{API_VERSION, JoinReport, ObjectReport, TokenReport},
        request::{JoinRequest, command},
        shell,
    },
    render::{
        self, conversation,
        prometheus::{Header, ScrapeJobs, fragment},
    },
    stages::{
        apply::{Journal, validate},
        grant::{Grant, Granted},
        observe::{Observed, observe, permissions},
        prove::Proof,
        undo::undo,
    },
    ui::{self, Ui},
    yaml,
};
use jiff::Timestamp;
use secrecy::ExposeSecret;

pub(super) async fn run(args: JoinArgs, ui: Ui) -> Result<()> {
    let JoinArgs {
        what,
        cluster_name,
        scrape_interval,
        scrape_timeout,
        keep_all_metrics,
        duration,
        self_renew,
        seen,
        how,
        kube,
    } = args;
    let pace = pace(scrape_interval, scrape_timeout)?;
    let unsafe_output = output_for_a_token(how.dry_run, how.output)?;
    let (choice, connection) = connection(&kube, &seen, ui);
    let selected = cluster::select(&choice)?;
    let request = JoinRequest {
        cluster: cluster_name.map_or_else(|| name_after(&selected.context), Ok)?,
        account: what.account.account(),
        jobs: what.jobs,
        fence: what.fence.into(),
        pace,
        keep_all_metrics,
        duration,
        self_renew,
    };
    let (cluster, access) = cluster::connect(selected, &connection).await?;

    let scraper = Scraper::new(&access, &connection)?;
    let desired = request.desired();
    let (observed, reached) =
        tokio::join!(observe(&cluster, &request.account, &desired), scraper.open(Proof::connections(&request)));
    let observed = observed?;
    reached
        .map_err(|error| error.about(format!("{}: as Prometheus would see it ({})", cluster.context, access.origin)))?;
    let plan = JoinPlan::new(&desired, &observed.existing).map_err(|error| error.about(&cluster.context))?;
    let permissions = permissions(&cluster, &request.account, &plan, observed.may_everything).await?;

    let mut warnings = conversation::warnings(&request, &access, &plan);
    warnings.extend(unsafe_output);
    ui.tell(&conversation::found(&request, &access, &observed.version, permissions));
    for warning in &warnings {
        ui.warn(warning);
    }
    let report = report(&request, &access, &observed, warnings);
    if let Some((suffix, mode)) = how.dry_run.suffix() {
        return dry_run(&cluster, &plan, report, how.output, suffix, mode, ui).await;
    }
    if !how.yes {
        let (changes, question) = conversation::question(&request, &access, &plan);
        ui.tell(&changes);
        ui.confirm(&question, "join")?;
    }

    let journal = Journal::default();
    let grant = Grant {
        request: &request,
        cluster: &cluster,
        access: &access,
        connection: &connection,
        observed: &observed,
        plan: &plan,
    };
    let outcome = until_interrupted(async {
        let granted = grant.run(&scraper, &journal, ui).await?;
        ui.print(&result(&request, &access, &cluster.context, &granted, report, how.output))?;
        Ok(granted)
    });
    match outcome.await {
        Ok(granted) => {
            ui.tell(&conversation::joined(&request, &granted.token, &granted.proof));
            Ok(())
        }
        Err(error) => {
            let leave = command("leave", &cluster.context, &request.account);
            Err(undo(&cluster, &journal, error, &leave, ui).await)
        }
    }
}

fn pace(interval: Seconds, timeout: Option<Seconds>) -> Result<Pace> {
    let timeout = timeout.unwrap_or(interval.min(Seconds(30)));
    if timeout > interval {
        return Err(Error::usage(format!(
            "--scrape-timeout {timeout} is longer than --scrape-interval {interval}; Prometheus refuses such a job"
        ))
        .hint("Make the timeout at most the interval, or leave it out"));
    }
    Ok(Pace { interval, timeout })
}

/// Looks at where the token will go, before there is one; a warning if others may read it there.
fn output_for_a_token(dry_run: DryRunArg, output: Option<Output>) -> Result<Option<String>> {
    match (dry_run, output) {
        (DryRunArg::None, Some(Output::Name)) => {
            Err(Error::usage("--output=name leaves out the scrape jobs, so the new token would be lost")
                .hint("Use it with --dry-run=server; --output=json shows names and jobs"))
        }
        (DryRunArg::None, _) => ui::standard_output(),
        _ => Ok(None),
    }
}

fn name_after(context: &str) -> Result<ClusterName> {
    ClusterName::from_context(context).ok_or_else(|| {
        Error::usage(format!("no cluster name can be made of the context {}", shell::word(context)))
            .hint("Name the cluster with --cluster-name NAME")
    })
}

fn report(request: &JoinRequest, access: &Access, observed: &Observed, warnings: Vec<String>) -> JoinReport {
    JoinReport {
        api_version: API_VERSION,
        kind: "JoinReport",
        cluster: request.cluster.to_string(),
        cluster_uid: observed.uid.clone(),
        api_server: access.url.to_string(),
        version: observed.version.clone(),
        dry_run: None,
        objects: Vec::new(),
        token: None,
        proof: None,
        warnings,
        scrape_configs: None,
    }
}

async fn dry_run(
    cluster: &Cluster,
    plan: &JoinPlan,
    report: JoinReport,
    output: Option<Output>,
    suffix: &str,
    mode: &'static str,
    ui: Ui,
) -> Result<()> {
    let steps: Vec<&Step> = plan.steps().collect();
    let mut objects = if mode == "server" {
        validate(cluster, &steps, plan.creates(Kind::Namespace)).await?
    } else {
        steps.iter().map(|step| (ObjectReport::of(step), true)).collect()
    };
    for deletion in plan.retired.deletions() {
        if mode == "server" {
            cluster.delete(deletion, DryRun::Server).await?;
        }
        objects.push((ObjectReport::deleted(&deletion.reference), true));
    }
    let Some(output) = output else {
        let lines = objects.into_iter().map(|(object, validated)| {
            render::report::verbs(&[object], if validated { suffix } else { " (server dry run, not validated)" })
        });
        return ui.print(&lines.collect::<String>());
    };
    let objects = objects.into_iter().map(|(object, _)| object).collect();
    let report = JoinReport { dry_run: Some(mode), objects, ..report };
    ui.print(&formatted(output, &report, &report.objects))
}

/// What goes to standard output, the token in it.
fn result(
    request: &JoinRequest,
    access: &Access,
    context: &str,
    granted: &Granted,
    report: JoinReport,
    output: Option<Output>,
) -> String {
    let Granted { objects, token, bound_secret, proof } = granted;
    let header = Header { context, bound_secret, made: Timestamp::now(), expires: token.expires };
    let text = fragment(ScrapeJobs { request, access }, &header, token.secret.expose_secret());
    let Some(output) = output else {
        return text;
    };
    let report = JoinReport {
        objects: objects.clone(),
        token: Some(TokenReport {
            bound_secret: bound_secret.clone(),
            asked_seconds: token.asked.0,
            granted_seconds: token.granted.0,
            expires: token.expires,
        }),
        proof: Some(proof.clone()),
        scrape_configs: yaml::read(&text).ok().map(|mut jobs| jobs["scrape_configs"].take()),
        ..report
    };
    formatted(output, &report, &report.objects)
}
