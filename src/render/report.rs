//! Reports as JSON, YAML or names.

use crate::{model::report::ObjectReport, yaml};
use serde::Serialize;

/// Indented JSON with a newline at the end.
pub fn json(report: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(report).expect("reports have string keys");
    text.push('\n');
    text
}

/// Block-style YAML.
pub fn yaml(report: &impl Serialize) -> String {
    yaml::write(&serde_json::to_value(report).expect("reports have string keys"))
}

/// `serviceaccount/prometheus`, one a line.
pub fn names(objects: &[ObjectReport]) -> String {
    objects.iter().map(|object| format!("{}\n", object.name)).collect()
}

/// `serviceaccount/prometheus created (server dry run)`, one a line.
pub fn verbs(objects: &[ObjectReport], suffix: &str) -> String {
    objects.iter().map(|object| format!("{} {}{suffix}\n", object.name, object.verb)).collect()
}
