//! The threads that work in a file: SQLite keeps its callers waiting, so no task calls it.
//!
//! One thread writes. It takes all that waits, up to a bound, into one transaction, so that many
//! writes wait for the disk together; each is undone by itself when it fails. Some threads read,
//! each from what was there last when it began.

use std::io;
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lattice_provider_sdk::files::FileId;
use lattice_provider_sdk::files::held::{self, Held, HeldError, Interrupt, Leave};
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;
use crate::rows::SCHEMA;
use crate::settings::FileSettings;

/// How much may wait for a thread, and go to the disk together.
const WAITING: usize = 1024;
const TOGETHER: usize = 256;
const READERS: usize = 2;

/// Tells who waits for a write what became of it, once it is known whether all of them are there.
type Tell = Box<dyn FnOnce(Result<(), &Failure>) + Send>;
type Write = Box<dyn FnOnce(Result<&Connection, &Failure>) -> Tell + Send>;
type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Why there are no threads.
#[derive(Debug)]
pub(crate) enum WorkersError {
    /// SQLite does not open the file.
    Open(rusqlite::Error),
    /// It is not known which file is there.
    Look(io::Error),
    /// The one that was there before is still in use.
    InUse,
}

impl From<rusqlite::Error> for WorkersError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Open(error)
    }
}

impl From<HeldError<rusqlite::Error>> for WorkersError {
    fn from(error: HeldError<rusqlite::Error>) -> Self {
        match error {
            HeldError::Open(error) => Self::Open(error),
            HeldError::Look(error) => Self::Look(error),
            HeldError::InUse => Self::InUse,
        }
    }
}

/// Threads with an open file, which end when this is dropped and all is done that they were given, or
/// at once when another file takes the place of theirs.
#[derive(Debug)]
pub(crate) struct Workers {
    file: FileId,
    leave: Arc<Leave>,
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
}

/// A connection, and that it has the file open. They are dropped in this order.
struct Opened {
    connection: Connection,
    held: Arc<Held>,
    interrupt: Arc<Interrupt>,
}

impl Opened {
    fn new(connection: Connection, held: &Arc<Held>) -> Self {
        let handle = connection.get_interrupt_handle();
        Self {
            connection,
            held: Arc::clone(held),
            interrupt: Interrupt::by(move || handle.interrupt()),
        }
    }

    /// The next thing to do, unless the file is to be closed.
    fn next<T>(&self, jobs: &mut mpsc::Receiver<T>) -> Option<T> {
        let is_asked = || self.held.leave().is_asked();
        let job = (!is_asked()).then(|| jobs.blocking_recv()).flatten();
        job.filter(|_| !is_asked())
    }

    /// Moves what is only in the `-wal` to the file: it is not for the file that comes there now.
    fn settle(&self) {
        let _undone = self.connection.execute_batch("ROLLBACK");
        self.held.settle(|| checkpoint(&self.connection));
    }
}

impl Workers {
    /// Opens a file. Blocks.
    pub(crate) fn open(settings: &FileSettings) -> Result<Self, WorkersError> {
        let all = || -> rusqlite::Result<_> {
            let writer = connect(settings, settings.create)?;
            let readers = (0..READERS).map(|_| connect(settings, false));
            Ok((writer, readers.collect::<Result<Vec<_>, _>>()?))
        };
        let ((writer, readers), file, held) = held::open(&settings.path, all)?;
        let held = Arc::new(held);
        let open = |connection| Opened::new(connection, &held);
        let (writer, readers) = (open(writer), readers.into_iter().map(open));
        let readers: Vec<_> = readers.collect();
        set_up(&writer.connection, settings)?;
        prepare(&writer.connection)?;
        for reader in &readers {
            set_up(&reader.connection, settings)?;
        }
        Ok(Self::start(writer, readers, (settings.path.clone(), file)))
    }

    fn start(writer: Opened, readers: Vec<Opened>, place: (PathBuf, FileId)) -> Self {
        let (writes, to_write) = mpsc::channel(WAITING);
        let (reads, to_read) = mpsc::channel(WAITING);
        let leave = Arc::clone(writer.held.leave());
        let all = iter::once(&writer).chain(&readers);
        let all: Vec<_> = all.map(|opened| Arc::clone(&opened.interrupt)).collect();
        let idle = (writes.downgrade(), reads.downgrade());
        leave.by(move || {
            all.iter().for_each(|interrupt| interrupt.now());
            wake(&idle.0, &idle.1);
        });
        let file = place.1;
        spawn("keyvalue-write", move || write(&writer, to_write, &place));
        let to_read = Arc::new(Mutex::new(to_read));
        for reader in readers {
            let jobs = Arc::clone(&to_read);
            spawn("keyvalue-read", move || read(&reader, &jobs));
        }
        Self {
            file,
            leave,
            writes,
            reads,
        }
    }

    /// Whether the file was closed, or is just being closed.
    pub(crate) fn has_left(&self) -> bool {
        self.leave.is_asked()
    }

    /// Closes the file, whatever is under way.
    pub(crate) fn leave(&self) {
        self.leave.ask();
    }

    /// Why something was not done that failed.
    fn why(&self, failure: Failure) -> Failure {
        match self.has_left() {
            true => Failure::Gone,
            false => failure,
        }
    }

    /// The file that is open.
    pub(crate) fn file(&self) -> FileId {
        self.file
    }

    /// Does something that changes nothing.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (tell, told) = oneshot::channel();
        let job: Read = Box::new(move |connection| {
            if !tell.is_closed() {
                // Who gave up meanwhile is not told.
                let _gone = tell.send(work(connection));
            }
        });
        let sent = self.reads.send(job).await;
        self.told(sent.is_ok(), told).await
    }

    /// Does something that is done as a whole or not at all, and waits until it is there to stay.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (tell, told) = oneshot::channel();
        let job: Write = Box::new(move |connection| {
            if tell.is_closed() {
                // Who gave up gets nothing done.
                return Box::new(|_| {});
            }
            let begun = connection.map_err(Failure::clone);
            let done = begun.and_then(|connection| by_itself(connection, work));
            Box::new(move |committed| {
                let done = done.and_then(|done| committed.map_err(Failure::clone).map(|()| done));
                let _gone = tell.send(done);
            })
        });
        let sent = self.writes.send(job).await;
        self.told(sent.is_ok(), told).await
    }

    async fn told<T>(
        &self,
        is_sent: bool,
        told: oneshot::Receiver<Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let done = match is_sent {
            true => told.await.unwrap_or(Err(Failure::Closed)),
            false => Err(Failure::Closed),
        };
        done.map_err(|failure| self.why(failure))
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    if let Err(error) = spawned {
        // The channel of the thread is closed by this, which callers are told.
        tracing::error!(%error, name, "could not start a thread");
    }
}

/// Has threads look up that wait for something to do.
fn wake(writes: &mpsc::WeakSender<Write>, reads: &mpsc::WeakSender<Read>) {
    // Where there is no room they have something to do.
    if let Some(writes) = writes.upgrade() {
        let _full = writes.try_send(Box::new(|_| Box::new(|_| {})));
    }
    if let Some(reads) = reads.upgrade() {
        let _full = reads.try_send(Box::new(|_| {}));
    }
}

/// Opens the file and reads nothing of it.
fn connect(settings: &FileSettings, create: bool) -> Result<Connection, rusqlite::Error> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    Connection::open_with_flags(&settings.path, flags)
}

fn set_up(connection: &Connection, settings: &FileSettings) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(settings.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(32);
    let synchronous = if settings.full { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)
}

/// Makes the table if it is missing.
fn prepare(connection: &Connection) -> Result<(), rusqlite::Error> {
    // Readers go on while somebody writes.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let has: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'lattice_keyvalue')",
        [],
        |row| row.get(0),
    )?;
    if !has {
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
    }
    Ok(())
}

/// Works in the transaction that is open, which keeps nothing of what fails.
fn by_itself<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if connection.is_autocommit() {
        // SQLite ends a transaction by itself when the disk is full, for one.
        let undone = "the writes before this one could not be kept";
        return Err(Failure::Sqlite(undone.to_owned()));
    }
    let say = |text| connection.prepare_cached(text)?.execute([]);
    say("SAVEPOINT one")?;
    let done = work(connection);
    if done.is_err() {
        say("ROLLBACK TO one")?;
    }
    say("RELEASE one")?;
    done
}

fn read(opened: &Opened, jobs: &Mutex<mpsc::Receiver<Read>>) {
    loop {
        // One thread waits for the next job, the others for their turn to wait.
        let job = opened.next(&mut jobs.lock());
        let Some(job) = job else { break };
        job(&opened.connection);
    }
    opened.interrupt.no_more();
}

fn write(opened: &Opened, mut jobs: mpsc::Receiver<Write>, (path, file): &(PathBuf, FileId)) {
    let connection = &opened.connection;
    while let Some(first) = opened.next(&mut jobs) {
        let mut together = vec![first];
        while together.len() < TOGETHER
            && let Ok(next) = jobs.try_recv()
        {
            together.push(next);
        }
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        let begun = begun.map(|()| connection).map_err(Failure::from);
        let job = |job: Write| job(begun.as_ref().copied());
        let tell: Vec<Tell> = together.into_iter().map(job).collect();
        let committed = match &begun {
            // SQLite goes on with a file that is deleted, whose writes nobody sees again.
            Ok(connection) => commit(connection).and_then(|()| match file.is_at(path) {
                true => Ok(()),
                false => Err(Failure::Gone),
            }),
            Err(failure) => Err(failure.clone()),
        };
        for tell in tell {
            tell(committed.as_ref().copied());
        }
    }
    opened.interrupt.no_more();
    if opened.held.is_to_settle() {
        opened.settle();
    }
}

/// Moves what is in the `-wal` to the file, unless somebody is in the way.
fn checkpoint(connection: &Connection) -> Result<bool, rusqlite::Error> {
    connection.busy_timeout(Duration::ZERO)?;
    let text = "PRAGMA wal_checkpoint(TRUNCATE)";
    // Who is in the way is no error here: the first column says so.
    match connection.query_row(text, [], |row| row.get::<_, bool>(0)) {
        Ok(is_busy) => Ok(!is_busy),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted | ErrorCode::DatabaseBusy) => Ok(false),
            _ => Err(error),
        },
    }
}

fn commit(connection: &Connection) -> Result<(), Failure> {
    let committed = connection.execute_batch("COMMIT");
    if committed.is_err() && !connection.is_autocommit() {
        // A transaction that could not be kept is still open.
        connection.execute_batch("ROLLBACK")?;
    }
    Ok(committed?)
}
