//! Preflight: what would stop a join, and what it would cost. Reads, and nothing else: what fails is an answer like any
//! other.

use super::{
    Prepared,
    kubelets::Kubelets,
    measure::measure,
    nodes::Nodes,
    observe::Survey,
    permissions::{escalation, lacking},
};
use crate::{
    cluster::{Cluster, Reached},
    destination::{Destination, label_conflict},
    error::{Error, Result},
    model::{
        access::Access,
        account::desired::Fence,
        job::route::{Route, some_of},
        kube::object::Existing,
        plan::{self, JoinPlan, request::JoinRequest},
        report::checklist::{self, CheckName, Checklist, DestinationFacts, Item, JoinFacts, Reach, ReaderFacts},
        store::{identity::Identity, label_conflict::Consent, location::Format},
        text::names::ClusterName,
        token::bound_secret::BoundSecret,
    },
    render::conversation,
    stages::{
        connect::ConnectOptions, deliver::operator::try_out, grant::apply::refused_by_admission,
        prove::shown_to_the_caller,
    },
};
use futures_util::future::join_all;
use jiff::Timestamp;

/// A join before its first write: what was surveyed, and what it is to be judged by.
pub struct Preflight<'a> {
    pub cluster: Cluster,
    pub options: ConnectOptions,
    pub request: JoinRequest,
    pub consent: Consent,
    pub destinations: &'a [Destination],
    /// Why others could not be opened.
    pub unopened: Vec<Error>,
    pub survey: Survey,
    /// The address that Prometheus would use.
    pub reached: Result<Reached>,
}

/// What came of it.
pub struct Findings<'a> {
    pub checklist: Checklist,
    cluster: Cluster,
    options: ConnectOptions,
    request: JoinRequest,
    destinations: &'a [Destination],
    survey: Survey,
    reached: Result<Reached>,
    plan: Result<JoinPlan>,
    renamed: Vec<ClusterName>,
    permissions: usize,
}

/// A join that nothing is known to stop.
pub struct Ready {
    pub prepared: Prepared,
    /// Labels that are given up.
    pub renamed: Vec<ClusterName>,
    /// How many there are.
    pub permissions: usize,
}

impl<'a> Preflight<'a> {
    /// Asks what depends on the survey, and judges all of it.
    pub async fn run(self) -> Findings<'a> {
        let Self { cluster, options, request, consent, destinations, unopened, survey, reached } = self;
        let context = &cluster.context;
        let desired = request.desired();
        let clashes = plan::clashes(&desired, &survey.existing);
        // What stands in the way is planned around: the rest is asked about all the same.
        let mut existing: Existing = survey.existing.clone();
        for (reference, _) in &clashes {
            existing.remove(reference);
        }
        let plan = JoinPlan::new(&desired, &existing).map_err(|error| error.about(context));
        let label = match &survey.uid {
            Ok(uid) => label_conflict::resolve(&request, uid, destinations, consent),
            Err(_) => Ok(Vec::new()),
        };
        let permissions = match (&plan, &survey.may_everything) {
            (Ok(plan), Ok(all)) => lacking(&cluster, &request.account, plan, *all).await,
            (Err(error), _) | (_, Err(error)) => Err(error.clone()),
        };
        let spared = match (&plan, &survey.secrets) {
            (Ok(plan), Ok(secrets)) => {
                spare_others(plan, &request, secrets, destinations, cluster.now()).map_err(|error| error.about(context))
            }
            _ => Ok(()),
        };
        let left_fence = survey.left_fence.as_ref();
        let join = reached.as_ref().ok().map(|reached| (&request, &reached.access));
        let facts = JoinFacts {
            request: &request,
            clock: cluster.clock(),
            version: survey.version.clone(),
            uid: survey.uid.clone(),
            unread: survey.unread.clone(),
            nodes: survey.nodes.as_ref().map(|nodes| nodes.as_ref().map(Nodes::facts)).map_err(Clone::clone),
            absent: survey.absent.clone(),
            secrets: survey.secrets.clone(),
            left_fence: left_fence.map(drop).map_err(Clone::clone),
            unopened,
            reached: match &reached {
                Err(error) => Err(error.clone()),
                Ok(Reached { access, unreachable: None, .. }) => {
                    Ok(Reach::Proven(conversation::proven_address(access)))
                }
                Ok(Reached { unreachable: Some(error), access, .. }) => {
                    seen_by_another(error, destinations, |destination| {
                        destination.can_prove_access(access.tls_server_name.as_deref())
                    })
                    .map(|()| Reach::FromThereOnly(conversation::unreachable(error, &cluster.url)))
                }
            },
            label: label.as_ref().map(drop).map_err(Clone::clone),
            clashes: clashes.into_iter().map(|(_, error)| error.about(context)).collect(),
            spared,
            admitted: left_fence.map_or(Ok(()), |fence| fence.admits(&request.account, &request.jobs, context)),
            escalation: plan.as_ref().ok().and_then(|plan| escalation(plan, &survey.escalations)).cloned(),
            permissions: permissions.clone(),
            destinations: join_all(destinations.iter().map(|one| Box::pin(facts_of(one, join)))).await,
            plan: plan.clone(),
        };
        Findings {
            checklist: facts.checklist(),
            cluster,
            options,
            request,
            destinations,
            survey,
            reached,
            plan,
            renamed: label.unwrap_or_default(),
            permissions: permissions.map_or(0, |permissions| permissions.needed),
        }
    }
}

impl Findings<'_> {
    /// # Errors
    /// That of the first item that failed; what the kubelets fail with.
    pub async fn ready(self) -> Result<Ready> {
        self.checklist.verdict()?;
        let Self { cluster, options, request, survey, reached, plan, renamed, permissions, .. } = self;
        let prepared = Prepared::new(cluster, options, request, survey.observed()?, reached?, plan?).await?;
        if prepared.kubelets_are_unseen() {
            seen_by_another(&conversation::no_kubelet(), self.destinations, |_| false)?;
        }
        Ok(Ready { prepared, renamed, permissions })
    }

    /// What only `check` asks: whatever else there is to know before a join. `access` is what Prometheus would use.
    pub async fn beyond(self, access: &Access, now: Timestamp) -> Checklist {
        let Self { checklist, cluster, options, request, destinations, survey, .. } = &self;
        let (Checklist(mut items), connection) = (checklist.clone(), &options.connection);
        items.extend(checklist::address(access, destinations.is_empty(), now));
        if let (Route::Kubelet, Ok(Some(nodes))) = (request.jobs.route(), &survey.nodes) {
            let found = Kubelets::on(&Route::Kubelet, Some(nodes), access, connection).await;
            items.extend(kubelets(found.map_err(|error| error.about(&cluster.context)), destinations));
        }
        let others = request.jobs.iter().filter(|job| !job.is_of_nodes());
        let (neighbours, refused, tokens, measured, targets, readers) = tokio::join!(
            Box::pin(cluster.neighbours(&request.account)),
            async {
                match &self.plan {
                    Ok(plan) => refused_by_admission(cluster, plan).await,
                    Err(_) => Vec::new(),
                }
            },
            cluster.has_token_request(),
            async {
                match &survey.nodes {
                    Ok(Some(nodes)) => Some((nodes.total, measure(cluster, &request.jobs, nodes).await)),
                    Ok(None) | Err(_) => None,
                }
            },
            join_all(others.map(async |job| {
                checklist::target(
                    job,
                    &shown_to_the_caller(cluster, job, &request.federate_match, request.fallback).await,
                )
            })),
            readers(destinations),
        );
        items.extend(refused.iter().map(|error| Item::fail(CheckName::Admission, error)));
        items.push(checklist::token_request(&tokens));
        items.extend(targets);
        if let Some((nodes, measured)) = &measured {
            items.extend(checklist::kubelet(measured));
            items.extend(measured.as_ref().ok().map(|one| checklist::load(*nodes, one, request.pace.interval)));
        }
        items.extend(readers);
        items.extend(checklist::namespace(&request.account, request.fence == Fence::Required, &neighbours));
        Checklist(items)
    }
}

/// Those that jobs would go straight to.
fn kubelets(found: Result<Kubelets>, destinations: &[Destination]) -> Vec<Item> {
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![Item::fail(CheckName::Kubelets, &error)],
    };
    if found.are_unseen(&Route::Kubelet) {
        let error = conversation::no_kubelet();
        return vec![match seen_by_another(&error, destinations, |_| false) {
            Err(error) => Item::fail(CheckName::Kubelets, &error),
            Ok(()) => Item::warn(CheckName::Kubelets, conversation::kubelets_are_to_be_seen()),
        }];
    }
    let names: Vec<&str> = found.proven.iter().map(|(node, _)| node.name.as_str()).collect();
    let proven = format!("the CA verifies the kubelets that answer this host: {}", some_of(names));
    let distrusted = found.distrusted.iter().map(|error| Item::warn(CheckName::Kubelets, error.to_string()));
    [Item::pass(CheckName::Kubelets, proven)].into_iter().chain(distrusted).collect()
}

/// `join` is what would be delivered, and to where Prometheus would go for it; none where no cluster can be asked.
async fn facts_of(destination: &Destination, join: Option<(&JoinRequest, &Access)>) -> DestinationFacts {
    let name = destination.name().to_owned();
    match (destination, join) {
        (Destination::Directory(directory), join) => DestinationFacts::Directory {
            name,
            edits_main: join
                .map_or(Ok(()), |(request, _)| directory.refuse_wide_patterns(&request.cluster))
                .and_then(|()| directory.refuse_unseen_folder())
                .and_then(|()| directory.edited_main().map(|edited| edited.is_some())),
            files: directory.ownership().await.map(drop),
        },
        (Destination::Operator(operator), join) => {
            let taken = match join {
                Some((request, access)) => Some(try_out(operator, request, access).await),
                None => None,
            };
            DestinationFacts::Operator { name, program: operator.instance.program(), taken }
        }
    }
}

/// Where no cluster can be asked: what there is to say about the destinations.
pub async fn destinations_alone(destinations: &[Destination]) -> Vec<Item> {
    let facts = join_all(destinations.iter().map(|destination| facts_of(destination, None))).await;
    let mut items = checklist::destinations(&facts);
    items.extend(readers(destinations).await);
    items
}

/// The reader of each destination, the tool that validates its files, and the way to reload it.
async fn readers(destinations: &[Destination]) -> Vec<Item> {
    let facts = join_all(destinations.iter().map(async |opened| {
        let Destination::Directory(destination) = opened else {
            return ReaderFacts {
                name: opened.name().to_owned(),
                reader: opened.reader().name,
                unseen: opened.api().err().map(str::to_owned),
                named_by: None,
                checker: Some("its operator"),
                is_collector: false,
                reload: Some("its operator"),
                load: opened.load().await,
            };
        };
        let options = &destination.options;
        let has_client_config = options.http_config.is_some() && !destination.processes.is_empty();
        let named_by = options.url.as_ref().map(|_| "--prometheus-url");
        ReaderFacts {
            name: destination.name().to_owned(),
            reader: destination.reader().name,
            unseen: destination.api.as_ref().err().cloned(),
            named_by: named_by.or(has_client_config.then_some("--prometheus-http-config")),
            checker: destination.checker(),
            is_collector: destination.format == Format::Otel,
            reload: destination.reloaded_by().await,
            load: opened.load().await,
        }
    }));
    facts.await.iter().flat_map(checklist::reader).collect()
}

/// An address that this host cannot reach is proven by the Prometheus that can reach it, or by the host of that
/// Prometheus where that is enough.
///
/// # Errors
/// The error for an unreachable address whose use by Prometheus cannot be verified.
pub fn seen_by_another(
    unreachable: &Error,
    destinations: &[Destination],
    host_is_enough: impl Fn(&Destination) -> bool,
) -> Result<()> {
    let is_unverified = |destination: &&Destination| !host_is_enough(destination);
    let unseen = destinations.iter().filter(is_unverified).find_map(|one| Some((one, one.api().err()?)));
    let Some((destination, why)) = unseen else { return Ok(()) };
    Err(unreachable
        .clone()
        .hint(format!("Prometheus may reach it, but this could not be confirmed at {}: {why}", destination.name()))
        .hint("Name another address with --api-server, or Prometheus' own with --prometheus-url"))
}

/// The label under which one of the destinations knows the cluster already.
pub fn known_label(survey: &Survey, destinations: &[Destination]) -> Option<ClusterName> {
    let uid = survey.uid.as_ref().ok()?;
    destinations.iter().find_map(|destination| destination.label_of(uid)).cloned()
}

/// Rights belong to an account, so changing them affects every destination that uses it.
fn spare_others(
    plan: &JoinPlan,
    request: &JoinRequest,
    secrets: &[BoundSecret],
    destinations: &[Destination],
    now: Timestamp,
) -> Result<()> {
    if destinations.is_empty() {
        return Ok(());
    }
    let own: Vec<Identity> = destinations.iter().map(Destination::identity).collect();
    let is_another =
        |secret: &&BoundSecret| !own.iter().any(|own| own.is(&secret.destination)) && !secret.has_expired(now);
    plan.spare_others(&request.account, &secrets.iter().filter(is_another).collect::<Vec<_>>())
}
