//! Mounts that files lie in.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
};

/// The number of the mount that an open file or folder was reached by, in whichever namespace; none where the system does
/// not tell, see `proc_pid_fdinfo(5)`.
pub(super) fn mount_of(file: impl AsFd) -> Option<u64> {
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd())).ok()?;
    facts.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
}
