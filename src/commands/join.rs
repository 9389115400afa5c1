//! `join`: observe, plan, confirm, grant; then print the jobs, or push them to where they are kept alive. Undone if
//! anything fails on the way.

use super::{connection, formatted, open, options};
use crate::{
    cli::{DestinationArgs, DryRunArg, FormatArg, HowArgs, JoinArgs, KubeArgs, Output, WhatArgs},
    cluster::{self, Cluster, Connection, DryRun, Reached, Scraper, reach},
    destination::{Opened, Options},
    error::{Error, Reason, Result},
    model::{
        access::Access,
        destination::{Consent, Format, Identity, Location},
        duration::Seconds,
        job::{Jobs, Pace, Selector},
        layout::Generation,
        names::ClusterName,
        object::Fence,
        plan::{JoinPlan, Step},
        record::{Found, Record},
        report::{API_VERSION, DestinationReport, JoinReport, ObjectReport, TokenReport},
        request::{JoinRequest, command},
        route::{Pins, Route},
        shell,
        token::TokenLife,
    },
    render::{
        self, conversation,
        prometheus::{Header, ScrapeJobs, printed},
    },
    stages::{
        apply::{Journal, validate},
        deliver::Deliver,
        discover::discover,
        grant::{Credential, Grant, Granted},
        inspect::{Preflight, Ready, seen_by_another},
        interrupt::until_interrupted,
        issue::random_suffix,
        kubelets::Kubelets,
        observe::{Observed, Survey, survey},
        prove::Proof,
        push::{Admin, Delivery, InPlace},
        settle::{Settled, Settlement},
        undo::{revoke, undo},
    },
    ui::{self, Ui},
    yaml,
};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use std::pin::pin;

pub(super) async fn run(args: JoinArgs, ui: Ui) -> Result<()> {
    let JoinArgs { what, cluster_name, scrape_interval, scrape_timeout, federate_match, duration, .. } = args;
    let JoinArgs { keep_all_metrics, self_renew, long_lived_token, seen, mut to, clash, how, .. } = args;
    let JoinArgs { keep_on_failure, pin_nodes, kubelet_ca_file, kube, .. } = args;
    let WhereTo { as_script, options, unsafe_output } = where_to(&mut to, &how, &kube, ui)?;
    let route = route(&what, pin_nodes, kubelet_ca_file.is_some())?;
    let pace = pace(scrape_interval, scrape_timeout)?;
    let (choice, connection) = connection(&kube, &seen, ui);
    let connection = Connection { kubelet_ca_file, ..connection };
    let selected = cluster::select(&choice)?;
    let is_named = cluster_name.is_some();
    let cluster_name = cluster_name.map_or_else(|| name_after(&selected.context), Ok)?;
    let (cluster, named) = cluster::connect(selected, &connection).await?;
    let (jobs, discovered) = discover(&cluster, &what.jobs, route).await?;
    let mut request = JoinRequest {
        cluster: cluster_name,
        account: what.account.account(),
        federate_match: federated(federate_match, &jobs)?,
        jobs,
        fence: what.fence.into(),
        pace,
        keep_all_metrics,
        self_renew,
        long_lived: long_lived_token,
        duration,
    };

    let desired = request.desired();
    let vantage = Location::vantage(&to.prometheus);
    let (survey, reached, opened) = tokio::join!(
        survey(&cluster, &request.jobs, &desired),
        reach(&cluster, named, &connection, vantage, Proof::connections(&request)),
        open(&to.prometheus, &options),
    );
    let (mut destinations, unopened) =
        opened.map_or_else(|error| (Vec::new(), vec![error]), |opened| (opened, Vec::new()));
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
    let by_route = ByRoute::look(&cluster, &request.jobs, &observed, &access, &connection).await?;
    by_route.out_of_reach.iter().try_for_each(|error| seen_by_another(error, &destinations, |_| false))?;
    let left_fence = &observed.left_fence;
    let pushes = destinations.iter_mut().map(Deliver::new).collect::<Result<Vec<Deliver>>>()?;
    pushes.iter().try_for_each(|push| push.refuse_a_second_job(&request))?;

    let mut warnings = conversation::warnings(&request, &plan, left_fence);
    warnings.extend(discovered.into_iter().chain(pushes.iter().flat_map(Deliver::warnings)));
    // A Prometheus on this very host may use a loopback address.
    warnings.extend(pushes.is_empty().then(|| conversation::loopback(&access)).flatten());
    warnings.extend(unsafe_output);
    warnings.extend(by_route.warnings(&plan, pushes.is_empty()));
    warnings.extend(unreachable.as_ref().map(|error| conversation::unreachable(error, &cluster.url)));
    ui.tell(&conversation::found(&request, &access, unreachable.is_none(), &observed.version, permissions));
    for push in &pushes {
        ui.tell(&conversation::destination(&push.reader()));
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
        is_reached: unreachable.is_none() && by_route.out_of_reach.is_none(),
        observed: &observed,
        kubelets: &by_route.kubelets,
        plan: &plan,
        scraper: &scraper,
        journal: &journal,
        output: how.output,
        as_script,
        ui,
    };
    joining.run(pushes, &renamed, report, keep_on_failure).await
}

/// The kubelets, as far as the route makes them matter.
struct ByRoute {
    kubelets: Kubelets,
    /// Why only Prometheus itself can show that it reaches those that its jobs go to.
    out_of_reach: Option<Error>,
}

impl ByRoute {
    async fn look(
        cluster: &Cluster,
        jobs: &Jobs,
        observed: &Observed,
        access: &Access,
        connection: &Connection,
    ) -> Result<Self> {
        let looked = Kubelets::on(jobs.route(), observed.nodes.as_ref(), access, connection).await;
        let kubelets = looked.map_err(|error| error.about(&cluster.context))?;
        let out_of_reach = kubelets.are_unseen(jobs.route()).then(conversation::no_kubelet);
        Ok(Self { kubelets, out_of_reach })
    }

    fn warnings(&self, plan: &JoinPlan, is_printed: bool) -> Vec<String> {
        let mut warnings: Vec<String> = self.kubelets.distrusted.iter().map(Error::to_string).collect();
        warnings.extend(is_printed.then(|| conversation::handover(plan)).flatten());
        let itself = |error: &Error| format!("{error}; Prometheus itself has to show that it reaches them");
        warnings.extend(self.out_of_reach.as_ref().map(itself));
        warnings
    }
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
    kubelets: &'a Kubelets,
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
    /// What it created is undone if it fails, unless that is to be kept.
    async fn run(
        &self,
        pushes: Vec<Deliver<'_>>,
        renamed: &[ClusterName],
        report: JoinReport,
        keep_on_failure: bool,
    ) -> Result<()> {
        let outcome =
            if pushes.is_empty() { self.print(report).await } else { self.push(pushes, renamed, report).await };
        match outcome {
            Err(error) if keep_on_failure => Err(error.hint("--keep-on-failure: what this run created is still there")),
            Err(error) => {
                let leave = command("leave", &self.cluster.context, &self.request.account);
                Err(undo(self.cluster, self.journal, error, &leave, self.ui).await)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn grant(&self, identities: &[Identity]) -> Result<Granted> {
        let Self { request, cluster, observed, kubelets, plan, .. } = *self;
        let grant = Grant { request, cluster, observed, kubelets, plan, identities, needs_every_page: true };
        let granting = Box::pin(until_interrupted(grant.run(self.scraper, self.journal, self.ui)));
        let (granted, reaches_kubelets) = beside(granting, Box::pin(self.reaches_a_kubelet())).await;
        let granted = granted?;
        self.ui.tell(&conversation::proven(
            request,
            &observed.left_fence,
            &granted.credentials[0].token,
            &granted.proof,
        ));
        if self.output.is_none() {
            self.ui.tell(conversation::safer(request, reaches_kubelets == Some(true)).as_slice());
        }
        Ok(granted)
    }

    /// Whether the other route would work from here. Nobody waits for it.
    async fn reaches_a_kubelet(&self) -> bool {
        let nodes = self.observed.nodes.as_ref().filter(|_| *self.request.jobs.route() == Route::ApiServer);
        let Some(nodes) = nodes.filter(|_| self.output.is_none()) else { return false };
        let found = Kubelets::look(&nodes.candidates[..1], self.access, self.connection).await;
        found.is_ok_and(|found| !found.proven.is_empty())
    }

    /// The jobs go to standard output, and no record is kept.
    async fn print(&self, report: JoinReport) -> Result<()> {
        let granted = self.grant(&[Identity::printed()]).await?;
        self.ui.print(&if self.as_script { self.script(&granted) } else { result(self, &granted, report) })?;
        let token = &granted.credentials[0].token;
        self.ui.tell(&[if self.as_script {
            conversation::script(self.request)
        } else {
            conversation::printed(self.request, &granted.proof)
        }]);
        self.settle(&token.secret).await.map(drop)
    }

    /// The new jobs are in use, so what failed from here on undoes nothing.
    async fn settle(&self, token: &SecretString) -> Result<Settled> {
        let Self { request, cluster, observed, kubelets, plan, .. } = *self;
        self.journal.settle();
        let settled =
            Settlement { request, cluster, observed, kubelets, plan }.run(self.scraper, token, self.ui).await?;
        self.ui.tell(&conversation::settled(plan, settled.refused_by_kubelet));
        Ok(settled)
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
    async fn push(&self, mut pushes: Vec<Deliver<'_>>, renamed: &[ClusterName], mut report: JoinReport) -> Result<()> {
        let ui = self.ui;
        let mut identities = Vec::new();
        for push in &mut pushes {
            identities.push(push.begin().await?);
        }
        let granted = self.grant(&identities).await?;
        report.objects = granted.objects;
        report.proof = Some(granted.proof);
        let mut failures = Vec::new();
        let token = granted.credentials[0].token.secret.clone();
        let mut are_taken_up = true;
        for (push, credential) in pushes.iter().zip(granted.credentials) {
            let mut told = destination_report(push.name(), &credential);
            let bound_secret = credential.bound_secret.clone();
            // Whoever interrupts one means all that are left.
            let interrupted = failures.iter().find(|(_, error): &&(_, Error)| error.reason == Reason::Interrupted);
            let outcome = match interrupted {
                Some(_) => Err(Error::new(Reason::Interrupted, "interrupted before").about(push.name())),
                None => self.deliver(push, credential, renamed).await,
            };
            match outcome {
                Ok(in_place) => {
                    ui.tell(&conversation::in_place(&push.reader(), &in_place.placed));
                    told.placed(&in_place.placed);
                    are_taken_up &= in_place.is_taken_up;
                    let admin = self.admin();
                    report.objects.extend(push.retire(&in_place, Some(admin), ui).await);
                    // Prometheus may go on with the old label's jobs where nobody saw that it does not.
                    let renamed = renamed.iter().filter(|_| in_place.placed.seen.is_ok()).cloned();
                    let given_up = push.given_up(&self.observed.uid).into_iter();
                    for label in
                        &renamed.chain(given_up.filter(|label| *label != self.request.cluster)).collect::<Vec<_>>()
                    {
                        report.objects.extend(push.clear(label, Some(admin), ui).await);
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
        let mut failures: Vec<Error> = failures.into_iter().map(|(_, error)| error).collect();
        if failures.is_empty() && are_taken_up {
            match self.settle(&token).await {
                Ok(settled) => {
                    report.objects.extend(settled.objects);
                    if let Some(proof) = report.proof.as_mut() {
                        proof.refused_by_kubelet = proof.refused_by_kubelet.or(settled.refused_by_kubelet);
                    }
                }
                Err(error) => failures.push(error),
            }
        } else if failures.len() < pushes.len() && !self.plan.settled.is_empty() {
            ui.warn(&conversation::not_settled(&self.cluster.context));
        }
        if let Some(output) = self.output {
            ui.print(&formatted(output, &report, &report.objects))?;
        }
        worst(failures, pushes.len())
    }

    /// One destination's token, by way of its files, to the Prometheus that reads them.
    async fn deliver(&self, push: &Deliver<'_>, credential: Credential, renamed: &[ClusterName]) -> Result<InPlace> {
        let Credential { token, bound_secret, issued } = credential;
        let found = Found {
            uid: &self.observed.uid,
            context: &self.cluster.context,
            kubernetes: &self.observed.version,
            format: push.format(),
            address_given: self.connection.api_server.is_some(),
            ca_given: self.connection.ca_file.is_some(),
            bound_secret,
            token: TokenLife { issued, expires: token.expires },
        };
        let record = Record::new(self.request, self.access, found);
        let access = self.access.clone();
        let (must_be_seen, away) = (!self.is_reached, Vec::new());
        let delivery = Delivery { record, access, token: token.secret, must_be_seen, away };
        push.deliver(vec![delivery], renamed).await?.remove(0).1
    }

    fn admin(&self) -> Admin<'_> {
        Admin { cluster: self.cluster, account: &self.request.account, secrets: &self.observed.secrets }
    }
}

/// Both at the same time, until the first has ended; what the other has found by then.
async fn beside<A, B>(main: impl Future<Output = A>, aside: impl Future<Output = B>) -> (A, Option<B>) {
    let (mut main, mut aside) = (pin!(main), pin!(aside));
    tokio::select! {
        biased;
        done = &mut main => (done, None),
        found = &mut aside => (main.await, Some(found)),
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

/// What the command line says of where the jobs go.
struct WhereTo {
    /// They are printed as a script that delivers them.
    as_script: bool,
    options: Options,
    /// Who else may read what is printed.
    unsafe_output: Option<String>,
}

fn where_to(to: &mut DestinationArgs, how: &HowArgs, kube: &KubeArgs, ui: Ui) -> Result<WhereTo> {
    let is_printed = to.prometheus.is_empty();
    // It is no format of a destination.
    let as_script = to.format.take_if(|format| *format == FormatArg::Script && is_printed).is_some();
    if as_script && how.output.is_some() {
        return Err(Error::usage("--format=script prints a script and --output a report, both on standard output")
            .hint("Leave out one of them"));
    }
    let unsafe_output = if is_printed { output_for_a_token(how.dry_run, how.output)? } else { None };
    Ok(WhereTo { as_script, options: options(to, kube, false, ui)?, unsafe_output })
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

/// The route that was asked for; which nodes are pinned is seen in the cluster.
pub(super) fn route(what: &WhatArgs, pin_nodes: bool, has_kubelet_ca: bool) -> Result<Route> {
    let route = Route::from(what.route);
    match (&route, pin_nodes, has_kubelet_ca) {
        (Route::Kubelet, true, _) => {
            Err(Error::usage("--pin-nodes is about the right to nodes/proxy, which --route=kubelet does not need")
                .hint("Leave out one of them"))
        }
        (_, true, _) if Fence::from(what.fence) == Fence::Off => {
            Err(Error::usage("--pin-nodes needs the fence: a right to named nodes is one to all their pages")
                .hint("Leave out --fence=off"))
        }
        (_, true, _) => Ok(Route::Pinned(Pins::default())),
        (Route::ApiServer, false, true) => Err(Error::usage(
            "--kubelet-ca-file is about --route=kubelet and --pin-nodes: else nobody talks to a kubelet itself",
        )
        .hint("Name the CA of the API server with --api-server-ca-file")),
        _ => Ok(route),
    }
}

/// What is federated.
pub(super) fn federated(given: Vec<Selector>, jobs: &Jobs) -> Result<Vec<Selector>> {
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

/// The label under which one of the destinations knows the cluster already.
pub(super) fn known_label(survey: &Survey, destinations: &[Opened]) -> Option<ClusterName> {
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
