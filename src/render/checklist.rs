//! The checklist of `check`, for people.

use crate::model::{
    checklist::{CheckReport, ClusterCheck, Item, Status},
    line::escaped,
};

/// Every item with a mark, its hints below it, and a summary.
pub fn text(report: &CheckReport) -> String {
    let mut text: String = report.clusters.iter().map(of_cluster).collect();
    let passed = report.total() - report.failed - report.warnings;
    let counted =
        |count: usize, one: &str, several: &str| format!("{count} {}", if count == 1 { one } else { several });
    text += &format!(
        "{}: {passed} passed, {}, {} failed\n",
        counted(report.total(), "check", "checks"),
        counted(report.warnings, "warning", "warnings"),
        report.failed
    );
    text
}

fn of_cluster(ClusterCheck { cluster, destination, api_server, items }: &ClusterCheck) -> String {
    let parts = [Some(cluster), api_server.as_ref(), destination.as_ref()];
    let head: Vec<String> = parts.into_iter().flatten().map(|part| escaped(part)).collect();
    format!("{}\n{}", head.join("  "), items.0.iter().map(item).collect::<String>())
}

fn item(Item { status, message, hints, .. }: &Item) -> String {
    let mark = match status {
        Status::Pass => '✔',
        Status::Warn => '!',
        Status::Fail => '✗',
    };
    let hints: String = hints.iter().map(|hint| format!("    hint: {}\n", escaped(hint))).collect();
    format!("  {mark} {}\n{hints}", escaped(message))
}
