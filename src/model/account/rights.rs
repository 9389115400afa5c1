//! The minimal RBAC rules for a set of jobs, each with its reason.

use crate::model::{
    job::{
        AggregatedPage, AggregatedResource, Jobs,
        route::{Pins, Route},
        target::Target,
    },
    text::names::Namespace,
};
use serde_json::{Value, json};

/// One RBAC rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub on: RuleTarget,
    pub verbs: &'static [&'static str],
    /// Printed above the rule by `manifests`.
    pub reason: &'static str,
}

/// The subject of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleTarget {
    /// A resource of an API group; the core group has no name. Without names the rule covers all objects.
    Resource { group: String, resource: String, names: Vec<String> },
    /// A path of the API server itself.
    Url(String),
}

/// The rules of one role; cluster-wide if there is no namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub namespace: Option<Namespace>,
    pub rules: Vec<Rule>,
}

impl Rule {
    fn on(resource: &'static str, verbs: &'static [&'static str], reason: &'static str) -> Self {
        Self::named(resource, Vec::new(), verbs, reason)
    }

    fn named(resource: &str, names: Vec<String>, verbs: &'static [&'static str], reason: &'static str) -> Self {
        Self { on: RuleTarget::Resource { group: String::new(), resource: resource.to_owned(), names }, verbs, reason }
    }

    /// The rule as an item of `rules:` in a role.
    pub fn manifest(&self) -> Value {
        match &self.on {
            RuleTarget::Url(url) => json!({ "nonResourceURLs": [url], "verbs": self.verbs }),
            RuleTarget::Resource { group, resource, names } if names.is_empty() => {
                json!({ "apiGroups": [group], "resources": [resource], "verbs": self.verbs })
            }
            RuleTarget::Resource { group, resource, names } => {
                json!({ "apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": self.verbs })
            }
        }
    }
}

/// The rules that these jobs need. Cluster-wide rules cover only resources without a namespace; the rules of each
/// namespace follow.
pub fn scopes(jobs: &Jobs) -> Vec<Scope> {
    let targets: Vec<Target> = jobs.targets().collect();
    let mut scopes: Vec<Scope> = Vec::new();
    let mut cluster_wide = if jobs.have_nodes() { of_nodes(jobs.route()) } else { Vec::new() };
    cluster_wide.extend(of_the_api_server(&targets));
    if !cluster_wide.is_empty() {
        scopes.push(Scope { namespace: None, rules: cluster_wide });
    }
    let mut namespaces: Vec<&Namespace> = targets
        .iter()
        .filter_map(|target| match target {
            Target::Service { namespace, .. } | Target::Pods { namespace, .. } => Some(namespace),
            Target::Nodes { .. } | Target::PinnedNodes { .. } | Target::Kubelets { .. } | Target::ApiServer { .. } => {
                None
            }
        })
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    scopes.extend(
        namespaces
            .into_iter()
            .map(|namespace| Scope { namespace: Some(namespace.clone()), rules: within(namespace, &targets) }),
    );
    scopes
}

const PROXY: &str = "nodes/proxy";
const METRICS: &str = "nodes/metrics";

fn of_nodes(route: &Route) -> Vec<Rule> {
    let mut rules = vec![Rule::on(
        "nodes",
        &["list", "watch"],
        "Prometheus' service discovery lists the nodes and watches for new ones; it never reads a single node.",
    )];
    match route {
        Route::ApiServer => rules.push(Rule::on(
            PROXY,
            &["get"],
            "Every scrape goes through the API server to the kubelet of a node. RBAC cannot tell the kubelet's pages apart:\n\
             this right also reads every pod's logs. The policy above limits it to the metrics.",
        )),
        // A rule without names would cover all nodes.
        Route::Pinned(pins) if pins.is_empty() => {}
        Route::Pinned(pins) => rules.push(Rule::named(
            PROXY,
            pins.iter().map(str::to_owned).collect(),
            &["get"],
            "Every scrape goes through the API server to the kubelet of a node. Each node is named with its port. A\n\
             kubelet authorizes the bare name, so this right is useless at a kubelet itself. RBAC cannot tell\n\
             the kubelet's pages apart, so the policy above limits this right to the metrics.",
        )),
        Route::Kubelet => rules.push(Rule::on(
            METRICS,
            &["get"],
            "Every scrape goes directly to a kubelet. The kubelet authorizes its metrics, and nothing else, by this right.",
        )),
    }
    rules
}

/// The routes to the nodes that a role grants, from the role as the API server returned it. There is more than one
/// while jobs by another route are still in use.
pub fn routes(role: &Value) -> Vec<Route> {
    role["rules"].as_array().into_iter().flatten().filter_map(route_of).collect()
}

/// The rules of a role that grant another route to the nodes.
pub(in crate::model) fn of_other_routes(role: &Value, route: &Route) -> Vec<Value> {
    let is_other = |rule: &&Value| {
        route_of(rule).is_some_and(|other| std::mem::discriminant(&other) != std::mem::discriminant(route))
    };
    role["rules"].as_array().into_iter().flatten().filter(is_other).cloned().collect()
}

/// Whether a rule is about a resource that the API server forwards requests to.
pub(in crate::model) fn is_proxied(rule: &Value) -> bool {
    route_of(rule).is_some_and(|route| route.is_proxied())
}

/// Removes the names of the pinned nodes from a role, for comparisons.
pub(in crate::model) fn forget_pins(role: &mut Value) {
    for rule in role["rules"].as_array_mut().into_iter().flatten() {
        if matches!(route_of(rule), Some(Route::Pinned(_))) {
            rule["resourceNames"] = json!([""]);
        }
    }
}

fn route_of(rule: &Value) -> Option<Route> {
    let mut resources = rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let resource = resources.find(|resource| [PROXY, METRICS].contains(resource))?;
    let names = rule["resourceNames"].as_array().filter(|names| !names.is_empty());
    Some(match (resource, names) {
        (METRICS, _) => Route::Kubelet,
        (_, Some(names)) => Route::Pinned(Pins::of_names(names.iter().filter_map(Value::as_str))),
        _ => Route::ApiServer,
    })
}

fn of_the_api_server(targets: &[Target]) -> impl Iterator<Item = Rule> {
    targets.iter().filter_map(|target| match target {
        Target::ApiServer { path } => Some(match AggregatedPage::of_path(path) {
            None => Rule {
                on: RuleTarget::Url(path.clone()),
                verbs: &["get"],
                reason: "The metrics of the API server itself, at exactly this path.",
            },
            Some(page) => {
                let AggregatedResource { group, resource, name } = page.resource();
                let on = RuleTarget::Resource { group: group.to_owned(), resource, names: vec![name.to_owned()] };
                Rule { on, verbs: &["get"], reason: "A page of an aggregated API: this resource, by this name." }
            }
        }),
        _ => None,
    })
}

fn within(namespace: &Namespace, targets: &[Target]) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut names: Vec<String> = targets
        .iter()
        .filter(|target| matches!(target, Target::Service { namespace: its, .. } if its == namespace))
        .filter_map(|target| target.resource_name().map(str::to_owned))
        .collect();
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        rules.push(Rule::named(
            "services/proxy",
            names,
            &["get"],
            "Scrapes go through the API server to these ports of Services, named as in the URL. RBAC cannot tell the\n\
             pages of a Service apart, so the policy above limits this right to the metrics.",
        ));
    }
    if targets.iter().any(|target| matches!(target, Target::Pods { namespace: its, .. } if its == namespace)) {
        rules.push(Rule::on(
            "pods",
            &["list", "watch"],
            "Prometheus' service discovery lists the pods of this namespace and watches for new ones.",
        ));
        rules.push(Rule::on(
            "pods/proxy",
            &["get"],
            "Scrapes go through the API server to the pods. Pod names change, and RBAC knows no ports or pages,\n\
             so the policy above limits this right to the metrics.",
        ));
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::EVERY_JOB;

    fn shown(jobs: &str) -> String {
        by(Route::ApiServer, jobs)
    }

    fn by(route: Route, jobs: &str) -> String {
        let mut text = String::new();
        for Scope { namespace, rules } in scopes(&jobs.parse::<Jobs>().unwrap().by(route)) {
            text += &format!("{}:\n", namespace.map_or("everywhere".to_owned(), |namespace| namespace.to_string()));
            for rule in rules {
                text += &format!("  {}\n", rule.manifest());
            }
        }
        text
    }

    #[test]
    fn each_job_adds_only_its_own_rules() {
        insta::assert_snapshot!(shown("cadvisor"), @r#"
        everywhere:
          {"apiGroups":[""],"resources":["nodes"],"verbs":["list","watch"]}
          {"apiGroups":[""],"resources":["nodes/proxy"],"verbs":["get"]}
        "#);
        insta::assert_snapshot!(shown("apiserver"), @r#"
        everywhere:
          {"nonResourceURLs":["/metrics"],"verbs":["get"]}
        "#);
        insta::assert_snapshot!(shown("slis"), @r#"
        everywhere:
          {"apiGroups":[""],"resources":["nodes"],"verbs":["list","watch"]}
          {"apiGroups":[""],"resources":["nodes/proxy"],"verbs":["get"]}
          {"nonResourceURLs":["/metrics/slis"],"verbs":["get"]}
        "#);
        insta::assert_snapshot!(shown("aggregated=a.b/v1/pages/all,aggregated=a.b/v1/pages/all/metrics"), @r#"
        everywhere:
          {"apiGroups":["a.b"],"resourceNames":["all"],"resources":["pages"],"verbs":["get"]}
          {"apiGroups":["a.b"],"resourceNames":["all"],"resources":["pages/metrics"],"verbs":["get"]}
        "#);
        insta::assert_snapshot!(shown("service=a/https:b:web/m"), @r#"
        a:
          {"apiGroups":[""],"resourceNames":["https:b:web"],"resources":["services/proxy"],"verbs":["get"]}
        "#);
        insta::assert_snapshot!(shown("pods=a/metrics"), @r#"
        a:
          {"apiGroups":[""],"resources":["pods"],"verbs":["list","watch"]}
          {"apiGroups":[""],"resources":["pods/proxy"],"verbs":["get"]}
        "#);
        insta::assert_snapshot!(shown(EVERY_JOB), @r#"
        everywhere:
          {"apiGroups":[""],"resources":["nodes"],"verbs":["list","watch"]}
          {"apiGroups":[""],"resources":["nodes/proxy"],"verbs":["get"]}
          {"nonResourceURLs":["/metrics"],"verbs":["get"]}
          {"nonResourceURLs":["/metrics/slis"],"verbs":["get"]}
          {"apiGroups":["metrics.eks.amazonaws.com"],"resourceNames":["container"],"resources":["kcm/metrics"],"verbs":["get"]}
        kube-system:
          {"apiGroups":[""],"resourceNames":["kube-state-metrics:http"],"resources":["services/proxy"],"verbs":["get"]}
        monitoring:
          {"apiGroups":[""],"resourceNames":["https:shop:8443","prometheus-k8s:web","shop:http"],"resources":["services/proxy"],"verbs":["get"]}
          {"apiGroups":[""],"resources":["pods"],"verbs":["list","watch"]}
          {"apiGroups":[""],"resources":["pods/proxy"],"verbs":["get"]}
        shop:
          {"apiGroups":[""],"resources":["pods"],"verbs":["list","watch"]}
          {"apiGroups":[""],"resources":["pods/proxy"],"verbs":["get"]}
        "#);
    }

    #[test]
    fn route_decides_the_rights_to_nodes() {
        let pins = Pins::of_names(["b:10250", "a.x:10260"]);
        insta::assert_snapshot!(by(Route::Pinned(pins.clone()), "default,apiserver"), @r#"
        everywhere:
          {"apiGroups":[""],"resources":["nodes"],"verbs":["list","watch"]}
          {"apiGroups":[""],"resourceNames":["a.x:10260","b:10250"],"resources":["nodes/proxy"],"verbs":["get"]}
          {"nonResourceURLs":["/metrics"],"verbs":["get"]}
        "#);
        insta::assert_snapshot!(by(Route::Kubelet, "default,apiserver"), @r#"
        everywhere:
          {"apiGroups":[""],"resources":["nodes"],"verbs":["list","watch"]}
          {"apiGroups":[""],"resources":["nodes/metrics"],"verbs":["get"]}
          {"nonResourceURLs":["/metrics"],"verbs":["get"]}
        "#);
        assert!(
            !by(Route::Pinned(Pins::default()), "default").contains(PROXY),
            "a rule without names would cover all nodes"
        );
        for route in [Route::ApiServer, Route::Pinned(pins), Route::Kubelet] {
            let scopes = scopes(&"default,pods=shop/metrics".parse::<Jobs>().unwrap().by(route.clone()));
            let rules: Vec<Value> = scopes[0].rules.iter().map(Rule::manifest).collect();
            let role = serde_json::json!({ "rules": rules });
            assert_eq!(routes(&role), std::slice::from_ref(&route));
            assert_eq!(of_other_routes(&role, &route), Vec::<Value>::new());
            let other = if route == Route::Kubelet { Route::ApiServer } else { Route::Kubelet };
            assert_eq!(of_other_routes(&role, &other), [rules[1].clone()], "{route}");
        }
    }

    #[test]
    fn cluster_wide_rules_cover_only_nodes_and_api_server_pages() {
        for job in EVERY_JOB.split(',') {
            let cluster_wide = scopes(&job.parse().unwrap()).iter().any(|scope| scope.namespace.is_none());
            assert_eq!(cluster_wide, !job.contains('=') || job.starts_with("aggregated="), "{job}");
        }
    }
}
