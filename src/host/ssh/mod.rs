//! Another host, over ssh.

mod answer;
mod channel;
mod client;
pub(super) mod files;
pub(super) mod forward;
pub(super) mod http;
pub(super) mod open;
mod ownership;
mod processes;
mod programs;
pub(super) mod remote;
pub(super) mod session;
mod undo;
