//! The metrics file for `node_exporter`'s textfile collector.

use crate::{
    error::{Error, Reason, Result},
    host,
    render::metrics::{ClusterMetrics, textfile},
};
use std::path::Path;

/// Writes a temporary file and renames it, so that a reader never sees a partial file. The collector ignores files that do
/// not end in `.prom`. The file is world-readable, because it contains no secret.
///
/// # Errors
/// [`Reason::WriteFailed`].
pub async fn write(path: &Path, clusters: &[ClusterMetrics]) -> Result<()> {
    host::replace(path, 0o644, textfile(clusters)).await.map_err(|error| {
        Error::new(Reason::WriteFailed, format!("cannot write {}: {error}", path.display()))
            .hint("Name a file in an existing folder that you may write to: --metrics-file FILE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[tokio::test]
    async fn metrics_file_is_replaced_atomically_and_world_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prom-federate.prom");
        fs::write(&path, "what was there").unwrap();
        write(&path, &[]).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), textfile(&[]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn unwritable_metrics_file_is_named_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-folder");
        fs::create_dir_all(path.join("not-empty")).unwrap();
        let error = write(&path, &[]).await.unwrap_err();
        assert_eq!(error.reason, Reason::WriteFailed);
        assert!(error.to_string().contains("a-folder: ") && !error.hints.is_empty(), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
