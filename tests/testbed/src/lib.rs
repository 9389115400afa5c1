//! Real Kubernetes clusters and Prometheus servers on one Linux machine, without containers.
//!
//! The servers are built once from pinned Go modules ([`Tools`]). A supervisor process owns every server that runs and
//! ends them all when its user ends, however that happens, so the first line of a user's `main` is
//! [`supervise_if_asked`]:
//!
//! ```no_run
//! fn main() -> anyhow::Result<()> {
//!     testbed::supervise_if_asked();
//!     let east = testbed::Cluster::start(&testbed::ClusterSpec::new("east"))?;
//!     println!("{}", east.kubectl_ok(&["get", "nodes"]));
//!     Ok(())
//! }
//! ```

mod api;
mod cargo;
mod cgroup;
mod cluster;
mod collector;
mod cut;
mod delay;
mod fault;
mod forward;
mod grafana;
mod http;
mod hub;
mod kube_state_metrics;
mod kubeconfig;
mod node_exporter;
mod pki;
mod ports;
mod process;
mod prometheus;
mod runtime;
mod service;
mod setup;
mod shared;
mod simulated;
mod sshd;
mod supervisor;
mod tools;
mod vmagent;
mod wait;

pub use api::Api;
pub use cargo::cargo;
pub use cgroup::Container;
pub use cluster::{Cluster, ClusterSpec, KubeletCertificates, Kubernetes};
pub use collector::{Collector, CollectorSpec};
pub use cut::{Cut, CutSsh, cut_ssh_if_asked};
pub use delay::{Delay, Silent};
pub use fault::{Action, FaultProxy, Front, REDIRECTED, Request, Rule, faults, share};
pub use forward::{ForwardProxy, Tunnel};
pub use grafana::grafana_check;
pub use http::Answer;
pub use hub::{ENDING, Hub, Operated, Operator, QUIET, UNWATCHED, hub, operator_kinds};
pub use kube_state_metrics::KubeStateMetrics;
pub use kubeconfig::{Kubeconfig, Trust, User};
pub use node_exporter::NodeExporter;
pub use pki::{Client, Validity};
pub use ports::{machine_address, refused_port};
pub use process::{run_dir, shutdown};
pub use prometheus::{Prometheus, PrometheusSpec, Release, Target, promtool_check};
pub use setup::{Missing, check};
pub use shared::{Shared, shared, special};
pub use simulated::{Http, Respond, Simulated};
pub use sshd::Sshd;
pub use supervisor::supervise_if_asked;
pub use tools::{Tools, tools};
pub use vmagent::{Scraper, Vmagent, VmagentSpec};
pub use wait::until;
