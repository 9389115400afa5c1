//! Users of another host, and the permissions of its folders.

use super::{
    answer::Item,
    remote::{Remote, SOON},
};
use crate::{
    error::Result,
    host::{ownership::Folder, remembered::Owned},
    model::{store::location::FileOwner, text::shell::word},
};
use std::path::PathBuf;

impl Remote {
    /// For `--owner`: the number of the user, of the user's group and of the named group, if they exist.
    pub(in crate::host) async fn look_up(&self, owner: &FileOwner) -> Result<[Option<u32>; 3]> {
        let group = owner.group.as_deref().unwrap_or_default();
        let text = format!(
            "say uid\nid -u {user} 2> /dev/null\nsay gid\nid -g {user} 2> /dev/null\nsay group\n{{ getent group {group} || grep '^'{group}: /etc/group; }} 2> /dev/null",
            user = word(&owner.user),
            group = word(group)
        );
        let answer = self.session.ask(&text, SOON).await?;
        Ok(["uid", "gid", "group"].map(|kind| {
            let text = answer.first(kind).map(Item::text)?;
            text.trim().split(':').find_map(|part| part.parse().ok())
        }))
    }

    /// The folder of the main configuration and its parents, innermost first.
    pub(in crate::host) async fn way(&self) -> Result<Vec<Folder>> {
        let answer = self.session.ask("way", SOON).await?;
        let folders = answer.items.iter().filter(|item| item.kind == "way");
        Ok(folders
            .filter_map(|item| {
                let Owned { mode, uid, gid } = owned(&item.text())?;
                Some(Folder { path: PathBuf::from(&item.of), mode, uid, gid })
            })
            .collect())
    }
}

/// From a line of `ls -ldn`.
pub(super) fn owned(line: &str) -> Option<Owned> {
    let mut words = line.split_whitespace();
    let (mode, _, uid, gid) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some(Owned { mode: mode_of(mode)?, uid: uid.parse().ok()?, gid: gid.parse().ok()? })
}

/// The mode that `ls -l` prints as `drwxr-x---`.
fn mode_of(shown: &str) -> Option<u32> {
    let letters = shown.get(1..10)?.bytes();
    Some(letters.fold(0, |mode, letter| mode << 1 | u32::from(!matches!(letter, b'-' | b'S' | b'T'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    #[test]
    fn mode_is_read_from_ls() {
        for (shown, mode) in [
            ("drwxr-x---", Some(0o750)),
            ("drwxr-x---+", Some(0o750)),
            ("drwxrws--T.", Some(0o770)),
            ("-rwSr-Sr-t", Some(0o645)),
            ("----------", Some(0)),
            ("", None),
            ("drwx", None),
        ] {
            assert_eq!(mode_of(shown), mode, "{shown}");
        }
    }

    #[test]
    fn hostile_listings_are_survived() {
        hostile::texts(&["drwxr-x---+ 3 0 101 4096 Nov 29 10:00 prom-federate\n"], |line| {
            assert!(owned(line).is_none_or(|owned| owned.mode <= 0o777));
        });
    }
}
