//! A cluster with Prometheus Operator in it, and `VictoriaMetrics`' operator where a test asks for it, and what a pod would
//! make of what an operator writes: real servers that follow the configurations it generates.

mod vmagent;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::api::Api;
use crate::cluster::{Cluster, ClusterSpec, command};
use crate::ports;
use crate::process::Process;
use crate::prometheus::{Prometheus, PrometheusSpec};
use crate::tools;
use crate::wait;

const START: Duration = Duration::from_secs(120);
/// The kubelet takes a minute to bring a changed Secret into a pod; too long for tests.
const FOLLOWS: Duration = Duration::from_millis(100);
/// Where the operator's pods have the CA files that the configuration names.
const CERTS: &str = "/etc/prometheus/certs/";
/// Has an operator write its verdicts into the objects' status.
const VERDICTS: &str = "--feature-gates=StatusForConfigurationResources=true";
/// Where they have the rules.
const RULES: &str = "/etc/prometheus/rules/";

/// The namespace in which the operator gives no verdicts but as events, as it does everywhere by default.
pub const QUIET: &str = "quiet";
/// A namespace that no operator watches.
pub const UNWATCHED: &str = "unwatched";
/// Namespaces that only the operator of [`Hub::operator_that_ends`] watches.
pub const ENDING: [&str; 3] = ["ending-0", "ending-1", "ending-2"];

/// A cluster without nodes that knows the operator's kinds, and the operator.
#[derive(Debug)]
pub struct Hub {
    /// Stopped before the cluster.
    _operators: Vec<Process>,
    /// That of `VictoriaMetrics`, which few tests need.
    vm_operator: OnceLock<Result<Process, String>>,
    cluster: Cluster,
}

/// The hub of ordinary tests. A test takes a namespace and a Prometheus of its own in it.
///
/// # Panics
/// When it does not start, with the reason.
pub fn hub() -> &'static Hub {
    static HUB: OnceLock<Result<Hub, String>> = OnceLock::new();
    match HUB.get_or_init(|| Hub::start().map_err(|error| format!("{error:#}"))) {
        Ok(hub) => hub,
        Err(error) => panic!("{error}"),
    }
}

/// A folder of manifests, one for each kind of the operator, `GROUP_PLURAL.yaml`.
pub fn operator_kinds() -> Result<PathBuf> {
    Ok(tools::operator()?.kinds.clone())
}

/// As which an operator runs a Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Server,
    Agent,
}

impl Mode {
    /// Of the names of what the operator makes.
    fn prefix(self) -> &'static str {
        match self {
            Self::Server => "prometheus",
            Self::Agent => "prom-agent",
        }
    }
}

impl Hub {
    /// Start a cluster and two operators: one that writes its verdicts into the objects' status, and one without, for
    /// [`QUIET`].
    pub fn start() -> Result<Self> {
        let operator = tools::operator()?;
        let cluster = Cluster::start(&ClusterSpec::new("hub").nodes(0).controller("deployment-controller"))?;
        let kinds = operator.kinds.to_string_lossy().into_owned();
        cluster.kubectl_ok(&["apply", "--server-side", "--filename", &kinds]);
        // An operator ignores kinds that are not there when it starts.
        cluster.until_kinds_are_served()?;
        let ending = ENDING.join(",");
        for namespace in [QUIET, UNWATCHED].into_iter().chain(ENDING) {
            cluster.kubectl_ok(&["create", "namespace", namespace]);
        }
        let operators = vec![
            start(&cluster, "operator", [format!("--deny-namespaces={QUIET},{UNWATCHED},{ending}"), VERDICTS.into()])?,
            start(&cluster, "operator-quiet", [format!("--namespaces={QUIET}"), "--log-level=info".into()])?,
        ];
        Ok(Self { _operators: operators, vm_operator: OnceLock::new(), cluster })
    }

    /// Start the operator of [`ENDING`]. Dropping it ends it; there is one at a time.
    pub fn operator_that_ends(&self) -> Result<Operator> {
        let flags = [format!("--namespaces={}", ENDING.join(",")), VERDICTS.into()];
        Ok(Operator { _process: start(&self.cluster, "operator-ending", flags)? })
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Make a namespace, unless it is there.
    pub fn namespace(&self, name: &str, labels: &Value) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        match self.cluster.api().post("/api/v1/namespaces", &namespace)? {
            answer if answer.status == 409 => Ok(()),
            answer => answer.success("make the namespace").map(drop),
        }
    }

    /// Make a Prometheus and what it needs, unless there is one: a second attempt of a trial finds that of the first. `spec`
    /// is what a test is about: the selectors.
    pub fn prometheus(&self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        self.make(Mode::Server, namespace, name, spec)
    }

    /// The same in agent mode, a `PrometheusAgent`.
    pub fn agent(&self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        self.make(Mode::Agent, namespace, name, spec)
    }

    fn make(&self, mode: Mode, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        self.namespace(namespace, &json!({}))?;
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus", "namespace": namespace},
        });
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        match self.cluster.api().post(&accounts, &account)? {
            answer if answer.status == 409 => {}
            answer => drop(answer.success("make the service account")?),
        }
        let mut all =
            json!({"replicas": 1, "version": "v3.11.0", "serviceAccountName": "prometheus", "scrapeInterval": "1s"});
        if let (Some(all), Some(spec)) = (all.as_object_mut(), spec.as_object()) {
            all.extend(spec.clone());
            // A test takes a default away by null.
            all.retain(|_, value| !value.is_null());
        }
        let (version, kind, plural) = match mode {
            Mode::Server => ("v1", "Prometheus", "prometheuses"),
            Mode::Agent => ("v1alpha1", "PrometheusAgent", "prometheusagents"),
        };
        if mode == Mode::Server {
            all["evaluationInterval"] = "1s".into();
        }
        let prometheus = json!({
            "apiVersion": format!("monitoring.coreos.com/{version}"), "kind": kind,
            "metadata": {"name": name, "namespace": namespace}, "spec": all,
        });
        let path = format!("/apis/monitoring.coreos.com/{version}/namespaces/{namespace}/{plural}");
        match self.cluster.api().post(&path, &prometheus)? {
            answer if answer.status == 409 => Ok(()),
            answer => answer.success("make the Prometheus").map(drop),
        }
    }

    /// The configuration that the operator generates for a Prometheus, as text; `None` before there is one.
    pub fn generated(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/prometheus-{name}");
        self.cluster.api().get(&path)?.json()["data"]["prometheus.yaml.gz"].as_str().map(gunzipped).transpose()
    }

    /// A Prometheus that follows what the operator generates, as shard `shard`.
    pub fn run(&self, namespace: &str, name: &str, shard: usize) -> Result<Operated> {
        self.operate(Mode::Server, namespace, name, shard)
    }

    /// The same of a `PrometheusAgent`.
    pub fn run_agent(&self, namespace: &str, name: &str) -> Result<Operated> {
        self.operate(Mode::Agent, namespace, name, 0)
    }

    fn operate(&self, mode: Mode, namespace: &str, name: &str, shard: usize) -> Result<Operated> {
        let api = self.cluster.api().clone();
        let name = format!("{}-{name}", mode.prefix());
        let files = || Generated::read(&api, namespace, &name, shard);
        let first = wait::until(START, || files().ok().flatten())
            .ok_or_else(|| anyhow!("the operator generates no configuration {name} in {namespace}"))?;
        let mut spec = PrometheusSpec::new(&first.config);
        spec.agent = mode == Mode::Agent;
        let spec = first.files.iter().fold(spec, |spec, (path, content)| spec.file(path.clone(), content.clone()));
        let prometheus = Prometheus::start_with(&spec)?;
        let namespace = namespace.to_owned();
        Ok(following(prometheus, first, move || Generated::read(&api, &namespace, &name, shard)))
    }
}

/// An operator that runs; dropping it ends it.
#[derive(Debug)]
pub struct Operator {
    _process: Process,
}

fn start(cluster: &Cluster, name: &str, flags: [String; 2]) -> Result<Process> {
    let kubeconfig = format!("KUBECONFIG={}", cluster.kubeconfig().display());
    let address = format!("127.0.0.1:{}", ports::free()?);
    let own = [format!("--web.listen-address={address}"), "--kubelet-endpoints=false".into()];
    let argv = command(&tools::operator()?.program, own.into_iter().chain(flags));
    Process::start(name, cluster.dir(), [vec!["env".into(), kubeconfig], argv].concat())
}

impl Cluster {
    /// Wait until every kind that was added can be listed: one is established before its storage is ready.
    pub fn until_kinds_are_served(&self) -> Result<()> {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        for kind in self.api().get(path)?.json()["items"].as_array().into_iter().flatten() {
            let spec = &kind["spec"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
            let list = format!("/apis/{group}/{}/{plural}?limit=1", text(&spec["versions"][0]["name"]));
            let is_served = || self.api().get(&list).is_ok_and(|answer| answer.is_success()).then_some(());
            wait::until(START, is_served).with_context(|| format!("{plural} of {group} are not served"))?;
        }
        Ok(())
    }
}

/// A server that reads the configuration of an operator.
trait Reads: Send + Sync + 'static {
    /// The file with its configuration.
    const MAIN: &'static str;

    fn write(&self, path: &str, content: &str) -> Result<()>;

    fn reload(&self) -> Result<()>;
}

impl Reads for Prometheus {
    const MAIN: &'static str = "prometheus.yml";

    fn write(&self, path: &str, content: &str) -> Result<()> {
        self.write(path, content)
    }

    fn reload(&self) -> Result<()> {
        self.reload()
    }
}

/// A server as an operator would run it; dropping it stops it.
#[derive(Debug)]
pub struct Operated<T = Prometheus> {
    server: Arc<T>,
    ended: Arc<AtomicBool>,
    follower: Option<JoinHandle<()>>,
}

/// A server that has started with `first`, and takes what `read` returns from now on.
fn following<T: Reads>(
    server: T,
    first: Generated,
    read: impl Fn() -> Result<Option<Generated>> + Send + 'static,
) -> Operated<T> {
    let (server, ended) = (Arc::new(server), Arc::new(AtomicBool::new(false)));
    let follower = {
        let (server, ended) = (Arc::clone(&server), Arc::clone(&ended));
        thread::spawn(move || {
            let mut known = first;
            while !ended.load(Ordering::Acquire) {
                thread::park_timeout(FOLLOWS);
                let Ok(Some(now)) = read() else { continue };
                if now != known && now.write(&*server).is_ok() {
                    // One that it refuses is in its log; it goes on with the one before.
                    let _ = server.reload();
                    known = now;
                }
            }
        })
    };
    Operated { server, ended, follower: Some(follower) }
}

impl Operated {
    pub fn prometheus(&self) -> &Prometheus {
        &self.server
    }
}

impl<T> Drop for Operated<T> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(follower) = self.follower.take() {
            follower.thread().unpark();
            let _ = follower.join();
        }
    }
}

/// The files of one server, with the paths of a pod made those of its folder.
#[derive(Debug, PartialEq, Eq)]
struct Generated {
    config: String,
    files: Vec<(String, String)>,
}

impl Generated {
    /// `name` is that of the Secret with the configuration.
    fn read(api: &Api, namespace: &str, name: &str, shard: usize) -> Result<Option<Self>> {
        let object = |kind: &str, name: &str| -> Result<Value> {
            Ok(api.get(&format!("/api/v1/namespaces/{namespace}/{kind}/{name}"))?.json())
        };
        let secret = object("secrets", name)?;
        let Some(config) = secret["data"]["prometheus.yaml.gz"].as_str() else { return Ok(None) };
        // What the reloader beside Prometheus fills in from its environment.
        let config = gunzipped(config)?
            .replace(CERTS, "certs/")
            .replace(RULES, "rules/")
            .replace("$(POD_NAME)", &format!("{name}-{shard}"))
            .replace("$(SHARD)", &shard.to_string());
        let mut files = certificates(&object("secrets", &format!("{name}-tls-assets-0"))?)?;
        // An agent has none.
        let folder = format!("{name}-rulefiles-0");
        for (file, content) in object("configmaps", &folder)?["data"].as_object().into_iter().flatten() {
            files.push((format!("rules/{folder}/{file}"), content.as_str().unwrap_or_default().to_owned()));
        }
        Ok(Some(Self { config, files }))
    }

    fn write<T: Reads>(&self, server: &T) -> Result<()> {
        for (path, content) in &self.files {
            server.write(path, content)?;
        }
        server.write(T::MAIN, &self.config)
    }
}

/// The files of the Secret with what TLS needs.
fn certificates(assets: &Value) -> Result<Vec<(String, String)>> {
    let assets = assets["data"].as_object().into_iter().flatten();
    assets
        .map(|(file, content)| {
            let content = BASE64_STANDARD.decode(content.as_str().unwrap_or_default())?;
            Ok((format!("certs/{file}"), String::from_utf8_lossy(&content).into_owned()))
        })
        .collect()
}

fn gunzipped(base64: &str) -> Result<String> {
    let mut gzip =
        Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("run gzip")?;
    let compressed = BASE64_STANDARD.decode(base64)?;
    let mut input = gzip.stdin.take().context("the input of gzip")?;
    let writer = thread::spawn(move || input.write_all(&compressed));
    let output = gzip.wait_with_output()?;
    let written = writer.join();
    if !output.status.success() || !matches!(written, Ok(Ok(()))) {
        bail!("gzip ends with {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}
