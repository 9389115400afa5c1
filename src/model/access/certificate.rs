//! X.509 certificates as far as we look at them: until when one is valid.

use jiff::Timestamp;
use x509_cert::{Certificate, der::Decode};

/// Until when a certificate is valid. None for bytes that are no certificate.
pub fn valid_until(der: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    let end = certificate.tbs_certificate().validity().not_after;
    let seconds = end.to_unix_duration().as_secs();
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}
