//! `check`: what would stop a join, or what is true of the clusters that were joined. Writes nothing.

use super::{
    administrator, chosen, connection,
    join::{federated, known_label, name_after, pace, route},
    one_context, open_each, options,
};
use crate::{
    cli::{CheckArgs, DataOutput},
    cluster::{self, Connection, reach},
    destination::Opened,
    error::{Error, Result},
    kubeconfig::{self, Choice},
    model::{
        job::{Pace, route::Route},
        plan::request::JoinRequest,
        report::checklist::{CheckReport, Checklist, ClusterCheck, Item},
        store::{label_conflict::Consent, location::Location},
        text::names::ClusterName,
        token,
    },
    render::{checklist, report},
    stages::{
        collect::Look,
        prepare::{
            discover::discover,
            inspect::{Beyond, Inspected, Preflight, destinations_alone, joined},
            observe::survey,
        },
        prove::Proof,
    },
    ui::Ui,
};
use jiff::Timestamp;
use std::collections::BTreeSet;

pub(super) async fn run(args: CheckArgs, ui: Ui) -> Result<()> {
    let pace = pace(&args.pace)?;
    let route = route(&args.what, args.pin_nodes, args.kubelet.kubelet_ca_file.is_some())?;
    let (choice, connection) = connection(&args.kube, &args.seen, ui);
    let connection = Connection { kubelet_ca_file: args.kubelet.kubelet_ca_file.clone(), ..connection };
    let opened = open_each(&args.to.prometheus, &options(&args.to, &args.kube, true, ui)?).await?;
    let (destinations, unopened): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    let destinations: Vec<Opened> = destinations.into_iter().flatten().collect();
    let unopened: Vec<Error> = unopened.into_iter().filter_map(Result::err).collect();
    let names: Vec<&str> = destinations.iter().map(Opened::name).collect();
    let installed = || destinations.iter().flat_map(Opened::installed);
    let known = chosen(&args.clusters, installed(), &names);
    let clusters = match known {
        Err(_) if !unopened.is_empty() => BTreeSet::new(),
        known => known?,
    };

    let is_about_a_context = args.clusters.is_empty() && (choice.context.is_some() || clusters.is_empty());
    let checks = if is_about_a_context {
        let before =
            Before { args: &args, route, pace, choice: &choice, connection: &connection, destinations: &destinations };
        before.run(unopened, ui).await?
    } else {
        one_context(&choice, &clusters)?;
        let mut checks = of_joined(&args, &choice, &destinations, &clusters, ui).await;
        checks.extend(unopened.iter().map(unopened_check));
        checks
    };
    let report = CheckReport::new(checks);
    ui.print(&match args.output {
        Some(DataOutput::Json) => report::json(&report),
        Some(DataOutput::Yaml) => report::yaml(&report),
        None => checklist::text(&report),
    })?;
    report.verdict()
}

/// A cluster before it is joined.
struct Before<'a> {
    args: &'a CheckArgs,
    route: Route,
    pace: Pace,
    choice: &'a Choice,
    connection: &'a Connection,
    destinations: &'a [Opened],
}

impl Before<'_> {
    /// If a destination knows the cluster already, it is proven instead.
    async fn run(&self, unopened: Vec<Error>, ui: Ui) -> Result<Vec<ClusterCheck>> {
        let Self { args, ref route, pace, choice, connection, destinations } = *self;
        let selected = match kubeconfig::select(choice) {
            Ok(selected) => selected,
            Err(error) => return Ok(vec![self.without("kubeconfig", &error, &unopened).await]),
        };
        let is_named = args.cluster_name.is_some();
        let label = args.cluster_name.clone().map_or_else(|| name_after(&selected.context), Ok)?;
        let (cluster, named) = match cluster::connect(selected, connection).await {
            Ok(connected) => connected,
            Err(error) => return Ok(vec![self.without("kubeconfig", &error, &unopened).await]),
        };
        let (jobs, discovered) = match discover(&cluster, &args.what.jobs, route.clone()).await {
            Ok(found) => found,
            Err(error) => return Ok(vec![self.without("jobs", &error, &unopened).await]),
        };
        let request = JoinRequest {
            cluster: label,
            account: args.what.account.account(),
            federate_match: federated(Vec::new(), &jobs)?,
            jobs,
            fence: args.what.fence.into(),
            pace,
            keep_all_metrics: false,
            self_renew: args.self_renew,
            long_lived: false,
            duration: token::DEFAULT,
        };
        let vantage = Location::vantage(&args.to.prometheus);
        let desired = request.desired();
        let (survey, reached) = tokio::join!(
            Box::pin(survey(&cluster, &request.jobs, &desired)),
            reach(&cluster, named.clone(), connection, vantage, Proof::connections(&request))
        );
        if let Some(label) = known_label(&survey, destinations)
            && (!is_named || label == request.cluster)
        {
            let choice = Choice { context: Some(cluster.context), ..choice.clone() };
            let mut checks = of_joined(args, &choice, destinations, &BTreeSet::from([label]), ui).await;
            checks.extend(unopened.iter().map(unopened_check));
            return Ok(checks);
        }
        let consent = Consent { rename: args.clash.rename, replace: args.clash.replace };
        // Where none answers, people know the one that they named.
        let access = reached.as_ref().map_or(&named, |reached| &reached.access);
        let cluster = &cluster;
        let preflight =
            Preflight { request: &request, cluster, consent, destinations, unopened, survey, reached: &reached };
        let findings = preflight.run().await;
        let beyond = Beyond { request: &request, cluster, access, connection, destinations, now: Timestamp::now() };
        let mut items = findings.beyond(&beyond).await;
        items.0.extend(discovered.into_iter().map(|warning| Item::warn("jobs", warning)));
        Ok(vec![ClusterCheck {
            cluster: request.cluster.to_string(),
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
        let label = self.args.cluster_name.as_ref().map(ClusterName::to_string);
        let cluster = label.or_else(|| self.choice.context.clone()).unwrap_or_else(|| "no cluster".to_owned());
        ClusterCheck { cluster, destination: None, api_server: None, items: Checklist(items) }
    }
}

async fn of_joined(
    args: &CheckArgs,
    choice: &Choice,
    destinations: &[Opened],
    clusters: &BTreeSet<ClusterName>,
    ui: Ui,
) -> Vec<ClusterCheck> {
    // How Prometheus sees a cluster is in its record.
    let (_, connection) = administrator(&args.kube, ui);
    let look = Look { destinations, choice, connection: &connection };
    let inspected = joined(&look, clusters, Timestamp::now()).await;
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
