//! `join`: observe, plan, confirm, grant; then print the jobs, or push them to where they are kept alive. Undone if
//! anything fails on the way.

use super::{connection, destinations, formatted};
use crate::{
    cli::{DryRunArg, JoinArgs, Output},
    cluster::{self, Cluster, Connection, DryRun, Scraper},
    destination::{Destination, resolve_clashes},
    error::{Error, Reason, Result},
    model::{
        access::Access,
        destination::{Consent, Identity},
        duration::Seconds,
        job::{Jobs, Pace, Selector},
        layout,
        names::ClusterName,
        plan::{JoinPlan, Step},
        record::{Found, Record},
        report::{API_VERSION, DestinationReport, JoinReport, ObjectReport, TokenReport},
        request::{JoinRequest, command},
        shell,
        token::{BoundSecret, TokenLife},
    },
    render::{
        self, conversation,
        prometheus::{Header, ScrapeJobs, printed},
    },
    stages::{
        apply::{Journal, validate},
        discover::discover,
        grant::{Credential, Grant, Granted},
        interrupt::until_interrupted,
        observe::{Observed, observe, permissions},
        prove::Proof,
        push::{Admin, Delivery, InPlace, Push},
        undo::{revoke, undo},
    },
    ui::{self, Ui},
    yaml,
};
use jiff::Timestamp;
use secrecy::ExposeSecret;

pub(super) async fn run(args: JoinArgs, ui: Ui) -> Result<()> {
    let JoinArgs { what, cluster_name, scrape_interval, scrape_timeout, federate_match, duration, .. } = args;
    let JoinArgs { keep_all_metrics, self_renew, seen, to, clash, how, keep_on_failure, kube, .. } = args;
    let pace = pace(scrape_interval, scrape_timeout)?;
    let unsafe_output = if to.prometheus.is_empty() { output_for_a_token(how.dry_run, how.output)? } else { None };
    let (choice, connection) = connection(&kube, &seen, ui);
    let selected = cluster::select(&choice)?;
    let is_named = cluster_name.is_some();
    let cluster_name = cluster_name.map_or_else(|| name_after(&selected.context), Ok)?;
    let (cluster, access) = cluster::connect(selected, &connection).await?;
    let (jobs, discovered) = discover(&cluster, &what.jobs).await?;
    let mut request = JoinRequest {
        cluster: cluster_name,
        account: what.account.account(),
        federate_match: matches(federate_match, &jobs)?,
        jobs,
        fence: what.fence.into(),
        pace,
        keep_all_metrics,
        self_renew,
        duration,
    };

    let scraper = Scraper::new(&access, &connection)?;
    let desired = request.desired();
    let (observed, reached, destinations) = tokio::join!(
        observe(&cluster, &request.jobs, &desired),
        scraper.open(Proof::connections(&request)),
        destinations(&to, &kube),
    );
    let (observed, mut destinations) = (observed?, destinations?);
    reached
        .map_err(|error| error.about(format!("{}: as Prometheus would see it ({})", cluster.context, access.origin)))?;
    if !is_named && let Some(label) = destinations.iter().find_map(|destination| destination.label_of(&observed.uid)) {
        request.cluster = label.clone();
    }
    let consent = Consent { rename: clash.rename, replace: clash.replace };
    let renamed = renamed(&request, &observed.uid, &destinations, consent)?;
    let plan = JoinPlan::new(&desired, &observed.existing).map_err(|error| error.about(&cluster.context))?;
    spare_others(&plan, &request, &observed, &destinations).map_err(|error| error.about(&cluster.context))?;
    let left_fence = &observed.left_fence;
    left_fence.admits(&request.account, &request.jobs, &cluster.context)?;
    let permissions = permissions(&cluster, &request.account, &plan, &observed).await?;
    let pushes = destinations.iter_mut().map(Push::new).collect::<Result<Vec<Push>>>()?;

    let mut warnings = conversation::warnings(&request, &plan, left_fence);
    warnings.extend(discovered);
    // A Prometheus on this very host may use a loopback address.
    warnings.extend(pushes.is_empty().then(|| conversation::loopback(&access)).flatten());
    warnings.extend(unsafe_output);
    ui.tell(&conversation::found(&request, &access, &observed.version, permissions));
    for push in &pushes {
        ui.tell(&conversation::destination(&push.destination.reader()));
    }
    for warning in &warnings {
        ui.warn(warning);
    }
    let report = report(&request, &access, &observed, warnings);
    if let Some((suffix, mode)) = how.dry_run.suffix() {
        for push in &pushes {
            ui.tell(&push.changes(&request.cluster, &renamed));
        }
        return dry_run(&cluster, &plan, report, how.output, suffix, mode, ui).await;
    }
    if !how.yes {
        let (mut changes, question) = conversation::question(&request, &access, &plan);
        for push in &pushes {
            changes.extend(push.changes(&request.cluster, &renamed));
        }
        ui.tell(&changes);
        ui.confirm(&question, "join")?;
    }

    let joining = Joining {
        request: &request,
        cluster: &cluster,
        access: &access,
        connection: &connection,
        observed: &observed,
        plan: &plan,
    };
    let journal = Journal::default();
    let outcome = if pushes.is_empty() {
        joining.print(&scraper, &journal, report, how.output, ui).await
    } else {
        joining.push(&scraper, &journal, pushes, &renamed, report, how.output, ui).await
    };
    match outcome {
        Err(error) if keep_on_failure => Err(error.hint("--keep-on-failure: what this run created is still there")),
        Err(error) => {
            let leave = command("leave", &cluster.context, &request.account);
            Err(undo(&cluster, &journal, error, &leave, ui).await)
        }
        Ok(()) => Ok(()),
    }
}

/// A join that was confirmed.
struct Joining<'a> {
    request: &'a JoinRequest,
    cluster: &'a Cluster,
    access: &'a Access,
    connection: &'a Connection,
    observed: &'a Observed,
    plan: &'a JoinPlan,
}

impl Joining<'_> {
    async fn grant(&self, scraper: &Scraper, journal: &Journal, identities: &[Identity], ui: Ui) -> Result<Granted> {
        let Self { request, cluster, access, connection, observed, plan } = *self;
        Grant { request, cluster, access, connection, observed, plan, identities }.run(scraper, journal, ui).await
    }

    /// The jobs go to standard output, and no record is kept.
    async fn print(
        &self,
        scraper: &Scraper,
        journal: &Journal,
        report: JoinReport,
        output: Option<Output>,
        ui: Ui,
    ) -> Result<()> {
        let granted = until_interrupted(async {
            let granted = self.grant(scraper, journal, &[Identity::printed()], ui).await?;
            ui.print(&result(self, &granted, report, output))?;
            Ok(granted)
        })
        .await?;
        let token = &granted.credentials[0].token;
        ui.tell(&conversation::proven(self.request, &self.observed.left_fence, token, &granted.proof));
        ui.tell(&[conversation::printed(self.request, &granted.proof)]);
        Ok(())
    }

    /// The jobs go to every destination; what they replace is retired.
    async fn push(
        &self,
        scraper: &Scraper,
        journal: &Journal,
        mut pushes: Vec<Push<'_>>,
        renamed: &[ClusterName],
        mut report: JoinReport,
        output: Option<Output>,
        ui: Ui,
    ) -> Result<()> {
        let identities = pushes.iter_mut().map(Push::begin).collect::<Result<Vec<Identity>>>()?;
        let granted = until_interrupted(self.grant(scraper, journal, &identities, ui)).await?;
        ui.tell(&conversation::proven(
            self.request,
            &self.observed.left_fence,
            &granted.credentials[0].token,
            &granted.proof,
        ));
        report.objects = granted.objects;
        report.proof = Some(granted.proof);
        let mut failures = Vec::new();
        for (push, credential) in pushes.iter().zip(granted.credentials) {
            let mut told = destination_report(push.destination.name(), &credential);
            let bound_secret = credential.bound_secret.clone();
            match self.deliver(push, credential, renamed).await {
                Ok(in_place) => {
                    ui.tell(&conversation::in_place(&push.destination.reader(), &in_place.placed));
                    told.placed(&in_place.placed);
                    let admin = self.admin();
                    report.objects.extend(push.retire(&in_place, Some(admin), ui).await);
                    for label in renamed {
                        report.objects.extend(push.clear(label, &[], Some(admin), ui).await);
                    }
                }
                Err(error) => {
                    told.error = Some(error.to_string());
                    failures.push((bound_secret, error));
                }
            }
            report.destinations.push(told);
        }
        // What another destination uses stays; with none of them everything is undone by whoever called.
        if failures.len() < pushes.len() {
            journal.settle();
            for (secret, _) in &failures {
                revoke(self.cluster, &self.request.account, secret, ui).await;
            }
        }
        if let Some(output) = output {
            ui.print(&formatted(output, &report, &report.objects))?;
        }
        worst(failures.into_iter().map(|(_, error)| error).collect(), pushes.len())
    }

    /// One destination's token, by way of its files, to the Prometheus that reads them.
    async fn deliver(&self, push: &Push<'_>, credential: Credential, renamed: &[ClusterName]) -> Result<InPlace> {
        let Credential { token, bound_secret, issued } = credential;
        let found = Found {
            uid: &self.observed.uid,
            context: &self.cluster.context,
            kubernetes: &self.observed.version,
            format: push.destination.format,
            address_given: self.connection.api_server.is_some(),
            ca_given: self.connection.ca_file.is_some(),
            bound_secret,
            token: TokenLife { issued, expires: token.expires },
        };
        let record = Record::new(self.request, self.access, found);
        let delivery = Delivery { record, access: self.access.clone(), token: token.secret };
        push.deliver(vec![delivery], renamed).await?.remove(0).1
    }

    fn admin(&self) -> Admin<'_> {
        Admin { cluster: self.cluster, account: &self.request.account, secrets: &self.observed.secrets }
    }
}

/// One error for all destinations that failed.
fn worst(mut failures: Vec<Error>, of: usize) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let first = failures.remove(0);
    let count = failures.len() + 1;
    let error = failures.into_iter().fold(first, |error, other| error.hint(format!("Also: {other}")));
    Err(if of == 1 { error } else { error.about(format!("{count} of {of} destinations failed")) })
}

/// Every destination's view of a label and a UID must agree with the user's. Returns the labels that are given up.
fn renamed(
    request: &JoinRequest,
    uid: &str,
    destinations: &[Destination],
    consent: Consent,
) -> Result<Vec<ClusterName>> {
    let mut renamed = Vec::new();
    for destination in destinations {
        if layout::is_confusing(&request.cluster) {
            return Err(Error::usage(format!(
                "the cluster name {} would be mistaken for a file of another cluster",
                request.cluster
            ))
            .hint("Choose another with --cluster-name NAME"));
        }
        renamed.extend(resolve_clashes(&request.cluster, uid, &destination.installed, consent, destination.name())?);
        let installed = match destination.installed.get(&request.cluster) {
            // Written anew by this join, whatever it says.
            Some(Err(error)) if error.reason != Reason::DestinationUnusable => return Err(error.clone()),
            Some(Ok(installed)) => installed,
            _ => continue,
        };
        if let Some(Err(error)) = installed.live.as_ref().map(|live| &live.record)
            && error.reason == Reason::RecordTooNew
        {
            return Err(error.clone());
        }
        if let Some(record) =
            installed.record().filter(|record| record.uid == uid && record.account() != request.account)
        {
            return Err(Error::new(
                Reason::ClusterKnown,
                format!(
                    "{} scrapes {} as service account {} already",
                    destination.name(),
                    request.cluster,
                    record.account()
                ),
            )
            .hint(format!("Join with the same account:{}", record.account().flags()))
            .hint(format!(
                "Or leave first: kubectl prom-federate leave {} -p {}",
                request.cluster,
                shell::word(destination.name())
            )));
        }
    }
    renamed.sort_unstable();
    renamed.dedup();
    Ok(renamed)
}

/// Rights are an account's: whoever changes them changes those of every destination that uses it.
fn spare_others(
    plan: &JoinPlan,
    request: &JoinRequest,
    observed: &Observed,
    destinations: &[Destination],
) -> Result<()> {
    if destinations.is_empty() {
        return Ok(());
    }
    let own: Vec<Identity> = destinations.iter().filter_map(|destination| destination.directory.identity()).collect();
    let now = Timestamp::now();
    let is_another = |secret: &&BoundSecret| !own.contains(&secret.destination) && !secret.has_expired(now);
    plan.spare_others(&request.account, &observed.secrets.iter().filter(is_another).collect::<Vec<_>>())
}

fn destination_report(destination: &str, credential: &Credential) -> DestinationReport {
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
    TokenReport {
        bound_secret: bound_secret.name.clone(),
        asked_seconds: token.asked.0,
        granted_seconds: token.granted.0,
        expires: token.expires,
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

/// What is federated.
fn matches(given: Vec<Selector>, jobs: &Jobs) -> Result<Vec<Selector>> {
    match (given.is_empty(), jobs.have_federate()) {
        (true, true) => Ok(Selector::defaults()),
        (false, false) => Err(Error::usage("--federate-match is about the job federate, which is not among the jobs")
            .hint("Add it: --jobs=default,federate")),
        _ => Ok(given),
    }
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
        destinations: Vec::new(),
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
fn result(joining: &Joining, granted: &Granted, report: JoinReport, output: Option<Output>) -> String {
    let Granted { objects, credentials, proof } = granted;
    let credential = &credentials[0];
    let header = Header {
        context: &joining.cluster.context,
        bound_secret: &credential.bound_secret.name,
        made: Timestamp::now(),
        expires: credential.token.expires,
    };
    let jobs = ScrapeJobs { request: joining.request, access: joining.access };
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
