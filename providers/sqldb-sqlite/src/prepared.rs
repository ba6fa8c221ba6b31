//! Prepared statements, which a connection keeps unless they are long.

use std::ops::{Deref, DerefMut};

use rusqlite::{CachedStatement, Connection, Result, Statement};

/// The longest text that is kept: a connection keeps many, and what they say is the component's.
const LONGEST_KEPT: usize = 16 * 1024;

/// A prepared statement in use.
pub(crate) struct Prepared<'c> {
    /// `None` only while it is dropped.
    statement: Option<CachedStatement<'c>>,
    is_kept: bool,
}

impl<'c> Prepared<'c> {
    /// Prepares a statement, or finds the one that was prepared before.
    pub(crate) fn new(connection: &'c Connection, text: &str) -> Result<Self> {
        Ok(Self {
            statement: Some(connection.prepare_cached(text)?),
            is_kept: text.len() <= LONGEST_KEPT,
        })
    }
}

impl<'c> Deref for Prepared<'c> {
    type Target = Statement<'c>;

    fn deref(&self) -> &Statement<'c> {
        let statement = self.statement.as_deref();
        statement.expect("a statement in use is there")
    }
}

impl<'c> DerefMut for Prepared<'c> {
    fn deref_mut(&mut self) -> &mut Statement<'c> {
        let statement = self.statement.as_deref_mut();
        statement.expect("a statement in use is there")
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if let Some(statement) = self.statement.take()
            && !self.is_kept
        {
            statement.discard();
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    /// How often a statement ran that is prepared after it was run once.
    fn runs_known(text: &str) -> i32 {
        let connection = Connection::open_in_memory().unwrap();
        let mut first = Prepared::new(&connection, text).unwrap();
        assert!(first.raw_query().next().unwrap().is_some());
        drop(first);
        let second = Prepared::new(&connection, text).unwrap();
        second.get_status(StatementStatus::Run)
    }

    #[test]
    fn long_statements_are_not_kept() {
        assert_eq!(runs_known("SELECT 1"), 1);
        let long = format!("SELECT '{}'", "x".repeat(LONGEST_KEPT));
        assert_eq!(runs_known(&long), 0);
    }
}
