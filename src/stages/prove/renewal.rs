//! Prove: with nothing but its own token the account gets its next one, and no other.

use super::patience::{BETWEEN_TRIES, FENCE_HOLDS_WITHIN, POLICY_HOLDS_FOR, RIGHTS_ARRIVE_WITHIN};
use crate::{
    cluster::{Answer, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::{
            Account,
            renewal::{Attempt, forbidden},
        },
        kube::object::Deletion,
        text::duration::Seconds,
    },
};
use futures_util::future::join_all;
use secrecy::SecretString;
use tokio::time::Instant;

/// What the proof is made with.
pub struct RenewalProof<'a> {
    pub account: &'a Account,
    /// What the token is bound to.
    pub secret: &'a Deletion,
    pub cap: Seconds,
}

impl RenewalProof<'_> {
    /// The renewal and the refusals at the same time. Returns how many were refused.
    ///
    /// # Errors
    /// [`Reason::ProofFailed`], [`Reason::AccountRefused`], [`Reason::FenceNotEnforced`].
    pub async fn run(&self, scraper: &Scraper, token: &SecretString) -> Result<usize> {
        let (renewed, refused) = tokio::join!(self.renews(scraper, token), self.refuses(scraper, token));
        // A token that is refused altogether says more than a policy that is not seen.
        renewed?;
        refused
    }

    /// The new token is dropped: this one is good, and both end with the same Secret.
    async fn renews(&self, scraper: &Scraper, token: &SecretString) -> Result<()> {
        let started = Instant::now();
        loop {
            match scraper.renew(self.account, self.secret, self.cap, token).await {
                Ok(_) => return Ok(()),
                // RBAC that has not arrived, or the policy as it was before this run.
                Err(error) if !error.reason.is_without_answer() && started.elapsed() < RIGHTS_ARRIVE_WITHIN => {
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                Err(error) => return Err(error.because(Reason::ProofFailed)),
            }
        }
    }

    /// Sees every other request refused, then for more than a second, on fresh connections that may reach other API
    /// servers, the one that would undo revocation: each of them reads its policies on its own clock.
    async fn refuses(&self, scraper: &Scraper, token: &SecretString) -> Result<usize> {
        let attempts = forbidden(self.account, self.secret, self.cap);
        let started = Instant::now();
        while let Some((attempt, answer)) = self.first_passed(scraper, token, &attempts).await? {
            let patience =
                if answer.code == 403 || answer.code == 401 { RIGHTS_ARRIVE_WITHIN } else { FENCE_HOLDS_WITHIN };
            if started.elapsed() > patience {
                return Err(self.not_enforced(attempt, &answer));
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        let started = Instant::now();
        let mut holds_since = started;
        while holds_since.elapsed() < POLICY_HOLDS_FOR {
            tokio::time::sleep(BETWEEN_TRIES).await;
            let fresh = scraper.fresh()?;
            if let Some((attempt, answer)) = self.first_passed(&fresh, token, &attempts[..1]).await? {
                if started.elapsed() > FENCE_HOLDS_WITHIN {
                    return Err(self.not_enforced(attempt, &answer));
                }
                holds_since = Instant::now();
            }
        }
        Ok(attempts.len())
    }

    /// The first of the attempts that was not refused by who should refuse it.
    async fn first_passed<'b>(
        &self,
        scraper: &Scraper,
        token: &SecretString,
        attempts: &'b [Attempt],
    ) -> Result<Option<(&'b Attempt, Answer)>> {
        let answers =
            join_all(attempts.iter().map(|attempt| scraper.post(&attempt.path, &attempt.request, token))).await;
        for (attempt, answer) in attempts.iter().zip(answers) {
            let answer = answer?;
            if !attempt.is_refused(self.account, answer.code, &answer.message()) {
                return Ok(Some((attempt, answer)));
            }
        }
        Ok(None)
    }

    /// Never with the answer's text, which may be a token.
    fn not_enforced(&self, attempt: &Attempt, answer: &Answer) -> Error {
        Error::new(
            Reason::FenceNotEnforced,
            format!(
                "this API server accepts validatingadmissionpolicy.admissionregistration.k8s.io/{} and does not enforce it: \
                 asked with the new token for {}, it answers {} where the policy should refuse it",
                self.account.renewal_name(),
                attempt.what,
                answer.code
            ),
        )
        .hint("Is the admission plugin ValidatingAdmissionPolicy switched off? (--disable-admission-plugins of kube-apiserver)")
        .hint("Leave out --self-renew, and join again before the token expires")
    }
}
