//! What a join is to bring about: decided by the arguments alone, before the cluster is asked.

use crate::model::{
    account::{
        Account,
        desired::{Desired, Fence},
        renewal::Terms,
    },
    job::{Jobs, Pace, Selector},
    kube::object::ManagedBy,
    text::{duration::Seconds, names::ClusterName, shell},
};

/// See the module.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The value of the `cluster` label.
    pub cluster: ClusterName,
    pub account: Account,
    pub jobs: Jobs,
    /// What is federated, with the job `federate`.
    pub federate_match: Vec<Selector>,
    pub fence: Fence,
    pub pace: Pace,
    /// Keep the cAdvisor series that are dropped otherwise.
    pub keep_all_metrics: bool,
    /// Whether the account may renew its own token.
    pub self_renew: bool,
    /// A token that a controller puts into its Secret and that never expires, instead of one that is asked for.
    pub long_lived: bool,
    /// The life to ask for; the server may grant less.
    pub duration: Seconds,
}

impl JoinRequest {
    /// The objects that it needs. How far the token renews itself is open until there is one: until then not at all.
    pub fn desired(&self) -> Desired {
        let desired = Desired {
            long_lived: self.long_lived,
            ..Desired::new(&self.account, &self.jobs, self.fence, ManagedBy::Us)
        };
        if self.self_renew { desired.with_self_renew(&self.account, &Terms::NONE) } else { desired }
    }
}

/// A command of ours about an account, ready to paste.
pub fn command(verb: &str, context: &str, account: &Account) -> String {
    format!("kubectl prom-federate {verb} --context {}{}", shell::word(context), account.flags())
}
