//! What cannot be a destination is said in a line, before anything is written anywhere.

use super::{MAIN, Scene, assert_same, tree};
use crate::{
    needs,
    plugin::{Account, Run},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

trials! {
    push_input:
    smoke {
        another_run_has_the_lock,
    }
    full {
        invalid_destinations_are_rejected,
        foreign_files_stay,
        record_of_a_later_release_is_rejected,
        unwritable_folder_is_rejected,
        invalid_command_lines_are_rejected,
    }
}

/// A folder like that of a Prometheus which does not run, and an account without a join.
struct Folder {
    folder: tempfile::TempDir,
    account: Account<'static>,
}

impl Folder {
    fn new(name: &str) -> Self {
        let account = Account::new(&testbed::shared().east, &format!("push-{name}"));
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("prometheus.yml"), MAIN).expect("a file");
        Self { folder, account }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path
    }

    fn join(&self, destination: &Path, more: &[&str]) -> Run {
        let mut all = vec!["join", "--owner=0", "-p", destination.to_str().expect("UTF-8")];
        all.extend(more);
        self.account.run(&all)
    }

    /// Joining changes nothing, neither here nor in the cluster.
    fn refuses(&self, destination: &Path, reason: &str, says: &[&str]) {
        let before = tree(self.path());
        let run = self.join(destination, &[]).failed(reason, says);
        let first = run.stderr.lines().find(|line| line.starts_with("error (")).expect("an error");
        assert!(first.contains(self.path().to_str().expect("UTF-8")), "names no file: {first}");
        assert_same(&tree(self.path()), &before, &run.stderr);
        assert_eq!(self.account.objects(), Vec::<String>::new(), "{says:?}");
    }
}

fn invalid_destinations_are_rejected() {
    let folder = Folder::new("no-destination");
    let kubeconfig = fs::read_to_string(folder.account.cluster.kubeconfig()).expect("a file");
    let in_folder = |name: &str, content: &[u8]| folder.write(name, content);
    fs::create_dir(folder.path().join("empty")).expect("a folder");
    let unusable = "DestinationUnusable";
    for (destination, says) in [
        (in_folder("program", b"\x7fELF\xff\xfe\0"), &["program is not UTF-8 text", "-p DIR/FILE.yml"][..]),
        (in_folder("config.yml", kubeconfig.as_bytes()), &["is not a configuration of Prometheus: ", "\"apiVersion\""]),
        (in_folder("list.yml", b"- a\n"), &["is not a configuration of Prometheus: it is not a mapping"]),
        (in_folder("half.yml", b"global: {\n"), &["is not a configuration of Prometheus: ", "line 2"]),
        (in_folder("twice.yml", b"global: {}\nglobal: {}\n"), &["the key global is there twice, on lines 1 and 2"]),
        (in_folder("typo.yml", b"scrape_confgs: []\n"), &["\"scrape_confgs\""]),
        (folder.path().join("empty"), &["has no prometheus.yml", "-p DIR/FILE.yml"]),
        (folder.path().join("nowhere"), &["cannot open the destination", "-p /etc/prometheus"]),
    ] {
        folder.refuses(&destination, unusable, says);
    }
    // Text that cannot be edited by a machine.
    let anchored = in_folder("anchored.yml", b"rule_files: &a []\n");
    folder.refuses(&anchored, unusable, &["has an anchor", "Add this by hand"]);
}

fn foreign_files_stay() {
    let folder = Folder::new("not-ours");
    let jobs = folder.write("prom-federate/east.scrape.yml", "scrape_configs:\n- job_name: mine\n");
    folder.refuses(
        folder.path(),
        "NotOurs",
        &["east.scrape.yml exists and has another owner; it stays", "--cluster-name NAME"],
    );
    fs::remove_file(jobs).expect("it is there");
    // A job of this very name in another file is refused by Prometheus, now and at its next start.
    let job = "scrape_configs:\n- job_name: prom-federate/east/cadvisor\n";
    for file in ["prometheus.yml", "prom-federate/mine.scrape.yml"] {
        let before = folder.write(file, job);
        folder.refuses(folder.path(), "ConfigRefused", &[file, "has a job prom-federate/east/cadvisor already"]);
        fs::remove_file(before).expect("it is there");
        folder.write("prometheus.yml", MAIN);
    }
}

fn record_of_a_later_release_is_rejected() {
    let scene = Scene::new("later-record");
    scene.join(&[]);
    let path = scene.token_path("east").expect("jobs").replace("/token", "/cluster.json");
    let record = scene.read(&path);
    let later =
        record.replace("\"version\": 1", "\"version\": 99").replace("\"writtenBy\": \"0.1", "\"writtenBy\": \"9.1");
    assert_ne!(later, record);
    fs::write(scene.dir().join(&path), later).expect("a file");
    let before = (tree(scene.dir()), scene.account.secrets());
    scene.try_join(&[]).failed("RecordTooNew", &[&path, "written by kubectl prom-federate v9.1", "krew upgrade"]);
    assert_same(&tree(scene.dir()), &before.0, "");
    assert_eq!(scene.account.secrets(), before.1);
    // An unreadable record is written again, and its generation is deleted.
    fs::write(scene.dir().join(&path), "{").expect("a file");
    scene.join(&[]);
    scene.is_tidy("east");
    scene.all_up(4);
}

fn unwritable_folder_is_rejected() {
    needs::root();
    let folder = Folder::new("read-only");
    let at = folder.path().join("mounted");
    fs::create_dir(&at).expect("a folder");
    let mounted = super::taken_back::Mounted::tmpfs(&at, "size=64k,mode=700");
    folder.write("mounted/prometheus.yml", MAIN);
    mounted.make_read_only();
    folder.refuses(&at, "WriteFailed", &["Read-only file system", "Mount it writable"]);
    drop(mounted);
}

fn another_run_has_the_lock() {
    let folder = Folder::new("lock");
    let lock = folder.write("prom-federate/.lock", "");
    fs::set_permissions(folder.path().join("prom-federate"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("a mode");
    let held = fs::File::open(&lock).expect("a file");
    held.lock().expect("a lock");
    folder.refuses(folder.path(), "DestinationBusy", &["another run of kubectl prom-federate is writing to"]);
    drop(held);
    folder.join(folder.path(), &[]).succeeded();
}

fn invalid_command_lines_are_rejected() {
    let folder = Folder::new("usage");
    let here = folder.path().to_str().expect("UTF-8");
    let main = folder.path().join("prometheus.yml");
    let file = main.to_str().expect("UTF-8");
    let before = tree(folder.path());
    for (arguments, says) in [
        (&["-p", here, "--cluster-name=a.scrape.yml"][..], &["a.scrape.yml looks like a file of another cluster"][..]),
        (&["-p", here, "--cluster-name=a.rules.yml"], &["looks like a file of another cluster"]),
        (&["-p", here, "-p", file], &["is named twice"]),
        (&["-p", here, "-p", &format!("{here}/.")], &["is named twice"]),
        (&["-p", "s3://host/etc/prometheus"], &["is not a known kind of destination"]),
        (&["-p", "ssh://host"], &["does not name a folder of a host"]),
        (&["-p", ""], &["is empty; write the folder"]),
        (&["-p", here, "--owner=no-such-user"], &["this host has no user no-such-user"]),
        (&["-p", here, "--reload=often"], &["auto, http, signal, none"]),
        (&["-p", here, "--prometheus-url=localhost"], &["--prometheus-url"]),
        (&["--rename"], &["--prometheus"]),
    ] {
        let mut all = vec!["join"];
        all.extend(arguments);
        let run = folder.account.run(&all);
        assert_eq!(run.code, Some(2), "{arguments:?}: {}", run.stderr);
        for text in says {
            assert!(run.stderr.contains(text), "does not say {text:?}: {}", run.stderr);
        }
        assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    }
    assert_same(&tree(folder.path()), &before, "");
    assert_eq!(folder.account.objects(), Vec::<String>::new());
}
