//! How a run that removes an account does not remove it from under a run that begins to use it.
//!
//! An API server has no transaction over several objects. So each side writes a Secret before it reads those of the
//! other side: a join the bound Secret of its token, a removal an announcement. Then at least one sees the other.
//!
//! - A removal that sees another's bound Secret deletes nothing more. It reads the versions of the objects before it
//!   reads the Secrets, and deletes an object only in that version.
//! - A join that sees an announcement writes each of its objects again. That gives an object another version, or creates
//!   one that was deleted already.

use super::grant::{apply::uid_of, issue::fresh_secret};
use crate::{
    cluster::{Cluster, DryRun, Found},
    error::{Error, Reason, Result},
    model::{account::Account, kube::object::Deletion, store::identity::Identity, token},
};
use serde_json::Value;

/// How often a removal reads all of it again because something has changed meanwhile.
pub const TRIES: usize = 5;

/// Announces the removal of an account. The next join deletes an announcement that a killed run leaves, when it expires.
pub async fn announce(cluster: &Cluster, account: &Account) -> Result<Deletion> {
    let secret = fresh_secret(account, cluster.now(), token::MINIMUM, &Identity::leaving(), "");
    let object = match cluster.apply(&secret, DryRun::No).await {
        Ok(applied) => applied.object,
        // Its answer may be lost.
        Err(error) => match cluster.get(&secret.reference).await {
            Ok(Found::Object(stored)) => stored,
            _ => return Err(error),
        },
    };
    Ok(Deletion { reference: secret.reference, uid: uid_of(&object) })
}

/// The version of an object as the API server returned it.
pub fn version_of(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// The error of a removal whose objects change whenever they are to be deleted.
pub fn changing(account: &Account) -> Error {
    Error::new(Reason::LeftoverObjects, format!("another client changes the objects of service account {account}"))
        .hint("Run leave again when the other client has ended")
}
