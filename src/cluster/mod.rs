//! One Kubernetes cluster: how it is reached, read and written. The only module that talks to an API server.

mod address;
mod client;
mod connections;
mod error;
mod http;
mod list;
mod neighbours;
pub mod network;
mod objects;
mod reviews;
mod scraper;
pub mod tls;
mod unverified;

pub use address::{Reached, reach};
pub use client::{Cluster, Connection, connect};
pub use error::{is_about_admission, is_about_unknown_field, is_outdated, is_refusal, tls_words};
pub use http::{Answer, ApiCall, Extent, Log, MetricsPage};
pub use list::{List, count};
pub use objects::{Applied, DryRun, Found};
pub use scraper::Scraper;
