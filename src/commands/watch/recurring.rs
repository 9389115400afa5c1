//! Errors that a watch meets again and again.

use crate::{error::Error, model::token::schedule::Failures};
use jiff::Timestamp;

/// An error of every cycle: reported when it begins or changes, and then ever more rarely.
#[derive(Default)]
pub(super) struct RecurringError {
    pub(super) now: Option<(String, Failures)>,
    /// When it was seen last.
    pub(super) last: Option<Timestamp>,
}

impl RecurringError {
    pub(super) fn is_news(&mut self, error: &Error, now: Timestamp) -> bool {
        self.last = Some(now);
        let shown = error.to_string();
        let said = self.now.as_ref().filter(|(message, _)| *message == shown).map(|(_, failures)| *failures);
        if said.is_some_and(|said| said.is_waiting(now)) {
            return false;
        }
        self.now = Some((shown, Failures::one_more(said, now)));
        true
    }

    pub(super) fn is_over(&mut self) {
        self.now = None;
    }
}
