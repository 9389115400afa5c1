//! X.509 certificates: which there are in a text, and their validity; and what a library says where TLS fails.

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{error::Error as StdError, io};
use x509_cert::{
    Certificate,
    der::{
        Decode, Reader, SliceReader,
        asn1::{ObjectIdentifier, UintRef},
    },
};

/// The certificates in a PEM text, as DER. Unreadable parts are skipped, as Go's `AppendCertsFromPEM` does.
pub fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(|certificate| Some(certificate.ok()?.to_vec()))
        .filter(|der| valid_until(der).is_some())
        .collect()
}

/// The TLS failure that an error is or wraps. What an `io::Error` wraps is not in the chain of its sources, and
/// hyper-rustls wraps one in another.
pub fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    match error.downcast_ref::<io::Error>() {
        Some(io) => tls_error(io.get_ref()?),
        None => error.downcast_ref(),
    }
}

/// The end of a certificate's validity. None for bytes that are not a certificate.
pub fn valid_until(der: &[u8]) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    let end = certificate.tbs_certificate().validity().not_after;
    let seconds = end.to_unix_duration().as_secs();
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
}

/// The kind of a certificate's public key, for messages: `RSA with 1024 bits`, `ECDSA on the curve P-224`. None for bytes
/// that are not a certificate.
pub fn kind_of_key(der: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?;
    let key = certificate.tbs_certificate().subject_public_key_info();
    let kind = key.algorithm.oid.to_string();
    Some(match kind.as_str() {
        "1.2.840.113549.1.1.1" => {
            let modulus = SliceReader::new(key.subject_public_key.as_bytes()?)
                .and_then(|mut reader| reader.sequence(|key| Ok((UintRef::decode(key)?, UintRef::decode(key)?).0)))
                .map(|modulus| modulus.as_bytes().to_vec());
            let bits = modulus.ok().and_then(|bytes| Some(bytes.len() * 8 - bytes.first()?.leading_zeros() as usize));
            bits.map_or_else(|| "RSA".to_owned(), |bits| format!("RSA with {bits} bits"))
        }
        "1.2.840.10045.2.1" => {
            let curve = key.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            let curve = curve.map(|curve| curve.to_string()).unwrap_or_default();
            let name = match curve.as_str() {
                "1.3.132.0.33" => "P-224",
                "1.2.840.10045.3.1.7" => "P-256",
                "1.3.132.0.34" => "P-384",
                "1.3.132.0.35" => "P-521",
                "1.3.132.0.10" => "secp256k1",
                other => other,
            };
            format!("ECDSA on the curve {name}")
        }
        "1.3.101.112" => "Ed25519".to_owned(),
        "1.3.101.113" => "Ed448".to_owned(),
        "1.2.840.10040.4.1" => "DSA".to_owned(),
        other => format!("of the algorithm {other}"),
    })
}
