//! What the command line asks for, as far as it takes more than reading.

use crate::{
    cli::{DestinationArgs, DryRunArg, FormatArg, HowArgs, KubeArgs, Output, PaceArgs, WhatArgs},
    commands::options,
    destination::Options,
    error::{Error, Result},
    model::{
        account::desired::Fence,
        job::{
            Jobs, Pace, Selector,
            route::{Pins, Route},
        },
        text::{names::ClusterName, shell},
    },
    ui::{self, Ui},
};

/// What the command line says of where the jobs go.
pub(super) struct WhereTo {
    /// They are printed as a script that delivers them.
    pub(super) as_script: bool,
    pub(super) options: Options,
    /// Who else may read what is printed.
    pub(super) unsafe_output: Option<String>,
}

pub(super) fn where_to(to: &mut DestinationArgs, how: &HowArgs, kube: &KubeArgs, ui: Ui) -> Result<WhereTo> {
    let is_printed = to.prometheus.is_empty();
    // It is no format of a destination.
    let as_script = to.format.take_if(|format| *format == FormatArg::Script && is_printed).is_some();
    if as_script && how.output.is_some() {
        return Err(Error::usage("--format=script prints a script and --output a report, both on standard output")
            .hint("Leave out one of them"));
    }
    let unsafe_output = if is_printed { output_for_a_token(how.dry_run, how.output)? } else { None };
    Ok(WhereTo { as_script, options: options(to, kube, false, ui)?, unsafe_output })
}

pub(in crate::commands) fn pace(&PaceArgs { scrape_interval: interval, scrape_timeout }: &PaceArgs) -> Result<Pace> {
    let timeout = scrape_timeout.unwrap_or(Pace::usual_timeout(interval));
    if timeout > interval {
        return Err(Error::usage(format!(
            "--scrape-timeout {timeout} is longer than --scrape-interval {interval}; Prometheus refuses such a job"
        ))
        .hint("Make the timeout at most the interval, or leave it out"));
    }
    Ok(Pace { interval, timeout })
}

/// The route that was asked for; which nodes are pinned is seen in the cluster.
pub(in crate::commands) fn route(what: &WhatArgs, pin_nodes: bool, has_kubelet_ca: bool) -> Result<Route> {
    let route = Route::from(what.route);
    match (&route, pin_nodes, has_kubelet_ca) {
        (Route::Kubelet, true, _) => {
            Err(Error::usage("--pin-nodes is about the right to nodes/proxy, which --route=kubelet does not need")
                .hint("Leave out one of them"))
        }
        (_, true, _) if Fence::from(what.fence) == Fence::Off => {
            Err(Error::usage("--pin-nodes needs the fence: a right to named nodes is one to all their pages")
                .hint("Leave out --fence=off"))
        }
        (_, true, _) => Ok(Route::Pinned(Pins::default())),
        (Route::ApiServer, false, true) => Err(Error::usage(
            "--kubelet-ca-file is about --route=kubelet and --pin-nodes: else nobody talks to a kubelet itself",
        )
        .hint("Name the CA of the API server with --api-server-ca-file")),
        _ => Ok(route),
    }
}

/// What is federated.
pub(in crate::commands) fn federated(given: Vec<Selector>, jobs: &Jobs) -> Result<Vec<Selector>> {
    match (given.is_empty(), jobs.have_federate()) {
        (true, true) => Ok(Selector::defaults()),
        (false, false) => Err(Error::usage("--federate-match is about the job federate, which is not among the jobs")
            .hint("Add it: --jobs=default,federate")),
        _ => Ok(given),
    }
}

/// Looks at where the token will go, before there is one; a warning if others may read it there.
fn output_for_a_token(dry_run: DryRunArg, output: Option<Output>) -> Result<Option<String>> {
    match (dry_run, output) {
        (DryRunArg::None, Some(Output::Name)) => {
            Err(Error::usage("--output=name leaves out the scrape jobs, so the new token would be lost")
                .hint("Use it with --dry-run=server; --output=json shows names and jobs"))
        }
        (DryRunArg::None, _) => ui::standard_output(),
        _ => Ok(None),
    }
}

pub(in crate::commands) fn name_after(context: &str) -> Result<ClusterName> {
    ClusterName::from_context(context).ok_or_else(|| {
        Error::usage(format!("no cluster name can be made of the context {}", shell::word(context)))
            .hint("Name the cluster with --cluster-name NAME")
    })
}
