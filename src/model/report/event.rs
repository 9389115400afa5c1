//! Events of stages as data. `render::events` has their text.

use super::{Issuer, ObjectReport, Placed, Reader, UnreachableJob};
use crate::{
    error::Error,
    model::{
        account::Account,
        kube::object::ObjectRef,
        plan::{Change, When},
        store::record::Record,
        text::names::ClusterName,
        token::clock::ClockLead,
    },
};
use jiff::Timestamp;
use std::time::Duration;

/// A step or a finding of a stage.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object was written or deleted.
    Object {
        report: ObjectReport,
        why: Option<Why>,
    },
    /// A rotation changed a right of the account.
    RightChanged {
        cluster: ClusterName,
        report: ObjectReport,
        why: Option<Why>,
    },
    /// Objects differ from what a join makes. A rotation leaves them as they are; `join` is the command that restores
    /// them.
    Differing {
        cluster: ClusterName,
        objects: Vec<ObjectRef>,
        join: String,
    },
    /// Parts of the guard are missing. A rotation creates none; `join` is the command that does.
    Unguarded {
        cluster: ClusterName,
        objects: Vec<ObjectRef>,
        join: String,
    },
    /// The clock of the API server, as the clock of this machine shows it.
    Clock {
        cluster: ClusterName,
        lead: ClockLead,
    },
    /// An account renewed its own token in a copy of another machine's folder. `join` gives the copy a Secret of its own.
    Copied {
        cluster: ClusterName,
        join: String,
    },
    /// The signal that asks the run to end.
    Interrupted(&'static str),
    /// The shell of a host did not end with the connection to it.
    StillConnected {
        host: String,
    },
    /// The number of objects that a failed run had created and deleted again.
    Undone(usize),
    /// The token for a destination was revoked, because the destination could not be written.
    Revoked(ObjectRef),
    /// The token for a destination that could not be written could not be revoked.
    NotRevoked {
        secret: ObjectRef,
        error: Error,
    },
    /// Old tokens and files could not be deleted after a delivery.
    NotClearedAway {
        cluster: ClusterName,
        error: Error,
    },
    /// A namespace that the plugin made is kept.
    NamespaceStays {
        namespace: ObjectRef,
        why: NamespaceUse,
        /// The command that deletes it once it is known to be empty.
        leave: String,
    },
    /// A run has begun to use an account that this one removes. Its objects stay.
    AccountStays {
        account: Account,
        used_by: Vec<String>,
    },
    /// Runs that begin to use the account cannot see that this one removes it.
    NotAnnounced(Error),
    /// No token could be issued to verify that the account's tokens are refused.
    NoWitness(Error),
    /// A token of the account is refused, `after` seconds after it was revoked.
    TokenRefused {
        after: u64,
    },
    /// The token of a cluster never expires, so it was not rotated.
    NotRotated(Box<Record>),
    NotDue {
        cluster: ClusterName,
        due: Timestamp,
    },
    /// A cluster has a new token in place. The jobs `away` could not be proven.
    Rotated {
        cluster: ClusterName,
        expires: Timestamp,
        by: Issuer,
        away: Vec<UnreachableJob>,
    },
    /// The run waits for another program: for what, and at most how long where that is known.
    Waits(Wait, Option<Duration>),
    /// Jobs go to the Prometheus of a destination.
    Reader(Reader),
    /// Jobs are in place.
    InPlace {
        reader: Reader,
        placed: Placed,
    },
    /// Rights of the previous jobs could not be removed.
    NotSettled {
        cluster: ClusterName,
        error: Error,
    },
}

/// What a run waits for.
#[derive(Clone, Debug)]
pub enum Wait {
    /// The cluster of this context answers the first requests.
    Answer(String),
    /// So many clusters issue new tokens.
    Renewals(usize),
    /// The API server puts the rights and the fence into force, and every page is read.
    Proof,
    /// The configuration is checked by promtool, or by the collector itself.
    Validation,
    Reload(Reader),
    /// The targets of so many clusters are scraped.
    Scrapes(Reader, usize),
    /// The new discovery finds what the previous one has found.
    Discovery(Reader),
    /// The operator puts the jobs into the configuration of its Prometheus.
    Operator(Reader),
    /// The operator takes the jobs out of it.
    OperatorRemoval(Reader),
    /// The Prometheus of an operator loads its configuration.
    Loading(Reader),
    /// A failed delivery is undone.
    Undo,
    /// The API server refuses a deleted token.
    Refusal,
    /// The API server drops the deleted tokens from its cache; until then the fence stays.
    TokenCache,
    /// The API server deletes what has finalizers.
    Deletion,
}

/// Why an object was changed or deleted, if the reason is not obvious.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Only jobs by the previous route needed it.
    PreviousRoute,
    /// No job needs the object any more. The value is its namespace.
    NoJobNeedsIt(Option<String>),
    SelfRenewNotWanted,
    TokenExpired,
    TokenReplaced,
}

/// Why a namespace is not deleted.
#[derive(Clone, Debug)]
pub enum NamespaceUse {
    /// The namespace contains another object.
    Holds(String),
    /// Its objects could not be listed.
    Unknown(Error),
}

impl Why {
    /// Why a plan changes an object.
    pub fn of(change: Change<'_>) -> Option<Self> {
        match change {
            Change::Write(When::Delivered, _) => Some(Self::PreviousRoute),
            Change::Write(..) => None,
            Change::Delete(When::RenewalLimited | When::RenewalRefused, _) => Some(Self::SelfRenewNotWanted),
            Change::Delete(_, deletion) => Some(Self::NoJobNeedsIt(deletion.reference.namespace.clone())),
        }
    }
}

impl Event {
    /// Whether the event is shown even if progress is not.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::Interrupted(_)
            | Self::StillConnected { .. }
            | Self::NotRevoked { .. }
            | Self::NotClearedAway { .. }
            | Self::NamespaceStays { .. }
            | Self::AccountStays { .. }
            | Self::NotAnnounced(_)
            | Self::NoWitness(_)
            | Self::NotSettled { .. }
            | Self::Unguarded { .. }
            | Self::Clock { .. }
            | Self::Copied { .. }
            | Self::Differing { .. } => true,
            Self::Object { .. }
            | Self::RightChanged { .. }
            | Self::Undone(_)
            | Self::Revoked(_)
            | Self::TokenRefused { .. }
            | Self::NotRotated(_)
            | Self::NotDue { .. }
            | Self::Rotated { .. }
            | Self::Waits(..)
            | Self::Reader(_)
            | Self::InPlace { .. } => false,
        }
    }
}
