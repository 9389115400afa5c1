//! What the flags of `join` come to: every one of them is read here, and nowhere else.

use crate::{
    cli::{DryRunArg, FleetArgs, FormatArg, HowArgs, JoinArgs, KubeArgs, KubeletArgs, Output},
    commands::{
        fleet::{Contexts, Fleet, of_seen, typed_label},
        resolve::{connect_options, options},
        wanted::{Alike, WantedJoin},
    },
    destination::Options,
    error::{Error, Result},
    model::{
        job::limits::ScrapeLimits,
        store::{label_conflict::Consent, location::Location},
        text::{names::ClusterName, shell},
    },
    stages::connect::ConnectOptions,
    ui::Ui,
};

/// The command that joins one context of several, in the same way.
pub(super) struct JoinOfOne(JoinArgs);

impl JoinOfOne {
    pub(super) fn command(&self, context: &str, label: Option<&ClusterName>) -> String {
        let kube = KubeArgs { context: vec![context.to_owned()], ..self.0.kube.clone() };
        shell::plugin(JoinArgs { cluster_name: typed_label(context, label), kube, ..self.0.clone() }.words())
    }
}

pub(super) struct JoinSettings {
    /// None where there is one cluster, that of `connect`.
    pub(super) fleet: Option<(Fleet, JoinOfOne)>,
    pub(super) connect: ConnectOptions,
    pub(super) wanted: WantedJoin,
    /// The context's name, or what a destination calls the cluster, unless given.
    pub(super) cluster_name: Option<ClusterName>,
    /// Of the template.
    pub(super) derived: Option<ClusterName>,
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
        let one = JoinArgs { fleet: FleetArgs::default(), cluster_name_template: None, ..args.clone() };
        let JoinArgs {
            // Of the wizard.
            typed: _,
            what,
            cluster_name,
            cluster_name_template,
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
            interactive: _,
            fleet,
            mut kube,
        } = args;
        let (several, label, derived) = match Contexts::new(&fleet, &mut kube, cluster_name_template.as_ref())? {
            Contexts::One { label, derived } => (None, label, derived),
            Contexts::Several(fleet) => (Some((fleet, JoinOfOne(one))), None, None),
        };
        if let Some((several, _)) = &several {
            several.refuse_what_is_about_one([
                (cluster_name.is_some(), "--cluster-name"),
                (clash.rename, "--rename"),
                (clash.replace, "--replace"),
                (kubelet_ca_file.is_some(), "--kubelet-ca-file"),
            ])?;
            several.refuse_what_is_about_one(of_seen(&seen))?;
            if to.prometheus.is_empty() {
                return Err(Error::usage(format!("{} contexts need a destination", several.contexts.len()))
                    .hint("Name it with -p DIR; jobs are printed for one cluster at a time"));
            }
        }
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
        Ok(Self {
            connect: connect_options(&kube, &seen, kubelet_ca_file, &fleet, ui),
            fleet: several,
            wanted,
            cluster_name: cluster_name.or(label),
            derived,
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
