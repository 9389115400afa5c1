//! Kubeconfigs as in kubectl: files, entries, credentials, credential plugins, proxy. The rules are client-go's.

pub mod entries;
mod files;
mod identity;
pub mod plugin;
mod pod;
pub mod proxy;
mod run_plugin;
mod selected;
pub mod source;
mod user;

pub use files::{Choice, Impersonation, Needs, ReadKubeconfig, needs, select, select_silent};
pub use identity::{Identity, identity};
pub use run_plugin::{credential, forget};
pub use selected::Selected;
pub use user::{certificate_authority, credentials};
