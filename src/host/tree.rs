//! The files of our folder, as they were at one time.

use crate::model::{store::layout::Layout, text::names::ClusterName};
use std::collections::BTreeMap;

/// Larger files are not read. The largest of the plugin's own files is a bundle of CAs, with about 200 kB: a file of
/// this size is not the plugin's, and a file without end must not fill the memory.
pub(super) const LIMIT: u64 = 1 << 20;
/// The main configuration is written by others, possibly with each target in it.
pub(super) const MAIN_LIMIT: u64 = 4 << 20;

/// Why a file is not read.
pub(super) fn too_large(limit: u64) -> String {
    format!("it is larger than {} MiB, the most that is read", limit >> 20)
}

/// By path.
#[derive(Debug, Default)]
pub struct Tree(BTreeMap<String, Entry>);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Folder,
    /// Its content does not matter.
    There,
    /// Where it leads; links are not followed.
    Link(String),
    File(Vec<u8>),
    /// A file that was not read.
    Unread(Stamp),
    /// Why not.
    Unreadable(String),
}

/// Another file by this name, or another content, has another stamp.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) inode: u64,
    pub(super) size: u64,
    /// When the content was changed, and when anything was, in nanoseconds since 1970.
    pub(super) changed: [i128; 2],
}

/// A file that was changed less than this before it was looked at may be changed again and show the same time: some file
/// systems count seconds.
const SETTLED_AFTER: i128 = 3_000_000_000;

/// The files of our folder, unread.
#[derive(Debug, Default)]
pub struct Stamps {
    pub tree: Tree,
    /// When they were looked at, as [`Stamp::changed`].
    pub(super) taken: i128,
}

impl Stamps {
    /// Whether nothing of a cluster has changed since `before`, after which it was read.
    pub fn are_as(&self, before: &Self, cluster: &ClusterName) -> bool {
        let is_settled = |entry: &Entry| match entry {
            Entry::Unread(stamp) => stamp.changed.iter().all(|time| time + SETTLED_AFTER < before.taken),
            _ => true,
        };
        before.tree.of_cluster(cluster).all(|(_, entry)| is_settled(entry))
            && self.tree.of_cluster(cluster).eq(before.tree.of_cluster(cluster))
    }
}

impl Tree {
    pub(super) fn of(entries: impl IntoIterator<Item = (String, Entry)>) -> Self {
        // Of two about the same path the later one counts: it says why a file was not read to its end.
        Self(entries.into_iter().collect())
    }

    /// What is in a folder, and whether each may be a folder; none if it is not there. The error says why it cannot be read.
    pub fn list(&self, folder: &str) -> Result<Option<Vec<(String, bool)>>, String> {
        match self.0.get(folder) {
            None | Some(Entry::File(_) | Entry::Unread(_) | Entry::There) => Ok(None),
            Some(Entry::Link(_)) => Err(NOT_FOLLOWED.to_owned()),
            Some(Entry::Unreadable(why)) => Err(why.clone()),
            Some(Entry::Folder) => {
                let inner = format!("{folder}/");
                let of = self.0.range(inner.clone()..).take_while(|(path, _)| path.starts_with(&inner));
                let own = of.filter(|(path, _)| !path[inner.len()..].contains('/'));
                let is_folder = |entry: &Entry| matches!(entry, Entry::Folder | Entry::Unreadable(_));
                Ok(Some(own.map(|(path, entry)| (path[inner.len()..].to_owned(), is_folder(entry))).collect()))
            }
        }
    }

    /// All that is known of one cluster.
    fn of_cluster(&self, cluster: &ClusterName) -> impl Iterator<Item = (&String, &Entry)> {
        let layout = Layout(cluster);
        let inner = format!("{}/", layout.folder());
        let own = [layout.folder(), layout.fragment(), layout.rules()];
        let own = own.into_iter().filter_map(|path| self.0.get_key_value(&path));
        own.chain(self.0.range(inner.clone()..).take_while(move |(path, _)| path.starts_with(&inner)))
    }

    /// A file as text; none if it is not there.
    pub fn text(&self, path: &str) -> Result<Option<String>, String> {
        match self.0.get(path) {
            Some(Entry::File(bytes)) => {
                String::from_utf8(bytes.clone()).map(Some).map_err(|_| "it is not UTF-8 text".to_owned())
            }
            Some(Entry::Link(_)) => Err(NOT_FOLLOWED.to_owned()),
            Some(Entry::Unreadable(why)) => Err(why.clone()),
            _ => Ok(None),
        }
    }

    /// Where a link leads; none where there is no link.
    pub fn link(&self, path: &str) -> Option<&str> {
        match self.0.get(path) {
            Some(Entry::Link(to)) => Some(to),
            _ => None,
        }
    }

    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

const NOT_FOLLOWED: &str = "it is a symbolic link, which is not followed";

#[cfg(test)]
mod tests {
    use super::super::LocalFolder;
    use std::{
        fs::{self, File},
        os::unix::fs::symlink,
        path::Path,
        time::SystemTime,
    };

    type Change = fn(&Path);

    const LIVE: &str = "east/20261125t101500z-x7k2";

    #[tokio::test]
    async fn each_change_of_a_cluster_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let ours = root.path().join("prom-federate");
        for cluster in ["east", "west"] {
            let live = ours.join(LIVE.replace("east", cluster));
            fs::create_dir_all(&live).unwrap();
            symlink(live.file_name().unwrap(), ours.join(cluster).join("current")).unwrap();
            for path in [live.join("cluster.json"), ours.join(format!("{cluster}.scrape.yml"))] {
                fs::write(&path, "one").unwrap();
                // So that a change has another time.
                File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
        }
        let folder = LocalFolder::from(root.path());
        let (east, west) = ("east".parse().unwrap(), "west".parse().unwrap());
        let changes: [(&str, Change); 7] = [
            ("a record in place", |ours| fs::write(ours.join(LIVE).join("cluster.json"), "two").unwrap()),
            ("jobs that take the place of others", |ours| {
                fs::write(ours.join("new"), "two").unwrap();
                fs::rename(ours.join("new"), ours.join("east.scrape.yml")).unwrap();
            }),
            ("the link", |ours| {
                symlink("20261125t101500z-y8m3", ours.join("new")).unwrap();
                fs::rename(ours.join("new"), ours.join("east/current")).unwrap();
            }),
            ("another generation", |ours| fs::create_dir(ours.join("east/20261125t101500z-y8m3")).unwrap()),
            ("rules", |ours| fs::write(ours.join("east.rules.yml"), "").unwrap()),
            ("no jobs", |ours| fs::remove_file(ours.join("east.scrape.yml")).unwrap()),
            ("no record", |ours| fs::remove_file(ours.join(LIVE).join("cluster.json")).unwrap()),
        ];
        for (what, change) in changes {
            let mut before = folder.stamps().await.unwrap();
            assert!(!before.are_as(&before, &west), "a file that is new may change again at this time");
            before.taken *= 2;
            assert!(folder.stamps().await.unwrap().are_as(&before, &east), "{what}");
            change(&ours);
            let after = folder.stamps().await.unwrap();
            assert!(!after.are_as(&before, &east) && after.are_as(&before, &west), "{what}");
        }
    }
}
