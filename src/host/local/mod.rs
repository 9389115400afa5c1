//! This host.

mod beneath;
mod build_information;
pub(super) mod files;
pub(crate) mod folder;
pub(super) mod machine;
mod mounts;
pub(super) mod processes;
pub(crate) mod programs;
pub(super) mod traces;
