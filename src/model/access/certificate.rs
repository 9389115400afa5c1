//! X.509 certificates: which there are in a text, and their validity.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_cert::{Certificate, der::Decode};

/// The certificates in a PEM text, as DER. Unreadable parts are skipped, as Go's `AppendCertsFromPEM` does.
pub fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(|certificate| Some(certificate.ok()?.to_vec()))
        .filter(|der| valid_until(der).is_some())
        .collect()
}

/// The end of a certificate's validity. None for bytes that are not a certificate.
pub fn valid_until(der: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    let end = certificate.tbs_certificate().validity().not_after;
    let seconds = end.to_unix_duration().as_secs();
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}
