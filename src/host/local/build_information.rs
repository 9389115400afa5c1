//! What Go's linker has noted of a running program: its package and its modules. The program is read and not executed.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

/// Of Prometheus it is 40 kB.
const LIMIT: u64 = 1 << 20;
/// Go programs have about 30.
const SECTIONS: u64 = 256;
/// Begins the section, see Go's `debug/buildinfo`: then the size of a pointer, flags, and at 32 two texts with their lengths.
const MAGIC: &[u8] = b"\xff Go buildinf:";
const TEXTS: usize = 32;
const HAS_TEXTS: u8 = 2;

/// Lines, as `runtime/debug` describes them; none where it is no such program, or too old to say.
pub(super) fn build_information(program: &Path) -> Option<String> {
    let file = File::open(program).ok()?;
    let section = section(&file)?;
    if section.get(15)? & HAS_TEXTS == 0 {
        return None;
    }
    let (_go_version, rest) = counted(section.get(TEXTS..)?)?;
    let (modules, _) = counted(rest)?;
    Some(String::from_utf8_lossy(modules).into_owned())
}

/// By the table of sections of a 64-bit little-endian ELF file, see elf(5).
fn section(file: &File) -> Option<Vec<u8>> {
    let header = at(file, 0, 64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (u64_of(&header, 40)?, u64::from(u16_of(&header, 58)?), u64::from(u16_of(&header, 60)?));
    (0..count.min(SECTIONS)).find_map(|number| {
        let entry = at(file, table.checked_add(number * size)?, 64)?;
        let (offset, length) = (u64_of(&entry, 24)?, u64_of(&entry, 32)?);
        at(file, offset, MAGIC.len() as u64)?.starts_with(MAGIC).then(|| at(file, offset, length.min(LIMIT)))?
    })
}

fn at(file: &File, offset: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn u64_of(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u16_of(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A text behind its length, which is a varint, and what follows it.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().take(9).position(|byte| byte & 0x80 == 0)?;
    let length = bytes[..=end].iter().rev().fold(0, |length, byte| length << 7 | u64::from(byte & 0x7f));
    bytes[end + 1..].split_at_checked(usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use std::io::Write;

    /// A file with one section behind its header.
    fn program(section: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 128];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[40..48].copy_from_slice(&64_u64.to_le_bytes());
        file[58..62].copy_from_slice(&[64, 0, 1, 0]);
        file[64 + 24..64 + 32].copy_from_slice(&128_u64.to_le_bytes());
        file[64 + 32..64 + 40].copy_from_slice(&(section.len() as u64).to_le_bytes());
        [&file, section].concat()
    }

    fn read(file: &[u8]) -> Option<String> {
        let mut path = tempfile::NamedTempFile::new().unwrap();
        path.write_all(file).unwrap();
        build_information(path.path())
    }

    #[test]
    fn modules_of_a_go_program_are_read() {
        let modules = "path\texample.com/x\n".repeat(20);
        let mut section = [MAGIC, &[8, HAS_TEXTS]].concat();
        section.resize(TEXTS, 0);
        section.extend([&b"\x06go1.27"[..], &[0xfc, 0x02], modules.as_bytes()].concat());
        assert_eq!(modules.len(), 0x7c + (2 << 7));
        assert_eq!(read(&program(&section)), Some(modules));
        section[15] = 0;
        assert_eq!(read(&program(&section)), None, "pointers instead of texts");
        assert_eq!(build_information(Path::new("/proc/self/exe")), None, "no Go program");
        assert_eq!(build_information(Path::new("/nowhere")), None);
    }

    #[test]
    fn hostile_programs_are_survived() {
        let section = [MAGIC, &[8, HAS_TEXTS], &[0; TEXTS - 16], b"\x06go1.27\x09path\tx/y\n"].concat();
        hostile::bytes(&[&program(&section)], |file| drop(read(file)));
    }
}
