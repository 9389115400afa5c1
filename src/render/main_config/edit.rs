//! Edits of YAML as text: lines are only inserted, and a null is replaced by a list. Places are found by lines, not by a
//! parser, so that the caller parses the result.

use crate::yaml;
use std::ops::Range;

/// A pattern as an item of a list, unquoted if that is safe.
pub(super) fn scalar(pattern: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./*-".contains(c);
    // A text with a slash is not a number, date or boolean in any YAML.
    if pattern.contains('/') && !pattern.starts_with(['*', '-']) && pattern.chars().all(plain) {
        pattern.to_owned()
    } else {
        yaml::quoted(pattern)
    }
}

/// The new text, and the bytes of the old text that it replaces: none for an insertion.
pub(super) type Edit = (Range<usize>, String);

pub(super) fn insertion(at: usize, new: impl Into<String>) -> Edit {
    (at..at, new.into())
}

/// `edits` are in the order of their places.
pub(super) fn edited(text: &str, edits: Vec<Edit>) -> String {
    let mut result = String::new();
    let mut done = 0;
    for (at, new) in edits {
        result += &text[done..at.start];
        result += &new;
        done = at.end;
    }
    result + &text[done..]
}

/// How YAML writes that there is no value.
pub(super) const NULLS: [&str; 4] = ["~", "null", "Null", "NULL"];

/// The place for `item` in the list under the top-level `key`. The error completes a sentence that begins with the key.
pub(super) fn edits(text: &str, key: &str, item: &str) -> Result<Vec<Edit>, &'static str> {
    edits_in(text, &lines(text), key, item)
}

/// The same in a mapping with these lines.
pub(super) fn edits_in(text: &str, lines: &[Line], key: &str, item: &str) -> Result<Vec<Edit>, &'static str> {
    let mut keys = lines.iter().enumerate().filter_map(|(index, line)| Some((index, value_of(line.content, key)?)));
    let Some((index, value)) = keys.next() else {
        return Ok(vec![appended(text, lines, key, item)]);
    };
    if keys.next().is_some() {
        return Err("occurs twice");
    }
    let body = lines[index + 1..].iter().take_while(|line| line.is_void() || line.is_indented() || line.is_item());
    // Comments without indentation belong to the next key.
    let body: Vec<_> = body.filter(|line| !line.is_void() || line.is_indented()).collect();
    let first = body.iter().find(|line| !line.is_void());
    let value_at = if is_void(value) {
        first.map(|line| line.start + line.indentation().len())
    } else {
        Some(lines[index].start + lines[index].content.len() - value.len())
    };
    let last = *body.last().unwrap_or(&&lines[index]);
    match value_at.map(|at| (at, &text[at..])) {
        // The list has only comments: the new item gets their indentation.
        None => {
            let indentation = if last.is_indented() { last.indentation() } else { "  " };
            Ok(vec![last.followed_by(text, &format!("{indentation}- {item}"))])
        }
        Some((at, value)) if NULLS.contains(&first_word(value)) => {
            Ok(vec![(at..at + first_word(value).len(), format!("[{item}]"))])
        }
        Some((at, value)) if value.starts_with('[') => into_flow(text, at, item).ok_or("has no end"),
        Some((_, value)) if value.starts_with(['&', '*', '!']) => Err("has an anchor, an alias or a tag"),
        Some(_) => match first {
            Some(first) if first.is_item() => Ok(vec![last.followed_by(text, &format!("{}{item}", first.dash()))]),
            _ => Err("is not written as a list"),
        },
    }
}

pub(super) fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// Whether the document is a flow mapping.
pub(super) fn is_in_braces(text: &str) -> bool {
    lines(text)
        .iter()
        .find(|line| !line.is_void() && !line.is_of_document())
        .is_some_and(|line| line.content.starts_with('{'))
}

/// The key with its list, at the end of the document.
fn appended(text: &str, lines: &[Line], key: &str, item: &str) -> Edit {
    let end = lines.iter().find(|line| line.content == "..." || line.content.starts_with("... "));
    let at = end.map_or(text.len(), |line| line.start);
    let eol = line_ending(text);
    let before = if text[..at].is_empty() || text[..at].ends_with(['\n', '\u{feff}']) { "" } else { eol };
    let margin = margin(text);
    insertion(at, format!("{before}{margin}{key}:{eol}{margin}- {item}{eol}"))
}

/// `item` after the last item of the flow list at `open`. None if the list has no end.
fn into_flow(text: &str, open: usize, item: &str) -> Option<Vec<Edit>> {
    let Flow { last, end, comma, close } = Flow::scan(text, open)?;
    let Some(last) = last else {
        return Some(vec![insertion(open + 1, item)]);
    };
    let line_start = text[..last].rfind('\n').map_or(0, |at| at + 1);
    let indentation = &text[line_start..last];
    let line_end = text[end..close].find('\n').map(|at| end + at);
    match line_end {
        // One line for each item.
        Some(line_end) if indentation.trim().is_empty() => {
            let crlf = text[end..line_end].ends_with('\r');
            let (at, eol) = if crlf { (line_end - 1, "\r\n") } else { (line_end, "\n") };
            Some(if comma {
                vec![insertion(at, format!("{eol}{indentation}{item},"))]
            } else {
                vec![insertion(end, ","), insertion(at, format!("{eol}{indentation}{item}"))]
            })
        }
        _ if comma => Some(vec![insertion(end, format!(" {item}"))]),
        _ => Some(vec![insertion(end, format!(", {item}"))]),
    }
}

/// The places in a flow list, as bytes of the text.
struct Flow {
    /// The beginning of the last item, if there is one.
    last: Option<usize>,
    /// The end of the last item, or of the comma that follows it.
    end: usize,
    /// Whether a comma follows the last item.
    comma: bool,
    /// The closing bracket.
    close: usize,
}

impl Flow {
    /// None if the list at `open` has no end. Bytes suffice, because all syntax is ASCII.
    fn scan(text: &str, open: usize) -> Option<Self> {
        let bytes = text.as_bytes();
        let mut flow = Self { last: None, end: open + 1, comma: true, close: open };
        let mut depth = 0;
        // A quote or a comment can begin here, but not within a plain scalar.
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

pub(super) struct Line<'a> {
    /// The indentation of the whole document.
    pub(super) margin: &'a str,
    /// The byte of the text at which the content begins.
    pub(super) start: usize,
    /// The content without the margin and the line's ending.
    pub(super) content: &'a str,
    /// `\n`, `\r\n`, or nothing in the last line.
    pub(super) ending: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn indentation(&self) -> &'a str {
        &self.content[..self.content.len() - self.content.trim_start_matches([' ', '\t']).len()]
    }

    pub(super) fn is_indented(&self) -> bool {
        !self.indentation().is_empty() && !self.content.trim().is_empty()
    }

    pub(super) fn is_void(&self) -> bool {
        is_void(self.content)
    }

    /// Whether it begins the document or says how to read it.
    fn is_of_document(&self) -> bool {
        self.content == "---" || self.content.starts_with("--- ") || self.content.starts_with('%')
    }

    fn is_item(&self) -> bool {
        let content = self.content.trim();
        content == "-" || content.starts_with("- ")
    }

    /// The text before the value of an item, or where the value would be in this line.
    fn dash(&self) -> String {
        let indentation = self.indentation();
        let behind = self.content[indentation.len()..].trim_start_matches('-');
        let space = &behind[..behind.len() - behind.trim_start_matches(' ').len()];
        format!("{indentation}-{}", if space.is_empty() { " " } else { space })
    }

    /// `content` as the line below this one.
    pub(super) fn followed_by(&self, text: &str, content: &str) -> Edit {
        let at = self.start + self.content.len() + self.ending.len();
        let margin = self.margin;
        match self.ending {
            "" => {
                let eol = line_ending(text);
                insertion(at, format!("{eol}{margin}{content}{eol}"))
            }
            eol => insertion(at, format!("{margin}{content}{eol}")),
        }
    }
}

/// The lines of a text. The first line does not include a byte order mark.
pub(super) fn lines(text: &str) -> Vec<Line<'_>> {
    let margin = margin(text);
    raw_lines(text)
        .map(|line| match line.content.strip_prefix(margin) {
            Some(content) => Line { margin, start: line.start + margin.len(), content, ..line },
            // A comment, or the beginning of the document.
            None => Line { margin, ..line },
        })
        .collect()
}

/// The same without a margin.
fn raw_lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    text[start..].split_inclusive('\n').map(move |line| {
        let content = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        let begins = start;
        start += line.len();
        Line { margin: "", start: begins, content, ending: &line[content.len()..] }
    })
}

/// The indentation of the document: that of its first key.
fn margin(text: &str) -> &str {
    let first = raw_lines(text).find(|line| !line.is_void() && !line.is_of_document());
    first.map(|line| line.indentation()).unwrap_or_default()
}

/// The line ending of a text: that of its first line.
pub(super) fn line_ending(text: &str) -> &'static str {
    match text.split_inclusive('\n').next() {
        Some(line) if line.ends_with("\r\n") => "\r\n",
        _ => "\n",
    }
}

/// Whether the text has only space and a comment.
pub(super) fn is_void(content: &str) -> bool {
    let content = content.trim();
    content.is_empty() || content.starts_with('#')
}

/// The text after `key:` in a line that begins with it.
pub(super) fn value_of<'a>(content: &'a str, key: &str) -> Option<&'a str> {
    let quote = ["\"", "'", ""].into_iter().find(|quote| content.starts_with(quote))?;
    let rest = content.strip_prefix(quote)?.strip_prefix(key)?.strip_prefix(quote)?;
    let value = rest.trim_start_matches(' ').strip_prefix(':')?;
    (value.is_empty() || value.starts_with([' ', '\t'])).then(|| value.trim_start_matches([' ', '\t']))
}
