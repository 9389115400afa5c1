//! Bytes as text and text within other text.

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// RFC 3986's unreserved characters stay.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As the API and kubeconfigs have bytes.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// None if it is not base64 with its padding.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Whether a text has only characters of base64 for URLs, which need no encoding in a query.
pub fn is_base64_url(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'='))
}

/// A value in the query of a URL.
pub fn query_value(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(query_value("up{a=\"ö\"} > 1"), "up%7Ba%3D%22%C3%B6%22%7D%20%3E%201");
        assert_eq!(query_value("a-b.c_d~e"), "a-b.c_d~e");
    }
}
