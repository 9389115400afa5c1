//! The record: the data that a destination stores about one cluster, next to the jobs. Never the token.

use super::{layout::Generation, location::Format};
use crate::model::{
    access::{
        Access, CertificateAuthority, Given, Origin,
        url::{ApiServerUrl, ProxyUrl},
    },
    account::{Account, desired::Fence},
    job::{
        Job, Jobs, ScrapeTiming, Selector,
        exposition::FallbackProtocol,
        limits::{ScrapeLimits, Size},
        route::Route,
    },
    kube::{
        label_selector::LabelSelector,
        object::{Deletion, ObjectRef},
    },
    plan::request::JoinRequest,
    text::{
        duration::Seconds,
        names::{AccountName, ClusterName, Namespace},
        spelled,
    },
    token::TokenLife,
};
use serde::{Deserialize, Serialize};

/// The newest version of records. A record has the oldest version that can express it, so that an older release rejects
/// only records that it would misunderstand.
///
/// 1. The jobs of nodes go through the API server, and each node is named without its port.
/// 2. The jobs of nodes use another [route](Route): an older release would grant `nodes/proxy`.
/// 3. The jobs of nodes have a selector: an older release would scrape, and pin, all nodes.
/// 4. There are jobs that an older release does not know.
pub const VERSION: u32 = 4;

/// One cluster at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub kind: Kind,
    pub version: u32,
    /// The release that wrote it, `0.2.0`.
    pub written_by: String,
    #[serde(with = "spelled")]
    pub cluster: ClusterName,
    /// The UID of the namespace kube-system, which identifies the cluster.
    pub uid: String,
    /// The context that an administrator used. It is a hint, used only if its cluster has the UID.
    pub context: String,
    /// `v1.37.2`
    pub kubernetes: String,
    pub access: AccessRecord,
    #[serde(with = "spelled")]
    pub namespace: Namespace,
    #[serde(with = "spelled")]
    pub service_account: AccountName,
    #[serde(with = "spelled")]
    pub jobs: Jobs,
    /// The route of the jobs of nodes. The names of pinned nodes are only in the cluster.
    #[serde(with = "spelled", default, skip_serializing_if = "is_usual")]
    pub route: Route,
    /// The nodes of the jobs of nodes; absent, all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// The federated series.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub federate_match: Vec<Selector>,
    pub fenced: bool,
    pub self_renew: bool,
    pub keep_all_metrics: bool,
    #[serde(with = "spelled")]
    pub scrape_interval: Seconds,
    #[serde(with = "spelled")]
    pub scrape_timeout: Seconds,
    /// The limits of a scrape from flags; absent, those of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_size_limit: Option<Size>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_scrape_protocol: Option<FallbackProtocol>,
    /// The requested life of tokens; `token` has the granted life.
    #[serde(with = "spelled")]
    pub duration: Seconds,
    #[serde(with = "spelled")]
    pub format: Format,
    pub bound_secret: SecretRecord,
    /// The machine that an administrator or a script delivered it to, as a hash. The Secret notes it too, unless a script
    /// delivered the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    pub token: TokenLife,
    /// The replaced generations, oldest first, each until its folder is deleted.
    #[serde(default)]
    pub replaces: Vec<Predecessor>,
}

fn is_usual(route: &Route) -> bool {
    *route == Route::default()
}

/// The machine in the record of a script that cannot tell it.
pub const UNKNOWN_MACHINE: &str = "00000000000000000000000000000000";

/// Identifies a file as a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    ClusterRecord,
}

/// How Prometheus reaches the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own in a file")]
pub struct AccessRecord {
    #[serde(with = "spelled")]
    pub api_server: ApiServerUrl,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyUrl>,
    /// Whether the CA is in the file next to the record; otherwise the CAs that the host trusts count.
    pub ca_file: bool,
    /// Whether a flag gave the address or the CA. Otherwise they follow the kubeconfig at the next rotation by an
    /// administrator.
    pub address_given: bool,
    pub ca_given: bool,
    /// Whether the kubelets have their own CA, from a flag. It is stored next to the record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kubelet_ca_file: bool,
}

/// The Secret that the token is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    pub name: String,
    pub uid: String,
}

impl SecretRecord {
    /// The deletion that revokes the token.
    pub fn deletion(&self, account: &Account) -> Deletion {
        Deletion { reference: ObjectRef::secret(account, &self.name), uid: self.uid.clone() }
    }
}

/// A generation whose token may still be in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Predecessor {
    #[serde(with = "spelled")]
    pub generation: Generation,
    pub bound_secret: SecretRecord,
}

/// Why a record is unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("was written by kubectl prom-federate v{0}, a later release with a newer format")]
    Newer(String),
    #[error("is not a record of a cluster: {0}")]
    Malformed(String),
}

/// The data of a record beyond the request.
pub struct Found<'a> {
    pub uid: &'a str,
    pub context: &'a str,
    pub kubernetes: &'a str,
    pub format: Format,
    pub given: Given,
    pub bound_secret: SecretRecord,
    pub token: TokenLife,
}

fn version_of(jobs: &Jobs) -> u32 {
    if jobs.iter().any(|job| matches!(job, Job::KubeletSlis | Job::ApiserverSlis | Job::Aggregated(_))) {
        return VERSION;
    }
    match (jobs.node_selector(), jobs.route()) {
        (Some(_), _) => 3,
        (None, route) if is_usual(route) => 1,
        (None, _) => 2,
    }
}

/// The CAs that lie beside a record, as DER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredCas {
    pub api_server: Option<Vec<Vec<u8>>>,
    pub kubelet: Option<Vec<Vec<u8>>>,
}

impl Record {
    /// The record of a join.
    pub fn new(request: &JoinRequest, access: &Access, found: Found) -> Self {
        Self {
            kind: Kind::ClusterRecord,
            version: version_of(&request.jobs),
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: request.cluster.clone(),
            uid: found.uid.to_owned(),
            context: found.context.to_owned(),
            kubernetes: found.kubernetes.to_owned(),
            access: AccessRecord {
                api_server: access.url.clone(),
                tls_server_name: access.tls_server_name.clone(),
                proxy: access.proxy.clone(),
                ca_file: access.ca.is_some(),
                address_given: found.given.address,
                ca_given: found.given.ca,
                kubelet_ca_file: access.kubelet_ca.is_some(),
            },
            namespace: request.account.namespace.clone(),
            service_account: request.account.name.clone(),
            jobs: request.jobs.unrouted(),
            route: request.jobs.route().unnamed(),
            node_selector: request.jobs.node_selector().cloned(),
            federate_match: if request.jobs.have_federate() { request.federate_match.clone() } else { Vec::new() },
            fenced: request.fence == Fence::Required,
            self_renew: request.self_renew,
            keep_all_metrics: request.keep_all_metrics,
            scrape_interval: request.pace.interval,
            scrape_timeout: request.pace.timeout,
            body_size_limit: request.limits.body,
            sample_limit: request.limits.samples,
            fallback_scrape_protocol: request.fallback,
            duration: request.duration,
            format: found.format,
            bound_secret: found.bound_secret,
            machine: None,
            token: found.token,
            replaces: Vec::new(),
        }
    }

    /// Reads a record of this or an older version.
    pub fn read(json: &str) -> Result<Self, RecordError> {
        /// The fields of all versions.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope {
            version: u32,
            #[serde(default)]
            written_by: String,
        }
        let malformed = |error: serde_json::Error| RecordError::Malformed(error.to_string());
        let envelope: Envelope = serde_json::from_str(json).map_err(malformed)?;
        if envelope.version > VERSION {
            return Err(RecordError::Newer(envelope.written_by));
        }
        serde_json::from_str(json).map_err(malformed)
    }

    pub fn account(&self) -> Account {
        Account { namespace: self.namespace.clone(), name: self.service_account.clone() }
    }

    /// The jobs by their route and of their nodes, without the names of pinned nodes.
    pub fn routed_jobs(&self) -> Jobs {
        self.jobs.clone().by(self.route.clone()).of_nodes(self.node_selector.clone())
    }

    /// The machine that it was delivered to, where that is known.
    pub fn machine(&self) -> Option<&str> {
        self.machine.as_deref().filter(|machine| *machine != UNKNOWN_MACHINE)
    }

    /// The join that would make this record again.
    pub fn request(&self) -> JoinRequest {
        JoinRequest {
            cluster: self.cluster.clone(),
            account: self.account(),
            jobs: self.routed_jobs(),
            federate_match: self.federate_match.clone(),
            fence: if self.fenced { Fence::Required } else { Fence::Off },
            pace: ScrapeTiming { interval: self.scrape_interval, timeout: self.scrape_timeout },
            limits: ScrapeLimits { body: self.body_size_limit, samples: self.sample_limit },
            fallback: self.fallback_scrape_protocol,
            keep_all_metrics: self.keep_all_metrics,
            self_renew: self.self_renew,
            long_lived: self.token.never_expires(),
            duration: self.duration,
        }
    }

    /// How Prometheus reaches the cluster, with the CAs stored next to the record: the API server's, the kubelets'.
    pub fn access(&self, StoredCas { api_server: ca, kubelet: kubelet_ca }: StoredCas) -> Access {
        let recorded = |certificates| CertificateAuthority { certificates, origin: Origin::Record.to_string() };
        Access {
            url: self.access.api_server.clone(),
            origin: Origin::Record,
            ca: ca.map(recorded),
            tls_server_name: self.access.tls_server_name.clone(),
            proxy: self.access.proxy.clone(),
            kubelet_ca: kubelet_ca.map(recorded),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::hostile;
    use crate::model::job::{EVERY_JOB, route::Pins};

    pub(crate) fn record() -> Record {
        Record {
            kind: Kind::ClusterRecord,
            version: 1,
            written_by: "0.2.0".into(),
            cluster: "east".parse().unwrap(),
            uid: "7d0f".into(),
            context: "admin@east".into(),
            kubernetes: "v1.37.2".into(),
            access: AccessRecord {
                api_server: "https://10.0.0.5:6443".parse().unwrap(),
                tls_server_name: None,
                proxy: None,
                ca_file: true,
                address_given: false,
                ca_given: false,
                kubelet_ca_file: false,
            },
            namespace: "prom-federate".parse().unwrap(),
            service_account: "prometheus".parse().unwrap(),
            jobs: "default".parse().unwrap(),
            route: Route::default(),
            node_selector: None,
            federate_match: Vec::new(),
            fenced: true,
            self_renew: false,
            keep_all_metrics: false,
            scrape_interval: Seconds(60),
            scrape_timeout: Seconds(30),
            body_size_limit: None,
            fallback_scrape_protocol: None,
            sample_limit: None,
            duration: Seconds(604_800),
            format: Format::Prometheus,
            bound_secret: SecretRecord { name: "prometheus-x7k2".into(), uid: "u-1".into() },
            machine: None,
            token: TokenLife {
                issued: "2026-11-24T09:12:00Z".parse().unwrap(),
                expires: "2026-11-25T09:12:00Z".parse().unwrap(),
            },
            replaces: vec![Predecessor {
                generation: "20261124t091200z-b9d1".parse().unwrap(),
                bound_secret: SecretRecord { name: "prometheus-b9d1".into(), uid: "u-0".into() },
            }],
        }
    }

    #[test]
    fn record_is_read_back() {
        let json = serde_json::to_string_pretty(&record()).unwrap();
        assert_eq!(Record::read(&json).unwrap(), record());
        assert!(!record().request().long_lived);
        insta::assert_snapshot!(json);
    }

    #[test]
    fn jobs_and_federated_series_are_read_back() {
        let record = Record { jobs: EVERY_JOB.parse().unwrap(), federate_match: Selector::defaults(), ..record() };
        assert_eq!(Record::read(&serde_json::to_string(&record).unwrap()).unwrap(), record);
    }

    #[test]
    fn record_with_another_route_has_a_newer_version() {
        let pins = Pins::of_names(["n:10250"]);
        for (route, written, version) in [
            (Route::ApiServer, None, 1),
            (Route::Kubelet, Some("kubelet"), 2),
            (Route::Pinned(pins), Some("pinned"), 2),
        ] {
            let mut request = record().request();
            request.jobs = request.jobs.by(route.clone());
            let (bound_secret, token) = (record().bound_secret, record().token);
            let (uid, context, kubernetes) = ("7d0f", "admin@east", "v1.37.2");
            let (format, given) = (Format::Prometheus, Given { address: false, ca: false });
            let found = Found { uid, context, kubernetes, format, given, bound_secret, token };
            let record = Record::new(
                &request,
                &record().access(StoredCas { api_server: None, kubelet: Some(vec![vec![1]]) }),
                found,
            );
            let json = serde_json::to_value(&record).unwrap();
            assert_eq!((json["version"].as_u64(), json["route"].as_str()), (Some(version), written), "{route}");
            assert!(!json.to_string().contains("10250"), "the names are in the cluster: {json}");
            let read = Record::read(&json.to_string()).unwrap();
            assert_eq!(read, record);
            assert_eq!(read.request().jobs.route(), &route.unnamed());
        }
    }

    #[test]
    fn record_with_jobs_of_later_releases_has_a_newer_version() {
        for (jobs, version) in [
            ("default,apiserver,pods=shop/metrics", 1),
            ("slis", 4),
            ("kubelet,kubelet-slis", 4),
            ("aggregated=a.b/v1/pages/all", 4),
        ] {
            assert_eq!(version_of(&jobs.parse().unwrap()), version, "{jobs}");
        }
    }

    #[test]
    fn record_with_selected_nodes_has_a_newer_version() {
        let mut request = record().request();
        request.jobs = request.jobs.of_nodes("a!=b".parse().ok());
        let record = Record { node_selector: request.jobs.node_selector().cloned(), ..record() };
        assert_eq!(version_of(&request.jobs), 3);
        let read = Record::read(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!((read.request().jobs, read.jobs.node_selector()), (request.jobs, None));
        let forged = serde_json::to_string(&record).unwrap().replace("a!=b", "a b");
        assert!(matches!(Record::read(&forged), Err(RecordError::Malformed(_))));
    }

    #[test]
    fn newer_record_is_rejected_and_names_the_release() {
        let json = serde_json::json!({ "version": VERSION + 1, "writtenBy": "9.0.0", "what": "ever" }).to_string();
        assert_eq!(Record::read(&json), Err(RecordError::Newer("9.0.0".into())));
    }

    #[test]
    fn invalid_records_are_rejected() {
        for json in ["", "{}", "[]", "null", r#"{"version": 1}"#, r#"{"version": "1"}"#] {
            assert!(matches!(Record::read(json), Err(RecordError::Malformed(_))), "{json}");
        }
        for (key, value) in [
            ("cluster", "../x"),
            ("namespace", "a b"),
            ("serviceAccount", "A"),
            ("jobs", "everything"),
            ("jobs", "service=a/b:80/../x"),
            ("jobs", "kube-state-metrics"),
            ("scrapeInterval", "soon"),
            ("format", "xml"),
            ("kind", "Secret"),
            ("route", "proxy"),
        ] {
            let mut json = serde_json::to_value(record()).unwrap();
            json[key] = value.into();
            assert!(Record::read(&json.to_string()).is_err(), "{key}: {value}");
        }
        let mut json = serde_json::to_value(record()).unwrap();
        json["access"]["proxy"] = "http://user:hunter2@proxy:3128".into();
        assert!(Record::read(&json.to_string()).is_err_and(|error| !error.to_string().contains("hunter2")));
        json["access"]["proxy"] = "http://proxy:3128".into();
        assert_eq!(
            Record::read(&json.to_string()).unwrap().access(StoredCas::default()).proxy,
            "http://proxy:3128".parse().ok()
        );
    }

    #[test]
    fn hostile_records_are_survived() {
        let written = |record: &Record| serde_json::to_string(record).unwrap();
        let (one, other) =
            (record(), Record { jobs: EVERY_JOB.parse().unwrap(), route: "pinned".parse().unwrap(), ..record() });
        hostile::texts(&[&written(&one), &written(&other)], |text| {
            if let Ok(record) = Record::read(text) {
                assert_eq!(Record::read(&written(&record)), Ok(record.clone()));
                let _ = (record.request().desired(), record.machine().map(str::len), record.token.due());
            }
        });
    }
}
