//! The objects of an account as a YAML stream for people and Git, each rule with its reason.

use crate::{
    model::{
        job::Jobs,
        object::{Desired, Kind, Object},
        rights,
    },
    yaml,
};
use serde_json::Value;
use std::fmt::Write;

/// The manifests, in an order in which they can be applied.
pub fn stream(desired: &Desired, jobs: &Jobs) -> String {
    let mut text = format!("# What kubectl prom-federate {} needs for the jobs {jobs}.\n", env!("CARGO_PKG_VERSION"));
    for object in desired.objects() {
        let _ = write!(text, "---\n{}{}", comment(object.reference.kind), document(object, jobs));
    }
    text
}

fn comment(kind: Kind) -> &'static str {
    match kind {
        Kind::ValidatingAdmissionPolicy => {
            "# The fence: through the API server's proxies this account reaches the pages of its jobs and nothing else.\n\
             # Apply it before the binding below: without it, nodes/proxy also reads every pod's definition and logs.\n"
        }
        Kind::ServiceAccount => {
            "# The account that Prometheus uses. Its tokens are short-lived and issued by `join`.\n"
        }
        _ => "",
    }
}

fn document(object: &Object, jobs: &Jobs) -> String {
    if object.reference.kind != Kind::ClusterRole {
        return yaml::write(&object.manifest);
    }
    let mut without_rules = object.manifest.clone();
    without_rules["rules"] = Value::Null;
    let mut text = yaml::write(&without_rules).replace("rules: null\n", "rules:\n");
    for rule in rights::rules(jobs) {
        for line in rule.reason.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let verbs = rule.verbs.join(", ");
        let _ = writeln!(text, "- {{apiGroups: [\"\"], resources: [{}], verbs: [{verbs}]}}", rule.resource);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        account::Account,
        object::{Fence, ManagedBy},
    };

    fn desired(jobs: &Jobs, fence: Fence) -> Desired {
        let account = Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() };
        Desired::new(&account, jobs, fence, ManagedBy::Other)
    }

    #[test]
    fn manifests_with_the_reason_for_each_rule() {
        let jobs: Jobs = "default".parse().unwrap();
        insta::assert_snapshot!(stream(&desired(&jobs, Fence::Required), &jobs));
    }

    #[test]
    fn the_comments_hide_nothing() {
        let jobs: Jobs = "default".parse().unwrap();
        for fence in [Fence::Required, Fence::Off] {
            let desired = desired(&jobs, fence);
            let text = stream(&desired, &jobs);
            let documents: Vec<Value> =
                text.split("---\n").skip(1).map(|document| yaml::read(document).unwrap()).collect();
            let manifests: Vec<Value> = desired.objects().map(|object| object.manifest.clone()).collect();
            assert_eq!(documents, manifests);
        }
    }
}
