//! Several contexts in one command: which are meant, what is seen of each, and what came of it. A cluster that fails
//! costs no other.

use super::resolve::formatted;
use crate::{
    cli::{FleetArgs, KubeArgs, Output, SeenArgs},
    cluster::network,
    error::{Error, Reason, Result},
    kubeconfig::{self, ReadKubeconfig},
    model::{
        kube::contexts::{ChosenContext, ContextsOfClusters, is_pattern, listed, matching},
        report::{API_VERSION, FleetReport, FleetRow, ObjectReport},
        text::{
            figures::counted,
            name_template::{ContextEntry, NameTemplate},
            names::ClusterName,
            shell,
        },
    },
    render::fleet::{Column, table},
    stages::{cluster_time::ClusterTime, connect::ConnectOptions, interrupt::interrupted, side_by_side::side_by_side},
    ui::Ui,
};
use serde::Serialize;
use std::{collections::BTreeMap, mem, path::Path, sync::Arc};

/// The contexts of a command, where there are several.
pub(super) struct Fleet {
    pub(super) contexts: Vec<ChosenContext>,
    read: Arc<ReadKubeconfig>,
}

/// What the flags about contexts come to.
pub(super) enum Contexts {
    /// The one of `--context`, or the current one. Its label as of a [`ChosenContext`].
    One {
        label: Option<ClusterName>,
        derived: Option<ClusterName>,
    },
    Several(Fleet),
}

const ONE_BY_ONE: &str = "Name the clusters that need it one by one, each with --context NAME";

impl Contexts {
    /// Afterwards `kube` has at most one context, and none if there are several.
    ///
    /// # Errors
    /// [`Reason::ContextNotFound`] for what fits no context, the errors of reading the kubeconfig or the list, and a
    /// context for which the template yields no label.
    pub(super) fn new(args: &FleetArgs, kube: &mut KubeArgs, template: Option<&NameTemplate>) -> Result<Self> {
        let Some((mut contexts, read)) = chosen(args, kube)? else {
            let derive = |template| {
                let read = ReadKubeconfig::read(kube.kubeconfig.as_deref())?;
                derived(template, read.entry(kube.context.first().map(String::as_str)))
            };
            return Ok(Self::One { label: None, derived: template.map(derive).transpose()?.flatten() });
        };
        kube.context.clear();
        for ChosenContext { name, label, derived: own } in &mut contexts {
            if let (Some(template), None) = (template, label) {
                *own = derived(template, read.entry(Some(name)))?;
            }
        }
        if let [ChosenContext { name, label, derived }] = &mut contexts[..] {
            kube.context.push(mem::take(name));
            return Ok(Self::One { label: label.take(), derived: derived.take() });
        }
        Ok(Self::Several(Fleet { contexts, read: Arc::new(read) }))
    }

    /// An administrator's connections to joined clusters: each by the one context, or by the one of several that leads to
    /// it.
    pub(super) async fn administrator(&self, options: ConnectOptions, ui: Ui) -> ConnectOptions {
        let Self::Several(fleet) = self else { return options };
        let uids = fleet.uids(&options, ui).await.into_iter().map(|(chosen, uid)| (chosen.name, uid));
        let mut options = ConnectOptions { contexts: Some(Arc::new(ContextsOfClusters::new(uids))), ..options };
        options.choice.read = Some(Arc::clone(&fleet.read));
        options
    }
}

impl Fleet {
    /// # Errors
    /// The first flag that is given, although it is about one cluster.
    pub(super) fn refuse_what_is_about_one<'a>(&self, of_one: impl IntoIterator<Item = (bool, &'a str)>) -> Result<()> {
        let count = self.contexts.len();
        let Some((_, flag)) = of_one.into_iter().find(|(is_given, _)| *is_given) else { return Ok(()) };
        let hint = if flag == "--cluster-name" { OTHER_LABELS } else { ONE_BY_ONE };
        Err(Error::usage(format!("{flag} is about one cluster, and {count} contexts are meant")).hint(hint))
    }

    /// The connection of one of the contexts.
    pub(super) fn connect(&self, to: &ChosenContext, options: &ConnectOptions) -> ConnectOptions {
        let mut options = options.clone();
        options.choice.context = Some(to.name.clone());
        options.choice.read = Some(Arc::clone(&self.read));
        options
    }

    /// What is seen of each context, in the order of the contexts. One that does not answer in time fails alone.
    pub(super) async fn each<T>(
        &self,
        options: &ConnectOptions,
        ui: Ui,
        see: impl AsyncFn(&ChosenContext, ConnectOptions) -> Result<T>,
    ) -> Vec<(ChosenContext, Result<T>)> {
        self.each_judged(options, ui, see, async |_, seen| seen).await
    }

    /// The same, with what `judge` makes of it at once: only this is kept.
    pub(super) async fn each_judged<T, U>(
        &self,
        options: &ConnectOptions,
        ui: Ui,
        see: impl AsyncFn(&ChosenContext, ConnectOptions) -> Result<T>,
        judge: impl AsyncFn(&ChosenContext, T) -> U,
    ) -> Vec<(ChosenContext, Result<U>)> {
        network::raise_open_files(self.contexts.len(), options.at_once);
        let (see, judge, live) = (&see, &judge, &ui.live(self.contexts.len()));
        let seen = self.contexts.iter().map(|chosen| async move {
            let time = ClusterTime::begin(options.connection.timeout);
            let _live = live.of(&chosen.name, "asking", Some(time.within));
            let seen = Box::pin(see(chosen, self.connect(chosen, options)));
            let outcome = match time.bound(seen).await {
                Ok(seen) => Ok(judge(chosen, seen).await),
                Err(error) => Err(error),
            };
            (chosen.clone(), outcome)
        });
        side_by_side(seen, options.at_once).await
    }

    /// The UID of the kube-system of each cluster.
    pub(super) async fn uids(&self, options: &ConnectOptions, ui: Ui) -> Vec<(ChosenContext, Result<String>)> {
        self.each(options, ui, async |_, connect| connect.connect().await?.0.uid().await).await
    }
}

/// The flags about how Prometheus sees one cluster. A proxy may lead to many.
pub(super) fn of_seen(seen: &SeenArgs) -> [(bool, &'static str); 3] {
    let SeenArgs { api_server, api_server_ca_file, api_server_tls_name, api_server_proxy: _ } = seen;
    [
        (api_server.is_some(), "--api-server"),
        (api_server_ca_file.is_some(), "--api-server-ca-file"),
        (api_server_tls_name.is_some(), "--api-server-tls-name"),
    ]
}

pub(super) const OTHER_LABELS: &str =
    "Give labels with --cluster-name-template, or in a file of lines LABEL=CONTEXT with --contexts-from FILE";

fn derived(template: &NameTemplate, entry: Option<ContextEntry>) -> Result<Option<ClusterName>> {
    let name = |entry: ContextEntry| {
        template.name(&entry).map_err(|why| {
            let context = shell::word(&entry.context);
            Error::usage(format!("--cluster-name-template yields no cluster name for the context {context}: {why}"))
                .hint("Give its label in a file of lines LABEL=CONTEXT with --contexts-from FILE")
        })
    };
    entry.map(name).transpose()
}

/// Two contexts of two clusters with one label.
pub(super) fn same_label(one: &str, other: &str, label: &ClusterName) -> Error {
    let (one, other) = (shell::word(one), shell::word(other));
    Error::usage(format!("the contexts {one} and {other} would both get the label {label}")).hint(OTHER_LABELS)
}

/// A label that is the context's name need not be typed.
pub(super) fn typed_label(context: &str, label: Option<&ClusterName>) -> Option<ClusterName> {
    label.filter(|label| ClusterName::from_context(context).ok().as_ref() != Some(*label)).cloned()
}

/// The contexts that the command line means, and the kubeconfig that has them; none if it is the one of `--context`, or the
/// current one.
fn chosen(args: &FleetArgs, kube: &KubeArgs) -> Result<Option<(Vec<ChosenContext>, ReadKubeconfig)>> {
    const CONTEXTS: &str = "Show the contexts: kubectl config get-contexts -o name";
    let FleetArgs { all_contexts, contexts_from, parallel: _ } = args;
    let is_one = kube.context.len() < 2 && !kube.context.iter().any(|name| is_pattern(name));
    if !all_contexts && contexts_from.is_none() && is_one {
        return Ok(None);
    }
    let read = ReadKubeconfig::read(kube.kubeconfig.as_deref())?;
    let known = read.contexts();
    let chosen = match contexts_from {
        Some(file) => {
            let path = if file.as_os_str() == "-" { Path::new("/dev/stdin") } else { file };
            let text = kubeconfig::source::read(path).map_err(|error| {
                Error::usage(format!("cannot read --contexts-from {}: {error}", file.display()))
                    .hint("Name a file with a context on each line, or - for standard input")
            })?;
            listed(&String::from_utf8_lossy(&text), &known)
                .map_err(|error| Error::new(Reason::ContextNotFound, format!("{}: {error}", file.display())))
        }
        None => matching(&kube.context, &known)
            .map(|names| names.into_iter().map(|name| ChosenContext { name, label: None, derived: None }).collect())
            .map_err(|error| Error::new(Reason::ContextNotFound, error.to_string())),
    };
    let chosen: Vec<ChosenContext> = chosen.map_err(|error| error.hint(CONTEXTS))?;
    if chosen.is_empty() {
        return Err(Error::usage("no context is left").hint(CONTEXTS));
    }
    Ok(Some((chosen, read)))
}

/// What came of each context so far. `R` is the report of one cluster.
pub(super) struct Outcomes<'a, R> {
    pub(super) ui: Ui,
    /// The contexts in the order of their rows; others follow.
    order: Vec<String>,
    /// The command that does the same for one context.
    one: &'a dyn Fn(&str, Option<&ClusterName>) -> String,
    rows: Vec<FleetRow<R>>,
}

/// How a command speaks of several contexts at its end.
pub(super) struct Ending<R> {
    pub(super) kind: &'static str,
    pub(super) reason: Reason,
    /// `are not joined`
    pub(super) not_done: &'static str,
    /// The head of a column, and its cells.
    pub(super) column: Column<R>,
    pub(super) objects: fn(&R) -> &[ObjectReport],
}

impl<'a, R: Serialize> Outcomes<'a, R> {
    pub(super) fn new(ui: Ui, one: &'a dyn Fn(&str, Option<&ClusterName>) -> String) -> Self {
        Self { ui, order: Vec::new(), one, rows: Vec::new() }
    }

    /// The rows come in the order of these contexts.
    pub(super) fn order(&mut self, fleet: &Fleet) {
        self.order = fleet.contexts.iter().map(|chosen| chosen.name.clone()).collect();
    }

    pub(super) fn add(&mut self, context: &str, cluster: Option<String>, result: &str, report: Option<R>) {
        self.rows.push(FleetRow {
            context: context.to_owned(),
            cluster,
            result: result.to_owned(),
            reason: None,
            error: None,
            next: None,
            report,
        });
    }

    /// Says why, unless all that is left was interrupted.
    pub(super) fn failed(&mut self, context: &str, label: Option<&ClusterName>, error: Error, report: Option<R>) {
        let error = if error.is_about(&context) { error } else { error.about(context) };
        if error.reason != Reason::Interrupted || !error.hints.is_empty() {
            self.ui.error(&error);
        }
        self.note(context, label, &error, report);
    }

    /// The same where it has been said.
    pub(super) fn note(&mut self, context: &str, label: Option<&ClusterName>, error: &Error, report: Option<R>) {
        self.rows.push(FleetRow {
            context: context.to_owned(),
            cluster: label.map(ToString::to_string),
            result: "failed".to_owned(),
            reason: Some(error.reason.to_string()),
            error: Some(error.to_string()),
            next: Some((self.one)(context, label)),
            report,
        });
    }

    /// Contexts of one cluster count once: the first of them.
    pub(super) fn each_cluster_once<T>(
        &mut self,
        seen: Vec<(ChosenContext, Result<T>)>,
        uid: impl Fn(&T) -> Option<&str>,
    ) -> Vec<(ChosenContext, T)> {
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        let mut clusters = Vec::new();
        for (chosen, outcome) in seen {
            let cluster = match outcome {
                Ok(cluster) => cluster,
                Err(error) => {
                    self.failed(&chosen.name, None, error, None);
                    continue;
                }
            };
            if let Some(uid) = uid(&cluster) {
                if let Some(other) = first.get(uid) {
                    let same = format!("same cluster as {other}");
                    self.ui.warn(&format!("{}: {same}, which is used", chosen.name));
                    self.add(&chosen.name, None, &same, None);
                    continue;
                }
                first.insert(uid.to_owned(), chosen.name.clone());
            }
            clusters.push((chosen, cluster));
        }
        clusters
    }

    /// Exit code 1 if anything failed; what failed has been said.
    pub(super) fn end(self, ending: &Ending<R>, output: Option<Output>) -> Result<()> {
        let Ending { kind, reason, not_done, column, objects } = ending;
        let Self { ui, order, rows: mut items, .. } = self;
        items.sort_by_cached_key(|row| order.iter().position(|name| *name == row.context));
        let failed = items.iter().filter(|row| row.error.is_some()).count();
        let of = counted(items.len(), "context");
        let report = FleetReport { api_version: API_VERSION, kind, items };
        let objects: Vec<ObjectReport> =
            report.items.iter().filter_map(|row| row.report.as_ref()).flat_map(objects).cloned().collect();
        ui.print(&output.map_or_else(|| table(&report, column), |output| formatted(output, &report, &objects)))?;
        if let Some(signal) = interrupted() {
            let error = format!("interrupted by {signal}: {failed} of {of} {not_done}");
            return Err(
                Error::new(Reason::Interrupted, error).hint("Run the command again: it goes on with what is missing")
            );
        }
        if failed == 0 {
            return Ok(());
        }
        Err(Error::new(*reason, format!("{failed} of {of} {not_done}"))
            .hint("Fix the problems above and run the command again: it goes on with what is missing"))
    }
}
