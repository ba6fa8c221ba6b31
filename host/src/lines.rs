//! The socket of a host, over which the provider processes that it starts and its components call
//! one another without NATS.

use std::path::{Path, PathBuf};

use lattice_core::HostId;
use lattice_rpc::{SocketListener, Switchboard};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

/// The socket, as long as this is held.
#[derive(Debug)]
pub(crate) struct Lines {
    path: String,
    _listener: AbortOnDropHandle<()>,
    // After the listener, so that nobody comes when the others leave.
    _end: DropGuard,
}

impl Lines {
    /// Listens in `folder` and joins `board` with those of the processes that come.
    ///
    /// A host without a socket works as well, only slower: what fails is logged.
    pub(crate) fn open(folder: &Path, host: &HostId, board: &Switchboard) -> Option<Self> {
        let path = folder.join(format!("{host}.sock"));
        let Some(text) = path.to_str().map(str::to_owned) else {
            tracing::warn!(path = %path.display(), "no socket for providers: not a path in UTF-8");
            return None;
        };
        let listener = match SocketListener::bind(&path) {
            Ok(listener) => listener,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "no socket for providers, their calls go over NATS");
                return None;
            }
        };
        let end = CancellationToken::new();
        let task = tokio::spawn(listener.run(board.clone(), end.clone()));
        Some(Self {
            path: text,
            _listener: AbortOnDropHandle::new(task),
            _end: end.drop_guard(),
        })
    }

    /// What provider processes are told.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
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
