//! Permissions and identities from an API server, as in `kubectl auth can-i` and `kubectl auth whoami`.

use super::{Cluster, Scraper};
use crate::model::token::bearer::BearerToken;
use crate::{
    error::{Error, Reason, Result},
    model::{account::Account, kube::permission::Permission},
};
use serde_json::{Value, json};

const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";

/// The question whether the caller may do this; an empty attribute is any.
fn self_access(attributes: &Value) -> Value {
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes },
    })
}

fn attributes(permission: &Permission) -> Value {
    json!({
        "verb": permission.verb,
        "group": permission.group,
        "resource": permission.resource,
        "subresource": permission.subresource.unwrap_or_default(),
        "namespace": permission.namespace.as_deref().unwrap_or_default(),
        "name": permission.name.as_deref().unwrap_or_default(),
    })
}

impl Cluster {
    /// Whether the administrator may do this.
    pub async fn may(&self, permission: &Permission) -> Result<bool> {
        self.self_access(&attributes(permission)).await
    }

    /// Whether the administrator may do everything: one question that most administrators answer with yes.
    pub async fn may_everything(&self) -> Result<bool> {
        self.self_access(&json!({ "verb": "*", "group": "*", "resource": "*" })).await
    }

    async fn self_access(&self, attributes: &Value) -> Result<bool> {
        let path = format!("{AUTHORIZATION}/selfsubjectaccessreviews");
        let answer = self.post(&path, &self_access(attributes)).await?;
        Ok(answer["status"]["allowed"] == true)
    }

    /// Whether an account may get `nodes/proxy` of a node by this name, of every node by none: what a kubelet asks, too.
    pub async fn account_may(&self, account: &Account, node: &str) -> Result<bool> {
        let namespace = &account.namespace;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": account.user(),
                "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
                "resourceAttributes": { "verb": "get", "resource": "nodes", "subresource": "proxy", "name": node },
            },
        });
        let answer = self.post(&format!("{AUTHORIZATION}/subjectaccessreviews"), &review).await?;
        answer["status"]["allowed"].as_bool().ok_or_else(|| self.unexpected("a SubjectAccessReview"))
    }

    /// Who the server takes the caller for. None where it does not say (before Kubernetes 1.28).
    pub async fn whoami(&self) -> Option<String> {
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        let answer = self.post(path, &review).await.ok()?;
        Some(answer["status"]["userInfo"]["username"].as_str()?.to_owned())
    }
}

impl Scraper {
    /// Whether the holder of a token may get a subresource of every object of a kind, as the API server says to
    /// itself. None where it does not say.
    pub async fn may(
        &self,
        token: &BearerToken,
        resource: &'static str,
        subresource: &'static str,
    ) -> Result<Option<bool>> {
        let asked = json!({ "verb": "get", "resource": resource, "subresource": subresource });
        let answer =
            self.post(&format!("{AUTHORIZATION}/selfsubjectaccessreviews"), &self_access(&asked), token).await?;
        Ok(answer.json()["status"]["allowed"].as_bool())
    }

    /// Whether the holder of a token may do this.
    ///
    /// # Errors
    /// Also if the server does not say.
    pub async fn is_allowed(&self, token: &BearerToken, permission: &Permission) -> Result<bool> {
        let body = self_access(&attributes(permission));
        Ok(self.review(token, "selfsubjectaccessreviews", &body).await?["allowed"] == true)
    }

    /// What the holder of a token may do in a namespace, as far as the authorizers can list it: the status of a
    /// `SelfSubjectRulesReview`.
    ///
    /// # Errors
    /// Also if the server does not say.
    pub async fn rules(&self, token: &BearerToken, namespace: &str) -> Result<Value> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": { "namespace": namespace },
        });
        self.review(token, "selfsubjectrulesreviews", &body).await
    }

    async fn review(&self, token: &BearerToken, resource: &str, body: &Value) -> Result<Value> {
        let path = format!("{AUTHORIZATION}/{resource}");
        let answer = self.post(&path, body, token).await?;
        match answer.code {
            200..300 => Ok(answer.json()["status"].take()),
            code => Err(Error::new(Reason::ApiServerError, format!("{path} answers {code}: {}", answer.message()))
                .hint("As an administrator: kubectl auth can-i --list --as USER")),
        }
    }
}
