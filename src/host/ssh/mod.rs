//! Another host, over ssh.

pub(super) mod remote;
pub(super) mod session;
