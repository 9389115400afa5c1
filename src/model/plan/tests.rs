use super::*;
use crate::model::kube::object::ManagedBy;
use crate::model::{
    account::{
        desired::Fence,
        renewal::{self, Limits},
        rights,
    },
    job::{
        Job, Jobs,
        route::{Node, Pins},
    },
    kube::object::FIELD_MANAGER,
    text::duration::Seconds,
};
use serde_json::json;
use std::collections::BTreeMap;

fn account() -> Account {
    Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() }
}

fn desired() -> Desired {
    Desired::new(&account(), &"default".parse().unwrap(), Fence::Required, ManagedBy::Us)
}

fn role() -> ObjectRef {
    desired().grants[0].role.reference.clone()
}

/// The objects as an API server returns them after the plugin's apply.
fn applied(desired: &Desired) -> Existing {
    desired
        .objects()
        .map(|object| {
            let mut live = Value::clone(&object.manifest);
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
fn plan_writes_fence_and_unbound_role_before_the_binding() {
    let plan = JoinPlan::new(&desired(), &Existing::new()).unwrap();
    let kinds = |wave: &[Step]| wave.iter().map(|step| step.object.reference.kind).collect::<Vec<_>>();
    let policies = [Kind::ValidatingAdmissionPolicy, Kind::ValidatingAdmissionPolicyBinding];
    let fence_and_guard = [policies, policies].concat();
    assert_eq!(
        kinds(&plan.phase(When::Prepare).writes),
        [&fence_and_guard[..], &[Kind::Namespace, Kind::ClusterRole]].concat()
    );
    assert_eq!(kinds(&plan.phase(When::Grant).writes), [Kind::ServiceAccount, Kind::ClusterRoleBinding]);
    assert!(plan.steps().all(|step| step.verb == Verb::Created));
    assert!(plan.changes_fence());
}

#[test]
fn second_join_changes_nothing_and_needs_only_secret_and_token() {
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
fn changed_guard_is_restored_and_changes_no_right() {
    let [guard, _] = desired().guard.unwrap();
    let mut hollow = applied(&desired());
    hollow.get_mut(&guard.reference).unwrap()["spec"]["matchConstraints"]["excludeResourceRules"] = json!([{}]);
    let mut absent = applied(&desired());
    absent.remove(&guard.reference);
    for (what, existing) in [("hollow", &hollow), ("absent", &absent)] {
        let plan = JoinPlan::new(&desired(), existing).unwrap();
        assert!(plan.changes_object(&guard.reference), "{what}");
        assert!(!plan.changes_fence() && !plan.changes_rights, "{what}: tokens in use are as before");
        assert_eq!(plan.trust(&account()), None, "{what}: who may write the guard is trusted by it");
    }
    let asked = JoinPlan::new(&desired(), &applied(&desired())).unwrap().trust(&account()).unwrap();
    let name = "validatingadmissionpolicies.admissionregistration.k8s.io prom-federate-guard.prom-federate.prometheus";
    assert_eq!(asked.map(|one| one.to_string()), [format!("use {name}"), format!("patch {name}")]);
    assert_eq!(drift(&desired(), &absent), [], "status names it");
    assert_eq!(drift(&desired(), &hollow).len(), 1);
}

#[test]
fn changed_bound_role_waits_for_the_fence() {
    let mut existing = applied(&desired());
    existing.get_mut(&role()).unwrap()["rules"] = json!([]);
    let plan = JoinPlan::new(&desired(), &existing).unwrap();
    assert!(
        plan.phase(When::Grant)
            .writes
            .iter()
            .any(|step| step.verb == Verb::Configured && step.object.reference.kind == Kind::ClusterRole)
    );
}

#[test]
fn plan_ignores_fields_that_the_server_adds() {
    let mut existing = applied(&desired());
    for object in existing.values_mut() {
        object["metadata"]["resourceVersion"] = json!("7");
        object["metadata"]["annotations"] = json!({ "somebody": "else" });
    }
    assert!(JoinPlan::new(&desired(), &existing).unwrap().steps().all(|step| step.verb == Verb::Unchanged));
}

#[test]
fn foreign_object_is_rejected_with_the_difference() {
    let mut existing = applied(&desired());
    let role = existing.get_mut(&role()).unwrap();
    role["metadata"]["managedFields"] = json!([{ "manager": "helm" }]);
    role["rules"] = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }]);
    let error = JoinPlan::new(&desired(), &existing).unwrap_err();
    assert_eq!(error.reason, Reason::NotOurs);
    insta::assert_snapshot!(error, @"clusterrole.rbac.authorization.k8s.io/prom-federate.prom-federate.prometheus exists and has another owner (managed by helm); it differs from the needed object in rules");
}

#[test]
fn objects_from_manifests_are_used_unchanged() {
    let git = Desired::new(&account(), &"default".parse().unwrap(), Fence::Required, ManagedBy::Other);
    let mut existing = applied(&git);
    for object in existing.values_mut() {
        object["metadata"]["managedFields"] = json!([{ "manager": "argocd-controller" }]);
    }
    let plan = JoinPlan::new(&desired(), &existing).unwrap();
    assert!(plan.steps().all(|step| step.verb == Verb::Unchanged && step.used_as_is));
    let leave = LeavePlan::new(
        &account(),
        &existing,
        &[],
        crate::model::plan::leave::Leaving::Everything,
        jiff::Timestamp::UNIX_EPOCH,
    );
    assert_eq!(leave.deletions().count(), 0, "leave keeps objects that Git owns");
    assert_eq!(leave.spared.len(), 8);
}

fn renewing() -> Desired {
    desired().with_self_renew(&account(), &Limits::NONE)
}

#[test]
fn renewal_policy_comes_before_the_right_to_renew() {
    let plan = JoinPlan::new(&renewing(), &Existing::new()).unwrap();
    let kinds: Vec<(When, Kind)> = plan
        .phases
        .iter()
        .filter(|phase| phase.when >= When::Issued)
        .flat_map(|phase| phase.writes.iter().map(|step| (phase.when, step.object.reference.kind)))
        .collect();
    assert_eq!(
        kinds,
        [
            (When::Issued, Kind::ValidatingAdmissionPolicy),
            (When::Issued, Kind::ValidatingAdmissionPolicyBinding),
            (When::RenewalLimited, Kind::Role),
            (When::RenewalRole, Kind::RoleBinding),
        ]
    );
    let without = JoinPlan::new(&desired(), &Existing::new()).unwrap();
    assert_eq!(plan.phases[..3], without.phases[..3], "it changes nothing else");
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
fn right_to_renew_is_removed_before_its_policy() {
    let plan = JoinPlan::new(&desired(), &applied(&renewing())).unwrap();
    let deleted = |when| plan.phase(when).deletes.iter().map(|one| one.reference.kind).collect::<Vec<Kind>>();
    assert_eq!(deleted(When::RenewalLimited), [Kind::RoleBinding, Kind::Role]);
    assert_eq!(
        deleted(When::RenewalRefused),
        [Kind::ValidatingAdmissionPolicyBinding, Kind::ValidatingAdmissionPolicy]
    );
    assert!(
        plan.permissions(&account()).iter().any(|permission| permission.to_string().starts_with("delete rolebindings"))
    );
    let plan = JoinPlan::new(&renewing(), &applied(&renewing())).unwrap();
    assert_eq!(plan.deletions().count(), 0);
}

#[test]
fn renewal_policy_stays_while_a_foreign_binding_grants_the_right() {
    let mut existing = applied(&renewing());
    let binding = renewing().self_renew.unwrap().role_binding.reference;
    existing.get_mut(&binding).unwrap()["metadata"]["managedFields"] = json!([{ "manager": "argocd" }]);
    assert_eq!(JoinPlan::new(&desired(), &existing).unwrap().deletions().count(), 0);
}

#[test]
fn drift_names_deleted_and_changed_objects() {
    let shown = |existing: &Existing| {
        let found = drift(&renewing(), existing);
        found.iter().map(|one| format!("{} {}", one.reference.kind, one.paths.join(","))).collect::<Vec<_>>()
    };
    let mut existing = applied(&renewing());
    assert_eq!(shown(&existing), [""; 0]);
    // Another release, Git, and other renewal limits are not drift.
    for object in existing.values_mut() {
        object["metadata"]["labels"] = json!({});
    }
    let SelfRenew { policy: [limit, limit_binding], .. } = renewing().self_renew.unwrap();
    let limits = Limits { secrets: vec!["a".into()], audiences: vec!["b".into()], cap: Seconds(600) };
    let agreed = json!(renewal::policy_spec(&account(), &limits));
    existing.get_mut(&limit.reference).unwrap()["spec"] = agreed.clone();
    assert_eq!(shown(&existing), [""; 0]);
    // An exception in a policy is.
    for policy in [limit.reference.clone(), desired().fence.unwrap()[0].reference.clone()] {
        let mut hollow = existing.clone();
        hollow.get_mut(&policy).unwrap()["spec"]["matchConstraints"]["excludeResourceRules"] = json!([{}]);
        let found = shown(&hollow);
        assert!(found.len() == 1 && found[0].starts_with("ValidatingAdmissionPolicy spec"), "{found:?}");
        // Kubernetes accepts a policy that only audits, and another server may answer anything.
        for hollow_spec in [json!({ "auditAnnotations": [{}] }), json!({ "validations": [] }), json!("x"), json!(null)]
        {
            hollow.get_mut(&policy).unwrap()["spec"] = hollow_spec;
            assert_eq!(shown(&hollow).len(), 1);
        }
    }

    let role = existing.get_mut(&desired().grants[0].role.reference).unwrap();
    role["rules"].as_array_mut().unwrap().push(json!({ "verbs": ["*"] }));
    let binding = existing.get_mut(&desired().grants[0].binding.reference).unwrap();
    binding["subjects"].as_array_mut().unwrap().push(json!({ "kind": "User", "name": "jane" }));
    existing.remove(&limit_binding.reference);
    assert_eq!(
        shown(&existing),
        ["ClusterRole rules", "ClusterRoleBinding subjects", "ValidatingAdmissionPolicyBinding "]
    );
}

#[test]
fn clashes_name_every_obstacle() {
    let mut existing = applied(&desired());
    let foreign = existing.get_mut(&desired().grants[0].role.reference).unwrap();
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
fn object_that_is_being_deleted_stops_the_join() {
    let mut existing = applied(&desired());
    existing.get_mut(&desired().namespace.reference).unwrap()["metadata"]["deletionTimestamp"] =
        json!("2026-01-01T00:00:00Z");
    assert_eq!(JoinPlan::new(&desired(), &existing).unwrap_err().reason, Reason::BeingDeleted);
}
/// The effective rights and the targets that the fence admits, after each step of a plan.
struct World {
    objects: BTreeMap<ObjectRef, Value>,
}

impl World {
    fn fence(&self) -> Option<Vec<Target>> {
        let name = account().cluster_scoped_name();
        let find = |kind| self.objects.get(&ObjectRef { kind, namespace: None, name: name.clone() });
        fence::admitted(
            &account(),
            find(Kind::ValidatingAdmissionPolicy)?,
            find(Kind::ValidatingAdmissionPolicyBinding)?,
        )
    }

    /// The targets of all jobs whose rights are bound.
    fn rights(&self) -> Vec<Target> {
        let is_in_force = |scope: &rights::Scope| {
            let [role, binding] = ObjectRef::grant(&account(), scope.namespace.as_ref());
            let has_all = |role: &Value| {
                let rules = role["rules"].as_array().cloned().unwrap_or_default();
                scope.rules.iter().all(|rule| rules.contains(&rule.manifest()))
            };
            self.objects.contains_key(&binding) && self.objects.get(&role).is_some_and(has_all)
        };
        let words = SETS.join(",");
        let every: Jobs = words.parse().unwrap();
        let granted = |job: &&Job| {
            let alone = Jobs::new([(*job).clone()]).unwrap();
            rights::scopes(&alone).iter().all(is_in_force)
        };
        every.iter().filter(granted).map(|job| every.target(job)).collect()
    }

    /// Asserts that no right exists without the fence, which refuses everything that it does not name.
    fn is_limited(&self, what: &str) {
        let rights = self.rights();
        assert!(rights.is_empty() || self.fence().is_some(), "{what}: rights without a fence: {rights:?}");
    }

    /// Asserts that the fence refuses no target of the jobs.
    fn works(&self, jobs: &Jobs, what: &str) {
        self.is_limited(what);
        let (rights, fence) = (self.rights(), self.fence());
        let wanted: Vec<Target> = jobs.targets().collect();
        for target in rights.iter().filter(|target| wanted.contains(target)) {
            let passes = matches!(target, Target::ApiServer { .. }) || fence.iter().flatten().any(|one| one == target);
            assert!(passes, "{what}: the fence refuses {target}");
        }
    }

    fn apply<'a>(&mut self, steps: impl IntoIterator<Item = &'a Step>) {
        for step in steps.into_iter().filter(|step| step.verb != Verb::Unchanged) {
            let mut object = Value::clone(&step.object.manifest);
            object["metadata"]["managedFields"] = json!([{ "manager": FIELD_MANAGER }]);
            self.objects.insert(step.object.reference.clone(), object);
        }
    }
}

/// One Service in each namespace, so that each rule belongs to one job.
const SETS: [&str; 5] =
    ["default", "apiserver", "service=a/b:80", "pods=shop/metrics", "cadvisor,federate=monitoring/prometheus:web"];

#[test]
fn steps_between_two_sets_of_jobs_never_leave_a_right_without_its_fence() {
    let mut sets: Vec<String> = SETS.map(str::to_owned).to_vec();
    for (index, one) in SETS.iter().enumerate() {
        sets.extend(SETS[index + 1..].iter().map(|other| format!("{one},{other}")));
    }
    let desired = |jobs: &Jobs| Desired::new(&account(), jobs, Fence::Required, ManagedBy::Us);
    let none = String::new();
    for before in sets.iter().chain([&none]) {
        // None: a first join.
        let before_jobs = before.parse::<Jobs>().ok();
        let live = before_jobs.as_ref().map(|jobs| applied(&desired(jobs))).unwrap_or_default();
        for after in &sets {
            let jobs: Jobs = after.parse().unwrap();
            let plan = JoinPlan::new(&desired(&jobs), &live).unwrap();
            let mut world = World { objects: live.clone() };
            for Phase { writes: wave, .. } in plan.phases.iter().filter(|phase| phase.when < When::Issued) {
                // The writes of a phase are concurrent, so the fence may come last.
                let mut late = World { objects: world.objects.clone() };
                for step in wave.iter().filter(|step| !step.object.reference.kind.is_fence()) {
                    late.apply([step]);
                    late.is_limited(&format!("{before} to {after}: {}", step.object.reference));
                }
                world.apply(wave);
                world.works(&jobs, &format!("{before} to {after}"));
            }
            for deletion in &plan.phase(When::Proven).deletes {
                world.objects.remove(&deletion.reference);
                world.works(&jobs, &format!("{before} to {after}: {} deleted", deletion.reference));
            }
            let mut rights = world.rights();
            let mut wanted: Vec<Target> = jobs.targets().collect();
            // One right covers all pages of the nodes.
            let others = |target: &Target| !matches!(target, Target::Nodes { .. });
            rights.retain(others);
            wanted.retain(others);
            assert_eq!(rights, wanted, "{before} to {after}");
            let end = JoinPlan::new(&desired(&jobs), &world.objects).unwrap();
            assert!(end.steps().all(|step| step.verb == Verb::Unchanged), "{before} to {after}");
            assert_eq!((end.deletions().count(), end.changes_rights), (0, false), "{before} to {after}");
            assert_eq!(
                plan.changes_rights,
                before_jobs.as_ref().is_some_and(|before| *before != jobs),
                "{before} to {after}"
            );
        }
    }
}

fn pinned(names: &[&str]) -> Route {
    Route::Pinned(Pins::of_names(names.iter().copied()))
}

fn by(route: &Route) -> Desired {
    let jobs = "default,apiserver".parse::<Jobs>().unwrap().by(route.clone());
    Desired::new(&account(), &jobs, Fence::Required, ManagedBy::Us)
}

impl World {
    /// Whether a scrape of node `b` by this route works: RBAC, and at the API server the fence.
    fn scrapes(&self, route: &Route) -> bool {
        let node = Node { name: "b".into(), port: 10_250, address: None };
        let page = Target::of(&Job::Cadvisor, route).page(&route.subject(&node));
        let role = ObjectRef::grant(&account(), None)[0].clone();
        let granted = rights::routes(&self.objects[&role]);
        let is_right = match route {
            Route::Kubelet => granted.contains(&Route::Kubelet),
            // A rule without names covers all nodes, in every spelling.
            Route::ApiServer => granted.contains(&Route::ApiServer),
            Route::Pinned(_) => granted.iter().any(|route| match route {
                Route::Pinned(pins) => pins.contains(&node),
                other => *other == Route::ApiServer,
            }),
        };
        is_right && (!route.is_proxied() || self.fence().iter().flatten().any(|target| target.admits(&page)))
    }
}

#[test]
fn old_jobs_work_until_jobs_by_another_route_are_delivered() {
    let routes = [Route::ApiServer, pinned(&["a:10250", "b:10250"]), pinned(&["b:10250", "c:10260"]), Route::Kubelet];
    for before in &routes {
        let live = applied(&by(before));
        for after in &routes {
            let what = format!("{before} to {after}");
            let plan = JoinPlan::new(&by(after), &live).unwrap();
            let mut world = World { objects: live.clone() };
            for Phase { writes: wave, .. } in plan.phases.iter().filter(|phase| phase.when < When::Issued) {
                // The fence first: it only admits more.
                for is_fence in [true, false] {
                    world.apply(wave.iter().filter(|step| step.object.reference.kind.is_fence() == is_fence));
                    assert!(world.scrapes(before), "{what}");
                    assert!(world.fence().is_some(), "{what}");
                }
            }
            assert!(world.scrapes(after), "{what}");
            let is_other = before.to_string() != after.to_string();
            assert_eq!(plan.hands_over(), is_other, "{what}");
            assert_eq!(plan.changes_rights, is_other, "{what}: pins alone take no rights");

            // The next run finishes a run that was killed here.
            let again = JoinPlan::new(&by(after), &world.objects).unwrap();
            assert!(again.phases.iter().all(|one| one.when == When::Delivered || !one.writes_anything()), "{what}");
            let handover = &plan.phase(When::Delivered).writes;
            assert_eq!(again.phase(When::Delivered).writes, *handover, "{what}");
            assert_eq!(again.until_delivered, plan.until_delivered, "{what}");
            for reference in handover.iter().map(|step| &step.object.reference) {
                assert!(plan.changes_object(reference) && again.changes_object(reference), "{what}");
            }

            // So does a rotation.
            let (rotation, differing) = JoinPlan::for_rotation(&by(after), &world.objects).unwrap();
            assert_eq!(
                (rotation.phase(When::Delivered).writes.clone(), differing),
                (handover.clone(), vec![]),
                "{what}"
            );

            world.apply(handover);
            assert_eq!((world.scrapes(before), world.scrapes(after)), (!is_other, true), "{what}");
            for other in routes.iter().filter(|other| other.to_string() != after.to_string()) {
                assert!(!world.scrapes(other), "{what} leaves {other}");
            }
            let end = JoinPlan::new(&by(after), &world.objects).unwrap();
            assert!(end.steps().all(|step| step.verb == Verb::Unchanged), "{what}");
            assert!(!end.hands_over(), "{what}");
        }
    }
}

#[test]
fn new_and_removed_nodes_change_no_other_right() {
    let live = applied(&by(&pinned(&["a:10250"])));
    let plan = JoinPlan::new(&by(&pinned(&["a:10250", "b:10260"])), &live).unwrap();
    let configured: Vec<Kind> =
        plan.steps().filter(|step| step.verb == Verb::Configured).map(|step| step.object.reference.kind).collect();
    assert_eq!(configured, [Kind::ValidatingAdmissionPolicy, Kind::ClusterRole], "a port more, and a name");
    assert!(!plan.changes_rights && !plan.hands_over());
    assert_eq!(drift(&by(&pinned(&["a:10250", "b:10260"])), &live), []);
    assert_eq!(drift(&by(&Route::ApiServer), &live).len(), 2, "rights and fence");
    let mut wider = live;
    let role = ObjectRef::grant(&account(), None)[0].clone();
    wider.get_mut(&role).unwrap()["rules"][1]["verbs"] = json!(["*"]);
    assert!(JoinPlan::new(&by(&pinned(&["a:10250", "b:10251"])), &wider).unwrap().changes_rights);
}

#[test]
fn foreign_rights_are_named_and_stay() {
    let narrow = Desired::new(&account(), &"apiserver".parse().unwrap(), Fence::Required, ManagedBy::Us);
    let wide =
        Desired::new(&account(), &"apiserver,pods=shop/metrics".parse().unwrap(), Fence::Required, ManagedBy::Us);
    let mut existing = applied(&wide);
    let [role, binding] = ObjectRef::grant(&account(), Some(&"shop".parse().unwrap()));
    existing.get_mut(&role).unwrap()["metadata"]["managedFields"] = json!([{ "manager": "argocd" }]);
    let plan = JoinPlan::new(&narrow, &existing).unwrap();
    assert_eq!(plan.deletions().map(|deletion| &deletion.reference).collect::<Vec<_>>(), [&binding]);
    assert_eq!(plan.foreign, [role]);
}

/// The dry run prints [`JoinPlan::changes`]; the run executes [`JoinPlan::with_secrets`].
#[test]
fn run_follows_the_dry_run_and_each_change_is_safe() {
    let wide = "default,apiserver,pods=shop/metrics".parse::<Jobs>().unwrap();
    let narrow = "cadvisor".parse::<Jobs>().unwrap();
    let desired = |jobs: &Jobs| Desired::new(&account(), jobs, Fence::Required, ManagedBy::Us);
    let renewing = |jobs: &Jobs| desired(jobs).with_self_renew(&account(), &Limits::NONE);
    let pinned = narrow.clone().by(pinned(&["b:10250"]));
    for (what, before, after) in [
        ("first", None, desired(&wide)),
        ("first, to renew", None, renewing(&wide)),
        ("widened", Some(desired(&narrow)), renewing(&wide)),
        ("narrowed", Some(renewing(&wide)), desired(&narrow)),
        ("by another route", Some(renewing(&wide)), desired(&pinned)),
        ("again", Some(renewing(&wide)), renewing(&wide)),
    ] {
        let live = before.as_ref().map(applied).unwrap_or_default();
        let mut plan = JoinPlan::new(&after, &live).unwrap();
        assert!(plan.phases.is_sorted_by(|one, next| one.when < next.when), "{what}");
        for long_lived in [false, true] {
            plan.long_lived = long_lived;
            let secret = Object { reference: ObjectRef::secret(&account(), "s"), manifest: json!({}).into() };
            let phases = plan.with_secrets(std::slice::from_ref(&secret));
            let is_planned = |change: &Change| !matches!(change, Change::Write(_, step) if step.object == secret);
            let run: Vec<Change> = phases.iter().flat_map(Phase::changes).filter(is_planned).collect();
            assert_eq!(run, plan.changes().collect::<Vec<_>>(), "{what}");
            let granted = phases.iter().position(|phase| phase.changes().any(|change| !is_planned(&change)));
            let account = phases
                .iter()
                .position(|phase| phase.writes.iter().any(|step| step.object.reference.kind == Kind::ServiceAccount));
            assert_eq!(granted, account.map(|at| at + usize::from(long_lived)), "{what}: after its account");
        }
        let mut world = World { objects: live.into_iter().collect() };
        for change in plan.changes() {
            match change {
                Change::Write(_, step) => world.apply([step]),
                Change::Delete(_, deletion) => drop(world.objects.remove(&deletion.reference)),
            }
            world.is_limited(&format!("{what}: {change:?}"));
        }
        let end = JoinPlan::new(&after, &world.objects).unwrap();
        assert!(end.changes().all(|change| matches!(change, Change::Write(_, step) if step.verb == Verb::Unchanged)));
    }
}

#[test]
fn rotation_grants_nothing() {
    let jobs: Jobs = "default,pods=shop/metrics".parse().unwrap();
    let wanted = Desired::new(&account(), &jobs, Fence::Required, ManagedBy::Us);
    let references: Vec<ObjectRef> = wanted.objects().map(|object| object.reference.clone()).collect();
    for gone in &references {
        let mut existing = applied(&wanted);
        existing.remove(gone);
        if wanted.is_guard(gone) {
            let (plan, differing) = JoinPlan::for_rotation(&wanted, &existing).unwrap();
            assert!(plan.steps().all(|step| step.verb == Verb::Unchanged && step.object.reference != *gone));
            assert_eq!((&plan.unguarded[..], differing.len()), (std::slice::from_ref(gone), 0));
            continue;
        }
        let error = JoinPlan::for_rotation(&wanted, &existing).unwrap_err();
        assert_eq!(
            (error.reason, error.to_string()),
            (Reason::NotFound, format!("{gone} is missing, and rotate grants no rights"))
        );
    }
    // What differs stays as it is, wider or narrower, and is named.
    let mut existing = applied(&wanted);
    existing.get_mut(&role()).unwrap()["rules"] = json!([]);
    let (plan, differing) = JoinPlan::for_rotation(&wanted, &existing).unwrap();
    assert!(plan.changes().all(|change| matches!(change, Change::Write(_, step) if step.verb == Verb::Unchanged)));
    assert_eq!(differing, [role()]);
    assert!(!plan.changes_rights && !plan.changes_fence());
    // The right to bare names that a killed handover left goes; another one stays.
    let pinned = wanted.jobs.clone().by(pinned(&["a:10250"]));
    let pinned = Desired::new(&account(), &pinned, Fence::Required, ManagedBy::Us);
    let bare = json!({ "apiGroups": [""], "resources": ["nodes/proxy"], "verbs": ["get"] });
    let secrets = json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] });
    for (left, expected) in [(bare, vec![]), (secrets, vec![role()])] {
        let mut existing = applied(&pinned);
        existing.get_mut(&role()).unwrap()["rules"].as_array_mut().unwrap().push(left);
        let (plan, differing) = JoinPlan::for_rotation(&pinned, &existing).unwrap();
        assert_eq!(plan.changes_object(&role()), expected.is_empty());
        assert_eq!(differing, expected);
    }
    // Labels of another release are no difference, and are not written.
    let mut existing = applied(&wanted);
    for object in existing.values_mut() {
        object["metadata"]["labels"]["app.kubernetes.io/version"] = json!("0.0.1");
    }
    let (plan, differing) = JoinPlan::for_rotation(&wanted, &existing).unwrap();
    assert!(plan.steps().all(|step| step.verb == Verb::Unchanged));
    assert_eq!(differing, []);
}

#[test]
fn rotation_writes_pins_and_the_limit_of_renewals_only() {
    let pinned = |names: &[&str]| {
        let jobs: Jobs = "default".parse().unwrap();
        let jobs = jobs.by(Route::Pinned(Pins::of_names(names.iter().copied())));
        let desired = Desired::new(&account(), &jobs, Fence::Required, ManagedBy::Us);
        desired.with_self_renew(&account(), &Limits::NONE)
    };
    let before = pinned(&["a:10250"]);
    let (plan, differing) = JoinPlan::for_rotation(&pinned(&["a:10250", "b:10251"]), &applied(&before)).unwrap();
    let written: Vec<Kind> =
        plan.steps().filter(|step| step.verb != Verb::Unchanged).map(|step| step.object.reference.kind).collect();
    assert_eq!(written, [Kind::ValidatingAdmissionPolicy, Kind::ClusterRole]);
    assert_eq!(differing, []);
    let mut limited = applied(&before);
    let [policy, _] = &before.self_renew.as_ref().unwrap().policy;
    limited.get_mut(&policy.reference).unwrap()["spec"]["validations"] = json!([]);
    let (plan, differing) = JoinPlan::for_rotation(&before, &limited).unwrap();
    assert!(plan.changes_object(&policy.reference), "the new Secret may renew its token");
    assert_eq!(differing, []);
}
