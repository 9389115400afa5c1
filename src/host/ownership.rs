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

/// Decides who owns the files, for a Prometheus that runs as `prometheus`.
///
/// # Errors
/// [`Reason::NotReadable`] if this process cannot make a file that only Prometheus can read.
pub fn readers(own: &Ids, prometheus: &Ids) -> Result<FileOwnership> {
    if own.uid == prometheus.uid {
        return Ok(FileOwnership::default());
    }
    if own.uid == 0 {
        // Many images use the group root as the default group of all users, so only the owner may read.
        return Ok(if prometheus.gid == 0 {
            FileOwnership { owner: Some(prometheus.uid), group: None }
        } else {
            FileOwnership { owner: None, group: Some(prometheus.gid) }
        });
    }
    let shared =
        [prometheus.gid].into_iter().chain(prometheus.groups.iter().copied()).find(|gid| *gid != 0 && own.is_in(*gid));
    shared.map(|gid| FileOwnership { owner: None, group: Some(gid) }).ok_or_else(|| {
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
        let group = |gid| Some(FileOwnership { owner: None, group: Some(gid) });
        for (what, own, prometheus, expected) in [
            ("the same user", ids(1000, 1000, &[]), ids(1000, 1000, &[]), Some(FileOwnership::default())),
            ("root for a daemon", ids(0, 0, &[]), ids(101, 102, &[]), group(102)),
            ("root for root", ids(0, 0, &[]), ids(0, 0, &[]), Some(FileOwnership::default())),
            (
                "root for a daemon in the group root",
                ids(0, 0, &[]),
                ids(65534, 0, &[]),
                Some(FileOwnership { owner: Some(65534), group: None }),
            ),
            ("a member of its group", ids(1000, 1000, &[102]), ids(101, 102, &[]), group(102)),
            ("a member of another of its groups", ids(1000, 1000, &[7]), ids(101, 102, &[7]), group(7)),
            ("a stranger", ids(1000, 1000, &[]), ids(101, 102, &[]), None),
            ("both in the group root", ids(1000, 0, &[]), ids(101, 0, &[]), None),
        ] {
            assert_eq!(readers(&own, &prometheus).ok(), expected, "{what}");
        }
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
