//! Connecting again when the files of a connection have changed.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_nats::Client;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Prepared;

/// How often the files are looked at, and how long they have to stay the same to count as written.
const LOOK: Duration = Duration::from_millis(500);
/// How long what was sent may take to leave by the old connection.
const LEAVE: Duration = Duration::from_secs(2);

/// Watches the files of a connection as long as it is held.
#[derive(Debug)]
pub struct Rotation(JoinHandle<()>);

impl Drop for Rotation {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What tells one content of a file from another without reading it.
type Look = Option<(SystemTime, u64)>;

impl Rotation {
    pub(super) fn start(prepared: Prepared, client: Client) -> Option<Self> {
        let files = prepared.files();
        if files.is_empty() {
            return None;
        }
        Some(Self(tokio::spawn(follow(prepared, files, client))))
    }
}

async fn follow(prepared: Prepared, files: Vec<PathBuf>, client: Client) {
    let mut known = look(&files).await;
    loop {
        sleep(LOOK).await;
        let mut now = look(&files).await;
        if now == known {
            continue;
        }
        // Certificate and key are written one after the other.
        loop {
            sleep(LOOK).await;
            let later = look(&files).await;
            if later == now {
                break;
            }
            now = later;
        }
        known = now;
        let taken = prepared.clone();
        match tokio::task::spawn_blocking(move || taken.take_files()).await {
            Ok(Ok(())) => reconnect(&client).await,
            Ok(Err(error)) => {
                tracing::error!(%error, hint = error.hint(), "changed files of the NATS connection cannot be used");
            }
            Err(error) => tracing::error!(%error, "could not look at changed files"),
        }
    }
}

async fn look(files: &[PathBuf]) -> Vec<Look> {
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        let found = tokio::fs::metadata(file).await.ok();
        all.push(found.and_then(|found| Some((found.modified().ok()?, found.len()))));
    }
    all
}

/// What is sent meanwhile waits in the client and leaves by the new connection.
async fn reconnect(client: &Client) {
    if !matches!(timeout(LEAVE, client.flush()).await, Ok(Ok(()))) {
        tracing::debug!("connecting again, with messages that NATS did not take");
    }
    match client.force_reconnect().await {
        Ok(()) => tracing::info!("files of the NATS connection have changed, connecting again"),
        Err(error) => tracing::error!(%error, "could not connect again"),
    }
}
