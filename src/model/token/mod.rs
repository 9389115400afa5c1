//! A token's life: asked, granted, and what is left of the Secrets that tokens are bound to.

use crate::model::{
    kube::object::{Deletion, ObjectRef},
    text::{duration::Seconds, spelled},
};
use expiry::NEVER;
pub mod bound_secret;
pub mod expiry;
pub mod schedule;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The shortest life that an API server grants: Kubernetes `pkg/apis/authentication/validation`, `MinTokenAgeSec`.
pub const MINIMUM: Seconds = Seconds(600);
/// The longest: 2^32 seconds, same place.
pub const MAXIMUM: Seconds = Seconds(1 << 32);

/// What is to be known about a long-lived token before there is one.
pub const LONG_LIVED: &str = "with --long-lived-token the token never expires and nobody rotates it: whoever steals it keeps it until its Secret \
     is deleted, and it lies in that Secret, where whoever may read Secrets of the namespace finds it";
/// What `join` asks for unless `--duration` says otherwise.
pub const DEFAULT: Seconds = Seconds(7 * 86_400);

/// A token and what is known of it. Never printed as a whole: the secret has no Debug or Display.
#[derive(Debug)]
pub struct Token {
    pub secret: SecretString,
    pub asked: Seconds,
    /// What the server granted: EKS and AKS at most 24 h, GKE 48 h, all of them silently.
    pub granted: Seconds,
    pub expires: Timestamp,
    /// Whom it is for: the API server, by all the names that the server itself filled in.
    pub audiences: Vec<String>,
}

/// The `TokenRequest` for a token that lives that long, bound to a Secret if one is named.
/// No audiences: the API server's own is what Prometheus needs.
pub fn request(asked: Seconds, bound_to: Option<&Deletion>) -> Value {
    let mut spec = json!({ "audiences": [], "expirationSeconds": asked.0 });
    if let Some(secret) = bound_to {
        spec["boundObjectRef"] =
            json!({ "apiVersion": "v1", "kind": "Secret", "name": secret.reference.name, "uid": secret.uid });
    }
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec })
}

impl Token {
    /// From the answer to a `TokenRequest`; none if it lacks what it should hold.
    pub fn from_answer(asked: Seconds, answer: &Value) -> Option<Self> {
        let secret = answer["status"]["token"].as_str().filter(|token| !token.is_empty())?;
        Some(Self {
            secret: secret.into(),
            asked,
            granted: Seconds(answer["spec"]["expirationSeconds"].as_u64()?),
            expires: answer["status"]["expirationTimestamp"].as_str()?.parse().ok()?,
            audiences: answer["spec"]["audiences"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|audience| audience.as_str().map(str::to_owned))
                .collect(),
        })
    }

    /// From a Secret of type `kubernetes.io/service-account-token`; none until the controller has written it.
    pub fn from_secret(asked: Seconds, secret: &Value) -> Option<Self> {
        // The API's byte strings are base64.
        let token: k8s_openapi::ByteString = serde_json::from_value(secret["data"]["token"].clone()).ok()?;
        let token = String::from_utf8(token.0).ok().filter(|token| !token.is_empty())?;
        Some(Self { secret: token.into(), asked, granted: asked, expires: NEVER, audiences: Vec::new() })
    }

    pub fn is_capped(&self) -> bool {
        self.granted < self.asked
    }

    pub fn never_expires(&self) -> bool {
        self.expires == NEVER
    }
}

/// The life of a token by the API server's clock, and when to act within it. Everything counts from the life that was
/// granted, because that is all that can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenLife {
    #[serde(with = "spelled")]
    pub issued: Timestamp,
    /// [`NEVER`] is written `never`.
    #[serde(with = "expiry")]
    pub expires: Timestamp,
}

impl TokenLife {
    /// Whether it is one of `--long-lived-token`: then it is never due either.
    pub fn never_expires(self) -> bool {
        self.expires == NEVER
    }

    /// When it is to be renewed: at half of its life, so that a failed renewal can be tried again for as long as it took
    /// to come here.
    pub fn due(self) -> Timestamp {
        self.passed(50)
    }

    /// When a person should look why it was not renewed: at 75 % of its life.
    pub fn warning(self) -> Timestamp {
        self.passed(75)
    }

    /// When a person must act, or the cluster goes dark: at 90 % of its life.
    pub fn critical(self) -> Timestamp {
        self.passed(90)
    }

    /// The moment at which this share of its life has passed.
    fn passed(self, percent: i128) -> Timestamp {
        let (issued, expires) = (self.issued.as_nanosecond(), self.expires.as_nanosecond());
        // It lies between two timestamps, so it is one.
        Timestamp::from_nanosecond(issued + (expires - issued) * percent / 100).unwrap_or(self.expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_read_from_an_answer_that_has_all_of_it() {
        let answer = json!({
            "spec": { "audiences": ["api", "other"], "expirationSeconds": 3600 },
            "status": { "token": "secret", "expirationTimestamp": "2026-11-25T09:12:00Z" },
        });
        let token = Token::from_answer(DEFAULT, &answer).unwrap();
        assert_eq!((token.granted, token.audiences.len(), token.is_capped()), (Seconds(3600), 2, true));
        for pointer in ["/spec/expirationSeconds", "/status/token", "/status/expirationTimestamp"] {
            for value in [Value::Null, json!(""), json!([])] {
                let mut answer = answer.clone();
                *answer.pointer_mut(pointer).unwrap() = value.clone();
                assert!(Token::from_answer(DEFAULT, &answer).is_none(), "{pointer} {value}");
            }
        }
        for garbage in [json!(null), json!([]), json!("token")] {
            assert!(Token::from_answer(DEFAULT, &garbage).is_none());
        }
    }

    #[test]
    fn a_token_in_a_secret_is_read_when_it_is_there() {
        let read = |secret: Value| Token::from_secret(DEFAULT, &secret);
        let token = read(json!({ "data": { "token": "c2VjcmV0", "ca.crt": "" } })).unwrap();
        assert!(token.never_expires() && !token.is_capped());
        assert_eq!(secrecy::ExposeSecret::expose_secret(&token.secret), "secret");
        for secret in [
            json!(null),
            json!({}),
            json!({ "data": {} }),
            json!({ "data": { "token": "" } }),
            json!({ "data": { "token": "!" } }),
            json!({ "data": { "token": "/w==" } }),
        ] {
            assert!(read(secret.clone()).is_none(), "{secret}");
        }
    }

    #[test]
    fn never_is_read_back_and_lies_ahead() {
        let life = TokenLife { issued: "2026-11-24T00:00:00Z".parse().unwrap(), expires: NEVER };
        let written = serde_json::to_value(life).unwrap();
        assert_eq!(written, json!({ "issued": "2026-11-24T00:00:00Z", "expires": "never" }));
        let read: TokenLife = serde_json::from_value(written).unwrap();
        assert!(read.never_expires() && read.due() > "5000-01-01T00:00:00Z".parse().unwrap());
    }

    #[test]
    fn what_is_to_be_done_counts_from_the_granted_life() {
        for (issued, expires, due, warning, critical) in [
            (
                "2026-11-24T00:00:00Z",
                "2026-12-04T00:00:00Z",
                "2026-11-29T00:00:00Z",
                "2026-12-01T12:00:00Z",
                "2026-12-03T00:00:00Z",
            ),
            (
                "2026-11-24T09:12:00Z",
                "2026-11-25T09:12:00Z",
                "2026-11-24T21:12:00Z",
                "2026-11-25T03:12:00Z",
                "2026-11-25T06:48:00Z",
            ),
        ] {
            let life = TokenLife { issued: issued.parse().unwrap(), expires: expires.parse().unwrap() };
            let moments = [life.due(), life.warning(), life.critical()].map(|moment| moment.to_string());
            assert_eq!(moments, [due, warning, critical]);
        }
    }

    proptest! {
        #[test]
        fn first_it_is_due_then_a_warning_then_critical(
            a in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
            b in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
        ) {
            let moment = |second| Timestamp::from_second(second).unwrap();
            let life = TokenLife { issued: moment(a.min(b)), expires: moment(a.max(b)) };
            let moments = [life.issued, life.due(), life.warning(), life.critical(), life.expires];
            prop_assert!(moments.is_sorted());
            // A clock that ran backwards meanwhile panics nobody.
            let _ = TokenLife { issued: life.expires, expires: life.issued }.critical();
        }
    }
}
