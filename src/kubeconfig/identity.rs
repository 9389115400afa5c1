//! The client certificate and its key. Both are checked here, because an error at the connection names neither.

use crate::model::access::certificate::{certificates, kind_of_key};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{
        CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer, pem::PemObject,
    },
    sign::CertifiedKey,
};
use std::sync::Arc;

/// A chain of certificates with the key of the first. No message or log shows the key.
pub type Identity = Arc<CertifiedKey>;

/// Why an identity cannot be used, and in which of its two fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub is_key: bool,
    pub why: String,
}

/// What rustls signs with.
const KINDS: &str = "RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 and P-521, and Ed25519";

/// From two PEM texts, as Go's `tls.X509KeyPair` reads them: of each text the parts that it is about.
///
/// # Errors
/// A part that is missing, of an unknown kind, or of another pair.
pub fn identity(chain: &[u8], key: &[u8]) -> Result<Identity, Fault> {
    let fault = |is_key: bool, why: &str| Fault { is_key, why: why.to_owned() };
    let chain: Vec<_> = certificates(chain).into_iter().map(CertificateDer::from).collect();
    let leaf = chain.first().ok_or_else(|| fault(false, "contains no PEM certificate"))?;
    let kind = kind_of_key(leaf).unwrap_or_default();
    let encrypted = "is encrypted with a passphrase, and neither kubectl nor the plugin asks for one: openssl pkey -in FILE -out FILE2";
    let unreadable = |why: &str| fault(true, if is_encrypted(key) { encrypted } else { why });
    let read = PrivateKeyDer::from_pem_slice(key).map_err(|_| unreadable("contains no PEM private key"))?;
    let key = loaded(&read).ok_or_else(|| {
        unreadable(&format!(
            "is damaged or of a kind that the plugin cannot use: the key of the certificate is {kind}, and the plugin has {KINDS}"
        ))
    })?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(fault(true, "is not the key of the client certificate"))
        }
        _ => Ok(Arc::new(pair)),
    }
}

/// Go tries every encoding, whatever the label of the PEM text says (`crypto/tls`, `parsePrivateKey`).
fn loaded(key: &PrivateKeyDer<'_>) -> Option<Arc<dyn rustls::sign::SigningKey>> {
    let der = key.secret_der();
    let encodings = [
        PrivateKeyDer::Pkcs1(PrivatePkcs1KeyDer::from(der)),
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
        PrivateKeyDer::Sec1(PrivateSec1KeyDer::from(der)),
    ];
    encodings.iter().find_map(|key| any_supported_type(key).ok())
}

/// PKCS#8 has a label for it, and OpenSSL's older form a header.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hostile, model::access::certificate::valid_until};
    use rcgen::{
        CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512,
        PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, SignatureAlgorithm,
    };

    fn pair(kind: &'static SignatureAlgorithm) -> (String, String) {
        let key = if kind == &PKCS_RSA_SHA256 {
            KeyPair::generate_rsa_for(kind, RsaKeySize::_2048).unwrap()
        } else {
            KeyPair::generate_for(kind).unwrap()
        };
        (CertificateParams::default().self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn keys_of_every_kind_are_read_whatever_their_label() {
        let kinds = [
            &PKCS_ECDSA_P256_SHA256,
            &PKCS_ECDSA_P384_SHA384,
            &PKCS_ECDSA_P521_SHA512,
            &PKCS_ED25519,
            &PKCS_RSA_SHA256,
        ];
        for kind in kinds {
            let (chain, key) = pair(kind);
            for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
                let key = key.replace("PRIVATE KEY", label);
                let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
                for text in [key.clone(), format!("{parameters}{key}"), format!("{chain}text\r\n{key}")] {
                    let read = identity(chain.as_bytes(), text.as_bytes());
                    assert!(read.is_ok(), "{kind:?} {label}: {:?}", read.err());
                }
            }
        }
    }

    #[test]
    fn fault_of_a_key_names_the_field_and_the_kind() {
        let (chain, key) = pair(&PKCS_ECDSA_P256_SHA256);
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let older = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        for (chain, key, is_key, says) in [
            ("junk", key.as_str(), false, "contains no PEM certificate"),
            (&chain, "junk", true, "contains no PEM private key"),
            (&chain, &chain, true, "contains no PEM private key"),
            (&chain, &encrypted, true, "is encrypted with a passphrase"),
            (&chain, older, true, "is encrypted with a passphrase"),
            (&chain, &pair(&PKCS_ED25519).1, true, "is not the key of the client certificate"),
            (
                SHORT.0,
                SHORT.1,
                true,
                "the key of the certificate is RSA with 1024 bits, and the plugin has RSA of 2048",
            ),
        ] {
            let fault = identity(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert_eq!(fault.is_key, is_key, "{fault:?}");
            assert!(fault.why.contains(says), "{fault:?}");
        }
    }

    /// Made for this test, and good for nothing.
    const SHORT: (&str, &str) = (
        "-----BEGIN CERTIFICATE-----\n\
         MIICCzCCAXSgAwIBAgIUft6/A53PCWIlNIqUKuADc2R3UBQwDQYJKoZIhvcNAQEL\n\
         BQAwEDEOMAwGA1UEAwwFc2hvcnQwIBcNMjYxMTI5MTU0MDA4WhgPMjEyNjExMDUx\n\
         NTQwMDhaMBAxDjAMBgNVBAMMBXNob3J0MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB\n\
         iQKBgQCr/tbwy0XxJPbr9liEpqAZyB8zmtiHF4mNWx6mAMcmwQFhH/9hxdSEBhsz\n\
         s5BRBq3yVPmP04hFyo0elk8/xqiYFx+SygmpEBmhRPIHfmM9qXndzHYpIGz+Ppko\n\
         uY9VB7hoCUd8lCxeHfRe+GGW6kAed18mpuJLq/2SuPG9Lho12QIDAQABo2AwXjAd\n\
         BgNVHQ4EFgQUCzOf97qxHQC4xZ0hfDzEdZFc2m0wHwYDVR0jBBgwFoAUCzOf97qx\n\
         HQC4xZ0hfDzEdZFc2m0wDwYDVR0TAQH/BAUwAwEB/zALBgNVHQ8EBAMCAgQwDQYJ\n\
         KoZIhvcNAQELBQADgYEAZzGLACORN8Hp/2SZ+mcKqFKE5j80Y0VDFUsOAMfmRwWZ\n\
         neHI8k6XDXwQa/pqWJqaroB9/RbWFS0XwQQ5Ih23pF1w/f8sFUhTHou/lO49mj4y\n\
         hCrEgh5vWjbB9JsMOM0g/weLBqYUPCh+Jsixxg67FlICQfJ87aF7FKzMXBdHAZ0=\n\
         -----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\n\
         MIICdQIBADANBgkqhkiG9w0BAQEFAASCAl8wggJbAgEAAoGBAKv+1vDLRfEk9uv2\n\
         WISmoBnIHzOa2IcXiY1bHqYAxybBAWEf/2HF1IQGGzOzkFEGrfJU+Y/TiEXKjR6W\n\
         Tz/GqJgXH5LKCakQGaFE8gd+Yz2ped3MdikgbP4+mSi5j1UHuGgJR3yULF4d9F74\n\
         YZbqQB53Xyam4kur/ZK48b0uGjXZAgMBAAECgYAszcXQFCO0HZz0+sc0RvONw8Pc\n\
         /YlKJ6d9Wy8wryMxxTVGx78PCSnC+pQ7c5s0gDjv15LrFH97Lrh0L1OVmXpxNsIE\n\
         w6lfrTb5ItYE9N8PfQoJw7HFmB9y7E1JAa0QAeaUTQPyn/Ck95KRi4AE8iN0DMg+\n\
         JXScZLHKU82/ok7IAQJBANIfCjI6Us2DS3XlJJUq/VLaPry0ppj0BvZukqdzpWgI\n\
         R+GnUL18FIOkIDIfj4SOcC+fOI2q9+LqaFjHWDm6OHECQQDRjLeIe42VgGgiy/1h\n\
         HzvWmcLYKQSo/ITmwPCJvV7I2zgX6Cd2MJLliXNY1CL0zajCKsXTW0nPGah+CP5E\n\
         DcfpAkBKhT2tgKfbQURjBKiLytpbJxH3BS7MskdB4QdcIhS4p68upZNqEHaKFYxh\n\
         mnXg8k9xZEu/WrJdpPrq+ZAdsSDRAkBnItsyUZ1d99VJSx1qr/TDquo7efTRN3gy\n\
         GsRJBuuf8EWrfpftk/q4/u3GyqJp2s80wdicLlIlnHtRjRuYYzABAkB2/zFZrhio\n\
         PubJTzjUe5yi8dHFEz2QLJu4+swAIKTY5icNiha3nG7XWH0DxzoMKfWwkoQmMj2I\n\
         ivEf+d+fmCDo\n\
         -----END PRIVATE KEY-----\n",
    );

    #[test]
    fn hostile_certificates_and_keys_are_survived() {
        let (chain, key) = pair(&PKCS_ECDSA_P256_SHA256);
        hostile::bytes(&[chain.as_bytes(), key.as_bytes(), &certificates(chain.as_bytes())[0]], |bytes| {
            let _ = (identity(bytes, key.as_bytes()), identity(chain.as_bytes(), bytes), kind_of_key(bytes));
            assert!(certificates(bytes).iter().all(|der| valid_until(der).is_some()));
        });
    }
}
