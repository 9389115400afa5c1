//! What `join`, and `check` before it, are to bring about, as far as the command line says it.

use crate::{
    cli::{TimingArgs, WhatArgs},
    cluster::Cluster,
    error::{Error, Result},
    model::{
        account::{
            Account,
            desired::{Desired, Fence},
        },
        job::{
            JobSpecs, Jobs, ScrapeTiming, Selector,
            exposition::FallbackProtocol,
            limits::ScrapeLimits,
            route::{Pins, Route},
        },
        kube::label_selector::LabelSelector,
        plan::request::{JoinRequest, desired},
        text::{
            duration::Seconds,
            names::{ClusterName, Underivable},
            shell,
        },
    },
};

/// A join whose jobs have no places yet.
#[derive(Clone)]
pub(super) struct WantedJoin {
    pub(super) account: Account,
    pub(super) jobs: JobSpecs,
    pub(super) route: Route,
    pub(super) node_selector: Option<LabelSelector>,
    pub(super) fence: Fence,
    pub(super) pace: ScrapeTiming,
    pub(super) limits: ScrapeLimits,
    pub(super) fallback: Option<FallbackProtocol>,
    pub(super) federate_match: Vec<Selector>,
    pub(super) keep_all_metrics: bool,
    pub(super) self_renew: bool,
    pub(super) long_lived: bool,
    pub(super) duration: Seconds,
}

/// Flags that `join` and `check` have alike.
pub(super) struct Alike {
    pub(super) what: WhatArgs,
    pub(super) node_selector: Option<LabelSelector>,
    pub(super) pace: TimingArgs,
    pub(super) pin_nodes: bool,
    pub(super) self_renew: bool,
    pub(super) has_kubelet_ca: bool,
}

impl WantedJoin {
    /// With the defaults of all that `check` has no flag for.
    pub(super) fn new(alike: Alike) -> Result<Self> {
        let Alike { what, node_selector, pace: times, pin_nodes, self_renew, has_kubelet_ca } = alike;
        let route = route(&what, pin_nodes, has_kubelet_ca)?;
        let pace = pace(times)?;
        Ok(Self {
            account: what.account.account(),
            jobs: what.jobs,
            route,
            node_selector,
            fence: what.fence.into(),
            pace,
            limits: ScrapeLimits::default(),
            fallback: None,
            federate_match: Vec::new(),
            keep_all_metrics: false,
            self_renew,
            long_lived: false,
            duration: crate::model::token::DEFAULT,
        })
    }

    /// With the default series to federate, if these jobs federate.
    ///
    /// # Errors
    /// [`crate::error::Reason::InvalidArgument`] for series that no job federates.
    pub(super) fn federating(self, jobs: &Jobs) -> Result<Self> {
        match (self.federate_match.is_empty(), jobs.have_federate()) {
            (true, true) => Ok(Self { federate_match: Selector::defaults(), ..self }),
            (false, false) => Err(Error::usage("--federate-match needs the job federate, which is not in --jobs")
                .hint("Add it: --jobs=default,federate")),
            _ => Ok(self),
        }
    }

    /// The objects of the request with the discovered jobs.
    pub(super) fn desired(&self, jobs: &Jobs) -> Desired {
        desired(&self.account, jobs, self.fence, self.self_renew, self.long_lived)
    }

    /// The request with the discovered jobs and the label.
    pub(super) fn request(self, jobs: Jobs, cluster: ClusterName) -> JoinRequest {
        let Self {
            account, jobs: _, route: _, node_selector: _, fence, pace, limits, fallback, federate_match, ..
        } = self;
        let Self { keep_all_metrics, self_renew, long_lived, duration, .. } = self;
        JoinRequest {
            cluster,
            account,
            jobs,
            federate_match,
            fence,
            pace,
            limits,
            fallback,
            keep_all_metrics,
            self_renew,
            long_lived,
            duration,
        }
    }
}

fn pace(TimingArgs { scrape_interval: interval, scrape_timeout }: TimingArgs) -> Result<ScrapeTiming> {
    let timeout = scrape_timeout.unwrap_or(ScrapeTiming::usual_timeout(interval));
    if timeout > interval {
        return Err(Error::usage(format!(
            "--scrape-timeout {timeout} is longer than --scrape-interval {interval}; Prometheus rejects such a job"
        ))
        .hint("Use a timeout of at most the interval, or omit it"));
    }
    Ok(ScrapeTiming { interval, timeout })
}

/// The route that was asked for; which nodes are pinned is seen in the cluster.
fn route(what: &WhatArgs, pin_nodes: bool, has_kubelet_ca: bool) -> Result<Route> {
    let route = Route::from(what.route);
    match (&route, pin_nodes, has_kubelet_ca) {
        (Route::Kubelet, true, _) => {
            Err(Error::usage("--pin-nodes limits the right to nodes/proxy, which --route=kubelet does not need")
                .hint("Omit one of them"))
        }
        (_, true, _) if Fence::from(what.fence) == Fence::Off => {
            Err(Error::usage("--pin-nodes needs the fence: the right to a named node covers all its pages")
                .hint("Omit --fence=off"))
        }
        (_, true, _) => Ok(Route::Pinned(Pins::default())),
        (Route::ApiServer, false, true) => Err(Error::usage(
            "--kubelet-ca-file needs --route=kubelet or --pin-nodes: other jobs do not connect to kubelets",
        )
        .hint("Name the CA of the API server with --api-server-ca-file")),
        _ => Ok(route),
    }
}

/// The cluster name that the context yields.
///
/// # Errors
/// It yields none, or another context yields the same for another cluster.
pub(super) fn name_after(cluster: &Cluster) -> Result<ClusterName> {
    let context = shell::word(&cluster.context);
    let unnamed = |what: String| Error::usage(what).hint("Name the cluster with --cluster-name NAME");
    let name = ClusterName::from_context(&cluster.context).map_err(|why| {
        let why = match why {
            Underivable::Empty => "does not yield a cluster name",
            Underivable::TooLong => "is too long for a cluster name, which has at most 63 characters",
        };
        unnamed(format!("the context {context} {why}"))
    })?;
    match &cluster.namesake {
        None => Ok(name),
        Some(other) => {
            let in_case = match ClusterName::from_context(other) {
                Ok(other) if other == name => "",
                _ => ", except for case",
            };
            let other = shell::word(other);
            Err(unnamed(format!(
                "the contexts {context} and {other} lead to two clusters, but yield the same cluster name {name}{in_case}"
            )))
        }
    }
}
