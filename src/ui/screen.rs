//! The terminal of standard output: its size, its colours, and a screen of it that is written again and again.

use super::{live, terminal::lost};
use crate::{
    error::Result,
    render::paint::{Painted, coloured, plain},
};
use anstream::{AutoStream, ColorChoice};
use std::{
    env,
    io::{self, IsTerminal, Write},
};

/// Terminals that do not know their size.
const SIZE: (usize, usize) = (80, 24);

/// A terminal. Once it was [refreshed](Self::refresh), it shows what it had before when this is dropped.
#[derive(Debug)]
pub struct Screen {
    has_colours: bool,
    is_taken: bool,
}

impl Screen {
    /// None where standard output is no terminal.
    pub(super) fn new() -> Option<Self> {
        let has_colours = AutoStream::choice(&io::stdout()) != ColorChoice::Never;
        io::stdout().is_terminal().then_some(Self { has_colours, is_taken: false })
    }

    /// Whether lines can be written in place.
    pub fn can_refresh(&self) -> bool {
        env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
    }

    /// Its columns and lines.
    pub fn size(&self) -> (usize, usize) {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let known = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        known.filter(|(columns, lines)| *columns > 0 && *lines > 0).unwrap_or(SIZE)
    }

    /// Adds lines.
    ///
    /// # Errors
    /// [`crate::error::Reason::OutputClosed`].
    pub fn print(&self, lines: &[Painted]) -> Result<()> {
        write(&self.text(lines))
    }

    /// Shows these lines and nothing else.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn refresh(&mut self, lines: &[Painted]) -> Result<()> {
        const OPEN: &str = "\x1b[?1049h\x1b[?25l";
        let open = if self.is_taken { "" } else { OPEN };
        self.is_taken = true;
        // The end of a line is cleared as it is written and what is below last, so that nothing flickers.
        let text = self.text(lines).trim_end().replace('\n', "\x1b[K\r\n");
        write(&format!("{open}\x1b[H{text}\x1b[K\x1b[J"))
    }

    fn text(&self, lines: &[Painted]) -> String {
        if self.has_colours { coloured(lines) } else { plain(lines) }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_taken {
            // A terminal that has gone shows nothing.
            let _ = write("\x1b[?25h\x1b[?1049l");
        }
    }
}

fn write(text: &str) -> Result<()> {
    live::above(|| {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| lost(&error))
    })
}
