//! Look: what a destination, its clusters and its Prometheus say about each cluster. Writes nothing, takes no lock.

use crate::{
    cluster::{self, Choice, Cluster, Connection, Found},
    destination::{Health, Installed, Opened, PrometheusApi, Sample, Target},
    error::{Error, Reason, Result},
    model::{
        account::Account,
        duration::Seconds,
        fence,
        job::Job,
        left_fence::LeftFence,
        names::ClusterName,
        object::{Kind, ObjectRef},
        record::{Record, SecretRecord},
        status::{ClusterFacts, Facts, FenceSeen, JobFacts, PrometheusFacts, Recorded, SecretFacts},
    },
};
use futures_util::{
    StreamExt,
    future::{join_all, try_join_all},
    stream,
};
use std::collections::BTreeSet;

/// How many clusters are asked at the same time.
const AT_ONCE: usize = 8;
/// cAdvisor looks at the root cgroup on a clock of its own, which slows down to a minute where nothing happens.
const LEAST_WINDOW: Seconds = Seconds(120);

/// Where to look, and with whose eyes.
pub struct Look<'a> {
    pub destinations: &'a [Opened],
    /// Its context, if there is one, is taken instead of the recorded one.
    pub choice: &'a Choice,
    pub connection: &'a Connection,
}

/// A Prometheus that can be asked.
struct Asked<'a> {
    api: &'a PrometheusApi,
    /// The jobs that it has, where it says so: vmagent does not.
    pools: Option<Vec<String>>,
    /// It can be asked with `PromQL`.
    stores: bool,
}

impl Look<'_> {
    /// What there is of these clusters, for each destination that knows one.
    pub async fn run(&self, clusters: &BTreeSet<ClusterName>) -> Vec<Facts> {
        let apis = join_all(self.destinations.iter().map(asked)).await;
        let known = self.destinations.iter().zip(&apis).flat_map(|(destination, api)| {
            let installed = destination.installed().iter().filter(|(cluster, _)| clusters.contains(cluster));
            installed.map(move |(cluster, installed)| (destination, api, cluster, installed))
        });
        stream::iter(known)
            .map(|(destination, api, cluster, installed)| self.facts(destination, api, cluster, installed))
            .buffered(AT_ONCE)
            .collect()
            .await
    }

    async fn facts(
        &self,
        destination: &Opened,
        asked: &Result<Asked<'_>, String>,
        cluster: &ClusterName,
        installed: &Result<Installed>,
    ) -> Facts {
        let nothing = |recorded, leftovers| Facts {
            cluster: cluster.clone(),
            destination: destination.name().to_owned(),
            recorded,
            leftovers,
            refused: Vec::new(),
            in_cluster: Err(String::new()),
            in_prometheus: Err(String::new()),
        };
        let installed = match installed {
            Ok(installed) => installed,
            Err(error) => return nothing(Recorded::Unreadable(error.clone()), Vec::new()),
        };
        let record = match installed.live.as_ref().map(|live| &live.record) {
            Some(Ok(record)) => record,
            // What it waits for is not known, so neither is what is left over.
            Some(Err(error)) => return nothing(Recorded::Unreadable(error.clone()), Vec::new()),
            None => return nothing(Recorded::NoJobs, installed.leftovers().into_iter().cloned().collect()),
        };
        let in_prometheus = async {
            match asked {
                Ok(asked) => in_prometheus(destination, asked, record).await.map_err(|error| error.message),
                Err(why) => Err(why.clone()),
            }
        };
        let (in_cluster, in_prometheus, refused) = tokio::join!(
            Box::pin(self.in_cluster(destination, record)),
            Box::pin(in_prometheus),
            Box::pin(refused(destination, record))
        );
        Facts {
            in_cluster: in_cluster.map_err(|error| with_next(&error)),
            in_prometheus,
            refused,
            ..nothing(Recorded::Record(Box::new(record.clone())), installed.leftovers().into_iter().cloned().collect())
        }
    }

    /// What an administrator sees there. Nothing counts before the UID is seen to fit.
    async fn in_cluster(&self, destination: &Opened, record: &Record) -> Result<ClusterFacts> {
        let context = self.choice.context.clone().unwrap_or_else(|| record.context.clone());
        let selected = cluster::select(&Choice { context: Some(context), ..self.choice.clone() })?;
        let (cluster, _) = cluster::connect(selected, self.connection).await?;
        let account = record.account();
        let (uid, nodes, fence, secrets) = tokio::join!(
            cluster.uid(),
            cluster.nodes(),
            fence_seen(&cluster, &account, record),
            cluster.bound_secrets(&account)
        );
        let uid = uid?;
        if uid != record.uid {
            return Err(Error::new(
                Reason::ClusterUnknown,
                format!("the context {} is of another cluster (the UID of its kube-system is {uid})", cluster.context),
            )
            .hint("Name the right one with --context NAME"));
        }
        let identity = destination.identity();
        Ok(ClusterFacts {
            nodes: nodes.map(|(_, total)| total).map_err(|error| with_next(&error)),
            fence: fence.map_err(|error| with_next(&error)),
            secrets: secrets
                .map(|secrets| {
                    SecretFacts::new(&secrets, &record.bound_secret, identity.as_ref(), &recorded(destination))
                })
                .map_err(|error| with_next(&error)),
        })
    }
}

/// What an operator has against the jobs.
async fn refused(destination: &Opened, record: &Record) -> Vec<String> {
    match destination {
        Opened::Directory(_) => Vec::new(),
        Opened::Operator(operator) => operator.complaints(record).await,
    }
}

/// An error that stops nobody, on one line.
fn with_next(error: &Error) -> String {
    let next = error.hints.first().map(|hint| format!(". {hint}")).unwrap_or_default();
    format!("{error}{next}")
}

/// Every Secret that the records in use know.
fn recorded(destination: &Opened) -> Vec<&SecretRecord> {
    let records = destination.installed().values().flatten().filter_map(Installed::record);
    records
        .flat_map(|record| record.replaces.iter().map(|one| &one.bound_secret).chain([&record.bound_secret]))
        .collect()
}

async fn fence_seen(cluster: &Cluster, account: &Account, record: &Record) -> Result<FenceSeen> {
    let [policy, binding] = [Kind::ValidatingAdmissionPolicy, Kind::ValidatingAdmissionPolicyBinding]
        .map(|kind| ObjectRef { kind, namespace: None, name: account.cluster_scoped_name() });
    let (policy, binding) = tokio::try_join!(cluster.get(&policy), cluster.get(&binding))?;
    let (Found::Object(policy), Found::Object(binding)) = (policy, binding) else { return Ok(FenceSeen::Absent) };
    Ok(match LeftFence::new(account, &policy, &binding) {
        LeftFence::Stands(targets)
            if fence::not_read(&targets, &record.jobs).is_empty()
                && fence::not_admitted(&targets, &record.jobs).is_empty() =>
        {
            FenceSeen::Present
        }
        _ => FenceSeen::Changed,
    })
}

/// Asked once for all clusters: a Prometheus that does not answer costs its timeout once.
async fn asked(destination: &Opened) -> Result<Asked<'_>, String> {
    let api = destination.api().map_err(str::to_owned)?;
    let pools = match api.scrape_pools().await {
        Ok(pools) => Some(pools),
        Err(error) if error.reason == Reason::PrometheusUnreachable => return Err(error.message),
        Err(_) => None,
    };
    Ok(Asked { api, pools, stores: !destination.is_agent() })
}

async fn in_prometheus(
    destination: &Opened,
    Asked { api, pools, stores }: &Asked<'_>,
    record: &Record,
) -> Result<PrometheusFacts> {
    let jobs = try_join_all(record.jobs.iter().map(async |job| {
        let pool = destination.pool(record, job);
        let targets = api.targets(Some(&pool)).await?;
        // vmagent calls down what it has not scraped yet.
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
            down: down.into_iter().map(|target| target.last_error.clone()).collect(),
            pending: pending.len(),
        })
    }));
    let (jobs, usage) = tokio::join!(jobs, async {
        if *stores && record.jobs.contains(&Job::Cadvisor) { usage(api, record).await } else { (None, None) }
    });
    let (cpu_cores, memory_bytes) = usage;
    Ok(PrometheusFacts { url: api.url().to_owned(), jobs: jobs?, cpu_cores, memory_bytes })
}

/// Cores and bytes in use on all nodes, by the root cgroup of each.
async fn usage(api: &PrometheusApi, record: &Record) -> (Option<f64>, Option<u64>) {
    let root = format!("{{cluster=\"{}\",id=\"/\",metrics_path=\"{}\"}}", record.cluster, Job::Cadvisor.metrics_path());
    let window = Seconds(record.scrape_interval.0.saturating_mul(4)).max(LEAST_WINDOW);
    let cpu = format!("sum(rate(container_cpu_usage_seconds_total{root}[{window}]))");
    // Over a window, because an instant query finds no sample that is older than five minutes.
    let memory = format!("sum(last_over_time(container_memory_working_set_bytes{root}[{window}]))");
    let (cpu, memory) = tokio::join!(api.query(&cpu), api.query(&memory));
    let number = |samples: Result<Vec<_>>| {
        let value: f64 = samples.ok()?.first().map(|sample: &Sample| sample.value)?;
        value.is_finite().then_some(value)
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes; a cast of floats saturates")]
    let memory = number(memory).map(|bytes| bytes as u64);
    (number(cpu), memory)
}
