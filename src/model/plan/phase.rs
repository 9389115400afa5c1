//! The phases of a plan.

use super::Step;
use crate::model::kube::object::{Deletion, Verb};

/// What has happened before a phase. Their order is that of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Nothing yet: the fence, the namespace, roles that nobody is bound to. The fence comes before the rights that it
    /// fences, and before those that go: it refuses whatever it does not name, so that no order of these leaves a right
    /// without it.
    Prepare,
    /// The fence stands: the account, its bindings, the bound roles.
    Grant,
    /// The account is there: Secrets that a controller puts a token into. It deletes one whose account is not there yet
    /// (`tokens_controller.go`, `syncSecret`).
    Granted,
    /// There are tokens: the policy that limits how they are renewed, which names their Secrets.
    Issued,
    /// The tokens are proven: rights that no job needs any more. The fence has refused them since it stands.
    Proven,
    /// The policy about renewals is in force: the role to renew, or the end of that right.
    RenewalLimited,
    /// The role to renew is there: its binding.
    RenewalRole,
    /// The account is seen to have no right to renew any more: the policy that limited it.
    RenewalRefused,
    /// The new jobs are in use: rights and fence as they are to be without the jobs by the route before. They need no
    /// order, because both refuse more than before.
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

/// What is done to the cluster at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub when: When,
    /// They do not depend on each other.
    pub writes: Vec<Step>,
    /// After the writes, one after the other.
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

    /// Whether its writes change anything.
    pub fn writes_anything(&self) -> bool {
        self.writes.iter().any(|step| step.verb != Verb::Unchanged)
    }
}
