//! One Kubernetes cluster: how it is found in a kubeconfig, reached, read and written. The only module that talks to
//! an API server.

mod address;
mod client;
mod credential_plugin;
mod credentials;
mod error;
mod kubeconfig;
mod objects;
mod scraper;

pub use address::{Reached, reach};
pub use client::{ApiCall, Cluster, Connection, connect};
pub use kubeconfig::{Choice, Impersonation, Selected, contexts, select};
pub use objects::{Applied, DryRun, Found};
pub use scraper::{Answer, Scraper};
