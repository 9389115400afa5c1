//! RBAC, as far as roles, bindings and reviews go.

use crate::api::RBAC;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

impl User {
    pub(crate) fn new(name: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().chain(&["system:authenticated"]).map(|group| (*group).to_owned()).collect();
        Self { name: name.to_owned(), groups }
    }

    pub(crate) fn anonymous() -> Self {
        Self { name: "system:anonymous".into(), groups: vec!["system:unauthenticated".into()] }
    }

    pub(crate) fn service_account(namespace: &str, name: &str) -> Self {
        let of_namespace = format!("system:serviceaccounts:{namespace}");
        Self::new(&format!("system:serviceaccount:{namespace}:{name}"), &["system:serviceaccounts", &of_namespace])
    }

    fn is(&self, subject: &Value) -> bool {
        let text = |key: &str| subject[key].as_str().unwrap_or_default();
        match text("kind") {
            "User" => self.name == text("name"),
            "Group" => self.groups.iter().any(|group| group == text("name")),
            "ServiceAccount" => self.name == format!("system:serviceaccount:{}:{}", text("namespace"), text("name")),
            _ => false,
        }
    }
}

/// A request that needs a right.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) verb: String,
    pub(crate) group: String,
    /// `nodes/proxy`
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Instead of a resource.
    pub(crate) url: String,
}

impl Attributes {
    pub(crate) fn of(verb: &str, resource: &str) -> Self {
        Self { verb: verb.to_owned(), resource: resource.to_owned(), ..Self::default() }
    }

    /// From the spec of a review.
    pub(crate) fn asked(attributes: &Value) -> Self {
        let text = |key: &str| attributes[key].as_str().unwrap_or_default().to_owned();
        let resource = match text("subresource") {
            none if none.is_empty() => text("resource"),
            subresource => format!("{}/{subresource}", text("resource")),
        };
        Self {
            verb: text("verb"),
            group: text("group"),
            resource,
            namespace: text("namespace"),
            name: text("name"),
            url: String::new(),
        }
    }

    /// Each single thing that a rule allows.
    pub(crate) fn granted_by(rule: &Value, namespace: &str) -> Vec<Self> {
        let each = |key: &str| {
            let values: Vec<String> = texts(&rule[key]).map(str::to_owned).collect();
            if values.is_empty() { vec![String::new()] } else { values }
        };
        let mut all = Vec::new();
        for verb in each("verbs") {
            for group in each("apiGroups") {
                for resource in each("resources") {
                    for name in each("resourceNames") {
                        for url in each("nonResourceURLs") {
                            let (verb, group, resource) = (verb.clone(), group.clone(), resource.clone());
                            let (name, namespace) = (name.clone(), namespace.to_owned());
                            all.push(Self { verb, group, resource, namespace, name, url });
                        }
                    }
                }
            }
        }
        all
    }

    pub(crate) fn is_granted_by(&self, rule: &Value) -> bool {
        let has = |key: &str, value: &str| texts(&rule[key]).any(|one| one == "*" || one == value);
        let is_named = rule["resourceNames"].as_array().is_none_or(Vec::is_empty)
            || texts(&rule["resourceNames"]).any(|one| one == self.name);
        if !has("verbs", &self.verb) {
            return false;
        }
        if self.url.is_empty() {
            has("apiGroups", &self.group) && has("resources", &self.resource) && is_named
        } else {
            has("nonResourceURLs", &self.url)
        }
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The rules that a user has, each with the namespace that it is for.
pub(crate) fn rules_of(user: &User, objects: &BTreeMap<String, Value>) -> Vec<(Option<String>, Value)> {
    if user.groups.iter().any(|group| group == "system:masters") {
        return vec![
            (None, json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] })),
            (None, json!({ "nonResourceURLs": ["*"], "verbs": ["*"] })),
        ];
    }
    let mut rules = Vec::new();
    for (path, binding) in objects.iter().filter(|(path, _)| path.starts_with(RBAC) && path.contains("bindings/")) {
        if !binding["subjects"].as_array().into_iter().flatten().any(|subject| user.is(subject)) {
            continue;
        }
        let namespace =
            path.contains("/rolebindings/").then(|| binding["metadata"]["namespace"].as_str().unwrap_or_default());
        let name = binding["roleRef"]["name"].as_str().unwrap_or_default();
        let role = match namespace {
            Some(namespace) if binding["roleRef"]["kind"] == "Role" => {
                format!("{RBAC}/namespaces/{namespace}/roles/{name}")
            }
            _ => format!("{RBAC}/clusterroles/{name}"),
        };
        let granted = objects.get(&role).and_then(|role| role["rules"].as_array()).into_iter().flatten();
        rules.extend(granted.map(|rule| (namespace.map(str::to_owned), rule.clone())));
    }
    rules
}
