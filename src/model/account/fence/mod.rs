//! The fence: a `ValidatingAdmissionPolicy` that lets an account reach only its jobs' own pages through the API
//! server's proxies. Default deny.
//!
//! A request to `nodes/proxy` is a CONNECT with `NodeProxyOptions` as its object. The path arrives there with a
//! leading slash and is cleaned only after admission, so only exact comparison is safe: `/metrics/../configz` would
//! pass a prefix (apiserver `pkg/endpoints/handlers/get.go`, apimachinery `util/net/http.go`). `pods/proxy` and
//! `services/proxy` are the same with options of their own; `request.name` is the literal segment of the URL.

mod expression;
mod forbidden;

use super::{Account, policy};
use crate::model::{
    job::{Jobs, target::Target},
    kube::diff::is_exactly,
};
use expression::{expression, targets_of};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(in crate::model) use expression::without_ports;
pub use forbidden::{Forbidden, forbidden, formerly_allowed};

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
    policy::spec(account, "CONNECT", &PROXIES, &expression(targets), &message(account, targets))
}

/// The targets that the policy of an account admits. None if policy or binding differ from what `join` makes.
pub fn admitted(account: &Account, policy: &Value, binding: &Value) -> Option<Vec<Target>> {
    let targets = targets_of(policy["spec"]["validations"][0]["expression"].as_str()?)?;
    let is_ours =
        is_exactly(&spec(account, &targets), &policy["spec"]) && is_exactly(&binding_spec(account), &binding["spec"]);
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

/// Whether the jobs have a right that the fence limits. Otherwise RBAC refuses every request before the fence is asked.
pub fn is_asked(jobs: &Jobs) -> bool {
    !targets(jobs).is_empty()
}

/// Whether this account's fence refused a request. A 403 of RBAC proves nothing: the API server may not know the rights
/// yet.
pub fn is_refusal(account: &Account, code: u16, message: &str) -> bool {
    policy::is_refusal(&account.cluster_scoped_name(), code, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::{
        EVERY_JOB,
        route::{Pins, Route},
    };

    pub(super) fn by(route: Route, jobs: &str) -> Jobs {
        jobs.parse::<Jobs>().unwrap().by(route)
    }

    pub(super) fn pinned() -> Route {
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
