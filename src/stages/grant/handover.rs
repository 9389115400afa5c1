//! Handover: after jobs by another route are in use, removes the rights of the previous jobs, and proves the removal.

use super::apply::{Journal, carry_out};
use crate::model::token::bearer::BearerToken;
use crate::{
    error::{Error, Result},
    model::{account::desired::Fence, job::route::Route, plan::When, report::ObjectReport},
    stages::{
        events::Events,
        interrupt::until_interrupted,
        prepare::Prepared,
        prove::{
            FenceState, Proof,
            kubelets::{KubeletProof, bare_names_are_refused},
        },
    },
};
use tokio::time::Instant;

/// The result of a handover.
#[derive(Default)]
pub struct HandedOver {
    pub objects: Vec<ObjectReport>,
    /// The number of requests that a kubelet itself refused, if one is reachable.
    pub refused_by_kubelet: Option<usize>,
}

/// Does nothing if the previous jobs used the same route. A failure undoes nothing: the new jobs are in use, and the next
/// run continues.
///
/// # Errors
/// [`crate::error::Reason::FenceNotEnforced`], [`crate::error::Reason::ProofFailed`], whatever an API server says.
pub async fn hand_over(prepared: &Prepared, token: &BearerToken, events: Events<'_>) -> Result<HandedOver> {
    let Prepared { cluster, request, plan, scraper, .. } = prepared;
    if !plan.hands_over() {
        return Ok(HandedOver::default());
    }
    let work = async {
        let done = carry_out(cluster, plan.phase(When::Delivered), &Journal::default(), events).await?;
        let fence = if request.fence == Fence::Off { FenceState::Off } else { FenceState::New(Instant::now()) };
        let proof = Proof { until_delivered: &[], ..prepared.proof(fence) };
        proof.fence(scraper, token).await.map_err(|error| error.about(&cluster.context))?;
        let refused_by_kubelet = at_a_kubelet(prepared, token).await?;
        Ok(HandedOver { objects: done.into_iter().map(|done| done.report).collect(), refused_by_kubelet })
    };
    until_interrupted(Box::pin(work))
        .await
        .map_err(|error: Error| error.hint("The new jobs are in use: run the same command again to finish"))
}

/// Proves that a kubelet itself refuses all other requests with the token. Runs only after the rights of the previous jobs
/// are removed, because a kubelet caches a permission for five minutes. Returns the number of refused requests, if a
/// kubelet is reachable.
pub(super) async fn at_a_kubelet(prepared: &Prepared, token: &BearerToken) -> Result<Option<usize>> {
    let Prepared { cluster, request, observed, kubelets, .. } = prepared;
    let (account, jobs) = (&request.account, &request.jobs);
    let Some(nodes) = &observed.nodes else { return Ok(None) };
    if *jobs.route() == Route::ApiServer {
        return Ok(None);
    }
    bare_names_are_refused(cluster, account, &nodes.candidates).await?;
    let proof = KubeletProof { account, jobs, kubelets };
    proof.beside_jobs(token).await.map_err(|error| error.about(&cluster.context))
}
