//! One connection in a task of its own, for its rows borrow it while they are read.

use std::time::Duration;

use lattice_provider_sdk::sql::{Batch, Column, Done, SqlError};
use mysql_async::prelude::Queryable as _;
use mysql_async::{BinaryProtocol, Conn, Opts, Params, QueryResult, Value as Sent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::errors::{cannot_be_prepared, sql_error};
use crate::values::{row_of, type_name};

/// How long the server may take to hear that a statement is given up.
const KILL_LIMIT: Duration = Duration::from_secs(3);

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
        text: String,
        rows: Vec<Vec<Sent>>,
        reply: Reply<Done>,
    },
    /// Runs plain statements.
    Control {
        texts: Vec<String>,
        reply: Reply<()>,
    },
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
}

impl Actor {
    /// Connects.
    pub(crate) async fn open(options: Opts, address: &str) -> mysql_async::Result<Self> {
        let connection = Conn::new(options.clone()).await?;
        let (commands, told) = mpsc::channel(1);
        let id = connection.id();
        let served = Served {
            connection,
            address: address.to_owned(),
        };
        let task = tokio::spawn(served.serve(told));
        Ok(Self {
            commands,
            id,
            options,
            task: task.abort_handle(),
        })
    }

    /// Ends the connection in the middle of what it does, here and at the server, which looks at
    /// its socket only between statements.
    pub(crate) fn kill(self) {
        self.task.abort();
        let kill = async move {
            let mut other = Conn::new(self.options.clone()).await?;
            other.query_drop(format!("KILL {}", self.id)).await?;
            other.disconnect().await
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(Err(error)) = tokio::time::timeout(KILL_LIMIT, kill).await {
                    tracing::debug!(%error, "could not end a connection at the server");
                }
            });
        }
    }
}

/// The connection within its task.
struct Served {
    connection: Conn,
    address: String,
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
            Command::Execute { text, rows, reply } => {
                let done = self.execute(&text, rows).await;
                let _gone = reply.send(done);
            }
            Command::Control { texts, reply } => {
                let _gone = reply.send(self.control(texts).await);
            }
            Command::Ping { reply } => {
                let done = self.connection.ping().await;
                let _gone = reply.send(done.map_err(|error| sql_error(&self.address, &error)));
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

    async fn control(&mut self, texts: Vec<String>) -> Result<(), SqlError> {
        for text in texts {
            let done = self.connection.query_drop(text).await;
            done.map_err(|error| sql_error(&self.address, &error))?;
        }
        Ok(())
    }

    async fn execute(&mut self, text: &str, rows: Vec<Vec<Sent>>) -> Result<Done, SqlError> {
        let mut sum = Done {
            affected: 0,
            last_insert_id: None,
        };
        for values in rows {
            let done = self.run(text, values).await;
            let done = done.map_err(|error| sql_error(&self.address, &error))?;
            sum.affected += done.affected;
            sum.last_insert_id = done.last_insert_id.or(sum.last_insert_id);
        }
        Ok(sum)
    }

    async fn run(&mut self, text: &str, values: Vec<Sent>) -> mysql_async::Result<Done> {
        let has_values = !values.is_empty();
        match self.connection.exec_iter(text, params(values)).await {
            Ok(mut result) => {
                let columns = result.columns();
                let has_rows = columns.is_some_and(|columns| !columns.is_empty());
                // The numbers are those of the end of the result.
                result.for_each(drop).await?;
                let done = done_of(result.affected_rows(), result.last_insert_id(), has_rows);
                result.drop_result().await?;
                Ok(done)
            }
            Err(error) if !has_values && cannot_be_prepared(&error) => {
                self.connection.query_drop(text).await?;
                let connection = &self.connection;
                let (rows, id) = (connection.affected_rows(), connection.last_insert_id());
                Ok(done_of(rows, id, false))
            }
            Err(error) => Err(error),
        }
    }

    async fn read(
        &mut self,
        text: String,
        values: Vec<Sent>,
        reply: Reply<Vec<Column>>,
        told: &mut mpsc::Receiver<Command>,
    ) -> Option<Command> {
        let address = self.address.clone();
        let mut result = match self.connection.exec_iter(text, params(values)).await {
            Ok(result) => result,
            Err(error) => {
                let _gone = reply.send(Err(sql_error(&address, &error)));
                return None;
            }
        };
        let columns = result.columns_ref().iter().map(|column| Column {
            name: column.name_str().into_owned(),
            type_name: type_name(column).to_owned(),
        });
        let _gone = reply.send(Ok(columns.collect()));
        loop {
            match told.recv().await? {
                Command::Next { rows, bytes, reply } => {
                    let batch = take(&mut result, rows, bytes, &address).await;
                    let is_over = !matches!(&batch, Ok(batch) if !batch.is_last);
                    let _gone = reply.send(batch);
                    if is_over {
                        return None;
                    }
                }
                Command::Stop { reply } => {
                    // What the server still sends is passed over.
                    let done = result.drop_result().await;
                    let _gone = reply.send(done.map_err(|error| sql_error(&address, &error)));
                    return None;
                }
                other => return Some(other),
            }
        }
    }
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
    address: &str,
) -> Result<Batch, SqlError> {
    let mut batch = Batch::default();
    let mut size = 0;
    while batch.rows.len() < most && size < bytes {
        let next = result.next().await;
        let Some(row) = next.map_err(|error| sql_error(address, &error))? else {
            batch.is_last = true;
            break;
        };
        let (row, len) = row_of(row)?;
        size += len;
        batch.rows.push(row);
    }
    Ok(batch)
}
