//! What goes to a destination of whichever kind, and what comes of it.

use crate::{
    cluster::{Cluster, DryRun},
    destination::Installed,
    error::Result,
    model::{
        access::Access,
        account::Account,
        report::{ObjectReport, Placed, UnreachableJob, event::Why},
        store::{
            layout::Generation,
            record::{Predecessor, Record},
        },
        text::names::ClusterName,
        token::{bearer::BearerToken, bound_secret::BoundSecret},
    },
    stages::events::Events,
};
use std::collections::BTreeMap;

/// One cluster's new token and record for one destination.
pub struct Delivery {
    /// The record without the replaced generations, which are read under the lock.
    pub record: Record,
    pub access: Access,
    pub token: BearerToken,
    /// Whether only Prometheus can prove the access. Then jobs that it does not scrape are undone.
    pub must_be_seen: bool,
    /// Jobs whose targets need not come up.
    pub away: Vec<UnreachableJob>,
}

/// A completed delivery.
pub struct DeliveryResult {
    pub record: Record,
    pub generation: Generation,
    pub placed: Placed,
    /// Whether jobs by this route are in use: Prometheus scrapes them, or the previous delivery used this route too.
    pub is_taken_up: bool,
    pub away: Vec<UnreachableJob>,
}

/// The administrator's connection to the cluster of a delivery, to delete Secrets.
#[derive(Clone, Copy)]
pub struct Admin<'a> {
    pub cluster: &'a Cluster,
    pub account: &'a Account,
    /// The account's existing bound Secrets.
    pub secrets: &'a [BoundSecret],
}

impl Admin<'_> {
    /// Deletes bound Secrets of a cluster and adds them to `deleted`. Secrets that the destination uses under other labels
    /// stay.
    pub(super) async fn revoke(
        &self,
        secrets: &[BoundSecret],
        cluster: &ClusterName,
        installed: &BTreeMap<ClusterName, Result<Installed>>,
        events: Events<'_>,
        deleted: &mut Vec<ObjectReport>,
    ) -> Result<()> {
        let others = installed.values().flatten().filter(|other| other.cluster != *cluster);
        let used: Vec<&str> = others.filter_map(|other| Some(other.record()?.bound_secret.uid.as_str())).collect();
        for secret in secrets.iter().filter(|secret| !used.contains(&secret.uid.as_str())) {
            let deletion = secret.deletion(self.account);
            self.cluster.delete(&deletion, DryRun::No).await?;
            deleted.push(events.object(ObjectReport::deleted(&deletion.reference), Some(Why::TokenReplaced)));
        }
        Ok(())
    }
}

/// The generations that a new one replaces: the live one, and those that the live one replaced.
pub(super) fn predecessors(installed: &Installed) -> Vec<Predecessor> {
    let Some(record) = installed.record() else { return Vec::new() };
    let mut predecessors: Vec<Predecessor> =
        record.replaces.iter().filter(|one| installed.generations.contains_key(&one.generation)).cloned().collect();
    predecessors.extend(
        installed
            .live
            .as_ref()
            .map(|live| Predecessor { generation: live.generation.clone(), bound_secret: record.bound_secret.clone() }),
    );
    predecessors
}
