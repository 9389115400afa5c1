//! Tokens: asked for, or put into a Secret by the controller.

use super::{Answer, Issued, State, TOKEN_CACHE, target::Target};
use crate::rbac::User;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

impl State {
    pub(crate) fn authenticate(&mut self, credentials: Option<&str>) -> Option<User> {
        let Some(credentials) = credentials else { return Some(User::anonymous()) };
        let token = credentials.strip_prefix("Bearer ")?;
        if let Some(user) = self.users.get(token) {
            return Some(user.clone());
        }
        let issued = self.tokens.get(token)?;
        let now = Instant::now();
        if self.remembered.get(token).is_some_and(|until| now < *until) {
            return Some(issued.user.clone());
        }
        let holds = |(path, uid): &(String, Value)| {
            self.objects.get(path).is_some_and(|object| object["metadata"]["uid"] == *uid)
        };
        let has_expired = issued.expires.is_some_and(|expires| expires <= self.now());
        if has_expired || !issued.bound_to.iter().all(holds) {
            self.remembered.remove(token);
            return None;
        }
        let user = issued.user.clone();
        self.remembered.insert(token.to_owned(), now + TOKEN_CACHE);
        Some(user)
    }

    /// Forgets the tokens that have expired, which a test of a long time has many of.
    pub(crate) fn forget_expired_tokens(&mut self) {
        let now = self.now();
        self.tokens.retain(|_, issued| issued.expires.is_none_or(|expires| now < expires));
        self.remembered.retain(|token, _| self.tokens.contains_key(token));
    }

    /// What the controller of such Secrets does.
    pub(super) fn fill_in(&mut self, target: &Target, secret: &mut Value) {
        if !secret["data"]["token"].is_null() {
            return;
        }
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let name = secret["metadata"]["annotations"]["kubernetes.io/service-account.name"].as_str().unwrap_or_default();
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
        let Some(uid) = self.objects.get(&account).map(|account| account["metadata"]["uid"].clone()) else { return };
        let bound_to = vec![(account, uid), (target.path(), secret["metadata"]["uid"].clone())];
        let user = User::service_account(namespace, name);
        let token = self.token(user, bound_to, None);
        secret["data"]["token"] = json!(k8s_openapi::ByteString(token.into_bytes()));
    }

    pub(super) fn token(&mut self, user: User, bound_to: Vec<(String, Value)>, expires: Option<Timestamp>) -> String {
        let token = format!("fake.token.{}-{}", self.count(), user.name.replace(':', "-"));
        self.tokens.insert(token.clone(), Issued { user, bound_to, expires });
        token
    }

    pub(super) fn issue(&mut self, user: &User, target: &Target, request: &Value) -> Result<Answer, Answer> {
        let (namespace, name) = (target.namespace.clone().unwrap_or_default(), target.name.clone().unwrap_or_default());
        let path = target.path();
        let uid = self.objects.get(&path).ok_or_else(|| target.not_found())?["metadata"]["uid"].clone();
        let mut answer = request.clone();
        if answer["spec"]["audiences"].as_array().is_none_or(Vec::is_empty) {
            answer["spec"]["audiences"] = json!(["https://kubernetes.default.svc"]);
        }
        self.admit(user, target, "CREATE", &answer)?;
        let mut bound_to = vec![(path, uid)];
        let bound = &request["spec"]["boundObjectRef"];
        if let Some(secret) = bound["name"].as_str() {
            let secret = Target::parse(&format!("/api/v1/namespaces/{namespace}/secrets/{secret}")).expect("a path");
            let uid = self.objects.get(&secret.path()).ok_or_else(|| secret.not_found())?["metadata"]["uid"].clone();
            if !bound["uid"].is_null() && bound["uid"] != uid {
                return Err(secret.refused(
                    StatusCode::CONFLICT,
                    "Conflict",
                    "the UID in the bound object reference does not match",
                ));
            }
            bound_to.push((secret.path(), uid));
        }
        let asked = request["spec"]["expirationSeconds"].as_u64().unwrap_or(3600);
        let granted = self.token_cap.map_or(asked, |cap| asked.min(cap));
        let expires = self.now() + Duration::from_secs(granted);
        let token = self.token(User::service_account(&namespace, &name), bound_to, Some(expires));
        answer["spec"]["expirationSeconds"] = json!(granted);
        answer["status"] =
            json!({ "token": token, "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() });
        Ok(Answer::json(201, &answer))
    }
}
