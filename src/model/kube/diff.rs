//! What an existing object lacks of a desired one.

use serde_json::Value;

/// The paths at which an existing object lacks what is desired. Fields that only the existing one has are the
/// server's defaults or somebody else's, and none of our business; lists count as a whole, as server-side apply
/// treats the ones that we set.
pub fn differences(desired: &Value, existing: &Value) -> Vec<String> {
    fn walk(path: &str, desired: &Value, existing: &Value, found: &mut Vec<String>) {
        match desired {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, &existing[key], found);
                }
                // An empty map is a value of its own: {} is not the same as absent.
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
