//! Something that a stage did or found while it worked, as data. Its English stands in `render::events`.

use super::{Away, Issuer, ObjectReport, Placed, Reader};
use crate::{
    error::Error,
    model::{
        kube::object::ObjectRef,
        plan::{Change, When},
        store::record::Record,
        text::names::ClusterName,
    },
};
use jiff::Timestamp;

/// See the module.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object was written or deleted.
    Object {
        report: ObjectReport,
        why: Option<Why>,
    },
    /// How many objects that a failed run had created are deleted again.
    Undone(usize),
    /// The token of one destination that could not be written was revoked.
    Revoked(ObjectRef),
    /// That token could not be revoked.
    NotRevoked {
        secret: ObjectRef,
        error: Error,
    },
    /// Old tokens and files could not be deleted after a delivery.
    NotClearedAway {
        cluster: ClusterName,
        error: Error,
    },
    /// A namespace of ours is kept, and why.
    NamespaceStays {
        namespace: ObjectRef,
        why: NamespaceUse,
    },
    /// No token could be issued that shows when the account's tokens are refused.
    NoWitness(Error),
    /// A token of the account is refused, so many seconds after it was revoked.
    TokenRefused {
        after: u64,
    },
    /// A cluster whose token never expires.
    NotRotated(Box<Record>),
    NotDue {
        cluster: ClusterName,
        due: Timestamp,
    },
    /// A cluster has a new token that is in place, but for these jobs it could not be proven.
    Rotated {
        cluster: ClusterName,
        expires: Timestamp,
        by: Issuer,
        away: Vec<Away>,
    },
    /// Jobs are in place.
    InPlace {
        reader: Reader,
        placed: Placed,
    },
    /// Rights of the jobs before could not be taken away.
    NotSettled {
        cluster: ClusterName,
        error: Error,
    },
}

/// Why an object was changed or deleted, where that is not plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Only jobs by the previous route needed it.
    PreviousRoute,
    /// No job needs it any more. With the namespace that it is in.
    NoJobNeedsIt(Option<String>),
    SelfRenewNotWanted,
    TokenExpired,
    TokenReplaced,
}

/// Why a namespace is not deleted.
#[derive(Clone, Debug)]
pub enum NamespaceUse {
    /// Another object is in it.
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
    /// Whether it is told also where the progress is not.
    pub fn is_warning(&self) -> bool {
        match self {
            Self::NotRevoked { .. }
            | Self::NotClearedAway { .. }
            | Self::NamespaceStays { .. }
            | Self::NoWitness(_)
            | Self::NotSettled { .. } => true,
            Self::Object { .. }
            | Self::Undone(_)
            | Self::Revoked(_)
            | Self::TokenRefused { .. }
            | Self::NotRotated(_)
            | Self::NotDue { .. }
            | Self::Rotated { .. }
            | Self::InPlace { .. } => false,
        }
    }
}
