//! Uninstall: credentials first, then the rights, then the fence; a token of the account proves it by ending at 401.

use super::{
    events::Events,
    poll::{Pauses, poll},
    prepare::observe::everything,
};
use crate::model::token::bearer::BearerToken;
use crate::stages::grant::{apply::uid_of, issue::fresh_secret};
use crate::{
    cluster::{Cluster, DryRun, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::Account,
        job::Jobs,
        kube::object::{Deletion, Kind, ObjectRef},
        plan::{
            leave::{LeavePlan, Leaving},
            request::command,
        },
        report::{
            ObjectReport,
            event::{Event, NamespaceUse},
        },
        store::identity::Identity,
        token,
    },
};
use std::time::Duration;
use tokio::time::Instant;

/// An API server remembers for ten seconds that a token was good (Kubernetes `pkg/kubeapiserver/options`,
/// `TokenSuccessCacheTTL`); the fence must outlive that.
const TOKEN_CACHE: Duration = Duration::from_secs(10);
/// Long enough for every server of an HA set to have forgotten the token.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);
const NAMESPACE_GONE_WITHIN: Duration = Duration::from_secs(60);
const BETWEEN_TRIES: Pauses = Pauses::even(Duration::from_millis(250));

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
        let mut plan = self.observe().await?;
        let ours: Vec<String> = plan
            .deletions()
            .filter(|deletion| deletion.reference.namespace.as_deref() == Some(self.account.namespace.as_str()))
            .map(|deletion| format!("{}/{}", deletion.reference.kind.plural(), deletion.reference.name))
            .collect();
        self.spare_a_namespace_in_use(&mut plan, &ours).await;
        Ok(plan)
    }

    async fn observe(&self) -> Result<LeavePlan> {
        let found = everything(self.cluster, self.account, self.recorded);
        let (found, secrets) = tokio::join!(found, self.cluster.bound_secrets(self.account));
        Ok(LeavePlan::new(self.account, &found?, &secrets?, self.leaving, self.cluster.now()))
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

    /// Strikes the namespace from the plan if it stays after all. Returns after how many seconds a token of the account
    /// was refused; none where none could be had.
    pub async fn run(&self, plan: &mut LeavePlan) -> Result<Option<u64>> {
        let witness = self.witness(plan).await;
        self.delete(&plan.credentials).await?;
        let gone = Instant::now();
        self.delete(&plan.bindings).await?;
        self.delete(&plan.roles).await?;
        let refused_after = match &witness {
            Some(token) => {
                let after = self.refused(token, gone).await?;
                self.events.report(Event::TokenRefused { after });
                Some(after)
            }
            None => None,
        };
        if !plan.fence.is_empty() {
            tokio::time::sleep(TOKEN_CACHE.saturating_sub(gone.elapsed())).await;
        }
        // The binding puts the policy into force; nothing is left that it would fence.
        self.delete(&plan.fence).await?;
        // Seconds have passed since the plan. Our objects are gone, so every object in it has another owner, also an
        // account that another join has created since.
        self.spare_a_namespace_in_use(plan, &[]).await;
        if let Some(namespace) = &plan.namespace {
            self.delete(std::slice::from_ref(namespace)).await?;
        }
        Ok(refused_after)
    }

    /// A ten-minute token that has been used once, so that the API server remembers it as it does those in use. It ends
    /// with a Secret that goes, as those in use do.
    /// None without an account or without the permission: then the objects alone must prove it.
    async fn witness(&self, plan: &mut LeavePlan) -> Option<BearerToken> {
        let goes = |kind| plan.credentials.iter().find(|deletion| deletion.reference.kind == kind);
        let secret = match (goes(Kind::ServiceAccount), goes(Kind::Secret)) {
            (Some(_), secret) => secret.cloned(),
            (None, Some(secret)) if !plan.used_by.is_empty() => Some(secret.clone()),
            (None, _) => return None,
        };
        let proof = async {
            let secret = if let Some(secret) = secret { secret } else { self.secret_for_a_witness(plan).await? };
            let token = self.cluster.issue(self.account, token::MINIMUM, Some(&secret)).await?.secret;
            let answer = self.scraper.get("/version", Some(&token)).await?;
            if answer.code == 401 {
                return Err(Error::new(Reason::AccountRefused, "the API server refuses a new token of the account"));
            }
            Ok(token)
        };
        match proof.await {
            Ok(token) => Some(token),
            Err(error) => {
                self.events.report(Event::NoWitness(error));
                None
            }
        }
    }

    /// The guard admits no token without a Secret. The plan deletes this one too.
    async fn secret_for_a_witness(&self, plan: &mut LeavePlan) -> Result<Deletion> {
        let fresh = fresh_secret(self.account, self.cluster.now(), token::MINIMUM, &Identity::printed(), "");
        let applied = self.cluster.apply(&fresh, DryRun::No).await?;
        let secret = Deletion { reference: fresh.reference, uid: uid_of(&applied.object) };
        plan.credentials.insert(0, secret.clone());
        Ok(secret)
    }

    async fn refused(&self, token: &BearerToken, since: Instant) -> Result<u64> {
        let look = async || match self.scraper.get("/version", Some(token)).await {
            Ok(answer) if answer.code == 401 => Ok(Ok(since.elapsed().as_secs())),
            Ok(_) => Err(()),
            Err(error) => Ok(Err(error)),
        };
        let left = REFUSED_WITHIN.saturating_sub(since.elapsed());
        poll(|()| left, BETWEEN_TRIES, look).await.unwrap_or_else(|()| {
            let what = format!(
                "a token of service account {} still works {REFUSED_WITHIN:?} after it was revoked",
                self.account
            );
            Err(Error::new(Reason::LeftoverObjects, what)
                .hint("The fence stays until the token is refused: run leave again"))
        })
    }

    async fn delete(&self, deletions: &[Deletion]) -> Result<()> {
        let outcomes =
            futures_util::future::join_all(deletions.iter().map(|deletion| self.cluster.delete(deletion, DryRun::No)))
                .await;
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
        let look = async || {
            let now = match self.observe().await {
                Ok(now) => now,
                Err(error) => return Ok(Err(error)),
            };
            let left: Vec<ObjectRef> = now
                .deletions()
                .filter(|deletion| plan.deletions().any(|was| was.reference == deletion.reference))
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
