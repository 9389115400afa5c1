//! Text that a server or a program said, made fit for a terminal.

use std::borrow::Cow;

/// Whether a character could drive a terminal or hide from its reader: control characters, the end of a line among
/// them, those that change the direction of writing, and those without any glyph (Unicode's
/// `Default_Ignorable_Code_Point`, but for the variation selectors that emoji are written with).
pub fn drives_a_terminal(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}' | '\u{1160}'
                | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// One line, harmless for a terminal: what [`drives_a_terminal`] becomes visible.
pub fn escaped(text: &str) -> String {
    let one_line = text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c });
    one_line.fold(String::with_capacity(text.len()), visibly)
}

/// Lines, harmless for a terminal: they and their tabs stay, all else that [`drives_a_terminal`] becomes visible.
pub fn escaped_lines(text: &str) -> Cow<'_, str> {
    let drives = |c: char| !matches!(c, '\n' | '\t') && drives_a_terminal(c);
    if !text.contains(drives) {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive(['\n', '\t']).map(|piece| match piece.strip_suffix(['\n', '\t']) {
        Some(text) => text.chars().fold(String::new(), visibly) + &piece[text.len()..],
        None => piece.chars().fold(String::new(), visibly),
    });
    Cow::Owned(lines.collect())
}

fn visibly(mut text: String, c: char) -> String {
    if drives_a_terminal(c) {
        text.extend(c.escape_default());
    } else {
        text.push(c);
    }
    text
}

/// The first line that is not blank, [`escaped`].
pub fn first(text: &str) -> String {
    escaped(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default())
}

/// The last line that is not blank, [`escaped`].
pub fn last(text: &str) -> String {
    escaped(text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default())
}

/// At most as many characters, without those in the middle: paths and names of clouds often differ at the end.
pub fn shortened_within(text: &str, longest: usize) -> String {
    let count = text.chars().count();
    if count <= longest {
        return text.to_owned();
    }
    let Some(kept) = longest.checked_sub(1) else { return String::new() };
    let (begin, end) = (kept.div_ceil(2), kept / 2);
    text.chars().take(begin).chain(['…']).chain(text.chars().skip(count - end)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use proptest::prelude::*;

    #[test]
    fn first_and_last_line_cannot_control_a_terminal() {
        let text = "\n  \n first\u{1b}[2J\tone \r\n last one\u{7}\n\n";
        assert_eq!(first(text), "first\\u{1b}[2J one");
        assert_eq!(last(text), "last one\\u{7}");
        assert_eq!((first("").as_str(), last(" \n").as_str()), ("", ""));
    }

    #[test]
    fn text_is_shortened_in_the_middle() {
        for (longest, shown) in [(0, ""), (1, "…"), (2, "a…"), (3, "a…f"), (5, "ab…ef"), (6, "abcdef"), (9, "abcdef")]
        {
            assert_eq!(shortened_within("abcdef", longest), shown);
        }
        assert_eq!(shortened_within("äöüäöü", 4), "äö…ü");
    }

    #[test]
    fn hidden_characters_become_visible() {
        for (text, shown) in [
            ("a\u{1b}[2Jb\rc", "a\\u{1b}[2Jb\\rc"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("nimda\u{202e}", "nimda\\u{202e}"),
            ("pass\u{200b}word", "pass\\u{200b}word"),
            ("\u{e0041}\u{feff}", "\\u{e0041}\\u{feff}"),
            ("größer 東 ⚠\u{fe0f} \\ \"", "größer 東 ⚠\u{fe0f} \\ \""),
        ] {
            assert_eq!(escaped(text), shown);
            assert_eq!(escaped_lines(text), shown);
        }
        assert_eq!(escaped("a\nb\tc"), "a b c");
        assert_eq!(escaped_lines("a\nb\tc\u{202e}"), "a\nb\tc\\u{202e}");
    }

    proptest! {
        #[test]
        fn no_text_drives_a_terminal(text in any::<String>()) {
            prop_assert!(!escaped(&text).contains(drives_a_terminal));
            prop_assert!(!escaped_lines(&text).replace(['\n', '\t'], "").contains(drives_a_terminal));
        }
    }

    #[test]
    fn hostile_words_are_survived() {
        hostile::texts(&["error: a\tb\n  \u{1b}[31mc\u{202e}d\r\n", "cat: x: Permission denied\n"], |text| {
            for line in [first(text), last(text), escaped(text)] {
                assert!(!line.contains(drives_a_terminal), "{line}");
            }
            let _ = escaped_lines(text);
        });
    }
}
