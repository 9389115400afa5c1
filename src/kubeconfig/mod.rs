//! Kubeconfigs as in kubectl: files, entries, credentials, credential plugins, proxy. The rules are client-go's.

pub mod entries;
mod files;
pub mod plugin;
pub mod proxy;
mod run_plugin;
mod user;

pub use files::{Choice, Impersonation, Needs, Selected, contexts, needs, select};
pub use run_plugin::{credential, forget};
pub use user::{ClientCertificate, certificate_authority, credentials};
