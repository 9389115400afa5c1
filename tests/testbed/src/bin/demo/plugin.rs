//! The plugin under demonstration, built from this checkout.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// kubectl looks for this name when it is asked for `prom-federate`.
const PROGRAM: &str = "kubectl-prom_federate";

/// Build it and say where it is. Cargo knows, wherever the target folder may be.
/// Without `--package`, dependencies have the features of the whole workspace, as in the build of this demo, and are not
/// built twice.
pub(crate) fn build() -> Result<PathBuf> {
    let output = testbed::cargo()
        .args(["build", "--locked", "--bin", PROGRAM])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo build")?;
    ensure!(output.status.success(), "the plugin does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == PROGRAM)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo build names no {PROGRAM}"))
}
