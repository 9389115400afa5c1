//! `completion`: the scripts in `completions/`, which a test keeps fresh, are in the binary too.

use crate::{cli::Shell, error::Result, ui::Ui};

pub(super) fn run(shell: Shell, ui: Ui) -> Result<()> {
    ui.print(match shell {
        Shell::Bash => include_str!("../../completions/kubectl-prom_federate.bash"),
        Shell::Zsh => include_str!("../../completions/_kubectl-prom_federate"),
        Shell::Fish => include_str!("../../completions/kubectl-prom_federate.fish"),
        Shell::Kubectl => include_str!("../../completions/kubectl_complete-prom_federate"),
    })
}
