//! Requests that go through the API server to a kubelet, a Service or a pod, and the policies about them.

use super::{ADMISSION, Answer, Lack, State, target::Target};
use crate::{
    policy,
    rbac::{self, User},
};
use http::StatusCode;
use serde_json::{Value, json};

impl State {
    /// A request to a kubelet, a Service or a pod through the API server: a CONNECT to admission.
    pub(super) fn proxied(&mut self, user: &User, target: &Target) -> Result<Answer, Answer> {
        self.authorize(user, target, "get")?;
        self.admit(user, target, "CONNECT", &json!({ "path": decoded(&target.rest) }))?;
        let name = target.name.as_deref().unwrap_or_default();
        let (page, node) = match target.resource.as_str() {
            "nodes" => (decoded(&target.rest), name.split(':').find(|part| *part != "https").unwrap_or_default()),
            _ => (format!("{}/proxy{}", target.path(), decoded(&target.rest)), ""),
        };
        if target.resource == "nodes" && !self.objects.contains_key(&format!("/api/v1/nodes/{node}")) {
            return Err(target.not_found());
        }
        match self.pages.get(&page) {
            Some((status, body)) => Ok(Answer { status: *status, body: body.clone().into_bytes() }),
            None if target.resource == "nodes" => Ok(Answer { status: 200, body: b"{}".to_vec() }),
            None => {
                let message = format!("no endpoints available for service \"{name}\"");
                Err(Answer::refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &message, &json!({})))
            }
        }
    }

    /// Every policy that a binding puts into force must let the request through.
    pub(super) fn admit(&self, user: &User, target: &Target, operation: &str, object: &Value) -> Result<(), Answer> {
        if self.lacks.contains(&Lack::Enforcement) {
            return Ok(());
        }
        let resource = target.attributes("").resource;
        let context = json!({
            "object": object,
            "request": {
                "resource": { "resource": target.resource },
                "namespace": target.namespace, "name": target.name, "userInfo": { "username": user.name },
            },
        });
        for (path, binding) in
            self.objects.iter().filter(|(path, _)| path.contains("/validatingadmissionpolicybindings/"))
        {
            let policy = binding["spec"]["policyName"].as_str().unwrap_or_default();
            let Some(stored) = self.objects.get(&format!("{ADMISSION}/validatingadmissionpolicies/{policy}")) else {
                continue;
            };
            let refusal = match policy.strip_prefix("prom-federate-guard.") {
                Some(account) => self.guarded(user, target, object, policy, account),
                None => policy::refusal(&stored["spec"], operation, &resource, &context),
            };
            let Some(refusal) = refusal else { continue };
            let binding = path.rsplit('/').next().unwrap_or_default();
            let why = format!(
                "is forbidden: ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {refusal}"
            );
            return Err(target.refused(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", &why));
        }
        Ok(())
    }
}

impl State {
    /// What the guard means for tokens: what its expressions mean to a real API server is proven there (`tests/e2e`).
    fn guarded(&self, user: &User, target: &Target, request: &Value, policy: &str, account: &str) -> Option<String> {
        let (namespace, name) = (target.namespace.as_deref()?, target.name.as_deref()?);
        let is_itself = user.name == format!("system:serviceaccount:{namespace}:{name}");
        if format!("{namespace}.{name}") != account || target.subresource.as_deref() != Some("token") || is_itself {
            return None;
        }
        let bound = request["spec"]["boundObjectRef"]["name"].as_str().unwrap_or_default();
        let is_trusted = ["patch", "use"].iter().any(|verb| {
            let policies = rbac::Attributes::of(verb, "validatingadmissionpolicies");
            let group = "admissionregistration.k8s.io".to_owned();
            self.allows(user, &rbac::Attributes { group, name: policy.to_owned(), ..policies })
        });
        let is_ours = bound.starts_with(&format!("{name}-"));
        (!is_trusted || !is_ours).then(|| "it is not an administrator's, or bound to no Secret of join".to_owned())
    }
}

/// A part of a URL without its percent signs.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let escaped = after.get(..2).and_then(code).filter(|_| *first == b'%');
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
