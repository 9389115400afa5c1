//! The validity of X.509 certificates.

use jiff::Timestamp;
use x509_cert::{Certificate, der::Decode};

/// The end of a certificate's validity. None for bytes that are not a certificate.
pub fn valid_until(der: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    let end = certificate.tbs_certificate().validity().not_after;
    let seconds = end.to_unix_duration().as_secs();
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}
