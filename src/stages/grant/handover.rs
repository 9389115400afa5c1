//! Settle: when jobs by another route are in use, the rights of those before them go, and that is proven.

use super::apply::{Journal, apply};
use crate::{
    cluster::{Cluster, Scraper},
    error::Result,
    model::{
        account::desired::Fence,
        job::route::Route,
        plan::{JoinPlan, request::JoinRequest},
        report::{ObjectReport, event::Why},
    },
    stages::{
        events::Events,
        prepare::{kubelets::Kubelets, observe::Observed},
        prove::{
            FenceState, Proof,
            kubelets::{KubeletProof, bare_names_are_refused},
        },
    },
};
use secrecy::SecretString;

/// What is left to do in a cluster.
#[derive(Clone, Copy)]
pub struct Settlement<'a> {
    pub request: &'a JoinRequest,
    pub cluster: &'a Cluster,
    pub observed: &'a Observed,
    pub kubelets: &'a Kubelets,
    pub plan: &'a JoinPlan,
}

/// What was settled.
#[derive(Default)]
pub struct Settled {
    pub objects: Vec<ObjectReport>,
    /// How many requests straight at a kubelet it refused, where one can be reached.
    pub refused_by_kubelet: Option<usize>,
}

impl Settlement<'_> {
    /// Nothing where the jobs before went the same way. What fails here undoes nothing: the new jobs are in use, and
    /// the next run goes on.
    ///
    /// # Errors
    /// [`crate::error::Reason::FenceNotEnforced`], [`crate::error::Reason::ProofFailed`], whatever an API server says.
    pub async fn run(&self, scraper: &Scraper, token: &SecretString, events: Events<'_>) -> Result<Settled> {
        let settle = async {
            let mut objects = Vec::new();
            for done in apply(self.cluster, &self.plan.settled, &Journal::default()).await? {
                objects.push(events.object(done.report, Some(Why::PreviousRoute)));
            }
            self.proof().fence(scraper, token).await.map_err(|error| error.about(&self.cluster.context))?;
            let refused_by_kubelet = self.at_a_kubelet(token).await?;
            Ok(Settled { objects, refused_by_kubelet })
        };
        if self.plan.settled.is_empty() {
            return Ok(Settled::default());
        }
        settle.await.map_err(|error: crate::error::Error| {
            error.hint("The new jobs are in use: run the same command again to finish")
        })
    }

    fn proof(&self) -> Proof<'_> {
        Proof {
            account: &self.request.account,
            jobs: &self.request.jobs,
            federate_match: &self.request.federate_match,
            nodes: self.observed.nodes.as_ref(),
            fence: if self.request.fence == Fence::Off { FenceState::Off } else { FenceState::New },
            former: self.plan.former.as_deref(),
            needs_every_page: true,
            until_delivered: &[],
            kubelets: self.kubelets,
        }
    }

    /// Straight at a kubelet the token gets nothing beside the jobs. Not before the rights of the jobs before have gone:
    /// a kubelet remembers for five minutes what it let through. Returns how many requests it refused, where one can be
    /// reached.
    pub(in crate::stages) async fn at_a_kubelet(&self, token: &SecretString) -> Result<Option<usize>> {
        let (account, jobs) = (&self.request.account, &self.request.jobs);
        let Some(nodes) = &self.observed.nodes else { return Ok(None) };
        if *jobs.route() == Route::ApiServer {
            return Ok(None);
        }
        bare_names_are_refused(self.cluster, account, &nodes.candidates).await?;
        let proof = KubeletProof { account, jobs, kubelets: self.kubelets };
        proof.beside_jobs(token).await.map_err(|error| error.about(&self.cluster.context))
    }
}
