//! What `join` says while it works, as lines: what it found, what it would change, what it proved.

use crate::error::Error;
use crate::model::{
    access::Access,
    certificate, fence,
    left_fence::LeftFence,
    object::{Fence, Kind},
    plan::{JoinPlan, Verb},
    record::Record,
    renewal,
    report::{Line, Placed, ProofReport, Reader, Seen},
    request::JoinRequest,
    shell,
    token::{self, Token, TokenLife},
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

fn vouching_ca(access: &Access) -> String {
    let Some(ca) = &access.ca else {
        return "public CA".to_owned();
    };
    let until = ca.certificates.iter().filter_map(|der| certificate::valid_until(der)).min();
    let until = until.map(|end| format!(", valid until {}", end.strftime("%Y-%m-%d"))).unwrap_or_default();
    format!("CA (from {}{until})", ca.origin)
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
        (Fence::Off, LeftFence::None) => warnings.push(format!("--fence=off: {}", fence::WITHOUT)),
        (Fence::Off, LeftFence::Unknown(why)) => {
            warnings.push(format!("--fence=off: {}", fence::WITHOUT));
            warnings.push(format!("nobody can tell whether this account has a fence already, which would stay: {why}"));
        }
        (Fence::Off, LeftFence::Stands(jobs)) => warnings.push(format!(
            "--fence=off: this account has a fence, for {jobs}, and it stays, because only leave takes one away; it is not proven again"
        )),
    }
    if request.self_renew {
        warnings.push(renewal::LIMIT.to_owned());
    }
    if request.long_lived {
        warnings.push(token::LONG_LIVED.to_owned());
    }
    for step in plan.steps().filter(|step| step.used_as_is && step.object.reference.kind != Kind::Namespace) {
        warnings.push(format!("{} belongs to somebody else and is used as it is", step.object.reference));
    }
    warnings
}

/// What would change, and the question about it.
pub fn question(request: &JoinRequest, access: &Access, plan: &JoinPlan) -> (Vec<Line>, String) {
    let mut lines: Vec<Line> = plan
        .steps()
        .filter(|step| step.verb != Verb::Unchanged)
        .map(|step| Line::Said(format!("  {} will be {}", step.object.reference, step.verb)))
        .collect();
    lines.extend(
        plan.retired.deletions().map(|deletion| Line::Said(format!("  {} will be deleted", deletion.reference))),
    );
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
    let pages: Vec<String> = proof.pages.iter().map(|page| format!("{} {}", page.job, page.samples)).collect();
    let mut lines = vec![Line::Done(if token.never_expires() {
        "token that never expires".to_owned()
    } else {
        format!("token until {}: {}", token.expires.strftime("%Y-%m-%d %H:%M UTC"), life(token))
    })];
    let proven =
        format!("proven with that token: {}, {} samples from {}", nodes(proof.nodes), pages.join(" and "), proof.node);
    match (request.fence, left_fence) {
        (Fence::Required, _) => {
            lines.push(Line::Done(format!("{proven}; {} other requests refused by the fence", proof.refused)));
            lines.push(Line::Said(format!("    {}", fence::LIMIT)));
        }
        (Fence::Off, LeftFence::None) => {
            lines.push(Line::Done(format!("{proven}; no fence, so nothing else of the nodes is refused")));
        }
        (Fence::Off, LeftFence::Unknown(_)) => {
            lines.push(Line::Done(format!(
                "{proven}; it is not known whether a fence refuses anything else of the nodes"
            )));
        }
        (Fence::Off, LeftFence::Stands(_)) => {
            lines.push(Line::Done(format!("{proven}; the fence that was there stays and was not proven")));
            lines.push(Line::Said(format!("    {}", fence::LIMIT)));
        }
    }
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

/// Jobs that were printed, and what they will cost.
pub fn printed(request: &JoinRequest, proof: &ProofReport) -> Line {
    let samples: usize = proof.pages.iter().map(|page| page.samples).sum();
    Line::Done(format!(
        "scrape jobs on standard output: {} × {samples} samples every {}",
        nodes(proof.nodes),
        request.pace.interval
    ))
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
    let expires = life.expires.strftime("%Y-%m-%d %H:%M UTC");
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

fn nodes(count: u64) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

/// `7d asked, 24h granted by this server`, or just the life if it is what was asked.
fn life(token: &Token) -> String {
    if token.is_capped() {
        format!("{} asked, {} granted by this server", token.asked, token.granted)
    } else {
        token.granted.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{CertificateAuthority, Origin},
        account::Account,
        duration::Seconds,
        job::Pace,
        plan::Existing,
        report::PageReport,
    };

    fn request(fence: Fence) -> JoinRequest {
        JoinRequest {
            cluster: "east".parse().unwrap(),
            account: Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() },
            jobs: "default".parse().unwrap(),
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
        Access { url, origin: Origin::Kubeconfig, ca: Some(ca), tls_server_name: None, proxy: None }
    }

    /// All of a first join's conversation, as plain text.
    fn conversation(request: &JoinRequest, left_fence: &LeftFence, url: &str, granted: u64) -> String {
        let access = access(url);
        let plan = JoinPlan::new(&request.desired(), &Existing::new()).unwrap();
        let token = Token {
            secret: "never shown".into(),
            asked: Seconds(604_800),
            granted: Seconds(granted),
            expires: if request.long_lived { token::NEVER } else { "2026-11-25T09:12:00Z".parse().unwrap() },
            audiences: vec![],
        };
        let page = |job: &str, samples| PageReport { job: job.into(), samples };
        let proof = ProofReport {
            nodes: 2,
            node: "east-node-0".into(),
            pages: vec![page("cadvisor", 231), page("kubelet", 1220)],
            refused: if request.fence == Fence::Off { 0 } else { 6 },
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
        insta::assert_snapshot!(about_fence(&LeftFence::Stands("default".parse().unwrap())), @"
        Warning: --fence=off: this account has a fence, for cadvisor,kubelet, and it stays, because only leave takes one away; it is not proven again
          ✔ proven with that token: 2 nodes, cadvisor 231 and kubelet 1220 samples from east-node-0; the fence that was there stays and was not proven
            the fence stands at the API server: keep port 10250 of the nodes closed to everybody else, because whoever steals this token and reaches a kubelet itself could run commands there
        ");
        insta::assert_snapshot!(about_fence(&LeftFence::Unknown("east: you may not read it".into())), @"
        Warning: --fence=off: without the fence whoever steals the token reads every pod's definition and logs and forwards ports into it, all through the API server: RBAC cannot limit `get nodes/proxy` to the metrics
        Warning: nobody can tell whether this account has a fence already, which would stay: east: you may not read it
          ✔ proven with that token: 2 nodes, cadvisor 231 and kubelet 1220 samples from east-node-0; it is not known whether a fence refuses anything else of the nodes
        ");
    }
}
