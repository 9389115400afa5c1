//! Uninstall: credentials first, then the rights, then the fence; a token of the account proves it by ending at 401.

use super::{
    events::Events,
    grant::apply::uid_of,
    leaving::{TRIES, announce, changing, version_of},
    poll::{Pauses, poll},
    prepare::observe::everything,
};
use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::{Cluster, DryRun, Found, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::Account,
        job::Jobs,
        kube::object::{Deletion, Existing, Kind, ObjectRef},
        plan::{
            leave::{LeavePlan, Leaving, Part},
            request::command,
        },
        report::{
            ObjectReport,
            event::{Event, NamespaceUse, Wait},
        },
        token::{self, bound_secret::Claims},
    },
};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

/// An API server remembers for ten seconds that a token was good (Kubernetes `pkg/kubeapiserver/options`,
/// `TokenSuccessCacheTTL`); the fence must outlive that.
const TOKEN_CACHE: Duration = Duration::from_secs(10);
/// Long enough for every server of an HA set to have forgotten the token.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);
const NAMESPACE_GONE_WITHIN: Duration = Duration::from_secs(60);
const BETWEEN_TRIES: Pauses = Pauses::even(Duration::from_millis(250));

/// A token that shows when the access has ended.
struct Witness {
    token: BearerToken,
    /// The UID of its Secret.
    bound_to: String,
}

/// One account's end in one cluster.
pub struct Uninstall<'a> {
    pub cluster: &'a Cluster,
    /// Only what Prometheus has: sees the token refused.
    pub scraper: &'a Scraper,
    pub account: &'a Account,
    pub leaving: Leaving<'a>,
    /// The jobs that a destination remembers.
    pub recorded: Option<&'a Jobs>,
    pub events: Events<'a>,
}

impl Uninstall<'_> {
    /// Plans the deletions.
    pub async fn plan(&self) -> Result<LeavePlan> {
        let (mut plan, _) = self.observe().await?;
        let ours: Vec<String> = plan
            .deletions()
            .filter(|deletion| deletion.reference.namespace.as_deref() == Some(self.account.namespace.as_str()))
            .map(|deletion| format!("{}/{}", deletion.reference.kind.plural(), deletion.reference.name))
            .collect();
        self.spare_a_namespace_in_use(&mut plan, &ours).await;
        Ok(plan)
    }

    /// The objects before the Secrets, see [`super::leaving`]. Also returns the objects.
    async fn observe(&self) -> Result<(LeavePlan, Existing)> {
        let existing = everything(self.cluster, self.account, self.recorded).await?;
        let Claims { secrets, leaving } = self.cluster.claims(self.account).await?;
        let mut plan = LeavePlan::new(self.account, &existing, &secrets, self.leaving, self.cluster.now());
        if plan.used_by.is_empty() {
            plan.announced = leaving.iter().map(|secret| secret.deletion(self.account)).collect();
        }
        Ok((plan, existing))
    }

    /// A namespace of ours goes only if nothing is in it but `ours`, which the plan deletes. It stays if its content is
    /// unknown.
    async fn spare_a_namespace_in_use(&self, plan: &mut LeavePlan, ours: &[String]) {
        let Some(namespace) = &plan.namespace else { return };
        let why = match self.cluster.first_in_namespace(&namespace.reference.name, ours).await {
            Ok(None) => return,
            Ok(Some(other)) => NamespaceUse::Holds(other),
            Err(error) => NamespaceUse::Unknown(error),
        };
        let leave = command("leave", &self.cluster.context, self.account);
        self.events.report(Event::NamespaceStays { namespace: namespace.reference.clone(), why, leave });
        plan.kept_namespace = plan.namespace.take().map(|namespace| namespace.reference);
    }

    /// Strikes from the plan what stays after all. Returns after how many seconds a token of the account was refused; none
    /// where none could be had.
    pub async fn run(&self, plan: &mut LeavePlan) -> Result<Option<u64>> {
        let mut done = Vec::new();
        let mut witness = None;
        if !plan.used_by.is_empty() {
            witness = self.witness(plan, None).await;
            self.delete(&plan.credentials).await?;
            let gone = Instant::now();
            let (now, _) = self.observe().await?;
            if !now.used_by.is_empty() {
                return self.verified(witness.as_ref(), gone).await;
            }
            // The other destinations were left at the same time, and each run saw the tokens of the others.
            done = std::mem::replace(plan, now).credentials;
        }
        let announced = match announce(self.cluster, self.account).await {
            Ok(announced) => Some(announced),
            // Without the namespace there are no bound Secrets in it.
            Err(error) if error.reason == Reason::NotFound => None,
            Err(error) => {
                self.events.report(Event::NotAnnounced(error));
                None
            }
        };
        if witness.is_none() {
            witness = self.witness(plan, announced.as_ref()).await;
        }
        let outcome = self.remove(plan, witness.as_ref(), &mut done).await;
        if outcome.is_ok() && plan.used_by.is_empty() {
            let earlier = done.into_iter().filter(|one| !plan.deletions().any(|planned| planned == one));
            plan.credentials.splice(..0, earlier.collect::<Vec<_>>());
        }
        if let Some(announced) = announced {
            // Otherwise it expires.
            let _ = self.cluster.delete(&announced, DryRun::No).await;
        }
        outcome
    }

    async fn remove(
        &self,
        plan: &mut LeavePlan,
        witness: Option<&Witness>,
        done: &mut Vec<Deletion>,
    ) -> Result<Option<u64>> {
        let stays = self.delete_unused(plan, Part::Access, done).await?;
        let gone = Instant::now();
        if let Some(used_by) = stays {
            return self.stays(plan, used_by, done, witness, gone).await;
        }
        let refused_after = self.verified(witness, gone).await?;
        if !plan.fence.is_empty() {
            let left = TOKEN_CACHE.saturating_sub(gone.elapsed());
            self.events.waits(Wait::TokenCache, Some(left));
            tokio::time::sleep(left).await;
            // The binding puts the policy into force; nothing is left that it would fence.
            if let Some(used_by) = self.delete_unused(plan, Part::Fence, done).await? {
                self.stays(plan, used_by, done, None, gone).await?;
                return Ok(refused_after);
            }
        }
        self.delete(&plan.announced).await?;
        self.delete_namespace(plan).await?;
        Ok(refused_after)
    }

    /// Deletes the objects of the plan, and Secrets that are to go and were written since. Does not delete what another run
    /// has begun to use, and returns the destinations of that run.
    async fn delete_unused(
        &self,
        plan: &LeavePlan,
        part: Part,
        done: &mut Vec<Deletion>,
    ) -> Result<Option<Vec<String>>> {
        for _ in 0..TRIES {
            let (now, existing) = self.observe().await?;
            if !now.used_by.is_empty() {
                let tokens: Vec<Deletion> = now.credentials.into_iter().filter(|one| !done.contains(one)).collect();
                self.delete(&tokens).await?;
                done.extend(tokens);
                return Ok(Some(now.used_by));
            }
            let mut is_changed = false;
            for (planned, there) in plan.part(part).into_iter().zip(now.part(part)) {
                let written = there.iter().filter(|one| one.reference.kind == Kind::Secret && !planned.contains(one));
                let deletions: Vec<&Deletion> =
                    planned.iter().chain(written).filter(|one| !done.contains(one)).collect();
                let outcomes = join_all(deletions.iter().map(|deletion| self.delete_as_it_was(deletion, &existing)));
                for (deletion, outcome) in deletions.iter().zip(outcomes.await) {
                    if outcome? {
                        self.events.object(ObjectReport::deleted(&deletion.reference), None);
                        done.push((*deletion).clone());
                    } else {
                        is_changed = true;
                    }
                }
                // Rights do not end before the credentials, nor a policy before its binding.
                if is_changed {
                    break;
                }
            }
            if !is_changed {
                return Ok(None);
            }
        }
        Err(changing(self.account))
    }

    /// Whether it is gone. A bound Secret is of one run only.
    async fn delete_as_it_was(&self, deletion: &Deletion, existing: &Existing) -> Result<bool> {
        match existing.get(&deletion.reference) {
            Some(object) if uid_of(object) == deletion.uid => {
                self.cluster.delete_unchanged(deletion, version_of(object)).await
            }
            None if deletion.reference.kind == Kind::Secret => {
                self.cluster.delete(deletion, DryRun::No).await.map(|()| true)
            }
            // Another run has deleted it.
            _ => Ok(true),
        }
    }

    /// Another run has begun to use the account: what is `done` is all that this one deletes.
    async fn stays(
        &self,
        plan: &mut LeavePlan,
        used_by: Vec<String>,
        done: &[Deletion],
        witness: Option<&Witness>,
        gone: Instant,
    ) -> Result<Option<u64>> {
        self.events.report(Event::AccountStays { account: self.account.clone(), used_by: used_by.clone() });
        let is_revoked = |witness: &&Witness| done.iter().any(|deletion| witness.bound_to == deletion.uid);
        let refused_after = self.verified(witness.filter(is_revoked), gone).await?;
        *plan = LeavePlan { credentials: done.to_vec(), used_by, ..LeavePlan::default() };
        Ok(refused_after)
    }

    /// Seconds have passed since the plan. Our objects are gone, so every object in the namespace has another owner, also
    /// an account that another join has created since.
    async fn delete_namespace(&self, plan: &mut LeavePlan) -> Result<()> {
        for _ in 0..TRIES {
            let Some(namespace) = plan.namespace.clone() else { return Ok(()) };
            let Found::Object(there) = self.cluster.get(&namespace.reference).await? else { return Ok(()) };
            if !there["metadata"]["deletionTimestamp"].is_null() {
                return Ok(());
            }
            self.spare_a_namespace_in_use(plan, &[]).await;
            if plan.namespace.is_some() && self.cluster.delete_unchanged(&namespace, version_of(&there)).await? {
                self.events.object(ObjectReport::deleted(&namespace.reference), None);
                return Ok(());
            }
        }
        Err(changing(self.account))
    }

    /// A ten-minute token that has been used once, so that the API server remembers it as it does those in use. It ends
    /// with a Secret that goes, as those in use do, or with the account.
    /// None without an account or without the permission: then the objects alone must prove it.
    async fn witness(&self, plan: &LeavePlan, announced: Option<&Deletion>) -> Option<Witness> {
        let goes = |kind| plan.credentials.iter().find(|deletion| deletion.reference.kind == kind);
        let secret = match (goes(Kind::ServiceAccount), goes(Kind::Secret)) {
            // The guard admits no token without a Secret.
            (Some(_), secret) => secret.or(announced),
            (None, Some(secret)) if !plan.used_by.is_empty() => Some(secret),
            (None, _) => return None,
        };
        let proof = async {
            let token = self.cluster.issue(self.account, token::MINIMUM, secret).await?.secret;
            let answer = self.scraper.get("/version", Some(&token)).await?;
            if answer.code == 401 {
                return Err(Error::new(Reason::AccountRefused, "the API server refuses a new token of the account"));
            }
            Ok(Witness { token, bound_to: secret.map(|secret| secret.uid.clone()).unwrap_or_default() })
        };
        match proof.await {
            Ok(witness) => Some(witness),
            Err(error) => {
                self.events.report(Event::NoWitness(error));
                None
            }
        }
    }

    async fn verified(&self, witness: Option<&Witness>, gone: Instant) -> Result<Option<u64>> {
        let Some(witness) = witness else { return Ok(None) };
        self.events.waits(Wait::Refusal, Some(REFUSED_WITHIN));
        let after = self.refused(&witness.token, gone).await?;
        self.events.report(Event::TokenRefused { after });
        Ok(Some(after))
    }

    async fn refused(&self, token: &BearerToken, since: Instant) -> Result<u64> {
        let look = async || match self.scraper.get("/version", Some(token)).await {
            Ok(answer) if answer.code == 401 && answer.is_of_the_api_server() => Ok(Ok(since.elapsed().as_secs())),
            Ok(answer) => Err(answer),
            Err(error) => Ok(Err(error)),
        };
        let left = REFUSED_WITHIN.saturating_sub(since.elapsed());
        poll(|_| left, BETWEEN_TRIES, look).await.unwrap_or_else(|answer| {
            let (account, shown) = (self.account, answer.shown());
            let what = if answer.code < 400 {
                format!("a token of service account {account} still works {REFUSED_WITHIN:?} after it was revoked: /version answers {shown}")
            } else {
                format!(
                    "cannot verify within {REFUSED_WITHIN:?} that a revoked token of service account {account} is refused: \
                     /version answers {shown}"
                )
            };
            Err(Error::new(Reason::LeftoverObjects, what)
                .hint("The fence stays until the token is refused: run leave again"))
        })
    }

    async fn delete(&self, deletions: &[Deletion]) -> Result<()> {
        let outcomes = join_all(deletions.iter().map(|deletion| self.cluster.delete(deletion, DryRun::No))).await;
        for (deletion, outcome) in deletions.iter().zip(outcomes) {
            outcome?;
            self.events.object(ObjectReport::deleted(&deletion.reference), None);
        }
        Ok(())
    }

    /// Polls until everything is deleted; a namespace takes its time.
    pub async fn prove_gone(&self, plan: &LeavePlan) -> Result<()> {
        let patience = |left: &Vec<ObjectRef>| {
            let only_namespace = left.iter().all(|reference| reference.kind == Kind::Namespace);
            if only_namespace { NAMESPACE_GONE_WITHIN } else { TOKEN_CACHE }
        };
        self.events.waits(Wait::Deletion, Some(NAMESPACE_GONE_WITHIN));
        let look = async || {
            let now = match self.observe().await {
                Ok((now, _)) => now,
                Err(error) => return Ok(Err(error)),
            };
            let left: Vec<ObjectRef> = now
                .deletions()
                // A new object of the same name is of another run.
                .filter(|deletion| plan.deletions().any(|was| was == *deletion))
                .map(|deletion| deletion.reference.clone())
                .collect();
            if left.is_empty() { Ok(Ok(())) } else { Err(left) }
        };
        poll(patience, BETWEEN_TRIES, look).await.unwrap_or_else(|left| {
            let left: Vec<String> = left.iter().map(ToString::to_string).collect();
            Err(Error::new(Reason::LeftoverObjects, format!("not deleted: {}", left.join(", ")))
                .about(&self.cluster.context)
                .hint("Check its finalizers: kubectl get OBJECT -o yaml; then run leave again"))
        })
    }
}
