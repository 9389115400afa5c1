//! The folder of a main configuration of this host. A thread of its own works there, one thing after the other: a file
//! system that does not answer must not keep the event loop from hearing a signal.

use super::{beneath, files};
use crate::{
    clock,
    error::{Error, Reason, Result},
    host::{
        main_file::{MainFile, ReadMain},
        ownership::{Folder, Written},
        tree::{Entry, LIMIT, MAIN_LIMIT, Stamps, Tree},
    },
    model::{
        store::{
            install::{self, FileOwnership, LeftOfEdit, Operation, Step},
            layout::{self, CURRENT, FRAGMENT_SUFFIX, Generation, Layout, RECORD},
        },
        text::names::ClusterName,
    },
};
use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, mpsc},
    thread,
};
use tokio::sync::oneshot;

/// A folder, by its path; opened with the first work.
#[derive(Clone, Debug)]
pub struct LocalFolder {
    path: PathBuf,
    worker: Arc<OnceLock<mpsc::Sender<Work>>>,
}

type Work = Box<dyn FnOnce(&io::Result<beneath::Folder>) + Send>;

impl<P: Into<PathBuf>> From<P> for LocalFolder {
    fn from(path: P) -> Self {
        Self { path: path.into(), worker: Arc::default() }
    }
}

impl Deref for LocalFolder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

/// The real path of a file or folder, and whether it is a folder. Links are followed, as of any path that a user types, but
/// a link to a file stays what it is: Prometheus reads the files beside it, and not beside its target.
pub(crate) async fn resolved(typed: &Path) -> io::Result<(PathBuf, bool)> {
    let typed = typed.to_owned();
    let resolve = move || {
        let path = fs::canonicalize(&typed)?;
        if path.is_dir() {
            return Ok((path, true));
        }
        let (Some(parent), Some(name)) = (typed.parent(), typed.file_name()) else { return Ok((path, false)) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        Ok((fs::canonicalize(parent)?.join(name), false))
    };
    tokio::task::spawn_blocking(resolve).await.map_err(io::Error::other)?
}

/// Replaces a file of this host that other programs read. Its folder is opened once, and no link in it is followed.
pub(crate) async fn replace(path: &Path, mode: u32, text: String) -> io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let name = name.ok_or_else(|| io::Error::other("its name is not UTF-8"))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let staged = format!("{name}.{}", std::process::id());
    let write = move |folder: &beneath::Folder| {
        let written = folder.write(&staged, None, None, mode, text.as_bytes());
        written.and_then(|()| folder.rename(&staged, &name)).inspect_err(|_| drop(folder.remove(&staged)))
    };
    LocalFolder::from(parent).ask(write).await
}

impl LocalFolder {
    /// Has something done. Where this is dropped, what has begun goes on to its end, before any later work.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&beneath::Folder) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |folder| {
            let outcome = match folder {
                Ok(folder) => work(folder),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            let _ = answer.send(outcome);
        });
        let ended = |_| io::Error::other("the thread for its files has ended");
        self.worker().send(work).map_err(|_| io::Error::other("no thread for its files can be had"))?;
        // By a thread of tokio, because a paused clock waits for those.
        let answered = tokio::task::spawn_blocking(|| answered.blocking_recv()).await;
        answered.map_err(io::Error::other)?.map_err(ended)?
    }

    fn worker(&self) -> &mpsc::Sender<Work> {
        self.worker.get_or_init(|| {
            let (sender, works) = mpsc::channel::<Work>();
            let path = self.path.clone();
            // Where there is none, the receiver is gone, and each request says so.
            let _ = thread::Builder::new().name("files".to_owned()).spawn(move || {
                let folder = beneath::Folder::open(&path);
                for work in works {
                    work(&folder);
                }
            });
            sender
        })
    }

    /// A file as text; none if it is not there.
    pub(in crate::host) async fn text(&self, path: &str) -> Result<Option<String>, String> {
        let path = path.to_owned();
        self.ask(move |folder| Ok(text(folder, &path))).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The main configuration. If it is a link, another tool has made it; it is followed, like the path to this folder.
    pub(crate) async fn read_main(&self, main: &str) -> io::Result<ReadMain> {
        let (root, main) = (self.path.clone(), main.to_owned());
        self.ask(move |folder| read_main(folder, &root, &main)).await
    }

    pub(in crate::host) async fn has(&self, path: &str) -> bool {
        let path = path.to_owned();
        self.ask(move |folder| folder.has(&path)).await.unwrap_or(false)
    }

    /// What there is of one cluster, or of all.
    pub(in crate::host) async fn tree(&self, cluster: Option<&ClusterName>) -> Result<Tree> {
        let cluster = cluster.cloned();
        let read = move |folder: &beneath::Folder| {
            Ok(tree(folder, cluster.as_ref(), |folder, path| folder.read(path, LIMIT).map(Entry::File)))
        };
        self.ask(read).await.map_err(|error| self.unusable(&error))
    }

    /// The same of all, unread.
    pub(in crate::host) async fn stamps(&self) -> Result<Stamps> {
        let taken = clock::now().as_nanosecond();
        let look = move |folder: &beneath::Folder| {
            Ok(Stamps { tree: tree(folder, None, |folder, path| folder.stamp(path).map(Entry::Unread)), taken })
        };
        self.ask(look).await.map_err(|error| self.unusable(&error))
    }

    /// None if another run holds it.
    pub(in crate::host) async fn lock(&self, path: &str) -> Result<Option<File>> {
        let own = path.to_owned();
        let lock = move |folder: &beneath::Folder| {
            let file = folder.lock_file(&own)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        self.ask(lock).await.map_err(|error| files::write_failed(&self.path.join(path), &error))
    }

    /// Executes the steps in order; `note` is told what undoes each, before it begins.
    pub(in crate::host) async fn run(
        &self,
        ownership: FileOwnership,
        steps: &[Step],
        mut note: impl FnMut(Operation),
    ) -> Result<()> {
        for step in steps {
            // An undo of something that was there before would take away what is not ours to take.
            let there_before = match &step.operation {
                Operation::MakeFolder { path } => self.has(path).await,
                _ => false,
            };
            if let (Some(back), false) = (&step.undo, there_before) {
                note(back.clone());
            }
            self.execute(ownership, &step.operation).await?;
        }
        Ok(())
    }

    pub(in crate::host) async fn execute(&self, ownership: FileOwnership, operation: &Operation) -> Result<()> {
        let own = operation.clone();
        let outcome = self.ask(move |folder| files::execute(folder, ownership, &own)).await;
        outcome.map_err(|error| files::write_failed(&self.path.join(files::changed(operation)), &error))
    }

    /// What is said of an undo that did not end in time.
    pub(in crate::host) fn is_late(&self) -> Error {
        let what = format!("cannot write {}: the file system does not answer", self.path.display());
        Error::new(Reason::WriteFailed, what)
    }

    /// The folders that are written to, as far as they are there: itself, ours, and those of clusters.
    pub(in crate::host) async fn written(&self) -> Result<Vec<Written>> {
        let path = self.path.clone();
        let look = move |folder: &beneath::Folder| {
            let mut folders = vec![Written { path: path.clone(), writers: folder.writers()? }];
            if folder.has(layout::FOLDER)? {
                let ours = folder.folder(layout::FOLDER)?.list()?.into_iter();
                let of_clusters = ours.filter(|(name, is_folder)| *is_folder && name.parse::<ClusterName>().is_ok());
                let of_clusters = of_clusters.map(|(name, _)| format!("{}/{name}", layout::FOLDER));
                for ours in [layout::FOLDER.to_owned()].into_iter().chain(of_clusters) {
                    folders.push(Written { path: path.join(&ours), writers: folder.writers_of(&ours)? });
                }
            }
            Ok(folders)
        };
        self.ask(look).await.map_err(|error| self.unusable(&error))
    }

    fn unusable(&self, error: &io::Error) -> Error {
        let what = format!("cannot open {}: {error}", self.path.display());
        Error::new(Reason::DestinationUnusable, what).hint("Run the command as a user who may read and write there")
    }

    /// Its parents, innermost first, itself among them.
    pub(in crate::host) async fn way(&self) -> Vec<Folder> {
        let path = self.path.clone();
        self.ask(move |_| Ok(path.ancestors().filter_map(Folder::here).collect())).await.unwrap_or_default()
    }
}

fn read_main(folder: &beneath::Folder, root: &Path, main: &str) -> io::Result<ReadMain> {
    let backup = install::backup_of_main(main);
    let content = if folder.link_target(main)?.is_none() {
        folder.read(main, MAIN_LIMIT)?
    } else {
        let target = fs::canonicalize(root.join(main))?;
        let (parent, name) = (target.parent(), target.file_name().and_then(|name| name.to_str()));
        let (Some(parent), Some(name)) = (parent, name) else {
            return Err(io::Error::other(format!("the path {} is not UTF-8", target.display())));
        };
        beneath::Folder::open(parent)?.read(name, MAIN_LIMIT)?
    };
    let staged = folder.read(&install::staged_main(main), MAIN_LIMIT).ok();
    let before = if staged.is_some() { folder.read(&backup, MAIN_LIMIT).ok() } else { None };
    let (left, content) = LeftOfEdit::find(content, staged.as_deref(), before);
    let text = String::from_utf8(content).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    let file = folder.main_file(main, &backup).unwrap_or_else(|error| MainFile::unknown(error.to_string()));
    Ok(ReadMain { text, left, file })
}

fn text(folder: &beneath::Folder, path: &str) -> Result<Option<String>, String> {
    match folder.read(path, LIMIT) {
        Ok(content) => String::from_utf8(content).map(Some).map_err(|_| "it is not UTF-8 text".to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// `look` tells of a file by its path beneath a folder. Each folder is opened once, and what is in it is looked at from
/// there.
fn tree(
    root: &beneath::Folder,
    cluster: Option<&ClusterName>,
    look: impl Fn(&beneath::Folder, &str) -> io::Result<Entry>,
) -> Tree {
    let mut entries = Vec::new();
    let link = |folder: &beneath::Folder, inside: &str| {
        let to = folder.link_target(inside).ok().flatten();
        to.map(|to| Entry::Link(to.to_string_lossy().into_owned()))
    };
    let read = |folder: &beneath::Folder, inside: &str, path: String| match look(folder, inside) {
        Ok(entry) => Some((path, entry)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => Some((path, link(folder, inside).unwrap_or_else(|| Entry::Unreadable(error.to_string())))),
    };
    let open = |folder: &beneath::Folder, inside: &str| match folder
        .folder(inside)
        .and_then(|opened| Ok((opened.list()?, opened)))
    {
        Ok(opened) => (Some(Entry::Folder), Some(opened)),
        Err(error) if error.kind() == ErrorKind::NotFound => (None, None),
        Err(error) => (Some(Entry::Unreadable(error.to_string())), None),
    };
    let of_cluster = |folder: &beneath::Folder, inside: &str, path: String, entries: &mut Vec<(String, Entry)>| {
        let (kind, opened) = open(folder, inside);
        entries.extend(kind.map(|kind| (path.clone(), kind)));
        let Some((names, cluster)) = opened else { return };
        for (name, _) in names {
            let path = format!("{path}/{name}");
            if name == CURRENT {
                entries.push((path, link(&cluster, &name).unwrap_or(Entry::There)));
            } else if name.parse::<Generation>().is_ok() {
                entries.extend(read(&cluster, &format!("{name}/{RECORD}"), format!("{path}/{RECORD}")));
                entries.push((path, Entry::Folder));
            }
        }
    };
    if let Some(cluster) = cluster {
        let layout = Layout(cluster);
        let is_there = |path: &str| root.has(path).unwrap_or(false);
        entries.extend(read(root, &layout.fragment(), layout.fragment()));
        entries.extend(is_there(&layout.rules()).then(|| (layout.rules(), Entry::There)));
        of_cluster(root, &layout.folder(), layout.folder(), &mut entries);
    } else {
        let (kind, opened) = open(root, layout::FOLDER);
        if let Some((names, ours)) = opened {
            for (name, is_folder) in names {
                let path = format!("{}/{name}", layout::FOLDER);
                if name.ends_with(FRAGMENT_SUFFIX) {
                    entries.extend(read(&ours, &name, path));
                } else if !is_folder {
                    entries.push((path, Entry::There));
                } else if name.parse::<ClusterName>().is_ok() {
                    of_cluster(&ours, &name, path, &mut entries);
                }
            }
        }
        entries.extend(kind.map(|kind| (layout::FOLDER.to_owned(), kind)));
    }
    Tree::of(entries)
}
