//! Permissions: whether the caller may do all that a plan needs, asked before the first write.

use super::observe::{Observed, unfenced};
use crate::{
    cluster::Cluster,
    error::{Error, Reason, Result},
    model::{
        account::Account,
        kube::{
            object::ObjectRef,
            permission::{Lacking, Permissions},
        },
        plan::JoinPlan,
    },
};
use futures_util::future::join_all;

/// Asks for every permission that the plan needs, unless one question has answered them all. Returns how many.
///
/// # Errors
/// [`Reason::Forbidden`], naming all that is missing and who lacks it; [`Reason::EscalationForbidden`].
pub async fn permissions(cluster: &Cluster, account: &Account, plan: &JoinPlan, observed: &Observed) -> Result<usize> {
    if let Some(error) = escalation(plan, &observed.escalations) {
        return Err(error.clone());
    }
    lacking(cluster, account, plan, observed.may_everything).await?.verdict()
}

/// Why RBAC would refuse a role that the plan writes.
pub fn escalation<'a>(plan: &JoinPlan, escalations: &'a [(ObjectRef, Error)]) -> Option<&'a Error> {
    escalations.iter().find(|(role, _)| plan.changes_object(role)).map(|(_, error)| error)
}

/// The same questions, with what is missing as data.
///
/// # Errors
/// Only if there is no answer.
pub async fn lacking(
    cluster: &Cluster,
    account: &Account,
    plan: &JoinPlan,
    may_everything: bool,
) -> Result<Permissions> {
    let permissions = plan.permissions(account);
    let trust = plan.trust(account);
    let needed = permissions.len() + usize::from(trust.is_some());
    if may_everything {
        return Ok(Permissions { needed, lacking: None });
    }
    let (answers, trusts) = tokio::join!(
        join_all(permissions.iter().map(|permission| cluster.may(permission))),
        join_all(trust.iter().flatten().map(|permission| cluster.may(permission)))
    );
    let mut missing = Vec::new();
    for (permission, allowed) in permissions.into_iter().zip(answers) {
        if !allowed? {
            missing.push(permission);
        }
    }
    if let Some([needed, _]) = trust {
        let is_trusted = trusts.into_iter().collect::<Result<Vec<bool>>>()?.contains(&true);
        missing.extend((!is_trusted).then_some(needed));
    }
    let Some(first) = missing.first() else {
        return Ok(Permissions { needed, lacking: None });
    };
    let who = cluster.whoami().await.unwrap_or_else(|| "the user of this context".to_owned());
    let list: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let mut error = Error::new(
        Reason::Forbidden,
        format!("{who} may not {}; nothing was written", list.join(", nor ")),
    )
    .about(&cluster.context)
    .hint(format!("Check with: {}", first.can_i()))
    .hint("Ask an administrator of the cluster to run this, or to apply what `kubectl prom-federate manifests` prints");
    if missing.iter().any(|permission| permission.group == "admissionregistration.k8s.io") {
        error = error.hint(unfenced());
    }
    Ok(Permissions { needed, lacking: Some(Lacking { who, missing, error }) })
}
