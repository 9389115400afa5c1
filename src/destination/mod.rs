//! Where jobs go. What looks at and speaks to the Prometheus (or vmagent) that reads them there.

#[cfg(unix)]
mod holder;
mod prometheus_api;
#[cfg(unix)]
pub mod promtool;
#[cfg(unix)]
mod reload;

#[cfg(unix)]
pub use holder::{Consumer, Holder, holders};
pub use prometheus_api::{ConfigState, Health, HttpReload, PrometheusApi, Sample, Target};
#[cfg(unix)]
pub use reload::{Reloaded, reload};
