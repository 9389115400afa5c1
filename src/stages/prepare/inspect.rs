//! Inspect: what would stop a join, and what is true of a cluster that was joined. Reads, and nothing else: what fails
//! is an answer like any other.

use super::{
    Prepared,
    discover::pinned,
    kubelets::Kubelets,
    observe::{Nodes, Survey, escalation, lacking, survey},
};
use crate::{
    cluster::{Cluster, Connection, Reached, Scraper},
    destination::{Destination, label_conflict},
    error::{Error, Reason, Result},
    model::{
        access::Access,
        account::surplus::excess,
        job::{
            Jobs,
            route::{Route, some_of},
            target::Target,
        },
        kube::{object::Existing, permission::Permission},
        plan::{self, JoinPlan, request::JoinRequest},
        report::{
            ProofReport,
            checklist::{
                self, AdminFacts, Checklist, DestinationFacts, Item, JoinFacts, Measured, NodeFacts, Reach,
                ReaderFacts, TokenFacts,
            },
            status::{ClusterStatus, Facts, Recorded},
        },
        store::{identity::Identity, label_conflict::Consent, record::Record, reload::ReloadMode},
        text::names::ClusterName,
        token::bound_secret::BoundSecret,
    },
    render::conversation,
    stages::{
        collect::Look,
        connect::ConnectOptions,
        deliver::operator::try_out,
        prove::{FenceState, Proof, kubelet_forbidden, shown_to_the_caller},
        renew::Beside,
    },
};
use futures_util::{
    StreamExt,
    future::{join_all, try_join_all},
    stream,
};
use jiff::Timestamp;
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};

/// How many clusters are inspected at the same time.
const AT_ONCE: usize = 8;

/// A join before its first write: what was surveyed, and what it is to be judged by.
pub struct Preflight<'a> {
    pub cluster: Cluster,
    pub options: ConnectOptions,
    pub request: JoinRequest,
    pub consent: Consent,
    pub destinations: &'a [Destination],
    /// Why others could not be looked at.
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
                spare_others(plan, &request, secrets, destinations).map_err(|error| error.about(context))
            }
            _ => Ok(()),
        };
        let left_fence = survey.left_fence.as_ref();
        let join = reached.as_ref().ok().map(|reached| (&request, &reached.access));
        let facts = JoinFacts {
            request: &request,
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
        let (tokens, measured, targets, readers) = tokio::join!(
            cluster.has_token_request(),
            async {
                match &survey.nodes {
                    Ok(Some(nodes)) => Some((nodes.total, measure(cluster, &request.jobs, nodes).await)),
                    Ok(None) | Err(_) => None,
                }
            },
            join_all(others.map(async |job| {
                checklist::target(job, &shown_to_the_caller(cluster, job, &request.federate_match).await)
            })),
            readers(destinations),
        );
        items.push(checklist::token_request(&tokens));
        items.extend(targets);
        if let Some((nodes, measured)) = &measured {
            items.push(checklist::kubelet(measured));
            items.extend(measured.as_ref().ok().map(|one| checklist::load(*nodes, one, request.pace.interval)));
        }
        items.extend(readers);
        Checklist(items)
    }
}

/// Those that jobs would go straight to.
fn kubelets(found: Result<Kubelets>, destinations: &[Destination]) -> Vec<Item> {
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![Item::fail("kubelets", &error)],
    };
    if found.are_unseen(&Route::Kubelet) {
        let error = conversation::no_kubelet();
        return vec![match seen_by_another(&error, destinations, |_| false) {
            Err(error) => Item::fail("kubelets", &error),
            Ok(()) => Item::warn("kubelets", conversation::kubelets_are_to_be_seen()),
        }];
    }
    let names: Vec<&str> = found.proven.iter().map(|(node, _)| node.name.as_str()).collect();
    let proven = format!("the CA vouches for the kubelets that answer here: {}", some_of(names));
    let distrusted = found.distrusted.iter().map(|error| Item::warn("kubelets", error.to_string()));
    [Item::pass("kubelets", proven)].into_iter().chain(distrusted).collect()
}

impl Nodes {
    fn facts(&self) -> NodeFacts {
        NodeFacts { total: self.total, seen: self.candidates.len(), ready: self.ready }
    }
}

/// `join` is what would be delivered, and to where Prometheus would go for it; none where no cluster can be asked.
async fn facts_of(destination: &Destination, join: Option<(&JoinRequest, &Access)>) -> DestinationFacts {
    let name = destination.name().to_owned();
    match (destination, join) {
        (Destination::Directory(directory), _) => DestinationFacts::Directory {
            name,
            edits_main: directory.edited_main().map(|edited| edited.is_some()),
            files: directory.files().map(drop),
        },
        (Destination::Operator(operator), Some((request, access))) => {
            DestinationFacts::Operator { name, taken: Some(try_out(operator, request, access).await) }
        }
        (Destination::Operator(_), None) => DestinationFacts::Operator { name, taken: None },
    }
}

/// Where no cluster can be asked: what there is to say about the destinations.
pub async fn destinations_alone(destinations: &[Destination]) -> Vec<Item> {
    let facts = join_all(destinations.iter().map(|destination| facts_of(destination, None))).await;
    let mut items = checklist::destinations(&facts);
    items.extend(readers(destinations).await);
    items
}

/// Who reads each destination, what looks at its files, and how it would be reloaded.
async fn readers(destinations: &[Destination]) -> Vec<Item> {
    let facts = join_all(destinations.iter().map(async |opened| {
        let Destination::Directory(destination) = opened else {
            return ReaderFacts {
                name: opened.name().to_owned(),
                reader: opened.reader().name,
                unseen: opened.api().err().map(str::to_owned),
                is_named: false,
                checker: Some("its operator"),
                reload: Some("its operator"),
            };
        };
        let process = destination.processes.first();
        let flags = match &destination.api {
            Some(api) => api.flags().await.unwrap_or_default(),
            None => BTreeMap::default(),
        };
        let by_http = flags.get("web.enable-lifecycle").is_some_and(|flag| flag == "true");
        let reload = match &destination.options.reload {
            ReloadMode::Auto if by_http && destination.processes.len() < 2 => Some("HTTP"),
            ReloadMode::Auto | ReloadMode::Signal if process.is_some() => Some("SIGHUP"),
            ReloadMode::Http if by_http => Some("HTTP"),
            ReloadMode::Command(_) => Some("the command given"),
            ReloadMode::None => Some("nobody, as --reload=none says"),
            _ => None,
        };
        ReaderFacts {
            name: destination.name().to_owned(),
            reader: destination.reader().name,
            unseen: destination.api_missing.clone(),
            is_named: destination.options.url.is_some(),
            checker: destination.checker(),
            reload,
        }
    }));
    facts.await.iter().flat_map(checklist::reader).collect()
}

/// The pages of the first node that shows them, with the caller's own credentials.
///
/// # Errors
/// [`Reason::KubeletForbidden`] if the kubelet refuses the API server; else whatever stands in the way.
async fn measure(cluster: &Cluster, jobs: &Jobs, nodes: &Nodes) -> Result<Measured> {
    let mut last = None;
    for node in &nodes.candidates {
        let of_nodes = jobs.iter().filter(|job| job.is_of_nodes());
        let pages = try_join_all(of_nodes.map(async |job| {
            // Whatever the account's route, the caller reads by the one that everybody has.
            let path = Target::of(job, &Route::ApiServer).page(&node.name);
            let answer = cluster.page(&path).await?;
            let message = answer.message();
            match answer.code {
                200 => Ok(answer.body),
                403 if message.starts_with("Forbidden (user=") => Err(kubelet_forbidden(&path, &message)),
                code => Err(Error::new(Reason::ProofFailed, format!("{path} answers {code} to you: {message}"))
                    .hint(format!("See the same with: kubectl get --raw {path}"))),
            }
        }));
        match pages.await {
            Ok(pages) => {
                let samples =
                    |page: &String| page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
                return Ok(Measured {
                    node: node.name.clone(),
                    bytes: pages.iter().map(|page| page.len() as u64).sum(),
                    samples: pages.iter().map(|page| samples(page) as u64).sum(),
                });
            }
            Err(error) if error.reason == Reason::KubeletForbidden => return Err(error.about(&cluster.context)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(Reason::NoNodes, "there is no node to read")).about(&cluster.context))
}

/// What cannot be reached from here is proven by the Prometheus that can reach it, or by its host where that is enough:
/// somebody must see it.
///
/// # Errors
/// That it cannot be reached, where nobody could see that.
pub fn seen_by_another(
    unreachable: &Error,
    destinations: &[Destination],
    host_is_enough: impl Fn(&Destination) -> bool,
) -> Result<()> {
    let nobody_looks = |destination: &&Destination| !host_is_enough(destination);
    let unseen = destinations.iter().filter(nobody_looks).find_map(|one| Some((one, one.api().err()?)));
    let Some((destination, why)) = unseen else { return Ok(()) };
    Err(unreachable
        .clone()
        .hint(format!("Nor could anybody see that Prometheus reaches it: {}: {why}", destination.name()))
        .hint("Name another address with --api-server, or Prometheus' own with --prometheus-url"))
}

/// The label under which one of the destinations knows the cluster already.
pub fn known_label(survey: &Survey, destinations: &[Destination]) -> Option<ClusterName> {
    let uid = survey.uid.as_ref().ok()?;
    destinations.iter().find_map(|destination| destination.label_of(uid)).cloned()
}

/// Rights are an account's: whoever changes them changes those of every destination that uses it.
fn spare_others(
    plan: &JoinPlan,
    request: &JoinRequest,
    secrets: &[BoundSecret],
    destinations: &[Destination],
) -> Result<()> {
    if destinations.is_empty() {
        return Ok(());
    }
    let own: Vec<Identity> = destinations.iter().filter_map(Destination::identity).collect();
    let now = Timestamp::now();
    let is_another = |secret: &&BoundSecret| !own.contains(&secret.destination) && !secret.has_expired(now);
    plan.spare_others(&request.account, &secrets.iter().filter(is_another).collect::<Vec<_>>())
}

/// One cluster of one destination, looked at from all sides.
pub struct Inspected {
    pub status: ClusterStatus,
    pub items: Checklist,
}

/// Proves what is there, with what is there.
pub async fn joined(look: &Look<'_>, clusters: &BTreeSet<ClusterName>, now: Timestamp) -> Vec<Inspected> {
    let facts = look.run(clusters).await;
    stream::iter(facts)
        .map(|facts| async move {
            let status = ClusterStatus::new(&facts, now);
            let mut items = checklist::of_status(&status);
            if let Recorded::Record(record) = &facts.recorded {
                items.extend(Box::pin(beyond_status(look, &facts, record, now)).await);
            }
            Inspected { status, items: Checklist(items) }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn beyond_status(look: &Look<'_>, facts: &Facts, record: &Record, now: Timestamp) -> Vec<Item> {
    let destination = look.destinations.iter().find(|destination| destination.name() == facts.destination);
    let live = destination.and_then(|destination| {
        let live = destination.installed().get(&facts.cluster)?.as_ref().ok()?.live.as_ref()?;
        Some((destination, Beside::of(destination, live)))
    });
    let Some((destination, beside)) = live else { return Vec::new() };
    let (token, admin) = tokio::join!(with_token(&beside, record, &look.options.connection), async {
        // Nothing counts before the UID is seen to fit.
        match &facts.in_cluster {
            Ok(_) => Some(by_admin(look, destination, record).await),
            Err(_) => None,
        }
    });
    let commands = facts.commands();
    let (again, renew) =
        (format!("Put it back: {}", commands.join(record)), format!("Issue a new one: {}", commands.now()));
    let mut items = match token {
        Ok(token) => token.items(&again, &renew, now),
        Err(error) => vec![Item::fail("token", &error)],
    };
    match admin {
        Some(Ok(admin)) => items.extend(admin.items(&again, record.scrape_interval)),
        Some(Err(error)) => items.push(Item::unknown("objects", &error)),
        None => {}
    }
    items
}

/// With nothing but what lies beside the record.
///
/// # Errors
/// [`Reason::DestinationUnusable`] if token or CA are not there.
async fn with_token(beside: &Beside<'_>, record: &Record, connection: &Connection) -> Result<TokenFacts> {
    let access = record.access(beside.cas(record)?);
    let token = beside.token(record)?;
    let scraper = Scraper::new(&access, connection)?;
    let mut facts = TokenFacts {
        access: access.clone(),
        reached: Ok(String::new()),
        alive: None,
        pages: None,
        refused: None,
        dangers: None,
        excess: None,
    };
    let path = "/api/v1/nodes?limit=1";
    let answer = match scraper.get(path, Some(&token)).await {
        Ok(answer) => answer,
        Err(error) => {
            facts.reached = Err(error.about(format!("{}: as Prometheus sees it", record.cluster)));
            return Ok(facts);
        }
    };
    facts.reached = Ok(conversation::proven_address(&access));
    if answer.code == 401 {
        facts.alive = Some(Err(Error::new(Reason::AccountRefused, format!("{path} answers 401 to the token"))));
        return Ok(facts);
    }
    facts.alive = Some(Ok(()));
    let ((pages, refused), dangers, excess) = tokio::join!(
        proven(&scraper, &token, record, &access, connection),
        dangers(&scraper, &token),
        beyond_the_jobs(&scraper, &token, record)
    );
    facts.pages = Some(pages);
    facts.refused = refused;
    facts.dangers = Some(dangers);
    facts.excess = Some(excess);
    Ok(facts)
}

async fn proven(
    scraper: &Scraper,
    token: &SecretString,
    record: &Record,
    access: &Access,
    connection: &Connection,
) -> (Result<ProofReport>, Option<Result<usize>>) {
    let nodes = if record.jobs.have_nodes() {
        match Nodes::seen_by(scraper, token).await {
            Ok(nodes) => Some(nodes),
            Err(error) => return (Err(error), None),
        }
    } else {
        None
    };
    let jobs = record.routed_jobs();
    let kubelets = match Kubelets::on(jobs.route(), nodes.as_ref(), access, connection).await {
        Ok(kubelets) => kubelets,
        Err(error) => return (Err(error), None),
    };
    let proof = Proof {
        account: &record.account(),
        jobs: &jobs,
        until_delivered: &[],
        kubelets: &kubelets,
        federate_match: &record.federate_match,
        nodes: nodes.as_ref(),
        fence: if record.fenced { FenceState::Standing } else { FenceState::Off },
        former: Some(&[]),
        needs_every_page: false,
    };
    let (pages, refused) = proof.parts(scraper, token).await;
    (pages, record.fenced.then_some(refused))
}

/// What the token may do that nobody should, by asking for each. An authorizer that can list no rules answers this.
async fn dangers(scraper: &Scraper, token: &SecretString) -> Result<Vec<Permission>> {
    let asked = checklist::dangers();
    let answers = try_join_all(asked.iter().map(|permission| scraper.is_allowed(token, permission))).await?;
    Ok(asked.into_iter().zip(answers).filter(|(_, is_allowed)| *is_allowed).map(|(asked, _)| asked).collect())
}

/// What else it may do, as far as the authorizers can list it: in all namespaces, in its own, and in those of its jobs.
async fn beyond_the_jobs(scraper: &Scraper, token: &SecretString, record: &Record) -> Result<Vec<String>> {
    let desired = record.request().desired();
    let mut namespaces = BTreeSet::from([record.namespace.as_str()]);
    namespaces.extend(desired.grants.iter().filter_map(|grant| grant.role.reference.namespace.as_deref()));
    let found =
        try_join_all(namespaces.into_iter().map(async |namespace| {
            Ok::<_, Error>(excess(&scraper.rules(token, namespace).await?, &desired, namespace))
        }))
        .await?;
    Ok(found.into_iter().flatten().collect::<BTreeSet<String>>().into_iter().collect())
}

/// What an administrator sees beside what `status` shows.
async fn by_admin(look: &Look<'_>, destination: &Destination, record: &Record) -> Result<AdminFacts> {
    let (cluster, _) = look.options_of(destination, record).connect().await?;
    let request = record.request();
    let jobs = pinned(&cluster, request.jobs).await?;
    let request = JoinRequest { jobs, ..request };
    let (account, desired) = (record.account(), request.desired());
    let (survey, bindings) =
        tokio::join!(Box::pin(survey(&cluster, &request.jobs, &desired)), cluster.bindings_of(&account));
    let measured = match survey.nodes {
        Ok(Some(nodes)) => measure(&cluster, &record.jobs, &nodes).await.map(|measured| Some((nodes.total, measured))),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    Ok(AdminFacts {
        drift: match survey.unread.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(plan::drift(&desired, &survey.existing)),
        },
        bindings: bindings
            .map(|bindings| bindings.into_iter().filter(|binding| !desired.has(&binding.reference)).collect()),
        others: others(survey.secrets.unwrap_or_default(), destination),
        measured,
    })
}

fn others(secrets: Vec<BoundSecret>, destination: &Destination) -> Vec<BoundSecret> {
    let identity = destination.identity();
    secrets.into_iter().filter(|secret| Some(&secret.destination) != identity.as_ref()).collect()
}
