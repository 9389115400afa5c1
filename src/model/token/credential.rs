//! A token with the Secret that it lives and dies with.

use super::Token;
use crate::model::store::record::SecretRecord;
use jiff::Timestamp;

/// The credential of one destination.
pub struct Credential {
    pub token: Token,
    /// The Secret that the token is bound to.
    pub bound_secret: SecretRecord,
    /// The life by the cluster's own clock, by which tokens expire. This machine's clock may be wrong.
    pub issued: Timestamp,
}
