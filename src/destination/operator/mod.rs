//! A Prometheus, an agent or a vmagent that an operator runs: its object in the hub, what of ours is beside it, and the
//! configuration that the operator generates.

mod generated;

use super::{Installed, Live, Options, PrometheusApi, installed::join_again, prometheus::http_config};
use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::{self, Cluster, Connection, DryRun, Found, List, is_about_unknown_field},
    error::{Error, Reason, Result},
    kubeconfig::{self, Choice},
    model::{
        access::certificate::certificates,
        job::Job,
        kube::{
            label_selector::Labels,
            object::{FIELD_MANAGER, Kind, MANAGED_BY, Object, ObjectRef},
            owner::{Owner, owner},
        },
        report::Reader,
        store::{
            identity::Identity,
            install::Present,
            layout::{CA, Generation, KUBELET_CA, TOKEN},
            location::{OperatorLocation, READERS},
            operator::{
                CLUSTER_LABEL, GENERATION_ANNOTATION, Instance, NamespaceLabels, RECORD_ANNOTATION, cluster_object,
                has_job, job_object, pool, verdict,
            },
            record::{Record, RecordError, StoredCas},
        },
        text::{encoding::from_base64, line, names::ClusterName},
        token::bound_secret::DESTINATION_ANNOTATION,
    },
};
use futures_util::future::join_all;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// Every namespace has this label, whether its labels can be read or not.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// See the module.
pub struct Operator {
    /// As it was typed, for commands that we print.
    pub typed: String,
    pub hub: Cluster,
    /// The UID of its kube-system.
    hub_uid: String,
    pub instance: Instance,
    /// Where our objects are.
    pub place: NamespaceLabels,
    pub installed: BTreeMap<ClusterName, Result<Installed>>,
    stored: BTreeMap<ClusterName, Stored>,
    /// Clusters whose objects are in the same place, and the destination that they are of.
    others: BTreeMap<ClusterName, String>,
    /// Or why there is none, for people.
    pub api: Result<PrometheusApi, String>,
    /// `3.16.0`, where the API said it.
    pub version: Option<String>,
}

/// The objects of one cluster, as the API server returned them. The Secret has the token in it: no Debug.
#[derive(Clone, Default)]
pub struct Stored {
    pub secret: Option<Value>,
    pub jobs: BTreeMap<ObjectRef, Value>,
    pub rules: Option<Value>,
}

impl Stored {
    /// Whether an object is among them: there is one Secret and one of rules.
    pub fn has(&self, reference: &ObjectRef) -> bool {
        match reference.kind {
            Kind::Secret => self.secret.is_some(),
            Kind::PrometheusRule => self.rules.is_some(),
            _ => self.jobs.contains_key(reference),
        }
    }
}

/// What the Secret of a cluster holds beside the record.
pub struct Credentials {
    pub token: BearerToken,
    pub cas: StoredCas,
}

impl Operator {
    /// Reads the Prometheus and the plugin's objects; writes nothing. The hub is reached with the kubeconfig's own
    /// credentials: whom to impersonate is said of the cluster that is joined.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`]; whatever the hub says; [`Reason::PrometheusUnreachable`] where
    /// `--prometheus-url` does not answer.
    pub async fn open(location: &OperatorLocation, options: &Options) -> Result<Self> {
        let typed = location.to_string();
        if options.owner.is_some() || options.format.is_some() {
            return Err(Error::usage(format!("{typed}: the operator chooses owner and format of its files"))
                .hint("Omit --owner and --format"));
        }
        let access = options.http_config.as_deref().map(http_config::read).transpose()?;
        let choice = Choice {
            kubeconfig: options.hub.kubeconfig.clone(),
            context: location.context.clone(),
            ..Choice::default()
        };
        let connection = Connection { timeout: options.timeout, log: options.hub.log.clone(), ..Connection::default() };
        let about = |error: Error| of_hub(error).about(&typed);
        let (hub, _) =
            cluster::connect(kubeconfig::select(&choice).map_err(about)?, &connection).await.map_err(about)?;
        let (instance, hub_uid) = tokio::join!(instance(&hub, location), hub.uid());
        let instance = instance.map_err(about)?;
        let hub_uid = hub_uid.map_err(|error| {
            about(error).hint("The UID of kube-system identifies the hub: you need the right to get it")
        })?;
        let place = place(&hub, &instance).await.map_err(about)?;
        let api = match &options.url {
            None => {
                let program = if instance.is_vmagent() { "vmagent" } else { "Prometheus" };
                Err(format!("name the address of its {program} with --prometheus-url URL"))
            }
            Some(url) => Ok(PrometheusApi::from_here(url, options.timeout, access.as_ref())?),
        };
        let mut version = None;
        if let Ok(api) = &api {
            let answers = api.accepts().await;
            if !options.read_only {
                answers.map_err(|error| error.about("--prometheus-url"))?;
            }
            version = api.build_version().await.ok();
        }
        let mut operator = Self {
            typed,
            hub,
            hub_uid,
            instance,
            place,
            installed: BTreeMap::new(),
            stored: BTreeMap::new(),
            others: BTreeMap::new(),
            api,
            version,
        };
        operator.read_again().await?;
        Ok(operator)
    }

    /// Reads the state again, because another run may have changed it.
    pub async fn read_again(&mut self) -> Result<()> {
        let (stored, others) = self.read_objects().await.map_err(|error| error.about(&self.typed))?;
        self.installed =
            stored.iter().map(|(cluster, stored)| (cluster.clone(), Ok(self.read(cluster, stored)))).collect();
        (self.stored, self.others) = (stored, others);
        Ok(())
    }

    /// The objects of a cluster, for people.
    pub fn jobs_of(&self, cluster: &ClusterName) -> String {
        let secret = cluster_object(Kind::Secret, &self.place.0, cluster);
        let kind = self.instance.job_kind();
        format!("{secret} and its {kind}s in namespace {} of {}", self.place.0, self.hub.context)
    }

    async fn read_objects(&self) -> Result<(BTreeMap<ClusterName, Stored>, BTreeMap<ClusterName, String>)> {
        let (namespace, job_kind) = (&self.place.0, self.instance.job_kind());
        let list = async |kind: Kind| {
            let listed =
                self.hub.list(List::Objects(kind, Some(namespace)), &ours()).await.map_err(|error| {
                    match error.reason {
                        Reason::NotFound => too_old(kind, &format!("the hub knows no {kind}")),
                        _ => error.about(format!("{} in namespace {namespace}", kind.plural())),
                    }
                })?;
            // Ignore objects that carry our labels but not our field manager.
            Ok::<Vec<Value>, Error>(listed.into_iter().filter(|object| owner(object) == Owner::Us).collect())
        };
        let rules = async {
            // The operator of a vmagent may be there without the kinds of the other operator.
            if self.instance.is_vmagent() { Ok(Vec::new()) } else { list(Kind::PrometheusRule).await }
        };
        let (secrets, jobs, rules) = tokio::try_join!(list(Kind::Secret), list(job_kind), rules)?;
        let (mut stored, mut others): (BTreeMap<ClusterName, Stored>, _) = (BTreeMap::new(), BTreeMap::new());
        let identity = self.identity().to_string();
        for secret in secrets {
            let Some(cluster) = cluster_of(&secret) else { continue };
            match secret["metadata"]["annotations"][DESTINATION_ANNOTATION].as_str() {
                Some(own) if own == identity => stored.entry(cluster).or_default().secret = Some(secret),
                other => drop(others.insert(cluster, other.unwrap_or_default().to_owned())),
            }
        }
        for job in jobs {
            let Some(cluster) = cluster_of(&job).filter(|cluster| !others.contains_key(cluster)) else { continue };
            stored.entry(cluster).or_default().jobs.insert(self.reference(job_kind, &job), job);
        }
        for rule in rules {
            let Some(cluster) = cluster_of(&rule).filter(|cluster| !others.contains_key(cluster)) else { continue };
            stored.entry(cluster).or_default().rules = Some(rule);
        }
        Ok((stored, others))
    }

    /// The record of a cluster, and which of its generations may be in use.
    fn read(&self, cluster: &ClusterName, stored: &Stored) -> Installed {
        let annotations = stored.secret.as_ref().map_or(&Value::Null, |secret| &secret["metadata"]["annotations"]);
        let generation: Option<Generation> =
            annotations[GENERATION_ANNOTATION].as_str().and_then(|generation| generation.parse().ok());
        let record = self.record(cluster, annotations);
        let mut generations = BTreeMap::new();
        if let Ok(record) = &record {
            for one in &record.replaces {
                generations.insert(one.generation.clone(), Some(one.bound_secret.clone()));
            }
        }
        if let Some(generation) = &generation {
            generations.insert(generation.clone(), record.as_ref().ok().map(|record| record.bound_secret.clone()));
        }
        let present = Present { fragment: !stored.jobs.is_empty(), rules: stored.rules.is_some(), current: None };
        let is_live = present.fragment || stored.secret.is_none();
        let remains = record.clone().ok().filter(|_| !is_live);
        let live = is_live.then(|| Live { generation: generation.unwrap_or_else(Generation::none), record });
        Installed { cluster: cluster.clone(), live, generations, present, remains }
    }

    fn record(&self, cluster: &ClusterName, annotations: &Value) -> Result<Record> {
        let missing = |why: &str| {
            Error::new(Reason::DestinationUnusable, format!("{}: the record of {cluster} {why}", self.typed))
                .hint(join_again(cluster, &self.typed))
        };
        let text = annotations[RECORD_ANNOTATION].as_str().ok_or_else(|| missing("does not exist"))?;
        let record = Record::read(text).map_err(|error| match error {
            RecordError::Newer(_) => Error::new(Reason::RecordTooNew, format!("{}: {cluster} {error}", self.typed))
                .hint("Use that release or a later one: kubectl krew upgrade prom-federate"),
            RecordError::Malformed(_) => missing(&error.to_string()),
        })?;
        if record.cluster != *cluster {
            return Err(missing(&format!("is about the cluster {}", record.cluster)));
        }
        Ok(record)
    }

    pub fn identity(&self) -> Identity {
        self.instance.identity(&self.hub_uid)
    }

    /// What there is of a cluster.
    pub fn stored(&self, cluster: &ClusterName) -> Stored {
        self.stored.get(cluster).cloned().unwrap_or_default()
    }

    /// What the Secret of a cluster holds.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] where it is missing or broken.
    pub fn credentials(&self, record: &Record) -> Result<Credentials> {
        let cluster = &record.cluster;
        let missing = |what: &str| {
            Error::new(Reason::DestinationUnusable, format!("{}: the Secret of {cluster} has no {what}", self.typed))
                .hint("Join the cluster again to write it")
        };
        let stored = self.stored.get(cluster).and_then(|stored| stored.secret.as_ref()).unwrap_or(&Value::Null);
        let bytes = |key: &str| from_base64(stored["data"][key].as_str()?);
        let token = bytes(TOKEN).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(|| missing("token"))?;
        let token = BearerToken::from(token.trim());
        token.authorization().map_err(|_| missing("token that fits into a header"))?;
        let ca = |is_there: bool, key: &str| {
            let read = || Some(certificates(&bytes(key)?)).filter(|certificates| !certificates.is_empty());
            is_there.then(|| read().ok_or_else(|| missing(&format!("PEM certificate {key}")))).transpose()
        };
        let cas = StoredCas {
            api_server: ca(record.access.ca_file, CA)?,
            kubelet: ca(record.access.kubelet_ca_file, KUBELET_CA)?,
        };
        Ok(Credentials { token, cas })
    }

    /// Two Prometheus of one namespace would both take the jobs of a cluster.
    ///
    /// # Errors
    /// [`Reason::ClusterKnown`].
    pub fn refuse_anothers(&self, cluster: &ClusterName) -> Result<()> {
        let Some(other) = self.others.get(cluster) else { return Ok(()) };
        let other = Identity::read(other);
        Err(Error::new(
            Reason::ClusterKnown,
            format!("namespace {} already has jobs of {cluster}, which belong to {}", self.place.0, other.shown()),
        )
        .hint("Choose another label with --cluster-name NAME, or leave there first"))
    }

    /// The labels that jobs of this cluster must have.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] if no label would have them selected.
    pub fn job_labels(&self, cluster: &ClusterName) -> Result<Labels> {
        let instance = &self.instance;
        instance.job_labels(cluster).map_err(|why| {
            let error = Error::new(Reason::DestinationUnusable, format!("{}: {}: {why}", self.typed, instance.shown()));
            match instance.without_jobs {
                Some(mode) if instance.is_vmagent() => return error.hint(format!("Name a VMAgent without {mode}")),
                Some(_) => return error.hint("Name a PrometheusAgent with mode StatefulSet, or a Prometheus"),
                None => {}
            }
            error.hint(format!(
                "Let it select them: kubectl -n {} patch {} --type=merge -p '{{\"spec\":{{\"scrapeConfigSelector\":{{}}}}}}'",
                instance.namespace,
                instance.shown()
            ))
        })
    }

    /// What Prometheus calls a job of a record.
    pub fn pool(&self, record: &Record, job: &Job) -> String {
        pool(&self.job_object(record, job))
    }

    fn job_object(&self, record: &Record, job: &Job) -> ObjectRef {
        job_object(self.instance.job_kind(), &self.place.0, &record.cluster, job)
    }

    pub fn pools(&self, record: &Record) -> Vec<String> {
        record.jobs.iter().map(|job| self.pool(record, job)).collect()
    }

    /// The configuration that the operator has generated for this Prometheus; null before there is one.
    ///
    /// # Errors
    /// Why the API cannot be read, as text.
    pub async fn generated(&self) -> Result<Value, String> {
        let reference = self.instance.generated();
        if !self.instance.is_vmagent() {
            return self.unpacked(&reference, generated::PROMETHEUS).await;
        }
        let mut config = self.unpacked(&reference, generated::VMAGENT).await?;
        if config["scrape_config_files"].is_null() {
            return Ok(config);
        }
        for number in 1.. {
            let name = format!("{}-sc-{number}", reference.name);
            let more = self.unpacked(&ObjectRef { name, ..reference.clone() }, generated::MORE_JOBS).await?;
            match (config["scrape_configs"].as_array_mut(), more) {
                (Some(jobs), Value::Array(more)) => jobs.extend(more),
                _ => break,
            }
        }
        Ok(config)
    }

    async fn unpacked(&self, secret: &ObjectRef, key: &str) -> Result<Value, String> {
        match self.hub.get(secret).await {
            Ok(Found::Object(object)) => generated::read(&object, key).map_err(|why| format!("{secret}: {why}")),
            Ok(Found::Absent | Found::KindUnknown) => Ok(Value::Null),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What is wrong with the jobs of a record, as far as objects, verdicts and the generated configuration say.
    pub async fn complaints(&self, record: &Record) -> Vec<String> {
        let generated = self.generated().await;
        let stored = self.stored(&record.cluster);
        let complaint = |job: &Job| {
            let reference = self.job_object(record, job);
            let Some(object) = stored.jobs.get(&reference) else { return Some(format!("{reference} is gone")) };
            match verdict(object, &self.instance) {
                Some(Err(why)) => Some(format!("the operator rejects {reference}: {}", line::first(&why))),
                _ if generated.as_ref().is_ok_and(|config| !has_job(config, &pool(&reference))) => Some(format!(
                    "the operator has not put {reference} into the configuration of {}",
                    self.instance.shown()
                )),
                _ => None,
            }
        };
        record.jobs.iter().filter_map(complaint).collect()
    }

    /// Has the hub go through an object and store nothing: may it be written, and does the hub know its fields?
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] where the operator's kinds are absent or too old; whatever else the hub says.
    pub async fn try_out(&self, object: &Object) -> Result<()> {
        let tried = self.hub.apply(object, DryRun::Server).await;
        tried.map(drop).map_err(|error| self.explained(error))
    }

    /// An error about an object of ours in the hub.
    pub fn explained(&self, error: Error) -> Error {
        if is_about_unknown_field(&error) || error.reason == Reason::NotFound {
            too_old(self.instance.kind, &error.to_string())
        } else {
            error
        }
        .about(&self.typed)
    }

    /// Who reads it, for people.
    pub fn reader(&self) -> Reader {
        // A vmagent's API gives the release of a Prometheus that it resembles.
        let told = self.version.as_deref().filter(|_| !self.instance.is_vmagent());
        let release = told.or(self.instance.version.as_deref()).unwrap_or_default();
        Reader {
            config: format!(
                "{} in namespace {} of {}",
                self.instance.shown(),
                self.instance.namespace,
                self.hub.context
            ),
            name: format!("{} {}", self.instance.program(), release.trim_start_matches('v')).trim_end().to_owned(),
            process: None,
            user: None,
            ignored: Vec::new(),
            unseen: self.api.as_ref().err().cloned(),
        }
    }

    fn reference(&self, kind: Kind, object: &Value) -> ObjectRef {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        ObjectRef { kind, namespace: Some(self.place.0.clone()), name }
    }
}

/// As [`super::labels`], by one list of the namespace of the Prometheus. Jobs in another namespace are not looked for.
pub(super) async fn labels(location: &OperatorLocation, kubeconfig: Option<&Path>) -> Result<Vec<ClusterName>> {
    let choice = Choice {
        kubeconfig: kubeconfig.map(Path::to_path_buf),
        context: location.context.clone(),
        ..Choice::default()
    };
    let (hub, _) = cluster::connect(kubeconfig::select_silent(&choice)?, &Connection::default()).await?;
    let secrets = hub.list(List::Objects(Kind::Secret, Some(location.namespace.as_str())), &ours()).await?;
    let is_there = |secret: &&Value| {
        let destination = secret["metadata"]["annotations"][DESTINATION_ANNOTATION].as_str().unwrap_or_default();
        owner(secret) == Owner::Us && location.may_be(Identity::read(destination).shown())
    };
    Ok(secrets.iter().filter(is_there).filter_map(cluster_of).collect())
}

/// Selects the plugin's objects about clusters.
fn ours() -> String {
    format!("{MANAGED_BY}={FIELD_MANAGER},{CLUSTER_LABEL}")
}

fn cluster_of(object: &Value) -> Option<ClusterName> {
    object["metadata"]["labels"][CLUSTER_LABEL].as_str()?.parse().ok()
}

/// The flags that other errors propose are about the cluster that is scraped.
fn of_hub(error: Error) -> Error {
    match error.reason {
        Reason::InsecureKubeconfig => Error::new(error.reason, error.to_string()).hint(
            "Put the CA of this cluster into the kubeconfig: kubectl config set-cluster NAME --certificate-authority FILE",
        ),
        _ => error,
    }
}

/// `kind` is one of those of its operator.
fn too_old(kind: Kind, what: &str) -> Error {
    if kind.group() == Kind::VMAgent.group() {
        return Error::new(
            Reason::DestinationUnusable,
            format!("its operator of VictoriaMetrics is too old or missing: {what}"),
        )
        .hint("It needs VictoriaMetrics' operator 0.51 or later: kubectl get crd vmscrapeconfigs.operator.victoriametrics.com")
        .hint("Or use a vmagent that reads files: -p FILE");
    }
    Error::new(Reason::DestinationUnusable, format!("its Prometheus Operator is too old or missing: {what}"))
        .hint("Jobs for other clusters need Prometheus Operator 0.71 or later: kubectl get crd scrapeconfigs.monitoring.coreos.com")
        .hint("Or use a Prometheus that reads files: -p DIR")
}

/// The Prometheus, agent or vmagent that is meant.
async fn instance(hub: &Cluster, location: &OperatorLocation) -> Result<Instance> {
    let OperatorLocation { namespace, name, kind, .. } = location;
    let mut objects = listed(hub, location).await?;
    let shown = |(kind, object): &(Kind, Value)| format!("{}/{}", kind.singular(), name_of(object));
    let known: Vec<String> = objects.iter().map(shown).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    if let Some(name) = name {
        objects.retain(|(_, object)| name_of(object) == *name);
    }
    let unusable = |what: String| Error::new(Reason::DestinationUnusable, what);
    let place = format!("in namespace {namespace} of {}", hub.context);
    let (kind, found) = match (objects.len(), name) {
        (1, _) => objects.remove(0),
        (0, Some(name)) => {
            let wanted = kind.unwrap_or(Kind::Prometheus).singular();
            return Err(unusable(format!("there is no {wanted}/{name} {place}")).hint(format!("It has {known}")));
        }
        (0, None) => {
            let wanted = kind.unwrap_or(Kind::Prometheus);
            return Err(unusable(format!("there is no {wanted} {place}"))
                .hint("List all: kubectl get prometheus,prometheusagent --all-namespaces")
                .hint("Or of VictoriaMetrics' operator: kubectl get vmagent --all-namespaces"));
        }
        (_, Some(name)) => {
            let kinds: Vec<String> = objects.iter().map(|(kind, _)| format!("a {kind}")).collect();
            let named = objects.iter().map(|(kind, _)| format!("operator://{namespace}/{}/{name}", kind.singular()));
            return Err(unusable(format!("{name} {place} is {}", kinds.join(" and ")))
                .hint(format!("Name one: {}", named.collect::<Vec<_>>().join(" or "))));
        }
        (_, None) => {
            return Err(unusable(format!("there are several Prometheus {place}"))
                .hint(format!("Name one of {known}: operator://{namespace}/KIND/NAME")));
        }
    };
    let read = Instance::read(kind, &found);
    let instance = read.map_err(|why| unusable(format!("{}/{}: {why}", kind.singular(), name_of(&found))))?;
    if instance.paused {
        return Err(unusable(format!("{} is paused: the operator does not process it", instance.shown()))
            .hint("Set spec.paused to false"));
    }
    Ok(instance)
}

/// The objects of the kind that is meant, or of all. Where no kind is named, a kind that the hub does not know, or that
/// this user may not list, has no objects, unless there is no object of the other kinds either.
async fn listed(hub: &Cluster, location: &OperatorLocation) -> Result<Vec<(Kind, Value)>> {
    let list = async |kind: Kind| match hub.list(List::Objects(kind, Some(location.namespace.as_str())), "").await {
        Ok(listed) => Ok(listed.into_iter().map(|object| (kind, object)).collect()),
        Err(error) if error.reason == Reason::NotFound => Err(too_old(kind, &format!("the hub knows no {kind}"))),
        Err(error) => Err(error.about(format!("{} in namespace {}", kind.plural(), location.namespace))),
    };
    if let Some(kind) = location.kind {
        return list(kind).await;
    }
    let is_without = |error: &Error| matches!(error.reason, Reason::DestinationUnusable | Reason::Forbidden);
    let (mut objects, mut missing) = (Vec::new(), Vec::new());
    for (kind, listed) in READERS.into_iter().zip(join_all(READERS.map(list)).await) {
        match listed {
            Ok(listed) => objects.extend(listed),
            Err(error) if is_without(&error) => missing.push((kind, error)),
            Err(error) => return Err(error),
        }
    }
    let is_all = missing.len() == READERS.len();
    match missing.into_iter().next() {
        Some((Kind::Prometheus, error)) if objects.is_empty() && (is_all || error.reason == Reason::Forbidden) => {
            Err(error)
        }
        _ => Ok(objects),
    }
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The namespace of our objects. The labels of its own namespace mostly say enough; only if not, all are listed, which
/// fewer people may do.
async fn place(hub: &Cluster, instance: &Instance) -> Result<NamespaceLabels> {
    let own = ObjectRef { kind: Kind::Namespace, namespace: None, name: instance.namespace.clone() };
    let own = match hub.get(&own).await {
        Ok(Found::Object(object)) => labelled(&object),
        Ok(_) => None,
        Err(error) if error.reason == Reason::Forbidden => None,
        Err(error) => return Err(error),
    }
    .unwrap_or_else(|| named_only(&instance.namespace));
    let mut namespaces = vec![own];
    if instance.place(&namespaces).is_err() {
        let listed =
            hub.list(List::Objects(Kind::Namespace, None), "").await.map_err(|error| error.about("namespaces"))?;
        namespaces = listed.iter().filter_map(labelled).collect();
    }
    let name = instance.place(&namespaces).map_err(|why| {
        Error::new(Reason::DestinationUnusable, format!("{}: {why}", instance.shown()))
            .hint(format!("Give the namespace {} the labels that it selects", instance.namespace))
    })?;
    let found = namespaces.into_iter().find(|(namespace, _)| *namespace == name);
    Ok(found.unwrap_or_else(|| named_only(&name)))
}

fn labelled(namespace: &Value) -> Option<NamespaceLabels> {
    let name = namespace["metadata"]["name"].as_str()?.to_owned();
    let labels = namespace["metadata"]["labels"].as_object().into_iter().flatten();
    Some((name, labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()))
}

fn named_only(namespace: &str) -> NamespaceLabels {
    (namespace.to_owned(), Labels::from([(NAME_LABEL.to_owned(), namespace.to_owned())]))
}
