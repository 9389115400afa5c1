//! How the Prometheus of a destination is told to read its configuration again.

use std::{fmt, str::FromStr};

/// A value of `--reload`: `auto`, `http`, `signal`, `none` or `command:COMMAND`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReloadMode {
    /// The first of HTTP, signal and its own watching of files that works.
    #[default]
    Auto,
    /// `POST /-/reload`
    Http,
    /// SIGHUP
    Signal,
    /// Not at all: somebody else does it, or it is not running.
    None,
    /// A command line for `sh -c`. Never shown in an error: it may hold a password.
    Command(String),
}

/// Why a [`ReloadMode`] was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadModeError {
    #[error("is none of auto, http, signal, none and command:COMMAND")]
    Unknown,
    #[error("names no command")]
    NoCommand,
}

const COMMAND: &str = "command:";

impl FromStr for ReloadMode {
    type Err = ReloadModeError;

    fn from_str(text: &str) -> Result<Self, ReloadModeError> {
        match text {
            "auto" => Ok(Self::Auto),
            "http" => Ok(Self::Http),
            "signal" => Ok(Self::Signal),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix(COMMAND) {
                Some(command) if command.trim().is_empty() => Err(ReloadModeError::NoCommand),
                Some(command) => Ok(Self::Command(command.to_owned())),
                None => Err(ReloadModeError::Unknown),
            },
        }
    }
}

/// The spelling of the flag.
impl fmt::Display for ReloadMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Http => f.write_str("http"),
            Self::Signal => f.write_str("signal"),
            Self::None => f.write_str("none"),
            Self::Command(command) => write!(f, "{COMMAND}{command}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_is_read_as_it_is_written() {
        let command = ReloadMode::Command("systemctl reload prometheus".into());
        for (text, mode) in [
            ("auto", ReloadMode::Auto),
            ("http", ReloadMode::Http),
            ("signal", ReloadMode::Signal),
            ("none", ReloadMode::None),
            ("command:systemctl reload prometheus", command),
        ] {
            assert_eq!(text.parse(), Ok(mode.clone()), "{text}");
            assert_eq!(mode.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "Auto", "sighup", "command", "commands:x", " auto"] {
            assert_eq!(text.parse::<ReloadMode>(), Err(ReloadModeError::Unknown), "{text:?}");
        }
        for text in ["command:", "command:  "] {
            assert_eq!(text.parse::<ReloadMode>(), Err(ReloadModeError::NoCommand), "{text:?}");
        }
    }
}
