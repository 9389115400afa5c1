//! Whether a main configuration may be replaced by another file, which is one rule for every host: whatever hangs on the file
//! keeps it.

use crate::model::store::install::{Edit, LeftOfEdit};
use std::path::PathBuf;

/// A main configuration as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadMain {
    /// As it was before an edit that was killed.
    pub text: String,
    pub left: LeftOfEdit,
    pub file: MainFile,
}

/// What hangs on the file of a main configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each for itself")]
pub struct MainFile {
    /// Where it leads, if it is a link.
    pub link: Option<PathBuf>,
    /// Whether it is mounted by itself: the system refuses to rename another file to its name.
    pub is_mounted: bool,
    /// Whether it has other hard links.
    pub has_other_names: bool,
    /// Whether it has an access list or other extended attributes, or may have.
    pub has_attributes: bool,
    /// Whether this user cannot give a new file its owner and group.
    pub is_of_others: bool,
    /// Why it cannot be written into, where its folder can.
    pub unwritable: Option<String>,
    /// Whether another user may put a file of a third one in its place at any moment.
    pub may_be_swapped: bool,
}

impl MainFile {
    /// What could not be found out is taken to be there.
    pub(super) fn unknown(why: String) -> Self {
        Self { has_attributes: true, unwritable: Some(why), ..Self::default() }
    }

    /// How its text is changed. `mounted_by` is a Prometheus that has this file mounted by itself. `is_root`: the user of
    /// the command is root, who may write into any file.
    ///
    /// # Errors
    /// Why it cannot be changed safely, as a sentence about the file goes on.
    pub fn edit(&self, mounted_by: Option<i32>, is_root: bool) -> Result<Edit, String> {
        if let Some(target) = &self.link {
            let target = target.display();
            return Err(format!("it is a symbolic link to {target}, which another tool may write; both stay"));
        }
        let kept = if self.is_mounted {
            "it is mounted by itself".to_owned()
        } else if let Some(pid) = mounted_by {
            format!("process {pid} has it mounted by itself")
        } else if self.has_other_names {
            "it has other hard links".to_owned()
        } else if self.has_attributes {
            "it has an access list or extended attributes".to_owned()
        } else if self.is_of_others {
            "it belongs to another user or group".to_owned()
        } else {
            return match &self.unwritable {
                // A file that even root cannot write is immutable, and no other can replace it.
                Some(why) if is_root => Err(format!("it cannot be changed: {why}")),
                _ => Ok(Edit::Replace),
            };
        };
        let no = |why: &str| Err(format!("{kept}, so no other file may take its place, and {why}"));
        match &self.unwritable {
            Some(why) => no(&format!("it cannot be written: {why}")),
            None if self.may_be_swapped => {
                no("it belongs to another user than its folder, in which that user may write")
            }
            None => Ok(Edit::InPlace(kept)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_stays_if_something_hangs_on_it() {
        let plain = MainFile::default();
        let unwritable = |file: &MainFile| MainFile { unwritable: Some("Read-only".into()), ..file.clone() };
        assert_eq!(plain.edit(None, true), Ok(Edit::Replace));
        // The folder decides, and not the file.
        assert_eq!(unwritable(&plain).edit(None, false), Ok(Edit::Replace));
        assert_eq!(MainFile { may_be_swapped: true, ..plain.clone() }.edit(None, true), Ok(Edit::Replace));
        assert_eq!(unwritable(&plain).edit(None, true), Err("it cannot be changed: Read-only".into()));
        for (file, pid, why) in [
            (MainFile { is_mounted: true, ..plain.clone() }, None, "it is mounted by itself"),
            (plain.clone(), Some(7), "process 7 has it mounted by itself"),
            (MainFile { has_other_names: true, ..plain.clone() }, None, "it has other hard links"),
            (MainFile { has_attributes: true, ..plain.clone() }, None, "it has an access list or extended attributes"),
            (MainFile { is_of_others: true, ..plain.clone() }, None, "it belongs to another user or group"),
        ] {
            assert_eq!(file.edit(pid, false), Ok(Edit::InPlace(why.into())));
            let refused = format!("{why}, so no other file may take its place, and it cannot be written: Read-only");
            assert_eq!(unwritable(&file).edit(pid, false), Err(refused));
            let swapped = MainFile { may_be_swapped: true, ..file }.edit(pid, true);
            assert!(swapped.is_err_and(|why| why.contains("belongs to another user than its folder")));
        }
        let link = MainFile { link: Some("../git/prod.yml".into()), ..plain };
        let refused = "it is a symbolic link to ../git/prod.yml, which another tool may write; both stay";
        assert_eq!(link.edit(Some(7), true), Err(refused.into()));
    }
}
