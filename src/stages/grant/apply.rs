//! Applies the steps of a plan, with a journal of the objects that this run created.

use crate::{
    clock,
    cluster::{Applied, Cluster, DryRun, is_about_admission, is_refusal},
    error::{Error, Reason, Result},
    model::{
        kube::object::{Deletion, Kind, ObjectRef, Verb},
        plan::{Change, JoinPlan, Phase, Step, being_deleted},
        report::{ObjectReport, event::Why},
    },
    stages::events::Events,
};
use futures_util::future::join_all;
use serde_json::Value;
use std::{cell::RefCell, collections::BTreeMap};

/// Annotation of an object: when a join used it while another run was removing the account.
const USED_ANNOTATION: &str = "prom-federate.io/used";

/// The journal of this run's changes to the cluster. It is updated before and after every request, so that an interrupted
/// request can be undone too.
#[derive(Default)]
pub struct Journal(RefCell<BTreeMap<ObjectRef, Trace>>);

/// The known state of an object that this run wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// The request was sent, without an answer yet. The object did not exist before.
    MaybeCreated,
    Created {
        uid: String,
    },
    Changed,
}

impl Journal {
    fn note(&self, reference: &ObjectRef, trace: Trace) {
        self.0.borrow_mut().insert(reference.clone(), trace);
    }

    fn trace(&self, reference: &ObjectRef) -> Option<Trace> {
        self.0.borrow().get(reference).cloned()
    }

    fn restore(&self, reference: &ObjectRef, trace: Option<Trace>) {
        let mut traces = self.0.borrow_mut();
        match trace {
            Some(trace) => drop(traces.insert(reference.clone(), trace)),
            None => drop(traces.remove(reference)),
        }
    }

    /// Clears the journal, because the changes are in use now.
    pub fn settle(&self) {
        self.0.borrow_mut().clear();
    }

    pub fn entries(&self) -> Vec<(ObjectRef, Trace)> {
        self.0.borrow().iter().map(|(reference, trace)| (reference.clone(), trace.clone())).collect()
    }
}

/// A completed write or deletion.
pub struct Done {
    pub reference: ObjectRef,
    pub report: ObjectReport,
    /// The object after the change; none if no request was needed.
    pub object: Option<Value>,
}

impl Done {
    /// A bound Secret, with the object.
    pub fn stored_secret(self) -> Option<(Deletion, Value)> {
        let object = self.object.filter(|_| self.reference.kind == Kind::Secret)?;
        Some((Deletion { reference: self.reference, uid: uid_of(&object) }, object))
    }
}

/// Executes the writes of a phase concurrently; all are tried, and the first failure counts. Then executes the deletions in
/// their order.
pub async fn carry_out(cluster: &Cluster, phase: &Phase, journal: &Journal, events: Events<'_>) -> Result<Vec<Done>> {
    let written = join_all(phase.writes.iter().map(|step| apply(cluster, step, journal))).await;
    let mut done: Vec<Done> = written.into_iter().collect::<Result<_>>()?;
    for (step, written) in phase.writes.iter().zip(&done) {
        events.object(written.report.clone(), Why::of(Change::Write(phase.when, step)));
    }
    for deletion in &phase.deletes {
        cluster.delete(deletion, DryRun::No).await?;
        let reference = deletion.reference.clone();
        let report = ObjectReport::deleted(&reference);
        let report = events.object(report, Why::of(Change::Delete(phase.when, deletion)));
        done.push(Done { reference, report, object: None });
    }
    Ok(done)
}

async fn apply(cluster: &Cluster, step: &Step, journal: &Journal) -> Result<Done> {
    let reference = &step.object.reference;
    if step.verb == Verb::Unchanged {
        return Ok(Done { reference: reference.clone(), report: ObjectReport::of(step), object: None });
    }
    let before = journal.trace(reference);
    if step.verb == Verb::Created {
        journal.note(reference, Trace::MaybeCreated);
    }
    if !step.surplus.is_null() {
        cluster.remove_fields(reference, &step.surplus).await?;
    }
    let Applied { created, object } = cluster.apply(&step.object, DryRun::No).await.inspect_err(|error| {
        // After a refusal nothing was stored. After any other error, the undo looks.
        if is_refusal(error) {
            journal.restore(reference, before.clone());
        }
    })?;
    let by_this_run = Trace::Created { uid: uid_of(&object) };
    let (verb, trace) = match created {
        true => (Verb::Created, by_this_run),
        false if before.as_ref() == Some(&by_this_run) => (Verb::Configured, by_this_run),
        false => (Verb::Configured, Trace::Changed),
    };
    journal.note(reference, trace);
    let report = ObjectReport::new(reference, verb);
    Ok(Done { reference: reference.clone(), report, object: Some(object) })
}

/// Gives an object another version, so that a run that removes the account does not delete it. Creates one that is gone,
/// if `creates`.
pub async fn apply_again(cluster: &Cluster, step: &Step, creates: bool, journal: &Journal) -> Result<Done> {
    let reference = &step.object.reference;
    let is_secret = reference.kind == Kind::Secret;
    let create = Step { verb: Verb::Created, surplus: Value::Null, ..step.clone() };
    if creates || is_secret {
        let before = journal.trace(reference);
        let done = apply(cluster, &create, journal).await?;
        if is_secret || done.report.verb == Verb::Created {
            return Ok(done);
        }
        if step.verb == Verb::Unchanged {
            journal.restore(reference, before);
        }
    }
    let used = cluster.annotate(reference, USED_ANNOTATION, &clock::now().to_string()).await;
    match used {
        Err(error) if creates && error.reason == Reason::NotFound => apply(cluster, &create, journal).await,
        Err(error) => Err(error),
        Ok(object) if !object["metadata"]["deletionTimestamp"].is_null() => Err(being_deleted(reference)),
        Ok(object) => {
            let report = ObjectReport::new(reference, Verb::Unchanged);
            Ok(Done { reference: reference.clone(), report, object: Some(object) })
        }
    }
}

/// The UID of an object as the API server returned it.
pub fn uid_of(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// Sends every change of a plan with `dryRun=All`, concurrently. An object in a namespace that does not exist yet cannot
/// be validated (kubernetes#83562), and neither can a binding whose role does not exist; both are reported.
pub async fn rehearse(cluster: &Cluster, plan: &JoinPlan) -> Result<Vec<(ObjectReport, bool)>> {
    join_all(plan.changes().map(|change| async move {
        let validated = match change {
            Change::Write(_, step) => try_out(cluster, plan, step).await?,
            Change::Delete(_, deletion) => cluster.delete(deletion, DryRun::Server).await.map(|()| true)?,
        };
        Ok((ObjectReport::planned(change), validated))
    }))
    .await
    .into_iter()
    .collect()
}

/// The objects that an admission policy or webhook of the cluster would refuse, with its words.
pub async fn refused_by_admission(cluster: &Cluster, plan: &JoinPlan) -> Vec<Error> {
    let tried = join_all(plan.steps().map(|step| try_out(cluster, plan, step))).await;
    tried.into_iter().filter_map(Result::err).filter(is_about_admission).collect()
}

/// Whether it can be validated at all.
async fn try_out(cluster: &Cluster, plan: &JoinPlan, step: &Step) -> Result<bool> {
    let is_new = |kind, namespace: Option<&str>, name: &str| {
        plan.steps().any(|step| {
            let reference = &step.object.reference;
            step.verb == Verb::Created
                && (reference.kind, reference.namespace.as_deref(), reference.name.as_str()) == (kind, namespace, name)
        })
    };
    let reference = &step.object.reference;
    let namespace = reference.namespace.as_deref();
    let role_is_new = match reference.kind {
        Kind::ClusterRoleBinding => is_new(Kind::ClusterRole, None, &reference.name),
        Kind::RoleBinding => is_new(Kind::Role, namespace, &reference.name),
        _ => false,
    };
    if role_is_new || namespace.is_some_and(|namespace| is_new(Kind::Namespace, None, namespace)) {
        return Ok(false);
    }
    if step.verb != Verb::Unchanged {
        cluster.apply(&step.object, DryRun::Server).await?;
    }
    Ok(true)
}
