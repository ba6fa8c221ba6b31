//! Statements that are done as a whole or not at all.
//!
//! SQLite keeps what a statement did before it failed, where its text, a table or a trigger says
//! `FAIL`. Outside of a transaction that would be written for good, though the statement is answered
//! as one that changed nothing. And a statement that fails may take its transaction with it, where one
//! of these says `ROLLBACK`.

use lattice_provider_sdk::sql::{Control, SqlError};
use rusqlite::Connection;

use crate::errors::sql_error;

/// How a statement is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// In a transaction, which has to be there still: by itself it would take effect at once.
    pub(crate) within: bool,
    /// It writes, and is undone when it fails.
    pub(crate) is_whole: bool,
}

impl How {
    pub(crate) fn begin(self, connection: &Connection) -> Result<Option<Whole<'_>>, SqlError> {
        if self.within && connection.is_autocommit() {
            return Err(SqlError::TransactionGone);
        }
        match self.is_whole {
            true => Whole::begin(connection).map(Some),
            false => Ok(None),
        }
    }
}

/// What is undone when it fails.
pub(crate) struct Whole<'c> {
    connection: &'c Connection,
    end: &'static str,
    undo: &'static str,
}

impl<'c> Whole<'c> {
    fn begin(connection: &'c Connection) -> Result<Self, SqlError> {
        let (begin, end, undo) = match connection.is_autocommit() {
            true => ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"),
            false => (
                "SAVEPOINT lattice_statement",
                "RELEASE lattice_statement",
                "ROLLBACK TO lattice_statement; RELEASE lattice_statement",
            ),
        };
        plain(connection, begin)?;
        Ok(Self {
            connection,
            end,
            undo,
        })
    }

    fn end<T>(self, done: Result<T, SqlError>) -> Result<T, SqlError> {
        let done = done.and_then(|done| plain(self.connection, self.end).map(|()| done));
        // Whoever failed may have undone everything already.
        if done.is_err() && !self.connection.is_autocommit() {
            plain(self.connection, self.undo)?;
        }
        done
    }
}

/// Takes or undoes what was done, by what became of it. No statement may be under way.
pub(crate) fn end<T>(whole: Option<Whole<'_>>, done: Result<T, SqlError>) -> Result<T, SqlError> {
    match whole {
        Some(whole) => whole.end(done),
        None => done,
    }
}

/// Runs a statement without values and rows.
pub(crate) fn plain(connection: &Connection, text: &str) -> Result<(), SqlError> {
    let done = connection.execute_batch(text);
    done.map_err(|error| sql_error(&error))
}

/// Does with the transaction what is said, if no statement took it away: then it is rolled back.
pub(crate) fn control(connection: &Connection, control: Control) -> Result<(), SqlError> {
    match control {
        Control::Rollback if connection.is_autocommit() => Ok(()),
        _ if connection.is_autocommit() => Err(SqlError::TransactionGone),
        control => plain(connection, control.text()),
    }
}
