//! The fields in which an existing object differs from a desired one.

use super::object::Kind;
use serde_json::{Map, Value};

/// The paths of the desired fields that an existing object lacks. Fields that only the existing object has are the
/// server's defaults or belong to other field managers, so they do not count. Lists are compared as a whole, as
/// server-side apply treats those that this plugin sets.
///
/// A policy is a limit, so a field too many is a hole in it: its `spec` is compared in both directions.
pub fn differences(kind: Kind, desired: &Value, existing: &Value) -> Vec<String> {
    let mut found = missing(desired, existing);
    if kind.is_fence() {
        found.extend(paths("spec", &surplus(&desired["spec"], &existing["spec"])));
    }
    found
}

/// Whether a policy's `spec` has exactly the desired fields and values.
pub fn is_exactly(desired: &Value, existing: &Value) -> bool {
    missing(desired, existing).is_empty() && paths("", &surplus(desired, existing)).is_empty()
}

/// The merge patch (RFC 7396) that removes the fields and the items of lists that only the existing policy has; null
/// without such. The API server sets no default in a `spec` that the plugin writes, and leaves out what is empty.
///
/// Server-side apply would leave the fields of other managers, and joins lists that are sets or maps. It replaces the
/// list of validations, which is atomic (Kubernetes `admissionregistration/v1/types.go`).
pub fn surplus(desired: &Value, existing: &Value) -> Value {
    let mut patch = Map::new();
    for (key, value) in existing.as_object().into_iter().flatten() {
        match desired.get(key) {
            None if is_empty(value) => {}
            None => drop(patch.insert(key.clone(), Value::Null)),
            Some(Value::Array(items)) => {
                let is_more = value.as_array().is_none_or(|there| there.iter().any(|item| !items.contains(item)));
                if is_more && key != "validations" {
                    patch.insert(key.clone(), items.clone().into());
                }
            }
            Some(desired) => {
                let inner = surplus(desired, value);
                if !inner.is_null() {
                    patch.insert(key.clone(), inner);
                }
            }
        }
    }
    if patch.is_empty() { Value::Null } else { patch.into() }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The paths of the fields that a merge patch removes.
fn paths(prefix: &str, patch: &Value) -> Vec<String> {
    let fields = patch.as_object().into_iter().flatten();
    fields
        .flat_map(|(key, inner)| {
            let field = format!("{prefix}.{key}");
            if inner.is_null() { vec![field] } else { paths(&field, inner) }
        })
        .collect()
}

fn missing(desired: &Value, existing: &Value) -> Vec<String> {
    fn walk(path: &str, desired: &Value, existing: &Value, found: &mut Vec<String>) {
        match desired {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, &existing[key], found);
                }
                // An empty map differs from an absent one.
                if fields.is_empty() && !existing.is_object() {
                    found.push(path.to_owned());
                }
            }
            other if other == existing => {}
            _ => found.push(path.to_owned()),
        }
    }
    let mut found = Vec::new();
    walk("", desired, existing, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policy_is_compared_in_both_directions_and_other_kinds_in_one() {
        let desired = json!({ "spec": { "constraints": { "selector": {}, "rules": [1] }, "actions": ["Deny"] } });
        for (what, existing, expected) in [
            ("the same", desired["spec"].clone(), vec![]),
            (
                "what an API server leaves out",
                json!({ "constraints": { "selector": {}, "rules": [1], "exclude": [] }, "actions": ["Deny"], "x": null }),
                vec![],
            ),
            (
                "an exception",
                json!({ "constraints": { "selector": {}, "rules": [1], "exclude": [2] }, "actions": ["Deny"] }),
                vec!["spec.constraints.exclude"],
            ),
            (
                "a selector",
                json!({ "constraints": { "selector": { "labels": { "a": "b" } }, "rules": [1] }, "actions": ["Deny"] }),
                vec!["spec.constraints.selector.labels"],
            ),
            (
                "a parameter and another action",
                json!({ "constraints": { "selector": {}, "rules": [1] }, "actions": ["Audit"], "param": { "kind": "X" } }),
                vec!["spec.actions", "spec.param"],
            ),
        ] {
            let there = json!({ "spec": existing });
            assert_eq!(differences(Kind::ValidatingAdmissionPolicy, &desired, &there), expected, "{what}");
            assert_eq!(is_exactly(&desired["spec"], &existing), expected.is_empty(), "{what}");
            let only_more: Vec<&str> = expected.into_iter().filter(|path| *path == "spec.actions").collect();
            assert_eq!(differences(Kind::ClusterRole, &desired, &there), only_more, "{what}");
        }
        let there = json!({ "constraints": { "selector": { "labels": {} }, "exclude": [2] } });
        assert_eq!(
            surplus(&desired["spec"], &there),
            json!({ "constraints": { "exclude": null } }),
            "the patch removes nothing else"
        );
        let there = json!({ "actions": ["Audit", "Deny"], "constraints": { "selector": {}, "rules": [1, 2] } });
        assert_eq!(surplus(&desired["spec"], &there), json!({ "actions": ["Deny"], "constraints": { "rules": [1] } }));
    }
}
