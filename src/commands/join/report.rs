//! What is told of a join as data, and its dry runs.

use crate::{
    cli::{DestinationArgs, DryRunArg, HowArgs, JoinArgs, Output},
    clock,
    commands::resolve::formatted,
    error::Result,
    model::{
        report::{API_VERSION, DestinationReport, JoinReport, ObjectReport, TokenReport},
        store::{layout::Generation, location::Format},
        text::shell,
        token::credential::Credential,
    },
    render::{
        self,
        prometheus::{Header, ScrapeJobs, printed},
    },
    stages::{
        grant::{Granted, apply::rehearse, issue::random_suffix},
        prepare::Prepared,
    },
    ui::Ui,
    yaml,
};

pub(super) fn destination_report(destination: &str, credential: &Credential) -> DestinationReport {
    DestinationReport {
        destination: destination.to_owned(),
        fragment: None,
        reader: None,
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

pub(super) fn report(prepared: &Prepared, warnings: Vec<String>) -> JoinReport {
    let Prepared { request, access, observed, .. } = prepared;
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

/// What the run would do to the cluster, in its order, and whether the API server has validated it.
pub(super) async fn rehearsed(prepared: &Prepared, mode: DryRunArg) -> Result<Vec<(ObjectReport, bool)>> {
    let Prepared { cluster, plan, .. } = prepared;
    if mode == DryRunArg::Server {
        return rehearse(cluster, plan).await;
    }
    Ok(plan.changes().map(|change| (ObjectReport::planned(change), true)).collect())
}

/// What the run would do, in its order; with `--dry-run=server` the API server says so.
pub(super) async fn dry_run(prepared: &Prepared, report: JoinReport, how: &HowArgs, ui: Ui) -> Result<()> {
    let objects = rehearsed(prepared, how.dry_run).await?;
    let Some(output) = how.output else {
        let suffix = |validated| if validated { how.dry_run.suffix() } else { " (server dry run, not validated)" };
        let lines = objects.into_iter().map(|(object, validated)| render::report::verbs(&[object], suffix(validated)));
        return ui.print(&lines.collect::<String>());
    };
    let objects = objects.into_iter().map(|(object, _)| object).collect();
    let report = JoinReport { dry_run: how.dry_run.word(), objects, ..report };
    ui.print(&formatted(output, &report, &report.objects))
}

/// What goes to standard output, the token in it.
pub(super) fn result(prepared: &Prepared, output: Option<Output>, granted: &Granted, report: JoinReport) -> String {
    let Granted { objects, credentials, proof, .. } = granted;
    let credential = &credentials.first;
    let record = prepared.record(credential, Format::Prometheus);
    let join = shell::plugin(JoinArgs::of_record(&record, DestinationArgs::default()).words());
    let header = Header {
        context: &prepared.cluster.context,
        join: &join,
        bound_secret: &credential.bound_secret.name,
        made: clock::now(),
        expires: credential.token.expires,
    };
    let jobs = ScrapeJobs { request: &prepared.request, access: &prepared.access };
    let text = printed(jobs, &header, credential.token.secret.written());
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

/// The same files as a push writes, by a script, the token in it.
pub(super) fn script(prepared: &Prepared, credential: &Credential) -> String {
    let made = clock::now();
    render::script::Delivery {
        request: &prepared.request,
        record: &prepared.record(credential, Format::Prometheus),
        access: &prepared.access,
        token: &credential.token.secret,
        generation: &Generation::new(made, &random_suffix()[..6]),
        made,
    }
    .text()
}
