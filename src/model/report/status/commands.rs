//! Commands about one cluster of one destination.

use crate::model::{store::record::Record, text::names::ClusterName};

/// The next command for the user.
#[derive(Clone, Copy, Debug)]
pub enum Next<'a> {
    /// The join that was recorded.
    Join(&'a Record),
    Rotate {
        /// Whether it is due or not.
        now: bool,
    },
    Leave,
}

/// Writes such a command about a cluster of a destination, ready to paste. The command line is not known here.
pub type Write = fn(Next, &ClusterName, destination: &str) -> String;

/// Commands about one cluster of one destination.
pub(crate) struct Commands<'a> {
    pub(in crate::model) cluster: &'a ClusterName,
    pub(in crate::model) destination: &'a str,
    pub(in crate::model) write: Write,
}

impl Commands<'_> {
    pub(in crate::model) fn rotate(&self) -> String {
        self.written(Next::Rotate { now: false })
    }

    /// A rotation whether it is due or not.
    pub(crate) fn now(&self) -> String {
        self.written(Next::Rotate { now: true })
    }

    pub(in crate::model) fn leave(&self) -> String {
        self.written(Next::Leave)
    }

    /// The join that was recorded.
    pub(crate) fn join(&self, record: &Record) -> String {
        self.written(Next::Join(record))
    }

    fn written(&self, next: Next) -> String {
        (self.write)(next, self.cluster, self.destination)
    }
}
