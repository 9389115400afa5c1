//! The text of a main configuration, Prometheus' own (`prometheus.yml`), vmagent's or that of an OpenTelemetry Collector:
//! which files its lists include, and how to add a pattern.
//!
//! The text belongs to its administrator, comments included, so lines are only inserted, and a null is replaced by a
//! list. The place of an edit is found by lines, not by a YAML parser. The edit is safe because the result is parsed again, and rejected unless it
//! equals the old configuration plus the new pattern.

mod collector;
mod edit;

use crate::yaml;
use serde_json::{Map, Value};
use similar::TextDiff;
use std::{
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
};

use collector::escaped;
pub use collector::{RECEIVER, Receiver, by_hand, with_jobs};
use edit::{edited, edits, is_in_braces, scalar};

/// The top-level keys of a main configuration: Prometheus 3.16 `config/config.go`, type `Config`. They include those of
/// vmagent (`lib/promscrape/config.go`).
const KEYS: [&str; 11] = [
    "alerting",
    "global",
    "otlp",
    "remote_read",
    "remote_write",
    "rule_files",
    "runtime",
    "scrape_config_files",
    "scrape_configs",
    "storage",
    "tracing",
];

/// A list of file patterns in a main configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Scrape jobs; Prometheus 2.43 or later, and vmagent.
    ScrapeConfigFiles,
    /// Recording and alerting rules; neither an agent nor vmagent has this list.
    RuleFiles,
}

impl List {
    pub fn key(self) -> &'static str {
        match self {
            Self::ScrapeConfigFiles => "scrape_config_files",
            Self::RuleFiles => "rule_files",
        }
    }
}

/// A main configuration: its text and its parsed content.
///
/// It may contain credentials, so it is neither shown nor quoted, and has no `Debug`.
#[derive(Clone)]
pub struct MainConfig {
    text: String,
    value: Map<String, Value>,
    /// Of a collector.
    receivers: Option<Vec<Receiver>>,
}

impl MainConfig {
    /// The error is one line with the problem, and with the place if it is known. It quotes nothing of the text.
    pub fn read(text: &str) -> Result<Self, String> {
        let value = match yaml::read_foreign(text)? {
            Value::Object(value) => value,
            Value::Null => Map::new(),
            _ => return Err("it is not a mapping".to_owned()),
        };
        let receivers = collector::is_collectors(&value).then(|| collector::receivers(&value));
        Ok(Self { text: text.to_owned(), value, receivers })
    }

    /// Whether it is the configuration of an OpenTelemetry Collector.
    pub fn is_collectors(&self) -> bool {
        self.receivers.is_some()
    }

    /// Where a collector shows its own metrics, `HOST:PORT`, if that is known.
    pub fn collector_metrics(&self) -> Option<String> {
        self.receivers.as_ref().and_then(|_| collector::metrics(&self.value))
    }

    /// The collector's receiver that reads this file, as [`Self::includes`].
    pub fn receiver_of(&self, dir: &Path, file: &str) -> Option<&Receiver> {
        let file = clean(&dir.join(file));
        let reads = |receiver: &&Receiver| {
            receiver.patterns.iter().any(|pattern| path_matches(&clean(&dir.join(pattern)), &file))
        };
        self.receivers.iter().flatten().find(reads)
    }

    /// An unknown top-level key. Prometheus would reject it, and the file may be something else, such as a kubeconfig.
    pub fn unknown_key(&self) -> Option<&str> {
        let keys = self.value.keys().map(String::as_str);
        keys.filter(|_| self.receivers.is_none()).find(|key| !KEYS.contains(key))
    }

    /// Whether a pattern of the list matches `file`, a path relative to `dir`, which is the configuration's folder.
    /// `dir` should be absolute: absolute patterns are compared with it as text, so a link to it is another folder.
    pub fn includes(&self, list: List, dir: &Path, file: &str) -> bool {
        self.matching(list, dir, file).next().is_some()
    }

    /// The patterns of the list that match `file`, as [`Self::includes`].
    pub fn matching<'a>(&'a self, list: List, dir: &Path, file: &str) -> impl Iterator<Item = &'a str> {
        let (dir, file) = (dir.to_owned(), clean(&dir.join(file)));
        self.patterns(list).filter(move |pattern| path_matches(&clean(&dir.join(pattern)), &file))
    }

    /// The text with each pattern added at the end of its list; all else is kept byte for byte.
    ///
    /// The error is one line: why this text cannot be edited safely, and the pattern to add by hand.
    pub fn with(&self, additions: &[(List, &str)]) -> Result<String, String> {
        let mut config = self.clone();
        for &(list, pattern) in additions {
            config = config
                .with_one(list, pattern)
                .map_err(|why| format!("{} {why}: add {} to that list by hand", list.key(), yaml::quoted(pattern)))?;
        }
        Ok(config.text)
    }

    /// The text of a collector's configuration with a receiver of the files of a pattern, which shows its targets at `api`,
    /// `HOST:PORT`; all else is kept byte for byte.
    ///
    /// The error is one line: why this text cannot be edited safely.
    pub fn with_receiver(&self, pattern: &str, api: Option<&str>) -> Result<String, String> {
        let (text, wanted) = collector::with_receiver(&self.text, &self.value, &escaped(pattern), api)?;
        match Self::read(&text) {
            Ok(config) if config.value == wanted => Ok(text),
            _ => Err("cannot be edited safely".to_owned()),
        }
    }

    fn with_one(&self, list: List, pattern: &str) -> Result<Self, &'static str> {
        let mut wanted = self.value.clone();
        let items = wanted.entry(list.key()).or_insert(Value::Null);
        match items {
            Value::Null => *items = Value::from(vec![pattern]),
            Value::Array(items) => items.push(Value::from(pattern)),
            _ => return Err("is not a list"),
        }
        let text = edited(&self.text, edits(&self.text, list.key(), &scalar(pattern))?);
        match Self::read(&text) {
            Ok(config) if config.value == wanted => Ok(config),
            _ if is_in_braces(&self.text) => Err("is in a mapping in braces (JSON), which is not edited"),
            _ => Err("cannot be edited safely in this text"),
        }
    }

    /// The names of the jobs in the file itself, in its order.
    pub fn job_names(&self) -> Vec<String> {
        if let Some(receivers) = &self.receivers {
            return receivers.iter().flat_map(|receiver| receiver.jobs.clone()).collect();
        }
        let jobs = self.value.get("scrape_configs").and_then(Value::as_array).into_iter().flatten();
        jobs.filter_map(|job| match job.get("job_name")? {
            Value::String(name) => Some(name.clone()),
            // Go reads a number or a boolean as its text.
            name @ (Value::Number(_) | Value::Bool(_)) => Some(name.to_string()),
            _ => None,
        })
        .collect()
    }

    fn patterns(&self, list: List) -> impl Iterator<Item = &str> {
        let of_receivers = self.receivers.iter().flatten().flat_map(|receiver| &receiver.patterns).map(String::as_str);
        let own = self.value.get(list.key()).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        own.chain(of_receivers.filter(move |_| list == List::ScrapeConfigFiles))
    }
}

/// A unified diff with three lines of context; empty if nothing changed. It may contain credentials if the texts do.
pub fn diff(name: &str, before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(3).header(name, name).to_string()
}

/// The path without `.` and `..`, as Go's `filepath.Join` leaves it, through which Prometheus sends its patterns.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            Component::ParentDir if clean.has_root() => {}
            part => clean.push(part),
        }
    }
    clean
}

/// Whether Go's `filepath.Glob`, which Prometheus uses, would find `path` by `pattern`.
fn path_matches(pattern: &Path, path: &Path) -> bool {
    let (patterns, names) = (pattern.components(), path.components());
    patterns.clone().count() == names.clone().count()
        && patterns.zip(names).all(|(pattern, name)| match (pattern, name) {
            (Component::Normal(pattern), Component::Normal(name)) => {
                name_matches(&pattern.to_string_lossy(), &name.to_string_lossy())
            }
            (pattern, name) => pattern == name,
        })
}

/// A piece of a pattern. The rules are those of Go's `filepath.Match`.
enum Piece {
    /// `*`
    Any,
    /// `?`, a class, or a character, which is a class of one.
    One { negated: bool, ranges: Vec<RangeInclusive<char>> },
}

/// Whether the pattern matches the whole name. A malformed pattern, which Prometheus rejects, matches nothing.
fn name_matches(pattern: &str, name: &str) -> bool {
    let Some(pieces) = pieces(pattern) else {
        return false;
    };
    // The prefixes of the name, by length, that the pieces so far match.
    let name: Vec<char> = name.chars().collect();
    let mut matched = vec![false; name.len() + 1];
    matched[0] = true;
    for piece in pieces {
        match piece {
            Piece::Any => {
                let shortest = matched.iter().position(|&matched| matched).unwrap_or(matched.len());
                matched[shortest..].fill(true);
            }
            Piece::One { negated, ranges } => {
                for length in (1..matched.len()).rev() {
                    let c = name[length - 1];
                    matched[length] = matched[length - 1] && ranges.iter().any(|range| range.contains(&c)) != negated;
                }
                matched[0] = false;
            }
        }
    }
    matched[name.len()]
}

/// None if the pattern is malformed.
fn pieces(pattern: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        pieces.push(match c {
            '*' => Piece::Any,
            '?' => Piece::One { negated: true, ranges: Vec::new() },
            '[' => {
                let negated = rest.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                // A class has at least one character, so `[]` has no end.
                while ranges.is_empty() || rest.next_if_eq(&']').is_none() {
                    let low = class_char(&mut rest)?;
                    let high = if rest.next_if_eq(&'-').is_some() { class_char(&mut rest)? } else { low };
                    ranges.push(low..=high);
                }
                Piece::One { negated, ranges }
            }
            c => {
                let c = if c == '\\' { rest.next()? } else { c };
                Piece::One { negated: false, ranges: vec![c..=c] }
            }
        });
    }
    Some(pieces)
}

fn class_char(rest: &mut impl Iterator<Item = char>) -> Option<char> {
    match rest.next()? {
        '-' | ']' => None,
        '\\' => rest.next(),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests;
