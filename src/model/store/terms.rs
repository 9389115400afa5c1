//! The terms of a join: the rights that its token has, and how Prometheus reaches the cluster. They are noted in the
//! cluster, on the bound Secret. The writer of a destination's record cannot write there, so `rotate` believes a record
//! only as far as the cluster confirms it.

use super::{
    identity::Identity,
    record::{Record, SecretRecord, StoredCas},
};
use crate::model::{
    access::{Access, CertificateAuthority, Given, url::ProxyUrl},
    account::desired::Fence,
    job::{Jobs, route::Route},
    kube::{label_selector::LabelSelector, object::ObjectRef},
    plan::request::JoinRequest,
    text::{duration::Seconds, names::ClusterName, spelled},
    token::{bound_secret::BoundSecret, expiry::NEVER},
};
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// The note on a bound Secret. A release that does not know a field rejects the note instead of ignoring a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    #[serde(with = "spelled")]
    cluster: ClusterName,
    #[serde(with = "spelled")]
    jobs: Jobs,
    /// Without the names of pinned nodes.
    #[serde(with = "spelled")]
    route: Route,
    /// It limits which nodes are pinned. Absent: all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node_selector: Option<LabelSelector>,
    fenced: bool,
    self_renew: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    long_lived: bool,
    /// The requested life of tokens.
    #[serde(with = "spelled")]
    duration: Seconds,
    /// The address from a flag. Absent: it follows the kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    api_server: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls_server_name: Option<String>,
    /// The SHA-256 of the CA from a flag, in hexadecimal. Absent: it follows the kubeconfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<ProxyUrl>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kubelet_ca_sha256: Option<String>,
}

/// Why the cluster does not confirm a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unconfirmed {
    #[error("the cluster has no {0}, to which its token is bound")]
    NoSecret(ObjectRef),
    #[error("{secret} belongs to another destination: {destination}")]
    OtherDestination { secret: ObjectRef, destination: String },
    #[error("{secret} belongs to {destination} on another machine, of which this folder is a copy")]
    Copied { secret: ObjectRef, destination: String, noted: Option<Box<Terms>> },
    #[error(
        "the cluster has no {secret}, to which its token is bound, but one of another run: this folder may be a copy"
    )]
    ReplacedByCopy { secret: ObjectRef, noted: Option<Box<Terms>> },
    #[error("{0} has no terms that this release can read, because another release made it")]
    NoTerms(ObjectRef),
    #[error("it differs from the terms that the cluster has noted: {}", .differences.join(", "))]
    Differing { differences: Vec<String>, noted: Box<Terms> },
}

impl Unconfirmed {
    /// The terms that the cluster has noted instead, for the next join.
    pub fn noted(&self) -> Option<&Terms> {
        match self {
            Self::Differing { noted, .. } => Some(noted),
            Self::Copied { noted, .. } | Self::ReplacedByCopy { noted, .. } => noted.as_deref(),
            Self::NoSecret(_) | Self::OtherDestination { .. } | Self::NoTerms(_) => None,
        }
    }
}

impl Terms {
    pub fn new(request: &JoinRequest, access: &Access, given: Given) -> Self {
        Self {
            cluster: request.cluster.clone(),
            jobs: request.jobs.unrouted(),
            route: request.jobs.route().unnamed(),
            node_selector: request.jobs.node_selector().cloned(),
            fenced: request.fence == Fence::Required,
            self_renew: request.self_renew,
            long_lived: request.long_lived,
            duration: request.duration,
            api_server: given.address.then(|| access.url.to_string()),
            tls_server_name: access.tls_server_name.clone().filter(|_| given.address),
            ca_sha256: access.ca.as_ref().filter(|_| given.ca).map(sha256),
            proxy: access.proxy.clone(),
            kubelet_ca_sha256: access.kubelet_ca.as_ref().map(sha256),
        }
    }

    /// The note.
    pub fn note(&self) -> String {
        serde_json::to_string(self).expect("terms have string keys")
    }

    /// Reads a note.
    ///
    /// # Errors
    /// Why it is unusable: another release or another program wrote it.
    fn read(note: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(note)
    }

    /// The terms that a record claims, with the CAs beside it.
    fn claimed(record: &Record, cas: StoredCas) -> Self {
        let given = Given { address: record.access.address_given, ca: record.access.ca_given };
        Self::new(&record.request(), &record.access(cas), given)
    }

    /// Compares a record with what the cluster has noted on the Secret of its token. `secrets`: the account's bound
    /// Secrets in the cluster.
    ///
    /// # Errors
    /// What the cluster has noted instead.
    pub fn confirm(
        record: &Record,
        cas: StoredCas,
        destination: &Identity,
        secrets: &[BoundSecret],
    ) -> Result<(), Unconfirmed> {
        let secret = ObjectRef::secret(&record.account(), &record.bound_secret.name);
        let read = |noted: &BoundSecret| noted.terms.as_deref().and_then(|note| Self::read(note).ok());
        let Some(noted) = bound_secret(record, secrets) else {
            let is_twin = |other: &&BoundSecret| other.name != secret.name && destination.is_copy(&other.destination);
            return Err(match secrets.iter().find(is_twin) {
                Some(other) => Unconfirmed::ReplacedByCopy { secret, noted: read(other).map(Box::new) },
                None => Unconfirmed::NoSecret(secret),
            });
        };
        let is_elsewhere = noted.destination == Identity::printed() && destination.is_away_from(record.machine());
        if is_elsewhere || destination.is_copy(&noted.destination) && !destination.is_kin(&noted.destination) {
            let destination = noted.destination.shown().to_owned();
            return Err(Unconfirmed::Copied { secret, destination, noted: read(noted).map(Box::new) });
        }
        if !destination.is_kin(&noted.destination) {
            let destination = noted.destination.shown().to_owned();
            return Err(Unconfirmed::OtherDestination { secret, destination });
        }
        let Some(noted) = read(noted) else {
            return Err(Unconfirmed::NoTerms(secret));
        };
        let differences = Self::claimed(record, cas).differences(&noted);
        if differences.is_empty() {
            return Ok(());
        }
        Err(Unconfirmed::Differing { differences, noted: Box::new(noted) })
    }

    /// Whether a token may be sent where a record leads: the cluster has noted that address, CA and proxy, or they are the
    /// kubeconfig's. `ca`: the CA of the API server beside the record.
    pub fn confirm_access(record: &Record, ca: Option<Vec<Vec<u8>>>, secrets: &[BoundSecret]) -> bool {
        let way = |terms: Self| (terms.api_server, terms.tls_server_name, terms.ca_sha256, terms.proxy);
        let claimed = way(Self::claimed(record, StoredCas { api_server: ca, kubelet: None }));
        let noted = || bound_secret(record, secrets)?.terms.as_deref().and_then(|note| Self::read(note).ok());
        claimed == (None, None, None, None) || noted().map(way) == Some(claimed)
    }

    /// Each term that differs, by its flag: `--jobs is pods=shop/metrics instead of default`.
    fn differences(&self, noted: &Self) -> Vec<String> {
        let pairs = self.by_flag().into_iter().zip(noted.by_flag());
        pairs
            .filter(|(claimed, noted)| claimed != noted)
            .map(|((flag, claimed), (_, noted))| format!("{flag} is {claimed} instead of {noted}"))
            .collect()
    }

    fn by_flag(&self) -> [(&'static str, String); 13] {
        let Self {
            cluster,
            jobs,
            route,
            node_selector,
            fenced,
            self_renew,
            long_lived,
            duration,
            api_server,
            tls_server_name,
            ca_sha256,
            proxy,
            kubelet_ca_sha256,
        } = self;
        let switch = |on: bool, yes: &str, no: &str| if on { yes } else { no }.to_owned();
        let digest = |digest: &Option<String>| digest.as_ref().map(|digest| format!("sha256:{digest}"));
        let or = |value: Option<String>, absent: &str| value.unwrap_or_else(|| absent.to_owned());
        [
            ("--cluster-name", cluster.to_string()),
            ("--jobs", jobs.to_string()),
            ("the route", route.to_string()),
            ("--node-selector", or(node_selector.as_ref().map(ToString::to_string), "none")),
            ("--fence", switch(*fenced, "required", "off")),
            ("--self-renew", switch(*self_renew, "on", "off")),
            ("--long-lived-token", switch(*long_lived, "on", "off")),
            ("--duration", duration.to_string()),
            ("--api-server", or(api_server.clone(), "the kubeconfig's")),
            ("--api-server-tls-name", or(tls_server_name.clone(), "the kubeconfig's")),
            ("--api-server-ca-file", or(digest(ca_sha256), "the kubeconfig's")),
            ("--api-server-proxy", or(proxy.as_ref().map(ToString::to_string), "none")),
            ("--kubelet-ca-file", or(digest(kubelet_ca_sha256), "none")),
        ]
    }

    /// The record as these terms would have it. The files of CAs are not in it.
    #[must_use]
    pub fn applied_to(&self, record: &Record) -> Record {
        let mut record = record.clone();
        record.cluster.clone_from(&self.cluster);
        record.jobs.clone_from(&self.jobs);
        record.route.clone_from(&self.route);
        record.node_selector.clone_from(&self.node_selector);
        (record.fenced, record.self_renew, record.duration) = (self.fenced, self.self_renew, self.duration);
        if record.token.never_expires() != self.long_lived {
            record.token.expires = if self.long_lived { NEVER } else { record.token.issued };
        }
        record.access.address_given = self.api_server.is_some();
        if let Some(url) = self.api_server.as_ref().and_then(|url| url.parse().ok()) {
            record.access.api_server = url;
        }
        record.access.tls_server_name.clone_from(&self.tls_server_name);
        record.access.proxy.clone_from(&self.proxy);
        record
    }
}

/// The Secret that the token of a record is bound to.
fn bound_secret<'a>(record: &Record, secrets: &'a [BoundSecret]) -> Option<&'a BoundSecret> {
    let SecretRecord { name, uid } = &record.bound_secret;
    secrets.iter().find(|secret| secret.name == *name && secret.uid == *uid)
}

fn sha256(ca: &CertificateAuthority) -> String {
    let mut context = Context::new(&SHA256);
    // DER says its own length, so two lists of certificates never have the same bytes.
    ca.certificates.iter().for_each(|certificate| context.update(certificate));
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use crate::model::{report::status::tests::record, store::record::AccessRecord};
    use serde_json::Value;

    fn cas(api_server: u8, kubelet: u8) -> StoredCas {
        StoredCas { api_server: Some(vec![vec![api_server]]), kubelet: Some(vec![vec![kubelet]]) }
    }

    /// A record in which flags gave everything.
    fn given() -> Record {
        let mut record = record("east");
        record.access = AccessRecord {
            tls_server_name: Some("kubernetes".into()),
            proxy: "http://proxy:3128".parse().ok(),
            address_given: true,
            ca_given: true,
            kubelet_ca_file: true,
            ..record.access
        };
        record
    }

    #[test]
    fn terms_are_read_back_and_unknown_ones_are_rejected() {
        let terms = Terms::claimed(&given(), cas(1, 2));
        let mut json = serde_json::to_value(&terms).unwrap();
        insta::assert_json_snapshot!(json);
        assert_eq!(serde_json::from_value::<Terms>(json.clone()).unwrap(), terms);
        json["anything"] = true.into();
        assert!(serde_json::from_value::<Terms>(json).is_err(), "a limit that this release does not know");
    }

    #[test]
    fn record_is_confirmed_only_by_its_own_secret() {
        let identity = Identity::directory("prom-0", "/etc/prometheus", "x7k2", None);
        let other = Identity::directory("prom-1", "/etc/prometheus", "b9d1", None);
        let note = Terms::claimed(&given(), cas(1, 2)).note();
        let secret = |uid: &str, destination: &Identity, terms: Option<&str>| BoundSecret {
            name: given().bound_secret.name,
            uid: uid.to_owned(),
            destination: destination.clone(),
            expires: None,
            terms: terms.map(str::to_owned),
        };
        let confirm = |secret| Terms::confirm(&given(), cas(1, 2), &identity, &[secret]);
        assert_eq!(confirm(secret("u-1", &identity, Some(&note))), Ok(()));
        assert_eq!(confirm(secret("u-1", &Identity::printed(), Some(&note))), Ok(()), "a script delivered it");
        for (secret, expected) in [
            (
                secret("u-2", &identity, Some(&note)),
                "the cluster has no secret/prometheus-x7k2, to which its token is bound",
            ),
            (
                secret("u-1", &other, Some(&note)),
                "secret/prometheus-x7k2 belongs to another destination: directory://prom-1/etc/prometheus",
            ),
            (
                secret("u-1", &identity, None),
                "secret/prometheus-x7k2 has no terms that this release can read, because another release made it",
            ),
            (
                secret("u-1", &identity, Some("{}")),
                "secret/prometheus-x7k2 has no terms that this release can read, because another release made it",
            ),
            (
                secret("u-1", &identity, Some(&note.replace("cadvisor,kubelet", "kubelet"))),
                "it differs from the terms that the cluster has noted: --jobs is cadvisor,kubelet instead of kubelet",
            ),
        ] {
            assert_eq!(confirm(secret).unwrap_err().to_string(), expected);
        }
        let on = |machine| Identity::directory("prom-0", "/etc/prometheus", "x7k2", Some(machine));
        let newer = BoundSecret { name: "prometheus-b9d1".into(), ..secret("u-2", &identity, Some(&note)) };
        for (found, expected) in [
            (
                secret("u-1", &on("b"), Some(&note)),
                "secret/prometheus-x7k2 belongs to directory://prom-0/etc/prometheus on another machine, of which this folder is a copy",
            ),
            (
                newer,
                "the cluster has no secret/prometheus-x7k2, to which its token is bound, but one of another run: this folder may be a copy",
            ),
        ] {
            let why = Terms::confirm(&given(), cas(1, 2), &on("a"), &[found]).unwrap_err();
            assert_eq!((why.to_string().as_str(), why.noted().is_some()), (expected, true));
        }
        let delivered = Record { machine: Some("b".into()), ..given() };
        let printed = [secret("u-1", &Identity::printed(), Some(&note))];
        for (machine, is_ours) in [("a", false), ("b", true)] {
            assert_eq!(Terms::confirm(&delivered, cas(1, 2), &on(machine), &printed).is_ok(), is_ours, "{machine}");
        }
        let noted = [secret("u-1", &identity, Some(&note))];
        for (ca, secrets, is_confirmed) in [(1, &noted[..], true), (9, &noted, false), (1, &[], false)] {
            assert_eq!(Terms::confirm_access(&given(), Some(vec![vec![ca]]), secrets), is_confirmed);
        }
        assert!(Terms::confirm_access(&record("east"), None, &[]), "the kubeconfig leads there");
    }

    /// A field of a record either is a term, or gives no right and sends no token anywhere.
    #[test]
    fn every_claim_about_rights_or_access_is_compared() {
        let noted = Terms::claimed(&given(), cas(1, 2));
        assert_eq!(noted.differences(&noted), Vec::<String>::new());
        let json = serde_json::to_value(given()).unwrap();
        for (path, claim, differing) in [
            ("cluster", Value::from("west"), "--cluster-name is west instead of east"),
            ("jobs", "pods=shop/metrics".into(), "--jobs is pods=shop/metrics instead of cadvisor,kubelet"),
            ("route", "kubelet".into(), "the route is kubelet instead of apiserver"),
            ("nodeSelector", "a=b".into(), "--node-selector is a=b instead of none"),
            ("fenced", false.into(), "--fence is off instead of required"),
            ("selfRenew", true.into(), "--self-renew is on instead of off"),
            ("token.expires", "never".into(), "--long-lived-token is on instead of off"),
            ("duration", "365d".into(), "--duration is 365d instead of 7d"),
            (
                "access.apiServer",
                "https://evil:1".into(),
                "--api-server is https://evil:1 instead of https://10.0.0.5:6443",
            ),
            ("access.tlsServerName", "evil".into(), "--api-server-tls-name is evil instead of kubernetes"),
            (
                "access.proxy",
                "http://evil:1".into(),
                "--api-server-proxy is http://evil:1 instead of http://proxy:3128",
            ),
        ] {
            let mut json = json.clone();
            match path.split_once('.') {
                Some((outer, inner)) => json[outer][inner] = claim,
                None => json[path] = claim,
            }
            let claimed = Record::read(&json.to_string()).unwrap();
            assert_eq!(Terms::claimed(&claimed, cas(1, 2)).differences(&noted), [differing], "{path}");
            let restored = noted.applied_to(&claimed);
            assert_eq!(Terms::claimed(&restored, cas(1, 2)), noted, "{path}");
        }
        for (what, api_server, kubelet) in [("--api-server-ca-file", 9, 2), ("--kubelet-ca-file", 1, 9)] {
            let differences = Terms::claimed(&given(), cas(api_server, kubelet)).differences(&noted);
            assert!(differences.len() == 1 && differences[0].starts_with(what), "{differences:?}");
        }
    }

    #[test]
    fn hostile_notes_are_survived() {
        let terms = Terms::claimed(&given(), cas(1, 2));
        hostile::texts(&[&terms.note()], |note| {
            if let Ok(read) = Terms::read(note) {
                assert_eq!(Terms::read(&read.note()).unwrap(), read);
                let _ = (terms.differences(&read), read.differences(&terms));
            }
        });
    }
}
