//! Which files this process has open with SQLite.
//!
//! SQLite tells files apart by what they are, and finds what belongs to one in WAL mode, its `-shm` and
//! its `-wal`, by name. A file that took the place of another would therefore be opened with the `-shm` of
//! that one, and its locks do not keep a process from itself: it is cut short while others look at it, which
//! ends the process, and what both write is mixed up. So whoever opens a file has everybody in this process
//! close the one that was there before, and waits until they have.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::FileId;

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
#[derive(Debug, thiserror::Error)]
pub enum HeldError<E> {
    /// What the opening said.
    #[error("could not open the file")]
    Open(#[source] E),
    /// It is not known which file is there, which does not mean that there is none.
    #[error("could not look at the file")]
    Look(#[source] io::Error),
    /// The one that was there before is still in use, or it is replaced again and again.
    #[error("the file that was there before is still in use")]
    InUse,
}

type How = Box<dyn Fn() + Send>;

/// Interrupts what a connection does, until it is to end undisturbed.
pub struct Interrupt(Mutex<Option<How>>);

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupt").finish_non_exhaustive()
    }
}

impl Interrupt {
    /// One that does as it is told here.
    #[must_use]
    pub fn by(how: impl Fn() + Send + 'static) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(Box::new(how)))))
    }

    /// Interrupts what is done now.
    pub fn now(&self) {
        if let Some(how) = &*self.0.lock() {
            how();
        }
    }

    /// Interrupts nothing any more. Said before a connection is closed, too: what interrupts it would wait
    /// for that.
    pub fn no_more(&self) {
        *self.0.lock() = None;
    }
}

/// Asks those who have a file open to close it.
#[derive(Default)]
pub struct Leave {
    is_asked: AtomicBool,
    how: Mutex<Option<How>>,
}

impl std::fmt::Debug for Leave {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leave").finish_non_exhaustive()
    }
}

impl Leave {
    /// Whether the file is not the one behind its path any more.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }

    /// Interrupts what is done with the file, so that it is seen that it is to be closed. Repeated while
    /// somebody waits for that.
    pub fn ask(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        if let Some(how) = &*self.how.lock() {
            how();
        }
    }

    /// Says how what is done with the file is interrupted; it must not wait.
    pub fn by(&self, how: impl Fn() + Send + 'static) {
        let mut known = self.how.lock();
        if self.is_asked() {
            how();
        }
        *known = Some(Box::new(how));
    }
}

/// A file that is open. To be dropped after what is open.
#[derive(Debug)]
pub struct Held {
    number: u64,
    path: PathBuf,
    file: Option<FileId>,
    leave: Arc<Leave>,
}

impl Held {
    /// By which the file is closed when another one takes its place.
    #[must_use]
    pub fn leave(&self) -> &Arc<Leave> {
        &self.leave
    }

    /// Whether another file takes the place of this one, or may, so that nothing may stay in the `-wal`.
    /// Nobody says so to a connection that was closed for that reason before anybody was asked.
    #[must_use]
    pub fn is_to_settle(&self) -> bool {
        let is_there = self.file.is_none_or(|file| file.is_at(&self.path));
        self.leave.is_asked() || !is_there
    }

    /// Has what is only in the `-wal` moved to the file: it is not for the one that comes there now.
    /// `checkpoint` says whether all of it was, or that somebody is in the way, who is asked to leave and
    /// waited for up to a second. Blocks.
    pub fn settle<E: Display>(&self, mut checkpoint: impl FnMut() -> Result<bool, E>) {
        let what =
            "what is still in the `-wal` of a file that was replaced may be mixed into the new one";
        let path = self.path.display();
        for _ in 0..ASK {
            match checkpoint() {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%path, %error, "{what}");
                    return;
                }
            }
            for other in self.others_to_ask() {
                other.ask();
            }
            thread::park_timeout(ASK_EVERY);
        }
        let error = "somebody still reads it or writes to it";
        tracing::warn!(%path, error, "{what}");
    }

    /// Those who have the same file open, when it is not the one behind the path any more.
    fn others_to_ask(&self) -> Vec<Arc<Leave>> {
        if !self.file.is_some_and(|file| file.is_gone_from(&self.path)) {
            return Vec::new();
        }
        let all = HELD.lock();
        let same = all
            .iter()
            .filter(|entry| entry.path == self.path && entry.file == self.file);
        same.map(|entry| Arc::clone(&entry.leave)).collect()
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
///
/// # Errors
///
/// It cannot be opened or looked at, or the one that was there before is still in use.
pub fn open<T, E>(
    path: &Path,
    open: impl Fn() -> Result<T, E>,
) -> Result<(T, FileId, Held), HeldError<E>> {
    for _ in 0..ATTEMPTS {
        let held = hold(path)?;
        let opened = open().map_err(HeldError::Open)?;
        match held.file {
            // It was there before and is after, so that it is what is open.
            Some(file) if file.is_at(path) => return Ok((opened, file, held)),
            // One that was made just now is there the next time.
            _ => drop(opened),
        }
    }
    Err(HeldError::InUse)
}

/// Waits until nobody has another file open than the one that is there.
fn hold<E>(path: &Path) -> Result<Held, HeldError<E>> {
    let path = behind_links(path);
    for _ in 0..ASK {
        let others = match enter(&path).map_err(HeldError::Look)? {
            Ok(held) => return Ok(held),
            Err(others) => others,
        };
        // Whoever is asked may need the table to leave.
        for other in others {
            other.ask();
        }
        LET_GO.wait_for(&mut HELD.lock(), ASK_EVERY);
    }
    Err(HeldError::InUse)
}

/// Writes down that the file is open which is there now, or says who has another one open.
fn enter(path: &Path) -> io::Result<Result<Held, Vec<Arc<Leave>>>> {
    // It is looked at under the lock, so that nobody is taken to have an old one who has a newer one.
    let mut all = HELD.lock();
    let file = match FileId::of(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let is_other = |entry: &&Entry| entry.path == path && (file.is_none() || entry.file != file);
    let others = all.iter().filter(is_other);
    let others: Vec<_> = others.map(|entry| Arc::clone(&entry.leave)).collect();
    if !others.is_empty() {
        return Ok(Err(others));
    }
    let (number, leave) = (
        NUMBERS.fetch_add(1, Ordering::Relaxed),
        Arc::<Leave>::default(),
    );
    all.push(Entry {
        number,
        path: path.to_owned(),
        file,
        leave: Arc::clone(&leave),
    });
    Ok(Ok(Held {
        number,
        path: path.to_owned(),
        file,
        leave,
    }))
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

    #[test]
    fn a_file_that_cannot_be_looked_at_is_not_taken_for_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let (_one, _, held) = at(&path).unwrap();
        // A link to itself leads nowhere, which is no sign that the file behind it is gone.
        let aside = folder.path().join("aside");
        fs::rename(&path, &aside).unwrap();
        symlink("a", &path).unwrap();
        assert!(matches!(at(&path), Err(HeldError::Look(_))));
        assert!(!held.leave().is_asked());
    }

    #[test]
    fn nothing_is_interrupted_once_it_is_to_end() {
        let (tell, told) = std::sync::mpsc::channel();
        let interrupt = Interrupt::by(move || {
            let _many = tell.send(());
        });
        interrupt.now();
        assert_eq!(told.try_iter().count(), 1);
        interrupt.no_more();
        interrupt.now();
        assert_eq!(told.try_iter().count(), 0);
    }

    #[test]
    fn who_is_in_the_way_when_a_file_is_settled_is_asked_to_leave() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let ((_one, _, held), (_two, _, other)) = (at(&path).unwrap(), at(&path).unwrap());
        assert!(!held.is_to_settle());
        held.settle(|| Ok::<_, io::Error>(other.leave().is_asked()));
        assert!(!other.leave().is_asked(), "the file is there");
        fs::remove_file(&path).unwrap();
        assert!(held.is_to_settle());
        held.settle(|| Ok::<_, io::Error>(other.leave().is_asked()));
        assert!(other.leave().is_asked());
    }
}
