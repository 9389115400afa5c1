//! The request of a join: the arguments, with the discovered places of the jobs and the label. Immutable.

use crate::model::{
    account::{
        Account,
        desired::{Desired, Fence},
        renewal::Limits,
    },
    job::{Jobs, ScrapeTiming, Selector, exposition::FallbackProtocol, limits::ScrapeLimits},
    kube::object::ManagedBy,
    text::{duration::Seconds, names::ClusterName, shell},
};

/// The request of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The value of the `cluster` label.
    pub cluster: ClusterName,
    pub account: Account,
    pub jobs: Jobs,
    /// The series of the job `federate`.
    pub federate_match: Vec<Selector>,
    pub fence: Fence,
    pub pace: ScrapeTiming,
    /// The limits of a scrape.
    pub limits: ScrapeLimits,
    /// How Prometheus 3 reads pages of services and pods whose content type names no format.
    pub fallback: Option<FallbackProtocol>,
    /// Whether to keep the cAdvisor series that are dropped by default.
    pub keep_all_metrics: bool,
    /// Whether the account may renew its own token.
    pub self_renew: bool,
    /// Whether to use a long-lived token, which a controller writes into its Secret.
    pub long_lived: bool,
    /// The requested life of the token; the server may grant less.
    pub duration: Seconds,
}

impl JoinRequest {
    /// The objects of the request. The renewal policy allows nothing until the token exists.
    pub fn desired(&self) -> Desired {
        desired(&self.account, &self.jobs, self.fence, self.self_renew, self.long_lived)
    }
}

/// The objects of a request. They do not depend on its label.
pub fn desired(account: &Account, jobs: &Jobs, fence: Fence, self_renew: bool, long_lived: bool) -> Desired {
    let desired = Desired { long_lived, ..Desired::new(account, jobs, fence, ManagedBy::Us) };
    if self_renew { desired.with_self_renew(account, &Limits::NONE) } else { desired }
}

/// A command of the plugin about an account, ready to paste.
pub fn command(verb: &str, context: &str, account: &Account) -> String {
    shell::plugin([verb, "--context", context]) + &account.flags()
}
