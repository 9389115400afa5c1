//! The plan: the difference between desired and observed objects, as phases in the order of the run. Pure; dry run,
//! question and run use the same phases.

mod drift;
mod handover;
pub mod leave;
mod phase;
pub mod request;
pub mod retention;
mod step;

use crate::{
    error::{Error, Reason, Result},
    model::{
        account::{
            Account,
            desired::{Desired, Grant, SelfRenew},
            fence, guard,
        },
        job::{route::Route, target::Target},
        kube::{
            object::{Deletion, Existing, Kind, Object, ObjectRef, Verb},
            permission::Permission,
        },
        token::bound_secret::BoundSecret,
    },
};
use handover::{differs_beyond_labels, during_handover, is_more_than_pins, only_drops_other_routes, until_delivered};
use leave::LeavePlan;
use serde_json::Value;

pub use drift::{Drift, clashes, drift};
pub use phase::{Change, Phase, When};
pub use step::{Step, being_deleted};

/// The changes of a join to a cluster, without the Secrets of the new tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinPlan {
    /// In their order, one for each [`When`]; many are empty.
    pub phases: Vec<Phase>,
    /// Whether an existing object changes in more than its labels, which affects all tokens of the account.
    pub changes_rights: bool,
    /// Whether the token is read from its Secret instead of requested.
    pub long_lived: bool,
    /// Surplus rights with the plugin's name that have another owner.
    pub foreign: Vec<ObjectRef>,
    /// The targets that the existing fence admits. None if the fence cannot be parsed.
    pub former: Option<Vec<Target>>,
    /// The targets of the former fence that stay until the new jobs are in use: pages of nodes by the previous route.
    pub until_delivered: Vec<Target>,
    /// Whether the account must have no right to bare names of nodes, which the proof then checks.
    pub leaves_bare_names: bool,
    /// The guard, if it is desired.
    guard: Option<ObjectRef>,
    /// The parts of the guard that a rotation finds missing: earlier releases made none.
    pub unguarded: Vec<ObjectRef>,
}

impl JoinPlan {
    /// Fails with [`Reason::NotOurs`] or [`Reason::BeingDeleted`], naming the object.
    pub fn new(desired: &Desired, existing: &Existing) -> Result<Self> {
        let is_bound = |role: &ObjectRef| {
            let is_its = |grant: &&Grant| grant.role.reference == *role;
            desired.grants.iter().find(is_its).is_some_and(|grant| existing.contains_key(&grant.binding.reference))
        };
        let there = |object: &Object| existing.get(&object.reference);
        let former = match desired.fence.as_ref().map(|fence| fence.each_ref().map(there)) {
            Some([Some(policy), Some(binding)]) => fence::admitted(&desired.account, policy, binding),
            _ => Some(Vec::new()),
        };
        let until_delivered = until_delivered(desired, former.as_deref().unwrap_or_default());
        let mut phases = When::ALL.map(Phase::empty);
        let mut write = |when: When, step| phases[when as usize].writes.push(step);
        let mut changes_rights = false;
        for object in desired.for_scraping() {
            let when = match object.reference.kind {
                Kind::ServiceAccount | Kind::ClusterRoleBinding | Kind::RoleBinding => When::Grant,
                // A role without a binding grants nothing, and its binding needs it. Changing a bound role changes
                // rights.
                Kind::ClusterRole | Kind::Role if is_bound(&object.reference) => When::Grant,
                _ => When::Prepare,
            };
            let there = existing.get(&object.reference);
            let step = Step::new(object, there)?;
            changes_rights |= step.verb == Verb::Configured
                && !desired.is_guard(&object.reference)
                && there.is_some_and(|there| is_more_than_pins(object, there));
            match there.and_then(|there| during_handover(desired, object, there, &until_delivered)) {
                Some(both) if step.verb == Verb::Configured => {
                    write(when, Step::new(&both, there)?);
                    write(When::Delivered, step);
                }
                _ => write(when, step),
            }
        }
        if let Some(SelfRenew { policy: [policy, binding], role, role_binding }) = &desired.self_renew {
            for (when, object) in [
                (When::Issued, policy),
                (When::Issued, binding),
                (When::RenewalLimited, role),
                (When::RenewalRole, role_binding),
            ] {
                write(when, Step::new(object, existing.get(&object.reference))?);
            }
        }
        let retired = retired_renewal(desired, existing);
        changes_rights |= retired.deletions().count() > 0;
        let LeavePlan { bindings, roles, fence, .. } = retired;
        phases[When::RenewalLimited as usize].deletes.extend(bindings.into_iter().chain(roles));
        phases[When::RenewalRefused as usize].deletes.extend(fence);
        let stale = LeavePlan::of(unwanted(desired, existing).filter(|(reference, _)| is_grant(desired, reference)));
        changes_rights |= stale.deletions().count() > 0;
        phases[When::Proven as usize].deletes.extend(stale.deletions().cloned());
        // Rights in another namespace mean other jobs, even if the fence does not change.
        let has_others = existing.keys().any(|reference| is_grant(desired, reference));
        let is_new = |grant: &Grant| !existing.contains_key(&grant.role.reference);
        changes_rights |= has_others && desired.grants.iter().any(is_new);
        Ok(Self {
            phases: phases.into(),
            changes_rights,
            long_lived: desired.long_lived,
            foreign: stale.spared,
            former,
            until_delivered,
            leaves_bare_names: *desired.jobs.route() != Route::ApiServer,
            guard: desired.guard.as_ref().map(|[policy, _]| policy.reference.clone()),
            unguarded: Vec::new(),
        })
    }

    /// The plan of a rotation, which grants nothing: it writes only the names of pinned nodes and the Secrets that may
    /// renew a token, and removes the rights that a killed join left. Also returns the objects that differ from
    /// what a join makes, which stay as they are: the proof decides whether they suffice.
    ///
    /// # Errors
    /// As [`JoinPlan::new`]; [`Reason::NotFound`], naming the objects that are missing.
    pub fn for_rotation(desired: &Desired, existing: &Existing) -> Result<(Self, Vec<ObjectRef>)> {
        let mut plan = Self::new(desired, existing)?;
        for phase in &mut plan.phases {
            let is_missing = |step: &mut Step| step.verb == Verb::Created && desired.is_guard(&step.object.reference);
            plan.unguarded.extend(phase.writes.extract_if(.., is_missing).map(|step| step.object.reference));
        }
        let missing: Vec<String> = plan
            .steps()
            .filter(|step| step.verb == Verb::Created)
            .map(|step| step.object.reference.to_string())
            .collect();
        if !missing.is_empty() {
            return Err(Error::new(
                Reason::NotFound,
                format!("{} is missing, and rotate grants no rights", missing.join(", ")),
            ));
        }
        let limit = desired.self_renew.as_ref().map(|renewal| &renewal.policy[0].reference);
        let mut differing = Vec::new();
        for phase in plan.phases.iter_mut().filter(|phase| phase.when != When::Delivered) {
            for step in phase.writes.iter_mut().filter(|step| step.verb == Verb::Configured) {
                let reference = &step.object.reference;
                let there = &existing[reference];
                if Some(reference) == limit {
                    continue;
                }
                let is_more =
                    is_more_than_pins(&step.object, there) && !only_drops_other_routes(desired, &step.object, there);
                if is_more {
                    differing.push(reference.clone());
                }
                if is_more || !differs_beyond_labels(&step.object, there) {
                    step.verb = Verb::Unchanged;
                }
            }
        }
        plan.changes_rights = plan.hands_over() || plan.deletions().next().is_some();
        Ok((plan, differing))
    }

    /// The phases with the Secrets that the new tokens are bound to.
    pub fn with_secrets(&self, secrets: &[Object]) -> Vec<Phase> {
        let when = if self.long_lived { When::Granted } else { When::Grant };
        let steps = secrets.iter().map(|secret| Step::create(secret.clone()));
        let mut phases = self.phases.clone();
        phases[when as usize].writes.extend(steps);
        phases
    }

    pub fn phase(&self, when: When) -> &Phase {
        &self.phases[when as usize]
    }

    /// All writes and deletions, in their order.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.phases.iter().flat_map(Phase::changes)
    }

    fn writes(&self) -> impl Iterator<Item = &Step> {
        self.phases.iter().flat_map(|phase| &phase.writes)
    }

    /// One step for each object, with its final state.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let handover = &self.phase(When::Delivered).writes;
        let last = move |step: &Step| handover.iter().find(|last| last.object.reference == step.object.reference);
        let first = self.phases.iter().filter(|phase| phase.when < When::Delivered).flat_map(|phase| &phase.writes);
        first.map(move |step| last(step).unwrap_or(step))
    }

    /// All deletions, in their order.
    pub fn deletions(&self) -> impl Iterator<Item = &Deletion> {
        self.phases.iter().flat_map(|phase| &phase.deletes)
    }

    /// Whether rights must be removed after the new jobs are in use.
    pub fn hands_over(&self) -> bool {
        !self.phase(When::Delivered).is_empty()
    }

    /// Whether the account gets the right to renew its token.
    pub fn grants_renewal(&self) -> bool {
        !self.phase(When::RenewalRole).writes.is_empty()
    }

    /// Whether the fence changes, so that an API server may enforce it up to a second later.
    pub fn changes_fence(&self) -> bool {
        self.phases
            .iter()
            .filter(|phase| phase.when < When::Issued)
            .flat_map(|phase| &phase.writes)
            .filter(|step| self.guard.as_ref().is_none_or(|guard| guard.name != step.object.reference.name))
            .any(|step| step.object.reference.kind.is_fence() && step.verb != Verb::Unchanged)
    }

    /// Refuses to change rights that tokens of other destinations use.
    ///
    /// # Errors
    /// [`Reason::AccountInUse`], naming these destinations.
    pub fn spare_others(&self, account: &Account, others: &[&BoundSecret]) -> Result<()> {
        if !self.changes_rights || others.is_empty() {
            return Ok(());
        }
        let mut destinations: Vec<&str> = others.iter().map(|secret| secret.destination.shown()).collect();
        destinations.sort_unstable();
        destinations.dedup();
        Err(Error::new(
            Reason::AccountInUse,
            format!(
                "service account {account} has other jobs, and other destinations use it ({}); they would lose their rights",
                destinations.join(", ")
            ),
        )
        .hint("Use a separate account: --service-account NAME")
        .hint("Or choose the same jobs as the other destinations: kubectl prom-federate status"))
    }

    /// The permissions of which one is needed for a token, where the guard exists and this plan does not change it.
    pub fn trust(&self, account: &Account) -> Option<[Permission; 2]> {
        let is_guard = |step: &&Step| Some(&step.object.reference) == self.guard.as_ref();
        let guard = self.steps().find(is_guard)?;
        (guard.verb == Verb::Unchanged).then(|| guard::trust(account))
    }

    /// Whether this object is new or changed.
    pub fn changes_object(&self, reference: &ObjectRef) -> bool {
        self.writes().any(|step| step.object.reference == *reference && step.verb != Verb::Unchanged)
    }

    /// The permissions that the caller needs. Server-side apply needs `patch`, and `create` for a new object.
    pub fn permissions(&self, account: &Account) -> Vec<Permission> {
        let mut permissions = Vec::new();
        for step in self.steps() {
            let verbs: &[&'static str] = match step.verb {
                Verb::Created => &["create", "patch"],
                Verb::Configured => &["patch"],
                Verb::Unchanged | Verb::Deleted => &[],
            };
            permissions.extend(verbs.iter().map(|verb| Permission::of(verb, &step.object.reference)));
        }
        permissions.extend(self.leaves_bare_names.then_some(Permission {
            verb: "create",
            group: "authorization.k8s.io",
            resource: "subjectaccessreviews",
            subresource: None,
            namespace: None,
            name: None,
        }));
        permissions.extend(self.deletions().map(|deletion| Permission::of("delete", &deletion.reference)));
        let namespace = Some(account.namespace.to_string());
        let secret = |verb| Permission {
            verb,
            group: "",
            resource: "secrets",
            subresource: None,
            namespace: namespace.clone(),
            name: None,
        };
        permissions.push(secret("create"));
        permissions.push(secret("patch"));
        permissions.push(secret("delete"));
        if self.long_lived {
            permissions.push(secret("get"));
            return permissions;
        }
        permissions.push(Permission {
            verb: "create",
            group: "",
            resource: "serviceaccounts",
            subresource: Some("token"),
            namespace,
            name: Some(account.name.to_string()),
        });
        permissions
    }
}

/// Existing objects that are not desired any more.
fn unwanted<'a>(desired: &'a Desired, existing: &'a Existing) -> impl Iterator<Item = (&'a ObjectRef, &'a Value)> {
    existing.iter().filter(|(reference, _)| !desired.objects().any(|object| object.reference == **reference))
}

/// Whether the object gives the account rights for jobs.
fn is_grant(desired: &Desired, reference: &ObjectRef) -> bool {
    matches!(reference.kind, Kind::ClusterRole | Kind::ClusterRoleBinding | Kind::Role | Kind::RoleBinding)
        && reference.name == desired.account.cluster_scoped_name()
}

/// The removal of the right to renew. If a part of it has another owner, all of it stays: without the policy there would
/// be a right without its limit.
fn retired_renewal(desired: &Desired, existing: &Existing) -> LeavePlan {
    let plan = LeavePlan::of(unwanted(desired, existing).filter(|(reference, _)| !is_grant(desired, reference)));
    if plan.spared.is_empty() { plan } else { LeavePlan::default() }
}

#[cfg(test)]
mod tests;
