//! Grant: everything of a join that writes to the cluster. Objects, then a token for each destination, then the proof;
//! the tokens stay in memory.

pub mod apply;
pub mod handover;
pub mod issue;
pub mod self_renew;
pub mod undo;

use super::{
    events::Events,
    prepare::{kubelets::Kubelets, observe::Observed},
    prove::{FenceState, Proof},
};
use crate::{
    cluster::{Cluster, DryRun, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::desired::Fence,
        kube::object::{Deletion, Object, Verb},
        plan::{JoinPlan, Step, request::JoinRequest},
        report::{ObjectReport, ProofReport, event::Why},
        store::{identity::Identity, record::SecretRecord},
        token::{Token, bound_secret::without_expiry},
    },
};
use apply::{Journal, apply, uid_of};
use futures_util::future::{join_all, try_join_all};
use handover::Settlement;
use issue::{collect, expired, fresh_long_lived_secret, fresh_secret, issue, note_expiry};
use jiff::Timestamp;
use self_renew::SelfRenewal;
use serde_json::Value;
use std::time::Instant;

/// Access that was granted and proven.
pub struct Granted {
    pub objects: Vec<ObjectReport>,
    /// One for each destination, in their order.
    pub credentials: Vec<Credential>,
    pub proof: ProofReport,
}

/// What one destination gets.
pub struct Credential {
    pub token: Token,
    /// The Secret that the token lives and dies with.
    pub bound_secret: SecretRecord,
    /// By the cluster's own clock, by which tokens expire: that of this machine may be wrong.
    pub issued: Timestamp,
}

/// What is granted, and by what way.
pub struct Grant<'a> {
    pub request: &'a JoinRequest,
    pub cluster: &'a Cluster,
    pub observed: &'a Observed,
    pub kubelets: &'a Kubelets,
    pub plan: &'a JoinPlan,
    /// Where the tokens will go; each gets its own.
    pub identities: &'a [Identity],
    /// See [`Proof`].
    pub needs_every_page: bool,
}

impl Grant<'_> {
    /// Notes in the journal what it does, so that a failure at any point can be undone.
    pub async fn run(&self, scraper: &Scraper, journal: &Journal, events: Events<'_>) -> Result<Granted> {
        let account = &self.request.account;
        let now = Timestamp::now();
        let fresh = |identity| {
            if self.request.long_lived {
                return fresh_long_lived_secret(account, identity);
            }
            let secret = fresh_secret(account, now, self.request.duration, identity);
            if self.request.self_renew { without_expiry(secret) } else { secret }
        };
        let secrets: Vec<Object> = self.identities.iter().map(fresh).collect();
        let [first, mut second] = self.plan.waves.clone();
        let new = secrets.iter().map(|secret| Step { object: secret.clone(), verb: Verb::Created, used_as_is: false });
        let mut third = Vec::new();
        // The controller deletes a Secret whose account is not there yet (`tokens_controller.go`, `syncSecret`).
        if self.request.long_lived { &mut third } else { &mut second }.extend(new);

        let mut objects = Vec::new();
        let mut stored = Vec::new();
        for wave in [first, second, third] {
            for (step, done) in wave.iter().zip(apply(self.cluster, &wave, journal).await?) {
                objects.push(events.object(done.report, None));
                if let (true, Some(object)) = (secrets.contains(&step.object), done.object) {
                    stored.push((Deletion { reference: step.object.reference.clone(), uid: uid_of(&object) }, object));
                }
            }
        }
        if stored.len() != secrets.len() {
            return Err(Error::new(Reason::ApiServerError, "a Secret was not stored").about(&self.cluster.context));
        }
        let expired = self.expired(&stored[0].1);
        let (credentials, cleared) = self.issue(stored, expired).await?;
        for deletion in cleared {
            objects.push(events.object(ObjectReport::deleted(&deletion.reference), Some(Why::TokenExpired)));
        }
        let secrets: Vec<Deletion> = credentials.iter().map(|one| one.bound_secret.deletion(account)).collect();
        let renewal = SelfRenewal {
            cluster: self.cluster,
            account,
            plan: self.plan,
            secrets: &secrets,
            cap: self.request.duration,
            events,
        };
        let token = &credentials[0].token;
        objects.extend(renewal.limit(token, &self.observed.secrets, journal).await?);
        let limited = Instant::now();
        let proof = self.prove(scraper, &credentials).await;
        let mut proof = proof.map_err(|error| error.about(&self.cluster.context))?;
        objects.extend(self.narrow(events).await?);
        let (done, renewals_refused) = renewal.grant(scraper, &token.secret, limited, journal).await?;
        objects.extend(done);
        proof.renewals_refused = renewals_refused;
        if self.plan.settled.is_empty() {
            proof.refused_by_kubelet = self.settlement().at_a_kubelet(&token.secret).await?;
        }
        Ok(Granted { objects, credentials, proof })
    }

    /// What is left to do when the jobs are in use.
    pub fn settlement(&self) -> Settlement<'_> {
        let Self { request, cluster, observed, kubelets, plan, .. } = *self;
        Settlement { request, cluster, observed, kubelets, plan }
    }

    /// Takes away the rights of jobs that are not wanted any more. The fence refuses them already.
    async fn narrow(&self, events: Events<'_>) -> Result<Vec<ObjectReport>> {
        let mut objects = Vec::new();
        for deletion in &self.plan.narrowed {
            self.cluster.delete(deletion, DryRun::No).await?;
            let why = Why::NoJobNeedsIt(deletion.reference.namespace.clone());
            objects.push(events.object(ObjectReport::deleted(&deletion.reference), Some(why)));
        }
        Ok(objects)
    }

    /// Secrets of these destinations whose tokens are dead.
    fn expired(&self, stored: &Value) -> Vec<Deletion> {
        let expired = |now| expired(&self.request.account, &self.observed.secrets, self.identities, now);
        created(stored).map(expired).unwrap_or_default()
    }

    async fn issue(
        &self,
        stored: Vec<(Deletion, Value)>,
        expired: Vec<Deletion>,
    ) -> Result<(Vec<Credential>, Vec<Deletion>)> {
        let (account, asked) = (&self.request.account, self.request.duration);
        let secrets: Vec<&Deletion> = stored.iter().map(|(secret, _)| secret).collect();
        let (tokens, cleared) = if self.request.long_lived {
            (collect(self.cluster, asked, &secrets).await?, Vec::new())
        } else {
            issue(self.cluster, account, asked, &secrets, expired).await?
        };
        let credential = |(token, (secret, object)): (Token, (Deletion, Value))| Credential {
            issued: created(&object).unwrap_or_else(Timestamp::now),
            bound_secret: SecretRecord { name: secret.reference.name, uid: secret.uid },
            token,
        };
        Ok((tokens.into_iter().zip(stored).map(credential).collect(), cleared))
    }

    /// The whole proof with the first token; with each other one that it reads the pages too.
    async fn prove(&self, scraper: &Scraper, credentials: &[Credential]) -> Result<ProofReport> {
        let proof = |fence| Proof {
            account: &self.request.account,
            jobs: &self.request.jobs,
            federate_match: &self.request.federate_match,
            nodes: self.observed.nodes.as_ref(),
            fence,
            former: self.plan.former.as_deref(),
            until_delivered: &self.plan.until_delivered,
            kubelets: self.kubelets,
            needs_every_page: self.needs_every_page,
        };
        let (whole, pages) = (proof(self.fence()), proof(FenceState::Off));
        let (report, _, ()) = tokio::try_join!(
            whole.run(scraper, &credentials[0].token.secret),
            try_join_all(credentials[1..].iter().map(|credential| pages.run(scraper, &credential.token.secret))),
            async {
                // Who can say when a token that renews itself, or lives for ever, will be dead?
                if !self.request.self_renew && !self.request.long_lived {
                    let account = &self.request.account;
                    join_all(credentials.iter().map(|one| note_expiry(self.cluster, account, one))).await;
                }
                Ok(())
            },
        )?;
        Ok(report)
    }

    fn fence(&self) -> FenceState {
        match self.request.fence {
            Fence::Off => FenceState::Off,
            Fence::Required if self.plan.changes_fence() => FenceState::New,
            Fence::Required => FenceState::Standing,
        }
    }
}

/// When the server stored an object, by its own clock.
fn created(object: &Value) -> Option<Timestamp> {
    object["metadata"]["creationTimestamp"].as_str()?.parse().ok()
}
