//! The keys and certificates of one cluster.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

const HOUR: Duration = Duration::from_secs(3600);

/// A client certificate and its key, as PEM files.
#[derive(Clone, Debug)]
pub struct Client {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Client {
    pub(crate) fn load(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let certificates = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .with_context(|| format!("read {}", self.certificate.display()))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).with_context(|| format!("read {}", self.key.display()))?;
        Ok((certificates, key))
    }
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub from: SystemTime,
    pub until: SystemTime,
}

impl Validity {
    /// For a month.
    pub fn current() -> Self {
        Self::lasting(30 * 24 * HOUR)
    }

    /// From two days ago until `duration` from now: the clock of who verifies the certificate may be a day behind.
    pub fn lasting(duration: Duration) -> Self {
        let now = SystemTime::now();
        Self { from: now - 48 * HOUR, until: now + duration }
    }

    /// Over since an hour ago.
    pub fn expired() -> Self {
        let now = SystemTime::now();
        Self { from: now - 48 * HOUR, until: now - HOUR }
    }
}

/// Whom a certificate names, and for what.
struct Subject<'a> {
    user: &'a str,
    groups: &'a [&'a str],
    hosts: &'a [&'a str],
}

pub(crate) struct Pki {
    dir: PathBuf,
    ca: Issuer<'static, KeyPair>,
}

impl Pki {
    /// A new authority and everything that a cluster's servers need, in `dir`.
    pub(crate) fn create(dir: &Path, cluster: &str) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("{cluster}-ca"), &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, Validity::current());
        write_private(&dir.join("ca.crt"), &params.self_signed(&key)?.pem())?;
        let pki = Self { dir: dir.to_owned(), ca: Issuer::new(params, key) };

        let service_accounts = KeyPair::generate()?;
        write_private(&pki.path("sa.key"), &service_accounts.serialize_pem())?;
        write_private(&pki.path("sa.pub"), &service_accounts.public_key_pem())?;
        let hosts = ["localhost", "kubernetes", "kubernetes.default.svc", "127.0.0.1", "10.96.0.1"];
        pki.issue("apiserver", &Subject { user: "kube-apiserver", groups: &[], hosts: &hosts }, Validity::current())?;
        pki.client("kubelet-client", KUBELET_CLIENT, &[], Validity::current())?;
        pki.client("admin", "admin", &["system:masters"], Validity::current())?;
        Ok(pki)
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.path("ca.crt")
    }

    pub(crate) fn admin(&self) -> Client {
        self.pair("admin")
    }

    /// A client certificate for `user` in `groups`, as `<file>.crt` and `<file>.key`.
    pub(crate) fn client(&self, file: &str, user: &str, groups: &[&str], valid: Validity) -> Result<Client> {
        self.issue(file, &Subject { user, groups, hosts: &[] }, valid)
    }

    /// A serving certificate for these names and addresses.
    pub(crate) fn server(&self, file: &str, hosts: &[String]) -> Result<Client> {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        self.issue(file, &Subject { user: file, groups: &[], hosts: &hosts }, Validity::current())
    }

    fn pair(&self, file: &str) -> Client {
        Client { certificate: self.path(&format!("{file}.crt")), key: self.path(&format!("{file}.key")) }
    }

    fn issue(&self, file: &str, subject: &Subject<'_>, valid: Validity) -> Result<Client> {
        let hosts: Vec<String> = subject.hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = name(subject.user, subject.groups)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![if subject.hosts.is_empty() {
            ExtendedKeyUsagePurpose::ClientAuth
        } else {
            ExtendedKeyUsagePurpose::ServerAuth
        }];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, valid);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.ca)?;
        let pair = self.pair(file);
        write_private(&pair.certificate, &certificate.pem())?;
        write_private(&pair.key, &key.serialize_pem())?;
        Ok(pair)
    }
}

/// Whom the kubelets see when the API server calls them.
pub(crate) const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// Kubernetes reads the user from the common name and the groups from the organizations. The library keeps one value
/// for each kind of attribute, so a second group needs a second spelling of the same kind.
fn name(user: &str, groups: &[&str]) -> Result<DistinguishedName> {
    let organization = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    ensure!(groups.len() <= organization.len(), "a certificate for {user} in more than two groups is not implemented");
    let mut name = DistinguishedName::new();
    for (kind, group) in organization.into_iter().zip(groups) {
        name.push(kind, *group);
    }
    name.push(DnType::CommonName, user);
    Ok(name)
}

fn set_validity(params: &mut CertificateParams, valid: Validity) {
    let epoch = date_time_ymd(1970, 1, 1);
    let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since_epoch(valid.from);
    params.not_after = epoch + since_epoch(valid.until);
}

fn write_private(path: &Path, content: &str) -> Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes()).with_context(|| format!("write {}", path.display()))
}
