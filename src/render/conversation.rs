//! The conversation of `join` as lines: the findings, the planned changes, the proof.

use crate::{
    error::{Error, Reason},
    model::{
        access::{Access, certificate},
        account::{desired::Fence, existing_fence::LeftFence, fence, neighbours::Neighbours, renewal},
        job::{Job, route::Route, target::Target},
        kube::object::{Kind, ObjectRef, Verb},
        plan::{JoinPlan, request::JoinRequest},
        report::{
            Line, ObjectReport, PageReport, Placed, ProofReport, Reader, ScrapedTargets, UnreachableJob, Verification,
            event::Why, nodes_without_pages,
        },
        store::{identity::Identity, record::Record},
        text::{
            figures::{counted, day, minute},
            names::ClusterName,
            shell,
        },
        token::{
            self, Token, TokenLife,
            clock::{self, ClockLead},
        },
    },
};
use jiff::Timestamp;

/// The cluster, and the facts that are proven before anything is written.
pub fn found(request: &JoinRequest, access: &Access, is_reached: bool, version: &str, permissions: usize) -> Vec<Line> {
    let (origin, ca) = (access.origin, vouching_ca(access));
    let by = access.proxy.as_ref().map(|proxy| format!(", through the proxy {proxy}")).unwrap_or_default();
    let selector = request.jobs.node_selector();
    let mut lines = vec![
        Line::Said(format!("{}  {}  Kubernetes {version}", request.cluster, access.url)),
        if is_reached {
            Line::Done(proven_address(access))
        } else {
            Line::Said(format!("    address (from {origin}) and {ca}{by}: Prometheus itself must prove them"))
        },
        Line::Done(format!("you may make every change below ({permissions} permissions)")),
    ];
    lines.extend(selector.map(|selector| Line::Said(format!("    jobs of nodes: only of nodes with {selector}"))));
    lines
}

/// The facts that a TLS handshake has proven.
pub fn proven_address(access: &Access) -> String {
    let by = access.proxy.as_ref().map(|proxy| format!(", through the proxy {proxy}")).unwrap_or_default();
    format!("address (from {}) and {} proven by TLS handshake{by}", access.origin, vouching_ca(access))
}

/// The consequence of an address that only Prometheus can reach.
pub fn unreachable(error: &Error, url: &str) -> String {
    format!("{error}; the token is proven at {url} instead, and the jobs stay only if Prometheus scrapes them")
}

/// A job that a rotation could not prove.
pub fn away(cluster: &ClusterName, UnreachableJob { job, error }: &UnreachableJob) -> String {
    format!("{cluster}: the job {job} has the new token, but could not be proven: {error}")
}

fn vouching_ca(access: &Access) -> String {
    let Some(ca) = &access.ca else {
        return "public CA".to_owned();
    };
    let until = ca.certificates.iter().filter_map(|der| certificate::valid_until(der)).min();
    let until = until.map(|end| format!(", valid until {}", day(end))).unwrap_or_default();
    format!("CA (from {}{until})", ca.origin)
}

/// The error of jobs that scrape kubelets directly, if this host reaches no kubelet.
pub fn no_kubelet() -> Error {
    let what = "no kubelet answers this host within 2s, so their pages and certificates could not be checked";
    Error::new(Reason::ConnectionFailed, what)
}

/// The warning about jobs for kubelets that this host does not reach.
pub fn kubelets_are_to_be_seen() -> String {
    format!("{}; Prometheus itself must prove that it reaches the kubelets", no_kubelet())
}

/// The warning about printed jobs that use another route.
pub fn handover(plan: &JoinPlan) -> Option<String> {
    plan.hands_over().then(|| {
        "previously printed jobs use another route, which the API server refuses from now on: replace them with the new jobs at once"
            .to_owned()
    })
}

/// Why the rights of another route still exist.
pub fn not_settled(context: &str) -> String {
    format!(
        "{context}: the rights of the previous jobs stay until every destination uses the new jobs; the next join or rotate removes them"
    )
}

/// The removal of rights after the new jobs are in use.
pub fn settled(plan: &JoinPlan, at_kubelet: Option<usize>) -> Vec<Line> {
    if !plan.hands_over() {
        return Vec::new();
    }
    let mut lines = vec![Line::Done(
        "removed the rights that only the previous jobs needed; verified that such requests are now refused".to_owned(),
    )];
    lines.extend(at_kubelet.map(refused_by_kubelet));
    lines
}

/// The requests with the same token at a kubelet itself.
fn refused_by_kubelet(refused: usize) -> Line {
    Line::Done(format!("a kubelet itself refuses this token: {refused} requests, including exec by WebSocket"))
}

/// The warning about printed jobs with a loopback address.
pub fn loopback(access: &Access) -> Option<String> {
    access.url.is_loopback().then(|| {
        format!(
            "{} is a loopback address: only a Prometheus on this machine can use it; name another address with --api-server",
            access.url
        )
    })
}

/// The warning about a folder that was copied from another machine.
pub fn copy(original: &Identity) -> String {
    format!(
        "this folder is a copy of {} on another machine; this join gives it a token of its own, and the other token stays as it is",
        original.shown()
    )
}

/// The warnings before the question.
pub fn warnings(request: &JoinRequest, plan: &JoinPlan, left_fence: &LeftFence) -> Vec<String> {
    let mut warnings = Vec::new();
    match (request.fence, left_fence) {
        (Fence::Required, _) => {}
        // Jobs that need no proxy need no fence.
        (Fence::Off, LeftFence::None) if !request.jobs.targets().any(|target| target.is_proxied()) => {}
        (Fence::Off, LeftFence::None) => warnings.push(format!("--fence=off: {}", fence::WITHOUT)),
        (Fence::Off, LeftFence::Unknown(why)) => {
            warnings.push(format!("--fence=off: {}", fence::WITHOUT));
            warnings.push(format!("cannot tell whether this account has a fence, which would stay: {why}"));
        }
        (Fence::Off, LeftFence::Stands(targets)) => warnings.push(format!(
            "--fence=off: this account has a fence, for {}, which stays, because only leave removes a fence; it is not proven again",
            fence::described(targets)
        )),
    }
    let is_pinned = |target: &Target| matches!(target, Target::PinnedNodes { .. });
    if *request.jobs.route() == Route::ApiServer && plan.until_delivered.iter().any(is_pinned) {
        warnings.push(UNPINNED.to_owned());
    }
    if request.self_renew {
        warnings.push(renewal::LIMIT.to_owned());
    }
    if request.long_lived {
        warnings.push(token::LONG_LIVED.to_owned());
    }
    if request.jobs.iter().any(Job::is_of_the_api_server) {
        warnings.push(APISERVER.to_owned());
    }
    for foreign in &plan.foreign {
        warnings.push(format!(
            "{foreign}{} has another owner, stays, and grants rights that no job needs any more",
            within(foreign)
        ));
    }
    for step in plan.steps().filter(|step| step.used_as_is && step.object.reference.kind != Kind::Namespace) {
        warnings.push(format!("{} has another owner and is used unchanged", step.object.reference));
    }
    warnings
}

/// The warnings about others in the namespace of the account.
pub fn neighbours(request: &JoinRequest, neighbours: &Neighbours) -> Vec<String> {
    let findings = neighbours.findings(&request.account, request.fence == Fence::Required);
    findings.into_iter().map(|finding| format!("{}. {}", finding.message, finding.next)).collect()
}

/// Joining without --pin-nodes removes protection.
const UNPINNED: &str = "the nodes of this account were pinned; without --pin-nodes this join removes node pinning: a stolen token can be used \
                        at a kubelet's port again";

/// A limit of scraping several API servers through one address.
const APISERVER: &str = "the job apiserver reads the API server that the address leads to: behind a load balancer the counters of several \
                         API servers are mixed into one series";

/// The namespace of an object, for messages; kubectl's spelling omits it.
fn within(reference: &ObjectRef) -> String {
    let namespace = reference.namespace.as_ref();
    namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default()
}

/// The planned changes, and the question.
pub fn question(request: &JoinRequest, access: &Access, plan: &JoinPlan) -> (Vec<Line>, String) {
    let mut lines: Vec<Line> = plan
        .changes()
        .map(|change| (ObjectReport::planned(change), Why::of(change)))
        .filter(|(report, _)| report.verb != Verb::Unchanged)
        .map(|(ObjectReport { name, verb, .. }, why)| {
            let why = why.filter(|why| *why == Why::PreviousRoute).as_ref().map(because).unwrap_or_default();
            Line::Said(format!("  {name} will be {verb}{why}"))
        })
        .collect();
    lines.push(Line::Said(if request.long_lived {
        format!("  a token of service account {} that never expires will be put into a new Secret", request.account)
    } else {
        format!(
            "  a token of service account {} for {} will be issued, bound to a new Secret",
            request.account, request.duration
        )
    }));
    (lines, format!("Join {} ({})?", request.cluster, access.url))
}

/// The token and the results of the proof.
pub fn proven(request: &JoinRequest, left_fence: &LeftFence, token: &Token, proof: &ProofReport) -> Vec<Line> {
    let mut lines = vec![Line::Done(if token.never_expires() {
        "token that never expires".to_owned()
    } else {
        format!("token until {}: {}", minute(token.expires), life(token))
    })];
    let proven = format!("proven with that token: {}", pages(request, proof));
    match (request.fence, left_fence) {
        (Fence::Required, _) => {
            let by = match request.jobs.route() {
                Route::ApiServer => "other requests refused by the fence",
                Route::Pinned(_) => "other requests refused by the fence and by RBAC",
                Route::Kubelet => "requests through the API server refused",
            };
            lines.push(Line::Done(format!("{proven}; {} {by}", proof.refused)));
            lines.extend(limit(request));
        }
        (Fence::Off, LeftFence::None) if !request.jobs.targets().any(|target| target.is_proxied()) => {
            lines.push(Line::Done(proven));
        }
        (Fence::Off, LeftFence::None) => {
            lines.push(Line::Done(format!("{proven}; no fence, so other pages of these targets are not refused")));
        }
        (Fence::Off, LeftFence::Unknown(_)) => {
            lines.push(Line::Done(format!(
                "{proven}; it is not known whether a fence refuses other pages of these targets"
            )));
        }
        (Fence::Off, LeftFence::Stands(_)) => {
            lines.push(Line::Done(format!("{proven}; the existing fence stays and was not proven")));
            lines.extend(limit(request));
        }
    }
    lines.extend(nodes_without_pages(proof.nodes_read, &proof.nodes_without_pages).map(Line::Warned));
    lines.extend(proof.refused_by_kubelet.map(refused_by_kubelet));
    if let Some(refused) = proof.renewals_refused {
        lines.push(Line::Done(format!(
            "the token can renew itself, bound to its Secret and for at most {}; {refused} other requests for a token refused",
            request.duration
        )));
    }
    lines
}

/// The use of the printed script.
pub fn script(request: &JoinRequest) -> Line {
    Line::Done(format!(
        "printed a script with a token that delivers the jobs of {}: run it on the host of Prometheus (sh FILE /etc/prometheus) \
         or from here (ssh HOST sh -s /etc/prometheus < FILE), then delete it",
        request.cluster
    ))
}

/// The limit of the fence. Only rights to nodes allow more at a kubelet's own port.
fn limit(request: &JoinRequest) -> Option<Line> {
    let limit = match request.jobs.route() {
        Route::ApiServer => fence::LIMIT,
        Route::Pinned(_) => fence::PINNED,
        Route::Kubelet => return None,
    };
    request.jobs.have_nodes().then(|| Line::Said(format!("    {limit}")))
}

/// `2 nodes, cadvisor 231 and kubelet 1220 samples from east-node-0; apiserver 900 samples`
fn pages(request: &JoinRequest, proof: &ProofReport) -> String {
    let (of_nodes, others) = by_discovery(request, proof);
    let unseen = (proof.node.is_none() && request.jobs.have_nodes())
        .then(|| format!("{}, whose pages this host cannot read", counted(proof.nodes, "node")));
    let of_nodes = proof.node.iter().map(|node| {
        let pages: Vec<String> = of_nodes.iter().map(|page| format!("{} {}", page.job, page.samples)).collect();
        format!("{}, {} samples from {node}", counted(proof.nodes, "node"), pages.join(" and "))
    });
    let others = others.iter().map(|page| format!("{} {} samples", page.job, page.samples));
    unseen.into_iter().chain(of_nodes).chain(others).collect::<Vec<_>>().join("; ")
}

/// A safer route, suggested once in a join.
pub fn safer(request: &JoinRequest, reaches_kubelets: bool) -> Option<Line> {
    if *request.jobs.route() != Route::ApiServer || !request.jobs.have_nodes() {
        return None;
    }
    let how = match (reaches_kubelets, request.fence) {
        (true, _) => {
            "--route=kubelet, if Prometheus reaches port 10250 of the nodes as this host does (the CA has signed their certificates): it needs \
             no right to nodes/proxy"
        }
        (false, Fence::Required) => {
            "--pin-nodes: the token is then useless at a kubelet itself, and new nodes need another join or rotate"
        }
        (false, Fence::Off) => return None,
    };
    Some(Line::Said(format!("    safer: {how}")))
}

/// Pages of nodes, and all others.
fn by_discovery<'a>(request: &JoinRequest, proof: &'a ProofReport) -> (Vec<&'a PageReport>, Vec<&'a PageReport>) {
    let names: Vec<String> = request.jobs.iter().filter(|job| job.is_of_nodes()).map(Job::to_string).collect();
    proof.pages.iter().partition(|page| names.contains(&page.job))
}

/// The printed jobs and their load.
pub fn printed(request: &JoinRequest, proof: &ProofReport) -> Line {
    let (of_nodes, others) = by_discovery(request, proof);
    let sum = |pages: &[&PageReport]| pages.iter().map(|page| page.samples).sum::<usize>();
    let mut cost = Vec::new();
    if of_nodes.is_empty() && request.jobs.have_nodes() {
        cost.push(counted(proof.nodes, "node"));
    }
    if !of_nodes.is_empty() {
        cost.push(format!("{} × {} samples", counted(proof.nodes, "node"), sum(&of_nodes)));
    }
    if !others.is_empty() {
        cost.push(format!("{} samples of one target of each other job", sum(&others)));
    }
    Line::Done(format!("scrape jobs on standard output: {} every {}", cost.join(" and "), request.pace.interval))
}

/// As many targets that are down are shown.
const DOWN: usize = 5;
/// As many processes that have no say are shown.
const IGNORED: usize = 3;

/// The Prometheus that reads a destination.
pub fn destination(reader: &Reader) -> Vec<Line> {
    let who = reader.who().map(|who| format!(" ({who})")).unwrap_or_default();
    let mut lines = vec![Line::Done(format!("to {}, read by {}{who}", reader.config, reader.name))];
    // A user may start thousands.
    let (shown, rest) = reader.ignored.split_at(reader.ignored.len().min(IGNORED));
    lines.extend(shown.iter().cloned().map(Line::Warned));
    lines.extend((!rest.is_empty()).then(|| Line::Warned(format!("{} more processes are ignored", rest.len()))));
    lines
        .extend(reader.unseen.iter().map(|why| Line::Warned(format!("cannot verify the result in Prometheus: {why}"))));
    lines
}

/// The jobs that are in place, and their targets in Prometheus.
pub fn in_place(reader: &Reader, placed: &Placed) -> Vec<Line> {
    let Placed { fragment, reader: _, proven_from, checked_by, clock, reloaded, verification } = placed;
    let checked = checked_by.map(|tool| format!("checked by {tool}, ")).unwrap_or_default();
    let placed = format!("{fragment} in place, {checked}{} {reloaded}", reader.name);
    let proven =
        proven_from.as_ref().map(|host| format!("{host} reaches the API server too, with this token and this CA"));
    let mut lines: Vec<Line> = proven.map(Line::Done).into_iter().collect();
    lines.extend(clock.iter().map(|told| Line::Warned(format!("{told}. {}", clock::CORRECT))));
    match verification {
        Verification::Verified(ScrapedTargets { up, total, down }) => {
            lines.push(Line::Done(format!("{placed}, {up} of {total} targets up")));
            let (shown, rest) = down.split_at(down.len().min(DOWN));
            lines.extend(shown.iter().cloned().map(Line::Warned));
            lines.extend(
                (!rest.is_empty()).then(|| Line::Warned(format!("{} more down", counted(rest.len() as u64, "target")))),
            );
        }
        Verification::Unverified(why) => {
            lines.push(Line::Done(placed));
            lines.push(Line::Warned(format!("no scrape with the new token was observed: {why}")));
        }
    }
    lines
}

/// Why a token that never expires is not rotated, and how to replace it.
pub fn not_rotated(record: &Record) -> String {
    let cluster = &record.cluster;
    format!(
        "{cluster}  not rotated: its token never expires (--long-lived-token). To replace the token: {}{} -p DIR; for a token \
         that expires, omit --long-lived-token",
        shell::plugin(["join", "--long-lived-token", "--context", &record.context, "--cluster-name", cluster.as_str()]),
        record.account().flags()
    )
}

/// The remaining life of the token that stays in use. `clock` is that of the API server, and `now` is by the clock of
/// this machine, which may be wrong.
pub fn old_token(life: TokenLife, clock: Option<ClockLead>, now: Timestamp) -> String {
    let expires = minute(life.expires);
    let left = life.expires.duration_since(clock.unwrap_or_default().at(now));
    match u64::try_from(left.as_secs()) {
        Ok(left @ 1..) => format!("The old token stays in use and expires on {expires}, in {}", roughly(left)),
        _ if clock.is_none() => {
            format!(
                "By the clock of this machine, the old token expired on {expires}: compare it with the API server's"
            )
        }
        _ => format!("The old token expired on {expires}: Prometheus cannot scrape this cluster"),
    }
}

/// After a delivery of which it is unknown whether the destination has kept it.
pub fn maybe_in_use(secret: &ObjectRef) -> String {
    format!(
        "Its Prometheus may use the new token, which stays valid ({secret}): the next join or rotate deletes the token that is not in use"
    )
}

/// The two largest units: `6d23h`, `3h5m`, `42s`.
pub fn roughly(seconds: u64) -> String {
    let (d, h, m, s) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (1.., 0, _) => format!("{d}d"),
        (1.., _, _) => format!("{d}d{h}h"),
        (0, 1.., 0) => format!("{h}h"),
        (0, 1.., _) => format!("{h}h{m}m"),
        (0, 0, 1..) => format!("{m}m"),
        (0, 0, 0) => format!("{s}s"),
    }
}

/// `7d asked, 24h granted by this server`, or only the life if the server granted it.
fn life(token: &Token) -> String {
    if token.is_capped() {
        format!("{} asked, {} granted by this server", token.asked, token.granted)
    } else {
        token.granted.to_string()
    }
}

/// The reason after an object and its change.
pub(super) fn because(why: &Why) -> String {
    match why {
        Why::PreviousRoute => " (needed only by the previous route)".to_owned(),
        Why::NoJobNeedsIt(namespace) => {
            let namespace = namespace.as_ref().map(|name| format!(" in namespace {name}")).unwrap_or_default();
            format!("{namespace} (no job needs it any more)")
        }
        Why::SelfRenewNotWanted => " (joined without --self-renew)".to_owned(),
        Why::TokenExpired => " (its token had expired)".to_owned(),
        Why::TokenReplaced => " (its token was replaced)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{CertificateAuthority, Origin},
        account::Account,
        job::{ScrapeTiming, limits::ScrapeLimits},
        kube::object::Existing,
        text::duration::Seconds,
    };

    fn request(fence: Fence) -> JoinRequest {
        JoinRequest {
            cluster: "east".parse().unwrap(),
            account: Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() },
            jobs: "default".parse().unwrap(),
            federate_match: Vec::new(),
            fence,
            pace: ScrapeTiming { interval: Seconds(60), timeout: Seconds(30) },
            limits: ScrapeLimits::default(),
            fallback: None,
            keep_all_metrics: false,
            self_renew: false,
            long_lived: false,
            duration: Seconds(604_800),
        }
    }

    fn access(url: &str) -> Access {
        let ca = CertificateAuthority { certificates: vec![], origin: "the kubeconfig".into() };
        let url = url.parse().unwrap();
        Access { url, origin: Origin::Kubeconfig, ca: Some(ca), tls_server_name: None, proxy: None, kubelet_ca: None }
    }

    /// The whole conversation of a first join, as plain text.
    fn conversation(request: &JoinRequest, left_fence: &LeftFence, url: &str, granted: u64) -> String {
        let access = access(url);
        let plan = JoinPlan::new(&request.desired(), &Existing::new()).unwrap();
        let token = Token {
            secret: "never shown".into(),
            asked: Seconds(604_800),
            granted: Seconds(granted),
            expires: if request.long_lived { token::expiry::NEVER } else { "2026-11-25T09:12:00Z".parse().unwrap() },
            audiences: vec![],
        };
        let page = |job: &str, samples| PageReport { job: job.into(), samples };
        let proof = ProofReport {
            nodes: 2,
            node: Some("east-node-0".into()),
            nodes_read: 2,
            pages: vec![page("cadvisor", 231), page("kubelet", 1220)],
            refused: if request.fence == Fence::Off { 0 } else { 8 },
            renewals_refused: request.self_renew.then_some(6),
            ..ProofReport::default()
        };
        let mut lines = found(request, &access, true, "v1.37.2", plan.permissions(&request.account).len());
        lines.extend(loopback(&access).into_iter().chain(warnings(request, &plan, left_fence)).map(Line::Warned));
        let (changes, question) = question(request, &access, &plan);
        lines.extend(changes);
        lines.push(Line::Said(question));
        lines.extend(proven(request, left_fence, &token, &proof));
        lines.push(printed(request, &proof));
        let text = lines.iter().map(|line| match line {
            Line::Said(text) => format!("{text}\n"),
            Line::Done(text) => format!("  ✔ {text}\n"),
            Line::Warned(text) => format!("Warning: {text}\n"),
            Line::Awaited(..) => unreachable!("the plan waits for nothing"),
        });
        text.collect()
    }

    #[test]
    fn first_join_of_a_server_that_caps_tokens() {
        let request = request(Fence::Required);
        insta::assert_snapshot!(conversation(&request, &LeftFence::None, "https://10.0.0.5:6443", 86_400));
    }

    #[test]
    fn join_with_a_loopback_address_and_no_fence() {
        let request = request(Fence::Off);
        insta::assert_snapshot!(conversation(&request, &LeftFence::None, "https://127.0.0.1:6443", 604_800));
    }

    #[test]
    fn join_with_self_renew() {
        let request = JoinRequest { self_renew: true, ..request(Fence::Required) };
        insta::assert_snapshot!(conversation(&request, &LeftFence::None, "https://10.0.0.5:6443", 604_800));
    }

    #[test]
    fn join_with_a_long_lived_token() {
        let request = JoinRequest { long_lived: true, ..request(Fence::Required) };
        let text = conversation(&request, &LeftFence::None, "https://10.0.0.5:6443", 604_800);
        let said: Vec<&str> = text.lines().filter(|line| line.contains("token")).collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    /// What is said about the fence with `--fence=off`.
    fn about_fence(left_fence: &LeftFence) -> String {
        let text = conversation(&request(Fence::Off), left_fence, "https://10.0.0.5:6443", 604_800);
        let said: Vec<&str> =
            text.lines().filter(|line| line.contains("fence") && !line.contains("prom-federate")).collect();
        said.join("\n")
    }

    #[test]
    fn existing_fence_is_named() {
        insta::assert_snapshot!(about_fence(&LeftFence::Stands(vec![Target::Nodes { path: "/metrics".into() }])), @"
        Warning: --fence=off: this account has a fence, for /metrics of a node, which stays, because only leave removes a fence; it is not proven again
          ✔ proven with that token: 2 nodes, cadvisor 231 and kubelet 1220 samples from east-node-0; the existing fence stays and was not proven
            the fence protects only the API server: keep port 10250 of the nodes closed to other clients, because a stolen token could run commands in pods at a kubelet itself
        ");
        insta::assert_snapshot!(about_fence(&LeftFence::Unknown("east: you may not read it".into())), @"
        Warning: --fence=off: without the fence a thief of the token can read every pod's definition and logs and forward ports into every pod through the API server: RBAC cannot limit `get nodes/proxy` to the metrics
        Warning: cannot tell whether this account has a fence, which would stay: east: you may not read it
          ✔ proven with that token: 2 nodes, cadvisor 231 and kubelet 1220 samples from east-node-0; it is not known whether a fence refuses other pages of these targets
        ");
    }
}
