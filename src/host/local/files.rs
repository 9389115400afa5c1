//! Executes file operations in the folder of a main configuration: here, or as a script on another host.

use crate::{
    error::{Error, Reason, Result},
    model::store::install::{Content, FileOwnership, Operation, Step},
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown},
    path::Path,
};

/// Executes the steps in order; what undoes each goes on `undo`, before it begins.
///
/// # Errors
/// [`Reason::WriteFailed`], naming the file.
pub(in crate::host) fn run(
    root: &Path,
    ownership: FileOwnership,
    steps: &[Step],
    undo: &mut Vec<Operation>,
) -> Result<()> {
    for step in steps {
        // An undo of something that was there before would take away what is not ours to take.
        let is_there = |path: &String| fs::symlink_metadata(root.join(path)).is_ok();
        let there_before = matches!(&step.operation, Operation::MakeFolder { path } if is_there(path));
        if let (Some(back), false) = (&step.undo, there_before) {
            undo.push(back.clone());
        }
        execute(root, ownership, &step.operation)?;
    }
    Ok(())
}

/// One operation; it is on the disk when this returns.
pub(in crate::host) fn execute(root: &Path, ownership: FileOwnership, operation: &Operation) -> Result<()> {
    Files { root, readers: ownership }.execute(operation)
}

/// The folder of a main configuration, and who may read what we put there.
struct Files<'a> {
    root: &'a Path,
    readers: FileOwnership,
}

impl Files<'_> {
    fn execute(&self, operation: &Operation) -> Result<()> {
        let (path, outcome) = match operation {
            Operation::MakeFolder { path } => (path, self.make_folder(path)),
            Operation::Write { path, content } => (path, self.write(path, content)),
            Operation::WriteLike { path, like, content } => (path, self.write_like(path, like, bytes(content))),
            Operation::Copy { from, to } => {
                (to, fs::read(self.root.join(from)).and_then(|content| self.write_like(to, from, &content)))
            }
            Operation::Rename { from, to } => (to, fs::rename(self.root.join(from), self.root.join(to))),
            Operation::Remove { path } => (path, gone_is_fine(fs::remove_file(self.root.join(path)))),
            Operation::RemoveFolder { path } => (path, gone_is_fine(fs::remove_dir_all(self.root.join(path)))),
            Operation::RemoveEmptyFolder { path } => (
                path,
                match fs::remove_dir(self.root.join(path)) {
                    Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
                    outcome => gone_is_fine(outcome),
                },
            ),
        };
        let path = self.root.join(path);
        outcome.and_then(|()| sync_folder_of(&path)).map_err(|error| write_failed(&path, &error))
    }

    fn make_folder(&self, path: &str) -> io::Result<()> {
        let path = self.root.join(path);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && fs::symlink_metadata(&path)?.is_dir() => {}
            outcome => outcome?,
        }
        let folder = fs::metadata(&path)?;
        let FileOwnership { owner, group } = self.readers;
        if owner.is_some_and(|uid| uid != folder.uid()) || group.is_some_and(|gid| gid != folder.gid()) {
            chown(&path, owner, group)?;
        }
        if folder.mode() & 0o7777 != self.readers.folder_mode() {
            fs::set_permissions(&path, Permissions::from_mode(self.readers.folder_mode()))?;
        }
        Ok(())
    }

    fn write(&self, path: &str, content: &Content) -> io::Result<()> {
        let file = self.fresh(path)?;
        let FileOwnership { owner, group } = self.readers;
        if owner.is_some() || group.is_some() {
            fchown(&file, owner, group)?;
        }
        finish(file, self.readers.file_mode(), bytes(content))
    }

    fn write_like(&self, path: &str, like: &str, content: &[u8]) -> io::Result<()> {
        let like = fs::metadata(self.root.join(like))?;
        let file = self.fresh(path)?;
        let fresh = file.metadata()?;
        if (fresh.uid(), fresh.gid()) != (like.uid(), like.gid()) {
            fchown(&file, Some(like.uid()), Some(like.gid()))?;
        }
        finish(file, like.mode() & 0o777, content)
    }

    /// An empty file that only we can read until it is given its readers.
    fn fresh(&self, path: &str) -> io::Result<File> {
        let path = self.root.join(path);
        gone_is_fine(fs::remove_file(&path))?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }
}

fn bytes(content: &Content) -> &[u8] {
    match content {
        Content::Plain(text) => text.as_bytes(),
        Content::Secret(secret) => secret.written().as_bytes(),
    }
}

fn finish(mut file: File, mode: u32, content: &[u8]) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

fn gone_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The name of a file is on the disk only when its folder is.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().map(File::open) {
        Some(Ok(folder)) => folder.sync_all(),
        Some(Err(error)) => gone_is_fine(Err(error)),
        None => Ok(()),
    }
}

pub(in crate::host) fn write_failed(path: &Path, error: &io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "Free space there and run the command again",
        ErrorKind::ReadOnlyFilesystem => "Mount it writable, or name another destination with -p",
        ErrorKind::PermissionDenied => {
            "Run the command as a user who may write there (sudo keeps KUBECONFIG with --preserve-env)"
        }
        _ => "Check the path with ls -la, and run the command again",
    };
    Error::new(Reason::WriteFailed, format!("cannot write {}: {error}", path.display())).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::store::install::{Files as Delivered, Install, Present, edit, make_folder, removal};

    fn tree(root: &Path) -> Vec<String> {
        fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let (path, metadata) = (entry.path(), entry.metadata().unwrap());
                let content = fs::read_to_string(&path).unwrap_or_default();
                let shown = path.strip_prefix(root).unwrap().display().to_string();
                found.push(format!("{shown} {:o} {content}", metadata.mode() & 0o7777).trim_end().to_owned());
                if metadata.is_dir() {
                    walk(&path, root, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(root, root, &mut found);
        found.sort();
        found
    }

    fn files(root: &Path) -> LocalFolder {
        LocalFolder(root.to_owned())
    }

    struct LocalFolder(std::path::PathBuf);

    impl LocalFolder {
        fn run(&self, steps: &[Step], undo: &mut Vec<Operation>) -> Result<()> {
            run(&self.0, FileOwnership::default(), steps, undo)
        }

        fn undo(&self, undo: &[Operation]) -> Vec<Error> {
            undo.iter().rev().filter_map(|one| execute(&self.0, FileOwnership::default(), one).err()).collect()
        }
    }

    fn install(number: u8, present: &Present) -> Install {
        let text = |what: &str| format!("{what} {number}");
        let delivered = Delivered {
            token: text("token").into(),
            ca: Some(text("ca")),
            kubelet_ca: Some(text("kubelet ca")),
            record: text("record"),
            fragment: text("fragment"),
            rules: Some(text("rules")),
        };
        let generation = format!("20261125t10150{number}z-x7k2").parse().unwrap();
        Install::new(&"east".parse().unwrap(), &generation, delivered, present)
    }

    #[test]
    fn delivery_is_readable_only_for_its_owner() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("prometheus.yml"), "global: {}").unwrap();
        fs::set_permissions(root.path().join("prometheus.yml"), Permissions::from_mode(0o644)).unwrap();
        let files = files(root.path());
        let mut undo = Vec::new();
        let main = edit("prometheus.yml", "edited");
        files.run(&[make_folder()], &mut undo).unwrap();
        files.run(&main.stage, &mut undo).unwrap();
        files.run(&main.commit, &mut undo).unwrap();
        let install = install(1, &Present::default());
        files.run(&install.stage, &mut undo).unwrap();
        files.run(&install.commit, &mut undo).unwrap();
        insta::assert_snapshot!(tree(root.path()).join("\n"), @"
        prom-federate 700
        prom-federate/east 700
        prom-federate/east.rules.yml 600 rules 1
        prom-federate/east.scrape.yml 600 fragment 1
        prom-federate/east/20261125t101501z-x7k2 700
        prom-federate/east/20261125t101501z-x7k2/ca.crt 600 ca 1
        prom-federate/east/20261125t101501z-x7k2/cluster.json 600 record 1
        prom-federate/east/20261125t101501z-x7k2/kubelet-ca.crt 600 kubelet ca 1
        prom-federate/east/20261125t101501z-x7k2/token 600 token 1
        prometheus.yml 644 edited
        prometheus.yml.before-prom-federate 644 global: {}
        ");
    }

    /// Whatever the step at which it ends, undo leaves what was there before, but for the backup.
    #[test]
    fn delivery_that_fails_at_any_step_is_undone() {
        let steps = |number, present: &Present| {
            let main = edit("prometheus.yml", &format!("edited {number}"));
            let install = install(number, present);
            [vec![make_folder()], main.stage, install.stage, main.commit, install.commit].concat()
        };
        for present in [Present::default(), Present { fragment: true, rules: true }] {
            let count = steps(2, &present).len();
            for end in 0..=count {
                let root = tempfile::tempdir().unwrap();
                fs::write(root.path().join("prometheus.yml"), "global: {}").unwrap();
                let files = files(root.path());
                if present.fragment {
                    files.run(&steps(1, &Present::default()), &mut Vec::new()).unwrap();
                }
                let but_the_backup = |mut tree: Vec<String>| {
                    tree.retain(|line| !line.starts_with("prometheus.yml.before-prom-federate"));
                    tree
                };
                let before = but_the_backup(tree(root.path()));
                let mut undo = Vec::new();
                files.run(&steps(2, &present)[..end], &mut undo).unwrap();
                assert_eq!(files.undo(&undo), []);
                let after = but_the_backup(tree(root.path()));
                assert_eq!(after, before, "taken back after {end} of {count} steps");
            }
        }
    }

    #[test]
    fn removal_that_fails_is_undone() {
        let present = Present { fragment: true, rules: true };
        let live = "20261125t101501z-x7k2".parse().unwrap();
        let steps = removal(&"east".parse().unwrap(), Some(&live), &present);
        for end in 0..=steps.len() {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("prometheus.yml"), "global: {}").unwrap();
            let files = files(root.path());
            let install = install(1, &Present::default());
            for steps in [&[make_folder()][..], &install.stage, &install.commit] {
                files.run(steps, &mut Vec::new()).unwrap();
            }
            let in_place = |tree: Vec<String>| -> Vec<String> {
                tree.into_iter().filter(|line| !line.contains("previous.")).collect()
            };
            let before = in_place(tree(root.path()));
            let mut undo = Vec::new();
            files.run(&steps[..end], &mut undo).unwrap();
            assert_eq!(files.undo(&undo), []);
            assert_eq!(in_place(tree(root.path())), before, "after {end} steps");
        }
    }

    #[test]
    fn shared_folder_is_readable_only_for_the_group_of_prometheus() {
        let readers = FileOwnership { owner: None, group: Some(7) };
        assert_eq!((readers.file_mode(), readers.folder_mode()), (0o640, 0o750));
    }

    #[test]
    fn unwritable_file_is_named_with_a_hint() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("prom-federate"), "a file where the folder goes").unwrap();
        let error = files(root.path()).run(&[make_folder()], &mut Vec::new()).unwrap_err();
        assert_eq!(error.reason, Reason::WriteFailed);
        assert!(
            error.to_string().starts_with("cannot write ") && error.to_string().contains("prom-federate: "),
            "{error}"
        );
    }
}
