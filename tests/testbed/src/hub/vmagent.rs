//! `VictoriaMetrics`' operator in the hub, and real vmagents that follow it.

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::{Generated, Hub, Operated, Reads, START, certificates, following, gunzipped};
use crate::api::Api;
use crate::cluster::command;
use crate::process::Process;
use crate::vmagent::{Vmagent, VmagentSpec};
use crate::{tools, wait};

/// It copies the objects of Prometheus Operator, and they would have two operators in the hub.
const COPIES: &str =
    "-controller.disableReconcileFor=PodMonitor,ServiceMonitor,ScrapeConfig,AlertmanagerConfig,Probe,PrometheusRule";
/// Room for one job in a Secret and for few more, instead of for half a mebibyte, so that a test can have too many.
const ROOM: &str = "VM_CONFIG_DATA_BUDGET_BYTES=2000";
/// How often the operator looks at a `VMAgent` of which it has heard nothing: once a minute is too seldom for tests.
const LOOKS: &str = "VM_FORCERESYNCINTERVAL=10s";
/// Where the operator's pods have the CA files that the configuration names.
const CERTS: &str = "/etc/vmagent-tls/certs/";
/// Where they have the jobs of further Secrets.
const MORE_JOBS: &str = "/etc/vm/sc-files/";

impl Hub {
    /// Make a `VMAgent`, unless there is one. `spec` is what a test is about: the selectors.
    pub fn vmagent(&self, namespace: &str, name: &str, spec: &Value) -> Result<()> {
        self.vm_operator()?;
        self.namespace(namespace, &json!({}))?;
        // The hub has no nodes, and the operator waits for pods.
        let mut all = json!({
            "replicaCount": 0, "image": { "tag": "v1.133.0" }, "scrapeInterval": "1s",
            "remoteWrite": [{ "url": "http://127.0.0.1:9/api/v1/write" }],
        });
        if let (Some(all), Some(spec)) = (all.as_object_mut(), spec.as_object()) {
            all.extend(spec.clone());
        }
        let version = "operator.victoriametrics.com/v1beta1";
        let vmagent = json!({
            "apiVersion": version, "kind": "VMAgent", "metadata": { "name": name, "namespace": namespace }, "spec": all,
        });
        match self.cluster.api().post(&format!("/apis/{version}/namespaces/{namespace}/vmagents"), &vmagent)? {
            answer if answer.status == 409 => Ok(()),
            answer => answer.success("make the VMAgent").map(drop),
        }
    }

    /// A vmagent that follows what the operator generates, with what `adapt` adds to it.
    pub fn run_vmagent(
        &self,
        namespace: &str,
        name: &str,
        adapt: impl FnOnce(VmagentSpec) -> VmagentSpec,
    ) -> Result<Operated<Vmagent>> {
        let (api, namespace, name) = (self.cluster.api().clone(), namespace.to_owned(), format!("vmagent-{name}"));
        let read = move || read(&api, &namespace, &name);
        let first = wait::until(START, || read().ok().flatten())
            .ok_or_else(|| anyhow!("the operator generates no configuration of the vmagent"))?;
        let spec = adapt(VmagentSpec::new(&first.config));
        let spec = first.files.iter().fold(spec, |spec, (path, content)| spec.file(path.clone(), content.clone()));
        Ok(following(Vmagent::start_with(&spec)?, first, read))
    }

    /// What the operator generates for a vmagent, as text; `None` before it has generated anything.
    pub fn generated_for_vmagent(&self, namespace: &str, name: &str) -> Result<Option<String>> {
        let generated = read(self.cluster.api(), namespace, &format!("vmagent-{name}"))?;
        Ok(generated.map(|all| all.files.iter().fold(all.config, |text, (_, more)| text + more)))
    }

    fn vm_operator(&self) -> Result<()> {
        let started = self.vm_operator.get_or_init(|| self.start_vm_operator().map_err(|error| format!("{error:#}")));
        started.as_ref().map(drop).map_err(|error| anyhow!("{error}"))
    }

    fn start_vm_operator(&self) -> Result<Process> {
        let operator = tools::vm_operator()?;
        self.cluster.kubectl_ok(&["apply", "--server-side", "--filename", &operator.kinds.to_string_lossy()]);
        self.cluster.until_kinds_are_served()?;
        let environment = [
            format!("KUBECONFIG={}", self.cluster.kubeconfig().display()),
            "VM_DISABLESELFSERVICESCRAPECREATION=true".into(),
            ROOM.into(),
            LOOKS.into(),
        ];
        let flags = ["-metrics-bind-address=0", "-health-probe-bind-address=0", "-pprof-addr=", COPIES];
        let argv = command(&operator.program, flags.map(str::to_owned));
        Process::start("vmoperator", self.cluster.dir(), [vec!["env".into()], environment.into(), argv].concat())
    }
}

impl Reads for Vmagent {
    const MAIN: &'static str = "vmagent.yml";

    fn write(&self, path: &str, content: &str) -> Result<()> {
        self.write(path, content)
    }

    fn reload(&self) -> Result<()> {
        self.reload()
    }
}

impl Operated<Vmagent> {
    pub fn vmagent(&self) -> &Vmagent {
        &self.server
    }
}

/// `name` is that of the Secret with the configuration.
fn read(api: &Api, namespace: &str, name: &str) -> Result<Option<Generated>> {
    let secret = |name: &str| -> Result<Value> {
        Ok(api.get(&format!("/api/v1/namespaces/{namespace}/secrets/{name}"))?.json())
    };
    let unpacked = |secret: &Value, key: &str| -> Result<Option<String>> {
        let text = secret["data"][key].as_str().map(gunzipped).transpose()?;
        Ok(text.map(|text| text.replace(CERTS, "certs/").replace(MORE_JOBS, "jobs/")))
    };
    let Some(config) = unpacked(&secret(name)?, "vmagent.yaml.gz")? else { return Ok(None) };
    let mut files = certificates(&secret(&format!("tls-assets-{name}"))?)?;
    let mut number = 1;
    while let Some(jobs) = unpacked(&secret(&format!("{name}-sc-{number}"))?, "jobs.yaml")? {
        files.push((format!("jobs/{number}/jobs.yaml"), jobs));
        number += 1;
    }
    Ok(Some(Generated { config, files }))
}
