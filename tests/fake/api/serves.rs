//! What it serves, and what a user may do there.

use super::{
    ADMISSION, Answer, Lack, RBAC, State,
    target::{CORE, RESOURCES, Resource, Target},
};
use crate::rbac::{self, User};
use http::StatusCode;
use serde_json::{Value, json};

/// An API that another server serves.
const AGGREGATED: &str = "/apis/metrics.k8s.io/v1beta1";

impl State {
    pub(super) fn authorize(&self, user: &User, target: &Target, verb: &str) -> Result<(), Answer> {
        let attributes = target.attributes(verb);
        if self.allows(user, &attributes) {
            return Ok(());
        }
        let scope = match &target.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        let why = format!(
            "is forbidden: User \"{}\" cannot {verb} resource \"{}\" in API group \"{}\" {scope}",
            user.name, attributes.resource, target.group
        );
        let answer = target.refused(StatusCode::FORBIDDEN, "Forbidden", &why);
        // Of a list there is no name.
        let body = String::from_utf8_lossy(&answer.body).replace("\\\"\\\" is forbidden", "is forbidden");
        Err(Answer { body: body.into_bytes(), ..answer })
    }

    /// A user can grant only own rights (Kubernetes `pkg/registry/rbac/validation`, `ConfirmNoEscalation`).
    pub(super) fn no_escalation(&self, user: &User, target: &Target, manifest: &Value) -> Result<(), Answer> {
        let rules = match target.resource.as_str() {
            "roles" | "clusterroles" => manifest["rules"].clone(),
            "rolebindings" | "clusterrolebindings" => {
                let name = manifest["roleRef"]["name"].as_str().unwrap_or_default();
                let role = if manifest["roleRef"]["kind"] == "Role" {
                    format!("{RBAC}/namespaces/{}/roles/{name}", target.namespace.as_deref().unwrap_or_default())
                } else {
                    format!("{RBAC}/clusterroles/{name}")
                };
                let role = Target::parse(&role).expect("a path");
                self.objects.get(&role.path()).ok_or_else(|| role.not_found())?["rules"].clone()
            }
            _ => return Ok(()),
        };
        let namespace = target.namespace.clone().unwrap_or_default();
        let granted =
            rules.as_array().into_iter().flatten().flat_map(|rule| rbac::Attributes::granted_by(rule, &namespace));
        let missing: Vec<String> = granted
            .filter(|one| !self.allows(user, one))
            .map(|one| {
                let rbac::Attributes { group, resource, verb, .. } = one;
                format!("{{APIGroups:[{group:?}], Resources:[{resource:?}], Verbs:[{verb:?}]}}")
            })
            .collect();
        if !missing.is_empty() {
            let why = format!(
                "is forbidden: user \"{}\" (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
                user.name,
                user.groups,
                missing.join("\n")
            );
            return Err(target.refused(StatusCode::FORBIDDEN, "Forbidden", &why));
        }
        Ok(())
    }

    pub(super) fn discovery(&self, path: &str) -> Option<Answer> {
        if path == "/version" {
            return Some(Answer::json(200, &json!({ "major": "1", "minor": "37", "gitVersion": "v1.37.0" })));
        }
        let is_served = |root: &str| root != ADMISSION || !self.lacks.contains(&Lack::Policies);
        let is_down = self.lacks.contains(&Lack::AggregatedServer);
        if is_down && path == AGGREGATED {
            let message = "the server is currently unable to handle the request";
            return Some(Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message, &json!({})));
        }
        if path == "/apis" {
            let aggregated = is_down.then_some(AGGREGATED);
            let versions = [RBAC, ADMISSION].into_iter().filter(|root| is_served(root)).chain(aggregated);
            let groups: Vec<Value> = versions
                .filter_map(|root| root.strip_prefix("/apis/"))
                .map(|version| {
                    json!({ "name": version.split('/').next(), "preferredVersion": { "groupVersion": version } })
                })
                .collect();
            return Some(Answer::json(200, &json!({ "kind": "APIGroupList", "groups": groups })));
        }
        if ![CORE, RBAC, ADMISSION].contains(&path) || !is_served(path) {
            return None;
        }
        let mut resources: Vec<Value> = RESOURCES
            .iter()
            .filter(|one| one.root == path)
            .map(|Resource { name, is_namespaced, kind, .. }| {
                json!({ "name": name, "namespaced": is_namespaced, "kind": kind, "verbs": ["get", "list"] })
            })
            .collect();
        if path == CORE && !self.lacks.contains(&Lack::TokenRequest) {
            let verbs = ["create"];
            let name = "serviceaccounts/token";
            resources.push(json!({ "name": name, "namespaced": true, "kind": "TokenRequest", "verbs": verbs }));
        }
        Some(Answer::json(200, &json!({ "kind": "APIResourceList", "resources": resources })))
    }

    pub(super) fn review(&self, user: &User, target: &Target, review: &Value) -> Answer {
        let spec = &review["spec"];
        let mut answer = review.clone();
        answer["status"] = match target.resource.as_str() {
            "selfsubjectaccessreviews" => {
                json!({ "allowed": self.allows(user, &rbac::Attributes::asked(&spec["resourceAttributes"])) })
            }
            "subjectaccessreviews" => {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let groups = spec["groups"].as_array().into_iter().flatten().map(text).collect();
                let subject = User { name: text(&spec["user"]), groups };
                json!({ "allowed": self.allows(&subject, &rbac::Attributes::asked(&spec["resourceAttributes"])) })
            }
            "selfsubjectrulesreviews" => {
                let namespace = spec["namespace"].as_str().unwrap_or_default();
                let rules = rbac::rules_of(user, &self.objects);
                let (pages, resources): (Vec<Value>, Vec<Value>) = rules
                    .into_iter()
                    .filter(|(one, _)| one.as_ref().is_none_or(|one| one == namespace))
                    .map(|(_, rule)| rule)
                    .partition(|rule| !rule["nonResourceURLs"].is_null());
                json!({ "resourceRules": resources, "nonResourceRules": pages, "incomplete": false })
            }
            _ => json!({ "userInfo": { "username": user.name, "groups": user.groups } }),
        };
        Answer::json(201, &answer)
    }
}
