//! Surplus rights of an account: those in the API server's list of its rights that its own roles do not grant.

use super::desired::Desired;
use crate::model::kube::object::{Kind, ObjectRef};
use serde_json::Value;
use std::collections::BTreeSet;

/// The rights of every authenticated caller (Kubernetes `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`,
/// `system:basic-user`).
const EVERYBODY: [(&str, &str); 4] = [
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("certificates.k8s.io", "clustertrustbundles"),
];
/// Paths that every caller may read (`system:discovery`, `system:public-info-viewer`,
/// `system:service-account-issuer-discovery`).
const PUBLIC: [&str; 9] =
    ["/api", "/apis", "/healthz", "/livez", "/readyz", "/openapi", "/version", "/.well-known", "/openid"];

/// As many surplus rights are named: a rule is about each resource in each group, and an API server may answer with long
/// lists of both.
const NAMED: usize = 100;

/// One line for each surplus right: `get,list secrets`. `status` comes from a `SelfSubjectRulesReview` about this
/// namespace and is not trusted to be well-formed.
pub fn excess(status: &Value, desired: &Desired, namespace: &str) -> Vec<String> {
    let is_there = |reference: &ObjectRef| reference.namespace.as_deref().is_none_or(|own| own == namespace);
    let roles = desired
        .objects()
        .map(|object| (&object.reference, object))
        .filter(|(reference, _)| matches!(reference.kind, Kind::Role | Kind::ClusterRole) && is_there(reference))
        .map(|(_, object)| object);
    let granted: Vec<&Value> = roles.flat_map(|role| role.manifest["rules"].as_array().into_iter().flatten()).collect();
    let are_pinned = desired.jobs.route().pins().is_some();
    let mut found = Vec::new();
    for rule in status["resourceRules"].as_array().into_iter().flatten() {
        let (resources, names) = (strings(&rule["resources"]), strings(&rule["resourceNames"]));
        for group in strings(&rule["apiGroups"]) {
            for resource in &resources {
                if found.len() == NAMED {
                    break;
                }
                if EVERYBODY.contains(&(group, resource)) {
                    continue;
                }
                let beyond: Vec<&str> = strings(&rule["verbs"])
                    .into_iter()
                    .filter(|verb| !granted.iter().any(|own| covers(own, verb, group, resource, &names)))
                    // Only the cluster knows which nodes are pinned. A bare node name has no port.
                    .filter(|verb| !(are_pinned && is_pinned(verb, group, resource, &names)))
                    .collect();
                if !beyond.is_empty() {
                    let group = if group.is_empty() { String::new() } else { format!(".{group}") };
                    let names = if names.is_empty() { String::new() } else { format!(" {}", names.join(",")) };
                    found.push(format!("{} {resource}{group}{names}", beyond.join(",")));
                }
            }
        }
    }
    for rule in status["nonResourceRules"].as_array().into_iter().flatten() {
        let verbs = strings(&rule["verbs"]);
        let reads = verbs.iter().all(|verb| matches!(*verb, "get" | "head"));
        for path in strings(&rule["nonResourceURLs"]) {
            let own = granted.iter().any(|own| {
                strings(&own["nonResourceURLs"]).contains(&path)
                    && verbs.iter().all(|verb| strings(&own["verbs"]).contains(verb))
            });
            let public = reads && is_public(path);
            if !own && !public && found.len() < NAMED {
                found.push(format!("{} {path}", verbs.join(",")));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn covers(own: &Value, verb: &str, group: &str, resource: &str, names: &[&str]) -> bool {
    let own_names = strings(&own["resourceNames"]);
    strings(&own["verbs"]).contains(&verb)
        && strings(&own["apiGroups"]).contains(&group)
        && strings(&own["resources"]).contains(&resource)
        && (own_names.is_empty() || !names.is_empty() && names.iter().all(|name| own_names.contains(name)))
}

fn is_pinned(verb: &str, group: &str, resource: &str, names: &[&str]) -> bool {
    (verb, group, resource) == ("get", "", "nodes/proxy")
        && !names.is_empty()
        && names.iter().all(|name| name.contains(':'))
}

fn is_public(path: &str) -> bool {
    PUBLIC.iter().any(|public| path.strip_prefix(public).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Each once.
fn strings(list: &Value) -> Vec<&str> {
    let strings: BTreeSet<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    strings.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use crate::model::{
        account::{Account, desired::Fence, renewal::Limits},
        job::Jobs,
        kube::object::ManagedBy,
    };
    use serde_json::json;

    fn desired() -> Desired {
        let account = Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() };
        Desired::new(&account, &"default".parse().unwrap(), Fence::Required, ManagedBy::Us)
            .with_self_renew(&account, &Limits::NONE)
    }

    #[test]
    fn bare_node_names_are_surplus_where_nodes_are_pinned() {
        let jobs: Jobs = "default".parse().unwrap();
        let desired =
            Desired::new(&desired().account, &jobs.by("pinned".parse().unwrap()), Fence::Required, ManagedBy::Us);
        for (names, expected) in [
            (vec!["n:10250", "m:10260"], None),
            (vec!["n:10250", "m"], Some("get nodes/proxy m,n:10250")),
            (vec![], Some("get nodes/proxy")),
        ] {
            let rule =
                json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["nodes/proxy"], "resourceNames": names });
            let status = json!({ "resourceRules": [rule] });
            assert_eq!(excess(&status, &desired, "prom-federate").first().map(String::as_str), expected, "{names:?}");
        }
    }

    #[test]
    fn surplus_rights_are_named() {
        let rule = |verbs: &[&str], group: &str, resource: &str, names: &[&str]| json!({ "resourceRules": [{ "verbs": verbs, "apiGroups": [group], "resources": [resource], "resourceNames": names }] });
        let path =
            |verb: &str, path: &str| json!({ "nonResourceRules": [{ "verbs": [verb], "nonResourceURLs": [path] }] });
        for (status, expected) in [
            (rule(&["list", "watch"], "", "nodes", &[]), None),
            (rule(&["get"], "", "nodes/proxy", &[]), None),
            (rule(&["get", "create"], "", "nodes/proxy", &[]), Some("create nodes/proxy")),
            (rule(&["create"], "", "serviceaccounts/token", &["prometheus"]), None),
            (rule(&["create"], "", "serviceaccounts/token", &["other"]), Some("create serviceaccounts/token other")),
            (rule(&["create"], "", "serviceaccounts/token", &[]), Some("create serviceaccounts/token")),
            (rule(&["get", "list"], "apps", "deployments", &[]), Some("get,list deployments.apps")),
            (rule(&["*"], "*", "*", &[]), Some("* *.*")),
            (rule(&["create"], "authorization.k8s.io", "selfsubjectaccessreviews", &[]), None),
            (path("get", "/version/"), None),
            (path("get", "/apis/*"), None),
            (path("get", "/apisx"), Some("get /apisx")),
            (path("post", "/version"), Some("post /version")),
            (path("get", "/metrics"), Some("get /metrics")),
            (path("*", "*"), Some("* *")),
            (json!("<html>"), None),
        ] {
            assert_eq!(excess(&status, &desired(), "prom-federate").first().map(String::as_str), expected, "{status}");
        }
    }

    #[test]
    fn hostile_lists_of_rights_are_survived() {
        let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let rule = json!({ "verbs": ["get"], "apiGroups": names, "resources": names });
        assert_eq!(excess(&json!({ "resourceRules": [rule] }), &desired(), "prom-federate").len(), NAMED);
        let example = r#"{"resourceRules":[{"verbs":["get","list"],"apiGroups":["","apps"],"resources":["pods","nodes/proxy"],"resourceNames":["n:10250"]}],"nonResourceRules":[{"verbs":["get"],"nonResourceURLs":["/metrics","/apis/*"]}]}"#;
        hostile::texts(&[example], |text| {
            let status = serde_json::from_str(text).unwrap_or_default();
            assert!(excess(&status, &desired(), "prom-federate").len() <= NAMED);
        });
    }
}
