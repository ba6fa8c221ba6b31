//! Pools of connections to PostgreSQL, made of what links say.
//!
//! Every wait has a limit: for a free connection, for a new one, for the answer to a statement. A
//! connection whose work was given up half way, or that was left in a state of its own, is closed
//! instead of used again, and what it still does at the server is cancelled.
//!
//! ```no_run
//! # use lattice_postgres::{Postgres, PostgresError, PostgresSettings};
//! # use lattice_provider_sdk::Settings;
//! # use tokio::time::{Duration, Instant};
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let settings = Settings::from_texts([("url", "postgres://me:secret@localhost/shop")], []);
//! let postgres = Postgres::open(&PostgresSettings::read(&settings)?).await?;
//! let until = Instant::now() + Duration::from_secs(5);
//! let connection = postgres.get(until).await?;
//! let statement = connection.prepare(until, "SELECT 1").await?;
//! let rows = connection.within(until, connection.client().query(&statement, &[])).await?;
//! # Ok(()) }
//! ```

mod connection;
mod doubt;
mod error;
mod pool;
mod settings;

pub use connection::Connection;
pub use error::PostgresError;
pub use pool::{OpenError, Postgres};
pub use settings::PostgresSettings;
pub use tokio_postgres;
