//! Operator destinations: the Prometheus, `PrometheusAgent` or `VMAgent` object and its selectors, the namespace and names
//! of the plugin's objects, and the operator's verdict on them.
//!
//! ```text
//! secret/prom-federate-east                    token, ca.crt; the record and its generation are annotations
//! scrapeconfig/prom-federate-east-cadvisor     a job, which names the generation of its token; for a VMAgent a vmscrapeconfig
//! prometheusrule/prom-federate-east            alerting rules, where they are selected
//! ```

use super::{identity::Identity, layout::Generation, record::Record};
use crate::model::{
    job::Job,
    kube::{
        label_selector::{LabelSelector, Labels},
        object::{FIELD_MANAGER, Kind, MANAGED_BY, Object, ObjectRef},
    },
    text::names::ClusterName,
    token::bound_secret::DESTINATION_ANNOTATION,
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Label of all objects of the plugin: their cluster.
pub const CLUSTER_LABEL: &str = "prom-federate.io/cluster";
/// Annotation of the Secret: the record, as JSON.
pub const RECORD_ANNOTATION: &str = "prom-federate.io/record";
/// Annotation of the Secret: the generation of its token.
pub const GENERATION_ANNOTATION: &str = "prom-federate.io/generation";
/// A label that no series has, because Prometheus drops `__tmp`. In the configuration of a running Prometheus, a rule
/// about this label has the generation of the token that Prometheus scrapes with.
pub const GENERATION_MARK: &str = "__tmp_prom_federate_generation";
/// The first Prometheus release that sends a token to no other host on a redirect, 3.13. The operator's kinds have no
/// field that prevents redirects in earlier releases.
pub const KEEPS_TOKENS: (u64, u64) = (3, 13);

/// The fields of a Prometheus, `PrometheusAgent` or `VMAgent` object that affect the plugin's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// One of [`READERS`](super::location::READERS).
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    /// `v3.11.0`, if the object names it: the release, or the tag of its image.
    pub version: Option<String>,
    pub shards: u64,
    pub paused: bool,
    /// The mode in which it takes no jobs: an agent on every node, or a vmagent that is only written to.
    pub without_jobs: Option<&'static str>,
    /// The label that the operator overwrites with the namespace of the plugin's objects.
    pub enforced_namespace_label: Option<String>,
    /// Selects nothing if it is absent.
    pub scrape_configs: Option<LabelSelector>,
    /// Selects namespaces. If it is absent, only the Prometheus' own namespace counts.
    pub scrape_config_namespaces: Option<LabelSelector>,
    pub rules: Option<LabelSelector>,
    pub rule_namespaces: Option<LabelSelector>,
    /// The Secret with the configuration that the operator generates for it.
    generated: String,
}

/// A namespace and its labels.
pub type NamespaceLabels = (String, Labels);

impl Instance {
    /// From the object of this kind as the API server returned it.
    ///
    /// # Errors
    /// The part of the object that is invalid.
    pub fn read(kind: Kind, object: &Value) -> Result<Self, String> {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let selector = |field: &str| LabelSelector::read(&spec[field]).map_err(|why| format!("its {field}: {why}"));
        let name = text(&metadata["name"]).ok_or("it has no name")?;
        let mut scrape_configs = selector("scrapeConfigSelector")?;
        let scrape_config_namespaces = selector("scrapeConfigNamespaceSelector")?;
        let is_vmagent = kind == Kind::VMAgent;
        // `internal/controller/operator/factory/k8stools/selectors.go`, `VisitSelected`.
        if is_vmagent
            && scrape_configs.is_none()
            && (scrape_config_namespaces.is_some() || spec["selectAllByDefault"] == true)
        {
            scrape_configs = Some(LabelSelector::default());
        }
        let modes = [
            ("mode DaemonSet", spec["mode"] == "DaemonSet"),
            ("daemonSetMode", spec["daemonSetMode"] == true),
            ("ingestOnlyMode", spec["ingestOnlyMode"] == true),
        ];
        Ok(Self {
            kind,
            namespace: text(&metadata["namespace"]).ok_or("it has no namespace")?,
            version: text(if is_vmagent { &spec["image"]["tag"] } else { &spec["version"] }),
            shards: spec[if is_vmagent { "shardCount" } else { "shards" }].as_u64().unwrap_or(1),
            paused: spec["paused"] == true,
            without_jobs: modes.into_iter().find_map(|(mode, is_set)| is_set.then_some(mode)),
            enforced_namespace_label: text(&spec["enforcedNamespaceLabel"]),
            scrape_configs,
            scrape_config_namespaces,
            rules: selector("ruleSelector")?,
            rule_namespaces: selector("ruleNamespaceSelector")?,
            generated: match kind {
                // `api/operator/v1beta1/vmagent_types.go`, `PrefixedName`.
                Kind::VMAgent if spec["useLegacyNaming"] == true => name.clone(),
                Kind::VMAgent => format!("vmagent-{name}"),
                // `pkg/prometheus/common.go`, `ConfigSecretName`.
                Kind::PrometheusAgent => format!("prom-agent-{name}"),
                _ => format!("prometheus-{name}"),
            },
            name,
        })
    }

    pub fn identity(&self, hub: &str) -> Identity {
        match self.kind {
            Kind::Prometheus => Identity::operator(&self.namespace, &self.name, hub),
            _ => Identity::operator(&self.namespace, &self.shown(), hub),
        }
    }

    /// It evaluates no rules and answers no queries.
    pub fn is_agent(&self) -> bool {
        self.kind != Kind::Prometheus
    }

    /// `VictoriaMetrics`' operator runs it.
    pub fn is_vmagent(&self) -> bool {
        self.kind == Kind::VMAgent
    }

    /// The program that the operator runs for it.
    pub fn program(&self) -> &'static str {
        match self.kind {
            Kind::VMAgent => "vmagent",
            Kind::PrometheusAgent => "Prometheus agent",
            _ => "Prometheus",
        }
    }

    /// What its operator makes a job of.
    pub fn job_kind(&self) -> Kind {
        if self.is_vmagent() { Kind::VMScrapeConfig } else { Kind::ScrapeConfig }
    }

    /// `prometheus/k8s`, as kubectl writes it.
    pub fn shown(&self) -> String {
        format!("{}/{}", self.kind.singular(), self.name)
    }

    /// The Secret into which the operator writes the configuration.
    pub fn generated(&self) -> ObjectRef {
        ObjectRef { kind: Kind::Secret, namespace: Some(self.namespace.clone()), name: self.generated.clone() }
    }

    /// The namespace for its jobs: its own if it is selected, else the only selected one.
    ///
    /// # Errors
    /// Why there is no such namespace.
    pub fn place(&self, namespaces: &[NamespaceLabels]) -> Result<String, String> {
        let Some(selector) = &self.scrape_config_namespaces else { return Ok(self.namespace.clone()) };
        let selected: Vec<&str> = namespaces
            .iter()
            .filter(|(_, labels)| selector.matches(labels))
            .map(|(namespace, _)| namespace.as_str())
            .collect();
        match selected[..] {
            [] => Err("its scrapeConfigNamespaceSelector selects no existing namespace".to_owned()),
            _ if selected.contains(&self.namespace.as_str()) => Ok(self.namespace.clone()),
            [only] => Ok(only.to_owned()),
            _ => Err(format!(
                "its scrapeConfigNamespaceSelector selects {} but not its own namespace, so the namespace for the jobs is ambiguous",
                selected.join(", ")
            )),
        }
    }

    /// The labels that make this Prometheus select a job of the cluster.
    ///
    /// # Errors
    /// Why no labels do.
    pub fn job_labels(&self, cluster: &ClusterName) -> Result<Labels, String> {
        let kind = self.job_kind();
        if let Some(mode) = self.without_jobs {
            return Err(format!("it has {mode}, in which it takes no {kind}"));
        }
        let Some(selector) = &self.scrape_configs else {
            return Err(format!("it has no scrapeConfigSelector, so it selects no {kind}"));
        };
        selected_labels(selector, cluster).map_err(|unmet| {
            format!(
                "its scrapeConfigSelector requires {unmet}, which conflicts with the labels of the plugin's objects"
            )
        })
    }

    /// The labels that make this Prometheus select alerting rules in `place`. None if that is impossible, because rules
    /// are optional.
    pub fn rule_labels(&self, cluster: &ClusterName, place: &NamespaceLabels) -> Option<Labels> {
        let (place, labels) = place;
        let is_seen = match &self.rule_namespaces {
            None => *place == self.namespace,
            Some(selector) => selector.matches(labels),
        };
        selected_labels(self.rules.as_ref().filter(|_| is_seen)?, cluster).ok()
    }

    /// Warnings before jobs go there.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        // The jobs of a vmagent forbid redirects.
        let version = self.version.as_deref().filter(|_| !self.is_vmagent());
        if let Some((major, minor)) = version.and_then(release).filter(|one| *one < KEEPS_TOKENS) {
            warnings.push(format!(
                "Prometheus {major}.{minor} sends the token along when a target redirects it, and the operator has no field that \
                 prevents this: set spec.version of {} to v{}.{} or later",
                self.shown(),
                KEEPS_TOKENS.0,
                KEEPS_TOKENS.1
            ));
        }
        if let Some(label) = &self.enforced_namespace_label {
            let exclusion = if self.is_vmagent() { "" } else { "; exclude them with spec.excludedFromEnforcement" };
            warnings.push(format!(
                "{} has enforcedNamespaceLabel: the label {label} of every series will be the namespace of the \
                 {}s{exclusion}",
                self.shown(),
                self.job_kind()
            ));
        }
        warnings
    }
}

/// `monitoring/k8s`
impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `(3, 11)` of `v3.11.0`.
fn release(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The plugin's ownership labels take precedence over a selector; its descriptive labels do not.
fn selected_labels(selector: &LabelSelector, cluster: &ClusterName) -> Result<Labels, String> {
    let owned = |pairs: &[(&str, &str)]| -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut labels = selector.met_with(&owned(&[(MANAGED_BY, FIELD_MANAGER), (CLUSTER_LABEL, cluster.as_str())]))?;
    for (key, value) in owned(&[
        ("app.kubernetes.io/name", "prom-federate"),
        ("app.kubernetes.io/part-of", "prom-federate"),
        ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
    ]) {
        let mut described = labels.clone();
        described.entry(key).or_insert(value);
        if selector.matches(&described) {
            labels = described;
        }
    }
    Ok(labels)
}

/// The Secret of a cluster, and its rules: every cluster has one of each in a namespace.
pub fn cluster_object(kind: Kind, namespace: &str, cluster: &ClusterName) -> ObjectRef {
    let name = object_name(&format!("prom-federate-{cluster}"));
    ObjectRef { kind, namespace: Some(namespace.to_owned()), name }
}

/// The `ScrapeConfig` or `VMScrapeConfig` of a job.
pub fn job_object(kind: Kind, namespace: &str, cluster: &ClusterName, job: &Job) -> ObjectRef {
    let full = job.scrape_job(cluster);
    // Names are unique only if fixed words follow the cluster's name.
    let plain = full.replacen('/', "-", 2);
    let name = if job.to_string() == job.name() { object_name(&plain) } else { with_hash(&plain, &full) };
    ObjectRef { kind, namespace: Some(namespace.to_owned()), name }
}

/// The name in Prometheus of the job of a `ScrapeConfig` (`pkg/prometheus/promcfg.go`, `generateScrapeConfig`); the same in
/// vmagent (`internal/controller/operator/factory/vmscrapes/scrapeconfig.go`).
pub fn pool(job: &ObjectRef) -> String {
    format!("scrapeConfig/{}/{}", job.namespace.as_deref().unwrap_or_default(), job.name)
}

/// A valid Kubernetes name. An invalid name is mapped, and its hash keeps it unique.
fn object_name(name: &str) -> String {
    if mapped(name) == name { name.to_owned() } else { with_hash(name, name) }
}

/// A readable prefix before the hash.
fn with_hash(name: &str, hashed: &str) -> String {
    // FNV-1a, 32 bits: stable over releases, unlike the standard library's hashes.
    let hash = hashed.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let mut start = mapped(name);
    start.truncate(200);
    format!("{}-{hash:08x}", start.trim_end_matches('-'))
}

/// Replaces dots, because they divide a name into parts with their own rules.
fn mapped(name: &str) -> String {
    let lower = name.chars().map(|c| c.to_ascii_lowercase());
    lower.map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect()
}

/// An object of the plugin for the hub.
pub fn object(reference: ObjectRef, labels: &Labels, annotations: Value, fields: Map<String, Value>) -> Object {
    let mut metadata = json!({ "name": reference.name, "namespace": reference.namespace, "labels": labels });
    if annotations.as_object().is_some_and(|annotations| !annotations.is_empty()) {
        metadata["annotations"] = annotations;
    }
    let mut manifest = Map::new();
    manifest.insert("apiVersion".into(), json!(reference.kind.api_version()));
    manifest.insert("kind".into(), json!(reference.kind.to_string()));
    manifest.insert("metadata".into(), metadata);
    manifest.extend(fields);
    Object { reference, manifest: Arc::new(Value::Object(manifest)) }
}

/// The stored object without the fields that the server manages, so that applying it restores the plugin's fields.
pub fn as_it_was(reference: &ObjectRef, stored: &Value) -> Object {
    let labels = stored["metadata"]["labels"].as_object();
    let labels =
        labels.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    let fields = ["type", "data", "spec"].iter().filter_map(|key| Some(((*key).to_owned(), stored.get(*key)?.clone())));
    let annotations = stored["metadata"]["annotations"].clone();
    object(reference.clone(), &labels.collect(), annotations, fields.collect())
}

/// The annotations of the Secret with the token of this generation.
pub fn annotations(record: &Record, generation: &Generation, identity: &Identity) -> Value {
    json!({
        RECORD_ANNOTATION: serde_json::to_string(record).expect("a record has string keys"),
        GENERATION_ANNOTATION: generation.to_string(),
        DESTINATION_ANNOTATION: identity.to_string(),
    })
}

/// The operator's verdict on an object for this Prometheus. None if the operator has not processed the current version of
/// the object, or reports no verdicts (before 0.85, or without `StatusForConfigurationResources`).
pub fn verdict(object: &Value, instance: &Instance) -> Option<Result<(), String>> {
    let generation = object["metadata"]["generation"].as_u64().unwrap_or_default();
    let status = &object["status"];
    let (conditions, wanted) = if instance.is_vmagent() {
        // `internal/controller/operator/factory/reconcile/status.go`, `StatusForChildObjects`.
        let wanted = format!("{}.{}.vmagent.victoriametrics.com/Applied", instance.name, instance.namespace);
        (&status["conditions"], wanted)
    } else {
        let binding = status["bindings"].as_array()?.iter().find(|binding| {
            binding["resource"] == instance.kind.plural()
                && binding["name"] == instance.name.as_str()
                && binding["namespace"] == instance.namespace.as_str()
        })?;
        (&binding["conditions"], "Accepted".to_owned())
    };
    let condition = conditions.as_array()?.iter().find(|condition| condition["type"] == wanted.as_str())?;
    if condition["observedGeneration"].as_u64().is_some_and(|observed| observed < generation) {
        return None;
    }
    Some(match condition["status"].as_str()? {
        "True" => Ok(()),
        // The operator also reports this while the verdict is unknown.
        _ => {
            Err(condition["message"].as_str().or(condition["reason"].as_str()).unwrap_or("without a reason").to_owned())
        }
    })
}

/// Whether the configuration that the operator generated has this job, with the token of this generation.
pub fn is_generated(config: &Value, pool: &str, generation: &Generation, token: &str) -> bool {
    let jobs = config["scrape_configs"].as_array().into_iter().flatten();
    jobs.filter(|job| job["job_name"] == pool).any(|job| {
        job["authorization"]["credentials"] == token
            && marked_generation(job).as_deref() == Some(&generation.to_string())
    })
}

/// Whether the configuration has a job at all.
pub fn has_job(config: &Value, pool: &str) -> bool {
    config["scrape_configs"].as_array().into_iter().flatten().any(|job| job["job_name"] == pool)
}

/// Whether the configuration of a running Prometheus, which hides tokens, has these jobs with this generation.
pub fn loaded(config: &Value, pools: &[String], generation: &Generation) -> bool {
    let jobs = config["scrape_configs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_marked = |job: &&Value| marked_generation(job).as_deref() == Some(&generation.to_string());
    pools.iter().all(|pool| jobs.iter().filter(is_marked).any(|job| job["job_name"] == pool.as_str()))
}

/// The generation mark of a job in a configuration.
fn marked_generation(job: &Value) -> Option<String> {
    let rules = job["relabel_configs"].as_array()?;
    let mark = rules.iter().find(|rule| rule["target_label"] == GENERATION_MARK)?;
    mark["replacement"].as_str().or(mark["regex"].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use crate::model::job::{EVERY_JOB, Jobs};
    use proptest::prelude::*;

    fn instance_of(kind: Kind, spec: &Value) -> Instance {
        Instance::read(kind, &json!({ "metadata": { "namespace": "hub", "name": "kps" }, "spec": spec })).unwrap()
    }

    fn instance(spec: &Value) -> Instance {
        instance_of(Kind::Prometheus, spec)
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn east() -> ClusterName {
        "east".parse().unwrap()
    }

    #[test]
    fn prometheus_object_is_read() {
        let read = instance(&json!({ "shards": 2, "version": "v3.11.0", "scrapeConfigSelector": {}, "paused": true }));
        assert_eq!((read.shards, read.version.as_deref(), read.paused), (2, Some("v3.11.0"), true));
        assert_eq!((read.scrape_configs.is_some(), read.scrape_config_namespaces.is_none()), (true, true));
        assert_eq!(read.identity("uid").to_string(), "operator://hub/kps#uid");
        assert_eq!(read.generated().path(), "/api/v1/namespaces/hub/secrets/prometheus-kps");
        for garbage in
            [json!({}), json!({ "metadata": { "name": "x", "namespace": "y" }, "spec": { "ruleSelector": 1 } })]
        {
            assert!(Instance::read(Kind::Prometheus, &garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn agent_is_another_object_than_the_prometheus_of_its_name() {
        let (agent, prometheus) = (instance_of(Kind::PrometheusAgent, &json!({})), instance(&json!({})));
        assert_eq!(agent.identity("uid").to_string(), "operator://hub/prometheusagent/kps#uid");
        assert!(!agent.identity("uid").is(&prometheus.identity("uid")));
        assert_eq!(agent.generated().path(), "/api/v1/namespaces/hub/secrets/prom-agent-kps");
        let on_every_node = instance_of(Kind::PrometheusAgent, &json!({ "mode": "DaemonSet" }));
        assert!(on_every_node.job_labels(&east()).unwrap_err().contains("mode DaemonSet"));
    }

    #[test]
    fn vmagent_object_is_read() {
        let read = |spec: &Value| instance_of(Kind::VMAgent, spec);
        let vmagent = read(&json!({ "shardCount": 2, "image": { "tag": "v1.147.0" }, "scrapeConfigSelector": {} }));
        assert_eq!((vmagent.shards, vmagent.version.as_deref()), (2, Some("v1.147.0")));
        assert_eq!(vmagent.identity("uid").to_string(), "operator://hub/vmagent/kps#uid");
        assert_eq!(vmagent.generated().path(), "/api/v1/namespaces/hub/secrets/vmagent-kps");
        assert_eq!(vmagent.warnings(), Vec::<String>::new(), "its release is none of Prometheus");
        assert_eq!(read(&json!({ "useLegacyNaming": true })).generated().name, "kps");
        // Without a selector, the others or selectAllByDefault decide.
        let namespaces = [("hub".to_owned(), labels(&[])), ("jobs".into(), labels(&[("jobs", "a")]))];
        let of_jobs = json!({ "matchLabels": { "jobs": "a" } });
        for (spec, expected) in [
            (json!({}), None),
            (json!({ "selectAllByDefault": true }), Some("hub")),
            (json!({ "scrapeConfigSelector": { "matchLabels": { "team": "a" } } }), Some("hub")),
            (json!({ "scrapeConfigNamespaceSelector": of_jobs }), Some("jobs")),
        ] {
            let vmagent = read(&spec);
            let is_selected = vmagent.job_labels(&east()).map(|_| vmagent.place(&namespaces).expect("a namespace"));
            assert_eq!(is_selected.ok().as_deref(), expected, "{spec}");
        }
        for mode in ["daemonSetMode", "ingestOnlyMode"] {
            let why = read(&json!({ "selectAllByDefault": true, mode: true })).job_labels(&east()).unwrap_err();
            assert_eq!(why, format!("it has {mode}, in which it takes no VMScrapeConfig"));
        }
    }

    #[test]
    fn jobs_go_to_a_selected_namespace() {
        let namespaces = [
            ("hub".to_owned(), labels(&[("own", "yes")])),
            ("jobs".into(), labels(&[("jobs", "a")])),
            ("other".into(), labels(&[("jobs", "b")])),
        ];
        for (selector, expected) in [
            (Value::Null, Ok("hub")),
            (json!({}), Ok("hub")),
            (json!({ "matchLabels": { "own": "yes" } }), Ok("hub")),
            (json!({ "matchLabels": { "jobs": "a" } }), Ok("jobs")),
            (json!({ "matchLabels": { "jobs": "z" } }), Err("no existing namespace")),
            (json!({ "matchExpressions": [{ "key": "jobs", "operator": "Exists" }] }), Err("jobs, other")),
        ] {
            let place = instance(&json!({ "scrapeConfigNamespaceSelector": selector })).place(&namespaces);
            match expected {
                Ok(expected) => assert_eq!(place.as_deref(), Ok(expected), "{selector}"),
                Err(expected) => assert!(place.unwrap_err().contains(expected), "{selector}"),
            }
        }
    }

    #[test]
    fn jobs_have_the_selected_labels() {
        let of = |selector: Value| instance(&json!({ "scrapeConfigSelector": selector })).job_labels(&east());
        let release = of(json!({ "matchLabels": { "release": "kps", "app.kubernetes.io/part-of": "kps" } })).unwrap();
        assert_eq!((release["release"].as_str(), release["app.kubernetes.io/part-of"].as_str()), ("kps", "kps"));
        assert_eq!(release[MANAGED_BY], FIELD_MANAGER);
        let bare = of(json!({ "matchExpressions": [{ "key": "app.kubernetes.io/name", "operator": "DoesNotExist" }] }));
        assert!(!bare.unwrap().contains_key("app.kubernetes.io/name"));
        for (selector, why) in [
            (Value::Null, "has no scrapeConfigSelector"),
            (json!({ "matchLabels": { MANAGED_BY: "Helm" } }), "requires app.kubernetes.io/managed-by=Helm"),
            (json!({ "matchLabels": { CLUSTER_LABEL: "west" } }), "requires prom-federate.io/cluster=west"),
        ] {
            let error = of(selector.clone()).unwrap_err();
            assert!(error.contains(why), "{selector}: {error}");
        }
    }

    #[test]
    fn rules_exist_only_if_they_are_selected() {
        let place = |name: &str| (name.to_owned(), labels(&[("rules", "yes")]));
        for (spec, place, expected) in [
            (json!({}), place("hub"), false),
            (json!({ "ruleSelector": {} }), place("hub"), true),
            (json!({ "ruleSelector": {} }), place("jobs"), false),
            (
                json!({ "ruleSelector": {}, "ruleNamespaceSelector": { "matchLabels": { "rules": "yes" } } }),
                place("jobs"),
                true,
            ),
            (json!({ "ruleSelector": { "matchLabels": { MANAGED_BY: "Helm" } } }), place("hub"), false),
        ] {
            assert_eq!(instance(&spec).rule_labels(&east(), &place).is_some(), expected, "{spec}");
        }
    }

    #[test]
    fn warnings_name_redirects_and_the_enforced_namespace_label() {
        for (spec, count) in [
            (json!({}), 0),
            (json!({ "version": "v3.13.0" }), 0),
            (json!({ "version": "v3.11.2" }), 1),
            (json!({ "version": "2.53.0" }), 1),
            (json!({ "version": "latest", "enforcedNamespaceLabel": "namespace" }), 1),
        ] {
            assert_eq!(instance(&spec).warnings().len(), count, "{spec}");
        }
    }

    #[test]
    fn objects_are_named_after_cluster_and_job() {
        let jobs: Jobs = EVERY_JOB.parse().unwrap();
        let names: Vec<String> =
            jobs.iter().map(|job| pool(&job_object(Kind::ScrapeConfig, "hub", &east(), job))).collect();
        insta::assert_snapshot!(names.join("\n"));
        let secret = |cluster: &str| cluster_object(Kind::Secret, "hub", &cluster.parse().unwrap()).name;
        assert_eq!(secret("east"), "prom-federate-east");
        assert_eq!(secret("East_1"), "prom-federate-east-1-7ec8a9a4");
        assert_ne!(secret("a.b"), secret("a_b"));
    }

    proptest! {
        #[test]
        fn object_names_are_valid_and_unique(
            cluster in "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
            path in "(/[A-Za-z0-9._-]{1,80}){0,6}",
        ) {
            let cluster: ClusterName = cluster.parse().unwrap();
            let jobs: Jobs = EVERY_JOB.parse().unwrap();
            let long: Option<Jobs> = format!("service=n/s:1{path}").parse().ok();
            for job in jobs.iter().chain(long.iter().flat_map(Jobs::iter)) {
                let name = job_object(Kind::ScrapeConfig, "hub", &cluster, job).name;
                prop_assert!(crate::model::text::names::is_dns_subdomain(&name), "{name}");
            }
            prop_assert!(crate::model::text::names::is_dns_subdomain(&cluster_object(Kind::Secret, "hub", &cluster).name));
        }
    }

    #[test]
    fn verdict_counts_only_for_this_prometheus_and_this_version() {
        let object = |name: &str, observed: u64, status: &str| {
            json!({
                "metadata": { "generation": 2 },
                "status": { "bindings": [{
                    "resource": "prometheuses", "namespace": "hub", "name": name,
                    "conditions": [{ "type": "Accepted", "status": status, "observedGeneration": observed, "message": "no" }],
                }] },
            })
        };
        let this = instance(&json!({}));
        assert_eq!(verdict(&object("kps", 2, "True"), &this), Some(Ok(())));
        assert_eq!(verdict(&object("kps", 2, "True"), &instance_of(Kind::PrometheusAgent, &json!({}))), None);
        assert_eq!(verdict(&object("kps", 2, "False"), &this), Some(Err("no".into())));
        for nothing in [object("kps", 1, "False"), object("other", 2, "False"), json!({}), json!({ "status": {} })] {
            assert_eq!(verdict(&nothing, &this), None, "{nothing}");
        }
    }

    #[test]
    fn verdict_of_victoriametrics_operator_is_a_condition_of_the_vmagent() {
        let object = |name: &str, observed: u64, status: &str| {
            let of = |name: &str, status: &str| {
                json!({
                    "type": format!("{name}.hub.vmagent.victoriametrics.com/Applied"),
                    "status": status, "observedGeneration": observed, "message": "no",
                })
            };
            json!({
                "metadata": { "generation": 2 },
                "status": { "updateStatus": "failed", "conditions": [of("a", "False"), of(name, status)] },
            })
        };
        let this = instance_of(Kind::VMAgent, &json!({}));
        assert_eq!(verdict(&object("kps", 2, "True"), &this), Some(Ok(())), "another vmagent's rejection is its own");
        assert_eq!(verdict(&object("kps", 2, "False"), &this), Some(Err("no".into())));
        for nothing in [object("kps", 1, "False"), object("other", 2, "False"), json!({}), json!({ "status": {} })] {
            assert_eq!(verdict(&nothing, &this), None, "{nothing}");
        }
    }

    #[test]
    fn job_is_generated_once_its_token_and_mark_are_present() {
        let generation: Generation = "20261125t101500z-x7k2".parse().unwrap();
        let job = |token: &str, mark: &str| {
            json!({ "scrape_configs": [{
                "job_name": "scrapeConfig/hub/a",
                "authorization": { "credentials": token },
                "relabel_configs": [{ "target_label": GENERATION_MARK, "replacement": mark }],
            }] })
        };
        let is = |config: &Value, pool| is_generated(config, pool, &generation, "token");
        let good = job("token", "20261125t101500z-x7k2");
        assert!(is(&good, "scrapeConfig/hub/a") && has_job(&good, "scrapeConfig/hub/a"));
        assert!(loaded(&job("<secret>", "20261125t101500z-x7k2"), &["scrapeConfig/hub/a".into()], &generation));
        // The rule of a vmagent's job.
        let mut matching = good.clone();
        matching["scrape_configs"][0]["relabel_configs"][0] = json!({
            "source_labels": [GENERATION_MARK], "regex": "20261125t101500z-x7k2", "target_label": GENERATION_MARK,
        });
        assert!(is(&matching, "scrapeConfig/hub/a"));
        for pools in [
            &["scrapeConfig/hub/a".to_owned(), "scrapeConfig/hub/b".to_owned()][..],
            &["scrapeConfig/hub/b".to_owned()],
        ] {
            assert!(!loaded(&good, pools, &generation));
        }
        for (config, pool) in [
            (&good, "scrapeConfig/hub/b"),
            (&job("old", "20261125t101500z-x7k2"), "scrapeConfig/hub/a"),
            (&job("token", "20261124t101500z-x7k2"), "scrapeConfig/hub/a"),
            (&json!(null), "scrapeConfig/hub/a"),
        ] {
            assert!(!is(config, pool), "{config}");
        }
    }

    #[test]
    fn hostile_objects_are_survived() {
        let object = r#"{"metadata":{"name":"kps","namespace":"hub","generation":2,"labels":{"a":"b"}},"spec":{"version":"v3","shards":2,"paused":false,"scrapeConfigSelector":{"matchLabels":{"a":"b"}},"scrapeConfigNamespaceSelector":{"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]}},"status":{"bindings":[{"resource":"prometheuses","namespace":"hub","name":"kps","conditions":[{"type":"Accepted","status":"False","observedGeneration":2,"message":"no"}]}]}}"#;
        let config = r#"{"scrape_configs":[{"job_name":"a","authorization":{"credentials":"t"},"relabel_configs":[{"target_label":"x","replacement":"y"}]}]}"#;
        hostile::texts(&[object, config], |text| {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            for kind in crate::model::store::location::READERS {
                let Ok(read) = Instance::read(kind, &value) else { continue };
                let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
                let _ = (read.place(&[("hub".to_owned(), labels)]), read.shown(), verdict(&value, &read));
            }
            let generation = "20261125t101500z-x7k2".parse().unwrap();
            let _ = (loaded(&value, &["a".to_owned()], &generation), is_generated(&value, "a", &generation, "t"));
            let _ = has_job(&value, "a");
        });
    }
}
