//! The plan: desired against observed gives ordered steps. Pure, so that a dry run, the prompt and the real run agree.

use super::{
    account::Account,
    checklist::Drift,
    leave::LeavePlan,
    object::{Desired, Kind, Object, ObjectRef, SelfRenew},
    owner::{Owner, owner},
    permission::Permission,
    token::BoundSecret,
};
use crate::error::{Error, Reason, Result};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// The objects that exist, as the API server returned them.
pub type Existing = BTreeMap<ObjectRef, Value>;

/// What happens to an object, in kubectl's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Created,
    Configured,
    Unchanged,
    Deleted,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        })
    }
}

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
    /// The fence comes before the rights that it fences.
    pub waves: [Vec<Step>; 2],
    /// Whether something that exists is to say something else, labels aside: every token of the account feels it.
    pub changes_rights: bool,
    /// With `--self-renew`, when there is a token: the policy about renewals, the role, the binding.
    pub renewal: [Vec<Step>; 3],
    /// The right to renew that an earlier join gave and this one does not want.
    pub retired: LeavePlan,
    /// The token is read from its Secret instead of being asked for.
    pub long_lived: bool,
}

impl JoinPlan {
    /// Fails with [`Reason::NotOurs`] or [`Reason::BeingDeleted`], naming the object.
    pub fn new(desired: &Desired, existing: &Existing) -> Result<Self> {
        let role_is_bound = existing.contains_key(&desired.role_binding.reference);
        let mut waves = [Vec::new(), Vec::new()];
        let mut changes_rights = false;
        for object in desired.for_scraping() {
            let wave = match object.reference.kind {
                Kind::ServiceAccount | Kind::ClusterRoleBinding => 1,
                // A role that nobody is bound to grants nothing, and its binding needs it; changing a bound one is
                // a change of rights.
                Kind::ClusterRole => usize::from(role_is_bound),
                _ => 0,
            };
            let there = existing.get(&object.reference);
            let step = Step::new(object, there)?;
            changes_rights |= step.verb == Verb::Configured
                && there.is_some_and(|there| {
                    differences(&object.manifest, there).iter().any(|path| !path.starts_with("metadata."))
                });
            waves[wave].push(step);
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
        let retired = retired(desired, existing);
        changes_rights |= retired.deletions().count() > 0;
        Ok(Self { waves, changes_rights, renewal, retired, long_lived: desired.long_lived })
    }

    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.waves.iter().chain(&self.renewal).flatten()
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

    /// Whether an object of this kind is new.
    pub fn creates(&self, kind: Kind) -> bool {
        self.steps().any(|step| step.object.reference.kind == kind && step.verb == Verb::Created)
    }

    /// Whether an object of this kind is new or changed.
    pub fn writes(&self, kind: Kind) -> bool {
        self.steps().any(|step| step.object.reference.kind == kind && step.verb != Verb::Unchanged)
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
        permissions.extend(self.retired.deletions().map(|deletion| Permission::of("delete", &deletion.reference)));
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

/// What exists and is not wanted any more. If a part of it is somebody else's, all of it stays: without the policy
/// there would be a right without its limit.
fn retired(desired: &Desired, existing: &Existing) -> LeavePlan {
    let wanted = |reference: &ObjectRef| desired.objects().any(|object| object.reference == *reference);
    let stale = existing.iter().filter(|(reference, _)| !wanted(reference));
    let plan = LeavePlan::of(stale);
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

/// The paths at which an existing object lacks what is desired. Fields that only the existing one has are the
/// server's defaults or somebody else's, and none of our business; lists count as a whole, as server-side apply
/// treats the ones that we set.
pub(super) fn differences(desired: &Value, existing: &Value) -> Vec<String> {
    fn walk(path: &str, desired: &Value, existing: &Value, found: &mut Vec<String>) {
        match desired {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, &existing[key], found);
                }
                // An empty map is a value of its own: {} is not the same as absent.
                if fields.is_empty() && !existing.is_object() {
                    found.push(path.to_owned());
                }
            }
            other if other == existing => {}
            _ => found.push(path.to_owned()),
        }
    }
    let mut found = Vec::new();
    walk("", desired, existing, &mut found);
    found
}

/// An object to delete: only the very one that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    pub reference: ObjectRef,
    pub uid: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        object::{FIELD_MANAGER, Fence, ManagedBy},
        renewal::Terms,
    };
    use serde_json::json;

    fn account() -> Account {
        Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() }
    }

    fn desired() -> Desired {
        Desired::new(&account(), &"default".parse().unwrap(), Fence::Required, ManagedBy::Us)
    }

    /// The objects as an API server would return them after our own apply.
    fn applied(desired: &Desired) -> Existing {
        desired
            .objects()
            .map(|object| {
                let mut live = object.manifest.clone();
                live["metadata"]["uid"] = json!(format!("uid-of-{}", object.reference.kind));
                live["metadata"]["managedFields"] = json!([{ "manager": FIELD_MANAGER }]);
                (object.reference.clone(), live)
            })
            .collect()
    }

    fn verbs(plan: &JoinPlan) -> Vec<(Kind, Verb)> {
        plan.steps().map(|step| (step.object.reference.kind, step.verb)).collect()
    }

    #[test]
    fn the_fence_and_the_unbound_role_come_before_the_binding() {
        let plan = JoinPlan::new(&desired(), &Existing::new()).unwrap();
        let kinds = |wave: &[Step]| wave.iter().map(|step| step.object.reference.kind).collect::<Vec<_>>();
        assert_eq!(
            kinds(&plan.waves[0]),
            [
                Kind::ValidatingAdmissionPolicy,
                Kind::ValidatingAdmissionPolicyBinding,
                Kind::Namespace,
                Kind::ClusterRole
            ]
        );
        assert_eq!(kinds(&plan.waves[1]), [Kind::ServiceAccount, Kind::ClusterRoleBinding]);
        assert!(plan.steps().all(|step| step.verb == Verb::Created));
        assert!(plan.changes_fence());
    }

    #[test]
    fn a_second_join_changes_nothing_and_needs_only_secret_and_token() {
        let plan = JoinPlan::new(&desired(), &applied(&desired())).unwrap();
        assert!(plan.steps().all(|step| step.verb == Verb::Unchanged), "{:?}", verbs(&plan));
        assert!(!plan.changes_fence());
        let permissions: Vec<String> = plan.permissions(&account()).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(permissions.join("\n"), @r"
        create secrets in namespace prom-federate
        patch secrets in namespace prom-federate
        delete secrets in namespace prom-federate
        create serviceaccounts/token prometheus in namespace prom-federate
        ");
    }

    #[test]
    fn a_bound_role_that_changes_waits_for_the_fence() {
        let mut existing = applied(&desired());
        existing.get_mut(&desired().role.reference).unwrap()["rules"] = json!([]);
        let plan = JoinPlan::new(&desired(), &existing).unwrap();
        assert!(
            plan.waves[1]
                .iter()
                .any(|step| step.verb == Verb::Configured && step.object.reference.kind == Kind::ClusterRole)
        );
    }

    #[test]
    fn what_the_server_adds_is_no_difference() {
        let mut existing = applied(&desired());
        for object in existing.values_mut() {
            object["metadata"]["resourceVersion"] = json!("7");
            object["metadata"]["annotations"] = json!({ "somebody": "else" });
        }
        assert!(JoinPlan::new(&desired(), &existing).unwrap().steps().all(|step| step.verb == Verb::Unchanged));
    }

    #[test]
    fn an_object_of_another_with_our_name_is_refused_with_the_difference() {
        let mut existing = applied(&desired());
        let role = existing.get_mut(&desired().role.reference).unwrap();
        role["metadata"]["managedFields"] = json!([{ "manager": "helm" }]);
        role["rules"] = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
        let error = JoinPlan::new(&desired(), &existing).unwrap_err();
        assert_eq!(error.reason, Reason::NotOurs);
        insta::assert_snapshot!(error, @"clusterrole.rbac.authorization.k8s.io/prom-federate.prom-federate.prometheus exists and is not ours (managed by helm); it differs from what is needed in rules");
    }

    #[test]
    fn what_git_applied_from_our_manifests_is_used_as_it_is() {
        let git = Desired::new(&account(), &"default".parse().unwrap(), Fence::Required, ManagedBy::Other);
        let mut existing = applied(&git);
        for object in existing.values_mut() {
            object["metadata"]["managedFields"] = json!([{ "manager": "argocd-controller" }]);
        }
        let plan = JoinPlan::new(&desired(), &existing).unwrap();
        assert!(plan.steps().all(|step| step.verb == Verb::Unchanged && step.used_as_is));
        let leave = LeavePlan::new(&account(), &existing, &[], crate::model::leave::Leaving::Everything);
        assert_eq!(leave.deletions().count(), 0, "leave spares what Git owns");
        assert_eq!(leave.spared.len(), 6);
    }

    fn renewing() -> Desired {
        desired().with_self_renew(&account(), &Terms::NONE)
    }

    #[test]
    fn the_policy_about_renewals_comes_before_the_right() {
        let plan = JoinPlan::new(&renewing(), &Existing::new()).unwrap();
        let kinds: Vec<Vec<Kind>> =
            plan.renewal.iter().map(|wave| wave.iter().map(|step| step.object.reference.kind).collect()).collect();
        assert_eq!(
            kinds,
            [
                vec![Kind::ValidatingAdmissionPolicy, Kind::ValidatingAdmissionPolicyBinding],
                vec![Kind::Role],
                vec![Kind::RoleBinding]
            ]
        );
        assert_eq!(plan.waves, JoinPlan::new(&desired(), &Existing::new()).unwrap().waves, "it changes nothing else");
        let plan = JoinPlan::new(&renewing(), &applied(&desired())).unwrap();
        assert!(!plan.changes_fence(), "its policy is not the fence");
        let permissions: Vec<String> = plan.permissions(&account()).iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(permissions[..8].join("\n"), @r"
        create validatingadmissionpolicies.admissionregistration.k8s.io prom-federate-renew.prom-federate.prometheus
        patch validatingadmissionpolicies.admissionregistration.k8s.io prom-federate-renew.prom-federate.prometheus
        create validatingadmissionpolicybindings.admissionregistration.k8s.io prom-federate-renew.prom-federate.prometheus
        patch validatingadmissionpolicybindings.admissionregistration.k8s.io prom-federate-renew.prom-federate.prometheus
        create roles.rbac.authorization.k8s.io prom-federate-renew.prom-federate.prometheus in namespace prom-federate
        patch roles.rbac.authorization.k8s.io prom-federate-renew.prom-federate.prometheus in namespace prom-federate
        create rolebindings.rbac.authorization.k8s.io prom-federate-renew.prom-federate.prometheus in namespace prom-federate
        patch rolebindings.rbac.authorization.k8s.io prom-federate-renew.prom-federate.prometheus in namespace prom-federate
        ");
    }

    #[test]
    fn a_right_to_renew_that_is_not_wanted_any_more_goes_before_its_policy() {
        let plan = JoinPlan::new(&desired(), &applied(&renewing())).unwrap();
        let order: Vec<Kind> = plan.retired.deletions().map(|deletion| deletion.reference.kind).collect();
        assert_eq!(
            order,
            [Kind::RoleBinding, Kind::Role, Kind::ValidatingAdmissionPolicyBinding, Kind::ValidatingAdmissionPolicy]
        );
        assert!(
            plan.permissions(&account())
                .iter()
                .any(|permission| permission.to_string().starts_with("delete rolebindings"))
        );
        let plan = JoinPlan::new(&renewing(), &applied(&renewing())).unwrap();
        assert_eq!(plan.retired, LeavePlan::default());
    }

    #[test]
    fn a_policy_stays_while_somebody_else_grants_what_it_limits() {
        let mut existing = applied(&renewing());
        let binding = renewing().self_renew.unwrap().role_binding.reference;
        existing.get_mut(&binding).unwrap()["metadata"]["managedFields"] = json!([{ "manager": "argocd" }]);
        assert_eq!(JoinPlan::new(&desired(), &existing).unwrap().retired, LeavePlan::default());
    }

    #[test]
    fn drift_is_what_is_gone_or_says_something_else() {
        let shown = |existing: &Existing| {
            let found = drift(&renewing(), existing);
            found.iter().map(|one| format!("{} {}", one.reference.kind, one.paths.join(","))).collect::<Vec<_>>()
        };
        let mut existing = applied(&renewing());
        assert_eq!(shown(&existing), [""; 0]);
        // Another release, Git, and a renewal on other terms are none.
        for object in existing.values_mut() {
            object["metadata"]["labels"] = json!({});
        }
        let SelfRenew { policy: [limit, limit_binding], .. } = renewing().self_renew.unwrap();
        existing.get_mut(&limit.reference).unwrap()["spec"]["validations"] = json!([]);
        assert_eq!(shown(&existing), [""; 0]);

        let role = existing.get_mut(&desired().role.reference).unwrap();
        role["rules"].as_array_mut().unwrap().push(json!({ "verbs": ["*"] }));
        let binding = existing.get_mut(&desired().role_binding.reference).unwrap();
        binding["subjects"].as_array_mut().unwrap().push(json!({ "kind": "User", "name": "jane" }));
        existing.remove(&limit_binding.reference);
        assert_eq!(
            shown(&existing),
            ["ClusterRole rules", "ClusterRoleBinding subjects", "ValidatingAdmissionPolicyBinding "]
        );
    }

    #[test]
    fn everything_that_stands_in_the_way_is_named() {
        let mut existing = applied(&desired());
        let foreign = existing.get_mut(&desired().role.reference).unwrap();
        foreign["rules"] = json!([]);
        foreign["metadata"]["managedFields"] = json!([{ "manager": "terraform" }]);
        existing.get_mut(&desired().namespace.reference).unwrap()["metadata"]["deletionTimestamp"] =
            json!("2026-01-01T00:00:00Z");
        let found: Vec<(Kind, Reason)> =
            clashes(&desired(), &existing).into_iter().map(|(at, error)| (at.kind, error.reason)).collect();
        assert_eq!(found, [(Kind::Namespace, Reason::BeingDeleted), (Kind::ClusterRole, Reason::NotOurs)]);
        assert_eq!(clashes(&desired(), &Existing::new()), []);
    }

    #[test]
    fn an_object_that_is_being_deleted_stops_the_join() {
        let mut existing = applied(&desired());
        existing.get_mut(&desired().namespace.reference).unwrap()["metadata"]["deletionTimestamp"] =
            json!("2026-01-01T00:00:00Z");
        assert_eq!(JoinPlan::new(&desired(), &existing).unwrap_err().reason, Reason::BeingDeleted);
    }
}
