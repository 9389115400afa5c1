//! The text of a main configuration, Prometheus' own (`prometheus.yml`) or vmagent's: which files its lists include,
//! and the same text with one pattern more.
//!
//! The text is somebody else's, comments and all, so nothing in it is rewritten: lines are only inserted. Where they
//! go is found by looking at lines, which is no YAML parser. What makes it safe is that the result is read again, and
//! refused unless it says what the old text said plus the new pattern.

use crate::yaml;
use serde_json::{Map, Value};
use similar::TextDiff;
use std::{
    ops::RangeInclusive,
    path::{Component, Path, PathBuf},
};

/// What a main configuration can have at its top: Prometheus 3.16 `config/config.go`, type `Config`. Those of vmagent
/// (`lib/promscrape/config.go`) are among them.
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
    /// Recording and alerting rules; neither an agent nor vmagent knows it.
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

/// A main configuration: its text, and what the text says.
///
/// It may hold credentials, so it is neither shown nor quoted, and has no `Debug`.
#[derive(Clone)]
pub struct MainConfig {
    text: String,
    value: Map<String, Value>,
}

impl MainConfig {
    /// The error is one line that says what is wrong, and where if that is known. It quotes nothing of the text.
    pub fn read(text: &str) -> Result<Self, String> {
        let value = match yaml::read_foreign(text)? {
            Value::Object(value) => value,
            Value::Null => Map::new(),
            _ => return Err("it is not a mapping, as a main configuration is".to_owned()),
        };
        Ok(Self { text: text.to_owned(), value })
    }

    /// A key that no configuration has: Prometheus would refuse it, and it may be of something else, a kubeconfig say.
    pub fn unknown_key(&self) -> Option<&str> {
        self.value.keys().map(String::as_str).find(|key| !KEYS.contains(key))
    }

    /// Whether a pattern of the list matches `file`, a path relative to `dir`, which is the configuration's folder.
    /// `dir` should be absolute: absolute patterns are compared with it as text, so a link to it is another folder.
    pub fn includes(&self, list: List, dir: &Path, file: &str) -> bool {
        let file = clean(&dir.join(file));
        self.patterns(list).any(|pattern| path_matches(&clean(&dir.join(pattern)), &file))
    }

    /// The text with each pattern added at the end of its list; all else is kept byte for byte.
    ///
    /// The error is one line: why this text cannot be edited safely, and what is to be added by hand.
    pub fn with(&self, additions: &[(List, &str)]) -> Result<String, String> {
        let mut config = self.clone();
        for &(list, pattern) in additions {
            config = config
                .with_one(list, pattern)
                .map_err(|why| format!("{} {why}: add {} to that list by hand", list.key(), yaml::quoted(pattern)))?;
        }
        Ok(config.text)
    }

    fn with_one(&self, list: List, pattern: &str) -> Result<Self, &'static str> {
        let mut wanted = self.value.clone();
        let items = wanted.entry(list.key()).or_insert(Value::Null);
        match items {
            Value::Null => *items = Value::from(vec![pattern]),
            Value::Array(items) => items.push(Value::from(pattern)),
            _ => return Err("is not a list"),
        }
        let text = inserted(&self.text, insertions(&self.text, list.key(), &scalar(pattern))?);
        match Self::read(&text) {
            Ok(config) if config.value == wanted => Ok(config),
            _ => Err("cannot be edited safely in this text"),
        }
    }

    /// The names of the jobs that the file itself holds, in its order.
    pub fn job_names(&self) -> Vec<String> {
        let jobs = self.value.get("scrape_configs").and_then(Value::as_array).into_iter().flatten();
        jobs.filter_map(|job| match job.get("job_name")? {
            Value::String(name) => Some(name.clone()),
            // Go takes a number or a boolean for the string that it is written as.
            name @ (Value::Number(_) | Value::Bool(_)) => Some(name.to_string()),
            _ => None,
        })
        .collect()
    }

    fn patterns(&self, list: List) -> impl Iterator<Item = &str> {
        self.value.get(list.key()).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
}

/// What changed, for people: a unified diff with three lines of context, or nothing if nothing changed.
/// It may hold credentials if the texts do.
pub fn diff(name: &str, before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(3).header(name, name).to_string()
}

/// A pattern as an item of a list, as people would write it if that is safe.
fn scalar(pattern: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./*-".contains(c);
    // With a slash in it, it is no number, date or boolean in any YAML.
    if pattern.contains('/') && !pattern.starts_with(['*', '-']) && pattern.chars().all(plain) {
        pattern.to_owned()
    } else {
        yaml::quoted(pattern)
    }
}

/// What is to be inserted, and before which byte of the old text.
type Insertion = (usize, String);

/// `insertions` are in the order of their places.
fn inserted(text: &str, insertions: Vec<Insertion>) -> String {
    let mut result = String::new();
    let mut done = 0;
    for (at, new) in insertions {
        result += &text[done..at];
        result += &new;
        done = at;
    }
    result + &text[done..]
}

/// Where `item` goes in the list under the top-level `key`. The error completes a sentence that begins with the key.
fn insertions(text: &str, key: &str, item: &str) -> Result<Vec<Insertion>, &'static str> {
    let lines = lines(text);
    let mut keys = lines.iter().enumerate().filter_map(|(index, line)| Some((index, value_of(line.content, key)?)));
    let Some((index, value)) = keys.next() else {
        return Ok(vec![appended(text, &lines, key, item)]);
    };
    if keys.next().is_some() {
        return Err("is there twice");
    }
    let body = lines[index + 1..].iter().take_while(|line| line.is_void() || line.is_indented() || line.is_item());
    // Comments at the margin belong to what follows.
    let body: Vec<_> = body.filter(|line| !line.is_void() || line.is_indented()).collect();
    let first = body.iter().find(|line| !line.is_void());
    let value_at = if is_void(value) {
        first.map(|line| line.start + line.indentation().len())
    } else {
        Some(lines[index].start + lines[index].content.len() - value.len())
    };
    let last = *body.last().unwrap_or(&&lines[index]);
    match value_at.map(|at| (at, &text[at..])) {
        // Only comments: the new item is indented as they are.
        None => {
            let indentation = if last.is_indented() { last.indentation() } else { "  " };
            Ok(vec![last.followed_by(text, &format!("{indentation}- {item}"))])
        }
        Some((at, value)) if value.starts_with('[') => into_flow(text, at, item).ok_or("has no end"),
        Some((_, value)) if value.starts_with(['&', '*', '!']) => Err("has an anchor, an alias or a tag"),
        Some(_) => match first {
            Some(first) if first.is_item() => Ok(vec![last.followed_by(text, &format!("{}{item}", first.dash()))]),
            _ => Err("is not written as a list"),
        },
    }
}

/// The key with its list, at the end of the document.
fn appended(text: &str, lines: &[Line], key: &str, item: &str) -> Insertion {
    let end = lines.iter().find(|line| line.content == "..." || line.content.starts_with("... "));
    let at = end.map_or(text.len(), |line| line.start);
    let eol = line_ending(text);
    let before = if text[..at].is_empty() || text[..at].ends_with(['\n', '\u{feff}']) { "" } else { eol };
    (at, format!("{before}{key}:{eol}- {item}{eol}"))
}

/// `item` behind the last one of the flow list that `text` has at `open`. None if the list has no end.
fn into_flow(text: &str, open: usize, item: &str) -> Option<Vec<Insertion>> {
    let Flow { last, end, comma, close } = Flow::scan(text, open)?;
    let Some(last) = last else {
        return Some(vec![(open + 1, item.to_owned())]);
    };
    let line_start = text[..last].rfind('\n').map_or(0, |at| at + 1);
    let indentation = &text[line_start..last];
    let line_end = text[end..close].find('\n').map(|at| end + at);
    match line_end {
        // A line for each item.
        Some(line_end) if indentation.trim().is_empty() => {
            let crlf = text[end..line_end].ends_with('\r');
            let (at, eol) = if crlf { (line_end - 1, "\r\n") } else { (line_end, "\n") };
            Some(if comma {
                vec![(at, format!("{eol}{indentation}{item},"))]
            } else {
                vec![(end, ",".to_owned()), (at, format!("{eol}{indentation}{item}"))]
            })
        }
        _ if comma => Some(vec![(end, format!(" {item}"))]),
        _ => Some(vec![(end, format!(", {item}"))]),
    }
}

/// Where things are in a flow list, as bytes of the text.
struct Flow {
    /// Where the last item begins, if there is one.
    last: Option<usize>,
    /// Behind the last item, or behind the comma that follows it.
    end: usize,
    /// Whether a comma follows the last item.
    comma: bool,
    /// The closing bracket.
    close: usize,
}

impl Flow {
    /// None if the list that begins at `open` has no end. Bytes will do: all that means something is ASCII.
    fn scan(text: &str, open: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut flow = Self { last: None, end: open + 1, comma: true, close: open };
        let mut depth = 0;
        // Where a quote or a comment can begin: not within a plain scalar.
        let mut fresh = true;
        let mut blank = true;
        let mut at = open;
        while let Some(&byte) = bytes.get(at) {
            let token = at;
            at += 1;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    blank = true;
                    continue;
                }
                b'#' if fresh || blank => {
                    at += bytes[at..].iter().position(|&byte| byte == b'\n')?;
                    continue;
                }
                b'"' | b'\'' if fresh => at = behind_quote(bytes, at, byte)?,
                b'[' | b'{' => depth += 1,
                b']' | b'}' if depth == 1 => {
                    flow.close = token;
                    return Some(flow);
                }
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            blank = false;
            fresh = matches!(byte, b'[' | b'{' | b',');
            if token > open {
                let comma = byte == b',' && depth == 1;
                if flow.comma && !comma {
                    flow.last = Some(token);
                }
                flow.comma = comma;
                flow.end = at;
            }
        }
        None
    }
}

/// The byte behind the end of a quoted scalar whose text begins at `at`. A backslash escapes in double quotes; a
/// single quote is doubled, which reads here like the end of one scalar.
fn behind_quote(bytes: &[u8], mut at: usize, quote: u8) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            b'\\' if quote == b'"' => at += 2,
            b'\'' if quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

struct Line<'a> {
    /// The byte of the text with which it begins.
    start: usize,
    /// Without the line's ending.
    content: &'a str,
    /// `\n`, `\r\n`, or nothing in the last line.
    ending: &'a str,
}

impl<'a> Line<'a> {
    fn indentation(&self) -> &'a str {
        &self.content[..self.content.len() - self.content.trim_start_matches([' ', '\t']).len()]
    }

    fn is_indented(&self) -> bool {
        !self.indentation().is_empty() && !self.content.trim().is_empty()
    }

    fn is_void(&self) -> bool {
        is_void(self.content)
    }

    fn is_item(&self) -> bool {
        let content = self.content.trim();
        content == "-" || content.starts_with("- ")
    }

    /// All that stands before the value of an item, or would if the value were in this line.
    fn dash(&self) -> String {
        let indentation = self.indentation();
        let behind = self.content[indentation.len()..].trim_start_matches('-');
        let space = &behind[..behind.len() - behind.trim_start_matches(' ').len()];
        format!("{indentation}-{}", if space.is_empty() { " " } else { space })
    }

    /// `content` as the line below this one.
    fn followed_by(&self, text: &str, content: &str) -> Insertion {
        let at = self.start + self.content.len() + self.ending.len();
        match self.ending {
            "" => {
                let eol = line_ending(text);
                (at, format!("{eol}{content}{eol}"))
            }
            eol => (at, format!("{content}{eol}")),
        }
    }
}

/// The lines of a text; a byte order mark is no part of the first.
fn lines(text: &str) -> Vec<Line<'_>> {
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut lines = Vec::new();
    for line in text[start..].split_inclusive('\n') {
        let content = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        lines.push(Line { start, content, ending: &line[content.len()..] });
        start += line.len();
    }
    lines
}

/// How the lines of a text end: as its first does.
fn line_ending(text: &str) -> &'static str {
    match text.split_inclusive('\n').next() {
        Some(line) if line.ends_with("\r\n") => "\r\n",
        _ => "\n",
    }
}

/// Whether there is nothing in it but space and a comment.
fn is_void(content: &str) -> bool {
    let content = content.trim();
    content.is_empty() || content.starts_with('#')
}

/// What stands behind `key:` in a line that begins with it.
fn value_of<'a>(content: &'a str, key: &str) -> Option<&'a str> {
    let quote = ["\"", "'", ""].into_iter().find(|quote| content.starts_with(quote))?;
    let rest = content.strip_prefix(quote)?.strip_prefix(key)?.strip_prefix(quote)?;
    let value = rest.trim_start_matches(' ').strip_prefix(':')?;
    (value.is_empty() || value.starts_with([' ', '\t'])).then(|| value.trim_start_matches([' ', '\t']))
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

/// Whether the pattern matches the whole name. A malformed pattern, which Prometheus refuses, matches nothing.
fn name_matches(pattern: &str, name: &str) -> bool {
    let Some(pieces) = pieces(pattern) else {
        return false;
    };
    // Which beginnings of the name, by length, the pieces so far match.
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
                // A class has a character at least: `[]` ends nowhere.
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const JOBS: (List, &str) = (List::ScrapeConfigFiles, "prom-federate/*.scrape.yml");
    const RULES: (List, &str) = (List::RuleFiles, "prom-federate/*.rules.yml");
    const DIR: &str = "/etc/prometheus";

    /// What comes with Prometheus, shortened.
    const EXAMPLE: &str = r#"# my global config
global:
  scrape_interval: 15s # Set the scrape interval to every 15 seconds. Default is every 1 minute.
  # scrape_timeout is set to the global default (10s).

# Load rules once and periodically evaluate them according to the global 'evaluation_interval'.
rule_files:
  # - "first_rules.yml"
  # - "second_rules.yml"

# A scrape configuration containing exactly one endpoint to scrape:
# Here it's Prometheus itself.
scrape_configs:
  # The job name is added as a label `job=<job_name>` to any timeseries scraped from this config.
  - job_name: "prometheus"

    static_configs:
      - targets: ["localhost:9090"]
        # The label name is added as a label.
        labels:
          app: "prometheus"
"#;

    fn config(text: &str) -> MainConfig {
        MainConfig::read(text).unwrap_or_else(|why| panic!("{why}: {text}"))
    }

    fn with(text: &str, additions: &[(List, &str)]) -> String {
        config(text).with(additions).unwrap_or_else(|why| panic!("{why}: {text}"))
    }

    fn includes(config: &MainConfig, (list, pattern): (List, &str)) -> bool {
        config.includes(list, Path::new(DIR), &pattern.replace('*', "east"))
    }

    #[test]
    fn the_configuration_that_comes_with_prometheus_keeps_its_comments() {
        let after = with(EXAMPLE, &[JOBS, RULES]);
        insta::assert_snapshot!(diff("prometheus.yml", EXAMPLE, &after), @r#"
        --- prometheus.yml
        +++ prometheus.yml
        @@ -7,6 +7,7 @@
         rule_files:
           # - "first_rules.yml"
           # - "second_rules.yml"
        +  - prom-federate/*.rules.yml
         
         # A scrape configuration containing exactly one endpoint to scrape:
         # Here it's Prometheus itself.
        @@ -19,3 +20,5 @@
                 # The label name is added as a label.
                 labels:
                   app: "prometheus"
        +scrape_config_files:
        +- prom-federate/*.scrape.yml
        "#);
    }

    #[test]
    fn a_pattern_is_added_in_the_style_of_its_list() {
        for (what, before, after) in [
            ("nothing at all", "", "rule_files:\n- prom-federate/*.rules.yml\n"),
            ("only a comment", "# none yet", "# none yet\nrule_files:\n- prom-federate/*.rules.yml\n"),
            ("only a start", "---\n", "---\nrule_files:\n- prom-federate/*.rules.yml\n"),
            (
                "no such list",
                "global:\n  scrape_interval: 15s\n# the end\n",
                "global:\n  scrape_interval: 15s\n# the end\nrule_files:\n- prom-federate/*.rules.yml\n",
            ),
            (
                "no such list, no last newline",
                "global: {scrape_interval: 15s}",
                "global: {scrape_interval: 15s}\nrule_files:\n- prom-federate/*.rules.yml\n",
            ),
            (
                "a document with start and end",
                "---\nglobal: {}\n... # the end\n# really\n",
                "---\nglobal: {}\nrule_files:\n- prom-federate/*.rules.yml\n... # the end\n# really\n",
            ),
            (
                "a block scalar at the end",
                "scrape_configs:\n- job_name: |\n    rule_files:\n    - a\n\n    # b\n",
                "scrape_configs:\n- job_name: |\n    rule_files:\n    - a\n\n    # b\n\
                 rule_files:\n- prom-federate/*.rules.yml\n",
            ),
            (
                "the key as a value and deeper down",
                "global:\n  external_labels:\n    rule_files: rule_files:none\n",
                "global:\n  external_labels:\n    rule_files: rule_files:none\n\
                 rule_files:\n- prom-federate/*.rules.yml\n",
            ),
            ("null", "rule_files:\nglobal: {}\n", "rule_files:\n  - prom-federate/*.rules.yml\nglobal: {}\n"),
            ("null at the end", "rule_files: # none", "rule_files: # none\n  - prom-federate/*.rules.yml\n"),
            (
                "null with comments at the margin",
                "rule_files:\n# - a.yml\n\n# What is scraped\nscrape_configs: []\n",
                "rule_files:\n  - prom-federate/*.rules.yml\n# - a.yml\n\n# What is scraped\nscrape_configs: []\n",
            ),
            (
                "deeper than its key, with comments everywhere",
                "rule_files: # ours\n    # nodes\n    - node.yml # a, b\n\n    #- old.yml\n    - 'it''s # no comment.yml'\n    # - later.yml\n\n# What is scraped\nscrape_configs: []\n",
                "rule_files: # ours\n    # nodes\n    - node.yml # a, b\n\n    #- old.yml\n    - 'it''s # no comment.yml'\n    # - later.yml\n    - prom-federate/*.rules.yml\n\n# What is scraped\nscrape_configs: []\n",
            ),
            (
                "at the margin as its key is",
                "rule_files:\n\n# nodes\n- \"node.yml\"\n# pods\n- pod.yml\n\n# What is scraped\nscrape_configs: []\n",
                "rule_files:\n\n# nodes\n- \"node.yml\"\n# pods\n- pod.yml\n- prom-federate/*.rules.yml\n\n# What is scraped\nscrape_configs: []\n",
            ),
            (
                "wide dashes, a quoted key, no last newline",
                "\"rule_files\" :\n  -   node.yml",
                "\"rule_files\" :\n  -   node.yml\n  -   prom-federate/*.rules.yml\n",
            ),
            (
                "an item below its dash",
                "rule_files:\n -\n  node.yml\n",
                "rule_files:\n -\n  node.yml\n - prom-federate/*.rules.yml\n",
            ),
            (
                "an item of several lines",
                "rule_files:\n- >-\n  node.yml\n\n  # still the name\nglobal: {}\n",
                "rule_files:\n- >-\n  node.yml\n\n  # still the name\n- prom-federate/*.rules.yml\nglobal: {}\n",
            ),
            (
                "an item that is an alias",
                "global: {external_labels: {file: &file a.yml}}\nrule_files:\n- *file\n",
                "global: {external_labels: {file: &file a.yml}}\nrule_files:\n- *file\n- prom-federate/*.rules.yml\n",
            ),
            ("an empty flow list", "rule_files: [] # none\n", "rule_files: [prom-federate/*.rules.yml] # none\n"),
            (
                "an empty flow list with a comment",
                "rule_files: [ # none ]\n  ]\n",
                "rule_files: [prom-federate/*.rules.yml # none ]\n  ]\n",
            ),
            (
                "a flow list",
                "rule_files: [ a.yml, \"b].yml\" ] # ]\n",
                "rule_files: [ a.yml, \"b].yml\", prom-federate/*.rules.yml ] # ]\n",
            ),
            (
                "quotes in a flow list",
                r#"rule_files: [it's.yml, "\"],", 'it''s], # ']"#,
                r#"rule_files: [it's.yml, "\"],", 'it''s], # ', prom-federate/*.rules.yml]"#,
            ),
            ("a last comma", "rule_files: [a.yml, ]\n", "rule_files: [a.yml, prom-federate/*.rules.yml ]\n"),
            (
                "a flow list in the next line",
                "rule_files:\n  # nodes\n  [a.yml,\n   b.yml]\n",
                "rule_files:\n  # nodes\n  [a.yml,\n   b.yml, prom-federate/*.rules.yml]\n",
            ),
            (
                "a flow list with a line for each",
                "rule_files: [\n  a.yml, # nodes, pods\n  b.yml # ]\n  # c.yml\n]\nglobal: {}\n",
                "rule_files: [\n  a.yml, # nodes, pods\n  b.yml, # ]\n  prom-federate/*.rules.yml\n  # c.yml\n]\nglobal: {}\n",
            ),
            (
                "the same with a last comma",
                "rule_files: [\n  a.yml, # nodes, pods\n  b.yml,\n]\n",
                "rule_files: [\n  a.yml, # nodes, pods\n  b.yml,\n  prom-federate/*.rules.yml,\n]\n",
            ),
            (
                "what is no pattern and has commas of its own",
                "rule_files: [\n  a.yml,\n  {b: c,\n    d: e}\n]\n",
                "rule_files: [\n  a.yml,\n  {b: c,\n    d: e},\n  prom-federate/*.rules.yml\n]\n",
            ),
            (
                "a byte order mark",
                "\u{feff}rule_files:\n- a.yml\nglobal: {}\n",
                "\u{feff}rule_files:\n- a.yml\n- prom-federate/*.rules.yml\nglobal: {}\n",
            ),
            ("nothing but that", "\u{feff}", "\u{feff}rule_files:\n- prom-federate/*.rules.yml\n"),
            (
                "a list that is merged elsewhere",
                "scrape_configs:\n- &base {job_name: a, scheme: https}\n- {<<: *base, job_name: b}\nrule_files: []\n",
                "scrape_configs:\n- &base {job_name: a, scheme: https}\n- {<<: *base, job_name: b}\nrule_files: [prom-federate/*.rules.yml]\n",
            ),
        ] {
            assert_eq!(with(before, &[RULES]), after, "{what}");
            // Lines of Windows stay lines of Windows.
            let dos = |text: &str| text.replace('\n', "\r\n");
            if before.contains('\n') {
                assert_eq!(with(&dos(before), &[RULES]), dos(after), "{what}, CRLF");
            }
        }
    }

    #[test]
    fn both_lists_are_edited_at_once_and_nothing_twice_if_asked_first() {
        let after = with("rule_files: [a.yml]\n", &[JOBS, RULES]);
        assert_eq!(
            after,
            "rule_files: [a.yml, prom-federate/*.rules.yml]\nscrape_config_files:\n- prom-federate/*.scrape.yml\n"
        );
        let config = config(&after);
        assert!(includes(&config, JOBS) && includes(&config, RULES));
        assert_eq!(config.with(&[]).unwrap(), after);
    }

    #[test]
    fn only_a_pattern_that_needs_it_is_quoted() {
        for (pattern, item) in [
            ("/etc/prom_2/*.yml", "/etc/prom_2/*.yml"),
            ("rules.yml", r#""rules.yml""#),
            ("*/a", r#""*/a""#),
            ("a b/#c", r#""a b/#c""#),
            ("12/[a]", r#""12/[a]""#),
        ] {
            assert_eq!(with("", &[(List::RuleFiles, pattern)]), format!("rule_files:\n- {item}\n"));
        }
    }

    #[test]
    fn what_cannot_be_edited_safely_is_refused() {
        for (text, why) in [
            ("rule_files: &all [a.yml]\n", "has an anchor, an alias or a tag"),
            ("global: {external_labels: &all [a.yml]}\nrule_files: *all\n", "has an anchor, an alias or a tag"),
            ("rule_files: &all\n- a.yml\n", "has an anchor, an alias or a tag"),
            ("rule_files: !!seq\n- a.yml\n", "has an anchor, an alias or a tag"),
            ("rule_files: a.yml\n", "is not a list"),
            ("rule_files: {a: b}\n", "is not a list"),
            ("rule_files: ~\n", "is not written as a list"),
            ("{\"rule_files\": [\"a.yml\"]}\n", "cannot be edited safely in this text"),
            ("{}\n", "cannot be edited safely in this text"),
            ("  global: {}\n", "cannot be edited safely in this text"),
            ("? rule_files\n: [a.yml]\n", "cannot be edited safely in this text"),
            ("\"rule\\x5ffiles\": [a.yml]\n", "cannot be edited safely in this text"),
            // What comes in by a merge key would be lost if the key were written below.
            ("a: &a {rule_files: [a.yml]}\n<<: *a\n", "cannot be edited safely in this text"),
            // A new last line would become part of the value above.
            ("a: |+\n  b", "cannot be edited safely in this text"),
            ("a: \"\nrule_files: \n b\"\nrule_files: [a.yml]\n", "is there twice"),
        ] {
            assert_eq!(
                config(text).with(&[RULES]).expect_err(text),
                format!("rule_files {why}: add \"prom-federate/*.rules.yml\" to that list by hand"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_line_and_never_quoted() {
        let level = |n: u8| format!("a{}: &a{} [{}]\n", n + 1, n + 1, vec![format!("*a{n}"); 9].join(", "));
        let bomb = format!("a0: &a0 hunter2\n{}", (0..9).map(level).collect::<String>());
        let errors: String = [
            "a: hunter2\nb: [hunter2\n",
            "a: hunter2\n hunter2: b\n",
            "a: \"\\hunter2\"\n",
            "a: *hunter2\n",
            "a: !hunter2!x y\n",
            "a: hunter2\n\thunter2: b\n",
            "hunter2: 1\nhunter2: 2\n",
            "a:\n  hunter2: 1\n  hunter2: 2\n",
            "a: {[hunter2]: b}\n",
            "a: {<<: hunter2}\n",
            "a: {<<: [hunter2]}\n",
            "- hunter2\n",
            "hunter2",
            "a: hunter2\n---\nb: 1\n",
            "a: hunter2\u{1}\n",
            &bomb,
        ]
        .iter()
        .map(|text| MainConfig::read(text).err().unwrap_or_else(|| panic!("{text}")) + "\n")
        .collect();
        assert!(!errors.contains("hunter2"), "{errors}");
        insta::assert_snapshot!(errors, @"
        did not find expected ',' or ']' at line 3 column 1, while parsing a flow sequence at line 2 column 4
        mapping values are not allowed in this context at line 2 column 9
        found unknown escape character at line 1 column 5, while parsing a quoted scalar at line 1 column 4
        unknown anchor at line 1 column 4
        found undefined tag handle at line 1 column 4, while parsing a node
        found a tab character that violates indentation at line 2 column 1, while scanning a plain scalar at line 1 column 4
        a key is there twice in the mapping at line 1
        a key is there twice in the mapping at line 2
        a key in it is no string
        a merge key (<<) has no mapping
        a merge key (<<) has no mapping
        it is not a mapping, as a main configuration is
        it is not a mapping, as a main configuration is
        it holds more than one YAML document
        control characters are not allowed at position 10
        its aliases expand to too much
        ");
    }

    #[test]
    fn a_pattern_includes_what_prometheus_would_find_by_it() {
        for (pattern, expected) in [
            ("prom-federate/*.scrape.yml", true),
            ("prom-federate/*", true),
            ("./prom-federate/east.scrape.yml", true),
            ("../prometheus//prom-federate/./*.yml", true),
            ("/etc/prometheus/prom-federate/e?st.*.yml", true),
            ("/../etc/prometheus/prom-federate/*.yml", true),
            ("prom-federate/[a-e]as[^a-s].scrape.yml", true),
            ("prom-federate/[^a-d]ast*[.]scrape.y[m]l", true),
            (r"prom-federate/\e[\]a]*", true),
            ("*.yml", false),
            ("prom-federate/*.rules.yml", false),
            ("prom-federate/*.scrape.yaml", false),
            ("prom-federate", false),
            ("prom-federate/*/*", false),
            ("/prom-federate/*", false),
            ("/etc/other/prom-federate/*", false),
            ("prom-federate/[a-d]ast.scrape.yml", false),
            ("prom-federate/[^e]ast.scrape.yml", false),
            ("prom-federate/east.scrape.ym?l", false),
            ("prom-federate/[", false),
            ("prom-federate/xeast.scrape.yml", false),
            ("prom-federate/[^]ast.scrape.yml", false),
            ("prom-federate/[]e]ast.scrape.yml", false),
            ("prom-federate/[e-]ast.scrape.yml", false),
            (r"prom-federate/*\", false),
            ("", false),
        ] {
            let config = config(&with("", &[(List::ScrapeConfigFiles, pattern)]));
            let file = "prom-federate/east.scrape.yml";
            assert_eq!(config.includes(List::ScrapeConfigFiles, Path::new(DIR), file), expected, "{pattern}");
            assert!(!config.includes(List::RuleFiles, Path::new(DIR), file));
        }
        // Neither a list nor patterns.
        for text in ["", "rule_files:\n", "rule_files: a\n", "rule_files: [1, {}, null]\n"] {
            assert!(!includes(&config(text), RULES), "{text}");
        }
    }

    #[test]
    fn jobs_of_the_file_itself_are_named() {
        let text =
            "scrape_configs: [&a {job_name: a}, {<<: *a, scheme: https}, {job_name: 2}, {}, x, {job_name: []}]\n";
        assert_eq!(config(text).job_names(), ["a", "a", "2"]);
        for text in ["", "scrape_configs:\n", "scrape_configs: a\n"] {
            assert!(config(text).job_names().is_empty(), "{text}");
        }
        assert_eq!(config(EXAMPLE).job_names(), ["prometheus"]);
    }

    #[test]
    fn something_else_is_told_by_its_keys() {
        for (text, expected) in [
            ("", None),
            (EXAMPLE, None),
            ("storage: {}\nruntime: {gogc: 75}\notlp: {}\ntracing: {}\nremote_write: []\nalerting: {}\n", None),
            ("apiVersion: v1\nkind: Config\nclusters: []\n", Some("apiVersion")),
            ("global: {}\nscrape_confgs: []\n", Some("scrape_confgs")),
            ("scrape_config: []\n", Some("scrape_config")),
        ] {
            assert_eq!(config(text).unknown_key(), expected, "{text}");
        }
    }

    #[test]
    fn no_difference_is_no_text() {
        assert_eq!(diff("a", EXAMPLE, EXAMPLE), "");
    }

    /// Lines that make a configuration now and then.
    fn texts() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just("rule_files:"),
            Just("'scrape_config_files': [a, 'b' ,"),
            Just("scrape_config_files: &a [ # c"),
            Just("rule_files: # c"),
            Just("global: {a: *a}"),
            Just("x: |+"),
            Just("x: \""),
            Just("- a.yml"),
            Just("  - 'a.yml' # c"),
            Just("    - b"),
            Just("  -  \"c"),
            Just("  # - c"),
            Just("# c"),
            Just("  d\","),
            Just("  e"),
            Just("]"),
            Just("  , ]"),
            Just("[]"),
            Just("---"),
            Just("..."),
            Just("\u{feff}"),
            Just(""),
        ];
        let ending = prop_oneof![6 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r"), 1 => Just("")];
        proptest::collection::vec((line, ending), 0..8)
            .prop_map(|lines| lines.into_iter().map(|(line, ending)| format!("{line}{ending}")).collect())
    }

    fn is_subsequence(short: &str, long: &str) -> bool {
        let mut long = long.chars();
        short.chars().all(|c| long.any(|other| other == c))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn an_edit_only_adds_whatever_the_text(text in prop_oneof![4 => texts(), 1 => any::<String>()], pattern in ".*") {
            let Ok(before) = MainConfig::read(&text) else { return Ok(()) };
            for addition in [JOBS, RULES, (List::RuleFiles, pattern.as_str())] {
                let Ok(after) = before.with(&[addition]) else { continue };
                prop_assert!(is_subsequence(&text, &after));
                let mut after = config(&after);
                let list = after.value.get_mut(addition.0.key()).and_then(Value::as_array_mut).unwrap();
                prop_assert_eq!(list.pop(), Some(Value::from(addition.1)));
                let old = before.value.get(addition.0.key()).and_then(Value::as_array).cloned().unwrap_or_default();
                prop_assert_eq!(&*list, &old);
                for (key, value) in &before.value {
                    prop_assert!(key == addition.0.key() || after.value.get(key) == Some(value));
                }
            }
        }

        #[test]
        fn who_asks_first_adds_once(text in texts()) {
            let add = |text: &str| {
                let config = MainConfig::read(text)?;
                let missing: Vec<_> = [JOBS, RULES].into_iter().filter(|&addition| !includes(&config, addition)).collect();
                config.with(&missing)
            };
            if let Ok(once) = add(&text) {
                prop_assert_eq!(add(&once).unwrap(), once);
            }
        }

        #[test]
        fn no_pattern_stops_the_match(pattern in any::<String>(), stars in r"[*?a\[\]\\^-]{0,60}", name in "[ab]{0,60}") {
            name_matches(&pattern, &name);
            name_matches(&stars, &name);
        }
    }
}
