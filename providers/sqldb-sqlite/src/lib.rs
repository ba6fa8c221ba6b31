//! SQL for components, with SQLite inside.
//!
//! A link with this provider as target of `lattice:sql` has a folder of databases, each a file of
//! its own; see [`settings`]. Components name databases only, never files: `ATTACH`, extensions and
//! the pragmas that reach beyond the database are denied.
//!
//! # Connections
//!
//! A database has one connection that writes and several that read, in WAL mode, so that readers
//! and the writer do not wait for each other. Each runs in a thread of its own. A transaction is
//! the writer from its begin to its end, whether it writes or not: it never has to be repeated
//! because it turned from reading to writing. Who waits too long for the writer is told to try
//! again; so there is one transaction at a time (the feature `max-transactions` is 1).
//!
//! A statement that fails is undone as a whole, also where SQLite would keep what it did before, as
//! `INSERT OR FAIL` says. One that takes its transaction with it, as `INSERT OR ROLLBACK` does, is
//! answered with what it failed for, and everything after it with `transaction-gone`.
//!
//! A file that is deleted or replaced is left: what is under way in it is broken off, and the one that
//! is there is opened, or made, when all connections to the old one are closed. What was written to a
//! file that is gone is an error, also when it was to be committed already.
//!
//! # Values
//!
//! SQLite has five kinds of values; which other kind a column has is read from its declared type,
//! as in `CREATE TABLE t (a DATE, b DECIMAL(10, 2), c BOOLEAN, d JSON)`. What has no kind of its
//! own is text.
//!
//! A column that is declared `DECIMAL` or `NUMERIC` keeps numbers, not texts: SQLite makes a whole
//! or a floating point number of a decimal that goes there. A whole one comes back as a decimal, one
//! with a fraction as a float, which it is (the feature `decimal` is `float`). A column that is
//! declared `DECIMAL_TEXT` keeps the decimal itself, and gives it back to the last digit; there the
//! database compares texts, so put a `CAST` around it to sort or to add. A number in a `JSON` column
//! is kept as a number as well, and comes back as JSON; one with more digits than a floating point
//! number has loses some, unless the column is declared `JSON_TEXT`.

mod actor;
mod backend;
mod errors;
mod guard;
mod inserted;
mod prepared;
mod provider;
mod session;
pub mod settings;
mod store;
mod values;
mod whole;

pub use provider::{SqldbSqlite, databases};
