//! The verdict of `status`, from facts.

use super::{
    ClusterFacts, ClusterStatus, Commands, DownTarget, Facts, FenceSeen, FenceStatus, JobFacts, PinFacts, Problem,
    ProblemReason, PrometheusFacts, Recorded, Source, TargetsStatus, TokenState, TokenStatus, Unseen, Usage,
};
use crate::{
    error::Reason,
    model::{
        job::{Discovery, Job, route::some_of, scrape_error::ScrapeError},
        store::{record::Record, terms::Unconfirmed},
        text::figures::{counted, minute},
        token::clock,
    },
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The number of different target errors that are shown. Some errors contain a port or an address, so each is different.
const ERRORS_SHOWN: usize = 5;

impl ClusterStatus {
    /// The verdict on these facts. `now` is by the clock of this machine.
    pub fn new(facts: &Facts, now: Timestamp) -> Self {
        let mut status = Self::unknown(facts);
        let renew = facts.commands();
        match &facts.recorded {
            Recorded::Unreadable(error) => {
                let reason = if error.reason == Reason::NotOurs {
                    ProblemReason::NotOurs
                } else {
                    ProblemReason::RecordUnreadable
                };
                status.add(reason, error.to_string(), error.hints.first().cloned().unwrap_or_default());
            }
            Recorded::NoJobs => status.add(
                ProblemReason::NoJobs,
                "it has no jobs here, only leftovers of a killed run",
                format!("The next join of this cluster removes them, and so does: {}", renew.leave()),
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
            guard: None,
            nodes: None,
            targets: None,
            cpu_cores: None,
            cpu_capacity_cores: None,
            memory_bytes: None,
            memory_capacity_bytes: None,
            problems: Vec::new(),
            unseen: Vec::new(),
        }
    }

    fn add(&mut self, reason: ProblemReason, message: impl Into<String>, next: impl Into<String>) {
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
        self.judge_token(facts, record, renew, now);
        let mut left = Vec::new();
        if !facts.leftovers.is_empty() {
            left.push(format!("{} that no jobs name", counted(facts.leftovers.len(), "folder")));
        }
        for what in &facts.refused {
            self.add(ProblemReason::JobRefused, what.clone(), format!("Write it again: {}", renew.now()));
        }
        match &facts.in_cluster {
            Ok(seen) => left.extend(self.judge_cluster(seen, record, renew)),
            Err(why) => self.miss(Source::Cluster, why),
        }
        if !left.is_empty() {
            self.add(
                ProblemReason::Leftovers,
                format!("a killed or still running run left {}", left.join(" and ")),
                format!("The next rotate removes them: {}", renew.now()),
            );
        }
        match &facts.in_prometheus {
            Ok(seen) => self.judge_targets(seen, record, renew),
            Err(why) => self.miss(Source::Prometheus, why),
        }
    }

    fn judge_token(&mut self, facts: &Facts, record: &Record, renew: &Commands, now: Timestamp) {
        let life = record.token;
        if let Some(told) = facts.clock.and_then(|lead| lead.told("the API server")) {
            self.add(ProblemReason::ClocksDiffer, told, clock::CORRECT);
        }
        let now = facts.clock.unwrap_or_default().at(now);
        let up = facts.in_prometheus.as_ref().map_or(0, |seen| seen.jobs.iter().map(|job| job.up).sum());
        let is_in_use = facts.clock.is_none() && up > 0;
        let seconds = |from: Timestamp, to: Timestamp| to.as_second().saturating_sub(from.as_second());
        let mut token = TokenStatus {
            bound_secret: record.bound_secret.name.clone(),
            issued: life.issued,
            expires: life.expires,
            granted_seconds: seconds(life.issued, life.expires),
            left_seconds: seconds(now, life.expires),
            state: TokenState::new(life, now),
        };
        let by_this_clock = token.state;
        // Without an answer of the API server, the clock of this machine may be the wrong one.
        if is_in_use {
            token.state = token.state.min(TokenState::Late);
        }
        let next = format!("Renew it: {}", renew.rotate());
        let expires = minute(life.expires);
        match by_this_clock {
            TokenState::Fresh | TokenState::Due => {}
            TokenState::Late => self.add(
                ProblemReason::TokenNotRenewed,
                format!(
                    "more than 75 % of the token's lifetime has passed and the token was not renewed; it expires on {expires}"
                ),
                next,
            ),
            TokenState::Expired if is_in_use => self.add(
                ProblemReason::ClocksDiffer,
                format!(
                    "by the clock of this machine the token expired on {expires}, but Prometheus has {} up with it",
                    counted(up, "target")
                ),
                clock::CORRECT,
            ),
            TokenState::Expired => self.add(ProblemReason::TokenExpired, format!("the token expired on {expires}"), next),
        }
        self.token = Some(token);
    }

    /// Returns the leftovers in the cluster, as text.
    fn judge_cluster(&mut self, seen: &ClusterFacts, record: &Record, renew: &Commands) -> Option<String> {
        let nodes = seen.nodes.as_ref().inspect_err(|why| self.miss(Source::Nodes, why)).ok();
        let fence = seen.fence.as_ref().inspect_err(|why| self.miss(Source::Fence, why)).ok();
        let secrets = seen.secrets.as_ref().inspect_err(|why| self.miss(Source::Secrets, why)).ok();
        self.nodes = nodes.copied().flatten();
        let guard = seen.guard.as_ref().inspect_err(|why| self.miss(Source::Guard, why)).ok().copied().flatten();
        self.fence = Some(FenceStatus { required: record.fenced, seen: fence.copied() });
        self.guard = guard;
        let renewal = seen.renewal.as_ref().inspect_err(|why| self.miss(Source::Renewal, why)).ok();
        let policy_name = |name| format!("validatingadmissionpolicy.admissionregistration.k8s.io/{name}");
        let fence_name = policy_name(record.account().cluster_scoped_name());
        let renewal_name = policy_name(record.account().renewal_name());
        let put_back = || renew.join("Restore it", record);
        match fence {
            Some(FenceSeen::Absent) if record.fenced => self.add(
                ProblemReason::FenceAbsent,
                format!("{fence_name} or its binding is gone: a stolen token can reach more than the jobs need"),
                put_back(),
            ),
            Some(FenceSeen::Changed) if record.fenced => self.add(
                ProblemReason::FenceChanged,
                format!("{fence_name} differs from what this release's join makes for {}", record.jobs),
                put_back(),
            ),
            _ => {}
        }
        let guard_name = policy_name(record.account().guard_name());
        match guard {
            Some(FenceSeen::Absent) => self.add(
                ProblemReason::GuardAbsent,
                format!(
                    "{guard_name} or its binding does not exist, which joins of this release make: other users of \
                     namespace {} may be able to become the account",
                    record.namespace
                ),
                renew.join("Create it", record),
            ),
            Some(FenceSeen::Changed) => self.add(
                ProblemReason::GuardChanged,
                format!("{guard_name} differs from what this release's join makes"),
                put_back(),
            ),
            Some(FenceSeen::Present) | None => {}
        }
        match renewal.copied().flatten() {
            Some(FenceSeen::Absent) => self.add(
                ProblemReason::FenceAbsent,
                format!("{renewal_name} or its binding is gone: a stolen token can be renewed without a limit"),
                put_back(),
            ),
            Some(FenceSeen::Changed) => self.add(
                ProblemReason::FenceChanged,
                format!("{renewal_name} differs from what this release's join makes"),
                put_back(),
            ),
            Some(FenceSeen::Present) | None => {}
        }
        match &seen.terms {
            None | Some(Ok(()) | Err(Unconfirmed::NoSecret(_))) => {}
            // The account continues to renew its own token.
            Some(Err(Unconfirmed::NoTerms(_))) if record.self_renew => {}
            Some(Err(why)) => self.add(
                ProblemReason::RecordNotConfirmed,
                format!("rotate will not follow the record: {why}"),
                renew.join("Join it again", record),
            ),
        }
        match &seen.pins {
            Ok(None) => {}
            Ok(Some(pins)) => self.judge_pins(pins, renew),
            Err(why) => self.miss(Source::Nodes, why),
        }
        let secrets = secrets?;
        if !secrets.in_use_exists {
            self.add(
                ProblemReason::TokenRevoked,
                format!("secret/{} is gone, so the API server refuses its token with 401", record.bound_secret.name),
                renew.join("Issue a new token", record),
            );
        }
        (!secrets.leftovers.is_empty()).then(|| {
            let names: Vec<String> = secrets.leftovers.iter().map(|name| format!("secret/{name}")).collect();
            format!("{} in the cluster, whose token may still be valid", names.join(", "))
        })
    }

    fn judge_pins(&mut self, PinFacts { new, gone, is_open }: &PinFacts, renew: &Commands) {
        let are = |count: usize, one: &str, several: &str| {
            if count == 1 { format!("1 {one}") } else { format!("{count} {several}") }
        };
        let some = |names: &[String]| some_of(names.iter().map(String::as_str));
        if *is_open {
            self.add(
                ProblemReason::NodesOpen,
                "the right to all nodes by their bare names still exists: the token works at a kubelet itself",
                format!("The next rotate revokes it: {}", renew.now()),
            );
        }
        if !new.is_empty() {
            self.add(
                ProblemReason::NodesNotPinned,
                format!(
                    "{}: {}; they are not scraped",
                    are(new.len(), "node is not pinned", "nodes are not pinned"),
                    some(new)
                ),
                format!("An administrator can pin them: {}", renew.now()),
            );
        }
        if !gone.is_empty() {
            self.add(
                ProblemReason::NodesGone,
                format!("{}: {}", are(gone.len(), "pinned node has gone", "pinned nodes have gone"), some(gone)),
                format!("The next rotate by an administrator removes them: {}", renew.now()),
            );
        }
    }

    fn judge_targets(&mut self, seen: &PrometheusFacts, record: &Record, renew: &Commands) {
        Usage {
            cpu_cores: self.cpu_cores,
            cpu_capacity_cores: self.cpu_capacity_cores,
            memory_bytes: self.memory_bytes,
            memory_capacity_bytes: self.memory_capacity_bytes,
        } = seen.usage;
        let url = &seen.url;
        let mut targets = TargetsStatus { up: 0, down: 0, pending: 0, total: 0 };
        // The number of targets for each error; jobs without any target up are counted separately.
        let mut errors: BTreeMap<(ProblemReason, &str), Vec<&str>> = BTreeMap::new();
        for JobFacts { job, is_known, up, down, pending } in &seen.jobs {
            targets.up += up;
            targets.down += down.len();
            targets.pending += pending;
            let pool = job.scrape_job(&record.cluster);
            if !is_known && !seen.is_included {
                self.add(
                    ProblemReason::JobMissing,
                    format!(
                        "Prometheus at {url} does not have the job {pool}, because its configuration does not include the file of the jobs any more: another tool may have written it"
                    ),
                    renew.join("Join again, which includes the file", record),
                );
            } else if !is_known {
                self.add(
                    ProblemReason::JobMissing,
                    format!("Prometheus at {url} does not have the job {pool}"),
                    format!("Reload Prometheus: {}", renew.now()),
                );
            } else if up + down.len() + pending == 0 {
                self.add(
                    ProblemReason::NoTargets,
                    format!("Prometheus at {url} has found no targets for the job {pool}: {}", nothing_found(job)),
                    format!("If the token is refused: {}", renew.now()),
                );
            }
            let reason = if up + pending == 0 { ProblemReason::JobDown } else { ProblemReason::TargetsDown };
            for DownTarget { instance, error } in down {
                errors.entry((reason, cause(error))).or_default().push(instance);
            }
        }
        targets.total = targets.up + targets.down + targets.pending;
        self.targets = Some(targets);
        let mut errors: Vec<((ProblemReason, &str), Vec<&str>)> = errors.into_iter().collect();
        errors.sort_by_key(|((reason, _), targets)| (*reason, usize::MAX - targets.len()));
        let others: usize = errors.iter().skip(ERRORS_SHOWN).map(|(_, targets)| targets.len()).sum();
        let others_reason = errors.get(ERRORS_SHOWN).map(|((reason, _), _)| *reason);
        for ((reason, error), targets) in errors.into_iter().take(ERRORS_SHOWN) {
            let next = match ScrapeError::of(error) {
                ScrapeError::TokenRefused => {
                    let is_revoked = self.problems.iter().any(|problem| problem.reason == ProblemReason::TokenRevoked);
                    // The cluster's note of the terms has gone with the Secret, so a rotation has no terms to go by.
                    let does = "The token is refused; issue a new one";
                    if is_revoked { renew.join(does, record) } else { format!("{does}: {}", renew.now()) }
                }
                ScrapeError::AccountForbidden => renew.join("Restore the missing rights", record),
                ScrapeError::Other(next) => next.to_owned(),
                _ => format!("See {url}/targets"),
            };
            let count = targets.len();
            let instances: BTreeSet<&str> = targets.into_iter().collect();
            self.add(reason, format!("{} down: {error} ({})", are(count), some_of(instances)), next);
        }
        if let Some(reason) = others_reason {
            self.add(reason, format!("{} down for other reasons", are(others)), format!("See {url}/targets"));
        }
    }
}

/// Possible reasons for a job without targets.
fn nothing_found(job: &Job) -> String {
    match job.discovery() {
        Discovery::Nodes => "Prometheus' log says why it cannot list the nodes".to_owned(),
        Discovery::Pods(namespace) => {
            format!(
                "no running pod in namespace {namespace} belongs to the job, or Prometheus cannot list the pods (see its log)"
            )
        }
        Discovery::Static => "Prometheus has loaded a different configuration".to_owned(),
    }
}

/// The error without the address, which is different for each target: Go's HTTP client begins with `Get "https://…": `.
fn cause(error: &str) -> &str {
    let cause = error.strip_prefix("Get \"").and_then(|rest| rest.split_once("\": "));
    match cause {
        Some((_, cause)) => cause,
        None if error.is_empty() => "no reason given",
        None => error,
    }
}

fn are(count: usize) -> String {
    if count == 1 { "1 target is".to_owned() } else { format!("{count} targets are") }
}
