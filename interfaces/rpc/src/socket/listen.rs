//! Finding one another: a host listens, the processes that it starts connect.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lattice_core::Backoff;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::carry::carry;
use super::weight::UnauthenticatedBytes;
use crate::auth::LineEnd;
use crate::local::Switchboard;
use crate::throttle::LogThrottle;

/// How long a connection may take.
const CONNECTED: Duration = Duration::from_secs(5);

/// The pauses between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a line has to hold for the next pause to be the first again.
const HELD: Duration = Duration::from_secs(10);

/// How long a listener pauses that the system gives no more connections.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// How often a listener looks whether its socket is still there.
const LOOK: Duration = Duration::from_secs(5);

/// How many lines a listener holds at once.
const MAX_LINES: usize = 1024;

/// How old a socket is at least that may be taken for left behind: a younger one may be of a process
/// that is just starting.
const SETTLED: Duration = Duration::from_secs(60);

/// Why a host has no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The folder of the socket cannot be made, or is open to others.
    #[error("the folder `{}` cannot hold a socket: {why}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another process listens there.
    #[error("another process listens at `{}`", path.display())]
    Taken {
        /// The path of the socket.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("could not listen at `{}`", path.display())]
    Bind {
        /// The path of the socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Takes connections of processes of this machine and user, and joins their boards with one.
///
/// The socket goes with the listener. One that is cleaned away meanwhile comes back, where its folder can
/// be made.
#[derive(Debug)]
pub struct SocketListener {
    listener: UnixListener,
    path: PathBuf,
    /// Which file that is.
    file: Option<(u64, u64)>,
    /// Whether it was told that there is none and that none can be made.
    is_missed: bool,
}

/// The file at a path, if there is one.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    let data = std::fs::symlink_metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}

impl SocketListener {
    /// Listens at `path`. Its folder is made, for this user alone, when it is missing; a socket
    /// that a process has left there is replaced.
    ///
    /// # Errors
    ///
    /// [`ListenError`]; a folder that others may write to is refused, and the place of a process that
    /// still listens there.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        Ok(Self {
            listener: listen(path)?,
            path: path.to_owned(),
            file: file_at(path),
            is_missed: false,
        })
    }

    /// Removes what processes have left in a folder that were killed: sockets with a name that `is_ours`
    /// takes, which no process has any more. The folder has to be one that nobody else may write to,
    /// such as that of a listener.
    pub fn remove_abandoned(folder: &Path, is_ours: impl Fn(&str) -> bool) {
        remove_abandoned(folder, is_ours, SystemTime::now());
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Joins `board` with those of the processes that connect, until `stop`; returns when the last
    /// line has ended.
    pub async fn run(mut self, board: Switchboard, stop: CancellationToken) {
        let (lines, shared) = (TaskTracker::new(), Arc::<Shared>::default());
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = looks.tick() => {
                    self.put_back();
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) if lines.len() < MAX_LINES => {
                    let (board, stop) = (board.clone(), stop.clone());
                    let shared = Arc::clone(&shared);
                    lines.spawn(async move {
                        join(stream, &board, LineEnd::Somebody, &shared, &stop).await;
                    });
                }
                Ok(_) => {
                    if let Some(untold) = shared.full.turn() {
                        tracing::warn!(untold, "refused a process: {MAX_LINES} are connected");
                    }
                }
                Err(error) => {
                    if let Some(untold) = shared.full.turn() {
                        tracing::warn!(%error, untold, "could not take a connection of a process");
                    }
                    sleep(EXHAUSTED).await;
                }
            }
        }
        lines.close();
        lines.wait().await;
    }

    /// Listens anew where the socket was cleaned away, as old files among the temporary ones are, also
    /// where something that no process has is in its place. The runtime folder of a user who leaves is
    /// made by the system alone: that is told, and tried again until they are back. The place of a
    /// process that listens is left to it.
    fn put_back(&mut self) {
        let there = file_at(&self.path);
        if there.is_some() && there == self.file {
            return;
        }
        let path = self.path.display();
        match listen(&self.path) {
            Ok(listener) => {
                tracing::warn!(%path, "the socket for processes was gone, and is there again");
                self.file = file_at(&self.path);
                self.listener = listener;
                self.is_missed = false;
            }
            Err(error) if !self.is_missed => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(
                    %path,
                    %error,
                    cause,
                    "the socket for processes is gone: those that start from now on call over NATS, until \
                     it can be made again"
                );
                self.is_missed = true;
            }
            Err(_) => {}
        }
    }
}

/// Makes a socket at `path`, where no other process may have one.
fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    if let Some(folder) = path.parent() {
        private(folder)?;
    }
    if file_at(path).is_some() {
        if !is_abandoned(path) {
            return Err(ListenError::Taken {
                path: path.to_owned(),
            });
        }
        // Whoever had it has ended.
        let _missing = std::fs::remove_file(path);
    }
    UnixListener::bind(path).map_err(|source| ListenError::Bind {
        path: path.to_owned(),
        source,
    })
}

impl Drop for SocketListener {
    fn drop(&mut self) {
        if self.file != file_at(&self.path) {
            // Another process with the same name listens there now.
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "could not remove a socket");
        }
    }
}

fn remove_abandoned(folder: &Path, is_ours: impl Fn(&str) -> bool, now: SystemTime) {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::debug!(%error, folder = %folder.display(), "could not look for old sockets");
            return;
        }
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(&is_ours) {
            continue;
        }
        let path = entry.path();
        let Some(before) = settled(&path, now) else {
            continue;
        };
        // Its process may have been started again in between, and then has a new one there.
        if !is_abandoned(&path) || settled(&path, now) != Some(before) {
            continue;
        }
        match std::fs::remove_file(&path) {
            Ok(()) => tracing::debug!(path = %path.display(), "removed an abandoned socket"),
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "could not remove a socket");
            }
        }
    }
}

/// Which socket is at a path, and since when, if that is not just now.
fn settled(path: &Path, now: SystemTime) -> Option<((u64, u64), SystemTime)> {
    let data = std::fs::symlink_metadata(path).ok()?;
    let since = data.modified().ok()?;
    let age = now.duration_since(since).ok()?;
    let is_settled = data.file_type().is_socket() && age > SETTLED;
    is_settled.then(|| ((data.dev(), data.ino()), since))
}

/// Whether no process has the socket at a path. One that has it is not disturbed: a socket of another
/// type cannot be connected to it, which the system only says where it is still there.
fn is_abandoned(path: &Path) -> bool {
    let asked = UnixDatagram::unbound().and_then(|other| other.connect(path));
    asked.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn private(folder: &Path) -> Result<(), ListenError> {
    let refuse = |why: String| ListenError::Folder {
        path: folder.to_owned(),
        why,
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(|e| refuse(e.to_string()))?;
    let data = std::fs::symlink_metadata(folder).map_err(|e| refuse(e.to_string()))?;
    if !data.is_dir() {
        return Err(refuse("it is no folder".to_owned()));
    }
    if data.uid() != own_user() {
        return Err(refuse("it belongs to another user".to_owned()));
    }
    if data.mode() & 0o022 != 0 {
        return Err(refuse("others may write to it".to_owned()));
    }
    Ok(())
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// What the lines of one listener share. Whoever may connect does so as often as they like: of each kind of
/// line in the log, one a second is told.
#[derive(Debug, Default)]
struct Shared {
    unauthenticated: UnauthenticatedBytes,
    full: LogThrottle,
    refused: LogThrottle,
    broken: LogThrottle,
}

impl Shared {
    /// Whether a process may have the connection that it has made.
    fn lets_in(&self, stream: &UnixStream) -> bool {
        let peer = stream.peer_cred();
        if matches!(&peer, Ok(peer) if peer.uid() == own_user()) {
            return true;
        }
        let Some(untold) = self.refused.turn() else {
            return false;
        };
        match peer {
            Ok(peer) => {
                let user = peer.uid();
                tracing::warn!(
                    user,
                    untold,
                    "refused a connection: the process is of another user"
                );
            }
            Err(error) => {
                tracing::warn!(%error, untold, "refused a connection: its process is not known");
            }
        }
        false
    }
}

/// Carries a connection to its end, if whoever is at the other end may have it.
async fn join(
    stream: UnixStream,
    board: &Switchboard,
    end: LineEnd,
    shared: &Shared,
    stop: &CancellationToken,
) {
    if !shared.lets_in(&stream) {
        return;
    }
    match carry(stream, board, end, &shared.unauthenticated, stop).await {
        Ok(()) => tracing::debug!("a line to another process has ended"),
        Err(error) => {
            if let Some(untold) = shared.broken.turn() {
                tracing::warn!(%error, untold, "a line to another process broke");
            }
        }
    }
}

/// Joins `board` with that of the process that listens at `path`, again whenever that ends, until
/// `stop`; what waits to be sent still leaves then. Calls go over NATS while there is no line.
pub async fn keep_connected(path: PathBuf, board: Switchboard, stop: CancellationToken) {
    let mut backoff = Backoff::exact(FIRST_PAUSE, LONGEST_PAUSE);
    let shared = Shared::default();
    while !stop.is_cancelled() {
        let began = Instant::now();
        match timeout(CONNECTED, UnixStream::connect(&path)).await {
            Ok(Ok(stream)) => join(stream, &board, LineEnd::Host, &shared, &stop).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, path = %path.display(), "no line to the host");
            }
            Err(_) => tracing::debug!(path = %path.display(), "no line to the host in time"),
        }
        if began.elapsed() > HELD {
            backoff.reset();
        }
        stop.run_until_cancelled(sleep(backoff.delay())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as Bound;

    use super::*;

    fn is_ours(name: &str) -> bool {
        name.ends_with(".sock")
    }

    #[test]
    fn sockets_that_no_process_has_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        drop(Bound::bind(at("left.sock")).unwrap());
        drop(Bound::bind(at("of-others")).unwrap());
        let live = Bound::bind(at("live.sock")).unwrap();
        std::fs::write(at("file.sock"), "").unwrap();
        let is_there = || {
            let names = ["left.sock", "of-others", "live.sock", "file.sock"];
            names.map(|name| at(name).exists())
        };
        // That of a process which is just starting would be as young.
        remove_abandoned(folder.path(), is_ours, SystemTime::now());
        assert_eq!(is_there(), [true; 4]);
        remove_abandoned(folder.path(), is_ours, SystemTime::now() + 2 * SETTLED);
        assert_eq!(is_there(), [false, true, true, true]);
        live.set_nonblocking(true).unwrap();
        let disturbed = live.accept().map(drop);
        assert_eq!(disturbed.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn a_socket_is_replaced_only_where_no_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host.sock");
        drop(Bound::bind(&path).unwrap());
        let listener = SocketListener::bind(&path).unwrap();
        let refused = SocketListener::bind(&path);
        assert!(
            matches!(refused, Err(ListenError::Taken { .. })),
            "{refused:?}"
        );
        UnixStream::connect(&path).await.unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_was_cleaned_away_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/host.sock");
        let listener = SocketListener::bind(&path).unwrap();
        let stop = CancellationToken::new();
        let run = tokio::spawn(listener.run(Switchboard::default(), stop.clone()));
        let own = path.parent().unwrap();
        std::fs::remove_dir_all(own).unwrap();
        // The time of the test passes as soon as nobody has anything to do.
        sleep(2 * LOOK).await;
        UnixStream::connect(&path).await.unwrap();
        assert_eq!(own.metadata().unwrap().mode() & 0o777, 0o700);
        stop.cancel();
        run.await.unwrap();
        assert!(!path.exists(), "the socket stays behind");
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_is_put_back_as_soon_as_its_place_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/host.sock");
        let listener = SocketListener::bind(&path).unwrap();
        let stop = CancellationToken::new();
        let run = tokio::spawn(listener.run(Switchboard::default(), stop.clone()));
        // Kept under another name, so that no other file is taken for it.
        let own = path.parent().unwrap();
        std::fs::rename(&path, own.join("old.sock")).unwrap();
        let other = Bound::bind(&path).unwrap();
        let taken = file_at(&path);
        sleep(2 * LOOK).await;
        assert_eq!(
            file_at(&path),
            taken,
            "the process there has lost its socket"
        );
        drop(other);
        sleep(2 * LOOK).await;
        UnixStream::connect(&path).await.unwrap();

        let away = folder.path().join("away");
        std::fs::rename(own, &away).unwrap();
        std::fs::write(own, "").unwrap();
        sleep(2 * LOOK).await;
        std::fs::remove_file(own).unwrap();
        sleep(2 * LOOK).await;
        UnixStream::connect(&path).await.unwrap();
        stop.cancel();
        run.await.unwrap();
    }
}
