//! What the flags of `join` come to: every one of them is read here, and nowhere else.

use crate::{
    cli::{DryRunArg, FleetArgs, FormatArg, HowArgs, JoinArgs, KubeArgs, KubeletArgs, Output},
    commands::{
        resolve::{connect_options, options},
        wanted::{Alike, WantedJoin},
    },
    destination::Options,
    error::{Error, Reason, Result},
    kubeconfig::{self, ReadKubeconfig},
    model::{
        job::limits::ScrapeLimits,
        kube::contexts::{ChosenContext, is_pattern, listed, matching},
        store::{label_conflict::Consent, location::Location},
        text::{names::ClusterName, shell},
    },
    stages::connect::ConnectOptions,
    ui::Ui,
};
use std::{mem, path::Path, sync::Arc};

/// The clusters of a run where there are several.
pub(super) struct Fleet {
    pub(super) contexts: Vec<ChosenContext>,
    pub(super) at_once: usize,
    /// The same join of one context.
    one: JoinArgs,
}

impl Fleet {
    /// The command that joins one of the contexts.
    pub(super) fn command(&self, context: &str, label: Option<&ClusterName>) -> String {
        let kube = KubeArgs { context: vec![context.to_owned()], ..self.one.kube.clone() };
        // A label that is the context's name need not be typed.
        let cluster_name =
            label.filter(|label| ClusterName::from_context(context).ok().as_ref() != Some(*label)).cloned();
        shell::plugin(JoinArgs { cluster_name, kube, ..self.one.clone() }.words())
    }
}

const ONE_BY_ONE: &str = "Join the clusters that need it one by one, each with --context NAME";

pub(super) struct JoinSettings {
    /// None where there is one cluster, that of `connect`.
    pub(super) fleet: Option<Fleet>,
    pub(super) connect: ConnectOptions,
    pub(super) wanted: WantedJoin,
    /// The context's name, or what a destination calls the cluster, unless given.
    pub(super) cluster_name: Option<ClusterName>,
    /// None where the jobs are printed.
    pub(super) locations: Vec<Location>,
    pub(super) options: Options,
    pub(super) consent: Consent,
    /// The jobs are printed as a script that delivers them.
    pub(super) as_script: bool,
    /// Who else may read what is printed.
    pub(super) unsafe_output: Option<String>,
    pub(super) how: HowArgs,
    pub(super) keep_on_failure: bool,
}

impl JoinSettings {
    pub(super) fn new(args: JoinArgs, ui: Ui) -> Result<Self> {
        let one = JoinArgs { fleet: FleetArgs::default(), ..args.clone() };
        let JoinArgs {
            what,
            cluster_name,
            node_selector,
            pace,
            limits,
            federate_match,
            keep_all_metrics,
            duration,
            self_renew,
            pin_nodes,
            long_lived_token,
            seen,
            kubelet: KubeletArgs { kubelet_ca_file },
            mut to,
            clash,
            how,
            keep_on_failure,
            fleet,
            mut kube,
        } = args;
        let mut cluster_name = cluster_name;
        let at_once = fleet.parallel.get();
        let (mut contexts, read) = chosen(&fleet, &kube)?.unzip();
        kube.context.truncate(usize::from(contexts.is_none()));
        if let Some([ChosenContext { name, label }]) = contexts.as_deref_mut() {
            kube.context = vec![mem::take(name)];
            cluster_name = cluster_name.or(label.take());
            contexts = None;
        }
        if let Some(contexts) = &contexts {
            let count = contexts.len();
            let of_one = [
                (cluster_name.is_some(), "--cluster-name", "--contexts-from takes lines like LABEL=CONTEXT"),
                (clash.rename, "--rename", ONE_BY_ONE),
                (clash.replace, "--replace", ONE_BY_ONE),
                (seen.api_server.is_some(), "--api-server", ONE_BY_ONE),
                (seen.api_server_ca_file.is_some(), "--api-server-ca-file", ONE_BY_ONE),
                (seen.api_server_tls_name.is_some(), "--api-server-tls-name", ONE_BY_ONE),
                (kubelet_ca_file.is_some(), "--kubelet-ca-file", ONE_BY_ONE),
            ];
            if let Some((_, flag, hint)) = of_one.into_iter().find(|(is_given, ..)| *is_given) {
                return Err(
                    Error::usage(format!("{flag} is about one cluster, and {count} contexts are meant")).hint(hint)
                );
            }
            if to.prometheus.is_empty() {
                return Err(Error::usage(format!("{count} contexts need a destination"))
                    .hint("Name it with -p DIR; jobs are printed for one cluster at a time"));
            }
        }
        let fleet = contexts.map(|contexts| Fleet { contexts, at_once, one });
        let is_printed = to.prometheus.is_empty();
        // It is no format of a destination.
        let as_script = to.format.take_if(|format| *format == FormatArg::Script && is_printed).is_some();
        if as_script && how.output.is_some() {
            return Err(
                Error::usage("--format=script and --output both write to standard output").hint("Omit one of them")
            );
        }
        let unsafe_output = if is_printed { output_for_a_token(how.dry_run, how.output, ui)? } else { None };
        let options = options(&to, &kube, false, ui)?;
        let has_kubelet_ca = kubelet_ca_file.is_some();
        let alike = Alike { what, node_selector, pace, pin_nodes, self_renew, has_kubelet_ca };
        let wanted = WantedJoin {
            federate_match,
            keep_all_metrics,
            long_lived: long_lived_token,
            duration,
            limits: ScrapeLimits { body: limits.body_size_limit, samples: limits.sample_limit },
            fallback: limits.fallback_scrape_protocol,
            ..WantedJoin::new(alike)?
        };
        let mut connect = connect_options(&kube, &seen, kubelet_ca_file, ui)?;
        connect.choice.read = read.map(Arc::new);
        Ok(Self {
            connect,
            fleet,
            wanted,
            cluster_name,
            locations: to.prometheus,
            options,
            consent: Consent { rename: clash.rename, replace: clash.replace },
            as_script,
            unsafe_output,
            how,
            keep_on_failure,
        })
    }
}

/// The contexts that the command line means, and the kubeconfig that has them; none if it is the one of `--context`, or the
/// current one.
fn chosen(fleet: &FleetArgs, kube: &KubeArgs) -> Result<Option<(Vec<ChosenContext>, ReadKubeconfig)>> {
    const CONTEXTS: &str = "Show the contexts: kubectl config get-contexts -o name";
    let FleetArgs { all_contexts, contexts_from, parallel: _ } = fleet;
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
            .map(|names| names.into_iter().map(|name| ChosenContext { name, label: None }).collect())
            .map_err(|error| Error::new(Reason::ContextNotFound, error.to_string())),
    };
    let chosen: Vec<ChosenContext> = chosen.map_err(|error| error.hint(CONTEXTS))?;
    if chosen.is_empty() {
        return Err(Error::usage("no context is left").hint(CONTEXTS));
    }
    Ok(Some((chosen, read)))
}

/// Checks the output before there is a token. A warning if other users may read it there.
fn output_for_a_token(dry_run: DryRunArg, output: Option<Output>, ui: Ui) -> Result<Option<String>> {
    match (dry_run, output) {
        (DryRunArg::None, Some(Output::Name)) => {
            Err(Error::usage("--output=name omits the scrape jobs, so the new token would be lost")
                .hint("Use it with --dry-run=server; --output=json shows names and jobs"))
        }
        (DryRunArg::None, _) => ui.standard_output(),
        _ => Ok(None),
    }
}
