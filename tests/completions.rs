//! The shells' completion scripts in `completions/`, which are in the binary too, fit the command line.
//!
//! `UPDATE=1 cargo test --test completions` writes them anew.

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use prom_federate::cli::Cli;
use std::{env, fs, path::Path};

/// What kubectl looks for, and what people type when they call the plugin directly.
const BINARY: &str = "kubectl-prom_federate";

fn assert_fresh(shell: Shell, file: &str) {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), BINARY, &mut script);
    let script = String::from_utf8(script).expect("completion scripts are UTF-8");

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
