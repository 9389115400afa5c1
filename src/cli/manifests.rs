//! `manifests`.

use super::shared::WhatArgs;
use clap::Args;

/// Print the objects that join would apply, for GitOps or review. Talks to no cluster.
///
/// They lack our ownership label: join uses what was applied from here as it is, and leave spares it.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ManifestsArgs {
    #[command(flatten)]
    pub what: WhatArgs,
}
