//! `join`: observe, plan, confirm, grant; then print the jobs, or push them to where they are kept alive. Undone if
//! anything fails on the way.

mod joining;
mod report;
mod wanted;

use super::{connection, open, teller};
use crate::{
    cli::{JoinArgs, KubeletArgs},
    cluster::{self, Cluster, Connection, Reached, reach},
    destination::Opened,
    error::{Error, Result},
    kubeconfig,
    model::{
        access::Access,
        job::Jobs,
        plan::{JoinPlan, request::JoinRequest},
        store::{label_conflict::Consent, location::Location},
        text::names::ClusterName,
    },
    render::conversation,
    stages::{
        deliver::Deliver,
        events::Events,
        grant::apply::Journal,
        prepare::{
            discover::discover,
            inspect::{Preflight, Ready, seen_by_another},
            kubelets::Kubelets,
            observe::{Observed, Survey, survey},
        },
        prove::Proof,
    },
    ui::Ui,
};
use joining::Joining;
use report::{dry_run, report};
use wanted::{WhereTo, where_to};
pub(super) use wanted::{federated, name_after, pace, route};

pub(super) async fn run(args: JoinArgs, ui: Ui) -> Result<()> {
    let JoinArgs { what, cluster_name, pace, federate_match, duration, .. } = args;
    let JoinArgs { keep_all_metrics, self_renew, long_lived_token, seen, mut to, clash, how, .. } = args;
    let JoinArgs { keep_on_failure, pin_nodes, kubelet: KubeletArgs { kubelet_ca_file }, kube, .. } = args;
    let WhereTo { as_script, options, unsafe_output } = where_to(&mut to, &how, &kube, ui)?;
    let route = route(&what, pin_nodes, kubelet_ca_file.is_some())?;
    let pace = wanted::pace(&pace)?;
    let (choice, connection) = connection(&kube, &seen, ui);
    let connection = Connection { kubelet_ca_file, ..connection };
    let selected = kubeconfig::select(&choice)?;
    let is_named = cluster_name.is_some();
    let cluster_name = cluster_name.map_or_else(|| name_after(&selected.context), Ok)?;
    let (cluster, named) = cluster::connect(selected, &connection).await?;
    let (jobs, discovered) = discover(&cluster, &what.jobs, route).await?;
    let mut request = JoinRequest {
        cluster: cluster_name,
        account: what.account.account(),
        federate_match: federated(federate_match, &jobs)?,
        jobs,
        fence: what.fence.into(),
        pace,
        keep_all_metrics,
        self_renew,
        long_lived: long_lived_token,
        duration,
    };

    let desired = request.desired();
    let vantage = Location::vantage(&to.prometheus);
    let (survey, reached, opened) = tokio::join!(
        survey(&cluster, &request.jobs, &desired),
        reach(&cluster, named, &connection, vantage, Proof::connections(&request)),
        open(&to.prometheus, &options),
    );
    let (mut destinations, unopened) =
        opened.map_or_else(|error| (Vec::new(), vec![error]), |opened| (opened, Vec::new()));
    if !is_named && let Some(label) = known_label(&survey, &destinations) {
        request.cluster = label;
    }
    let preflight = Preflight {
        request: &request,
        cluster: &cluster,
        consent: Consent { rename: clash.rename, replace: clash.replace },
        destinations: &destinations,
        unopened,
        survey,
        reached: &reached,
    };
    let Ready { observed, plan, renamed, permissions } = preflight.run().await.ready()?;
    let Reached { access, scraper, unreachable } = reached?;
    let by_route = ByRoute::look(&cluster, &request.jobs, &observed, &access, &connection).await?;
    by_route.out_of_reach.iter().try_for_each(|error| seen_by_another(error, &destinations, |_| false))?;
    let pushes = destinations.iter_mut().map(Deliver::new).collect::<Result<Vec<Deliver>>>()?;
    pushes.iter().try_for_each(|push| push.refuse_a_second_job(&request))?;

    let mut warnings = conversation::warnings(&request, &plan, &observed.left_fence);
    warnings.extend(discovered.into_iter().chain(pushes.iter().flat_map(Deliver::warnings)));
    // A Prometheus on this very host may use a loopback address.
    warnings.extend(pushes.is_empty().then(|| conversation::loopback(&access)).flatten());
    warnings.extend(unsafe_output);
    warnings.extend(by_route.warnings(&plan, pushes.is_empty()));
    warnings.extend(unreachable.as_ref().map(|error| conversation::unreachable(error, &cluster.url)));
    ui.tell(&conversation::found(&request, &access, unreachable.is_none(), &observed.version, permissions));
    for push in &pushes {
        ui.tell(&conversation::destination(&push.reader()));
    }
    for warning in &warnings {
        ui.warn(warning);
    }
    let report = report(&request, &access, &observed, warnings);
    if let Some((suffix, mode)) = how.dry_run.suffix() {
        for push in &pushes {
            ui.tell(&push.changes(&request.cluster, &renamed));
        }
        return dry_run(&cluster, &plan, report, how.output, suffix, mode, ui).await;
    }
    if !how.yes {
        let (mut changes, question) = conversation::question(&request, &access, &plan);
        for push in &pushes {
            changes.extend(push.changes(&request.cluster, &renamed));
        }
        ui.tell(&changes);
        ui.confirm(&question, "join")?;
    }

    let tell = teller(ui);
    let joining = Joining {
        request: &request,
        cluster: &cluster,
        access: &access,
        connection: &connection,
        is_reached: unreachable.is_none() && by_route.out_of_reach.is_none(),
        observed: &observed,
        kubelets: &by_route.kubelets,
        plan: &plan,
        scraper: &scraper,
        journal: &Journal::default(),
        output: how.output,
        as_script,
        ui,
        events: Events::new(&tell),
    };
    joining.run(pushes, &renamed, report, keep_on_failure).await
}

/// The kubelets, as far as the route makes them matter.
struct ByRoute {
    kubelets: Kubelets,
    /// Why only Prometheus itself can show that it reaches those that its jobs go to.
    out_of_reach: Option<Error>,
}

impl ByRoute {
    async fn look(
        cluster: &Cluster,
        jobs: &Jobs,
        observed: &Observed,
        access: &Access,
        connection: &Connection,
    ) -> Result<Self> {
        let looked = Kubelets::on(jobs.route(), observed.nodes.as_ref(), access, connection).await;
        let kubelets = looked.map_err(|error| error.about(&cluster.context))?;
        let out_of_reach = kubelets.are_unseen(jobs.route()).then(conversation::no_kubelet);
        Ok(Self { kubelets, out_of_reach })
    }

    fn warnings(&self, plan: &JoinPlan, is_printed: bool) -> Vec<String> {
        let mut warnings: Vec<String> = self.kubelets.distrusted.iter().map(Error::to_string).collect();
        warnings.extend(is_printed.then(|| conversation::handover(plan)).flatten());
        let itself = |error: &Error| format!("{error}; Prometheus itself has to show that it reaches them");
        warnings.extend(self.out_of_reach.as_ref().map(itself));
        warnings
    }
}

/// The label under which one of the destinations knows the cluster already.
pub(super) fn known_label(survey: &Survey, destinations: &[Opened]) -> Option<ClusterName> {
    let uid = survey.uid.as_ref().ok()?;
    destinations.iter().find_map(|destination| destination.label_of(uid)).cloned()
}
