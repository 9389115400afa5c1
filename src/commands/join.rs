//! `join`: observe, plan, confirm, grant; then print the jobs, or push them to where they are kept alive. Undone if
//! anything fails on the way.

use super::{connection, formatted, open, options};
use crate::{
    cli::{DestinationArgs, DryRunArg, FormatArg, JoinArgs, Output},
    cluster::{self, Cluster, Connection, DryRun, Reached, Scraper, reach},
    destination::Destination,
    error::{Error, Reason, Result},
    model::{
        access::Access,
        destination::{Consent, Format, Identity, Location},
        duration::Seconds,
        job::Pace,
        layout::Generation,
        names::ClusterName,
        object::Kind,
        plan::{JoinPlan, Step},
        record::{Found, Record},
        report::{API_VERSION, DestinationReport, JoinReport, ObjectReport, TokenReport},
        request::{JoinRequest, command},
        shell,
        token::TokenLife,
    },
    render::{
        self, conversation,
        prometheus::{Header, ScrapeJobs, printed},
    },
    stages::{
        apply::{Journal, validate},
        grant::{Credential, Grant, Granted},
        inspect::{Preflight, Ready},
        interrupt::until_interrupted,
        issue::random_suffix,
        observe::{Observed, Survey, survey},
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
    let JoinArgs { what, cluster_name, scrape_interval, scrape_timeout, keep_all_metrics, duration, .. } = args;
    let JoinArgs { self_renew, long_lived_token, seen, mut to, clash, how, keep_on_failure, kube, .. } = args;
    let as_script = is_script(&mut to, how.output)?;
    let options = options(&to, &kube, false)?;
    let pace = pace(scrape_interval, scrape_timeout)?;
    let unsafe_output = if to.prometheus.is_empty() { output_for_a_token(how.dry_run, how.output)? } else { None };
    let (choice, connection) = connection(&kube, &seen, ui);
    let selected = cluster::select(&choice)?;
    let is_named = cluster_name.is_some();
    let mut request = JoinRequest {
        cluster: cluster_name.map_or_else(|| name_after(&selected.context), Ok)?,
        account: what.account.account(),
        jobs: what.jobs,
        fence: what.fence.into(),
        pace,
        keep_all_metrics,
        self_renew,
        long_lived: long_lived_token,
        duration,
    };
    let (cluster, named) = cluster::connect(selected, &connection).await?;

    let desired = request.desired();
    let vantage = Location::vantage(&to.prometheus);
    let (survey, reached, opened) = tokio::join!(
        survey(&cluster, &request.account, &desired),
        reach(&cluster, named, &connection, vantage, Proof::connections(&request)),
        open(&to.prometheus, &options),
    );
    let (mut destinations, unopened) = match opened {
        Ok(destinations) => (destinations, Vec::new()),
        Err(error) => (Vec::new(), vec![error]),
    };
    if !is_named && let Some(label) = known_label(&survey, &destinations) {
        request.cluster = label;
    }
    let preflight = Preflight {
        request: &request,
        cluster: &cluster,
        consent: Consent { rename: clash.rename, replace: clash.replace },
        destinations: &destinations,
        unopened,
        survey,
        reached: &reached,
    };
    let Ready { observed, plan, renamed, permissions } = preflight.run().await.ready()?;
    let Reached { access, scraper, unreachable } = reached?;
    let left_fence = &observed.left_fence;
    let pushes = destinations.iter_mut().map(Push::new).collect::<Result<Vec<Push>>>()?;
    pushes.iter().try_for_each(|push| push.refuse_a_second_job(&request))?;

    let mut warnings = conversation::warnings(&request, &plan, left_fence);
    // A Prometheus on this very host may use a loopback address.
    warnings.extend(pushes.is_empty().then(|| conversation::loopback(&access)).flatten());
    warnings.extend(unsafe_output);
    warnings.extend(unreachable.as_ref().map(|error| conversation::unreachable(error, &cluster.url)));
    ui.tell(&conversation::found(&request, &access, unreachable.is_none(), &observed.version, permissions));
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

    let journal = Journal::default();
    let joining = Joining {
        request: &request,
        cluster: &cluster,
        access: &access,
        connection: &connection,
        is_reached: unreachable.is_none(),
        observed: &observed,
        plan: &plan,
        scraper: &scraper,
        journal: &journal,
        output: how.output,
        as_script,
        ui,
    };
    let outcome =
        if pushes.is_empty() { joining.print(report).await } else { joining.push(pushes, &renamed, report).await };
    let Err(error) = outcome else { return Ok(()) };
    if keep_on_failure {
        return Err(error.hint("--keep-on-failure: what this run created is still there"));
    }
    let leave = command("leave", &cluster.context, &request.account);
    Err(undo(&cluster, &journal, error, &leave, ui).await)
}

/// A join that was confirmed.
struct Joining<'a> {
    request: &'a JoinRequest,
    cluster: &'a Cluster,
    access: &'a Access,
    connection: &'a Connection,
    /// Whether this host can reach what Prometheus will use.
    is_reached: bool,
    observed: &'a Observed,
    plan: &'a JoinPlan,
    /// Only what Prometheus will have: makes the proof.
    scraper: &'a Scraper,
    journal: &'a Journal,
    output: Option<Output>,
    /// What is printed delivers the jobs by itself.
    as_script: bool,
    ui: Ui,
}

impl Joining<'_> {
    async fn grant(&self, identities: &[Identity]) -> Result<Granted> {
        let Self { request, cluster, observed, plan, .. } = *self;
        let grant = Grant { request, cluster, observed, plan, identities };
        until_interrupted(grant.run(self.scraper, self.journal, self.ui)).await
    }

    /// The jobs go to standard output, and no record is kept.
    async fn print(&self, report: JoinReport) -> Result<()> {
        let granted = self.grant(&[Identity::printed()]).await?;
        self.ui.print(&if self.as_script { self.script(&granted) } else { result(self, &granted, report) })?;
        let token = &granted.credentials[0].token;
        self.ui.tell(&conversation::proven(self.request, &self.observed.left_fence, token, &granted.proof));
        self.ui.tell(&[if self.as_script {
            conversation::script(self.request)
        } else {
            conversation::printed(self.request, &granted.proof)
        }]);
        Ok(())
    }

    /// The same files as a push writes, by a script, the token in it.
    fn script(&self, granted: &Granted) -> String {
        let Credential { token, bound_secret, issued } = &granted.credentials[0];
        let now = Timestamp::now();
        let found = Found {
            uid: &self.observed.uid,
            context: &self.cluster.context,
            kubernetes: &self.observed.version,
            format: Format::Prometheus,
            address_given: self.connection.api_server.is_some(),
            ca_given: self.connection.ca_file.is_some(),
            bound_secret: bound_secret.clone(),
            token: TokenLife { issued: *issued, expires: token.expires },
        };
        let record = Record::new(self.request, self.access, found);
        let generation = Generation::new(now, &random_suffix()[..6]);
        render::script::Delivery {
            request: self.request,
            record: &record,
            access: self.access,
            token: &token.secret,
            generation: &generation,
            made: now,
        }
        .text()
    }

    /// The jobs go to every destination; what they replace is retired.
    async fn push(&self, mut pushes: Vec<Push<'_>>, renamed: &[ClusterName], mut report: JoinReport) -> Result<()> {
        let ui = self.ui;
        let identities = pushes.iter_mut().map(Push::begin).collect::<Result<Vec<Identity>>>()?;
        let granted = self.grant(&identities).await?;
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
            // Whoever interrupts one means all that are left.
            let interrupted = failures.iter().find(|(_, error): &&(_, Error)| error.reason == Reason::Interrupted);
            let outcome = match interrupted {
                Some(_) => Err(Error::new(Reason::Interrupted, "interrupted before").about(push.destination.name())),
                None => self.deliver(push, credential, renamed).await,
            };
            match outcome {
                Ok(in_place) => {
                    ui.tell(&conversation::in_place(&push.destination.reader(), &in_place.placed));
                    told.placed(&in_place.placed);
                    let admin = self.admin();
                    report.objects.extend(push.retire(&in_place, Some(admin), ui).await);
                    // Prometheus may go on with the old label's jobs where nobody saw that it does not.
                    let renamed = renamed.iter().filter(|_| in_place.placed.seen.is_ok()).cloned();
                    let given_up = push.given_up(&self.observed.uid).into_iter();
                    for label in
                        &renamed.chain(given_up.filter(|label| *label != self.request.cluster)).collect::<Vec<_>>()
                    {
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
            self.journal.settle();
            for (secret, _) in &failures {
                revoke(self.cluster, &self.request.account, secret, ui).await;
            }
        }
        if let Some(output) = self.output {
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
        let access = self.access.clone();
        let delivery = Delivery { record, access, token: token.secret, must_be_seen: !self.is_reached };
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

/// Whether the jobs are printed as a script that delivers them. Then it is no format of a destination.
fn is_script(to: &mut DestinationArgs, output: Option<Output>) -> Result<bool> {
    let is_printed = to.prometheus.is_empty();
    let script = to.format.take_if(|format| *format == FormatArg::Script && is_printed);
    if script.is_some() && output.is_some() {
        return Err(Error::usage("--format=script prints a script and --output a report, both on standard output")
            .hint("Leave out one of them"));
    }
    Ok(script.is_some())
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
    let expires = (!token.never_expires()).then_some(token.expires);
    TokenReport {
        bound_secret: bound_secret.name.clone(),
        asked_seconds: expires.map(|_| token.asked.0),
        granted_seconds: expires.map(|_| token.granted.0),
        expires,
    }
}

pub(super) fn pace(interval: Seconds, timeout: Option<Seconds>) -> Result<Pace> {
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

/// The label under which one of the destinations knows the cluster already.
pub(super) fn known_label(survey: &Survey, destinations: &[Destination]) -> Option<ClusterName> {
    let uid = survey.uid.as_ref().ok()?;
    destinations.iter().find_map(|destination| destination.label_of(uid)).cloned()
}

pub(super) fn name_after(context: &str) -> Result<ClusterName> {
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
fn result(joining: &Joining, granted: &Granted, report: JoinReport) -> String {
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
    let Some(output) = joining.output else {
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
