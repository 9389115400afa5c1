//! The phases of a plan.

use super::Step;
use crate::model::kube::object::{Deletion, Verb};

/// The condition for a phase, in the order of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// At the start: the fence, the namespace, roles without a binding. The fence comes before the rights that it limits,
    /// and before the removal of rights. It refuses everything that it does not name, so no right is ever without a fence.
    Prepare,
    /// The fence exists: the account, its bindings, the bound roles.
    Grant,
    /// The account exists: Secrets of long-lived tokens. The controller deletes a Secret whose account does not exist yet
    /// (`tokens_controller.go`, `syncSecret`).
    Granted,
    /// The tokens exist: the renewal policy, which names their Secrets.
    Issued,
    /// The tokens are proven: the removal of rights that no job needs any more. The fence refuses such requests already.
    Proven,
    /// The renewal policy is in force: the role to renew, or the removal of the right.
    RenewalLimited,
    /// The role to renew exists: its binding.
    RenewalRole,
    /// The account verifiably has no right to renew any more: the removal of the renewal policy.
    RenewalRefused,
    /// The new jobs are in use: rights and fence without the previous route. They need no order, because both refuse more
    /// than before.
    Delivered,
}

impl When {
    pub const ALL: [Self; 9] = [
        Self::Prepare,
        Self::Grant,
        Self::Granted,
        Self::Issued,
        Self::Proven,
        Self::RenewalLimited,
        Self::RenewalRole,
        Self::RenewalRefused,
        Self::Delivered,
    ];
}

/// The changes to the cluster in one phase.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub when: When,
    /// Independent writes.
    pub writes: Vec<Step>,
    /// Deletions after the writes, one after the other.
    pub deletes: Vec<Deletion>,
}

/// One object that is written or deleted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change<'a> {
    Write(When, &'a Step),
    Delete(When, &'a Deletion),
}

impl Phase {
    pub(super) fn empty(when: When) -> Self {
        Self { when, writes: Vec::new(), deletes: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.deletes.is_empty()
    }

    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        let writes = self.writes.iter().map(|step| Change::Write(self.when, step));
        writes.chain(self.deletes.iter().map(|deletion| Change::Delete(self.when, deletion)))
    }

    /// Whether the writes change anything.
    pub fn writes_anything(&self) -> bool {
        self.writes.iter().any(|step| step.verb != Verb::Unchanged)
    }
}
