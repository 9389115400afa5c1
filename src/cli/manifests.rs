//! `manifests`.

use super::shared::WhatArgs;
use clap::Args;

/// Print the objects that join would apply, for GitOps or review. Contacts no cluster.
///
/// The objects lack the plugin's ownership label: join uses applied objects unchanged, and leave keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct ManifestsArgs {
    #[command(flatten)]
    pub what: WhatArgs,
}
