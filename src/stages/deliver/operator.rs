//! Delivery to an operator: the Secret, then the jobs that name it. The operator's verdict and its generated configuration
//! show whether the jobs are in use. Failures are undone, and replaced tokens are deleted.

use super::{
    delivery::{Admin, Delivery, DeliveryResult, predecessors},
    verify::{SLACK, is_former, seen, unproven, verify},
};
use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::{DryRun, Found, is_outdated},
    destination::{Operator, PrometheusApi, Stored, Target},
    error::{Error, Reason, Result},
    model::{
        access::Access,
        job::Job,
        kube::{
            label_selector::Labels,
            object::{Deletion, Kind, Object, ObjectRef},
            owner::{Owner, owner},
        },
        plan::{
            request::JoinRequest,
            retention::{Kept, Retirement},
        },
        report::{
            Away, Line, ObjectReport, Placed, Seen,
            event::{Event, Why},
        },
        store::{
            identity::Identity,
            layout::{CA, Generation, KUBELET_CA},
            location::Format,
            operator::{
                GENERATION_ANNOTATION, annotations, as_it_was, cluster_object, has_job, is_generated, loaded, verdict,
            },
            record::{Found as Remembered, Predecessor, Record, SecretRecord},
        },
        text::{line, names::ClusterName},
        token::{TokenLife, bound_secret::BoundSecret},
    },
    render::{operator::OperatorJobs, rules::ClusterRules},
    stages::{
        events::Events,
        grant::issue::random_suffix,
        interrupt::until_interrupted,
        poll::{Pauses, poll},
    },
};
use futures_util::{
    StreamExt,
    future::{join_all, try_join_all},
    lock::Mutex,
    stream,
};
use jiff::Timestamp;
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// An operator with hundreds of Prometheus takes some seconds.
const GENERATED_WITHIN: Duration = Duration::from_secs(30);
/// A kubelet brings a changed Secret into a pod within its sync period and that of its cache, a minute each
/// (`syncFrequency`; <https://kubernetes.io/docs/concepts/configuration/secret/>).
const LOADED_WITHIN: Duration = Duration::from_secs(150);
/// The number of clusters that are delivered concurrently; each mostly waits.
const AT_ONCE: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const PAUSES: Pauses = Pauses::growing(FIRST_PAUSE, Duration::from_secs(2));

/// A delivery to a Prometheus of an operator.
pub struct OperatorPush<'a> {
    pub operator: &'a mut Operator,
    /// The previous objects of all unfinished writes, in order, each with its cluster.
    trail: RefCell<Vec<(ClusterName, ObjectRef, Option<Value>)>>,
    /// The generated configuration and the running configuration, shared by all clusters of the delivery.
    generated: Shared<Result<Value, String>>,
    loaded: Shared<(Option<Timestamp>, Result<Value>)>,
}

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

/// The evidence that the operator uses the jobs.
enum Taken {
    Generated,
    /// The configuration cannot be read.
    Accepted,
    /// The configuration cannot be read, and the operator gives no verdict.
    Unseen(String),
}

impl<'a> OperatorPush<'a> {
    pub fn new(operator: &'a mut Operator) -> Self {
        Self { operator, trail: RefCell::default(), generated: Shared::default(), loaded: Shared::default() }
    }

    /// The planned changes, before the question.
    pub fn changes(&self, cluster: &ClusterName, renamed: &[ClusterName]) -> Vec<Line> {
        let (namespace, context) = (&self.operator.place.0, &self.operator.hub.context);
        let secret = cluster_object(Kind::Secret, namespace, cluster);
        let mut lines = vec![Line::Said(format!(
            "  {secret} and its ScrapeConfigs in namespace {namespace} of {context} will be written"
        ))];
        lines.extend(renamed.iter().map(|label| {
            let secret = cluster_object(Kind::Secret, namespace, label);
            Line::Said(format!("  {secret} and its ScrapeConfigs there will be deleted"))
        }));
        lines
    }

    /// Reads the state again, because a question may wait for long.
    pub async fn begin(&mut self) -> Result<Identity> {
        self.operator.look_again().await?;
        Ok(self.operator.identity())
    }

    /// As [`crate::stages::deliver::directory::Push::deliver`], for each cluster separately.
    ///
    /// # Errors
    /// [`Reason::Interrupted`]. Inside: [`Reason::ConfigRefused`] in the operator's words, [`Reason::NotGenerated`],
    /// [`Reason::NotScraped`], or an error of the hub; the objects of this cluster are restored.
    pub async fn deliver(
        &self,
        deliveries: Vec<Delivery>,
        renamed: &[ClusterName],
    ) -> Result<Vec<(ClusterName, Result<DeliveryResult>)>> {
        let clusters: Vec<ClusterName> = deliveries.iter().map(|delivery| delivery.record.cluster.clone()).collect();
        let work = stream::iter(deliveries).map(|delivery| Box::pin(self.deliver_one(delivery, renamed)));
        let work = work.buffered(AT_ONCE).collect::<Vec<_>>();
        let outcomes = match until_interrupted(async { Ok(work.await) }).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                let left = self.restore(None).await;
                return Err(left.into_iter().fold(error, Error::hint).about(&self.operator.typed));
            }
        };
        let mut delivered = Vec::new();
        for (cluster, outcome) in clusters.into_iter().zip(outcomes) {
            // The undo must not be interrupted: a partial undo is neither the old nor the new state.
            let outcome = match outcome {
                Ok(in_place) => Ok(in_place),
                Err(error) => {
                    let left = self.restore(Some(&cluster)).await;
                    Err(left.into_iter().fold(error, Error::hint).about(&self.operator.typed))
                }
            };
            delivered.push((cluster, outcome));
        }
        self.trail.take();
        Ok(delivered)
    }

    async fn deliver_one(&self, delivery: Delivery, renamed: &[ClusterName]) -> Result<DeliveryResult> {
        let Delivery { mut record, access, token, must_be_seen, away } = delivery;
        let operator = &*self.operator;
        let cluster = record.cluster.clone();
        operator.refuse_anothers(&cluster)?;
        let stored = operator.stored(&cluster);
        let mut former = None;
        if let Some(Ok(installed)) = operator.installed.get(&cluster) {
            record.replaces = predecessors(installed);
            former = installed.record().cloned();
        }
        let generation = Generation::new(Timestamp::now(), &random_suffix()[..6]);
        let mut objects = objects(operator, &record, &access, &generation, &token)?;
        keep_named_keys(&mut objects.secret, &stored);
        let said = self.warnings(stored.jobs.values()).await;
        // The operator reads the Secret when it processes a job.
        self.put(&cluster, &unless_changed(&objects.secret, stored.secret.as_ref()), stored.secret.clone()).await?;
        let written = try_join_all(objects.jobs.iter().map(|job| {
            let before = stored.jobs.get(&job.reference).cloned();
            self.put(&cluster, job, before)
        }));
        let rules = async {
            match (&objects.rules, &stored.rules) {
                (Some(rules), before) => self.put(&cluster, rules, before.clone()).await.map(drop),
                (None, Some(before)) => {
                    self.remove(&cluster, &cluster_object(Kind::PrometheusRule, &operator.place.0, &cluster), before)
                        .await
                }
                (None, None) => Ok(()),
            }
        };
        let (written, ()) = tokio::try_join!(written, rules)?;
        let is_wanted = |reference: &ObjectRef| objects.jobs.iter().any(|job| job.reference == *reference);
        for (reference, before) in stored.jobs.iter().filter(|(reference, _)| !is_wanted(reference)) {
            self.remove(&cluster, reference, before).await?;
        }
        for label in renamed {
            self.remove_jobs(&cluster, &operator.stored(label)).await?;
        }
        let pools = operator.pools(&record);
        let is_ours =
            |config: &Value| pools.iter().all(|pool| is_generated(config, pool, &generation, token.written().trim()));
        let taken = self.taken(&written, &said, is_ours).await?;
        let seen = match taken {
            Taken::Unseen(ref why) => Err(why.clone()),
            Taken::Generated | Taken::Accepted => self.scraped(&record, former.as_ref(), &away, &generation).await?,
        };
        if let (Err(why), true) = (&seen, must_be_seen) {
            return Err(unproven(&cluster, why));
        }
        let reloaded = match taken {
            Taken::Generated => format!("has them in its configuration ({})", operator.instance.generated()),
            Taken::Accepted => "will get them: its operator has accepted them".to_owned(),
            Taken::Unseen(_) => "will get them from its operator".to_owned(),
        };
        let namespace = &operator.place.0;
        let fragment =
            format!("{} and {} ScrapeConfigs in namespace {namespace}", objects.secret.reference, pools.len());
        let placed = Placed { fragment, proven_from: None, checked_by: None, reloaded, seen };
        let is_taken_up = placed.seen.is_ok() || former.is_some_and(|former| former.route == record.route);
        Ok(DeliveryResult { record, generation, placed, is_taken_up, away })
    }

    /// Writes an object and records the previous one. Never overwrites an object of another owner.
    async fn put(&self, cluster: &ClusterName, object: &Object, before: Option<Value>) -> Result<Value> {
        let (operator, reference) = (&*self.operator, &object.reference);
        if before.is_none() {
            refuse_foreign(operator, reference).await?;
        }
        self.trail.borrow_mut().push((cluster.clone(), reference.clone(), before));
        let applied = operator.hub.apply(object, DryRun::No).await.map_err(|error| {
            if is_outdated(&error) {
                return Error::new(Reason::DestinationBusy, format!("another client has just written {reference}"))
                    .hint("Run the command again");
            }
            operator.explained(error)
        })?;
        Ok(applied.object)
    }

    async fn remove(&self, cluster: &ClusterName, reference: &ObjectRef, before: &Value) -> Result<()> {
        self.trail.borrow_mut().push((cluster.clone(), reference.clone(), Some(before.clone())));
        self.operator.hub.delete(&deletion(reference, before), DryRun::No).await
    }

    /// All objects except the Secret, which has the record.
    async fn remove_jobs(&self, of: &ClusterName, stored: &Stored) -> Result<()> {
        for (reference, before) in &stored.jobs {
            self.remove(of, reference, before).await?;
        }
        if let Some(before) = &stored.rules {
            self.remove(of, &reference_of(Kind::PrometheusRule, before), before).await?;
        }
        Ok(())
    }

    /// Undoes the unfinished changes of one cluster or of all. Returns the steps that must be done by hand.
    async fn restore(&self, of: Option<&ClusterName>) -> Vec<String> {
        let (taken, kept) = self.trail.take().into_iter().partition(|(cluster, ..)| of.is_none_or(|of| of == cluster));
        *self.trail.borrow_mut() = kept;
        let taken: Vec<(ClusterName, ObjectRef, Option<Value>)> = taken;
        let hub = &self.operator.hub;
        let mut left = Vec::new();
        for (_, reference, before) in taken.into_iter().rev() {
            let outcome = match before {
                Some(before) => hub.apply(&as_it_was(&reference, &before), DryRun::No).await.map(drop),
                None => match hub.get(&reference).await {
                    Ok(Found::Object(object)) if owner(&object) == Owner::Us => {
                        hub.delete(&deletion(&reference, &object), DryRun::No).await
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = outcome {
                left.push(format!("Not undone: {reference}: {error}"));
            }
        }
        left
    }

    /// Waits until the operator uses the jobs, or rejects them. `said`: its warnings from before.
    async fn taken(
        &self,
        written: &[Value],
        said: &BTreeSet<(String, String)>,
        is_ours: impl Fn(&Value) -> bool,
    ) -> Result<Taken> {
        let operator = &*self.operator;
        let references: Vec<ObjectRef> =
            written.iter().map(|object| reference_of(Kind::ScrapeConfig, object)).collect();
        let refused = |reference: &ObjectRef, why: &str| {
            let instance = &operator.instance;
            Error::new(
                Reason::ConfigRefused,
                format!("the operator rejects {reference} for prometheus/{}: {}", instance.name, line::first(why)),
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
            let warnings = self.warnings(written.iter()).await;
            if let Some((_, why)) = warnings.difference(said).next() {
                return Ok(Err(refused(&references[0], why)));
            }
            if config.is_err() && accepted == references.len() {
                return Ok(Ok(Taken::Accepted));
            }
            Err((config.err().filter(|_| accepted == 0).cloned(), warnings))
        };
        poll(|_| GENERATED_WITHIN, PAUSES, look).await.unwrap_or_else(|missing| match missing {
            (Some(why), _) => Ok(Taken::Unseen(format!(
                "the operator gives no verdict, and its generated configuration cannot be read: {why}"
            ))),
            (None, warnings) => Err(self.not_generated(&warnings)),
        })
    }

    fn not_generated(&self, warnings: &BTreeSet<(String, String)>) -> Error {
        let instance = &self.operator.instance;
        let error = Error::new(
            Reason::NotGenerated,
            format!(
                "the operator has not put the jobs into the configuration of prometheus/{} within {GENERATED_WITHIN:?}",
                instance.name
            ),
        );
        let error = match warnings.iter().next_back() {
            Some((_, why)) => error.hint(format!("The operator's last warning: {}", line::first(why))),
            None => error,
        };
        error
            .hint(format!(
                "Does the operator run, and does it watch namespace {}? kubectl -n {} describe prometheus {}",
                self.operator.place.0, instance.namespace, instance.name
            ))
            .hint("The previous objects are restored")
    }

    /// Warning events about these objects, each with its identity. None without the right to read them.
    async fn warnings<'v>(&self, objects: impl Iterator<Item = &'v Value>) -> BTreeSet<(String, String)> {
        let hub = &self.operator.hub;
        let uids = objects.filter_map(|object| object["metadata"]["uid"].as_str());
        let found = join_all(uids.map(|uid| hub.warnings(&self.operator.place.0, uid))).await;
        found.into_iter().flatten().flatten().collect()
    }

    /// Verifies the jobs in Prometheus; else returns why that is not possible.
    async fn scraped(
        &self,
        record: &Record,
        former: Option<&Record>,
        away: &[Away],
        generation: &Generation,
    ) -> Result<Result<Seen, String>> {
        let operator = &*self.operator;
        let Some(api) = &operator.api else { return Ok(Err(operator.api_missing.clone().unwrap_or_default())) };
        if !self.is_loaded(api, record, generation).await {
            return Ok(Err(format!(
                "the Prometheus at {} has not loaded the jobs within {LOADED_WITHIN:?}; does it belong to {}?",
                api.url(),
                operator.instance
            )));
        }
        let since = Timestamp::now();
        let pools_of = |is_wanted: &dyn Fn(&Job) -> bool| -> Vec<String> {
            record.jobs.iter().filter(|job| is_wanted(job)).map(|job| operator.pool(record, job)).collect()
        };
        let mut pools = pools_of(&|job| !away.iter().any(|away| away.job == *job));
        if pools.is_empty() {
            return Ok(Err("no target of its jobs answers".to_owned()));
        }
        if operator.instance.shards > 1 {
            pools = with_targets(api, pools).await;
            if pools.is_empty() {
                return Ok(Err(format!("the targets belong to other shards than the one at {}", api.url())));
            }
        }
        let of_nodes = pools_of(&Job::is_of_nodes);
        let patience = Duration::from(record.scrape_interval) + Duration::from(record.scrape_timeout) + SLACK;
        let is_former = |target: &Target| is_former(target, record, &of_nodes, former);
        verify(api, &pools, since, patience, is_former).await.map(|verdict| Ok(seen(verdict)))
    }

    /// Waits until Prometheus runs with the jobs of this generation.
    ///
    /// Prometheus shows a configuration before its scrapers use it (`cmd/prometheus/main.go`, the order of `reloaders`),
    /// and counts the reload afterwards.
    async fn is_loaded(&self, api: &PrometheusApi, record: &Record, generation: &Generation) -> bool {
        let pools = self.operator.pools(record);
        let mut before = None;
        let look = async || {
            let look = async {
                let reloaded = api.config_state().await.ok().map(|state| state.succeeded);
                (reloaded, api.loaded_config().await)
            };
            let looked = self.loaded.get(look).await;
            let (reloaded, config) = looked.as_ref();
            if !config.as_ref().is_ok_and(|config| loaded(config, &pools, generation)) {
                before = *reloaded;
            } else if before.is_none() || reloaded.is_none() || *reloaded > before {
                return Ok(());
            }
            Err(())
        };
        poll(|()| LOADED_WITHIN, PAUSES, look).await.is_ok()
    }

    /// Removes the jobs of these clusters. Returns the operator's state as text.
    ///
    /// # Errors
    /// An error of the hub; the jobs are restored then.
    pub async fn take_out(&self, clusters: &[ClusterName]) -> Result<String> {
        let work = async {
            for cluster in clusters {
                self.remove_jobs(cluster, &self.operator.stored(cluster)).await?;
            }
            Ok(())
        };
        if let Err(error) = until_interrupted(work).await {
            let left = self.restore(None).await;
            return Err(left.into_iter().fold(error, Error::hint).about(&self.operator.typed));
        }
        self.trail.take();
        let pools: Vec<String> = clusters
            .iter()
            .filter_map(|cluster| self.operator.installed.get(cluster)?.as_ref().ok()?.record())
            .flat_map(|record| self.operator.pools(record))
            .collect();
        let look = async || match self.operator.generated().await {
            Err(_) => Ok("will be updated by its operator"),
            Ok(config) if !pools.iter().any(|pool| has_job(&config, pool)) => {
                Ok("does not have them in its configuration any more")
            }
            Ok(_) => Err("still has them in its configuration: does its operator run?"),
        };
        let says = poll(|_| GENERATED_WITHIN, Pauses::even(FIRST_PAUSE), look).await;
        Ok(says.unwrap_or_else(|says| says).to_owned())
    }

    /// As [`crate::stages::deliver::directory::Push::retire`].
    pub async fn retire(
        &self,
        in_place: &DeliveryResult,
        admin: Option<Admin<'_>>,
        events: Events<'_>,
    ) -> Vec<ObjectReport> {
        let DeliveryResult { record, generation, placed, .. } = in_place;
        let mut in_use = vec![generation.clone()];
        if placed.seen.is_err() {
            in_use.extend(maybe_loaded(&record.replaces, generation, Timestamp::now()));
        }
        let mut generations: BTreeMap<Generation, Option<SecretRecord>> =
            record.replaces.iter().map(|one| (one.generation.clone(), Some(one.bound_secret.clone()))).collect();
        generations.insert(generation.clone(), Some(record.bound_secret.clone()));
        let deleted = async {
            let deleted = self.revoke(&record.cluster, &generations, &in_use, admin, events).await?;
            self.forget(record, &in_use).await?;
            Ok::<_, Error>(deleted)
        };
        deleted.await.unwrap_or_else(|error| {
            events.report(Event::NotClearedAway { cluster: record.cluster.clone(), error });
            Vec::new()
        })
    }

    /// Removes deleted generations from the record.
    async fn forget(&self, record: &Record, in_use: &[Generation]) -> Result<()> {
        if record.replaces.iter().all(|replaced| in_use.contains(&replaced.generation)) {
            return Ok(());
        }
        let mut record = record.clone();
        record.replaces.retain(|replaced| in_use.contains(&replaced.generation));
        let reference = cluster_object(Kind::Secret, &self.operator.place.0, &record.cluster);
        let Found::Object(stored) = self.operator.hub.get(&reference).await? else { return Ok(()) };
        // Another run has written the Secret meanwhile, with its own record.
        if stored["metadata"]["annotations"][GENERATION_ANNOTATION] != in_use[0].to_string() {
            return Ok(());
        }
        let mut secret = unless_changed(&as_it_was(&reference, &stored), Some(&stored));
        secret.manifest["metadata"]["annotations"] = annotations(&record, &in_use[0], &self.operator.identity());
        self.operator.hub.apply(&secret, DryRun::No).await.map(drop)
    }

    /// As [`crate::stages::deliver::directory::Push::clear`]: deletes all objects of a cluster whose jobs were removed.
    pub async fn clear(
        &self,
        cluster: &ClusterName,
        admin: Option<Admin<'_>>,
        events: Events<'_>,
    ) -> Vec<ObjectReport> {
        let generations = match self.operator.installed.get(cluster) {
            Some(Ok(installed)) => installed.generations.clone(),
            _ => BTreeMap::new(),
        };
        let outcome = async {
            let deleted = self.revoke(cluster, &generations, &[], admin, events).await?;
            if let Some(secret) = &self.operator.stored(cluster).secret {
                let deletion = deletion(&reference_of(Kind::Secret, secret), secret);
                self.operator.hub.delete(&deletion, DryRun::No).await?;
            }
            Ok::<_, Error>(deleted)
        };
        outcome.await.unwrap_or_else(|error| {
            events.report(Event::NotClearedAway { cluster: cluster.clone(), error });
            Vec::new()
        })
    }

    /// Deletes the bound Secrets that are not needed any more.
    async fn revoke(
        &self,
        cluster: &ClusterName,
        generations: &BTreeMap<Generation, Option<SecretRecord>>,
        in_use: &[Generation],
        admin: Option<Admin<'_>>,
        events: Events<'_>,
    ) -> Result<Vec<ObjectReport>> {
        let Some(admin) = &admin else { return Ok(Vec::new()) };
        let identity = self.operator.identity();
        let kept = Kept { generations, in_use, identity: Some(&identity) };
        let others = self.operator.installed.values().flatten().filter(|other| other.cluster != *cluster);
        let others: Vec<&SecretRecord> = others.filter_map(|other| Some(&other.record()?.bound_secret)).collect();
        let is_anothers = |secret: &BoundSecret| others.iter().any(|other| other.uid == secret.uid);
        let mut deleted = Vec::new();
        for secret in Retirement::new(&kept, admin.secrets).secrets.iter().filter(|secret| !is_anothers(secret)) {
            let deletion = secret.deletion(admin.account);
            admin.cluster.delete(&deletion, DryRun::No).await?;
            deleted.push(events.object(ObjectReport::deleted(&deletion.reference), Some(Why::TokenReplaced)));
        }
        Ok(deleted)
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

/// Validates all writes of a join with a dry run at the hub, so that missing rights or kinds are reported before any
/// change.
///
/// # Errors
/// [`Reason::DestinationUnusable`], [`Reason::ClusterKnown`], [`Reason::Forbidden`].
pub async fn try_out(operator: &Operator, request: &JoinRequest, access: &Access) -> Result<()> {
    operator.refuse_anothers(&request.cluster)?;
    let now = Timestamp::now();
    let remembered = Remembered {
        uid: "",
        context: "",
        kubernetes: "",
        format: Format::Prometheus,
        address_given: false,
        ca_given: false,
        bound_secret: SecretRecord { name: String::new(), uid: String::new() },
        token: TokenLife { issued: now, expires: now },
    };
    let record = Record::new(request, access, remembered);
    let objects = objects(operator, &record, access, &Generation::new(now, "none"), &"none".into())?;
    let stored = operator.stored(&request.cluster);
    let tried = objects.all().map(async |object| {
        if !stored.has(&object.reference) {
            refuse_foreign(operator, &object.reference).await.map_err(|error| error.about(&operator.typed))?;
        }
        operator.try_out(object).await
    });
    try_join_all(tried).await.map(drop)
}

/// Rejects an object of another owner with this name.
async fn refuse_foreign(operator: &Operator, reference: &ObjectRef) -> Result<()> {
    match operator.hub.get(reference).await? {
        Found::Object(found) if owner(&found) == Owner::Other => {
            Err(Error::new(Reason::NotOurs, format!("{reference} exists and has another owner; it stays"))
                .hint("Rename it, or choose another label with --cluster-name NAME"))
        }
        _ => Ok(()),
    }
}

/// The objects of a cluster.
fn objects(
    operator: &Operator,
    record: &Record,
    access: &Access,
    generation: &Generation,
    token: &BearerToken,
) -> Result<Objects> {
    let labels = operator.job_labels(&record.cluster)?;
    let identity = operator.identity();
    let jobs =
        OperatorJobs { record, access, generation, identity: &identity, place: &operator.place.0, labels: &labels };
    let request = record.request();
    let rules = ClusterRules {
        cluster: &record.cluster,
        jobs: &record.jobs,
        pace: request.pace,
        token: Some(record.token),
        destination: Some(&operator.typed),
    };
    let rule_labels: Option<Labels> = operator.instance.rule_labels(&record.cluster, &operator.place);
    Ok(Objects {
        secret: jobs.secret(token),
        jobs: jobs.jobs()?,
        rules: rule_labels.map(|labels| jobs.rules(&labels, &rules)).transpose()?,
    })
}

/// The generations whose token Prometheus may still use: without verification the last one, and those replaced so recently
/// that a pod may not have their successor yet.
fn maybe_loaded(replaces: &[Predecessor], generation: &Generation, now: Timestamp) -> Vec<Generation> {
    let successors = replaces.iter().skip(1).map(|one| &one.generation).chain([generation]);
    let recent = |replaced_by: &Generation| {
        replaced_by.made().is_none_or(|made| now.duration_since(made).unsigned_abs() < LOADED_WITHIN)
    };
    let pairs = replaces.iter().map(|one| &one.generation).zip(successors);
    pairs.filter(|(_, by)| *by == generation || recent(by)).map(|(former, _)| former.clone()).collect()
}

struct Objects {
    secret: Object,
    jobs: Vec<Object>,
    rules: Option<Object>,
}

impl Objects {
    fn all(&self) -> impl Iterator<Item = &Object> {
        [&self.secret].into_iter().chain(&self.jobs).chain(&self.rules)
    }
}

/// Keeps the CAs that existing jobs name: without them, an operator would drop these jobs until they are replaced. The
/// next delivery removes the CAs.
fn keep_named_keys(secret: &mut Object, stored: &Stored) {
    for key in [CA, KUBELET_CA] {
        let Some(kept) = stored.secret.as_ref().and_then(|secret| secret["data"].get(key)) else { continue };
        let name = format!("\"key\":\"{key}\"");
        if secret.manifest["data"].get(key).is_none()
            && stored.jobs.values().any(|job| job["spec"].to_string().contains(&name))
        {
            secret.manifest["data"][key] = kept.clone();
        }
    }
}

/// Adds the resource version, so that the hub rejects the write if another client has written the object since.
fn unless_changed(secret: &Object, stored: Option<&Value>) -> Object {
    let mut secret = secret.clone();
    if let Some(version) = stored.and_then(|stored| stored["metadata"].get("resourceVersion")) {
        secret.manifest["metadata"]["resourceVersion"] = version.clone();
    }
    secret
}

fn deletion(reference: &ObjectRef, object: &Value) -> Deletion {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    Deletion { reference: reference.clone(), uid }
}

fn reference_of(kind: Kind, object: &Value) -> ObjectRef {
    let text = |key: &str| object["metadata"][key].as_str().map(str::to_owned);
    ObjectRef { kind, namespace: text("namespace"), name: text("name").unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_a_pod_may_still_have_are_kept() {
        let generation = |minute: u8| format!("20261125t10{minute:02}00z-x7k2").parse::<Generation>().expect("a name");
        let now: Timestamp = "2026-11-25T10:31:00Z".parse().expect("a time");
        let kept = |replaced: &[u8], current: u8| {
            let bound_secret = SecretRecord { name: String::new(), uid: String::new() };
            let replaced: Vec<Predecessor> = replaced
                .iter()
                .map(|minute| Predecessor { generation: generation(*minute), bound_secret: bound_secret.clone() })
                .collect();
            maybe_loaded(&replaced, &generation(current), now)
        };
        assert_eq!(kept(&[], 31), []);
        assert_eq!(kept(&[10], 31), [generation(10)], "the last one, whenever it was");
        assert_eq!(kept(&[10, 20], 31), [generation(20)]);
        assert_eq!(kept(&[10, 29, 30], 31), [generation(10), generation(29), generation(30)]);
    }
}
