//! Issue: a token bound to a Secret of its own, and the Secrets of dead tokens cleared away.

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

/// A controller acts on what it watches at once; a busy one takes seconds.
const ISSUED_WITHIN: Duration = Duration::from_secs(10);
const PAUSES: Pauses = Pauses::growing(Duration::from_millis(100), Duration::from_secs(1));

/// A fresh Secret to bind a token to, under a name that nobody can guess.
/// Until the token is issued it carries the latest moment at which that could expire.
pub fn fresh_secret(account: &Account, now: Timestamp, asked: Seconds, destination: &Identity) -> Object {
    let latest = now.checked_add(std::time::Duration::from(asked)).unwrap_or(Timestamp::MAX);
    bound_secret(account, &format!("{}-{}", account.name, random_suffix()), destination, latest)
}

/// The same for a token that a controller puts into it.
pub fn fresh_long_lived_secret(account: &Account, destination: &Identity) -> Object {
    long_lived_secret(account, &format!("{}-{}", account.name, random_suffix()), destination)
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

/// The tokens that a controller puts into the Secrets by itself.
///
/// # Errors
/// [`Reason::TokenNotIssued`] where it has not within some seconds.
pub async fn collect(cluster: &Cluster, asked: Seconds, secrets: &[&Deletion]) -> Result<Vec<Token>> {
    try_join_all(secrets.iter().map(|secret| collect_one(cluster, asked, secret))).await
}

async fn collect_one(cluster: &Cluster, asked: Seconds, secret: &Deletion) -> Result<Token> {
    let issued = poll(|()| ISSUED_WITHIN, PAUSES, async || cluster.token_in(secret, asked).await.transpose().ok_or(()));
    issued.await.unwrap_or_else(|()| {
        Err(Error::new(
            Reason::TokenNotIssued,
            format!("no token was put into {} within {} s", secret.reference, ISSUED_WITHIN.as_secs()),
        )
        .about(&cluster.context)
        .hint("Does kube-controller-manager run, with serviceaccount-token-controller among its --controllers?")
        .hint("Without --long-lived-token the API server issues the token itself (Kubernetes 1.22 or later)"))
    })
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
