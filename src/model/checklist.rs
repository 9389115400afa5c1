//! What would stop a join, and what is true of a cluster that was joined: facts in, a checklist out.

use super::{
    access::Access,
    certificate,
    duration::Seconds,
    fence,
    job::Job,
    object::{Fence, Kind, ObjectRef},
    permission::{Permission, Permissions},
    plan::{JoinPlan, Verb},
    report::{API_VERSION, Away, PageReport, ProofReport},
    request::JoinRequest,
    shell,
    status::{ClusterStatus, FenceSeen, FenceStatus, Source, TargetsStatus, Trouble},
    token::BoundSecret,
};
use crate::error::{Error, Reason, Result};
use jiff::Timestamp;
use serde::Serialize;

/// Above this many nodes it matters that every byte of theirs crosses the API server.
const MANY_NODES: u64 = 100;
/// How long before its end a certificate is talked about, in days.
const ENDS_SOON: i64 = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    Pass,
    /// Nothing is stopped by it.
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Stable, `token-request`. Where one question has several answers, several items have the name.
    pub name: &'static str,
    pub status: Status,
    pub message: String,
    /// What to do next, with commands.
    pub hints: Vec<String>,
    /// What `join` fails with.
    #[serde(skip)]
    error: Option<Error>,
}

impl Item {
    pub fn pass(name: &'static str, message: impl Into<String>) -> Self {
        Self { name, status: Status::Pass, message: message.into(), hints: Vec::new(), error: None }
    }

    pub fn warn(name: &'static str, message: impl Into<String>) -> Self {
        Self { status: Status::Warn, ..Self::pass(name, message) }
    }

    pub fn fail(name: &'static str, error: &Error) -> Self {
        Self {
            status: Status::Fail,
            hints: error.hints.clone(),
            error: Some(error.clone()),
            ..Self::pass(name, error.message.clone())
        }
    }

    /// What nobody could find out, and what does not stop anything.
    pub fn unknown(name: &'static str, error: &Error) -> Self {
        Self { hints: error.hints.clone(), ..Self::warn(name, format!("not known: {error}")) }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// Items in the order in which `join` would come to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Checklist(pub Vec<Item>);

impl Checklist {
    /// # Errors
    /// The one that `join` fails with: that of the first item that failed.
    pub fn verdict(&self) -> Result<()> {
        let first = self.0.iter().find(|item| item.status == Status::Fail);
        match first.and_then(|item| item.error.clone()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    pub fn count(&self, status: Status) -> usize {
        self.0.iter().filter(|item| item.status == status).count()
    }
}

/// What a join asks before it writes, each part with its answer.
pub struct JoinFacts<'a> {
    pub request: &'a JoinRequest,
    /// `v1.37.2`
    pub version: Result<String>,
    pub uid: Result<String>,
    /// Objects that could not be read.
    pub unread: Vec<(Kind, Error)>,
    /// None where no job is scraped from nodes.
    pub nodes: Result<Option<NodeFacts>>,
    /// Namespaces of targets that are not there.
    pub absent: Vec<Error>,
    pub secrets: Result<Vec<BoundSecret>>,
    pub left_fence: Result<()>,
    /// Destinations that could not be looked at.
    pub unopened: Vec<Error>,
    pub reached: Result<Reach>,
    /// Whether the destinations agree with the label.
    pub label: Result<()>,
    /// Objects that somebody else has under our names, or that are being deleted.
    pub clashes: Vec<Error>,
    pub plan: Result<JoinPlan>,
    pub spared: Result<()>,
    pub admitted: Result<()>,
    pub escalation: Option<Error>,
    pub permissions: Result<Permissions>,
    pub destinations: Vec<DestinationFacts>,
}

/// The address that Prometheus would use, for people.
pub enum Reach {
    /// How it was proven.
    Proven(String),
    /// Why only Prometheus itself can prove it.
    FromThereOnly(String),
}

/// The nodes that were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    pub total: u64,
    pub seen: usize,
    pub ready: usize,
}

/// A destination that would be written to.
pub enum DestinationFacts {
    Directory {
        /// As it was typed.
        name: String,
        /// Whether its main configuration would have to be edited.
        edits_main: Result<bool>,
        /// Whether those who must can read the files, and nobody else.
        files: Result<()>,
    },
    Operator {
        name: String,
        /// What the hub says of the objects that would be written; none where nothing can be said of them.
        taken: Option<Result<()>>,
    },
}

impl JoinFacts<'_> {
    pub fn checklist(&self) -> Checklist {
        let mut items = vec![
            from("connection", &self.version, |version| format!("the API server answers: Kubernetes {version}")),
            from("identity", &self.uid, |uid| format!("the UID of its kube-system is {uid}")),
        ];
        items.extend(self.policies());
        items.extend(self.unread.iter().filter(|(kind, _)| !kind.is_fence()).map(|(_, e)| Item::fail("objects", e)));
        items.extend(self.absent.iter().map(|error| Item::fail("targets", error)));
        items.extend(match &self.nodes {
            Ok(facts) => facts.as_ref().map(nodes),
            Err(error) => Some(Item::fail("nodes", error)),
        });
        items.extend(self.left_fence.as_ref().err().map(|error| Item::fail("fence", error)));
        items.extend(self.secrets.as_ref().err().map(|error| Item::fail("bound-secrets", error)));
        items.extend(self.unopened.iter().map(|error| Item::fail("destination", error)));
        items.push(match &self.reached {
            Ok(Reach::Proven(how)) => Item::pass("address", how),
            Ok(Reach::FromThereOnly(why)) => Item::warn("address", why),
            Err(error) => Item::fail("address", error),
        });
        items.extend(self.label.as_ref().err().map(|error| Item::fail("label", error)));
        items.extend(self.objects());
        for (name, outcome) in [("account", &self.spared), ("fence", &self.admitted)] {
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
            .map(|(_, error)| Item::fail("policies", error))
            .collect();
        match (self.request.fence, &self.version) {
            _ if !unread.is_empty() => unread,
            (Fence::Required, Ok(_)) => {
                vec![Item::pass(
                    "policies",
                    "the API server has the policies that the fence is made of; only a join shows that it enforces them",
                )]
            }
            (Fence::Required, Err(_)) => Vec::new(),
            // What needs no proxy has nothing to fence.
            (Fence::Off, _) if !self.request.jobs.targets().any(|target| target.is_proxied()) => Vec::new(),
            (Fence::Off, _) => vec![Item::warn("policies", format!("--fence=off: {}", fence::WITHOUT))],
        }
    }

    fn objects(&self) -> Vec<Item> {
        if !self.clashes.is_empty() {
            return self.clashes.iter().map(|error| Item::fail("objects", error)).collect();
        }
        let plan = match &self.plan {
            Ok(plan) => plan,
            Err(error) => return vec![Item::fail("objects", error)],
        };
        if !self.unread.is_empty() || self.version.is_err() {
            return Vec::new();
        }
        let all = plan.steps().count();
        let there = plan.steps().filter(|step| step.verb != Verb::Created).count();
        let mut items = vec![Item::pass(
            "objects",
            match there {
                0 => "none of the objects is there yet, and nobody else has their names".to_owned(),
                _ => format!("{there} of {all} objects are there, and none stands in the way"),
            },
        )];
        let lent = plan.steps().filter(|step| step.used_as_is && step.object.reference.kind != Kind::Namespace);
        items.extend(lent.map(|step| {
            Item::warn("objects", format!("{} belongs to somebody else and is used as it is", step.object.reference))
        }));
        items
    }

    fn permissions(&self) -> Vec<Item> {
        let mut items: Vec<Item> = self.escalation.iter().map(|error| Item::fail("escalation", error)).collect();
        match &self.permissions {
            Err(error) => items.push(Item::fail("permissions", error)),
            Ok(Permissions { needed, lacking: None }) => {
                items.push(Item::pass("permissions", format!("you may make every change ({needed} permissions)")));
            }
            Ok(Permissions { lacking: Some(lacking), .. }) => {
                items.extend(lacking.missing.iter().map(|permission| Item {
                    message: format!("{} may not {permission}", lacking.who),
                    hints: vec![format!("Check with: {}", permission.can_i())],
                    ..Item::fail("permissions", &lacking.error)
                }));
                // What they have in common is said once.
                if let Some(last) = items.last_mut() {
                    last.hints.extend(lacking.error.hints.iter().skip(1).cloned());
                }
            }
        }
        items
    }
}

fn nodes(NodeFacts { total, seen, ready }: &NodeFacts) -> Item {
    if *ready == 0 {
        let message = format!("none of the {} that were looked at is ready", counted(*seen as u64, "node"));
        return Item::warn("nodes", message).hint("A proof needs one that answers: kubectl get nodes");
    }
    let total = counted(*total, "node");
    Item::pass(
        "nodes",
        if seen == ready {
            format!("{total}, ready as far as looked at")
        } else {
            format!("{total}, {ready} of the {seen} that were looked at are ready")
        },
    )
}

/// What is to be written to, before anything is.
pub fn destinations(facts: &[DestinationFacts]) -> Vec<Item> {
    let of_directory = |name: &str, edits_main: &Result<bool>, files: &Result<()>| {
        let main = from("configuration", edits_main, |edits| {
            if *edits {
                format!("{name}: join would add what is missing to the main configuration, and shows it before")
            } else {
                format!("{name}: the main configuration names our files")
            }
        });
        let files =
            from("readable", files, |()| format!("{name}: Prometheus can read what is written there, and nobody else"));
        vec![main, files]
    };
    let items = facts.iter().flat_map(|facts| match facts {
        DestinationFacts::Directory { name, edits_main, files } => of_directory(name, edits_main, files),
        DestinationFacts::Operator { name, taken } => {
            let says = |(): &()| {
                format!("{name}: its cluster takes the jobs, as objects that this Prometheus selects (dry run)")
            };
            taken.iter().map(|taken| from("operator", taken, says)).collect()
        }
    });
    items.collect()
}

fn from<T>(name: &'static str, fact: &Result<T>, says: impl FnOnce(&T) -> String) -> Item {
    match fact {
        Ok(value) => Item::pass(name, says(value)),
        Err(error) => Item::fail(name, error),
    }
}

fn or_unknown<T>(name: &'static str, fact: &Result<T>, says: impl FnOnce(&T) -> Vec<Item>) -> Vec<Item> {
    match fact {
        Ok(value) => says(value),
        Err(error) => vec![Item::unknown(name, error)],
    }
}

/// By discovery: whether tokens can be asked for.
pub fn token_request(there: &Result<bool>) -> Item {
    match there {
        Ok(true) => Item::pass("token-request", "tokens of bounded life can be asked for"),
        Ok(false) => Item::fail(
            "token-request",
            &Error::new(Reason::TokenRequestMissing, "the server has no TokenRequest (Kubernetes 1.22 or later has)")
                .hint("--long-lived-token joins with a token of a Secret instead, which never expires")
                .hint("See what it has: kubectl get --raw /api/v1"),
        ),
        Err(error) => Item::unknown("token-request", error),
    }
}

/// The address, as far as it can be judged without asking. `printed`: nobody knows where the jobs will be used.
pub fn address(access: &Access, printed: bool, now: Timestamp) -> Vec<Item> {
    let mut items = Vec::new();
    if printed && access.url.is_loopback() {
        items.push(
            Item::warn(
                "loopback",
                format!("{} is a loopback address: only a Prometheus on this very machine can use it", access.url),
            )
            .hint("Name the address that Prometheus is to use: --api-server https://HOST:PORT"),
        );
    }
    let ends = access.ca.iter().flat_map(|ca| &ca.certificates).filter_map(|der| certificate::valid_until(der)).min();
    if let Some(end) = ends
        && end.as_second().saturating_sub(now.as_second()) < ENDS_SOON * 86_400
    {
        items.push(
            Item::warn("ca", format!("the CA ends on {}; the jobs stop with it", end.strftime("%Y-%m-%d")))
                .hint("Once the cluster has a new one, rotate takes it up: kubectl prom-federate rotate --now -p DIR"),
        );
    }
    items
}

/// The pages of one node, as somebody reads them through the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    pub node: String,
    /// As they are sent without compression.
    pub bytes: u64,
    pub samples: u64,
}

/// What reading a node's pages with the caller's own credentials tells. It stops a join only where the kubelet
/// refuses the API server itself: what the caller may not read, the account may.
pub fn kubelet(measured: &Result<Measured>) -> Item {
    match measured {
        Ok(Measured { node, .. }) => {
            Item::pass("kubelet", format!("{node} shows its pages to you through the API server"))
        }
        Err(error) if error.reason == Reason::KubeletForbidden => Item::fail("kubelet", error),
        Err(error) => Item::unknown("kubelet", error),
    }
}

/// How many samples the caller sees where a job would read that is not scraped from nodes. A target that is not there
/// stops a join; what the caller may not read, the account may.
pub fn target(job: &Job, shown: &Result<usize>) -> Item {
    match shown {
        Ok(samples) => Item::pass("targets", format!("{job} shows {samples} samples to you through the API server")),
        Err(error) => match error.reason {
            Reason::TargetForbidden | Reason::TargetNotFound | Reason::TargetUnavailable => {
                Item::fail("targets", error)
            }
            _ => Item::unknown("targets", error),
        },
    }
}

/// What the jobs will cost the API server and Prometheus, if every node is like the one that was measured.
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
        Item::warn("load", message).hint(
            "Every byte crosses the API server: scrape less often (--scrape-interval 2m), or fewer pages (--jobs)",
        )
    } else {
        Item::pass("load", message)
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

/// Who reads a destination, and how it is made to read what is new.
pub struct ReaderFacts {
    /// As the destination was typed.
    pub name: String,
    /// `Prometheus 3.16.0`
    pub reader: String,
    /// Why nobody can look at the result.
    pub unseen: Option<String>,
    /// It was named with `--prometheus-url`.
    pub is_named: bool,
    /// promtool, or vmagent itself.
    pub checker: Option<&'static str>,
    /// How it would be reloaded; none if nothing can be done, or nothing runs.
    pub reload: Option<&'static str>,
}

/// The Prometheus of a destination.
pub fn reader(ReaderFacts { name, reader, unseen, is_named, checker, reload }: &ReaderFacts) -> Vec<Item> {
    let prometheus = match unseen {
        None => Item::pass("prometheus", format!("{name}: {reader} reads it")),
        Some(why) if *is_named => Item::fail(
            "prometheus",
            &Error::new(Reason::PrometheusUnreachable, format!("--prometheus-url: {why}"))
                .hint("Is it running? Leave the flag out to have it looked for"),
        ),
        Some(why) => Item::warn("prometheus", format!("{name}: nobody can look at the result: {why}"))
            .hint("Start it, or name its address: --prometheus-url http://HOST:9090"),
    };
    let checker = match checker {
        Some(tool) => Item::pass("promtool", format!("{name}: {tool} looks at jobs before they are in place")),
        None => {
            Item::warn("promtool", format!("{name}: there is no promtool to look at jobs before they are in place"))
                .hint("Put promtool on PATH; it comes with Prometheus")
        }
    };
    let reload = match reload {
        Some(how) => Item::pass("reload", format!("{name}: reloaded by {how}")),
        None => Item::warn("reload", format!("{name}: nothing there can be told to read its configuration again"))
            .hint("Name a command that reloads it: --reload='command:systemctl reload prometheus'"),
    };
    vec![prometheus, checker, reload]
}

/// What `status` judged, as items: what is wrong, what nobody could look at, and what is well.
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
            Source::Prometheus => "scraped",
            Source::Cluster => "cluster",
            Source::Nodes => "nodes",
            Source::Fence => "fence",
            Source::Secrets => "bound-secrets",
        };
        Item::warn(name, format!("not seen: {}", unseen.why))
    }));
    let mut well = Vec::new();
    if let Some(token) = &status.token {
        let expires = token.expires.strftime("%Y-%m-%d %H:%M UTC");
        well.push(Item::pass("token-life", format!("the token lives until {expires}")));
        if !has(&items, "cluster") {
            well.push(Item::pass("bound-secrets", format!("secret/{} is there", token.bound_secret)));
        }
    }
    match status.fence {
        Some(FenceStatus { required: true, seen: Some(FenceSeen::Present) }) => {
            well.push(Item::pass("fence", "the fence is there, as join makes it"));
        }
        Some(FenceStatus { required: false, seen }) if seen != Some(FenceSeen::Present) => {
            well.push(Item::warn("fence", format!("joined with --fence=off: {}", fence::WITHOUT)));
        }
        _ => {}
    }
    if let Some(TargetsStatus { up, total, .. }) = status.targets {
        well.push(Item::pass("scraped", format!("Prometheus has every job, {up} of {total} targets up")));
    }
    well.retain(|item| !has(&items, item.name));
    well.extend(items);
    well
}

fn has(items: &[Item], name: &str) -> bool {
    items.iter().any(|item| item.name == name)
}

fn name_of(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::RecordUnreadable | Trouble::NotOurs | Trouble::NoJobs => "record",
        Trouble::TokenExpired | Trouble::TokenNotRenewed => "token-life",
        Trouble::TokenRevoked => "bound-secrets",
        Trouble::JobRefused => "operator",
        Trouble::JobMissing | Trouble::NoTargets | Trouble::JobDown | Trouble::TargetsDown => "scraped",
        Trouble::FenceAbsent | Trouble::FenceChanged => "fence",
        Trouble::NodesOpen | Trouble::NodesNotPinned | Trouble::NodesGone => "nodes",
        Trouble::Leftovers => "leftovers",
    }
}

/// What the token in use can do, seen with nothing else.
pub struct TokenFacts {
    pub access: Access,
    /// How the address in the record was proven.
    pub reached: Result<String>,
    /// None where the address was not reached; the others too.
    pub alive: Option<Result<()>>,
    /// None where the token is refused.
    pub pages: Option<Result<ProofReport>>,
    /// How many requests outside the jobs are refused; none without a fence.
    pub refused: Option<Result<usize>>,
    /// What it may do that nobody should.
    pub dangers: Option<Result<Vec<Permission>>>,
    /// What else it may do that the jobs do not need.
    pub excess: Option<Result<Vec<String>>>,
}

impl TokenFacts {
    /// `again` is a command that puts back what `join` grants, `renew` one that issues a new token.
    pub fn items(&self, again: &str, renew: &str, now: Timestamp) -> Vec<Item> {
        let with = |error: &Error, next: &str| {
            // The proof is join's, whose token is new.
            let message = error.message.replace("the new token", "the token");
            Error { message, ..error.clone() }.hint(next)
        };
        let mut items = vec![from("address", &self.reached, Clone::clone)];
        items.extend(address(&self.access, false, now));
        items.extend(self.alive.iter().map(|alive| match alive {
            Ok(()) => Item::pass("token", "the API server takes the token"),
            Err(error) => Item::fail("token", &with(error, renew)),
        }));
        items.extend(self.pages.iter().flat_map(|pages| match pages {
            Ok(proof) => pages_read(proof),
            Err(error) => vec![Item::fail("pages", &with(error, again))],
        }));
        items.extend(self.refused.iter().map(|refused| match refused {
            Ok(count) => Item::pass("fence-enforced", format!("{count} other requests are refused by the fence")),
            Err(error) => Item::fail("fence-enforced", &with(error, again)),
        }));
        if let (Some(dangers), Some(excess)) = (&self.dangers, &self.excess) {
            items.extend(or_unknown("rights", dangers, |dangers| {
                let fail = |permission: &Permission| {
                    let message = format!("the account may {permission}, which join never grants");
                    let next =
                        "Somebody else granted it; look who: kubectl get clusterrolebindings,rolebindings -A -o wide";
                    Item::fail("rights", &Error::new(Reason::CheckFailed, message).hint(next))
                };
                dangers.iter().map(fail).collect()
            }));
            items.extend(or_unknown("rights", excess, |excess| {
                if excess.is_empty() && !has(&items, "rights") {
                    return vec![Item::pass("rights", "the account may do what the jobs need and nothing more")];
                }
                let warn = |what: &String| {
                    Item::warn("rights", format!("the account may also {what}, which the jobs do not need"))
                        .hint("Look who granted it: kubectl get clusterrolebindings,rolebindings -A -o wide")
                };
                excess.iter().map(warn).collect()
            }));
        }
        items
    }
}

/// What the token reads, and what is away whatever the token is.
fn pages_read(ProofReport { node, pages, away, .. }: &ProofReport) -> Vec<Item> {
    let is_of_nodes = |page: &&PageReport| Job::OF_NODES.iter().any(|job| job.name() == page.job);
    let (of_nodes, others): (Vec<&PageReport>, Vec<&PageReport>) = pages.iter().partition(is_of_nodes);
    let mut read: Vec<String> = node.iter().map(|node| format!("{} from {node}", samples(&of_nodes))).collect();
    read.extend((!others.is_empty()).then(|| samples(&others)));
    let mut items = Vec::new();
    if !read.is_empty() {
        items.push(Item::pass("pages", format!("the token reads {}", read.join(", and "))));
    }
    items.extend(away.iter().map(|Away { job, error }| Item::fail("pages", &error.clone().about(job.to_string()))));
    items
}

/// `cadvisor 231 and kubelet 1220 samples`
fn samples(pages: &[&PageReport]) -> String {
    let pages: Vec<String> = pages.iter().map(|page| format!("{} {}", page.job, page.samples)).collect();
    format!("{} samples", pages.join(" and "))
}

/// What an administrator sees of a cluster that was joined, beside what [`ClusterStatus`] has.
pub struct AdminFacts {
    pub drift: Result<Vec<Drift>>,
    /// Bindings of the account that are none of ours.
    pub bindings: Result<Vec<Binding>>,
    /// The bound Secrets of other destinations.
    pub others: Vec<BoundSecret>,
    /// How many nodes, and what one of them shows.
    /// None where no job is scraped from nodes.
    pub measured: Result<Option<(u64, Measured)>>,
}

/// An object that is not as `join` makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub reference: ObjectRef,
    /// Paths of fields; none if the object is gone.
    pub paths: Vec<String>,
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
        let mut items = or_unknown("objects", &self.drift, |drift| {
            if drift.is_empty() {
                return vec![Item::pass("objects", "the objects are as join makes them, no right more or less")];
            }
            let fail = |Drift { reference, paths }: &Drift| {
                let message = if paths.is_empty() {
                    format!("{reference} is gone")
                } else {
                    format!("{reference} differs from what join makes in {}", paths.join(", "))
                };
                let error = Error::new(Reason::CheckFailed, message).hint(again);
                if paths.is_empty() {
                    return Item::fail("objects", &error);
                }
                let namespace = flag(reference.namespace.as_deref());
                let next = "If join says that somebody else manages these fields, delete it before:";
                Item::fail("objects", &error.hint(format!("{next} kubectl delete {reference}{namespace}")))
            };
            drift.iter().map(fail).collect()
        });
        items.extend(or_unknown("bindings", &self.bindings, |bindings| {
            if bindings.is_empty() {
                return vec![Item::pass("bindings", "no other binding names the account")];
            }
            let fail = |Binding { reference, role }: &Binding| {
                let namespace = flag(reference.namespace.as_deref());
                let place =
                    reference.namespace.as_ref().map(|name| format!(" in namespace {name}")).unwrap_or_default();
                let message = format!("{reference}{place} gives the account {role}, which join never does");
                // RBAC lets a name have nearly every character.
                let shown = shell::word(&reference.to_string());
                let next = format!("Look at it, and delete it if nobody needs it: kubectl describe {shown}{namespace}");
                Item::fail("bindings", &Error::new(Reason::CheckFailed, message).hint(next))
            };
            bindings.iter().map(fail).collect()
        }));
        items.extend(self.others.iter().map(|secret| {
            Item::pass("other-destinations", format!("secret/{} is of {}", secret.name, secret.destination.shown()))
        }));
        items.extend(or_unknown("load", &self.measured, |measured| {
            measured.iter().map(|(nodes, measured)| load(*nodes, measured, interval)).collect()
        }));
        items
    }
}

/// What was looked at, of one cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCheck {
    pub cluster: String,
    /// None where a join was looked into.
    pub destination: Option<String>,
    pub api_server: Option<String>,
    pub items: Checklist,
}

/// `check -o json`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub failed: usize,
    pub warnings: usize,
    pub clusters: Vec<ClusterCheck>,
}

impl CheckReport {
    pub fn new(clusters: Vec<ClusterCheck>) -> Self {
        let count = |status| clusters.iter().map(|check| check.items.count(status)).sum();
        Self {
            api_version: API_VERSION,
            kind: "CheckReport",
            failed: count(Status::Fail),
            warnings: count(Status::Warn),
            clusters,
        }
    }

    pub fn total(&self) -> usize {
        self.clusters.iter().map(|check| check.items.0.len()).sum()
    }

    /// # Errors
    /// [`Reason::CheckFailed`] if anything failed, with what to do about the first.
    pub fn verdict(&self) -> Result<()> {
        let mut all = self.clusters.iter().flat_map(|check| check.items.0.iter().map(move |item| (check, item)));
        let Some((check, item)) = all.find(|(_, item)| item.status == Status::Fail) else { return Ok(()) };
        let error = Error::new(Reason::CheckFailed, format!("{} of {} checks failed", self.failed, self.total()));
        Err(match item.hints.first() {
            Some(hint) => error.hint(format!("{}: {hint}", check.cluster)),
            None => error,
        })
    }
}

/// What no account of ours needs, whoever granted it.
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

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{CertificateAuthority, Origin},
        account::Account,
        destination::Identity,
        job::{Job, Pace},
        object::Desired,
        permission::Lacking,
        plan::Existing,
        status::{
            ClusterFacts, Facts, Recorded,
            tests::{facts, job},
        },
    };

    fn request(fence: Fence) -> JoinRequest {
        JoinRequest {
            cluster: "east".parse().unwrap(),
            account: Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() },
            jobs: "default".parse().unwrap(),
            federate_match: Vec::new(),
            fence,
            pace: Pace { interval: Seconds(60), timeout: Seconds(30) },
            keep_all_metrics: false,
            long_lived: false,
            self_renew: false,
            duration: Seconds(604_800),
        }
    }

    fn desired() -> Desired {
        request(Fence::Required).desired()
    }

    fn access(url: &str) -> Access {
        let ca = CertificateAuthority { certificates: vec![], origin: "the kubeconfig".into() };
        Access {
            url: url.parse().unwrap(),
            origin: Origin::Kubeconfig,
            ca: Some(ca),
            tls_server_name: None,
            proxy: None,
            kubelet_ca: None,
        }
    }

    fn error(reason: Reason, message: &str) -> Error {
        Error::new(reason, message).hint(format!("what to do about {message}"))
    }

    /// All is well.
    fn well(request: &JoinRequest) -> JoinFacts<'_> {
        let plan = JoinPlan::new(&request.desired(), &Existing::new()).unwrap();
        JoinFacts {
            request,
            version: Ok("v1.37.2".into()),
            uid: Ok("7d0f".into()),
            unread: Vec::new(),
            nodes: Ok(Some(NodeFacts { total: 12, seen: 10, ready: 10 })),
            absent: Vec::new(),
            secrets: Ok(Vec::new()),
            left_fence: Ok(()),
            unopened: Vec::new(),
            reached: Ok(Reach::Proven("address proven".into())),
            label: Ok(()),
            clashes: Vec::new(),
            spared: Ok(()),
            admitted: Ok(()),
            escalation: None,
            permissions: Ok(Permissions { needed: 16, lacking: None }),
            destinations: vec![DestinationFacts::Directory {
                name: "/etc/one".into(),
                edits_main: Ok(false),
                files: Ok(()),
            }],
            plan: Ok(plan),
        }
    }

    fn shown(items: &[Item]) -> String {
        let line = |Item { name, status, message, hints, .. }: &Item| {
            let hints: String = hints.iter().map(|hint| format!("    hint: {hint}\n")).collect();
            format!("{status:?} {name}: {message}\n{hints}")
        };
        items.iter().map(line).collect()
    }

    #[test]
    fn a_join_that_nothing_stops() {
        let request = request(Fence::Required);
        let checklist = well(&request).checklist();
        assert_eq!(checklist.verdict(), Ok(()));
        insta::assert_snapshot!(shown(&checklist.0));
    }

    #[test]
    fn everything_that_stops_a_join_is_named_and_join_fails_with_the_first() {
        let request = request(Fence::Required);
        let permission = |verb| Permission {
            verb,
            group: "",
            resource: "secrets",
            subresource: None,
            namespace: Some("prom-federate".into()),
            name: None,
        };
        let all = Error { hints: vec!["of the first".into(), "of all".into()], ..error(Reason::Forbidden, "all") };
        let lacking = Lacking {
            who: "jane".into(),
            missing: vec![permission("create"), permission("delete")],
            error: all.clone(),
        };
        let facts = |answers: bool| JoinFacts {
            version: if answers { Ok("v1.29.0".into()) } else { Err(error(Reason::Timeout, "version")) },
            uid: Err(error(Reason::Forbidden, "uid")),
            unread: vec![
                (Kind::ValidatingAdmissionPolicy, error(Reason::PolicyApiMissing, "policy")),
                (Kind::ClusterRole, error(Reason::Forbidden, "role")),
            ],
            nodes: Ok(Some(NodeFacts { total: 2, seen: 2, ready: 0 })),
            secrets: Err(error(Reason::Forbidden, "secrets")),
            left_fence: Err(error(Reason::Forbidden, "left fence")),
            unopened: vec![error(Reason::DestinationUnusable, "destination")],
            reached: Err(error(Reason::CertificateNameMismatch, "address")),
            label: Err(error(Reason::ClusterKnown, "label")),
            clashes: vec![error(Reason::NotOurs, "one object"), error(Reason::BeingDeleted, "another")],
            spared: Err(error(Reason::AccountInUse, "account")),
            admitted: Err(error(Reason::FenceStands, "fence")),
            escalation: Some(error(Reason::EscalationForbidden, "escalation")),
            permissions: Ok(Permissions { needed: 16, lacking: Some(lacking.clone()) }),
            destinations: vec![DestinationFacts::Directory {
                name: "/etc/one".into(),
                edits_main: Err(error(Reason::DestinationUnusable, "main")),
                files: Err(error(Reason::NotReadable, "files")),
            }],
            ..well(&request)
        };
        assert_eq!(facts(false).checklist().verdict(), Err(error(Reason::Timeout, "version")));
        assert_eq!(facts(true).checklist().verdict(), Err(error(Reason::Forbidden, "uid")));
        let only =
            JoinFacts { permissions: Ok(Permissions { needed: 16, lacking: Some(lacking.clone()) }), ..well(&request) };
        assert_eq!(only.checklist().verdict(), Err(all), "in one, as join says it");
        insta::assert_snapshot!(shown(&facts(true).checklist().0));
    }

    #[test]
    fn objects_that_are_there_and_those_that_are_lent_are_told_apart() {
        let request = request(Fence::Off);
        let mut existing = Existing::new();
        // As `manifests` printed it and Git applied it.
        let role = request.desired().grants.remove(0).role;
        let mut lent = role.manifest.clone();
        lent["metadata"]["labels"]["app.kubernetes.io/managed-by"].take();
        existing.insert(role.reference, lent);
        let facts = JoinFacts { plan: JoinPlan::new(&request.desired(), &existing), ..well(&request) };
        insta::assert_snapshot!(shown(&facts.checklist().0));
    }

    #[test]
    fn the_address_is_judged_before_it_is_used() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        let names = |url, printed| address(&access(url), printed, now).iter().map(|item| item.name).collect::<Vec<_>>();
        assert_eq!(names("https://127.0.0.1:6443", true), ["loopback"]);
        assert_eq!(names("https://127.0.0.1:6443", false), [""; 0], "a Prometheus of this host may use it");
        assert_eq!(names("https://10.0.0.5:6443", true), [""; 0]);
    }

    #[test]
    fn the_load_is_estimated_and_warned_about_where_nodes_are_many() {
        let measured = Measured { node: "n".into(), bytes: 1_250_000, samples: 12_000 };
        let items = [1, 100, 101, 5_000].map(|nodes| load(nodes, &measured, Seconds(60)));
        let small = load(2, &Measured { bytes: 900, samples: 0, ..measured }, Seconds(0));
        insta::assert_snapshot!(shown(&items.into_iter().chain([small]).collect::<Vec<_>>()));
    }

    #[test]
    fn only_a_kubelet_that_refuses_the_api_server_stops_a_join() {
        let status = |reason| kubelet(&Err(error(reason, "it"))).status;
        assert_eq!(status(Reason::KubeletForbidden), Status::Fail);
        assert_eq!(status(Reason::ProofFailed), Status::Warn);
        assert_eq!(token_request(&Ok(false)).status, Status::Fail);
        assert_eq!(token_request(&Err(error(Reason::Forbidden, "it"))).status, Status::Warn);
    }

    #[test]
    fn a_prometheus_that_is_named_must_answer() {
        let facts = ReaderFacts {
            name: "/etc/one".into(),
            reader: "Prometheus 3.16.0".into(),
            unseen: None,
            is_named: false,
            checker: Some("promtool"),
            reload: Some("HTTP"),
        };
        let mut items = reader(&facts);
        let silent = ReaderFacts { unseen: Some("no answer".into()), checker: None, reload: None, ..facts };
        items.extend(reader(&silent));
        items.extend(reader(&ReaderFacts { is_named: true, ..silent }).into_iter().take(1));
        insta::assert_snapshot!(shown(&items));
    }

    /// What is seen of a cluster that was joined.
    fn token_facts() -> TokenFacts {
        let page = |job: Job| PageReport { job: job.to_string(), samples: 231 };
        TokenFacts {
            access: access("https://10.0.0.5:6443"),
            reached: Ok("address proven".into()),
            alive: Some(Ok(())),
            pages: Some(Ok(ProofReport {
                nodes: 2,
                node: Some("n".into()),
                away: Vec::new(),
                pages: vec![page(Job::Cadvisor), page(Job::Kubelet)],
                refused: 0,
                refused_by_kubelet: None,
                renewals_refused: None,
            })),
            refused: Some(Ok(6)),
            dangers: Some(Ok(Vec::new())),
            excess: Some(Ok(Vec::new())),
        }
    }

    fn admin_facts() -> AdminFacts {
        AdminFacts {
            drift: Ok(Vec::new()),
            bindings: Ok(Vec::new()),
            others: vec![BoundSecret {
                name: "prometheus-x".into(),
                uid: "u".into(),
                destination: Identity::directory("h", "/etc/two", "k2"),
                expires: None,
            }],
            measured: Ok(Some((2, Measured { node: "n".into(), bytes: 1000, samples: 10 }))),
        }
    }

    fn of_joined(token: &TokenFacts, admin: &AdminFacts) -> String {
        let mut items = token.items("AGAIN", "RENEW", Timestamp::UNIX_EPOCH);
        items.extend(admin.items("AGAIN", Seconds(60)));
        shown(&items)
    }

    #[test]
    fn a_joined_cluster_that_is_well() {
        insta::assert_snapshot!(of_joined(&token_facts(), &admin_facts()));
    }

    #[test]
    fn a_joined_cluster_in_which_all_is_wrong() {
        let binding = |kind, namespace: Option<&str>, name: &str| Binding {
            reference: ObjectRef { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() },
            role: "ClusterRole/view".into(),
        };
        let token = TokenFacts {
            pages: Some(Err(error(Reason::ProofFailed, "page answers 403 to the new token"))),
            refused: Some(Err(error(Reason::FenceNotEnforced, "page answers 200 to the new token"))),
            dangers: Some(Ok(dangers().into_iter().skip(3).take(1).collect())),
            excess: Some(Ok(vec!["get,list pods".into()])),
            ..token_facts()
        };
        let role = desired().grants.remove(0).role.reference;
        let admin = AdminFacts {
            drift: Ok(vec![
                Drift { reference: role.clone(), paths: vec!["rules".into()] },
                Drift { reference: role, paths: Vec::new() },
            ]),
            bindings: Ok(vec![
                binding(Kind::ClusterRoleBinding, None, "extra $(x)"),
                binding(Kind::RoleBinding, Some("kube-system"), "extra"),
            ]),
            others: Vec::new(),
            measured: Err(error(Reason::ProofFailed, "a page")),
        };
        insta::assert_snapshot!(of_joined(&token, &admin));
    }

    #[test]
    fn a_token_that_is_refused_proves_nothing_else() {
        let facts = TokenFacts {
            alive: Some(Err(error(Reason::AccountRefused, "401"))),
            pages: None,
            refused: None,
            dangers: None,
            excess: None,
            ..token_facts()
        };
        let items = facts.items("AGAIN", "RENEW", Timestamp::UNIX_EPOCH);
        assert_eq!(
            items.iter().map(|item| (item.name, item.status)).collect::<Vec<_>>(),
            [("address", Status::Pass), ("token", Status::Fail),]
        );
        assert_eq!(items[1].hints.last().map(String::as_str), Some("RENEW"));
        let unknown = TokenFacts { dangers: Some(Err(error(Reason::ApiServerError, "it"))), ..token_facts() };
        let rights: Vec<Item> = unknown.items("", "", Timestamp::UNIX_EPOCH);
        let rights: Vec<Status> = rights.iter().filter(|item| item.name == "rights").map(|item| item.status).collect();
        assert_eq!(rights, [Status::Warn], "what is not known is not well");
    }

    #[test]
    fn what_status_judged_is_in_the_list() {
        let now = "2026-11-24T12:00:00Z".parse().unwrap();
        let judged = |change: &dyn Fn(&mut Facts)| {
            let mut east = facts("east");
            change(&mut east);
            of_status(&ClusterStatus::new(&east, now))
        };
        let count = |items: &[Item], status| items.iter().filter(|item| item.status == status).count();
        let items = judged(&|_| {});
        assert_eq!((count(&items, Status::Warn), count(&items, Status::Fail)), (0, 0), "{}", shown(&items));
        let names: Vec<&str> = items.iter().map(|item| item.name).collect();
        assert_eq!(names, ["token-life", "bound-secrets", "fence", "scraped"]);
        let wrong = judged(&|facts| {
            if let Ok(ClusterFacts { fence, .. }) = &mut facts.in_cluster {
                *fence = Ok(FenceSeen::Absent);
            }
            if let Ok(seen) = &mut facts.in_prometheus {
                seen.jobs = vec![job(Job::Cadvisor, 0, &["down"])];
            }
        });
        assert_eq!(
            wrong.iter().filter(|item| item.status == Status::Fail).map(|item| item.name).collect::<Vec<_>>(),
            ["scraped", "fence"]
        );
        assert!(!wrong.iter().any(|item| item.name == "scraped" && item.status == Status::Pass), "not well as well");
        let unseen = judged(&|facts| facts.in_cluster = Err("no kubeconfig".into()));
        assert!(has(&unseen, "cluster") && !has(&unseen, "bound-secrets"), "what nobody saw is not well");
        let nothing = judged(&|facts| facts.recorded = Recorded::NoJobs);
        assert_eq!(nothing.iter().map(|item| item.name).collect::<Vec<_>>(), ["record"]);
    }

    #[test]
    fn the_verdict_says_how_many_and_what_first() {
        let check = |items| ClusterCheck {
            cluster: "east".into(),
            destination: None,
            api_server: None,
            items: Checklist(items),
        };
        let report = CheckReport::new(vec![check(vec![Item::pass("a", "a"), Item::warn("b", "b")])]);
        assert_eq!(report.verdict(), Ok(()));
        let report = CheckReport::new(vec![
            check(vec![Item::pass("a", "a")]),
            check(vec![Item::warn("b", "b"), Item::fail("c", &error(Reason::NoNodes, "c"))]),
        ]);
        let verdict = report.verdict().unwrap_err();
        assert_eq!((verdict.reason, verdict.message.as_str()), (Reason::CheckFailed, "1 of 3 checks failed"));
        assert_eq!(verdict.hints, ["east: what to do about c"]);
    }
}
