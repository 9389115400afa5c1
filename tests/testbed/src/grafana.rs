//! Grafana's own types, without Grafana.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::Result;

use crate::tools;

/// Whether Grafana's types know every field of the dashboards in these files; what they do not know is in the error
/// output.
pub fn grafana_check(files: &[&Path]) -> Result<Output> {
    Ok(Command::new(tools::grafana_check()?).args(files).output()?)
}
