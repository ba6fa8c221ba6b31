//! The threads that work in a file: SQLite keeps its callers waiting, so no task calls it.
//!
//! One thread writes. It takes all that waits, up to a bound, into one transaction, so that many
//! writes wait for the disk together; each is undone by itself when it fails. Some threads read,
//! each from what was there last when it began.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use lattice_provider_sdk::files::FileId;
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
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
    /// It went meanwhile.
    Missing(io::Error),
}

impl From<rusqlite::Error> for WorkersError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Open(error)
    }
}

/// Threads with an open file, which end when this is dropped and all is done that they were given.
#[derive(Debug)]
pub(crate) struct Workers {
    file: FileId,
    writes: mpsc::Sender<Write>,
    reads: mpsc::Sender<Read>,
}

impl Workers {
    /// Opens a file. Blocks.
    pub(crate) fn open(settings: &FileSettings) -> Result<Self, WorkersError> {
        let writer = connect(settings, settings.create)?;
        prepare(&writer)?;
        let file = FileId::of(&settings.path).map_err(WorkersError::Missing)?;
        let path = settings.path.clone();
        let (writes, jobs) = mpsc::channel(WAITING);
        spawn("keyvalue-write", move || {
            write(&writer, jobs, (&path, file))
        });
        let (reads, jobs) = mpsc::channel(WAITING);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..READERS {
            let reader = connect(settings, false)?;
            let jobs = Arc::clone(&jobs);
            spawn("keyvalue-read", move || read(&reader, &jobs));
        }
        Ok(Self {
            file,
            writes,
            reads,
        })
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
        self.reads.send(job).await.map_err(|_| Failure::Closed)?;
        told.await.map_err(|_| Failure::Closed)?
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
        self.writes.send(job).await.map_err(|_| Failure::Closed)?;
        told.await.map_err(|_| Failure::Closed)?
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    if let Err(error) = spawned {
        // The channel of the thread is closed by this, which callers are told.
        tracing::error!(%error, name, "could not start a thread");
    }
}

fn connect(settings: &FileSettings, create: bool) -> Result<Connection, rusqlite::Error> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let path: &Path = &settings.path;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(settings.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(32);
    let synchronous = if settings.full { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    Ok(connection)
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

fn read(connection: &Connection, jobs: &Mutex<mpsc::Receiver<Read>>) {
    loop {
        // One thread waits for the next job, the others for their turn to wait.
        let job = jobs.lock().blocking_recv();
        let Some(job) = job else { return };
        job(connection);
    }
}

fn write(connection: &Connection, mut jobs: mpsc::Receiver<Write>, (path, file): (&Path, FileId)) {
    while let Some(first) = jobs.blocking_recv() {
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
}

fn commit(connection: &Connection) -> Result<(), Failure> {
    let committed = connection.execute_batch("COMMIT");
    if committed.is_err() && !connection.is_autocommit() {
        // A transaction that could not be kept is still open.
        connection.execute_batch("ROLLBACK")?;
    }
    Ok(committed?)
}
