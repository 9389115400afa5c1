//! Root works in a folder that another user has prepared, or changes meanwhile: nothing outside is touched, nothing waits,
//! and no other user gets the token.

use super::{MAIN, NOBODY, Scene, as_nobody, assert_same, but_what_stays, folder_of_nobody, tree};
use crate::{
    needs,
    plugin::{Account, Run, command},
};
use rustix::{
    fs::{CWD, FileType, Gid, Mode, RenameFlags, Uid, XattrFlags, mknodat, renameat_with, setxattr},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use testbed::PrometheusSpec;

trials! {
    push_foreign:
    smoke {
        irregular_files_are_named_and_not_read,
    }
    full {
        renames_of_another_user_lead_root_nowhere,
        folder_of_another_user_is_refused,
        default_access_list_gives_the_token_to_no_other_user,
        linked_main_configuration_is_not_replaced,
        user_joins_in_an_own_folder,
    }
}

/// A user without any right in the folders of these tests.
pub(crate) const STRANGER: u32 = 61002;
/// For a command that reads what is there.
const SOON: Duration = Duration::from_secs(60);

pub(crate) fn mkfifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).expect("a pipe");
}

/// A folder that only root may enter, with a file, beside the one of a test.
pub(crate) struct RootOnly {
    path: PathBuf,
    before: (u32, std::collections::BTreeMap<String, String>),
}

impl RootOnly {
    pub(crate) fn beside(folder: &Path) -> Self {
        let path = folder.join("root-only");
        fs::create_dir(&path).expect("a folder");
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("a mode");
        fs::write(path.join("admin.conf"), "top secret").expect("a file");
        let mut root_only = Self { path, before: Default::default() };
        root_only.before = root_only.now();
        root_only
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn now(&self) -> (u32, std::collections::BTreeMap<String, String>) {
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(&self.path).expect("a folder");
        let mut tree = tree(&self.path);
        tree.insert("owner".to_owned(), format!("{}:{}", metadata.uid(), metadata.gid()));
        (metadata.permissions().mode(), tree)
    }

    pub(crate) fn is_untouched(&self, about: &str) {
        assert_eq!(self.now(), self.before, "{about}");
    }
}

/// The plugin ends within a time, whatever it does.
fn ends(mut command: Command) -> Run {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the plugin starts");
    let ended = testbed::until(SOON, || child.try_wait().expect("a child"));
    if ended.is_none() {
        let _ = child.kill();
    }
    let output = child.wait_with_output().expect("its output");
    assert!(ended.is_some(), "it hangs: {}", String::from_utf8_lossy(&output.stderr));
    output.into()
}

/// Exchanges the two of each pair again and again, as another user.
fn renames_as_nobody<T>(pairs: &[(PathBuf, PathBuf)], work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let renamer = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            // Of this thread alone.
            set_thread_groups(&[]).expect("root may");
            set_thread_res_gid(gid, gid, gid).expect("root may");
            set_thread_res_uid(uid, uid, uid).expect("root may");
            let mut renamed = 0_u64;
            while !over.load(Ordering::Relaxed) {
                for (one, other) in pairs {
                    renamed += u64::from(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok());
                }
            }
            renamed
        });
        let outcome = work();
        over.store(true, Ordering::Relaxed);
        let times = renamer.join().expect("it ends");
        assert!(times > 1000, "only {times} times");
        outcome
    })
}

fn renames_of_another_user_lead_root_nowhere() {
    needs::root();
    let folder = folder_of_nobody();
    let spec = PrometheusSpec::new(MAIN).wrapper(&as_nobody()).in_folder(folder.path().join("prometheus"));
    let scene = Scene::with("renamer", &spec);
    scene.join(&["--owner=65534"]);
    // As after `chown -R`: the user may rename at every level.
    let ours = scene.dir().join("prom-federate");
    for path in [ours.clone(), ours.join("east"), ours.join("east").join(&scene.generations("east")[0])] {
        chown(path, Some(NOBODY), None).expect("root may");
    }
    let root_only = RootOnly::beside(folder.path());
    let pairs = ["a", "b"].map(|name| {
        let link = scene.dir().join(name);
        symlink(root_only.path(), &link).expect("a link");
        std::os::unix::fs::lchown(&link, Some(NOBODY), None).expect("root may");
        link
    });
    let [a, b] = pairs;
    let pairs = [(ours.join("east"), a), (ours.clone(), b)];
    let runs: Vec<Run> = renames_as_nobody(&pairs, || (0..6).map(|_| scene.try_join(&["--owner=65534"])).collect());
    for run in &runs {
        root_only.is_untouched(&run.stderr);
        assert!(matches!(run.code, Some(0 | 1)) && !run.stderr.contains("panicked"), "{}", run.stderr);
    }
    // Put in order, everything goes on; what root writes there is the user's.
    for (one, other) in pairs.iter().rev() {
        if fs::symlink_metadata(one).is_ok_and(|metadata| metadata.is_symlink()) {
            renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("root may");
        }
    }
    scene.join(&["--owner=65534"]);
    scene.all_up(4);
    let generation = ours.join("east").join(&scene.generations("east")[0]);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(generation.join("token")).expect("a file"));
    assert_eq!(owner, NOBODY);
    root_only.is_untouched("after all");
}

/// Puts something in the place of a file or folder.
type Plant<'a> = &'a dyn Fn(&Path);

fn irregular_files_are_named_and_not_read() {
    needs::root();
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("prometheus");
    fs::create_dir(&dir).expect("a folder");
    fs::write(dir.join("prometheus.yml"), MAIN).expect("a file");
    let root_only = RootOnly::beside(folder.path());
    let ours = dir.join("prom-federate");
    let account = Account::new(&testbed::shared().east, "push-no-file");
    let typed = dir.to_str().expect("UTF-8");
    let run = |words: &[&str]| {
        let mut all = words.to_vec();
        all.extend(["-p", typed]);
        ends(command(account.cluster.kubeconfig(), &all))
    };
    let join = || run(&["join", "--owner=0", "--yes", "--namespace", &account.namespace]);
    let sparse = |path: &Path| fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a file");
    let plants: [(&str, Plant<'_>, &str, &str); 9] = [
        (
            ".lock",
            &|path| symlink(root_only.path().join("nologin"), path).expect("a link"),
            "WriteFailed",
            "symbolic link",
        ),
        (".lock", &mkfifo, "WriteFailed", "named pipe"),
        ("zzz.scrape.yml", &mkfifo, "DestinationUnusable", "named pipe"),
        ("zzz.scrape.yml", &|path| drop(UnixListener::bind(path).expect("a socket")), "DestinationUnusable", "socket"),
        ("zzz.scrape.yml", &sparse, "DestinationUnusable", "larger than 1 MiB"),
        ("zzz.scrape.yml", &|path| fs::create_dir(path).expect("a folder"), "DestinationUnusable", "a folder"),
        ("east", &|path| symlink(root_only.path(), path).expect("a link"), "DestinationUnusable", "symbolic link"),
        ("", &|path| symlink(root_only.path(), path).expect("a link"), "DestinationUnusable", "symbolic link"),
        ("", &mkfifo, "DestinationUnusable", "named pipe"),
    ];
    for (name, plant, reason, says) in plants {
        if !name.is_empty() {
            fs::create_dir(&ours).expect("a folder");
        }
        let path = PathBuf::from(format!("{}/{name}", ours.display()).trim_end_matches('/'));
        plant(&path);
        let before = tree_without_reading(&dir);
        let run = join().failed(reason, &[says, path.to_str().expect("UTF-8")]);
        root_only.is_untouched(&run.stderr);
        assert_eq!(tree_without_reading(&dir), before, "{}", run.stderr);
        // A namespace takes its time.
        let gone = testbed::until(SOON, || account.objects().is_empty().then_some(()));
        assert!(gone.is_some(), "{}", run.stderr);
        if name.starts_with("zzz") {
            let status = self::ends(command(account.cluster.kubeconfig(), &["status", "-p", typed]));
            assert!(format!("{}{}", status.stdout, status.stderr).contains(says), "{}{}", status.stdout, status.stderr);
        }
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        let _ = fs::remove_dir_all(&ours);
    }
    // A link to jobs of another tool is none of ours: as before, Prometheus reads it.
    fs::create_dir(&ours).expect("a folder");
    fs::write(folder.path().join("theirs.yml"), "scrape_configs: []\n").expect("a file");
    symlink(folder.path().join("theirs.yml"), ours.join("theirs.scrape.yml")).expect("a link");
    join().succeeded();
    let leave = run(&["leave", "east", "--yes"]);
    assert_eq!(leave.code, Some(0), "{}", leave.stderr);

    for (plant, says) in [(&mkfifo as Plant<'_>, "named pipe"), (&sparse, "larger than 4 MiB")] {
        fs::remove_file(dir.join("prometheus.yml")).expect("a file");
        plant(&dir.join("prometheus.yml"));
        join().failed("DestinationUnusable", &["prometheus.yml", says]);
    }
}

/// What is there, by name and kind: to read a pipe would wait.
fn tree_without_reading(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let kind = entry.file_type().expect("a kind");
        found.push(format!("{} {kind:?}", entry.path().display()));
        if kind.is_dir() {
            found.extend(tree_without_reading(&entry.path()));
        }
    }
    found.retain(|line| !["/.lock ", "/.id ", "/.owner "].iter().any(|name| line.contains(name)));
    found.sort();
    found
}

fn folder_of_another_user_is_refused() {
    needs::root();
    let scene = Scene::new("strangers");
    let before = tree(scene.dir());
    let dir = scene.dir();
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    chown(dir, Some(STRANGER), None).expect("root may");
    let says =
        [&*format!("belongs to user {STRANGER}"), &format!("chown root: {}", dir.display()), "nothing was written"];
    scene.try_join(&[]).failed("UnsafeFolder", &says);
    chown(dir, Some(0), None).expect("root may");
    mode(dir, 0o757);
    let says = ["every user may write in it", &*format!("chmod o-w {}", dir.display())];
    scene.try_join(&[]).failed("UnsafeFolder", &says);
    mode(dir, 0o755);
    assert_same(&tree(dir), &before, "refused");
    assert_eq!(scene.account.objects(), Vec::<String>::new());

    scene.join(&[]);
    let ours = dir.join("prom-federate");
    for path in [ours.clone(), ours.join("east")] {
        chown(&path, None, Some(STRANGER)).expect("root may");
        mode(&path, 0o770);
        let shown = path.display().to_string();
        scene
            .try_join(&[])
            .failed("UnsafeFolder", &[&format!("group {STRANGER} may write in it"), &format!("chmod g-w {shown}")]);
        let rotate = scene.account.cluster.kubeconfig();
        let rotated: Run =
            command(rotate, &["rotate", "--now", "-p", scene.typed()]).output().expect("it starts").into();
        assert!(rotated.stderr.contains("error (UnsafeFolder): "), "{}", rotated.stderr);
        chown(&path, None, Some(0)).expect("root may");
        mode(&path, 0o700);
    }
    scene.join(&[]);
    scene.all_up(4);
}

/// The text of a default list, `linux/posix_acl_xattr.h`: another user may read everything.
pub(crate) fn give_by_default(folder: &Path, user: u32) {
    let none = u32::MAX;
    let entries = [(0x01_u16, 7_u16, none), (0x02, 5, user), (0x04, 5, none), (0x10, 7, none), (0x20, 0, none)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    setxattr(folder, "system.posix_acl_default", &list, XattrFlags::empty()).expect("the file system has lists");
}

fn default_access_list_gives_the_token_to_no_other_user() {
    needs::root();
    let folder = folder_of_nobody();
    let dir = folder.path().join("prometheus");
    chown(&dir, Some(0), Some(0)).expect("root may");
    let data = dir.join("data");
    fs::create_dir(&data).expect("a folder");
    chown(&data, Some(NOBODY), Some(NOBODY)).expect("root may");
    let spec = PrometheusSpec::new(MAIN).wrapper(&as_nobody()).in_folder(&dir);
    let scene = Scene::with("access-list", &spec);
    give_by_default(&dir, STRANGER);
    scene.join(&["--owner=65534"]);
    scene.all_up(4);
    let token = dir.join(scene.token_path("east").expect("jobs"));
    let mut path = token.clone();
    while path != dir {
        let list = rustix::fs::getxattr(&path, "system.posix_acl_access", &mut [0; 256][..]);
        assert_eq!(list, Err(rustix::io::Errno::NODATA), "{}", path.display());
        path.pop();
    }
    let id = STRANGER.to_string();
    let read =
        Command::new("setpriv").args(["--reuid", &id, "--regid", &id, "--clear-groups", "cat"]).arg(&token).output();
    assert!(!read.expect("setpriv starts").status.success());
    drop(scene);
}

fn linked_main_configuration_is_not_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dir, shared) = (folder.path().join("prometheus"), folder.path().join("shared"));
    for path in [&dir, &shared] {
        fs::create_dir(path).expect("a folder");
    }
    let target = shared.join("prometheus.yml");
    fs::write(&target, MAIN).expect("a file");
    symlink("../shared/prometheus.yml", dir.join("prometheus.yml")).expect("a link");
    let account = Account::new(&testbed::shared().east, "push-link");
    let join = || account.run(&["join", "--owner=0", "-p", dir.to_str().expect("UTF-8")]);
    let (before, theirs) = (tree(&dir), tree(&shared));
    let says = [
        "prometheus.yml: it is a symbolic link to ../shared/prometheus.yml",
        "scrape_config_files: [prom-federate/*.scrape.yml]",
    ];
    join().failed("DestinationUnusable", &says);
    assert_same(&tree(&dir), &before, "refused");
    assert_eq!(account.objects(), Vec::<String>::new());
    // With the lines, which the tool of that file may add, it is a destination.
    let lines = "scrape_config_files: [prom-federate/*.scrape.yml]\nrule_files: [prom-federate/*.rules.yml]\n";
    fs::write(&target, MAIN.replace("rule_files: [] # none yet\n", lines)).expect("a file");
    assert_ne!(tree(&shared), theirs);
    let theirs = tree(&shared);
    join().succeeded();
    assert_eq!(fs::read_link(dir.join("prometheus.yml")).expect("a link"), Path::new("../shared/prometheus.yml"));
    assert_same(&tree(&shared), &theirs, "joined");
    assert!(!dir.join("prometheus.yml.before-prom-federate").exists());
    account.run(&["leave", "east", "-p", dir.to_str().expect("UTF-8")]).succeeded();
}

/// Without root: whose folder it is, and whose Prometheus.
fn user_joins_in_an_own_folder() {
    needs::root();
    let folder = folder_of_nobody();
    let spec = PrometheusSpec::new(MAIN).wrapper(&as_nobody()).in_folder(folder.path().join("prometheus"));
    let scene = Scene::with("own-folder", &spec);
    chown(scene.dir().join("prometheus.yml"), Some(NOBODY), Some(NOBODY)).expect("root may");
    let kubeconfig = folder.path().join("kubeconfig");
    let mut view = Command::new(&testbed::tools().kubectl);
    view.args(["config", "view", "--flatten", "--kubeconfig"]).arg(scene.account.cluster.kubeconfig());
    fs::write(&kubeconfig, view.output().expect("kubectl starts").stdout).expect("a file");
    chown(&kubeconfig, Some(NOBODY), None).expect("root may");
    let run = |words: &[&str]| -> Run {
        let [program, flag, script] = as_nobody();
        let mut all = Command::new(program);
        all.args([flag, script, env!("CARGO_BIN_EXE_kubectl-prom_federate")]).args(words).stdin(Stdio::null());
        all.env_clear().env("KUBECONFIG", &kubeconfig).env("PATH", "/usr/bin:/bin").current_dir("/");
        all.output().expect("the plugin starts").into()
    };
    let arguments = scene.arguments(&[]);
    run(&arguments).succeeded();
    run(&arguments).succeeded();
    scene.all_up(4);
    run(&["rotate", "--now", "-p", scene.typed()]).succeeded();
    // Root may help out, and that user goes on.
    scene.join(&["--owner=65534"]);
    run(&["rotate", "--now", "-p", scene.typed()]).succeeded();
    scene.all_up(4);
    scene.is_tidy("east");
    let leave = ["leave", "east", "-p", scene.typed(), "--yes"];
    run(&leave).succeeded();
    assert!(but_what_stays(tree(scene.dir())).keys().all(|name| !name.starts_with("prom-federate")));
    drop(scene);
}
