//! A main configuration on which something hangs: a mount, an access list, extended attributes, another name, a link. The
//! same on this host, over ssh and by a printed script.

use super::{MAIN, SCRAPED_WITHIN, Scene, by, script};
use crate::{
    needs,
    plugin::{Run, command},
    push::{assert_same, but_what_stays, tree},
};
use rustix::fs::{XattrFlags, getxattr, listxattr, setxattr};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};
use testbed::{Action, PrometheusSpec, Rule, Sshd};

trials! {
    main_file:
    full {
        file_mounted_alone_for_prometheus_is_edited_in_place,
        file_mounted_by_itself_is_edited_in_place,
        file_that_cannot_be_written_is_refused_before_anything_is,
        attributes_and_other_names_outlast_a_join,
        failed_join_gives_back_the_very_file,
        linked_file_is_named_with_the_lines,
        torn_file_is_put_right,
    }
}

/// How jobs get to the host of a Prometheus.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Here,
    Ssh,
    /// A printed script, by one shell or another.
    Script(&'static [&'static str]),
}

const SCRIPTS: [Way; 2] = [Way::Script(&["sh"]), Way::Script(&["busybox", "sh"])];
const WAYS: [Way; 4] = [Way::Here, Way::Ssh, SCRIPTS[0], SCRIPTS[1]];

impl Way {
    /// Joins, with a program in front that becomes what runs on the host of Prometheus.
    fn join(self, scene: &Scene, typed: &Path, within: &[&str], more: &[&str]) -> Run {
        let typed = typed.display().to_string();
        let kubeconfig = scene.routed.kubeconfig();
        let mut words = vec!["--scrape-interval=1s", "--cluster-name=east", "--yes"];
        words.extend(["--namespace", &scene.account.namespace]);
        words.extend(more);
        match self {
            Self::Here | Self::Ssh => {
                let destination = if self == Self::Here { typed } else { format!("ssh://prom{typed}") };
                let all = [&["join", "-p", &destination][..], &words].concat();
                let mut join = if self == Self::Ssh || within.is_empty() {
                    command(&kubeconfig, &all)
                } else {
                    let mut join = Command::new(within[0]);
                    join.args(&within[1..]).arg(env!("CARGO_BIN_EXE_kubectl-prom_federate")).args(&all);
                    join.env("KUBECONFIG", &kubeconfig);
                    join
                };
                join.env("PATH", scene.sshd.path()).output().expect("the plugin starts").into()
            }
            Self::Script(shell) => {
                let file = scene.sshd.dir().join("east.sh");
                script(scene, &file);
                let shell = [within, shell].concat();
                by(&shell, &file, &["--edit", &typed])
            }
        }
    }
}

/// A file with all that hangs on it.
#[derive(Debug, PartialEq)]
struct Held {
    inode: u64,
    names: u64,
    owner: (u32, u32, u32),
    attributes: BTreeMap<String, Vec<u8>>,
}

impl Held {
    fn of(path: &Path) -> Self {
        let metadata = fs::metadata(path).expect("a file");
        let mut names = vec![0_u8; 4096];
        let length = listxattr(path, &mut names[..]).expect("attributes");
        let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let attributes = names.map(|name| {
            let name = String::from_utf8(name.to_vec()).expect("UTF-8");
            let mut value = vec![0_u8; 4096];
            let length = getxattr(path, &name, &mut value[..]).expect("an attribute");
            (name, value[..length].to_vec())
        });
        Self {
            inode: metadata.ino(),
            names: metadata.nlink(),
            owner: (metadata.uid(), metadata.gid(), metadata.mode()),
            attributes: attributes.collect(),
        }
    }
}

fn lets_a_stranger_read(path: &Path) {
    let none = u32::MAX;
    let entries = [(0x01_u16, 6_u16, none), (0x02, 4, 65534), (0x04, 0, none), (0x10, 4, none), (0x20, 0, none)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    setxattr(path, "system.posix_acl_access", &list, XattrFlags::empty()).expect("the file system has lists");
}

const LINES: &str = "scrape_config_files:\n- prom-federate/*.scrape.yml\nrule_files:\n- prom-federate/*.rules.yml\n";

/// The text has the lines, the old one stands beside it, and nothing else of the edit is there.
fn is_edited(main: &Path, what: &str) {
    let text = fs::read_to_string(main).expect("a file");
    assert!(text.starts_with(MAIN) && text.ends_with(LINES), "{what}: {text}");
    assert_eq!(fs::read_to_string(beside(main, "before-prom-federate")).expect("a copy"), MAIN, "{what}");
    assert!(!beside(main, "prom-federate.new").exists(), "{what}");
}

fn beside(main: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", main.display()))
}

/// As before the first join, in the same file.
fn forget(scene: &Scene, main: &Path) {
    let typed = main.parent().expect("a folder").display().to_string();
    scene.run(&["leave", "east", "-p", &typed, "--yes"]).succeeded();
    fs::write(main, MAIN).expect("a file");
    let _ = fs::remove_file(beside(main, "before-prom-federate"));
    for name in [".id", ".lock", ".owner"] {
        let _ = fs::remove_file(main.with_file_name("prom-federate").join(name));
    }
}

/// As compose does: the file alone is mounted in the container, and a folder for the jobs, or not.
fn file_mounted_alone_for_prometheus_is_edited_in_place() {
    needs::root();
    let alone = "mount -t tmpfs none /mnt && : > /mnt/prometheus.yml && mkdir /mnt/data && \
                 mount --bind prometheus.yml /mnt/prometheus.yml && ";
    let with_folder = "mkdir /mnt/prom-federate && mount --bind prom-federate /mnt/prom-federate && ";
    for (name, folder, works) in [("alone", "", false), ("mounts", with_folder, true)] {
        let wrapper = format!("{alone}{folder}cd /mnt && exec \"$@\"");
        let host = tempfile::tempdir().expect("a folder");
        let dir = host.path().join("prometheus");
        fs::create_dir_all(dir.join("prom-federate")).expect("a folder");
        let spec = PrometheusSpec::new(MAIN).wrapper(&["unshare", "--mount", "sh", "-c", &wrapper, "sh"]);
        let scene = Scene::with(&format!("file-{name}"), Sshd::start().expect("sshd starts"), &spec.in_folder(&dir));
        let main = dir.join("prometheus.yml");
        let (held, before) = (Held::of(&main), tree(&dir));
        for way in WAYS {
            let run = way.join(&scene, &dir, &[], &[]);
            if !works {
                assert_eq!(run.code, Some(1), "{way:?}: {}", run.stderr);
                for said in [" as prometheus.yml, and has no ", "prom-federate beside it", "mount the folder "] {
                    assert!(run.stderr.contains(said), "{way:?} does not say {said}: {}", run.stderr);
                }
                assert_same(&tree(&dir), &before, &format!("{way:?}: {}", run.stderr));
                assert!(matches!(way, Way::Script(_)) || scene.account.objects().is_empty(), "{way:?}");
                continue;
            }
            run.succeeded();
            assert_eq!(Held::of(&main), held, "{way:?}");
            is_edited(&main, &format!("{way:?}"));
            scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
            forget(&scene, &main);
        }
        if works {
            let dry = Way::Here.join(&scene, &dir, &[], &["--dry-run=client"]).succeeded();
            let said = format!("{}{}", dry.stdout, dry.stderr);
            assert!(
                said.contains(&format!("in place, because process {} has it mounted", scene.prometheus.pid())),
                "{said}"
            );
            assert_eq!(fs::read_to_string(&main).expect("a file"), MAIN);
        }
    }
}

/// The host of Prometheus as the inside of a container in which the file is mounted: `mount` has its path in `$M`.
fn within(main: &Path, mount: &str) -> Vec<String> {
    let script = format!("M={} && {mount} && exec \"$@\"", main.display());
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

struct Inside {
    scene: Scene,
    main: PathBuf,
    within: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Inside {
    fn new(name: &str, mount: &str) -> Self {
        needs::root();
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("prometheus");
        fs::create_dir(&dir).expect("a folder");
        let main = dir.join("prometheus.yml");
        fs::write(&main, MAIN).expect("a file");
        let within = within(&main, mount);
        let words: Vec<&str> = within.iter().map(String::as_str).collect();
        let sshd = Sshd::start_with(&[], &words).expect("sshd starts");
        let scene = Scene::with(name, sshd, &PrometheusSpec::new(MAIN).in_folder(&dir));
        Self { scene, main, within, _folder: folder }
    }

    fn join(&self, way: Way) -> Run {
        let words: Vec<&str> = self.within.iter().map(String::as_str).collect();
        way.join(&self.scene, self.main.parent().expect("a folder"), &words, &[])
    }
}

fn file_mounted_by_itself_is_edited_in_place() {
    let inside = Inside::new("mounted", "mount --bind $M $M");
    let held = Held::of(&inside.main);
    for way in WAYS {
        inside.join(way).succeeded();
        assert_eq!(Held::of(&inside.main), held, "{way:?}");
        is_edited(&inside.main, &format!("{way:?}"));
        inside.scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
        forget(&inside.scene, &inside.main);
    }
}

fn file_that_cannot_be_written_is_refused_before_anything_is() {
    let inside = Inside::new("read-only", "mount --bind $M $M && mount -o remount,bind,ro $M");
    let dir = inside.main.parent().expect("a folder");
    let (held, before) = (Held::of(&inside.main), tree(dir));
    for way in WAYS {
        let run = inside.join(way);
        assert_eq!(run.code, Some(1), "{way:?}: {}", run.stderr);
        for said in ["it is mounted by itself, so no other file may take its place", "prom-federate/*.scrape.yml"] {
            assert!(run.stderr.contains(said), "{way:?} does not say {said}: {}", run.stderr);
        }
        assert_same(&tree(dir), &before, &format!("{way:?}: {}", run.stderr));
        assert_eq!(Held::of(&inside.main), held);
    }
}

fn attributes_and_other_names_outlast_a_join() {
    needs::root();
    let scene = Scene::new("held");
    let main = scene.prometheus.dir().join("prometheus.yml");
    fs::set_permissions(&main, fs::Permissions::from_mode(0o600)).expect("a mode");
    lets_a_stranger_read(&main);
    let list = getxattr(&main, "system.posix_acl_access", &mut [0; 256][..]);
    assert!(list.is_ok_and(|length| length > 28), "the list is there");
    for step in 0..3 {
        match step {
            0 => {}
            1 => {
                rustix::fs::removexattr(&main, "system.posix_acl_access").expect("a list");
                setxattr(&main, "user.note", b"mine", XattrFlags::empty()).expect("the file system has attributes");
            }
            _ => {
                rustix::fs::removexattr(&main, "user.note").expect("an attribute");
                fs::hard_link(&main, scene.prometheus.dir().join("other.yml")).expect("a name");
            }
        }
        let held = Held::of(&main);
        let ways = [&WAYS[..], &[Way::Ssh, SCRIPTS[1]], &[Way::Ssh, SCRIPTS[0]]][step];
        for way in ways {
            way.join(&scene, scene.prometheus.dir(), &[], &[]).succeeded();
            assert_eq!(Held::of(&main), held, "{way:?}");
            is_edited(&main, &format!("{way:?} {step}"));
            scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
            forget(&scene, &main);
        }
    }
}

fn failed_join_gives_back_the_very_file() {
    needs::root();
    let scene = Scene::new("very-file");
    let main = scene.prometheus.dir().join("prometheus.yml");
    // The account is there, and stays.
    script(&scene, &scene.sshd.dir().join("east.sh"));
    // The jobs are in place by then.
    scene.routed.rule(Rule::new("GET", "/api/v1/nodes", Action::Close).by("Prometheus"));
    for in_place in [false, true] {
        if in_place {
            lets_a_stranger_read(&main);
        }
        let (held, before) = (Held::of(&main), but_what_stays(tree(scene.prometheus.dir())));
        for way in [Way::Here, Way::Ssh, SCRIPTS[usize::from(in_place)]] {
            let run = way.join(&scene, scene.prometheus.dir(), &[], &[]);
            assert_eq!(run.code, Some(1), "{way:?}: {}", run.stderr);
            let is_late = |said| run.stderr.contains(said);
            assert!(is_late("(NotScraped)") || is_late("no target is up"), "{way:?}: {}", run.stderr);
            assert_eq!(Held::of(&main), held, "{way:?}: {}", run.stderr);
            assert!(!beside(&main, "before-prom-federate").exists(), "{way:?}: {}", run.stderr);
            assert_same(&but_what_stays(tree(scene.prometheus.dir())), &before, &run.stderr);
        }
    }
}

/// Named itself, or as the main configuration of its folder: Prometheus reads the files beside the link.
fn linked_file_is_named_with_the_lines() {
    needs::root();
    let scene = Scene::new("link");
    let (dir, git) = (scene.prometheus.dir().to_owned(), scene.sshd.dir().join("git"));
    let (main, target) = (dir.join("prometheus.yml"), git.join("prod.yml"));
    fs::create_dir(&git).expect("a folder");
    fs::rename(&main, &target).expect("a file");
    symlink(&target, &main).expect("a link");
    let (before, theirs) = (tree(&dir), tree(&git));
    for typed in [&dir, &main] {
        for way in WAYS {
            let run = way.join(&scene, typed, &[], &[]);
            assert_eq!(run.code, Some(1), "{way:?}: {}", run.stderr);
            for said in [&format!("is a symbolic link to {}", target.display()), "prom-federate/*.scrape.yml"] {
                assert!(run.stderr.contains(said), "{way:?} does not say {said}: {}", run.stderr);
            }
            assert_same(&tree(&dir), &before, &run.stderr);
            assert_same(&tree(&git), &theirs, &run.stderr);
        }
        let dry = Way::Here.join(&scene, typed, &[], &["--dry-run=client"]);
        assert!(dry.code == Some(1) && dry.stderr.contains("is a symbolic link to "), "{}", dry.stderr);
    }
    // Its target is in another folder than that of the jobs.
    for way in WAYS {
        let run = way.join(&scene, &target, &[], &[]);
        assert_eq!(run.code, Some(1), "{way:?}: {}", run.stderr);
        assert!(run.stderr.contains(" as prometheus.yml, and has no "), "{way:?}: {}", run.stderr);
        assert_same(&tree(&git), &theirs, &run.stderr);
    }
    fs::write(&target, format!("{MAIN}{LINES}")).expect("a file");
    let theirs = tree(&git);
    for (way, typed) in [(Way::Here, &main), (Way::Ssh, &main), (SCRIPTS[0], &main), (Way::Ssh, &dir)] {
        way.join(&scene, typed, &[], &[]).succeeded();
        scene.prometheus.wait_for_targets(4, SCRAPED_WITHIN).expect("all are up");
        assert_same(&tree(&git), &theirs, "joined");
        assert_eq!(fs::read_link(&main).expect("a link"), target);
    }
}

/// A run that edited in place was killed between two pages of the file.
fn torn_file_is_put_right() {
    needs::root();
    let scene = Scene::new("torn");
    let dir = scene.prometheus.dir();
    let main = dir.join("prometheus.yml");
    fs::hard_link(&main, dir.join("other.yml")).expect("a name");
    let held = Held::of(&main);
    let new = format!("rule_files: [x.yml]\n{MAIN}{LINES}");
    let torn = format!("{}{}", &new[..12], &MAIN[12..]);
    for way in WAYS {
        fs::write(&main, &torn).expect("a file");
        fs::write(beside(&main, "prom-federate.new"), &new).expect("a file");
        fs::write(beside(&main, "before-prom-federate"), MAIN).expect("a file");
        let run = way.join(&scene, dir, &[], &[]);
        if let Way::Script(_) = way {
            assert_eq!(run.code, Some(1), "{way:?}: {}", run.stderr);
            assert!(run.stderr.contains("an earlier run was killed before it was done with"), "{}", run.stderr);
            assert_eq!(fs::read_to_string(&main).expect("a file"), torn);
            continue;
        }
        run.succeeded();
        is_edited(&main, &format!("{way:?}"));
        assert_eq!(Held::of(&main), held);
        forget(&scene, &main);
    }
}
