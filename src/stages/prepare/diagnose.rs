//! Diagnose: what is true of clusters that were joined, with their own tokens and as an administrator. Reads, and nothing
//! else: what fails is an answer like any other.

use super::{discover::pinned, kubelets::Kubelets, measure::measure, nodes::Nodes, observe::survey};
use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::{Connection, List, Scraper},
    destination::Destination,
    error::{Error, Reason, Result},
    model::{
        access::Access,
        account::surplus::excess,
        kube::permission::Permission,
        plan::{self, request::JoinRequest},
        report::{
            ProofReport,
            checklist::{self, AdminFacts, Checklist, Item, TokenFacts},
            status::{ClusterStatus, Facts, Recorded},
        },
        store::record::Record,
        text::{limits, names::ClusterName},
        token::bound_secret::BoundSecret,
    },
    render::conversation,
    stages::{
        collect::{Collector, late},
        prove::{FenceState, Proof},
        renew::StoredCredentials,
    },
};
use futures_util::{StreamExt, future::try_join_all, stream};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// The number of clusters that are inspected concurrently.
const AT_ONCE: usize = 8;

/// One cluster of one destination, checked from all sides.
pub struct Inspected {
    pub status: ClusterStatus,
    pub items: Checklist,
}

/// Proves what is there, with what is there.
pub async fn joined(collector: &Collector<'_>, clusters: &BTreeSet<ClusterName>, now: Timestamp) -> Vec<Inspected> {
    let facts = collector.run(clusters).await;
    stream::iter(facts)
        .map(|facts| async move {
            let status = ClusterStatus::new(&facts, now);
            let mut items = checklist::of_status(&status);
            if let Recorded::Record(record) = &facts.recorded {
                let within = limits::for_cluster(collector.options.connection.timeout);
                let beyond = tokio::time::timeout(within, Box::pin(beyond_status(collector, &facts, record, now)));
                let unknown = |_| vec![Item::unknown("objects", &late(record, within))];
                items.extend(beyond.await.unwrap_or_else(unknown));
            }
            Inspected { status, items: Checklist(items) }
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

async fn beyond_status(collector: &Collector<'_>, facts: &Facts, record: &Record, now: Timestamp) -> Vec<Item> {
    let destination = collector.destinations.iter().find(|destination| destination.name() == facts.destination);
    let live = destination.and_then(|destination| {
        let live = destination.installed().get(&facts.cluster)?.as_ref().ok()?.live.as_ref()?;
        Some((destination, StoredCredentials::of(destination, live)))
    });
    let Some((destination, stored)) = live else { return Vec::new() };
    let (token, admin) = tokio::join!(with_token(&stored, record, &collector.options.connection), async {
        // Nothing counts before the UID is seen to fit.
        match &facts.in_cluster {
            Ok(_) => Some(by_admin(collector, destination, record).await),
            Err(_) => None,
        }
    });
    let commands = facts.commands();
    let secrets = facts.in_cluster.as_ref().ok().and_then(|seen| seen.secrets.as_ref().ok());
    let is_revoked = secrets.is_some_and(|secrets| !secrets.in_use_exists);
    let again = commands.join("Restore it", record);
    let renew = if is_revoked {
        commands.join("Issue a new token", record)
    } else {
        format!("Issue a new token: {}", commands.now())
    };
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
async fn with_token(stored: &StoredCredentials<'_>, record: &Record, connection: &Connection) -> Result<TokenFacts> {
    let access = record.access(stored.cas(record).await?);
    let token = stored.token(record).await?;
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
    let path = List::Nodes.first(1);
    let answer = match scraper.get(&path, Some(&token)).await {
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
    token: &BearerToken,
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

/// The dangerous rights of the token, with one question for each. This also works with an authorizer that cannot list
/// rules.
async fn dangers(scraper: &Scraper, token: &BearerToken) -> Result<Vec<Permission>> {
    let asked = checklist::dangers();
    let answers = try_join_all(asked.iter().map(|permission| scraper.is_allowed(token, permission))).await?;
    Ok(asked.into_iter().zip(answers).filter(|(_, is_allowed)| *is_allowed).map(|(asked, _)| asked).collect())
}

/// What else it may do, as far as the authorizers can list it: in all namespaces, in its own, and in those of its jobs.
async fn beyond_the_jobs(scraper: &Scraper, token: &BearerToken, record: &Record) -> Result<Vec<String>> {
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
async fn by_admin(collector: &Collector<'_>, destination: &Destination, record: &Record) -> Result<AdminFacts> {
    let (cluster, _) = collector.options_of(destination, record).await.connect().await?;
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
    secrets.into_iter().filter(|secret| !identity.is(&secret.destination)).collect()
}
