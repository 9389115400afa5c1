//! What `join` says while it works, as lines: what it found, what it would change, what it proved.

use crate::model::{
    access::Access,
    certificate, fence,
    object::{Fence, Kind},
    plan::{JoinPlan, Verb},
    renewal,
    report::{Line, ProofReport},
    request::JoinRequest,
    token::Token,
};

/// The cluster, and what is proven before anything is written.
pub fn found(request: &JoinRequest, access: &Access, version: &str, permissions: usize) -> Vec<Line> {
    vec![
        Line::Said(format!("{}  {}  Kubernetes {version}", request.cluster, access.url)),
        Line::Done(format!("address (from {}) and {} proven by TLS handshake", access.origin, vouching_ca(access))),
        Line::Done(format!("you may make every change below ({permissions} permissions)")),
    ]
}

fn vouching_ca(access: &Access) -> String {
    let Some(ca) = &access.ca else {
        return "public CA".to_owned();
    };
    let until = ca.certificates.iter().filter_map(|der| certificate::valid_until(der)).min();
    let until = until.map(|end| format!(", valid until {}", end.strftime("%Y-%m-%d"))).unwrap_or_default();
    format!("CA (from {}{until})", ca.origin)
}

/// What somebody should know who is about to say yes.
pub fn warnings(request: &JoinRequest, access: &Access, plan: &JoinPlan) -> Vec<String> {
    let mut warnings = Vec::new();
    if access.url.is_loopback() {
        warnings.push(format!(
            "{} is a loopback address: only a Prometheus on this very machine can use it; name another with --api-server",
            access.url
        ));
    }
    if request.fence == Fence::Off {
        warnings.push(format!("--fence=off: {}", fence::WITHOUT));
    }
    if request.self_renew {
        warnings.push(renewal::LIMIT.to_owned());
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
    lines.push(Line::Said(format!(
        "  a token of service account {} for {} will be issued, bound to a new Secret",
        request.account, request.duration
    )));
    (lines, format!("Join {} ({})?", request.cluster, access.url))
}

/// What there is now.
pub fn joined(request: &JoinRequest, token: &Token, proof: &ProofReport) -> Vec<Line> {
    let pages: Vec<String> = proof.pages.iter().map(|page| format!("{} {}", page.job, page.samples)).collect();
    let samples: usize = proof.pages.iter().map(|page| page.samples).sum();
    let mut lines =
        vec![Line::Done(format!("token until {}: {}", token.expires.strftime("%Y-%m-%d %H:%M UTC"), life(token)))];
    let proven =
        format!("proven with that token: {}, {} samples from {}", nodes(proof.nodes), pages.join(" and "), proof.node);
    match request.fence {
        Fence::Required => {
            lines.push(Line::Done(format!("{proven}; {} other requests refused by the fence", proof.refused)));
            lines.push(Line::Said(format!("    {}", fence::LIMIT)));
        }
        Fence::Off => lines.push(Line::Done(format!("{proven}; no fence, so nothing else of the nodes is refused"))),
    }
    if let Some(refused) = proof.renewals_refused {
        lines.push(Line::Done(format!(
            "the token can renew itself, bound to its Secret and for at most {}; {refused} other requests for a token refused",
            request.duration
        )));
    }
    lines.push(Line::Done(format!(
        "scrape jobs on standard output: {} × {samples} samples every {}",
        nodes(proof.nodes),
        request.pace.interval
    )));
    lines
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
            duration: Seconds(604_800),
            self_renew: false,
        }
    }

    fn access(url: &str) -> Access {
        let ca = CertificateAuthority { certificates: vec![], origin: "the kubeconfig".into() };
        Access { url: url.parse().unwrap(), origin: Origin::Kubeconfig, ca: Some(ca), tls_server_name: None }
    }

    /// All of a first join's conversation, as plain text.
    fn conversation(request: &JoinRequest, url: &str, granted: u64) -> String {
        let access = access(url);
        let plan = JoinPlan::new(&request.desired(), &Existing::new()).unwrap();
        let token = Token {
            secret: "never shown".into(),
            asked: Seconds(604_800),
            granted: Seconds(granted),
            expires: "2026-11-25T09:12:00Z".parse().unwrap(),
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
        let mut lines = found(request, &access, "v1.37.2", plan.permissions(&request.account).len());
        lines.extend(warnings(request, &access, &plan).into_iter().map(Line::Warned));
        let (changes, question) = question(request, &access, &plan);
        lines.extend(changes);
        lines.push(Line::Said(question));
        lines.extend(joined(request, &token, &proof));
        let text = lines.iter().map(|line| match line {
            Line::Said(text) => format!("{text}\n"),
            Line::Done(text) => format!("  ✔ {text}\n"),
            Line::Warned(text) => format!("Warning: {text}\n"),
        });
        text.collect()
    }

    #[test]
    fn a_first_join_of_a_server_that_caps() {
        insta::assert_snapshot!(conversation(&request(Fence::Required), "https://10.0.0.5:6443", 86_400));
    }

    #[test]
    fn a_loopback_address_without_a_fence() {
        insta::assert_snapshot!(conversation(&request(Fence::Off), "https://127.0.0.1:6443", 604_800));
    }
    #[test]
    fn a_token_that_renews_itself() {
        let request = JoinRequest { self_renew: true, ..request(Fence::Required) };
        insta::assert_snapshot!(conversation(&request, "https://10.0.0.5:6443", 604_800));
    }
}
