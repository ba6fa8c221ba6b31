//! What one link gives a component of 1.x.

use futures::TryStreamExt as _;
use lattice_postgres::tokio_postgres::error::SqlState;
use lattice_postgres::tokio_postgres::{self, Row};
use lattice_postgres::{Connection, PostgresError};
use lattice_provider_sdk::Shared;
use lattice_provider_sdk::sql::{Dialect, Statement};
use tokio::time::Instant;

use super::bindings::exports::wasmcloud::postgres::query::{PgValue, ResultRow};
use super::bindings::wasmcloud::postgres::types::ResultRowEntry;
use super::parameter::{Cell, Parameter};
use crate::backend::Server;
use crate::binary::Room;
use crate::errors::forget_stale;

/// How much memory the rows of one answer may take: the package has no pages.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// What stands before the text of a statement in its token. A token is nothing but that: whoever
/// has the link may run any statement, and so each copy of the provider knows every token, also
/// after it was started again.
const TOKEN: &str = "prepared-statement:";

/// Why a call of this package failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server, or the way to it.
    #[error("{}", .0.words())]
    Server(#[from] PostgresError),
    /// A value that came cannot be told.
    #[error("the column `{column}` cannot be read: {why}")]
    Column {
        /// Which one.
        column: String,
        /// Why.
        why: String,
    },
    /// There are too many rows.
    #[error("the rows take more than {} MiB; ask for fewer, with LIMIT", MOST_BYTES / 1024 / 1024)]
    TooLong,
    /// A statement that needs more than a call.
    #[error("COPY needs a stream of data, which a call does not have")]
    Copy,
    /// What a batch began would be rolled back without a word.
    #[error(
        "the batch leaves its transaction open, and it was rolled back: each call has a connection \
         of its own, so end it in the batch, with COMMIT or ROLLBACK"
    )]
    LeftOpen,
    /// The token is of no statement.
    #[error("there is no prepared statement of that token")]
    Unknown,
}

/// What one link gives a component of 1.x.
#[derive(Debug)]
pub(crate) struct PostgresLink {
    server: Shared<Server>,
}

impl PostgresLink {
    pub(crate) fn new(server: Shared<Server>) -> Self {
        Self { server }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// A connection for a statement; it is closed afterwards when the statement leaves something
    /// behind.
    async fn connection(&self, text: &str, until: Instant) -> Result<Connection, Failure> {
        let statement = Statement::read(text, Dialect::Postgres);
        if matches!(&statement, Ok(statement) if statement.verb() == "COPY") {
            return Err(Failure::Copy);
        }
        let connection = self.server.own().get(until).await?;
        if statement.is_ok_and(|statement| !statement.leaves_traces()) {
            return Ok(connection);
        }
        connection.soil();
        Ok(connection)
    }

    pub(super) async fn query(
        &self,
        text: &str,
        values: &[PgValue],
        until: Instant,
    ) -> Result<Vec<ResultRow>, Failure> {
        let connection = self.connection(text, until).await?;
        let taken = loop {
            let (statement, is_known) = connection.find_or_prepare(until, text).await?;
            let work = rows_of(&connection, &statement, values);
            match connection.within(until, work).await {
                Err(error) if may_repeat(&connection, text, is_known, &error) => {}
                taken => break taken?,
            }
        };
        let Some(rows) = taken else {
            // The rest is still on its way.
            connection.keep_busy(true);
            return Err(Failure::TooLong);
        };
        let mut room = Room::default();
        rows.iter().map(|row| result_row(row, &mut room)).collect()
    }

    pub(super) async fn query_batch(&self, text: &str, until: Instant) -> Result<(), Failure> {
        let connection = self.connection(text, until).await?;
        let work = connection.client().batch_execute(text);
        connection.within(until, work).await?;
        if may_begin(text) && is_in_transaction(&connection, until).await? {
            connection.soil();
            return Err(Failure::LeftOpen);
        }
        Ok(())
    }

    /// Looks whether the server takes a statement.
    pub(super) async fn prepare(&self, text: &str, until: Instant) -> Result<String, Failure> {
        let connection = self.connection(text, until).await?;
        connection.prepare(until, text).await?;
        Ok(format!("{TOKEN}{text}"))
    }

    pub(super) async fn exec(
        &self,
        token: &str,
        values: &[PgValue],
        until: Instant,
    ) -> Result<u64, Failure> {
        let text = token.strip_prefix(TOKEN).ok_or(Failure::Unknown)?;
        let connection = self.connection(text, until).await?;
        loop {
            let (statement, is_known) = connection.find_or_prepare(until, text).await?;
            let values = values.iter().map(Parameter);
            let work = connection.client().execute_raw(&statement, values);
            match connection.within(until, work).await {
                Err(error) if may_repeat(&connection, text, is_known, &error) => {}
                done => return Ok(done?),
            }
        }
    }
}

/// Whether a statement that failed is run once more, prepared anew: each is a transaction of its own,
/// but for those that leave something behind, which may end several.
fn may_repeat(connection: &Connection, text: &str, is_known: bool, error: &PostgresError) -> bool {
    forget_stale(connection, text, is_known, error) && !connection.is_soiled()
}

/// The rows of a statement; nothing when they are too many.
async fn rows_of(
    connection: &Connection,
    statement: &tokio_postgres::Statement,
    values: &[PgValue],
) -> Result<Option<Vec<Row>>, tokio_postgres::Error> {
    let values = values.iter().map(Parameter);
    let rows = connection.client().query_raw(statement, values).await?;
    let (mut taken, mut size) = (Vec::new(), 0);
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await? {
        size += row.raw_size_bytes();
        taken.push(row);
        if size > MOST_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(taken))
}

/// Whether a batch may begin a transaction, for which the server has these two words.
fn may_begin(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    text.contains("BEGIN") || text.contains("START")
}

/// Whether a transaction is open at a connection, which has to be closed then. The server takes a
/// savepoint within one only, and says so by a code of its own.
async fn is_in_transaction(connection: &Connection, until: Instant) -> Result<bool, Failure> {
    let work = connection.client().batch_execute("SAVEPOINT lattice");
    match connection.within(until, work).await {
        Ok(()) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION) => Ok(false),
        Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn result_row(row: &Row, room: &mut Room) -> Result<ResultRow, Failure> {
    let entry = |at: usize| {
        let column = row.columns()[at].name();
        let cell = row
            .try_get::<_, Cell>(at)
            .map_err(|error| Failure::Column {
                column: column.to_owned(),
                why: error
                    .into_source()
                    .map_or_else(String::new, |e| e.to_string()),
            })?;
        room.take(grown(&cell.0)).map_err(|_| Failure::TooLong)?;
        Ok(ResultRowEntry {
            column_name: column.to_owned(),
            value: cell.0,
        })
    };
    (0..row.len()).map(entry).collect()
}

/// How long the texts are in a value of which few bytes came.
fn grown(value: &PgValue) -> usize {
    match value {
        PgValue::Numeric(text) => text.len(),
        PgValue::NumericArray(texts) => texts.iter().map(String::len).sum(),
        PgValue::TsVector(lexemes) => lexemes.iter().map(|lexeme| lexeme.data.len()).sum(),
        _ => 0,
    }
}
