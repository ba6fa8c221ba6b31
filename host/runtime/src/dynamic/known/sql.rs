//! `lattice:sql@0.1.0`.

use bytes::Bytes;
use lattice_core::values::sql as plain;

use super::super::lanes::Define;
use super::{Import, cases, lane, record, variant};

variant! {
    /// `value`.
    Value as plain::Value {
        0 Null = "null",
        1 Boolean(bool) = "boolean",
        2 Int(i64) = "int",
        3 Float(f64) = "float",
        4 Decimal(String) = "decimal",
        5 Text(String) = "text",
        6 Bytes(Bytes) = "bytes",
        7 Date(String) = "date",
        8 Time(String) = "time",
        9 Timestamp(String) = "timestamp",
        10 Uuid(String) = "uuid",
        11 Json(String) = "json",
        12 Other((String, String)) = "other",
    }
}

record! {
    /// `column`.
    Column as plain::Column { name: String = "name", type_name: String = "type-name" }
}

record! {
    /// `rows`.
    Rows as plain::Rows {
        columns: Vec<Column> = "columns",
        rows: Vec<Vec<Value>> = "rows",
        cursor: Option<String> = "cursor",
    }
}

record! {
    /// `done`.
    Done as plain::Done {
        affected: u64 = "affected",
        last_insert_id: Option<i64> = "last-insert-id",
    }
}

cases! {
    /// `isolation`.
    Isolation as plain::Isolation {
        0 Default = "default",
        1 ReadCommitted = "read-committed",
        2 RepeatableRead = "repeatable-read",
        3 Serializable = "serializable",
    }
}

cases! {
    /// `constraint-kind`.
    ConstraintKind as plain::ConstraintKind {
        0 Unique = "unique",
        1 ForeignKey = "foreign-key",
        2 NotNull = "not-null",
        3 Check = "check",
        4 Other = "other",
    }
}

record! {
    /// `constraint`.
    Constraint as plain::Constraint { kind: ConstraintKind = "kind", name: Option<String> = "name" }
}

record! {
    /// `db-error`.
    DbError as plain::DbError {
        code: String = "code",
        message: String = "message",
        detail: Option<String> = "detail",
        constraint: Option<Constraint> = "constraint",
    }
}

variant! {
    /// `error`.
    Error as plain::Error {
        0 NoSuchDatabase = "no-such-database",
        1 AccessDenied = "access-denied",
        2 InvalidParameter(String) = "invalid-parameter",
        3 Failed(DbError) = "failed",
        4 TryAgain(DbError) = "try-again",
        5 TransactionGone = "transaction-gone",
        6 CursorGone = "cursor-gone",
        7 Timeout = "timeout",
        8 Busy(String) = "busy",
        9 Unavailable(String) = "unavailable",
        10 Other(String) = "other",
    }
}

/// Database, transaction, statement, values.
type Statement<V> = (String, Option<String>, String, V);
/// The same with the most rows.
type Query = (String, Option<String>, String, Vec<Value>, u32);

/// The lane of a function.
pub(super) fn find(function: &str, import: &Import) -> Option<Define> {
    match function {
        "query" => lane::<Query, Rows, Error>(import),
        "fetch" => lane::<(String, String, u32), Rows, Error>(import),
        "close" => lane::<(String, String), (), Error>(import),
        "execute" => lane::<Statement<Vec<Value>>, Done, Error>(import),
        "execute-many" => lane::<Statement<Vec<Vec<Value>>>, Done, Error>(import),
        "begin" => lane::<(String, Isolation, u32), String, Error>(import),
        "commit" | "rollback" => lane::<(String, String), (), Error>(import),
        _ => None,
    }
}
