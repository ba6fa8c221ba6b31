//! Connecting again when the files of a connection have changed.

use std::fs::{File, Metadata};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use async_nats::{Client, ConnectError};
use lattice_core::Backoff;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::files::{self, Kept};
use super::{ConnectionError, Prepared, ServerAddress};

/// How often the files are looked at, and how long they have to stay the same to count as written.
const LOOK: Duration = Duration::from_millis(500);
/// How long files that change all the time are waited for.
const LONGEST_WRITE: Duration = Duration::from_secs(30);
/// How much of a file is looked at; files of keys and certificates are far smaller.
const LOOKED_AT: u64 = 4 << 20;
/// How long what was sent may take to leave by the old connection.
const LEAVE: Duration = Duration::from_secs(2);

/// How long after that files are tried again that could not be read, or with which no connection could be
/// made; it doubles from there.
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

/// What tells one content of a file from another; none of a file that is not there.
pub(super) type Look = Option<Seen>;

/// What a file is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    modified: SystemTime,
    length: u64,
    /// What stands for the content; none of one that cannot be read.
    content: Option<u64>,
    place: Place,
}

/// Where it lies does not count: a file may move, or change its rights, and hold what it held.
impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        let of = |seen: &Self| (seen.modified, seen.length, seen.content);
        of(self) == of(other)
    }
}

/// Tells whether there may be another content in a file of the same age and length, as there is where all
/// files are equally old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    inode: u64,
    changed: (i64, i64),
}

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
    files.iter().map(|file| look_at(file, None)).collect()
}

async fn follow(prepared: Prepared, files: Vec<PathBuf>, client: Client) {
    // They may have changed since the client has read them.
    let mut known = prepared.looks.clone();
    // What the connection goes by, as far as that is known.
    let mut taken = Some(known.clone());
    let mut again: Option<Again> = None;
    let kept = prepared.kept();
    loop {
        sleep(LOOK).await;
        keep(&kept).await;
        let now = look(&files, &known).await;
        if now != known {
            known = settled(&files, now, LONGEST_WRITE).await;
            again = None;
            // Gone for a moment, and put back.
            if taken.as_ref() == Some(&known) {
                continue;
            }
        } else {
            // They may lie elsewhere.
            known = now;
            // A connection that was lost meanwhile has come back with the files, if they could be read.
            again = again.filter(|again| {
                again.failed == Failed::Read || again.connects == connects(&client)
            });
            if again.as_ref().is_none_or(|again| Instant::now() < again.at) {
                continue;
            }
        }
        again = take_over(&prepared, &client, again).await;
        match again.as_ref().map(|again| again.failed) {
            None => taken = Some(known.clone()),
            Some(Failed::Connect) => taken = None,
            Some(Failed::Read) => {}
        }
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

/// What could not be done with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    Read,
    Connect,
}

/// When files are tried again.
#[derive(Debug)]
struct Again {
    at: Instant,
    backoff: Backoff,
    failed: Failed,
    /// How often the client had connected.
    connects: u64,
}

impl Again {
    fn after(before: Option<Self>, failed: Failed, client: &Client) -> Self {
        let first = || Backoff::exact(RETRY, LONGEST_RETRY);
        let mut backoff = before.map_or_else(first, |before| before.backoff);
        Self {
            at: Instant::now() + backoff.delay(),
            backoff,
            failed,
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
    // Said once, however often it is tried.
    let is_news = |failed: Failed| before.as_ref().is_none_or(|before| before.failed != failed);
    match tokio::task::spawn_blocking(move || taken.take_files()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            if is_news(Failed::Read) {
                tracing::error!(%error, hint = error.hint(), "changed files of the NATS connection cannot be used");
            }
            // What cannot be read now may be in a moment, with nothing to be seen of it. That of another
            // account is that until it changes.
            let may_pass = !matches!(error, ConnectionError::OtherAccount { .. });
            return may_pass.then(|| Again::after(before, Failed::Read, client));
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
            if is_news(Failed::Connect) {
                tracing::error!(
                    %error,
                    hint = "the connection goes on as it is while it lasts, and they are tried again",
                    "could not connect with the changed files of the NATS connection"
                );
            }
            Some(Again::after(before, Failed::Connect, client))
        }
    }
}

/// Whether somebody who shows the files gets in, at one of the servers that are named or that those have told
/// of. A connection that was given up for files that no server takes would not come back.
async fn try_out(prepared: &Prepared, client: &Client) -> Result<(), ConnectError> {
    let told = client.server_info().connect_urls;
    let told = told
        .iter()
        .filter_map(|url| ServerAddress::of(url).check().ok());
    let servers: Vec<_> = prepared.servers().iter().cloned().chain(told).collect();
    let options = prepared.options().name("lattice: changed files");
    options.connect(servers).await.map(drop)
}

/// Waits until the files stay as they are: certificate and key are written one after the other. Those that
/// never do count as they are after a while.
async fn settled(files: &[PathBuf], mut now: Vec<Look>, longest: Duration) -> Vec<Look> {
    let deadline = Instant::now() + longest;
    loop {
        sleep(LOOK).await;
        let later = look(files, &now).await;
        if later == now || Instant::now() >= deadline {
            return later;
        }
        now = later;
    }
}

/// Looks at files again, and reads those that may hold something else than before.
async fn look(files: &[PathBuf], before: &[Look]) -> Vec<Look> {
    let (files, known) = (files.to_vec(), before.to_vec());
    let looking = tokio::task::spawn_blocking(move || {
        let known = known.into_iter().chain(std::iter::repeat(None));
        let each = files.iter().zip(known);
        each.map(|(file, before)| look_at(file, before)).collect()
    });
    // It can only fail when everything ends.
    looking.await.unwrap_or_else(|_| before.to_vec())
}

fn look_at(file: &Path, before: Look) -> Look {
    let found = std::fs::metadata(file).ok()?;
    let mut now = Seen {
        modified: found.modified().ok()?,
        length: found.len(),
        content: None,
        place: Place {
            inode: found.ino(),
            changed: (found.ctime(), found.ctime_nsec()),
        },
    };
    let of = |seen: &Seen| (seen.modified, seen.length, seen.place);
    now.content = match before.filter(|before| of(before) == of(&now)) {
        Some(before) => before.content,
        None => content_of(file, &found),
    };
    Some(now)
}

/// What stands for the content of a file in this process, and gives nothing of it away.
fn content_of(file: &Path, found: &Metadata) -> Option<u64> {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    if !found.is_file() {
        return None;
    }
    let mut content = Vec::new();
    let mut file = File::open(file).ok()?.take(LOOKED_AT);
    file.read_to_end(&mut content).ok()?;
    Some(KEY.hash_one(content))
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

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use lattice_nats_box::{Authority, NatsBox, NatsBoxOptions};

    use super::*;
    use crate::connection::{ClientCert, Connection};

    const SOON: Duration = Duration::from_secs(20);

    /// A connection that shows a certificate.
    fn connection(authority: &Authority, server: &NatsBox) -> Connection {
        let mut connection = Connection {
            servers: vec![server.url.clone()],
            ..Connection::default()
        };
        connection.tls.ca_files = vec![authority.path("ca.pem")];
        connection.tls.client = Some(ClientCert {
            cert: authority.path("client.pem"),
            key: authority.path("client.key"),
        });
        connection
    }

    #[tokio::test]
    async fn files_that_cannot_be_read_at_one_moment_are_tried_again() {
        let authority = Authority::new().unwrap();
        let server = NatsBox::start_with(NatsBoxOptions {
            extra_config: authority.server_config(""),
            ..NatsBoxOptions::default()
        });
        let server = server.await.unwrap();
        let prepared = connection(&authority, &server).prepare().unwrap();
        let connecting = prepared.options().connect(prepared.servers());
        let client = connecting.await.unwrap();
        let before = connects(&client);
        // A folder can be read as a file by nobody, whatever his rights.
        let key = authority.path("client.key");
        let kept = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        std::fs::create_dir(&key).unwrap();
        let first = take_over(&prepared, &client, None).await.unwrap();
        assert_eq!(first.failed, Failed::Read);
        assert_eq!(first.backoff.clone().delay(), 2 * RETRY);
        let second = take_over(&prepared, &client, Some(first)).await.unwrap();
        assert_eq!(second.failed, Failed::Read);
        assert_eq!(second.backoff.clone().delay(), 4 * RETRY);
        assert_eq!(connects(&client), before);
        std::fs::remove_dir(&key).unwrap();
        std::fs::write(&key, kept).unwrap();
        assert!(take_over(&prepared, &client, Some(second)).await.is_none());
        let again = async {
            while connects(&client) == before {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, again).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_of_the_same_age_and_length_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            path
        };
        let files = [write("a", "one")];
        let before = first_look(&files);
        assert_eq!(look(&files, &before).await, before);
        std::fs::rename(write("b", "two"), &files[0]).unwrap();
        assert_ne!(look(&files, &before).await, before);
    }

    #[tokio::test]
    async fn a_file_that_only_lies_elsewhere_or_has_other_rights_is_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one").unwrap();
        let files = [path.clone()];
        let before = first_look(&files);
        let place = |looks: &[Look]| looks[0].unwrap().place;
        std::fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        let after = look(&files, &before).await;
        assert_eq!(after, before);
        // Somebody else puts it back as it was.
        let other = folder.path().join("b");
        std::fs::write(&other, "one").unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        let file = File::options().write(true).open(&other).unwrap();
        file.set_modified(modified).unwrap();
        std::fs::rename(&other, &path).unwrap();
        let back = look(&files, &after).await;
        assert_eq!(back, before);
        assert_ne!(place(&back), place(&after));
    }

    #[tokio::test]
    async fn files_that_change_all_the_time_are_not_waited_for_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let files = [folder.path().join("a")];
        let path = files[0].clone();
        let writing = tokio::spawn(async move {
            for length in 1.. {
                std::fs::write(&path, "x".repeat(length)).unwrap();
                sleep(LOOK / 10).await;
            }
        });
        let waiting = settled(&files, vec![None], 3 * LOOK);
        timeout(SOON, waiting).await.unwrap();
        assert!(!writing.is_finished());
        writing.abort();
    }

    #[test]
    fn a_file_that_was_put_back_is_no_other() {
        let kept = [Arc::new(
            Kept::new("lattice-test-", b"one".to_vec()).unwrap(),
        )];
        let files = [kept[0].path().to_owned()];
        let before = first_look(&files);
        std::fs::remove_file(&files[0]).unwrap();
        assert_eq!(first_look(&files), [None]);
        files::keep(&kept);
        assert_eq!(first_look(&files), before);
        kept[0].write(b"other".to_vec()).unwrap();
        assert_ne!(first_look(&files), before);
    }
}
