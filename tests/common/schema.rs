//! Reports and records against `docs/schemas/`.
//!
//! It is stricter than a reader should be, who ignores fields that later releases add: a field that the schema does not
//! describe is an error, and so is a keyword of JSON Schema that is not checked here.

use serde_json::{Map, Value};
use std::{fs, path::Path};

/// # Panics
/// If the value is not as `docs/schemas/NAME.json` says, with the path to the difference.
#[track_caller]
pub(crate) fn assert_valid(name: &str, value: &Value) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas").join(format!("{name}.json"));
    let schema = serde_json::from_str(&fs::read_to_string(file).expect("a schema")).expect("JSON");
    if let Err(difference) = valid(&schema, &schema, value, "") {
        panic!("not as {name}.json says: {difference}");
    }
}

fn valid(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let no_fields = Map::new();
    let properties = schema["properties"].as_object();
    let fields = value.as_object().unwrap_or(&no_fields);
    for (keyword, says) in schema.as_object().ok_or_else(|| format!("{at}: the schema is no object"))? {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "format" => true,
            "$ref" => {
                let definition = says.as_str().and_then(|reference| root.pointer(reference.trim_start_matches('#')));
                valid(root, definition.ok_or_else(|| format!("{at}: no {says}"))?, value, at)?;
                true
            }
            "oneOf" => {
                let tried: Vec<_> = list(says).iter().map(|one| valid(root, one, value, at)).collect();
                let best = tried.iter().filter_map(|it| it.as_ref().err()).max_by_key(|it| it.matches('/').count());
                match tried.iter().filter(|it| it.is_ok()).count() {
                    1 => true,
                    0 => return Err(best.cloned().unwrap_or_default()),
                    _ => false,
                }
            }
            "const" => value == says,
            "enum" => list(says).contains(value),
            "type" => {
                let types = if says.is_array() { list(says) } else { vec![says.clone()] };
                types.iter().filter_map(Value::as_str).any(|one| is_of(one, value))
            }
            // As in JSON Schema, these two are about objects only.
            "required" => {
                !value.is_object()
                    || list(says).iter().filter_map(Value::as_str).all(|field| fields.contains_key(field))
            }
            "properties" => {
                for (field, value) in fields {
                    let schema = says.get(field).ok_or_else(|| format!("{at}/{field}: not in the schema"))?;
                    valid(root, schema, value, &format!("{at}/{field}"))?;
                }
                properties.is_some()
            }
            "items" => {
                for (index, item) in list(value).iter().enumerate() {
                    valid(root, says, item, &format!("{at}/{index}"))?;
                }
                true
            }
            _ => false,
        };
        if !holds {
            return Err(format!("{at}: {keyword} {says}, not {value}"));
        }
    }
    Ok(())
}

fn is_of(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}
