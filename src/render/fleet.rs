//! A join of several clusters: what is asked before it, and the table after it.

use super::table::columns;
use crate::model::{
    plan::JoinPlan,
    report::{FleetReport, FleetRow, Line, ObjectReport},
    text::{duration::Seconds, line::escaped},
};
use std::collections::BTreeMap;

/// The changes of all clusters by kind.
pub fn changes<'a>(plans: impl IntoIterator<Item = &'a JoinPlan>, life: Option<Seconds>) -> Vec<Line> {
    let mut changes = BTreeMap::<(String, String), usize>::new();
    for plan in plans {
        for ObjectReport { name, verb, .. } in plan.changes().map(ObjectReport::planned) {
            let kind = name.split_once('/').map_or(name.as_str(), |(kind, _)| kind).to_owned();
            *changes.entry((kind, verb.to_string())).or_default() += 1;
        }
    }
    let mut lines: Vec<Line> = changes
        .into_iter()
        .filter(|((_, verb), _)| verb != "unchanged")
        .map(|((kind, verb), count)| Line::Said(format!("  {kind}: {count} will be {verb}")))
        .collect();
    let life = life.map_or_else(|| "that never expire".to_owned(), |life| format!("for {life}"));
    lines.push(Line::Said(format!(
        "  a token for each cluster and destination will be issued ({life}), bound to a new Secret"
    )));
    lines
}

/// One row for each context.
pub fn table(report: &FleetReport) -> String {
    let mut rows = vec![["CLUSTER", "CONTEXT", "RESULT", "TARGETS", "NEXT"].map(str::to_owned).to_vec()];
    rows.extend(report.items.iter().map(row));
    columns(&rows)
}

fn row(row: &FleetRow) -> Vec<String> {
    let or_none = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    let reports = row.report.iter().flat_map(|report| &report.destinations);
    let targets: Vec<String> =
        reports.filter_map(|one| Some(format!("{}/{}", one.targets_up?, one.targets?))).collect();
    vec![
        or_none(row.cluster.as_deref().map(escaped)),
        escaped(&row.context),
        row.result.clone(),
        or_none((!targets.is_empty()).then(|| targets.join(","))),
        or_none(row.next.clone()),
    ]
}
