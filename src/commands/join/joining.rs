//! A join that was confirmed: grant, then print the jobs or push them; undone if anything fails on the way.

use super::report::{destination_report, result};
use crate::{
    cli::Output,
    cluster::{Cluster, Connection, Scraper},
    commands::formatted,
    error::{Error, Reason, Result},
    model::{
        access::Access,
        job::route::Route,
        plan::{
            JoinPlan,
            request::{JoinRequest, command},
        },
        report::JoinReport,
        store::{
            identity::Identity,
            layout::Generation,
            location::Format,
            record::{Found, Record},
        },
        text::names::ClusterName,
        token::TokenLife,
    },
    render::{self, conversation, prometheus::ScrapeJobs},
    stages::{
        deliver::{
            Deliver,
            directory::{Admin, Delivery, InPlace},
        },
        events::Events,
        grant::{
            Credential, Grant, Granted,
            apply::Journal,
            handover::{Settled, Settlement},
            issue::random_suffix,
            undo::{revoke, undo},
        },
        interrupt::until_interrupted,
        prepare::{kubelets::Kubelets, observe::Observed},
    },
    ui::Ui,
};
use jiff::Timestamp;
use secrecy::SecretString;
use std::pin::pin;

/// A join that was confirmed.
pub(super) struct Joining<'a> {
    pub(super) request: &'a JoinRequest,
    pub(super) cluster: &'a Cluster,
    pub(super) access: &'a Access,
    pub(super) connection: &'a Connection,
    /// Whether this host can reach what Prometheus will use.
    pub(super) is_reached: bool,
    pub(super) observed: &'a Observed,
    pub(super) kubelets: &'a Kubelets,
    pub(super) plan: &'a JoinPlan,
    /// Only what Prometheus will have: makes the proof.
    pub(super) scraper: &'a Scraper,
    pub(super) journal: &'a Journal,
    pub(super) output: Option<Output>,
    /// What is printed delivers the jobs by itself.
    pub(super) as_script: bool,
    pub(super) ui: Ui,
    pub(super) events: Events<'a>,
}

impl Joining<'_> {
    /// What it created is undone if it fails, unless that is to be kept.
    pub(super) async fn run(
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
                Err(undo(self.cluster, self.journal, error, &leave, self.events).await)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn grant(&self, identities: &[Identity]) -> Result<Granted> {
        let Self { request, cluster, observed, kubelets, plan, .. } = *self;
        let grant = Grant { request, cluster, observed, kubelets, plan, identities, needs_every_page: true };
        let granting = Box::pin(until_interrupted(grant.run(self.scraper, self.journal, self.events)));
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
        self.ui.print_secret(&if self.as_script { self.script(&granted) } else { self.result(&granted, report) })?;
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
            Settlement { request, cluster, observed, kubelets, plan }.run(self.scraper, token, self.events).await?;
        self.ui.tell(&conversation::settled(plan, settled.refused_by_kubelet));
        Ok(settled)
    }

    /// What goes to standard output, the token in it.
    fn result(&self, granted: &Granted, report: JoinReport) -> String {
        let jobs = ScrapeJobs { request: self.request, access: self.access };
        result(jobs, &self.cluster.context, self.output, granted, report)
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
        let (ui, events) = (self.ui, self.events);
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
                    report.objects.extend(push.retire(&in_place, Some(admin), events).await);
                    // Prometheus may go on with the old label's jobs where nobody saw that it does not.
                    let renamed = renamed.iter().filter(|_| in_place.placed.seen.is_ok()).cloned();
                    let given_up = push.given_up(&self.observed.uid).into_iter();
                    for label in
                        &renamed.chain(given_up.filter(|label| *label != self.request.cluster)).collect::<Vec<_>>()
                    {
                        report.objects.extend(push.clear(label, Some(admin), events).await);
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
                revoke(self.cluster, &self.request.account, secret, events).await;
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
