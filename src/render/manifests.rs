//! The objects of an account as a YAML stream for Git, each rule with its reason.

use crate::{
    model::{
        account::{
            desired::Desired,
            rights::{Rule, RuleTarget},
        },
        job::Jobs,
        kube::object::{Kind, Object},
    },
    yaml,
};
use serde_json::Value;
use std::fmt::Write;

/// The manifests, in the order in which to apply them.
pub fn stream(desired: &Desired, jobs: &Jobs) -> String {
    let mut text =
        format!("# The objects that kubectl prom-federate {} needs for the jobs {jobs}.\n", env!("CARGO_PKG_VERSION"));
    for object in desired.objects() {
        let comment = if desired.is_guard(&object.reference) {
            guard(object.reference.kind)
        } else {
            comment(object.reference.kind)
        };
        let _ = write!(text, "---\n{comment}{}", document(desired, object));
    }
    text
}

fn guard(kind: Kind) -> &'static str {
    match kind {
        Kind::ValidatingAdmissionPolicy => {
            "# The guard: other users of the account's namespace get no pod, no token and no token Secret of the account.\n\
             # A user who joins or rotates needs the permission to patch this policy, or the verb `use` on it.\n"
        }
        _ => "",
    }
}

fn comment(kind: Kind) -> &'static str {
    match kind {
        Kind::ValidatingAdmissionPolicy => {
            "# The fence: through the API server's proxies this account can read only the pages of its jobs.\n\
             # Apply the fence before the bindings below: without it, nodes/proxy also reads every pod's definition and\n\
             # logs, and services/proxy and pods/proxy read every page.\n"
        }
        Kind::Role => "# Rights of the account in the namespace of the scraped targets.\n",
        Kind::ServiceAccount => "# The account of Prometheus. `join` issues its tokens, which are short-lived.\n",
        _ => "",
    }
}

fn document(desired: &Desired, object: &Object) -> String {
    let Some(grant) = desired.grants.iter().find(|grant| grant.role.reference == object.reference) else {
        return yaml::write(&object.manifest);
    };
    let mut without_rules = Value::clone(&object.manifest);
    without_rules["rules"] = Value::Null;
    let mut text = yaml::write(&without_rules).replace("rules: null\n", "rules:\n");
    for rule in &grant.rules {
        for line in rule.reason.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "- {}", inline(rule));
    }
    text
}

fn inline(Rule { on, verbs, .. }: &Rule) -> String {
    let verbs = verbs.join(", ");
    match on {
        RuleTarget::Url(url) => format!("{{nonResourceURLs: [{}], verbs: [{verbs}]}}", yaml::quoted(url)),
        RuleTarget::Resource { group, resource, names } => {
            let quoted: Vec<String> = names.iter().map(|name| yaml::quoted(name)).collect();
            let names =
                if names.is_empty() { String::new() } else { format!("resourceNames: [{}], ", quoted.join(", ")) };
            format!("{{apiGroups: [{}], resources: [{resource}], {names}verbs: [{verbs}]}}", yaml::quoted(group))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        account::{Account, desired::Fence},
        job::EVERY_JOB,
        kube::object::ManagedBy,
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
    fn manifests_of_every_job() {
        let jobs: Jobs = EVERY_JOB.parse().unwrap();
        insta::assert_snapshot!(stream(&desired(&jobs, Fence::Off), &jobs));
    }

    #[test]
    fn manifests_contain_every_object() {
        for (jobs, fence) in [("default", Fence::Required), ("default", Fence::Off), (EVERY_JOB, Fence::Required)] {
            let jobs: Jobs = jobs.parse().unwrap();
            let desired = desired(&jobs, fence);
            let text = stream(&desired, &jobs);
            let documents: Vec<Value> =
                text.split("---\n").skip(1).map(|document| yaml::read(document).unwrap()).collect();
            let manifests: Vec<Value> = desired.objects().map(|object| Value::clone(&object.manifest)).collect();
            assert_eq!(documents, manifests);
        }
    }
}
