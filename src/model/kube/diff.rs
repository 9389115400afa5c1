//! The fields in which an existing object differs from a desired one.

use serde_json::Value;

/// The paths of the desired fields that an existing object lacks. Fields that only the existing object has are the
/// server's defaults or belong to other field managers, so they do not count. Lists are compared as a whole, as
/// server-side apply treats those that this plugin sets.
pub fn differences(desired: &Value, existing: &Value) -> Vec<String> {
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
