//! Questions to a person at a terminal. Ctrl-C at a question ends the command, with the cursor shown again. The caller
//! listens to signals: one that ended the process here would leave the terminal as a question needs it.

use super::Ui;
use crate::{
    error::{Error, Reason, Result},
    model::text::line::{self, escaped},
};
use dialoguer::{Confirm, Input, MultiSelect, Select, console::Term};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, IsTerminal};

/// Of a list that is longer.
const ITEMS_SHOWN: usize = 15;

impl Ui {
    /// # Errors
    /// [`Reason::ConfirmationNeeded`] without a terminal.
    pub fn can_ask(&self, what: &str, hint: &str) -> Result<()> {
        if self.is_captured() || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let error = format!("{what} asks questions, and standard input or standard error is not a terminal");
            return Err(Error::new(Reason::ConfirmationNeeded, error).hint(hint));
        }
        Ok(())
    }

    /// One of these, by its number.
    ///
    /// # Errors
    /// [`Reason::Interrupted`].
    pub fn choose(&self, question: &str, items: &[String]) -> Result<usize> {
        let items = items.iter().map(|item| in_a_line(&escaped(item)));
        answered(|| Select::new().with_prompt(question).items(items).default(0).max_length(ITEMS_SHOWN).interact())
    }

    /// At least one of these, by their numbers; `checked` unless changed.
    ///
    /// # Errors
    /// [`Reason::Interrupted`].
    pub fn choose_several(&self, question: &str, items: &[(String, bool)]) -> Result<Vec<usize>> {
        let items = items.iter().map(|(item, is_checked)| (in_a_line(&escaped(item)), *is_checked));
        let asked = MultiSelect::new().with_prompt(format!("{question} (space marks, enter goes on)"));
        answered(|| asked.items_checked(items).max_length(ITEMS_SHOWN).report(false).interact())
    }

    /// A text that `parse` takes; what it says of another text is shown, and the question is asked again.
    ///
    /// # Errors
    /// [`Reason::Interrupted`].
    pub fn type_in<T>(&self, question: &str, usual: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T> {
        let asked = Input::<String>::new().with_prompt(question).allow_empty(true);
        let asked = if usual.is_empty() { asked } else { asked.default(usual.to_owned()) };
        let text = answered(|| asked.validate_with(|text: &String| parse(text.trim()).map(drop)).interact_text())?;
        parse(text.trim()).map_err(Error::usage)
    }
}

/// An item of a list, in one line of the terminal with the mark before it. dialoguer counts lines without the mark: one
/// that is wrapped would stay where it is when the list is shown again.
fn in_a_line(item: &str) -> String {
    const MARK: usize = "> [x] ".len();
    let columns = Term::stderr().size_checked().map_or(usize::MAX, |(_, columns)| usize::from(columns));
    line::shortened_within(item, columns.saturating_sub(MARK + 1))
}

/// The answer, which is no unless it is yes.
pub(super) fn confirmed(question: &str) -> dialoguer::Result<bool> {
    let _keys = Keys::new();
    Confirm::new().with_prompt(question).default(false).interact()
}

/// While it lives, the terminal passes on each key, Ctrl-C too. dialoguer turns that on only after it has shown a question:
/// a Ctrl-C in between is a signal, which this thread does not hear while it waits for a key.
struct Keys(Option<Termios>);

impl Keys {
    fn new() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // Lines still begin at the left.
            raw.output_modes = before.output_modes;
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &raw);
        }
        Self(before)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Drain, before);
        }
    }
}

fn answered<T>(ask: impl FnOnce() -> dialoguer::Result<T>) -> Result<T> {
    let _keys = Keys::new();
    ask().map_err(|dialoguer::Error::IO(error)| {
        // The question was left where its cursor is hidden.
        let _ = Term::stderr().show_cursor();
        let why = if error.kind() == io::ErrorKind::Interrupted { "by Ctrl-C".to_owned() } else { format!("{error}") };
        Error::new(Reason::Interrupted, format!("interrupted {why}, nothing was written"))
    })
}
