//! Issues tokens, each bound to its own Secret, and deletes the Secrets of expired tokens.

use crate::{
    cluster::{Cluster, DryRun},
    error::{Error, Reason, Result},
    model::{
        account::Account,
        kube::object::{Deletion, Object, ObjectRef},
        store::identity::Identity,
        text::duration::Seconds,
        token::{
            Token,
            bound_secret::{BoundSecret, EXPIRES_ANNOTATION, bound_secret, long_lived_secret},
            credential::Credential,
        },
    },
    stages::poll::{Pauses, poll},
};
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;
use std::time::Duration;

/// The time limit for the controller, which is usually immediate; a busy one takes seconds.
const ISSUED_WITHIN: Duration = Duration::from_secs(10);
const PAUSES: Pauses = Pauses::growing(Duration::from_millis(100), Duration::from_secs(1));

/// A new Secret for a token, with a random name. Until the token is issued, its annotation has the latest possible expiry.
pub fn fresh_secret(account: &Account, now: Timestamp, asked: Seconds, destination: &Identity, terms: &str) -> Object {
    let latest = now.checked_add(std::time::Duration::from(asked)).unwrap_or(Timestamp::MAX);
    bound_secret(account, &format!("{}-{}", account.name, random_suffix()), destination, latest, terms)
}

/// A new Secret for a long-lived token, which a controller writes into it.
pub fn fresh_long_lived_secret(account: &Account, destination: &Identity, terms: &str) -> Object {
    long_lived_secret(account, &format!("{}-{}", account.name, random_suffix()), destination, terms)
}

/// 16 characters of Kubernetes' own alphabet for generated names (`apimachinery/pkg/util/rand`), 77 bits.
pub fn random_suffix() -> String {
    const ALPHABET: &[u8; 32] = b"bcdfghjklmnpqrstvwxz0123456789ya";
    let mut bytes = [0; 16];
    // Without randomness there are no tokens and no TLS either.
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// Issues a token for each Secret. Concurrently deletes the plugin's Secrets whose tokens have expired, by the cluster's
/// clock; a failure of these deletions is ignored.
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

/// Reads the long-lived tokens that a controller writes into the Secrets.
///
/// # Errors
/// [`Reason::TokenNotIssued`] if the controller has not written a token within some seconds.
pub async fn collect(cluster: &Cluster, asked: Seconds, secrets: &[&Deletion]) -> Result<Vec<Token>> {
    try_join_all(secrets.iter().map(|secret| collect_one(cluster, asked, secret))).await
}

async fn collect_one(cluster: &Cluster, asked: Seconds, secret: &Deletion) -> Result<Token> {
    let issued = poll(|()| ISSUED_WITHIN, PAUSES, async || cluster.token_in(secret, asked).await.transpose().ok_or(()));
    issued.await.unwrap_or_else(|()| {
        Err(Error::new(
            Reason::TokenNotIssued,
            format!("no controller has put a token into {} within {} s", secret.reference, ISSUED_WITHIN.as_secs()),
        )
        .about(&cluster.context)
        .hint("Does kube-controller-manager run, with serviceaccount-token-controller among its --controllers?")
        .hint("Without --long-lived-token the API server issues the token itself (Kubernetes 1.22 or later)"))
    })
}

/// The Secrets of these destinations whose token has expired by the cluster's clock.
pub fn expired(account: &Account, secrets: &[BoundSecret], destinations: &[Identity], now: Timestamp) -> Vec<Deletion> {
    secrets
        .iter()
        .filter(|secret| destinations.iter().any(|one| one.is(&secret.destination)) && secret.has_expired(now))
        .map(|secret| secret.deletion(account))
        .collect()
}

/// Records the actual expiry of the token. Otherwise the Secret would only be kept longer than necessary.
pub async fn note_expiry(cluster: &Cluster, account: &Account, credential: &Credential) {
    let secret = ObjectRef::secret(account, &credential.bound_secret.name);
    let _ = cluster.annotate(&secret, EXPIRES_ANNOTATION, &credential.token.expires.to_string()).await;
}
