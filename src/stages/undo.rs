//! Undo: take back what a run that failed has created. Its token never left the process, so nothing waits for the API
//! server's token cache here.

use super::apply::{Journal, Trace, uid_of};
use crate::{
    cluster::{Cluster, DryRun, Found},
    error::Error,
    model::{
        object::{Kind, ObjectRef},
        owner::{Owner, owner},
        plan::Deletion,
    },
    ui::Ui,
};
use futures_util::future::join_all;

/// Deletes what the journal says this run created: token, then rights, then fence, then namespace. Adds to the error
/// what could not be deleted and what was changed.
pub async fn undo(cluster: &Cluster, journal: &Journal, mut error: Error, leave: &str, ui: Ui) -> Error {
    let mut left = Vec::new();
    let mut undone = 0;
    for kinds in [
        &[Kind::Secret, Kind::ServiceAccount][..],
        &[Kind::ClusterRoleBinding],
        &[Kind::ClusterRole],
        &[Kind::ValidatingAdmissionPolicyBinding],
        &[Kind::ValidatingAdmissionPolicy],
        &[Kind::Namespace],
    ] {
        let of_these: Vec<_> = journal.entries().into_iter().filter(|(reference, _)| kinds.contains(&reference.kind)).collect();
        for (reference, outcome) in join_all(of_these.into_iter().map(|(reference, trace)| take_back(cluster, reference, trace))).await {
            match outcome {
                Outcome::Gone => undone += 1,
                Outcome::NeverThere => {}
                Outcome::Stays(why) => left.push(format!("{reference} ({why})")),
            }
        }
    }
    if undone > 0 {
        ui.say(&format!("  undone: {undone} objects that this run had created are deleted again"));
    }
    if !left.is_empty() {
        error = error.hint(format!("Left behind: {}; take it away with: {leave}", left.join(", ")));
    }
    error
}

enum Outcome {
    Gone,
    NeverThere,
    Stays(String),
}

async fn take_back(cluster: &Cluster, reference: ObjectRef, trace: Trace) -> (ObjectRef, Outcome) {
    let uid = match trace {
        Trace::Created { uid } => uid,
        Trace::Changed => return (reference, Outcome::Stays("changed, not created".to_owned())),
        Trace::MaybeCreated => match cluster.get(&reference).await {
            Ok(Found::Object(object)) if owner(&object) == Owner::Us => {
                uid_of(&object)
            }
            Ok(_) => return (reference, Outcome::NeverThere),
            Err(error) => return (reference, Outcome::Stays(error.message)),
        },
    };
    let deletion = Deletion { reference, uid };
    let outcome = match cluster.delete(&deletion, DryRun::No).await {
        Ok(()) => Outcome::Gone,
        Err(error) => Outcome::Stays(error.message),
    };
    (deletion.reference, outcome)
}
