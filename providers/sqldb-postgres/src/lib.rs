//! SQL for components, in PostgreSQL.
//!
//! A link with this provider as target names a server and a database: the keys are those of
//! [`lattice_postgres::PostgresSettings`], and besides them those of [`lattice_provider_sdk::sql`].
//! Two packages are served.
//!
//! # `lattice:sql@0.1.0`
//!
//! Values go to the server as text beside the statement, so that each takes the type that the
//! statement gives it there. Rows are read from the server as they are asked for: it stops sending
//! when nobody takes them. A transaction in which a statement failed can only be rolled back, as
//! is PostgreSQL's way, or go back to a savepoint.
//!
//! A value without a case of its own comes as `other`, in the text that the server would write with
//! its usual settings and the time zone UTC: arrays of any dimensions with their nulls, ranges,
//! composite types and rows, intervals, addresses and so on. Refused by name are those that only the
//! server can write: what is known by number only (`regclass` and its like), the types of most
//! extensions, and what a `ROW(…)` without a type holds of types that are not built in. A cast to
//! `text` gets them. `money` has two digits behind its point.
//!
//! # `wasmcloud:postgres@0.1.1-draft`
//!
//! As published, for components of 1.x. What its values mean is told in [`postgres`].

mod backend;
mod binary;
mod errors;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod postgres;
mod provider;
mod session;
mod text;
mod values;

pub use provider::SqldbPostgres;
