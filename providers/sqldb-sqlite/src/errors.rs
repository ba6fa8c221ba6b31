//! What SQLite says, in the words of the interface.

use lattice_provider_sdk::sql::{Constraint, ConstraintKind, DbError, SqlError};
use rusqlite::ffi;
use rusqlite::{Error, ErrorCode};

/// What went wrong with a statement.
pub(crate) fn sql_error(error: &Error) -> SqlError {
    let (failure, message) = match error {
        Error::SqliteFailure(failure, message) => (failure, message.clone()),
        Error::SqlInputError { error, msg, .. } => (error, Some(msg.clone())),
        Error::Utf8Error(column, _) => {
            let what = format!("the text in column {column} is no UTF-8; cast it to a blob");
            return SqlError::Failed(db_error("SQLITE_MISMATCH", what));
        }
        Error::ToSqlConversionFailure(cause) => return SqlError::invalid(cause.to_string()),
        other => return SqlError::other(other.to_string()),
    };
    let message = message.unwrap_or_else(|| failure.to_string());
    let said = db_error(code_name(failure.extended_code), message);
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => SqlError::TryAgain(said),
        ErrorCode::OperationInterrupted => SqlError::Timeout,
        ErrorCode::AuthorizationForStatementDenied => {
            tracing::warn!(why = said.message, "access denied");
            SqlError::AccessDenied
        }
        ErrorCode::ConstraintViolation => SqlError::Failed(DbError {
            constraint: Some(violation(failure.extended_code, &said.message)),
            ..said
        }),
        ErrorCode::SystemIoFailure
        | ErrorCode::DatabaseCorrupt
        | ErrorCode::DiskFull
        | ErrorCode::CannotOpen
        | ErrorCode::FileLockingProtocolFailed
        | ErrorCode::NotADatabase => {
            SqlError::Unavailable(format!("SQLite: {} ({})", said.message, said.code))
        }
        _ => SqlError::Failed(said),
    }
}

/// Nobody let the writer go in time.
pub(crate) fn writer_is_busy(waited: std::time::Duration) -> SqlError {
    let what = format!("another transaction has been writing for {waited:?}");
    SqlError::TryAgain(db_error("SQLITE_BUSY", what))
}

/// The file of a connection is not the one behind its path any more.
pub(crate) fn gone() -> SqlError {
    let what =
        "the file of the database was deleted or replaced, and what was written to it is lost";
    SqlError::Unavailable(what.to_owned())
}

/// It is not known which file is there.
pub(crate) fn not_seen(error: &std::io::Error) -> SqlError {
    SqlError::Unavailable(format!(
        "the file of the database cannot be looked at: {error}"
    ))
}

/// The file that was there before is not closed yet.
pub(crate) fn in_use() -> SqlError {
    let what = "the file of the database was deleted or replaced, and what was begun in the old one has \
                not ended yet";
    SqlError::Unavailable(what.to_owned())
}

fn db_error(code: impl Into<String>, message: String) -> DbError {
    DbError {
        code: code.into(),
        message,
        detail: None,
        constraint: None,
    }
}

/// Which constraint; SQLite tells it behind the colon of its message, a check by its name and the
/// others by their columns.
fn violation(extended_code: i32, message: &str) -> Constraint {
    let kind = match extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => ConstraintKind::Unique,
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ConstraintKind::ForeignKey,
        ffi::SQLITE_CONSTRAINT_NOTNULL => ConstraintKind::NotNull,
        ffi::SQLITE_CONSTRAINT_CHECK => ConstraintKind::Check,
        _ => ConstraintKind::Other,
    };
    let name = message.split_once(": ").map(|(_, name)| name.to_owned());
    Constraint { kind, name }
}

/// The name of a result code, as SQLite's own pages have it.
fn code_name(extended_code: i32) -> String {
    const NAMES: [(i32, &str); 18] = [
        (ffi::SQLITE_CONSTRAINT_UNIQUE, "SQLITE_CONSTRAINT_UNIQUE"),
        (
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
            "SQLITE_CONSTRAINT_PRIMARYKEY",
        ),
        (ffi::SQLITE_CONSTRAINT_ROWID, "SQLITE_CONSTRAINT_ROWID"),
        (
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY,
            "SQLITE_CONSTRAINT_FOREIGNKEY",
        ),
        (ffi::SQLITE_CONSTRAINT_NOTNULL, "SQLITE_CONSTRAINT_NOTNULL"),
        (ffi::SQLITE_CONSTRAINT_CHECK, "SQLITE_CONSTRAINT_CHECK"),
        (ffi::SQLITE_CONSTRAINT_TRIGGER, "SQLITE_CONSTRAINT_TRIGGER"),
        (ffi::SQLITE_BUSY_SNAPSHOT, "SQLITE_BUSY_SNAPSHOT"),
        (ffi::SQLITE_ERROR, "SQLITE_ERROR"),
        (ffi::SQLITE_BUSY, "SQLITE_BUSY"),
        (ffi::SQLITE_LOCKED, "SQLITE_LOCKED"),
        (ffi::SQLITE_READONLY, "SQLITE_READONLY"),
        (ffi::SQLITE_FULL, "SQLITE_FULL"),
        (ffi::SQLITE_CANTOPEN, "SQLITE_CANTOPEN"),
        (ffi::SQLITE_TOOBIG, "SQLITE_TOOBIG"),
        (ffi::SQLITE_MISMATCH, "SQLITE_MISMATCH"),
        (ffi::SQLITE_RANGE, "SQLITE_RANGE"),
        (ffi::SQLITE_NOTADB, "SQLITE_NOTADB"),
    ];
    let known = NAMES.iter().find(|(code, _)| *code == extended_code);
    known.map_or_else(
        || format!("SQLITE_{extended_code}"),
        |(_, name)| (*name).to_owned(),
    )
}
