//! The shells' completion scripts in `completions/`, which are in the binary too, fit the command line.
//!
//! `UPDATE=1 cargo test --test completions` writes them anew.

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use prom_federate::cli::Cli;
use std::{env, fs, path::Path, process::Command};

/// What kubectl looks for, and what people type when they call the plugin directly.
const BINARY: &str = "kubectl-prom_federate";

fn assert_fresh(shell: Shell, file: &str) {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), BINARY, &mut script);
    // clap_complete takes the dash in the name for the end of a command here and not there, so that no subcommand's
    // flags would be offered in bash.
    let script = String::from_utf8(script)
        .expect("completion scripts are UTF-8")
        .replace("kubectl__subcmd__prom_federate", "kubectl__prom_federate");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions").join(file);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &script).expect("completions/ can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == script, "completions/{file} is not fresh: UPDATE=1 cargo test --test completions");
}

#[test]
fn bash() {
    assert_fresh(Shell::Bash, "kubectl-prom_federate.bash");
}

#[test]
fn zsh() {
    assert_fresh(Shell::Zsh, "_kubectl-prom_federate");
}

#[test]
fn fish() {
    assert_fresh(Shell::Fish, "kubectl-prom_federate.fish");
}

/// What bash offers when the last of these words is to be completed.
fn offered_by_bash(words: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("completions/kubectl-prom_federate.bash");
    let program = r#"
        script=$1; shift; . "$script"
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _kubectl__prom_federate "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[@]}""#;
    let output = Command::new("bash").args(["-c", program, "bash"]).arg(script).arg(BINARY).args(words).output();
    let output = output.expect("bash is there (apt-get install bash)");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

#[test]
fn bash_offers_commands_flags_and_values() {
    for (words, offered) in [
        (&["lea"][..], "leave"),
        (&["join", "--out"], "--output"),
        (&["join", "--fence", ""], "required off"),
        (&["completion", "f"], "fish"),
        (&["rotate", "--reload", ""], "auto http signal none command:"),
    ] {
        assert_eq!(offered_by_bash(words), offered, "{words:?}");
    }
}

/// What kubectl gets when the last of these words is to be completed.
fn offered_to_kubectl(words: &[&str], variable: &str, value: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-prom_federate"));
    let output = command.arg("__complete").args(words).env(variable, value).output();
    String::from_utf8(output.expect("the plugin starts").stdout).expect("UTF-8")
}

/// A value that goes on gets no space.
#[test]
fn words_of_flags_are_offered() {
    let folder = tempfile::tempdir().expect("a folder");
    let kubeconfig = folder.path().join("config");
    fs::write(&kubeconfig, r#"{"contexts": [{"name": "east"}, {"name": "west"}, {"name": "eu"}]}"#).expect("a file");
    for (words, offered) in [
        (&["join", "--reload", ""][..], "auto\nhttp\nsignal\nnone\ncommand:\n:4\n"),
        (&["rotate", "--reload=co"], "command:\n:6\n"),
        (&["leave", "--reload", "command:systemctl"], ":4\n"),
        (&["check", "--context", "e"], "east\neu\n:4\n"),
        (&["check", "--context", "^e"], "^east\n^eu\n:4\n"),
        (&["check", "--context=east", "--context=^"], "^east\n^eu\n^west\n:4\n"),
        (&["join", "--cluster-name-template", "{c"], "{context}\n{cluster}\n:4\n"),
        (&["join", "--cluster-name-template=eu-{user}.{n"], "eu-{user}.{namespace}\n:4\n"),
    ] {
        let kubeconfig = kubeconfig.to_str().expect("UTF-8");
        assert_eq!(offered_to_kubectl(words, "KUBECONFIG", kubeconfig), offered, "{words:?}");
    }
}

#[test]
fn clusters_of_a_destination_are_offered() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("prom-federate")).expect("a folder");
    for name in ["west.scrape.yml", "east.scrape.yml", "east.rules.yml", "eastern.scrape.yml.new"] {
        fs::write(folder.path().join("prom-federate").join(name), "").expect("a file");
    }
    let file = folder.path().join("prometheus.yml");
    fs::write(&file, "").expect("a file");
    let (folder, file) = (folder.path().to_str().expect("UTF-8"), file.to_str().expect("UTF-8"));
    let offered = |words: &[&str], usual: &str| offered_to_kubectl(words, "PROM_FEDERATE_PROMETHEUS", usual);
    let same = format!("--prometheus={folder}");
    for words in [&["status", "-p", folder, "ea"][..], &["leave", "--prometheus", file, "ea"], &["rotate", &same, "ea"]]
    {
        assert_eq!(offered(words, ""), "east\n:4\n", "{words:?}");
    }
    assert_eq!(offered(&["check", "we"], folder), "west\n:4\n");
    assert_eq!(offered(&["status", "-p", "ssh://host/etc/prometheus", "ea"], ""), ":4\n");
}
