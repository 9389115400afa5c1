//! What `join` says while it works, as lines: what it found, what it would change, what it proved.

use crate::{
    error::{Error, Reason},
    model::{
        access::{Access, certificate},
        account::{desired::Fence, existing_fence::LeftFence, fence, renewal},
        job::{Job, route::Route, target::Target},
        kube::object::{Kind, ObjectRef, Verb},
        plan::{JoinPlan, request::JoinRequest},
        report::{Away, Line, ObjectReport, PageReport, Placed, ProofReport, Reader, Seen, event::Why},
        store::record::Record,
        text::{
            figures::{counted, day, minute},
            names::ClusterName,
            shell,
        },
        token::{self, Token, TokenLife},
    },
};
use jiff::Timestamp;

/// The cluster, and what is proven before anything is written.
pub fn found(request: &JoinRequest, access: &Access, is_reached: bool, version: &str, permissions: usize) -> Vec<Line> {
    let (origin, ca) = (access.origin, vouching_ca(access));
    let by = access.proxy.as_ref().map(|proxy| format!(", through the proxy {proxy}")).unwrap_or_default();
    vec![
        Line::Said(format!("{}  {}  Kubernetes {version}", request.cluster, access.url)),
        if is_reached {
            Line::Done(proven_address(access))
        } else {
            Line::Said(format!("    address (from {origin}) and {ca}{by}: Prometheus itself is to prove them"))
        },
        Line::Done(format!("you may make every change below ({permissions} permissions)")),
    ]
}

/// What a TLS handshake has proven.
pub fn proven_address(access: &Access) -> String {
    let by = access.proxy.as_ref().map(|proxy| format!(", through the proxy {proxy}")).unwrap_or_default();
    format!("address (from {}) and {} proven by TLS handshake{by}", access.origin, vouching_ca(access))
}

/// What is done about an address that only Prometheus can reach.
pub fn unreachable(error: &Error, url: &str) -> String {
    format!(
        "{error}; the token is proven by way of {url} instead, and the jobs stay only if Prometheus is seen to scrape them"
    )
}

/// A job that a rotation could not prove.
pub fn away(cluster: &ClusterName, Away { job, error }: &Away) -> String {
    format!("{cluster}: the job {job} has the new token too, and was not proven: {error}")
}

fn vouching_ca(access: &Access) -> String {
    let Some(ca) = &access.ca else {
        return "public CA".to_owned();
    };
    let until = ca.certificates.iter().filter_map(|der| certificate::valid_until(der)).min();
    let until = until.map(|end| format!(", valid until {}", day(end))).unwrap_or_default();
    format!("CA (from {}{until})", ca.origin)
}

/// Jobs that go straight to kubelets, none of which this host reaches.
pub fn no_kubelet() -> Error {
    let what = "no kubelet answers this host within 2s, so nobody has seen a page or a certificate of theirs";
    Error::new(Reason::ConnectionFailed, what)
}

/// That jobs go straight to such kubelets all the same.
pub fn kubelets_are_to_be_seen() -> String {
    format!("{}; Prometheus itself has to show that it reaches them", no_kubelet())
}

/// What becomes of printed jobs that went by another route.
pub fn handover(plan: &JoinPlan) -> Option<String> {
    plan.hands_over().then(|| {
        "jobs that were printed before go by another route, which is refused as soon as these are printed: put them in place at once"
            .to_owned()
    })
}

/// Why rights by another route are still there.
pub fn not_settled(context: &str) -> String {
    format!(
        "{context}: the rights of the jobs before stay until the new ones are seen in use everywhere; the next join or rotate takes them away"
    )
}

/// What was left to do when the new jobs were in use.
pub fn settled(plan: &JoinPlan, at_kubelet: Option<usize>) -> Vec<Line> {
    if !plan.hands_over() {
        return Vec::new();
    }
    let mut lines =
        vec![Line::Done("what only the jobs before needed is taken away, and seen to be refused".to_owned())];
    lines.extend(at_kubelet.map(refused_by_kubelet));
    lines
}

/// The same token straight at a kubelet.
fn refused_by_kubelet(refused: usize) -> Line {
    Line::Done(format!(
        "straight at a kubelet the same token is refused: {refused} requests, exec by WebSocket among them"
    ))
}

/// Where printed jobs can be used.
pub fn loopback(access: &Access) -> Option<String> {
    access.url.is_loopback().then(|| {
        format!(
            "{} is a loopback address: only a Prometheus on this very machine can use it; name another with --api-server",
            access.url
        )
    })
}

/// What somebody should know who is about to say yes.
pub fn warnings(request: &JoinRequest, plan: &JoinPlan, left_fence: &LeftFence) -> Vec<String> {
    let mut warnings = Vec::new();
    match (request.fence, left_fence) {
        (Fence::Required, _) => {}
        // What needs no proxy has nothing to fence.
        (Fence::Off, LeftFence::None) if !request.jobs.targets().any(|target| target.is_proxied()) => {}
        (Fence::Off, LeftFence::None) => warnings.push(format!("--fence=off: {}", fence::WITHOUT)),
        (Fence::Off, LeftFence::Unknown(why)) => {
            warnings.push(format!("--fence=off: {}", fence::WITHOUT));
            warnings.push(format!("nobody can tell whether this account has a fence already, which would stay: {why}"));
        }
        (Fence::Off, LeftFence::Stands(targets)) => warnings.push(format!(
            "--fence=off: this account has a fence, for {}, and it stays, because only leave takes one away; it is not proven again",
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
    if request.jobs.contains(&Job::Apiserver) {
        warnings.push(APISERVER.to_owned());
    }
    for foreign in &plan.foreign {
        warnings.push(format!(
            "{foreign}{} belongs to somebody else, stays, and grants what no job needs any more",
            within(foreign)
        ));
    }
    for step in plan.steps().filter(|step| step.used_as_is && step.object.reference.kind != Kind::Namespace) {
        warnings.push(format!("{} belongs to somebody else and is used as it is", step.object.reference));
    }
    warnings
}

/// A flag that is left out takes protection away.
const UNPINNED: &str = "the nodes of this account were pinned, and without --pin-nodes they are not any more: straight at a kubelet its tokens \
                        are worth something again";

/// What everybody sees who scrapes API servers through one address.
const APISERVER: &str = "the job apiserver reads whichever API server the address leads to: behind a load balancer their counters are \
                         mixed into one series";

/// Where a namespaced object is, for messages; kubectl's spelling leaves it out.
fn within(reference: &ObjectRef) -> String {
    let namespace = reference.namespace.as_ref();
    namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default()
}

/// What would change, and the question about it.
pub fn question(request: &JoinRequest, access: &Access, plan: &JoinPlan) -> (Vec<Line>, String) {
    let mut lines: Vec<Line> = plan
        .changes()
        .map(|change| (ObjectReport::planned(change), Why::of(change)))
        .filter(|(report, _)| report.verb != Verb::Unchanged)
        .map(|(ObjectReport { name, verb }, why)| {
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

/// The token and what was proven with it.
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
            lines.push(Line::Done(format!("{proven}; no fence, so nothing else of them is refused")));
        }
        (Fence::Off, LeftFence::Unknown(_)) => {
            lines.push(Line::Done(format!("{proven}; it is not known whether a fence refuses anything else of them")));
        }
        (Fence::Off, LeftFence::Stands(_)) => {
            lines.push(Line::Done(format!("{proven}; the fence that was there stays and was not proven")));
            lines.extend(limit(request));
        }
    }
    lines.extend(proof.refused_by_kubelet.map(refused_by_kubelet));
    if let Some(refused) = proof.renewals_refused {
        lines.push(Line::Done(format!(
            "the token can renew itself, bound to its Secret and for at most {}; {refused} other requests for a token refused",
            request.duration
        )));
    }
    lines
}

/// Where the script goes, and what becomes of it.
pub fn script(request: &JoinRequest) -> Line {
    Line::Done(format!(
        "a script that delivers the jobs of {} was printed, a token in it: run it on the host of Prometheus (sh FILE /etc/prometheus) \
         or from here (ssh HOST sh -s /etc/prometheus < FILE), then delete it",
        request.cluster
    ))
}

/// Only a right to nodes is more at a kubelet's own port.
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
        .then(|| format!("{}, no page of theirs from here", counted(proof.nodes, "node")));
    let of_nodes = proof.node.iter().map(|node| {
        let pages: Vec<String> = of_nodes.iter().map(|page| format!("{} {}", page.job, page.samples)).collect();
        format!("{}, {} samples from {node}", counted(proof.nodes, "node"), pages.join(" and "))
    });
    let others = others.iter().map(|page| format!("{} {} samples", page.job, page.samples));
    unseen.into_iter().chain(of_nodes).chain(others).collect::<Vec<_>>().join("; ")
}

/// Another route that leaves less to a thief, once in a join.
pub fn safer(request: &JoinRequest, reaches_kubelets: bool) -> Option<Line> {
    if *request.jobs.route() != Route::ApiServer || !request.jobs.have_nodes() {
        return None;
    }
    let how = match (reaches_kubelets, request.fence) {
        (true, _) => {
            "--route=kubelet, if Prometheus reaches port 10250 of the nodes as this host does (the CA vouches for them): it needs no right \
             to nodes/proxy"
        }
        (false, Fence::Required) => {
            "--pin-nodes, by which the token is worth nothing at a kubelet; nodes that are new then wait for another join or rotate"
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

/// Jobs that were printed, and what they will cost.
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

/// Who reads a destination.
pub fn destination(reader: &Reader) -> Vec<Line> {
    let by = match reader.process {
        None => format!("read by {}", reader.name),
        Some((process, user)) => format!("read by {} (process {process}, user {user})", reader.name),
    };
    let mut lines = vec![Line::Done(format!("to {}, {by}", reader.config))];
    lines.extend(reader.unseen.iter().map(|why| Line::Warned(format!("nobody can look at the result: {why}"))));
    lines
}

/// Jobs that are in place, and what Prometheus made of them.
pub fn in_place(reader: &Reader, placed: &Placed) -> Vec<Line> {
    let Placed { fragment, proven_from, checked_by, reloaded, seen } = placed;
    let checked = checked_by.map(|tool| format!("checked by {tool}, ")).unwrap_or_default();
    let placed = format!("{fragment} in place, {checked}{} {reloaded}", reader.name);
    let proven =
        proven_from.as_ref().map(|host| format!("{host} reaches the API server too, with this token under this CA"));
    let mut lines: Vec<Line> = proven.map(Line::Done).into_iter().collect();
    match seen {
        Ok(Seen { up, total, down }) => {
            lines.push(Line::Done(format!("{placed}, {up} of {total} targets up")));
            lines.extend(down.iter().map(|target| Line::Warned(target.clone())));
        }
        Err(why) => {
            lines.push(Line::Done(placed));
            lines.push(Line::Warned(format!("nobody saw a scrape with the new token: {why}")));
        }
    }
    lines
}

/// Why a cluster whose token never expires is passed over, and how it gets another.
pub fn not_rotated(record: &Record) -> String {
    format!(
        "{}  not rotated: its token never expires (--long-lived-token). For another one: kubectl prom-federate join \
         --long-lived-token --context {} --cluster-name {}{} -p DIR; or a token that can be rotated: the same without --long-lived-token",
        record.cluster,
        shell::word(&record.context),
        record.cluster,
        record.account().flags()
    )
}

/// How long the token that stays in use is still good.
pub fn old_token(life: TokenLife, now: Timestamp) -> String {
    let expires = minute(life.expires);
    match u64::try_from(life.expires.duration_since(now).as_secs()) {
        Ok(left @ 1..) => format!("The old token stays in use and lives until {expires}, {} more", roughly(left)),
        _ => format!("The old token died on {expires}: nothing of this cluster can be scraped"),
    }
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

/// `7d asked, 24h granted by this server`, or just the life if it is what was asked.
fn life(token: &Token) -> String {
    if token.is_capped() {
        format!("{} asked, {} granted by this server", token.asked, token.granted)
    } else {
        token.granted.to_string()
    }
}

/// Behind an object and what became of it.
pub(super) fn because(why: &Why) -> String {
    match why {
        Why::PreviousRoute => " (the jobs before went by another route)".to_owned(),
        Why::NoJobNeedsIt(namespace) => {
            let namespace = namespace.as_ref().map(|name| format!(" in namespace {name}")).unwrap_or_default();
            format!("{namespace} (no job needs it any more)")
        }
        Why::SelfRenewNotWanted => " (--self-renew is not wanted any more)".to_owned(),
        Why::TokenExpired => " (its token had expired)".to_owned(),
        Why::TokenReplaced => " (its token is replaced)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{CertificateAuthority, Origin},
        account::Account,
        job::Pace,
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
            pace: Pace { interval: Seconds(60), timeout: Seconds(30) },
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

    /// All of a first join's conversation, as plain text.
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
            pages: vec![page("cadvisor", 231), page("kubelet", 1220)],
            away: Vec::new(),
            refused: if request.fence == Fence::Off { 0 } else { 8 },
            refused_by_kubelet: None,
            renewals_refused: request.self_renew.then_some(6),
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
        });
        text.collect()
    }

    #[test]
    fn a_first_join_of_a_server_that_caps() {
        let request = request(Fence::Required);
        insta::assert_snapshot!(conversation(&request, &LeftFence::None, "https://10.0.0.5:6443", 86_400));
    }

    #[test]
    fn a_loopback_address_without_a_fence() {
        let request = request(Fence::Off);
        insta::assert_snapshot!(conversation(&request, &LeftFence::None, "https://127.0.0.1:6443", 604_800));
    }

    #[test]
    fn a_token_that_renews_itself() {
        let request = JoinRequest { self_renew: true, ..request(Fence::Required) };
        insta::assert_snapshot!(conversation(&request, &LeftFence::None, "https://10.0.0.5:6443", 604_800));
    }

    #[test]
    fn a_token_that_never_expires() {
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
    fn a_fence_that_was_there_is_not_passed_over() {
        insta::assert_snapshot!(about_fence(&LeftFence::Stands(vec![Target::Nodes { path: "/metrics".into() }])), @"
        Warning: --fence=off: this account has a fence, for /metrics of a node, and it stays, because only leave takes one away; it is not proven again
          ✔ proven with that token: 2 nodes, cadvisor 231 and kubelet 1220 samples from east-node-0; the fence that was there stays and was not proven
            the fence protects only the API server: keep port 10250 of the nodes closed to other clients, because a stolen token could run commands in pods at a kubelet itself
        ");
        insta::assert_snapshot!(about_fence(&LeftFence::Unknown("east: you may not read it".into())), @"
        Warning: --fence=off: without the fence a thief of the token can read every pod's definition and logs and forward ports into every pod through the API server: RBAC cannot limit `get nodes/proxy` to the metrics
        Warning: nobody can tell whether this account has a fence already, which would stay: east: you may not read it
          ✔ proven with that token: 2 nodes, cadvisor 231 and kubelet 1220 samples from east-node-0; it is not known whether a fence refuses anything else of them
        ");
    }
}
