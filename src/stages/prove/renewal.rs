//! Prove: with nothing but its own token the account gets its next one, and no other.

use super::patience::{BETWEEN_TRIES, RIGHTS_ARRIVE_WITHIN, refused, stays_refused};
use crate::model::token::bearer::BearerToken;
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
    stages::poll::poll,
};
use futures_util::future::join_all;
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
    pub async fn run(&self, scraper: &Scraper, token: &BearerToken) -> Result<usize> {
        let (renewed, refused) = tokio::join!(self.renews(scraper, token), self.refuses(scraper, token));
        // A token that is refused altogether says more than a policy that is not seen.
        renewed?;
        refused
    }

    /// The new token is dropped: this one is good, and both end with the same Secret.
    async fn renews(&self, scraper: &Scraper, token: &BearerToken) -> Result<()> {
        let look = async || match scraper.renew(self.account, self.secret, self.cap, token).await {
            Ok(_) => Ok(Ok(())),
            Err(error) if error.reason.is_without_answer() => Ok(Err(error)),
            // RBAC that has not arrived, or the policy as it was before this run.
            Err(error) => Err(error),
        };
        let renewed = poll(|_| RIGHTS_ARRIVE_WITHIN, BETWEEN_TRIES, look).await;
        renewed.unwrap_or_else(Err).map_err(|error| error.because(Reason::ProofFailed))
    }

    /// Sees every other request refused, then for more than a second, on fresh connections that may reach other API
    /// servers, the one that would undo revocation: each of them reads its policies on its own clock.
    async fn refuses(&self, scraper: &Scraper, token: &BearerToken) -> Result<usize> {
        let attempts = forbidden(self.account, self.secret, self.cap);
        let look = async || self.first_passed(scraper, token, &attempts).await;
        let not_enforced = |(attempt, answer): (&Attempt, Answer)| self.not_enforced(attempt, &answer);
        refused(true, look, |(_, answer)| answer).await?.map_err(not_enforced)?;
        let look = async || self.first_passed(&scraper.fresh(), token, &attempts[..1]).await;
        stays_refused(Instant::now(), look).await?.map_err(not_enforced)?;
        Ok(attempts.len())
    }

    /// The first of the attempts that was not refused by who should refuse it.
    async fn first_passed<'b>(
        &self,
        scraper: &Scraper,
        token: &BearerToken,
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
                 it answers the new token's request for {} with {}, where the policy should refuse the request",
                self.account.renewal_name(),
                attempt.what,
                answer.code
            ),
        )
        .hint("Is the admission plugin ValidatingAdmissionPolicy disabled? (--disable-admission-plugins of kube-apiserver)")
        .hint("Omit --self-renew, and join again before the token expires")
    }
}
