//! The readers of written files: only the running Prometheus.

use crate::{
    error::{Error, Reason, Result},
    model::store::{install::FileOwnership, location::FileOwner},
};
use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// A process as the kernel sees it when it opens a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

impl Ids {
    /// This process.
    pub fn own() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: rustix::process::getgroups().unwrap_or_default().into_iter().map(rustix::fs::Gid::as_raw).collect(),
        }
    }

    fn is_in(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// Whether the mode lets this process in: 4 to read, 1 to pass through a folder. Access lists are not looked at.
    fn may(&self, folder: &Folder, right: u32) -> bool {
        let shift = if self.uid == folder.uid {
            6
        } else if self.is_in(folder.gid) {
            3
        } else {
            0
        };
        self.uid == 0 || folder.mode >> shift & right == right
    }

    /// Of whom `--owner` names, with what his host knows of the user, the user's group, and the group.
    pub fn of(owner: &FileOwner, uid: Option<u32>, gid: Option<u32>, group: Option<u32>) -> Result<Self> {
        let unknown = |what: &str, name: &str| {
            Error::usage(format!("--owner: this host has no {what} {name}"))
                .hint("Name the user of Prometheus: ps -o user= -C prometheus")
        };
        let uid = owner.user.parse().ok().or(uid).ok_or_else(|| unknown("user", &owner.user))?;
        let gid = match &owner.group {
            Some(name) => name.parse().ok().or(group).ok_or_else(|| unknown("group", name))?,
            // A bare number need not be in any list of users.
            None => gid.unwrap_or(uid),
        };
        Ok(Self { uid, gid, groups: Vec::new() })
    }
}

/// The numbers of a user, the user's group and the group, as every other program of this host looks them up.
pub(super) async fn look_up(owner: &FileOwner) -> [Option<u32>; 3] {
    let number = async |arguments: &[&str], name: &str| {
        let output = Command::new(arguments[0]).args(&arguments[1..]).arg(name).kill_on_drop(true).output().await.ok();
        let text = output.filter(|output| output.status.success()).map(|output| output.stdout)?;
        String::from_utf8(text).ok()?.trim().split(':').find_map(|part| part.parse().ok())
    };
    let group = match owner.group.as_deref() {
        Some(group) => number(&["getent", "group", "--"], group).await,
        None => None,
    };
    [number(&["id", "-u", "--"], &owner.user).await, number(&["id", "-g", "--"], &owner.user).await, group]
}

/// A folder on the way to a file.
#[derive(Debug)]
pub struct Folder {
    pub path: PathBuf,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Folder {
    /// None if it cannot be looked at.
    pub(super) fn here(path: &Path) -> Option<Self> {
        let metadata = path.metadata().ok()?;
        Some(Self { path: path.to_owned(), mode: metadata.mode(), uid: metadata.uid(), gid: metadata.gid() })
    }
}

/// A user who may put files into a folder, and rename files in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    Owner(u32),
    Group(u32),
    /// By an access list.
    ListedUser(u32),
    ListedGroup(u32),
    Everyone,
}

impl Writer {
    pub fn is_root(self) -> bool {
        matches!(self, Self::Owner(0) | Self::Group(0) | Self::ListedUser(0) | Self::ListedGroup(0))
    }
}

/// A folder that is written to.
#[derive(Debug)]
pub struct Written {
    pub path: PathBuf,
    /// Its owner first.
    pub writers: Vec<Writer>,
}

impl Written {
    /// By its mode alone.
    pub fn by_mode(folder: &Folder) -> Self {
        let mut writers = vec![Writer::Owner(folder.uid)];
        writers.extend((folder.mode & 0o020 != 0).then_some(Writer::Group(folder.gid)));
        writers.extend((folder.mode & 0o002 != 0).then_some(Writer::Everyone));
        Self { path: folder.path.clone(), writers }
    }
}

/// Refuses, as root, folders in which another user may write than root and the readers of the files. Such a user decides
/// what Prometheus reads, and where Prometheus sends the token. The readers have the token anyway, and on this host
/// cannot lead root out of the folder, because files are opened beneath it. A shell of another host cannot do that, so
/// there root is the only one.
///
/// # Errors
/// [`Reason::UnsafeFolder`], with the command that changes it.
pub fn are_safe(own: &Ids, prometheus: &Ids, by_shell: bool, folders: &[Written]) -> Result<()> {
    if own.uid != 0 {
        return Ok(());
    }
    let is_reader = |writer: &Writer| match writer {
        _ if by_shell => false,
        Writer::Owner(uid) | Writer::ListedUser(uid) => *uid == prometheus.uid,
        Writer::Group(gid) | Writer::ListedGroup(gid) => *gid == prometheus.gid,
        Writer::Everyone => false,
    };
    let other =
        |folder: &Written| folder.writers.iter().copied().find(|writer| !writer.is_root() && !is_reader(writer));
    let Some((folder, writer)) = folders.iter().find_map(|folder| Some((folder, other(folder)?))) else {
        return Ok(());
    };
    let (who, mend) = match writer {
        Writer::Owner(uid) => (format!("it belongs to user {uid}"), "chown root:"),
        Writer::Group(gid) => (format!("group {gid} may write in it"), "chmod g-w"),
        Writer::ListedUser(uid) => (format!("user {uid} may write in it, by an access list"), "setfacl --remove-all"),
        Writer::ListedGroup(gid) => (format!("group {gid} may write in it, by an access list"), "setfacl --remove-all"),
        Writer::Everyone => ("every user may write in it".to_owned(), "chmod o-w"),
    };
    let (path, user) = (folder.path.display().to_string(), prometheus.uid);
    let error = Error::new(
        Reason::UnsafeFolder,
        format!("{path} is not safe for a token of user {user}: {who}; nothing was written"),
    )
    // All of them at once: one command is enough.
    .hint(
        folders
            .iter()
            .filter(|folder| other(folder) == Some(writer))
            .fold(format!("Change it: {mend}"), |hint, folder| {
                format!("{hint} {}", crate::model::text::shell::word(&folder.path.display().to_string()))
            }),
    );
    Err(match writer {
        Writer::Owner(_) if by_shell => error.hint("Or connect as that user: ssh://USER@HOST/DIR"),
        Writer::Owner(uid) => {
            error.hint(format!("Or name the user of Prometheus, if this is user {uid}: --owner {uid}"))
        }
        _ => error,
    })
}

/// Decides who owns the files, for a Prometheus that runs as `prometheus`. In a folder of that user they belong to that
/// user: a service of that user rotates there too.
///
/// # Errors
/// [`Reason::NotReadable`] if this process cannot make a file that only Prometheus can read.
pub fn readers(own: &Ids, prometheus: &Ids, folder_is_of: Option<u32>) -> Result<FileOwnership> {
    if own.uid == prometheus.uid {
        return Ok(FileOwnership::default());
    }
    if own.uid == 0 {
        let owns_folders = folder_is_of == Some(prometheus.uid);
        // Many images use the group root as the default group of all users, so only the owner may read.
        return Ok(FileOwnership {
            owner: (owns_folders || prometheus.gid == 0).then_some(prometheus.uid),
            group: (prometheus.gid != 0).then_some(prometheus.gid),
            owns_folders,
        });
    }
    let shared =
        [prometheus.gid].into_iter().chain(prometheus.groups.iter().copied()).find(|gid| *gid != 0 && own.is_in(*gid));
    shared.map(|gid| FileOwnership { group: Some(gid), ..FileOwnership::default() }).ok_or_else(|| {
        Error::new(
            Reason::NotReadable,
            format!(
                "Prometheus runs as user {} (group {}) and cannot read files of user {}; nothing was written",
                prometheus.uid, prometheus.gid, own.uid
            ),
        )
        .hint("Run the command as that user or as root: sudo --preserve-env=KUBECONFIG kubectl prom-federate …")
        .hint("Or add your user to its group")
    })
}

/// Whether that process can pass through every folder on the way to a file, innermost first.
///
/// # Errors
/// [`Reason::NotReadable`], naming the folder that stops it.
pub fn passes_through(prometheus: &Ids, mut way: impl Iterator<Item = Folder>) -> Result<()> {
    match way.find(|folder| !prometheus.may(folder, 1)) {
        None => Ok(()),
        Some(Folder { path, .. }) => Err(Error::new(
            Reason::NotReadable,
            format!(
                "Prometheus runs as user {} and cannot enter {}; nothing was written",
                prometheus.uid,
                path.display()
            ),
        )
        .hint(format!("Allow it: chmod o+x {}", crate::model::text::shell::word(&path.display().to_string())))
        .hint("Or name the actual user of Prometheus with --owner USER")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(uid: u32, gid: u32, groups: &[u32]) -> Ids {
        Ids { uid, gid, groups: groups.to_vec() }
    }

    #[test]
    fn files_are_readable_only_for_prometheus() {
        let group = |gid| Some(FileOwnership { group: Some(gid), ..FileOwnership::default() });
        for (what, own, prometheus, expected) in [
            ("the same user", ids(1000, 1000, &[]), ids(1000, 1000, &[]), Some(FileOwnership::default())),
            ("root for a daemon", ids(0, 0, &[]), ids(101, 102, &[]), group(102)),
            ("root for root", ids(0, 0, &[]), ids(0, 0, &[]), Some(FileOwnership::default())),
            (
                "root for a daemon in the group root",
                ids(0, 0, &[]),
                ids(65534, 0, &[]),
                Some(FileOwnership { owner: Some(65534), ..FileOwnership::default() }),
            ),
            ("a member of its group", ids(1000, 1000, &[102]), ids(101, 102, &[]), group(102)),
            ("a member of another of its groups", ids(1000, 1000, &[7]), ids(101, 102, &[7]), group(7)),
            ("a stranger", ids(1000, 1000, &[]), ids(101, 102, &[]), None),
            ("both in the group root", ids(1000, 0, &[]), ids(101, 0, &[]), None),
        ] {
            assert_eq!(readers(&own, &prometheus, Some(0)).ok(), expected, "{what}");
        }
        let of_its_user = readers(&ids(0, 0, &[]), &ids(101, 102, &[]), Some(101));
        assert_eq!(of_its_user, Ok(FileOwnership { owner: Some(101), group: Some(102), owns_folders: true }));
    }

    #[test]
    fn root_refuses_folders_of_users_who_are_not_readers() {
        use Writer::{Everyone, Group, ListedGroup, ListedUser, Owner};
        for (writers, mend) in [
            (&[Owner(0)][..], ""),
            (&[Owner(0), Group(0)], ""),
            (&[Owner(101), Group(102)], ""),
            (&[Owner(0), ListedUser(101), ListedGroup(102)], ""),
            (&[Owner(7)], "chown root: /etc/prometheus"),
            (&[Owner(101), Group(7)], "chmod g-w /etc/prometheus"),
            (&[Owner(0), ListedUser(7)], "setfacl --remove-all /etc/prometheus"),
            (&[Owner(0), ListedGroup(7)], "setfacl --remove-all /etc/prometheus"),
            (&[Owner(0), Everyone], "chmod o-w /etc/prometheus"),
        ] {
            let folders = [Written { path: "/etc/prometheus".into(), writers: writers.to_vec() }];
            let prometheus = ids(101, 102, &[7]);
            let hint =
                are_safe(&ids(0, 0, &[]), &prometheus, false, &folders).err().map(|error| error.hints[0].clone());
            let mends = hint.as_deref().and_then(|hint| hint.strip_prefix("Change it: "));
            assert_eq!(mends.unwrap_or_default(), mend, "{writers:?}");
            assert_eq!(are_safe(&ids(1000, 1000, &[]), &prometheus, true, &folders), Ok(()), "{writers:?}");
        }
        let of_prometheus = [Written { path: "/etc/prometheus".into(), writers: vec![Owner(101)] }];
        let by_shell = are_safe(&ids(0, 0, &[]), &ids(101, 102, &[]), true, &of_prometheus);
        assert_eq!(by_shell.unwrap_err().hints[1], "Or connect as that user: ssh://USER@HOST/DIR");
    }

    #[tokio::test]
    async fn owner_is_looked_up_by_name_or_number() {
        let of = async |text: &str| {
            let owner = text.parse().unwrap();
            let [uid, gid, group] = look_up(&owner).await;
            Ids::of(&owner, uid, gid, group)
        };
        assert_eq!(of("0").await.unwrap(), ids(0, 0, &[]));
        assert_eq!(of("root:7").await.unwrap(), ids(0, 7, &[]));
        assert_eq!(of("no-such-user").await.unwrap_err().reason, Reason::InvalidArgument);
    }
}
