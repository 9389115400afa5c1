//! `kubectl prom-federate`: least-privilege access to a Kubernetes cluster for a Prometheus outside of it.
//!
//! Data goes one way:
//!
//! ```text
//!  cli ──► commands ──► stages: observe ─► plan ─► confirm ─► apply ─► issue ─► prove ─► print
//!                                  │         │                  │        │        │        │
//!                               cluster    model             cluster  cluster  cluster  render, ui
//! ```
//!
//! `model` and `render` are pure: no I/O, no clock. `cluster` talks to one Kubernetes cluster, `destination`
//! to the Prometheus that scrapes it, `ui` is the only printer, `stages` are shared by the commands, and each file of
//! `commands` reads like the sentence that describes it.

// `ui` prints, by a stream that it may lose.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

pub mod cli;
pub mod clock;
pub mod cluster;
pub mod commands;
pub mod completion;
pub mod destination;
pub mod error;
pub mod host;
#[cfg(test)]
mod hostile;
pub mod kubeconfig;
pub mod model;
pub mod render;
pub mod stages;
pub mod ui;
pub mod yaml;
