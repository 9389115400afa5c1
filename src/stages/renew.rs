//! Renew: a new token for a cluster that a destination knows, by an administrator's credentials or by the account itself.

use super::{
    connect::ConnectOptions,
    deliver::delivery::{Admin, Delivery},
    events::Events,
    grant::{
        Grant, Granted,
        apply::Journal,
        handover::{HandedOver, hand_over},
        undo::Undo,
    },
    interrupt::until_interrupted,
    prepare::{
        Prepared, discover::pinned, kubelets::Kubelets, nodes::Nodes, permissions::permissions, survey_and_reach,
    },
    prove::{Pages, Proof},
};
use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::{Connection, Scraper},
    destination::{ConfigFolder, Credentials, Destination, Live, Operator, Source},
    error::{Error, Reason, Result},
    model::{
        access::PrometheusLocation,
        kube::object::Kind,
        plan::{JoinPlan, request::JoinRequest},
        report::{
            ObjectReport,
            event::Event,
            status::{Next, Write, made_anew},
        },
        store::{
            identity::Identity,
            layout::Generation,
            record::{Record, StoredCas},
            terms::{Terms, Unconfirmed},
        },
        text::{limits, shell},
        token::{TokenLife, bound_secret::BoundSecret, clock::ClockLead},
    },
    render::conversation,
};
use std::cell::Cell;
use tokio::time::Instant;

/// A cluster that a destination knows.
pub struct Known<'a> {
    /// The destination, as it was typed.
    pub typed: &'a str,
    pub identity: &'a Identity,
    pub record: &'a Record,
    pub stored: StoredCredentials<'a>,
    /// Writes the commands of hints.
    pub write: Write,
    /// The clock of the API server, once it has answered.
    pub clock: Cell<Option<ClockLead>>,
}

/// What lies beside a record.
pub enum StoredCredentials<'a> {
    Files { directory: &'a ConfigFolder, generation: &'a Generation },
    Secret(&'a Operator),
}

impl<'a> StoredCredentials<'a> {
    pub fn of(destination: &'a Destination, live: &'a Live) -> Self {
        match destination {
            Destination::Directory(directory) => {
                Self::Files { directory: &directory.folder, generation: &live.generation }
            }
            Destination::Operator(operator) => Self::Secret(operator),
        }
    }

    pub fn beside(source: &'a Source, live: &'a Live) -> Self {
        match source {
            Source::Directory(directory) => Self::Files { directory, generation: &live.generation },
            Source::Operator(operator) => Self::Secret(operator),
        }
    }

    /// # Errors
    /// [`Reason::DestinationUnusable`] if token or CA are not there.
    pub async fn read(&self, record: &Record) -> Result<Credentials> {
        Ok(Credentials { cas: self.cas(record).await?, token: self.token(record).await? })
    }

    /// The CAs of API server and kubelets, where the record says that there are such.
    pub(in crate::stages) async fn cas(&self, record: &Record) -> Result<StoredCas> {
        match self {
            Self::Files { directory, generation } => directory.cas(record, generation).await,
            Self::Secret(operator) => operator.credentials(record).map(|credentials| credentials.cas),
        }
    }

    pub(in crate::stages) async fn token(&self, record: &Record) -> Result<BearerToken> {
        match self {
            Self::Files { directory, generation } => directory.token(&record.cluster, generation).await,
            Self::Secret(operator) => operator.credentials(record).map(|credentials| credentials.token),
        }
    }

    fn prometheus_location(&self) -> PrometheusLocation {
        match self {
            Self::Files { directory, .. } => directory.host.prometheus_location(),
            Self::Secret(_) => PrometheusLocation::AnotherHost,
        }
    }
}

/// A new token that is proven and not in use yet.
pub struct Renewed {
    /// None once it was taken.
    delivery: Option<Delivery>,
    /// None where the account did it itself.
    by: Option<ByAdmin>,
    /// The changed rights of the account.
    pub objects: Vec<ObjectReport>,
}

struct ByAdmin {
    written: Written,
    token: BearerToken,
}

/// What an administrator wrote into a cluster.
struct Written {
    prepared: Prepared,
    identities: [Identity; 1],
    journal: Journal,
}

impl Written {
    /// Takes back what was created, for a bounded time. A token that may be in use stays.
    async fn undo(&self, error: Error, events: Events<'_>) -> Error {
        let Self { prepared, identities, journal } = self;
        if error.is_in_doubt() {
            let created = journal.entries().into_iter().map(|(reference, _)| reference);
            return created
                .filter(|one| one.kind == Kind::Secret)
                .fold(error, |error, secret| error.hint(conversation::maybe_in_use(&secret)));
        }
        let (leave, within) = (prepared.leave_command(), limits::for_undo(prepared.options.connection.timeout));
        let undo = Undo::of(prepared, journal, identities, events);
        let undone = undo.run(error.clone(), &leave);
        if let Ok(error) = tokio::time::timeout(within, Box::pin(undone)).await {
            return error;
        }
        let left: Vec<String> = journal.entries().iter().map(|(reference, _)| reference.to_string()).collect();
        error.hint(format!("Not deleted within {within:?}: {}; to remove it: {leave}", left.join(", ")))
    }
}

/// Why there is no new token. What was created in the cluster is still there.
pub struct NotRenewed {
    error: Error,
    written: Option<Box<Written>>,
}

impl NotRenewed {
    /// Takes back what was created in the cluster, and returns the error with what is left.
    pub async fn undo(self, events: Events<'_>) -> Error {
        match &self.written {
            None => self.error,
            Some(written) => written.undo(self.error, events).await,
        }
    }
}

impl From<Error> for NotRenewed {
    fn from(error: Error) -> Self {
        Self { error, written: None }
    }
}

impl Renewed {
    /// What is to be delivered; there is one token, so it is taken once.
    pub fn take_delivery(&mut self) -> Option<Delivery> {
        self.delivery.take()
    }

    /// What retires Secrets in the cluster; none where the account did it itself, which may not.
    pub fn admin(&self) -> Option<Admin<'_>> {
        self.by.as_ref().map(|by| by.written.prepared.admin())
    }

    /// Takes away what jobs by another route needed, now that these are in use: a join before could not. The account
    /// itself may not.
    ///
    /// # Errors
    /// As [`hand_over`].
    pub async fn hand_over(&self, events: Events<'_>) -> Result<HandedOver> {
        match &self.by {
            None => Ok(HandedOver::default()),
            Some(ByAdmin { written, token }) => hand_over(&written.prepared, token, events).await,
        }
    }

    /// Takes back what was created in the cluster, because the token could not be delivered.
    pub async fn undo(&self, error: Error, events: Events<'_>) -> Error {
        match &self.by {
            None => error,
            Some(ByAdmin { written, .. }) => written.undo(error, events).await,
        }
    }
}

impl Known<'_> {
    /// An administrator of the context that is named, or that joined; where there is none, the account itself if it
    /// was allowed to.
    ///
    /// # Errors
    /// What the administrator's way failed with, and the other one as a hint. [`Reason::Timeout`] if a cluster takes more
    /// time than [it has](limits::for_cluster).
    pub async fn renew(&self, options: &ConnectOptions, events: Events<'_>) -> Result<Renewed, NotRenewed> {
        let end = Instant::now() + limits::for_cluster(options.connection.timeout);
        // Nothing is there yet that an interruption would leave, until a grant begins.
        let prepared = self.until(end, options, Box::pin(self.prepare(options, events))).await;
        let granted = match prepared {
            Ok(prepared) => Box::pin(self.by_admin(prepared, end, events)).await,
            Err(error) => Err(error.into()),
        };
        let error = match granted {
            Ok(renewed) => return Ok(renewed),
            Err(failed) if failed.error.reason == Reason::Interrupted || Instant::now() >= end => return Err(failed),
            // Otherwise the new token would go where the record leads. Where the cluster has noted nothing, the account
            // that renews itself gets nothing new.
            Err(failed) if failed.error.cause().is_some_and(|why| !matches!(why, Unconfirmed::NoTerms(_))) => {
                return Err(failed);
            }
            Err(NotRenewed { error, written }) if !self.record.self_renew => {
                return Err(NotRenewed { error: without_self_renewal(error), written });
            }
            Err(failed) => failed.undo(events).await,
        };
        let renewed = self.until(end, options, Box::pin(self.by_itself(&options.connection, events))).await;
        if renewed.is_ok() && self.identity.is_away_from(self.record.machine()) {
            events.report(Event::Copied { cluster: self.record.cluster.clone(), join: self.join(self.record) });
        }
        renewed.map_err(|own| {
            NotRenewed::from(match error.reason {
                // The host of Prometheus usually has no kubeconfig.
                Reason::KubeconfigNotFound | Reason::ContextNotFound => own,
                Reason::RecordNotConfirmed => error.hint(format!("By the account itself: {own}")),
                _ => own.hint(format!("As an administrator: {error}")),
            })
        })
    }

    /// Work with a cluster until it has no more time, or a signal comes.
    async fn until<T>(
        &self,
        end: Instant,
        options: &ConnectOptions,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let outcome = tokio::time::timeout_at(end, until_interrupted(work)).await;
        outcome.unwrap_or_else(|_| {
            let time = limits::for_cluster(options.connection.timeout);
            let late = format!("the renewal did not end within {time:?}; the other clusters do not wait for it");
            Err(Error::new(Reason::Timeout, late)
                .hint("Does the API server answer slowly? -v 6 shows the time of each request")
                .hint("To wait longer: --request-timeout; a renewal has fifteen times as long"))
        })
    }

    /// What an administrator finds, and may change.
    async fn prepare(&self, options: &ConnectOptions, events: Events<'_>) -> Result<Prepared> {
        let Self { record, .. } = *self;
        let cas = self.stored.cas(record).await?;
        let options = options.of_record(record, record.access(cas.clone()))?;
        let (cluster, named) = options.connect().await?;
        let request = record.request();
        let jobs = pinned(&cluster, request.jobs).await?;
        let request = JoinRequest { jobs, ..request };
        let desired = request.desired();
        let (survey, reached) =
            survey_and_reach(&cluster, named, &options, &desired, self.stored.prometheus_location()).await;
        self.saw(cluster.clock(), events);
        let (observed, reached) = (survey.observed()?, reached?);
        if observed.uid != record.uid {
            return Err(self.another_cluster(&cluster.context));
        }
        // The writer of the destination writes the record, so the cluster is the authority on the terms.
        Terms::confirm(record, cas, self.identity, &observed.secrets).map_err(|why| self.not_confirmed(&why))?;
        let join = self.join(record);
        let (plan, differing) = JoinPlan::for_rotation(&desired, &observed.existing).map_err(|error| {
            let error = error.about(&cluster.context);
            if error.reason == Reason::NotFound { error.hint(format!("To restore it: {join}")) } else { error }
        })?;
        let cluster_name = || record.cluster.clone();
        if !plan.unguarded.is_empty() {
            let (objects, join) = (plan.unguarded.clone(), join.clone());
            events.report(Event::Unguarded { cluster: cluster_name(), objects, join });
        }
        if !differing.is_empty() {
            events.report(Event::Differing { cluster: cluster_name(), objects: differing, join });
        }
        let now = cluster.now();
        let others: Vec<&BoundSecret> = observed
            .secrets
            .iter()
            .filter(|secret| !self.identity.is(&secret.destination) && !secret.has_expired(now))
            .collect();
        plan.spare_others(&request.account, &others).map_err(|error| error.about(&cluster.context))?;
        permissions(&cluster, &request.account, &plan, &observed).await?;
        Prepared::new(cluster, options, request, observed, reached, plan).await
    }

    /// Says it where the clocks differ, once.
    fn saw(&self, clock: Option<ClockLead>, events: Events<'_>) {
        if let (None, Some(lead)) = (self.clock.get(), clock) {
            self.clock.set(clock);
            events.report(Event::Clock { cluster: self.record.cluster.clone(), lead });
        }
    }

    /// What a record of another writer asks for is not granted.
    fn not_confirmed(&self, why: &Unconfirmed) -> Error {
        let Self { record, .. } = *self;
        let error =
            Error::new(Reason::RecordNotConfirmed, format!("cannot verify the record of {}: {why}", record.cluster))
                .caused_by(why.clone());
        let join = |noted: Option<&Terms>| noted.map(|noted| self.join(&noted.applied_to(record)));
        match (why, join(why.noted())) {
            (Unconfirmed::Differing { .. }, Some(join)) => error.hint(format!("To restore the noted terms: {join}")),
            (Unconfirmed::Copied { .. } | Unconfirmed::ReplacedByCopy { .. }, Some(join)) => error
                .hint(format!("Give this folder a token of its own, which leaves the other token as it is: {join}"))
                .hint("If there is no copy, this host has got another machine ID, or another run was interrupted: the same command"),
            _ => error.hint(format!("Check each of these terms, which only the record has: {}", self.join(record))),
        }
    }

    /// The join of a record, with this destination.
    fn join(&self, record: &Record) -> String {
        (self.write)(Next::Join(record), &record.cluster, self.typed)
    }

    async fn by_admin(&self, prepared: Prepared, end: Instant, events: Events<'_>) -> Result<Renewed, NotRenewed> {
        let journal = Journal::default();
        let identities = [self.identity.clone()];
        let grant = Grant {
            prepared: &prepared,
            identities: &identities,
            pages: Pages::OfTargetsThatAnswer,
            creates: false,
            journal: &journal,
            events,
        };
        let granted = self.until(end, &prepared.options, Box::pin(grant.run())).await;
        let Granted { credentials, proof, objects, .. } = match granted {
            Ok(granted) => granted,
            Err(error) => {
                let written = Some(Box::new(Written { prepared, identities, journal }));
                return Err(NotRenewed { error, written });
            }
        };
        let token = credentials.first.token.secret.clone();
        let delivery = prepared.delivery(credentials.first, self.record.format, proof.away);
        let objects = objects.into_iter().filter(ObjectReport::changes_rights).collect();
        Ok(Renewed {
            delivery: Some(delivery),
            by: Some(ByAdmin { written: Written { prepared, identities, journal }, token }),
            objects,
        })
    }

    /// With nothing but what lies beside the record: only the token changes, bound to the same Secret.
    async fn by_itself(&self, connection: &Connection, events: Events<'_>) -> Result<Renewed> {
        let Self { record, ref stored, .. } = *self;
        let account = record.account();
        let access = record.access(stored.cas(record).await?);
        let scraper = Scraper::new(&access, connection)?;
        let old = stored.token(record).await?;
        let bound = record.bound_secret.deletion(&account);
        let renewed = scraper.renew(&account, &bound, record.duration, &old).await;
        self.saw(scraper.clock(), events);
        let token = renewed.map_err(|error| self.by_whom_then(error))?;
        let nodes = if record.jobs.have_nodes() {
            Some(Nodes::seen_by(&scraper, &token.secret, record.node_selector.as_ref()).await?)
        } else {
            None
        };
        let jobs = record.routed_jobs();
        let kubelets = Kubelets::on(jobs.route(), nodes.as_ref(), &access, connection).await?;
        let pages = Pages::OfTargetsThatAnswer;
        let proof = Proof::of_record(record, &account, &jobs, nodes.as_ref(), &kubelets, pages);
        let away = proof.run(&scraper, &token.secret).await?.away;
        let granted = std::time::Duration::from(token.granted);
        let issued = token.expires.checked_sub(granted).unwrap_or(token.expires);
        let record = Record {
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            token: TokenLife { issued, expires: token.expires },
            ..record.clone()
        };
        let must_be_seen = kubelets.are_unseen(jobs.route());
        let delivery = Delivery { record, access, token: token.secret, must_be_seen, away };
        Ok(Renewed { delivery: Some(delivery), by: None, objects: Vec::new() })
    }

    /// The hint for an expired token, which cannot renew itself. The cluster need not be joined again.
    fn by_whom_then(&self, error: Error) -> Error {
        if error.reason != Reason::AccountRefused {
            return error;
        }
        let (cluster, typed) = (&self.record.cluster, shell::word(self.typed));
        error.without_hints().hint(format!(
            "An administrator of the cluster can issue a new token: kubectl prom-federate rotate {cluster} --now -p {typed}"
        ))
        .hint(format!("If the Secret of the token was deleted, status has the join: kubectl prom-federate status {cluster} -p {typed}"))
    }

    fn another_cluster(&self, context: &str) -> Error {
        let cluster = &self.record.cluster;
        let context = shell::word(context);
        Error::new(
            Reason::ClusterKnown,
            format!("the context {context} leads to another cluster than the one that was joined as {cluster}"),
        )
        .hint(format!("Name the right context: kubectl prom-federate rotate {cluster} --context NAME"))
        .hint(made_anew(self.write, self.record, self.typed))
    }
}

/// Where there is no kubeconfig, and never will be.
fn without_self_renewal(error: Error) -> Error {
    match error.reason {
        Reason::KubeconfigNotFound | Reason::ContextNotFound => error
            .hint("A cluster that was joined with --self-renew needs no kubeconfig: its account renews its own token"),
        _ => error,
    }
}
