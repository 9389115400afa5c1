//! What a join is to bring about: the arguments, with the places of the jobs as the cluster has them and the label as
//! the destinations know it. Never changed once it is made.

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

/// The same while the label is open: two things about a cluster must be asked first, which it is and who knows it.
#[derive(Clone, Debug)]
pub struct Unlabelled {
    pub account: Account,
    pub jobs: Jobs,
    pub federate_match: Vec<Selector>,
    pub fence: Fence,
    pub pace: Pace,
    pub keep_all_metrics: bool,
    pub self_renew: bool,
    pub long_lived: bool,
    pub duration: Seconds,
}

impl Unlabelled {
    /// The objects that it needs, whatever the label is.
    pub fn desired(&self) -> Desired {
        desired(&self.account, &self.jobs, self.fence, self.self_renew, self.long_lived)
    }

    pub fn labelled(self, cluster: ClusterName) -> JoinRequest {
        let Self { account, jobs, federate_match, fence, pace, keep_all_metrics, self_renew, long_lived, duration } =
            self;
        JoinRequest {
            cluster,
            account,
            jobs,
            federate_match,
            fence,
            pace,
            keep_all_metrics,
            self_renew,
            long_lived,
            duration,
        }
    }
}

impl JoinRequest {
    /// The objects that it needs. How far the token renews itself is open until there is one: until then not at all.
    pub fn desired(&self) -> Desired {
        desired(&self.account, &self.jobs, self.fence, self.self_renew, self.long_lived)
    }
}

fn desired(account: &Account, jobs: &Jobs, fence: Fence, self_renew: bool, long_lived: bool) -> Desired {
    let desired = Desired { long_lived, ..Desired::new(account, jobs, fence, ManagedBy::Us) };
    if self_renew { desired.with_self_renew(account, &Terms::NONE) } else { desired }
}

/// A command of ours about an account, ready to paste.
pub fn command(verb: &str, context: &str, account: &Account) -> String {
    format!("kubectl prom-federate {verb} --context {}{}", shell::word(context), account.flags())
}
