//! SQL for components, in MariaDB and MySQL.
//!
//! A link with this provider as target of `lattice:sql` names a server and a database; see
//! [`settings`].
//!
//! # Transactions
//!
//! These servers end a transaction before any statement that makes, changes or drops a table, so
//! such statements are refused in one. A row that another transaction holds is waited for
//! `lock_wait_ms`, in whole seconds.
//!
//! # Values
//!
//! `BOOLEAN` is a number of one digit there; 0 and 1 come as boolean. `DATETIME` comes without an
//! offset and `TIMESTAMP` in UTC, which is the time zone of every connection; a time with an offset
//! goes as the same moment in UTC. What MariaDB keeps as text, such as `JSON` and `UUID`, comes as
//! text.

mod actor;
mod backend;
mod errors;
mod pool;
mod provider;
mod session;
pub mod settings;
mod values;

pub use provider::SqldbMysql;
