//! Revokes and deletes replaced tokens, and removes the objects of a cluster that left.

use super::{
    super::delivery::{Admin, DeliveryResult},
    objects::{deletion, reference_of, unless_changed},
    rollout::LOADED_WITHIN,
};
use crate::{
    clock,
    cluster::{DryRun, Found},
    destination::Operator,
    error::Result,
    model::{
        kube::object::Kind,
        plan::retention::{RetentionInput, Retirement},
        report::{ObjectReport, event::Event},
        store::{
            layout::Generation,
            operator::{GENERATION_ANNOTATION, annotations, as_it_was, cluster_object},
            record::{Predecessor, Record, SecretRecord},
        },
        text::names::ClusterName,
    },
    stages::{events::Events, interrupt::until_interrupted},
};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// As [`crate::stages::deliver::directory::Push::retire`].
pub(super) async fn retire(
    operator: &Operator,
    in_place: &DeliveryResult,
    admin: Option<Admin<'_>>,
    events: Events<'_>,
) -> Vec<ObjectReport> {
    let DeliveryResult { record, generation, placed, .. } = in_place;
    let mut in_use = vec![generation.clone()];
    if placed.verification.targets().is_none() {
        in_use.extend(maybe_loaded(&record.replaces, generation, clock::now()));
    }
    let mut generations: BTreeMap<Generation, Option<SecretRecord>> =
        record.replaces.iter().map(|one| (one.generation.clone(), Some(one.bound_secret.clone()))).collect();
    generations.insert(generation.clone(), Some(record.bound_secret.clone()));
    let mut deleted = Vec::new();
    let outcome = async {
        revoke(operator, &record.cluster, &generations, &in_use, admin, events, &mut deleted).await?;
        forget(operator, record, &in_use).await
    };
    if let Err(error) = until_interrupted(outcome).await {
        events.report(Event::NotClearedAway { cluster: record.cluster.clone(), error });
    }
    deleted
}

/// Removes deleted generations from the record.
async fn forget(operator: &Operator, record: &Record, in_use: &[Generation]) -> Result<()> {
    if record.replaces.iter().all(|replaced| in_use.contains(&replaced.generation)) {
        return Ok(());
    }
    let mut record = record.clone();
    record.replaces.retain(|replaced| in_use.contains(&replaced.generation));
    let reference = cluster_object(Kind::Secret, &operator.place.0, &record.cluster);
    let Found::Object(stored) = operator.hub.get(&reference).await? else { return Ok(()) };
    // Another run has written the Secret meanwhile, with its own record.
    if stored["metadata"]["annotations"][GENERATION_ANNOTATION] != in_use[0].to_string() {
        return Ok(());
    }
    let mut secret = unless_changed(&as_it_was(&reference, &stored), Some(&stored));
    secret.manifest_mut()["metadata"]["annotations"] = annotations(&record, &in_use[0], &operator.identity());
    operator.hub.apply(&secret, DryRun::No).await.map(drop)
}

/// As [`crate::stages::deliver::directory::Push::clear`]: deletes all objects of a cluster whose jobs were removed.
pub(super) async fn clear(
    operator: &Operator,
    cluster: &ClusterName,
    admin: Option<Admin<'_>>,
    events: Events<'_>,
) -> Vec<ObjectReport> {
    let generations = match operator.installed.get(cluster) {
        Some(Ok(installed)) => installed.generations.clone(),
        _ => BTreeMap::new(),
    };
    let mut deleted = Vec::new();
    let outcome = async {
        revoke(operator, cluster, &generations, &[], admin, events, &mut deleted).await?;
        if let Some(secret) = &operator.stored(cluster).secret {
            operator.hub.delete(&deletion(&reference_of(Kind::Secret, secret), secret), DryRun::No).await?;
        }
        Ok(())
    };
    if let Err(error) = until_interrupted(outcome).await {
        events.report(Event::NotClearedAway { cluster: cluster.clone(), error });
    }
    deleted
}

/// Deletes the bound Secrets that are not needed any more.
async fn revoke(
    operator: &Operator,
    cluster: &ClusterName,
    generations: &BTreeMap<Generation, Option<SecretRecord>>,
    in_use: &[Generation],
    admin: Option<Admin<'_>>,
    events: Events<'_>,
    deleted: &mut Vec<ObjectReport>,
) -> Result<()> {
    let Some(admin) = admin else { return Ok(()) };
    let input = RetentionInput { generations, in_use, identity: &operator.identity() };
    let secrets = Retirement::new(&input, admin.secrets).secrets;
    admin.revoke(&secrets, cluster, &operator.installed, events, deleted).await
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
