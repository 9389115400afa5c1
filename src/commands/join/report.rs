//! What is told of a join as data, and its dry runs.

use crate::{
    cli::Output,
    cluster::{Cluster, DryRun},
    commands::formatted,
    error::Result,
    model::{
        access::Access,
        plan::{JoinPlan, Step, request::JoinRequest},
        report::{API_VERSION, DestinationReport, JoinReport, ObjectReport, TokenReport},
    },
    render::{
        self,
        prometheus::{Header, ScrapeJobs, printed},
    },
    stages::{
        grant::{Credential, Granted, apply::validate},
        prepare::observe::Observed,
    },
    ui::Ui,
    yaml,
};
use jiff::Timestamp;
use secrecy::ExposeSecret;

pub(super) fn destination_report(destination: &str, credential: &Credential) -> DestinationReport {
    DestinationReport {
        destination: destination.to_owned(),
        fragment: None,
        token: Some(token_report(credential)),
        targets_up: None,
        targets: None,
        error: None,
    }
}

fn token_report(Credential { token, bound_secret, .. }: &Credential) -> TokenReport {
    let expires = (!token.never_expires()).then_some(token.expires);
    TokenReport {
        bound_secret: bound_secret.name.clone(),
        asked_seconds: expires.map(|_| token.asked.0),
        granted_seconds: expires.map(|_| token.granted.0),
        expires,
    }
}

pub(super) fn report(request: &JoinRequest, access: &Access, observed: &Observed, warnings: Vec<String>) -> JoinReport {
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
        destinations: Vec::new(),
        warnings,
        scrape_configs: None,
    }
}

pub(super) async fn dry_run(
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
        validate(cluster, &steps).await?
    } else {
        steps.iter().map(|step| (ObjectReport::of(step), true)).collect()
    };
    for deletion in plan.deletions() {
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
pub(super) fn result(
    jobs: ScrapeJobs<'_>,
    context: &str,
    output: Option<Output>,
    granted: &Granted,
    report: JoinReport,
) -> String {
    let Granted { objects, credentials, proof } = granted;
    let credential = &credentials[0];
    let header = Header {
        context,
        bound_secret: &credential.bound_secret.name,
        made: Timestamp::now(),
        expires: credential.token.expires,
    };
    let text = printed(jobs, &header, credential.token.secret.expose_secret());
    let Some(output) = output else {
        return text;
    };
    let report = JoinReport {
        objects: objects.clone(),
        token: Some(token_report(credential)),
        proof: Some(proof.clone()),
        scrape_configs: yaml::read(&text).ok().map(|mut jobs| jobs["scrape_configs"].take()),
        ..report
    };
    formatted(output, &report, &report.objects)
}
