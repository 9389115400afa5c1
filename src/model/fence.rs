//! The fence: a `ValidatingAdmissionPolicy` that lets an account reach only its jobs' own pages through the API
//! server's proxies. Default deny.
//!
//! A request to `nodes/proxy` is a CONNECT with `NodeProxyOptions` as its object. The path arrives there with a
//! leading slash and is cleaned only after admission, so only exact comparison is safe: `/metrics/../configz` would
//! pass a prefix (apiserver `pkg/endpoints/handlers/get.go`, apimachinery `util/net/http.go`).

use super::{
    account::Account,
    job::{Job, Jobs},
};
use serde_json::{Value, json};

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
        "validations": [{ "expression": expression(jobs), "message": message(account, jobs), "reason": "Invalid" }],
    })
}

/// The `spec` of the binding that puts the policy into force.
pub fn binding_spec(account: &Account) -> Value {
    json!({ "policyName": account.cluster_scoped_name(), "validationActions": ["Deny"] })
}

/// CEL. A node's name has no colon, but `NODE:PORT` and `https:NODE:PORT` would be accepted in its place and name
/// another port of the node.
fn expression(jobs: &Jobs) -> String {
    let paths: Vec<String> = jobs.iter().map(|job| format!("'{}'", job.metrics_path())).collect();
    format!(
        "request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in [{}]",
        paths.join(", ")
    )
}

fn message(account: &Account, jobs: &Jobs) -> String {
    let paths: Vec<&str> = jobs.iter().map(Job::metrics_path).collect();
    format!("{account} may read only {} of a node through the API server", paths.join(" and "))
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

/// The pages on a node of the jobs that were not chosen. A fence of the same name that was made for more jobs lets
/// them through: while the API server still has that one, only these tell it from the new.
pub fn pages_not_chosen(node: &str, jobs: &Jobs) -> Vec<String> {
    let others = Job::ALL.into_iter().filter(|job| !jobs.contains(*job));
    others.map(|job| format!("/api/v1/nodes/{node}/proxy{}", job.metrics_path())).collect()
}

/// What the fence must refuse on a node: the pages of the jobs that were not chosen, other neighbours of the jobs'
/// pages, tricks with the path, and exec.
/// All are harmless where there is no fence: reads, and an exec that names no pod.
pub fn forbidden_paths(node: &str, jobs: &Jobs) -> Vec<String> {
    let proxy = format!("/api/v1/nodes/{node}/proxy");
    let mut paths = pages_not_chosen(node, jobs);
    paths.extend([
        format!("{proxy}/configz"),
        format!("{proxy}/pods"),
        format!("{proxy}/metrics/../configz"),
        format!("{proxy}/metrics%2f..%2fconfigz"),
        format!("/api/v1/nodes/{node}:10250/proxy/configz"),
        format!("{proxy}/exec/prom-federate/no-such-pod/none?command=true&output=1"),
    ]);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn every_page_of_a_job_is_chosen_or_forbidden() {
        for jobs in ["cadvisor", "kubelet", "default"] {
            let jobs: Jobs = jobs.parse().unwrap();
            let forbidden = forbidden_paths("n", &jobs);
            for job in Job::ALL {
                let page = format!("/api/v1/nodes/n/proxy{}", job.metrics_path());
                assert_ne!(forbidden.contains(&page), jobs.contains(job), "{page} with --jobs={jobs}");
            }
        }
        assert_eq!(forbidden_paths("n", &"kubelet".parse().unwrap())[0], "/api/v1/nodes/n/proxy/metrics/cadvisor");
        assert_eq!(forbidden_paths("n", &Jobs::all()).len(), 6, "README.md and SECURITY.md name the number");
    }

    #[test]
    fn the_expression_lists_exactly_the_chosen_pages() {
        insta::assert_snapshot!(expression(&"cadvisor".parse().unwrap()), @"request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in ['/metrics/cadvisor']");
        insta::assert_snapshot!(expression(&"default".parse().unwrap()), @"request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in ['/metrics/cadvisor', '/metrics']");
    }
}
