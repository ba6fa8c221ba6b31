//! Connecting again when the files of a connection have changed.

use std::fs::Metadata;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use async_nats::{Client, ConnectError, ServerAddr};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::Prepared;
use super::files::{self, Kept};

/// How often the files are looked at, and how long they have to stay the same to count as written.
const LOOK: Duration = Duration::from_millis(500);
/// How long what was sent may take to leave by the old connection.
const LEAVE: Duration = Duration::from_secs(2);

/// How long after that files are tried again with which no connection could be made; it doubles from there.
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
pub(super) type Look = Option<(SystemTime, u64)>;

impl Rotation {
    pub(super) fn start(prepared: Prepared, client: Client) -> Option<Self> {
        let files = prepared.files();
        if files.is_empty() {
            return None;
        }
        Some(Self(tokio::spawn(follow(prepared, files, client))))
    }
}

/// What files are like before a connection is made from them.
pub(super) fn first_look(files: &[PathBuf]) -> Vec<Look> {
    files
        .iter()
        .map(|file| look_of(std::fs::metadata(file)))
        .collect()
}

async fn follow(prepared: Prepared, files: Vec<PathBuf>, client: Client) {
    // They may have changed since the client has read them.
    let mut known = prepared.looks.clone();
    let mut again: Option<Again> = None;
    let kept = prepared.kept();
    loop {
        sleep(LOOK).await;
        keep(&kept).await;
        let now = look(&files).await;
        if now != known {
            known = settled(&files, now).await;
            again = None;
        } else {
            // A connection that was lost meanwhile has come back with the files.
            again = again.filter(|again| again.connects == connects(&client));
            if again.as_ref().is_none_or(|again| Instant::now() < again.at) {
                continue;
            }
        }
        again = take_over(&prepared, &client, again).await;
    }
}

/// Puts files back that were made for the connection and are gone: processes that are started are told
/// of them, too, and nobody else is to put his own in their place.
async fn keep(kept: &[Arc<Kept>]) {
    if kept.is_empty() {
        return;
    }
    let kept = kept.to_vec();
    if let Err(error) = tokio::task::spawn_blocking(move || files::keep(&kept)).await {
        tracing::error!(%error, "could not look at the files of the NATS connection");
    }
}

/// When files are tried again with which no connection could be made.
struct Again {
    at: Instant,
    pause: Duration,
    /// How often the client had connected.
    connects: u64,
}

impl Again {
    fn after(before: Option<Self>, client: &Client) -> Self {
        let pause = before.map_or(RETRY, |before| (2 * before.pause).min(LONGEST_RETRY));
        Self {
            at: Instant::now() + pause,
            pause,
            connects: connects(client),
        }
    }
}

fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

/// Connects with the files as they are, or says when to try again.
async fn take_over(prepared: &Prepared, client: &Client, before: Option<Again>) -> Option<Again> {
    let taken = prepared.clone();
    match tokio::task::spawn_blocking(move || taken.take_files()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, hint = error.hint(), "changed files of the NATS connection cannot be used");
            return None;
        }
        Err(error) => {
            tracing::error!(%error, "could not look at changed files");
            return None;
        }
    }
    match try_out(prepared, client).await {
        Ok(()) => {
            reconnect(client).await;
            None
        }
        Err(error) => {
            if before.is_none() {
                tracing::error!(
                    %error,
                    hint = "the connection goes on as it is while it lasts, and they are tried again",
                    "could not connect with the changed files of the NATS connection"
                );
            }
            Some(Again::after(before, client))
        }
    }
}

/// Whether somebody who shows the files gets in, at one of the servers that are named or that those have told
/// of. A connection that was given up for files that no server takes would not come back.
async fn try_out(prepared: &Prepared, client: &Client) -> Result<(), ConnectError> {
    let told = client.server_info().connect_urls;
    let told = told.iter().filter_map(|url| url.parse::<ServerAddr>().ok());
    let servers: Vec<_> = prepared.servers().iter().cloned().chain(told).collect();
    let options = prepared.options().name("lattice: changed files");
    options.connect(servers).await.map(drop)
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

async fn look(files: &[PathBuf]) -> Vec<Look> {
    let mut all = Vec::with_capacity(files.len());
    for file in files {
        all.push(look_of(tokio::fs::metadata(file).await));
    }
    all
}

fn look_of(found: std::io::Result<Metadata>) -> Look {
    let found = found.ok()?;
    Some((found.modified().ok()?, found.len()))
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
