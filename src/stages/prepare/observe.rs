//! Observe: one parallel wave of reads.

use super::nodes::Nodes;
use crate::{
    cluster::{Cluster, DryRun, Found},
    error::{Error, Reason, Result},
    model::{
        account::{
            Account,
            desired::{Desired, SelfRenew},
            existing_fence::LeftFence,
            fence,
            renewal::Limits,
            rights,
        },
        job::Jobs,
        kube::object::{Existing, Kind, ObjectRef},
        token::bound_secret::BoundSecret,
    },
};
use futures_util::future::{join, join_all};
use serde_json::Value;

/// What there is, before anything is done.
pub struct Observed {
    /// `v1.37.2`
    pub version: String,
    /// Of the namespace kube-system.
    pub uid: String,
    pub existing: Existing,
    pub left_fence: LeftFence,
    pub secrets: Vec<BoundSecret>,
    /// None if the jobs need none.
    pub nodes: Option<Nodes>,
    pub may_everything: bool,
    /// RBAC would refuse this role: it would grant more than the caller holds. Only a dry run shows that, and it counts
    /// only if the role is written.
    pub escalations: Vec<(ObjectRef, Error)>,
}

/// The same as it was asked for, each part with its answer.
pub struct Survey {
    pub version: Result<String>,
    pub uid: Result<String>,
    pub existing: Existing,
    /// Objects that could not be read.
    pub unread: Vec<(Kind, Error)>,
    pub left_fence: Result<LeftFence>,
    pub secrets: Result<Vec<BoundSecret>>,
    /// None if the jobs need none.
    pub nodes: Result<Option<Nodes>>,
    pub may_everything: Result<bool>,
    pub escalations: Vec<(ObjectRef, Error)>,
    /// Namespaces of targets that are not there.
    pub absent: Vec<Error>,
}

impl Survey {
    /// All of it, if nothing failed.
    ///
    /// # Errors
    /// The first that failed.
    pub fn observed(self) -> Result<Observed> {
        let (version, uid) = (self.version?, self.uid?);
        if let Some((_, error)) = self.unread.into_iter().next() {
            return Err(error);
        }
        if let Some(error) = self.absent.into_iter().next() {
            return Err(error);
        }
        Ok(Observed {
            version,
            uid,
            existing: self.existing,
            nodes: self.nodes?,
            left_fence: self.left_fence?,
            secrets: self.secrets?,
            may_everything: self.may_everything?,
            escalations: self.escalations,
        })
    }
}

/// Everything that a join must know.
///
/// # Errors
/// Whatever an API server says; [`Reason::PolicyApiMissing`], [`Reason::NoNodes`], [`Reason::TargetNotFound`] for a
/// namespace.
pub async fn observe(cluster: &Cluster, jobs: &Jobs, desired: &Desired) -> Result<Observed> {
    survey(cluster, jobs, desired).await.observed()
}

/// The same, and one part that fails does not keep the others back.
pub async fn survey(cluster: &Cluster, jobs: &Jobs, desired: &Desired) -> Survey {
    let account = &desired.account;
    let mut references: Vec<ObjectRef> = desired.objects().map(|object| object.reference.clone()).collect();
    references.extend(ObjectRef::grant(account, None).into_iter().filter(|one| !desired.has(one)));
    let (
        (version, uid, found, elsewhere, unwanted, secrets),
        (left_fence, nodes, may_everything, (escalations, absent)),
    ) = join(
        async {
            tokio::join!(
                cluster.version(),
                cluster.uid(),
                read_each(cluster, references.iter().collect()),
                Box::pin(rights_elsewhere(cluster, account, None)),
                Box::pin(unwanted_renewal(cluster, account, desired)),
                cluster.bound_secrets(account)
            )
        },
        async {
            tokio::join!(
                Box::pin(left_fence(cluster, account, desired)),
                nodes(cluster, jobs),
                cluster.may_everything(),
                Box::pin(escalations(cluster, desired))
            )
        },
    )
    .await;
    let mut existing = Existing::new();
    let mut unread = Vec::new();
    for (reference, found) in found {
        match found {
            Ok(Some(object)) => drop(existing.insert(reference, object)),
            Ok(None) => {}
            // A role from before the guard names the objects that its user may read. Without the guard such a user rotates,
            // and needs more rights to join.
            Err(error) if error.reason == Reason::Forbidden && desired.is_guard(&reference) => {}
            Err(error) => {
                unread.push((reference.kind, explain_fence(explain_renewal(error, desired), reference.kind, desired)));
            }
        }
    }
    for objects in [elsewhere, unwanted] {
        match objects {
            Ok(objects) => existing.extend(objects),
            Err(error) => unread.push((Kind::Role, error)),
        }
    }
    Survey { version, uid, existing, unread, left_fence, secrets, nodes, may_everything, escalations, absent }
}

async fn nodes(cluster: &Cluster, jobs: &Jobs) -> Result<Option<Nodes>> {
    if !jobs.have_nodes() {
        return Ok(None);
    }
    let (items, total) = cluster.nodes(jobs.node_selector()).await?;
    let mut nodes = Nodes::new(&items, total, jobs.node_selector()).map_err(|error| error.about(&cluster.context))?;
    if let Some(pins) = jobs.route().pins() {
        nodes.keep_pinned(pins);
    }
    Ok(Some(nodes))
}

/// Only a dry run shows that RBAC would refuse a role, or that its namespace is not there. Whatever else it says (of
/// our own namespace that is not there yet, say), the plan and the review of the permissions say better. First the
/// roles, then the namespaces.
async fn escalations(cluster: &Cluster, desired: &Desired) -> (Vec<(ObjectRef, Error)>, Vec<Error>) {
    let own = Some(desired.account.namespace.as_str());
    let roles = desired.grants.iter().map(|grant| &grant.role);
    let roles = roles.chain(desired.self_renew.iter().map(|renewal| &renewal.role));
    let outcomes = join_all(roles.map(|role| async move {
        let namespace = role.reference.namespace.as_deref();
        match cluster.apply(role, DryRun::Server).await {
            Err(error) if error.reason == Reason::EscalationForbidden => Some(Ok((role.reference.clone(), error))),
            Err(error) if error.reason == Reason::NotFound && namespace != own => {
                let namespace = namespace.unwrap_or_default();
                Some(Err(Error::new(
                    Reason::TargetNotFound,
                    format!("{}: there is no namespace {namespace}", cluster.context),
                )
                .hint("List the namespaces: kubectl get namespaces")))
            }
            _ => None,
        }
    }));
    let (mut refused, mut absent) = (Vec::new(), Vec::new());
    for outcome in outcomes.await.into_iter().flatten() {
        match outcome {
            Ok(role) => refused.push(role),
            Err(error) => absent.push(error),
        }
    }
    (refused, absent)
}

/// The right to renew that an earlier join gave, if this one does not want it. Nearly always there is none, which its
/// policy and its binding tell. A user who may not read these objects has created none.
async fn unwanted_renewal(cluster: &Cluster, account: &Account, desired: &Desired) -> Result<Existing> {
    if desired.self_renew.is_some() {
        return Ok(Existing::new());
    }
    let renewal = SelfRenew::new(account, &Limits::NONE);
    let (limit, right) =
        tokio::join!(cluster.get(&renewal.policy[0].reference), cluster.get(&renewal.role_binding.reference));
    for found in [limit, right] {
        match found {
            Ok(Found::Object(_)) => {
                return read(cluster, renewal.objects().map(|object| &object.reference).collect()).await;
            }
            Err(error) if error.reason != Reason::Forbidden => return Err(error),
            _ => {}
        }
    }
    Ok(Existing::new())
}

/// All objects of an account. `recorded`: the jobs in records.
pub async fn everything(cluster: &Cluster, account: &Account, recorded: Option<&Jobs>) -> Result<Existing> {
    let of_account = async {
        let (all, few) = (ObjectRef::of_account(account, true), ObjectRef::of_account(account, false));
        match read(cluster, all.iter().collect()).await {
            // An API server without policies has neither a fence nor a right to renew.
            Err(error) if error.reason == Reason::PolicyApiMissing => read(cluster, few.iter().collect()).await,
            found => found,
        }
    };
    let (existing, elsewhere) = tokio::join!(of_account, rights_elsewhere(cluster, account, recorded));
    let mut existing = existing?;
    existing.extend(elsewhere?);
    Ok(existing)
}

/// The rights of an account in single namespaces. A user who may not list all roles finds those that
/// the record names.
async fn rights_elsewhere(cluster: &Cluster, account: &Account, recorded: Option<&Jobs>) -> Result<Existing> {
    let name = account.cluster_scoped_name();
    match tokio::try_join!(cluster.named(Kind::Role, &name), cluster.named(Kind::RoleBinding, &name)) {
        Ok((roles, bindings)) => Ok(roles.into_iter().chain(bindings).collect()),
        Err(error) if error.reason == Reason::Forbidden => {
            let scopes = recorded.map(rights::scopes).unwrap_or_default();
            let namespaces = scopes.iter().filter_map(|scope| scope.namespace.as_ref());
            let references: Vec<ObjectRef> =
                namespaces.flat_map(|namespace| ObjectRef::grant(account, Some(namespace))).collect();
            read(cluster, references.iter().collect()).await
        }
        Err(error) => Err(error),
    }
}

async fn read(cluster: &Cluster, references: Vec<&ObjectRef>) -> Result<Existing> {
    let mut existing = Existing::new();
    for (reference, found) in read_each(cluster, references).await {
        if let Some(object) = found? {
            existing.insert(reference, object);
        }
    }
    Ok(existing)
}

async fn read_each(cluster: &Cluster, references: Vec<&ObjectRef>) -> Vec<(ObjectRef, Result<Option<Value>>)> {
    let found = join_all(references.iter().map(|reference| cluster.get(reference))).await;
    let each = references.into_iter().zip(found).map(|(reference, found)| {
        let found = found.and_then(|found| match found {
            Found::Object(object) => Ok(Some(object)),
            Found::Absent => Ok(None),
            Found::KindUnknown => Err(Error::new(
                Reason::PolicyApiMissing,
                format!(
                    "{}: this API server has no {}; it needs Kubernetes 1.30 or later",
                    cluster.context, reference.kind
                ),
            )
            .hint(unfenced())),
        });
        (reference.clone(), found)
    });
    each.collect()
}

/// The fence that is there where none is wanted. The API server need not have its kinds, nor the caller the right to
/// read them.
async fn left_fence(cluster: &Cluster, account: &Account, desired: &Desired) -> Result<LeftFence> {
    if desired.fence.is_some() {
        return Ok(LeftFence::None);
    }
    let [policy, binding] = [Kind::ValidatingAdmissionPolicy, Kind::ValidatingAdmissionPolicyBinding]
        .map(|kind| ObjectRef { kind, namespace: None, name: account.cluster_scoped_name() });
    match tokio::join!(cluster.get(&policy), cluster.get(&binding)) {
        (Ok(Found::Object(policy)), Ok(Found::Object(binding))) => Ok(LeftFence::new(account, &policy, &binding)),
        // The one does nothing without the other.
        (Ok(Found::Absent | Found::KindUnknown), Ok(_)) | (Ok(_), Ok(Found::Absent | Found::KindUnknown)) => {
            Ok(LeftFence::None)
        }
        (Err(error), _) | (_, Err(error)) if error.reason == Reason::Forbidden => {
            Ok(LeftFence::Unknown(error.to_string()))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The way out where there can be no fence.
pub(super) fn unfenced() -> String {
    format!("To join without a fence: --fence=off; but {}", fence::WITHOUT)
}

fn explain_renewal(error: Error, desired: &Desired) -> Error {
    if error.reason == Reason::PolicyApiMissing && desired.self_renew.is_some() {
        error.hint("--self-renew needs the policies too: omit it as well")
    } else {
        error
    }
}

fn explain_fence(error: Error, kind: Kind, desired: &Desired) -> Error {
    let is_of_fence = desired.fence.iter().flatten().any(|object| object.reference.kind == kind);
    if error.reason == Reason::Forbidden && is_of_fence { error.hint(unfenced()) } else { error }
}
