//! Delivery to a destination of any kind.

pub mod delivery;
pub mod directory;
pub mod operator;
pub mod verify;

use super::interrupt::until_interrupted;
use crate::{
    destination::{Destination, Installed},
    error::Result,
    model::{
        plan::request::JoinRequest,
        report::{Line, ObjectReport, Reader},
        store::{identity::Identity, location::Format},
        text::names::ClusterName,
        token::bound_secret::BoundSecret,
    },
    render::conversation,
    stages::events::Events,
};
use delivery::{Admin, Delivery, DeliveryResult};
use directory::Push;
use operator::OperatorPush;
use std::collections::BTreeMap;

/// A delivery to one destination.
pub enum Deliver<'a> {
    Directory(Box<Push<'a>>),
    Operator(Box<OperatorPush<'a>>),
}

impl<'a> Deliver<'a> {
    /// Determines the changes of a join; writes nothing.
    ///
    /// # Errors
    /// As [`Push::new`].
    pub async fn new(destination: &'a mut Destination, clusters: &[ClusterName]) -> Result<Self> {
        Ok(match destination {
            Destination::Directory(directory) => Self::Directory(Box::new(Push::new(directory, clusters).await?)),
            Destination::Operator(operator) => Self::Operator(Box::new(OperatorPush::new(operator))),
        })
    }

    /// For a renewal.
    ///
    /// # Errors
    /// As [`Push::as_it_is`].
    pub async fn as_it_is(destination: &'a mut Destination) -> Result<Self> {
        Ok(match destination {
            Destination::Directory(directory) => {
                Self::Directory(Box::new(until_interrupted(Push::as_it_is(directory)).await?))
            }
            Destination::Operator(operator) => Self::Operator(Box::new(OperatorPush::new(operator))),
        })
    }

    /// For a removal.
    pub fn to_remove(destination: &'a mut Destination) -> Self {
        match destination {
            Destination::Directory(directory) => Self::Directory(Box::new(Push::to_remove(directory))),
            Destination::Operator(operator) => Self::Operator(Box::new(OperatorPush::new(operator))),
        }
    }

    /// As it was typed.
    pub fn name(&self) -> &str {
        match self {
            Self::Directory(push) => push.destination.name(),
            Self::Operator(push) => &push.operator.typed,
        }
    }

    pub fn reader(&self) -> Reader {
        match self {
            Self::Directory(push) => push.destination.reader(),
            Self::Operator(push) => push.operator.reader(),
        }
    }

    pub fn format(&self) -> Format {
        match self {
            Self::Directory(push) => push.destination.format,
            Self::Operator(_) => Format::Prometheus,
        }
    }

    pub fn installed(&self) -> &BTreeMap<ClusterName, Result<Installed>> {
        match self {
            Self::Directory(push) => &push.destination.known.installed,
            Self::Operator(push) => &push.operator.installed,
        }
    }

    pub fn can_be_verified(&self) -> bool {
        match self {
            Self::Directory(push) => push.destination.can_be_verified(),
            Self::Operator(push) => push.operator.api.is_ok(),
        }
    }

    /// The warnings before a join. `secrets`: the account's bound Secrets in the cluster.
    pub fn warnings(&self, secrets: &[BoundSecret]) -> Vec<String> {
        match self {
            Self::Directory(push) => {
                let own = push.destination.folder.identity();
                let mut originals = secrets.iter().map(|secret| &secret.destination);
                let original = originals.find(|other| own.is_copy(other) && !own.is(other));
                original.map(conversation::copy).into_iter().collect()
            }
            Self::Operator(push) => push.operator.instance.warnings(),
        }
    }

    /// As [`Push::refuse_a_second_job`]. Jobs of an operator have the names of objects, which are unique.
    pub fn refuse_a_second_job(&self, request: &JoinRequest) -> Result<()> {
        match self {
            Self::Directory(push) => push.refuse_a_second_job(request),
            Self::Operator(_) => Ok(()),
        }
    }

    pub fn changes(&self, clusters: &[ClusterName], renamed: &[ClusterName]) -> Vec<Line> {
        match self {
            Self::Directory(push) => push.changes(clusters, renamed),
            Self::Operator(push) => clusters.iter().flat_map(|cluster| push.changes(cluster, renamed)).collect(),
        }
    }

    /// `clusters`: the UID of each cluster that is joined, and the account's bound Secrets there.
    pub async fn begin(&mut self, clusters: &[(&str, &[BoundSecret])]) -> Result<Identity> {
        match self {
            Self::Directory(push) => until_interrupted(push.begin(clusters)).await,
            Self::Operator(push) => until_interrupted(push.begin()).await,
        }
    }

    pub async fn deliver(
        &self,
        deliveries: Vec<Delivery>,
        renamed: &[ClusterName],
        events: Events<'_>,
    ) -> Result<Vec<(ClusterName, Result<DeliveryResult>)>> {
        match self {
            Self::Directory(push) => push.deliver(deliveries, renamed, events).await,
            Self::Operator(push) => push.deliver(deliveries, renamed, events).await,
        }
    }

    pub async fn retire(
        &self,
        in_place: &DeliveryResult,
        admin: Option<Admin<'_>>,
        events: Events<'_>,
    ) -> Vec<ObjectReport> {
        match self {
            Self::Directory(push) => push.retire(in_place, admin, events).await,
            Self::Operator(push) => push.retire(in_place, admin, events).await,
        }
    }

    /// Former labels of a cluster without jobs: a run was killed, or it could not be verified that Prometheus stopped
    /// using them.
    pub fn given_up(&self, uid: &str) -> Vec<ClusterName> {
        let installed = match self {
            Self::Directory(push) => &push.destination.known.installed,
            Self::Operator(push) => &push.operator.installed,
        };
        let remains = installed.values().flatten().filter_map(|installed| installed.remains.as_ref());
        remains.filter(|record| record.uid == uid).map(|record| record.cluster.clone()).collect()
    }

    /// Removes jobs; returns Prometheus' state as text.
    pub async fn take_out(&self, clusters: &[ClusterName], events: Events<'_>) -> Result<String> {
        match self {
            Self::Directory(push) => push.take_out(clusters, events).await.map(|reloaded| reloaded.to_string()),
            Self::Operator(push) => push.take_out(clusters, events).await,
        }
    }

    /// Deletes the files or objects of a cluster whose jobs were removed.
    pub async fn clear(
        &self,
        cluster: &ClusterName,
        admin: Option<Admin<'_>>,
        events: Events<'_>,
    ) -> Vec<ObjectReport> {
        match self {
            Self::Directory(push) => push.clear(cluster, &[], admin, events).await,
            Self::Operator(push) => push.clear(cluster, admin, events).await,
        }
    }
}
