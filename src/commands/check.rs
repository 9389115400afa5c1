//! `check`: what would stop a join, or what is true of the clusters that were joined. Writes nothing.

use super::{
    resolve::{administrator, chosen, connect_options, one_context, open_each, options},
    wanted::{Alike, WantedJoin, name_after},
};
use crate::{
    cli::{self, CheckArgs, DataOutput, KubeletArgs},
    destination::Destination,
    error::{Error, Result},
    kubeconfig::Choice,
    model::{
        access::PrometheusLocation,
        report::checklist::{CheckReport, Checklist, ClusterCheck, Item},
        store::{label_conflict::Consent, location::Location},
        text::names::ClusterName,
    },
    render::{checklist, report},
    stages::{
        collect::Collector,
        connect::ConnectOptions,
        prepare::{
            diagnose::{Inspected, joined},
            discover::discover,
            preflight::{Preflight, destinations_alone, known_label},
            survey_and_reach,
        },
    },
    ui::Ui,
};
use jiff::Timestamp;
use std::collections::BTreeSet;

pub(super) async fn run(args: CheckArgs, ui: Ui) -> Result<()> {
    let CheckArgs {
        clusters: chosen_names,
        what,
        cluster_name,
        node_selector,
        pace,
        self_renew,
        pin_nodes,
        seen,
        kubelet: KubeletArgs { kubelet_ca_file },
        to,
        clash,
        output,
        kube,
    } = args;
    let has_kubelet_ca = kubelet_ca_file.is_some();
    let alike = Alike { what, node_selector, pace, pin_nodes, self_renew, has_kubelet_ca };
    let wanted = WantedJoin::new(alike)?;
    let connect = connect_options(&kube, &seen, kubelet_ca_file, ui)?;
    let opened = open_each(&to.prometheus, &options(&to, &kube, true, ui)?).await?;
    let (destinations, unopened): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    let destinations: Vec<Destination> = destinations.into_iter().flatten().collect();
    let unopened: Vec<Error> = unopened.into_iter().filter_map(Result::err).collect();
    let names: Vec<&str> = destinations.iter().map(Destination::name).collect();
    let installed = || destinations.iter().flat_map(Destination::installed);
    let known = chosen(&chosen_names, installed(), &names);
    let clusters = match known {
        Err(_) if !unopened.is_empty() => BTreeSet::new(),
        known => known?,
    };

    let is_about_a_context = chosen_names.is_empty() && (connect.choice.context.is_some() || clusters.is_empty());
    // How Prometheus sees a cluster that was joined is in its record.
    let administrator = administrator(&kube, ui)?;
    let checks = if is_about_a_context {
        let consent = Consent { rename: clash.rename, replace: clash.replace };
        let location = Location::prometheus_location(&to.prometheus);
        let destinations = &destinations[..];
        let before = Before { cluster_name, consent, location, connect, administrator, destinations };
        Box::pin(before.run(wanted, unopened)).await?
    } else {
        one_context(&connect.choice, &clusters)?;
        let mut checks = of_joined(&administrator, &destinations, &clusters).await;
        checks.extend(unopened.iter().map(unopened_check));
        checks
    };
    let report = CheckReport::new(checks);
    ui.print(&match output {
        Some(DataOutput::Json) => report::json(&report),
        Some(DataOutput::Yaml) => report::yaml(&report),
        None => checklist::text(&report),
    })?;
    report.verdict()
}

/// A cluster before it is joined.
struct Before<'a> {
    cluster_name: Option<ClusterName>,
    consent: Consent,
    location: PrometheusLocation,
    connect: ConnectOptions,
    administrator: ConnectOptions,
    destinations: &'a [Destination],
}

impl Before<'_> {
    /// If a destination knows the cluster already, it is proven instead.
    async fn run(&self, wanted: WantedJoin, unopened: Vec<Error>) -> Result<Vec<ClusterCheck>> {
        let Self { cluster_name, consent, location, connect, administrator, destinations } = self;
        let (cluster, named) = match connect.connect().await {
            Ok(connected) => connected,
            Err(error) => return Ok(vec![self.without("kubeconfig", &error, &unopened).await]),
        };
        let (jobs, discovered) =
            match discover(&cluster, &wanted.jobs, wanted.route.clone(), wanted.node_selector.clone()).await {
                Ok(found) => found,
                Err(error) => return Ok(vec![self.without("jobs", &error, &unopened).await]),
            };
        let wanted = wanted.federating(&jobs)?;
        let (survey, reached) =
            survey_and_reach(&cluster, named.clone(), connect, &wanted.desired(&jobs), *location).await;
        if let Some(known) = known_label(&survey, destinations)
            && cluster_name.as_ref().is_none_or(|name| *name == known)
        {
            let choice = Choice { context: Some(cluster.context), ..connect.choice.clone() };
            let options = ConnectOptions { choice, ..administrator.clone() };
            let mut checks = of_joined(&options, destinations, &BTreeSet::from([known])).await;
            checks.extend(unopened.iter().map(unopened_check));
            return Ok(checks);
        }
        let label = cluster_name.clone().map_or_else(|| name_after(&cluster), Ok)?;
        // Where none answers, people know the one that they named.
        let access = reached.as_ref().map_or(&named, |reached| &reached.access).clone();
        let request = wanted.request(jobs, label.clone());
        let (options, consent) = (connect.clone(), *consent);
        let preflight = Preflight { cluster, options, request, consent, destinations, unopened, survey, reached };
        let mut items = Box::pin(preflight.run()).await.beyond(&access, Timestamp::now()).await;
        items.0.extend(discovered.into_iter().map(|warning| Item::warn("jobs", warning)));
        Ok(vec![ClusterCheck {
            cluster: label.to_string(),
            destination: None,
            api_server: Some(access.url.to_string()),
            items,
        }])
    }

    /// Where what stops everything else has this name.
    async fn without(&self, name: &'static str, error: &Error, unopened: &[Error]) -> ClusterCheck {
        let mut items = vec![Item::fail(name, error)];
        items.extend(unopened.iter().map(|error| Item::fail("destination", error)));
        items.extend(destinations_alone(self.destinations).await);
        let label = self.cluster_name.as_ref().map(ClusterName::to_string);
        let cluster = label.or_else(|| self.connect.choice.context.clone()).unwrap_or_else(|| "no cluster".to_owned());
        ClusterCheck { cluster, destination: None, api_server: None, items: Checklist(items) }
    }
}

async fn of_joined(
    options: &ConnectOptions,
    destinations: &[Destination],
    clusters: &BTreeSet<ClusterName>,
) -> Vec<ClusterCheck> {
    let collector = Collector { destinations, options, write: cli::next };
    let inspected = joined(&collector, clusters, Timestamp::now()).await;
    let check = |one: Inspected| ClusterCheck {
        cluster: one.status.cluster,
        destination: Some(one.status.destination),
        api_server: one.status.api_server,
        items: one.items,
    };
    inspected.into_iter().map(check).collect()
}

fn unopened_check(error: &Error) -> ClusterCheck {
    let items = Checklist(vec![Item::fail("destination", error)]);
    ClusterCheck { cluster: "no cluster".to_owned(), destination: None, api_server: None, items }
}
