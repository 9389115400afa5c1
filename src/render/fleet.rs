//! Several clusters: what is asked before they change, and the table at the end of a command.

use super::table::columns;
use crate::model::{
    plan::JoinPlan,
    report::{FleetReport, FleetRow, JoinReport, LeaveReport, Line, ObjectReport, checklist::CheckReport},
    text::{duration::Seconds, line::escaped},
};
use std::collections::BTreeMap;

/// The changes of all clusters by kind.
pub fn changes<'a>(plans: impl IntoIterator<Item = &'a JoinPlan>, life: Option<Seconds>) -> Vec<Line> {
    let planned: Vec<ObjectReport> =
        plans.into_iter().flat_map(|plan| plan.changes().map(ObjectReport::planned)).collect();
    let mut lines = by_kind(&planned);
    let life = life.map_or_else(|| "that never expire".to_owned(), |life| format!("for {life}"));
    lines.push(Line::Said(format!(
        "  a token for each cluster and destination will be issued ({life}), bound to a new Secret"
    )));
    lines
}

/// What goes of all clusters: each file of jobs, and the objects by kind.
pub fn deletions<'a>(reports: impl IntoIterator<Item = &'a LeaveReport> + Clone) -> Vec<Line> {
    let fragments = reports.clone().into_iter().flat_map(|report| &report.fragments);
    let fragments = fragments.map(|file| Line::Said(format!("  {file} will be deleted")));
    fragments.chain(by_kind(reports.into_iter().flat_map(|report| &report.objects))).collect()
}

fn by_kind<'a>(objects: impl IntoIterator<Item = &'a ObjectReport>) -> Vec<Line> {
    let mut changes = BTreeMap::<(&str, String), usize>::new();
    for ObjectReport { name, verb, .. } in objects {
        let kind = name.split_once('/').map_or(name.as_str(), |(kind, _)| kind);
        *changes.entry((kind, verb.to_string())).or_default() += 1;
    }
    let changes = changes.into_iter().filter(|((_, verb), _)| verb != "unchanged");
    changes.map(|((kind, verb), count)| Line::Said(format!("  {kind}: {count} will be {verb}"))).collect()
}

/// A column of what else is known of a cluster: its head and its cells.
pub type Column<R> = (&'static str, fn(&R) -> Option<String>);

/// One row for each context.
pub fn table<R>(report: &FleetReport<R>, (head, cell): &Column<R>) -> String {
    let or_none = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    let mut rows = vec![["CLUSTER", "CONTEXT", "RESULT", *head, "NEXT"].map(str::to_owned).to_vec()];
    rows.extend(report.items.iter().map(|FleetRow { context, cluster, result, next, report, .. }| {
        vec![
            or_none(cluster.as_deref().map(escaped)),
            escaped(context),
            escaped(result),
            or_none(report.as_ref().and_then(cell)),
            or_none(next.clone()),
        ]
    }));
    columns(&rows)
}

/// `8/8`, for each destination.
pub fn targets(report: &JoinReport) -> Option<String> {
    let each = report.destinations.iter().filter_map(|one| Some(format!("{}/{}", one.targets_up?, one.targets?)));
    Some(each.collect::<Vec<_>>().join(",")).filter(|targets| !targets.is_empty())
}

/// How many checks passed, of how many: `29/31`.
pub fn passed(report: &CheckReport) -> Option<String> {
    Some(format!("{}/{}", report.total() - report.failed, report.total()))
}
