//! What a host is asked for, and what came of it.

use std::{path::PathBuf, time::Duration};

/// What another host does after the connection to it was lost and everything is undone.
pub enum AfterCut<'a> {
    Nothing,
    /// By HTTP, to this URL.
    Post(&'a str),
    /// SIGHUP to these processes, by number and start.
    HangUp(Vec<(i32, u64)>),
    Command {
        command: &'a str,
        limit: Duration,
    },
}

/// What came of something that a host was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt<T> {
    Done(T),
    /// In the host's words.
    Refused(String),
    /// There is nothing of that name.
    Absent,
}

impl<T> Attempt<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Done(value) => Attempt::Done(change(value)),
            Self::Refused(why) => Attempt::Refused(why),
            Self::Absent => Attempt::Absent,
        }
    }
}

impl<T> From<Result<Option<T>, String>> for Attempt<T> {
    fn from(outcome: Result<Option<T>, String>) -> Self {
        match outcome {
            Ok(Some(value)) => Self::Done(value),
            Ok(None) => Self::Absent,
            Err(why) => Self::Refused(why),
        }
    }
}

/// What a program that validates a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Validation {
    Accepted,
    /// What it complains about.
    Rejected(String),
    /// It came to no verdict: it was killed, did not end in time, or cannot be run.
    Undecided(String),
    /// There is no such program.
    Absent,
}

/// How a command of `--reload` ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// `with exit status: 3`, and what it complained about.
    Badly {
        how: String,
        said: String,
    },
    Late,
    NotRun(String),
}

/// A program of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    OnPath(&'static str),
    /// By a path that another user may have chosen: it is run only where no other user can replace it.
    At(PathBuf),
}
