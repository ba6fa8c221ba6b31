//! A connection that a call or a transaction uses.

use std::pin::Pin;

use futures::{StreamExt as _, TryStreamExt as _};
use lattice_postgres::tokio_postgres::{self, RowStream};
use lattice_postgres::{Connection, PostgresError};
use lattice_provider_sdk::sql::{
    Batch, Column, Control, Done, Isolation, Session, SqlError, Statement, Value,
};
use tokio::time::Instant;

use crate::binary::Room;
use crate::errors::{aborted, forget_stale, no_success};
use crate::values::{Parameter, row_of};

/// How many rows of an execute-many are on their way at once.
const PIPELINE: usize = 64;

/// A connection in use.
pub(crate) struct PostgresSession {
    connection: Connection,
    /// Rows that wait at the server. It goes on sending only as they are taken.
    rows: Option<Pin<Box<RowStream>>>,
    in_transaction: bool,
    /// How the transaction began, as long as nothing was done in it.
    untouched: Option<Isolation>,
    /// The transaction takes no more statements.
    is_aborted: bool,
    has_traces: bool,
}

impl std::fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSession")
            .field("connection", &self.connection)
            .field("in_transaction", &self.in_transaction)
            .finish_non_exhaustive()
    }
}

impl PostgresSession {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            rows: None,
            in_transaction: false,
            untouched: None,
            is_aborted: false,
            has_traces: false,
        }
    }

    pub(crate) async fn begin(
        &mut self,
        isolation: Isolation,
        until: Instant,
    ) -> Result<(), SqlError> {
        self.in_transaction = true;
        self.plain(
            match isolation {
                Isolation::Default => "START TRANSACTION",
                Isolation::ReadCommitted => "START TRANSACTION ISOLATION LEVEL READ COMMITTED",
                Isolation::RepeatableRead => "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                Isolation::Serializable => "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            },
            until,
        )
        .await?;
        self.untouched = Some(isolation);
        Ok(())
    }

    async fn plain(&mut self, text: &str, until: Instant) -> Result<(), SqlError> {
        self.untouched = None;
        self.mark();
        let work = self.connection.client().batch_execute(text);
        let done = self.connection.within(until, work).await;
        self.seen(done)
    }

    /// Has the connection closed if it is dropped as it is now.
    fn mark(&self) {
        if self.in_transaction || self.has_traces {
            self.connection.soil();
        } else {
            self.connection.cleaned();
        }
    }

    /// Takes note of how a statement ended.
    fn seen<T>(&mut self, done: Result<T, PostgresError>) -> Result<T, SqlError> {
        match done {
            Ok(value) => {
                self.is_aborted = false;
                Ok(value)
            }
            Err(error) => {
                self.is_aborted = self.in_transaction;
                Err(no_success(&error))
            }
        }
    }

    /// Prepares a statement; says whether it was prepared before.
    async fn prepare(
        &mut self,
        statement: &Statement,
        until: Instant,
    ) -> Result<(tokio_postgres::Statement, bool), SqlError> {
        self.has_traces |= statement.leaves_traces();
        self.mark();
        let prepared = self.connection.find_or_prepare(until, statement.text());
        let prepared = prepared.await;
        self.seen(prepared)
    }

    /// Makes ready to run a statement that failed once more, prepared anew: nothing was done, and
    /// nothing else depends on it. Where that is not so, or of no use, it has failed.
    async fn again(
        &mut self,
        statement: &Statement,
        is_known: bool,
        error: PostgresError,
        until: Instant,
    ) -> Result<(), SqlError> {
        let is_stale = forget_stale(&self.connection, statement.text(), is_known, &error);
        // What leaves traces may have ended transactions of its own.
        if !is_stale || self.has_traces {
            return self.seen(Err(error));
        }
        match (self.in_transaction, self.untouched) {
            (false, _) => Ok(()),
            (true, Some(isolation)) => {
                self.plain(Control::Rollback.text(), until).await?;
                self.begin(isolation, until).await
            }
            (true, None) => self.seen(Err(error)),
        }
    }

    async fn open(
        &mut self,
        statement: &Statement,
        values: &[Value],
        until: Instant,
    ) -> Result<Vec<Column>, SqlError> {
        loop {
            let (prepared, is_known) = self.prepare(statement, until).await?;
            let client = self.connection.client();
            let begun = client.query_raw(&prepared, values.iter().map(Parameter));
            let begun = self.connection.within(until, begun).await;
            let error = match begun {
                Ok(rows) => {
                    self.rows = Some(Box::pin(self.seen(Ok(rows))?));
                    self.untouched = None;
                    self.connection.keep_busy(true);
                    return Ok(prepared.columns().iter().map(column).collect());
                }
                Err(error) => error,
            };
            self.again(statement, is_known, error, until).await?;
        }
    }

    /// Takes note of a statement that was run for its effect.
    fn done(&mut self, statement: &Statement, count: u64) -> Result<Done, SqlError> {
        self.untouched = None;
        let count = self.seen(Ok(count))?;
        Ok(Done {
            // Of rows that are only read the server tells the number too.
            affected: if statement.reads_only() { 0 } else { count },
            last_insert_id: None,
        })
    }
}

/// Runs a statement for each row, in their order.
async fn run_many(
    connection: &Connection,
    prepared: &tokio_postgres::Statement,
    rows: &[Vec<Value>],
    until: Instant,
) -> Result<u64, PostgresError> {
    let client = connection.client();
    let run = |at: usize| async move {
        let values: Vec<_> = rows[at].iter().map(Parameter).collect();
        client.execute_raw(prepared, values).await
    };
    let counts = futures::stream::iter(0..rows.len()).map(run);
    let sum = counts
        .buffered(PIPELINE)
        .try_fold(0, async |sum, count| Ok(sum + count));
    connection.within(until, sum).await
}

fn column(column: &tokio_postgres::Column) -> Column {
    Column {
        name: column.name().to_owned(),
        type_name: column.type_().name().to_owned(),
    }
}

impl Session for PostgresSession {
    async fn query(
        &mut self,
        statement: &Statement,
        values: Vec<Value>,
        until: Instant,
    ) -> Result<Vec<Column>, SqlError> {
        self.open(statement, &values, until).await
    }

    async fn next(&mut self, rows: usize, bytes: usize, until: Instant) -> Result<Batch, SqlError> {
        let Some(stream) = &mut self.rows else {
            return Ok(Batch {
                rows: Vec::new(),
                is_last: true,
            });
        };
        let (mut taken, mut size) = (Vec::new(), 0);
        let work = async {
            while taken.len() < rows && size < bytes {
                match stream.try_next().await? {
                    Some(row) => {
                        size += row.raw_size_bytes();
                        taken.push(row);
                    }
                    None => return Ok(true),
                }
            }
            Ok(false)
        };
        let done = self.connection.within(until, work).await;
        let is_last = match self.seen(done) {
            Ok(is_last) => is_last,
            Err(error) => {
                self.rows = None;
                return Err(error);
            }
        };
        if is_last {
            self.rows = None;
        } else {
            self.connection.keep_busy(true);
        }
        let mut room = Room::default();
        let rows: Result<_, _> = taken.iter().map(|row| row_of(row, &mut room)).collect();
        Ok(Batch {
            rows: rows?,
            is_last,
        })
    }

    async fn stop(&mut self, until: Instant) -> Result<(), SqlError> {
        let Some(mut rows) = self.rows.take() else {
            return Ok(());
        };
        // To their end: if one fails, the transaction has failed, though nobody reads that one.
        let work = async {
            while rows.try_next().await?.is_some() {}
            Ok(())
        };
        let done = self.connection.within(until, work).await;
        match done {
            Err(PostgresError::Refused(_)) if !self.in_transaction => Ok(()),
            done => self.seen(done),
        }
    }

    async fn execute(
        &mut self,
        statement: &Statement,
        values: Vec<Value>,
        until: Instant,
    ) -> Result<Done, SqlError> {
        loop {
            let (prepared, is_known) = self.prepare(statement, until).await?;
            let client = self.connection.client();
            let work = client.execute_raw(&prepared, values.iter().map(Parameter));
            let done = self.connection.within(until, work).await;
            match done {
                Ok(count) => return self.done(statement, count),
                Err(error) => self.again(statement, is_known, error, until).await?,
            }
        }
    }

    async fn execute_many(
        &mut self,
        statement: &Statement,
        rows: Vec<Vec<Value>>,
        until: Instant,
    ) -> Result<Done, SqlError> {
        loop {
            let (prepared, is_known) = self.prepare(statement, until).await?;
            let done = run_many(&self.connection, &prepared, &rows, until).await;
            match done {
                Ok(count) => return self.done(statement, count),
                Err(error) => self.again(statement, is_known, error, until).await?,
            }
        }
    }

    async fn control(&mut self, control: Control, until: Instant) -> Result<(), SqlError> {
        let is_lost = self.is_aborted && control == Control::Commit;
        // The server would take the commit, and roll back.
        let control = if is_lost { Control::Rollback } else { control };
        self.plain(control.text(), until).await?;
        if matches!(control, Control::Commit | Control::Rollback) {
            self.in_transaction = false;
            self.mark();
        }
        match is_lost {
            true => Err(aborted()),
            false => Ok(()),
        }
    }
}
