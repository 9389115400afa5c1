//! This host.

mod beneath;
pub(super) mod files;
pub(crate) mod folder;
pub(super) mod machine;
pub(super) mod processes;
pub(crate) mod programs;
pub(super) mod traces;
