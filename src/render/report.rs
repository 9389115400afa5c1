//! Reports as JSON, YAML or names.

use crate::{
    model::{report::ObjectReport, text::line::drives_a_terminal},
    yaml,
};
use serde::Serialize;

/// Indented JSON with a newline at the end. What drives a terminal is escaped as JSON has it, also what JSON need not
/// escape; outside of strings there is nothing of the kind but the ends of lines.
pub fn json(report: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(report).expect("reports have string keys");
    let mut escaped = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c != '\n' && drives_a_terminal(c) {
            escaped.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            escaped.push(c);
        }
    }
    escaped.push('\n');
    escaped
}

/// Block-style YAML.
pub fn yaml(report: &impl Serialize) -> String {
    yaml::write(&serde_json::to_value(report).expect("reports have string keys"))
}

/// `serviceaccount/prometheus`, one for each line.
pub fn names(objects: &[ObjectReport]) -> String {
    objects.iter().map(|object| format!("{}\n", object.name)).collect()
}

/// `serviceaccount/prometheus created (server dry run)`, one for each line.
pub fn verbs(objects: &[ObjectReport], suffix: &str) -> String {
    objects.iter().map(|object| format!("{} {}{suffix}\n", object.name, object.verb)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json as value};

    #[test]
    fn hidden_characters_are_escaped_as_the_format_has_it() {
        let report = value!({ "context": "nimda\u{202e}\u{e0041}\u{9b}\u{7f} ä" });
        assert_eq!(json(&report), "{\n  \"context\": \"nimda\\u202e\\udb40\\udc41\\u009b\\u007f ä\"\n}\n");
        assert_eq!(yaml(&report), "{\"context\":\"nimda\\u202e\\U000e0041\\u009b\\u007f ä\"}\n");
        assert_eq!(yaml(&value!({ "context": "ä" })), "context: ä\n");
    }

    proptest! {
        #[test]
        fn a_report_drives_no_terminal_and_reads_back(key in any::<String>(), text in any::<String>()) {
            let report = value!({ key: [text] });
            for (written, read) in [
                (json(&report), serde_json::from_str::<Value>(&json(&report)).ok()),
                (yaml(&report), yaml::read(&yaml(&report)).ok()),
            ] {
                prop_assert!(!written.replace('\n', "").contains(drives_a_terminal), "{written:?}");
                prop_assert_eq!(read, Some(report.clone()), "{}", written);
            }
        }
    }
}
