//! Runs the plugin as kubectl would, and keeps what it said.

#[path = "../common/run.rs"]
mod run;

pub(crate) use run::Run;
use std::{
    path::Path,
    process::{Command, Output, Stdio},
};
use testbed::Cluster;

/// An account of a test's own in a shared cluster; a test may leave the cluster or keep the account.
pub(crate) struct Account<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: String,
}

impl<'a> Account<'a> {
    /// `name` becomes a namespace: every test has its own in this cluster.
    pub(crate) fn new(cluster: &'a Cluster, name: &str) -> Self {
        let namespace = format!("e2e-{name}{}", crate::trial::suffix());
        crate::trial::claim(&format!("the namespace {namespace} of {}", cluster.kubeconfig().display()));
        Self { cluster, namespace }
    }

    /// Runs a command of the plugin on this account, saying yes.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.run_with(self.cluster.kubeconfig(), arguments)
    }

    /// The same with another kubeconfig.
    pub(crate) fn run_with(&self, kubeconfig: &Path, arguments: &[&str]) -> Run {
        let mut all = arguments.to_vec();
        all.extend(["--namespace", &self.namespace, "--yes"]);
        run(kubeconfig, &all)
    }

    /// Joins and returns what was printed.
    pub(crate) fn join(&self, arguments: &[&str]) -> Run {
        let mut all = vec!["join"];
        all.extend(arguments);
        self.run(&all).succeeded()
    }

    /// The name of this account's cluster-scoped objects.
    pub(crate) fn cluster_scoped_name(&self) -> String {
        format!("prom-federate.{}.prometheus", self.namespace)
    }

    /// The name of the objects by which this account renews its token.
    pub(crate) fn renewal_name(&self) -> String {
        format!("prom-federate-renew.{}.prometheus", self.namespace)
    }

    /// The name of the objects that keep others from becoming this account.
    pub(crate) fn guard_name(&self) -> String {
        format!("prom-federate-guard.{}.prometheus", self.namespace)
    }

    /// Everything of this account that is in the cluster, in kubectl's spelling.
    pub(crate) fn objects(&self) -> Vec<String> {
        let (name, renewal, guard) = (self.cluster_scoped_name(), self.renewal_name(), self.guard_name());
        let api = self.cluster.api();
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let admission = "/apis/admissionregistration.k8s.io/v1";
        let mut found: Vec<String> = [
            format!("/api/v1/namespaces/{}", self.namespace),
            format!("/api/v1/namespaces/{}/serviceaccounts/prometheus", self.namespace),
            format!("{rbac}/clusterroles/{name}"),
            format!("{rbac}/clusterrolebindings/{name}"),
            format!("{admission}/validatingadmissionpolicies/{name}"),
            format!("{admission}/validatingadmissionpolicybindings/{name}"),
            format!("{rbac}/namespaces/{}/roles/{renewal}", self.namespace),
            format!("{rbac}/namespaces/{}/rolebindings/{renewal}", self.namespace),
            format!("{admission}/validatingadmissionpolicies/{renewal}"),
            format!("{admission}/validatingadmissionpolicybindings/{renewal}"),
            format!("{admission}/validatingadmissionpolicies/{guard}"),
            format!("{admission}/validatingadmissionpolicybindings/{guard}"),
        ]
        .into_iter()
        .filter(|path| api.get(path).expect("the API server answers").is_success())
        .collect();
        found.extend(self.secrets().into_iter().map(|name| format!("secrets/{name}")));
        found
    }

    /// The names of the account's bound Secrets.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let path = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        let list = self.cluster.api().get(&path).expect("the API server answers").json();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |stream: &[u8]| String::from_utf8_lossy(stream).into_owned();
        Self::new(output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

/// Runs the plugin to its end, without a terminal and with nothing in the environment that it could take up.
pub(crate) fn run(kubeconfig: &Path, arguments: &[&str]) -> Run {
    command(kubeconfig, arguments).output().expect("the plugin starts").into()
}

/// The plugin, about to be run.
pub(crate) fn command(kubeconfig: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"));
    command.args(arguments).env_clear().env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    command
}
