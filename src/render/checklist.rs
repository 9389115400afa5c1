//! The checklist of `check` as text.

use crate::model::{
    report::checklist::{CheckReport, ClusterCheck, Item, Status},
    text::{figures::counted, line::escaped},
};

/// Every item with a mark, its hints below it, and a summary.
pub fn text(report: &CheckReport) -> String {
    let mut text: String = report.clusters.iter().map(of_cluster).collect();
    let passed = report.total() - report.failed - report.warnings;
    text += &format!(
        "{}: {passed} passed, {}, {} failed\n",
        counted(report.total(), "check"),
        counted(report.warnings, "warning"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::{Error, Reason},
        model::report::checklist::{CheckName, Checklist},
        render::report::json,
    };

    fn report() -> CheckReport {
        let error = Error::new(Reason::NoNodes, "no nodes").hint("kubectl get nodes").hint("or wait");
        let check = |cluster: &str, destination: Option<&str>, items| ClusterCheck {
            cluster: cluster.into(),
            destination: destination.map(str::to_owned),
            api_server: Some("https://10.0.0.5:6443".into()),
            items: Checklist(items),
        };
        CheckReport::new(vec![
            check(
                "east",
                None,
                vec![Item::pass(CheckName::Connection, "it answers"), Item::fail(CheckName::Nodes, &error)],
            ),
            check("west", Some("/etc/one"), vec![Item::warn(CheckName::Load, "a lot").hint("scrape less often")]),
        ])
    }

    #[test]
    fn items_have_a_mark_and_their_hints() {
        insta::assert_snapshot!(text(&report()), @"
        east  https://10.0.0.5:6443
          ✔ it answers
          ✗ no nodes
            hint: kubectl get nodes
            hint: or wait
        west  https://10.0.0.5:6443  /etc/one
          ! a lot
            hint: scrape less often
        3 checks: 1 passed, 1 warning, 1 failed
        ");
    }

    #[test]
    fn report_as_json() {
        insta::assert_snapshot!(json(&report()));
    }

    #[test]
    fn server_text_cannot_control_the_terminal() {
        let evil = Item::warn(CheckName::Jobs, "evil\u{1b}[2J\r").hint("\u{9b}31m");
        let check = ClusterCheck {
            cluster: "east\u{1b}".into(),
            destination: None,
            api_server: None,
            items: Checklist(vec![evil]),
        };
        let text = text(&CheckReport::new(vec![check]));
        assert!(!text.contains(['\u{1b}', '\r', '\u{9b}']), "{text:?}");
    }
}
