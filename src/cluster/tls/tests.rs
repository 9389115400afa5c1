use super::*;
use crate::model::text::encoding::from_base64;
use rcgen::{
    BasicConstraints as Basic, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519,
    PKCS_RSA_SHA256, PKCS_RSA_SHA512, RsaKeySize, SignatureAlgorithm, date_time_ymd,
};
use rustls::{ClientConnection, ServerConfig, ServerConnection, pki_types::PrivateKeyDer};

const NAME: &str = "api.example";

fn key(kind: &'static SignatureAlgorithm) -> KeyPair {
    if kind == &PKCS_RSA_SHA256 || kind == &PKCS_RSA_SHA512 {
        return KeyPair::generate_rsa_for(kind, RsaKeySize::_2048).unwrap();
    }
    KeyPair::generate_for(kind).unwrap()
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(Basic::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn leaf_params(is_ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    params.is_ca = is_ca;
    params
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn ca(kind: &'static SignatureAlgorithm) -> Issuer {
    CertifiedIssuer::self_signed(ca_params("ca"), key(kind)).unwrap()
}

/// What a server serves.
struct Served {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Served {
    fn of(params: &CertificateParams, key: &KeyPair, issuer: Option<&Issuer>) -> Self {
        let certificate = match issuer {
            Some(issuer) => params.signed_by(key, issuer).unwrap(),
            None => params.self_signed(key).unwrap(),
        };
        Self { chain: vec![certificate.der().clone()], key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    fn leaf(&self) -> Vec<u8> {
        self.chain[0].to_vec()
    }
}

/// A whole handshake in memory.
fn handshake(Served { chain, key }: &Served, cas: &[Vec<u8>], name: &'static str) -> Result<(), rustls::Error> {
    let server = ServerConfig::builder_with_provider(PROVIDER.clone()).with_safe_default_protocol_versions()?;
    let server = server.with_no_client_auth().with_single_cert(chain.clone(), key.clone_key())?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    let client = config(Some(cas), None).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(name).unwrap())?;
    // More than a handshake takes.
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &*wire;
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            // What the server says of a client that has given up does not matter.
            let _ = server.process_new_packets();
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &*wire;
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
        if !client.is_handshaking() && !server.is_handshaking() {
            return Ok(());
        }
    }
    panic!("the handshake does not end");
}

#[test]
fn kinds_of_keys_that_go_verifies_are_verified() {
    let usual = &PKCS_ECDSA_P256_SHA256;
    for (of_ca, of_leaf) in [
        (usual, usual),
        (&PKCS_ECDSA_P521_SHA512, usual),
        (usual, &PKCS_ECDSA_P521_SHA512),
        (&PKCS_ECDSA_P521_SHA512, &PKCS_ECDSA_P521_SHA512),
        (&PKCS_ECDSA_P384_SHA384, &PKCS_ECDSA_P384_SHA384),
        (&PKCS_ED25519, &PKCS_ED25519),
        (&PKCS_RSA_SHA512, &PKCS_RSA_SHA256),
    ] {
        let issuer = ca(of_ca);
        let served = Served::of(&leaf_params(IsCa::NoCa), &key(of_leaf), Some(&issuer));
        let outcome = handshake(&served, &[issuer.der().to_vec()], NAME);
        assert!(outcome.is_ok(), "{of_ca:?} {of_leaf:?}: {outcome:?}");
    }
}

#[test]
fn certificate_in_the_ca_file_is_trusted_as_itself() {
    let (key, issuer) = (key(&PKCS_ECDSA_P256_SHA256), ca(&PKCS_ECDSA_P256_SHA256));
    for (is_ca, signer) in [
        (IsCa::NoCa, None),
        (IsCa::ExplicitNoCa, None),
        (IsCa::Ca(Basic::Unconstrained), None),
        (IsCa::NoCa, Some(&issuer)),
        (IsCa::Ca(Basic::Constrained(0)), Some(&issuer)),
    ] {
        let served = Served::of(&leaf_params(is_ca), &key, signer);
        let junk = b"no certificate".to_vec();
        assert_eq!(handshake(&served, &[junk, served.leaf()], NAME), Ok(()));
        let Err(rustls::Error::InvalidCertificate(wrong)) = handshake(&served, &[served.leaf()], "other.example")
        else {
            panic!("a wrong name is accepted");
        };
        assert!(matches!(wrong, CertificateError::NotValidForNameContext { .. }), "{wrong:?}");
    }
}

#[test]
fn certificate_in_the_ca_file_needs_validity_and_purpose() {
    let key = key(&PKCS_ECDSA_P256_SHA256);
    let refused = |change: fn(&mut CertificateParams)| {
        let mut params = leaf_params(IsCa::Ca(Basic::Unconstrained));
        change(&mut params);
        let served = Served::of(&params, &key, None);
        match handshake(&served, &[served.leaf()], NAME) {
            Err(rustls::Error::InvalidCertificate(error)) => error,
            outcome => panic!("{outcome:?}"),
        }
    };
    let expired = refused(|params| params.not_after = date_time_ymd(2020, 1, 1));
    assert!(matches!(expired, CertificateError::ExpiredContext { .. }), "{expired:?}");
    let early = refused(|params| params.not_before = date_time_ymd(2990, 1, 1));
    assert!(matches!(early, CertificateError::NotValidYetContext { .. }), "{early:?}");
    let client = refused(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(client, CertificateError::InvalidPurpose);
}

/// `openssl req -x509 -CA` marks what it issues as a CA.
#[test]
fn certificate_marked_as_ca_is_accepted_of_a_ca_in_the_file_only() {
    let key = key(&PKCS_ECDSA_P256_SHA256);
    let marked = leaf_params(IsCa::Ca(Basic::Unconstrained));
    let issuer = ca(&PKCS_ECDSA_P521_SHA512);
    let served = Served::of(&marked, &key, Some(&issuer));
    assert_eq!(handshake(&served, &[ca(&PKCS_ED25519).der().to_vec(), issuer.der().to_vec()], NAME), Ok(()));

    let issuers: [fn(&mut CertificateParams); 5] = [
        |_| {},
        |params| params.is_ca = IsCa::NoCa,
        |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        |params| params.not_after = date_time_ymd(2020, 1, 1),
        |params| {
            params.name_constraints = Some(rcgen::NameConstraints {
                permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("other.example".into())],
                excluded_subtrees: Vec::new(),
            });
        },
    ];
    for (index, change) in issuers.into_iter().enumerate() {
        let mut params = ca_params("ca");
        change(&mut params);
        let issuer = CertifiedIssuer::self_signed(params, self::key(&PKCS_ECDSA_P256_SHA256)).unwrap();
        let served = Served::of(&marked, &key, Some(&issuer));
        // The first is not in the file; another CA of its name is.
        let file = if index == 0 { ca(&PKCS_ECDSA_P256_SHA256).der().to_vec() } else { issuer.der().to_vec() };
        let Err(rustls::Error::InvalidCertificate(error)) = handshake(&served, &[file], NAME) else {
            panic!("{index} is accepted");
        };
        let words = Unverified::words(&error);
        assert!(words.starts_with("is marked as a CA, and neither is in the CA file"), "{index}: {words}");
    }
}

/// Certificates that openssl made for these tests, for a hundred years; their keys are not kept.
#[test]
fn signatures_that_only_go_has_by_default_are_verified_or_explained() {
    let verify = |ca: &str, leaf: &str| {
        let der = |base64: &str| from_base64(base64).unwrap();
        let verifier = Verifier::new(&[der(ca)]).unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        verifier.verify_server_cert(&der(leaf).into(), &[], &name, &[], UnixTime::now()).map(drop)
    };
    assert_eq!(verify(CA_RSA_1024, OF_RSA_1024), Ok(()));
    assert_eq!(verify(CA_P256, OF_P256_WITH_SHA512), Ok(()));
    let Err(rustls::Error::InvalidCertificate(error)) = verify(CA_P224, OF_P224) else { panic!("it is verified") };
    assert_eq!(
        Unverified::words(&error),
        "has a signature that the plugin cannot verify (its key is ECDSA on the curve P-256, those of its CA ECDSA on the curve P-224)"
    );
    assert_eq!(
        crate::model::access::certificate::kind_of_key(&from_base64(CA_RSA_1024).unwrap()).unwrap(),
        "RSA with 1024 bits"
    );
}

#[test]
fn ca_that_cannot_be_read_is_named() {
    let error = config(Some(&[b"junk".to_vec()]), None).err().unwrap();
    assert_eq!(error.reason, Reason::InvalidKubeconfig);
    assert!(error.to_string().contains("certificate-authority") && !error.hints.is_empty(), "{error}");
}

const CA_RSA_1024: &str = "MIICCzCCAXSgAwIBAgIUft6/A53PCWIlNIqUKuADc2R3UBQwDQYJKoZIhvcNAQELBQAwEDEOMAwGA1UEAwwFc2hvcnQwIBcNMjYxMTI5MTU0MDA4\
    WhgPMjEyNjExMDUxNTQwMDhaMBAxDjAMBgNVBAMMBXNob3J0MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCr/tbwy0XxJPbr9liEpqAZyB8z\
    mtiHF4mNWx6mAMcmwQFhH/9hxdSEBhszs5BRBq3yVPmP04hFyo0elk8/xqiYFx+SygmpEBmhRPIHfmM9qXndzHYpIGz+PpkouY9VB7hoCUd8lCxe\
    HfRe+GGW6kAed18mpuJLq/2SuPG9Lho12QIDAQABo2AwXjAdBgNVHQ4EFgQUCzOf97qxHQC4xZ0hfDzEdZFc2m0wHwYDVR0jBBgwFoAUCzOf97qx\
    HQC4xZ0hfDzEdZFc2m0wDwYDVR0TAQH/BAUwAwEB/zALBgNVHQ8EBAMCAgQwDQYJKoZIhvcNAQELBQADgYEAZzGLACORN8Hp/2SZ+mcKqFKE5j80\
    Y0VDFUsOAMfmRwWZneHI8k6XDXwQa/pqWJqaroB9/RbWFS0XwQQ5Ih23pF1w/f8sFUhTHou/lO49mj4yhCrEgh5vWjbB9JsMOM0g/weLBqYUPCh+\
    Jsixxg67FlICQfJ87aF7FKzMXBdHAZ0=";
const OF_RSA_1024: &str = "MIIBvTCCASagAwIBAgIUULqezBXmmD8jeH/FYSZF2aRT8/cwDQYJKoZIhvcNAQENBQAwEDEOMAwGA1UEAwwFc2hvcnQwIBcNMjYxMTI5MTU0MDA4\
    WhgPMjEyNjExMDUxNTQwMDhaMA8xDTALBgNVBAMMBGxlYWYwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQqcrtScXAxBgi2hPwaQBtvEqpiP5tU\
    ans6oLzCgaEJnfqKhv6xCeJTLu3+HI8PI9nWzvTfa4q5PDYz0nIthKkKo1owWDAWBgNVHREEDzANggthcGkuZXhhbXBsZTAdBgNVHQ4EFgQUz72m\
    XQFzYQ0CmWTm6ab+JT+79towHwYDVR0jBBgwFoAUCzOf97qxHQC4xZ0hfDzEdZFc2m0wDQYJKoZIhvcNAQENBQADgYEAcq8Ze8AGGwoBFdgkgxJB\
    vKujvW38Qge1mEdfQbQr5umXOCkSfpv/mJMC1uUkjYFFnqc3ksRIyUdU/zZwC1Crr1PM/KwOQgBEQY0/oTnbxQkJ7SlhnYIvW+0VQOULon+wguGT\
    SVmzl/wNejhIqIMTigMNA846xQWXcfcI+OG5pHI=";
const CA_P256: &str = "MIIBgTCCASegAwIBAgIUcmWzdDmkWlP8lbCqrS3LQrkKkxwwCgYIKoZIzj0EAwIwFTETMBEGA1UEAwwKcHJpbWUyNTZ2MTAgFw0yNjExMjkxNTQw\
    MDhaGA8yMTI2MTEwNTE1NDAwOFowFTETMBEGA1UEAwwKcHJpbWUyNTZ2MTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABEuUeC5lJb1INxYu2DdY\
    Eoat6gshBK1MCC+W7IfDh2gkxbNcq9cqfQWmI3rxnCz6WOV+e2TJ7cuYd0ji17M1tt2jUzBRMB0GA1UdDgQWBBTQgublEgCxBY/l9i/CSNB1WXE1\
    STAfBgNVHSMEGDAWgBTQgublEgCxBY/l9i/CSNB1WXE1STAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCFvLqY4PlDDXFz1VTu\
    EIKX4GsY2mUr4x1+XQ8RVgMLgAIgCW58znkkTCT1mhBYIm0FYMYAaeoWeB0O+8DhyyEcQIc=";
const OF_P256_WITH_SHA512: &str = "MIIBgjCCASigAwIBAgIUaEQetrSftUiCpd2wm2ZH1BHpkt0wCgYIKoZIzj0EAwQwFTETMBEGA1UEAwwKcHJpbWUyNTZ2MTAgFw0yNjExMjkxNTQw\
    MDhaGA8yMTI2MTEwNTE1NDAwOFowDzENMAsGA1UEAwwEbGVhZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCpyu1JxcDEGCLaE/BpAG28SqmI/\
    m1RqezqgvMKBoQmd+oqG/rEJ4lMu7f4cjw8j2dbO9N9rirk8NjPSci2EqQqjWjBYMBYGA1UdEQQPMA2CC2FwaS5leGFtcGxlMB0GA1UdDgQWBBTP\
    vaZdAXNhDQKZZObppv4lP7v22jAfBgNVHSMEGDAWgBTQgublEgCxBY/l9i/CSNB1WXE1STAKBggqhkjOPQQDBANIADBFAiB2GCi9F03V10dKwE4o\
    Kn7euCUigIUxvHt7kFVSxwioIQIhAN4vlGWBODgHvg3ZHz+nwZCioMVIiMamWFOmWFmD08cp";
const CA_P224: &str = "MIIBbDCCARqgAwIBAgIUbRKDzoO3QJ5m4wOCvEExSHmiJlAwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJc2VjcDIyNHIxMCAXDTI2MTEyOTE1NDAw\
    OFoYDzIxMjYxMTA1MTU0MDA4WjAUMRIwEAYDVQQDDAlzZWNwMjI0cjEwTjAQBgcqhkjOPQIBBgUrgQQAIQM6AASg5rPs5k0SqgjiUaHbakHxZNoa\
    OI/F+sQ48YTWKwRLzGPgFbVNRO9H2rFv8BqKVCA8jDIHpg8aQ6NTMFEwHQYDVR0OBBYEFJGIKvJjT5w1uJDlNkHp/eeYxBp/MB8GA1UdIwQYMBaA\
    FJGIKvJjT5w1uJDlNkHp/eeYxBp/MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDQAAwPQIcfnkMjPrgBUKxN3ZyNhSYdLF+h8Gjgqo29CQc\
    igIdAJAgurT9h00tNjiHKhLoCP4IkqImmUHXxrpS9Y8=";
const OF_P224: &str = "MIIBejCCASegAwIBAgIURQuqULaeBokzMUabypv71k19NFIwCgYIKoZIzj0EAwQwFDESMBAGA1UEAwwJc2VjcDIyNHIxMCAXDTI2MTEyOTE1NDAw\
    OFoYDzIxMjYxMTA1MTU0MDA4WjAPMQ0wCwYDVQQDDARsZWFmMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKnK7UnFwMQYItoT8GkAbbxKqYj+b\
    VGp7OqC8woGhCZ36iob+sQniUy7t/hyPDyPZ1s7032uKuTw2M9JyLYSpCqNaMFgwFgYDVR0RBA8wDYILYXBpLmV4YW1wbGUwHQYDVR0OBBYEFM+9\
    pl0Bc2ENAplk5umm/iU/u/baMB8GA1UdIwQYMBaAFJGIKvJjT5w1uJDlNkHp/eeYxBp/MAoGCCqGSM49BAMEA0EAMD4CHQDcxw3XBZFXGfr/owbO\
    qgsYbuusuNM++8XzDUhcAh0AmVUas56LBvK51uhmGsDYtz6SKwnwb0d9U2qMtw==";
