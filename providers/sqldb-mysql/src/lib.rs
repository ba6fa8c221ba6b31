//! SQL for components, in MariaDB and MySQL.
//!
//! A link with this provider as target of `lattice:sql` names a server and a database; see
//! [`settings`].
//!
//! # Transactions
//!
//! These servers end a transaction before any statement that makes, changes, checks or drops a table,
//! before those that manage users and the server, and before some others, so such statements are
//! refused in one. So is one with a comment such as `/*! … */`, of which the version of the server
//! decides what it is. Where a statement ends its transaction all the same, such as a call of a procedure
//! that commits, it is answered with an error that says so, and everything after it with
//! `transaction-gone`. A row or a table that another transaction holds is
//! waited for `lock_wait_ms`, in whole seconds. A server whose `autocommit` is off, or whose
//! `completion_type` begins a transaction behind each one, is told otherwise for our connections.
//!
//! # Limits
//!
//! A statement or a value that is longer than the server's `max_allowed_packet` is refused. So is
//! `LOAD DATA LOCAL`, which would read a file beside the provider.
//!
//! # Values
//!
//! `BOOLEAN` is a number of one digit there; 0 and 1 come as boolean. `DATETIME` comes without an
//! offset and `TIMESTAMP` in UTC, which is the time zone of every connection; a time with an offset
//! goes as the same moment in UTC, and one that does not exist as its text, which the server refuses.
//! What MariaDB keeps as text, such as `JSON` and `UUID`, comes as text.
//!
//! A decimal is a number to the last digit, also where it is reckoned with: `?` becomes
//! `CAST(? AS DECIMAL(65, s))` for one with `s` digits after its point, but in a `LIMIT`, where rows of
//! a window are counted and for a whole one in `SET`, where these servers take a bare number. One with an exponent,
//! with more than 30 digits after the point or 65 at all, or for a procedure goes as text, or as a whole
//! number if it is one; with a text these servers reckon as with a floating point number. For a column
//! that keeps no numbers, such as `JSON` or `ENUM`, give a text instead.

mod actor;
mod backend;
mod decimals;
mod errors;
mod kill;
mod packets;
mod pool;
mod provider;
mod session;
pub mod settings;
mod values;

pub use provider::SqldbMysql;
