//! A machine loses its power: the last write is torn, or a file that was written has no content. The next run recognises
//! it, and one `join` mends it.

use super::{
    Scene,
    kill::{Lanes, Point, State},
    tree,
};
use crate::plugin::{Run, command};
use std::{fs, path::PathBuf};

trials! {
    power:
    full {
        last_write_is_torn_at_every_sync,
        damaged_file_in_use_is_named_and_mended,
    }
}

/// What is left of a file.
#[derive(Clone, Copy, Debug)]
enum Left {
    Nothing,
    Half,
    /// The size is on the disk, and the content is not.
    Zeros,
}

impl Left {
    const ALL: [Self; 3] = [Self::Nothing, Self::Half, Self::Zeros];

    fn of(self, content: &[u8]) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Half => content[..content.len() / 2].to_vec(),
            Self::Zeros => vec![0; content.len()],
        }
    }

    /// The very file keeps its owner and mode.
    fn leave(self, path: &PathBuf) {
        let content = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::write(path, self.of(&content)).expect("root may");
    }
}

/// A run is killed where it waits for the disk: what it has just written is not there yet.
fn last_write_is_torn_at_every_sync() {
    let lanes = Lanes::of("power");
    for scene in &lanes.0 {
        scene.join(&[]);
    }
    let points: Vec<Point> = Point::all(&lanes.0[0]).into_iter().filter(|point| point.call == "fsync").collect();
    assert!(points.len() > 5, "{points:#?}");
    let each = points.iter().flat_map(|point| Left::ALL.map(|left| (point.clone(), left))).collect();
    lanes.run(each, |scene, (point, left)| {
        let before = State::of(scene);
        point.kill(scene);
        left.leave(&newest(scene));
        before.holds(scene, &format!("{} {left:?}", point.what));
        scene.join(&[]);
        scene.all_up(4);
        scene.is_tidy("east");
    });
}

/// The file that was written last.
fn newest(scene: &Scene) -> PathBuf {
    let files = tree(scene.dir()).into_keys().map(|name| scene.dir().join(name));
    let dated = files.filter_map(|path| {
        let metadata = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some((metadata.modified().ok()?, path))
    });
    dated.max().expect("a file").1
}

fn damaged_file_in_use_is_named_and_mended() {
    let scene = Scene::new("power-in-use");
    scene.join(&[]);
    scene.all_up(4);
    let run = |words: &[&str]| -> Run {
        let all = [words, &["-p", scene.typed(), "--namespace", &scene.account.namespace]].concat();
        command(scene.account.cluster.kubeconfig(), &all).output().expect("the plugin starts").into()
    };
    let files = || -> Vec<String> {
        let is_file = |name: &String| fs::symlink_metadata(scene.dir().join(name)).is_ok_and(|found| found.is_file());
        let ours = |name: &String| name.starts_with("prom-federate/") && !name.ends_with(".lock");
        tree(scene.dir()).into_keys().filter(is_file).filter(ours).collect()
    };
    let count = files().len();
    assert!(count >= 6, "record, token, CA, jobs, rules, identity: {:?}", files());
    for number in 0..count {
        for left in Left::ALL {
            let name = files().remove(number);
            left.leave(&scene.dir().join(&name));
            let (status, again) = (run(&["status"]), scene.try_join(&[]));
            eprintln!(
                "== {name} {left:?}: status {:?}\n{}{}-- join {:?}\n{}",
                status.code, status.stdout, status.stderr, again.code, again.stderr
            );
            if again.code != Some(0) {
                continue;
            }
            scene.all_up(4);
            scene.is_tidy("east");
        }
    }
}
