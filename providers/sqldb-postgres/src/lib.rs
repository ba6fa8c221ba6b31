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
//! # `wasmcloud:postgres@0.1.1-draft`
//!
//! As published, for components of 1.x. What its values mean is told in [`postgres`].

mod backend;
mod binary;
mod errors;
pub mod postgres;
mod provider;
mod session;
mod values;

pub use provider::SqldbPostgres;
