//! This machine, told from its clones.

use aws_lc_rs::digest::{SHA256, digest};
use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// So many hexadecimal digits have both the ID and its hash, see machine-id(5).
const DIGITS: usize = 32;

/// A hash of the machine's ID in a folder like `/etc`. The ID itself must not leave the machine, see machine-id(5). None
/// where there is no ID, or where it is mounted: it lasts until the next start then, or is that of a container's host.
pub(in crate::host) fn machine_of(folder: &Path) -> Option<String> {
    let path = folder.join("machine-id");
    let (file, beside) = (fs::metadata(&path).ok()?, fs::metadata(folder).ok()?);
    if !file.is_file() || file.dev() != beside.dev() || file.len() != DIGITS as u64 + 1 {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let id = text.strip_suffix('\n')?;
    let is_valid = id.len() == DIGITS && id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let hash = |text: &str| {
        digest(&SHA256, text.as_bytes()).as_ref()[..DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
    };
    is_valid.then(|| hash(&format!("kubectl-prom-federate {id}")))
}
