//! The files of our folder, as they were at one time.

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

#[derive(Debug)]
pub(super) enum Entry {
    Folder,
    /// Its content does not matter.
    There,
    /// Where it leads; links are not followed.
    Link(String),
    File(Vec<u8>),
    /// Why not.
    Unreadable(String),
}

impl Tree {
    pub(super) fn of(entries: impl IntoIterator<Item = (String, Entry)>) -> Self {
        // Of two about the same path the later one counts: it says why a file was not read to its end.
        Self(entries.into_iter().collect())
    }

    /// What is in a folder, and whether each may be a folder; none if it is not there. The error says why it cannot be read.
    pub fn list(&self, folder: &str) -> Result<Option<Vec<(String, bool)>>, String> {
        match self.0.get(folder) {
            None | Some(Entry::File(_) | Entry::There) => Ok(None),
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
