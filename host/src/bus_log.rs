//! What the NATS server refuses, read from its log: the server tells nobody else of it but the one
//! who tried, and that is no witness.
//!
//! The log is followed from its present end, also when it is begun anew. What it says of a line is
//! bounded, and so is how much of it is told ([`quiet`](lattice_rpc::quiet)). Of several hosts that read one
//! log, one tells ([`shared`]).

mod line;
mod shared;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lattice_core::event::{BusRefused, Event};
use lattice_core::{ComponentId, HostId, LatticeName};
use lattice_rpc::quiet::{Repeated, Reports, tell_some};
use parking_lot::RwLock;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::events::Events;
use shared::{Folder, Turn};

/// How often the log is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// The longest line that is read. Clients choose their names and subjects, each as long as the server's
/// `max_control_line`, and the server writes some characters of them as several.
const LONGEST_LINE: usize = 1024 * 1024;
/// How often in a row the file may be missing without a word.
const MISSING: u32 = 8;
/// How much is read at once.
const PIECE: usize = 64 * 1024;
/// How many groups of subjects are told apart for each user.
const GROUPS: u64 = 16;
/// How many reports may wait.
const WAITING: usize = 256;

/// What one user is refused is told together, but for a few groups of subjects: whoever tries many
/// is not to hide what others are refused.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) BusRefused);

impl Repeated for Report {
    type Kind = (Option<String>, String, u64);

    fn kind(&self) -> Self::Kind {
        let Self(refused) = self;
        let mut hasher = DefaultHasher::new();
        refused.subject.hash(&mut hasher);
        let group = hasher.finish() % GROUPS;
        (refused.user.clone(), refused.action.clone(), group)
    }

    fn suppressed(&mut self) -> &mut u64 {
        &mut self.0.suppressed
    }
}

/// Follows the log of a NATS server, until this is dropped.
#[derive(Debug)]
pub(crate) struct BusLog {
    _reading: AbortOnDropHandle<()>,
    _telling: AbortOnDropHandle<()>,
}

impl BusLog {
    /// Begins at the end of the log. `users` says whose user it is that the server names.
    pub(crate) async fn start(
        path: PathBuf,
        host: HostId,
        events: Arc<Events>,
        users: Arc<Users>,
    ) -> io::Result<Self> {
        let turn = Turn::new(users.folder.clone());
        let log = Log::open(path).await?;
        let (reports, coming) = mpsc::channel(WAITING);
        let reports = Reports::new(reports);
        let tell = move |Report(refused): Report| {
            let provider_id = refused.user.as_deref().and_then(|user| users.whose(user));
            let refused = BusRefused {
                host_id: host.as_str().to_owned(),
                provider_id,
                ..refused
            };
            tracing::warn!(
                user = refused.user,
                provider = refused.provider_id,
                action = refused.action,
                subject = refused.subject,
                suppressed = refused.suppressed,
                "the NATS server refused a subject"
            );
            events.publish(Event::BusRefused(refused));
        };
        let pass_on = move |line: &str| {
            let Some(refused) = line::read(line) else {
                return;
            };
            // One who floods the log is told of by what there is room for, and by the number.
            if turn.is_ours() {
                reports.send(Report(refused));
            }
        };
        Ok(Self {
            _reading: AbortOnDropHandle::new(tokio::spawn(log.follow(pass_on))),
            _telling: AbortOnDropHandle::new(tokio::spawn(tell_some(coming, tell))),
        })
    }
}

/// Who has a user.
#[derive(Debug)]
struct Owner {
    provider: ComponentId,
    /// When its token ends at the latest, once its process has ended.
    ends: Option<Instant>,
}

/// The NATS users that hosts have made, and the providers that have them.
#[derive(Debug)]
pub(crate) struct Users {
    by_key: RwLock<HashMap<Box<str>, Owner>>,
    /// How long tokens hold.
    life: Duration,
    /// What hosts share that read the same log.
    folder: Option<Folder>,
}

impl Users {
    /// None yet of this host, which reads the log at `log` if it reads one. Their tokens hold for `life`.
    pub(crate) fn new(log: Option<&Path>, lattice: &LatticeName, life: Duration) -> Self {
        Self {
            by_key: RwLock::default(),
            life,
            folder: log.and_then(|log| Folder::beside(log, lattice)),
        }
    }

    /// Notes whose user has a public key, until what this returns is dropped and the last token has ended: a
    /// process that was stopped may use it as long as the server takes it.
    pub(crate) fn add(self: &Arc<Self>, key: &str, provider: &ComponentId) -> KnownUser {
        if let Some(folder) = &self.folder {
            folder.note(key, provider);
        }
        let now = Instant::now();
        let mut users = self.by_key.write();
        let has_ended = |owner: &Owner| owner.ends.is_some_and(|at| at <= now);
        let ended: Vec<_> = users.extract_if(|_, owner| has_ended(owner)).collect();
        let (provider, ends) = (provider.clone(), None);
        users.insert(key.into(), Owner { provider, ends });
        drop(users);
        if let Some(folder) = &self.folder {
            ended.iter().for_each(|(key, _)| folder.forget(key));
        }
        KnownUser {
            users: Arc::clone(self),
            key: key.into(),
        }
    }

    /// The provider whose user ends the text that the server names it by, `…/jwt:KEY` or `KEY`.
    fn whose(&self, user: &str) -> Option<String> {
        let key = user.rsplit(['/', ':']).next()?;
        let own = self
            .by_key
            .read()
            .get(key)
            .map(|owner| owner.provider.clone());
        let known = own.or_else(|| self.folder.as_ref()?.whose(key));
        known.map(|id| id.as_str().to_owned())
    }
}

/// A user that is known.
#[derive(Debug)]
pub(crate) struct KnownUser {
    users: Arc<Users>,
    key: Box<str>,
}

impl Drop for KnownUser {
    fn drop(&mut self) {
        if let Some(owner) = self.users.by_key.write().get_mut(&self.key) {
            owner.ends = Some(Instant::now() + self.users.life);
        }
    }
}

/// A file that grows.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    inode: u64,
    /// How much of the file has been read.
    at: u64,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    /// The line is longer than is read.
    is_long: bool,
}

impl Log {
    /// Begins at the end of what is there.
    async fn open(path: PathBuf) -> io::Result<Self> {
        let mut file = File::open(&path).await?;
        let inode = file.metadata().await?.ino();
        let at = file.seek(SeekFrom::End(0)).await?;
        Ok(Self {
            path,
            file,
            inode,
            at,
            rest: Vec::new(),
            is_long: false,
        })
    }

    async fn follow(mut self, line: impl Fn(&str)) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_well, mut missing) = (true, 0);
        loop {
            ticks.tick().await;
            match self.catch_up(&line).await {
                Ok(()) => (is_well, missing) = (true, 0),
                // Between the end of one file and the beginning of the next.
                Err(error) if error.kind() == io::ErrorKind::NotFound && missing < MISSING => {
                    missing += 1;
                }
                Err(error) if is_well => {
                    is_well = false;
                    tracing::error!(path = %self.path.display(), %error, "cannot read the log of the NATS server");
                }
                Err(_) => {}
            }
        }
    }

    /// Reads what has come, and then goes on with the file that has taken the place of this one.
    async fn catch_up(&mut self, line: &impl Fn(&str)) -> io::Result<()> {
        self.read_on(line).await?;
        let now = tokio::fs::metadata(&self.path).await?;
        if now.ino() != self.inode {
            // What was written to the old one after it was read.
            self.read_on(line).await?;
            self.begin(File::open(&self.path).await?).await?;
        } else if now.len() < self.at {
            self.file.seek(SeekFrom::Start(0)).await?;
            (self.at, self.is_long) = (0, false);
            self.rest.clear();
        }
        self.read_on(line).await
    }

    async fn begin(&mut self, file: File) -> io::Result<()> {
        self.inode = file.metadata().await?.ino();
        (self.file, self.at, self.is_long) = (file, 0, false);
        self.rest.clear();
        Ok(())
    }

    async fn read_on(&mut self, line: &impl Fn(&str)) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let count = self.file.read(&mut piece).await?;
            if count == 0 {
                return Ok(());
            }
            self.at += count as u64;
            self.take(&piece[..count], line);
        }
    }

    /// Takes lines apart.
    fn take(&mut self, piece: &[u8], line: &impl Fn(&str)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.rest.len() + part.len() > LONGEST_LINE {
                if !self.is_long {
                    tracing::warn!(path = %self.path.display(), "left out a line of more than 1 MiB in the log of the NATS server");
                }
                self.is_long = true;
                self.rest.clear();
            }
            if !self.is_long {
                self.rest.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                match std::str::from_utf8(&self.rest) {
                    Ok(text) if !self.is_long => line(text.trim_end()),
                    _ => {}
                }
                self.rest.clear();
                self.is_long = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Write as _;

    use parking_lot::Mutex;
    use tokio::time::{sleep, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_user_is_its_providers_until_its_token_has_ended() {
        let users = Arc::new(Users::new(
            None,
            &LatticeName::default(),
            Duration::from_secs(60),
        ));
        let kv = ComponentId::new("kv").unwrap();
        let known = users.add("UA7", &kv);
        for named in ["UA7", "ACC/lattice/jwt:UA7"] {
            assert_eq!(users.whose(named).as_deref(), Some("kv"));
        }
        assert_eq!(users.whose("ACC/lattice/jwt:UA8"), None);
        drop(known);
        assert_eq!(users.whose("UA7").as_deref(), Some("kv"));
        tokio::time::advance(Duration::from_secs(61)).await;
        let _other = users.add("UA9", &kv);
        assert_eq!(users.whose("UA7"), None);
    }

    fn append(path: &Path, text: &str) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[tokio::test]
    async fn a_log_is_followed_from_its_end_and_into_the_next_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nats.log");
        append(&path, "before\n");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Log::open(path.clone()).await.unwrap();
        let seen = Arc::clone(&lines);
        let _following = AbortOnDropHandle::new(tokio::spawn(
            log.follow(move |line| seen.lock().push(line.to_owned())),
        ));
        let until = async |count| {
            let enough = async {
                while lines.lock().len() < count {
                    sleep(INTERVAL / 5).await;
                }
            };
            timeout(Duration::from_secs(10), enough).await.unwrap();
        };
        let long = "x".repeat(LONGEST_LINE + 1);
        append(&path, &format!("one\n{long}\ntwo"));
        until(1).await;
        append(&path, " halves\n");
        until(2).await;
        std::fs::rename(&path, folder.path().join("nats.log.1")).unwrap();
        append(&path, "three\n");
        until(3).await;
        std::fs::write(&path, "4\n").unwrap();
        until(4).await;
        assert_eq!(*lines.lock(), ["one", "two halves", "three", "4"]);
    }
}
