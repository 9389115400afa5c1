//! The answers of a shell on another host: items, each behind a line that begins with the session's mark.

use crate::model::text::line;

/// The length of the longest last line, `done 255`, behind the mark.
const LAST: usize = 16;

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The first word of its line: `file`.
    pub kind: String,
    /// The rest of its line: the path of the file.
    pub of: String,
    pub body: Vec<u8>,
}

impl Item {
    /// The body as text, with U+FFFD for bytes that are not UTF-8.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The error of a program, on one line, without the program's name and the file.
    pub(super) fn complaint(&self) -> String {
        let last = line::last(&self.text());
        // `cat: prom-federate/east: Permission denied`
        last.rsplit(": ").next().unwrap_or_default().to_owned()
    }
}

/// The answer to one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub items: Vec<Item>,
    pub succeeded: bool,
}

impl Answer {
    pub(super) fn first(&self, kind: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.kind == kind)
    }

    pub(super) fn has(&self, kind: &str) -> bool {
        self.first(kind).is_some()
    }
}

/// The items of a complete answer; none before it is complete. Text before the first item is a login shell's banner.
pub(super) fn answer(received: &[u8], mark: &str) -> Option<Answer> {
    let start = format!("\n{mark} ");
    let start = start.as_bytes();
    // An answer ends with this line, because the shell prints nothing until the next request.
    let tail = received.len().saturating_sub(start.len() + LAST);
    let last = tail + received[tail..].windows(start.len()).rposition(|window| window == start)?;
    let end = std::str::from_utf8(&received[last + start.len()..]).ok()?.strip_prefix("done ")?.strip_suffix('\n')?;
    let mut items = Vec::new();
    let mut rest = &received[find(received, start)? + start.len()..];
    loop {
        let next = find(rest, start);
        let item = &rest[..next.unwrap_or(rest.len())];
        let Some(next) = next else { break };
        let line_end = find(item, b"\n").unwrap_or(item.len());
        let head = String::from_utf8_lossy(&item[..line_end]).into_owned();
        let (kind, of) = head.split_once(' ').unwrap_or((&head, ""));
        let body = item.get(line_end + 1..).unwrap_or_default().to_vec();
        items.push(Item { kind: kind.to_owned(), of: of.to_owned(), body });
        rest = &rest[next + start.len()..];
    }
    Some(Answer { items, succeeded: end == "0" })
}

/// The last item of a shell that has read the end of its standard input. Its body names the files that the shell could
/// not restore.
pub(super) fn last_words(received: &[u8], mark: &str) -> Option<Item> {
    let ended = [received, format!("\n{mark} done 0\n").as_bytes()].concat();
    answer(&ended, mark)?.items.pop().filter(|item| item.kind == "undone")
}

fn find(text: &[u8], word: &[u8]) -> Option<usize> {
    text.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use proptest::prelude::*;

    #[test]
    fn answer_ends_at_its_last_line_and_skips_banners() {
        let received = b"Welcome!\nfile x\n\nM file a b\none\n\ntwo\n\nM there\n\nM done 0\n";
        let item = |kind: &str, of: &str, body: &str| Item { kind: kind.into(), of: of.into(), body: body.into() };
        let items = vec![item("file", "a b", "one\n\ntwo\n"), item("there", "", "")];
        assert_eq!(answer(received, "M"), Some(Answer { items, succeeded: true }));
        for cut in 0..received.len() {
            assert_eq!(answer(&received[..cut], "M"), None, "{cut}");
        }
        assert_eq!(answer(b"\nM done 1\n", "M"), Some(Answer { items: Vec::new(), succeeded: false }));
        assert_eq!(answer(b"mark=M'' done 0\n", "M"), None);
    }

    #[test]
    fn last_words_are_those_of_a_shell_that_has_ended() {
        let said = |received: &[u8]| last_words(received, "M").map(|item| item.text());
        assert_eq!(said(b"\nM undone\n"), Some(String::new()));
        assert_eq!(said(b"\nM file x\nhalf\nM done 0\n\nM undone\na: no\n"), Some("a: no\n".to_owned()));
        for received in [&b""[..], b"\nM done 0\n", b"\nM undone\n\nM done 0\n", b"undone"] {
            assert_eq!(said(received), None);
        }
    }

    proptest! {
        #[test]
        fn every_body_is_read_back(noise in ".{0,20}", body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mark = "0123456789abcdef";
            let received = [noise.as_bytes(), b"\n0123456789abcdef file x\n", &body, b"\n0123456789abcdef done 0\n"].concat();
            prop_assert_eq!(&answer(&received, mark).expect("it is whole").items[0].body, &body);
        }
    }

    #[test]
    fn hostile_answers_are_survived() {
        hostile::bytes(&[b"Welcome!\n\nM file a b\none\n\nM unreadable x\ncat: x: no\n\nM done 0\n"], |received| {
            for item in
                answer(received, "M").into_iter().flat_map(|answer| answer.items).chain(last_words(received, "M"))
            {
                let _ = (item.text(), item.complaint());
            }
        });
    }
}
