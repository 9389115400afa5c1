//! `check`: what would stop a join, or what is true of the clusters that were joined. Writes nothing.

use super::{
    fleet::{Contexts, Ending, Fleet, Outcomes, of_seen, same_label, typed_label},
    resolve::{administrator, chosen, connect_options, one_context, open_each, options, progress},
    wanted::{Alike, WantedJoin, name_after},
};
use crate::{
    cli::{self, CheckArgs, DataOutput, FleetArgs, KubeArgs, KubeletArgs},
    clock,
    destination::Destination,
    error::{Error, Reason, Result},
    kubeconfig::Choice,
    model::{
        access::PrometheusLocation,
        report::checklist::{CheckName, CheckReport, Checklist, ClusterCheck, Item},
        store::{label_conflict::Consent, location::Location},
        text::{names::ClusterName, shell},
    },
    render::{self, checklist, report},
    stages::{
        collect::{Collector, Look},
        connect::ConnectOptions,
        interrupt::until_interrupted,
        prepare::{
            diagnose::{Inspected, joined},
            discover::discover,
            preflight::{Preflight, destinations_alone, known_label},
            survey_and_reach,
        },
    },
    ui::Ui,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) async fn run(mut args: CheckArgs, ui: Ui) -> Result<()> {
    let contexts = Contexts::new(&args.fleet, &mut args.kube, args.cluster_name_template.as_ref())?;
    let one = CheckArgs { fleet: FleetArgs::default(), cluster_name_template: None, ..args.clone() };
    let CheckArgs {
        clusters: chosen_names,
        what,
        cluster_name,
        cluster_name_template: _,
        node_selector,
        pace,
        self_renew,
        pin_nodes,
        seen,
        kubelet: KubeletArgs { kubelet_ca_file },
        to,
        clash,
        output,
        fleet,
        kube,
    } = args;
    if let Contexts::Several(fleet) = &contexts {
        fleet.refuse_what_is_about_one([
            (cluster_name.is_some(), "--cluster-name"),
            (clash.rename, "--rename"),
            (clash.replace, "--replace"),
            (kubelet_ca_file.is_some(), "--kubelet-ca-file"),
        ])?;
        fleet.refuse_what_is_about_one(of_seen(&seen))?;
    }
    let has_kubelet_ca = kubelet_ca_file.is_some();
    let alike = Alike { what, node_selector, pace, pin_nodes, self_renew, has_kubelet_ca };
    let wanted = WantedJoin::new(alike)?;
    let connect = connect_options(&kube, &seen, kubelet_ca_file, &fleet, ui);
    let opened = open_each(&to.prometheus, &options(&to, &kube, true, ui)?, ui).await?;
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

    // How Prometheus sees a cluster that was joined is in its record.
    let before = Before {
        cluster_name: None,
        derived: None,
        consent: Consent { rename: clash.rename, replace: clash.replace },
        location: Location::prometheus_location(&to.prometheus),
        administrator: administrator(&kube, &fleet, ui),
        destinations: &destinations,
        unopened: &unopened,
    };
    let is_about_a_context = chosen_names.is_empty() && (connect.choice.context.is_some() || clusters.is_empty());
    let checks = match contexts {
        Contexts::One { label, derived } if is_about_a_context => {
            let before = Before { cluster_name: cluster_name.or(label), derived, ..before };
            Box::pin(before.run(connect, wanted)).await?.checks
        }
        Contexts::Several(contexts) if chosen_names.is_empty() => {
            let command = |context: &str, label: Option<&ClusterName>| {
                let kube = KubeArgs { context: vec![context.to_owned()], ..one.kube.clone() };
                shell::plugin(CheckArgs { cluster_name: typed_label(context, label), kube, ..one.clone() }.words())
            };
            return Box::pin(several(&contexts, &before, &connect, &wanted, output, &command, ui)).await;
        }
        contexts => {
            one_context(&connect.choice, &clusters)?;
            let administrator = contexts.administrator(before.administrator, ui).await.reading_once();
            let looks = progress(ui, &destinations, &clusters, administrator.connection.timeout);
            let mut checks = of_joined(&administrator, &destinations, &clusters, &looks).await;
            checks.extend(unopened.iter().map(unopened_check));
            checks
        }
    };
    let report = CheckReport::new(checks);
    ui.print(&match output {
        Some(DataOutput::Json) => report::json(&report),
        Some(DataOutput::Yaml) => report::yaml(&report),
        None => checklist::text(&report),
    })?;
    report.verdict()
}

/// The clusters of several contexts, side by side; one report after the other.
async fn several(
    fleet: &Fleet,
    before: &Before<'_>,
    connect: &ConnectOptions,
    wanted: &WantedJoin,
    output: Option<DataOutput>,
    one: &dyn Fn(&str, Option<&ClusterName>) -> String,
    ui: Ui,
) -> Result<()> {
    let checked = fleet.each(connect, ui, async |chosen, connect| {
        let (cluster_name, derived) = (chosen.label.clone(), chosen.derived.clone());
        let before = Before { cluster_name, derived, ..before.clone() };
        Box::pin(until_interrupted(before.run(connect, wanted.clone()))).await
    });
    let mut told = Outcomes::new(ui, one);
    told.order(fleet);
    let mut labels: BTreeMap<ClusterName, String> = BTreeMap::new();
    for (chosen, Checked { label, mut checks, .. }) in told.each_cluster_once(checked.await, |one| one.uid.as_deref()) {
        let other = label.as_ref().and_then(|label| labels.insert(label.clone(), chosen.name.clone()));
        if let (Some(other), Some(label), Some(check)) = (other, &label, checks.first_mut()) {
            check.items.0.push(Item::fail(CheckName::Label, &same_label(&other, &chosen.name, label)));
        }
        let report = CheckReport::new(checks);
        if output.is_none() {
            ui.print(&checklist::text(&report))?;
        }
        match report.verdict() {
            Ok(()) => told.add(&chosen.name, label.map(|label| label.to_string()), "passed", Some(report)),
            Err(error) => told.note(&chosen.name, label.as_ref(), &error, Some(report)),
        }
    }
    let ending = Ending {
        kind: "CheckReportList",
        reason: Reason::CheckFailed,
        not_done: "did not pass",
        column: ("PASSED", render::fleet::passed),
        objects: |_| &[],
    };
    told.end(&ending, output.map(Into::into))
}

/// A cluster before it is joined.
#[derive(Clone)]
struct Before<'a> {
    cluster_name: Option<ClusterName>,
    /// Of the template.
    derived: Option<ClusterName>,
    consent: Consent,
    location: PrometheusLocation,
    /// For a cluster that is joined.
    administrator: ConnectOptions,
    destinations: &'a [Destination],
    unopened: &'a [Error],
}

/// What was seen of the cluster of a context.
struct Checked {
    uid: Option<String>,
    label: Option<ClusterName>,
    checks: Vec<ClusterCheck>,
}

impl Before<'_> {
    /// If a destination knows the cluster already, it is proven instead.
    async fn run(self, connect: ConnectOptions, wanted: WantedJoin) -> Result<Checked> {
        let (cluster, named) = match connect.connect().await {
            Ok(connected) => connected,
            Err(error) => return Ok(self.without(CheckName::Kubeconfig, &error, &connect).await),
        };
        let (jobs, discovered) =
            match discover(&cluster, &wanted.jobs, wanted.route.clone(), wanted.node_selector.clone()).await {
                Ok(found) => found,
                Err(error) => return Ok(self.without(CheckName::Jobs, &error, &connect).await),
            };
        let Self { cluster_name, derived, consent, location, administrator, destinations, unopened } = self;
        let wanted = wanted.federating(&jobs)?;
        let (survey, reached) =
            survey_and_reach(&cluster, named.clone(), &connect, &wanted.desired(&jobs), location).await;
        let uid = survey.uid.as_ref().ok().cloned();
        if let Some(known) = known_label(&survey, destinations)
            && cluster_name.as_ref().is_none_or(|name| *name == known)
        {
            let choice = Choice { context: Some(cluster.context), ..connect.choice };
            let options = ConnectOptions { choice, ..administrator };
            let mut checks = of_joined(&options, destinations, &BTreeSet::from([known.clone()]), &|_, _, _| {}).await;
            checks.extend(unopened.iter().map(unopened_check));
            return Ok(Checked { uid, label: Some(known), checks });
        }
        let label = cluster_name.or(derived).map_or_else(|| name_after(&cluster), Ok)?;
        // Where none answers, people know the one that they named.
        let access = reached.as_ref().map_or(&named, |reached| &reached.access).clone();
        let request = wanted.request(jobs, label.clone());
        let unopened = unopened.to_vec();
        let preflight =
            Preflight { cluster, options: connect, request, consent, destinations, unopened, survey, reached };
        let mut items = Box::pin(preflight.run()).await.beyond(&access, clock::now()).await;
        items.0.extend(discovered.into_iter().map(|warning| Item::warn(CheckName::Jobs, warning)));
        let check = ClusterCheck {
            cluster: label.to_string(),
            destination: None,
            api_server: Some(access.url.to_string()),
            items,
        };
        Ok(Checked { uid, label: Some(label), checks: vec![check] })
    }

    /// Where what stops everything else has this name.
    async fn without(self, name: CheckName, error: &Error, connect: &ConnectOptions) -> Checked {
        let mut items = vec![Item::fail(name, error)];
        items.extend(self.unopened.iter().map(|error| Item::fail(CheckName::Destination, error)));
        items.extend(destinations_alone(self.destinations).await);
        let label = self.cluster_name.as_ref().map(ClusterName::to_string);
        let cluster = label.or_else(|| connect.choice.context.clone()).unwrap_or_else(|| "no cluster".to_owned());
        let check = ClusterCheck { cluster, destination: None, api_server: None, items: Checklist(items) };
        Checked { uid: None, label: self.cluster_name, checks: vec![check] }
    }
}

async fn of_joined(
    options: &ConnectOptions,
    destinations: &[Destination],
    clusters: &BTreeSet<ClusterName>,
    looks: &dyn Fn(&str, &ClusterName, Look),
) -> Vec<ClusterCheck> {
    let collector = Collector { destinations, options, write: cli::next, looks };
    let inspected = joined(&collector, clusters, clock::now()).await;
    let check = |one: Inspected| ClusterCheck {
        cluster: one.status.cluster,
        destination: Some(one.status.destination),
        api_server: one.status.api_server,
        items: one.items,
    };
    inspected.into_iter().map(check).collect()
}

fn unopened_check(error: &Error) -> ClusterCheck {
    let items = Checklist(vec![Item::fail(CheckName::Destination, error)]);
    ClusterCheck { cluster: "no cluster".to_owned(), destination: None, api_server: None, items }
}
