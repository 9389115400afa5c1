//! The neighbours of an account: what others have in its namespace, and who may act as the account there. Rights that a
//! cluster-wide binding grants are those of administrators and are not among them.

use super::{Account, guard};
use crate::model::{job::route::some_of, text::shell, token::bound_secret::LEGACY_TYPE};
use serde_json::Value;

/// Rights in a namespace with which a user becomes any account of it (`system:aggregate-to-edit` has them all). A change
/// of a template or of a Secret is as good as a new one.
const BECOMING: [(&str, &str, &[&str]); 11] = [
    ("", "pods", &["create"]),
    ("", "replicationcontrollers", WRITE),
    ("", "secrets", WRITE),
    ("", "serviceaccounts/token", &["create"]),
    ("", "serviceaccounts", &["impersonate"]),
    ("apps", "daemonsets", WRITE),
    ("apps", "deployments", WRITE),
    ("apps", "replicasets", WRITE),
    ("apps", "statefulsets", WRITE),
    ("batch", "cronjobs", WRITE),
    ("batch", "jobs", &["create"]),
];
const WRITE: &[&str] = &["create", "update", "patch"];

/// What others have in the namespace of an account, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// Some pod.
    pub pod: Option<String>,
    /// Some pods that run as the account.
    pub posing: Vec<String>,
    /// Secrets with a token of the account that never ends, which `join` did not make.
    pub token_secrets: Vec<String>,
    /// The role bindings that let others act as the account.
    pub bindings: Vec<OthersBinding>,
}

/// A role binding of others in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OthersBinding {
    pub name: String,
    /// `Group dev`
    pub subjects: Vec<String>,
    /// `ClusterRole/edit`
    pub role: String,
}

/// One finding, with the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub message: String,
    pub next: String,
}

impl OthersBinding {
    /// From the object as the API server returned it. None if it is about the account alone.
    pub fn new(account: &Account, binding: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (account.namespace.as_str(), account.name.as_str());
        let shown = |subject: &Value| {
            let (kind, of) = (text(&subject["kind"]), text(&subject["namespace"]));
            let is_account = kind == "ServiceAccount" && of == namespace && subject["name"] == name;
            let of = if of.is_empty() { of } else { format!("{of}/") };
            (!is_account).then(|| format!("{kind} {of}{}", text(&subject["name"])))
        };
        let subjects: Vec<String> = binding["subjects"].as_array().into_iter().flatten().filter_map(shown).collect();
        (!subjects.is_empty()).then(|| Self {
            name: text(&binding["metadata"]["name"]),
            subjects,
            role: format!("{}/{}", text(&binding["roleRef"]["kind"]), text(&binding["roleRef"]["name"])),
        })
    }
}

/// Whether a role in the namespace of the account lets its holder act as the account.
pub fn lets_become(account: &Account, role: &Value) -> bool {
    let has = |rule: &Value, key: &str, value: &str| {
        rule[key].as_array().into_iter().flatten().any(|one| one == "*" || one == value)
    };
    // A name limits every right but that to create, which it makes void: the name is not known to the authorizer.
    let names_it = |rule: &Value, resource: &str, verb: &str| match rule["resourceNames"].as_array() {
        Some(names) if !names.is_empty() && resource.starts_with("serviceaccounts") => {
            names.iter().any(|name| name == account.name.as_str())
        }
        Some(names) if !names.is_empty() => verb != "create",
        _ => true,
    };
    let lets = |rule: &Value| {
        BECOMING.iter().any(|(group, resource, verbs)| {
            has(rule, "apiGroups", group)
                && has(rule, "resources", resource)
                && verbs.iter().any(|verb| has(rule, "verbs", verb) && names_it(rule, resource, verb))
        })
    };
    role["rules"].as_array().into_iter().flatten().any(lets)
}

/// As many bindings and Secrets are named: a tenant can make thousands.
const NAMED: usize = 5;

impl Neighbours {
    /// Each finding. `has_guard`: whether the account has, or is about to get, its guard.
    pub fn findings(&self, account: &Account, has_guard: bool) -> Vec<Finding> {
        let namespace = &account.namespace;
        let mut others: Vec<String> = self.pod.iter().map(|pod| format!("pod/{pod} runs there")).collect();
        others.extend(self.bindings.iter().take(NAMED).map(|OthersBinding { name, subjects, role }| {
            let subjects = some_of(subjects.iter().map(String::as_str));
            format!("rolebinding/{name} gives {subjects} {role}")
        }));
        let unnamed = self.bindings.len().saturating_sub(NAMED);
        others.extend((unnamed > 0).then(|| format!("and {unnamed} more role bindings")));
        let mut findings = Vec::new();
        if !others.is_empty() {
            let means = if has_guard { guard::LIMIT } else { guard::WITHOUT };
            findings.push(Finding {
                message: format!("namespace {namespace} is not the account's alone ({}): {means}", others.join("; ")),
                next: "Give the account a namespace of its own: --namespace NAME".to_owned(),
            });
        }
        if !self.posing.is_empty() {
            let pods: Vec<String> = self.posing.iter().map(|pod| format!("pod/{pod}")).collect();
            let pods = some_of(pods.iter().map(String::as_str));
            let means =
                if has_guard { "; the guard refuses their next tokens and new pods in their place" } else { "" };
            findings.push(Finding {
                message: format!("{pods} in namespace {namespace} run as {account} and have all of its rights{means}"),
                next: "Let them run as another service account (spec.serviceAccountName)".to_owned(),
            });
        }
        findings.extend(self.token_secrets.iter().take(NAMED).map(|name| Finding {
            message: format!("secret/{name} in namespace {namespace} holds a token of {account} that never ends, and join did not make it"),
            next: format!("If it is not needed: kubectl delete secret {} -n {namespace}", shell::word(name)),
        }));
        let unnamed = self.token_secrets.len().saturating_sub(NAMED);
        findings.extend((unnamed > 0).then(|| Finding {
            message: format!("{unnamed} more Secrets in namespace {namespace} hold such a token"),
            next: format!("List them: kubectl get secrets -n {namespace} --field-selector type={LEGACY_TYPE}"),
        }));
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hostile,
        model::{
            account::rights,
            job::{
                Jobs, UnresolvedJob, discovery,
                pod::{self, AnnotatedPaths},
                route::NodesByReadiness,
            },
        },
    };
    use serde_json::json;

    fn account() -> Account {
        Account { namespace: "shop".parse().unwrap(), name: "prometheus".parse().unwrap() }
    }

    #[test]
    fn roles_that_make_pods_tokens_or_secrets_let_become_the_account() {
        let rule = |groups: &[&str], resources: &[&str], verbs: &[&str]| json!({ "apiGroups": groups, "resources": resources, "verbs": verbs });
        let named = |name: &str| {
            let mut rule = rule(&[""], &["serviceaccounts/token"], &["create"]);
            rule["resourceNames"] = json!([name]);
            rule
        };
        for (rule, lets) in [
            (rule(&["*"], &["*"], &["*"]), true),
            (rule(&[""], &["configmaps", "pods"], &["get", "create"]), true),
            (rule(&["apps"], &["deployments"], &["create"]), true),
            (rule(&["batch"], &["*"], &["*"]), true),
            (rule(&[""], &["serviceaccounts"], &["impersonate"]), true),
            (rule(&[""], &["secrets"], &["create"]), true),
            (rule(&[""], &["pods", "secrets"], &["get", "list", "delete"]), false),
            (rule(&["example.org"], &["pods"], &["create"]), false),
            (rule(&[""], &["configmaps"], &["*"]), false),
            (rule(&["apps"], &["deployments"], &["patch"]), true),
            (rule(&[""], &["secrets"], &["get", "update"]), true),
            (rule(&[""], &["pods"], &["patch"]), false),
            (
                json!({ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch"], "resourceNames": ["web"] }),
                true,
            ),
            (
                json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["create"], "resourceNames": ["x"] }),
                false,
            ),
            (named("prometheus"), true),
            (named("another"), false),
        ] {
            assert_eq!(lets_become(&account(), &json!({ "rules": [rule] })), lets, "{rule}");
        }
        assert!(!lets_become(&account(), &json!("<html>")));
    }

    #[test]
    fn binding_of_the_account_alone_is_not_another_users() {
        let binding = |subjects| {
            let role = json!({ "kind": "ClusterRole", "name": "edit" });
            OthersBinding::new(
                &account(),
                &json!({ "metadata": { "name": "b" }, "roleRef": role, "subjects": subjects }),
            )
        };
        let own = json!({ "kind": "ServiceAccount", "name": "prometheus", "namespace": "shop" });
        let other = json!({ "kind": "ServiceAccount", "name": "prometheus", "namespace": "else" });
        assert_eq!(binding(json!([own])), None);
        assert_eq!(binding(json!(null)), None);
        let found = binding(json!([own, other, { "kind": "Group", "name": "dev" }])).unwrap();
        assert_eq!(found.subjects, ["ServiceAccount else/prometheus", "Group dev"]);
        assert_eq!(found.role, "ClusterRole/edit");
    }

    #[test]
    fn hostile_objects_are_survived() {
        let role = r#"{"metadata":{"name":"a"},"rules":[{"apiGroups":["","apps"],"resources":["pods","secrets"],"verbs":["create","*"],"resourceNames":["x"]}],"subjects":[{"kind":"Group","name":"dev"}],"roleRef":{"kind":"Role","name":"edit"}}"#;
        let node = r#"{"metadata":{"name":"n","labels":{"app":"node-exporter"},"annotations":{"prometheus.io/scrape":"true","prometheus.io/port":"1"}},"status":{"phase":"Running","addresses":[{"type":"InternalIP","address":"::1"}],"daemonEndpoints":{"kubeletEndpoint":{"Port":10250}},"conditions":[{"type":"Ready","status":"True"}]},"spec":{"containers":[{"ports":[{"containerPort":9100}]}]}}"#;
        let service = r#"{"metadata":{"name":"s","namespace":"m","labels":{"operated-prometheus":"true"}},"spec":{"ports":[{"name":"http","port":8443,"protocol":"TCP"}],"template":{"spec":{"containers":[{"ports":[{"name":"metrics","containerPort":9100}]}]}}}}"#;
        hostile::texts(&[role, node, service], |text| {
            let object: Value = serde_json::from_str(text).unwrap_or_default();
            let _ =
                (OthersBinding::new(&account(), &object), lets_become(&account(), &object), rights::routes(&object));
            NodesByReadiness::default().add(&object);
            AnnotatedPaths::default().add(&object);
            for job in ["pods=shop/metrics", "node-exporter=shop"].map(|job| job.parse::<Jobs>().unwrap()) {
                let _ = job.iter().filter_map(|job| pod::subject(job, &object)).count();
            }
            for job in [UnresolvedJob::Federate, UnresolvedJob::NodeExporter, UnresolvedJob::KubeStateMetrics] {
                let _ = discovery::choose(&job, std::slice::from_ref(&object));
            }
        });
    }
}
