//! How often a command reads the files of a destination: a fleet's folder has thousands of them.

use crate::{World, prometheus_folder};
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};
use std::{
    collections::BTreeMap,
    fs,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

/// Watches a folder and those in it.
struct Watched {
    inotify: OwnedFd,
    folders: BTreeMap<i32, PathBuf>,
}

impl Watched {
    fn new(folder: &Path) -> Self {
        let mut watched =
            Self { inotify: inotify::init(CreateFlags::NONBLOCK).expect("inotify"), folders: BTreeMap::new() };
        watched.add(folder);
        watched
    }

    fn add(&mut self, folder: &Path) {
        let wanted = WatchFlags::ACCESS | WatchFlags::CLOSE_NOWRITE;
        let watch = inotify::add_watch(&self.inotify, folder, wanted).expect("a watch");
        self.folders.insert(watch, folder.to_owned());
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            if entry.file_type().expect("a type").is_dir() {
                self.add(&entry.path());
            }
        }
    }

    /// How often each file was read, from its opening to its end, since it was asked last.
    fn reads(&self) -> BTreeMap<PathBuf, usize> {
        let (mut reads, mut read) = (BTreeMap::new(), None);
        let mut space = [MaybeUninit::uninit(); 16 << 10];
        let mut events = inotify::Reader::new(&self.inotify, &mut space);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return reads,
                Err(error) => panic!("{error}"),
            };
            assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW));
            let Some(name) = event.file_name().filter(|_| !event.events().contains(ReadFlags::ISDIR)) else { continue };
            let path = self.folders[&event.wd()].join(name.to_str().expect("UTF-8"));
            if event.events().contains(ReadFlags::ACCESS) {
                read = Some(path);
            } else if read.as_ref() == Some(&path) {
                read = None;
                *reads.entry(path).or_default() += 1;
            }
        }
    }
}

#[test]
fn no_file_of_another_cluster_is_read_twice() {
    let world = World::of(&["east", "north", "west"]);
    let folder = prometheus_folder();
    let place = folder.path().to_str().expect("UTF-8");
    let to = ["-p", place, "--reload=none", "--owner=0:0"];
    for context in ["east", "north"] {
        world.run(&[&["join", "--context", context], &to[..]].concat()).succeeded();
    }
    let ours = folder.path().join("prom-federate");
    // What has just been written may be written again at the same time, by the clock of a file system.
    world.pass(Duration::from_secs(10));
    let watched = Watched::new(&ours);
    let commands: [&[&str]; 6] = [
        &["status"],
        &["join", "--context", "west"],
        &["rotate", "north", "--now"],
        &["join", "--context", "north", "--jobs=cadvisor"],
        &["leave", "--context", "north"],
        &["check", "--context", "east"],
    ];
    for words in commands {
        watched.reads();
        let to: &[&str] = match words[0] {
            "join" => &to,
            "rotate" | "leave" => &to[..3],
            _ => &to[..2],
        };
        let run = world.run(&[words, to].concat());
        // The other two say that no Prometheus runs.
        assert!(run.code == Some(0) || matches!(words[0], "status" | "check"), "{words:?}: {}", run.stderr);
        let reads = watched.reads();
        let of_east: Vec<_> = reads.iter().filter(|(path, _)| path.to_string_lossy().contains("/east")).collect();
        assert!(of_east.len() >= 2 && of_east.iter().all(|(_, reads)| **reads == 1), "{words:?}: {of_east:#?}");
    }
}
