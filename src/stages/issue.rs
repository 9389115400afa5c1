//! Issue: a token bound to a Secret of its own, and the Secrets of dead tokens cleared away.

use super::grant::Credential;
use crate::{
    cluster::{Cluster, DryRun},
    error::Result,
    model::{
        account::Account,
        destination::Identity,
        duration::Seconds,
        object::{EXPIRES_ANNOTATION, Object, ObjectRef, bound_secret},
        plan::Deletion,
        token::{BoundSecret, Token},
    },
};
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;

/// A fresh Secret to bind a token to, under a name that nobody can guess.
/// Until the token is issued it carries the latest moment at which that could expire.
pub fn fresh_secret(account: &Account, now: Timestamp, asked: Seconds, destination: &Identity) -> Object {
    let latest = now.checked_add(std::time::Duration::from(asked)).unwrap_or(Timestamp::MAX);
    bound_secret(account, &format!("{}-{}", account.name, random_suffix()), destination, latest)
}

/// 16 characters of Kubernetes' own alphabet for generated names (`apimachinery/pkg/util/rand`), 77 bits.
pub fn random_suffix() -> String {
    const ALPHABET: &[u8; 32] = b"bcdfghjklmnpqrstvwxz0123456789ya";
    let mut bytes = [0; 16];
    // Without randomness there are no tokens and no TLS either.
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// A token for each of the Secrets. Meanwhile the Secrets whose tokens have expired, by the cluster's clock, are
/// deleted: they are ours, and it does not matter if that fails.
pub async fn issue(
    cluster: &Cluster,
    account: &Account,
    asked: Seconds,
    secrets: &[&Deletion],
    expired: Vec<Deletion>,
) -> Result<(Vec<Token>, Vec<Deletion>)> {
    let (tokens, cleared) = tokio::join!(
        try_join_all(secrets.iter().map(|secret| cluster.issue(account, asked, Some(secret)))),
        join_all(
            expired
                .into_iter()
                .map(|deletion| async move { cluster.delete(&deletion, DryRun::No).await.ok().map(|()| deletion) })
        ),
    );
    Ok((tokens?, cleared.into_iter().flatten().collect()))
}

/// Those of the Secrets of these destinations whose token is dead by the cluster's clock.
pub fn expired(account: &Account, secrets: &[BoundSecret], destinations: &[Identity], now: Timestamp) -> Vec<Deletion> {
    secrets
        .iter()
        .filter(|secret| destinations.contains(&secret.destination) && secret.has_expired(now))
        .map(|secret| secret.deletion(account))
        .collect()
}

/// Writes down when the token really expires. Without it the Secret would only be kept longer than needed.
pub async fn note_expiry(cluster: &Cluster, account: &Account, credential: &Credential) {
    let secret = ObjectRef::secret(account, &credential.bound_secret.name);
    let _ = cluster.annotate(&secret, EXPIRES_ANNOTATION, &credential.token.expires.to_string()).await;
}
