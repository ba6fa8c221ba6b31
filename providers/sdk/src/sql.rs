//! Serving `lattice:sql@0.1.0`: an SQL provider is a [`Backend`] for each link, which makes
//! [`Session`]s; everything that is not the database's own business is done here.
//!
//! - Statements are read far enough to rewrite their placeholders, and to refuse what would end a
//!   transaction behind our back; see [`Statement`].
//! - Transactions and cursors are held under names that nobody can guess and that are of use only
//!   through the link that made them. Each ends when it is not used for a while, when its time is
//!   over, and with its link and its provider, so that a component that traps between two statements
//!   leaves nothing open.
//! - Rows come in pages, of which only one is in memory. Those of a write without a transaction are
//!   all taken in before it is committed, up to 16 MiB; one that answers more is undone.
//! - Calls end before their deadline with an error, and what they did not wait for is cancelled. So is
//!   a statement when the time of its transaction is over.
//!
//! # What links say
//!
//! | key | meaning | default |
//! | --- | --- | --- |
//! | `databases` | other databases that components may name, `name` or `name=real-name`, with commas; `*` is every one | none |
//! | `transaction_timeout_ms` | how long a transaction may last | 30000 |
//! | `transaction_idle_ms` | how long one may not be used | 5000 |
//! | `cursor_idle_ms` | how long the next page may not be asked for | 30000 |
//! | `cursor_timeout_ms` | how long all the pages of one query may take | 600000 |
//! | `lock_wait_ms` | how long a statement waits for what another transaction holds, before it is to be tried again; 0 for as long as the server lets it, but not in SQLite | 3000 |
//! | `max_transactions`, `max_cursors` | how many may be open at once; each has a connection of its own, so that there are no more than `pool_size` of them | 64, 64 |
//!
//! # Features
//!
//! | feature | means |
//! | --- | --- |
//! | `consistency` | see [`vocabulary`](crate::vocabulary) |
//! | `ttl` | `none` |
//! | `cas` | `statement`: one with a condition says how many rows it changed |
//! | `paging` | `cursor`: rows wait at the database, not in memory; `none`: all come at once |
//! | `order` | `query`: as the statement says |
//! | `dialect` | `postgres`, `mysql` or `sqlite` |
//! | `decimal` | `exact`: a column of decimals keeps every digit; `float`: it keeps floating point numbers, and says so |
//! | `transactions` | there are some |
//! | `isolation` | the strongest level that is kept: `serializable` |
//! | `transactional-ddl` | tables can be made and dropped in transactions |
//! | `after-error` | what a transaction does after a statement failed: `goes-on`, or `rolls-back` when it can only be rolled back |
//! | `prepared` | statements are prepared and kept |
//! | `max-page-rows`, `max-page-bytes`, `max-parameters` | limits |
//! | `max-transactions`, `max-cursors` | how many may be open at once in one database, as far as there are connections; SQLite has one transaction at a time |

mod backend;
mod copies;
mod databases;
mod equal;
mod held;
mod lexer;
mod limits;
mod linked;
mod reading;
mod serve;
mod statement;
mod wire;
mod writing;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:sql-provider;
            world provider {
                // For what another copy of the provider holds.
                import lattice:sql/sql@0.1.0;
                export lattice:sql/sql@0.1.0;
            }
        ",
        path: "../../interfaces/wit/lattice-sql-0.1.0",
        world: "lattice:sql-provider/provider",
        generate_all,
    });
}

pub use backend::{Backend, Batch, Control, Purpose, Row, Session, in_time};
pub use bindings::exports::lattice::sql::sql::{
    Dialect, Done, Error as SqlError, Isolation, Rows, Value,
};
pub use bindings::lattice::sql::types::{Column, Constraint, ConstraintKind, DbError};
pub use databases::Databases;
pub use limits::{Limits, MAX_PAGE_BYTES, MAX_PAGE_ROWS, features};
pub use serve::Sql;
pub use statement::{Statement, StatementError};
