//! Prove: what the token in use can do and cannot do, with nothing but what lies beside its record.

use super::{Pages, Proof};
use crate::{
    cluster::{Connection, List, Scraper},
    destination::Credentials,
    error::{Error, Reason, Result},
    model::{
        access::Access,
        account::surplus::excess,
        kube::permission::Permission,
        report::{
            ProofReport,
            account_limits::AccountLimits,
            checklist::{self, TokenFacts},
        },
        store::record::Record,
        token::bearer::BearerToken,
    },
    render::conversation,
    stages::{
        cluster_time::ClusterTime,
        prepare::{kubelets::Kubelets, nodes::Nodes},
    },
};
use futures_util::future::try_join_all;
use std::collections::BTreeSet;

/// Whether the fence and the rights limit the account. Ends after the time that a cluster has.
pub async fn account_limits(credentials: &Credentials, record: &Record, connection: &Connection) -> AccountLimits {
    let time = ClusterTime::begin(connection.timeout);
    AccountLimits::new(&time.bound(Box::pin(with_token(credentials, record, connection, Pages::One))).await, record)
}

/// What the token shows.
///
/// # Errors
/// As [`Scraper::new`].
pub async fn with_token(
    Credentials { token, cas }: &Credentials,
    record: &Record,
    connection: &Connection,
    pages: Pages,
) -> Result<TokenFacts> {
    let access = record.access(cas.clone());
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
    let path = List::Nodes(None).first(1);
    let answer = match scraper.get(&path, Some(token)).await {
        Ok(answer) => answer,
        Err(error) => {
            facts.reached = Err(error.about(format!("{}: as Prometheus sees it", record.cluster)));
            return Ok(facts);
        }
    };
    facts.reached = Ok(conversation::proven_address(&access));
    if answer.code == 401 && answer.is_of_the_api_server() {
        facts.alive = Some(Err(Error::new(Reason::AccountRefused, format!("{path} answers 401 to the token"))));
        return Ok(facts);
    }
    facts.alive = Some(Ok(()));
    let ((pages, refused), dangers, excess) = tokio::join!(
        proven(&scraper, token, record, &access, connection, pages),
        dangers(&scraper, token),
        beyond_the_jobs(&scraper, token, record)
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
    pages: Pages,
) -> (Result<ProofReport>, Option<Result<usize>>) {
    let nodes = if record.jobs.have_nodes() {
        match Nodes::seen_by(scraper, token, record.node_selector.as_ref()).await {
            Ok(nodes) => Some(nodes),
            Err(error) => return (Err(error), None),
        }
    } else {
        None
    };
    let jobs = record.routed_jobs();
    let kubelets = match pages {
        Pages::One => Ok(Kubelets::default()),
        _ => Kubelets::on(jobs.route(), nodes.as_ref(), access, connection).await,
    };
    let kubelets = match kubelets {
        Ok(kubelets) => kubelets,
        Err(error) => return (Err(error), None),
    };
    let account = record.account();
    let proof = Proof::of_record(record, &account, &jobs, nodes.as_ref(), &kubelets, pages);
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
