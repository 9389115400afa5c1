//! Text that a server or a program said, made fit for a line of ours.

/// Whether a character could drive a terminal: control characters, the end of a line among them, and those that change
/// the direction of writing.
pub fn drives_a_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Harmless for a terminal: control characters become visible.
pub fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' '.to_string(),
            c if c.is_control() => c.escape_default().to_string(),
            c => c.to_string(),
        })
        .collect()
}

/// The first line that says something, [`escaped`].
pub fn first(text: &str) -> String {
    escaped(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default())
}

/// The last line that says something, [`escaped`].
pub fn last(text: &str) -> String {
    escaped(text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_taken_and_cannot_drive_a_terminal() {
        let text = "\n  \n first\u{1b}[2J\tone \r\n last one\u{7}\n\n";
        assert_eq!(first(text), "first\\u{1b}[2J one");
        assert_eq!(last(text), "last one\\u{7}");
        assert_eq!((first("").as_str(), last(" \n").as_str()), ("", ""));
    }
}
