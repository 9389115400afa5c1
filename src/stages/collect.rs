//! Collects the facts about each cluster from a destination, its clusters and its Prometheus. Writes nothing, takes no
//! lock.

use super::{
    cluster_time::ClusterTime, connect::ConnectOptions, renew::StoredCredentials, side_by_side::side_by_side, usage,
};
use crate::{
    cluster::{Cluster, Found, network},
    destination::{Destination, Health, Installed, PrometheusApi, Target},
    error::{Error, Reason, Result},
    model::{
        account::{Account, existing_fence::LeftFence, fence, guard, renewal},
        kube::object::{Kind, ObjectRef},
        report::status::{
            ClusterFacts, DownTarget, Facts, FenceSeen, JobFacts, PinFacts, PrometheusFacts, Recorded, SecretFacts,
            Usage, Write, made_anew,
        },
        store::{
            record::{Record, SecretRecord, StoredCas},
            terms::Terms,
        },
        text::{line::escaped, names::ClusterName},
        token::clock::ClockLead,
    },
};
use futures_util::future::{join_all, try_join_all};
use serde_json::Value;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

/// The sources, and the credentials for them.
pub struct Collector<'a> {
    pub destinations: &'a [Destination],
    /// Their context, if there is one, overrides the recorded one; of several, the one that leads to the cluster.
    pub options: &'a ConnectOptions,
    /// How the next commands are written.
    pub write: Write,
    /// Hears of each cluster of a destination when the work on it begins and ends.
    pub looks: &'a dyn Fn(&str, &ClusterName, Look),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Begins,
    Ends,
}

/// A Prometheus that can be queried.
struct Asked<'a> {
    api: &'a PrometheusApi,
    /// Its jobs, if it lists them: vmagent does not.
    pools: Option<Vec<String>>,
    /// Whether it supports `PromQL`.
    stores: bool,
}

impl Collector<'_> {
    /// The facts about these clusters, for each destination that has one.
    pub async fn run(&self, clusters: &BTreeSet<ClusterName>) -> Vec<Facts> {
        network::raise_open_files(clusters.len(), self.options.at_once);
        let apis = join_all(self.destinations.iter().map(asked)).await;
        let known = self.destinations.iter().zip(&apis).flat_map(|(destination, api)| {
            let installed = destination.installed().iter().filter(|(cluster, _)| clusters.contains(cluster));
            installed.map(move |(cluster, installed)| (destination, api, cluster, installed))
        });
        let facts = known.map(async |(destination, api, cluster, installed)| {
            (self.looks)(destination.name(), cluster, Look::Begins);
            let facts = self.facts(destination, api, cluster, installed).await;
            (self.looks)(destination.name(), cluster, Look::Ends);
            facts
        });
        let usage =
            self.destinations.iter().zip(&apis).map(|(destination, asked)| usage_at(destination, asked, clusters));
        let (mut facts, usage) = tokio::join!(side_by_side(facts, self.options.at_once), join_all(usage));
        let usage: BTreeMap<&str, _> = self.destinations.iter().map(Destination::name).zip(usage).collect();
        for facts in &mut facts {
            if let Ok(seen) = &mut facts.in_prometheus {
                seen.usage = usage[facts.destination.as_str()].get(facts.cluster.as_str()).copied().unwrap_or_default();
            }
        }
        facts
    }

    async fn facts(
        &self,
        destination: &Destination,
        asked: &Result<Asked<'_>, String>,
        cluster: &ClusterName,
        installed: &Result<Installed>,
    ) -> Facts {
        let nothing = |recorded, leftovers| Facts {
            cluster: cluster.clone(),
            destination: destination.name().to_owned(),
            write: self.write,
            recorded,
            leftovers,
            refused: Vec::new(),
            clock: None,
            in_cluster: Err(String::new()),
            in_prometheus: Err(String::new()),
        };
        let installed = match installed {
            Ok(installed) => installed,
            Err(error) => return nothing(Recorded::Unreadable(error.clone()), Vec::new()),
        };
        let record = match installed.live.as_ref().map(|live| &live.record) {
            Some(Ok(record)) => record,
            // The generations that an unreadable record replaces are not known, so leftovers are not known either.
            Some(Err(error)) => return nothing(Recorded::Unreadable(error.clone()), Vec::new()),
            None => return nothing(Recorded::NoJobs, installed.leftovers().into_iter().cloned().collect()),
        };
        let in_prometheus = async {
            match asked {
                Ok(asked) => in_prometheus(destination, asked, record).await.map_err(|error| error.to_string()),
                Err(why) => Err(why.clone()),
            }
        };
        let clock = Cell::default();
        let (in_cluster, in_prometheus, refused) = tokio::join!(
            Box::pin(self.in_cluster_within(destination, record, &clock)),
            Box::pin(in_prometheus),
            Box::pin(refused(destination, record))
        );
        Facts {
            clock: clock.get(),
            in_cluster: in_cluster.map_err(|error| with_next(&error)),
            in_prometheus,
            refused,
            ..nothing(Recorded::Record(Box::new(record.clone())), installed.leftovers().into_iter().cloned().collect())
        }
    }

    /// The administrator's connection to the cluster of a record.
    pub(in crate::stages) async fn options_of(
        &self,
        destination: &Destination,
        record: &Record,
    ) -> Result<ConnectOptions> {
        let ca = if record.access.ca_given { destination.ca(record).await } else { None };
        self.options.of_record(record, record.access(StoredCas { api_server: ca, kubelet: None }))
    }

    /// The same for a limited time, so that one cluster does not keep the others back.
    async fn in_cluster_within(
        &self,
        destination: &Destination,
        record: &Record,
        clock: &Cell<Option<ClockLead>>,
    ) -> Result<ClusterFacts> {
        let facts = async { Ok(Box::pin(self.in_cluster(destination, record, clock)).await) };
        let in_time = ClusterTime::begin(self.options.connection.timeout).bound(facts).await;
        in_time.unwrap_or_else(|late| Err(late.about(&record.context)))
    }

    /// The facts that an administrator sees in the cluster. They count only if the UID matches. `clock` becomes that of
    /// the API server, whatever it answers.
    async fn in_cluster(
        &self,
        destination: &Destination,
        record: &Record,
        clock: &Cell<Option<ClockLead>>,
    ) -> Result<ClusterFacts> {
        let (cluster, _) = self.options_of(destination, record).await?.connect().await?;
        let account = record.account();
        let (uid, nodes, fence, guard, renewal, pins, secrets, cas) = tokio::join!(
            cluster.uid(),
            cluster.nodes(record.node_selector.as_ref()),
            fence_seen(&cluster, &account, record),
            guard_seen(&cluster, &account, record),
            renewal_seen(&cluster, &account, record),
            pins(&cluster, &account, record),
            cluster.bound_secrets(&account),
            given_cas(destination, record)
        );
        clock.set(cluster.clock());
        let uid = uid?;
        if uid != record.uid {
            return Err(Error::new(
                Reason::ClusterUnknown,
                format!(
                    "the context {} leads to another cluster (the UID of its kube-system is {uid})",
                    cluster.context
                ),
            )
            .hint(format!(
                "Name the right context with --context NAME. {}",
                made_anew(self.write, record, destination.name())
            )));
        }
        let identity = destination.identity();
        Ok(ClusterFacts {
            terms: secrets.as_ref().ok().zip(cas).map(|(secrets, cas)| Terms::confirm(record, cas, &identity, secrets)),
            nodes: match nodes {
                Ok((_, total)) => Ok(Some(total)),
                // A join without a job of nodes needs no right to nodes.
                Err(error) if error.reason == Reason::Forbidden && !record.jobs.have_nodes() => Ok(None),
                Err(error) => Err(with_next(&error)),
            },
            fence: fence.map_err(|error| with_next(&error)),
            guard: guard.map_err(|error| with_next(&error)),
            renewal: renewal.map_err(|error| with_next(&error)),
            pins: pins.map_err(|error| with_next(&error)),
            secrets: secrets
                .map(|secrets| SecretFacts::new(&secrets, &record.bound_secret, &identity, &recorded(destination)))
                .map_err(|error| with_next(&error)),
        })
    }
}

/// The CAs beside a record that flags of the join gave. None if they cannot be read.
async fn given_cas(destination: &Destination, record: &Record) -> Option<StoredCas> {
    if !record.access.ca_given && !record.access.kubelet_ca_file {
        return Some(StoredCas::default());
    }
    let live = destination.installed().get(&record.cluster)?.as_ref().ok()?.live.as_ref()?;
    StoredCredentials::of(destination, live).cas(record).await.ok()
}

/// The operator's reasons for rejecting the jobs.
async fn refused(destination: &Destination, record: &Record) -> Vec<String> {
    match destination {
        Destination::Directory(_) => Vec::new(),
        Destination::Operator(operator) => operator.complaints(record).await,
    }
}

/// An error that does not stop the command, on one line.
fn with_next(error: &Error) -> String {
    let next = error.hints.first().map(|hint| format!(". {hint}")).unwrap_or_default();
    format!("{error}{next}")
}

/// All Secrets that the records in use name.
fn recorded(destination: &Destination) -> Vec<&SecretRecord> {
    let records = destination.installed().values().flatten().filter_map(Installed::record);
    records
        .flat_map(|record| record.replaces.iter().map(|one| &one.bound_secret).chain([&record.bound_secret]))
        .collect()
}

async fn fence_seen(cluster: &Cluster, account: &Account, record: &Record) -> Result<FenceSeen> {
    policy_seen(cluster, account.cluster_scoped_name(), |policy, binding| {
        matches!(LeftFence::new(account, policy, binding), LeftFence::Stands(targets) if fence::is_for(&targets, &record.routed_jobs()))
    })
    .await
}

async fn guard_seen(cluster: &Cluster, account: &Account, record: &Record) -> Result<Option<FenceSeen>> {
    if !record.fenced {
        return Ok(None);
    }
    let stands = |policy: &Value, binding: &Value| guard::stands(account, policy, binding);
    policy_seen(cluster, account.guard_name(), stands).await.map(Some)
}

async fn renewal_seen(cluster: &Cluster, account: &Account, record: &Record) -> Result<Option<FenceSeen>> {
    if !record.self_renew {
        return Ok(None);
    }
    let stands = |policy: &Value, binding: &Value| renewal::is_limit(account, policy, binding);
    policy_seen(cluster, account.renewal_name(), stands).await.map(Some)
}

/// A policy and its binding, of which one does nothing without the other.
async fn policy_seen(
    cluster: &Cluster,
    name: String,
    stands: impl FnOnce(&Value, &Value) -> bool,
) -> Result<FenceSeen> {
    let [policy, binding] = [Kind::ValidatingAdmissionPolicy, Kind::ValidatingAdmissionPolicyBinding]
        .map(|kind| ObjectRef { kind, namespace: None, name: name.clone() });
    Ok(match tokio::try_join!(cluster.get(&policy), cluster.get(&binding))? {
        (Found::Object(policy), Found::Object(binding)) if stands(&policy, &binding) => FenceSeen::Present,
        (Found::Object(_), Found::Object(_)) => FenceSeen::Changed,
        _ => FenceSeen::Absent,
    })
}

/// The nodes of the cluster compared with the pinned nodes of the account's role.
async fn pins(cluster: &Cluster, account: &Account, record: &Record) -> Result<Option<PinFacts>> {
    if record.route.pins().is_none() {
        return Ok(None);
    }
    let [role, _] = ObjectRef::grant(account, None);
    let (role, nodes) = tokio::try_join!(cluster.get(&role), cluster.all_nodes(record.node_selector.as_ref()))?;
    let role = if let Found::Object(role) = role { role } else { Value::Null };
    Ok(Some(PinFacts::new(&role, &nodes)))
}

/// Queried once for all clusters, so that an unresponsive Prometheus costs its timeout only once.
async fn asked(destination: &Destination) -> Result<Asked<'_>, String> {
    let api = destination.api().map_err(str::to_owned)?;
    let pools = match api.scrape_pools().await {
        Ok(pools) => Some(pools),
        Err(error) if error.reason == Reason::PrometheusUnreachable => return Err(error.to_string()),
        Err(_) => None,
    };
    Ok(Asked { api, pools, stores: !destination.is_agent() })
}

/// What each cluster uses, in one request.
async fn usage_at(
    destination: &Destination,
    asked: &Result<Asked<'_>, String>,
    clusters: &BTreeSet<ClusterName>,
) -> BTreeMap<String, Usage> {
    let Ok(Asked { api, stores: true, .. }) = asked else { return BTreeMap::new() };
    let installed = destination.installed().iter().filter(|(cluster, _)| clusters.contains(cluster));
    let records = installed.filter_map(|(_, installed)| installed.as_ref().ok()?.record());
    let Some(query) = usage::query(records) else { return BTreeMap::new() };
    usage::of(&api.query(&query).await.unwrap_or_default())
}

async fn in_prometheus(
    destination: &Destination,
    Asked { api, pools, .. }: &Asked<'_>,
    record: &Record,
) -> Result<PrometheusFacts> {
    let jobs = try_join_all(record.jobs.iter().map(async |job| {
        let pool = destination.pool(record, job);
        let targets = api.targets(Some(&pool)).await?;
        // vmagent reports targets that it has not scraped yet as down.
        let is_pending = |target: &&Target| {
            target.health == Health::Unknown || target.health == Health::Down && target.last_scrape.is_none()
        };
        let (pending, scraped): (Vec<&Target>, Vec<&Target>) = targets.iter().partition(is_pending);
        let (up, down): (Vec<&Target>, Vec<&Target>) =
            scraped.into_iter().partition(|target| target.health == Health::Up);
        Ok::<JobFacts, Error>(JobFacts {
            job: job.clone(),
            is_known: !targets.is_empty() || pools.as_ref().is_none_or(|pools| pools.contains(&pool)),
            up: up.len(),
            down: down
                .into_iter()
                .map(|target| DownTarget { instance: escaped(&target.instance), error: target.last_error.clone() })
                .collect(),
            pending: pending.len(),
        })
    }));
    let is_included = destination.includes_jobs();
    Ok(PrometheusFacts { is_included, url: api.url().to_owned(), jobs: jobs.await?, usage: Usage::default() })
}
