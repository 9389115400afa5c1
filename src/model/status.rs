//! What is known of each cluster of a destination, and what is wrong with it: facts in, verdict out.

use super::{
    destination::Identity,
    duration::Seconds,
    job::{Discovery, Job, Selector},
    layout::Generation,
    names::ClusterName,
    record::{Record, SecretRecord},
    report::{API_VERSION, Line},
    rights,
    route::{Node, Pins, Route, some_of},
    shell, text,
    token::{self, BoundSecret, TokenLife},
};
use crate::error::{Error, Reason, Result};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of one cluster of one destination. What nobody could look at says why.
pub struct Facts {
    pub cluster: ClusterName,
    /// As it was typed.
    pub destination: String,
    pub recorded: Recorded,
    /// Generations that no jobs name: what a killed run left.
    pub leftovers: Vec<Generation>,
    pub in_cluster: Result<ClusterFacts, String>,
    pub in_prometheus: Result<PrometheusFacts, String>,
}

impl Facts {
    pub(crate) fn commands(&self) -> Commands<'_> {
        Commands { cluster: &self.cluster, destination: &self.destination }
    }
}

/// What the destination remembers.
pub enum Recorded {
    Record(Box<Record>),
    /// There are no jobs, only what a killed run left.
    NoJobs,
    Unreadable(Error),
}

/// What an administrator sees in the cluster.
pub struct ClusterFacts {
    /// None where no job is scraped from nodes and whoever looks may not list them.
    pub nodes: Result<Option<u64>, String>,
    pub fence: Result<FenceSeen, String>,
    /// None where nodes are not pinned.
    pub pins: Result<Option<PinFacts>, String>,
    pub secrets: Result<SecretFacts, String>,
}

/// The nodes that a role names against those that there are, each as `NAME:PORT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinFacts {
    /// Are there and not named: nothing of them is scraped.
    pub new: Vec<String>,
    /// Are named and have gone.
    pub gone: Vec<String>,
    /// A right to all of them is still there, for jobs that were there before.
    pub is_open: bool,
}

impl PinFacts {
    /// From the role as the API server returned it, and all nodes.
    pub fn new(role: &Value, nodes: &[Node]) -> Self {
        let routes = rights::routes(role);
        let named = routes.iter().find_map(Route::pins).cloned().unwrap_or_default();
        let there = Pins::new(nodes);
        let owned = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
        Self {
            new: owned(&mut there.without(&named)),
            gone: owned(&mut named.without(&there)),
            is_open: routes.contains(&Route::ApiServer),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FenceSeen {
    /// As `join` makes it for these jobs. Whether it is enforced, only a request that it refuses would tell.
    Present,
    /// There, and something else than `join` makes.
    Changed,
    Absent,
}

/// The bound Secrets of one destination in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFacts {
    /// Whether the one of the token in use is there. Without it the token is refused.
    pub in_use_exists: bool,
    /// Names of those that are this destination's and that no record of it knows.
    pub leftovers: Vec<String>,
}

impl SecretFacts {
    /// `existing` are those of the account, of whatever destination. `known` are those in the records of this one, of
    /// all its clusters: while a cluster is renamed it is there twice.
    pub fn new(
        existing: &[BoundSecret],
        in_use: &SecretRecord,
        identity: Option<&Identity>,
        known: &[&SecretRecord],
    ) -> Self {
        let is = |secret: &BoundSecret, record: &SecretRecord| secret.name == record.name && secret.uid == record.uid;
        Self {
            in_use_exists: existing.iter().any(|secret| is(secret, in_use)),
            leftovers: existing
                .iter()
                .filter(|secret| Some(&secret.destination) == identity)
                .filter(|secret| !known.iter().any(|record| is(secret, record)))
                .map(|secret| secret.name.clone())
                .collect(),
        }
    }
}

/// What Prometheus makes of the jobs.
pub struct PrometheusFacts {
    /// Of its API, without a slash at the end.
    pub url: String,
    pub jobs: Vec<JobFacts>,
    /// In use on all nodes.
    pub cpu_cores: Option<f64>,
    pub memory_bytes: Option<u64>,
}

/// The targets of one job.
pub struct JobFacts {
    pub job: Job,
    /// Whether Prometheus has the job at all.
    pub is_known: bool,
    pub up: usize,
    /// The last error of each target that is down.
    pub down: Vec<String>,
    /// Not scraped yet.
    pub pending: usize,
}

/// What can be wrong, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Trouble {
    RecordUnreadable,
    TokenExpired,
    TokenRevoked,
    JobMissing,
    NoTargets,
    JobDown,
    FenceAbsent,
    TokenNotRenewed,
    FenceChanged,
    NodesOpen,
    NodesNotPinned,
    TargetsDown,
    NotOurs,
    NoJobs,
    NodesGone,
    Leftovers,
}

impl Trouble {
    /// Whether somebody must act.
    pub fn is_broken(self) -> bool {
        self <= Self::TokenNotRenewed
    }

    /// In a table.
    fn shown(self) -> &'static str {
        match self {
            Self::RecordUnreadable => "record unreadable",
            Self::TokenExpired => "token expired",
            Self::TokenRevoked => "token revoked",
            Self::JobMissing => "job missing",
            Self::NoTargets => "no targets",
            Self::JobDown => "job down",
            Self::FenceAbsent => "fence absent",
            Self::TokenNotRenewed => "token not renewed",
            Self::FenceChanged => "fence changed",
            Self::NodesOpen => "nodes open",
            Self::NodesNotPinned => "nodes not pinned",
            Self::NodesGone => "nodes gone",
            Self::TargetsDown => "targets down",
            Self::NotOurs => "not ours",
            Self::NoJobs => "no jobs",
            Self::Leftovers => "leftovers",
        }
    }
}

/// Something that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub reason: Trouble,
    pub message: String,
    /// A sentence with a command or an address.
    pub next: String,
}

/// `status -o json`. Fields are there whatever is known; what is not is null.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    pub api_version: &'static str,
    pub kind: &'static str,
    /// When it was made, by the clock that says how long a token has left.
    #[serde(with = "text")]
    pub time: Timestamp,
    pub destinations: Vec<DestinationStatus>,
    pub clusters: Vec<ClusterStatus>,
}

/// The Prometheus of a destination.
#[derive(Clone, Debug, Serialize)]
pub struct DestinationStatus {
    /// As it was typed.
    pub destination: String,
    /// `Prometheus 3.16.0`
    pub reader: String,
}

/// What can be asked about a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    Prometheus,
    Cluster,
    Nodes,
    Fence,
    Secrets,
}

impl Source {
    /// In a sentence that goes on with `not seen`.
    fn shown(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::Cluster => "cluster",
            Self::Nodes => "nodes",
            Self::Fence => "fence",
            Self::Secrets => "bound Secrets",
        }
    }
}

/// What nobody could look at, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unseen {
    pub source: Source,
    pub why: String,
}

/// One cluster of one destination.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    pub cluster: String,
    pub destination: String,
    /// `ok`, or the most important thing that is wrong, as the table has it.
    pub status: &'static str,
    /// Whether somebody must act.
    pub needs_attention: bool,
    pub uid: Option<String>,
    pub context: Option<String>,
    pub api_server: Option<String>,
    pub namespace: Option<String>,
    pub service_account: Option<String>,
    #[serde(serialize_with = "in_full")]
    pub jobs: Vec<Job>,
    pub token: Option<TokenStatus>,
    pub fence: Option<FenceStatus>,
    pub nodes: Option<u64>,
    pub targets: Option<TargetsStatus>,
    pub cpu_cores: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub problems: Vec<Problem>,
    pub unseen: Vec<Unseen>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    pub bound_secret: String,
    #[serde(with = "text")]
    pub issued: Timestamp,
    #[serde(with = "text")]
    pub expires: Timestamp,
    pub granted_seconds: i64,
    /// Below zero once it has expired.
    pub left_seconds: i64,
    pub state: TokenState,
}

/// How far a token's life has come, see [`TokenLife`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TokenState {
    Fresh,
    Due,
    /// It should have been renewed long ago.
    Late,
    Expired,
}

impl TokenState {
    fn new(life: TokenLife, now: Timestamp) -> Self {
        if now >= life.expires {
            Self::Expired
        } else if now >= life.warning() {
            Self::Late
        } else if now >= life.due() {
            Self::Due
        } else {
            Self::Fresh
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FenceStatus {
    pub required: bool,
    /// None if nobody could look.
    pub seen: Option<FenceSeen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TargetsStatus {
    pub up: usize,
    pub down: usize,
    /// Not scraped yet.
    pub pending: usize,
    pub total: usize,
}

/// How many different errors of targets are shown: some have a port or an address in them and are all different.
const ERRORS_SHOWN: usize = 5;

impl ClusterStatus {
    /// The verdict on what was seen.
    pub fn new(facts: &Facts, now: Timestamp) -> Self {
        let mut status = Self::unknown(facts);
        let renew = facts.commands();
        match &facts.recorded {
            Recorded::Unreadable(error) => {
                let reason = if error.reason == Reason::NotOurs { Trouble::NotOurs } else { Trouble::RecordUnreadable };
                status.add(reason, error.message.clone(), error.hints.first().cloned().unwrap_or_default());
            }
            Recorded::NoJobs => status.add(
                Trouble::NoJobs,
                "it has no jobs here, only what a run left that was killed",
                format!("The next join of it clears that away, and so does: {}", renew.command("leave", "")),
            ),
            Recorded::Record(record) => status.judge(facts, record, &renew, now),
        }
        status.problems.sort_by_key(|problem| problem.reason);
        status.needs_attention = status.problems.iter().any(|problem| problem.reason.is_broken());
        status.status = match status.problems.first() {
            Some(worst) => worst.reason.shown(),
            None if status.targets.is_none() => "Prometheus not seen",
            None if facts.in_cluster.is_err() => "cluster not seen",
            None => "ok",
        };
        status
    }

    fn unknown(facts: &Facts) -> Self {
        Self {
            cluster: facts.cluster.to_string(),
            destination: facts.destination.clone(),
            status: "ok",
            needs_attention: false,
            uid: None,
            context: None,
            api_server: None,
            namespace: None,
            service_account: None,
            jobs: Vec::new(),
            token: None,
            fence: None,
            nodes: None,
            targets: None,
            cpu_cores: None,
            memory_bytes: None,
            problems: Vec::new(),
            unseen: Vec::new(),
        }
    }

    fn add(&mut self, reason: Trouble, message: impl Into<String>, next: impl Into<String>) {
        self.problems.push(Problem { reason, message: message.into(), next: next.into() });
    }

    fn miss(&mut self, source: Source, why: &str) {
        self.unseen.push(Unseen { source, why: why.to_owned() });
    }

    fn judge(&mut self, facts: &Facts, record: &Record, renew: &Commands, now: Timestamp) {
        self.uid = Some(record.uid.clone());
        self.context = Some(record.context.clone());
        self.api_server = Some(record.access.api_server.to_string());
        self.namespace = Some(record.namespace.to_string());
        self.service_account = Some(record.service_account.to_string());
        self.jobs = record.jobs.iter().cloned().collect();
        self.fence = Some(FenceStatus { required: record.fenced, seen: None });
        self.judge_token(record, renew, now);
        let mut left = Vec::new();
        if !facts.leftovers.is_empty() {
            left.push(format!("{} that no jobs name", counted(facts.leftovers.len(), "folder")));
        }
        match &facts.in_cluster {
            Ok(seen) => left.extend(self.judge_cluster(seen, record, renew)),
            Err(why) => self.miss(Source::Cluster, why),
        }
        if !left.is_empty() {
            self.add(
                Trouble::Leftovers,
                format!("a run that was killed, or is still at work, left {}", left.join(" and ")),
                format!("The next rotate clears that away: {}", renew.now()),
            );
        }
        match &facts.in_prometheus {
            Ok(seen) => self.judge_targets(seen, record, renew),
            Err(why) => self.miss(Source::Prometheus, why),
        }
    }

    fn judge_token(&mut self, record: &Record, renew: &Commands, now: Timestamp) {
        let life = record.token;
        let seconds = |from: Timestamp, to: Timestamp| to.as_second().saturating_sub(from.as_second());
        let token = TokenStatus {
            bound_secret: record.bound_secret.name.clone(),
            issued: life.issued,
            expires: life.expires,
            granted_seconds: seconds(life.issued, life.expires),
            left_seconds: seconds(now, life.expires),
            state: TokenState::new(life, now),
        };
        let next = format!("Renew it: {}", renew.command("rotate", ""));
        let expires = life.expires.strftime("%Y-%m-%d %H:%M UTC");
        match token.state {
            TokenState::Fresh | TokenState::Due => {}
            TokenState::Late => self.add(
                Trouble::TokenNotRenewed,
                format!(
                    "more than 75 % of the token's life have passed and nobody renewed it; it expires on {expires}"
                ),
                next,
            ),
            TokenState::Expired => self.add(Trouble::TokenExpired, format!("the token expired on {expires}"), next),
        }
        self.token = Some(token);
    }

    /// Returns what is left over in the cluster, for people.
    fn judge_cluster(&mut self, seen: &ClusterFacts, record: &Record, renew: &Commands) -> Option<String> {
        let nodes = seen.nodes.as_ref().inspect_err(|why| self.miss(Source::Nodes, why)).ok();
        let fence = seen.fence.as_ref().inspect_err(|why| self.miss(Source::Fence, why)).ok();
        let secrets = seen.secrets.as_ref().inspect_err(|why| self.miss(Source::Secrets, why)).ok();
        self.nodes = nodes.copied().flatten();
        self.fence = Some(FenceStatus { required: record.fenced, seen: fence.copied() });
        let fence_name = format!(
            "validatingadmissionpolicy.admissionregistration.k8s.io/{}",
            record.account().cluster_scoped_name()
        );
        let put_back = || format!("Put it back: {}", renew.join(record));
        match fence {
            Some(FenceSeen::Absent) if record.fenced => self.add(
                Trouble::FenceAbsent,
                format!(
                    "{fence_name} or its binding is gone: whoever steals the token reaches more than the jobs need"
                ),
                put_back(),
            ),
            Some(FenceSeen::Changed) if record.fenced => self.add(
                Trouble::FenceChanged,
                format!("{fence_name} is not what this release's join makes for {}", record.jobs),
                put_back(),
            ),
            _ => {}
        }
        match &seen.pins {
            Ok(None) => {}
            Ok(Some(pins)) => self.judge_pins(pins, renew),
            Err(why) => self.miss(Source::Nodes, why),
        }
        let secrets = secrets?;
        if !secrets.in_use_exists {
            self.add(
                Trouble::TokenRevoked,
                format!("secret/{} is gone, so its token is refused with 401", record.bound_secret.name),
                format!("Issue a new one: {}", renew.now()),
            );
        }
        (!secrets.leftovers.is_empty()).then(|| {
            let names: Vec<String> = secrets.leftovers.iter().map(|name| format!("secret/{name}")).collect();
            format!("{} in the cluster, whose token may be alive", names.join(", "))
        })
    }

    fn judge_pins(&mut self, PinFacts { new, gone, is_open }: &PinFacts, renew: &Commands) {
        let are = |count: usize, one: &str, several: &str| {
            if count == 1 { format!("1 {one}") } else { format!("{count} {several}") }
        };
        let some = |names: &[String]| some_of(names.iter().map(String::as_str));
        if *is_open {
            self.add(
                Trouble::NodesOpen,
                "the right to all nodes by their bare names is still there: straight at a kubelet the token is worth something",
                format!("The next rotate takes it away: {}", renew.now()),
            );
        }
        if !new.is_empty() {
            self.add(
                Trouble::NodesNotPinned,
                format!(
                    "{}: {}; nothing of them is scraped",
                    are(new.len(), "node is not pinned", "nodes are not pinned"),
                    some(new)
                ),
                format!("An administrator takes them in: {}", renew.now()),
            );
        }
        if !gone.is_empty() {
            self.add(
                Trouble::NodesGone,
                format!("{}: {}", are(gone.len(), "pinned node has gone", "pinned nodes have gone"), some(gone)),
                format!("The next rotate by an administrator forgets them: {}", renew.now()),
            );
        }
    }

    fn judge_targets(&mut self, seen: &PrometheusFacts, record: &Record, renew: &Commands) {
        self.cpu_cores = seen.cpu_cores;
        self.memory_bytes = seen.memory_bytes;
        let url = &seen.url;
        let mut targets = TargetsStatus { up: 0, down: 0, pending: 0, total: 0 };
        // How many targets of each error, apart for jobs of which nothing is up.
        let mut errors: BTreeMap<(Trouble, &str), usize> = BTreeMap::new();
        for JobFacts { job, is_known, up, down, pending } in &seen.jobs {
            targets.up += up;
            targets.down += down.len();
            targets.pending += pending;
            let pool = job.scrape_job(&record.cluster);
            if !is_known {
                self.add(
                    Trouble::JobMissing,
                    format!("Prometheus at {url} does not have the job {pool}"),
                    format!("Have it read its configuration: {}", renew.now()),
                );
            } else if up + down.len() + pending == 0 {
                self.add(
                    Trouble::NoTargets,
                    format!("Prometheus at {url} has found no targets for the job {pool}: {}", nothing_found(job)),
                    format!("If the token is refused: {}", renew.now()),
                );
            }
            let reason = if up + pending == 0 { Trouble::JobDown } else { Trouble::TargetsDown };
            for error in down {
                *errors.entry((reason, cause(error))).or_default() += 1;
            }
        }
        targets.total = targets.up + targets.down + targets.pending;
        self.targets = Some(targets);
        let mut errors: Vec<((Trouble, &str), usize)> = errors.into_iter().collect();
        errors.sort_by_key(|((reason, _), count)| (*reason, usize::MAX - count));
        let others: usize = errors.iter().skip(ERRORS_SHOWN).map(|(_, count)| count).sum();
        let others_reason = errors.get(ERRORS_SHOWN).map(|((reason, _), _)| *reason);
        for ((reason, error), count) in errors.into_iter().take(ERRORS_SHOWN) {
            let next = if error.contains("status 401") {
                format!("The token is refused; issue a new one: {}", renew.now())
            } else if error.contains("status 403") {
                format!("Grant again what is missing: {}", renew.join(record))
            } else {
                format!("See {url}/targets")
            };
            self.add(reason, format!("{} down: {error}", are(count)), next);
        }
        if let Some(reason) = others_reason {
            self.add(reason, format!("{} down for other reasons", are(others)), format!("See {url}/targets"));
        }
    }
}

/// Why a job may have no targets.
fn nothing_found(job: &Job) -> String {
    match job.discovery() {
        Discovery::Nodes => "its log says why it cannot list the nodes".to_owned(),
        Discovery::Pods(namespace) => {
            format!("no running pod in namespace {namespace} is one of its, or its log says why it cannot list them")
        }
        Discovery::Static => "it has read something else than these jobs".to_owned(),
    }
}

/// Go's HTTP client begins with the address, `Get "https://…": `, which every target has of its own.
fn cause(error: &str) -> &str {
    let cause = error.strip_prefix("Get \"").and_then(|rest| rest.split_once("\": "));
    match cause {
        Some((_, cause)) => cause,
        None if error.is_empty() => "no reason given",
        None => error,
    }
}

/// Each as in `--jobs`.
fn in_full<S: Serializer>(jobs: &[Job], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(jobs.iter().map(Job::to_string))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn are(count: usize) -> String {
    if count == 1 { "1 target is".to_owned() } else { format!("{count} targets are") }
}

/// Commands about one cluster of one destination, ready to paste.
pub(crate) struct Commands<'a> {
    cluster: &'a ClusterName,
    destination: &'a str,
}

impl Commands<'_> {
    fn command(&self, verb: &str, flags: &str) -> String {
        format!("kubectl prom-federate {verb} {}{flags} -p {}", self.cluster, shell::word(self.destination))
    }

    /// A rotation whether it is due or not.
    pub(crate) fn now(&self) -> String {
        self.command("rotate", " --now")
    }

    /// The join that was recorded. A CA that was given is not in it: nobody remembers its file.
    pub(crate) fn join(&self, record: &Record) -> String {
        let context = shell::word(&record.context);
        let mut join = format!("kubectl prom-federate join --context {context} --cluster-name {}", record.cluster);
        join += &record.account().flags();
        if record.jobs.iter().ne(&Job::DEFAULT) {
            join += &format!(" --jobs {}", record.jobs);
        }
        if record.jobs.have_federate() && record.federate_match != Selector::defaults() {
            for selector in &record.federate_match {
                join += &format!(" --federate-match {}", shell::word(selector.as_str()));
            }
        }
        if !record.fenced {
            join += " --fence=off";
        }
        if record.scrape_interval != Seconds(60) {
            join += &format!(" --scrape-interval {}", record.scrape_interval);
        }
        if record.scrape_timeout != record.scrape_interval.min(Seconds(30)) {
            join += &format!(" --scrape-timeout {}", record.scrape_timeout);
        }
        if record.keep_all_metrics {
            join += " --keep-all-metrics";
        }
        if record.self_renew {
            join += " --self-renew";
        }
        if record.token.never_expires() {
            join += " --long-lived-token";
        }
        if record.duration != token::DEFAULT {
            join += &format!(" --duration {}", record.duration);
        }
        if record.access.address_given {
            join += &format!(" --api-server {}", shell::word(&record.access.api_server.to_string()));
            if let Some(name) = &record.access.tls_server_name {
                join += &format!(" --api-server-tls-name {}", shell::word(name));
            }
        }
        if let Some(proxy) = &record.access.proxy {
            join += &format!(" --api-server-proxy {}", shell::word(&proxy.to_string()));
        }
        join + &format!(" -p {}", shell::word(self.destination))
    }
}

impl StatusReport {
    /// Clusters by name, each with its destinations in the order in which they were named.
    pub fn new(time: Timestamp, destinations: Vec<DestinationStatus>, mut clusters: Vec<ClusterStatus>) -> Self {
        clusters.sort_by(|one, other| one.cluster.cmp(&other.cluster));
        Self { api_version: API_VERSION, kind: "StatusReport", time, destinations, clusters }
    }

    /// What is wrong, and what nobody could look at, one line each.
    pub fn lines(&self) -> Vec<Line> {
        let several = self.destinations.len() > 1;
        let mut lines = Vec::new();
        for status in &self.clusters {
            let at = if several { format!(" at {}", status.destination) } else { String::new() };
            for Problem { message, next, .. } in &status.problems {
                lines.push(Line::Warned(format!("{}{at}: {message}. {next}", status.cluster)));
            }
        }
        // Without a kubeconfig or a Prometheus all of them say the same.
        let mut unseen: BTreeMap<&Unseen, BTreeSet<&str>> = BTreeMap::new();
        for status in &self.clusters {
            for one in &status.unseen {
                unseen.entry(one).or_default().insert(&status.cluster);
            }
        }
        for (Unseen { source, why }, clusters) in unseen {
            let clusters: Vec<&str> = clusters.into_iter().collect();
            lines.push(Line::Said(format!("{}: {} not seen: {why}", clusters.join(", "), source.shown())));
        }
        lines
    }

    /// # Errors
    /// [`Reason::StatusBroken`] if somebody must act.
    pub fn verdict(&self) -> Result<()> {
        let names = |all: &mut dyn Iterator<Item = &ClusterStatus>| {
            all.map(|status| status.cluster.clone()).collect::<BTreeSet<String>>().len()
        };
        let mut broken = self.clusters.iter().filter(|status| status.needs_attention);
        let Some(first) = broken.clone().next() else { return Ok(()) };
        let (count, of) = (names(&mut broken), names(&mut self.clusters.iter()));
        let clusters = if of == 1 { "cluster" } else { "clusters" };
        let needs = if count == 1 { "needs" } else { "need" };
        let next = first.problems.first().map(|worst| format!("{}: {}", first.cluster, worst.next));
        Err(Error::new(Reason::StatusBroken, format!("{count} of {of} {clusters} {needs} attention"))
            .hint(next.unwrap_or_default()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{
        destination::Format,
        job::Jobs,
        record::{AccessRecord, Kind, VERSION},
    };
    use proptest::prelude::*;
    use serde_json::json;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    /// Of 24 hours, from 9 o'clock.
    pub(crate) fn record(cluster: &str) -> Record {
        Record {
            kind: Kind::ClusterRecord,
            version: VERSION,
            written_by: "0.2.0".into(),
            cluster: cluster.parse().unwrap(),
            uid: "7d0f".into(),
            context: format!("admin@{cluster}"),
            kubernetes: "v1.37.2".into(),
            access: AccessRecord {
                api_server: "https://10.0.0.5:6443".parse().unwrap(),
                tls_server_name: None,
                proxy: None,
                ca_file: true,
                address_given: false,
                ca_given: false,
                kubelet_ca_file: false,
            },
            namespace: "prom-federate".parse().unwrap(),
            service_account: "prometheus".parse().unwrap(),
            jobs: "default".parse().unwrap(),
            route: Route::default(),
            federate_match: Vec::new(),
            fenced: true,
            self_renew: false,
            keep_all_metrics: false,
            scrape_interval: Seconds(60),
            scrape_timeout: Seconds(30),
            duration: token::DEFAULT,
            format: Format::Prometheus,
            bound_secret: SecretRecord { name: "prometheus-x7k2".into(), uid: "u-1".into() },
            token: TokenLife { issued: at("2026-11-24T09:00:00Z"), expires: at("2026-11-25T09:00:00Z") },
            replaces: Vec::new(),
        }
    }

    pub(crate) fn job(job: Job, up: usize, down: &[&str]) -> JobFacts {
        JobFacts { job, is_known: true, up, down: down.iter().map(ToString::to_string).collect(), pending: 0 }
    }

    /// Everything was seen and is well.
    pub(crate) fn facts(cluster: &str) -> Facts {
        Facts {
            cluster: cluster.parse().unwrap(),
            destination: "/etc/prometheus".into(),
            recorded: Recorded::Record(Box::new(record(cluster))),
            leftovers: Vec::new(),
            in_cluster: Ok(ClusterFacts {
                nodes: Ok(Some(2)),
                fence: Ok(FenceSeen::Present),
                pins: Ok(None),
                secrets: Ok(SecretFacts { in_use_exists: true, leftovers: Vec::new() }),
            }),
            in_prometheus: Ok(PrometheusFacts {
                url: "http://localhost:9090".into(),
                jobs: vec![job(Job::Cadvisor, 2, &[]), job(Job::Kubelet, 2, &[])],
                cpu_cores: Some(1.2504),
                memory_bytes: Some(3_435_973_837),
            }),
        }
    }

    fn seen(facts: &mut Facts) -> &mut ClusterFacts {
        facts.in_cluster.as_mut().unwrap()
    }

    fn jobs(facts: &mut Facts, jobs: Vec<JobFacts>) {
        facts.in_prometheus.as_mut().unwrap().jobs = jobs;
    }

    fn change(facts: &mut Facts, change: impl FnOnce(&mut Record)) {
        if let Recorded::Record(record) = &mut facts.recorded {
            change(record);
        }
    }

    /// `STATUS: reasons`, with `!` where somebody must act, at 12 o'clock: nothing is due.
    fn judged(damage: impl FnOnce(&mut Facts)) -> String {
        judged_at("2026-11-24T12:00:00Z", damage)
    }

    fn judged_at(now: &str, damage: impl FnOnce(&mut Facts)) -> String {
        let mut facts = facts("east");
        damage(&mut facts);
        let status = ClusterStatus::new(&facts, at(now));
        let reasons: Vec<String> = status.problems.iter().map(|problem| format!("{:?}", problem.reason)).collect();
        let broken = if status.needs_attention { "!" } else { "" };
        format!("{}{broken}: {}", status.status, reasons.join(" ")).trim_end().to_owned()
    }

    #[test]
    fn the_life_of_a_token_decides() {
        for (now, expected) in [
            ("2026-11-24T09:00:00Z", "ok:"),
            ("2026-11-24T21:00:00Z", "ok:"),
            ("2026-11-25T02:59:59Z", "ok:"),
            ("2026-11-25T03:00:00Z", "token not renewed!: TokenNotRenewed"),
            ("2026-11-25T08:59:59Z", "token not renewed!: TokenNotRenewed"),
            ("2026-11-25T09:00:00Z", "token expired!: TokenExpired"),
            ("2030-01-01T00:00:00Z", "token expired!: TokenExpired"),
        ] {
            assert_eq!(judged_at(now, |_| {}), expected, "{now}");
        }
    }

    #[test]
    fn what_is_seen_in_the_cluster_decides() {
        assert_eq!(judged(|facts| seen(facts).fence = Ok(FenceSeen::Absent)), "fence absent!: FenceAbsent");
        assert_eq!(judged(|facts| seen(facts).fence = Ok(FenceSeen::Changed)), "fence changed: FenceChanged");
        assert_eq!(judged(|facts| seen(facts).fence = Err("forbidden".into())), "ok:");
        for fence in [FenceSeen::Absent, FenceSeen::Changed, FenceSeen::Present] {
            let unfenced = judged(|facts| {
                change(facts, |record| record.fenced = false);
                seen(facts).fence = Ok(fence);
            });
            assert_eq!(unfenced, "ok:", "{fence:?}");
        }
        let secrets = |in_use_exists, leftovers: &[&str]| {
            let leftovers = leftovers.iter().map(ToString::to_string).collect();
            judged(|facts| seen(facts).secrets = Ok(SecretFacts { in_use_exists, leftovers }))
        };
        assert_eq!(secrets(false, &[]), "token revoked!: TokenRevoked");
        assert_eq!(secrets(true, &["prometheus-b9d1"]), "leftovers: Leftovers");
        assert_eq!(secrets(false, &["prometheus-b9d1"]), "token revoked!: TokenRevoked Leftovers");
    }

    #[test]
    fn what_prometheus_says_decides() {
        let unauthorized = "server returned HTTP status 401 Unauthorized";
        let targets = |cadvisor: JobFacts, kubelet: JobFacts| judged(|facts| jobs(facts, vec![cadvisor, kubelet]));
        let up = || job(Job::Kubelet, 2, &[]);
        assert_eq!(targets(job(Job::Cadvisor, 1, &["timeout"]), up()), "targets down: TargetsDown");
        assert_eq!(targets(job(Job::Cadvisor, 0, &["timeout", "timeout"]), up()), "job down!: JobDown");
        assert_eq!(targets(job(Job::Cadvisor, 0, &[unauthorized, "timeout"]), up()), "job down!: JobDown JobDown");
        assert_eq!(
            targets(job(Job::Cadvisor, 0, &["timeout"]), job(Job::Kubelet, 1, &["timeout"])),
            "job down!: JobDown TargetsDown"
        );
        assert_eq!(targets(job(Job::Cadvisor, 0, &[]), up()), "no targets!: NoTargets");
        let missing = JobFacts { is_known: false, ..job(Job::Cadvisor, 0, &[]) };
        assert_eq!(targets(missing, up()), "job missing!: JobMissing");
        // Right after a join.
        assert_eq!(targets(JobFacts { pending: 2, ..job(Job::Cadvisor, 0, &[]) }, up()), "ok:");
        assert_eq!(
            targets(JobFacts { pending: 1, ..job(Job::Cadvisor, 0, &["timeout"]) }, up()),
            "targets down: TargetsDown"
        );
    }

    #[test]
    fn a_job_without_targets_is_explained_by_how_it_finds_them() {
        for (word, why) in [
            ("probes", "its log says why it cannot list the nodes"),
            ("pods=shop/m", "no running pod in namespace shop is one of its, or its log says why it cannot list them"),
            (
                "node-exporter=ops",
                "no running pod in namespace ops is one of its, or its log says why it cannot list them",
            ),
            ("federate=ops/k8s:web", "it has read something else than these jobs"),
        ] {
            let mut east = facts("east");
            let wanted: Jobs = word.parse().unwrap();
            change(&mut east, |record| record.jobs = wanted.clone());
            let found = wanted.iter().map(|one| job(one.clone(), 0, &[])).collect();
            jobs(&mut east, found);
            let status = ClusterStatus::new(&east, at("2026-11-24T12:00:00Z"));
            let [problem] = &status.problems[..] else { panic!("{:?}", status.problems) };
            let pool = wanted.to_string().replace('=', "/");
            let said = format!(
                "Prometheus at http://localhost:9090 has found no targets for the job prom-federate/east/{pool}: {why}"
            );
            assert_eq!((problem.reason, &problem.message), (Trouble::NoTargets, &said));
            assert_eq!(serde_json::to_value(&status).unwrap()["jobs"], serde_json::json!([wanted.to_string()]));
        }
    }

    #[test]
    fn what_is_put_back_is_the_join_that_was() {
        let join = |change: &dyn Fn(&mut Record)| {
            let mut record = record("east");
            change(&mut record);
            let cluster = record.cluster.clone();
            Commands { cluster: &cluster, destination: "/etc/prometheus" }.join(&record)
        };
        let federated = |selectors: Vec<Selector>| {
            join(&|record| {
                record.jobs = "pods=shop/m,federate=ops/k8s:web".parse().unwrap();
                record.federate_match.clone_from(&selectors);
            })
        };
        let commands = [
            join(&|_| {}),
            federated(Selector::defaults()),
            federated(vec!["{job=\"it's\"}".parse().unwrap(), "up".parse().unwrap()]),
            join(&|record| {
                record.self_renew = true;
                record.access.proxy = Some("http://10.0.0.9:3128".parse().unwrap());
            }),
            join(&|record| record.token.expires = token::NEVER),
        ];
        insta::assert_snapshot!(commands.join("\n"), @r#"
        kubectl prom-federate join --context admin@east --cluster-name east -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --jobs pods=shop/m,federate=ops/k8s:web -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --jobs pods=shop/m,federate=ops/k8s:web --federate-match '{job="it'\''s"}' --federate-match up -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --self-renew --api-server-proxy http://10.0.0.9:3128 -p /etc/prometheus
        kubectl prom-federate join --context admin@east --cluster-name east --long-lived-token -p /etc/prometheus
        "#);
    }

    #[test]
    fn what_nobody_could_look_at_is_not_broken_and_not_ok() {
        assert_eq!(judged(|facts| facts.in_prometheus = Err("stopped".into())), "Prometheus not seen:");
        assert_eq!(judged(|facts| facts.in_cluster = Err("no context".into())), "cluster not seen:");
        assert_eq!(
            judged_at("2026-11-25T09:00:00Z", |facts| {
                facts.in_cluster = Err("no context".into());
                facts.in_prometheus = Err("stopped".into());
            }),
            "token expired!: TokenExpired"
        );
    }

    #[test]
    fn what_is_in_the_folder_decides() {
        let leftover = || vec!["20261125t101500z-x7k2".parse().unwrap()];
        assert_eq!(judged(|facts| facts.leftovers = leftover()), "leftovers: Leftovers");
        let no_jobs = |facts: &mut Facts| {
            facts.recorded = Recorded::NoJobs;
            facts.leftovers = leftover();
        };
        assert_eq!(judged(no_jobs), "no jobs: NoJobs");
        for (reason, expected) in [
            (Reason::DestinationUnusable, "record unreadable!: RecordUnreadable"),
            (Reason::RecordTooNew, "record unreadable!: RecordUnreadable"),
            (Reason::NotOurs, "not ours: NotOurs"),
        ] {
            let error = Error::new(reason, "cluster.json").hint("Next");
            assert_eq!(judged(|facts| facts.recorded = Recorded::Unreadable(error)), expected, "{reason}");
        }
    }

    #[test]
    fn only_secrets_of_this_destination_that_no_record_knows_are_left_over() {
        let ours = Identity::directory("prom-0", "/etc/prometheus", "x7k2");
        let other = Identity::directory("prom-0", "/etc/prometheus", "b9d1");
        let secret = |name: &str, destination: &Identity| BoundSecret {
            name: name.into(),
            uid: format!("uid-{name}"),
            destination: destination.clone(),
            expires: None,
        };
        let recorded = |name: &str| SecretRecord { name: name.into(), uid: format!("uid-{name}") };
        let existing = [
            secret("in-use", &ours),
            secret("old", &ours),
            secret("left", &ours),
            secret("reborn", &ours),
            secret("other", &other),
            secret("printed", &Identity::printed()),
            secret("by-hand", &Identity::read("")),
        ];
        // Deleted and made anew by somebody: not the one that the record knows.
        let reborn = SecretRecord { uid: "before".into(), ..recorded("reborn") };
        let (in_use, old) = (recorded("in-use"), recorded("old"));
        let known = [&in_use, &old, &reborn];
        let facts = SecretFacts::new(&existing, &in_use, Some(&ours), &known);
        assert_eq!(facts, SecretFacts { in_use_exists: true, leftovers: vec!["left".into(), "reborn".into()] });
        let facts = SecretFacts::new(&existing, &reborn, None, &known);
        assert_eq!(facts, SecretFacts { in_use_exists: false, leftovers: vec![] });
    }

    /// All that can be wrong, with what to do.
    #[test]
    fn every_problem_is_one_line_with_the_next_command() {
        let mut east = facts("east");
        east.destination = "/srv/my prometheus".into();
        change(&mut east, |record| {
            record.jobs = "default".parse().unwrap();
            record.scrape_interval = Seconds(20);
            record.scrape_timeout = Seconds(20);
            record.namespace = "monitoring".parse().unwrap();
            record.access.address_given = true;
        });
        *seen(&mut east) = ClusterFacts {
            nodes: Err("forbidden".into()),
            fence: Ok(FenceSeen::Absent),
            pins: Ok(None),
            secrets: Ok(SecretFacts { in_use_exists: false, leftovers: vec!["prometheus-b9d1".into()] }),
        };
        east.leftovers = vec!["20261125t101500z-x7k2".parse().unwrap()];
        let timeout = |node: &str| format!("Get \"https://10.0.0.5:6443/api/v1/nodes/{node}/proxy/metrics\": timeout");
        let (a, b) = (timeout("a"), timeout("b"));
        let reset: Vec<String> = (0..7).map(|port| format!("read tcp :{port}: reset")).collect();
        let mut down = vec![
            "server returned HTTP status 401 Unauthorized",
            "server returned HTTP status 403 Forbidden",
            &a,
            &b,
            "",
        ];
        down.extend(reset.iter().map(String::as_str));
        let missing = JobFacts { is_known: false, ..job(Job::Kubelet, 0, &[]) };
        jobs(&mut east, vec![job(Job::Cadvisor, 1, &down), missing, job(Job::Kubelet, 0, &[])]);
        let now = at("2026-11-25T04:00:00Z");
        let mut west = facts("west");
        west.in_cluster = Err("no kubeconfig".into());
        west.in_prometheus = Err("it does not answer".into());
        let mut north = facts("north");
        north.recorded = Recorded::NoJobs;
        let mut south = facts("south");
        change(&mut south, |record| record.token.expires = now);
        south.in_prometheus = Err("it does not answer".into());
        seen(&mut south).fence = Ok(FenceSeen::Changed);
        let clusters = [&east, &west, &north, &south].map(|facts| ClusterStatus::new(facts, now)).to_vec();
        let destination = DestinationStatus { destination: "/etc/prometheus".into(), reader: "Prometheus".into() };
        let report = StatusReport::new(now, vec![destination], clusters);
        let lines: Vec<String> = report
            .lines()
            .into_iter()
            .map(|line| match line {
                Line::Said(text) | Line::Done(text) => text,
                Line::Warned(text) => format!("Warning: {text}"),
            })
            .collect();
        let error = report.verdict().unwrap_err();
        insta::assert_snapshot!(format!("{}\n\n{error}\n{}", lines.join("\n"), error.hints.join("\n")));
    }

    #[test]
    fn nodes_that_came_and_went_are_named() {
        let node = |name: &str| Node { name: name.into(), port: 10_250, address: None };
        let naming = |names: Value| json!({ "verbs": ["get"], "resources": ["nodes/proxy"], "resourceNames": names });
        let role = json!({ "rules": [naming(json!(["a:10250", "b:10250"])), naming(Value::Null)] });
        let pins = PinFacts::new(&role, &[node("b"), node("c"), node("d"), node("e")]);
        assert_eq!(pins.new, ["c:10250", "d:10250", "e:10250"]);
        assert_eq!((pins.gone.as_slice(), pins.is_open), (["a:10250".to_owned()].as_slice(), true));
        let nothing = PinFacts::new(&Value::Null, &[node("b")]);
        assert_eq!((nothing.new.len(), nothing.gone.len(), nothing.is_open), (1, 0, false));
        let role = json!({ "rules": [naming(json!(["b:10250"]))] });
        assert_eq!(PinFacts::new(&role, &[node("b")]), PinFacts::default());

        let mut east = facts("east");
        seen(&mut east).pins = Ok(Some(pins));
        let status = ClusterStatus::new(&east, at("2026-11-24T12:00:00Z"));
        let shown = |problem: &Problem| format!("{:?}: {}\n  {}", problem.reason, problem.message, problem.next);
        insta::assert_snapshot!(status.problems.iter().map(shown).collect::<Vec<_>>().join("\n"), @"
        NodesOpen: the right to all nodes by their bare names is still there: straight at a kubelet the token is worth something
          The next rotate takes it away: kubectl prom-federate rotate east --now -p /etc/prometheus
        NodesNotPinned: 3 nodes are not pinned: c:10250, d:10250 and 1 more; nothing of them is scraped
          An administrator takes them in: kubectl prom-federate rotate east --now -p /etc/prometheus
        NodesGone: 1 pinned node has gone: a:10250
          The next rotate by an administrator forgets them: kubectl prom-federate rotate east --now -p /etc/prometheus
        ");
        assert!(!status.needs_attention, "everything that is known is scraped");
        seen(&mut east).pins = Ok(Some(nothing));
        assert_eq!(ClusterStatus::new(&east, at("2026-11-24T12:00:00Z")).status, "nodes not pinned");
    }

    #[test]
    fn the_verdict_counts_clusters_and_not_rows() {
        let verdict = |rows: &[(&str, bool)]| {
            let clusters = rows.iter().map(|(cluster, needs_attention)| {
                let status = ClusterStatus::new(&facts(cluster), at("2026-11-24T12:00:00Z"));
                ClusterStatus { needs_attention: *needs_attention, ..status }
            });
            let report = StatusReport::new(Timestamp::UNIX_EPOCH, Vec::new(), clusters.collect());
            report.verdict().err().map(|error| error.to_string())
        };
        assert_eq!(verdict(&[]), None);
        assert_eq!(verdict(&[("a", false)]), None);
        assert_eq!(verdict(&[("a", true)]).as_deref(), Some("1 of 1 cluster needs attention"));
        assert_eq!(verdict(&[("a", true), ("a", true)]).as_deref(), Some("1 of 1 cluster needs attention"));
        assert_eq!(
            verdict(&[("a", true), ("a", false), ("b", true), ("c", false)]).as_deref(),
            Some("2 of 3 clusters need attention")
        );
    }

    proptest! {
        #[test]
        fn no_error_of_a_target_and_no_clock_panics(
            errors in proptest::collection::vec("(Get \")?.{0,20}(\": )?.{0,9}", 0..12),
            seconds in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
            issued in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
        ) {
            let mut facts = facts("east");
            change(&mut facts, |record| record.token.issued = Timestamp::from_second(issued).unwrap());
            let errors: Vec<&str> = errors.iter().map(String::as_str).collect();
            jobs(&mut facts, vec![job(Job::Cadvisor, 0, &errors)]);
            let status = ClusterStatus::new(&facts, Timestamp::from_second(seconds).unwrap());
            prop_assert_eq!(status.targets.unwrap().down, errors.len());
            prop_assert!(status.problems.iter().all(|problem| !problem.message.is_empty() && !problem.next.is_empty()));
        }
    }
}
