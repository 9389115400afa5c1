//! Events of a watch as lines of logfmt: `ts=2026-11-25T10:15:00Z level=info event=rotated cluster=east`.

use crate::model::text::line::drives_a_terminal;
use jiff::Timestamp;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

/// One line, without its end. Keys are constants; a value may be any text.
pub fn line(now: Timestamp, level: Level, event: &str, fields: &[(&str, String)]) -> String {
    let fields: String = fields.iter().map(|(key, value)| format!(" {key}={}", quoted(value))).collect();
    format!("ts={} level={level} event={event}{fields}", time(now))
}

/// A time to the second: `2026-11-25T10:15:00Z`.
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Quotes a value if necessary, as in Go, because most logfmt parsers are written in Go.
fn quoted(value: &str) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '=' | '"' | '\\') || drives_a_terminal(c);
    if !value.is_empty() && !value.contains(special) {
        return value.to_owned();
    }
    let inside: String = value
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            // All these characters are in the basic plane.
            c if drives_a_terminal(c) => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{inside}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(fields: &[(&str, String)]) -> String {
        line("2026-11-25T10:15:00.9Z".parse().unwrap(), Level::Info, "rotated", fields)
    }

    #[test]
    fn line_quotes_special_values() {
        insta::assert_snapshot!(
            shown(&[
                ("destination", "/etc/prometheus".into()),
                ("cluster", "east".into()),
                ("msg", "cannot \"open\" C:\\\n\u{1b}[2J\u{202e}東".into()),
                ("nothing", String::new()),
                ("expression", "a=b".into()),
            ]),
            @r#"ts=2026-11-25T10:15:00Z level=info event=rotated destination=/etc/prometheus cluster=east msg="cannot \"open\" C:\\\n\u001b[2J\u202e東" nothing="" expression="a=b""#
        );
    }

    proptest! {
        #[test]
        fn any_value_stays_one_line_and_one_value(value in any::<String>()) {
            let line = shown(&[("msg", value.clone())]);
            prop_assert!(!line.contains(drives_a_terminal) && !line.contains('\n'));
            let value = line.split_once(" msg=").unwrap().1;
            match value.strip_prefix('"') {
                None => prop_assert!(!value.contains([' ', '"', '='])),
                Some(inside) => {
                    // The first quote that is not escaped ends the line.
                    let mut escaped = false;
                    let end = inside.char_indices().find(|(_, c)| {
                        let ends = *c == '"' && !escaped;
                        escaped = *c == '\\' && !escaped;
                        ends
                    });
                    prop_assert_eq!(end.map(|(at, _)| at + 1), Some(inside.len()));
                }
            }
        }
    }
}
