//! The fence: a `ValidatingAdmissionPolicy` that lets an account reach only its jobs' own pages through the API
//! server's proxies. Default deny.
//!
//! A request to `nodes/proxy` is a CONNECT with `NodeProxyOptions` as its object. The path arrives there with a
//! leading slash and is cleaned only after admission, so only exact comparison is safe: `/metrics/../configz` would
//! pass a prefix (apiserver `pkg/endpoints/handlers/get.go`, apimachinery `util/net/http.go`). `pods/proxy` and
//! `services/proxy` are the same with options of their own; `request.name` is the literal segment of the URL.

use super::Account;
use crate::model::{
    job::{
        Job, Jobs,
        route::{Node, Route},
        target::{EXEC, Target},
    },
    kube::diff::differences,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The resources whose requests an API server forwards.
const PROXIES: [&str; 3] = ["nodes/proxy", "pods/proxy", "services/proxy"];

/// The powers of a token without a fence. A WebSocket to `/exec` gets no further than the kubelet's handler this way,
/// because the API server drops the query of an upgraded request (apimachinery `util/proxy/upgradeaware.go`); the
/// kubelet's other pages need none.
pub const WITHOUT: &str = "without the fence a thief of the token can read every pod's definition and logs and forward ports into every pod \
                           through the API server: RBAC cannot limit `get nodes/proxy` to the metrics";

/// The powers of a token despite the fence: a kubelet asks only RBAC.
pub const LIMIT: &str = "the fence protects only the API server: keep port 10250 of the nodes closed to other clients, \
                         because a stolen token could run commands in pods at a kubelet itself";

/// The limits of a token where each node is named with its port.
pub const PINNED: &str = "the nodes are pinned: a kubelet asks RBAC about the bare name, so this token is useless at a kubelet itself; \
                          new nodes are scraped only after the next join or rotate by an administrator";

/// The `spec` of the policy.
pub fn policy_spec(account: &Account, jobs: &Jobs) -> Value {
    spec(account, &targets(jobs))
}

/// The `spec` of the policy while earlier jobs, which read the targets `besides`, are still in use.
pub(in crate::model) fn policy_spec_with(account: &Account, jobs: &Jobs, besides: &[Target]) -> Value {
    let mut all = targets(jobs);
    all.extend(besides.iter().filter(|target| !all.contains(target)).cloned().collect::<Vec<_>>());
    spec(account, &all)
}

/// The targets that the jobs reach through the proxies, each once, in the order of the jobs.
fn targets(jobs: &Jobs) -> Vec<Target> {
    let mut targets = Vec::new();
    for target in jobs.targets().filter(Target::is_proxied) {
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

/// The targets that the policy of an account admits. None if policy or binding differ from what `join` makes.
pub fn admitted(account: &Account, policy: &Value, binding: &Value) -> Option<Vec<Target>> {
    let targets = targets_of(policy["spec"]["validations"][0]["expression"].as_str()?)?;
    let is_ours = differences(&spec(account, &targets), &policy["spec"]).is_empty()
        && differences(&binding_spec(account), &binding["spec"]).is_empty();
    is_ours.then_some(targets)
}

/// The targets that the jobs do not read.
pub fn not_read(targets: &[Target], jobs: &Jobs) -> Vec<Target> {
    let read: BTreeSet<Target> = jobs.targets().collect();
    targets.iter().filter(|target| !read.contains(target)).cloned().collect()
}

/// Whether the targets are exactly those of the jobs. The ports of pinned nodes are ignored.
pub fn is_for(targets: &[Target], jobs: &Jobs) -> bool {
    let without_ports = |target: Target| match target {
        Target::PinnedNodes { path, .. } => Target::PinnedNodes { path, ports: Vec::new() },
        other => other,
    };
    let read: BTreeSet<Target> = self::targets(jobs).into_iter().map(without_ports).collect();
    targets.iter().cloned().map(without_ports).collect::<BTreeSet<Target>>() == read
}

/// The targets of the jobs that are missing from `targets`.
pub fn not_admitted(targets: &[Target], jobs: &Jobs) -> Vec<Target> {
    self::targets(jobs).into_iter().filter(|target| !targets.contains(target)).collect()
}

/// The `spec` of the binding that puts the policy into force.
pub fn binding_spec(account: &Account) -> Value {
    json!({ "policyName": account.cluster_scoped_name(), "validationActions": ["Deny"] })
}

/// The beginning of every clause about nodes.
const NODES: &str = "request.resource.resource == 'nodes' && ";
/// A node's name has no colon. The API server would accept `NODE:PORT` and `https:NODE:PORT` too, which name another
/// port of the node.
const BARE: &str = "!request.name.contains(':')";
/// A node's name with a port, and only a port of a kubelet. RBAC decides which node has which port.
const WITH_PORT: [&str; 2] = ["request.name.matches('^[a-z0-9.-]+:(", ")$')"];
/// The text before the list of pages.
const PAGES: &str = " && has(object.path) && object.path in [";

/// CEL: a clause for all pages of nodes by each of their spellings, and one for each other target.
fn expression(targets: &[Target]) -> String {
    // Each spelling with its pages, in the order of the targets.
    let mut nodes: Vec<(String, Vec<String>)> = Vec::new();
    for target in targets {
        let (spelling, path) = match target {
            Target::Nodes { path } => (BARE.to_owned(), path),
            // No node is pinned, so the fence admits no node.
            Target::PinnedNodes { ports, .. } if ports.is_empty() => continue,
            Target::PinnedNodes { path, ports } => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                ([WITH_PORT[0], &ports.join("|"), WITH_PORT[1]].concat(), path)
            }
            _ => continue,
        };
        match nodes.iter_mut().find(|(known, _)| *known == spelling) {
            Some((_, paths)) => paths.push(format!("'{path}'")),
            None => nodes.push((spelling, vec![format!("'{path}'")])),
        }
    }
    let nodes = nodes.into_iter().map(|(spelling, paths)| format!("{NODES}{spelling}{PAGES}{}]", paths.join(", ")));
    let clauses: Vec<String> = nodes.chain(targets.iter().filter_map(Target::clause)).collect();
    match &clauses[..] {
        // No job needs a proxy.
        [] => "false".to_owned(),
        [one] => one.clone(),
        several => format!("({})", several.join(") || (")),
    }
}

/// An expression without the ports of pinned nodes, because nodes come and go.
pub(in crate::model) fn without_ports(expression: &str) -> String {
    let mut rest = expression;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once(WITH_PORT[0]) {
        text += before;
        text += WITH_PORT[0];
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '|');
    }
    text + rest
}

/// The targets of an expression as [`expression`] writes it.
fn targets_of(expression: &str) -> Option<Vec<Target>> {
    if expression == "false" {
        return Some(Vec::new());
    }
    let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(expression);
    let mut targets = Vec::new();
    for clause in inner.split(") || (") {
        let Some(of_nodes) = clause.strip_prefix(NODES) else {
            targets.push(Target::of_clause(clause)?);
            continue;
        };
        let (spelling, pages) = of_nodes.split_once(PAGES)?;
        let ports: Option<Vec<u16>> = if spelling == BARE {
            None
        } else {
            let ports = spelling.strip_prefix(WITH_PORT[0])?.strip_suffix(WITH_PORT[1])?.split('|');
            Some(ports.map(|port| port.parse().ok()).collect::<Option<_>>()?)
        };
        for page in pages.strip_suffix(']')?.split(", ") {
            let path = page.strip_prefix('\'')?.strip_suffix('\'')?.to_owned();
            targets.push(match &ports {
                None => Target::Nodes { path },
                Some(ports) => Target::PinnedNodes { path, ports: ports.clone() },
            });
        }
    }
    Some(targets)
}

fn message(account: &Account, targets: &[Target]) -> String {
    format!("{account} may read only {} through the API server", described(targets))
}

/// `/metrics/cadvisor and /metrics of a node; /metrics of service monitoring/shop:http`
pub fn described(targets: &[Target]) -> String {
    let mut nodes: Vec<&str> = Vec::new();
    for path in targets.iter().filter_map(Target::of_node) {
        if !nodes.contains(&path) {
            nodes.push(path);
        }
    }
    let nodes = (!nodes.is_empty()).then(|| format!("{} of a node", nodes.join(" and ")));
    let others = targets.iter().filter(|target| target.of_node().is_none()).map(Target::to_string);
    let all: Vec<String> = nodes.into_iter().chain(others).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join("; ") }
}

/// Whether this account's fence refused a request. A 403 of RBAC proves nothing: the API server may not know the rights
/// yet.
pub fn is_refusal(account: &Account, code: u16, message: &str) -> bool {
    is_refusal_by(&account.cluster_scoped_name(), code, message)
}

/// Whether the policy and binding of this name refused a request. The API server writes
/// `ValidatingAdmissionPolicy 'NAME' with binding 'NAME' denied request: …`.
pub(in crate::model) fn is_refusal_by(name: &str, code: u16, message: &str) -> bool {
    code == 422 && message.contains(&format!("ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request"))
}

/// A pod that does not exist: admission runs before the API server looks for the pod.
const NO_POD: &str = "prom-federate-no-such-pod";

/// [`NO_POD`] with this port, or with a port that no job names.
fn no_pod(port: Option<u16>) -> String {
    format!("{NO_POD}:{}", port.unwrap_or(1))
}

fn is_admitted(path: &str, jobs: &Jobs, besides: &[Target]) -> bool {
    targets(jobs).iter().chain(besides).any(|target| target.admits(path))
}

/// A request that must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    pub path: String,
    /// Whether RBAC may refuse the request before the fence sees it.
    pub by_rbac: bool,
}

impl Forbidden {
    fn by_fence(path: String) -> Self {
        Self { path, by_rbac: false }
    }

    fn by_rbac(path: String) -> Self {
        Self { path, by_rbac: true }
    }
}

/// The requests that the fence must refuse while these jobs work: other pages of nodes, neighbours of the jobs' pages,
/// tricks with the path, and exec. `node` is one of the nodes, if the jobs need nodes. `besides` are targets of earlier
/// jobs that are still in use. All requests are harmless without a fence: reads, and an exec that names no pod.
pub fn forbidden(node: Option<&Node>, jobs: &Jobs, besides: &[Target]) -> Vec<Forbidden> {
    let mut paths = Vec::new();
    let mut by_rbac = Vec::new();
    if let Some(node) = node {
        let route = jobs.route();
        let others = Job::OF_NODES.iter().filter(|job| route.is_proxied() && !jobs.contains(job));
        paths.extend(others.map(|job| jobs.target(job).page(&route.subject(node))));
        by_rbac.extend(by_other_routes(node, jobs));
    }
    let mut asked = false;
    for target in targets(jobs) {
        match (&target, node) {
            // All pages of a node have the same neighbours.
            (Target::Nodes { .. } | Target::PinnedNodes { .. }, Some(node)) if !asked => {
                paths.extend(target.neighbours(&jobs.route().subject(node)));
                asked = true;
            }
            (Target::Nodes { .. } | Target::PinnedNodes { .. }, _) => {}
            (Target::Pods { port: Some(port), .. }, _) => {
                paths.extend(target.neighbours(&no_pod(Some(*port))));
                paths.push(target.page(&no_pod(None)));
            }
            _ => paths.extend(target.neighbours(&no_pod(None))),
        }
    }
    // Two jobs of one Service share neighbours, and a neighbour of one job may be the page of another.
    paths.sort_unstable();
    paths.dedup();
    let mut forbidden: Vec<Forbidden> = paths.into_iter().map(Forbidden::by_fence).collect();
    forbidden.extend(by_rbac.into_iter().map(Forbidden::by_rbac));
    forbidden.retain(|one| !is_admitted(&one.path, jobs, besides));
    if jobs.contains(&Job::Apiserver) {
        // The API server does not forward this path, so only RBAC can refuse it.
        forbidden.push(Forbidden::by_rbac("/debug/pprof/".to_owned()));
    }
    forbidden
}

/// Requests to a node through the API server that RBAC must refuse, because the jobs use another route.
fn by_other_routes(node: &Node, jobs: &Jobs) -> Vec<String> {
    if *jobs.route() == Route::ApiServer {
        return Vec::new();
    }
    let of_nodes: Vec<&Job> = jobs.iter().filter(|job| job.is_of_nodes()).collect();
    let pages = |subject: String| of_nodes.iter().map(move |job| Target::of(job, &Route::ApiServer).page(&subject));
    let mut paths: Vec<String> = pages(node.name.clone()).collect();
    let proxy = format!("/api/v1/nodes/{}/proxy", node.name);
    paths.extend([format!("{proxy}/configz"), format!("{proxy}{EXEC}")]);
    if jobs.route().pins().is_some() {
        paths.extend(pages(format!("https:{}", node.pin())).take(1));
    } else {
        paths.extend(pages(node.pin()).take(1));
    }
    paths
}

/// The pages that only the former fence admitted. They tell the new fence from the former one: an API server that
/// still has the former fence refuses everything else too.
pub fn formerly_allowed(node: Option<&Node>, former: &[Target], jobs: &Jobs, besides: &[Target]) -> Vec<Forbidden> {
    let page = |target: Target| match (&target, node) {
        // The route has no right to it any more.
        (Target::Nodes { .. }, Some(node)) => {
            Some(Forbidden { path: target.page(&node.name), by_rbac: *jobs.route() != Route::ApiServer })
        }
        (Target::PinnedNodes { .. }, Some(node)) => {
            Some(Forbidden { path: target.page(&node.pin()), by_rbac: !jobs.route().is_proxied() })
        }
        // The last job that needs nodes is gone, and so is the right.
        (Target::Nodes { .. } | Target::PinnedNodes { .. } | Target::Kubelets { .. } | Target::ApiServer { .. }, _) => {
            None
        }
        _ => {
            let port = if let Target::Pods { port, .. } = target { port } else { None };
            Some(Forbidden::by_rbac(target.page(&no_pod(port))))
        }
    };
    let gone = not_read(former, jobs).into_iter().filter_map(page);
    gone.filter(|one| !is_admitted(&one.path, jobs, besides)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::{EVERY_JOB, route::Pins};

    fn node() -> Node {
        Node { name: "n".into(), port: 10_250, address: None }
    }

    fn by(route: Route, jobs: &str) -> Jobs {
        jobs.parse::<Jobs>().unwrap().by(route)
    }

    fn pinned() -> Route {
        Route::Pinned(Pins::of_names(["m:10260", "n:10250"]))
    }

    fn account() -> Account {
        Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() }
    }

    #[test]
    fn only_the_accounts_own_policy_counts_as_the_fence() {
        let ours = "nodes \"n\" is forbidden: ValidatingAdmissionPolicy 'prom-federate.prom-federate.prometheus' with binding \
                    'prom-federate.prom-federate.prometheus' denied request: no";
        assert!(is_refusal(&account(), 422, ours));
        assert!(!is_refusal(&account(), 403, ours), "a 403 is RBAC's");
        assert!(!is_refusal(&account(), 422, &ours.replace("prometheus'", "other'")), "the policy of another account");
    }

    fn paths(forbidden: &[Forbidden]) -> Vec<&str> {
        forbidden.iter().map(|one| one.path.as_str()).collect()
    }

    #[test]
    fn pages_of_a_node_are_either_chosen_or_forbidden() {
        for jobs in ["cadvisor", "kubelet", "default", "probes,resource", EVERY_JOB] {
            let jobs: Jobs = jobs.parse().unwrap();
            let forbidden = forbidden(Some(&node()), &jobs, &[]);
            for job in &Job::OF_NODES {
                let page = jobs.target(job).page("n");
                assert_ne!(paths(&forbidden).contains(&page.as_str()), jobs.contains(job), "{page} with --jobs={jobs}");
            }
        }
        assert_eq!(forbidden(Some(&node()), &"default".parse().unwrap(), &[]).len(), 8, "README.md names the number");
        assert_eq!(paths(&forbidden(None, &"apiserver".parse().unwrap(), &[])), ["/debug/pprof/"]);
        insta::assert_snapshot!(paths(&forbidden(None, &"service=a/b:80,pods=shop/metrics,node-exporter=m".parse().unwrap(), &[])).join("\n"), @"
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
    fn forbidden_requests_include_no_page_of_a_job() {
        let words: Vec<&str> =
            EVERY_JOB.split(',').chain(["pods=monitoring/metrics", "service=a/b:80/api/v1/status/config"]).collect();
        for one in &words {
            for other in &words {
                let jobs: Jobs = format!("{one},{other},service=a/b:80").parse().unwrap();
                for Forbidden { path, by_rbac } in forbidden(Some(&node()), &jobs, &[]) {
                    assert!(by_rbac || !is_admitted(&path, &jobs, &[]), "{path} with --jobs={jobs}");
                }
            }
        }
    }

    #[test]
    fn pages_of_former_jobs_reveal_the_former_fence() {
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
            // The remaining job still covers the removed page.
            ("node-exporter=m:9100,pods=m/metrics", "pods=m/metrics", None, ""),
            (
                "node-exporter=m:9100,pods=m/metrics",
                "node-exporter=m:9100",
                None,
                "/api/v1/namespaces/m/pods/prom-federate-no-such-pod:1/proxy/metrics",
            ),
        ] {
            let node = node.map(|_: &str| self::node());
            let forbidden = formerly_allowed(node.as_ref(), &former(before), &now.parse().unwrap(), &[]);
            assert_eq!(paths(&forbidden).join(" "), telling, "{before} to {now}");
        }
    }

    #[test]
    fn expression_lists_exactly_the_chosen_pages() {
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
    fn expression_names_nodes_with_ports_only_where_they_are_pinned() {
        let bare = targets(&by(Route::ApiServer, "default"));
        let pinned = by(pinned(), "default");
        insta::assert_snapshot!(expression(&targets(&pinned)), @"request.resource.resource == 'nodes' && request.name.matches('^[a-z0-9.-]+:(10250|10260)$') && has(object.path) && object.path in ['/metrics/cadvisor', '/metrics']");
        // Jobs that name nodes without their ports are still in use.
        let policy = policy_spec_with(&account(), &pinned, &bare);
        insta::assert_snapshot!(policy["validations"][0]["expression"].as_str().unwrap().replace(") || (", ") ||\n("), @"
        (request.resource.resource == 'nodes' && request.name.matches('^[a-z0-9.-]+:(10250|10260)$') && has(object.path) && object.path in ['/metrics/cadvisor', '/metrics']) ||
        (request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in ['/metrics/cadvisor', '/metrics'])
        ");
        insta::assert_snapshot!(policy["validations"][0]["message"].as_str().unwrap(), @"prom-federate/prometheus may read only /metrics/cadvisor and /metrics of a node through the API server");
        for jobs in [by(Route::Kubelet, "default"), by(Route::Pinned(Pins::default()), "default")] {
            assert_eq!(expression(&targets(&jobs)), "false", "{}", jobs.route());
        }
    }

    #[test]
    fn each_route_forbids_the_other_routes() {
        let shown = |route: Route, besides: &[Target]| {
            let forbidden = forbidden(Some(&node()), &by(route, "default"), besides);
            let line = |one: &Forbidden| format!("{} {}", if one.by_rbac { "right" } else { "fence" }, one.path);
            forbidden.iter().map(line).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(shown(pinned(), &[]), @"
        fence /api/v1/nodes/n:10250/proxy/configz
        fence /api/v1/nodes/n:10250/proxy/exec/prom-federate/no-such-pod/none?command=true&output=1
        fence /api/v1/nodes/n:10250/proxy/metrics%2f..%2fconfigz
        fence /api/v1/nodes/n:10250/proxy/metrics/../configz
        fence /api/v1/nodes/n:10250/proxy/metrics/probes
        fence /api/v1/nodes/n:10250/proxy/metrics/resource
        fence /api/v1/nodes/n:10250/proxy/pods
        right /api/v1/nodes/n/proxy/metrics/cadvisor
        right /api/v1/nodes/n/proxy/metrics
        right /api/v1/nodes/n/proxy/configz
        right /api/v1/nodes/n/proxy/exec/prom-federate/no-such-pod/none?command=true&output=1
        right /api/v1/nodes/https:n:10250/proxy/metrics/cadvisor
        ");
        insta::assert_snapshot!(shown(Route::Kubelet, &[]), @"
        right /api/v1/nodes/n/proxy/metrics/cadvisor
        right /api/v1/nodes/n/proxy/metrics
        right /api/v1/nodes/n/proxy/configz
        right /api/v1/nodes/n/proxy/exec/prom-federate/no-such-pod/none?command=true&output=1
        right /api/v1/nodes/n:10250/proxy/metrics/cadvisor
        ");
        let bare = targets(&by(Route::ApiServer, "kubelet"));
        insta::assert_snapshot!(shown(Route::Kubelet, &bare), @"
        right /api/v1/nodes/n/proxy/metrics/cadvisor
        right /api/v1/nodes/n/proxy/configz
        right /api/v1/nodes/n/proxy/exec/prom-federate/no-such-pod/none?command=true&output=1
        right /api/v1/nodes/n:10250/proxy/metrics/cadvisor
        ");
        let former = formerly_allowed(Some(&node()), &bare, &by(pinned(), "default"), &[]);
        assert_eq!(former, [Forbidden::by_rbac("/api/v1/nodes/n/proxy/metrics".into())]);
        assert_eq!(formerly_allowed(Some(&node()), &bare, &by(pinned(), "default"), &bare), []);
        let with_port = targets(&by(pinned(), "kubelet"));
        let former = formerly_allowed(Some(&node()), &with_port, &by(Route::ApiServer, "default"), &[]);
        assert_eq!(former, [Forbidden::by_fence("/api/v1/nodes/n:10250/proxy/metrics".into())]);
    }

    #[test]
    fn policy_is_read_back() {
        let binding = json!({ "spec": binding_spec(&account()) });
        for jobs in ["cadvisor", "default", "apiserver", "kubelet,federate=a/b:80", "pods=shop/metrics", EVERY_JOB] {
            let jobs: Jobs = jobs.parse().unwrap();
            let policy = json!({ "spec": policy_spec(&account(), &jobs) });
            assert_eq!(admitted(&account(), &policy, &binding), Some(targets(&jobs)), "{jobs}");
            assert_eq!(not_admitted(&targets(&jobs), &jobs), []);
            let pinned = jobs.clone().by(pinned());
            let policy = json!({ "spec": policy_spec_with(&account(), &pinned, &targets(&jobs)) });
            let both = admitted(&account(), &policy, &binding).unwrap();
            assert_eq!((not_admitted(&both, &pinned), not_admitted(&both, &jobs)), (vec![], vec![]), "{jobs}");
        }
        for expression in [
            "true",
            "",
            "()",
            "(true) || (false)",
            "request.resource.resource == 'nodes'",
            "request.resource.resource == 'nodes' && request.name.matches('^.*:(1)$') && has(object.path) && object.path in ['/']",
        ] {
            let mut policy = json!({ "spec": policy_spec(&account(), &"default".parse().unwrap()) });
            policy["spec"]["validations"][0]["expression"] = json!(expression);
            assert_eq!(admitted(&account(), &policy, &binding), None, "{expression}");
        }
    }
}
