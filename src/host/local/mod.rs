//! This host.

pub(super) mod files;
pub(super) mod processes;
pub(crate) mod programs;
pub(super) mod traces;
