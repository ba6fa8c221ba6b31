//! Following the log, whoever writes it and however often it begins anew.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};
use tokio::time::{MissedTickBehavior, interval};

use super::shared::{Position, Turn};

/// How often the log is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// The longest line that is read. Clients choose their names and subjects, each as long as the server's
/// `max_control_line`, and the server writes some characters of them as several.
const LONGEST_LINE: usize = 1024 * 1024;
/// How much of what nobody has told of, as no host was there, is read at most.
const MOST_MISSED: u64 = 64 * 1024 * 1024;
/// How often in a row the file may be missing without a word.
const MISSING: u32 = 8;
/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// A file that grows.
#[derive(Debug)]
pub(super) struct Log {
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
    pub(super) async fn open(path: PathBuf) -> io::Result<Self> {
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

    pub(super) async fn follow(mut self, mut turn: Turn, line: impl Fn(&str)) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_well, mut missing) = (true, 0);
        let (mut tells, mut others_told) = (false, false);
        loop {
            ticks.tick().await;
            if !turn.is_ours() {
                others_told = true;
                continue;
            }
            if !tells {
                self.go_on(turn.noted(), others_told).await;
                tells = true;
            }
            let caught_up = self.catch_up(&line).await;
            turn.note(self.position());
            match caught_up {
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

    /// How far whole lines have been read.
    fn position(&self) -> Position {
        Position {
            inode: self.inode,
            at: self.at - self.rest.len() as u64,
        }
    }

    /// Goes back to how far another has told, in this file or in one that this has taken the place of; where that
    /// is gone, or says that more was told than there is, to the begin.
    async fn go_on(&mut self, told: Option<Position>, others_told: bool) {
        let gone_on = match told {
            Some(told) => self.go_on_at(told).await,
            // By a host of before, which notes nothing.
            None if others_told => self.go_to_end().await,
            None => Ok(()),
        };
        if let Err(error) = gone_on {
            tracing::warn!(path = %self.path.display(), %error, "what the NATS server refused while no host read its log is not told");
        }
    }

    async fn go_to_end(&mut self) -> io::Result<()> {
        self.begin(File::open(&self.path).await?).await?;
        self.at = self.file.seek(SeekFrom::End(0)).await?;
        Ok(())
    }

    async fn go_on_at(&mut self, told: Position) -> io::Result<()> {
        let now = File::open(&self.path).await?;
        let len_now = now.metadata().await?.len();
        self.begin(now).await?;
        if self.inode != told.inode
            && let Some(older) = self.older(told.inode).await?
        {
            let older = File::open(older).await?;
            let rest = older.metadata().await?.len().saturating_sub(told.at);
            if rest + len_now <= MOST_MISSED {
                self.begin(older).await?;
            } else {
                tracing::warn!(path = %self.path.display(), "leaves out an older log of the NATS server");
            }
        }
        let len = self.file.metadata().await?.len();
        let is_there = self.inode == told.inode && told.at <= len;
        let at = if is_there { told.at } else { 0 };
        let from = at.max(len.saturating_sub(MOST_MISSED));
        if from > at {
            tracing::warn!(path = %self.path.display(), bytes = from - at, "leaves out a part of the log of the NATS server");
        }
        self.at = self.file.seek(SeekFrom::Start(from)).await?;
        Ok(())
    }

    /// The log with an inode that this one has taken the place of: the server has given it a longer name.
    async fn older(&self, inode: u64) -> io::Result<Option<PathBuf>> {
        let Some(name) = self.path.file_name() else {
            return Ok(None);
        };
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        let mut entries = tokio::fs::read_dir(folder.unwrap_or(Path::new("."))).await?;
        while let Some(entry) = entries.next_entry().await? {
            let of_entry = entry.file_name();
            let begins = of_entry
                .as_encoded_bytes()
                .starts_with(name.as_encoded_bytes());
            if begins && entry.ino() == inode {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
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
    use std::sync::Arc;

    use lattice_core::LatticeName;
    use parking_lot::Mutex;
    use tokio::time::{sleep, timeout};
    use tokio_util::task::AbortOnDropHandle;

    use super::super::shared::Folder;

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
        let reader = Reader::start(&path, None).await;
        let until = async |count| reader.until(count).await;
        let long = "x".repeat(LONGEST_LINE + 1);
        append(&path, &format!("one\n{long}\ntwo"));
        until(1).await;
        append(&path, " halves\n");
        until(2).await;
        std::fs::rename(&path, folder.path().join("nats.log.1")).unwrap();
        append(&path, "three\n");
        until(3).await;
        std::fs::write(&path, "4\n").unwrap();
        assert_eq!(until(4).await, ["one", "two halves", "three", "4"]);
    }

    /// One who follows a log, as a host does.
    struct Reader {
        lines: Arc<Mutex<Vec<String>>>,
        path: PathBuf,
        _following: AbortOnDropHandle<()>,
    }

    impl Reader {
        async fn start(path: &Path, folder: Option<Folder>) -> Self {
            let lines = Arc::new(Mutex::new(Vec::new()));
            let log = Log::open(path.to_owned()).await.unwrap();
            let seen = Arc::clone(&lines);
            let take = move |line: &str| seen.lock().push(line.to_owned());
            let following = tokio::spawn(log.follow(Turn::new(folder), take));
            Self {
                lines,
                path: path.to_owned(),
                _following: AbortOnDropHandle::new(following),
            }
        }

        /// Waits until what is in the log up to a place has been told and noted, and ends.
        async fn end_at(self, at: u64) {
            let mut teller = self.path.clone().into_os_string();
            teller.push(".default.hosts/teller");
            let noted = async {
                loop {
                    let text = std::fs::read_to_string(&teller).unwrap_or_default();
                    let place = text.split_whitespace().nth(1);
                    if place.and_then(|place| place.parse().ok()) == Some(at) {
                        break;
                    }
                    sleep(INTERVAL / 5).await;
                }
            };
            timeout(Duration::from_secs(10), noted).await.unwrap();
        }

        async fn until(&self, count: usize) -> Vec<String> {
            let enough = async {
                while self.lines.lock().len() < count {
                    sleep(INTERVAL / 5).await;
                }
            };
            timeout(Duration::from_secs(10), enough).await.unwrap();
            self.lines.lock().clone()
        }
    }

    #[tokio::test]
    async fn what_is_refused_while_no_host_reads_is_told_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nats.log");
        append(&path, "before\n");
        let shared = || Folder::beside(&path, &LatticeName::default());
        let first = Reader::start(&path, shared()).await;
        append(&path, "one\nha");
        first.until(1).await;
        let second = Reader::start(&path, shared()).await;
        first.end_at(11).await;
        append(&path, "lf\n");
        assert_eq!(second.until(1).await, ["half"]);
        second.end_at(16).await;
        append(&path, "three\n");
        std::fs::rename(&path, folder.path().join("nats.log.2026.11.30")).unwrap();
        append(&path, "four\n");
        let third = Reader::start(&path, shared()).await;
        assert_eq!(third.until(2).await, ["three", "four"]);
        third.end_at(5).await;
        std::fs::write(&path, "5\n").unwrap();
        let fourth = Reader::start(&path, shared()).await;
        assert_eq!(fourth.until(1).await, ["5"]);
    }
}
