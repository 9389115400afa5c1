//! The expiry of a token as text: RFC 3339, or `never`.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// The expiry of a token that never expires.
pub const NEVER: Timestamp = Timestamp::MAX;
pub const NEVER_EXPIRES: &str = "never";

pub fn read(text: &str) -> Result<Timestamp, jiff::Error> {
    if text == NEVER_EXPIRES { Ok(NEVER) } else { text.parse() }
}

pub(in crate::model) fn serialize<S: Serializer>(expires: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    if *expires == NEVER { serializer.serialize_str(NEVER_EXPIRES) } else { serializer.collect_str(expires) }
}

pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    read(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}
