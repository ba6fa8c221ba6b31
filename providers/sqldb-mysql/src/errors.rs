//! What the server says, in the words of the interface.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lattice_provider_sdk::chain;
use lattice_provider_sdk::sql::{Constraint, ConstraintKind, DbError, SqlError};
use mysql_async::{DriverError, Error, ServerError};

/// Why a statement did not do what it should, or there is no connection.
pub(crate) fn sql_error(address: &str, error: &Error) -> SqlError {
    match error {
        Error::Server(said) => refused(address, said),
        Error::Driver(DriverError::StmtParamsMismatch { .. }) => SqlError::invalid(chain(error)),
        // One that is said by its name does not come this far.
        Error::Driver(DriverError::LocalInfile(_)) => {
            SqlError::invalid("the statement would read a file beside the provider")
        }
        error => SqlError::Unavailable(format!("MySQL at `{address}`: {}", words(error))),
    }
}

/// Where a connection leads, and whether it still does.
#[derive(Debug)]
pub(crate) struct Place {
    address: String,
    is_over: Arc<AtomicBool>,
}

impl Place {
    pub(crate) fn new(address: &str, is_over: Arc<AtomicBool>) -> Self {
        Self {
            address: address.to_owned(),
            is_over,
        }
    }

    /// Why a statement did not do what it should, in the words of the interface. Takes note where the
    /// connection is over.
    pub(crate) fn error(&self, error: &Error) -> SqlError {
        if is_over(error) {
            self.is_over.store(true, Ordering::Relaxed);
        }
        sql_error(&self.address, error)
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// The server refuses, or is not there.
    Refused(Error),
    /// Nothing is heard of it.
    Silent(Duration),
}

impl NoConnection {
    /// What a component hears.
    pub(crate) fn for_component(&self, address: &str) -> SqlError {
        match self {
            Self::Refused(error) => sql_error(address, error),
            Self::Silent(_) => SqlError::Unavailable(self.for_operator(address)),
        }
    }

    /// The whole of it, in the server's own words.
    pub(crate) fn for_operator(&self, address: &str) -> String {
        match self {
            Self::Refused(Error::Server(said)) => server_words(address, said),
            Self::Refused(error) => {
                format!(
                    "could not connect to MySQL at `{address}`: {}",
                    words(error)
                )
            }
            Self::Silent(limit) => format!("MySQL at `{address}` did not answer within {limit:?}"),
        }
    }
}

fn server_words(address: &str, said: &ServerError) -> String {
    format!(
        "MySQL at `{address}`: {} ({}, error {})",
        said.message, said.state, said.code
    )
}

/// The error in one line; the client's own words repeat their causes.
fn words(error: &Error) -> String {
    match error {
        Error::Io(error) => chain(error),
        Error::Driver(error) => chain(error),
        error => error.to_string(),
    }
}

/// A statement ended the transaction that it was run in.
pub(crate) fn transaction_ended() -> SqlError {
    SqlError::other(
        "the statement ended its transaction: what was done in it before has taken effect or is undone, and no more of it can be committed or rolled back",
    )
}

/// Whether a statement cannot be prepared, though it can be run.
pub(crate) fn cannot_be_prepared(error: &Error) -> bool {
    matches!(error, Error::Server(said) if said.code == 1295)
}

/// Whether the server has no connection to spare, which may pass.
pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Server(said) if has_no_place(said.code))
}

fn has_no_place(code: u16) -> bool {
    matches!(code, 1040 | 1203 | 1226)
}

/// Whether a connection is of no more use, so that the next one to its address may be to another
/// server, or to the same that was started anew.
fn is_over(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Driver(DriverError::ConnectionClosed) => true,
        Error::Server(said) => hangs_up(said.code) || takes_no_writes(said),
        _ => false,
    }
}

/// Whether the server stops, or ended this connection.
fn hangs_up(code: u16) -> bool {
    matches!(code, 1053 | 1077 | 1079 | 1152 | 1184 | 1927 | 4031)
}

/// Whether the server was a primary and is a replica now. The first code is that of other options too.
fn takes_no_writes(said: &ServerError) -> bool {
    match said.code {
        1290 => said.message.contains("read-only") || said.message.contains("read_only"),
        code => code == 1836,
    }
}

fn refused(address: &str, said: &ServerError) -> SqlError {
    let words = server_words(address, said);
    let error = DbError {
        code: said.state.clone(),
        message: said.message.clone(),
        detail: Some(format!("error {}", said.code)),
        constraint: violation(said),
    };
    match said.code {
        // A deadlock, a row that was held too long, a row that is not as it was read.
        1213 | 1205 | 1020 | 3572 => SqlError::TryAgain(error),
        // Ended by its time, or by ourselves.
        1317 | 1969 | 3024 => SqlError::Timeout,
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 => {
            // The component hears no reason, so it is told here.
            tracing::warn!(why = words, "access denied");
            SqlError::AccessDenied
        }
        1049 => SqlError::NoSuchDatabase,
        code if has_no_place(code) => SqlError::Busy(words),
        code if hangs_up(code) => SqlError::Unavailable(words),
        _ if takes_no_writes(said) => SqlError::Unavailable(words),
        _ => SqlError::Failed(error),
    }
}

/// Which constraint; the server tells it in its message only.
fn violation(said: &ServerError) -> Option<Constraint> {
    let message = &said.message;
    let (kind, name) = match said.code {
        1022 | 1062 | 1169 | 1586 | 1859 => (ConstraintKind::Unique, last_between(message, '\'')),
        1216 | 1217 | 1451 | 1452 => {
            let name = message.split_once("CONSTRAINT ").map(|(_, tail)| tail);
            (
                ConstraintKind::ForeignKey,
                name.and_then(|tail| first_between(tail, '`')),
            )
        }
        1048 | 1364 => (ConstraintKind::NotNull, first_between(message, '\'')),
        4025 => (ConstraintKind::Check, first_between(message, '`')),
        3819 => (ConstraintKind::Check, first_between(message, '\'')),
        _ => return None,
    };
    Some(Constraint {
        kind,
        name: name.map(str::to_owned),
    })
}

fn first_between(text: &str, quote: char) -> Option<&str> {
    text.split(quote).nth(1)
}

fn last_between(text: &str, quote: char) -> Option<&str> {
    text.rsplit(quote).nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_no_writes_is_not_there() {
        for (code, message, is_there) in [
            (
                1290,
                "The MariaDB server is running with the --read-only option so it cannot execute this statement",
                false,
            ),
            (1836, "Running in read-only mode", false),
            (
                1290,
                "The MariaDB server is running with the --secure-file-priv option so it cannot execute this statement",
                true,
            ),
            // The component's own doing.
            (
                1792,
                "Cannot execute statement in a READ ONLY transaction",
                true,
            ),
        ] {
            let error = Error::Server(ServerError {
                code,
                message: message.to_owned(),
                state: "HY000".to_owned(),
            });
            assert_eq!(is_over(&error), !is_there, "{message}");
            let said = sql_error("db:3306", &error);
            let is_failed = matches!(said, SqlError::Failed(_));
            assert_eq!(is_failed, is_there, "{said:?}");
        }
    }

    #[test]
    fn a_connection_that_broke_is_not_looked_for_at_the_server() {
        let server = |code| {
            Error::Server(ServerError {
                code,
                message: String::new(),
                state: "HY000".to_owned(),
            })
        };
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let wrong = DriverError::StmtParamsMismatch {
            required: 1,
            supplied: 0,
        };
        for (error, is_lost) in [
            (Error::Io(reset.into()), true),
            (Error::Driver(DriverError::ConnectionClosed), true),
            (server(1927), true),
            // The component's own doing, and what passes.
            (Error::Driver(wrong), false),
            (server(1205), false),
            (server(1040), false),
        ] {
            let is_over = Arc::new(AtomicBool::new(false));
            let place = Place::new("db:3306", Arc::clone(&is_over));
            let said = place.error(&error);
            assert_eq!(is_over.load(Ordering::Relaxed), is_lost, "{said:?}");
        }
    }

    #[test]
    fn constraints_are_found_in_messages() {
        for (code, message, name) in [
            (
                1062,
                "Duplicate entry 'it's' for key 'one_code'",
                "one_code",
            ),
            (1048, "Column 'a' cannot be null", "a"),
            (
                4025,
                "CONSTRAINT `positive` failed for `db`.`t`",
                "positive",
            ),
            (3819, "Check constraint 'positive' is violated.", "positive"),
            (
                1452,
                "Cannot add or update a child row: a foreign key constraint fails (`db`.`t`, CONSTRAINT `parent` FOREIGN KEY (`b`) REFERENCES `p` (`a`))",
                "parent",
            ),
        ] {
            let said = ServerError {
                code,
                message: message.to_owned(),
                state: "23000".to_owned(),
            };
            let constraint = violation(&said).unwrap();
            assert_eq!(constraint.name.as_deref(), Some(name), "{message}");
        }
    }
}
