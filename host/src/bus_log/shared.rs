//! What hosts of a lattice share that read the same log: which of them tells of it, how far it has come, and
//! whose users they have made.
//!
//! It is in a folder beside the log, one for each lattice. Where there can be none, as the log is somebody
//! else's, a host knows its own users and tells of everything.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lattice_core::{ComponentId, LatticeName};

/// Locked by the host that tells; says how far it has told.
const TELLER: &str = "teller";

/// How long the note of a user that nobody has forgotten, as its host was killed, is kept: no token holds longer.
const KEPT: Duration = Duration::from_secs(31 * 24 * 3600);

/// How often those of users that are not forgotten are written again.
pub(super) const NOTED_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// The folder, which nobody but its owner can write to.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The one of a lattice beside a log.
    pub(super) fn beside(log: &Path, lattice: &LatticeName) -> Option<Self> {
        let mut path = log.as_os_str().to_owned();
        path.push(format!(".{lattice}.hosts"));
        let path = PathBuf::from(path);
        match own_folder(&path) {
            Ok(()) => {
                let folder = Self(path);
                folder.tidy();
                Some(folder)
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "shares nothing with other hosts that read the log of NATS");
                None
            }
        }
    }

    /// Removes notes of users whose tokens have ended.
    fn tidy(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|file| file.modified());
            let is_old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEPT));
            if is_old && self.place(&entry.file_name().to_string_lossy()).is_some() {
                // Another host may be at it as well.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Lets other hosts know whose user has a public key.
    pub(super) fn note(&self, key: &str, provider: &ComponentId) {
        let Some(path) = self.place(key) else { return };
        if let Err(error) = fs::write(&path, provider.as_str()) {
            tracing::debug!(path = %path.display(), %error, "could not note a user");
        }
    }

    pub(super) fn forget(&self, key: &str) {
        if let Some(path) = self.place(key) {
            // Another host may have tidied up.
            let _ = fs::remove_file(path);
        }
    }

    /// Whose user another host has made.
    pub(super) fn whose(&self, key: &str) -> Option<ComponentId> {
        ComponentId::new(fs::read_to_string(self.place(key)?).ok()?).ok()
    }

    /// Where a user is noted. What is no key, but something that a client says of itself, has no place.
    fn place(&self, key: &str) -> Option<PathBuf> {
        let is_of_key = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let is_key = key.starts_with('U') && key.len() <= 64 && key.bytes().all(is_of_key);
        is_key.then(|| self.0.join(key))
    }

    fn lock(&self) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(self.0.join(TELLER))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Makes a folder that nobody else can write to, or takes one that is there.
fn own_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(path)?;
    let is_own = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    if found.is_dir() && is_own {
        Ok(())
    } else {
        Err(io::Error::other("it is open to others"))
    }
}

/// How far a log has been told of: the file, and the place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) inode: u64,
    pub(super) at: u64,
}

impl Position {
    /// Reads what [`Position::text`] has written, if anything.
    fn read(file: &File) -> Option<Self> {
        let mut text = [0; 64];
        let len = file.read_at(&mut text, 0).ok()?;
        let mut numbers = std::str::from_utf8(&text[..len]).ok()?.split_whitespace();
        let mut next = || numbers.next()?.parse().ok();
        Some(Self {
            inode: next()?,
            at: next()?,
        })
    }

    /// Always as long, so that it is written over what was there.
    fn text(self) -> String {
        format!("{:020} {:020}\n", self.inode, self.at)
    }
}

/// The turn to tell of a log. A host that has it keeps it until its process ends; the next one goes on where it
/// was.
#[derive(Debug)]
pub(super) struct Turn {
    folder: Option<Folder>,
    state: State,
    noted: Option<Position>,
}

#[derive(Debug)]
enum State {
    Waits,
    /// With the lock.
    Tells(File),
    /// Beside whoever else may tell.
    Alone,
}

impl Turn {
    pub(super) fn new(folder: Option<Folder>) -> Self {
        Self {
            folder,
            state: State::Waits,
            noted: None,
        }
    }

    /// Whether it is this host that tells: who asks first, or after the one that did has ended. Whoever has just
    /// come to it is to go on at [`Turn::noted`].
    pub(super) fn is_ours(&mut self) -> bool {
        if matches!(self.state, State::Waits) {
            self.state = self.ask();
        }
        !matches!(self.state, State::Waits)
    }

    fn ask(&mut self) -> State {
        let Some(folder) = &self.folder else {
            return State::Alone;
        };
        match folder.lock() {
            Ok(Some(lock)) => {
                self.noted = Position::read(&lock);
                State::Tells(lock)
            }
            Ok(None) => State::Waits,
            Err(error) => {
                tracing::warn!(%error, "tells of the log of NATS beside other hosts");
                State::Alone
            }
        }
    }

    /// How far has been told by whoever had the turn last.
    pub(super) fn noted(&self) -> Option<Position> {
        self.noted
    }

    /// Notes how far has been told, for whoever has the turn next.
    pub(super) fn note(&mut self, position: Position) {
        let State::Tells(lock) = &self.state else {
            return;
        };
        if self.noted != Some(position) {
            self.noted = Some(position);
            if let Err(error) = lock.write_all_at(position.text().as_bytes(), 0) {
                tracing::debug!(%error, "could not note how far the log of NATS was told of");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::os::unix::fs::PermissionsExt as _;
    use std::time::SystemTime;

    use tempfile::TempDir;

    fn of(folder: &TempDir, lattice: &str) -> Option<Folder> {
        let lattice = LatticeName::new(lattice).unwrap();
        Folder::beside(&folder.path().join("nats.log"), &lattice)
    }

    #[test]
    fn one_host_of_a_lattice_tells_and_another_goes_on_when_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (Turn::new(of(&folder, "a")), Turn::new(of(&folder, "a")));
        assert!(first.is_ours() && first.is_ours());
        assert_eq!(first.noted(), None);
        let position = |at| Position { inode: 7, at };
        first.note(position(100));
        first.note(position(20));
        assert!(!second.is_ours());
        second.note(position(3));
        assert!(Turn::new(of(&folder, "b")).is_ours());
        drop(first);
        assert!(second.is_ours());
        assert_eq!(second.noted(), Some(position(20)));
        assert!(Turn::new(None).is_ours());
    }

    #[test]
    fn hosts_know_each_others_users_and_nothing_that_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (of(&folder, "a").unwrap(), of(&folder, "a").unwrap());
        let kv = ComponentId::new("kv").unwrap();
        one.note("UA7", &kv);
        assert_eq!(other.whose("UA7"), Some(kv.clone()));
        fs::write(folder.path().join("U1"), "evil").unwrap();
        for made_up in ["../U1", "U/../../U1", "teller", "", "Ua7"] {
            assert_eq!(other.whose(made_up), None, "{made_up}");
            one.note(made_up, &kv);
        }
        one.forget("UA7");
        assert_eq!(other.whose("UA7"), None);
        let shared = folder.path().join("nats.log.a.hosts");
        assert_eq!(fs::read_dir(shared).unwrap().count(), 0);
    }

    #[test]
    fn a_note_of_a_token_that_has_ended_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let one = of(&folder, "a").unwrap();
        one.note("UA7", &ComponentId::new("kv").unwrap());
        assert!(of(&folder, "a").unwrap().whose("UA7").is_some());
        let note = File::options().write(true).open(one.place("UA7").unwrap());
        let long_ago = SystemTime::now() - KEPT - Duration::from_secs(1);
        note.unwrap().set_modified(long_ago).unwrap();
        assert_eq!(of(&folder, "a").unwrap().whose("UA7"), None);
    }

    #[test]
    fn where_no_folder_can_be_made_or_others_can_write_a_host_is_alone() {
        let nowhere = Path::new("/proc/none/nats.log");
        assert!(Folder::beside(nowhere, &LatticeName::default()).is_none());
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("nats.log.a.hosts");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(of(&folder, "a").is_none());
    }
}
