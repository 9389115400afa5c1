//! The existing fence: a join with `--fence=off` leaves it in place, because only `leave` removes protection.

use super::{Account, fence};
use crate::{
    error::{Error, Reason, Result},
    model::{
        job::{Jobs, target::Target},
        plan::request::command,
    },
};
use serde_json::Value;

/// The existing fence of an account, where a join does not ask for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftFence {
    /// There is no fence, or the join asks for one and so takes the existing one over.
    None,
    /// A fence as `join` and `manifests` make it, with the targets that it admits.
    Stands(Vec<Target>),
    /// It is not known what the fence admits, with the reason.
    Unknown(String),
}

impl LeftFence {
    /// From policy and binding as the API server returned them.
    pub fn new(account: &Account, policy: &Value, binding: &Value) -> Self {
        match fence::admitted(account, policy, binding) {
            Some(targets) => Self::Stands(targets),
            None => Self::Unknown(format!("{} exists and differs from what join makes", name(account))),
        }
    }

    /// Whether the existing fence admits the jobs of an account.
    ///
    /// # Errors
    /// [`Reason::FenceStands`], with the pages that the fence would refuse.
    pub fn admits(&self, account: &Account, jobs: &Jobs, context: &str) -> Result<()> {
        let Self::Stands(admitted) = self else { return Ok(()) };
        let refused = fence::not_admitted(admitted, jobs);
        if refused.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Reason::FenceStands,
            format!(
                "{} exists and would refuse {}; --fence=off does not change an existing fence, so nothing was written",
                name(account),
                fence::described(&refused)
            ),
        )
        .about(context)
        .hint("Join without --fence=off to adapt the fence to the jobs")
        .hint(format!(
            "To remove the fence, remove everything that join made first: {}",
            command("leave", context, account)
        )))
    }
}

fn name(account: &Account) -> String {
    format!("validatingadmissionpolicy.admissionregistration.k8s.io/{}", account.cluster_scoped_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn account() -> Account {
        Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() }
    }

    fn jobs(text: &str) -> Jobs {
        text.parse().unwrap()
    }

    fn stands(text: &str) -> LeftFence {
        left(text, |_, _| ())
    }

    fn left(text: &str, change: impl FnOnce(&mut Value, &mut Value)) -> LeftFence {
        let mut policy = json!({ "spec": fence::policy_spec(&account(), &jobs(text)) });
        let mut binding = json!({ "spec": fence::binding_spec(&account()) });
        // A default that the API server sets.
        policy["spec"]["matchConstraints"]["excludeResourceRules"] = json!([]);
        change(&mut policy, &mut binding);
        LeftFence::new(&account(), &policy, &binding)
    }

    #[test]
    fn existing_fence_recognises_only_fences_that_join_made() {
        for text in ["cadvisor", "default", "apiserver", "pods=shop/metrics,service=a/b:80"] {
            assert!(matches!(stands(text), LeftFence::Stands(_)), "{text}");
        }
        for (what, fence) in [
            ("only audits", left("default", |_, binding| binding["spec"]["validationActions"] = json!(["Audit"]))),
            (
                "admits everything",
                left("default", |policy, _| policy["spec"]["validations"] = json!([{ "expression": "true" }])),
            ),
            ("applies to other accounts", left("default", |policy, _| policy["spec"]["matchConditions"] = json!([]))),
            (
                "has an exception",
                left("default", |policy, _| {
                    policy["spec"]["matchConstraints"]["excludeResourceRules"] =
                        json!([{ "resources": ["nodes/proxy"] }]);
                }),
            ),
            (
                "is for some namespaces",
                left("default", |_, binding| {
                    binding["spec"]["matchResources"] = json!({ "namespaceSelector": { "matchLabels": { "a": "b" } } });
                }),
            ),
            ("is no policy", left("default", |policy, _| *policy = json!("<html>"))),
        ] {
            assert!(matches!(fence, LeftFence::Unknown(_)), "{what}: {fence:?}");
        }
    }

    #[test]
    fn join_rejects_jobs_that_the_existing_fence_refuses() {
        let admits = |fence: &LeftFence, text| fence.admits(&account(), &jobs(text), "east");
        for (fence, text, fits) in [
            (LeftFence::None, "default", true),
            (LeftFence::Unknown("?".into()), "default", true),
            (stands("default"), "default", true),
            (stands("default"), "kubelet", true),
            (stands("kubelet"), "kubelet", true),
            (stands("kubelet"), "cadvisor", false),
            (stands("kubelet"), "default", false),
            (stands("kubelet"), "kubelet,apiserver", true),
            (stands("kubelet"), "kubelet,pods=shop/metrics", false),
        ] {
            assert_eq!(admits(&fence, text).is_ok(), fits, "{fence:?} {text}");
        }
        let error = admits(&stands("kubelet"), "default").unwrap_err();
        assert_eq!(error.reason, Reason::FenceStands);
        insta::assert_snapshot!(format!("{error}\n{}", error.hints.join("\n")), @"
        east: validatingadmissionpolicy.admissionregistration.k8s.io/prom-federate.prom-federate.prometheus exists and would refuse /metrics/cadvisor of a node; --fence=off does not change an existing fence, so nothing was written
        Join without --fence=off to adapt the fence to the jobs
        To remove the fence, remove everything that join made first: kubectl prom-federate leave --context east
        ");
    }
}
