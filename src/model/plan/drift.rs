//! What is there against what is desired: what stands in the way of a plan, and what has changed since a join.

use super::{handover::is_more_than_pins, step::Step};
use crate::{
    error::Error,
    model::{
        account::desired::Desired,
        kube::{
            diff::differences,
            object::{Existing, Kind, Object, ObjectRef},
        },
    },
};

/// An object that is not as `join` makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub reference: ObjectRef,
    /// Paths of fields; none if the object is gone.
    pub paths: Vec<String>,
}

/// Every object that stands in the way of a plan, with [`Reason::NotOurs`] or [`Reason::BeingDeleted`].
pub fn clashes(desired: &Desired, existing: &Existing) -> Vec<(ObjectRef, Error)> {
    let clash =
        |object: &Object| Some((object.reference.clone(), Step::new(object, existing.get(&object.reference)).err()?));
    desired.objects().filter_map(clash).collect()
}

/// The objects that are gone, or say something else than is desired, with the paths; marks of ownership aside. How far
/// a renewal may go is known only to the token that it is for: of its policy nothing but the existence counts.
pub fn drift(desired: &Desired, existing: &Existing) -> Vec<Drift> {
    let open = desired.self_renew.as_ref().map(|renewal| &renewal.policy[0].reference);
    let drift = |object: &Object| {
        let reference = object.reference.clone();
        let Some(there) = existing.get(&reference) else { return Some(Drift { reference, paths: Vec::new() }) };
        if reference.kind == Kind::Namespace || Some(&reference) == open {
            return None;
        }
        // Nodes that came and went are told by name.
        if !is_more_than_pins(object, there) {
            return None;
        }
        let mut paths = differences(&object.manifest, there);
        paths.retain(|path| !path.starts_with("metadata."));
        (!paths.is_empty()).then_some(Drift { reference, paths })
    };
    desired.objects().filter_map(drift).collect()
}
