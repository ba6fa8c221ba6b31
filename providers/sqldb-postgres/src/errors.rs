//! What PostgreSQL says, in the words of the interface.

use lattice_postgres::tokio_postgres::error::DbError as Refusal;
use lattice_postgres::{Connection, PostgresError};
use lattice_provider_sdk::sql::{Constraint, ConstraintKind, DbError, SqlError};

/// Why there is no connection.
pub(crate) fn no_connection(error: &PostgresError) -> SqlError {
    if error.is_denial() {
        return denied(error);
    }
    if error.is_no_database() {
        return SqlError::NoSuchDatabase;
    }
    let too_many = error
        .code()
        .is_some_and(|code| code.code().starts_with("53"));
    match error {
        PostgresError::Busy { .. } => SqlError::Busy(error.words()),
        _ if too_many => SqlError::Busy(error.words()),
        _ => SqlError::Unavailable(error.words()),
    }
}

/// Why a statement did not do what it should.
pub(crate) fn no_success(error: &PostgresError) -> SqlError {
    match error {
        PostgresError::Refused(_) => error.db().map_or_else(
            || SqlError::other(error.words()),
            |refusal| refused(refusal, error),
        ),
        PostgresError::Silent { .. } => SqlError::Timeout,
        PostgresError::Unfit(_) => SqlError::invalid(error.words()),
        _ => SqlError::Unavailable(error.words()),
    }
}

fn denied(error: &PostgresError) -> SqlError {
    // The component hears no reason, so it is told here.
    let why = error.words();
    tracing::warn!(why, "access denied");
    SqlError::AccessDenied
}

fn refused(refusal: &Refusal, error: &PostgresError) -> SqlError {
    let code = refusal.code().code();
    let said = DbError {
        code: code.to_owned(),
        message: refusal.message().to_owned(),
        detail: refusal.detail().or(refusal.hint()).map(str::to_owned),
        constraint: violation(refusal),
    };
    match code {
        // A lock that was not there in time, and a plan that went with its table.
        "55P03" => SqlError::TryAgain(said),
        "0A000" if is_plan_gone(refusal) => SqlError::TryAgain(said),
        "57014" => SqlError::Timeout,
        "3D000" => SqlError::NoSuchDatabase,
        "53100" => SqlError::Unavailable(error.words()),
        _ if code.starts_with("40") => SqlError::TryAgain(said),
        _ if code.starts_with("53") => SqlError::Busy(error.words()),
        _ if error.is_denial() => denied(error),
        _ => SqlError::Failed(said),
    }
}

fn violation(refusal: &Refusal) -> Option<Constraint> {
    let kind = match refusal.code().code() {
        "23505" => ConstraintKind::Unique,
        "23503" => ConstraintKind::ForeignKey,
        "23502" => ConstraintKind::NotNull,
        "23514" => ConstraintKind::Check,
        code if code.starts_with("23") => ConstraintKind::Other,
        _ => return None,
    };
    let name = refusal.constraint().or(refusal.column());
    Some(Constraint {
        kind,
        name: name.map(str::to_owned),
    })
}

/// A plan that was made for a table that has changed since.
fn is_plan_gone(refusal: &Refusal) -> bool {
    refusal.message().contains("cached plan")
}

/// Has a statement prepared anew when it is wanted next, if it may be why it was refused that it was
/// prepared before its tables were altered. Says whether it was so.
///
/// With a statement go the types of its values. So it is not only its plan that grows old: the server
/// goes on reading a value as the `integer` that its column was, though it is a `bigint` by now.
pub(crate) fn forget_stale(
    connection: &Connection,
    text: &str,
    is_known: bool,
    error: &PostgresError,
) -> bool {
    let is_stale = is_known && error.db().is_some_and(may_be_stale);
    if is_stale {
        connection.forget(text);
    }
    is_stale
}

fn may_be_stale(refusal: &Refusal) -> bool {
    match refusal.code().code() {
        "0A000" => is_plan_gone(refusal),
        // The statement is not there any more.
        "26000" => true,
        // Rights are looked at each time.
        "42501" => false,
        // Values that are none of the type that the statement gave them: out of its range, or no text
        // of it.
        "22003" | "22007" | "22008" | "22P02" => true,
        code => code.starts_with("42"),
    }
}

/// A commit of a transaction in which a statement failed.
pub(crate) fn aborted() -> SqlError {
    SqlError::Failed(DbError {
        code: "25P02".to_owned(),
        message: "a statement of the transaction failed, so it was rolled back".to_owned(),
        detail: None,
        constraint: None,
    })
}
