//! Which files this process has open with SQLite.
//!
//! SQLite tells files apart by what they are, and finds what belongs to one in WAL mode, its `-shm` and
//! its `-wal`, by name. A file that took the place of another would therefore be opened with the `-shm` of
//! that one, and its locks do not keep a process from itself: it is cut short while others look at it, which
//! ends the process, and what both write is mixed up. So whoever opens a file has everybody in this process
//! close the one that was there before, and waits until they have.
//!
//! `sqldb-sqlite` has this module, too, with a table of its own: the two do not keep each other from one
//! file, which is no use to both.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lattice_provider_sdk::files::FileId;
use parking_lot::{Condvar, Mutex};

/// How often those who have an old file open are asked to close it, and how many times: a second.
const ASK_EVERY: Duration = Duration::from_millis(20);
const ASK: usize = 50;
/// How often a file is opened again that is replaced in that moment.
const ATTEMPTS: usize = 10;
/// How many symbolic links lead to a file at most.
const LINKS: usize = 40;

static HELD: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
static LET_GO: Condvar = Condvar::new();
static NUMBERS: AtomicU64 = AtomicU64::new(0);

struct Entry {
    number: u64,
    path: PathBuf,
    /// `None` while it is being made.
    file: Option<FileId>,
    leave: Arc<Leave>,
}

/// Why a file is not open.
#[derive(Debug)]
pub(crate) enum HeldError<E> {
    /// What the opening said.
    Open(E),
    /// The one that was there before is still in use, or it is replaced again and again.
    InUse,
}

/// Asks those who have a file open to close it.
#[derive(Default)]
pub(crate) struct Leave {
    is_asked: AtomicBool,
    how: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl std::fmt::Debug for Leave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leave").finish_non_exhaustive()
    }
}

impl Leave {
    /// Whether the file is not the one behind its path any more.
    pub(crate) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }

    /// Interrupts what is done with the file, so that it is seen that it is to be closed. Repeated while
    /// somebody waits for that.
    pub(crate) fn ask(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        if let Some(how) = &*self.how.lock() {
            how();
        }
    }

    /// Says how what is done with the file is interrupted; it must not wait.
    pub(crate) fn by(&self, how: impl Fn() + Send + 'static) {
        let mut known = self.how.lock();
        if self.is_asked() {
            how();
        }
        *known = Some(Box::new(how));
    }
}

/// A file that is open. To be dropped after what is open.
#[derive(Debug)]
pub(crate) struct Held {
    number: u64,
    leave: Arc<Leave>,
}

impl Held {
    /// By which the file is closed when another one takes its place.
    pub(crate) fn leave(&self) -> &Arc<Leave> {
        &self.leave
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.lock().retain(|entry| entry.number != self.number);
        LET_GO.notify_all();
    }
}

/// Opens the file behind a path, once nobody in this process has another one open that was there
/// before. `open` opens it and reads nothing of it, or makes it. Blocks.
pub(crate) fn open<T, E>(
    path: &Path,
    open: impl Fn() -> Result<T, E>,
) -> Result<(T, FileId, Held), HeldError<E>> {
    for _ in 0..ATTEMPTS {
        let (before, held) = hold(path).ok_or(HeldError::InUse)?;
        let opened = open().map_err(HeldError::Open)?;
        match before {
            // It was there before and is after, so that it is what is open.
            Some(file) if file.is_at(path) => return Ok((opened, file, held)),
            // One that was made just now is there the next time.
            _ => drop(opened),
        }
    }
    Err(HeldError::InUse)
}

/// Waits until nobody has another file open than the one that is there, and says which that is.
fn hold(path: &Path) -> Option<(Option<FileId>, Held)> {
    let path = behind_links(path);
    let mut all = HELD.lock();
    for _ in 0..ASK {
        let file = FileId::of(&path).ok();
        let is_other =
            |entry: &&Entry| entry.path == path && (file.is_none() || entry.file != file);
        let mut others = all.iter().filter(is_other).peekable();
        if others.peek().is_none() {
            let (number, leave) = (NUMBERS.fetch_add(1, Ordering::Relaxed), Arc::default());
            let held = Held {
                number,
                leave: Arc::clone(&leave),
            };
            all.push(Entry {
                number,
                path,
                file,
                leave,
            });
            return Some((file, held));
        }
        others.for_each(|other| other.leave.ask());
        LET_GO.wait_for(&mut all, ASK_EVERY);
    }
    None
}

/// The path by which SQLite names what belongs to a file. The file itself may not be there.
fn behind_links(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(to) = path.read_link() else { break };
        path = path.parent().unwrap_or(Path::new("")).join(to);
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    fn at(path: &Path) -> Result<(File, FileId, Held), HeldError<std::io::Error>> {
        open(path, || {
            File::options().append(true).create(true).open(path)
        })
    }

    #[test]
    fn a_file_that_is_there_is_open_to_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let link = folder.path().join("b");
        symlink("a", &link).unwrap();
        // The first one makes it, behind the link.
        let (_one, file, held) = at(&link).unwrap();
        let (_other, same, _) = at(&path).unwrap();
        assert!(file == same && file.is_at(&path) && !held.leave().is_asked());
    }

    #[test]
    fn another_file_is_open_when_the_first_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let (one, _, held) = at(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(at(&path), Err(HeldError::InUse)));
        assert!(held.leave().is_asked() && !path.exists());
        // Who is asked closes it.
        let (tell, told) = std::sync::mpsc::channel();
        held.leave().by(move || {
            let _many = tell.send(());
        });
        let closing = std::thread::spawn(move || {
            told.recv().unwrap();
            drop((one, held));
        });
        let (_new, now, _held) = at(&path).unwrap();
        assert!(now.is_at(&path));
        closing.join().unwrap();
    }

    #[test]
    fn what_is_replaced_while_it_is_opened_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, next) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "old").unwrap();
        fs::write(&next, "new").unwrap();
        let is_first = Cell::new(true);
        let opened = open(&path, || {
            let opened = fs::read_to_string(&path);
            if is_first.replace(false) {
                fs::rename(&next, &path).unwrap();
            }
            opened
        });
        let (text, file, _held) = opened.unwrap();
        assert_eq!(text, "new");
        assert!(file.is_at(&path));
    }
}
