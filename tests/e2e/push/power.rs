//! A machine loses its power: the last write is torn, or a file that was written has no content. The next run recognises
//! it, and one `join` mends it.

use super::{
    SCRAPED_WITHIN, Scene,
    kill::{Lanes, Point, State},
    tree,
};
use crate::plugin::{Run, command};
use std::{
    fs,
    path::{Path, PathBuf},
};

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
    fn leave(self, path: &Path) {
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
    let is_of_a_file = |point: &Point| {
        // The name of a folder has no dot.
        let name = point.what.trim_end_matches(|c| c != '>').rsplit('/').next().unwrap_or_default();
        point.call == "fsync" && (name.contains('.') || name.starts_with("token"))
    };
    let points: Vec<Point> = Point::all(&lanes.0[0]).into_iter().filter(is_of_a_file).collect();
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

/// What `status` cannot miss; the others are not needed for a scrape, and only a join looks at them.
const NEEDED: [&str; 4] = ["east.scrape.yml", "cluster.json", "ca.crt", "token"];

fn damaged_file_in_use_is_named_and_mended() {
    let scene = Scene::new("power-in-use");
    scene.join(&[]);
    // A second one has what the first replaced.
    scene.join(&[]);
    let status = || -> Run {
        command(scene.account.cluster.kubeconfig(), &["status", "-p", scene.typed()])
            .output()
            .expect("it starts")
            .into()
    };
    let files = || -> Vec<String> {
        let is_file = |name: &String| fs::symlink_metadata(scene.dir().join(name)).is_ok_and(|found| found.is_file());
        let ours = |name: &String| name.starts_with("prom-federate/") && name != "prom-federate/.lock";
        tree(scene.dir()).into_keys().filter(is_file).filter(ours).collect()
    };
    let mut seen = Vec::new();
    for number in 0..files().len() {
        for left in Left::ALL {
            let name = files().remove(number);
            left.leave(&scene.dir().join(&name));
            // As after its restart. It refuses rules that are damaged.
            let _ = scene.prometheus.reload();
            let last = name.rsplit('/').next().unwrap_or_default();
            if let Some(needed) = NEEDED.iter().find(|needed| **needed == last) {
                let is_ok = |run: &Run| run.stdout.trim_end().ends_with(" ok");
                testbed::until(SCRAPED_WITHIN, || Some(status()).filter(|run| !is_ok(run)))
                    .unwrap_or_else(|| panic!("{name} {left:?} is ok: {}", status().stdout));
                seen.push(*needed);
            }
            let again = scene.try_join(&[]);
            assert_eq!(again.code, Some(0), "{name} {left:?}: {}", again.stderr);
            scene.all_up(4);
            scene.is_tidy("east");
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), NEEDED.len(), "{seen:?}");
}
