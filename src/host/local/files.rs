//! Executes file operations in the folder of a main configuration of this host.

use super::beneath::Folder;
use crate::{
    error::{Error, Reason},
    model::store::install::{FileOwnership, Operation},
};
use std::{
    io::{self, ErrorKind},
    path::Path,
};

/// One operation; it is on the disk when this returns.
///
/// # Errors
/// With the path that it is about.
pub(super) fn execute(folder: &Folder, readers: FileOwnership, operation: &Operation) -> io::Result<()> {
    let FileOwnership { owner, group, .. } = readers;
    match operation {
        Operation::MakeFolder { path } => {
            folder.make_folder(path, readers.folder_owner(), group, readers.folder_mode())
        }
        Operation::Write { path, content } => {
            folder.write(path, owner, group, readers.file_mode(), content.written().as_bytes())
        }
        Operation::WriteLike { path, like, content } => folder.write_like(path, like, content.written().as_bytes()),
        Operation::Copy { from, to } => folder.copy(from, to),
        Operation::Link { from, to } => folder.link(from, to),
        Operation::Overwrite { path, from } => folder.overwrite(path, from),
        Operation::Rename { from, to } => folder.rename(from, to),
        Operation::Point { link, to } => folder.point(link, to),
        Operation::Remove { path } => folder.remove(path),
        Operation::RemoveCopy { path, of } => folder.remove_copy(path, of),
        Operation::RemoveFolder { path } => folder.remove_folder(path),
        Operation::RemoveEmptyFolder { path } => folder.remove_empty_folder(path),
    }
    .and_then(|()| folder.sync_folder_of(changed(operation)))
}

/// The path that an operation changes.
pub(super) fn changed(operation: &Operation) -> &str {
    match operation {
        Operation::Rename { to, .. } | Operation::Copy { to, .. } | Operation::Link { to, .. } => to,
        Operation::Point { link, .. } => link,
        Operation::MakeFolder { path }
        | Operation::Write { path, .. }
        | Operation::WriteLike { path, .. }
        | Operation::Overwrite { path, .. }
        | Operation::Remove { path }
        | Operation::RemoveCopy { path, .. }
        | Operation::RemoveFolder { path }
        | Operation::RemoveEmptyFolder { path } => path,
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
    use crate::{
        error::Result,
        host::{
            LocalFolder,
            main_file::{MainFile, ReadMain},
        },
        model::store::install::{
            Edit, Files as Delivered, Install, LeftOfEdit, Present, Step, edit, make_folder, removal,
        },
    };
    use std::{
        fs::{self, Permissions},
        os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    };

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

    fn files(root: &Path) -> Files {
        Files(root.into())
    }

    struct Files(LocalFolder);

    impl Files {
        fn run(&self, steps: &[Step], undo: &mut Vec<Operation>) -> Result<()> {
            wait_for(self.0.run(FileOwnership::default(), steps, |back| undo.push(back)))
        }

        fn undo(&self, undo: &[Operation]) -> Vec<Error> {
            let execute = |one| wait_for(self.0.execute(FileOwnership::default(), one)).err();
            undo.iter().rev().filter_map(execute).collect()
        }
    }

    fn wait_for<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    fn install(number: u8, present: &Present) -> Install {
        let text = |what: &str| format!("{what} {number}");
        let delivered = Delivered {
            token: text("token").into(),
            ca: Some(text("ca")),
            kubelet_ca: Some(text("kubelet ca")),
            record: text("record"),
            fragment: Some(text("fragment")),
            through_current: false,
            rules: Some(text("rules")),
            rotated: None,
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
        let main = edit("prometheus.yml", "edited", &Edit::Replace);
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

    /// Whatever the step at which it ends, undo leaves what was there before, the very main configuration among it.
    #[test]
    fn delivery_that_fails_at_any_step_is_undone() {
        for how in [Edit::Replace, Edit::InPlace("it has other hard links".into())] {
            let steps = |number, present: &Present| {
                let main = edit("prometheus.yml", &format!("edited {number}"), &how);
                let install = install(number, present);
                [vec![make_folder()], main.stage, install.stage, main.commit, install.commit].concat()
            };
            for present in [Present::default(), Present { fragment: true, rules: true, current: None }] {
                let count = steps(2, &present).len();
                for end in 0..=count {
                    let root = tempfile::tempdir().unwrap();
                    let main = root.path().join("prometheus.yml");
                    fs::write(&main, "global: {}").unwrap();
                    let files = files(root.path());
                    if present.fragment {
                        files.run(&steps(1, &Present::default()), &mut Vec::new()).unwrap();
                        // What an earlier run left of its edit is replaced.
                        fs::remove_file(root.path().join("prometheus.yml.before-prom-federate")).unwrap();
                    }
                    let state = || (tree(root.path()), fs::metadata(&main).unwrap().ino());
                    let before = state();
                    let mut undo = Vec::new();
                    files.run(&steps(2, &present)[..end], &mut undo).unwrap();
                    assert_eq!(files.undo(&undo), []);
                    assert_eq!(state(), before, "taken back after {end} of {count} steps, {how:?}");
                }
            }
        }
    }

    /// What hangs on a main configuration is seen, and an edit in place leaves all of it.
    #[test]
    fn everything_on_a_file_outlasts_an_edit_in_place() {
        let root = tempfile::tempdir().unwrap();
        let main = root.path().join("prometheus.yml");
        fs::write(&main, "global: {}").unwrap();
        let files = files(root.path());
        let read = || wait_for(files.0.read_main("prometheus.yml")).unwrap();
        assert_eq!(read(), ReadMain { text: "global: {}".into(), ..ReadMain::default() });
        // The second name that this program makes is no other.
        fs::hard_link(&main, root.path().join("prometheus.yml.before-prom-federate")).unwrap();
        assert_eq!(read().file, MainFile::default());
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{XattrFlags, removexattr, setxattr};
            // Not every file system has attributes.
            if setxattr(&main, "user.note", b"mine", XattrFlags::empty()).is_ok() {
                assert_eq!(read().file, MainFile { has_attributes: true, ..MainFile::default() });
                removexattr(&main, "user.note").unwrap();
            }
        }
        fs::hard_link(&main, root.path().join("other.yml")).unwrap();
        assert_eq!(read().file, MainFile { has_other_names: true, ..MainFile::default() });
        let Install { stage, commit } = edit("prometheus.yml", "edited", &Edit::InPlace(String::new()));
        let mut undo = Vec::new();
        files.run(&stage, &mut undo).unwrap();
        files.run(&commit, &mut undo).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("other.yml")).unwrap(), "edited");
        assert_eq!(fs::read_to_string(root.path().join("prometheus.yml.before-prom-federate")).unwrap(), "global: {}");
        assert_eq!(files.undo(&undo), []);
        assert_eq!(fs::read_to_string(root.path().join("other.yml")).unwrap(), "global: {}");
        // A kill between two pages.
        fs::write(&main, "edibal: {}").unwrap();
        fs::write(root.path().join("prometheus.yml.prom-federate.new"), "edited").unwrap();
        fs::write(root.path().join("prometheus.yml.before-prom-federate"), "global: {}").unwrap();
        let torn = read();
        assert_eq!((torn.text.as_str(), torn.left), ("global: {}", LeftOfEdit::Torn));
        files.run(&torn.left.mend("prometheus.yml"), &mut undo).unwrap();
        assert_eq!(fs::read_to_string(&main).unwrap(), "global: {}");
        assert_eq!(read().left, LeftOfEdit::Nothing);
        fs::remove_file(&main).unwrap();
        symlink("other.yml", &main).unwrap();
        let link = read();
        assert_eq!(link.file, MainFile { link: Some("other.yml".into()), ..MainFile::default() });
        assert_eq!(link.text, "global: {}");
    }

    /// A user who may rename in the folder could put a file of another user there.
    #[test]
    fn root_writes_in_place_only_into_a_file_of_the_folders_owner() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let main = root.path().join("prometheus.yml");
        fs::write(&main, "global: {}").unwrap();
        fs::write(root.path().join("new"), "edited").unwrap();
        let files = files(root.path());
        let overwrite = Operation::Overwrite { path: "prometheus.yml".into(), from: "new".into() };
        for (of_folder, of_file, works) in [(0, 7, true), (7, 7, true), (7, 0, false), (7, 8, false)] {
            chown(root.path(), Some(of_folder), None).unwrap();
            chown(&main, Some(of_file), None).unwrap();
            fs::write(&main, "global: {}").unwrap();
            let read = wait_for(files.0.read_main("prometheus.yml")).unwrap();
            assert_eq!(read.file.may_be_swapped, !works, "{of_folder} {of_file}");
            let outcome = wait_for(files.0.execute(FileOwnership::default(), &overwrite));
            assert_eq!(outcome.is_ok(), works, "{outcome:?}");
            assert_eq!(fs::read_to_string(&main).unwrap(), if works { "edited" } else { "global: {}" });
        }
    }

    #[test]
    fn removal_that_fails_is_undone() {
        let present = Present { fragment: true, rules: true, current: None };
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
        let readers = FileOwnership { group: Some(7), ..FileOwnership::default() };
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
