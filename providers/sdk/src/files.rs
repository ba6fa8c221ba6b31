//! Files and folders on the machine of a provider, which others may change underneath it.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

pub mod held;

/// Which file stands behind a path: it is another one when the file was deleted or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    number: u64,
}

impl FileId {
    /// The one that is there now. Blocks for as long as the file system takes.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = path.metadata()?;
        Ok(Self {
            device: found.dev(),
            number: found.ino(),
        })
    }

    /// Whether it is still the one behind the path.
    #[must_use]
    pub fn is_at(self, path: &Path) -> bool {
        Self::of(path).is_ok_and(|found| found == self)
    }

    /// Whether it is known not to be the one behind the path any more; it is not where the path cannot
    /// be looked at.
    #[must_use]
    pub fn is_gone_from(self, path: &Path) -> bool {
        match Self::of(path) {
            Ok(found) => found != self,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// Makes a folder for this user alone, in one where others may have put something in its place.
///
/// # Errors
///
/// It cannot be made, or what is there is a link or belongs to somebody else.
pub fn make_own(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let found = std::fs::symlink_metadata(path)?;
    let is_ours = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && is_ours {
        return Ok(());
    }
    let what = "it belongs to somebody else; name a folder with `root`";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_own_folder_is_shut_and_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("own");
        make_own(&own).unwrap();
        make_own(&own).unwrap();
        assert_eq!(own.metadata().unwrap().mode() & 0o777, 0o700);
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let error = make_own(&link).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_file_that_is_replaced_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["file", "other"].map(|name| folder.path().join(name));
        std::fs::write(&path, "a").unwrap();
        std::fs::write(&other, "a").unwrap();
        let id = FileId::of(&path).unwrap();
        assert!(id.is_at(&path));
        std::fs::rename(&other, &path).unwrap();
        assert!(!id.is_at(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(!id.is_at(&path));
    }
}
