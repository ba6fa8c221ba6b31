//! Turns at a compilation, so that of two processes of one machine one compiles and the other
//! waits for what comes of it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lattice_core::Backoff;
use tokio::time::{Instant, sleep};

/// How long somebody waits for the turn of another. Whoever is stuck then, or takes longer, is
/// not waited for: compiling twice is only slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// The first and the longest pause between two looks at the lock.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A turn. The system ends it with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Turn {
    path: PathBuf,
    _file: File,
}

impl Turn {
    /// Waits for the turn that the file at `path` stands for; `None` when there is none to have.
    pub(crate) async fn wait(path: &Path) -> Option<Self> {
        let file = match open(path) {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!(file = %path.display(), %error, "no lock for a compilation");
                return None;
            }
        };
        let deadline = Instant::now() + PATIENCE;
        let mut backoff = Backoff::exact(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {}
                Err(error) => {
                    tracing::debug!(file = %path.display(), %error, "no turn at a compilation");
                    return None;
                }
            }
            sleep(backoff.delay()).await;
        }
        Some(Self {
            path: path.to_owned(),
            _file: file,
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Before the lock goes with the file. Who waits has it open already and finds the code;
        // if there is none, a third may come between with a file of its own and compile as well.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(file = %self.path.display(), %error, "could not remove a lock");
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    match super::regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        there => there?,
    }
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_begins_when_the_one_before_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        let first = Turn::wait(&path).await.unwrap();
        let mut next = std::pin::pin!(Turn::wait(&path));
        // Polled once, and it has to wait.
        tokio::select! {
            biased;
            _ = &mut next => panic!("two turns at once"),
            () = std::future::ready(()) => {}
        }
        drop(first);
        assert!(next.await.is_some());
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn who_holds_on_to_a_turn_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        let _stuck = Turn::wait(&path).await.unwrap();
        let start = Instant::now();
        assert!(Turn::wait(&path).await.is_none());
        assert!(start.elapsed() < PATIENCE + LONGEST_PAUSE);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_is_no_file_gives_no_turn_and_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lock");
        crate::cache::tests::make_pipe(&path);
        assert!(Turn::wait(&path).await.is_none());
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_gives_no_turn() {
        assert!(Turn::wait(Path::new("/nowhere/a.lock")).await.is_none());
    }
}
