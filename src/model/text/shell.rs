//! Words of printed shell commands.

/// Quotes a word for a POSIX shell, if necessary. The crate shlex would also quote commas and equals signs, of which the
/// flags of printed commands are full.
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

/// The commands of the plugin that read a kubeconfig, and those of kubectl that are printed. Other words after `kubectl`
/// are prose.
const OURS: [&str; 5] = ["join", "leave", "rotate", "status", "check"];
const KUBECTL: [&str; 14] = [
    "--context",
    "-n",
    "annotate",
    "api-resources",
    "apply",
    "auth",
    "cluster-info",
    "config",
    "create",
    "delete",
    "describe",
    "get",
    "label",
    "patch",
];

/// The text with `--kubeconfig FILE` in each command that reads a kubeconfig, so that a pasted command means the same
/// clusters.
pub fn with_kubeconfig(text: &str, file: &str) -> String {
    if text.contains("--kubeconfig") {
        return text.to_owned();
    }
    let flag = format!(" --kubeconfig {}", word(file));
    let mut result = String::new();
    let mut rest = text;
    // Whether this is within a quoted argument of a command, whose words are none.
    let mut is_quoted = None;
    while let Some(at) = rest.find("kubectl ") {
        is_quoted = is_quoted.map(|quoted| quoted ^ (rest[..at].matches('\'').count() % 2 == 1));
        let (before, after) = rest.split_at(at + "kubectl ".len());
        let name = |text: &str| text.find(|c: char| !c.is_ascii_alphabetic() && c != '-').unwrap_or(text.len());
        let ours = after.strip_prefix("prom-federate ").map(|verb| &verb[..name(verb)]);
        let (command, end) = match ours {
            _ if is_quoted == Some(true) => ("kubectl ".to_owned(), 0),
            Some(verb) if OURS.contains(&verb) => {
                (format!("kubectl prom-federate {verb}{flag}"), "prom-federate ".len() + verb.len())
            }
            None if KUBECTL.contains(&&after[..name(after)]) => (format!("kubectl{flag} "), 0),
            _ => ("kubectl ".to_owned(), 0),
        };
        if command != "kubectl " {
            is_quoted.get_or_insert(false);
        }
        result += &before[..at];
        result += &command;
        rest = &after[end..];
    }
    result + rest
}

#[cfg(test)]
mod tests {
    use crate::{
        host::conformance::SHELLS,
        model::text::shell::{plugin, with_kubeconfig, word},
    };
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn commands_repeat_the_kubeconfig() {
        for (text, with) in [
            ("", ""),
            ("as kubectl does, or kubectl's own", "as kubectl does, or kubectl's own"),
            ("Check with: kubectl get --raw /version", "Check with: kubectl --kubeconfig 'a b' get --raw /version"),
            ("`kubectl prom-federate join`: now", "`kubectl prom-federate join --kubeconfig 'a b'`: now"),
            (
                "kubectl prom-federate leave --context x; kubectl --context x delete secret y",
                "kubectl prom-federate leave --kubeconfig 'a b' --context x; kubectl --kubeconfig 'a b' --context x delete secret y",
            ),
            (
                "kubectl prom-federate manifests, kubectl krew upgrade",
                "kubectl prom-federate manifests, kubectl krew upgrade",
            ),
            ("kubectl get nodes --kubeconfig k", "kubectl get nodes --kubeconfig k"),
            (
                "kubectl --context 'a kubectl get x' get y; kubectl get z",
                "kubectl --kubeconfig 'a b' --context 'a kubectl get x' get y; kubectl --kubeconfig 'a b' get z",
            ),
            ("kubectl ", "kubectl "),
        ] {
            assert_eq!(with_kubeconfig(text, "a b"), with, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_lost(text in "(kubectl |prom-federate |get |join|[a-z ö]{0,3}){0,8}") {
            prop_assert_eq!(with_kubeconfig(&text, "k").replace(" --kubeconfig k", ""), text);
        }
    }

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

    /// 64 KiB of what is quoted at most. A shell reads it from a file: an argument has at most 128 KiB.
    #[test]
    fn long_text_is_one_word_of_every_shell() {
        let texts: Vec<String> = ["'", "\n", "$(id)", "\\", "`id`", "{{.x}}", "\u{202e}", "\u{2028}"]
            .iter()
            .map(|part| part.repeat((64 << 10) / part.len()))
            .collect();
        let words: String = texts.iter().map(|text| format!(" {}", word(text))).collect();
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), format!("printf '%s\\0'{words}")).unwrap();
        for shell in SHELLS.iter() {
            let output = Command::new(shell[0]).args(&shell[1..]).arg(script.path()).output().expect("a shell");
            let read = String::from_utf8(output.stdout).expect("UTF-8");
            assert!(read.split_terminator('\0').eq(texts.iter()), "{shell:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// No shell runs anything of it.
        #[test]
        fn any_text_is_one_word_of_every_shell(
            texts in proptest::collection::vec("([^\0]|['\"$`\\\\;&|\n!*?~#(){}<>=]|\\$\\(id\\)|\\$\\{IFS\\}){0,60}", 1..40),
        ) {
            let words: String = texts.iter().map(|text| format!(" {}", word(text))).collect();
            for shell in SHELLS.iter() {
                let script = format!("printf '%s\\0'{words}");
                let output = Command::new(shell[0]).args(&shell[1..]).args(["-c", &script]).output().expect("a shell");
                let read = String::from_utf8(output.stdout).expect("UTF-8");
                prop_assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), texts.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
    }
}
