//! Why the certificate of a server is not accepted, in words. rustls shows some of its errors in the debug format of
//! another library.

use crate::model::access::certificate::kind_of_key;
use rustls::{CertificateError, OtherError, pki_types::CertificateDer};
use std::{fmt, sync::Arc};

/// The words for an error that rustls has none for.
#[derive(Debug)]
pub(super) struct Unverified(String);

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unverified {}

impl Unverified {
    /// Whether the certificate is refused because it is a CA.
    pub(super) fn is_ca(error: &rustls::Error) -> bool {
        of_webpki(error).is_some_and(|error| matches!(error, webpki::Error::CaUsedAsEndEntity))
    }

    /// The same error, with words where it is about the kind of a key, which only the certificates tell.
    pub(super) fn explained(
        error: rustls::Error,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        cas: &[CertificateDer<'_>],
    ) -> rustls::Error {
        use CertificateError as Certificate;
        let rustls::Error::InvalidCertificate(invalid) = &error else { return error };
        let kinds = |certificates: &[CertificateDer<'_>]| {
            let mut kinds: Vec<_> = certificates.iter().filter_map(|der| kind_of_key(der)).collect();
            kinds.sort();
            kinds.dedup();
            kinds.join(", ")
        };
        let of_key = || {
            let signers = [intermediates, cas].concat();
            let of = if signers.is_empty() { String::new() } else { format!(", those of its CA {}", kinds(&signers)) };
            let leaf = kinds(std::slice::from_ref(leaf));
            format!("has a signature that the plugin cannot verify (its key is {leaf}{of})")
        };
        let words = match invalid {
            // The signature of the handshake itself, of which only the leaf is known: a short key fails there.
            Certificate::BadSignature if cas.is_empty() => of_key(),
            #[allow(deprecated, reason = "a release of rustls may still return it")]
            Certificate::UnsupportedSignatureAlgorithm
            | Certificate::UnsupportedSignatureAlgorithmContext { .. }
            | Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => of_key(),
            _ => match of_webpki(&error) {
                Some(webpki) => of_rule(webpki).to_owned(),
                None => return error,
            },
        };
        rustls::Error::InvalidCertificate(Certificate::Other(OtherError(Arc::new(Self(words)))))
    }

    /// The words of a certificate error that names neither validity, nor name, nor issuer.
    pub(super) fn words(error: &CertificateError) -> String {
        use CertificateError as Certificate;
        match error {
            Certificate::BadEncoding => "cannot be parsed".to_owned(),
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "is not valid yet by the clock of this machine".to_owned()
            }
            Certificate::Revoked => "is revoked".to_owned(),
            Certificate::UnhandledCriticalExtension => {
                "has a critical extension that the plugin does not know".to_owned()
            }
            Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
                "is not for servers: its extended key usage lacks serverAuth".to_owned()
            }
            Certificate::Other(OtherError(other)) => match (other.downcast_ref::<Self>(), other.downcast_ref()) {
                (Some(known), _) => known.to_string(),
                (None, Some(webpki)) => of_rule(webpki).to_owned(),
                (None, None) => "breaks a rule of X.509".to_owned(),
            },
            _ => "has a signature that the plugin cannot verify".to_owned(),
        }
    }
}

fn of_webpki(error: &rustls::Error) -> Option<&webpki::Error> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => other.downcast_ref(),
        _ => None,
    }
}

fn of_rule(error: &webpki::Error) -> &'static str {
    use webpki::Error as Rule;
    match error {
        Rule::CaUsedAsEndEntity => {
            "is marked as a CA, and neither is in the CA file nor signed directly by a CA in it that has no name constraints"
        }
        Rule::EndEntityUsedAsCa => "is signed by a certificate that is not marked as a CA",
        Rule::NameConstraintViolation
        | Rule::MalformedNameConstraint
        | Rule::InvalidNetworkMaskConstraint
        | Rule::MaximumNameConstraintComparisonsExceeded
        | Rule::UnsupportedNameType => "has a name that its CA may not give (name constraints)",
        Rule::PathLenConstraintViolated | Rule::MaximumPathDepthExceeded => {
            "has more intermediate CAs than its CA allows"
        }
        Rule::EmptyEkuExtension => "has an empty extended key usage",
        Rule::InvalidSerialNumber => "has a serial number that is not allowed",
        Rule::UnsupportedCertVersion => "is not an X.509 certificate of version 3",
        Rule::MalformedDnsIdentifier => "contains a malformed name",
        Rule::ExtensionValueInvalid | Rule::MalformedExtensions => "has a malformed extension",
        Rule::SignatureAlgorithmMismatch => "names two different algorithms of its signature",
        _ => "breaks a rule of X.509",
    }
}
