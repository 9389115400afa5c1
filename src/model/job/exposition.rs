//! A page of metrics as Prometheus reads it: its content type, and each line in its text format or in that of
//! `OpenMetrics`. Rules: prometheus `model/textparse/interface.go` (`extractMediaType`), `promlex.l` and `openmetricslex.l`.

use crate::model::text::line::escaped;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A longer line is counted and not parsed.
const LINE: usize = 1 << 20;
/// How much of a line an error repeats.
const SHOWN: usize = 60;

/// How Prometheus 3 reads a page whose content type names no format (`fallback_scrape_protocol`): prometheus
/// `config/config.go`, `ScrapeProtocolsHeaders`. The binary format is not among them, because a page that is not text is
/// not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FallbackProtocol {
    #[serde(rename = "PrometheusText0.0.4")]
    Text0,
    #[serde(rename = "PrometheusText1.0.0")]
    Text1,
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetrics0,
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetrics1,
}

impl FallbackProtocol {
    pub const ALL: [Self; 4] = [Self::Text0, Self::Text1, Self::OpenMetrics0, Self::OpenMetrics1];

    fn is_open_metrics(self) -> bool {
        matches!(self, Self::OpenMetrics0 | Self::OpenMetrics1)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Text0 => "PrometheusText0.0.4",
            Self::Text1 => "PrometheusText1.0.0",
            Self::OpenMetrics0 => "OpenMetricsText0.0.1",
            Self::OpenMetrics1 => "OpenMetricsText1.0.0",
        }
    }
}

impl fmt::Display for FallbackProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads a page in pieces, and keeps none of it.
#[derive(Default)]
pub struct Exposition {
    /// The content type, if it names no format and nothing says how to read the page.
    untyped: Option<String>,
    samples: usize,
    lines: usize,
    line: Vec<u8>,
    quotes: Quotes,
    is_open_metrics: bool,
    has_ended: bool,
    fault: Option<String>,
}

/// What Prometheus would make of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The lines that are samples, or look like some where the page has a fault.
    pub samples: usize,
    /// Why Prometheus takes none of it.
    pub fault: Option<Fault>,
}

/// Why Prometheus refuses a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The content type is none of the formats; the text itself is well formed. Prometheus 3 needs
    /// `fallback_scrape_protocol` for such a page.
    ContentType(String),
    /// `line 3 is not a sample: <html>`
    Text(String),
}

/// Where the values of labels begin and end in a line. A value may have many ends of lines, so that nothing is read twice.
#[derive(Default)]
struct Quotes {
    has_labels: bool,
    is_quoted: bool,
    is_escaped: bool,
}

impl Quotes {
    fn read(&mut self, part: &[u8]) {
        for byte in part {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_quoted => self.is_escaped = true,
                b'"' if self.has_labels => self.is_quoted = !self.is_quoted,
                b'{' => self.has_labels = true,
                _ => {}
            }
        }
    }
}

impl Exposition {
    /// `fallback` counts only for a page whose content type names no format.
    pub fn new(content_type: Option<&str>, fallback: Option<FallbackProtocol>) -> Self {
        let is_open_metrics = match (media_type(content_type).as_str(), fallback) {
            ("application/openmetrics-text", _) => true,
            ("text/plain", _) => false,
            (_, Some(protocol)) => protocol.is_open_metrics(),
            (_, None) => {
                let shown = escaped(content_type.unwrap_or_default()).chars().take(SHOWN).collect();
                return Self { untyped: Some(shown), ..Self::default() };
            }
        };
        Self { is_open_metrics, ..Self::default() }
    }

    pub fn read(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = (LINE + 1).saturating_sub(self.line.len());
            let kept = &part[..part.len().min(room)];
            self.line.extend_from_slice(kept);
            self.quotes.read(kept);
            if part.ends_with(b"\n") && !self.is_in_a_value() {
                self.end_line();
            }
        }
    }

    /// Whether the end of the line is a part of a label's value: only the text format allows that.
    fn is_in_a_value(&self) -> bool {
        let is_sample = self.line.first().is_some_and(|first| first.is_ascii_alphabetic() || b"_:{".contains(first));
        if self.is_open_metrics || !is_sample || self.line.len() > LINE {
            return false;
        }
        self.quotes.is_quoted
    }

    /// The whole page.
    pub fn finish(mut self) -> Content {
        if !self.line.is_empty() {
            self.end_line();
        }
        if self.is_open_metrics && !self.has_ended && self.fault.is_none() {
            self.fault = Some("the page does not end with # EOF, so it is not complete".to_owned());
        }
        self.beginning()
    }

    /// What was read so far, of a page that goes on.
    pub fn beginning(self) -> Content {
        let fault = self.fault.map(Fault::Text).or(self.untyped.map(Fault::ContentType));
        Content { samples: self.samples, fault }
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        self.quotes = Quotes::default();
        self.lines += 1;
        let is_whole = line.len() <= LINE;
        if line.ends_with(b"\n") {
            line.pop();
        }
        let is_comment = line.starts_with(b"#");
        let judged = match std::str::from_utf8(&line) {
            _ if !is_whole => Ok(!is_comment),
            Ok(text) => self.judge(text),
            // The lexer of the text format looks at no byte of a comment.
            Err(_) if is_comment && !self.is_open_metrics && metadata(&String::from_utf8_lossy(&line)).is_none() => {
                Ok(false)
            }
            Err(_) => Err("is not UTF-8"),
        };
        match judged {
            Ok(is_sample) => self.samples += usize::from(is_sample),
            Err(why) => {
                self.samples += usize::from(!is_comment);
                let shown: String = escaped(&String::from_utf8_lossy(&line)).chars().take(SHOWN).collect();
                self.fault.get_or_insert_with(|| format!("line {} {why}: {shown}", self.lines));
            }
        }
        line.clear();
        self.line = line;
    }

    /// Whether a line is a sample.
    fn judge(&mut self, line: &str) -> Result<bool, &'static str> {
        if self.has_ended {
            return Err("stands after # EOF");
        }
        if self.is_open_metrics && line == "# EOF" {
            self.has_ended = true;
            return Ok(false);
        }
        let text = if self.is_open_metrics { line } else { line.trim_matches([' ', '\t']) };
        if text.is_empty() {
            return if self.is_open_metrics { Err("is empty") } else { Ok(false) };
        }
        if text.starts_with('#') {
            return match metadata(line) {
                Some(("TYPE", kind)) if !self.types().contains(&kind) => {
                    Err("has a type that the format does not have")
                }
                _ => Ok(false),
            };
        }
        let rest = if text.starts_with('{') { text } else { name(text, true).ok_or("is not a sample")? };
        let rest = rest.trim_start_matches([' ', '\t']);
        let rest = match rest.strip_prefix('{') {
            Some(labels) => after_labels(labels).ok_or("has labels that are not well formed")?,
            None => rest,
        };
        let (sample, exemplar) = match rest.split_once(" # ") {
            Some((sample, exemplar)) if self.is_open_metrics => (sample, Some(exemplar)),
            _ => (rest, None),
        };
        let mut fields = sample.split([' ', '\t']).filter(|field| !field.is_empty());
        if !fields.next().is_some_and(is_float) {
            return Err("has no value");
        }
        let is_millis = |time: &str| time.bytes().all(|byte| byte.is_ascii_digit()) && time.parse::<i64>().is_ok();
        let is_time = |time: &str| if self.is_open_metrics { is_float(time) } else { is_millis(time) };
        if !fields.next().is_none_or(is_time) || fields.next().is_some() {
            return Err("has more after its value than a timestamp");
        }
        match exemplar {
            Some(exemplar) if !exemplar.starts_with('{') => Err("has an exemplar that is not well formed"),
            _ => Ok(true),
        }
    }

    fn types(&self) -> &'static [&'static str] {
        if self.is_open_metrics {
            &["counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset", "unknown"]
        } else {
            &["counter", "gauge", "histogram", "summary", "untyped"]
        }
    }
}

/// `HELP` or `TYPE` of a line `# TYPE NAME TEXT`, and the text; none for any other comment.
fn metadata(line: &str) -> Option<(&str, &str)> {
    let blanks = [' ', '\t'];
    let after = line.trim_start_matches(blanks).strip_prefix('#')?;
    let (what, rest) = after.trim_start_matches(blanks).split_once(blanks).filter(|_| after.starts_with(blanks))?;
    let rest = rest.trim_start_matches(blanks);
    let text = if rest.starts_with('"') { after_quoted(rest)? } else { name(rest, true)? };
    let text = text.strip_prefix(blanks)?;
    matches!(what, "HELP" | "TYPE").then_some((what, text))
}

/// The media type without its parameters, in lower case.
fn media_type(content_type: Option<&str>) -> String {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What follows a name. The names of labels have no colons.
fn name(text: &str, is_metric: bool) -> Option<&str> {
    let may_start = |c: char| c.is_ascii_alphabetic() || c == '_' || is_metric && c == ':';
    let rest = text.strip_prefix(may_start)?;
    Some(rest.trim_start_matches(|c: char| may_start(c) || c.is_ascii_digit()))
}

/// What follows a quoted text.
fn after_quoted(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?;
    let mut is_escaped = false;
    for (index, c) in inner.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return inner.get(index + 1..),
            _ => {}
        }
    }
    None
}

/// What follows the labels, whose opening brace has been read. A quoted name without a value is the metric's own
/// (UTF-8 names, Prometheus 3).
fn after_labels(text: &str) -> Option<&str> {
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some(after);
        }
        let is_quoted = rest.starts_with('"');
        rest = if is_quoted { after_quoted(rest)? } else { name(rest, false)? }.trim_start();
        rest = match rest.strip_prefix('=') {
            // The parser of the text format needs no comma between two labels.
            Some(value) => {
                let after = after_quoted(value.trim_start())?.trim_start();
                after.strip_prefix(',').map_or(after, str::trim_start)
            }
            None if is_quoted && rest.starts_with('}') => rest,
            None if is_quoted => rest.strip_prefix(',')?.trim_start(),
            None => return None,
        };
    }
}

/// A number as Prometheus reads it: without hexadecimal digits and underscores (`textparse`, `parseFloat`).
fn is_float(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    fn read(mut exposition: Exposition, page: &[u8], size: usize) -> Content {
        page.chunks(size.max(1)).for_each(|piece| exposition.read(piece));
        exposition.finish()
    }

    fn content(content_type: Option<&str>, page: &str, size: usize) -> Content {
        read(Exposition::new(content_type, None), page.as_bytes(), size)
    }

    #[test]
    fn samples_are_counted_across_pieces() {
        let page = "# HELP x\nx 1\n\ny{a=\"#\"} 2\n \n#z\nlast 3";
        for size in 1..=page.len() {
            assert_eq!(content(Some("text/plain"), page, size), Content { samples: 3, fault: None }, "{size}");
        }
    }

    #[test]
    fn lines_that_prometheus_takes_are_samples() {
        for line in [
            "up 1",
            "up{} 1",
            "  up\t{ a = \"b\" , } 1 1700000000000",
            "a:b_c{le=\"+Inf\"} +Inf",
            "x{a=\"b}\\\"\\n\",c=\"\"} NaN",
            "x -1.5e-3 1",
            "x{a=\"1\" b=\"2\"} 1",
            "x{a=\"first\nsecond\",b=\"\\\"\"} 1",
            "{\"utf.8\",\"lä bel\"=\"v\"} 1",
            "x{a=\"é # }\"} .5",
        ] {
            assert_eq!(
                content(Some("text/plain; version=0.0.4"), line, 9),
                Content { samples: 1, fault: None },
                "{line}"
            );
        }
        let open = "# TYPE a counter\na_total 1 1700000000.5 # {trace_id=\"x\"} 1\n# EOF\n";
        assert_eq!(content(Some("application/openmetrics-text; version=1.0.0"), open, 5).fault, None);
    }

    #[test]
    fn pages_that_prometheus_refuses_have_a_fault() {
        for (content_type, page, says) in [
            ("text/plain", "<html>", "line 1 is not a sample: <html>"),
            ("text/plain", "x 1\n{\"items\": []}\n", "line 2 has labels that are not well formed"),
            ("text/plain", "x one", "line 1 has no value: x one"),
            ("text/plain", "x", "line 1 has no value"),
            ("text/plain", "x{a=b} 1", "labels"),
            ("text/plain", "x{a=\"b} 1", "labels"),
            ("text/plain", "x 1 2 3", "more after its value"),
            ("text/plain", "x 1 # {a=\"b\"} 1", "more after its value"),
            ("text/plain", "x 1 -1", "more after its value"),
            ("text/plain", "x{a=\"1\" \"b\" c=\"2\"} 1", "labels"),
            ("text/plain", "# TYPE x info\n", "line 1 has a type"),
            ("text/plain", "# TYPE x counter\r\n", "has a type"),
            ("application/openmetrics-text", "# TYPE x untyped\n", "has a type"),
            ("application/openmetrics-text", "x{a=\"b\nc\"} 1\n", "labels"),
            ("text/plain", "x 0x1p3", "no value"),
            ("text/plain", "x 1_0", "no value"),
            ("text/plain", "x 1\r\n", "no value"),
            ("text/plain", "x-y 1", "no value"),
            ("text/plain", "\u{1b}[2J", "line 1 is not a sample: \\u{1b}[2J"),
            ("application/openmetrics-text", "x 1\n", "does not end with # EOF"),
            ("application/openmetrics-text", "# EOF\nx 1\n", "stands after # EOF"),
        ] {
            match content(Some(content_type), page, 4).fault {
                Some(Fault::Text(fault)) => assert!(fault.contains(says), "{fault}"),
                other => panic!("{page}: {other:?}"),
            }
        }
    }

    #[test]
    fn page_of_another_type_is_told_from_a_broken_one() {
        for content_type in [None, Some(""), Some("text/html; charset=utf-8"), Some("application/json"), Some("binary")]
        {
            let fault = content(content_type, "x 1\n", 4).fault;
            assert!(matches!(fault, Some(Fault::ContentType(_))), "{content_type:?}: {fault:?}");
        }
        assert!(matches!(content(Some("text/html"), "<html>\n", 4).fault, Some(Fault::Text(_))));
        assert_eq!(content(Some("Text/Plain;version=0.0.4"), "x 1\n", 4).fault, None);
    }

    #[test]
    fn long_lines_are_counted_and_not_kept() {
        let mut page = format!("# HELP x {}\nx 1\n", "y".repeat(3 * LINE));
        assert_eq!(content(Some("text/plain"), &page, 1 << 16), Content { samples: 1, fault: None });
        page = page.replace("# HELP ", "");
        assert_eq!(content(Some("text/plain"), &page, 1 << 16), Content { samples: 2, fault: None });
        // Of a value with many lines each is read once.
        page = format!("x{{a=\"{}\"}} 1\n", "\n".repeat(LINE / 2));
        assert_eq!(content(Some("text/plain"), &page, 1 << 16), Content { samples: 1, fault: None });
    }

    #[test]
    fn fallback_reads_a_page_without_a_format() {
        let open = "a_total 1 # {trace_id=\"x\"} 1\n# EOF\n";
        for (content_type, page, protocol, takes) in [
            (None, open, FallbackProtocol::OpenMetrics1, true),
            (Some("text/html"), open, FallbackProtocol::OpenMetrics0, true),
            (Some("text/html"), "x 1\n", FallbackProtocol::OpenMetrics1, false),
            (Some("text/html"), "x 1\n", FallbackProtocol::Text0, true),
            (Some("text/html"), open, FallbackProtocol::Text1, false),
            (Some("text/plain"), open, FallbackProtocol::OpenMetrics1, false),
        ] {
            let content = read(Exposition::new(content_type, Some(protocol)), page.as_bytes(), 7);
            assert_eq!(content.fault.is_none(), takes, "{content_type:?} {protocol}: {content:?}");
        }
    }

    #[test]
    fn comments_may_have_any_byte_but_help_may_not() {
        let text = || Exposition::new(Some("text/plain"), None);
        assert_eq!(read(text(), b"# gr\xfc\xdfe\nx 1\n#\xfc\n", 3), Content { samples: 1, fault: None });
        for page in [&b"# HELP x gr\xfcn\n"[..], b"x{a=\"\xfc\"} 1\n", b"\xff\xfe\n"] {
            assert!(matches!(read(text(), page, 3).fault, Some(Fault::Text(_))), "{page:?}");
        }
    }

    #[test]
    fn hostile_pages_are_survived() {
        let text =
            "# HELP x y\n# TYPE x counter\nx{a=\"first\\\nsecond\",b=\"\\\"\"} 1.5e3 1700000000000\n{\"utf.8\"} NaN\n";
        let open = "# TYPE a counter\na_total{le=\"+Inf\"} 1 1.5 # {trace_id=\"x\"} 1\n# EOF\n";
        hostile::bytes(&[text.as_bytes(), open.as_bytes()], |page| {
            for content_type in ["text/plain", "application/openmetrics-text"] {
                let whole = read(Exposition::new(Some(content_type), None), page, page.len());
                assert_eq!(whole, read(Exposition::new(Some(content_type), None), page, 7));
            }
        });
    }
}
