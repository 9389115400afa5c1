//! What standard output is, before a secret goes there.

use crate::error::{Error, Reason, Result};
use std::io;

/// Checks standard output before anything is written to the cluster. Revokes other users' right to read the file that it
/// is, and returns a warning. A file that only its group can read stays, with a warning.
///
/// # Errors
/// [`Reason::OutputClosed`] if it was closed when we were started: what we print would be lost.
/// [`Reason::OutputReadable`] if other users keep the right to read the file.
pub(super) fn standard_output() -> Result<Option<String>> {
    use rustix::fs::{FileType, Mode, OFlags, fchmod, fcntl_getfl, fstat, major, minor};

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
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mode = format!("{:04o}", stat.st_mode & 0o7777);
    if stat.st_mode & 0o007 != 0 {
        return match fchmod(&out, Mode::RUSR | Mode::WUSR) {
            Ok(()) => Ok(Some(format!(
                "other users could read the file that gets the token (mode {mode}), so its mode is 0600 now; next time set umask 077 first"
            ))),
            Err(error) => Err(Error::new(
                Reason::OutputReadable,
                format!(
                    "other users can read the file that would get the token (mode {mode}): {error}; nothing was written"
                ),
            )
            .hint("Redirect standard output to a file of your own: umask 077")),
        };
    }
    let is_for_a_group = stat.st_mode & 0o070 != 0;
    Ok(is_for_a_group.then(|| format!("the group of the file that gets the token can read it (mode {mode})")))
}

fn closed() -> Error {
    Error::new(Reason::OutputClosed, "standard output is closed, so the token would be lost; nothing was written")
        .hint("Redirect it to a file that only you can read")
}

/// Standard output cannot be written, as on a full disk.
pub(super) fn lost(error: &io::Error) -> Error {
    Error::new(Reason::OutputClosed, format!("cannot write to standard output: {error}"))
        .hint("Run the command again and redirect standard output to a file: > FILE")
}
