//! A join that was confirmed: grant, then print the jobs or push them; undone if anything fails on the way.

use super::report::{destination_report, result, script};
use crate::model::token::bearer::BearerToken;
use crate::{
    cli::Output,
    commands::resolve::formatted,
    error::{Error, Reason, Result},
    model::{
        job::route::Route, report::JoinReport, store::identity::Identity, text::names::ClusterName,
        token::credential::Credential,
    },
    render::conversation,
    stages::{
        deliver::{Deliver, delivery::DeliveryResult},
        events::Events,
        grant::{
            Grant, Granted,
            apply::Journal,
            handover::{HandedOver, hand_over},
            undo::{revoke, undo},
        },
        interrupt::until_interrupted,
        prepare::{Prepared, kubelets::Kubelets},
        prove::Pages,
    },
    ui::Ui,
};
use std::pin::pin;

/// A join that was confirmed.
pub(super) struct Joining<'a> {
    pub(super) prepared: &'a Prepared,
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
        let outcome = if pushes.is_empty() {
            self.print(report).await
        } else {
            Box::pin(self.push(pushes, renamed, report)).await
        };
        match outcome {
            Err(error) if keep_on_failure => {
                Err(error.hint("--keep-on-failure: the objects that this run created still exist"))
            }
            Err(error) => {
                let Prepared { cluster, .. } = self.prepared;
                Err(undo(cluster, self.journal, error, &self.prepared.leave_command(), self.events).await)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn grant(&self, identities: &[Identity]) -> Result<Granted> {
        let Self { prepared, journal, events, .. } = *self;
        let Prepared { request, observed, .. } = prepared;
        let grant = Grant { prepared, identities, pages: Pages::Every, journal, events };
        let granting = Box::pin(until_interrupted(grant.run()));
        let (granted, reaches_kubelets) = concurrently(granting, Box::pin(self.reaches_a_kubelet())).await;
        let granted = granted?;
        let token = &granted.credentials.first.token;
        self.ui.tell(&conversation::proven(request, &observed.left_fence, token, &granted.proof));
        if self.output.is_none() {
            self.ui.tell(conversation::safer(request, reaches_kubelets == Some(true)).as_slice());
        }
        Ok(granted)
    }

    /// Whether the other route would work from here. It runs beside the work and delays nothing.
    async fn reaches_a_kubelet(&self) -> bool {
        let Prepared { request, observed, access, options, .. } = self.prepared;
        let nodes = observed.nodes.as_ref().filter(|_| *request.jobs.route() == Route::ApiServer);
        let Some(nodes) = nodes.filter(|_| self.output.is_none()) else { return false };
        let found = Kubelets::connect(&nodes.candidates[..1], access, &options.connection).await;
        found.is_ok_and(|found| !found.proven.is_empty())
    }

    /// The jobs go to standard output, and no record is kept.
    async fn print(&self, report: JoinReport) -> Result<()> {
        let Prepared { request, .. } = self.prepared;
        let granted = self.grant(&[Identity::printed()]).await?;
        let credential = &granted.credentials.first;
        if self.as_script {
            self.ui.print_script(&script(self.prepared, credential))?;
        } else {
            self.ui.print_secret(&result(self.prepared, self.output, &granted, report))?;
        }
        self.ui.tell(&[if self.as_script {
            conversation::script(request)
        } else {
            conversation::printed(request, &granted.proof)
        }]);
        self.hand_over(&credential.token.secret).await.map(drop)
    }

    /// The new jobs are in use, so what failed from here on undoes nothing.
    async fn hand_over(&self, token: &BearerToken) -> Result<HandedOver> {
        self.journal.settle();
        let handed_over = hand_over(self.prepared, token, self.events).await?;
        self.ui.tell(&conversation::settled(&self.prepared.plan, handed_over.refused_by_kubelet));
        Ok(handed_over)
    }

    /// The jobs go to every destination; what they replace is retired.
    async fn push(&self, mut pushes: Vec<Deliver<'_>>, renamed: &[ClusterName], mut report: JoinReport) -> Result<()> {
        let (ui, events) = (self.ui, self.events);
        let prepared = self.prepared;
        let mut identities = Vec::new();
        for push in &mut pushes {
            let known = (prepared.observed.uid.as_str(), prepared.observed.secrets.as_slice());
            identities.push(push.begin(Some(known)).await?);
        }
        let Granted { objects, credentials, proof } = self.grant(&identities).await?;
        report.objects = objects;
        report.proof = Some(proof);
        let mut failures = Vec::new();
        let token = credentials.first.token.secret.clone();
        let mut are_taken_up = true;
        for (push, credential) in pushes.iter().zip(credentials.into_each()) {
            let mut told = destination_report(push.name(), &credential);
            let bound_secret = credential.bound_secret.clone();
            // An interrupt is for all destinations that are left.
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
                    let admin = Some(prepared.admin());
                    report.objects.extend(push.retire(&in_place, admin, events).await);
                    // Unless verified otherwise, Prometheus may still use the old label's jobs.
                    let renamed = renamed.iter().filter(|_| in_place.placed.verification.targets().is_some()).cloned();
                    let given_up = push.given_up(&prepared.observed.uid).into_iter();
                    for label in
                        &renamed.chain(given_up.filter(|label| *label != prepared.request.cluster)).collect::<Vec<_>>()
                    {
                        report.objects.extend(push.clear(label, admin, events).await);
                    }
                }
                Err(error) => {
                    told.error = Some(error.to_string());
                    failures.push((bound_secret, error));
                }
            }
            report.destinations.push(told);
        }
        // Objects of another destination stay. Without other destinations, the caller undoes everything.
        if failures.len() < pushes.len() {
            self.journal.settle();
            for (secret, _) in &failures {
                revoke(&prepared.cluster, &prepared.request.account, secret, events).await;
            }
        }
        let mut failures: Vec<Error> = failures.into_iter().map(|(_, error)| error).collect();
        if failures.is_empty() && are_taken_up {
            match self.hand_over(&token).await {
                Ok(handed_over) => {
                    report.objects.extend(handed_over.objects);
                    if let Some(proof) = report.proof.as_mut() {
                        proof.refused_by_kubelet = proof.refused_by_kubelet.or(handed_over.refused_by_kubelet);
                    }
                }
                Err(error) => failures.push(error),
            }
        } else if failures.len() < pushes.len() && prepared.plan.hands_over() {
            ui.warn(&conversation::not_settled(&prepared.cluster.context));
        }
        if let Some(output) = self.output {
            ui.print(&formatted(output, &report, &report.objects))?;
        }
        worst(failures, pushes.len())
    }

    /// One destination's token, by way of its files, to the Prometheus that reads them.
    async fn deliver(
        &self,
        push: &Deliver<'_>,
        credential: Credential,
        renamed: &[ClusterName],
    ) -> Result<DeliveryResult> {
        let delivery = self.prepared.delivery(credential, push.format(), Vec::new());
        push.deliver(vec![delivery], renamed).await?.remove(0).1
    }
}

/// Both at the same time, until the first has ended; what the other has found by then.
async fn concurrently<A, B>(main: impl Future<Output = A>, aside: impl Future<Output = B>) -> (A, Option<B>) {
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
