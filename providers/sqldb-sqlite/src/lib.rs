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
//! again.
//!
//! # Values
//!
//! SQLite has five kinds of values; which other kind a column has is read from its declared type,
//! as in `CREATE TABLE t (a DATE, b DECIMAL(10, 2), c BOOLEAN, d JSON)`. What has no kind of its
//! own is text, exact decimals included; a column that is declared `DECIMAL` or `NUMERIC` would
//! make a floating point number of them, so declare one that has to be exact as `TEXT`.

mod actor;
mod backend;
mod errors;
mod guard;
mod provider;
mod session;
pub mod settings;
mod store;
mod values;

pub use provider::{SqldbSqlite, databases};
