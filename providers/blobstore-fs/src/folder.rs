//! The folder of a link and those of its containers.
//!
//! Everything is reached from an open folder by one name at a time, and no symbolic link is
//! followed on the way, so that whatever other programs do meanwhile, nothing outside is reached.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use lattice_provider_sdk::blobstore::{BlobError, ObjectId, seconds};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::failure::{failed, is_absent};
use crate::name::{self, Place};

/// The longest name of a file.
const LONGEST: usize = 255;

const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How often a folder for long names is made anew that others take away when it is empty.
const TRIES: usize = 16;

/// The folder of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root(pub(crate) PathBuf);

/// An open folder of one container.
#[derive(Debug)]
pub(crate) struct Container {
    folder: OwnedFd,
    name: String,
}

/// Opens a folder by its name in another.
pub(crate) fn open_folder(within: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    Ok(openat(within, name, FOLDER, Mode::empty())?)
}

/// Makes a folder, or opens the one that is there. With `sync` a new one is on the disk.
pub(crate) fn make_folder(within: &OwnedFd, name: &str, sync: bool) -> io::Result<OwnedFd> {
    match mkdirat(within, name, Mode::from_raw_mode(0o777)) {
        Ok(()) if sync => settle(within)?,
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    open_folder(within, name)
}

/// Waits until the names in a folder are on the disk.
pub(crate) fn settle(folder: &OwnedFd) -> io::Result<()> {
    #[cfg(test)]
    tests::settled(folder);
    Ok(rustix::fs::fsync(folder)?)
}

/// When a file or folder was made, as far as the file system knows.
pub(crate) fn created(metadata: &std::fs::Metadata) -> SystemTime {
    let time = metadata.created().or_else(|_| metadata.modified());
    time.unwrap_or(UNIX_EPOCH)
}

impl Root {
    /// Opens it.
    pub(crate) fn open(&self) -> Result<OwnedFd, BlobError> {
        File::open(&self.0).map(Into::into).map_err(|error| {
            let path = self.0.display();
            BlobError::Unavailable(format!("could not open the folder `{path}`: {error}"))
        })
    }

    /// Opens the folder of a container.
    pub(crate) fn container(&self, name: &str) -> Result<Container, BlobError> {
        let file = file_of(name)?;
        match open_folder(&self.open()?, &file) {
            Ok(folder) => Ok(Container {
                folder,
                name: name.to_owned(),
            }),
            Err(error) if is_absent(&error) => Err(BlobError::NoContainer(name.to_owned())),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Makes the folder of a container.
    pub(crate) fn create(&self, name: &str, sync: bool) -> Result<(), BlobError> {
        let root = self.open()?;
        let file = file_of(name)?;
        make_folder(&root, &file, sync).map(drop).map_err(|error| {
            if is_absent(&error) {
                let rule = "something that is no folder is in its place";
                BlobError::container_name(name, rule)
            } else {
                failed(&error)
            }
        })
    }
}

/// What the folder of a container is called.
pub(crate) fn file_of(name: &str) -> Result<String, BlobError> {
    let file = name::encode(name);
    if file.len() > LONGEST {
        let len = file.len();
        let rule =
            format!("its folder would have a name of {len} bytes, and {LONGEST} are the most");
        return Err(BlobError::container_name(name, rule));
    }
    Ok(file)
}

impl Container {
    /// When it was created.
    pub(crate) fn created_at(&self) -> Result<u64, BlobError> {
        let file = self.folder.try_clone().map(File::from);
        let metadata = file.and_then(|file| file.metadata());
        metadata
            .map(|m| seconds(created(&m)))
            .map_err(|e| failed(&e))
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// What an object of it is called.
    fn id(&self, object: &str) -> ObjectId {
        ObjectId {
            container: self.name.clone(),
            object: object.to_owned(),
        }
    }

    /// The folder of a place.
    fn folder_of(&self, place: &Place) -> io::Result<OwnedFd> {
        let mut folder = self.folder.try_clone()?;
        for part in &place.folders {
            folder = open_folder(&folder, part)?;
        }
        Ok(folder)
    }

    /// The folder of a place, which is made as far as it is not there.
    fn made_folder_of(&self, place: &Place, sync: bool) -> io::Result<OwnedFd> {
        let mut folder = self.folder.try_clone()?;
        for part in &place.folders {
            folder = make_folder(&folder, part, sync)?;
        }
        Ok(folder)
    }

    /// Finds the file of an object.
    fn find(&self, object: &str) -> io::Result<(Place, OwnedFd, File)> {
        // A pipe in its place must not be waited for.
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        for place in name::places(object) {
            let opened = self.folder_of(&place).and_then(|folder| {
                let file = File::from(openat(&folder, &place.file, flags, Mode::empty())?);
                Ok((folder, file))
            });
            match opened {
                Ok((folder, file)) if file.metadata()?.is_file() => {
                    return Ok((place, folder, file));
                }
                Ok(_) => {}
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::NOENT.into())
    }

    fn absent(&self, object: &str, error: &io::Error) -> BlobError {
        match is_absent(error) {
            true => BlobError::NoObject(self.id(object)),
            false => failed(error),
        }
    }

    /// Opens the file of an object.
    pub(crate) fn open(&self, object: &str) -> Result<File, BlobError> {
        let found = self.find(object);
        found
            .map(|(_, _, file)| file)
            .map_err(|error| self.absent(object, &error))
    }

    /// Puts a file that is in another folder in the place of an object's. With `sync` it is on the
    /// disk that it is there.
    pub(crate) fn put(
        &self,
        object: &str,
        from: &OwnedFd,
        file: &str,
        sync: bool,
    ) -> io::Result<()> {
        let places = name::places(object);
        let mut put = Err(Errno::NOENT.into());
        for place in &places {
            put = self.put_at(place, from, file, sync);
            match &put {
                Ok(_) => {
                    let others = places.iter().filter(|other| *other != place);
                    others.for_each(|other| self.clear(other));
                    break;
                }
                Err(error) if is_blocked(error) => {}
                Err(_) => break,
            }
        }
        put.and_then(|within| if sync { settle(&within) } else { Ok(()) })
    }

    fn put_at(&self, place: &Place, from: &OwnedFd, file: &str, sync: bool) -> io::Result<OwnedFd> {
        let mut tries = 0;
        loop {
            tries += 1;
            let placed = self.made_folder_of(place, sync).and_then(|folder| {
                renameat(from, file, &folder, &place.file)?;
                Ok(folder)
            });
            match placed {
                // The folder was taken away because it was empty just now.
                Err(error) if is_gone(&error) && tries < TRIES && self.is_there() => {}
                placed => return placed,
            }
        }
    }

    /// Takes away what an object was before, where it is in another place now.
    fn clear(&self, place: &Place) {
        let unlinked = self.unlink(place);
        if unlinked.is_ok_and(|there_was| there_was) {
            self.tidy(&place.folders);
        }
    }

    /// Takes away a file, and says whether there was one. A folder of another program is none.
    fn unlink(&self, place: &Place) -> io::Result<bool> {
        let unlinked = self
            .folder_of(place)
            .and_then(|folder| Ok(unlinkat(&folder, &place.file, AtFlags::empty())?));
        match unlinked {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the container has not been deleted since it was opened.
    pub(crate) fn is_there(&self) -> bool {
        rustix::fs::fstat(&self.folder).is_ok_and(|stat| stat.st_nlink > 0)
    }

    /// Deletes the file of an object; one that is not there is deleted already.
    pub(crate) fn delete(&self, object: &str) -> Result<(), BlobError> {
        for place in name::places(object) {
            if self.unlink(&place).map_err(|error| failed(&error))? {
                self.tidy(&place.folders);
            }
        }
        Ok(())
    }

    /// Moves an object. With `sync` it is on the disk that it is there, and no longer here.
    pub(crate) fn move_to(
        &self,
        object: &str,
        other: &Self,
        to: &str,
        sync: bool,
    ) -> Result<(), BlobError> {
        let found = self.find(object);
        let (place, folder, _) = found.map_err(|error| self.absent(object, &error))?;
        let moved = other.put(to, &folder, &place.file, sync);
        moved.map_err(|error| match other.is_there() {
            true => self.absent(object, &error),
            false => BlobError::NoContainer(other.name.clone()),
        })?;
        if sync {
            settle(&folder).map_err(|error| failed(&error))?;
        }
        self.tidy(&place.folders);
        Ok(())
    }

    /// Takes away folders that are empty.
    fn tidy(&self, mut folders: &[String]) {
        while let Some((last, outer)) = folders.split_last() {
            folders = outer;
            let within = self.folder.try_clone().and_then(|container| {
                let mut inward = folders.iter();
                inward.try_fold(container, |at, part| open_folder(&at, part))
            });
            let Ok(within) = within else { return };
            if unlinkat(&within, last, AtFlags::REMOVEDIR).is_err() {
                return;
            }
        }
    }

    /// Says why an object could not be put into it.
    pub(crate) fn not_put(&self, error: &io::Error) -> BlobError {
        match is_absent(error) && !self.is_there() {
            true => BlobError::NoContainer(self.name.clone()),
            false => failed(error),
        }
    }
}

/// Whether something else is where a file or its folder would be.
fn is_blocked(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::NOTDIR | Errno::ISDIR | Errno::LOOP))
}

/// Whether a folder is not there.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Empties a folder, without following what leads out of it.
pub(crate) fn empty(folder: &OwnedFd) -> io::Result<()> {
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Linux says the one, others the other.
            Err(Errno::ISDIR | Errno::PERM) => {
                let inner = openat(folder, name, FOLDER, Mode::empty())?;
                empty(&inner)?;
                drop(inner);
                match unlinkat(folder, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::incoming::Draft;

    thread_local! {
        /// The folders that were put on the disk, by their numbers.
        static SETTLED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn settled(folder: &OwnedFd) {
        let number = rustix::fs::fstat(folder).unwrap().st_ino;
        SETTLED.with_borrow_mut(|settled| settled.push(number));
    }

    #[test]
    fn folders_are_on_the_disk_whose_names_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let number = |path: &str| folder.path().join(path).metadata().unwrap().ino();
        let root = Root(folder.path().to_owned());
        root.create("c", true).unwrap();
        assert_eq!(SETTLED.take(), [number("")]);
        root.create("c", true).unwrap();
        assert!(SETTLED.take().is_empty());
        let container = root.container("c").unwrap();
        let write = |name: &str, sync| {
            let draft = Draft::new(&root).unwrap();
            draft.place(&container, name, sync).unwrap();
        };
        write("a/b/o", true);
        let new = [number("c"), number("c/a"), number("c/a/b")];
        assert_eq!(SETTLED.take(), new);
        write("a/b/p", true);
        assert_eq!(SETTLED.take(), [number("c/a/b")]);
        let moved = container.move_to("a/b/o", &container, "d/o", true);
        moved.unwrap();
        let both = [number("c"), number("c/d"), number("c/a/b")];
        assert_eq!(SETTLED.take(), both);
        write("e/o", false);
        let moved = container.move_to("e/o", &container, "f/o", false);
        moved.unwrap();
        assert!(SETTLED.take().is_empty());
    }
}
