//! Joins that were confirmed: grant, then print the jobs or push them. What fails is undone.

use super::report::{destination_report, result, script};
use crate::model::token::bearer::BearerToken;
use crate::{
    cli::Output,
    commands::resolve::teller,
    error::{Error, Reason, Result},
    model::{
        job::route::Route,
        report::{
            DestinationReport, JoinReport, Line,
            event::{Event, Wait},
        },
        store::{identity::Identity, record::SecretRecord},
        text::names::ClusterName,
        token::{bound_secret::BoundSecret, credential::Credential},
    },
    render::{self, conversation},
    stages::{
        cluster_time::ClusterTime,
        deliver::{
            Deliver,
            delivery::{Admin, Delivery, DeliveryResult},
        },
        events::Events,
        grant::{
            Grant, Granted,
            apply::Journal,
            handover::{HandedOver, hand_over},
            undo::{Undo, revoke},
        },
        interrupt::{interrupted, until_interrupted},
        prepare::{Prepared, kubelets::Kubelets},
        prove::Pages,
        side_by_side::side_by_side,
    },
    ui::{LiveLine, Ui},
};
use std::{cell::RefCell, collections::BTreeMap, pin::pin, vec};

/// A join that was confirmed.
pub(super) struct Joining<'a> {
    pub(super) prepared: &'a Prepared,
    /// Other labels of the cluster at a destination, which it gives up.
    pub(super) renamed: &'a [ClusterName],
    pub(super) journal: Journal,
    pub(super) output: Option<Output>,
    /// What is printed delivers the jobs by itself.
    pub(super) as_script: bool,
    pub(super) keep_on_failure: bool,
    pub(super) voice: Voice,
}

/// Where the lines of one cluster go.
pub(super) enum Voice {
    AtOnce(Ui),
    /// Beside other clusters: together, each with the cluster's name, whenever a part is done. Meanwhile a live line shows
    /// the last.
    Together {
        ui: Ui,
        held: RefCell<Vec<Line>>,
        live: LiveLine,
    },
}

impl Voice {
    pub(super) fn together(ui: Ui, live: LiveLine) -> Self {
        Self::Together { ui, held: RefCell::default(), live }
    }

    fn tell(&self, lines: &[Line]) {
        match self {
            Self::AtOnce(ui) => ui.tell(lines),
            Self::Together { held, live, .. } => {
                let said = lines.iter().filter(|line| !matches!(line, Line::Awaited(..)));
                held.borrow_mut().extend(said.cloned());
                if let Some(last) = lines.last() {
                    live.show(last.text().trim_start());
                }
            }
        }
    }

    fn part_is_done(&self, cluster: &ClusterName) {
        if let Self::Together { ui, held, .. } = self {
            ui.tell(&held.take().into_iter().map(|line| line.about(cluster)).collect::<Vec<_>>());
        }
    }
}

impl Joining<'_> {
    /// The jobs go to standard output, and no record is kept.
    pub(super) async fn print(&self, report: JoinReport, ui: Ui) -> Result<()> {
        let printed_to = [Identity::printed()];
        let printed = async {
            let Prepared { request, .. } = self.prepared;
            let granted = self.grant(&printed_to).await?;
            let credential = &granted.credentials.first;
            if self.as_script {
                ui.print_script(&script(self.prepared, credential))?;
            } else {
                ui.print_secret(&result(self.prepared, self.output, &granted, report))?;
            }
            ui.tell(&[if self.as_script {
                conversation::script(request)
            } else {
                conversation::printed(request, &granted.proof)
            }]);
            self.hand_over(&credential.token.secret).await.map(drop)
        };
        match printed.await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.undone(&printed_to, error).await),
        }
    }

    /// What it created is undone, unless that is to be kept.
    async fn undone(&self, identities: &[Identity], error: Error) -> Error {
        if self.keep_on_failure {
            return error.hint("--keep-on-failure: the objects that this run created still exist");
        }
        let tell = self.teller();
        let undo = Undo::of(self.prepared, &self.journal, identities, Events::new(&tell));
        undo.run(error, &self.prepared.leave_command()).await
    }

    fn time(&self) -> ClusterTime {
        ClusterTime::begin(self.prepared.options.connection.timeout)
    }

    fn teller(&self) -> impl Fn(Event) {
        |event| self.voice.tell(&render::events::lines(&event))
    }

    async fn grant(&self, identities: &[Identity]) -> Result<Granted> {
        let Self { prepared, journal, .. } = self;
        let Prepared { request, observed, .. } = prepared;
        let tell = self.teller();
        let pages = Pages::Every;
        let grant = Grant { prepared, identities, pages, creates: true, journal, events: Events::new(&tell) };
        let granting = Box::pin(until_interrupted(grant.run()));
        let (granted, reaches_kubelets) = concurrently(granting, Box::pin(self.reaches_a_kubelet())).await;
        let granted = granted?;
        let token = &granted.credentials.first.token;
        self.voice.tell(&conversation::proven(request, &observed.left_fence, token, &granted.proof));
        if self.output.is_none() {
            self.voice.tell(conversation::safer(request, reaches_kubelets == Some(true)).as_slice());
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

    /// The new jobs are in use, so what failed from here on undoes nothing.
    async fn hand_over(&self, token: &BearerToken) -> Result<HandedOver> {
        self.journal.settle();
        let tell = self.teller();
        let events = Events::new(&tell);
        let time = self.time();
        if self.prepared.plan.hands_over() {
            events.waits(Wait::Proof, Some(time.within));
        }
        let handed_over = time.bound(hand_over(self.prepared, token, events)).await?;
        self.voice.tell(&conversation::settled(&self.prepared.plan, handed_over.refused_by_kubelet));
        Ok(handed_over)
    }

    /// A token for each destination. A cluster that answers slowly fails alone.
    async fn begin<'a>(&'a self, identities: &'a [Identity], mut report: JoinReport) -> UnderWay<'a> {
        let granted = self.time().bound(self.grant(identities)).await;
        let (mut token, mut secrets) = (None, Vec::new());
        let (mut credentials, mut failures) = (Vec::new(), Vec::new());
        match granted {
            Ok(Granted { objects, credentials: issued, secrets: found, proof }) => {
                (report.objects, report.proof, secrets) = (objects, Some(proof), found);
                token = Some(issued.first.token.secret.clone());
                credentials = issued.into_each().collect();
            }
            Err(error) => failures.push((None, error)),
        }
        self.voice.part_is_done(&self.prepared.request.cluster);
        let credentials = credentials.into_iter();
        UnderWay {
            joining: self,
            identities,
            report,
            token,
            secrets,
            credentials,
            placed: 0,
            are_taken_up: true,
            failures,
        }
    }
}

/// A cluster on its way to the destinations.
struct UnderWay<'a> {
    joining: &'a Joining<'a>,
    identities: &'a [Identity],
    report: JoinReport,
    /// None if it was not granted.
    token: Option<BearerToken>,
    /// The account's bound Secrets. Another run may have written to a destination until this one had its lock.
    secrets: Vec<BoundSecret>,
    /// Those of the destinations that are left.
    credentials: vec::IntoIter<Credential>,
    /// How many destinations have the jobs.
    placed: usize,
    are_taken_up: bool,
    /// Each with the Secret that no destination uses.
    failures: Vec<(Option<SecretRecord>, Error)>,
}

/// What goes to one destination.
struct Sent {
    secret: SecretRecord,
    told: DestinationReport,
}

/// Every cluster goes to every destination, each of which is written, reloaded and verified once. What the new jobs replace
/// is retired. A cluster that fails is undone and costs no other. `at_once`: as many are worked on at the same time.
pub(super) async fn push(
    joinings: &[Joining<'_>],
    mut pushes: Vec<Deliver<'_>>,
    reports: Vec<JoinReport>,
    at_once: usize,
    ui: Ui,
) -> Vec<(JoinReport, Result<()>)> {
    let known: Vec<_> =
        joinings.iter().map(|one| (&one.prepared.observed.uid, &one.prepared.observed.secrets)).collect();
    let known: Vec<_> = known.iter().map(|(uid, secrets)| (uid.as_str(), secrets.as_slice())).collect();
    let mut identities = Vec::new();
    for push in &mut pushes {
        match push.begin(&known).await {
            Ok(identity) => identities.push(identity),
            // No cluster has been written to.
            Err(error) => return reports.into_iter().map(|report| (report, Err(error.clone()))).collect(),
        }
    }
    let tell = teller(ui);
    let events = Events::new(&tell);
    let begun = joinings.iter().zip(reports).map(|(one, report)| one.begin(&identities, report));
    let mut all: Vec<UnderWay<'_>> = side_by_side(begun, at_once).await;
    for push in &pushes {
        let (mut deliveries, mut sent) = (Vec::new(), BTreeMap::new());
        for one in &mut all {
            if let Some((delivery, told)) = one.delivery(push) {
                sent.insert(delivery.record.cluster.clone(), told);
                deliveries.push(delivery);
            }
        }
        if deliveries.is_empty() {
            continue;
        }
        let renamed: Vec<ClusterName> = joinings.iter().flat_map(|one| one.renamed).cloned().collect();
        let mut outcomes: BTreeMap<ClusterName, Result<DeliveryResult>> =
            match Box::pin(push.deliver(deliveries, &renamed, events)).await {
                Ok(outcomes) => outcomes.into_iter().collect(),
                Err(error) => sent.keys().map(|cluster| (cluster.clone(), Err(error.clone()))).collect(),
            };
        let settled = all.iter_mut().filter_map(|one| {
            let cluster = &one.joining.prepared.request.cluster;
            let (sent, outcome) = (sent.remove(cluster)?, outcomes.remove(cluster)?);
            Some(one.delivered(push, sent, outcome))
        });
        side_by_side(settled, at_once).await;
    }
    let of = pushes.len();
    side_by_side(all.into_iter().map(|one| one.finished(of)), at_once).await
}

impl UnderWay<'_> {
    /// What goes to the next destination; none if there is nothing to deliver.
    fn delivery(&mut self, push: &Deliver<'_>) -> Option<(Delivery, Sent)> {
        let credential = self.credentials.next()?;
        let (secret, told) = (credential.bound_secret.clone(), destination_report(push.name(), &credential));
        // An interrupt is for all destinations that are left.
        if interrupted().is_some() {
            let error = Error::new(Reason::Interrupted, "interrupted before").about(push.name());
            self.failed(Sent { secret, told }, error);
            return None;
        }
        Some((self.joining.prepared.delivery(credential, push.format(), Vec::new()), Sent { secret, told }))
    }

    fn failed(&mut self, Sent { secret, mut told }: Sent, error: Error) {
        told.error = Some(error.to_string());
        self.report.destinations.push(told);
        self.failures.push((Some(secret), error));
    }

    /// Retires what the jobs replace.
    async fn delivered(&mut self, push: &Deliver<'_>, mut sent: Sent, outcome: Result<DeliveryResult>) {
        let Joining { prepared, renamed, voice, .. } = self.joining;
        let in_place = match outcome {
            Ok(in_place) => in_place,
            Err(error) => return self.failed(sent, error),
        };
        let tell = self.joining.teller();
        let events = Events::new(&tell);
        voice.tell(&conversation::in_place(&push.reader(), &in_place.placed));
        sent.told.placed(&in_place.placed);
        self.placed += 1;
        self.are_taken_up &= in_place.is_taken_up;
        let admin = Some(Admin { secrets: &self.secrets, ..prepared.admin() });
        self.report.objects.extend(push.retire(&in_place, admin, events).await);
        // Unless verified otherwise, Prometheus may still use the old label's jobs.
        let renamed = renamed.iter().filter(|_| in_place.placed.verification.targets().is_some()).cloned();
        let given_up = push.given_up(&prepared.observed.uid).into_iter();
        for label in renamed.chain(given_up.filter(|label| *label != prepared.request.cluster)).collect::<Vec<_>>() {
            self.report.objects.extend(push.clear(&label, admin, events).await);
        }
        self.report.destinations.push(sent.told);
        voice.part_is_done(&prepared.request.cluster);
    }

    /// Hands over, or undoes. `of`: how many destinations there are.
    async fn finished(self, of: usize) -> (JoinReport, Result<()>) {
        let Self { joining, identities, mut report, token, placed, are_taken_up, mut failures, .. } = self;
        let Joining { prepared, journal, voice, .. } = joining;
        let tell = joining.teller();
        // Objects of another destination stay, and those of one that may have the jobs.
        if placed > 0 || failures.iter().any(|(_, error)| error.is_in_doubt()) {
            journal.settle();
            for (secret, error) in &mut failures {
                let Some(secret) = secret else { continue };
                if error.is_in_doubt() {
                    let secret = secret.deletion(&prepared.request.account).reference;
                    error.hints.push(conversation::maybe_in_use(&secret));
                } else {
                    revoke(&prepared.cluster, &prepared.request.account, secret, Events::new(&tell)).await;
                }
            }
        }
        let mut failures: Vec<Error> = failures.into_iter().map(|(_, error)| error).collect();
        match token.filter(|_| failures.is_empty() && are_taken_up) {
            Some(token) => match joining.hand_over(&token).await {
                Ok(handed_over) => {
                    report.objects.extend(handed_over.objects);
                    if let Some(proof) = report.proof.as_mut() {
                        proof.refused_by_kubelet = proof.refused_by_kubelet.or(handed_over.refused_by_kubelet);
                    }
                }
                Err(error) => failures.push(error),
            },
            None if placed > 0 && prepared.plan.hands_over() => {
                voice.tell(&[Line::Warned(conversation::not_settled(&prepared.cluster.context))]);
            }
            None => {}
        }
        let outcome = match worst(failures, of) {
            Ok(()) => Ok(()),
            Err(error) => Err(joining.undone(identities, error).await),
        };
        voice.part_is_done(&prepared.request.cluster);
        (report, outcome)
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
