//! The file that `node_exporter`'s textfile collector reads.

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

/// Written beside it and renamed, so that nobody reads half of it; the collector takes no file that does not end in
/// `.prom`. Everybody may read it: no secret is in it.
///
/// # Errors
/// [`Reason::WriteFailed`].
pub fn write(path: &Path, clusters: &[ClusterMetrics]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = Path::new(&beside);
    let written = write_beside(beside, &textfile(clusters)).and_then(|()| fs::rename(beside, path));
    written.map_err(|error| {
        let _ = fs::remove_file(beside);
        Error::new(Reason::WriteFailed, format!("cannot write {}: {error}", path.display()))
            .hint("Name a file in a folder that is there and that you may write to: --metrics-file FILE")
    })
}

fn write_beside(path: &Path, text: &str) -> io::Result<()> {
    // What a killed run left, or somebody else's link: never written through.
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
    fn it_is_replaced_whole_and_everybody_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prom-federate.prom");
        fs::write(&path, "what was there").unwrap();
        write(&path, &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), textfile(&[]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_named_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-folder");
        fs::create_dir_all(path.join("not-empty")).unwrap();
        let error = write(&path, &[]).unwrap_err();
        assert_eq!(error.reason, Reason::WriteFailed);
        assert!(error.to_string().contains("a-folder: ") && !error.hints.is_empty(), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
