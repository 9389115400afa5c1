//! The plan of leave: the deletions in their order. Pure, so that dry run, question and run agree.

use crate::model::{
    account::Account,
    kube::{
        object::{Deletion, Existing, Kind, ObjectRef},
        owner::{Owner, owner},
    },
    store::{identity::Identity, record::SecretRecord},
    token::bound_secret::BoundSecret,
};
use jiff::Timestamp;
use serde_json::Value;

/// The deletions of `leave`, in the only safe order: credentials, then rights, then the policies that limit them, then the
/// namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeavePlan {
    pub credentials: Vec<Deletion>,
    pub bindings: Vec<Deletion>,
    pub roles: Vec<Deletion>,
    pub fence: Vec<Deletion>,
    /// Announcements of runs that were removing the account. What they left is in this plan.
    pub announced: Vec<Deletion>,
    pub namespace: Option<Deletion>,
    /// The plugin's namespace, if it holds objects of others, or may.
    pub kept_namespace: Option<ObjectRef>,
    /// Objects of other owners with the plugin's names.
    pub spared: Vec<ObjectRef>,
    /// Other destinations that use the account. Then only the tokens of this destination are deleted.
    pub used_by: Vec<String>,
}

/// What a leave deletes at one time.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Access,
    Fence,
}

/// The tokens to revoke.
#[derive(Clone, Copy, Debug)]
pub enum Leaving<'a> {
    /// All tokens: the account is deleted, even if other destinations use it.
    Everything,
    /// The tokens of these destinations, by the annotations of the Secrets; those of earlier identities by the
    /// destinations' records.
    Destinations { identities: &'a [Identity], recorded: &'a [SecretRecord] },
}

impl LeavePlan {
    /// Another destination keeps its Secret, the account and the rights, unless its token has expired. `now` is by the
    /// clock of the API server.
    pub fn new(
        account: &Account,
        existing: &Existing,
        secrets: &[BoundSecret],
        leaving: Leaving,
        now: Timestamp,
    ) -> Self {
        let goes = |secret: &&BoundSecret| match leaving {
            Leaving::Everything => true,
            Leaving::Destinations { identities, recorded } => {
                identities.iter().any(|identity| identity.is(&secret.destination))
                    || identities.iter().any(|identity| identity.is_kin(&secret.destination))
                        && recorded.iter().any(|one| one.name == secret.name && one.uid == secret.uid)
            }
        };
        let uses = |secret: &&BoundSecret| match leaving {
            Leaving::Everything => false,
            Leaving::Destinations { .. } => !goes(secret) && !secret.has_expired(now),
        };
        let mut used_by: Vec<String> =
            secrets.iter().filter(uses).map(|secret| secret.destination.shown().to_owned()).collect();
        used_by.sort_unstable();
        used_by.dedup();
        if !used_by.is_empty() {
            let credentials = secrets.iter().filter(goes).map(|secret| secret.deletion(account)).collect();
            return Self { credentials, used_by, ..Self::default() };
        }
        let mut plan = Self::of(existing);
        plan.credentials.splice(..0, secrets.iter().map(|secret| secret.deletion(account)));
        plan
    }

    pub(in crate::model) fn of<'a>(existing: impl IntoIterator<Item = (&'a ObjectRef, &'a Value)>) -> Self {
        let mut plan = Self::default();
        for (reference, object) in existing {
            let deletion = Deletion {
                reference: reference.clone(),
                uid: object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            };
            if owner(object) == Owner::Other {
                plan.spared.push(reference.clone());
                continue;
            }
            match reference.kind {
                Kind::ServiceAccount | Kind::Secret => plan.credentials.push(deletion),
                Kind::RoleBinding | Kind::ClusterRoleBinding => plan.bindings.push(deletion),
                Kind::Role | Kind::ClusterRole => plan.roles.push(deletion),
                Kind::ValidatingAdmissionPolicy | Kind::ValidatingAdmissionPolicyBinding => plan.fence.push(deletion),
                Kind::Namespace => plan.namespace = Some(deletion),
                // Kinds of an operator destination, which do not belong to an account.
                Kind::ScrapeConfig
                | Kind::PrometheusRule
                | Kind::Prometheus
                | Kind::PrometheusAgent
                | Kind::VMScrapeConfig
                | Kind::VMAgent => {}
            }
        }
        // The binding goes before its policy.
        plan.fence.sort_by_key(|deletion| std::cmp::Reverse(deletion.reference.kind));
        plan
    }

    /// The credentials and the rights, which end together, or the policies that limit them.
    pub fn part(&self, part: Part) -> [&[Deletion]; 3] {
        match part {
            Part::Access => [&self.credentials, &self.bindings, &self.roles],
            Part::Fence => [&self.fence, &[], &[]],
        }
    }

    pub fn deletions(&self) -> impl Iterator<Item = &Deletion> {
        let rights = self.bindings.iter().chain(&self.roles).chain(&self.fence);
        self.credentials.iter().chain(rights).chain(&self.announced).chain(&self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        account::{
            desired::{Desired, Fence},
            renewal::Limits,
        },
        kube::object::{FIELD_MANAGER, MANAGED_BY, ManagedBy},
    };
    use serde_json::json;

    fn account() -> Account {
        Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() }
    }

    fn desired() -> Desired {
        Desired::new(&account(), &"default".parse().unwrap(), Fence::Required, ManagedBy::Us)
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

    fn renewing() -> Desired {
        desired().with_self_renew(&account(), &Limits::NONE)
    }

    #[test]
    fn leave_takes_credentials_then_rights_then_the_fence() {
        let secret = BoundSecret {
            name: "s".into(),
            uid: "u".into(),
            destination: Identity::printed(),
            expires: None,
            terms: None,
        };
        let plan =
            LeavePlan::new(&account(), &applied(&renewing()), &[secret], Leaving::Everything, Timestamp::UNIX_EPOCH);
        let order: Vec<Kind> = plan.deletions().map(|deletion| deletion.reference.kind).collect();
        assert_eq!(
            order,
            [
                Kind::Secret,
                Kind::ServiceAccount,
                Kind::RoleBinding,
                Kind::ClusterRoleBinding,
                Kind::Role,
                Kind::ClusterRole,
                Kind::ValidatingAdmissionPolicyBinding,
                Kind::ValidatingAdmissionPolicyBinding,
                Kind::ValidatingAdmissionPolicyBinding,
                Kind::ValidatingAdmissionPolicy,
                Kind::ValidatingAdmissionPolicy,
                Kind::ValidatingAdmissionPolicy,
                Kind::Namespace,
            ]
        );
    }

    #[test]
    fn leave_keeps_foreign_objects_with_the_plugins_label() {
        let mut existing = applied(&desired());
        for object in existing.values_mut() {
            object["metadata"]["labels"] = json!({ MANAGED_BY: FIELD_MANAGER });
            object["metadata"]["managedFields"] = json!([{ "manager": "kubectl-client-side-apply" }]);
        }
        assert_eq!(
            LeavePlan::new(&account(), &existing, &[], Leaving::Everything, Timestamp::UNIX_EPOCH).deletions().count(),
            0
        );
    }

    fn secret(name: &str, destination: &Identity, expires: Option<&str>) -> BoundSecret {
        let expires = expires.map(|time| time.parse().unwrap());
        BoundSecret {
            name: name.into(),
            uid: format!("uid-{name}"),
            destination: destination.clone(),
            expires,
            terms: None,
        }
    }

    #[test]
    fn leave_keeps_objects_that_another_destination_uses() {
        let ours = Identity::directory("prom-0", "/etc/prometheus", "x7k2", None);
        let other = Identity::directory("prom-1", "/etc/prometheus", "b9d1", None);
        let live = Some("2026-12-01T00:00:00Z");
        let secrets = |others: Option<&str>| {
            [
                secret("mine", &ours, live),
                secret("moved", &Identity::directory("prom-0", "/srv/prometheus", "x7k2", None), live),
                secret("theirs", &other, others),
            ]
        };
        let recorded = [SecretRecord { name: "moved".into(), uid: "uid-moved".into() }];
        let leave = |secrets: &[BoundSecret]| {
            let leaving = Leaving::Destinations { identities: std::slice::from_ref(&ours), recorded: &recorded };
            LeavePlan::new(&account(), &applied(&desired()), secrets, leaving, "2026-11-25T00:00:00Z".parse().unwrap())
        };
        let names = |plan: &LeavePlan| -> Vec<String> {
            plan.deletions().map(|deletion| deletion.reference.name.clone()).collect()
        };
        let plan = leave(&secrets(live));
        assert_eq!(names(&plan), ["mine", "moved"]);
        assert_eq!(plan.used_by, ["directory://prom-1/etc/prometheus"]);
        assert_eq!(leave(&secrets(None)).used_by.len(), 1, "its expiry is not recorded");
        let plan = leave(&secrets(Some("2026-11-24T00:00:00Z")));
        assert_eq!((names(&plan).len(), plan.used_by.len()), (11, 0), "an expired token uses nothing: {plan:?}");
    }
}
