//! Checks before a join: problems that would stop it, and its load.

use super::{CheckName, Checklist, Item, from};
use crate::{
    error::{Error, Reason, Result},
    model::{
        access::{Access, certificate},
        account::{Account, desired::Fence, fence, neighbours::Neighbours},
        job::Job,
        kube::{
            object::{Kind, Verb},
            permission::Permissions,
        },
        plan::{JoinPlan, request::JoinRequest},
        report::{NodeWithoutPages, nodes_without_pages},
        text::{
            duration::Seconds,
            figures::{counted, day},
        },
        token::{
            bound_secret::BoundSecret,
            clock::{self, ClockLead},
        },
    },
};
use jiff::Timestamp;

/// Above this number of nodes the load on the API server is a warning.
const MANY_NODES: u64 = 100;
/// The number of days before a certificate's end from which it is a warning.
const ENDS_SOON: i64 = 14;

/// The facts that a join collects before it writes, each with its result.
pub struct JoinFacts<'a> {
    pub request: &'a JoinRequest,
    pub clock: Option<ClockLead>,
    /// `v1.37.2`
    pub version: Result<String>,
    pub uid: Result<String>,
    /// Objects that could not be read.
    pub unread: Vec<(Kind, Error)>,
    /// None if no job is scraped from nodes.
    pub nodes: Result<Option<NodeFacts>>,
    /// Namespaces of targets that do not exist.
    pub absent: Vec<Error>,
    pub secrets: Result<Vec<BoundSecret>>,
    pub left_fence: Result<()>,
    /// Destinations that could not be opened.
    pub unopened: Vec<Error>,
    pub reached: Result<Reach>,
    /// Whether the destinations agree with the label.
    pub label: Result<()>,
    /// Objects of other owners with the plugin's names, or objects that are being deleted.
    pub clashes: Vec<Error>,
    pub plan: Result<JoinPlan>,
    pub spared: Result<()>,
    pub admitted: Result<()>,
    pub escalation: Option<Error>,
    pub permissions: Result<Permissions>,
    pub destinations: Vec<DestinationFacts>,
}

/// The address that Prometheus would use, as text.
pub enum Reach {
    /// How it was proven.
    Proven(String),
    /// Why only Prometheus itself can reach it.
    FromThereOnly(String),
}

/// The nodes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    pub total: u64,
    pub seen: usize,
    pub ready: usize,
}

/// A destination that would be written to.
pub enum DestinationFacts {
    Directory {
        /// As given on the command line.
        name: String,
        /// Whether its main configuration would have to be edited.
        edits_main: Result<bool>,
        /// Whether Prometheus, and no other user, can read the files.
        files: Result<()>,
    },
    Operator {
        name: String,
        /// That selects the objects: `Prometheus`.
        program: &'static str,
        /// The hub's answer to a dry run of the objects; none if no dry run is possible.
        taken: Option<Result<()>>,
    },
}

impl JoinFacts<'_> {
    pub fn checklist(&self) -> Checklist {
        let mut items = vec![
            from(CheckName::Connection, &self.version, |version| {
                format!("the API server answers: Kubernetes {version}")
            }),
            from(CheckName::Identity, &self.uid, |uid| format!("the UID of its kube-system is {uid}")),
        ];
        items.extend(self.clock.and_then(clock));
        items.extend(self.policies());
        items.extend(
            self.unread.iter().filter(|(kind, _)| !kind.is_fence()).map(|(_, e)| Item::fail(CheckName::Objects, e)),
        );
        items.extend(self.absent.iter().map(|error| Item::fail(CheckName::Targets, error)));
        items.extend(match &self.nodes {
            Ok(facts) => facts.as_ref().map(nodes),
            Err(error) => Some(Item::fail(CheckName::Nodes, error)),
        });
        items.extend(self.left_fence.as_ref().err().map(|error| Item::fail(CheckName::Fence, error)));
        items.extend(self.secrets.as_ref().err().map(|error| Item::fail(CheckName::BoundSecrets, error)));
        items.extend(self.unopened.iter().map(|error| Item::fail(CheckName::Destination, error)));
        items.push(match &self.reached {
            Ok(Reach::Proven(how)) => Item::pass(CheckName::Address, how),
            Ok(Reach::FromThereOnly(why)) => Item::warn(CheckName::Address, why),
            Err(error) => Item::fail(CheckName::Address, error),
        });
        items.extend(self.label.as_ref().err().map(|error| Item::fail(CheckName::Label, error)));
        items.extend(self.objects());
        for (name, outcome) in [(CheckName::Account, &self.spared), (CheckName::Fence, &self.admitted)] {
            items.extend(outcome.as_ref().err().map(|error| Item::fail(name, error)));
        }
        items.extend(self.permissions());
        items.extend(destinations(&self.destinations));
        Checklist(items)
    }

    fn policies(&self) -> Vec<Item> {
        let unread: Vec<Item> = self
            .unread
            .iter()
            .filter(|(kind, _)| kind.is_fence())
            .map(|(_, error)| Item::fail(CheckName::Policies, error))
            .collect();
        match (self.request.fence, &self.version) {
            _ if !unread.is_empty() => unread,
            (Fence::Required, Ok(_)) => {
                vec![Item::pass(
                    CheckName::Policies,
                    "the API server has ValidatingAdmissionPolicies, which the fence needs; only a join verifies that it enforces them",
                )]
            }
            (Fence::Required, Err(_)) => Vec::new(),
            // Jobs that need no proxy need no fence.
            (Fence::Off, _) if !self.request.jobs.targets().any(|target| target.is_proxied()) => Vec::new(),
            (Fence::Off, _) => vec![Item::warn(CheckName::Policies, format!("--fence=off: {}", fence::WITHOUT))],
        }
    }

    fn objects(&self) -> Vec<Item> {
        if !self.clashes.is_empty() {
            return self.clashes.iter().map(|error| Item::fail(CheckName::Objects, error)).collect();
        }
        let plan = match &self.plan {
            Ok(plan) => plan,
            Err(error) => return vec![Item::fail(CheckName::Objects, error)],
        };
        if !self.unread.is_empty() || self.version.is_err() {
            return Vec::new();
        }
        let all = plan.steps().count();
        let there = plan.steps().filter(|step| step.verb != Verb::Created).count();
        let mut items = vec![Item::pass(
            CheckName::Objects,
            match there {
                0 => "none of the objects exists yet".to_owned(),
                _ => format!("{there} of {all} objects exist, and none is in conflict"),
            },
        )];
        let lent = plan.steps().filter(|step| step.used_as_is && step.object.reference.kind != Kind::Namespace);
        items.extend(lent.map(|step| {
            Item::warn(CheckName::Objects, format!("{} has another owner and is used unchanged", step.object.reference))
        }));
        items
    }

    fn permissions(&self) -> Vec<Item> {
        let mut items: Vec<Item> =
            self.escalation.iter().map(|error| Item::fail(CheckName::Escalation, error)).collect();
        match &self.permissions {
            Err(error) => items.push(Item::fail(CheckName::Permissions, error)),
            Ok(Permissions { needed, lacking: None }) => {
                items.push(Item::pass(
                    CheckName::Permissions,
                    format!("you may make every change ({needed} permissions)"),
                ));
            }
            Ok(Permissions { lacking: Some(lacking), .. }) => {
                items.extend(lacking.missing.iter().map(|permission| Item {
                    message: format!("{} may not {permission}", lacking.who),
                    hints: vec![format!("Check with: {}", permission.can_i())],
                    ..Item::fail(CheckName::Permissions, &lacking.error)
                }));
                // The common hints appear once.
                if let Some(last) = items.last_mut() {
                    last.hints.extend(lacking.error.hints.iter().skip(1).cloned());
                }
            }
        }
        items
    }
}

/// A clock that differs from the clock of this machine.
fn clock(lead: ClockLead) -> Option<Item> {
    Some(Item::warn(CheckName::Clock, lead.told("the API server")?).hint(clock::CORRECT))
}

fn nodes(NodeFacts { total, seen, ready }: &NodeFacts) -> Item {
    if *ready == 0 {
        let message = format!("none of the {} that were checked is ready", counted(*seen, "node"));
        return Item::warn(CheckName::Nodes, message).hint("The proof needs a ready node: kubectl get nodes");
    }
    let total = counted(*total, "node");
    Item::pass(
        CheckName::Nodes,
        if seen == ready {
            format!("{total}; all that were checked are ready")
        } else {
            format!("{total}; {ready} of the {seen} that were checked are ready")
        },
    )
}

/// The check of the account's namespace: what others have there, and the first error of reading it.
pub fn namespace(account: &Account, has_guard: bool, found: &(Neighbours, Option<Error>)) -> Vec<Item> {
    let (neighbours, unread) = found;
    let findings = neighbours.findings(account, has_guard).into_iter();
    let mut items: Vec<Item> =
        findings.map(|finding| Item::warn(CheckName::Namespace, finding.message).hint(finding.next)).collect();
    items.extend(unread.as_ref().map(|error| Item::unknown(CheckName::Namespace, error)));
    if items.is_empty() {
        let alone = format!(
            "no pod runs in namespace {}, and no role binding there lets other users act as the account",
            account.namespace
        );
        items.push(Item::pass(CheckName::Namespace, alone));
    }
    items
}

/// The checks of destinations before a join.
pub fn destinations(facts: &[DestinationFacts]) -> Vec<Item> {
    let of_directory = |name: &str, edits_main: &Result<bool>, files: &Result<()>| {
        let main = from(CheckName::Configuration, edits_main, |edits| {
            if *edits {
                format!(
                    "{name}: join would add the plugin's files to the main configuration; join shows the change first"
                )
            } else {
                format!("{name}: the main configuration includes the plugin's files")
            }
        });
        let files = from(CheckName::Readable, files, |()| {
            format!("{name}: Prometheus can read the files of a join, and other users cannot")
        });
        vec![main, files]
    };
    let items = facts.iter().flat_map(|facts| match facts {
        DestinationFacts::Directory { name, edits_main, files } => of_directory(name, edits_main, files),
        DestinationFacts::Operator { name, program, taken } => {
            let says = |(): &()| {
                format!("{name}: its cluster accepts the jobs as objects that this {program} selects (dry run)")
            };
            taken.iter().map(|taken| from(CheckName::Operator, taken, says)).collect()
        }
    });
    items.collect()
}

/// Whether API discovery lists `TokenRequest`.
pub fn token_request(there: &Result<bool>) -> Item {
    match there {
        Ok(true) => Item::pass(CheckName::TokenRequest, "the API server issues tokens that expire"),
        Ok(false) => Item::fail(
            CheckName::TokenRequest,
            &Error::new(
                Reason::TokenRequestMissing,
                "the API server has no TokenRequest; it needs Kubernetes 1.22 or later",
            )
            .hint("To join with a token that never expires, stored in a Secret: --long-lived-token")
            .hint("List its resources: kubectl get --raw /api/v1"),
        ),
        Err(error) => Item::unknown(CheckName::TokenRequest, error),
    }
}

/// The checks of the address that need no request. `printed`: the jobs are printed, so the host of Prometheus is not
/// known.
pub fn address(access: &Access, printed: bool, now: Timestamp) -> Vec<Item> {
    let mut items = Vec::new();
    if printed && access.url.is_loopback() {
        items.push(
            Item::warn(
                CheckName::Loopback,
                format!("{} is a loopback address: only a Prometheus on this machine can use it", access.url),
            )
            .hint("Name the address that Prometheus must use: --api-server https://HOST:PORT"),
        );
    }
    let ends = access.ca.iter().flat_map(|ca| &ca.certificates).filter_map(|der| certificate::valid_until(der)).min();
    if let Some(end) = ends
        && end.as_second().saturating_sub(now.as_second()) < ENDS_SOON * 86_400
    {
        items.push(
            Item::warn(CheckName::Ca, format!("the CA expires on {}; scrapes fail from then on", day(end)))
                .hint("When the cluster has a new CA, rotate copies it: kubectl prom-federate rotate --now -p DIR"),
        );
    }
    items
}

/// The pages of one node, as the caller reads them through the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    pub node: String,
    /// The size without compression.
    pub bytes: u64,
    pub samples: u64,
    /// How many of the nodes that were asked showed their pages.
    pub nodes_read: usize,
    /// Those that were asked and did not.
    pub without: Vec<NodeWithoutPages>,
}

/// The result of reading a node's pages with the caller's own credentials. It stops a join only if the kubelet refuses
/// the API server itself, because the account may read pages that the caller may not.
pub fn kubelet(measured: &Result<Measured>) -> Vec<Item> {
    match measured {
        Ok(Measured { node, nodes_read, without, .. }) => {
            let mut items = vec![Item::pass(
                CheckName::Kubelet,
                format!("you can read the pages of {node} through the API server"),
            )];
            items.extend(without_pages(*nodes_read, without));
            items
        }
        Err(error) if error.reason == Reason::KubeletForbidden => vec![Item::fail(CheckName::Kubelet, error)],
        Err(error) => vec![Item::unknown(CheckName::Kubelet, error)],
    }
}

/// Nodes that do not show their pages. Prometheus will show them as targets that are down.
pub(super) fn without_pages(read: usize, without: &[NodeWithoutPages]) -> Option<Item> {
    let message = nodes_without_pages(read, without)?;
    Some(Item::warn(CheckName::Nodes, message).hint("List the nodes: kubectl get nodes -o wide"))
}

/// The result of reading the target of a job with the caller's own credentials, for jobs that are not scraped from
/// nodes. A target that does not exist stops a join. A refusal does not, because the account may read it.
pub fn target(job: &Job, shown: &Result<usize>) -> Item {
    match shown {
        Ok(samples) => {
            Item::pass(CheckName::Targets, format!("you can read {samples} samples of {job} through the API server"))
        }
        Err(error) => match error.reason {
            Reason::TargetForbidden | Reason::TargetNotFound | Reason::TargetUnavailable => {
                Item::fail(CheckName::Targets, error)
            }
            _ => Item::unknown(CheckName::Targets, error),
        },
    }
}

/// The load of the jobs on the API server and on Prometheus, if every node is like the measured one.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
pub fn load(nodes: u64, measured: &Measured, interval: Seconds) -> Item {
    let Measured { bytes, samples, .. } = measured;
    let per_second = |amount: u64| nodes as f64 * amount as f64 / interval.0.max(1) as f64;
    let message = format!(
        "{} × {} and {samples} samples every {interval}: about {} a second through the API server, uncompressed, and {:.0} samples a second",
        counted(nodes, "node"),
        size(*bytes as f64),
        size(per_second(*bytes)),
        per_second(*samples),
    );
    if nodes > MANY_NODES {
        Item::warn(CheckName::Load, message).hint(
            "Every byte crosses the API server: scrape less often (--scrape-interval 2m), or fewer pages (--jobs)",
        )
    } else {
        Item::pass(CheckName::Load, message)
    }
}

/// `1.3 MB`
fn size(bytes: f64) -> String {
    if bytes >= 1e6 {
        format!("{:.1} MB", bytes / 1e6)
    } else if bytes >= 1e3 {
        format!("{:.1} kB", bytes / 1e3)
    } else {
        format!("{bytes:.0} B")
    }
}
