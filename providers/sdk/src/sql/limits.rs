//! How much of everything there may be.

use std::time::Duration;

use super::Dialect;
use crate::describe::Features;
use crate::settings::{InvalidSetting, Settings};

/// The most rows of one page.
pub const MAX_PAGE_ROWS: usize = 10_000;
/// How many a page has when the caller does not say.
pub(super) const USUAL_PAGE_ROWS: usize = 1000;
/// When a page is full by the length of its values; a row more may be in it.
pub const MAX_PAGE_BYTES: usize = 512 * 1024;
/// How much a transaction keeps of rows that have not been fetched when its next statement comes.
pub(super) const MAX_KEPT_BYTES: usize = 16 * 1024 * 1024;
/// How many cursors one transaction has.
pub(super) const MAX_CURSORS_OF_ONE: usize = 16;

const LONGEST_MS: u64 = 3_600_000;

/// The limits of one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long a transaction may last.
    pub transaction: Duration,
    /// How long one may not be used.
    pub transaction_idle: Duration,
    /// How long the next page may not be asked for.
    pub cursor_idle: Duration,
    /// How long all the pages of one query may take.
    pub cursor: Duration,
    /// How long a statement waits for a row that another transaction holds; zero for as long as the
    /// server lets it.
    pub lock_wait: Duration,
    /// How many transactions may be open.
    pub max_transactions: usize,
    /// How many cursors may be open outside of transactions.
    pub max_cursors: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transaction: Duration::from_secs(30),
            transaction_idle: Duration::from_secs(5),
            cursor_idle: Duration::from_secs(30),
            cursor: Duration::from_secs(600),
            lock_wait: Duration::from_secs(3),
            max_transactions: 64,
            max_cursors: 64,
        }
    }
}

impl Limits {
    /// Reads what a link says.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the value.
    pub fn read(settings: &Settings) -> Result<Self, InvalidSetting> {
        let usual = Self::default();
        let time = |key, default| settings.millis(key, default, 1..=LONGEST_MS);
        Ok(Self {
            transaction: time("transaction_timeout_ms", usual.transaction)?,
            transaction_idle: time("transaction_idle_ms", usual.transaction_idle)?,
            cursor_idle: time("cursor_idle_ms", usual.cursor_idle)?,
            cursor: time("cursor_timeout_ms", usual.cursor)?,
            lock_wait: settings.millis("lock_wait_ms", usual.lock_wait, 0..=LONGEST_MS)?,
            max_transactions: settings.number("max_transactions", 64, 1..=10_000)?,
            max_cursors: settings.number("max_cursors", 64, 1..=10_000)?,
        })
    }

    /// As far as a database with so many connections has them: one for each transaction and each
    /// cursor. Who wants more waits for a connection, so this is what is told and not what is checked.
    #[must_use]
    pub fn within(self, transactions: usize, cursors: usize) -> Self {
        Self {
            max_transactions: self.max_transactions.min(transactions),
            max_cursors: self.max_cursors.min(cursors),
            ..self
        }
    }
}

/// What every backend has by being served here, with limits that it [has](Limits::within).
#[must_use]
pub fn features(dialect: Dialect, limits: &Limits) -> Features {
    Features::new()
        .with("consistency", "linearizable")
        .lacking("ttl")
        .with("cas", "statement")
        .with("paging", "cursor")
        .with("order", "query")
        .with("dialect", dialect.name())
        .with("decimal", dialect.decimal())
        .having("transactions")
        .with("isolation", "serializable")
        .with("max-page-rows", MAX_PAGE_ROWS)
        .with("max-page-bytes", MAX_PAGE_BYTES)
        .with("max-parameters", dialect.max_parameters())
        .with("max-transactions", limits.max_transactions)
        .with("max-cursors", limits.max_cursors)
}

impl Dialect {
    /// As the WIT package calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    /// What a column of decimals keeps.
    fn decimal(self) -> &'static str {
        match self {
            Self::Postgres | Self::Mysql => "exact",
            Self::Sqlite => "float",
        }
    }

    /// How many values a statement may have.
    #[must_use]
    pub fn max_parameters(self) -> usize {
        match self {
            Self::Postgres | Self::Mysql => 65_535,
            Self::Sqlite => 32_766,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_told_than_there_are_connections() {
        let told = |limits: Limits| features(Dialect::Mysql, &limits);
        let usual = told(Limits::default().within(16, 8));
        assert!(usual.lacks("max-transactions=16, max-cursors=8").is_empty());
        let fewer = Limits {
            max_transactions: 2,
            ..Limits::default()
        };
        let fewer = told(fewer.within(16, 100));
        assert!(fewer.lacks("max-transactions=2, max-cursors=64").is_empty());
    }
}
