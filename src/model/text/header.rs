//! The value of an HTTP header. Text of a kubeconfig, a file, a program or a flag becomes a header only through this check,
//! because libraries panic at what they cannot send.

use http::HeaderValue;

/// A byte that no header may contain (RFC 9110, section 5.5; Go's `httpguts.ValidHeaderFieldValue`). The text is not
/// quoted, because it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("contains a line break, and no HTTP header may contain one")]
    LineBreak,
    #[error("contains the control character 0x{0:02x}, and no HTTP header may contain it")]
    Control(u8),
}

/// Marked as sensitive, so that no log of a library shows it.
///
/// # Errors
/// The first byte that no header may contain.
pub fn value(text: &[u8]) -> Result<HeaderValue, Unfit> {
    let mut value = HeaderValue::from_bytes(text).map_err(|_| unfit(text))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unfit(text: &[u8]) -> Unfit {
    match text.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t') {
        Some(b'\n' | b'\r') | None => Unfit::LineBreak,
        Some(byte) => Unfit::Control(*byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn header_may_contain_what_go_sends() {
        for text in [&b""[..], b"abc", b"a b\tc", "j\u{f6}rg \u{6771}".as_bytes(), b"\xff\x80", b"!\"#~"] {
            assert_eq!(value(text).map(|value| value.as_bytes().to_vec()), Ok(text.to_vec()));
        }
        for (text, unfit) in [
            (&b"a\nb"[..], Unfit::LineBreak),
            (b"a\r\n", Unfit::LineBreak),
            (b"\0", Unfit::Control(0)),
            (b"a\x1b[2J\n", Unfit::Control(0x1b)),
            (b"\x7f", Unfit::Control(0x7f)),
        ] {
            assert_eq!(value(text), Err(unfit));
        }
    }

    proptest! {
        #[test]
        fn every_byte_is_sent_or_named(text: Vec<u8>) {
            let has_control = text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
            prop_assert_eq!(value(&text).is_err(), has_control);
        }
    }
}
