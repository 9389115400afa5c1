//! What standard output is, before a secret goes there.

use crate::error::{Error, Reason, Result};

/// Checks standard output before anything is written to the cluster. A warning if other users may read the file that
/// it is.
///
/// # Errors
/// [`Reason::OutputClosed`] if it was closed when we were started: what we print would be lost.
pub(super) fn standard_output() -> Result<Option<String>> {
    use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat, major, minor};
    use std::io;

    let out = io::stdout();
    let Ok(stat) = fstat(&out) else {
        return Err(closed());
    };
    // Rust's runtime opens /dev/null for reading and writing in place of a standard stream that is closed; a shell's
    // `> /dev/null` is for writing only.
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
    let writes_only = fcntl_getfl(&out).is_ok_and(|flags| !flags.contains(OFlags::RDWR));
    if is_null && !writes_only {
        return Err(closed());
    }
    let others = stat.st_mode & 0o077;
    Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && others != 0).then(|| {
        format!("other users can read the file that gets the token (mode {:04o}); fix it: chmod 600; next time set umask 077 first", stat.st_mode & 0o7777)
    }))
}

fn closed() -> Error {
    Error::new(Reason::OutputClosed, "standard output is closed, so the token would be lost; nothing was written")
        .hint("Redirect it to a file that only you can read")
}
