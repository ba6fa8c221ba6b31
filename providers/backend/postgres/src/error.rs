//! Why the server did not do what was asked.

use std::time::Duration;

use lattice_provider_sdk::{LinkError, chain};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// There is no connection, or the server refuses it.
    #[error("could not connect to PostgreSQL at `{address}`")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        source: Error,
    },
    /// All connections were in use for as long as we wait for one.
    #[error(
        "all {size} connections to PostgreSQL at `{address}` were in use for {limit:?}; a larger `pool_size` would allow more"
    )]
    Busy {
        /// Host and port.
        address: String,
        /// How many there are.
        size: usize,
        /// How long we waited.
        limit: Duration,
    },
    /// Nothing is heard of the server.
    #[error("PostgreSQL at `{address}` did not answer within {limit:?}")]
    Silent {
        /// Host and port.
        address: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The connection broke. Whether the statement took effect is not known.
    #[error("lost the connection to PostgreSQL at `{address}`")]
    Lost {
        /// Host and port.
        address: String,
        /// Why.
        source: Error,
    },
    /// The server refuses the statement.
    #[error("PostgreSQL refused the statement")]
    Refused(#[source] Error),
    /// What was given or what came does not fit the statement.
    #[error("the statement and its values do not fit")]
    Unfit(#[source] Error),
}

impl PostgresError {
    /// Sorts what the client says of a statement.
    pub(crate) fn of_statement(address: &str, source: Error) -> Self {
        if let Some(refusal) = source.as_db_error() {
            if is_farewell(refusal.code()) {
                let address = address.to_owned();
                return Self::Lost { address, source };
            }
            return Self::Refused(source);
        }
        if source.is_closed() || is_transport(&source) {
            let address = address.to_owned();
            return Self::Lost { address, source };
        }
        Self::Unfit(source)
    }

    /// What the server said, if it did.
    #[must_use]
    pub fn db(&self) -> Option<&DbError> {
        match self {
            Self::Connect { source, .. }
            | Self::Lost { source, .. }
            | Self::Refused(source)
            | Self::Unfit(source) => source.as_db_error(),
            Self::Busy { .. } | Self::Silent { .. } => None,
        }
    }

    /// The SQLSTATE, if the server said one.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        self.db().map(DbError::code)
    }

    /// Whether the login or a right is refused.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        let code = self.code().map_or("", SqlState::code);
        code.starts_with("28") || code == SqlState::INSUFFICIENT_PRIVILEGE.code()
    }

    /// Whether the database is not there.
    #[must_use]
    pub fn is_no_database(&self) -> bool {
        self.code() == Some(&SqlState::INVALID_CATALOG_NAME)
    }

    /// Whether the server, or the way to it, is what fails.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        !matches!(self, Self::Refused(_) | Self::Unfit(_))
    }

    /// The whole of it in one line.
    #[must_use]
    pub fn words(&self) -> String {
        match self.db() {
            // The client's own words between the two say nothing.
            Some(said) => format!("{self}: {}", one_line(said)),
            None => chain(self),
        }
    }
}

/// What the server said, in one line.
fn one_line(said: &DbError) -> String {
    let mut line = format!(
        "{}: {} ({})",
        said.severity(),
        said.message(),
        said.code().code()
    );
    for more in [said.detail(), said.hint()].into_iter().flatten() {
        line.push_str("; ");
        line.push_str(more);
    }
    line
}

/// The server ends the connection: it stops, or was told to end this one.
fn is_farewell(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::DATABASE_DROPPED,
        SqlState::IDLE_SESSION_TIMEOUT,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
    ]
    .contains(code)
}

/// Whether the way to the server failed. What the client cannot write down for it, such as a text
/// with a zero byte, is an input error that never went there.
fn is_transport(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() != std::io::ErrorKind::InvalidInput;
        }
        cause = error.source();
    }
    false
}

impl From<PostgresError> for LinkError {
    // A refused login too may be mended at the server.
    fn from(error: PostgresError) -> Self {
        Self::unavailable(error.words())
    }
}
