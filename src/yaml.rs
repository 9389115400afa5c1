//! The only user of `serde_yaml`, which is finished but unmaintained: swapping it means editing this file.

use crate::model::text::line::drives_a_terminal;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

/// A JSON value as a YAML document in block style; where something in it drives a terminal, on one line of quoted
/// strings, for only those have escapes.
///
/// # Panics
/// Never: every JSON value has a YAML form.
pub fn write(value: &Value) -> String {
    let text = serde_yaml::to_string(value).expect("JSON is YAML");
    if text.contains(|c| c != '\n' && drives_a_terminal(c)) {
        return format!("{}\n", escaped(&value.to_string()));
    }
    text
}

/// A YAML document as a JSON value.
pub fn read(text: &str) -> Result<Value, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// A YAML document that the plugin did not write, as a JSON value, its merge keys (`<<`) applied. Null if there is nothing in it.
///
/// The error is one line, with the number of the line where that is known. It quotes nothing, for the text may hold
/// credentials.
pub fn read_foreign(text: &str) -> Result<Value, String> {
    let text = without_mark(text);
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        syntax(document)?;
        if index > 0 {
            return Err("it holds more than one YAML document".to_owned());
        }
    }
    read_first_foreign(text)
}

/// The same of the first of several documents: Go's `yaml.Unmarshal` never looks at the others.
pub fn read_first_foreign(text: &str) -> Result<Value, String> {
    let text = without_mark(text);
    let first = || serde_yaml::Deserializer::from_str(text).next();
    let (Some(document), Some(again)) = (first(), first()) else { return Ok(Value::Null) };
    syntax(document)?;
    let mut value = serde_yaml::Value::deserialize(again).map_err(|error| match error.location() {
        Some(at) => format!("a key is there twice in the mapping at line {}", at.line()),
        None => "its aliases expand to too much".to_owned(),
    })?;
    // What was merged may have a merge key itself, which one pass only brings up.
    loop {
        let before = value.clone();
        value.apply_merge().map_err(|_| "a merge key (<<) has no mapping")?;
        if value == before {
            break;
        }
    }
    serde_json::to_value(value).map_err(|_| "a key in it is no string".to_owned())
}

/// Go's YAML drops a byte order mark; here it would indent the first line.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Only syntax can be wrong with what is ignored, and of syntax the library speaks in words of its own. About values
/// it quotes them.
fn syntax(document: serde_yaml::Deserializer) -> Result<(), String> {
    IgnoredAny::deserialize(document).map(drop).map_err(|error| error.to_string())
}

/// A string as a YAML scalar that no reader, of YAML 1.1 or 1.2, takes for anything but this string.
/// A JSON string is a double-quoted YAML scalar; `serde_yaml` itself would leave `on`, `1_000` or `12:30:45` bare.
pub fn quoted(text: &str) -> String {
    escaped(&Value::from(text).to_string())
}

/// JSON on one line as YAML: what is not printable there, though bare in JSON, and what drives a terminal is escaped.
fn escaped(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut text, c| {
        match u32::from(c) {
            code @ ..=0xffff if drives_a_terminal(c) || code >= 0xfffe => text += &format!("\\u{code:04x}"),
            code if drives_a_terminal(c) => text += &format!("\\U{code:08x}"),
            _ => text.push(c),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quoted_string_is_read_back(text in ".*") {
            prop_assert_eq!(read(&quoted(&text)).unwrap(), Value::from(text));
        }
    }
}
