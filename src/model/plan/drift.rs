//! Existing against desired objects: obstacles for a plan, and changes since a join.

use super::{handover::is_more_than_pins, step::Step};
use crate::{
    error::Error,
    model::{
        account::{desired::Desired, renewal},
        kube::{
            diff::differences,
            object::{Existing, Kind, Object, ObjectRef},
        },
    },
};

/// An object that differs from what `join` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub reference: ObjectRef,
    /// Paths of fields; none if the object is gone.
    pub paths: Vec<String>,
}

/// The objects that make a plan impossible, with [`Reason::NotOurs`] or [`Reason::BeingDeleted`].
pub fn clashes(desired: &Desired, existing: &Existing) -> Vec<(ObjectRef, Error)> {
    let clash =
        |object: &Object| Some((object.reference.clone(), Step::new(object, existing.get(&object.reference)).err()?));
    desired.objects().filter_map(clash).collect()
}

/// The objects that are gone or differ from the desired ones, with the paths. Marks of ownership do not count. The
/// renewal policy may have any limits, because they depend on the token.
pub fn drift(desired: &Desired, existing: &Existing) -> Vec<Drift> {
    let open = desired.self_renew.as_ref().map(|renewal| &renewal.policy[0].reference);
    let drift = |object: &Object| {
        let reference = object.reference.clone();
        let Some(there) = existing.get(&reference) else {
            // Earlier releases made no guard, so `status` names a missing one as a problem of its own.
            return (!desired.is_guard(&reference)).then(|| Drift { reference, paths: Vec::new() });
        };
        if reference.kind == Kind::Namespace {
            return None;
        }
        if Some(&reference) == open {
            let paths = vec!["spec".to_owned()];
            return (!renewal::is_policy(&desired.account, there)).then_some(Drift { reference, paths });
        }
        // New and removed nodes are reported by name instead.
        if !is_more_than_pins(object, there) {
            return None;
        }
        let mut paths = differences(reference.kind, &object.manifest, there);
        paths.retain(|path| !path.starts_with("metadata."));
        (!paths.is_empty()).then_some(Drift { reference, paths })
    };
    desired.objects().filter_map(drift).collect()
}
