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
    ] {
        assert_eq!(offered_by_bash(words), offered, "{words:?}");
    }
}
