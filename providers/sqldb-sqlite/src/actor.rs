//! One connection in a thread of its own, since SQLite's calls block.

use std::path::Path;
use std::thread;

use lattice_provider_sdk::files::FileId;
use lattice_provider_sdk::sql::{Batch, Column, Done, SqlError, Value};
use rusqlite::{CachedStatement, Connection, InterruptHandle, OpenFlags, Rows};
use tokio::sync::{mpsc, oneshot};

use crate::errors::sql_error;
use crate::guard;
use crate::settings::FolderSettings;
use crate::values::{Kind, Parameter};

/// Where the answer to a command goes.
type Reply<T> = oneshot::Sender<Result<T, SqlError>>;

/// How much of the rows comes with their columns: most queries have no more, and so take one turn of
/// the thread and not two.
const FIRST_ROWS: usize = 16;
const FIRST_BYTES: usize = 16 * 1024;

/// What a query begins with.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) columns: Vec<Column>,
    /// The first rows.
    pub(crate) first: Batch,
    /// How many bytes they are.
    pub(crate) bytes: usize,
}

/// What a connection is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Begins to read rows.
    Query {
        text: String,
        values: Vec<Value>,
        reply: Reply<Begun>,
    },
    /// Reads some.
    Next {
        rows: usize,
        bytes: usize,
        reply: Reply<Batch>,
    },
    /// Reads no more.
    Stop { reply: Reply<()> },
    /// Runs a statement for every row of values.
    Execute {
        text: String,
        rows: Vec<Vec<Value>>,
        inserts: bool,
        reply: Reply<Done>,
    },
    /// Runs a plain statement.
    Control { text: String, reply: Reply<()> },
}

/// A connection. Its thread ends when this is dropped, after what it does.
pub(crate) struct Actor {
    /// What is open.
    pub(crate) file: FileId,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) interrupt: InterruptHandle,
}

impl std::fmt::Debug for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Actor").finish_non_exhaustive()
    }
}

impl Actor {
    /// Opens a database.
    pub(crate) async fn open(
        path: &Path,
        settings: &FolderSettings,
        only_reads: bool,
    ) -> Result<Self, SqlError> {
        let (path, settings) = (path.to_owned(), settings.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let connection = connect(&path, &settings, only_reads);
            let connection = connection.map_err(|error| sql_error(&error))?;
            let gone = |error| SqlError::Unavailable(format!("the file went meanwhile: {error}"));
            Ok::<_, SqlError>((connection, FileId::of(&path).map_err(gone)?))
        });
        let opened = opened.await;
        let (connection, file) =
            opened.map_err(|_| SqlError::other("the opening of a database panicked"))??;
        let interrupt = connection.get_interrupt_handle();
        let (commands, told) = mpsc::channel(1);
        let name = if only_reads {
            "sqlite-reader"
        } else {
            "sqlite-writer"
        };
        let started = thread::Builder::new().name(name.to_owned());
        started
            .spawn(move || serve(&connection, told))
            .map_err(|error| SqlError::Unavailable(format!("there is no thread: {error}")))?;
        Ok(Self {
            file,
            commands,
            interrupt,
        })
    }
}

fn connect(
    path: &Path,
    settings: &FolderSettings,
    only_reads: bool,
) -> rusqlite::Result<Connection> {
    // No `SQLITE_OPEN_URI`: a name is never an address with parameters.
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, settings.create);
    let mut connection = Connection::open_with_flags(path, flags)?;
    let busy = settings.busy_wait;
    guard::set_up(&mut connection, busy, settings.synchronous, only_reads)?;
    Ok(connection)
}

fn serve(connection: &Connection, mut told: mpsc::Receiver<Command>) {
    let mut next = None;
    while let Some(command) = next.take().or_else(|| told.blocking_recv()) {
        // Who asked may have gone.
        match command {
            Command::Query {
                text,
                values,
                reply,
            } => next = read(connection, &text, &values, reply, &mut told),
            Command::Execute {
                text,
                rows,
                inserts,
                reply,
            } => {
                let was_open = !connection.is_autocommit();
                let done = execute(connection, &text, &rows, inserts, &reply);
                let _gone = reply.send(or_rolled_back(connection, was_open, done));
            }
            Command::Control { text, reply } => {
                let done = connection.execute_batch(&text);
                let _gone = reply.send(done.map_err(|error| sql_error(&error)));
            }
            Command::Next { reply, .. } => {
                let nothing = Batch {
                    rows: Vec::new(),
                    is_last: true,
                };
                let _gone = reply.send(Ok(nothing));
            }
            Command::Stop { reply } => {
                let _gone = reply.send(Ok(()));
            }
        }
    }
}

fn prepare<'c>(connection: &'c Connection, text: &str) -> Result<CachedStatement<'c>, SqlError> {
    connection
        .prepare_cached(text)
        .map_err(|error| sql_error(&error))
}

fn bind(statement: &mut CachedStatement<'_>, values: &[Value]) -> Result<(), SqlError> {
    for (at, value) in values.iter().enumerate() {
        let bound = statement.raw_bind_parameter(at + 1, Parameter(value));
        bound.map_err(|error| sql_error(&error))?;
    }
    Ok(())
}

/// Hands the rows of a statement out, the first at once and the others as they are asked for. Returns a command that is not about
/// them.
fn read(
    connection: &Connection,
    text: &str,
    values: &[Value],
    reply: Reply<Begun>,
    told: &mut mpsc::Receiver<Command>,
) -> Option<Command> {
    let prepared = prepare(connection, text).and_then(|mut statement| {
        bind(&mut statement, values)?;
        Ok(statement)
    });
    let mut statement = match prepared {
        Ok(statement) => statement,
        Err(error) => {
            let _gone = reply.send(Err(error));
            return None;
        }
    };
    let columns: Vec<_> = statement
        .columns()
        .map(|column| Column {
            name: column.name().to_owned(),
            type_name: column.decl_type().unwrap_or_default().to_owned(),
        })
        .collect();
    let kinds: Vec<_> = columns
        .iter()
        .map(|column| Kind::of(Some(&column.type_name)))
        .collect();
    let was_open = !connection.is_autocommit();
    let mut rows = statement.raw_query();
    let taken = take(&mut rows, &kinds, FIRST_ROWS, FIRST_BYTES);
    let begun = or_rolled_back(connection, was_open, taken).map(|(first, bytes)| Begun {
        columns,
        first,
        bytes,
    });
    let is_over = !matches!(&begun, Ok(begun) if !begun.first.is_last);
    if is_over {
        drop(rows);
        let _gone = reply.send(begun);
        return None;
    }
    let _gone = reply.send(begun);
    loop {
        match told.blocking_recv()? {
            Command::Next {
                rows: most,
                bytes,
                reply,
            } => {
                let taken = take(&mut rows, &kinds, most, bytes);
                let batch = taken.map(|(batch, _)| batch);
                let is_over = !matches!(&batch, Ok(batch) if !batch.is_last);
                let _gone = reply.send(or_rolled_back(connection, was_open, batch));
                if is_over {
                    return None;
                }
            }
            Command::Stop { reply } => {
                drop(rows);
                let _gone = reply.send(Ok(()));
                return None;
            }
            other => return Some(other),
        }
    }
}

/// How a statement ended. One that failed may have taken its transaction with it, as `ON CONFLICT
/// ROLLBACK` does; then no further one may believe to be in it.
fn or_rolled_back<T>(
    connection: &Connection,
    was_open: bool,
    done: Result<T, SqlError>,
) -> Result<T, SqlError> {
    match done {
        Err(SqlError::Failed(said)) if was_open && connection.is_autocommit() => {
            Err(SqlError::TryAgain(said))
        }
        done => done,
    }
}

/// Takes some rows; says how many bytes they are.
fn take(
    rows: &mut Rows<'_>,
    kinds: &[Kind],
    most: usize,
    bytes: usize,
) -> Result<(Batch, usize), SqlError> {
    let mut batch = Batch::default();
    let mut size = 0;
    while batch.rows.len() < most && size < bytes {
        let Some(row) = rows.next().map_err(|error| sql_error(&error))? else {
            batch.is_last = true;
            break;
        };
        let mut values = Vec::with_capacity(kinds.len());
        for (at, kind) in kinds.iter().enumerate() {
            let kept = row.get_ref(at).map_err(|error| sql_error(&error))?;
            size += 8 + kept
                .as_bytes_or_null()
                .ok()
                .flatten()
                .map_or(0, <[u8]>::len);
            values.push(kind.value(kept)?);
        }
        batch.rows.push(values);
    }
    Ok((batch, size))
}

/// Runs a statement to its end for every row of values, as long as somebody waits for it.
fn execute(
    connection: &Connection,
    text: &str,
    rows: &[Vec<Value>],
    inserts: bool,
    reply: &Reply<Done>,
) -> Result<Done, SqlError> {
    let mut statement = prepare(connection, text)?;
    let mut affected = 0;
    for values in rows {
        if reply.is_closed() {
            return Err(SqlError::Timeout);
        }
        bind(&mut statement, values)?;
        let before = connection.total_changes();
        let mut results = statement.raw_query();
        while results.next().map_err(|error| sql_error(&error))?.is_some() {}
        drop(results);
        // Without a change the number is that of an earlier statement.
        if connection.total_changes() != before {
            affected += connection.changes();
        }
    }
    Ok(Done {
        affected,
        last_insert_id: inserts.then(|| connection.last_insert_rowid()),
    })
}
