//! How the Prometheus of a destination is reloaded.

use std::{fmt, str::FromStr};

/// A value of `--reload`: `auto`, `http`, `signal`, `none` or `command:COMMAND`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReloadMode {
    /// The first that works: HTTP, a signal, or Prometheus' own check for changed files.
    #[default]
    Auto,
    /// `POST /-/reload`
    Http,
    /// SIGHUP
    Signal,
    /// No reload: another tool reloads Prometheus, or it does not run.
    None,
    /// A command line for `sh -c`. No error shows it, because it may contain a password.
    Command(String),
}

/// Why a [`ReloadMode`] is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadModeError {
    #[error("must be auto, http, signal, none or command:COMMAND")]
    Unknown,
    #[error("names no command")]
    NoCommand,
}

const COMMAND: &str = "command:";

impl ReloadMode {
    /// The words that a value is or begins with.
    pub const WORDS: [&str; 5] = ["auto", "http", "signal", "none", COMMAND];
}

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
    fn modes_are_read_back() {
        let command = ReloadMode::Command("systemctl reload prometheus".into());
        let all = [
            ("auto", ReloadMode::Auto),
            ("http", ReloadMode::Http),
            ("signal", ReloadMode::Signal),
            ("none", ReloadMode::None),
            ("command:systemctl reload prometheus", command),
        ];
        assert_eq!(all.len(), ReloadMode::WORDS.len());
        for ((text, mode), word) in all.into_iter().zip(ReloadMode::WORDS) {
            assert!(text.starts_with(word), "{text}: {word}");
            assert_eq!(text.parse(), Ok(mode.clone()), "{text}");
            assert_eq!(mode.to_string(), text);
        }
    }

    #[test]
    fn invalid_modes_are_rejected() {
        for text in ["", "Auto", "sighup", "command", "commands:x", " auto"] {
            assert_eq!(text.parse::<ReloadMode>(), Err(ReloadModeError::Unknown), "{text:?}");
        }
        for text in ["command:", "command:  "] {
            assert_eq!(text.parse::<ReloadMode>(), Err(ReloadModeError::NoCommand), "{text:?}");
        }
    }
}
