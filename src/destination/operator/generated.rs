//! The configuration that the operator generates: YAML, compressed, in a Secret.

use crate::yaml;
use k8s_openapi::ByteString;
use serde_json::Value;

/// The key of the Secret (`pkg/prometheus/common.go`, `ConfigFilename`).
const KEY: &str = "prometheus.yaml.gz";
/// A Secret has at most a mebibyte; YAML of jobs that are all alike compresses to a hundredth.
const LARGEST: usize = 512 << 20;

/// The configuration in the Secret as the API server returned it. Null before the first one was generated.
///
/// # Errors
/// Why it is not to be understood. It quotes nothing, for there are tokens in it.
pub(super) fn read(secret: &Value) -> Result<Value, String> {
    let packed = &secret["data"][KEY];
    if packed.is_null() {
        return Ok(Value::Null);
    }
    let ByteString(packed) = serde_json::from_value(packed.clone()).map_err(|_| "it is not base64")?;
    let deflated = without_header(&packed).ok_or("it is not gzip")?;
    let text = miniz_oxide::inflate::decompress_to_vec_with_limit(deflated, LARGEST)
        .map_err(|_| "it cannot be decompressed")?;
    let text = String::from_utf8(text).map_err(|_| "it is no text")?;
    yaml::read_foreign(&text)
}

/// The compressed stream within a gzip member, RFC 1952. What follows it is a checksum, which the API server makes
/// superfluous.
fn without_header(packed: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = packed.split_at_checked(10)?;
    if header[..3] != [0x1f, 0x8b, 8] {
        return None;
    }
    let has = |flag: u8| header[3] & flag != 0;
    if has(4) {
        let (length, more) = rest.split_at_checked(2)?;
        rest = more.get(usize::from(u16::from_le_bytes([length[0], length[1]]))..)?;
    }
    // A name, a comment.
    for flag in [8, 16] {
        if has(flag) {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if has(2) { rest.get(2..) } else { Some(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn secret(packed: &[u8]) -> Value {
        json!({ "data": { KEY: ByteString(packed.to_vec()) } })
    }

    /// `a: 1\n` stored without compression.
    const STORED: &[u8] = &[1, 5, 0, 0xfa, 0xff, b'a', b':', b' ', b'1', b'\n'];

    #[test]
    fn a_configuration_is_unpacked_whatever_is_in_its_header() {
        let plain = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        let full = [0x1f, 0x8b, 8, 0b1_1110, 0, 0, 0, 0, 0, 255, 3, 0, 1, 2, 3, b'n', 0, b'c', 0, 9, 9];
        for header in [&plain[..], &full] {
            let packed = [header, STORED, &[0; 8]].concat();
            assert_eq!(read(&secret(&packed)), Ok(json!({ "a": 1 })));
        }
        assert_eq!(read(&json!({ "data": {} })), Ok(Value::Null));
        assert_eq!(read(&json!({ "data": { KEY: "?" } })), Err("it is not base64".into()));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64), flags in any::<u8>()) {
            let _ = read(&secret(&bytes));
            let header = [0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 0];
            let _ = read(&secret(&[&header[..], &bytes].concat()));
        }
    }
}
