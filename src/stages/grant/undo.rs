//! Undo: deletes the objects that a failed run created. Its token never left the process, so the undo does not wait for the
//! API server's token cache.

use super::apply::{Journal, Trace, uid_of};
use crate::{
    cluster::{Cluster, DryRun, Found},
    error::{Error, Reason, Result},
    model::{
        account::Account,
        kube::{
            object::{Deletion, Kind, ObjectRef},
            owner::{Owner, owner},
        },
        report::event::Event,
        store::{identity::Identity, record::SecretRecord},
        token::bound_secret::BoundSecret,
    },
    stages::{
        deliver::delivery::Admin,
        events::Events,
        interrupt::{OBJECTS_UNDONE_WITHIN, ends_within},
        leaving::{TRIES, announce, version_of},
        prepare::Prepared,
    },
};
use futures_util::future::join_all;
use serde_json::Value;

/// The objects of the undo after the tokens, in their order.
const ORDER: [&[Kind]; 6] = [
    &[Kind::ServiceAccount],
    &[Kind::RoleBinding, Kind::ClusterRoleBinding],
    &[Kind::Role, Kind::ClusterRole],
    &[Kind::ValidatingAdmissionPolicyBinding],
    &[Kind::ValidatingAdmissionPolicy],
    &[Kind::Namespace],
];

/// A failed run.
pub struct Undo<'a> {
    cluster: &'a Cluster,
    account: &'a Account,
    journal: &'a Journal,
    /// Its destinations, and the bound Secrets that it found. Their earlier tokens need no object that it created.
    identities: &'a [Identity],
    found: &'a [BoundSecret],
    events: Events<'a>,
}

impl<'a> Undo<'a> {
    pub fn of(prepared: &'a Prepared, journal: &'a Journal, identities: &'a [Identity], events: Events<'a>) -> Self {
        let Admin { cluster, account, secrets } = prepared.admin();
        Self { cluster, account, journal, identities, found: secrets, events }
    }

    /// Deletes the objects in the journal: token, then rights, then fence, then namespace. The fence stays if rights could
    /// not be deleted. What other runs use stays. Adds the remaining objects to the error.
    pub async fn run(&self, mut error: Error, leave: &str) -> Error {
        let (tokens, shared): (Vec<_>, Vec<_>) =
            self.journal.entries().into_iter().partition(|(reference, _)| reference.kind == Kind::Secret);
        let mut undone = Undone::default();
        for (reference, outcome) in join_all(tokens.into_iter().map(|(one, trace)| self.take_back(one, trace))).await {
            undone.note(reference, outcome);
        }
        if !shared.is_empty() {
            // Best effort: without it, runs that begin now may lose what they use.
            let announced = in_time(announce(self.cluster, self.account)).await;
            self.take_back_shared(shared, &mut undone).await;
            if let Ok(announced) = announced {
                let _ = in_time(self.cluster.delete(&announced, DryRun::No)).await;
            }
        }
        let Undone { gone, left, used_by } = undone;
        if gone > 0 {
            self.events.report(Event::Undone(gone));
        }
        if !used_by.is_empty() {
            error = error.hint(format!(
                "The objects of service account {} stay, because other destinations use it: {}",
                self.account,
                used_by.join(", ")
            ));
        }
        if !left.is_empty() {
            let left: Vec<String> = left.into_iter().map(|(reference, why)| format!("{reference} ({why})")).collect();
            error = error.hint(format!("Not deleted: {}; to remove it: {leave}", left.join(", ")));
        }
        error
    }

    /// The objects that several runs use, see [`crate::stages::leaving`].
    async fn take_back_shared(&self, mut shared: Vec<(ObjectRef, Trace)>, undone: &mut Undone) {
        for _ in 0..TRIES {
            let seen = join_all(shared.iter().map(|(reference, trace)| self.see(reference, trace))).await;
            match in_time(self.cluster.claims(self.account)).await {
                Ok(claims) => undone.used_by = self.users(&claims.secrets),
                Err(error) => return undone.keep(shared, &error.to_string()),
            }
            if !undone.used_by.is_empty() {
                return;
            }
            let mut seen: Vec<_> = shared.drain(..).zip(seen).collect();
            for kinds in ORDER {
                let of_these: Vec<_> = seen.extract_if(.., |((one, _), _)| kinds.contains(&one.kind)).collect();
                let is_changed = !shared.is_empty();
                if is_changed || kinds[0].is_fence() && undone.leaves_rights() {
                    let stays = of_these.into_iter().map(|(one, _)| one);
                    if is_changed {
                        shared.extend(stays);
                    } else {
                        undone.keep(stays, "it is the fence of the others");
                    }
                    continue;
                }
                let deleted = of_these.into_iter().map(async |(one, seen)| (self.delete_seen(&one.0, seen).await, one));
                for (outcome, one) in join_all(deleted).await {
                    match outcome {
                        Some(outcome) => undone.note(one.0, outcome),
                        None => shared.push(one),
                    }
                }
            }
            if shared.is_empty() {
                return;
            }
        }
        undone.keep(shared, "another client changes it");
    }

    /// Other runs that use the objects.
    fn users(&self, secrets: &[BoundSecret]) -> Vec<String> {
        let now = self.cluster.now();
        let is_own = |secret: &BoundSecret| self.identities.iter().any(|identity| identity.is(&secret.destination));
        let is_earlier =
            |secret: &BoundSecret| is_own(secret) && self.found.iter().any(|found| found.uid == secret.uid);
        let of_this_run: Vec<String> =
            self.journal.entries().into_iter().map(|(reference, _)| reference.name).collect();
        let others = secrets
            .iter()
            .filter(|secret| !of_this_run.contains(&secret.name) && !secret.has_expired(now) && !is_earlier(secret));
        let mut others: Vec<String> = others.map(|secret| secret.destination.shown().to_owned()).collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    /// The object as it is now, if this run created it; otherwise what becomes of it.
    async fn see(&self, reference: &ObjectRef, trace: &Trace) -> Result<Value, Outcome> {
        if *trace == Trace::Changed {
            return Err(Outcome::Stays("changed, not created".to_owned()));
        }
        match in_time(self.cluster.get(reference)).await {
            Ok(Found::Object(object)) => {
                let is_created = match trace {
                    Trace::Created { uid } => uid_of(&object) == *uid,
                    _ => owner(&object) == Owner::Us,
                };
                if is_created { Ok(object) } else { Err(Outcome::NeverThere) }
            }
            Ok(_) => Err(Outcome::NeverThere),
            Err(error) => Err(Outcome::Stays(error.to_string())),
        }
    }

    /// None if the object has changed.
    async fn delete_seen(&self, reference: &ObjectRef, seen: Result<Value, Outcome>) -> Option<Outcome> {
        let object = match seen {
            Ok(object) => object,
            Err(outcome) => return Some(outcome),
        };
        if reference.kind == Kind::Namespace {
            match in_time(self.cluster.first_in_namespace(&reference.name, &[])).await {
                Ok(None) => {}
                Ok(Some(other)) => return Some(Outcome::Stays(format!("it contains {other}"))),
                Err(error) => return Some(Outcome::Stays(format!("cannot tell whether it is empty: {error}"))),
            }
        }
        let deletion = Deletion { reference: reference.clone(), uid: uid_of(&object) };
        match in_time(self.cluster.delete_unchanged(&deletion, version_of(&object))).await {
            Ok(true) => Some(Outcome::Gone),
            Ok(false) => None,
            Err(error) => Some(Outcome::Stays(error.to_string())),
        }
    }

    /// Deletes an object of this run alone.
    async fn take_back(&self, reference: ObjectRef, trace: Trace) -> (ObjectRef, Outcome) {
        let uid = match &trace {
            Trace::Created { uid } => Ok(uid.clone()),
            _ => self.see(&reference, &trace).await.map(|object| uid_of(&object)),
        };
        let outcome = match uid {
            Err(outcome) => outcome,
            Ok(uid) => {
                let deletion = Deletion { reference: reference.clone(), uid };
                match in_time(self.cluster.delete(&deletion, DryRun::No)).await {
                    Ok(()) => Outcome::Gone,
                    Err(error) => Outcome::Stays(error.to_string()),
                }
            }
        };
        (reference, outcome)
    }
}

/// Revokes the token for a destination that could not be written, if other destinations use the account.
pub async fn revoke(cluster: &Cluster, account: &Account, secret: &SecretRecord, events: Events<'_>) {
    let deletion = secret.deletion(account);
    let outcome = cluster.delete(&deletion, DryRun::No).await;
    let secret = deletion.reference;
    events.report(match outcome {
        Ok(()) => Event::Revoked(secret),
        Err(error) => Event::NotRevoked { secret, error },
    });
}

/// What came of an undo.
#[derive(Default)]
struct Undone {
    gone: usize,
    left: Vec<(ObjectRef, String)>,
    used_by: Vec<String>,
}

enum Outcome {
    Gone,
    NeverThere,
    Stays(String),
}

impl Undone {
    fn note(&mut self, reference: ObjectRef, outcome: Outcome) {
        match outcome {
            Outcome::Gone => self.gone += 1,
            Outcome::NeverThere => {}
            Outcome::Stays(why) => self.left.push((reference, why)),
        }
    }

    fn keep(&mut self, objects: impl IntoIterator<Item = (ObjectRef, Trace)>, why: &str) {
        self.left.extend(objects.into_iter().map(|(reference, _)| (reference, why.to_owned())));
    }

    /// Whether a token or its rights could not be deleted, so that the fence must stay.
    fn leaves_rights(&self) -> bool {
        self.left.iter().any(|(reference, _)| {
            matches!(reference.kind, Kind::Secret | Kind::ServiceAccount | Kind::RoleBinding | Kind::ClusterRoleBinding)
        })
    }
}

/// An API server that does not answer must not keep the run after a signal.
async fn in_time<T>(request: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Err(Error::new(Reason::Interrupted, format!("no answer within {OBJECTS_UNDONE_WITHIN:?}")));
    ends_within(OBJECTS_UNDONE_WITHIN, request).await.unwrap_or_else(late)
}
