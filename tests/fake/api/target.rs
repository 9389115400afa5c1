//! Where a request goes, and the kinds that there are.

use super::{ADMISSION, Answer, RBAC};
use crate::rbac;
use http::StatusCode;
use serde_json::json;

/// A kind of object that it serves.
pub(super) struct Resource {
    pub(super) root: &'static str,
    pub(super) name: &'static str,
    pub(super) is_namespaced: bool,
    pub(super) kind: &'static str,
}

const fn resource(root: &'static str, name: &'static str, is_namespaced: bool, kind: &'static str) -> Resource {
    Resource { root, name, is_namespaced, kind }
}

pub(super) const CORE: &str = "/api/v1";
pub(super) const RESOURCES: [Resource; 13] = [
    resource(CORE, "namespaces", false, "Namespace"),
    resource(CORE, "nodes", false, "Node"),
    resource(CORE, "serviceaccounts", true, "ServiceAccount"),
    resource(CORE, "secrets", true, "Secret"),
    resource(CORE, "configmaps", true, "ConfigMap"),
    resource(CORE, "pods", true, "Pod"),
    resource(CORE, "services", true, "Service"),
    resource(RBAC, "clusterroles", false, "ClusterRole"),
    resource(RBAC, "clusterrolebindings", false, "ClusterRoleBinding"),
    resource(RBAC, "roles", true, "Role"),
    resource(RBAC, "rolebindings", true, "RoleBinding"),
    resource(ADMISSION, "validatingadmissionpolicies", false, "ValidatingAdmissionPolicy"),
    resource(ADMISSION, "validatingadmissionpolicybindings", false, "ValidatingAdmissionPolicyBinding"),
];

/// Where a request goes.
pub(super) struct Target {
    /// `/api/v1`
    pub(super) root: String,
    pub(super) group: String,
    pub(super) namespace: Option<String>,
    pub(super) resource: String,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
    /// What is behind `/proxy`.
    pub(super) rest: String,
}

impl Target {
    pub(super) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let (root, group, rest) = match &segments[..] {
            ["api", version, rest @ ..] => (format!("/api/{version}"), "", rest),
            ["apis", group, version, rest @ ..] => (format!("/apis/{group}/{version}"), *group, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            _ => (None, rest),
        };
        let [resource, rest @ ..] = rest else { return None };
        Some(Self {
            root,
            group: group.to_owned(),
            namespace,
            resource: (*resource).to_owned(),
            name: rest.first().map(|name| (*name).to_owned()),
            subresource: rest.get(1).map(|one| (*one).to_owned()),
            rest: rest
                .get(2..)
                .filter(|rest| !rest.is_empty())
                .map(|rest| format!("/{}", rest.join("/")))
                .unwrap_or_default(),
        })
    }

    /// The path of the object, or of the list.
    pub(super) fn path(&self) -> String {
        let namespace = self.namespace.as_ref().map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        let name = self.name.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        format!("{}{namespace}/{}{name}", self.root, self.resource)
    }

    pub(super) fn kind(&self) -> Option<&'static str> {
        RESOURCES.iter().find(|one| one.root == self.root && one.name == self.resource).map(|one| one.kind)
    }

    /// `clusterroles.rbac.authorization.k8s.io`
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() { self.resource.clone() } else { format!("{}.{}", self.resource, self.group) }
    }

    pub(super) fn not_found(&self) -> Answer {
        let name = self.name.as_deref().unwrap_or_default();
        let message = format!("{} \"{name}\" not found", self.qualified());
        Answer::refusal(StatusCode::NOT_FOUND, "NotFound", &message, &json!({ "name": name, "kind": self.resource }))
    }

    pub(super) fn refused(&self, code: StatusCode, reason: &str, why: &str) -> Answer {
        let name = self.name.as_deref().unwrap_or_default();
        let message = format!("{} \"{name}\" {why}", self.qualified());
        Answer::refusal(code, reason, &message, &json!({ "name": name, "kind": self.resource }))
    }

    pub(super) fn attributes(&self, verb: &str) -> rbac::Attributes {
        // A namespace is in itself.
        let namespace = if self.resource == "namespaces" { self.name.clone() } else { self.namespace.clone() };
        rbac::Attributes {
            verb: verb.to_owned(),
            group: self.group.clone(),
            resource: match &self.subresource {
                None => self.resource.clone(),
                Some(subresource) => format!("{}/{subresource}", self.resource),
            },
            namespace: namespace.unwrap_or_default(),
            name: self.name.clone().unwrap_or_default(),
            url: String::new(),
        }
    }
}
