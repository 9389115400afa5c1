//! Commands about one cluster of one destination.

use crate::model::{
    store::{record::Record, terms::Unconfirmed},
    text::names::ClusterName,
};

/// The next command for the user.
#[derive(Clone, Copy, Debug)]
pub enum Next<'a> {
    /// The join that was recorded.
    Join(&'a Record),
    /// The same for another cluster under its label.
    Replace(&'a Record),
    Rotate {
        /// Whether it is due or not.
        now: bool,
    },
    Leave,
}

/// Writes such a command about a cluster of a destination, ready to paste. The command line is not known here.
pub type Write = fn(Next, &ClusterName, destination: &str) -> String;

/// What to do if the context of a record leads to another cluster because its cluster was made anew.
pub fn made_anew(write: Write, record: &Record, destination: &str) -> String {
    let join = write(Next::Replace(record), &record.cluster, destination);
    format!("If the cluster was made anew, join it again (only the record has these terms, so check each): {join}")
}

/// Commands about one cluster of one destination.
pub(crate) struct Commands<'a> {
    pub(in crate::model) cluster: &'a ClusterName,
    pub(in crate::model) destination: &'a str,
    pub(in crate::model) write: Write,
    /// Whether the cluster confirms the terms of the record; none if that is unknown.
    pub(in crate::model) terms: Option<&'a Result<(), Unconfirmed>>,
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

    /// What a join does, and the join with the terms of the cluster. Where the cluster has none, the terms are those of
    /// the record, whose writer need not be an administrator.
    pub(crate) fn join(&self, does: &str, record: &Record) -> String {
        let join = |record| self.written(Next::Join(record));
        if let Some(noted) = self.terms.and_then(|terms| terms.as_ref().err()?.noted()) {
            return format!("{does} with the terms that the cluster has noted: {}", join(&noted.applied_to(record)));
        }
        match self.terms {
            Some(Ok(())) => format!("{does}: {}", join(record)),
            _ => format!("{does} (only the record has these terms, so check each): {}", join(record)),
        }
    }

    fn written(&self, next: Next) -> String {
        (self.write)(next, self.cluster, self.destination)
    }
}
