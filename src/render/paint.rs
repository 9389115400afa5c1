//! Text with a meaning, which a terminal shows as a colour.

use anstyle::{AnsiColor, Style};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Caution,
    Bad,
    /// What matters least.
    Faint,
}

impl Tone {
    pub const fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Caution => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Faint => Style::new().dimmed(),
        }
    }
}

/// A line, or a part of it, without its end. The text drives no terminal.
pub type Painted = Vec<(Tone, String)>;

/// The lines with ANSI's colours.
pub fn coloured(lines: &[Painted]) -> String {
    let span = |(tone, text): &(Tone, String)| {
        let style = tone.style();
        format!("{style}{text}{style:#}")
    };
    lines.iter().map(|line| line.iter().map(span).collect::<String>() + "\n").collect()
}

/// The same without colours.
pub fn plain(lines: &[Painted]) -> String {
    lines.iter().map(|line| line.iter().map(|(_, text)| text.as_str()).collect::<String>() + "\n").collect()
}

/// In characters.
pub(super) fn width(painted: &Painted) -> usize {
    painted.iter().map(|(_, text)| text.chars().count()).sum()
}
