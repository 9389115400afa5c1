//! The least RBAC rules for a set of jobs, each with the reason it is there.

use super::job::Jobs;

/// One RBAC rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub resource: &'static str,
    pub verbs: &'static [&'static str],
    /// Printed above the rule by `manifests`.
    pub reason: &'static str,
}

/// The rules that exactly these jobs need, all of them in the core API group and cluster-wide.
pub fn rules(jobs: &Jobs) -> Vec<Rule> {
    // Every job there is so far is scraped node by node through the API server.
    if jobs.iter().len() == 0 {
        return Vec::new();
    }
    vec![
        Rule {
            resource: "nodes",
            verbs: &["list", "watch"],
            reason: "Prometheus' service discovery lists the nodes and watches for new ones; it never gets a single one.",
        },
        Rule {
            resource: "nodes/proxy",
            verbs: &["get"],
            reason: "Every scrape goes through the API server to the kubelet of a node. RBAC cannot tell its pages apart:\n\
                     the same right reads every pod's logs, so the policy above limits it to the metrics.",
        },
    ]
}
