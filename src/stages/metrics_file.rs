//! The metrics file for `node_exporter`'s textfile collector.

use crate::{
    error::{Error, Reason, Result},
    render::metrics::{ClusterMetrics, textfile},
};
use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Writes a temporary file and renames it, so that a reader never sees a partial file. The collector ignores files that do
/// not end in `.prom`. The file is world-readable, because it contains no secret.
///
/// # Errors
/// [`Reason::WriteFailed`].
pub fn write(path: &Path, clusters: &[ClusterMetrics]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = Path::new(&temporary);
    let written = write_temporary(temporary, &textfile(clusters)).and_then(|()| fs::rename(temporary, path));
    written.map_err(|error| {
        let _ = fs::remove_file(temporary);
        Error::new(Reason::WriteFailed, format!("cannot write {}: {error}", path.display()))
            .hint("Name a file in an existing folder that you may write to: --metrics-file FILE")
    })
}

fn write_temporary(path: &Path, text: &str) -> io::Result<()> {
    // A leftover of a killed run, or a link of another user, which must not be followed.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create_new(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_file_is_replaced_atomically_and_world_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prom-federate.prom");
        fs::write(&path, "what was there").unwrap();
        write(&path, &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), textfile(&[]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn unwritable_metrics_file_is_named_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-folder");
        fs::create_dir_all(path.join("not-empty")).unwrap();
        let error = write(&path, &[]).unwrap_err();
        assert_eq!(error.reason, Reason::WriteFailed);
        assert!(error.to_string().contains("a-folder: ") && !error.hints.is_empty(), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
