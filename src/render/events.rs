//! Events of stages as lines of the conversation.

use super::conversation::{away, because, destination, in_place, not_rotated};
use crate::model::{
    report::{
        Line,
        event::{Event, NamespaceUse, Wait},
    },
    text::{
        duration::Seconds,
        figures::{counted, minute},
    },
    token::clock,
};

pub fn lines(event: &Event) -> Vec<Line> {
    match event {
        Event::Object { report, why } => {
            let why = why.as_ref().map(because).unwrap_or_default();
            vec![Line::Said(format!("  {} {}{why}", report.name, report.verb))]
        }
        Event::RightChanged { cluster, report, why } => {
            let why = why.as_ref().map(because).unwrap_or_default();
            vec![Line::Said(format!("  {cluster}: {} {}{why}", report.name, report.verb))]
        }
        Event::Differing { cluster, objects, join } => {
            let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
            let (differs, them) = if names.len() == 1 { ("differs", "it") } else { ("differ", "them") };
            vec![Line::Warned(format!(
                "{cluster}: {} {differs} from what join makes; rotate changes no rights. To restore {them}: {join}",
                names.join(", ")
            ))]
        }
        Event::Unguarded { cluster, objects, join } => {
            let names: Vec<String> = objects.iter().map(ToString::to_string).collect();
            let (does, them) = if names.len() == 1 { ("does", "it") } else { ("do", "them") };
            vec![Line::Warned(format!(
                "{cluster}: {} {does} not exist, or you may not get {them}; rotate creates nothing. An administrator can create {them}: {join}",
                names.join(" and ")
            ))]
        }
        Event::Clock { cluster, lead } => {
            let told = lead.told("the API server");
            told.map(|told| Line::Warned(format!("{cluster}: {told}. {}", clock::CORRECT))).into_iter().collect()
        }
        Event::Copied { cluster, join } => vec![Line::Warned(format!(
            "{cluster}: this folder is a copy of another machine's, or this machine has got another ID; both renew the token of one Secret, and the next join or rotate by an administrator on the other machine ends this one. To give it a Secret of its own: {join}"
        ))],
        Event::Interrupted(signal) => {
            vec![Line::Warned(format!("interrupted by {signal}: stopping, and undoing what is not finished"))]
        }
        Event::StillConnected { host } => vec![Line::Warned(format!(
            "{host}: the connection did not end; that host releases its lock when it notices the loss"
        ))],
        Event::Undone(1) => {
            vec![Line::Said("  undone: deleted 1 object that this run had created".to_owned())]
        }
        Event::Undone(count) => {
            vec![Line::Said(format!("  undone: deleted {count} objects that this run had created"))]
        }
        Event::Revoked(secret) => vec![Line::Said(format!("  undone: deleted {secret}"))],
        Event::NotRevoked { secret, error } => vec![Line::Warned(format!("could not delete {secret}: {error}"))],
        Event::NotClearedAway { cluster, error } => {
            vec![Line::Warned(format!("{cluster}: could not delete old tokens and files, the next run will: {error}"))]
        }
        Event::NamespaceStays { namespace, why, leave } => {
            let why = match why {
                NamespaceUse::Holds(other) => format!("it contains {other}"),
                NamespaceUse::Unknown(error) => {
                    format!("cannot tell whether it is empty: {error}. Delete it later: {leave}")
                }
            };
            vec![Line::Warned(format!("{namespace} is not deleted: {why}"))]
        }
        Event::AccountStays { account, used_by } => vec![Line::Warned(format!(
            "service account {account} stays, because another run has begun to use it ({})",
            used_by.join(", ")
        ))],
        Event::NotAnnounced(error) => vec![Line::Warned(format!(
            "cannot announce the removal, so do not join this cluster to another destination before it has ended: {error}"
        ))],
        Event::NoWitness(error) => {
            vec![Line::Warned(format!("no token to verify that access has ended: {error}"))]
        }
        Event::TokenRefused { after } => {
            vec![Line::Done(format!("verified: a token that worked before now gets 401 (after {after} s)"))]
        }
        Event::NotRotated(record) => vec![Line::Said(not_rotated(record))],
        Event::NotDue { cluster, due } => vec![Line::Said(format!("{cluster}  not due before {}", minute(*due)))],
        Event::Rotated { cluster, expires, by, away: jobs } => {
            let mut lines = vec![
                Line::Said(cluster.to_string()),
                Line::Done(format!("new token until {}, issued by {by} and proven", minute(*expires))),
            ];
            lines.extend(jobs.iter().map(|job| Line::Warned(away(cluster, job))));
            lines
        }
        Event::Waits(wait, at_most) => {
            vec![Line::Awaited(awaited(wait), at_most.map(|at_most| Seconds(at_most.as_secs())))]
        }
        Event::Reader(reader) => destination(reader),
        Event::InPlace { reader, placed } => in_place(reader, placed),
        Event::NotSettled { cluster, error } => {
            vec![Line::Warned(format!("{cluster}: {error}; the next rotate continues"))]
        }
    }
}

/// Who is waited for, and to do what.
fn awaited(wait: &Wait) -> String {
    let (who, what) = match wait {
        Wait::Answer(context) => (context.as_str(), "answer".to_owned()),
        Wait::Renewals(1) => ("the cluster", "issue a new token".to_owned()),
        Wait::Renewals(count) => return format!("waiting for {count} clusters to issue new tokens"),
        Wait::Proof => ("the API server", "apply the rights and show every page".to_owned()),
        Wait::Validation => ("the check of the configuration", "end".to_owned()),
        Wait::Reload(reader) => (reader.name.as_str(), "reload its configuration".to_owned()),
        Wait::Scrapes(reader, clusters) => {
            (reader.name.as_str(), format!("scrape the targets of {}", counted(*clusters, "cluster")))
        }
        Wait::Discovery(reader) => (reader.name.as_str(), "discover the targets with the new token".to_owned()),
        Wait::Operator(reader) => ("the operator", format!("put the jobs into the configuration of {}", reader.name)),
        Wait::OperatorRemoval(reader) => {
            ("the operator", format!("take the jobs out of the configuration of {}", reader.name))
        }
        Wait::Loading(reader) => (reader.name.as_str(), "load the configuration of its operator".to_owned()),
        Wait::Undo => ("the destination", "undo the failed delivery".to_owned()),
        Wait::Refusal => ("the API server", "refuse the deleted token".to_owned()),
        Wait::TokenCache => ("the API server", "drop the deleted tokens from its cache".to_owned()),
        Wait::Deletion => ("the API server", "delete the objects".to_owned()),
    };
    format!("waiting for {who} to {what}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::{Error, Reason},
        model::{
            kube::object::{Kind, ObjectRef, Verb},
            report::{Issuer, ObjectReport, Reader, UnreachableJob, event::Why},
            token::clock::ClockLead,
        },
    };
    use std::time::Duration;

    #[test]
    fn events_name_object_change_and_reason() {
        let report = ObjectReport { name: "role/x".into(), verb: Verb::Deleted, is_right: true };
        let object = |why| Event::Object { report: report.clone(), why };
        let secret =
            ObjectRef { kind: Kind::Secret, namespace: Some("monitoring".into()), name: "prometheus-x7k2".into() };
        let error = Error::new(Reason::Forbidden, "you may not");
        let cluster: crate::model::text::names::ClusterName = "east".parse().unwrap();
        let account = crate::model::account::Account {
            namespace: "prom-federate".parse().unwrap(),
            name: "prometheus".parse().unwrap(),
        };
        let reader = Reader {
            config: "/etc/prometheus/prometheus.yml".into(),
            name: "Prometheus 3.16.0".into(),
            process: None,
            user: None,
            ignored: Vec::new(),
            unseen: None,
        };
        let events = [
            object(None),
            object(Some(Why::PreviousRoute)),
            object(Some(Why::NoJobNeedsIt(Some("shop".into())))),
            object(Some(Why::NoJobNeedsIt(None))),
            object(Some(Why::SelfRenewNotWanted)),
            object(Some(Why::TokenExpired)),
            object(Some(Why::TokenReplaced)),
            Event::RightChanged { cluster: cluster.clone(), report: report.clone(), why: None },
            Event::Differing { cluster: cluster.clone(), objects: vec![secret.clone()], join: "kubectl …".into() },
            Event::Unguarded { cluster: cluster.clone(), objects: vec![secret.clone()], join: "kubectl …".into() },
            Event::Clock {
                cluster: cluster.clone(),
                lead: ClockLead::new("2026-11-25T09:12:33Z".parse().unwrap(), "2026-11-24T09:12:33Z".parse().unwrap()),
            },
            Event::Copied { cluster: cluster.clone(), join: "kubectl …".into() },
            Event::Interrupted("SIGTERM"),
            Event::StillConnected { host: "admin@prom".into() },
            Event::Undone(1),
            Event::Undone(7),
            Event::Revoked(secret.clone()),
            Event::NotRevoked { secret: secret.clone(), error: error.clone() },
            Event::NotClearedAway { cluster: cluster.clone(), error: error.clone() },
            Event::NamespaceStays {
                namespace: secret.clone(),
                why: NamespaceUse::Holds("pods/web".into()),
                leave: "kubectl …".into(),
            },
            Event::NamespaceStays {
                namespace: secret,
                why: NamespaceUse::Unknown(error.clone()),
                leave: "kubectl …".into(),
            },
            Event::AccountStays { account, used_by: vec!["directory://prom-1/etc/prometheus".into()] },
            Event::NotAnnounced(error.clone()),
            Event::NoWitness(error.clone()),
            Event::TokenRefused { after: 9 },
            Event::NotDue { cluster: cluster.clone(), due: "2026-11-25T09:12:33Z".parse().unwrap() },
            Event::Rotated {
                cluster: cluster.clone(),
                expires: "2026-11-25T09:12:33Z".parse().unwrap(),
                by: Issuer::Account,
                away: vec![UnreachableJob { job: crate::model::job::Job::Apiserver, error: error.clone() }],
            },
            Event::NotSettled { cluster, error },
            Event::Waits(Wait::Answer("east".into()), None),
            Event::Waits(Wait::Renewals(1), None),
            Event::Waits(Wait::Renewals(3), None),
            Event::Waits(Wait::Proof, None),
            Event::Waits(Wait::Scrapes(reader, 2), Some(Duration::from_secs(76))),
            Event::Waits(Wait::TokenCache, Some(Duration::from_secs(10))),
        ];
        for event in &events {
            let warns = lines(event).iter().any(|line| matches!(line, Line::Warned(_)));
            assert!(warns || !event.is_warning(), "{event:?} is not shown as a warning");
        }
        let text = events.iter().flat_map(lines).map(|line| match line {
            Line::Said(text) => format!("{text}\n"),
            Line::Done(text) => format!("  ✔ {text}\n"),
            Line::Warned(text) => format!("Warning: {text}\n"),
            Line::Awaited(text, at_most) => {
                format!("{text}{}\n", at_most.map(|at_most| format!(", at most {at_most}")).unwrap_or_default())
            }
        });
        insta::assert_snapshot!(text.collect::<String>());
    }
}
