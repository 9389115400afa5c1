//! The fence: a `ValidatingAdmissionPolicy` that lets an account reach only its jobs' own pages through the API
//! server's proxies. Default deny.
//!
//! A request to `nodes/proxy` is a CONNECT with `NodeProxyOptions` as its object. The path arrives there with a
//! leading slash and is cleaned only after admission, so only exact comparison is safe: `/metrics/../configz` would
//! pass a prefix (apiserver `pkg/endpoints/handlers/get.go`, apimachinery `util/net/http.go`). `pods/proxy` and
//! `services/proxy` are the same with options of their own; `request.name` is the literal segment of the URL.

use super::{
    account::Account,
    job::{Job, Jobs},
    plan::differences,
    target::Target,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The resources through which an API server forwards a request to something else.
const PROXIES: [&str; 3] = ["nodes/proxy", "pods/proxy", "services/proxy"];

/// What a token can do without a fence. A WebSocket to `/exec` gets no further than the kubelet's handler this way,
/// because the API server drops the query of an upgraded request (apimachinery `util/proxy/upgradeaware.go`); the
/// kubelet's other pages need none.
pub const WITHOUT: &str = "without the fence whoever steals the token reads every pod's definition and logs and forwards ports into it, \
                           all through the API server: RBAC cannot limit `get nodes/proxy` to the metrics";

/// What a token can do in spite of it: the kubelet asks only RBAC.
pub const LIMIT: &str = "the fence stands at the API server: keep port 10250 of the nodes closed to everybody else, \
                         because whoever steals this token and reaches a kubelet itself could run commands there";

/// The `spec` of the policy.
pub fn policy_spec(account: &Account, jobs: &Jobs) -> Value {
    spec(account, &targets(jobs))
}

/// What the jobs reach through the proxies, each once, in the order of the jobs.
fn targets(jobs: &Jobs) -> Vec<Target> {
    let mut targets = Vec::new();
    for target in jobs.iter().map(Target::of).filter(|target| !matches!(target, Target::ApiServer { .. })) {
        // kube-state-metrics, say, may have been named as a Service besides.
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}

fn spec(account: &Account, targets: &[Target]) -> Value {
    json!({
        // An error in the policy refuses the request.
        "failurePolicy": "Fail",
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "resourceRules": [{
                "apiGroups": [""],
                "apiVersions": ["*"],
                "operations": ["CONNECT"],
                "resources": PROXIES,
                "scope": "*",
            }],
        },
        "matchConditions": [{
            "name": "this-account-only",
            "expression": format!("request.userInfo.username == '{}'", account.user()),
        }],
        "validations": [{ "expression": expression(targets), "message": message(account, targets), "reason": "Invalid" }],
    })
}

/// What the policy of an account lets through, if it is one as we make it and its binding puts it into force.
pub fn admitted(account: &Account, policy: &Value, binding: &Value) -> Option<Vec<Target>> {
    let targets = targets_of(policy["spec"]["validations"][0]["expression"].as_str()?)?;
    let is_ours = differences(&spec(account, &targets), &policy["spec"]).is_empty()
        && differences(&binding_spec(account), &binding["spec"]).is_empty();
    is_ours.then_some(targets)
}

/// The targets of these that the jobs do not read. The API server's own page needs no fence.
pub fn not_read(targets: &[Target], jobs: &Jobs) -> Vec<Target> {
    let read: BTreeSet<Target> = jobs.iter().map(Target::of).collect();
    targets.iter().filter(|target| !read.contains(target)).cloned().collect()
}

/// The targets of the jobs that are not among these.
pub fn not_admitted(targets: &[Target], jobs: &Jobs) -> Vec<Target> {
    self::targets(jobs).into_iter().filter(|target| !targets.contains(target)).collect()
}

/// The `spec` of the binding that puts the policy into force.
pub fn binding_spec(account: &Account) -> Value {
    json!({ "policyName": account.cluster_scoped_name(), "validationActions": ["Deny"] })
}

/// What begins the clause about nodes. A node's name has no colon, but `NODE:PORT` and `https:NODE:PORT` would be
/// accepted in its place and name another port of the node.
const NODES: &str =
    "request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in [";

/// CEL: a clause for all pages of nodes, and one for each other target.
fn expression(targets: &[Target]) -> String {
    let paths: Vec<String> = targets
        .iter()
        .filter_map(|target| if let Target::Nodes { path } = target { Some(format!("'{path}'")) } else { None })
        .collect();
    let nodes = (!paths.is_empty()).then(|| format!("{NODES}{}]", paths.join(", ")));
    let clauses: Vec<String> = nodes.into_iter().chain(targets.iter().filter_map(Target::clause)).collect();
    match &clauses[..] {
        // Jobs that need no proxy.
        [] => "false".to_owned(),
        [one] => one.clone(),
        several => format!("({})", several.join(") || (")),
    }
}

/// The targets of an expression as [`expression`] writes it.
fn targets_of(expression: &str) -> Option<Vec<Target>> {
    if expression == "false" {
        return Some(Vec::new());
    }
    let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(expression);
    let mut targets = Vec::new();
    for clause in inner.split(") || (") {
        match clause.strip_prefix(NODES) {
            None => targets.push(Target::of_clause(clause)?),
            Some(list) => {
                let paths = list.strip_suffix(']')?.split(", ");
                for path in paths {
                    let path = path.strip_prefix('\'')?.strip_suffix('\'')?.to_owned();
                    targets.push(Target::Nodes { path });
                }
            }
        }
    }
    Some(targets)
}

fn message(account: &Account, targets: &[Target]) -> String {
    format!("{account} may read only {} through the API server", described(targets))
}

/// `/metrics/cadvisor and /metrics of a node; /metrics of service monitoring/shop:http`
pub fn described(targets: &[Target]) -> String {
    let nodes: Vec<&str> = targets
        .iter()
        .filter_map(|target| if let Target::Nodes { path } = target { Some(path.as_str()) } else { None })
        .collect();
    let nodes = (!nodes.is_empty()).then(|| format!("{} of a node", nodes.join(" and ")));
    let others = targets.iter().filter(|target| !matches!(target, Target::Nodes { .. })).map(Target::to_string);
    let all: Vec<String> = nodes.into_iter().chain(others).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join("; ") }
}

/// Whether a refusal came from this account's fence. A 403 of RBAC proves nothing: the rights may only not have
/// arrived yet.
pub fn is_refusal(account: &Account, code: u16, message: &str) -> bool {
    is_refusal_by(&account.cluster_scoped_name(), code, message)
}

/// Whether a refusal came from the policy and binding of this name. The API server writes
/// `ValidatingAdmissionPolicy 'NAME' with binding 'NAME' denied request: …`.
pub(super) fn is_refusal_by(name: &str, code: u16, message: &str) -> bool {
    code == 422 && message.contains(&format!("ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request"))
}

/// A pod that need not be there: the fence is asked before anybody looks for it.
const NO_POD: &str = "prom-federate-no-such-pod";

/// It on this port, or on one that no job names.
fn no_pod(port: Option<u16>) -> String {
    format!("{NO_POD}:{}", port.unwrap_or(1))
}

fn is_admitted(path: &str, jobs: &Jobs) -> bool {
    targets(jobs).iter().any(|target| target.admits(path))
}

/// A request that must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    pub path: String,
    /// RBAC may refuse it too, before the fence is asked: the right to it goes with the job.
    pub by_rbac: bool,
}

impl Forbidden {
    fn by_fence(path: String) -> Self {
        Self { path, by_rbac: false }
    }
}

/// What must be refused while these jobs work: the pages of nodes that were not chosen, other neighbours of the jobs'
/// pages, tricks with the path, and exec. `node` is one of the nodes, if the jobs need any.
/// All are harmless where there is no fence: reads, and an exec that names no pod.
pub fn forbidden(node: Option<&str>, jobs: &Jobs) -> Vec<Forbidden> {
    let mut paths = Vec::new();
    if let Some(node) = node {
        let others = Job::OF_NODES.iter().filter(|job| !jobs.contains(job));
        paths.extend(others.map(|job| Target::of(job).page(node)));
    }
    let mut asked = false;
    for target in targets(jobs) {
        match (&target, node) {
            // All pages of a node have the same neighbours.
            (Target::Nodes { .. }, Some(node)) if !asked => {
                paths.extend(target.neighbours(node));
                asked = true;
            }
            (Target::Nodes { .. }, _) => {}
            (Target::Pods { port: Some(port), .. }, _) => {
                paths.extend(target.neighbours(&no_pod(Some(*port))));
                paths.push(target.page(&no_pod(None)));
            }
            _ => paths.extend(target.neighbours(&no_pod(None))),
        }
    }
    // Two jobs of one Service have neighbours in common, and the neighbour of one may be the page of another.
    paths.sort_unstable();
    paths.dedup();
    let mut forbidden: Vec<Forbidden> =
        paths.into_iter().filter(|path| !is_admitted(path, jobs)).map(Forbidden::by_fence).collect();
    if jobs.contains(&Job::Apiserver) {
        // Nothing forwards this, so only RBAC can refuse it.
        forbidden.push(Forbidden { path: "/debug/pprof/".to_owned(), by_rbac: true });
    }
    forbidden
}

/// What tells a fence that was just changed from the one before it: the pages that only that one let through. While an
/// API server still has it, it refuses everything else just the same.
pub fn formerly_allowed(node: Option<&str>, former: &[Target], jobs: &Jobs) -> Vec<Forbidden> {
    let page = |target: Target| match (&target, node) {
        (Target::Nodes { .. }, Some(node)) => Some(Forbidden::by_fence(target.page(node))),
        // The right went with the last job that needs nodes.
        (Target::Nodes { .. } | Target::ApiServer { .. }, _) => None,
        _ => {
            let port = if let Target::Pods { port, .. } = target { port } else { None };
            Some(Forbidden { path: target.page(&no_pod(port)), by_rbac: true })
        }
    };
    not_read(former, jobs).into_iter().filter_map(page).filter(|one| !is_admitted(&one.path, jobs)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::EVERY_JOB;

    fn account() -> Account {
        Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() }
    }

    #[test]
    fn only_our_own_policy_counts_as_the_fence() {
        let ours = "nodes \"n\" is forbidden: ValidatingAdmissionPolicy 'prom-federate.prom-federate.prometheus' with binding \
                    'prom-federate.prom-federate.prometheus' denied request: no";
        assert!(is_refusal(&account(), 422, ours));
        assert!(!is_refusal(&account(), 403, ours), "a 403 is RBAC's");
        assert!(!is_refusal(&account(), 422, &ours.replace("prometheus'", "other'")), "somebody else's policy");
    }

    fn paths(forbidden: &[Forbidden]) -> Vec<&str> {
        forbidden.iter().map(|one| one.path.as_str()).collect()
    }

    #[test]
    fn every_page_of_a_node_is_chosen_or_forbidden() {
        for jobs in ["cadvisor", "kubelet", "default", "probes,resource", EVERY_JOB] {
            let jobs: Jobs = jobs.parse().unwrap();
            let forbidden = forbidden(Some("n"), &jobs);
            for job in &Job::OF_NODES {
                let page = Target::of(job).page("n");
                assert_ne!(paths(&forbidden).contains(&page.as_str()), jobs.contains(job), "{page} with --jobs={jobs}");
            }
        }
        assert_eq!(forbidden(Some("n"), &"default".parse().unwrap()).len(), 8, "README.md names the number");
        assert_eq!(paths(&forbidden(None, &"apiserver".parse().unwrap())), ["/debug/pprof/"]);
        insta::assert_snapshot!(paths(&forbidden(None, &"service=a/b:80,pods=shop/metrics,node-exporter=m".parse().unwrap())).join("\n"), @"
        /api/v1/namespaces/a/services/b:80/proxy/api/v1/status/config
        /api/v1/namespaces/a/services/b:80/proxy/metrics/../api/v1/status/config
        /api/v1/namespaces/m/pods/prom-federate-no-such-pod/proxy/metrics
        /api/v1/namespaces/m/pods/prom-federate-no-such-pod:1/proxy/metrics
        /api/v1/namespaces/m/pods/prom-federate-no-such-pod:9100/proxy/debug/pprof/
        /api/v1/namespaces/m/pods/prom-federate-no-such-pod:9100/proxy/metrics/../debug/pprof/
        /api/v1/namespaces/shop/pods/prom-federate-no-such-pod/proxy/metrics
        /api/v1/namespaces/shop/pods/prom-federate-no-such-pod:1/proxy/debug/pprof/
        /api/v1/namespaces/shop/pods/prom-federate-no-such-pod:1/proxy/metrics/../debug/pprof/
        ");
    }

    #[test]
    fn nothing_that_a_job_reads_is_forbidden() {
        let words: Vec<&str> =
            EVERY_JOB.split(',').chain(["pods=monitoring/metrics", "service=a/b:80/api/v1/status/config"]).collect();
        for one in &words {
            for other in &words {
                let jobs: Jobs = format!("{one},{other},service=a/b:80").parse().unwrap();
                for Forbidden { path, by_rbac } in forbidden(Some("n"), &jobs) {
                    assert!(by_rbac || !is_admitted(&path, &jobs), "{path} with --jobs={jobs}");
                }
            }
        }
    }

    #[test]
    fn a_former_page_tells_the_former_fence() {
        let former = |jobs: &str| targets(&jobs.parse().unwrap());
        for (before, now, node, telling) in [
            ("default", "default", Some("n"), ""),
            ("default", "kubelet", Some("n"), "/api/v1/nodes/n/proxy/metrics/cadvisor"),
            ("kubelet", "default", Some("n"), ""),
            ("default", "apiserver", None, ""),
            (
                "kubelet,service=a/b:80,pods=shop/metrics",
                "kubelet",
                Some("n"),
                "/api/v1/namespaces/a/services/b:80/proxy/metrics /api/v1/namespaces/shop/pods/prom-federate-no-such-pod:1/proxy/metrics",
            ),
            // What goes is still a part of what stays.
            ("node-exporter=m:9100,pods=m/metrics", "pods=m/metrics", None, ""),
            (
                "node-exporter=m:9100,pods=m/metrics",
                "node-exporter=m:9100",
                None,
                "/api/v1/namespaces/m/pods/prom-federate-no-such-pod:1/proxy/metrics",
            ),
        ] {
            let forbidden = formerly_allowed(node, &former(before), &now.parse().unwrap());
            assert_eq!(paths(&forbidden).join(" "), telling, "{before} to {now}");
        }
    }

    #[test]
    fn the_expression_lists_exactly_the_chosen_pages() {
        let expression = |jobs: &str| expression(&targets(&jobs.parse().unwrap()));
        insta::assert_snapshot!(expression("cadvisor"), @"request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in ['/metrics/cadvisor']");
        insta::assert_snapshot!(expression("default"), @"request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in ['/metrics/cadvisor', '/metrics']");
        insta::assert_snapshot!(expression("apiserver"), @"false");
        insta::assert_snapshot!(expression("service=a/https:b:web/m/x"), @"request.resource.resource == 'services' && request.namespace == 'a' && request.name == 'https:b:web' && has(object.path) && object.path == '/m/x'");
        insta::assert_snapshot!(expression(EVERY_JOB).replace(") || (", ") ||\n("), @"
        (request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in ['/metrics/cadvisor', '/metrics', '/metrics/resource', '/metrics/probes']) ||
        (request.resource.resource == 'services' && request.namespace == 'kube-system' && request.name == 'kube-state-metrics:http' && has(object.path) && object.path == '/metrics') ||
        (request.resource.resource == 'services' && request.namespace == 'monitoring' && request.name == 'https:shop:8443' && has(object.path) && object.path == '/m/x') ||
        (request.resource.resource == 'services' && request.namespace == 'monitoring' && request.name == 'shop:http' && has(object.path) && object.path == '/metrics') ||
        (request.resource.resource == 'pods' && request.namespace == 'monitoring' && request.name.matches('^[a-z0-9.-]+:9100$') && has(object.path) && object.path == '/metrics') ||
        (request.resource.resource == 'pods' && request.namespace == 'shop' && request.name.matches('^(https:)?[a-z0-9.-]+:[0-9]+$') && has(object.path) && object.path == '/m.x') ||
        (request.resource.resource == 'pods' && request.namespace == 'shop' && request.name.matches('^(https:)?[a-z0-9.-]+:[0-9]+$') && has(object.path) && object.path == '/metrics') ||
        (request.resource.resource == 'services' && request.namespace == 'monitoring' && request.name == 'prometheus-k8s:web' && has(object.path) && object.path == '/federate')
        ");
    }

    #[test]
    fn a_policy_of_ours_is_read_back() {
        let binding = json!({ "spec": binding_spec(&account()) });
        for jobs in ["cadvisor", "default", "apiserver", "kubelet,federate=a/b:80", "pods=shop/metrics", EVERY_JOB] {
            let jobs: Jobs = jobs.parse().unwrap();
            let policy = json!({ "spec": policy_spec(&account(), &jobs) });
            assert_eq!(admitted(&account(), &policy, &binding), Some(targets(&jobs)), "{jobs}");
            assert_eq!(not_admitted(&targets(&jobs), &jobs), []);
        }
        for expression in ["true", "", "()", "(true) || (false)", "request.resource.resource == 'nodes'"] {
            let mut policy = json!({ "spec": policy_spec(&account(), &"default".parse().unwrap()) });
            policy["spec"]["validations"][0]["expression"] = json!(expression);
            assert_eq!(admitted(&account(), &policy, &binding), None, "{expression}");
        }
    }
}
