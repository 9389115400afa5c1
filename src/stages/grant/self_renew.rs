//! Self-renewal: the policy about it, then the right, then the proof; and the right taken away where it is not wanted.
//!
//! The policy names the new token's Secret and the audiences that the server gave it, so there must be a token first.

use super::apply::{Journal, apply};
use crate::{
    cluster::{Cluster, DryRun, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::{Account, desired::SelfRenew, renewal::Terms},
        kube::object::{Deletion, Verb},
        plan::{JoinPlan, Step},
        report::{ObjectReport, event::Why},
        text::duration::Seconds,
        token::{Token, bound_secret::BoundSecret},
    },
    stages::events::Events,
    stages::prove::{BETWEEN_TRIES, POLICY_HOLDS_FOR, RIGHTS_ARRIVE_WITHIN, renewal::RenewalProof},
};
use secrecy::SecretString;
use std::time::Instant;

/// One account's right to renew its token.
pub struct SelfRenewal<'a> {
    pub cluster: &'a Cluster,
    pub account: &'a Account,
    pub plan: &'a JoinPlan,
    /// What the new tokens are bound to; the first is the one that proves it.
    pub secrets: &'a [Deletion],
    /// The life to ask for, now and ever after.
    pub cap: Seconds,
    pub events: Events<'a>,
}

impl SelfRenewal<'_> {
    fn is_wanted(&self) -> bool {
        self.plan.renewal.iter().any(|wave| !wave.is_empty())
    }

    /// The policy, as long as possible before the right. `secrets` are those that are there besides this token's: the
    /// ones without an expiry belong to tokens that renew themselves, and may go on doing so.
    pub async fn limit(&self, token: &Token, secrets: &[BoundSecret], journal: &Journal) -> Result<Vec<ObjectReport>> {
        if !self.is_wanted() {
            return Ok(Vec::new());
        }
        if token.audiences.is_empty() {
            return Err(Error::new(
                Reason::ApiServerError,
                format!(
                    "{}: the server does not say whom a token is for, so renewals cannot be limited",
                    self.cluster.context
                ),
            )
            .hint("Leave out --self-renew, and join again before the token expires"));
        }
        let others = secrets.iter().filter(|secret| secret.expires.is_none()).map(|secret| secret.name.clone());
        let terms = Terms {
            secrets: others.chain(self.secrets.iter().map(|secret| secret.reference.name.clone())).collect(),
            audiences: token.audiences.clone(),
            cap: self.cap,
        };
        let [policy, _] = SelfRenew::new(self.account, &terms).policy;
        let mut wave = self.plan.renewal[0].clone();
        for step in wave.iter_mut().filter(|step| step.object.reference == policy.reference) {
            step.object = policy.clone();
        }
        self.apply(&wave, journal).await
    }

    /// The right, and the proof that it is limited. Returns what was done, and how many requests were refused; none
    /// where the right is not wanted.
    ///
    /// # Errors
    /// [`Reason::FenceNotEnforced`], [`Reason::ProofFailed`], whatever an API server says.
    pub async fn grant(
        &self,
        scraper: &Scraper,
        token: &SecretString,
        limited: Instant,
        journal: &Journal,
    ) -> Result<(Vec<ObjectReport>, Option<usize>)> {
        if !self.is_wanted() {
            return Ok((self.retire(scraper, token).await?, None));
        }
        let [_, role, binding] = &self.plan.renewal;
        if role.iter().chain(binding).any(|step| step.verb != Verb::Unchanged) {
            // Tokens that are out already must find the policy in force, on every API server.
            tokio::time::sleep(POLICY_HOLDS_FOR.saturating_sub(limited.elapsed())).await;
        }
        let mut objects = self.apply(role, journal).await?;
        objects.extend(self.apply(binding, journal).await?);
        let proof = RenewalProof { account: self.account, secret: &self.secrets[0], cap: self.cap };
        let refused = proof.run(scraper, token).await.map_err(|error| error.about(&self.cluster.context))?;
        Ok((objects, Some(refused)))
    }

    async fn apply(&self, wave: &[Step], journal: &Journal) -> Result<Vec<ObjectReport>> {
        let done = apply(self.cluster, wave, journal).await?;
        Ok(done.into_iter().map(|done| self.events.object(done.report, None)).collect())
    }

    /// Takes away what an earlier join gave: the right, and when it is seen to be gone, the policy.
    async fn retire(&self, scraper: &Scraper, token: &SecretString) -> Result<Vec<ObjectReport>> {
        let retired = &self.plan.retired;
        let mut objects = Vec::new();
        for deletion in retired.bindings.iter().chain(&retired.roles) {
            objects.push(self.delete(deletion).await?);
        }
        if !retired.fence.is_empty() {
            self.no_right_left(scraper, token).await?;
        }
        for deletion in &retired.fence {
            objects.push(self.delete(deletion).await?);
        }
        Ok(objects)
    }

    async fn delete(&self, deletion: &Deletion) -> Result<ObjectReport> {
        self.cluster.delete(deletion, DryRun::No).await?;
        Ok(self.events.object(ObjectReport::deleted(&deletion.reference), Some(Why::SelfRenewNotWanted)))
    }

    /// Asks to renew until RBAC refuses it. What it gets until then is bound to the new token's own Secret.
    async fn no_right_left(&self, scraper: &Scraper, token: &SecretString) -> Result<()> {
        let started = Instant::now();
        loop {
            match scraper.renew(self.account, &self.secrets[0], self.cap, token).await {
                Err(error) if error.reason == Reason::Forbidden => return Ok(()),
                Err(error) if error.reason.is_without_answer() => return Err(error.about(&self.cluster.context)),
                _ if started.elapsed() < RIGHTS_ARRIVE_WITHIN => tokio::time::sleep(BETWEEN_TRIES).await,
                _ => {
                    let what = format!(
                        "{}: service account {} may still renew its token, so {} stays",
                        self.cluster.context,
                        self.account,
                        self.account.renewal_name()
                    );
                    return Err(Error::new(Reason::LeftoverObjects, what).hint(format!(
                        "Who grants it? kubectl auth can-i create serviceaccounts/{} --subresource=token -n {} --as {}",
                        self.account.name,
                        self.account.namespace,
                        self.account.user()
                    )));
                }
            }
        }
    }
}
