//! Undo: deletes the objects that a failed run created. Its token never left the process, so the undo does not wait for the
//! API server's token cache.

use super::apply::{Journal, Trace, uid_of};
use crate::{
    cluster::{Cluster, DryRun, Found},
    error::Error,
    model::{
        account::Account,
        kube::{
            object::{Deletion, Kind, ObjectRef},
            owner::{Owner, owner},
        },
        report::event::Event,
        store::record::SecretRecord,
    },
    stages::{
        events::Events,
        interrupt::{OBJECTS_UNDONE_WITHIN, ends_within},
    },
};
use futures_util::future::join_all;

/// Deletes the objects in the journal: token, then rights, then fence, then namespace. The fence stays if rights could not
/// be deleted. Adds the remaining objects to the error.
pub async fn undo(cluster: &Cluster, journal: &Journal, mut error: Error, leave: &str, events: Events<'_>) -> Error {
    let mut left = Vec::new();
    let mut undone = 0;
    for kinds in [
        &[Kind::Secret, Kind::ServiceAccount][..],
        &[Kind::RoleBinding, Kind::ClusterRoleBinding],
        &[Kind::Role, Kind::ClusterRole],
        &[Kind::ValidatingAdmissionPolicyBinding],
        &[Kind::ValidatingAdmissionPolicy],
        &[Kind::Namespace],
    ] {
        let of_these: Vec<_> =
            journal.entries().into_iter().filter(|(reference, _)| kinds.contains(&reference.kind)).collect();
        if kinds[0].is_fence() && unfenced_by_deleting(&left) {
            left.extend(
                of_these.into_iter().map(|(reference, _)| (reference, "it is the fence of the others".to_owned())),
            );
            continue;
        }
        for (reference, outcome) in
            join_all(of_these.into_iter().map(|(reference, trace)| take_back(cluster, reference, trace))).await
        {
            match outcome {
                Outcome::Gone => undone += 1,
                Outcome::NeverThere => {}
                Outcome::Stays(why) => left.push((reference, why)),
            }
        }
    }
    if undone > 0 {
        events.report(Event::Undone(undone));
    }
    if !left.is_empty() {
        let left: Vec<String> = left.into_iter().map(|(reference, why)| format!("{reference} ({why})")).collect();
        error = error.hint(format!("Not deleted: {}; to remove it: {leave}", left.join(", ")));
    }
    error
}

/// Revokes the token for a destination that could not be written, if other destinations use the account.
pub async fn revoke(cluster: &Cluster, account: &Account, secret: &SecretRecord, events: Events<'_>) {
    let deletion = secret.deletion(account);
    let outcome = cluster.delete(&deletion, DryRun::No).await;
    let secret = deletion.reference;
    events.report(match outcome {
        Ok(()) => Event::Revoked(secret),
        Err(error) => Event::NotRevoked { secret, error },
    });
}

/// Whether a token or its rights could not be deleted, so that the fence must stay.
fn unfenced_by_deleting(left: &[(ObjectRef, String)]) -> bool {
    left.iter().any(|(reference, _)| {
        matches!(reference.kind, Kind::Secret | Kind::ServiceAccount | Kind::RoleBinding | Kind::ClusterRoleBinding)
    })
}

enum Outcome {
    Gone,
    NeverThere,
    Stays(String),
}

async fn take_back(cluster: &Cluster, reference: ObjectRef, trace: Trace) -> (ObjectRef, Outcome) {
    let late = (reference.clone(), Outcome::Stays(format!("no answer within {OBJECTS_UNDONE_WITHIN:?}")));
    ends_within(OBJECTS_UNDONE_WITHIN, delete(cluster, reference, trace)).await.unwrap_or(late)
}

async fn delete(cluster: &Cluster, reference: ObjectRef, trace: Trace) -> (ObjectRef, Outcome) {
    let uid = match trace {
        Trace::Created { uid } => uid,
        Trace::Changed => return (reference, Outcome::Stays("changed, not created".to_owned())),
        Trace::MaybeCreated => match cluster.get(&reference).await {
            Ok(Found::Object(object)) if owner(&object) == Owner::Us => uid_of(&object),
            Ok(_) => return (reference, Outcome::NeverThere),
            Err(error) => return (reference, Outcome::Stays(error.to_string())),
        },
    };
    let deletion = Deletion { reference, uid };
    let outcome = match cluster.delete(&deletion, DryRun::No).await {
        Ok(()) => Outcome::Gone,
        Err(error) => Outcome::Stays(error.to_string()),
    };
    (deletion.reference, outcome)
}
