//! Issue: a token bound to a Secret of its own, and the Secrets of dead tokens cleared away.

use crate::{
    cluster::{Cluster, DryRun},
    error::Result,
    model::{
        account::Account,
        duration::Seconds,
        object::{EXPIRES_ANNOTATION, Object, bound_secret},
        plan::Deletion,
        token::{BoundSecret, Token},
    },
};
use futures_util::future::join_all;
use jiff::Timestamp;

/// What the annotation of a bound Secret says when its token was printed.
pub const PRINTED: &str = "stdout";

/// A fresh Secret to bind a token to, under a name that nobody can guess.
/// Until the token is issued it carries the latest moment at which that could expire.
pub fn fresh_secret(account: &Account, now: Timestamp, asked: Seconds) -> Object {
    let latest = now.checked_add(std::time::Duration::from(asked)).unwrap_or(Timestamp::MAX);
    bound_secret(account, &format!("{}-{}", account.name, random_suffix()), PRINTED, latest)
}

/// 16 characters of Kubernetes' own alphabet for generated names (`apimachinery/pkg/util/rand`), 77 bits.
fn random_suffix() -> String {
    const ALPHABET: &[u8; 32] = b"bcdfghjklmnpqrstvwxz0123456789ya";
    let mut bytes = [0; 16];
    // Without randomness there are no tokens and no TLS either.
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// The token. Meanwhile the Secrets whose tokens have expired, by the cluster's clock, are deleted: they are ours,
/// and it does not matter if that fails.
pub async fn issue(
    cluster: &Cluster,
    account: &Account,
    asked: Seconds,
    secret: &Deletion,
    expired: Vec<Deletion>,
) -> Result<(Token, Vec<Deletion>)> {
    let (token, cleared) = tokio::join!(
        cluster.issue(account, asked, Some(secret)),
        join_all(
            expired
                .into_iter()
                .map(|deletion| async move { cluster.delete(&deletion, DryRun::No).await.ok().map(|()| deletion) })
        ),
    );
    Ok((token?, cleared.into_iter().flatten().collect()))
}

/// Those of the Secrets of this destination whose token is dead by the cluster's clock.
pub fn expired(account: &Account, secrets: &[BoundSecret], now: Timestamp) -> Vec<Deletion> {
    secrets
        .iter()
        .filter(|secret| secret.destination == PRINTED && secret.has_expired(now))
        .map(|secret| secret.deletion(account))
        .collect()
}

/// Writes down when the token really expires. Without it the Secret would only be kept longer than needed.
pub async fn note_expiry(cluster: &Cluster, secret: &Deletion, token: &Token) {
    let _ = cluster.annotate(&secret.reference, EXPIRES_ANNOTATION, &token.expires.to_string()).await;
}
