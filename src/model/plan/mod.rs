//! The plan: desired against observed gives ordered steps. Pure, so that a dry run, the prompt and the real run agree.

use crate::{
    error::{Error, Reason, Result},
    model::{
        account::{
            Account,
            desired::{Desired, Grant, SelfRenew},
            fence, rights,
        },
        job::{route::Route, target::Target},
        kube::{
            diff::differences,
            object::{Deletion, Existing, Kind, Object, ObjectRef, Verb},
            owner::{Owner, owner},
            permission::Permission,
        },
        token::bound_secret::BoundSecret,
    },
};
use leave::LeavePlan;
pub mod leave;
pub mod request;
pub mod retention;

use serde_json::Value;

/// One object and what is to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub object: Object,
    pub verb: Verb,
    /// Of an object that exists already: it is somebody else's and used as it is.
    pub used_as_is: bool,
}

/// The steps of a join, in waves: what is in one wave does not depend on each other.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinPlan {
    /// The fence comes before the rights that it fences, and before those that go: it refuses whatever it does not
    /// name, so that no order of these leaves a right without it.
    pub waves: [Vec<Step>; 2],
    /// Whether something that exists is to say something else, labels aside: every token of the account feels it.
    pub changes_rights: bool,
    /// With `--self-renew`, when there is a token: the policy about renewals, the role, the binding.
    pub renewal: [Vec<Step>; 3],
    /// The right to renew that an earlier join gave and this one does not want.
    pub retired: LeavePlan,
    /// The token is read from its Secret instead of being asked for.
    pub long_lived: bool,
    /// Rights of jobs that an earlier join had and this one has not, bindings first. The fence refuses them from the
    /// first wave on; they go when the jobs that stay are proven.
    pub narrowed: Vec<Deletion>,
    /// Rights by our name that are somebody else's and more than what is needed.
    pub foreign: Vec<ObjectRef>,
    /// What the fence let through until now, if there was one. None if that is not to be understood.
    pub former: Option<Vec<Target>>,
    /// Of that, what stays until the new jobs are in use: pages of nodes by the route of the jobs before them.
    pub until_delivered: Vec<Target>,
    /// What takes it away then, rights and fence in one wave: both refuse more than before.
    pub settled: Vec<Step>,
    /// Whether the account is to have no right to bare names of nodes, which is asked for.
    pub leaves_bare_names: bool,
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
        let mut waves = [Vec::new(), Vec::new()];
        let mut settled = Vec::new();
        let mut changes_rights = false;
        for object in desired.for_scraping() {
            let wave = match object.reference.kind {
                Kind::ServiceAccount | Kind::ClusterRoleBinding | Kind::RoleBinding => 1,
                // A role that nobody is bound to grants nothing, and its binding needs it; changing a bound one is
                // a change of rights.
                Kind::ClusterRole | Kind::Role => usize::from(is_bound(&object.reference)),
                _ => 0,
            };
            let there = existing.get(&object.reference);
            let step = Step::new(object, there)?;
            changes_rights |=
                step.verb == Verb::Configured && there.is_some_and(|there| is_more_than_pins(object, there));
            match there.and_then(|there| during_handover(desired, object, there, &until_delivered)) {
                Some(both) if step.verb == Verb::Configured => {
                    waves[wave].push(Step::new(&both, there)?);
                    settled.push(step);
                }
                _ => waves[wave].push(step),
            }
        }
        let steps = |objects: &[&Object]| {
            objects.iter().map(|object| Step::new(object, existing.get(&object.reference))).collect::<Result<Vec<_>>>()
        };
        let renewal = match &desired.self_renew {
            None => Default::default(),
            Some(SelfRenew { policy: [policy, binding], role, role_binding }) => {
                [steps(&[policy, binding])?, steps(&[role])?, steps(&[role_binding])?]
            }
        };
        let retired = retired_renewal(desired, existing);
        let stale = LeavePlan::of(unwanted(desired, existing).filter(|(reference, _)| is_grant(desired, reference)));
        let narrowed: Vec<Deletion> = stale.deletions().cloned().collect();
        // Rights in a namespace more are other jobs, also where the fence has nothing to say about them.
        let has_others = existing.keys().any(|reference| is_grant(desired, reference));
        let is_new = |grant: &Grant| !existing.contains_key(&grant.role.reference);
        changes_rights |= has_others && desired.grants.iter().any(is_new);
        changes_rights |= retired.deletions().count() + narrowed.len() > 0;
        let (long_lived, foreign) = (desired.long_lived, stale.spared);
        Ok(Self {
            waves,
            changes_rights,
            renewal,
            retired,
            long_lived,
            narrowed,
            foreign,
            former,
            until_delivered,
            settled,
            leaves_bare_names: *desired.jobs.route() != Route::ApiServer,
        })
    }

    /// One for each object, as it is left in the end.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let last = |step: &Step| self.settled.iter().find(|settled| settled.object.reference == step.object.reference);
        self.waves.iter().chain(&self.renewal).flatten().map(move |step| last(step).unwrap_or(step))
    }

    /// Whether an API server may need until a second later to enforce the fence.
    pub fn changes_fence(&self) -> bool {
        self.waves.iter().flatten().any(|step| step.object.reference.kind.is_fence() && step.verb != Verb::Unchanged)
    }

    /// Refuses to change the rights of tokens that are somebody else's.
    ///
    /// # Errors
    /// [`Reason::AccountInUse`], naming the destinations that have them.
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
                "service account {account} has other jobs, and other destinations use it ({}); they would lose theirs",
                destinations.join(", ")
            ),
        )
        .hint("Give this one an account of its own: --service-account NAME")
        .hint("Or choose the jobs that the others have: kubectl prom-federate status"))
    }

    /// Everything that is to be deleted, in its order.
    pub fn deletions(&self) -> impl Iterator<Item = &Deletion> {
        self.narrowed.iter().chain(self.retired.deletions())
    }

    /// Whether this object is new or changed.
    pub fn writes(&self, reference: &ObjectRef) -> bool {
        self.steps().any(|step| step.object.reference == *reference && step.verb != Verb::Unchanged)
    }

    /// What the caller must be allowed to do. Server-side apply needs `patch`, and `create` for what is not there.
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

/// Every object that stands in the way of a plan, with [`Reason::NotOurs`] or [`Reason::BeingDeleted`].
pub fn clashes(desired: &Desired, existing: &Existing) -> Vec<(ObjectRef, Error)> {
    let clash =
        |object: &Object| Some((object.reference.clone(), Step::new(object, existing.get(&object.reference)).err()?));
    desired.objects().filter_map(clash).collect()
}

/// The objects that are gone, or say something else than is desired, with the paths; marks of ownership aside. How far
/// a renewal may go is known only to the token that it is for: of its policy nothing but the existence counts.
pub fn drift(desired: &Desired, existing: &Existing) -> Vec<Drift> {
    let open = desired.self_renew.as_ref().map(|renewal| &renewal.policy[0].reference);
    let drift = |object: &Object| {
        let reference = object.reference.clone();
        let Some(there) = existing.get(&reference) else { return Some(Drift { reference, paths: Vec::new() }) };
        if reference.kind == Kind::Namespace || Some(&reference) == open {
            return None;
        }
        // Nodes that came and went are told by name.
        if !is_more_than_pins(object, there) {
            return None;
        }
        let mut paths = differences(&object.manifest, there);
        paths.retain(|path| !path.starts_with("metadata."));
        (!paths.is_empty()).then_some(Drift { reference, paths })
    };
    desired.objects().filter_map(drift).collect()
}

impl Step {
    fn new(object: &Object, existing: Option<&Value>) -> Result<Self> {
        let step = |verb, used_as_is| Ok(Self { object: object.clone(), verb, used_as_is });
        let Some(existing) = existing else {
            return step(Verb::Created, false);
        };
        if !existing["metadata"]["deletionTimestamp"].is_null() {
            return Err(Error::new(Reason::BeingDeleted, format!("{} is being deleted", object.reference))
                .hint("Wait until it is gone and run the command again"));
        }
        if object.reference.kind == Kind::Namespace {
            // A namespace grants nothing: whoever made it, the account may live there.
            return step(Verb::Unchanged, owner(existing) == Owner::Other);
        }
        let differences = differences(&object.manifest, existing);
        match owner(existing) {
            Owner::Us if differences.is_empty() => step(Verb::Unchanged, false),
            Owner::Us => step(Verb::Configured, false),
            // What `manifests` printed and Git applied lacks our ownership label and nothing else.
            Owner::Other if differences.iter().all(|path| is_ownership(path)) => step(Verb::Unchanged, true),
            Owner::Other => Err(not_ours(&object.reference, existing, &differences)),
        }
    }
}

/// The pages of nodes that jobs by another route read until the new ones are in use.
fn until_delivered(desired: &Desired, former: &[Target]) -> Vec<Target> {
    let route = desired.jobs.route();
    let is_other = |target: &&Target| match target {
        Target::Nodes { .. } => *route != Route::ApiServer,
        Target::PinnedNodes { .. } => route.pins().is_none(),
        _ => false,
    };
    if desired.jobs.have_nodes() { former.iter().filter(is_other).cloned().collect() } else { Vec::new() }
}

/// An object as it has to be while jobs by another route are still in use. None where that is how it will be anyway.
fn during_handover(desired: &Desired, object: &Object, there: &Value, until_delivered: &[Target]) -> Option<Object> {
    let mut both = object.clone();
    match object.reference.kind {
        Kind::ValidatingAdmissionPolicy if !until_delivered.is_empty() => {
            both.manifest["spec"] = fence::policy_spec_with(&desired.account, &desired.jobs, until_delivered);
        }
        Kind::ClusterRole if desired.jobs.have_nodes() => {
            let others = rights::of_other_routes(there, desired.jobs.route());
            // What a fence is required for and does not let through is no right to keep.
            let is_kept =
                |rule: &Value| desired.fence.is_none() || !until_delivered.is_empty() || !rights::is_proxied(rule);
            let kept: Vec<Value> = others.into_iter().filter(is_kept).collect();
            if kept.is_empty() {
                return None;
            }
            both.manifest["rules"].as_array_mut()?.extend(kept);
        }
        _ => return None,
    }
    Some(both)
}

/// Whether an object is to say something else than which nodes are pinned, labels aside. Nodes that came get a right
/// that nobody else loses, and of those that went nobody can use one.
fn is_more_than_pins(object: &Object, there: &Value) -> bool {
    let (mut wanted, mut there) = (object.manifest.clone(), there.clone());
    for manifest in [&mut wanted, &mut there] {
        match object.reference.kind {
            Kind::ClusterRole => rights::forget_pins(manifest),
            Kind::ValidatingAdmissionPolicy => {
                let expression = &mut manifest["spec"]["validations"][0]["expression"];
                *expression = expression.as_str().map(fence::without_ports).into();
            }
            _ => {}
        }
    }
    differences(&wanted, &there).iter().any(|path| !path.starts_with("metadata."))
}

/// What exists and is not wanted any more.
fn unwanted<'a>(desired: &'a Desired, existing: &'a Existing) -> impl Iterator<Item = (&'a ObjectRef, &'a Value)> {
    existing.iter().filter(|(reference, _)| !desired.objects().any(|object| object.reference == **reference))
}

/// Whether it gives the account rights for jobs.
fn is_grant(desired: &Desired, reference: &ObjectRef) -> bool {
    matches!(reference.kind, Kind::ClusterRole | Kind::ClusterRoleBinding | Kind::Role | Kind::RoleBinding)
        && reference.name == desired.account.cluster_scoped_name()
}

/// The right to renew, where it is not wanted any more. If a part of it is somebody else's, all of it stays: without
/// the policy there would be a right without its limit.
fn retired_renewal(desired: &Desired, existing: &Existing) -> LeavePlan {
    let plan = LeavePlan::of(unwanted(desired, existing).filter(|(reference, _)| !is_grant(desired, reference)));
    if plan.spared.is_empty() { plan } else { LeavePlan::default() }
}

fn is_ownership(path: &str) -> bool {
    matches!(path, "metadata.labels.app.kubernetes.io/managed-by" | "metadata.labels.app.kubernetes.io/version")
}

fn not_ours(reference: &ObjectRef, existing: &Value, differences: &[String]) -> Error {
    let mut managers: Vec<&str> = existing["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    managers.sort_unstable();
    managers.dedup();
    let managers = if managers.is_empty() { String::new() } else { format!(" (managed by {})", managers.join(", ")) };
    let differences: Vec<&str> = differences.iter().map(String::as_str).filter(|path| !is_ownership(path)).collect();
    Error::new(
        Reason::NotOurs,
        format!(
            "{reference} exists and is not ours{managers}; it differs from what is needed in {}",
            differences.join(", ")
        ),
    )
    .hint("Choose another account with --service-account NAME or --namespace NAMESPACE")
    .hint("Or let its owner apply what `kubectl prom-federate manifests` prints; it is then used as it is")
}

/// An object that is not as `join` makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub reference: ObjectRef,
    /// Paths of fields; none if the object is gone.
    pub paths: Vec<String>,
}

#[cfg(test)]
mod tests;
