//! Connecting again when the files of a connection have changed.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_nats::{Client, ConnectError};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Prepared;

/// How often the files are looked at, and how long they have to stay the same to count as written.
const LOOK: Duration = Duration::from_millis(500);
/// How long what was sent may take to leave by the old connection.
const LEAVE: Duration = Duration::from_secs(2);

/// How long after that files are tried again that the server did not take; it doubles from there.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

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
    // When files that the server did not take are tried again, and the pause after that.
    let mut again = None;
    loop {
        sleep(LOOK).await;
        let now = look(&files).await;
        if now == known {
            match again {
                Some((at, _)) if Instant::now() >= at => {}
                _ => continue,
            }
        } else {
            known = settled(&files, now).await;
            again = None;
        }
        let taken = prepared.clone();
        match tokio::task::spawn_blocking(move || taken.take_files()).await {
            Ok(Ok(())) => match is_let_in(&prepared).await {
                Ok(()) => {
                    again = None;
                    reconnect(&client).await;
                }
                Err(error) => {
                    let pause = again.map_or(RETRY, |(_, pause): (_, Duration)| 2 * pause);
                    if again.is_none() {
                        tracing::error!(
                            %error,
                            hint = "the connection goes on as it is, and they are tried again",
                            "the NATS server does not take the changed files of the connection"
                        );
                    }
                    let pause = pause.min(LONGEST_RETRY);
                    again = Some((Instant::now() + pause, pause));
                }
            },
            Ok(Err(error)) => {
                tracing::error!(%error, hint = error.hint(), "changed files of the NATS connection cannot be used");
            }
            Err(error) => tracing::error!(%error, "could not look at changed files"),
        }
    }
}

/// Waits until the files stay as they are: certificate and key are written one after the other.
async fn settled(files: &[PathBuf], mut now: Vec<Look>) -> Vec<Look> {
    loop {
        sleep(LOOK).await;
        let later = look(files).await;
        if later == now {
            return now;
        }
        now = later;
    }
}

/// Whether somebody who shows the files gets in. A connection that was given up for files that no server
/// takes would not come back.
async fn is_let_in(prepared: &Prepared) -> Result<(), ConnectError> {
    let options = prepared.options().name("lattice: changed files");
    options.connect(prepared.servers()).await.map(drop)
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
