//! Small file helpers: whole-file writes that are never seen half done.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o600)
}

/// Writes a file that only its owner may read, unless there is one of that name, which stays.
pub(crate) fn write_new_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = write_beside(path, bytes, 0o600)?;
    let linked = link_new(&beside, path);
    // It has its own name now, or is of no use.
    let _ = fs::remove_file(&beside);
    linked
}

/// Gives a whole file its name, unless another has it.
fn link_new(file: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(file, path) {
        // Some file systems have no links.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.exists() => {
            fs::rename(file, path)
        }
        linked => linked,
    }
}

/// Writes a file that everybody may read.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o644)
}

/// Writes a program that everybody may run.
#[cfg(any(test, feature = "embed-nats"))]
pub(crate) fn write_executable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o755)
}

/// Writes beside the target and renames, so that readers see the old or the new file.
fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = write_beside(path, bytes, mode)?;
    fs::rename(&beside, path).inspect_err(|_| {
        // It is of no use; the first error is the one to report.
        let _ = fs::remove_file(&beside);
    })
}

/// Writes a whole file beside the target, and says where it lies.
fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let beside = beside(path);
    let mut file = create(&beside, mode)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map(|()| beside)
}

/// A new name each time. The id of the process would not do: two containers that share a folder may
/// have the same.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Each state is keyed at random.
    name.push(format!(".{:016x}.tmp", RandomState::new().hash_one(0_u8)));
    path.with_file_name(name)
}

#[cfg(unix)]
fn create(path: &Path, mode: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

#[cfg(not(unix))]
fn create(path: &Path, _mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// The last `count` lines of a file, as far as they fit into 64 KiB.
pub(crate) fn last_lines(path: &Path, count: usize) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    const WINDOW: u64 = 64 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(WINDOW);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.take(WINDOW).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "a\nb\nc\n").unwrap();
        assert_eq!(last_lines(&path, 2), ["b", "c"]);
        assert_eq!(last_lines(&path, 9), ["a", "b", "c"]);
        assert!(last_lines(&folder.path().join("none"), 2).is_empty());
    }

    #[test]
    fn a_file_that_is_there_stays_where_only_a_new_one_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        write_new_private(&path, b"one").unwrap();
        let refused = write_new_private(&path, b"two").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn no_two_writes_share_what_they_write_beside_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        assert_ne!(beside(&path), beside(&path));
        fs::write(&path, "of another").unwrap();
        let refused = create(&path, 0o600).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"of another");
    }

    #[cfg(unix)]
    #[test]
    fn private_files_are_private_and_replaced_whole() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
