//! What is on its way into a container, or out of it.
//!
//! Everything here is locked by whoever works on it, for as long as that process lives. So what is
//! not locked was left behind, and is taken away.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use lattice_provider_sdk::blobstore::BlobError;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::failure::{failed, is_absent};
use crate::folder::{Container, Root, empty, file_of, make_folder, open_folder};

/// Where it is, in the folder of a link. No container can be called so.
const FOLDER: &str = ".incoming";

/// A file that is being written. It is gone when this is dropped before it was put in its place.
#[derive(Debug)]
pub(crate) struct Draft {
    folder: Arc<OwnedFd>,
    name: String,
    /// The file, whose lock is held.
    pub(crate) file: Arc<File>,
    placed: bool,
}

/// A name that nothing else has.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{now}-{count}", std::process::id())
}

impl Draft {
    /// Makes an empty file.
    pub(crate) fn new(root: &Root) -> Result<Self, BlobError> {
        Self::make(root).map_err(|error| failed(&error))
    }

    fn make(root: &Root) -> io::Result<Self> {
        let folder = make_folder(&File::open(&root.0)?.into(), FOLDER, false)?;
        let folder = Arc::new(folder);
        loop {
            let name = unique();
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = match openat(&folder, &name, flags, Mode::from_raw_mode(0o666)) {
                Err(Errno::EXIST) => continue,
                file => File::from(file?),
            };
            let draft = Self {
                folder: Arc::clone(&folder),
                name,
                file: Arc::new(file),
                placed: false,
            };
            flock(&*draft.file, FlockOperation::LockExclusive)?;
            // Between the two it may have been taken for something that was left behind.
            if fstat(&*draft.file)?.st_nlink > 0 {
                return Ok(draft);
            }
        }
    }

    /// Puts it in the place of an object.
    pub(crate) fn place(
        mut self,
        container: &Container,
        object: &str,
        sync: bool,
    ) -> Result<(), BlobError> {
        let placed = self.settle(container, object, sync);
        placed.map_err(|error| container.not_put(&error))
    }

    fn settle(&mut self, container: &Container, object: &str, sync: bool) -> io::Result<()> {
        if sync {
            self.file.sync_all()?;
        }
        container.put(object, &self.folder, &self.name, sync)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.placed {
            return;
        }
        if let Err(error) = unlinkat(&*self.folder, &self.name, AtFlags::empty())
            && error != Errno::NOENT
        {
            tracing::warn!(name = self.name, %error, "could not take back a file");
        }
    }
}

impl Root {
    /// Deletes a container with everything in it. It is gone at once; emptying it may take longer.
    pub(crate) fn delete(&self, name: &str) -> Result<(), BlobError> {
        let file = file_of(name)?;
        let delete = || -> io::Result<()> {
            let root: OwnedFd = File::open(&self.0)?.into();
            let folder = open_folder(&root, &file)?;
            let incoming = make_folder(&root, FOLDER, false)?;
            let gone = unique();
            flock(&folder, FlockOperation::LockExclusive)?;
            renameat(&root, &file, &incoming, &gone)?;
            empty(&folder)?;
            match unlinkat(&incoming, &gone, AtFlags::REMOVEDIR) {
                // A write has just ended in it; what is left is taken away later.
                Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
                done => Ok(done?),
            }
        };
        match delete() {
            Err(error) if is_absent(&error) => Ok(()),
            deleted => deleted.map_err(|error| failed(&error)),
        }
    }

    /// Takes away what was left behind by processes that are no more, and says how many things
    /// that were.
    pub(crate) fn tidy(&self) -> io::Result<usize> {
        let root: OwnedFd = File::open(&self.0)?.into();
        let incoming = match open_folder(&root, FOLDER) {
            Err(error) if is_absent(&error) => return Ok(0),
            incoming => incoming?,
        };
        let mut count = 0;
        for entry in rustix::fs::Dir::read_from(&incoming)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let Ok(left) = openat(&incoming, name, flags, Mode::empty()) else {
                continue;
            };
            if flock(&left, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let is_folder = File::from(left.try_clone()?).metadata()?.is_dir();
            let flags = if is_folder {
                empty(&left)?;
                AtFlags::REMOVEDIR
            } else {
                AtFlags::empty()
            };
            count += usize::from(unlinkat(&incoming, name, flags).is_ok());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_what_was_left_behind_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        root.create("c", false).unwrap();
        let draft = Draft::new(&root).unwrap();
        (&*draft.file).write_all(b"new").unwrap();
        let incoming = folder.path().join(FOLDER);
        std::fs::write(incoming.join("left"), "x").unwrap();
        std::fs::create_dir(incoming.join("gone")).unwrap();
        std::fs::write(incoming.join("gone").join("object"), "x").unwrap();
        assert_eq!(root.tidy().unwrap(), 2);
        assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 1);
        let container = root.container("c").unwrap();
        draft.place(&container, "o", true).unwrap();
        assert_eq!(std::fs::read(folder.path().join("c/o")).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(&incoming).unwrap().count(), 0);
    }

    #[test]
    fn a_draft_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        drop(Draft::new(&root).unwrap());
        let incoming = folder.path().join(FOLDER);
        assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0);
    }

    #[test]
    fn a_container_is_deleted_but_not_what_it_points_to() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "x").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = Root(folder.path().to_owned());
        root.create("c", false).unwrap();
        let inside = folder.path().join("c");
        std::os::unix::fs::symlink(outside.path(), inside.join("link")).unwrap();
        std::fs::create_dir_all(inside.join("a/b")).unwrap();
        std::fs::write(inside.join("a/b/file"), "x").unwrap();
        root.delete("c").unwrap();
        root.delete("c").unwrap();
        assert!(!inside.exists() && outside.path().join("kept").exists());
        std::os::unix::fs::symlink(outside.path(), &inside).unwrap();
        assert!(matches!(
            root.container("c"),
            Err(BlobError::NoContainer(_))
        ));
        root.delete("c").unwrap();
        assert!(outside.path().join("kept").exists());
    }
}
