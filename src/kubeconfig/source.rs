//! The content of a file that a kubeconfig or a flag names. A pipe is read once in the life of this process, because it
//! gives its content once: `--kubeconfig <(…)`. A file is read each time, because `rotate --watch` runs for months.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

/// A kubeconfig of 10,000 contexts with certificates is 40 MB.
const LONGEST: u64 = 256 * 1024 * 1024;

static PIPES: LazyLock<Mutex<HashMap<PathBuf, Vec<u8>>>> = LazyLock::new(Mutex::default);

/// # Errors
/// The error of the operating system.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_file() || metadata.is_dir() {
        return bounded(path);
    }
    let mut pipes = PIPES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(content) = pipes.get(path) {
        return Ok(content.clone());
    }
    let content = bounded(path)?;
    pipes.insert(path.to_owned(), content.clone());
    Ok(content)
}

fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut content)?;
    match content.len() as u64 {
        LONGEST => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 256 MiB")),
        _ => Ok(content),
    }
}

/// Whether another process can read the same later: no pipe, no descriptor of this process, and no credential of a
/// systemd service.
pub fn lasts(path: &Path) -> bool {
    let is_of_this_process = ["/dev", "/proc", "/run/credentials"].iter().any(|folder| path.starts_with(folder));
    !is_of_this_process && fs::metadata(path).map_or(true, |metadata| metadata.is_file())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::{process::Command, thread};

    #[test]
    fn pipe_is_read_once_and_a_file_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let writer = thread::spawn({
            let pipe = pipe.clone();
            move || fs::write(pipe, "first").unwrap()
        });
        // A second read of the pipe itself would wait for another writer.
        assert_eq!((read(&pipe).unwrap(), read(&pipe).unwrap()), (b"first".to_vec(), b"first".to_vec()));
        writer.join().unwrap();
        for content in ["first", "second"] {
            fs::write(&file, content).unwrap();
            assert_eq!(read(&file).unwrap(), content.as_bytes());
        }
        assert!(read(&folder.path().join("absent")).is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
        assert!(lasts(&file) && !lasts(&pipe) && !lasts(Path::new("/dev/fd/63")));
    }

    #[test]
    fn endless_file_is_refused() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
