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
    error::{Error, Reason, Result},
    model::{
        account::desired::Fence,
        kube::object::{Deletion, Object},
        plan::When,
        report::{ObjectReport, ProofReport, event::Why},
        store::{identity::Identity, record::SecretRecord},
        token::{Token, bound_secret::without_expiry, credential::Credential},
    },
};
use apply::{Journal, carry_out, uid_of};
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
    pub proof: ProofReport,
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
    /// The journal, updated before and after each write, so that a failure at any point can be undone.
    pub journal: &'a Journal,
    pub events: Events<'a>,
}

impl Grant<'_> {
    /// Executes the plan until the jobs can be delivered.
    pub async fn run(&self) -> Result<Granted> {
        let Self { prepared, journal, events, .. } = *self;
        let Prepared { cluster, request, plan, scraper, .. } = prepared;
        let secrets = self.fresh_secrets();
        let phases = plan.with_secrets(&secrets);
        let mut objects = Vec::new();
        let mut stored = Vec::new();
        let mut fenced = Instant::now();
        for phase in phases.iter().filter(|phase| phase.when < When::Issued) {
            for done in carry_out(cluster, phase, journal, events).await? {
                let is_new = |secret: &Object| secret.reference == done.reference;
                if let (true, Some(object)) = (secrets.iter().any(is_new), done.object) {
                    stored.push((Deletion { reference: done.reference, uid: uid_of(&object) }, object));
                }
                objects.push(done.report);
            }
            if phase.when == When::Prepare {
                fenced = Instant::now();
            }
        }
        let (credentials, cleared) = self.issue(stored).await?;
        for deletion in cleared {
            objects.push(events.object(ObjectReport::deleted(&deletion.reference), Some(Why::TokenExpired)));
        }
        let token = &credentials.first.token;
        let bound: Vec<Deletion> =
            credentials.iter().map(|credential| credential.bound_secret.deletion(&request.account)).collect();
        let renewal = SelfRenewal { cluster, account: &request.account, secrets: &bound, cap: request.duration };
        for phase in phases.iter().filter(|phase| phase.when == When::Issued) {
            let limited = renewal.limited(phase, token, &prepared.observed.secrets)?;
            objects.extend(carry_out(cluster, &limited, journal, events).await?.into_iter().map(|done| done.report));
        }
        let limited = Instant::now();
        let mut proof = self.prove(&credentials, fenced).await.map_err(|error| error.about(&cluster.context))?;
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
        Ok(Granted { objects, credentials, proof })
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
    async fn issue(&self, stored: Vec<(Deletion, Value)>) -> Result<(Credentials, Vec<Deletion>)> {
        let Prepared { cluster, request, observed, .. } = self.prepared;
        let not_stored = || Error::new(Reason::ApiServerError, "a Secret was not stored").about(&cluster.context);
        if stored.len() != self.identities.len() {
            return Err(not_stored());
        }
        let secrets: Vec<&Deletion> = stored.iter().map(|(secret, _)| secret).collect();
        let (tokens, cleared) = if request.long_lived {
            (collect(cluster, request.duration, &secrets).await?, Vec::new())
        } else {
            let is_dead = |now| expired(&request.account, &observed.secrets, self.identities, now);
            let dead = stored.first().and_then(|(_, object)| created(object)).map(is_dead).unwrap_or_default();
            issue(cluster, &request.account, request.duration, &secrets, dead).await?
        };
        let credential = |(token, (secret, object)): (Token, (Deletion, Value))| Credential {
            issued: created(&object).unwrap_or_else(|| cluster.now()),
            bound_secret: SecretRecord { name: secret.reference.name, uid: secret.uid },
            token,
        };
        let mut all = tokens.into_iter().zip(stored).map(credential);
        let first = all.next().ok_or_else(not_stored)?;
        Ok((Credentials { first, others: all.collect() }, cleared))
    }

    /// Makes the whole proof with the first token; every other token only reads the pages. `fenced`: when the fence was
    /// written.
    async fn prove(&self, credentials: &Credentials, fenced: Instant) -> Result<ProofReport> {
        let Prepared { cluster, request, scraper, .. } = self.prepared;
        let proof = |fence| Proof { pages: self.pages, ..self.prepared.proof(fence) };
        let (whole, pages) = (proof(self.fence(fenced)), proof(FenceState::Off));
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

    fn fence(&self, written: Instant) -> FenceState {
        match self.prepared.request.fence {
            Fence::Off => FenceState::Off,
            Fence::Required if self.prepared.plan.changes_fence() => FenceState::New(written),
            Fence::Required => FenceState::Standing,
        }
    }
}

/// When the server stored an object, by its own clock.
fn created(object: &Value) -> Option<Timestamp> {
    object["metadata"]["creationTimestamp"].as_str()?.parse().ok()
}
