//! What hosts share that read the same log: which of them tells of it, and whose users they have made.
//!
//! It is in a folder beside the log. Where there can be none, as the log is somebody else's, a host knows its
//! own users and tells of everything.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use lattice_core::ComponentId;
use parking_lot::Mutex;

/// Locked by the host that tells.
const TELLER: &str = "teller";

/// The folder, readable by its owner alone.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The one beside a log.
    pub(super) fn beside(log: &Path) -> Option<Self> {
        let mut path = log.as_os_str().to_owned();
        path.push(".hosts");
        let path = PathBuf::from(path);
        match fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
        {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "shares nothing with other hosts that read the log of NATS");
                None
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
            // It is gone where another start of NATS has tidied up.
            let _ = fs::remove_file(path);
        }
    }

    /// Whose user another host has made.
    pub(super) fn whose(&self, key: &str) -> Option<ComponentId> {
        ComponentId::new(fs::read_to_string(self.place(key)?).ok()?).ok()
    }

    /// Where a user is noted. What is no key, but something that a client says of itself, has no place.
    fn place(&self, key: &str) -> Option<PathBuf> {
        let is_key = key.starts_with('U')
            && key.len() <= 64
            && key
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        is_key.then(|| self.0.join(key))
    }

    fn lock(&self) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.0.join(TELLER))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The turn to tell of a log. A host that has it keeps it for as long as it lives.
#[derive(Debug)]
pub(super) struct Turn {
    folder: Option<Folder>,
    held: Mutex<Option<File>>,
}

impl Turn {
    pub(super) fn new(folder: Option<Folder>) -> Self {
        Self {
            folder,
            held: Mutex::default(),
        }
    }

    /// Whether it is this host that tells: who asks first, or after the one that did has ended.
    pub(super) fn is_ours(&self) -> bool {
        let Some(folder) = &self.folder else {
            return true;
        };
        let mut held = self.held.lock();
        if held.is_none() {
            match folder.lock() {
                Ok(lock) => *held = lock,
                Err(error) => {
                    tracing::debug!(%error, "tells of the log of NATS beside other hosts");
                    return true;
                }
            }
        }
        held.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_tells_and_another_when_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let beside = || Folder::beside(&folder.path().join("nats.log"));
        let (first, second) = (Turn::new(beside()), Turn::new(beside()));
        assert!(first.is_ours() && first.is_ours());
        assert!(!second.is_ours());
        drop(first);
        assert!(second.is_ours());
        assert!(Turn::new(None).is_ours());
    }

    #[test]
    fn hosts_know_each_others_users_and_nothing_that_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("nats.log");
        let (one, other) = (Folder::beside(&log).unwrap(), Folder::beside(&log).unwrap());
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
        assert_eq!(
            fs::read_dir(folder.path().join("nats.log.hosts"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn where_no_folder_can_be_made_a_host_is_alone() {
        assert!(Folder::beside(Path::new("/proc/none/nats.log")).is_none());
    }
}
