//! A cluster's jobs as objects of Prometheus Operator or of `VictoriaMetrics`' operator. They are derived from the jobs of a
//! file, so that the series are the same.

use super::{
    prometheus::{CredentialFiles, ScrapeJobs, fragment, pem},
    rules::{self, ClusterRules},
};
use crate::model::token::bearer::BearerToken;
use crate::{
    error::{Error, Reason, Result},
    model::{
        access::Access,
        job::{Discovery, Job},
        kube::{
            label_selector::Labels,
            object::{Kind, Object},
        },
        store::{
            identity::Identity,
            layout::{CA, Generation, KUBELET_CA, TOKEN},
            location::Format,
            operator::{GENERATION_MARK, annotations, cluster_object, job_object, object},
            record::Record,
        },
        text::encoding::base64,
    },
    yaml,
};
use serde_json::{Map, Value, json};

/// The common data of one cluster's objects.
#[derive(Clone, Copy, Debug)]
pub struct OperatorJobs<'a> {
    pub record: &'a Record,
    pub access: &'a Access,
    pub generation: &'a Generation,
    pub identity: &'a Identity,
    /// Of a job: [`Kind::ScrapeConfig`] or [`Kind::VMScrapeConfig`].
    pub kind: Kind,
    /// The namespace.
    pub place: &'a str,
    pub labels: &'a Labels,
}

impl OperatorJobs<'_> {
    /// The Secret with the token. The token has no final newline, because the operator copies it into a header unchanged.
    pub fn secret(&self, token: &BearerToken) -> Object {
        let bytes = |text: &str| json!(base64(text.as_bytes()));
        let mut data = json!({ TOKEN: bytes(token.written().trim()) });
        if let Some(ca) = &self.access.ca {
            data[CA] = bytes(&pem(&ca.certificates));
        }
        if let Some(ca) = &self.access.kubelet_ca {
            data[KUBELET_CA] = bytes(&pem(&ca.certificates));
        }
        let fields = [("type".to_owned(), json!("Opaque")), ("data".to_owned(), data)];
        object(
            cluster_object(Kind::Secret, self.place, &self.record.cluster),
            self.labels,
            annotations(self.record, self.generation, self.identity),
            fields.into_iter().collect(),
        )
    }

    /// An object for each job.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] if a job has a field without a counterpart in this kind.
    pub fn jobs(&self) -> Result<Vec<Object>> {
        let Self { record, access, kind, place, .. } = *self;
        let request = record.request();
        let files = CredentialFiles {
            token: TOKEN,
            ca: CA,
            kubelet_ca: KUBELET_CA,
            rotated: None,
            expires: Some(record.token.expires),
            rotate: "",
            leave: "",
        };
        let format = if kind == Kind::VMScrapeConfig { Format::Vmagent } else { Format::Prometheus };
        let text = fragment(ScrapeJobs { request: &request, access }, &files, None, format);
        let written = yaml::read(&text).map_err(|why| Error::new(Reason::DestinationUnusable, why))?;
        let written = written.as_array().or(written["scrape_configs"].as_array()).cloned().unwrap_or_default();
        let secret = cluster_object(Kind::Secret, place, &record.cluster).name;
        record
            .jobs
            .iter()
            .zip(&written)
            .map(|(job, written)| {
                let mut spec = respelled(kind, written, &secret).map_err(|field| {
                    Error::new(Reason::DestinationUnusable, format!("job {job}: a {kind} has no field for {field}"))
                        .hint("Deliver this cluster to a Prometheus that reads files: -p DIR")
                })?;
                if let Some(rules) = spec.get_mut("relabelings").and_then(Value::as_array_mut) {
                    rules.push(shard(record, job));
                    rules.push(json!({ "targetLabel": GENERATION_MARK, "replacement": self.generation.to_string() }));
                }
                if let Some(rules) = spec.get_mut("relabelConfigs").and_then(Value::as_array_mut) {
                    // It changes no target: a vmagent chooses the shard of a target by all labels, also by this one.
                    rules.push(json!({
                        "sourceLabels": [GENERATION_MARK],
                        "regex": self.generation.to_string(),
                        "targetLabel": GENERATION_MARK,
                    }));
                }
                let fields = [("spec".to_owned(), Value::Object(spec))].into_iter().collect();
                Ok(object(job_object(kind, place, &record.cluster, job), self.labels, json!({}), fields))
            })
            .collect()
    }

    /// The alerting rules, with their own labels.
    ///
    /// # Errors
    /// Never: the rendered rules are valid YAML.
    pub fn rules(&self, labels: &Labels, rules: &ClusterRules) -> Result<Object> {
        let spec = yaml::read(&rules::file(rules)).map_err(|why| Error::new(Reason::DestinationUnusable, why))?;
        let reference = cluster_object(Kind::PrometheusRule, self.place, &self.record.cluster);
        Ok(object(reference, labels, json!({}), [("spec".to_owned(), spec)].into_iter().collect()))
    }
}

/// The value that the operator hashes to choose the shard of a target (`pkg/prometheus/promcfg.go`,
/// `appendShardingRelabelingWithLabel`). The default is the address, which is the API server's for all targets, so that
/// one shard would scrape the whole cluster.
fn shard(record: &Record, job: &Job) -> Value {
    match job.discovery() {
        Discovery::Nodes => json!({ "sourceLabels": ["__meta_kubernetes_node_name"], "targetLabel": SHARD }),
        Discovery::Pods(_) => json!({ "sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": SHARD }),
        Discovery::Static => {
            let name = job.scrape_job(&record.cluster).replace('$', "$$");
            json!({ "targetLabel": SHARD, "replacement": name })
        }
    }
}

const SHARD: &str = "__tmp_hash";

/// Converts a job of a file into the spelling of this kind. That of a `ScrapeConfig` is the one that every release knows
/// (`role: Node` and `scheme: HTTPS`; some releases reject lower case).
///
/// # Errors
/// The field that has no counterpart.
fn respelled(kind: Kind, job: &Value, secret: &str) -> Result<Map<String, Value>, String> {
    if kind == Kind::VMScrapeConfig {
        respelled_for_vmagent(job, secret)
    } else {
        respelled_for_prometheus(job, secret)
    }
}

/// `api/operator/v1beta1/vmscrapeconfig_types.go` and `common_scrapeparams.go`, of a job that vmagent reads.
fn respelled_for_vmagent(job: &Value, secret: &str) -> Result<Map<String, Value>, String> {
    let kind = Kind::VMScrapeConfig;
    let mut spec = Map::new();
    for (key, value) in job.as_object().into_iter().flatten() {
        let (key, value) = match key.as_str() {
            // The operator derives it from namespace and name.
            "job_name" => continue,
            "follow_redirects" | "max_scrape_size" | "params" | "scheme" | "scrape_interval" => {
                (key.as_str(), value.clone())
            }
            "sample_limit" => ("sampleLimit", value.clone()),
            "scrape_timeout" => ("scrapeTimeout", value.clone()),
            "honor_timestamps" => ("honorTimestamps", value.clone()),
            "honor_labels" => ("honorLabels", value.clone()),
            "metrics_path" => ("path", value.clone()),
            "static_configs" => ("staticConfigs", value.clone()),
            "kubernetes_sd_configs" => ("kubernetesSDConfigs", each(value, |one| discovery(kind, one, secret))?),
            "relabel_configs" => ("relabelConfigs", each(value, relabelling)?),
            "metric_relabel_configs" => ("metricRelabelConfigs", each(value, relabelling)?),
            _ => access_field(kind, key, value, secret)?,
        };
        spec.insert(key.to_owned(), value);
    }
    Ok(spec)
}

fn respelled_for_prometheus(job: &Value, secret: &str) -> Result<Map<String, Value>, String> {
    let kind = Kind::ScrapeConfig;
    let mut spec = Map::new();
    for (key, value) in job.as_object().into_iter().flatten() {
        let (key, value) = match key.as_str() {
            // The operator derives job_name from namespace and name. follow_redirects has no field, see `KEEPS_TOKENS`.
            // body_size_limit has none either: a Prometheus object sets enforcedBodySizeLimit for all its jobs.
            "job_name" | "follow_redirects" | "body_size_limit" => continue,
            "sample_limit" => ("sampleLimit", value.clone()),
            "fallback_scrape_protocol" => ("fallbackScrapeProtocol", value.clone()),
            "label_limit" => ("labelLimit", value.clone()),
            "label_name_length_limit" => ("labelNameLengthLimit", value.clone()),
            "label_value_length_limit" => ("labelValueLengthLimit", value.clone()),
            "scheme" => ("scheme", json!(value.as_str().unwrap_or_default().to_uppercase())),
            "params" => ("params", value.clone()),
            "scrape_interval" => ("scrapeInterval", value.clone()),
            "scrape_timeout" => ("scrapeTimeout", value.clone()),
            "honor_timestamps" => ("honorTimestamps", value.clone()),
            "honor_labels" => ("honorLabels", value.clone()),
            "metrics_path" => ("metricsPath", value.clone()),
            "static_configs" => ("staticConfigs", value.clone()),
            "kubernetes_sd_configs" => ("kubernetesSDConfigs", each(value, |one| discovery(kind, one, secret))?),
            "relabel_configs" => ("relabelings", each(value, relabelling)?),
            "metric_relabel_configs" => ("metricRelabelings", each(value, relabelling)?),
            _ => access_field(kind, key, value, secret)?,
        };
        spec.insert(key.to_owned(), value);
    }
    Ok(spec)
}

fn each(list: &Value, respell: impl Fn(&Value) -> Result<Map<String, Value>, String>) -> Result<Value, String> {
    let items = list.as_array().into_iter().flatten().map(|one| respell(one).map(Value::Object));
    Ok(Value::Array(items.collect::<Result<_, _>>()?))
}

fn discovery(kind: Kind, config: &Value, secret: &str) -> Result<Map<String, Value>, String> {
    let mut spec = Map::new();
    for (key, value) in config.as_object().into_iter().flatten() {
        let (key, value) = match key.as_str() {
            "role" => ("role", role(kind, value)),
            "selectors" => ("selectors", each(value, |one| selector(kind, one))?),
            "api_server" => ("apiServer", value.clone()),
            "follow_redirects" => ("followRedirects", value.clone()),
            "namespaces" => ("namespaces", value.clone()),
            _ => access_field(kind, key, value, secret)?,
        };
        spec.insert(key.to_owned(), value);
    }
    Ok(spec)
}

fn role(kind: Kind, value: &Value) -> Value {
    if kind == Kind::VMScrapeConfig {
        return value.clone();
    }
    let (first, rest) = value.as_str().and_then(|role| role.split_at_checked(1)).unwrap_or_default();
    json!(first.to_uppercase() + rest)
}

fn selector(kind: Kind, selector: &Value) -> Result<Map<String, Value>, String> {
    let fields = selector.as_object().into_iter().flatten();
    fields
        .map(|(key, value)| match key.as_str() {
            "role" => Ok((key.clone(), role(kind, value))),
            "label" => Ok((key.clone(), value.clone())),
            other => Err(format!("selectors.{other}")),
        })
        .collect()
}

/// The fields that jobs and their discovery share: the access to the API server.
fn access_field(kind: Kind, key: &str, value: &Value, secret: &str) -> Result<(&'static str, Value), String> {
    let from = |key: &str| json!({ "name": secret, "key": key });
    Ok(match key {
        "authorization" => ("authorization", json!({ "credentials": from(TOKEN) })),
        "proxy_url" => (if kind == Kind::VMScrapeConfig { "proxyURL" } else { "proxyUrl" }, value.clone()),
        "tls_config" => {
            let mut config = Map::new();
            for (key, value) in value.as_object().into_iter().flatten() {
                match key.as_str() {
                    // The keys of the Secret have the names of the files of a delivery.
                    "ca_file" => config.insert("ca".into(), json!({ "secret": { "name": secret, "key": value } })),
                    "server_name" => config.insert("serverName".into(), value.clone()),
                    other => return Err(format!("tls_config.{other}")),
                };
            }
            ("tlsConfig", Value::Object(config))
        }
        other => return Err(other.to_owned()),
    })
}

fn relabelling(rule: &Value) -> Result<Map<String, Value>, String> {
    let fields = rule.as_object().into_iter().flatten();
    fields
        .map(|(key, value)| {
            let key = match key.as_str() {
                "source_labels" => "sourceLabels",
                "target_label" => "targetLabel",
                "action" | "regex" | "replacement" | "separator" | "modulus" => key,
                other => return Err(other.to_owned()),
            };
            Ok((key.to_owned(), value.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{CertificateAuthority, Given, Origin},
        account::{Account, desired::Fence},
        job::{EVERY_JOB, ScrapeTiming, Selector, limits::ScrapeLimits, route::Route},
        plan::request::JoinRequest,
        store::record::{Found, SecretRecord},
        text::duration::Seconds,
        token::TokenLife,
    };

    fn access() -> Access {
        Access {
            url: "https://10.0.0.5:6443".parse().unwrap(),
            origin: Origin::Kubeconfig,
            ca: Some(CertificateAuthority { certificates: vec![b"not looked into".to_vec()], origin: "a test".into() }),
            tls_server_name: Some("api.example.com".into()),
            proxy: Some("http://proxy:3128".parse().unwrap()),
            kubelet_ca: None,
        }
    }

    fn record(access: &Access, jobs: &str) -> Record {
        let request = JoinRequest {
            cluster: "east".parse().unwrap(),
            account: Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() },
            jobs: jobs.parse().unwrap(),
            federate_match: Selector::defaults(),
            fence: Fence::Required,
            pace: ScrapeTiming { interval: Seconds(60), timeout: Seconds(30) },
            limits: ScrapeLimits::default(),
            fallback: None,
            keep_all_metrics: false,
            self_renew: false,
            long_lived: false,
            duration: Seconds(604_800),
        };
        let found = Found {
            uid: "7d0f",
            context: "admin@east",
            kubernetes: "v1.37.2",
            format: Format::Prometheus,
            given: Given { address: false, ca: false },
            bound_secret: SecretRecord { name: "prometheus-x7k2".into(), uid: "u-1".into() },
            token: TokenLife {
                issued: "2026-11-24T09:12:00Z".parse().unwrap(),
                expires: "2026-12-01T09:12:00Z".parse().unwrap(),
            },
        };
        Record::new(&request, access, found)
    }

    fn with<T>(access: &Access, jobs: &str, look: impl FnOnce(OperatorJobs) -> T) -> T {
        of_kind(Kind::ScrapeConfig, access, jobs, look)
    }

    fn of_kind<T>(kind: Kind, access: &Access, jobs: &str, look: impl FnOnce(OperatorJobs) -> T) -> T {
        let labels = Labels::from([("release".to_owned(), "kps".to_owned())]);
        look(OperatorJobs {
            record: &record(access, jobs),
            access,
            generation: &"20261124t091200z-x7k2".parse().unwrap(),
            identity: &Identity::operator("hub", "kps", "uid"),
            kind,
            place: "hub",
            labels: &labels,
        })
    }

    fn shown(objects: &[Object]) -> String {
        let texts = objects.iter().map(|object| yaml::write(&object.manifest));
        texts.collect::<Vec<_>>().join("---\n")
    }

    #[test]
    fn the_default_jobs() {
        let objects = with(&access(), "default", |jobs| {
            let mut objects = vec![jobs.secret(&"TOKEN\n".into())];
            objects.extend(jobs.jobs().unwrap());
            objects
        });
        insta::assert_snapshot!(shown(&objects));
    }

    #[test]
    fn jobs_of_a_vmagent() {
        let objects = of_kind(Kind::VMScrapeConfig, &access(), "default", |jobs| jobs.jobs().unwrap());
        insta::assert_snapshot!(shown(&objects));
    }

    #[test]
    fn every_other_job_of_a_vmagent() {
        let objects = of_kind(Kind::VMScrapeConfig, &access(), EVERY_JOB, |jobs| jobs.jobs().unwrap());
        insta::assert_snapshot!(shown(&objects[2..]));
    }

    #[test]
    fn every_other_job() {
        let objects = with(&access(), EVERY_JOB, |jobs| jobs.jobs().unwrap());
        insta::assert_snapshot!(shown(&objects[2..]));
    }

    #[test]
    fn secret_has_no_newline_after_the_token_and_no_public_ca() {
        let secret = with(&Access { ca: None, ..access() }, "kubelet", |jobs| jobs.secret(&"TOKEN\n".into()));
        assert_eq!(secret.manifest["data"], json!({ "token": "VE9LRU4=" }));
        let jobs = with(&Access { ca: None, tls_server_name: None, proxy: None, ..access() }, "kubelet", |jobs| {
            jobs.jobs().unwrap()
        });
        assert!(jobs[0].manifest["spec"].get("tlsConfig").is_none());
    }

    #[test]
    fn jobs_of_the_kubelet_route_name_the_ca_of_the_kubelets() {
        let certificates = vec![b"of the kubelets".to_vec()];
        let kubelet_ca = Some(CertificateAuthority { certificates, origin: "a test".into() });
        let access = Access { kubelet_ca, ..access() };
        let mut record = record(&access, "kubelet");
        record.route = Route::Kubelet;
        let labels = Labels::new();
        let (generation, identity) =
            ("20261124t091200z-x7k2".parse().unwrap(), Identity::operator("hub", "kps", "uid"));
        let jobs = OperatorJobs {
            record: &record,
            access: &access,
            generation: &generation,
            identity: &identity,
            kind: Kind::ScrapeConfig,
            place: "hub",
            labels: &labels,
        };
        let secret = jobs.secret(&"TOKEN".into());
        let keys: Vec<&String> = secret.manifest["data"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["ca.crt", "kubelet-ca.crt", "token"]);
        let spec = &jobs.jobs().unwrap()[0].manifest["spec"];
        assert_eq!(spec["tlsConfig"]["ca"]["secret"]["key"], "kubelet-ca.crt");
        assert_eq!(spec["kubernetesSDConfigs"][0]["tlsConfig"]["ca"]["secret"]["key"], "ca.crt");
        assert!(spec.get("proxyUrl").is_none(), "{spec}");
    }

    /// The objects have every rule of the file, in its order, and only the plugin's own rules after them.
    #[test]
    fn series_have_the_same_labels_as_from_a_file() {
        let access = access();
        let record = record(&access, EVERY_JOB);
        let files = CredentialFiles {
            token: TOKEN,
            ca: CA,
            kubelet_ca: KUBELET_CA,
            rotated: None,
            expires: Some(record.token.expires),
            rotate: "",
            leave: "",
        };
        let request = record.request();
        let back = |rules: &Value| {
            let text = rules.to_string();
            serde_json::from_str::<Value>(
                &text.replace("sourceLabels", "source_labels").replace("targetLabel", "target_label"),
            )
            .unwrap()
        };
        for (kind, format, ours, fields) in [
            (Kind::ScrapeConfig, Format::Prometheus, 2, ["relabelings", "metricRelabelings"]),
            (Kind::VMScrapeConfig, Format::Vmagent, 1, ["relabelConfigs", "metricRelabelConfigs"]),
        ] {
            let text = fragment(ScrapeJobs { request: &request, access: &access }, &files, None, format);
            let written = yaml::read(&text).unwrap();
            let written = written.as_array().or(written["scrape_configs"].as_array()).unwrap();
            let objects = of_kind(kind, &access, EVERY_JOB, |jobs| jobs.jobs().unwrap());
            assert_eq!((objects.len(), written.len()), (record.jobs.iter().len(), record.jobs.iter().len()));
            for (object, job) in objects.iter().zip(written) {
                let spec = &object.manifest["spec"];
                let rules = back(&spec[fields[0]]);
                let rules = rules.as_array().unwrap();
                let (same, ours) = rules.split_at(rules.len() - ours);
                assert_eq!(same, job["relabel_configs"].as_array().unwrap().as_slice(), "{}", object.reference);
                assert!(ours.iter().all(|rule| rule["target_label"].as_str().unwrap().starts_with("__tmp")));
                assert_eq!(back(&spec[fields[1]]), job["metric_relabel_configs"], "{}", object.reference);
            }
        }
    }

    #[test]
    fn selected_nodes_are_those_of_the_jobs() {
        let mut record = record(&access(), "default,apiserver");
        record.node_selector = "a!=b".parse().ok();
        let (generation, identity) =
            ("20261124t091200z-x7k2".parse().unwrap(), Identity::operator("hub", "kps", "uid"));
        let (labels, access) = (Labels::new(), access());
        let place = "hub";
        let jobs = OperatorJobs {
            record: &record,
            access: &access,
            generation: &generation,
            identity: &identity,
            kind: Kind::ScrapeConfig,
            place,
            labels: &labels,
        };
        let selectors = |object: &Object| object.manifest["spec"]["kubernetesSDConfigs"][0]["selectors"].clone();
        let selected = json!([{ "role": "Node", "label": "a!=b" }]);
        let objects = jobs.jobs().unwrap();
        assert_eq!(objects.iter().map(selectors).collect::<Vec<_>>(), [selected.clone(), selected, Value::Null]);
    }

    #[test]
    fn fields_without_a_counterpart_are_named() {
        for (job, field) in [
            (json!({ "target_limit": 1 }), "target_limit"),
            (json!({ "tls_config": { "min_version": "TLS13" } }), "tls_config.min_version"),
            (json!({ "relabel_configs": [{ "regexp": "x" }] }), "regexp"),
            (json!({ "kubernetes_sd_configs": [{ "attach_metadata": {} }] }), "attach_metadata"),
            (json!({ "kubernetes_sd_configs": [{ "selectors": [{ "field": "x" }] }] }), "selectors.field"),
        ] {
            for kind in [Kind::ScrapeConfig, Kind::VMScrapeConfig] {
                assert_eq!(respelled(kind, &job, "s"), Err(field.to_owned()));
            }
        }
    }
}
