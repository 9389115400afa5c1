//! Programs of this host that may be run.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A program in `PATH`. Relative folders are skipped, because they depend on the working folder.
pub(crate) fn on_path(program: &str, path: &OsStr) -> Option<PathBuf> {
    let folders = env::split_paths(path).filter(|folder| folder.is_absolute());
    folders
        .map(|folder| folder.join(program))
        .find(|file| fs::metadata(file).is_ok_and(|metadata| is_program(&metadata)))
}

fn is_program(metadata: &fs::Metadata) -> bool {
    metadata.is_file() && metadata.mode() & 0o111 != 0
}

/// Whether we may run a program that we have not been told to: the user of a Prometheus that we run beside as root must
/// not choose what root runs.
pub(crate) fn is_trusted(program: &Path) -> bool {
    let Ok(program) = fs::canonicalize(program) else { return false };
    fs::metadata(&program).is_ok_and(|metadata| is_program(&metadata)) && is_protected(&program)
}

/// Whether only root and the user of this process may replace a file or folder, by its canonical path.
pub(super) fn is_protected(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    path.ancestors().all(|path| writer_of(path).is_some_and(|uid| uid == 0 || uid == own))
}

/// The only user beside root who may write a file, or put another file into a folder in place of one that is there; none
/// where others may. In a folder like /tmp all users may make files, and no user may replace files of others.
pub(super) fn writer_of(path: &Path) -> Option<u32> {
    let metadata = fs::metadata(path).ok()?;
    let is_sticky = metadata.is_dir() && metadata.uid() == 0 && metadata.mode() & 0o1000 != 0;
    (metadata.mode() & 0o022 == 0 || is_sticky).then_some(metadata.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promtool_from_outside_the_path_must_be_protected() {
        use std::os::unix::fs::PermissionsExt;
        let folder = env::temp_dir().join(format!("prom-federate-promtool-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let file = folder.join("promtool");
        fs::write(&file, "").expect("a file");
        let verdict = |mode: u32, of_folder: u32| {
            let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
            set(&file, mode);
            set(&folder, of_folder);
            is_trusted(&file)
        };
        let path = |mode: u32| {
            verdict(mode, 0o755);
            on_path(
                "promtool",
                &env::join_paths(["relative".as_ref(), Path::new("/nowhere"), &folder]).expect("a PATH"),
            )
        };
        assert_eq!((path(0o755), path(0o644)), (Some(file.clone()), None));
        let verdicts = [verdict(0o755, 0o755), verdict(0o644, 0o755), verdict(0o775, 0o755), verdict(0o755, 0o777)];
        fs::remove_dir_all(&folder).expect("the folder goes");
        assert_eq!(verdicts, [true, false, false, false]);
        assert!(!is_trusted(&file), "it is gone");
    }
}
