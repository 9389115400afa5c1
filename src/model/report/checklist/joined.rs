//! Checks of a joined cluster: the verdict of `status`, the rights of the token, the administrator's view.

use super::{CheckName, Drift, Item, Measured, address, before_join::without_pages, from, has, load, or_unknown};
use crate::{
    error::{Error, Reason, Result},
    model::{
        access::Access,
        account::fence,
        job::Job,
        kube::{object::ObjectRef, permission::Permission},
        report::{
            PageReport, ProofReport, UnreachableJob,
            status::{ClusterStatus, FenceSeen, FenceStatus, ProblemReason, Source, TargetsStatus},
        },
        text::{duration::Seconds, figures::minute, shell},
        token::bound_secret::BoundSecret,
    },
};
use jiff::Timestamp;

/// The verdict of `status` as items: passed checks, problems, and sources that could not be observed.
pub fn of_status(status: &ClusterStatus) -> Vec<Item> {
    let mut items: Vec<Item> = status
        .problems
        .iter()
        .map(|problem| {
            let name = name_of(problem.reason);
            let item = if problem.reason.is_broken() {
                Item::fail(name, &Error::new(Reason::CheckFailed, problem.message.clone()))
            } else {
                Item::warn(name, problem.message.clone())
            };
            item.hint(problem.next.clone())
        })
        .collect();
    items.extend(status.unseen.iter().map(|unseen| {
        let name = match unseen.source {
            Source::Prometheus => CheckName::Scraped,
            Source::Cluster => CheckName::Cluster,
            Source::Nodes => CheckName::Nodes,
            Source::Fence => CheckName::Fence,
            Source::Guard => CheckName::Guard,
            Source::Renewal => CheckName::Renewal,
            Source::Secrets => CheckName::BoundSecrets,
        };
        Item::warn(name, format!("not seen: {}", unseen.why))
    }));
    let mut well = Vec::new();
    if let Some(token) = &status.token {
        well.push(Item::pass(CheckName::TokenLife, format!("the token expires on {}", minute(token.expires))));
        if !has(&items, CheckName::Cluster) {
            well.push(Item::pass(CheckName::BoundSecrets, format!("secret/{} exists", token.bound_secret)));
        }
    }
    match status.fence {
        Some(FenceStatus { required: true, seen: Some(FenceSeen::Present) }) => {
            well.push(Item::pass(CheckName::Fence, "the fence exists, as join makes it"));
        }
        Some(FenceStatus { required: false, seen }) if seen != Some(FenceSeen::Present) => {
            well.push(Item::warn(CheckName::Fence, format!("joined with --fence=off: {}", fence::WITHOUT)));
        }
        _ => {}
    }
    if status.guard == Some(FenceSeen::Present) {
        well.push(Item::pass(CheckName::Guard, "the guard exists, as join makes it"));
    }
    if let Some(TargetsStatus { up, total, .. }) = status.targets {
        well.push(Item::pass(CheckName::Scraped, format!("Prometheus has every job, {up} of {total} targets up")));
    }
    well.retain(|item| !has(&items, item.name));
    well.extend(items);
    well
}

fn name_of(trouble: ProblemReason) -> CheckName {
    match trouble {
        ProblemReason::RecordUnreadable
        | ProblemReason::RecordNotConfirmed
        | ProblemReason::NotOurs
        | ProblemReason::NoJobs => CheckName::Record,
        ProblemReason::TokenExpired | ProblemReason::TokenNotRenewed => CheckName::TokenLife,
        ProblemReason::TokenRevoked => CheckName::BoundSecrets,
        ProblemReason::JobRefused => CheckName::Operator,
        ProblemReason::JobMissing | ProblemReason::NoTargets | ProblemReason::JobDown | ProblemReason::TargetsDown => {
            CheckName::Scraped
        }
        ProblemReason::FenceAbsent | ProblemReason::FenceChanged => CheckName::Fence,
        ProblemReason::GuardAbsent | ProblemReason::GuardChanged => CheckName::Guard,
        ProblemReason::NodesOpen | ProblemReason::NodesNotPinned | ProblemReason::NodesGone => CheckName::Nodes,
        ProblemReason::ClocksDiffer => CheckName::Clock,
        ProblemReason::Leftovers => CheckName::Leftovers,
    }
}

/// For rights that no role of the account grants.
pub const FIND_BINDING: &str =
    "Find the binding that grants it: kubectl get clusterrolebindings,rolebindings -A -o wide";

/// The facts that the token in use alone can show.
pub struct TokenFacts {
    pub access: Access,
    /// How the address in the record was proven.
    pub reached: Result<String>,
    /// None if the address was not reached. The next fields are then none too.
    pub alive: Option<Result<()>>,
    /// None if the token is refused.
    pub pages: Option<Result<ProofReport>>,
    /// The number of requests outside the jobs that are refused; none without a fence.
    pub refused: Option<Result<usize>>,
    /// Dangerous rights that the account has.
    pub dangers: Option<Result<Vec<Permission>>>,
    /// Other rights that the jobs do not need.
    pub excess: Option<Result<Vec<String>>>,
}

impl TokenFacts {
    /// `again` is the command that restores the rights that `join` grants; `renew` is the command that issues a new
    /// token.
    pub fn items(&self, again: &str, renew: &str, now: Timestamp) -> Vec<Item> {
        let with = |error: &Error, next: &str| of_the_token_in_use(error).hint(next);
        let mut items = vec![from(CheckName::Address, &self.reached, Clone::clone)];
        items.extend(address(&self.access, false, now));
        items.extend(self.alive.iter().map(|alive| match alive {
            Ok(()) => Item::pass(CheckName::Token, "the API server accepts the token"),
            Err(error) => Item::fail(CheckName::Token, &with(error, renew)),
        }));
        items.extend(self.pages.iter().flat_map(|pages| match pages {
            Ok(proof) => pages_read(proof),
            Err(error) => vec![Item::fail(CheckName::Pages, &with(error, again))],
        }));
        items.extend(self.refused.iter().map(|refused| match refused {
            Ok(count) => Item::pass(CheckName::FenceEnforced, format!("the fence refuses {count} other requests")),
            Err(error) => Item::fail(CheckName::FenceEnforced, &with(error, again)),
        }));
        if let (Some(dangers), Some(excess)) = (&self.dangers, &self.excess) {
            items.extend(or_unknown(CheckName::Rights, dangers, |dangers| {
                let fail = |permission: &Permission| {
                    let message = dangerous(&permission.to_string());
                    Item::fail(CheckName::Rights, &Error::new(Reason::CheckFailed, message).hint(FIND_BINDING))
                };
                dangers.iter().map(fail).collect()
            }));
            items.extend(or_unknown(CheckName::Rights, excess, |excess| {
                if excess.is_empty() && !has(&items, CheckName::Rights) {
                    return vec![Item::pass(
                        CheckName::Rights,
                        "the account has exactly the rights that the jobs need",
                    )];
                }
                let warn = |what: &String| Item::warn(CheckName::Rights, surplus(what)).hint(FIND_BINDING);
                excess.iter().map(warn).collect()
            }));
        }
        items
    }
}

/// The proof is that of a join, which speaks of a new token.
pub fn of_the_token_in_use(error: &Error) -> Error {
    error.clone().reworded(|message| message.replace("the new token", "the token"))
}

pub fn dangerous(what: &str) -> String {
    format!("the account may {what}, which join never grants")
}

pub fn surplus(what: &str) -> String {
    format!("the account may also {what}, which the jobs do not need")
}

/// The pages that the token reads, and the jobs whose targets do not answer.
fn pages_read(proof: &ProofReport) -> Vec<Item> {
    let ProofReport { node, pages, away, nodes_read, nodes_without_pages, .. } = proof;
    let is_of_nodes = |page: &&PageReport| Job::OF_NODES.iter().any(|job| job.name() == page.job);
    let (of_nodes, others): (Vec<&PageReport>, Vec<&PageReport>) = pages.iter().partition(is_of_nodes);
    let mut read: Vec<String> = node.iter().map(|node| format!("{} from {node}", samples(&of_nodes))).collect();
    read.extend((!others.is_empty()).then(|| samples(&others)));
    let mut items = Vec::new();
    if !read.is_empty() {
        items.push(Item::pass(CheckName::Pages, format!("the token reads {}", read.join(", and "))));
    }
    items.extend(without_pages(*nodes_read, nodes_without_pages));
    items.extend(
        away.iter()
            .map(|UnreachableJob { job, error }| Item::fail(CheckName::Pages, &error.clone().about(job.to_string()))),
    );
    items
}

/// `cadvisor 231 and kubelet 1220 samples`
fn samples(pages: &[&PageReport]) -> String {
    let pages: Vec<String> = pages.iter().map(|page| format!("{} {}", page.job, page.samples)).collect();
    format!("{} samples", pages.join(" and "))
}

/// The facts about a joined cluster that only an administrator sees, in addition to [`ClusterStatus`].
pub struct AdminFacts {
    pub drift: Result<Vec<Drift>>,
    /// Bindings of the account that the plugin did not make.
    pub bindings: Result<Vec<Binding>>,
    /// The bound Secrets of other destinations.
    pub others: Vec<BoundSecret>,
    /// The number of nodes, and the pages of one of them. None if no job is scraped from nodes.
    pub measured: Result<Option<(u64, Measured)>>,
    /// The checks of the account's namespace.
    pub namespace: Vec<Item>,
}

/// A binding that names the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub reference: ObjectRef,
    /// `ClusterRole/view`
    pub role: String,
}

impl AdminFacts {
    pub fn items(&self, again: &str, interval: Seconds) -> Vec<Item> {
        let mut items = or_unknown(CheckName::Objects, &self.drift, |drift| {
            if drift.is_empty() {
                return vec![Item::pass(
                    CheckName::Objects,
                    "the objects are as join makes them, with exactly these rights",
                )];
            }
            let fail = |Drift { reference, paths }: &Drift| {
                let message = if paths.is_empty() {
                    format!("{reference} is gone")
                } else {
                    format!("{reference} differs from what join makes in {}", paths.join(", "))
                };
                let error = Error::new(Reason::CheckFailed, message).hint(again);
                if paths.is_empty() {
                    return Item::fail(CheckName::Objects, &error);
                }
                let namespace = flag(reference.namespace.as_deref());
                let next = "If join reports that another field manager owns these fields, delete the object first:";
                Item::fail(CheckName::Objects, &error.hint(format!("{next} kubectl delete {reference}{namespace}")))
            };
            drift.iter().map(fail).collect()
        });
        items.extend(or_unknown(CheckName::Bindings, &self.bindings, |bindings| {
            if bindings.is_empty() {
                return vec![Item::pass(CheckName::Bindings, "no other binding grants the account rights")];
            }
            let fail = |Binding { reference, role }: &Binding| {
                let namespace = flag(reference.namespace.as_deref());
                let place =
                    reference.namespace.as_ref().map(|name| format!(" in namespace {name}")).unwrap_or_default();
                let message = format!("{reference}{place} grants the account {role}, which join never does");
                // RBAC lets a name have nearly every character.
                let shown = shell::word(&reference.to_string());
                let next =
                    format!("Inspect it, and delete it if it is not needed: kubectl describe {shown}{namespace}");
                Item::fail(CheckName::Bindings, &Error::new(Reason::CheckFailed, message).hint(next))
            };
            bindings.iter().map(fail).collect()
        }));
        items.extend(self.others.iter().map(|secret| {
            Item::pass(
                CheckName::OtherDestinations,
                format!("secret/{} belongs to {}", secret.name, secret.destination.shown()),
            )
        }));
        items.extend(self.namespace.iter().cloned());
        items.extend(or_unknown(CheckName::Load, &self.measured, |measured| {
            measured.iter().map(|(nodes, measured)| load(*nodes, measured, interval)).collect()
        }));
        items
    }
}

/// Dangerous permissions, which the account of a Prometheus never needs.
pub fn dangers() -> Vec<Permission> {
    let ask = |verb, group, resource, subresource| Permission {
        verb,
        group,
        resource,
        subresource,
        namespace: None,
        name: None,
    };
    let rbac = "rbac.authorization.k8s.io";
    vec![
        ask("get", "", "secrets", None),
        ask("list", "", "secrets", None),
        ask("create", "", "pods", None),
        ask("create", "", "pods", Some("exec")),
        // A WebSocket is opened with GET.
        ask("get", "", "pods", Some("exec")),
        ask("create", "", "nodes", Some("proxy")),
        ask("create", "", "serviceaccounts", Some("token")),
        ask("escalate", rbac, "clusterroles", None),
        ask("bind", rbac, "clusterroles", None),
        ask("impersonate", "", "users", None),
    ]
}

fn flag(namespace: Option<&str>) -> String {
    namespace.map(|name| format!(" -n {name}")).unwrap_or_default()
}
