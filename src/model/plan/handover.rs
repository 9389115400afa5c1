//! The handover from one route to another: rights and fence allow both until the new jobs are in use.

use crate::model::{
    account::{desired::Desired, fence, rights},
    job::{route::Route, target::Target},
    kube::{
        diff::differences,
        object::{Kind, Object},
    },
};
use serde_json::Value;

/// The pages of nodes that jobs by another route read until the new jobs are in use.
pub(super) fn until_delivered(desired: &Desired, former: &[Target]) -> Vec<Target> {
    let route = desired.jobs.route();
    let is_other = |target: &&Target| match target {
        Target::Nodes { .. } => *route != Route::ApiServer,
        Target::PinnedNodes { .. } => route.pins().is_none(),
        _ => false,
    };
    if desired.jobs.have_nodes() { former.iter().filter(is_other).cloned().collect() } else { Vec::new() }
}

/// The object for the time of the handover. None if it does not differ from the final object.
pub(super) fn during_handover(
    desired: &Desired,
    object: &Object,
    there: &Value,
    until_delivered: &[Target],
) -> Option<Object> {
    let mut both = object.clone();
    match object.reference.kind {
        Kind::ValidatingAdmissionPolicy if !until_delivered.is_empty() && !desired.is_guard(&object.reference) => {
            both.manifest_mut()["spec"] = fence::policy_spec_with(&desired.account, &desired.jobs, until_delivered);
        }
        Kind::ClusterRole if desired.jobs.have_nodes() => {
            let others = rights::of_other_routes(there, desired.jobs.route());
            // A right that the required fence does not admit is not kept.
            let is_kept =
                |rule: &Value| desired.fence.is_none() || !until_delivered.is_empty() || !rights::is_proxied(rule);
            let kept: Vec<Value> = others.into_iter().filter(is_kept).collect();
            if kept.is_empty() {
                return None;
            }
            both.manifest_mut()["rules"].as_array_mut()?.extend(kept);
        }
        _ => return None,
    }
    Some(both)
}

/// Whether an object changes in more than the names of pinned nodes and its labels. A new node takes no right from other
/// tokens, and the right to a removed node is useless.
pub(super) fn is_more_than_pins(object: &Object, there: &Value) -> bool {
    let (mut wanted, mut there) = (Value::clone(&object.manifest), there.clone());
    for manifest in [&mut wanted, &mut there] {
        match object.reference.kind {
            Kind::ClusterRole => rights::forget_pins(manifest),
            Kind::ValidatingAdmissionPolicy => {
                // A policy may have no validation, and audit only.
                if let Some(expression) = manifest.pointer_mut("/spec/validations/0/expression") {
                    *expression = expression.as_str().map(fence::without_ports).into();
                }
            }
            _ => {}
        }
    }
    differs(object.reference.kind, &wanted, &there)
}

/// Whether a role loses rules of jobs by other routes and nothing else changes, which a killed handover leaves.
pub(super) fn only_drops_other_routes(desired: &Desired, object: &Object, there: &Value) -> bool {
    let others = rights::of_other_routes(there, desired.jobs.route());
    let mut left = there.clone();
    if let (Kind::ClusterRole, Some(rules)) = (object.reference.kind, left["rules"].as_array_mut()) {
        rules.retain(|rule| !others.contains(rule));
        return !others.is_empty() && !is_more_than_pins(object, &left);
    }
    false
}

/// Whether an object changes in more than its labels.
pub(super) fn differs_beyond_labels(object: &Object, there: &Value) -> bool {
    differs(object.reference.kind, &object.manifest, there)
}

fn differs(kind: Kind, wanted: &Value, there: &Value) -> bool {
    differences(kind, wanted, there).iter().any(|path| !path.starts_with("metadata."))
}
