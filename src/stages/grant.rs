//! Grant: everything of a join that writes. Objects, then the token, then the proof; the token stays in memory.

use super::{
    apply::{Journal, apply, uid_of},
    issue::{expired, fresh_secret, issue, note_expiry},
    observe::Observed,
    prove::{FenceState, Proof},
    self_renew::SelfRenewal,
};
use crate::{
    cluster::{Cluster, Connection, Scraper},
    error::{Error, Reason, Result},
    model::{
        access::Access,
        object::{Fence, ObjectRef, without_expiry},
        plan::{Deletion, JoinPlan, Step, Verb},
        report::{ObjectReport, ProofReport},
        request::JoinRequest,
        token::Token,
    },
    ui::Ui,
};
use jiff::Timestamp;
use std::time::Instant;

/// Access that was granted and proven.
pub struct Granted {
    pub objects: Vec<ObjectReport>,
    pub token: Token,
    /// The name of the Secret that the token lives and dies with.
    pub bound_secret: String,
    pub proof: ProofReport,
}

/// What is granted, and by what way.
pub struct Grant<'a> {
    pub request: &'a JoinRequest,
    pub cluster: &'a Cluster,
    pub access: &'a Access,
    pub connection: &'a Connection,
    pub observed: &'a Observed,
    pub plan: &'a JoinPlan,
}

impl Grant<'_> {
    /// Notes in the journal what it does, so that a failure at any point can be undone.
    pub async fn run(&self, scraper: &Scraper, journal: &Journal, ui: Ui) -> Result<Granted> {
        let mut secret = fresh_secret(&self.request.account, Timestamp::now(), self.request.duration);
        if self.request.self_renew {
            secret = without_expiry(secret);
        }
        let reference = secret.reference.clone();
        let [first, mut second] = self.plan.waves.clone();
        second.push(Step { object: secret, verb: Verb::Created, used_as_is: false });

        let mut objects = Vec::new();
        let mut stored = None;
        for wave in [first, second] {
            for done in apply(self.cluster, &wave, journal).await? {
                ui.say(&format!("  {} {}", done.report.name, done.report.verb));
                if done.report.name == reference.to_string() {
                    stored = done.object;
                }
                objects.push(done.report);
            }
        }
        let stored = stored.ok_or_else(|| Error::new(Reason::ApiServerError, format!("{reference} was not stored")))?;
        let bound = Deletion { reference, uid: uid_of(&stored) };
        let token = self.issue(&bound, &stored, &mut objects, ui).await?;
        let renewal = SelfRenewal {
            cluster: self.cluster,
            access: self.access,
            connection: self.connection,
            account: &self.request.account,
            plan: self.plan,
            secret: &bound,
            cap: self.request.duration,
            ui,
        };
        objects.extend(renewal.limit(&token, &self.observed.secrets, journal).await?);
        let limited = Instant::now();
        let proof = Proof {
            access: self.access,
            connection: self.connection,
            account: &self.request.account,
            jobs: &self.request.jobs,
            nodes: &self.observed.nodes,
            fence: self.fence(),
        };
        let noted = async {
            if !self.request.self_renew {
                note_expiry(self.cluster, &bound, &token).await;
            }
        };
        let (proof, ()) = tokio::join!(proof.run(scraper, &token.secret), noted);
        let mut proof = proof.map_err(|error| error.about(&self.cluster.context))?;
        let (done, renewals_refused) = renewal.grant(scraper, &token.secret, limited, journal).await?;
        objects.extend(done);
        proof.renewals_refused = renewals_refused;
        let ObjectRef { name: bound_secret, .. } = bound.reference;
        Ok(Granted { objects, token, bound_secret, proof })
    }

    async fn issue(
        &self,
        bound: &Deletion,
        stored: &serde_json::Value,
        objects: &mut Vec<ObjectReport>,
        ui: Ui,
    ) -> Result<Token> {
        let account = &self.request.account;
        // The cluster's own clock, by which tokens expire: that of this machine may be wrong.
        let now: Option<Timestamp> =
            stored["metadata"]["creationTimestamp"].as_str().and_then(|text| text.parse().ok());
        let expired = now.map(|now| expired(account, &self.observed.secrets, now)).unwrap_or_default();
        let (token, cleared) = issue(self.cluster, account, self.request.duration, bound, expired).await?;
        for deletion in cleared {
            let report = ObjectReport { name: deletion.reference.to_string(), verb: Verb::Deleted };
            ui.say(&format!("  {} {} (its token had expired)", report.name, report.verb));
            objects.push(report);
        }
        Ok(token)
    }

    fn fence(&self) -> FenceState {
        match self.request.fence {
            Fence::Off => FenceState::Off,
            Fence::Required if self.plan.changes_fence() => FenceState::New,
            Fence::Required => FenceState::Standing,
        }
    }
}
