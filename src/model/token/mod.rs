//! Tokens: the request, the granted life, and the Secrets that tokens are bound to.

use crate::model::{
    kube::object::{Deletion, ObjectRef},
    text::{duration::Seconds, encoding::from_base64, spelled},
};
use bearer::BearerToken;
use clock::SKEW;
use expiry::NEVER;
pub mod bearer;
pub mod bound_secret;
pub mod clock;
pub mod credential;
pub mod expiry;
pub mod schedule;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The shortest life that an API server grants: Kubernetes `pkg/apis/authentication/validation`, `MinTokenAgeSec`.
pub const MINIMUM: Seconds = Seconds(600);
/// The longest life that an API server grants, 2^32 seconds (the same validation).
pub const MAXIMUM: Seconds = Seconds(1 << 32);

/// The warning before a join with a long-lived token.
pub const LONG_LIVED: &str = "with --long-lived-token the token never expires and is never rotated: a stolen token works until its Secret is \
     deleted, and every reader of Secrets in the namespace can read the token";
/// The life that `join` asks for without `--duration`.
pub const DEFAULT: Seconds = Seconds(7 * 86_400);

/// A token with its metadata. It cannot be printed by accident: it has no Debug or Display.
#[derive(Debug)]
pub struct Token {
    pub secret: BearerToken,
    pub asked: Seconds,
    /// The life that the server granted. Clouds cap it silently: EKS and AKS at 24 h, GKE at 48 h.
    pub granted: Seconds,
    pub expires: Timestamp,
    /// The audiences that the API server filled in: its own.
    pub audiences: Vec<String>,
}

/// The `TokenRequest` for a token of this life, bound to a Secret if one is named. It has no audiences, because
/// Prometheus needs the API server's own.
pub fn request(asked: Seconds, bound_to: Option<&Deletion>) -> Value {
    let mut spec = json!({ "audiences": [], "expirationSeconds": asked.0 });
    if let Some(secret) = bound_to {
        spec["boundObjectRef"] =
            json!({ "apiVersion": "v1", "kind": "Secret", "name": secret.reference.name, "uid": secret.uid });
    }
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec })
}

impl Token {
    /// From the answer to a `TokenRequest`; none if a field is missing, or if the token could not be sent.
    pub fn from_answer(asked: Seconds, answer: &Value) -> Option<Self> {
        Some(Self {
            secret: usable(answer["status"]["token"].as_str()?)?,
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
        let token = from_base64(secret["data"]["token"].as_str()?)?;
        let secret = usable(std::str::from_utf8(&token).ok()?)?;
        Some(Self { secret, asked, granted: asked, expires: NEVER, audiences: Vec::new() })
    }

    pub fn is_capped(&self) -> bool {
        self.granted < self.asked
    }

    pub fn never_expires(&self) -> bool {
        self.expires == NEVER
    }
}

/// A token that fits into a header and into a line of a file.
fn usable(token: &str) -> Option<BearerToken> {
    let secret = BearerToken::from(token);
    secret.authorization().is_ok_and(|_| !token.is_empty()).then_some(secret)
}

/// The life of a token by the API server's clock, and when to act within it. All moments are computed from the life
/// that was granted, not from the life that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenLife {
    #[serde(with = "spelled")]
    pub issued: Timestamp,
    /// [`NEVER`] is written `never`.
    #[serde(with = "expiry")]
    pub expires: Timestamp,
}

impl TokenLife {
    /// Whether the token is long-lived (`--long-lived-token`). Such a token is never due.
    pub fn never_expires(self) -> bool {
        self.expires == NEVER
    }

    /// Whether rules that add the life of this token to the time of a rotation are right for another one. A minute is less
    /// than what lies between two looks at that time.
    pub fn is_as_long_as(self, other: Self) -> bool {
        let length = |life: Self| life.expires.as_second() - life.issued.as_second();
        length(self).abs_diff(length(other)) <= 60
    }

    /// When the token is due for renewal: at half of its life. The other half is time to try a failed renewal again.
    pub fn due(self) -> Timestamp {
        self.passed(50)
    }

    /// When the token is due by the clock of a host, which may differ from the API server's. `arrived`: when the token
    /// came to its destination, by such a clock. A clock that is behind shows a time before the issue then, and the life
    /// is counted from that time.
    pub fn due_here(self, arrived: Option<Timestamp>) -> Timestamp {
        let behind = self.issued.duration_since(self.begun(arrived));
        self.due().saturating_sub(behind).unwrap_or(Timestamp::MIN)
    }

    /// Whether the token is due by the clock of a host. It is if the clock shows a time before the token came: the clock
    /// was turned back, and does not tell the age of the token.
    pub fn is_due(self, arrived: Option<Timestamp>, now: Timestamp) -> bool {
        self.due_here(arrived) <= now || self.begun(arrived).duration_since(now) > SKEW
    }

    /// From when a host counts the life of the token.
    fn begun(self, arrived: Option<Timestamp>) -> Timestamp {
        arrived.map_or(self.issued, |arrived| arrived.min(self.issued))
    }

    /// When an overdue renewal becomes a warning: at 75 % of the token's life.
    pub fn warning(self) -> Timestamp {
        self.passed(75)
    }

    /// When an overdue renewal becomes critical: at 90 % of the token's life.
    pub fn critical(self) -> Timestamp {
        self.passed(90)
    }

    /// The moment at which this percentage of the token's lifetime has passed.
    fn passed(self, percent: i128) -> Timestamp {
        let (issued, expires) = (self.issued.as_nanosecond(), self.expires.as_nanosecond());
        // The moment lies between two timestamps, so it is a valid timestamp.
        Timestamp::from_nanosecond(issued + (expires - issued) * percent / 100).unwrap_or(self.expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use proptest::prelude::*;

    #[test]
    fn token_is_read_only_from_a_complete_answer() {
        let answer = json!({
            "spec": { "audiences": ["api", "other"], "expirationSeconds": 3600 },
            "status": { "token": "secret", "expirationTimestamp": "2026-11-25T09:12:00Z" },
        });
        let token = Token::from_answer(DEFAULT, &answer).unwrap();
        assert_eq!((token.granted, token.audiences.len(), token.is_capped()), (Seconds(3600), 2, true));
        for pointer in ["/spec/expirationSeconds", "/status/token", "/status/expirationTimestamp"] {
            for value in [Value::Null, json!(""), json!([]), json!("a\nb")] {
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
    fn long_lived_token_is_read_once_the_secret_has_it() {
        let read = |secret: Value| Token::from_secret(DEFAULT, &secret);
        let token = read(json!({ "data": { "token": "c2VjcmV0", "ca.crt": "" } })).unwrap();
        assert!(token.never_expires() && !token.is_capped());
        assert_eq!(token.secret.written(), "secret");
        for secret in [
            json!(null),
            json!({}),
            json!({ "data": {} }),
            json!({ "data": { "token": "" } }),
            json!({ "data": { "token": "!" } }),
            json!({ "data": { "token": "/w==" } }),
            json!({ "data": { "token": "c2VjcmV0Cg==" } }),
        ] {
            assert!(read(secret.clone()).is_none(), "{secret}");
        }
    }

    #[test]
    fn never_is_read_back_and_is_in_the_future() {
        let life = TokenLife { issued: "2026-11-24T00:00:00Z".parse().unwrap(), expires: NEVER };
        let written = serde_json::to_value(life).unwrap();
        assert_eq!(written, json!({ "issued": "2026-11-24T00:00:00Z", "expires": "never" }));
        let read: TokenLife = serde_json::from_value(written).unwrap();
        assert!(read.never_expires() && read.due() > "5000-01-01T00:00:00Z".parse().unwrap());
    }

    #[test]
    fn token_is_due_by_the_clock_of_a_host_that_may_be_wrong() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let life = TokenLife { issued: at("2026-11-24T00:00:00Z"), expires: at("2026-11-25T00:00:00Z") };
        for (what, arrived, now, is_due) in [
            ("all agree", Some("2026-11-24T00:00:09Z"), "2026-11-24T11:59:59Z", false),
            ("all agree", Some("2026-11-24T00:00:09Z"), "2026-11-24T12:00:00Z", true),
            ("the arrival is not known", None, "2026-11-24T11:59:59Z", false),
            ("the arrival is not known", None, "2026-11-24T12:00:00Z", true),
            ("a clock a day behind", Some("2026-11-23T00:00:09Z"), "2026-11-23T12:00:08Z", false),
            ("a clock a day behind", Some("2026-11-23T00:00:09Z"), "2026-11-23T12:00:09Z", true),
            ("a clock that was turned back", Some("2026-11-24T00:00:09Z"), "2026-11-23T23:58:59Z", true),
            ("a clock that is a little behind", Some("2026-11-24T00:00:09Z"), "2026-11-23T23:59:00Z", false),
            ("a clock a day ahead", Some("2026-11-25T00:00:09Z"), "2026-11-25T00:00:10Z", true),
        ] {
            assert_eq!(life.is_due(arrived.map(at), at(now)), is_due, "{what}, {now}");
        }
    }

    #[test]
    fn due_warning_and_critical_follow_the_granted_life() {
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
        fn due_precedes_warning_and_warning_precedes_critical(
            a in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
            b in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
        ) {
            let moment = |second| Timestamp::from_second(second).unwrap();
            let life = TokenLife { issued: moment(a.min(b)), expires: moment(a.max(b)) };
            let moments = [life.issued, life.due(), life.warning(), life.critical(), life.expires];
            prop_assert!(moments.is_sorted());
            // A clock that ran backwards causes no panic.
            let _ = TokenLife { issued: life.expires, expires: life.issued }.critical();
        }
    }

    #[test]
    fn hostile_answers_are_survived() {
        let answer = r#"{"spec":{"audiences":["api"],"expirationSeconds":3600},"status":{"token":"a.b.c","expirationTimestamp":"2026-11-25T09:12:00Z"}}"#;
        let secret = r#"{"metadata":{"name":"a-x","uid":"u","annotations":{"prom-federate.io/destination":"stdout","prom-federate.io/expires":"never"}},"data":{"token":"YS5iLmM="}}"#;
        hostile::bytes(&[answer.as_bytes(), secret.as_bytes()], |text| {
            let value = serde_json::from_slice(text).unwrap_or_default();
            for token in
                [Token::from_answer(DEFAULT, &value), Token::from_secret(DEFAULT, &value)].into_iter().flatten()
            {
                assert!(token.secret.authorization().is_ok() && !token.secret.written().contains('\n'));
            }
            let _ = bound_secret::BoundSecret::from_object(&value).map(|secret| secret.has_expired(Timestamp::MAX));
        });
    }
}
