//! Files beneath one folder, by descriptors. Each part of a path is opened beneath the one before, and no link is followed:
//! another user who may rename files in there meanwhile cannot lead this process to files elsewhere.

use super::mounts::mount_of;
use crate::{
    host::{
        main_file::MainFile,
        ownership::{Ids, Writer},
        tree::{MAIN_LIMIT, Stamp, too_large},
    },
    model::store::layout::{RECORD, STAGED_SUFFIX},
};
use rustix::{
    fs::{
        Access, AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, accessat, fchmod, fchown, fstat, fsync, linkat,
        mkdirat, openat, readlinkat, renameat, statat, symlinkat, unlinkat,
    },
    io::Errno,
    path::Arg,
};
use std::{
    ffi::{CString, OsString},
    fs::File,
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::FileExt},
    },
    path::{Path, PathBuf},
};

/// More entries of a folder are not read: 2,000 clusters have 6,000.
const ENTRIES: usize = 100_000;
/// Folders in each other that are deleted: a generation has none.
const DEPTH: usize = 16;

/// The lists that give more users access than the mode says, see acl(5).
const ACCESS_LIST: &str = "system.posix_acl_access";
const DEFAULT_LIST: &str = "system.posix_acl_default";

/// An open folder.
#[derive(Debug)]
pub(in crate::host) struct Folder(OwnedFd);

const ENTRY: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC).union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

impl Folder {
    /// The links on the way there are followed, as of any path that a user types.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Does something with the last part of a path, in the folder that has it.
    fn at<T>(&self, path: &str, work: impl FnOnce(&Self, &str) -> io::Result<T>) -> io::Result<T> {
        match path.split_once('/') {
            None if matches!(path, "" | "." | "..") => Err(unfit("", "no name of a file")),
            None => work(self, path),
            Some((first, rest)) => self.enter(first)?.at(rest, work),
        }
    }

    fn enter(&self, name: impl Arg + Copy) -> io::Result<Self> {
        if name.as_str().is_ok_and(|name| matches!(name, "" | "." | "..")) {
            return Err(unfit("", "no name of a folder"));
        }
        match openat(&self.0, name, ENTRY | OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            Ok(folder) => Ok(Self(folder)),
            Err(error @ (Errno::NOTDIR | Errno::LOOP)) => Err(match self.kind(name)? {
                Some(kind) if kind != FileType::Directory => {
                    unfit(&name.to_string_lossy(), &format!("{}, not a folder", said(kind)))
                }
                _ => error.into(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    fn stat(&self, name: impl Arg) -> io::Result<Option<Stat>> {
        match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn kind(&self, name: impl Arg) -> io::Result<Option<FileType>> {
        Ok(self.stat(name)?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
    }

    /// A regular file. Looked at before it is opened too: to open a device may have an effect.
    fn regular(&self, name: &str, flags: OFlags) -> io::Result<(File, Stat)> {
        let is_regular = |kind: FileType| {
            (kind == FileType::RegularFile)
                .then_some(())
                .ok_or_else(|| unfit(name, &format!("{}, not a file", said(kind))))
        };
        is_regular(self.kind(name)?.ok_or(Errno::NOENT)?)?;
        let file = File::from(openat(&self.0, name, ENTRY | flags, Mode::empty())?);
        let stat = fstat(&file)?;
        is_regular(FileType::from_raw_mode(stat.st_mode))?;
        Ok((file, stat))
    }

    /// # Errors
    /// [`ErrorKind::NotFound`]; a text for people where it is no regular file, or larger than the limit.
    pub(super) fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        self.at(path, |folder, name| {
            let (file, _) = folder.regular(name, OFlags::RDONLY)?;
            content(&file, limit)
        })
    }

    /// A folder beneath.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; a text for people where it is no folder.
    pub(super) fn folder(&self, path: &str) -> io::Result<Self> {
        self.at(path, |folder, name| folder.enter(name))
    }

    /// What is in it, and whether each is a folder.
    pub(super) fn list(&self) -> io::Result<Vec<(String, bool)>> {
        let names = self.names()?.into_iter();
        Ok(names
            .map(|(name, kind)| {
                let kind = match kind {
                    FileType::Unknown => self.kind(name.as_c_str()).ok().flatten().unwrap_or(FileType::Unknown),
                    kind => kind,
                };
                (name.to_string_lossy().into_owned(), kind == FileType::Directory)
            })
            .collect())
    }

    fn names(&self) -> io::Result<Vec<(CString, FileType)>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            if names.len() == ENTRIES {
                return Err(io::Error::other(format!("it has more than {ENTRIES} entries")));
            }
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
        Ok(names)
    }

    /// Of a file that is not read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub(super) fn stamp(&self, path: &str) -> io::Result<Stamp> {
        let stat = self.at(path, |folder, name| folder.stat(name))?.ok_or(Errno::NOENT)?;
        let time = |seconds, nanoseconds| i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        Ok(Stamp {
            inode: stat.st_ino,
            size: stat.st_size.unsigned_abs(),
            changed: [time(stat.st_mtime, stat.st_mtime_nsec), time(stat.st_ctime, stat.st_ctime_nsec)],
        })
    }

    /// Whether there is something, also a link that leads nowhere.
    pub(super) fn has(&self, path: &str) -> io::Result<bool> {
        let found = self.at(path, |folder, name| folder.stat(name));
        Ok(found.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(None) } else { Err(error) })?.is_some())
    }

    /// Where a link leads; none where there is no link.
    pub(super) fn link_target(&self, path: &str) -> io::Result<Option<PathBuf>> {
        self.at(path, |folder, name| match readlinkat(&folder.0, name, Vec::new()) {
            Ok(target) => Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes())))),
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        })
    }

    /// Opens a file for a lock, and makes it if it is missing: for the user to whom the folder belongs.
    pub(super) fn lock_file(&self, path: &str) -> io::Result<File> {
        self.at(path, |folder, name| {
            let flags = ENTRY | OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            match openat(&folder.0, name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    let (own, of_folder) = (fstat(&file)?, fstat(&folder.0)?);
                    if is_root() && own.st_uid != of_folder.st_uid {
                        fchown(&file, Some(Uid::from_raw(of_folder.st_uid)), None)?;
                    }
                    remove_list(file.as_fd(), ACCESS_LIST)?;
                    Ok(file.into())
                }
                Err(Errno::EXIST) => Ok(folder.regular(name, OFlags::RDWR)?.0),
                Err(error) => Err(error.into()),
            }
        })
    }

    /// Makes a folder with these readers, and gives one that is there these readers.
    pub(super) fn make_folder(&self, path: &str, owner: Option<u32>, group: Option<u32>, mode: u32) -> io::Result<()> {
        self.at(path, |parent, name| {
            match mkdirat(&parent.0, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let folder = parent.enter(name)?;
            let stat = fstat(&folder.0)?;
            // A user who may rename in the parent may put another folder of that parent here, now or before: of root, say.
            // Its content must not get other readers.
            if is_root() && !parent.writers()?.iter().all(|writer| writer.is_root()) {
                let is_theirs = stat.st_uid != 0 && stat.st_uid == fstat(&parent.0)?.st_uid;
                if !is_theirs && !folder.names()?.is_empty() {
                    return Ok(());
                }
            }
            if owner.is_some_and(|uid| uid != stat.st_uid) || group.is_some_and(|gid| gid != stat.st_gid) {
                fchown(&folder.0, owner.map(Uid::from_raw), group.map(Gid::from_raw))?;
            }
            remove_list(folder.0.as_fd(), ACCESS_LIST)?;
            remove_list(folder.0.as_fd(), DEFAULT_LIST)?;
            if fstat(&folder.0)?.st_mode & 0o7777 != mode {
                fchmod(&folder.0, Mode::from_raw_mode(mode))?;
            }
            Ok(())
        })
    }

    /// Writes a new file: the readers are there before the content.
    pub(super) fn write(
        &self,
        path: &str,
        owner: Option<u32>,
        group: Option<u32>,
        mode: u32,
        content: &[u8],
    ) -> io::Result<()> {
        self.at(path, |folder, name| {
            let file = folder.fresh(name)?;
            let stat = fstat(&file)?;
            if owner.is_some_and(|uid| uid != stat.st_uid) || group.is_some_and(|gid| gid != stat.st_gid) {
                fchown(&file, owner.map(Uid::from_raw), group.map(Gid::from_raw))?;
            }
            remove_list(file.as_fd(), ACCESS_LIST)?;
            finish(file, mode, content)
        })
    }

    /// Writes a new file with the owner, the mode and the access list of another file.
    pub(super) fn write_like(&self, path: &str, like: &str, content: &[u8]) -> io::Result<()> {
        let like = self.at(like, |folder, name| folder.regular(name, OFlags::RDONLY))?;
        self.write_as(path, &like, content)
    }

    /// A second name of the very file; a copy where the file system has none, or this user may not make one.
    pub(super) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.at(from, |folder, name| folder.regular(name, OFlags::RDONLY))?;
        self.remove(to)?;
        let linked = self.at(from, |from_folder, from| {
            // Does not follow a link that is there meanwhile.
            self.at(to, |to_folder, to| Ok(linkat(&from_folder.0, from, &to_folder.0, to, AtFlags::empty())))
        })?;
        match linked {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => self.copy(from, to),
            linked => Ok(linked?),
        }
    }

    /// Writes the content of one file into another, in one call if the system takes it: a reader sees the one text or the
    /// other, and after a kill at most one text's beginning and the other's end.
    pub(super) fn overwrite(&self, path: &str, from: &str) -> io::Result<()> {
        let content = self.read(from, MAIN_LIMIT)?;
        self.at(path, |folder, name| {
            let (file, stat) = folder.regular(name, OFlags::WRONLY)?;
            if !folder.is_kept_by_its_owner(&stat)? {
                return Err(unfit(name, "of another user than the one who may write in its folder"));
            }
            file.write_all_at(&content, 0)?;
            if stat.st_size.cast_unsigned() > content.len() as u64 {
                file.set_len(content.len() as u64)?;
            }
            file.sync_all()
        })
    }

    /// Whether only its owner, or root, can have given a file its name: root must not write into a file of one user that
    /// another user put here.
    fn is_kept_by_its_owner(&self, file: &Stat) -> io::Result<bool> {
        if !is_root() || self.writers()?.iter().all(|writer| writer.is_root()) {
            return Ok(true);
        }
        Ok(file.st_uid != 0 && file.st_uid == fstat(&self.0)?.st_uid)
    }

    /// What hangs on a main configuration. `backup` may be a second name of it that is ours.
    pub(super) fn main_file(&self, name: &str, backup: &str) -> io::Result<MainFile> {
        if let Some(link) = self.link_target(name)? {
            return Ok(MainFile { link: Some(link), ..MainFile::default() });
        }
        let (file, stat) = self.regular(name, OFlags::RDONLY)?;
        let own = Ids::own();
        let is_same = |other: &Stat| (other.st_dev, other.st_ino) == (stat.st_dev, stat.st_ino);
        let is_kept = self.stat(backup)?.is_some_and(|backup| is_same(&backup));
        let refusal = |name| accessat(&self.0, name, Access::WRITE_OK, AtFlags::empty()).err().map(io::Error::from);
        // Of a folder that cannot be written, the first file in it says so.
        let unwritable = if refusal(".").is_some() { None } else { refusal(name).map(|error| error.to_string()) };
        let is_of_others = stat.st_uid != own.uid || (stat.st_gid != own.gid && !own.groups.contains(&stat.st_gid));
        Ok(MainFile {
            link: None,
            is_mounted: mount_of(&file).is_some_and(|mount| mount_of(&self.0).is_some_and(|other| other != mount)),
            has_other_names: stat.st_nlink > if is_kept { 2 } else { 1 },
            has_attributes: has_attributes(file.as_fd())?,
            is_of_others: !is_root() && is_of_others,
            unwritable,
            may_be_swapped: !self.is_kept_by_its_owner(&stat)?,
        })
    }

    /// Content, owner, mode and access list are those of one descriptor.
    pub(super) fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let from = self.at(from, |folder, name| {
            let (file, stat) = folder.regular(name, OFlags::RDONLY)?;
            let content = content(&file, MAIN_LIMIT)?;
            Ok(((file, stat), content))
        })?;
        self.write_as(to, &from.0, &from.1)
    }

    fn write_as(&self, path: &str, (like, stat): &(File, Stat), content: &[u8]) -> io::Result<()> {
        self.at(path, |folder, name| {
            let file = folder.fresh(name)?;
            let fresh = fstat(&file)?;
            if (fresh.st_uid, fresh.st_gid) != (stat.st_uid, stat.st_gid) {
                fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
            }
            match access_list(like.as_fd())? {
                None => remove_list(file.as_fd(), ACCESS_LIST)?,
                Some(list) => set_list(file.as_fd(), &list)?,
            }
            finish(file, stat.st_mode & 0o777, content)
        })
    }

    /// An empty file that only this user can read until it is given its readers.
    fn fresh(&self, name: &str) -> io::Result<File> {
        gone_is_fine(unlinkat(&self.0, name, AtFlags::empty()))?;
        let flags = ENTRY | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.at(from, |from_folder, from| {
            self.at(to, |to_folder, to| Ok(renameat(&from_folder.0, from, &to_folder.0, to)?))
        })
    }

    /// Points a symbolic link elsewhere, in one step.
    pub(super) fn point(&self, path: &str, to: &str) -> io::Result<()> {
        self.at(path, |folder, name| {
            if let Some(kind) = folder.kind(name)?.filter(|kind| *kind != FileType::Symlink) {
                return Err(unfit(name, &format!("{}, not a symbolic link", said(kind))));
            }
            let staged = format!("{name}{STAGED_SUFFIX}");
            gone_is_fine(unlinkat(&folder.0, &*staged, AtFlags::empty()))?;
            symlinkat(to, &folder.0, &*staged)?;
            Ok(renameat(&folder.0, &*staged, &folder.0, name)?)
        })
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        none_is_fine(self.at(path, |folder, name| gone_is_fine(unlinkat(&folder.0, name, AtFlags::empty()))))
    }

    /// The content is compared, unless both are one file.
    pub(super) fn remove_copy(&self, path: &str, of: &str) -> io::Result<()> {
        if !self.has(path)? || self.read(path, MAIN_LIMIT).ok() != self.read(of, MAIN_LIMIT).ok() {
            return Ok(());
        }
        self.remove(path)
    }

    /// The record of a generation goes last: it names the cluster, so that a run that is killed can be repeated.
    pub(super) fn remove_folder(&self, path: &str) -> io::Result<()> {
        none_is_fine(self.at(path, |folder, name| folder.remove_all(name, DEPTH)))
    }

    fn remove_all(&self, name: impl Arg + Copy, depth: usize) -> io::Result<()> {
        let folder = self.enter(name)?;
        let mut names = folder.names()?;
        names.sort_by_key(|(entry, _)| entry.as_bytes() == RECORD.as_bytes());
        for (entry, _) in names {
            match unlinkat(&folder.0, entry.as_c_str(), AtFlags::empty()) {
                // Linux has the first for a folder, other systems the second.
                Err(Errno::ISDIR | Errno::PERM) if depth > 0 => folder.remove_all(entry.as_c_str(), depth - 1)?,
                outcome => gone_is_fine(outcome)?,
            }
        }
        gone_is_fine(unlinkat(&self.0, name, AtFlags::REMOVEDIR))
    }

    pub(super) fn remove_empty_folder(&self, path: &str) -> io::Result<()> {
        none_is_fine(self.at(path, |folder, name| match unlinkat(&folder.0, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            outcome => gone_is_fine(outcome),
        }))
    }

    /// The name of a file is on the disk only when its folder is.
    pub(super) fn sync_folder_of(&self, path: &str) -> io::Result<()> {
        none_is_fine(self.at(path, |folder, _| Ok(fsync(&folder.0)?)))
    }

    /// Who may write in a folder beneath this one.
    pub(super) fn writers_of(&self, path: &str) -> io::Result<Vec<Writer>> {
        self.at(path, |folder, name| folder.enter(name)?.writers())
    }

    /// Who may put files into it and rename files in it; its owner first.
    pub(super) fn writers(&self) -> io::Result<Vec<Writer>> {
        let stat = fstat(&self.0)?;
        let mut writers = vec![Writer::Owner(stat.st_uid)];
        // With a list, the bits of the group are those that the list can give at most.
        let list = if stat.st_mode & 0o020 == 0 { None } else { access_list(self.0.as_fd())? };
        match list {
            Some(list) => writers.extend(listed(&list, stat.st_gid)),
            None if stat.st_mode & 0o020 != 0 => writers.push(Writer::Group(stat.st_gid)),
            None => {}
        }
        writers.extend((stat.st_mode & 0o002 != 0).then_some(Writer::Everyone));
        Ok(writers)
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn content(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // A size that is read beforehand says little: the file may grow, and that of /proc is 0.
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::other(too_large(limit)));
    }
    Ok(content)
}

fn finish(mut file: File, mode: u32, content: &[u8]) -> io::Result<()> {
    fchmod(&file, Mode::from_raw_mode(mode))?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()
}

fn unfit(name: &str, what: &str) -> io::Error {
    let name = if name.is_empty() { "it" } else { name };
    io::Error::other(format!("{name} is {what}"))
}

/// With its article.
fn said(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a folder",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::RegularFile => "a file",
        _ => "a device",
    }
}

fn gone_is_fine(outcome: Result<(), Errno>) -> io::Result<()> {
    match outcome {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The same where a folder on the way is missing.
fn none_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// There is no such list, or none can be: other systems have other lists.
#[cfg(target_os = "linux")]
const NO_LIST: [Errno; 3] = [Errno::NODATA, Errno::OPNOTSUPP, Errno::NOSYS];

#[cfg(target_os = "linux")]
fn remove_list(file: BorrowedFd<'_>, list: &str) -> io::Result<()> {
    match rustix::fs::fremovexattr(file, list) {
        Err(error) if !NO_LIST.contains(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn access_list(file: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    // 64 kB is the most that Linux stores, XATTR_SIZE_MAX of linux/limits.h.
    let mut list = vec![0; 64 * 1024];
    match rustix::fs::fgetxattr(file, ACCESS_LIST, &mut list[..]) {
        Ok(length) => {
            list.truncate(length);
            Ok(Some(list))
        }
        Err(error) if NO_LIST.contains(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether a file has an access list or other extended attributes. A file system that knows none has none.
#[cfg(target_os = "linux")]
fn has_attributes(file: BorrowedFd<'_>) -> io::Result<bool> {
    match rustix::fs::flistxattr(file, &mut [0_u8; 1024][..]) {
        Ok(length) => Ok(length > 0),
        Err(Errno::RANGE) => Ok(true),
        Err(error) if NO_LIST.contains(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(target_os = "linux")]
fn set_list(file: BorrowedFd<'_>, list: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(file, ACCESS_LIST, list, rustix::fs::XattrFlags::empty())?)
}

#[cfg(not(target_os = "linux"))]
fn remove_list(_: BorrowedFd<'_>, _: &str) -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn access_list(_: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    Ok(None)
}

#[cfg(not(target_os = "linux"))]
fn has_attributes(_: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(false)
}

#[cfg(not(target_os = "linux"))]
fn set_list(_: BorrowedFd<'_>, _: &[u8]) -> io::Result<()> {
    Ok(())
}

/// Who may write by an access list, beside the owner and everyone: `linux/posix_acl_xattr.h` has its format, a version and
/// then entries of a tag, the rights and a number.
fn listed(list: &[u8], group: u32) -> Vec<Writer> {
    const USER: u16 = 0x02;
    const GROUP_OF_FILE: u16 = 0x04;
    const GROUP: u16 = 0x08;
    const WRITE: u16 = 0x02;
    let (entries, _) = list.get(4..).unwrap_or_default().as_chunks::<8>();
    entries
        .iter()
        .filter_map(|&[tag, tag_high, rights, rights_high, id @ ..]| {
            let id = u32::from_le_bytes(id);
            let may_write = u16::from_le_bytes([rights, rights_high]) & WRITE != 0;
            match u16::from_le_bytes([tag, tag_high]) {
                _ if !may_write => None,
                USER => Some(Writer::ListedUser(id)),
                GROUP => Some(Writer::ListedGroup(id)),
                GROUP_OF_FILE => Some(Writer::Group(group)),
                _ => None,
            }
        })
        .collect()
}
