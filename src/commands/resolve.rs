//! What several commands make of their flags, and how they tell what they did.

use crate::{
    cli::{
        AccountArgs, DestinationArgs, DryRunArg, FenceArg, FleetArgs, FormatArg, KubeArgs, Output, RouteArg, SeenArgs,
    },
    cluster::{Cluster, Connection, Log},
    destination::{Destination, HubOptions, Installed, Options},
    error::{Error, Reason, Result},
    kubeconfig::{Choice, Impersonation},
    model::{
        account::{Account, desired::Fence},
        job::route::Route,
        report::{
            ObjectReport,
            event::{Event, Wait},
        },
        store::location::{FolderLocation, Format, Location},
        text::{limits, names::ClusterName, shell},
    },
    render,
    stages::{cluster_time::ClusterTime, collect::Look, connect::ConnectOptions, interrupt::hear},
    ui::{LiveLine, Ui},
};
use futures_util::future::join_all;
use serde::Serialize;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

impl AccountArgs {
    pub(super) fn account(&self) -> Account {
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

impl From<RouteArg> for Route {
    fn from(arg: RouteArg) -> Self {
        match arg {
            RouteArg::Apiserver => Self::ApiServer,
            RouteArg::Kubelet => Self::Kubelet,
        }
    }
}

impl DryRunArg {
    pub(super) fn is_wanted(self) -> bool {
        self != Self::None
    }

    /// What kubectl writes behind an object.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }

    /// What a report says of it.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Client => Some("client"),
            Self::Server => Some("server"),
        }
    }
}

/// How a cluster is reached that is to be joined: also how Prometheus sees it.
pub(super) fn connect_options(
    kube: &KubeArgs,
    seen: &SeenArgs,
    kubelet_ca_file: Option<PathBuf>,
    fleet: &FleetArgs,
    ui: Ui,
) -> ConnectOptions {
    let SeenArgs { api_server, api_server_ca_file, api_server_tls_name, api_server_proxy } = seen;
    let options = administrator(kube, fleet, ui);
    let connection = Connection {
        api_server: api_server.clone(),
        ca_file: api_server_ca_file.clone(),
        kubelet_ca_file,
        tls_server_name: api_server_tls_name.clone(),
        api_server_proxy: api_server_proxy.clone(),
        ..options.connection
    };
    ConnectOptions { connection, ..options }
}

/// The same where it does not matter how Prometheus sees the cluster, or a record says that. Of the contexts the first
/// counts.
pub(super) fn administrator(kube: &KubeArgs, fleet: &FleetArgs, ui: Ui) -> ConnectOptions {
    let choice = Choice {
        kubeconfig: kube.kubeconfig.clone(),
        read: None,
        context: kube.context.first().cloned(),
        impersonation: Impersonation {
            user: kube.impersonate.clone(),
            groups: kube.impersonate_groups.clone(),
            uid: kube.impersonate_uid.clone(),
            extra: grouped(&kube.impersonate_extra),
        },
    };
    ConnectOptions {
        choice,
        connection: Connection { timeout: kube.request_timeout.limit(), log: log(ui), ..Connection::default() },
        contexts: None,
        at_once: fleet.parallel.get(),
    }
}

/// Tells a person of every event.
pub(super) fn teller(ui: Ui) -> impl Fn(Event) {
    move |event| ui.tell(&render::events::lines(&event))
}

fn log(ui: Ui) -> Option<Log> {
    ui.logs_requests().then(|| Arc::new(move |call| ui.log(&call)) as _)
}

/// Whether the flags about the API of Prometheus fit the destinations.
fn api_fits(locations: &[Location], url: Option<&str>, http_config: Option<&Path>) -> Result<()> {
    let is_operator = |location: &&Location| matches!(location, Location::Operator(_));
    if let (Some(operator), None, Some(_)) = (locations.iter().find(is_operator), url, http_config) {
        return Err(Error::usage(format!("{operator}: --prometheus-http-config needs the address of this Prometheus"))
            .hint("Name the address with --prometheus-url URL, or omit --prometheus-http-config"));
    }
    if locations.len() > 1 && url.is_some() {
        return Err(Error::usage("--prometheus-url is for one destination, and there are several")
            .hint("Omit it: the plugin finds the address of each running Prometheus"));
    }
    Ok(())
}

/// What the command line says about the destinations beside their names.
pub(super) fn options(to: &DestinationArgs, kube: &KubeArgs, read_only: bool, ui: Ui) -> Result<Options> {
    api_fits(&to.prometheus, to.prometheus_url.as_deref(), to.prometheus_http_config.as_deref())?;
    let format = match to.format {
        None => None,
        Some(FormatArg::Script) => {
            return Err(Error::usage("--format=script needs join without -p").hint(
                "Print the script: kubectl prom-federate join --format=script > FILE; or name the host: -p ssh://HOST/DIR",
            ));
        }
        Some(_) if to.prometheus.is_empty() => {
            return Err(Error::usage("--format needs a destination")
                .hint("Name the destination with -p, or omit --format: the jobs are printed for Prometheus"));
        }
        Some(FormatArg::Prometheus) => Some(Format::Prometheus),
        Some(FormatArg::Vmagent) => Some(Format::Vmagent),
        Some(FormatArg::Otel) => Some(Format::Otel),
    };
    Ok(Options {
        url: to.prometheus_url.clone(),
        http_config: to.prometheus_http_config.clone(),
        reload: to.reload.clone(),
        owner: to.owner.clone(),
        format,
        timeout: kube.request_timeout.limit(),
        read_only,
        hub: hub(kube, ui),
    })
}

/// How the cluster of an operator is reached. Whom to impersonate is said of the clusters that are joined.
pub(super) fn hub(kube: &KubeArgs, ui: Ui) -> HubOptions {
    HubOptions { kubeconfig: kube.kubeconfig.clone(), log: log(ui) }
}

/// Opens every destination of the command line concurrently; writes nothing.
pub(super) async fn destinations(to: &DestinationArgs, kube: &KubeArgs, ui: Ui) -> Result<Vec<Destination>> {
    open(&to.prometheus, &options(to, kube, false, ui)?, ui).await
}

/// The same with options at hand.
pub(super) async fn open(locations: &[Location], options: &Options, ui: Ui) -> Result<Vec<Destination>> {
    open_each(locations, options, ui).await?.into_iter().collect()
}

/// Opens every destination; a failure does not affect the others.
///
/// # Errors
/// Only a mistake in the command line.
pub(super) async fn open_each(locations: &[Location], options: &Options, ui: Ui) -> Result<Vec<Result<Destination>>> {
    api_fits(locations, options.url.as_deref(), options.http_config.as_deref())?;
    expect_questions(locations, ui);
    let opened = join_all(locations.iter().map(|location| Box::pin(Destination::open(location, options)))).await;
    let known: Vec<&Destination> = opened.iter().flatten().collect();
    for (index, destination) in known.iter().enumerate() {
        if known[..index].iter().any(|other| other.is_same(destination)) {
            return Err(Error::usage(format!("the destination {} is named twice", destination.name()))
                .hint("Name each folder once"));
        }
    }
    Ok(opened)
}

/// Before ssh or a credential plugin runs, which may ask at the terminal: names what is connected to, because a later line
/// would be written into the question.
pub(super) fn expect_questions(locations: &[Location], ui: Ui) {
    let is_elsewhere = |location: &&Location| !matches!(location, Location::Directory(FolderLocation::Here(_)));
    for location in locations.iter().filter(is_elsewhere) {
        hear();
        ui.wait_still(&format!("connecting to {location}"));
    }
}

/// Tells a person that a cluster is waited for, unless its credential plugin may ask at the terminal meanwhile.
pub(super) fn wait_for(cluster: &Cluster, time: ClusterTime, ui: Ui) {
    if !cluster.may_ask() {
        teller(ui)(Event::Waits(Wait::Answer(cluster.context.clone()), Some(time.within)));
    }
}

/// # Errors
/// A mistake in the command line: `--context` with more than one cluster.
pub(super) fn one_context(choice: &Choice, clusters: &BTreeSet<ClusterName>) -> Result<()> {
    if choice.context.is_none() || clusters.len() < 2 {
        return Ok(());
    }
    let shown: Vec<String> = clusters.iter().map(ToString::to_string).collect();
    Err(Error::usage("--context is for one cluster, and there are several to show")
        .hint(format!("Name one of {}, or omit --context: each record names its context", shown.join(", "))))
}

/// The clusters of these names, or all, of those that these destinations know: they have jobs of them, or remains.
///
/// # Errors
/// [`Reason::ClusterUnknown`], with those that they know.
pub(super) fn chosen<'a>(
    names: &[ClusterName],
    known: impl IntoIterator<Item = (&'a ClusterName, &'a Result<Installed>)>,
    destinations: &[&str],
) -> Result<BTreeSet<ClusterName>> {
    let is_known = |installed: &Result<Installed>| {
        installed.as_ref().map_or(true, |installed| installed.live.is_some() || !installed.generations.is_empty())
    };
    let known: BTreeSet<ClusterName> =
        known.into_iter().filter(|(_, installed)| is_known(installed)).map(|(name, _)| name.clone()).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        let known: Vec<&str> = known.iter().map(ClusterName::as_str).collect();
        let next =
            if known.is_empty() { no_cluster(destinations) } else { format!("Known clusters: {}", known.join(", ")) };
        let message = format!("{}: there is no cluster {unknown}", destinations.join(", "));
        return Err(Error::new(Reason::ClusterUnknown, message).hint(next));
    }
    Ok(if names.is_empty() { known } else { names.iter().cloned().collect() })
}

/// For people.
pub(super) fn no_cluster(destinations: &[&str]) -> String {
    let flags = destinations.iter().flat_map(|destination| ["-p", destination]);
    let join = shell::plugin(["join", "--context", "CONTEXT"].into_iter().chain(flags));
    format!("The destination has no clusters yet; join one: {join}")
}

/// The values of each key, in their order.
fn grouped(pairs: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    let mut grouped: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in pairs {
        grouped.entry(key.clone()).or_default().push(value.clone());
    }
    grouped
}

/// A live line for each cluster of a destination while the work on it goes on.
pub(super) fn progress(
    ui: Ui,
    destinations: &[Destination],
    clusters: &BTreeSet<ClusterName>,
    request_timeout: Option<Duration>,
) -> impl Fn(&str, &ClusterName, Look) {
    let at_most = Some(limits::for_cluster(request_timeout));
    let known =
        |destination: &Destination| destination.installed().keys().filter(|name| clusters.contains(*name)).count();
    let live = ui.live(destinations.iter().map(known).sum());
    let lines: RefCell<BTreeMap<(String, ClusterName), LiveLine>> = RefCell::default();
    move |destination, cluster, look| {
        let key = (destination.to_owned(), cluster.clone());
        match look {
            Look::Begins => drop(lines.borrow_mut().insert(key, live.of(cluster.as_str(), "asking", at_most))),
            Look::Ends => drop(lines.borrow_mut().remove(&key)),
        }
    }
}

/// A report in the format that was asked for, as text.
pub(super) fn formatted(output: Output, report: &impl Serialize, objects: &[ObjectReport]) -> String {
    match output {
        Output::Json => render::report::json(report),
        Output::Yaml => render::report::yaml(report),
        Output::Name => render::report::names(objects),
    }
}
