//! A token with the Secret that it lives and dies with.

use super::Token;
use crate::model::store::record::SecretRecord;
use jiff::Timestamp;

/// What one destination gets.
pub struct Credential {
    pub token: Token,
    /// The Secret that the token lives and dies with.
    pub bound_secret: SecretRecord,
    /// By the cluster's own clock, by which tokens expire: that of this machine may be wrong.
    pub issued: Timestamp,
}
