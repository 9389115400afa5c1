//! The bound Secret: one token is bound to it, and deleting it revokes that token.

use super::{
    ObjectRef,
    expiry::{self, NEVER_EXPIRES},
};
use crate::model::{
    account::Account,
    kube::object::{Deletion, Kind, ManagedBy, Object, new_object},
    store::identity::Identity,
    token,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Label of a bound Secret: the account of its token.
pub const ACCOUNT_LABEL: &str = "prom-federate.io/account";

/// Annotation of a bound Secret: the destination of its token.
pub const DESTINATION_ANNOTATION: &str = "prom-federate.io/destination";

/// Annotation of a bound Secret: when its token expires, RFC 3339 or [`NEVER_EXPIRES`].
pub const EXPIRES_ANNOTATION: &str = "prom-federate.io/expires";

/// Annotation of a bound Secret: the [terms](crate::model::store::terms) of the join, JSON.
pub const TERMS_ANNOTATION: &str = "prom-federate.io/terms";

/// The type of a Secret into which a controller writes a token that never expires.
pub const LEGACY_TYPE: &str = "kubernetes.io/service-account-token";

/// Annotation of such a Secret: the account of its token.
pub const LEGACY_ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// The empty Secret that one token is bound to: deleting it revokes that token.
pub fn bound_secret(
    account: &Account,
    name: &str,
    destination: &Identity,
    expires: jiff::Timestamp,
    terms: &str,
) -> Object {
    let mut secret = new_object(
        Kind::Secret,
        Some(account.namespace.as_str()),
        name,
        ManagedBy::Us,
        json!({ "type": "Opaque", "immutable": true }),
    );
    secret.manifest_mut()["metadata"]["labels"][ACCOUNT_LABEL] = json!(label_value(account.name.as_str()));
    secret.manifest_mut()["metadata"]["annotations"] = json!({
        DESTINATION_ANNOTATION: destination.to_string(),
        EXPIRES_ANNOTATION: expires.to_string(),
        TERMS_ANNOTATION: terms,
    });
    secret
}

/// The Secret of a long-lived token: a controller writes the token into the Secret, and the token never expires.
/// Clusters before 1.24 made such a Secret for every account. Kubernetes never removes one that was made by hand
/// (KEP-2799).
pub fn long_lived_secret(account: &Account, name: &str, destination: &Identity, terms: &str) -> Object {
    let mut secret = bound_secret(account, name, destination, token::expiry::NEVER, terms);
    secret.manifest_mut()["metadata"]["annotations"][EXPIRES_ANNOTATION] = json!(NEVER_EXPIRES);
    secret.manifest_mut()["type"] = json!(LEGACY_TYPE);
    secret.manifest_mut()["metadata"]["annotations"][LEGACY_ACCOUNT_ANNOTATION] = json!(account.name.as_str());
    if let Some(fields) = secret.manifest_mut().as_object_mut() {
        // The controller must be able to write the token.
        fields.remove("immutable");
    }
    secret
}

/// Removes the expiry: a token that renews itself has no last expiry that is known now.
#[must_use]
pub fn without_expiry(mut secret: Object) -> Object {
    if let Some(annotations) = secret.manifest_mut()["metadata"]["annotations"].as_object_mut() {
        annotations.remove(EXPIRES_ANNOTATION);
    }
    secret
}

/// A label's value has at most 63 characters, an account's name up to 169. A long name is cut; the names of the bound
/// Secrets, which begin with the account's name, tell such accounts apart.
pub fn label_value(name: &str) -> &str {
    name.get(..63).map_or(name, |cut| cut.trim_end_matches(['.', '-']))
}

/// The runs that use the objects of an account, and those that remove them.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    pub secrets: Vec<BoundSecret>,
    /// The Secrets with which runs announce that they remove an account.
    pub leaving: Vec<BoundSecret>,
}

/// A bound Secret that exists in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundSecret {
    pub name: String,
    pub uid: String,
    pub destination: Identity,
    /// None if it is not recorded, as for a token that renews itself. Cleanup keeps a Secret without an expiry and a
    /// Secret that never expires.
    pub expires: Option<Timestamp>,
    /// The noted [terms](crate::model::store::terms), JSON. None if an earlier release made the Secret.
    pub terms: Option<String>,
}

impl BoundSecret {
    /// From the object as the API server returned it.
    pub fn from_object(secret: &Value) -> Option<Self> {
        let metadata = &secret["metadata"];
        let annotation = |key| metadata["annotations"][key].as_str();
        Some(Self {
            name: metadata["name"].as_str()?.to_owned(),
            uid: metadata["uid"].as_str()?.to_owned(),
            destination: Identity::read(annotation(DESTINATION_ANNOTATION).unwrap_or_default()),
            expires: annotation(EXPIRES_ANNOTATION).and_then(|text| expiry::read(text).ok()),
            terms: annotation(TERMS_ANNOTATION).map(str::to_owned),
        })
    }

    /// The deletion that revokes its token.
    pub fn deletion(&self, account: &Account) -> Deletion {
        Deletion { reference: ObjectRef::secret(account, &self.name), uid: self.uid.clone() }
    }

    /// Whether it belongs to no token, but to a run that removes the account.
    pub fn is_leaving(&self) -> bool {
        self.destination == Identity::leaving()
    }

    /// Whether its token has expired by the cluster's own clock.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(namespace: &str, name: &str) -> Account {
        Account { namespace: namespace.parse().unwrap(), name: name.parse().unwrap() }
    }

    #[test]
    fn bound_secret_of_a_self_renewing_or_long_lived_token_never_expires() {
        let secret = bound_secret(&account("n", "a"), "a-x", &Identity::printed(), jiff::Timestamp::UNIX_EPOCH, "{}");
        assert!(secret.manifest["metadata"]["annotations"].get(EXPIRES_ANNOTATION).is_some());
        let long_lived = long_lived_secret(&account("n", "a"), "a-x", &Identity::printed(), "{}");
        assert_eq!(
            (&long_lived.manifest["type"], long_lived.manifest.get("immutable")),
            (&json!("kubernetes.io/service-account-token"), None)
        );
        assert_eq!(
            long_lived.manifest["metadata"]["annotations"],
            json!({ DESTINATION_ANNOTATION: "stdout", EXPIRES_ANNOTATION: "never", TERMS_ANNOTATION: "{}", "kubernetes.io/service-account.name": "a" })
        );
        let secret = without_expiry(secret);
        assert_eq!(
            secret.manifest["metadata"]["annotations"],
            json!({ DESTINATION_ANNOTATION: "stdout", TERMS_ANNOTATION: "{}" })
        );
    }

    #[test]
    fn bound_secret_distinguishes_never_from_unknown() {
        for (annotation, expires) in [
            (json!("never"), Some(expiry::NEVER)),
            (json!("2026-11-25T09:12:00Z"), "2026-11-25T09:12:00Z".parse().ok()),
            (json!("soon"), None),
            (Value::Null, None),
        ] {
            let metadata = json!({ "name": "a-x", "uid": "u", "annotations": { EXPIRES_ANNOTATION: annotation } });
            let secret = BoundSecret::from_object(&json!({ "metadata": metadata })).unwrap();
            assert_eq!(secret.expires, expires);
        }
    }
}
