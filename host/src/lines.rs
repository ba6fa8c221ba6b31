//! The socket of a host, over which the provider processes that it starts and its components call
//! one another without NATS.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lattice_core::HostId;
use lattice_rpc::{ListenError, SocketListener, Switchboard};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// How the names of sockets end, after the id of their host.
const SUFFIX: &str = ".sock";

/// The socket, as long as this is held.
#[derive(Debug)]
pub(crate) struct Lines {
    path: String,
    _listener: AbortOnDropHandle<()>,
    /// The folder that was made for the socket alone, if there is one.
    _own: Option<TempDir>,
    // After the listener, so that nobody comes when the others leave.
    _end: DropGuard,
}

impl Lines {
    /// Listens in `folder` and joins `board` with those of the processes that come.
    ///
    /// A host without a socket works as well, only slower: what fails is logged.
    pub(crate) fn open(folder: &Path, host: &HostId, board: &Switchboard) -> Option<Self> {
        let bound = match bind(folder, host) {
            Err(error @ ListenError::Taken { .. }) => {
                tracing::warn!(%error, "another host seems to have the id of this one");
                elsewhere(&error, host)
            }
            Err(error) if folder == default_folder() => elsewhere(&error, host),
            bound => bound.map(|listener| (listener, None)),
        };
        let (listener, own) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "no socket for providers, their calls go over NATS");
                return None;
            }
        };
        if own.is_none() {
            // Those of hosts that were killed, each of which had a name of its own.
            SocketListener::remove_abandoned(folder, is_of_host);
        }
        let Some(text) = listener.path().to_str().map(str::to_owned) else {
            tracing::warn!(folder = %folder.display(), "no socket for providers: not a path in UTF-8");
            return None;
        };
        let end = CancellationToken::new();
        let task = tokio::spawn(listener.run(board.clone(), end.clone()));
        Some(Self {
            path: text,
            _listener: AbortOnDropHandle::new(task),
            _own: own,
            _end: end.drop_guard(),
        })
    }

    /// What provider processes are told.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

fn bind(folder: &Path, host: &HostId) -> Result<SocketListener, ListenError> {
    SocketListener::bind(&folder.join(format!("{host}{SUFFIX}")))
}

/// Whether a file has the name of the socket of a host.
fn is_of_host(name: &str) -> bool {
    let id = name.strip_suffix(SUFFIX);
    id.is_some_and(|id| HostId::new(id).is_ok())
}

/// Listens in a folder with a name that nobody can know beforehand: among the temporary files, other
/// users may have made that of this one first, and another host may have its socket. Processes are told
/// the path, so that any is as good.
fn elsewhere(
    error: &ListenError,
    host: &HostId,
) -> Result<(SocketListener, Option<TempDir>), ListenError> {
    tracing::debug!(%error, "the socket for providers is in a folder of its own");
    // A short path, too: that of a socket has some hundred bytes at most.
    let folder = tempfile::Builder::new()
        .prefix("lattice-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in("/tmp");
    let folder = folder.map_err(|source| ListenError::Bind {
        path: "/tmp".into(),
        source,
    })?;
    Ok((bind(folder.path(), host)?, Some(folder)))
}

/// Where sockets are unless somebody chooses another place: the runtime folder of the user, else a
/// folder of the user among the temporary files.
pub(crate) fn default_folder() -> PathBuf {
    let set = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match set.filter(|path| path.is_absolute() && path.is_dir()) {
        Some(folder) => folder.join("lattice"),
        None => {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("lattice-{user}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_named_for_their_hosts() {
        let host = format!("N{}", "A".repeat(55));
        assert!(is_of_host(&format!("{host}.sock")));
        for other in ["mine.sock", ".sock", &host, &format!("{host}.sock.old")] {
            assert!(!is_of_host(other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_host_leaves_its_socket_to_another_with_the_same_id() {
        let folder = tempfile::tempdir().unwrap();
        let host = HostId::new(format!("N{}", "A".repeat(55))).unwrap();
        let board = Switchboard::default();
        let open = || Lines::open(folder.path(), &host, &board).unwrap();
        let (first, second) = (open(), open());
        assert!(Path::new(first.path()).starts_with(folder.path()));
        assert_ne!(first.path(), second.path());
        for lines in [&first, &second] {
            assert!(Path::new(lines.path()).exists(), "{}", lines.path());
        }
    }

    #[tokio::test]
    async fn a_folder_that_somebody_else_has_taken_is_gone_round() {
        let taken = tempfile::tempdir().unwrap();
        std::fs::set_permissions(taken.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let host = HostId::new(format!("N{}", "A".repeat(55))).unwrap();
        let refused = bind(taken.path(), &host).err().unwrap();
        let (listener, own) = elsewhere(&refused, &host).unwrap();
        let own = own.unwrap();
        assert!(listener.path().starts_with(own.path()) && listener.path().exists());
        let mode = own.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(listener);
        let folder = own.path().to_owned();
        drop(own);
        assert!(!folder.exists());
    }
}
