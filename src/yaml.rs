//! The only user of `serde_yaml`, which is finished but unmaintained: swapping it means editing this file.

use serde_json::Value;

/// A JSON value as a YAML document in block style.
///
/// # Panics
/// Never: every JSON value has a YAML form.
pub fn write(value: &Value) -> String {
    serde_yaml::to_string(value).expect("JSON is YAML")
}

/// A YAML document as a JSON value.
pub fn read(text: &str) -> Result<Value, String> {
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// A string as a YAML scalar that no reader, of YAML 1.1 or 1.2, takes for anything but this string.
/// A JSON string is a double-quoted YAML scalar; `serde_yaml` itself would leave `on`, `1_000` or `12:30:45` bare.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for c in Value::from(text).to_string().chars() {
        match c {
            // Not printable in YAML, though bare in JSON.
            '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => quoted += &format!("\\u{:04x}", c as u32),
            c => quoted.push(c),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_quoted_string_is_read_back(text in ".*") {
            prop_assert_eq!(read(&quoted(&text)).unwrap(), Value::from(text));
        }
    }
}
