//! One connection in a thread of its own, since SQLite's calls block.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use lattice_provider_sdk::files::FileId;
use lattice_provider_sdk::files::held::{self, Held, HeldError, Interrupt, Leave};
use lattice_provider_sdk::sql::{Batch, Column, Control, Done, SqlError, Value};
use rusqlite::{Connection, ErrorCode, OpenFlags, Rows, Statement};
use tokio::sync::{mpsc, oneshot};

use crate::errors::{gone, in_use, not_seen, sql_error};
use crate::guard;
use crate::inserted::Inserted;
use crate::prepared::Prepared;
use crate::settings::FolderSettings;
use crate::values::{Kind, Parameter};
use crate::whole::{self, How};

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
        how: How,
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
        /// The table of an `INSERT` or `REPLACE`.
        into: Option<String>,
        how: How,
        reply: Reply<Done>,
    },
    /// Runs a plain statement, by which nothing is written.
    Plain { text: String, reply: Reply<()> },
    /// Does something with the transaction.
    Control { control: Control, reply: Reply<()> },
    /// Looks whether the file is to be closed.
    Look,
}

/// A connection. Its thread ends when this is dropped, after what it does.
pub(crate) struct Actor {
    file: FileId,
    leave: Arc<Leave>,
    pub(crate) commands: mpsc::Sender<Command>,
    interrupt: Arc<Interrupt>,
}

/// The connection of an actor in its thread. It is dropped before what says that the file is open.
struct Opened {
    connection: Connection,
    inserted: Inserted,
    held: Held,
    file: FileId,
    path: PathBuf,
    only_reads: bool,
    interrupt: Arc<Interrupt>,
}

/// What a thread is told to do, until the file is to be closed.
struct Told {
    commands: mpsc::Receiver<Command>,
    leave: Arc<Leave>,
}

impl Told {
    fn next(&mut self) -> Option<Command> {
        let is_asked = || self.leave.is_asked();
        let command = (!is_asked()).then(|| self.commands.blocking_recv());
        command.flatten().filter(|_| !is_asked())
    }
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
        let opened = tokio::task::spawn_blocking(move || open(&path, &settings, only_reads));
        let opened = opened.await;
        let opened =
            opened.map_err(|_| SqlError::other("the opening of a database panicked"))??;
        Self::start(opened)
    }

    fn start(opened: Opened) -> Result<Self, SqlError> {
        let (file, interrupt) = (opened.file, Arc::clone(&opened.interrupt));
        let (commands, told) = mpsc::channel(1);
        let leave = Arc::clone(opened.held.leave());
        let told = Told {
            commands: told,
            leave: Arc::clone(&leave),
        };
        let (busy, idle) = (Arc::clone(&interrupt), commands.downgrade());
        leave.by(move || {
            busy.now();
            // Where there is no room the thread has something to do.
            let _full = idle.upgrade().map(|idle| idle.try_send(Command::Look));
        });
        let name = match opened.only_reads {
            true => "sqlite-reader",
            false => "sqlite-writer",
        };
        let started = thread::Builder::new().name(name.to_owned());
        started
            .spawn(move || work(opened, told))
            .map_err(|error| SqlError::Unavailable(format!("there is no thread: {error}")))?;
        Ok(Self {
            file,
            leave,
            commands,
            interrupt,
        })
    }

    /// Breaks off what it does.
    pub(crate) fn interrupt(&self) {
        self.interrupt.now();
    }

    /// Whether it has that file open, and keeps it.
    pub(crate) fn has(&self, file: FileId) -> bool {
        self.file == file && !self.has_left()
    }

    /// Whether its file was deleted or replaced, so that it is closed.
    pub(crate) fn has_left(&self) -> bool {
        self.leave.is_asked()
    }
}

/// Opens the file, once all connections to one that was there before are closed.
fn open(path: &Path, settings: &FolderSettings, only_reads: bool) -> Result<Opened, SqlError> {
    let opened = held::open(path, || {
        // No `SQLITE_OPEN_URI`: a name is never an address with parameters.
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, settings.create);
        Connection::open_with_flags(path, flags)
    });
    let (mut connection, file, held) = opened.map_err(|error| match error {
        HeldError::Open(error) => sql_error(&error),
        HeldError::Look(error) => not_seen(&error),
        HeldError::InUse => in_use(),
    })?;
    let busy = settings.busy_wait;
    let set_up = guard::set_up(&mut connection, busy, settings.synchronous, only_reads);
    let inserted = Inserted::default();
    let set_up = set_up.and_then(|()| inserted.watch(&mut connection));
    let handle = connection.get_interrupt_handle();
    let opened = Opened {
        connection,
        inserted,
        held,
        file,
        path: path.to_owned(),
        only_reads,
        interrupt: Interrupt::by(move || handle.interrupt()),
    };
    set_up.map(|()| opened).map_err(|error| sql_error(&error))
}

impl Opened {
    /// What became of something that was written, if it was: SQLite goes on with a file that is
    /// deleted, whose writes nobody sees again.
    fn kept<T>(&self, done: Result<T, SqlError>) -> Result<T, SqlError> {
        let is_written = !self.only_reads && self.connection.is_autocommit();
        match done {
            Ok(_) if is_written && !self.file.is_at(&self.path) => Err(gone()),
            done => done,
        }
    }

    /// Moves what is only in the `-wal` to the file: it is not for the file that comes there now. One that
    /// only reads does it, too, since the one that wrote may have been closed before.
    fn settle(&mut self) {
        let _undone = self.connection.execute_batch("ROLLBACK");
        let Self {
            connection, held, ..
        } = self;
        held.settle(|| checkpoint(connection));
    }
}

/// Moves what is in the `-wal` to the file, unless somebody is in the way.
fn checkpoint(connection: &mut Connection) -> Result<bool, rusqlite::Error> {
    guard::take_off(connection)?;
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

/// Does what it is told to, and closes the file.
fn work(mut opened: Opened, told: Told) {
    serve(&opened, told);
    opened.interrupt.no_more();
    if opened.held.is_to_settle() {
        opened.settle();
    }
}

fn serve(opened: &Opened, mut told: Told) {
    let connection = &opened.connection;
    let mut next = None;
    while let Some(command) = next.take().or_else(|| told.next()) {
        // Who asked may have gone.
        match command {
            Command::Query {
                text,
                values,
                how,
                reply,
            } => next = read(opened, (&text, &values), how, reply, &mut told),
            Command::Execute {
                text,
                rows,
                into,
                how,
                reply,
            } => {
                let run = || execute(opened, &text, &rows, into, &reply);
                let begun = how.begin(connection);
                let done = begun.and_then(|whole| whole::end(whole, run()));
                let _gone = reply.send(opened.kept(done));
            }
            Command::Plain { text, reply } => {
                let _gone = reply.send(whole::plain(connection, &text));
            }
            Command::Control { control, reply } => {
                let done = whole::control(connection, control);
                let is_written = control == Control::Commit;
                let _gone = reply.send(if is_written { opened.kept(done) } else { done });
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
            Command::Look => {}
        }
    }
}

fn prepare<'c>(connection: &'c Connection, text: &str) -> Result<Prepared<'c>, SqlError> {
    Prepared::new(connection, text).map_err(|error| sql_error(&error))
}

fn bind(statement: &mut Statement<'_>, values: &[Value]) -> Result<(), SqlError> {
    for (at, value) in values.iter().enumerate() {
        let bound = statement.raw_bind_parameter(at + 1, Parameter(value));
        bound.map_err(|error| sql_error(&error))?;
    }
    Ok(())
}

fn prepare_with<'c>(
    connection: &'c Connection,
    text: &str,
    values: &[Value],
) -> Result<Prepared<'c>, SqlError> {
    let mut statement = prepare(connection, text)?;
    bind(&mut statement, values)?;
    Ok(statement)
}

/// Hands the rows of a statement out, the first at once and the others as they are asked for. Returns a
/// command that is not about them.
fn read(
    opened: &Opened,
    (text, values): (&str, &[Value]),
    how: How,
    reply: Reply<Begun>,
    told: &mut Told,
) -> Option<Command> {
    let connection = &opened.connection;
    let whole = match how.begin(connection) {
        Ok(whole) => whole,
        Err(error) => {
            let _gone = reply.send(Err(error));
            return None;
        }
    };
    let mut statement = match prepare_with(connection, text, values) {
        Ok(statement) => statement,
        Err(error) => {
            let _gone = reply.send(whole::end(whole, Err(error)));
            return None;
        }
    };
    let columns = columns(&statement);
    let kind = |column: &Column| Kind::of(Some(&column.type_name));
    let kinds: Vec<_> = columns.iter().map(kind).collect();
    let mut rows = statement.raw_query();
    let taken = take(&mut rows, &kinds, FIRST_ROWS, FIRST_BYTES);
    let begun = taken.map(|(first, bytes)| Begun {
        columns,
        first,
        bytes,
    });
    let is_over = !matches!(&begun, Ok(begun) if !begun.first.is_last);
    if is_over {
        drop(rows);
        let _gone = reply.send(opened.kept(whole::end(whole, begun)));
        return None;
    }
    let _gone = reply.send(begun);
    let next = hand_out(opened, rows, &kinds, told);
    // What it wrote was all written before its first row.
    let _taken = whole::end(whole, Ok(()));
    next
}

fn columns(statement: &Statement<'_>) -> Vec<Column> {
    let column = |column: rusqlite::Column<'_>| Column {
        name: column.name().to_owned(),
        type_name: column.decl_type().unwrap_or_default().to_owned(),
    };
    statement.columns().map(column).collect()
}

/// Hands the further rows of a statement out until there are no more, or nobody wants them.
fn hand_out(
    opened: &Opened,
    mut rows: Rows<'_>,
    kinds: &[Kind],
    told: &mut Told,
) -> Option<Command> {
    loop {
        match told.next()? {
            Command::Next {
                rows: most,
                bytes,
                reply,
            } => {
                let batch = take(&mut rows, kinds, most, bytes).map(|(batch, _)| batch);
                if matches!(&batch, Ok(batch) if !batch.is_last) {
                    let _gone = reply.send(batch);
                    continue;
                }
                drop(rows);
                let _gone = reply.send(opened.kept(batch));
                return None;
            }
            Command::Stop { reply } => {
                drop(rows);
                let _gone = reply.send(opened.kept(Ok(())));
                return None;
            }
            Command::Look => {}
            other => return Some(other),
        }
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

/// Runs a statement for every row of values, and says what was inserted last into the table, if it is
/// one that inserts.
fn execute(
    opened: &Opened,
    text: &str,
    rows: &[Vec<Value>],
    into: Option<String>,
    reply: &Reply<Done>,
) -> Result<Done, SqlError> {
    let connection = &opened.connection;
    let run = || execute_all(connection, text, rows, reply);
    let (affected, id) = opened.inserted.during(connection, into, run);
    let affected = affected?;
    Ok(Done {
        affected,
        last_insert_id: id.filter(|_| affected > 0),
    })
}

/// Runs a statement to its end for every row of values, as long as somebody waits for it. Says how many
/// rows were affected.
fn execute_all(
    connection: &Connection,
    text: &str,
    rows: &[Vec<Value>],
    reply: &Reply<Done>,
) -> Result<u64, SqlError> {
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
    Ok(affected)
}
