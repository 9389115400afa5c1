//! The fence that a join with `--fence=off` finds and leaves: protection is not taken away on the side.

use super::{Account, fence};
use crate::{
    error::{Error, Reason, Result},
    model::{
        job::{Jobs, target::Target},
        plan::request::command,
    },
};
use serde_json::Value;

/// What a join leaves standing of a fence that it did not ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftFence {
    /// Nothing; so it is also where the join asks for a fence, which it then makes its own.
    None,
    /// A fence as `join` and `manifests` make it, and what it lets through.
    Stands(Vec<Target>),
    /// Nobody can tell, and why.
    Unknown(String),
}

impl LeftFence {
    /// From policy and binding as the API server returned them.
    pub fn new(account: &Account, policy: &Value, binding: &Value) -> Self {
        match fence::admitted(account, policy, binding) {
            Some(targets) => Self::Stands(targets),
            None => Self::Unknown(format!("{} is there and is not what join makes", name(account))),
        }
    }

    /// Whether the jobs of an account can work behind its fence.
    ///
    /// # Errors
    /// [`Reason::FenceStands`], naming the pages that it would refuse.
    pub fn admits(&self, account: &Account, jobs: &Jobs, context: &str) -> Result<()> {
        let Self::Stands(admitted) = self else { return Ok(()) };
        let refused = fence::not_admitted(admitted, jobs);
        if refused.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Reason::FenceStands,
            format!(
                "{} stands and would refuse {}; --fence=off leaves it as it is, so nothing was written",
                name(account),
                fence::described(&refused)
            ),
        )
        .about(context)
        .hint("Join without --fence=off: that adapts the fence to the jobs")
        .hint(format!("To go without a fence, take all of it away first: {}", command("leave", context, account))))
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
        // A default of the API server's.
        policy["spec"]["matchConstraints"]["excludeResourceRules"] = json!([]);
        change(&mut policy, &mut binding);
        LeftFence::new(&account(), &policy, &binding)
    }

    #[test]
    fn a_fence_of_ours_is_known_with_its_jobs_and_any_other_is_not() {
        for text in ["cadvisor", "default", "apiserver", "pods=shop/metrics,service=a/b:80"] {
            assert!(matches!(stands(text), LeftFence::Stands(_)), "{text}");
        }
        for (what, fence) in [
            ("only audits", left("default", |_, binding| binding["spec"]["validationActions"] = json!(["Audit"]))),
            (
                "lets all pass",
                left("default", |policy, _| policy["spec"]["validations"] = json!([{ "expression": "true" }])),
            ),
            ("is for others", left("default", |policy, _| policy["spec"]["matchConditions"] = json!([]))),
            ("is no policy", left("default", |policy, _| *policy = json!("<html>"))),
        ] {
            assert!(matches!(fence, LeftFence::Unknown(_)), "{what}: {fence:?}");
        }
    }

    #[test]
    fn jobs_that_a_fence_would_refuse_are_refused_before_anything_is_written() {
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
        east: validatingadmissionpolicy.admissionregistration.k8s.io/prom-federate.prom-federate.prometheus stands and would refuse /metrics/cadvisor of a node; --fence=off leaves it as it is, so nothing was written
        Join without --fence=off: that adapts the fence to the jobs
        To go without a fence, take all of it away first: kubectl prom-federate leave --context east
        ");
    }
}
