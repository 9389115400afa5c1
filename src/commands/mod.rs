//! One short file a command: where desired comes from, which stages, what is reported.

mod completion;
mod join;
mod leave;
mod manifests;
mod rotate;
mod rules;

use crate::{
    cli::{AccountArgs, Command, DestinationArgs, DryRunArg, FenceArg, FormatArg, KubeArgs, Output, SeenArgs},
    cluster::{Choice, Connection, Impersonation},
    destination::{Destination, Options},
    error::{Error, Reason, Result},
    model::{account::Account, destination::Format, names::ClusterName, object::Fence, report::ObjectReport},
    render,
    ui::Ui,
};
use futures_util::future::try_join_all;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Runs a command to its end.
pub fn run(command: Command) -> (Ui, Result<()>) {
    match command {
        Command::Join(args) => with_runtime(args.kube.verbosity, |ui| join::run(args, ui)),
        Command::Leave(args) => with_runtime(args.kube.verbosity, |ui| leave::run(args, ui)),
        Command::Rotate(args) => with_runtime(args.kube.verbosity, |ui| rotate::run(args, ui)),
        Command::Manifests(args) => without_runtime(|ui| manifests::run(&args, ui)),
        Command::Rules(args) => without_runtime(|ui| rules::run(&args, ui)),
        Command::Completion(args) => without_runtime(|ui| completion::run(args.shell, ui)),
        Command::Version => {
            without_runtime(|ui| ui.print(&format!("kubectl prom-federate v{}\n", env!("CARGO_PKG_VERSION"))))
        }
    }
}

fn without_runtime(command: impl FnOnce(Ui) -> Result<()>) -> (Ui, Result<()>) {
    let ui = Ui::new(0);
    (ui, command(ui))
}

fn with_runtime<F: Future<Output = Result<()>>>(verbosity: u8, command: impl FnOnce(Ui) -> F) -> (Ui, Result<()>) {
    let ui = Ui::new(verbosity);
    // Whatever else is linked, there is one choice of cryptography; it fails only if it was made before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Nearly all the time is spent waiting for API servers: one thread is enough.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop can be had");
    (ui, runtime.block_on(command(ui)))
}

impl AccountArgs {
    fn account(&self) -> Account {
        Account { namespace: self.namespace.clone(), name: self.service_account.clone() }
    }
}

impl From<FenceArg> for Fence {
    fn from(arg: FenceArg) -> Self {
        match arg {
            FenceArg::Required => Self::Required,
            FenceArg::Off => Self::Off,
        }
    }
}

impl DryRunArg {
    /// What kubectl writes behind an object, and the report says.
    fn suffix(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::None => None,
            Self::Client => Some((" (dry run)", "client")),
            Self::Server => Some((" (server dry run)", "server")),
        }
    }
}

/// Where the cluster is and how long to wait for it.
fn connection(kube: &KubeArgs, seen: &SeenArgs, ui: Ui) -> (Choice, Connection) {
    let choice = Choice {
        kubeconfig: kube.kubeconfig.clone(),
        context: kube.context.clone(),
        impersonation: Impersonation {
            user: kube.impersonate.clone(),
            groups: kube.impersonate_groups.clone(),
            uid: kube.impersonate_uid.clone(),
            extra: grouped(&kube.impersonate_extra),
        },
    };
    let connection = Connection {
        timeout: timeout(kube),
        api_server: seen.api_server.clone(),
        ca_file: seen.api_server_ca_file.clone(),
        tls_server_name: seen.api_server_tls_name.clone(),
        log: ui.logs_requests().then(|| Arc::new(move |call| ui.log(&call)) as _),
    };
    (choice, connection)
}

/// Looks at every destination that the command line names, at the same time; writes nothing.
async fn destinations(to: &DestinationArgs, kube: &KubeArgs) -> Result<Vec<Destination>> {
    let options = Options {
        url: to.prometheus_url.clone(),
        reload: to.reload.clone(),
        owner: to.owner.clone(),
        format: to.format.map(|format| match format {
            FormatArg::Prometheus => Format::Prometheus,
            FormatArg::Vmagent => Format::Vmagent,
        }),
        timeout: timeout(kube),
    };
    if to.prometheus.len() > 1 && options.url.is_some() {
        return Err(Error::usage("--prometheus-url can be only one, and there are several destinations")
            .hint("Leave it out: each running process is asked where it listens"));
    }
    let opened = try_join_all(to.prometheus.iter().map(|location| Destination::open(location, &options))).await?;
    for (index, destination) in opened.iter().enumerate() {
        if opened[..index].iter().any(|other| other.directory.config() == destination.directory.config()) {
            return Err(Error::usage(format!("the destination {} is named twice", destination.name()))
                .hint("Name each folder once"));
        }
    }
    Ok(opened)
}

fn timeout(kube: &KubeArgs) -> Option<Duration> {
    Some(kube.request_timeout).filter(|timeout| !timeout.is_zero())
}

/// The values of each key, in their order.
fn grouped(pairs: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    let mut grouped: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in pairs {
        grouped.entry(key.clone()).or_default().push(value.clone());
    }
    grouped
}

/// Refuses names that no destination knows: a typing error must not look like a success.
fn known_somewhere(names: &[ClusterName], destinations: &[Destination]) -> Result<()> {
    let knows = |name: &&ClusterName| destinations.iter().any(|destination| destination.installed.contains_key(name));
    let Some(unknown) = names.iter().find(|name| !knows(name)) else { return Ok(()) };
    let places: Vec<&str> = destinations.iter().map(Destination::name).collect();
    let mut known: Vec<&str> =
        destinations.iter().flat_map(|destination| destination.installed.keys()).map(ClusterName::as_str).collect();
    known.sort_unstable();
    known.dedup();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Err(Error::new(Reason::ClusterUnknown, format!("{} knows no cluster {unknown}", places.join(", ")))
        .hint(format!("It knows: {known}")))
}

/// A report in the format that was asked for, as text.
fn formatted(output: Output, report: &impl Serialize, objects: &[ObjectReport]) -> String {
    match output {
        Output::Json => render::report::json(report),
        Output::Yaml => render::report::yaml(report),
        Output::Name => render::report::names(objects),
    }
}
