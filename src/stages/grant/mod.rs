//! Grant: the writes of a join to the cluster before the jobs are delivered. Executes the phases of the plan in their order,
//! with a token for each destination and the proof in between. The tokens stay in memory.

pub mod apply;
pub mod handover;
pub mod issue;
pub mod self_renew;
pub mod undo;

use super::{
    events::Events,
    prepare::Prepared,
    prove::{FenceState, Pages, Proof},
};
use crate::{
    cluster::DryRun,
    error::{Error, Reason, Result},
    model::{
        account::desired::Fence,
        kube::object::{Deletion, Object, Verb},
        plan::{Phase, When},
        report::{
            ObjectReport, ProofReport,
            event::{Wait, Why},
        },
        store::{identity::Identity, record::SecretRecord},
        text::limits,
        token::{
            Token,
            bound_secret::{BoundSecret, without_expiry},
            credential::Credential,
        },
    },
};
use apply::{Journal, apply_again, carry_out};
use futures_util::future::{join_all, try_join_all};
use handover::at_a_kubelet;
use issue::{collect, expired, fresh_long_lived_secret, fresh_secret, issue, note_expiry};
use jiff::Timestamp;
use self_renew::SelfRenewal;
use serde_json::Value;
use std::iter;
use tokio::time::Instant;

/// Access that was granted and proven.
pub struct Granted {
    pub objects: Vec<ObjectReport>,
    pub credentials: Credentials,
    /// The account's other bound Secrets, when those of the credentials were stored.
    pub secrets: Vec<BoundSecret>,
    pub proof: ProofReport,
}

/// Tokens that are not proven yet.
struct Begun {
    credentials: Credentials,
    secrets: Vec<BoundSecret>,
    fence: FenceState,
}

/// One credential for each destination, in their order.
pub struct Credentials {
    /// The credential whose token makes the whole proof.
    pub first: Credential,
    pub others: Vec<Credential>,
}

impl Credentials {
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        iter::once(&self.first).chain(&self.others)
    }

    pub fn into_each(self) -> impl Iterator<Item = Credential> {
        iter::once(self.first).chain(self.others)
    }
}

/// The inputs of a grant.
#[derive(Clone, Copy)]
pub struct Grant<'a> {
    pub prepared: &'a Prepared,
    /// The destinations of the tokens; each gets its own token.
    pub identities: &'a [Identity],
    pub pages: Pages,
    /// Whether objects that another run deletes meanwhile are created again. A rotation grants nothing.
    pub creates: bool,
    /// The journal, updated before and after each write, so that a failure at any point can be undone.
    pub journal: &'a Journal,
    pub events: Events<'a>,
}

impl Grant<'_> {
    /// Executes the plan until the jobs can be delivered.
    pub async fn run(&self) -> Result<Granted> {
        let Self { prepared, journal, events, .. } = *self;
        let Prepared { cluster, request, plan, scraper, .. } = prepared;
        let phases = plan.with_secrets(&self.fresh_secrets());
        let mut objects = Vec::new();
        let Begun { credentials, secrets, fence } = self.begin(&phases, &mut objects).await?;
        let token = &credentials.first.token;
        let bound: Vec<Deletion> =
            credentials.iter().map(|credential| credential.bound_secret.deletion(&request.account)).collect();
        let renewal = SelfRenewal { cluster, account: &request.account, secrets: &bound, cap: request.duration };
        for phase in phases.iter().filter(|phase| phase.when == When::Issued) {
            let limited = renewal.limited(phase, token, &secrets)?;
            objects.extend(carry_out(cluster, &limited, journal, events).await?.into_iter().map(|done| done.report));
        }
        let limited = Instant::now();
        events.waits(Wait::Proof, Some(limits::for_cluster(self.prepared.options.connection.timeout)));
        let mut proof = self.prove(&credentials, fence).await.map_err(|error| error.about(&cluster.context))?;
        for phase in phases.iter().filter(|phase| (When::Proven..When::Delivered).contains(&phase.when)) {
            match phase.when {
                When::RenewalLimited | When::RenewalRole if phase.writes_anything() => {
                    renewal.is_limited_everywhere(limited).await;
                }
                When::RenewalRefused if !phase.is_empty() => renewal.no_right_left(scraper, &token.secret).await?,
                _ => {}
            }
            objects.extend(carry_out(cluster, phase, journal, events).await?.into_iter().map(|done| done.report));
        }
        if plan.grants_renewal() {
            proof.renewals_refused = Some(renewal.prove(scraper, &token.secret).await?);
        }
        if !plan.hands_over() {
            proof.refused_by_kubelet = at_a_kubelet(prepared, &token.secret).await?;
        }
        Ok(Granted { objects, credentials, secrets, proof })
    }

    /// Writes the objects and issues the tokens. Writes them again if another run removes the account, or has just removed
    /// it: see [`super::leaving`].
    async fn begin(&self, phases: &[Phase], objects: &mut Vec<ObjectReport>) -> Result<Begun> {
        let Prepared { cluster, request, .. } = self.prepared;
        let mut stored = None;
        let begun = async {
            let (secrets, fence) = self.write(phases, objects).await?;
            let issued = tokio::join!(self.issue(&secrets), cluster.claims_in_namespace(&request.account));
            stored = Some(secrets);
            Ok::<_, Error>((issued.0?, issued.1?, fence))
        };
        let (issued, claims, fence) = match begun.await {
            Ok(begun) if begun.1.leaving.is_empty() => begun,
            Err(error) if !self.creates || error.reason != Reason::NotFound => return Err(error),
            _ => {
                // Only what is written after the Secrets counts.
                let mut written = self.write_again(phases, objects).await?;
                if stored.is_none() {
                    written = self.write_again(phases, objects).await?;
                }
                let (secrets, fence) = written;
                let issued = self.issue(&secrets).await?;
                let claims = cluster.claims_in_namespace(&request.account).await?;
                let now = secrets.first().and_then(|(_, object)| created(object));
                let is_killed = |one: &&BoundSecret| now.is_some_and(|now| one.has_expired(now));
                for announced in claims.leaving.iter().filter(is_killed) {
                    let _ = cluster.delete(&announced.deletion(&request.account), DryRun::No).await;
                }
                stored = Some(secrets);
                (issued, claims, fence)
            }
        };
        let (tokens, cleared) = issued;
        for deletion in cleared {
            objects.push(self.events.object(ObjectReport::deleted(&deletion.reference), Some(Why::TokenExpired)));
        }
        let stored = stored.unwrap_or_default();
        // Whoever deletes Secrets by this list must not find the new ones, which no destination names yet.
        let is_new = |secret: &BoundSecret| stored.iter().any(|(new, _)| new.uid == secret.uid);
        let secrets = claims.secrets.into_iter().filter(|secret| !is_new(secret)).collect();
        let credentials = credentials(tokens, stored, cluster.now())
            .filter(|credentials| credentials.iter().count() == self.identities.len())
            .ok_or_else(|| Error::new(Reason::ApiServerError, "a Secret was not stored").about(&cluster.context))?;
        Ok(Begun { credentials, secrets, fence })
    }

    /// The stored Secrets, and the fence to prove.
    async fn write(
        &self,
        phases: &[Phase],
        objects: &mut Vec<ObjectReport>,
    ) -> Result<(Vec<(Deletion, Value)>, FenceState)> {
        let Self { prepared, journal, events, .. } = *self;
        let mut stored = Vec::new();
        let mut fenced = Instant::now();
        for phase in phases.iter().filter(|phase| phase.when < When::Issued) {
            for done in carry_out(&prepared.cluster, phase, journal, events).await? {
                objects.push(done.report.clone());
                stored.extend(done.stored_secret());
            }
            if phase.when == When::Prepare {
                fenced = Instant::now();
            }
        }
        Ok((stored, self.fence(prepared.plan.changes_fence(), fenced)))
    }

    /// The same where another run may have deleted objects since, or be about to.
    async fn write_again(
        &self,
        phases: &[Phase],
        objects: &mut Vec<ObjectReport>,
    ) -> Result<(Vec<(Deletion, Value)>, FenceState)> {
        let Prepared { cluster, plan, .. } = self.prepared;
        let mut stored = Vec::new();
        let mut is_new = plan.changes_fence();
        for phase in phases.iter().filter(|phase| phase.when < When::Issued) {
            let steps = phase.writes.iter().filter(|step| !step.used_as_is);
            let written = join_all(steps.map(|step| apply_again(cluster, step, self.creates, self.journal))).await;
            for done in written {
                let done = done?;
                if done.report.verb == Verb::Created {
                    is_new |= done.reference.kind.is_fence();
                    objects.push(self.events.object(done.report.clone(), None));
                }
                stored.extend(done.stored_secret());
            }
        }
        Ok((stored, self.fence(is_new, Instant::now())))
    }

    fn fresh_secrets(&self) -> Vec<Object> {
        let request = &self.prepared.request;
        let now = self.prepared.cluster.now();
        let terms = self.prepared.terms().note();
        let fresh = |identity| {
            if request.long_lived {
                return fresh_long_lived_secret(&request.account, identity, &terms);
            }
            let secret = fresh_secret(&request.account, now, request.duration, identity, &terms);
            if request.self_renew { without_expiry(secret) } else { secret }
        };
        self.identities.iter().map(fresh).collect()
    }

    /// Issues a token for each stored Secret. Also returns the deleted Secrets of expired tokens.
    async fn issue(&self, stored: &[(Deletion, Value)]) -> Result<(Vec<Token>, Vec<Deletion>)> {
        let Prepared { cluster, request, observed, .. } = self.prepared;
        let secrets: Vec<&Deletion> = stored.iter().map(|(secret, _)| secret).collect();
        if request.long_lived {
            return Ok((collect(cluster, request.duration, &secrets).await?, Vec::new()));
        }
        let is_dead = |now| expired(&request.account, &observed.secrets, self.identities, now);
        let dead = stored.first().and_then(|(_, object)| created(object)).map(is_dead).unwrap_or_default();
        issue(cluster, &request.account, request.duration, &secrets, dead).await
    }

    /// Makes the whole proof with the first token; every other token only reads the pages.
    async fn prove(&self, credentials: &Credentials, fence: FenceState) -> Result<ProofReport> {
        let Prepared { cluster, request, scraper, .. } = self.prepared;
        let proof = |fence| Proof { pages: self.pages, ..self.prepared.proof(fence) };
        let (whole, pages) = (proof(fence), proof(FenceState::Off));
        let (report, _, ()) = tokio::try_join!(
            whole.run(scraper, &credentials.first.token.secret),
            try_join_all(credentials.others.iter().map(|other| pages.run(scraper, &other.token.secret))),
            async {
                // The last expiry of a token that renews itself or never expires is unknown.
                if !request.self_renew && !request.long_lived {
                    join_all(credentials.iter().map(|one| note_expiry(cluster, &request.account, one))).await;
                }
                Ok(())
            },
        )?;
        Ok(report)
    }

    fn fence(&self, is_new: bool, written: Instant) -> FenceState {
        match self.prepared.request.fence {
            Fence::Off => FenceState::Off,
            Fence::Required if is_new => FenceState::New(written),
            Fence::Required => FenceState::Standing,
        }
    }
}

/// A credential for each stored Secret. `now`: by the clock of the API server.
fn credentials(tokens: Vec<Token>, stored: Vec<(Deletion, Value)>, now: Timestamp) -> Option<Credentials> {
    let credential = |(token, (secret, object)): (Token, (Deletion, Value))| Credential {
        issued: created(&object).unwrap_or(now),
        bound_secret: SecretRecord { name: secret.reference.name, uid: secret.uid },
        token,
    };
    let mut all = tokens.into_iter().zip(stored).map(credential);
    let first = all.next()?;
    Some(Credentials { first, others: all.collect() })
}

/// When the server stored an object, by its own clock.
fn created(object: &Value) -> Option<Timestamp> {
    object["metadata"]["creationTimestamp"].as_str()?.parse().ok()
}
