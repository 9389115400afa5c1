//! What earlier deliveries left on this host.

use super::programs::is_protected;
use crate::{
    host::remembered::{Owned, Traces},
    model::store::layout::{FOLDER, OWNER, TOKEN},
};
use rustix::fs::{Mode, OFlags, open};
use std::{
    fs::{self, File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Of a note: two numbers.
const NOTE: u64 = 64;

/// None where other users may write to the folder of the main configuration.
pub(in crate::host) fn traces(root: &Path) -> Option<Traces> {
    let is_closed = fs::metadata(root).is_ok_and(|metadata| metadata.mode() & 0o022 == 0);
    if !is_closed || !is_protected(root) {
        return None;
    }
    let folder = root.join(FOLDER);
    Some(Traces {
        folder: fs::symlink_metadata(&folder).ok().filter(Metadata::is_dir).map(|metadata| owned(&metadata)),
        note: note(&root.join(OWNER)),
        token: token(&folder),
    })
}

fn owned(metadata: &Metadata) -> Owned {
    Owned { mode: metadata.mode() & 0o7777, uid: metadata.uid(), gid: metadata.gid() }
}

fn note(path: &Path) -> Option<(Owned, String)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).ok()?);
    let metadata = file.metadata().ok().filter(Metadata::is_file)?;
    let mut text = String::new();
    file.take(NOTE).read_to_string(&mut text).ok()?;
    Some((owned(&metadata), text))
}

/// The newest of all: generations begin with their time.
fn token(folder: &Path) -> Option<Owned> {
    let inner = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let clusters = inner(folder).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let generations = clusters.flat_map(|cluster| inner(&cluster.path()));
    let newest = generations
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.path().join(TOKEN).exists())
        .max_by_key(fs::DirEntry::file_name)?;
    let token = fs::symlink_metadata(newest.path().join(TOKEN)).ok().filter(Metadata::is_file)?;
    Some(owned(&token))
}
