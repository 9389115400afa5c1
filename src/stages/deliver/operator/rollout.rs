//! The rollout of delivered jobs: the operator accepts and generates them, and its Prometheus loads and scrapes them.

use super::{
    super::verify::{SLACK, is_former, patience, verify},
    objects::reference_of,
};
use crate::{
    clock,
    cluster::Found,
    destination::{Operator, PrometheusApi, Target},
    error::{Error, Reason, Result},
    model::{
        job::Job,
        kube::object::ObjectRef,
        report::{UnreachableJob, Verification},
        store::{
            layout::Generation,
            operator::{has_job, loaded, verdict},
            record::Record,
        },
        text::line,
    },
    stages::poll::{Pauses, poll},
};
use futures_util::{future::join_all, lock::Mutex};
use jiff::Timestamp;
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::Instant;

/// An operator with hundreds of Prometheus takes some seconds. `VictoriaMetrics`' operator takes no jobs while it waits for
/// the pods of one `VMAgent` (`VM_APPREADYTIMEOUT`, 80 s), and notices a deleted job when it looks at the `VMAgent` again
/// (`VM_FORCERESYNCINTERVAL`, 60 s and up to a tenth more).
pub(super) fn generated_within(operator: &Operator) -> Duration {
    Duration::from_secs(if operator.instance.is_vmagent() { 120 } else { 30 })
}

/// A kubelet brings a changed Secret into a pod within its sync period and that of its cache, a minute each
/// (`syncFrequency`; <https://kubernetes.io/docs/concepts/configuration/secret/>).
pub(super) const LOADED_WITHIN: Duration = Duration::from_secs(150);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const PAUSES: Pauses = Pauses::growing(FIRST_PAUSE, Duration::from_secs(2));

/// A cached value that several tasks poll.
struct Shared<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Shared<T> {
    /// The cached value if it is recent, else a new one.
    async fn get(&self, look: impl Future<Output = T>) -> Arc<T> {
        let mut last = self.0.lock().await;
        if let Some((seen, value)) = &*last
            && seen.elapsed() < FIRST_PAUSE
        {
            return Arc::clone(value);
        }
        let value = Arc::new(look.await);
        *last = Some((Instant::now(), Arc::clone(&value)));
        value
    }
}

/// When a reload last worked, and how many did, if they are counted.
type Reload = (Timestamp, Option<u64>);

/// What is known of the operator's and Prometheus' configurations, shared by all clusters of a delivery.
#[derive(Default)]
pub(super) struct Rollout {
    generated: Shared<Result<Value, String>>,
    running: Shared<(Option<Reload>, Result<Value>)>,
}

/// The evidence that the operator uses the jobs.
pub(super) enum Taken {
    Generated,
    /// The configuration cannot be read.
    Accepted,
    /// The configuration cannot be read, and the operator gives no verdict.
    Unseen(String),
}

impl Rollout {
    /// Waits until the operator uses the jobs, or rejects them. `said`: its warnings from before.
    pub(super) async fn taken(
        &self,
        operator: &Operator,
        written: &[Value],
        said: &BTreeSet<(String, String)>,
        is_ours: impl Fn(&Value) -> bool,
    ) -> Result<Taken> {
        let references: Vec<ObjectRef> =
            written.iter().map(|object| reference_of(operator.instance.job_kind(), object)).collect();
        let refused = |reference: &ObjectRef, why: &str| {
            let instance = operator.instance.shown();
            Error::new(
                Reason::ConfigRefused,
                format!("the operator rejects {reference} for {instance}: {}", line::first(why)),
            )
            .hint("None of the new objects is in use; the previous objects are restored")
        };
        let look = async || {
            let config = self.generated.get(operator.generated()).await;
            let config = config.as_ref().as_ref();
            if config.is_ok_and(&is_ours) {
                return Ok(Ok(Taken::Generated));
            }
            let mut accepted = 0;
            for reference in &references {
                if let Ok(Found::Object(now)) = operator.hub.get(reference).await {
                    match verdict(&now, &operator.instance) {
                        Some(Err(why)) => return Ok(Err(refused(reference, &why))),
                        Some(Ok(())) => accepted += 1,
                        None => {}
                    }
                }
            }
            let warnings = warnings(operator, written.iter()).await;
            // The operator of a vmagent warns of any vmagent at the object that it has just read.
            if !operator.instance.is_vmagent()
                && let Some((_, why)) = warnings.difference(said).next()
            {
                return Ok(Err(refused(&references[0], why)));
            }
            if config.is_err() && accepted == references.len() {
                return Ok(Ok(Taken::Accepted));
            }
            Err((config.err().filter(|_| accepted == 0).cloned(), warnings))
        };
        poll(|_| generated_within(operator), PAUSES, look).await.unwrap_or_else(|missing| match missing {
            (Some(why), _) => Ok(Taken::Unseen(format!(
                "the operator gives no verdict, and its generated configuration cannot be read: {why}"
            ))),
            (None, warnings) => Err(not_generated(operator, &warnings)),
        })
    }

    /// Verifies the jobs in Prometheus.
    ///
    /// # Errors
    /// As [`verify`].
    pub(super) async fn scraped(
        &self,
        operator: &Operator,
        record: &Record,
        former: Option<&Record>,
        away: &[UnreachableJob],
        generation: &Generation,
    ) -> Result<Verification> {
        let api = match &operator.api {
            Ok(api) => api,
            Err(why) => return Ok(Verification::Unverified(why.clone())),
        };
        if !self.is_loaded(api, &operator.pools(record), generation).await {
            return Ok(Verification::Unverified(format!(
                "the Prometheus at {} has not loaded the jobs within {LOADED_WITHIN:?}; does it belong to {}?",
                api.url(),
                operator.instance
            )));
        }
        let now = clock::now();
        let (_, since) = api.now((now, now));
        let pools_of = |is_wanted: &dyn Fn(&Job) -> bool| -> Vec<String> {
            record.jobs.iter().filter(|job| is_wanted(job)).map(|job| operator.pool(record, job)).collect()
        };
        let mut pools = pools_of(&|job| !away.iter().any(|away| away.job == *job));
        if pools.is_empty() {
            return Ok(Verification::Unverified("no target of its jobs answers".to_owned()));
        }
        if operator.instance.shards > 1 {
            pools = with_targets(api, pools).await;
            if pools.is_empty() {
                return Ok(Verification::Unverified(format!(
                    "the targets belong to other shards than the one at {}",
                    api.url()
                )));
            }
        }
        let of_nodes = pools_of(&Job::is_of_nodes);
        let is_former = |target: &Target| is_former(target, record, &of_nodes, former);
        verify(api, &pools, since, patience(record), is_former).await.map(Verification::from)
    }

    /// Waits until Prometheus runs with the jobs of this generation.
    ///
    /// Prometheus shows a configuration before its scrapers use it (`cmd/prometheus/main.go`, the order of `reloaders`),
    /// and counts the reload afterwards. So does vmagent (`lib/promscrape/scraper.go`, `runScraper`), whose time of a reload
    /// is in whole seconds.
    async fn is_loaded(&self, api: &PrometheusApi, pools: &[String], generation: &Generation) -> bool {
        let mut before = None;
        let look = async || {
            let look = async {
                let reloaded = api.config_state().await.ok().map(|state| (state.succeeded, state.attempts));
                (reloaded, api.loaded_config().await)
            };
            let looked = self.running.get(look).await;
            let (reloaded, config) = looked.as_ref();
            if !config.as_ref().is_ok_and(|config| loaded(config, pools, generation)) {
                before = *reloaded;
            } else if before.is_none() || reloaded.is_none() || *reloaded > before {
                return Ok(());
            }
            Err(())
        };
        poll(|()| LOADED_WITHIN, PAUSES, look).await.is_ok()
    }
}

/// The pools with targets at this shard; another shard may have all targets of a job. Discovery takes some seconds.
async fn with_targets(api: &PrometheusApi, pools: Vec<String>) -> Vec<String> {
    let look = async || {
        let found = join_all(pools.iter().map(|pool| api.targets(Some(pool)))).await;
        let here = pools.iter().zip(found).filter(|(_, targets)| targets.as_ref().is_ok_and(|all| !all.is_empty()));
        let here: Vec<String> = here.map(|(pool, _)| pool.clone()).collect();
        if here.len() == pools.len() { Ok(here) } else { Err(here) }
    };
    poll(|_| SLACK, Pauses::even(FIRST_PAUSE), look).await.unwrap_or_else(|here| here)
}

fn not_generated(operator: &Operator, warnings: &BTreeSet<(String, String)>) -> Error {
    let instance = &operator.instance;
    let error = Error::new(
        Reason::NotGenerated,
        format!(
            "the operator has not put the jobs into the configuration of {} within {:?}",
            instance.shown(),
            generated_within(operator)
        ),
    );
    let error = match warnings.iter().next_back() {
        Some((_, why)) => error.hint(format!("The operator's last warning: {}", line::first(why))),
        None => error,
    };
    error
        .hint(format!(
            "Does the operator run, and does it watch namespace {}? kubectl -n {} describe {}",
            operator.place.0,
            instance.namespace,
            instance.shown()
        ))
        .hint("The previous objects are restored")
}

/// Warning events about these objects, each with its identity. None without the right to read them.
pub(super) async fn warnings<'v>(
    operator: &Operator,
    objects: impl Iterator<Item = &'v Value>,
) -> BTreeSet<(String, String)> {
    let hub = &operator.hub;
    let uids = objects.filter_map(|object| object["metadata"]["uid"].as_str());
    let found = join_all(uids.map(|uid| hub.warnings(&operator.place.0, uid))).await;
    found.into_iter().flatten().flatten().collect()
}

/// Waits until the operator's configuration has none of these pools any more. Returns its state as text.
pub(super) async fn removed(operator: &Operator, pools: &[String]) -> &'static str {
    let look = async || match operator.generated().await {
        Err(_) => Ok("will be updated by its operator"),
        Ok(config) if !pools.iter().any(|pool| has_job(&config, pool)) => {
            Ok("does not have them in its configuration any more")
        }
        Ok(_) => Err("still has them in its configuration: does its operator run?"),
    };
    poll(|_| generated_within(operator), Pauses::even(FIRST_PAUSE), look).await.unwrap_or_else(|says| says)
}
