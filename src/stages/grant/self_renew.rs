//! Self-renewal: its policy, and the proof of its limits.
//!
//! The policy names the new token's Secret and the audiences that the server gave it, so there must be a token first.

use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::{Cluster, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::{Account, desired::SelfRenew, renewal::Limits},
        kube::object::Deletion,
        plan::Phase,
        text::duration::Seconds,
        token::{Token, bound_secret::BoundSecret},
    },
    stages::{
        poll::poll,
        prove::{
            patience::{BETWEEN_TRIES, POLICY_HOLDS_AFTER, RIGHTS_ARRIVE_WITHIN},
            renewal::RenewalProof,
        },
    },
};
use tokio::time::Instant;

/// One account's right to renew its token.
pub(super) struct SelfRenewal<'a> {
    pub cluster: &'a Cluster,
    pub account: &'a Account,
    /// The Secrets of the new tokens; the first token makes the proof. Never empty.
    pub secrets: &'a [Deletion],
    /// The life of the first token and of all renewed tokens.
    pub cap: Seconds,
}

impl SelfRenewal<'_> {
    /// The phase with the policy for this token. `secrets`: the account's other bound Secrets. Those without an expiry
    /// belong to self-renewing tokens, which the policy continues to allow.
    pub(super) fn limited(&self, phase: &Phase, token: &Token, secrets: &[BoundSecret]) -> Result<Phase> {
        let mut phase = phase.clone();
        if phase.is_empty() {
            return Ok(phase);
        }
        if token.audiences.is_empty() {
            return Err(Error::new(
                Reason::ApiServerError,
                format!(
                    "{}: the API server does not report the audiences of a token, so renewals cannot be limited",
                    self.cluster.context
                ),
            )
            .hint("Omit --self-renew, and join again before the token expires"));
        }
        let others = secrets.iter().filter(|secret| secret.expires.is_none()).map(|secret| secret.name.clone());
        let limits = Limits {
            secrets: others.chain(self.secrets.iter().map(|secret| secret.reference.name.clone())).collect(),
            audiences: token.audiences.clone(),
            cap: self.cap,
        };
        let [policy, _] = SelfRenew::new(self.account, &limits).policy;
        for step in phase.writes.iter_mut().filter(|step| step.object.reference == policy.reference) {
            step.object = policy.clone();
        }
        Ok(phase)
    }

    /// Existing tokens must find the policy in force, on every API server.
    pub(super) async fn is_limited_everywhere(&self, since: Instant) {
        tokio::time::sleep(POLICY_HOLDS_AFTER.saturating_sub(since.elapsed())).await;
    }

    /// Proves the right and its limits. Returns the number of refused requests.
    ///
    /// # Errors
    /// [`Reason::FenceNotEnforced`], [`Reason::ProofFailed`], whatever an API server says.
    pub(super) async fn prove(&self, scraper: &Scraper, token: &BearerToken) -> Result<usize> {
        let proof = RenewalProof { account: self.account, secret: &self.secrets[0], cap: self.cap };
        proof.run(scraper, token).await.map_err(|error| error.about(&self.cluster.context))
    }

    /// Requests renewals until RBAC refuses one. Tokens issued until then are bound to the new token's own Secret.
    pub(super) async fn no_right_left(&self, scraper: &Scraper, token: &BearerToken) -> Result<()> {
        let look = async || match scraper.renew(self.account, &self.secrets[0], self.cap, token).await {
            Err(error) if error.reason == Reason::Forbidden => Ok(Ok(())),
            Err(error) if error.reason.is_without_answer() => Ok(Err(error.about(&self.cluster.context))),
            _ => Err(()),
        };
        poll(|()| RIGHTS_ARRIVE_WITHIN, BETWEEN_TRIES, look).await.unwrap_or_else(|()| {
            let what = format!(
                "{}: service account {} may still renew its token, so {} stays",
                self.cluster.context,
                self.account,
                self.account.renewal_name()
            );
            Err(Error::new(Reason::LeftoverObjects, what).hint(format!(
                "Check with: kubectl auth can-i create serviceaccounts/{} --subresource=token -n {} --as {}",
                self.account.name,
                self.account.namespace,
                self.account.user()
            )))
        })
    }
}
