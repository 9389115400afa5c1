//! The only printer. Standard output is the result, standard error the conversation.

mod service;
mod terminal;
mod usage;

use crate::{
    error::{Error, Reason, Result},
    model::{report::Line, text::line::escaped_lines},
    render::logfmt::{self, Level},
};
use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

pub use service::{NotifyState, tell_service_manager};
pub use terminal::standard_output;
pub use usage::usage;

/// Where and how much to say.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    verbosity: u8,
    voice: Voice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    /// A conversation with a person.
    Person,
    /// Warnings, errors and the result only.
    Muted,
    /// Events for a journal, and nothing else.
    Journal,
}

/// From this `-v` on every request is logged, as klog users know it.
const REQUESTS: u8 = 6;

const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();

impl Ui {
    pub fn new(verbosity: u8) -> Self {
        Self { verbosity, voice: Voice::Person }
    }

    /// For work on several clusters at once, whose steps nobody could tell apart.
    #[must_use]
    pub fn muted(self) -> Self {
        match self.voice {
            Voice::Person => Self { voice: Voice::Muted, ..self },
            Voice::Muted | Voice::Journal => self,
        }
    }

    /// For what runs where nobody sits: one line of logfmt an event.
    #[must_use]
    pub fn journal(self) -> Self {
        Self { voice: Voice::Journal, ..self }
    }

    /// Something that happened, for a journal.
    pub fn event(&self, level: Level, event: &str, fields: &[(&str, String)]) {
        styled("", &logfmt::line(Timestamp::now(), level, event, fields));
    }

    /// A line of the conversation.
    pub fn say(&self, line: &str) {
        if self.voice == Voice::Person {
            styled("", line);
        }
    }

    /// Something that was done and seen to be true.
    pub fn done(&self, line: &str) {
        if self.voice == Voice::Person {
            styled(&format!("  {GREEN}✔{GREEN:#} "), line);
        }
    }

    /// As kubectl prints it.
    pub fn warn(&self, warning: &str) {
        match self.voice {
            Voice::Person | Voice::Muted => styled(&format!("{YELLOW}Warning:{YELLOW:#} "), warning),
            Voice::Journal => self.event(Level::Warn, "warning", &[("msg", warning.to_owned())]),
        }
    }

    pub fn tell(&self, lines: &[Line]) {
        for line in lines {
            match line {
                Line::Said(text) => self.say(text),
                Line::Done(text) => self.done(text),
                Line::Warned(text) => self.warn(text),
            }
        }
    }

    pub fn error(&self, error: &Error) {
        styled(&format!("{RED}error{RED:#} ({}): ", error.reason), &error.to_string());
        for hint in &error.hints {
            self.say(&format!("hint: {hint}"));
        }
    }

    /// Says how it ended, to the person and to the shell.
    pub fn end(&self, outcome: Result<()>) -> ExitCode {
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                self.error(&error);
                error.reason.exit_code().into()
            }
        }
    }

    /// A line for each request, never with headers or bodies.
    pub fn logs_requests(&self) -> bool {
        self.verbosity >= REQUESTS
    }

    pub fn log(&self, request: &impl Display) {
        let text = request.to_string();
        match self.voice {
            Voice::Person | Voice::Muted => self.say(&text),
            Voice::Journal => self.event(Level::Debug, "request", &[("msg", text)]),
        }
    }

    /// Asks; fails where nobody can answer.
    ///
    /// # Errors
    /// [`Reason::ConfirmationNeeded`] without a terminal, [`Reason::Cancelled`] if the answer is no.
    pub fn confirm(&self, question: &str, command: &str) -> Result<()> {
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(Error::new(
                Reason::ConfirmationNeeded,
                format!("{command} asks before it writes, and this is no terminal"),
            )
            .hint("Say yes beforehand with --yes, or look first with --dry-run=server"));
        }
        match dialoguer::Confirm::new().with_prompt(question).default(false).interact() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(Reason::Cancelled, format!("{command} is cancelled, nothing was written"))),
            Err(error) => {
                Err(Error::new(Reason::Interrupted, format!("{command} is cancelled, nothing was written: {error}")))
            }
        }
    }

    /// The result. A reader that wants no more of it (`status | head`) ends it quietly.
    ///
    /// # Errors
    /// [`Reason::OutputClosed`] if it cannot be written, on a full disk.
    pub fn print(&self, text: &str) -> Result<()> {
        match write(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| lost(&error)),
        }
    }

    /// The result where it holds a token that cannot be had again.
    ///
    /// # Errors
    /// [`Reason::OutputClosed`] if not all of it could be written.
    pub fn print_secret(&self, text: &str) -> Result<()> {
        write(text).map_err(|error| lost(&error))
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(escaped_lines(text).as_bytes())?;
    out.flush()
}

fn lost(error: &io::Error) -> Error {
    Error::new(Reason::OutputClosed, format!("cannot write to standard output: {error}"))
        .hint("Run it again with standard output where all of it can be written: > FILE")
}

/// Write errors on standard error are ignored.
fn styled(prefix: &str, text: &str) {
    let _ = writeln!(anstream::stderr(), "{prefix}{}", escaped_lines(text));
}
