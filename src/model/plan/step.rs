//! One object of a plan: created, changed, unchanged, or refused because it has another owner.

use crate::{
    error::{Error, Reason, Result},
    model::kube::{
        diff::{differences, surplus},
        object::{Kind, Object, ObjectRef, Verb},
        owner::{Owner, owner},
    },
};
use serde_json::Value;

/// One object and its change.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub object: Object,
    pub verb: Verb,
    /// Whether the object has another owner and is used unchanged.
    pub used_as_is: bool,
    /// The merge patch that removes fields of a policy which server-side apply would leave; null without such fields.
    pub surplus: Value,
}

impl Step {
    /// The step for an object that does not exist.
    pub(super) fn create(object: Object) -> Self {
        Self { object, verb: Verb::Created, used_as_is: false, surplus: Value::Null }
    }

    pub(in crate::model) fn new(object: &Object, existing: Option<&Value>) -> Result<Self> {
        let step = |verb, used_as_is| Ok(Self { object: object.clone(), verb, used_as_is, surplus: Value::Null });
        let Some(existing) = existing else {
            return step(Verb::Created, false);
        };
        if !existing["metadata"]["deletionTimestamp"].is_null() {
            return Err(being_deleted(&object.reference));
        }
        if object.reference.kind == Kind::Namespace {
            // A namespace grants nothing, so the account may use one of any owner.
            return step(Verb::Unchanged, owner(existing) == Owner::Other);
        }
        let differences = differences(object.reference.kind, &object.manifest, existing);
        match owner(existing) {
            Owner::Us if differences.is_empty() => step(Verb::Unchanged, false),
            Owner::Us if object.reference.kind.is_fence() => Ok(Self {
                surplus: surplus(&object.manifest["spec"], &existing["spec"]),
                ..step(Verb::Configured, false)?
            }),
            Owner::Us => step(Verb::Configured, false),
            // An object from `manifests` that Git applied lacks only the ownership label.
            Owner::Other if differences.iter().all(|path| is_ownership(path)) => step(Verb::Unchanged, true),
            Owner::Other => Err(not_ours(&object.reference, existing, &differences)),
        }
    }
}

pub fn being_deleted(reference: &ObjectRef) -> Error {
    Error::new(Reason::BeingDeleted, format!("{reference} is being deleted"))
        .hint("Wait until it is gone and run the command again")
}

fn is_ownership(path: &str) -> bool {
    matches!(path, "metadata.labels.app.kubernetes.io/managed-by" | "metadata.labels.app.kubernetes.io/version")
}

fn not_ours(reference: &ObjectRef, existing: &Value, differences: &[String]) -> Error {
    let mut managers: Vec<&str> = existing["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    managers.sort_unstable();
    managers.dedup();
    let managers = if managers.is_empty() { String::new() } else { format!(" (managed by {})", managers.join(", ")) };
    let differences: Vec<&str> = differences.iter().map(String::as_str).filter(|path| !is_ownership(path)).collect();
    Error::new(
        Reason::NotOurs,
        format!(
            "{reference} exists and has another owner{managers}; it differs from the needed object in {}",
            differences.join(", ")
        ),
    )
    .hint("Choose another account with --service-account NAME or --namespace NAMESPACE")
    .hint("Or let its owner apply the output of `kubectl prom-federate manifests`; the object is then used unchanged")
}
