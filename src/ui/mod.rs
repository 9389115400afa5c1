//! The only printer. Standard output is the result, standard error the conversation.

mod live;
mod questions;
mod screen;
mod service;
mod terminal;
mod usage;

use crate::{
    clock,
    error::{Error, Reason, Result},
    model::{
        report::Line,
        text::{duration::Seconds, line::escaped_lines, shell},
    },
    render::{
        logfmt::{self, Level},
        paint::{Painted, Tone, coloured, plain},
    },
};
use anstream::adapter::strip_str;
use anstyle::Style;
use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError},
};

pub use live::{LiveLine, LiveLines};
pub use screen::Screen;
pub use service::{NotifyState, tell_service_manager};
pub use usage::usage;

/// Where and how much to say.
#[derive(Clone, Copy, Debug)]
pub struct Ui {
    verbosity: u8,
    voice: Voice,
    sink: Sink,
    /// The value of `--kubeconfig`, for the commands that are printed.
    kubeconfig: Option<&'static str>,
}

/// Where it goes.
#[derive(Clone, Copy, Debug)]
enum Sink {
    Stdio,
    Captured(&'static Captured),
}

/// What was said, kept for a test: as much as there is of it, without colours.
#[derive(Debug, Default)]
pub struct Captured {
    pub stdout: Mutex<String>,
    pub stderr: Mutex<String>,
    /// What a person answers to each question; none without a terminal.
    pub answer: Option<bool>,
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

const GREEN: Style = Tone::Good.style();
const YELLOW: Style = Tone::Caution.style();
const RED: Style = Tone::Bad.style();

impl Ui {
    pub fn new(verbosity: u8) -> Self {
        Self { verbosity, voice: Voice::Person, sink: Sink::Stdio, kubeconfig: None }
    }

    /// One that says everything to `captured` and nothing to standard output and standard error.
    pub fn captured(verbosity: u8, captured: &'static Captured) -> Self {
        Self { sink: Sink::Captured(captured), ..Self::new(verbosity) }
    }

    /// Repeats this value of `--kubeconfig` in every command that it prints. A process has one.
    #[must_use]
    pub fn with_kubeconfig(self, file: Option<&Path>) -> Self {
        let file = file.and_then(Path::to_str).map(|file| &*file.to_owned().leak());
        Self { kubeconfig: file, ..self }
    }

    fn repeated<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.kubeconfig {
            Some(file) => Cow::Owned(shell::with_kubeconfig(text, file)),
            None => Cow::Borrowed(text),
        }
    }

    /// For concurrent work on several clusters: shows only warnings.
    #[must_use]
    pub fn muted(self) -> Self {
        match self.voice {
            Voice::Person => Self { voice: Voice::Muted, ..self },
            Voice::Muted | Voice::Journal => self,
        }
    }

    /// For services: one line of logfmt for each event.
    #[must_use]
    pub fn journal(self) -> Self {
        Self { voice: Voice::Journal, ..self }
    }

    /// Something that happened, for a journal.
    pub fn event(&self, level: Level, event: &str, fields: &[(&str, String)]) {
        self.styled("", &logfmt::line(clock::now(), level, event, fields));
    }

    /// A line of the conversation.
    pub fn say(&self, line: &str) {
        if self.voice == Voice::Person {
            self.styled("", line);
        }
    }

    /// Something that was done and seen to be true.
    pub fn done(&self, line: &str) {
        if self.voice == Voice::Person {
            self.styled(&format!("  {GREEN}✔{GREEN:#} "), line);
        }
    }

    /// As kubectl prints it.
    pub fn warn(&self, warning: &str) {
        match self.voice {
            Voice::Person | Voice::Muted => self.styled(&format!("{YELLOW}Warning:{YELLOW:#} "), warning),
            Voice::Journal => self.event(Level::Warn, "warning", &[("msg", warning.to_owned())]),
        }
    }

    pub fn tell(&self, lines: &[Line]) {
        for line in lines {
            match line {
                Line::Said(text) => self.say(text),
                Line::Done(text) => self.done(text),
                Line::Warned(text) => self.warn(text),
                Line::Awaited(text, at_most) => self.wait(text, *at_most),
            }
        }
    }

    pub fn error(&self, error: &Error) {
        self.styled(&format!("{RED}error{RED:#} ({}): ", error.reason), &error.to_string());
        for hint in &error.hints {
            self.say(&format!("hint: {hint}"));
        }
    }

    /// Says how it ended, to the person and to the shell.
    pub fn end(&self, outcome: Result<()>) -> ExitCode {
        live::end_wait();
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

    /// Live lines for as many clusters, where a person looks at a terminal and not at every request.
    pub fn live(&self, clusters: usize) -> LiveLines {
        if self.is_watched() { LiveLines::new(clusters) } else { LiveLines::default() }
    }

    /// A live line of what is waited for. It goes when the next line is printed.
    fn wait(&self, what: &str, at_most: Option<Seconds>) {
        if self.is_watched() {
            live::wait(what, at_most);
        }
    }

    /// The same where another program may ask at the terminal: a line that stays and does not move.
    pub fn wait_still(&self, what: &str) {
        if self.is_watched() {
            self.say(what);
        }
    }

    fn is_watched(&self) -> bool {
        let speaks = self.voice == Voice::Person && !self.logs_requests();
        speaks && !self.is_captured() && io::stderr().is_terminal()
    }

    fn is_captured(&self) -> bool {
        matches!(self.sink, Sink::Captured(_))
    }

    /// Asks for confirmation; fails without a terminal.
    ///
    /// # Errors
    /// [`Reason::ConfirmationNeeded`] without a terminal, [`Reason::Cancelled`] if the answer is no.
    pub fn confirm(&self, question: &str, command: &str) -> Result<()> {
        let answered = match self.sink {
            Sink::Captured(Captured { answer, .. }) => answer.map(Ok),
            Sink::Stdio if io::stdin().is_terminal() && io::stderr().is_terminal() => {
                Some(questions::confirmed(question))
            }
            Sink::Stdio => None,
        };
        let Some(answer) = answered else {
            return Err(Error::new(
                Reason::ConfirmationNeeded,
                format!("{command} asks before it writes, and standard input is not a terminal"),
            )
            .hint("Confirm with --yes, or see the plan first with --dry-run=server"));
        };
        match answer {
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
        match self.write(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| terminal::lost(&error)),
        }
    }

    /// The same of one line of a result without an end. False if its reader wants no more.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn still_prints(&self, line: &str) -> Result<bool> {
        match self.write(&format!("{line}\n")) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true).map_err(|error| terminal::lost(&error)),
        }
    }

    /// The terminal that standard output is.
    pub fn screen(&self) -> Option<Screen> {
        match self.sink {
            Sink::Stdio => Screen::new(),
            Sink::Captured(_) => None,
        }
    }

    /// The result where it holds a token that cannot be had again.
    ///
    /// # Errors
    /// [`Reason::OutputClosed`] if not all of it could be written.
    pub fn print_secret(&self, text: &str) -> Result<()> {
        self.write(text).map_err(|error| terminal::lost(&error))
    }

    /// The same as it is: a script counts the bytes that it writes.
    ///
    /// # Errors
    /// As [`Self::print_secret`].
    pub fn print_script(&self, text: &str) -> Result<()> {
        self.put(text).map_err(|error| terminal::lost(&error))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        // Quotes could end a string of a report.
        let is_plain = self.kubeconfig.is_some_and(|file| shell::word(file) == file);
        self.put(&if is_plain { self.repeated(text) } else { Cow::Borrowed(text) })
    }

    fn put(&self, text: &str) -> io::Result<()> {
        let text = escaped_lines(text);
        if let Sink::Captured(captured) = self.sink {
            keep(&captured.stdout, &text);
            return Ok(());
        }
        live::above(|| {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            out.flush()
        })
    }

    /// Checks standard output before a secret goes there, and revokes other users' right to read the file that it is.
    /// Returns a warning.
    ///
    /// # Errors
    /// [`Reason::OutputClosed`] if it was closed when this process was started; [`Reason::OutputReadable`].
    pub fn standard_output(&self) -> Result<Option<String>> {
        match self.sink {
            Sink::Stdio => terminal::standard_output(),
            Sink::Captured(_) => Ok(None),
        }
    }

    /// A line of the conversation with meanings.
    pub fn say_painted(&self, line: Painted) {
        if self.voice == Voice::Person {
            let lines = [line];
            match self.sink {
                Sink::Stdio => live::above(|| drop(write!(anstream::stderr(), "{}", coloured(&lines)))),
                Sink::Captured(captured) => keep(&captured.stderr, &plain(&lines)),
            }
        }
    }

    /// Write errors on standard error are ignored.
    fn styled(&self, prefix: &str, text: &str) {
        let line = format!("{prefix}{}", escaped_lines(&self.repeated(text)));
        match self.sink {
            Sink::Stdio => live::above(|| drop(writeln!(anstream::stderr(), "{line}"))),
            Sink::Captured(captured) => keep(&captured.stderr, &format!("{}\n", strip_str(&line))),
        }
    }
}

fn keep(text: &Mutex<String>, more: &str) {
    text.lock().unwrap_or_else(PoisonError::into_inner).push_str(more);
}
