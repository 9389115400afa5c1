//! What goes to a destination of whichever kind, and what comes of it.

use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::Cluster,
    destination::Installed,
    model::{
        access::Access,
        account::Account,
        report::{Away, Placed},
        store::{
            layout::Generation,
            record::{Predecessor, Record},
        },
        token::bound_secret::BoundSecret,
    },
};

/// One cluster's new token and record for one destination.
pub struct Delivery {
    /// Without what it replaces: that is seen under the lock.
    pub record: Record,
    pub access: Access,
    pub token: BearerToken,
    /// Nobody but Prometheus can prove the access: jobs that it is not seen to scrape are taken back.
    pub must_be_seen: bool,
    /// Jobs that nobody waits for to come up.
    pub away: Vec<Away>,
}

/// A delivery that is in place.
pub struct DeliveryResult {
    pub record: Record,
    pub generation: Generation,
    pub placed: Placed,
    /// Whether jobs by this route are in use: Prometheus scrapes them, or they are the second that it was given.
    pub is_taken_up: bool,
    pub away: Vec<Away>,
}

/// An administrator's way into the cluster that a push is about, to retire Secrets there.
#[derive(Clone, Copy)]
pub struct Admin<'a> {
    pub cluster: &'a Cluster,
    pub account: &'a Account,
    /// Those of the account that exist.
    pub secrets: &'a [BoundSecret],
}

/// What a new generation takes the place of: the live one, and what that still waits for.
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
