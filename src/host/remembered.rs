//! For whom earlier deliveries wrote: a Prometheus that is down for the moment changes nothing, and another user becomes
//! the reader by `--owner` alone.
//!
//! What other users may have written is not believed, so the folder of the main configuration must be writable by root
//! and the user of the command alone.

use super::ownership::Ids;

/// The reader of earlier deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Releases before 0.2 remember the group alone, by the token that it may read.
    pub uid: Option<u32>,
    pub gid: u32,
}

/// Owner and mode of a file or folder that is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// What earlier deliveries left, in a folder of the main configuration that only root and the user of the command may
/// write. `S_IFMT` is no part of a mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Our folder.
    pub folder: Option<Owned>,
    /// The note, a small file, and what it says.
    pub note: Option<(Owned, String)>,
    /// A token.
    pub token: Option<Owned>,
}

impl Traces {
    /// `own` is the user of the command.
    pub fn remembered(&self, own: u32) -> Option<Remembered> {
        let is_ours = |file: &Owned| file.mode & 0o022 == 0 && (file.uid == 0 || file.uid == own);
        // Another user may have made the folder while that user could write in the folder above it.
        self.folder.filter(is_ours)?;
        let noted = self.note.as_ref().filter(|(file, _)| is_ours(file)).and_then(|(_, text)| Remembered::read(text));
        let by_group = || self.token.filter(|token| is_ours(token) && token.mode & 0o040 != 0 && token.gid != 0);
        noted.or_else(|| Some(Remembered { uid: None, gid: by_group()?.gid }))
    }
}

impl Remembered {
    pub fn note(reader: &Ids) -> String {
        format!("{}:{}\n", reader.uid, reader.gid)
    }

    fn read(note: &str) -> Option<Self> {
        let (uid, gid) = note.trim_ascii().split_once(':')?;
        Some(Self { uid: Some(uid.parse().ok()?), gid: gid.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    /// Mode, owner and group.
    type Shown = Option<(u32, u32, u32)>;

    fn owned(shown: Shown) -> Option<Owned> {
        shown.map(|(mode, uid, gid)| Owned { mode, uid, gid })
    }

    #[test]
    fn reader_is_remembered_by_what_only_root_and_the_user_write() {
        let known = |uid, gid| Some(Remembered { uid, gid });
        let ours = Some((0o750, 0, 101));
        let token = Some((0o640, 0, 101));
        for (what, folder, note, token, expected) in [
            ("nothing was delivered", None, None, None, None),
            ("a note", ours, Some((0o640, 0, 101)), token, known(Some(100), 101)),
            ("a note of the user of the command", ours, Some((0o640, 7, 101)), token, known(Some(100), 101)),
            ("a note of another user", ours, Some((0o640, 8, 101)), token, known(None, 101)),
            ("a note that others may write", ours, Some((0o660, 0, 101)), None, None),
            ("a folder that others may write", Some((0o770, 0, 101)), Some((0o640, 0, 101)), token, None),
            ("an older release", ours, None, token, known(None, 101)),
            ("an older release, for root", Some((0o700, 0, 0)), None, Some((0o600, 0, 0)), None),
            (
                "a folder of another user",
                Some((0o755, 61002, 61002)),
                Some((0o644, 61002, 61002)),
                Some((0o640, 61002, 61002)),
                None,
            ),
        ] {
            let (folder, token) = (owned(folder), owned(token));
            let note = owned(note).map(|file| (file, "100:101\n".to_owned()));
            assert_eq!(Traces { folder, note, token }.remembered(7), expected, "{what}");
        }
    }

    #[test]
    fn note_is_read_as_it_is_written() {
        let reader = Ids { uid: 100, gid: 4_294_967_294, groups: vec![7] };
        let read = Remembered::read(&Remembered::note(&reader));
        assert_eq!(read, Some(Remembered { uid: Some(100), gid: 4_294_967_294 }));
        for broken in ["", "1", "1:", ":1", "1:2:3", "-1:1", "root:root", "1:99999999999"] {
            assert_eq!(Remembered::read(broken), None, "{broken}");
        }
    }

    #[test]
    fn hostile_notes_are_survived() {
        hostile::texts(&["100:101\n"], |note| _ = Remembered::read(note));
    }
}
