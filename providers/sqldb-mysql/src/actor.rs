//! One connection in a task of its own, for its rows borrow it while they are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lattice_provider_sdk::sql::{Batch, Column, Control, Done, SqlError, Statement};
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::Queryable as _;
use mysql_async::{
    BinaryProtocol, Conn, Error, Opts, Params, QueryResult, Statement as Prepared, Value as Sent,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::decimals::Scales;
use crate::errors::{Place, cannot_be_prepared, transaction_ended};
use crate::kill::end_at_server;
use crate::packets::{Packets, most_of};
use crate::values::{row_of, type_name};

/// The longest text of a statement that stays prepared: a connection keeps many, and what they say is
/// the component's.
const LONGEST_KEPT: usize = 16 * 1024;

/// Where the answer to a command goes.
type Reply<T> = oneshot::Sender<Result<T, SqlError>>;

/// What a connection is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Begins to read rows.
    Query {
        text: String,
        values: Vec<Sent>,
        reply: Reply<Vec<Column>>,
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
        statement: Statement,
        rows: Vec<(Scales, Vec<Sent>)>,
        reply: Reply<Done>,
    },
    /// Runs plain statements, the last of which begins a transaction.
    Begin {
        texts: Vec<String>,
        reply: Reply<()>,
    },
    /// Does something with the transaction.
    Control { control: Control, reply: Reply<()> },
    /// Shows that it is there.
    Ping { reply: Reply<()> },
}

/// A connection. It is closed when this is dropped, after what it does.
#[derive(Debug)]
pub(crate) struct Actor {
    pub(crate) commands: mpsc::Sender<Command>,
    id: u32,
    options: Opts,
    task: AbortHandle,
    /// The connection is over, or its server takes no writes any more, so that what is told to the
    /// address next may reach another.
    is_over: Arc<AtomicBool>,
}

impl Actor {
    /// Connects.
    pub(crate) async fn open(options: Opts, address: &str) -> mysql_async::Result<Self> {
        let mut connection = Conn::new(options.clone()).await?;
        let (commands, told) = mpsc::channel(1);
        let id = connection.id();
        let is_over = Arc::new(AtomicBool::new(false));
        let served = Served {
            packets: Packets::up_to(most_of(&mut connection).await?),
            connection,
            place: Place::new(address, Arc::clone(&is_over)),
            transaction: Transaction::None,
            long: None,
        };
        let task = tokio::spawn(served.serve(told));
        Ok(Self {
            commands,
            id,
            options,
            task: task.abort_handle(),
            is_over,
        })
    }

    /// Ends the connection in the middle of what it does, here and at the server, which looks at
    /// its socket only between statements.
    pub(crate) fn kill(self) {
        if self.is_over.load(Ordering::Relaxed) {
            // The number may be another's, elsewhere or where the server was started anew.
            return;
        }
        self.task.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(end_at_server(self.options, self.id));
        }
    }
}

/// What is known of the transaction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    /// It has begun, but what stands between the server and us does not tell.
    Untold,
    /// It is open, as the server tells with every answer.
    Open,
    /// A statement ended it.
    Ended,
}

/// The connection within its task.
struct Served {
    connection: Conn,
    place: Place,
    packets: Packets,
    transaction: Transaction,
    /// A long statement that is prepared and is not to stay so.
    long: Option<Prepared>,
}

/// How the rows of a query came to their end, with what is still to be answered.
enum Left {
    /// It did not begin.
    Refused(Reply<Vec<Column>>, Error),
    Rows(Reply<Batch>, Result<Batch, SqlError>),
    Stopped(Reply<()>, Result<(), SqlError>),
    /// A command came that is not about them.
    Other(Command),
    /// Nobody is there any more.
    Nobody,
}

impl Served {
    async fn serve(mut self, mut told: mpsc::Receiver<Command>) {
        let mut next = None;
        loop {
            let command = match next.take() {
                Some(command) => command,
                None => match told.recv().await {
                    Some(command) => command,
                    None => break,
                },
            };
            next = self.obey(command, &mut told).await;
        }
        // With it goes what was left open.
        let _closed = self.connection.disconnect().await;
    }

    /// Returns a command that came while rows were read and is not about them.
    async fn obey(
        &mut self,
        command: Command,
        told: &mut mpsc::Receiver<Command>,
    ) -> Option<Command> {
        // Who asked may have gone.
        match command {
            Command::Query {
                text,
                values,
                reply,
            } => return self.read(text, values, reply, told).await,
            Command::Execute {
                statement,
                rows,
                reply,
            } => {
                let done = self.execute(&statement, rows).await;
                let _gone = reply.send(done);
            }
            Command::Begin { texts, reply } => {
                let _gone = reply.send(self.begin(texts).await);
            }
            Command::Control { control, reply } => {
                let _gone = reply.send(self.control(control).await);
            }
            Command::Ping { reply } => {
                let done = self.connection.ping().await;
                let _gone = reply.send(done.map_err(|error| self.place.error(&error)));
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
        None
    }

    async fn plain(&mut self, text: &str) -> Result<(), SqlError> {
        let done = self.connection.query_drop(text).await;
        done.map_err(|error| self.place.error(&error))
    }

    /// Prepares a statement, unless it is known.
    async fn prepare(&mut self, text: &str) -> mysql_async::Result<Prepared> {
        let known = self.connection.prep(text).await?;
        if text.len() > LONGEST_KEPT {
            self.long = Some(known.clone());
        }
        Ok(known)
    }

    /// Has a long statement not stay prepared.
    async fn forget_long(&mut self) {
        if let Some(known) = self.long.take() {
            let _closed = self.connection.close(known).await;
        }
    }

    async fn begin(&mut self, texts: Vec<String>) -> Result<(), SqlError> {
        for text in texts {
            self.plain(&text).await?;
        }
        self.transaction = match self.is_in_transaction() {
            Some(true) => Transaction::Open,
            _ => Transaction::Untold,
        };
        Ok(())
    }

    async fn control(&mut self, control: Control) -> Result<(), SqlError> {
        if self.transaction == Transaction::Ended {
            return Err(SqlError::TransactionGone);
        }
        self.plain(control.text()).await?;
        if matches!(control, Control::Commit | Control::Rollback) {
            self.transaction = Transaction::None;
        }
        Ok(())
    }

    /// What the server said with its last answer, unless that was an error.
    fn is_in_transaction(&self) -> Option<bool> {
        let answer = self.connection.last_ok_packet()?;
        let flags = answer.status_flags();
        Some(flags.contains(StatusFlags::SERVER_STATUS_IN_TRANS))
    }

    /// Whether a statement may go to the server.
    fn check(&self, text: &str, values: &[Sent]) -> Result<(), SqlError> {
        match self.transaction {
            // By itself it would take effect at once.
            Transaction::Ended => Err(SqlError::TransactionGone),
            _ => self.packets.check(text, values),
        }
    }

    /// Takes note of a statement that has come to its end: it may have ended its transaction, as a
    /// procedure does that commits. To the statements that are known for it nobody comes this far.
    async fn seen<T>(&mut self, done: Result<T, SqlError>) -> Result<T, SqlError> {
        if self.transaction != Transaction::Open {
            return done;
        }
        let has_failed = match &done {
            Ok(_) => false,
            Err(SqlError::Failed(_)) => true,
            // What remains of the transaction nobody can use.
            Err(_) => return done,
        };
        // An error does not tell of the transaction, any other answer does.
        if has_failed && self.connection.ping().await.is_err() {
            return done;
        }
        if self.is_in_transaction() != Some(false) {
            return done;
        }
        self.transaction = Transaction::Ended;
        done.and_then(|_| Err(transaction_ended()))
    }

    async fn execute(
        &mut self,
        statement: &Statement,
        rows: Vec<(Scales, Vec<Sent>)>,
    ) -> Result<Done, SqlError> {
        let done = self.execute_all(statement, rows).await;
        self.forget_long().await;
        done
    }

    /// Leaves what was run last prepared.
    async fn execute_all(
        &mut self,
        statement: &Statement,
        rows: Vec<(Scales, Vec<Sent>)>,
    ) -> Result<Done, SqlError> {
        let mut text = statement.text().to_owned();
        let mut known = Scales::default();
        let mut sum = Done {
            affected: 0,
            last_insert_id: None,
        };
        for (scales, values) in rows {
            if scales != known {
                self.forget_long().await;
                text = scales.text(statement);
                known = scales;
            }
            self.check(&text, &values)?;
            let done = self.run(&text, values).await;
            let done = done.map_err(|error| self.place.error(&error));
            let done = self.seen(done).await?;
            sum.affected += done.affected;
            sum.last_insert_id = done.last_insert_id.or(sum.last_insert_id);
        }
        Ok(sum)
    }

    async fn run(&mut self, text: &str, values: Vec<Sent>) -> mysql_async::Result<Done> {
        let known = match self.prepare(text).await {
            Ok(known) => known,
            Err(error) if values.is_empty() && cannot_be_prepared(&error) => {
                self.connection.query_drop(text).await?;
                let connection = &self.connection;
                let (rows, id) = (connection.affected_rows(), connection.last_insert_id());
                return Ok(done_of(rows, id, false));
            }
            Err(error) => return Err(error),
        };
        let mut result = self.connection.exec_iter(&known, params(values)).await?;
        let columns = result.columns();
        let has_rows = columns.is_some_and(|columns| !columns.is_empty());
        // The numbers are those of the end of the result.
        result.for_each(drop).await?;
        let done = done_of(result.affected_rows(), result.last_insert_id(), has_rows);
        result.drop_result().await?;
        Ok(done)
    }

    /// Hands the rows of a query out. Returns a command that came meanwhile and is not about them.
    async fn read(
        &mut self,
        text: String,
        values: Vec<Sent>,
        reply: Reply<Vec<Column>>,
        told: &mut mpsc::Receiver<Command>,
    ) -> Option<Command> {
        if let Err(error) = self.check(&text, &values) {
            let _gone = reply.send(Err(error));
            return None;
        }
        let left = match self.prepare(&text).await {
            Ok(known) => {
                let asked = (&known, values, reply);
                hand_out(&mut self.connection, &self.place, asked, told).await
            }
            Err(error) => Left::Refused(reply, error),
        };
        let next = self.answer(left).await;
        self.forget_long().await;
        next
    }

    async fn answer(&mut self, left: Left) -> Option<Command> {
        match left {
            Left::Refused(reply, error) => {
                let refused = Err(self.place.error(&error));
                let _gone = reply.send(self.seen(refused).await);
            }
            Left::Rows(reply, batch) => {
                let _gone = reply.send(self.seen(batch).await);
            }
            Left::Stopped(reply, done) => {
                let _gone = reply.send(self.seen(done).await);
            }
            Left::Other(command) => return Some(command),
            Left::Nobody => {}
        }
        None
    }
}

/// Runs a query and hands its rows out, up to the last ones.
async fn hand_out(
    connection: &mut Conn,
    place: &Place,
    (known, values, reply): (&Prepared, Vec<Sent>, Reply<Vec<Column>>),
    told: &mut mpsc::Receiver<Command>,
) -> Left {
    let mut result = match connection.exec_iter(known, params(values)).await {
        Ok(result) => result,
        Err(error) => return Left::Refused(reply, error),
    };
    let columns = result.columns_ref().iter().map(|column| Column {
        name: column.name_str().into_owned(),
        type_name: type_name(column).to_owned(),
    });
    let _gone = reply.send(Ok(columns.collect()));
    loop {
        match told.recv().await {
            Some(Command::Next { rows, bytes, reply }) => {
                match take(&mut result, rows, bytes, place).await {
                    Ok(batch) if !batch.is_last => {
                        let _gone = reply.send(Ok(batch));
                    }
                    Ok(batch) => {
                        let ended = end(result, place).await;
                        return Left::Rows(reply, ended.map(|()| batch));
                    }
                    Err(error) => return Left::Rows(reply, Err(error)),
                }
            }
            Some(Command::Stop { reply }) => {
                return Left::Stopped(reply, end(result, place).await);
            }
            Some(other) => return Left::Other(other),
            None => return Left::Nobody,
        }
    }
}

/// Passes over what the server still sends: rows that nobody wants, and what a procedure does behind
/// its first rows.
async fn end(
    result: QueryResult<'_, 'static, BinaryProtocol>,
    place: &Place,
) -> Result<(), SqlError> {
    let ended = result.drop_result().await;
    ended.map_err(|error| place.error(&error))
}

fn params(values: Vec<Sent>) -> Params {
    match values.is_empty() {
        true => Params::Empty,
        false => Params::Positional(values),
    }
}

fn done_of(affected: u64, id: Option<u64>, has_rows: bool) -> Done {
    Done {
        affected: if has_rows { 0 } else { affected },
        last_insert_id: id
            .filter(|id| *id != 0)
            .and_then(|id| i64::try_from(id).ok()),
    }
}

async fn take(
    result: &mut QueryResult<'_, 'static, BinaryProtocol>,
    most: usize,
    bytes: usize,
    place: &Place,
) -> Result<Batch, SqlError> {
    let mut batch = Batch::default();
    let mut size = 0;
    while batch.rows.len() < most && size < bytes {
        let next = result.next().await;
        let Some(row) = next.map_err(|error| place.error(&error))? else {
            batch.is_last = true;
            break;
        };
        let (row, len) = row_of(row)?;
        size += len;
        batch.rows.push(row);
    }
    Ok(batch)
}
