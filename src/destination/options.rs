//! What the command line says about destinations.

use crate::{
    cluster::Log,
    model::store::{
        location::{FileOwner, Format},
        reload::ReloadMode,
    },
};
use std::{path::PathBuf, time::Duration};

/// What the command line says about a destination beside its name.
#[derive(Clone, Default)]
pub struct Options {
    /// Of Prometheus' API; discovered unless given.
    pub url: Option<String>,
    /// The client configuration file for Prometheus' API. It is read when a destination is opened, because a watch runs for
    /// months.
    pub http_config: Option<PathBuf>,
    pub reload: ReloadMode,
    pub owner: Option<FileOwner>,
    pub format: Option<Format>,
    pub timeout: Option<Duration>,
    /// Nothing is written: an API that does not answer is no reason to stop.
    pub read_only: bool,
    pub hub: HubOptions,
}

/// How the cluster of an operator is reached, beside the context in its address.
#[derive(Clone, Default)]
pub struct HubOptions {
    pub kubeconfig: Option<PathBuf>,
    pub log: Option<Log>,
}
