//! Any text in what the plugin writes, as the programs that read it see it.

use prom_federate::{model::text::line::drives_a_terminal, yaml};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

trials! {
    hostile:
    full {
        prometheus_reads_any_text_as_it_is,
        kubectl_reads_any_text_as_it_is,
    }
}

/// What YAML 1.1 takes for something else, what has a meaning in YAML, PromQL or Go's templates, long text, and chance.
fn texts() -> Vec<String> {
    let plain = "on No y n ~ null = << 1_000 0x1_f 0o17 017 0b1 1e3 .5 -1 +1 12:30:45 2026-11-25 2026-11-25T09:12:00Z .inf .nan true &a *a !a \
                 | >- %a @a `a` ' \" \\ \\n [a] $x ${x} $$ %{x} --- ... \u{feff}a \u{202e}a \u{10ffff} \u{e000}on \0 \u{1b}[2J \u{7f}";
    let blank =
        ["- a", "? a", "a: b", "a #b", "{a: b}", "{{ .x }}", " a ", "\t", "\n", "a\n", "a\r\nb", "\u{85}", "\u{2028}"];
    let mut texts: Vec<String> = plain.split_ascii_whitespace().chain(blank).map(str::to_owned).collect();
    texts.push("'\"\\\n{}: #".repeat(64 << 7));
    let any = "([a-zA-Z0-9]|[-+.:_#&*!|>%@`'\"\\\\{}\\[\\],=~?<$ \t\n]|.){1,40}";
    let mut runner = TestRunner::new(Config::default());
    texts.extend((0..1000).map(|_| any.new_tree(&mut runner).expect("a text").current()));
    texts
}

fn folder(name: &str) -> PathBuf {
    let folder = testbed::run_dir().expect("a folder").join(format!("hostile-{name}"));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn output(program: &Path, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(folder).output().expect("it starts");
    let said = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The value of a label, as YAML that the plugin quotes. It must be that of a selector in PromQL, where each character is
/// written as its number.
fn prometheus_reads_any_text_as_it_is() {
    let folder = folder("promtool");
    let (mut rules, mut samples) = (String::new(), String::new());
    for (number, text) in texts().iter().enumerate() {
        rules += &format!(
            "  - {{record: text, expr: vector(1), labels: {{n: '{number}', text: {}}}}}\n",
            yaml::quoted(text)
        );
        let numbers: String = text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
        samples += &format!("      - {{labels: 'text{{n=\"{number}\", text=\"{numbers}\"}}', value: 1}}\n");
    }
    fs::write(folder.join("rules.yml"), format!("groups:\n- name: a\n  rules:\n{rules}")).expect("a file");
    let test = "rule_files: [rules.yml]\ntests:\n- interval: 1m\n  promql_expr_test:\n  - expr: text\n    eval_time: 1m\n    exp_samples:\n";
    fs::write(folder.join("test.yml"), format!("{test}{samples}")).expect("a file");
    output(&testbed::tools().promtool, &["test", "rules", "test.yml"], &folder);
    // So that it can fail.
    fs::write(folder.join("test.yml"), format!("{test}{}", samples.replacen("\\U0000006f", "\\U00000070", 1)))
        .expect("a file");
    let other =
        Command::new(&testbed::tools().promtool).args(["test", "rules", "test.yml"]).current_dir(&folder).output();
    assert!(!other.expect("it starts").status.success());
}

/// The names and the fields of a kubeconfig, as YAML that the plugin writes: in block style, and on one line where a text
/// drives a terminal.
fn kubectl_reads_any_text_as_it_is() {
    let folder = folder("kubectl");
    let is_plain = |text: &String| !text.contains(|c| c == '\u{e000}' || c != '\n' && drives_a_terminal(c));
    let (plain, others): (BTreeSet<String>, BTreeSet<String>) = texts().into_iter().partition(is_plain);
    for texts in [plain, others] {
        let context =
            |text: &String| json!({ "name": text, "context": { "cluster": text, "user": "", "namespace": text } });
        let contexts: Vec<Value> = texts.iter().map(context).collect();
        fs::write(folder.join("config"), yaml::write(&json!({ "contexts": contexts }))).expect("a file");
        let arguments = ["config", "view", "--kubeconfig=config", "--output=json"];
        let read: Value = serde_json::from_str(&output(&testbed::tools().kubectl, &arguments, &folder)).expect("JSON");
        let mut read: Vec<Value> = read["contexts"].as_array().expect("contexts").clone();
        read.sort_by_key(|entry| entry["name"].as_str().map(str::to_owned));
        assert_eq!(read, contexts);
    }
}
