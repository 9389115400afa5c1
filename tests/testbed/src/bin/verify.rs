//! `cargo verify`: everything is tested, on a machine that may have nothing yet but Rust, Go, git and a C compiler.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::{Context, Error, Result};
use testbed::{Missing, Tools, cargo};

const USAGE: &str = "\
Install what the tests need, build the servers that they start, and run all tests as root.

Usage: cargo verify [ARGUMENTS OF cargo test]

  cargo verify                     everything
  cargo verify -- smoke            the quick trials on real clusters
  cargo verify --test e2e -- ssh   one command's or one destination's
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--help" || first == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match verify(&arguments) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes Cargo, so that its end and the signals it gets are those of this program.
fn verify(arguments: &[OsString]) -> Result<std::convert::Infallible> {
    Missing::here().set_up()?;
    // Before the tests, whose clocks run, and not as root.
    Tools::build_all()?;
    let mut cargo = cargo();
    cargo.args(["test", "--locked"]);
    if !rustix::process::geteuid().is_root() {
        // Some tests make files and processes of other users, and mounts. Cargo stays who it is, and starts what it has
        // built as root.
        cargo.arg("--config").arg(runner()?);
    }
    Err(Error::new(cargo.args(arguments).exec()).context("start cargo test"))
}

/// Cargo's setting, in TOML.
fn runner() -> Result<String> {
    let mut words = ["sudo", "--preserve-env", "env"].map(str::to_owned).to_vec();
    // Of those sudo has its own.
    for name in ["HOME", "PATH"] {
        words.push(format!("{name}={}", env::var(name).with_context(|| format!("read {name}"))?));
    }
    // A string of JSON is one of TOML.
    Ok(format!("target.'cfg(unix)'.runner = {}", serde_json::to_string(&words)?))
}
