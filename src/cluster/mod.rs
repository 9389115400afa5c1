//! One Kubernetes cluster: how it is reached, read and written. The only module that talks to an API server.

mod address;
mod client;
mod error;
mod objects;
mod scraper;

pub use address::{Reached, reach};
pub use client::{ApiCall, Cluster, Connection, Log, connect};
pub use objects::{Applied, DryRun, Found};
pub use scraper::{Answer, Scraper};
