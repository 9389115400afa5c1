//! The picture of the README: what `status` shows on a terminal, drawn from the clusters of the demo.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::{Shell, step};

/// As a user types it.
const TYPED: &str = "kubectl prom-federate status";
const COLUMNS: u16 = 90;

/// Writes an SVG file.
pub(crate) fn draw(shell: &Shell, destination: &str, file: &Path) -> Result<()> {
    step(TYPED);
    // util-linux' script runs it on a terminal of its own, whose width is not ours. Its live lines, on standard error, end
    // before the view.
    let output = shell
        .command("script")
        .args(["-qec", &format!("stty cols {COLUMNS}; exec {TYPED} 2> /dev/null"), "/dev/null"])
        .env("PROM_FEDERATE_PROMETHEUS", destination)
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .output()
        .context("run script")?;
    let shown = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    ensure!(output.status.success(), "{TYPED}: {}: {shown}", output.status);
    print!("{shown}");
    let picture = anstyle_svg::Term::new().render_svg(&format!("$ {TYPED}\n{shown}"));
    fs::write(file, picture).with_context(|| format!("write {}", file.display()))
}
