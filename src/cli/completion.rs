//! `completion`.

use clap::{Args, ValueEnum};

#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct CompletionArgs {
    /// For `kubectl prom-federate` choose kubectl, which prints the program kubectl_complete-prom_federate
    pub shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
    Kubectl,
}
