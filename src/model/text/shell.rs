//! Words of printed shell commands.

/// Quotes a word for a POSIX shell, if necessary.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A command of the plugin, ready to paste.
pub fn plugin<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    let mut command = "kubectl prom-federate".to_owned();
    for text in words {
        command.push(' ');
        command += &word(text.as_ref());
    }
    command
}

#[cfg(test)]
mod tests {
    use crate::model::text::shell::{plugin, word};

    #[test]
    fn word_is_quoted_only_if_necessary() {
        for (text, quoted) in [
            ("east", "east"),
            ("arn:aws:eks:eu:1:cluster/x", "arn:aws:eks:eu:1:cluster/x"),
            ("a b", "'a b'"),
            ("$(rm -rf)", "'$(rm -rf)'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(word(text), quoted);
        }
        assert_eq!(plugin(["leave", "east", "-p", "a b"]), "kubectl prom-federate leave east -p 'a b'");
    }
}
