//! Delivery to an operator: the Secret, then the jobs that name it. The operator's verdict and its generated configuration
//! show whether the jobs are in use. Failures are undone, and replaced tokens are deleted.

mod objects;
mod retire;
mod rollout;

use super::{
    delivery::{Admin, Delivery, DeliveryResult, predecessors},
    verify::{patience, required},
};
use crate::{
    clock,
    cluster::{DryRun, Found, is_outdated},
    destination::{Operator, Stored},
    error::{Error, Reason, Result},
    model::{
        access::{Access, Given},
        kube::{
            object::{Kind, Object, ObjectRef},
            owner::{Owner, owner},
        },
        plan::request::JoinRequest,
        report::{Line, ObjectReport, Placed, Verification, event::Wait},
        store::{
            identity::Identity,
            layout::Generation,
            location::Format,
            operator::{as_it_was, cluster_object, is_generated},
            record::{Found as Remembered, Record, SecretRecord},
        },
        text::names::ClusterName,
        token::TokenLife,
    },
    stages::{
        events::Events,
        grant::issue::random_suffix,
        interrupt::{OBJECTS_UNDONE_WITHIN, ends_within, until_interrupted},
        side_by_side::side_by_side,
    },
};
use futures_util::future::try_join_all;
use objects::{deletion, keep_named_keys, objects, reference_of, unless_changed};
use rollout::{Rollout, Taken, warnings};
use serde_json::Value;
use std::{cell::RefCell, time::Duration};

/// The number of clusters that are delivered concurrently; each mostly waits.
const AT_ONCE: usize = 64;

/// A delivery to a Prometheus of an operator.
pub struct OperatorPush<'a> {
    pub operator: &'a mut Operator,
    /// The previous objects of all unfinished writes, in order, each with its cluster.
    trail: RefCell<Vec<(ClusterName, ObjectRef, Option<Value>)>>,
    rollout: Rollout,
}

impl<'a> OperatorPush<'a> {
    pub fn new(operator: &'a mut Operator) -> Self {
        Self { operator, trail: RefCell::default(), rollout: Rollout::default() }
    }

    /// The planned changes, before the question.
    pub fn changes(&self, cluster: &ClusterName, renamed: &[ClusterName]) -> Vec<Line> {
        let (namespace, context) = (&self.operator.place.0, &self.operator.hub.context);
        let kind = self.operator.instance.job_kind();
        let secret = cluster_object(Kind::Secret, namespace, cluster);
        let mut lines = vec![Line::Said(format!(
            "  {secret} and its {kind}s in namespace {namespace} of {context} will be written"
        ))];
        lines.extend(renamed.iter().map(|label| {
            let secret = cluster_object(Kind::Secret, namespace, label);
            Line::Said(format!("  {secret} and its {kind}s there will be deleted"))
        }));
        lines
    }

    /// Reads the state again, because a question may wait for long.
    pub async fn begin(&mut self) -> Result<Identity> {
        self.operator.read_again().await?;
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
        events: Events<'_>,
    ) -> Result<Vec<(ClusterName, Result<DeliveryResult>)>> {
        let clusters: Vec<ClusterName> = deliveries.iter().map(|delivery| delivery.record.cluster.clone()).collect();
        let work = deliveries.into_iter().map(|delivery| Box::pin(self.deliver_one(delivery, renamed, events)));
        let outcomes = match until_interrupted(async { Ok(side_by_side(work, AT_ONCE).await) }).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                events.waits(Wait::Undo, self.undo_within());
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
                    events.waits(Wait::Undo, self.undo_within());
                    let left = self.restore(Some(&cluster)).await;
                    Err(left.into_iter().fold(error, Error::hint).about(&self.operator.typed))
                }
            };
            delivered.push((cluster, outcome));
        }
        self.trail.take();
        Ok(delivered)
    }

    async fn deliver_one(
        &self,
        delivery: Delivery,
        renamed: &[ClusterName],
        events: Events<'_>,
    ) -> Result<DeliveryResult> {
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
        let generation = Generation::new(clock::now(), &random_suffix()[..6]);
        let mut objects = objects(operator, &record, &access, &generation, &token)?;
        keep_named_keys(&mut objects.secret, &stored);
        let said = warnings(operator, stored.jobs.values()).await;
        // The operator reads the Secret when it processes a job.
        self.put(&cluster, &unless_changed(&objects.secret, stored.secret.as_ref()), stored.secret.clone()).await?;
        let jobs = try_join_all(objects.jobs.iter().map(|job| {
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
        let write = async { tokio::try_join!(jobs, rules) };
        let is_wanted = |reference: &ObjectRef| objects.jobs.iter().any(|job| job.reference == *reference);
        let remove_others = async {
            for (reference, before) in stored.jobs.iter().filter(|(reference, _)| !is_wanted(reference)) {
                self.remove(&cluster, reference, before).await?;
            }
            for label in renamed {
                self.remove_jobs(&cluster, &operator.stored(label)).await?;
            }
            Ok::<(), Error>(())
        };
        // The operator of a vmagent does not react to a deletion, but to a job that is written after it.
        let written = if operator.instance.is_vmagent() {
            remove_others.await?;
            write.await?.0
        } else {
            let (written, ()) = write.await?;
            remove_others.await?;
            written
        };
        let pools = operator.pools(&record);
        let is_ours =
            |config: &Value| pools.iter().all(|pool| is_generated(config, pool, &generation, token.written().trim()));
        events.waits(Wait::Operator(operator.reader()), Some(rollout::generated_within(operator)));
        let taken = self.rollout.taken(operator, &written, &said, is_ours).await?;
        let verification = match taken {
            Taken::Unseen(ref why) => Verification::Unverified(why.clone()),
            Taken::Generated | Taken::Accepted => {
                events.waits(Wait::Loading(operator.reader()), Some(rollout::LOADED_WITHIN + patience(&record)));
                self.rollout.scraped(operator, &record, former.as_ref(), &away, &generation).await?
            }
        };
        let verification = if must_be_seen { required(verification, &cluster)? } else { verification };
        let reloaded = match taken {
            Taken::Generated => format!("has them in its configuration ({})", operator.instance.generated()),
            Taken::Accepted => "will get them: its operator has accepted them".to_owned(),
            Taken::Unseen(_) => "will get them from its operator".to_owned(),
        };
        let (namespace, kind) = (&operator.place.0, operator.instance.job_kind());
        let fragment = format!("{} and {} {kind}s in namespace {namespace}", objects.secret.reference, pools.len());
        let (reader, proven_from, checked_by, clock) = (None, None, None, None);
        let placed = Placed { fragment, reader, proven_from, checked_by, clock, reloaded, verification };
        let is_taken_up =
            placed.verification.targets().is_some() || former.is_some_and(|former| former.route == record.route);
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

    /// Each object that was written is read and written again.
    fn undo_within(&self) -> Option<Duration> {
        let requests = u32::try_from(2 * self.trail.borrow().len()).unwrap_or(u32::MAX);
        Some(self.operator.hub.timeout? * requests)
    }

    /// Undoes the unfinished changes of one cluster or of all. Returns the steps that must be done by hand.
    async fn restore(&self, of: Option<&ClusterName>) -> Vec<String> {
        let (taken, kept) = self.trail.take().into_iter().partition(|(cluster, ..)| of.is_none_or(|of| of == cluster));
        *self.trail.borrow_mut() = kept;
        let taken: Vec<(ClusterName, ObjectRef, Option<Value>)> = taken;
        let hub = &self.operator.hub;
        let mut left = Vec::new();
        for (_, reference, before) in taken.into_iter().rev() {
            let outcome = async {
                match before {
                    Some(before) => hub.apply(&as_it_was(&reference, &before), DryRun::No).await.map(drop),
                    None => match hub.get(&reference).await? {
                        Found::Object(object) if owner(&object) == Owner::Us => {
                            hub.delete(&deletion(&reference, &object), DryRun::No).await
                        }
                        _ => Ok(()),
                    },
                }
            };
            match ends_within(OBJECTS_UNDONE_WITHIN, outcome).await {
                Some(Ok(())) => {}
                Some(Err(error)) => left.push(format!("Not undone: {reference}: {error}")),
                None => left.push(format!("Not undone: {reference}: no answer within {OBJECTS_UNDONE_WITHIN:?}")),
            }
        }
        left
    }

    /// Removes the jobs of these clusters. Returns the operator's state as text.
    ///
    /// # Errors
    /// An error of the hub; the jobs are restored then.
    pub async fn take_out(&self, clusters: &[ClusterName], events: Events<'_>) -> Result<String> {
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
        events.waits(Wait::OperatorRemoval(self.operator.reader()), Some(rollout::generated_within(self.operator)));
        until_interrupted(async { Ok(rollout::removed(self.operator, &pools).await.to_owned()) }).await
    }

    /// As [`crate::stages::deliver::directory::Push::retire`].
    pub async fn retire(
        &self,
        in_place: &DeliveryResult,
        admin: Option<Admin<'_>>,
        events: Events<'_>,
    ) -> Vec<ObjectReport> {
        retire::retire(self.operator, in_place, admin, events).await
    }

    /// As [`crate::stages::deliver::directory::Push::clear`].
    pub async fn clear(
        &self,
        cluster: &ClusterName,
        admin: Option<Admin<'_>>,
        events: Events<'_>,
    ) -> Vec<ObjectReport> {
        retire::clear(self.operator, cluster, admin, events).await
    }
}

/// Validates all writes of a join with a dry run at the hub, so that missing rights or kinds are reported before any
/// change.
///
/// # Errors
/// [`Reason::DestinationUnusable`], [`Reason::ClusterKnown`], [`Reason::Forbidden`].
pub async fn try_out(operator: &Operator, request: &JoinRequest, access: &Access) -> Result<()> {
    operator.refuse_anothers(&request.cluster)?;
    let now = clock::now();
    let remembered = Remembered {
        uid: "",
        context: "",
        kubernetes: "",
        format: Format::Prometheus,
        given: Given { address: false, ca: false },
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
