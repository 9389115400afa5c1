//! TLS as Go has it, because kubectl and Prometheus verify the same servers with it: the kinds of keys, and a certificate
//! that the CA file itself contains.

use super::unverified::Unverified;
use crate::{
    error::{Error, Reason, Result},
    kubeconfig::Identity,
    model::text::line::first,
};
use ::aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters,
    UnparsedPublicKey,
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs},
    pki_types::{
        AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName, SignatureVerificationAlgorithm, UnixTime,
        alg_id,
    },
    server::ParsedCertificate,
    sign::SingleCertAndKey,
};
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::{Arc, LazyLock};
use x509_cert::{
    Certificate,
    der::{
        Decode, Encode, Reader, SliceReader,
        asn1::{AnyRef, BitStringRef},
    },
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints},
};

/// Of RSA, Go verifies keys from 1024 bits on (`crypto/rsa`, `checkKeySize`), and rustls from 2048 bits on. In a
/// signature by RSA-PSS, which TLS 1.3 always has, a shorter key stays refused: the library has none for it.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    let usual = provider.signature_verification_algorithms;
    let all: Vec<_> = usual.all.iter().map(|usual| with_short_keys(*usual)).collect();
    let schemes = usual.mapping.iter().map(|(scheme, algorithms)| {
        let algorithms: Vec<_> = algorithms.iter().map(|usual| with_short_keys(*usual)).collect();
        (*scheme, &*algorithms.leak())
    });
    provider.signature_verification_algorithms =
        WebPkiSupportedAlgorithms { all: all.leak(), mapping: schemes.collect::<Vec<_>>().leak() };
    Arc::new(provider)
});

type Algorithm = &'static dyn SignatureVerificationAlgorithm;

fn with_short_keys(usual: Algorithm) -> Algorithm {
    let short = SHORT.iter().find(|short| short.signature == usual.signature_alg_id());
    short.map_or(usual, |short| short)
}

static SHORT: [ShortRsa; 2] = [
    ShortRsa { signature: alg_id::RSA_PKCS1_SHA256, parameters: &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY },
    ShortRsa { signature: alg_id::RSA_PKCS1_SHA512, parameters: &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY },
];

#[derive(Debug)]
struct ShortRsa {
    signature: AlgorithmIdentifier,
    parameters: &'static RsaParameters,
}

impl SignatureVerificationAlgorithm for ShortRsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(self.parameters, key).verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.signature
    }
}

/// For every connection that is not to an API server too.
pub fn install() {
    // It fails only if there is one already.
    let _ = CryptoProvider::clone(&PROVIDER).install_default();
}

/// A server is verified by these CAs, or by those of the system.
///
/// # Errors
/// [`Reason::InvalidKubeconfig`] for CAs of which none can be used, [`Reason::CertificateNotTrusted`] for a system without.
pub fn config(cas: Option<&[Vec<u8>]>, identity: Option<Identity>) -> Result<ClientConfig> {
    let unusable = |reason: Reason, why: &str| {
        Error::new(reason, why.to_owned())
            .hint("Name the CA of the cluster with certificate-authority in the kubeconfig")
    };
    let builder = ClientConfig::builder_with_provider(PROVIDER.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|why| unusable(Reason::ConnectionFailed, &first(&why.to_string())))?;
    let builder = match cas {
        Some(cas) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier::new(cas).ok_or_else(|| {
                unusable(
                    Reason::InvalidKubeconfig,
                    "the certificate-authority contains no certificate that the plugin can read",
                )
            })?))
        }
        None => builder.with_platform_verifier().map_err(|why| {
            let why = first(&why.to_string());
            unusable(
                Reason::CertificateNotTrusted,
                &format!("the kubeconfig names no CA, and the CAs of this system cannot be read: {why}"),
            )
        })?,
    };
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
        None => builder.with_no_client_auth(),
    };
    // The default has room for 256 servers, which a thousand clusters would have to hold each.
    config.resumption = Resumption::in_memory_sessions(1);
    Ok(config)
}

/// Verifies no server: for connections without TLS.
pub fn trusting_none() -> Option<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(PROVIDER.clone()).with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Verifies a chain as webpki does, and beside it two things that Go's `crypto/x509` verifies: a certificate of the server
/// that is in the CA file itself, and one that says of itself that it is a CA.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    cas: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// None if no certificate can be read. Others are skipped, as in Go's `AppendCertsFromPEM`.
    fn new(cas: &[Vec<u8>]) -> Option<Self> {
        let cas: Vec<_> = cas.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(cas.iter().cloned());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), PROVIDER.clone()).build().ok()?;
        Some(Self { webpki, cas })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let error = match self.webpki.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            Ok(verified) => return Ok(verified),
            Err(error) => error,
        };
        let is_signed = || self.cas.iter().any(|ca| is_issuer(ca, leaf, now));
        let is_trusted = self.cas.contains(leaf) || Unverified::is_ca(&error) && is_signed();
        if !is_trusted {
            return Err(Unverified::explained(error, leaf, intermediates, &self.cas));
        }
        // In the order of Go's `Certificate.Verify`.
        is_valid(leaf, now)?;
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        is_for_servers(leaf)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let outcome = self.webpki.verify_tls12_signature(message, leaf, signature);
        outcome.map_err(|error| Unverified::explained(error, leaf, &[], &[]))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let outcome = self.webpki.verify_tls13_signature(message, leaf, signature);
        outcome.map_err(|error| Unverified::explained(error, leaf, &[], &[]))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

fn parsed(der: &[u8]) -> Result<Certificate, CertificateError> {
    Certificate::from_der(der).map_err(|_| CertificateError::BadEncoding)
}

fn is_valid(der: &[u8], now: UnixTime) -> Result<(), CertificateError> {
    let validity = *parsed(der)?.tbs_certificate().validity();
    let seconds = |time: x509_cert::time::Time| UnixTime::since_unix_epoch(time.to_unix_duration());
    let (not_before, not_after) = (seconds(validity.not_before), seconds(validity.not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before });
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    Ok(())
}

/// Whether its purposes, if it has any, include servers.
fn is_for_servers(der: &[u8]) -> Result<(), CertificateError> {
    const SERVER: &str = "1.3.6.1.5.5.7.3.1";
    const ANY: &str = "2.5.29.37.0";
    let purposes = parsed(der)?.tbs_certificate().get_extension::<ExtendedKeyUsage>();
    match purposes.map_err(|_| CertificateError::BadEncoding)? {
        Some((_, purposes)) if !purposes.0.iter().any(|id| [SERVER, ANY].contains(&id.to_string().as_str())) => {
            Err(CertificateError::InvalidPurpose)
        }
        _ => Ok(()),
    }
}

/// Whether a CA may sign certificates now, without constraints to their names, and has signed this one.
fn is_issuer(ca: &CertificateDer<'_>, leaf: &CertificateDer<'_>, now: UnixTime) -> bool {
    let (Ok(issuer), Ok(subject)) = (parsed(ca), parsed(leaf)) else { return false };
    let tbs = issuer.tbs_certificate();
    let is_ca = matches!(tbs.get_extension::<BasicConstraints>(), Ok(Some((_, constraints))) if constraints.ca);
    let may_sign = match tbs.get_extension::<KeyUsage>() {
        Ok(usage) => usage.is_none_or(|(_, usage)| usage.key_cert_sign()),
        Err(_) => false,
    };
    let is_free = matches!(tbs.get_extension::<NameConstraints>(), Ok(None));
    let is_named = match (tbs.subject().to_der(), subject.tbs_certificate().issuer().to_der()) {
        (Ok(subject), Ok(issuer)) => subject == issuer,
        _ => false,
    };
    is_ca && may_sign && is_free && is_named && is_valid(ca, now).is_ok() && has_signed(ca, leaf)
}

fn has_signed(ca: &CertificateDer<'_>, leaf: &CertificateDer<'_>) -> bool {
    let parts = SliceReader::new(leaf).and_then(|mut reader| {
        reader.sequence(|certificate| {
            let signed = certificate.tlv_bytes()?;
            let algorithm = AnyRef::decode(certificate)?;
            Ok((signed, algorithm.value(), BitStringRef::decode(certificate)?))
        })
    });
    let (Ok((signed, algorithm, signature)), Ok(ca)) = (parts, webpki::EndEntityCert::try_from(ca)) else {
        return false;
    };
    let algorithms = PROVIDER.signature_verification_algorithms.all.iter();
    algorithms.filter(|known| known.signature_alg_id().as_ref() == algorithm).any(|known| {
        signature.as_bytes().is_some_and(|signature| ca.verify_signature(*known, signed, signature).is_ok())
    })
}

#[cfg(test)]
mod tests;
