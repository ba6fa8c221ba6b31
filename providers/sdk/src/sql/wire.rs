//! What the functions pass, as it stands on the wire.

use super::{
    Column, Constraint, ConstraintKind, DbError, Dialect, Done, Isolation, Rows, SqlError, Value,
};
use crate::wire::{record, variant};

variant!(Value {
    0 Null,
    1 Boolean(value),
    2 Int(value),
    3 Float(value),
    4 Decimal(text),
    5 Text(text),
    6 Bytes(bytes),
    7 Date(text),
    8 Time(text),
    9 Timestamp(text),
    10 Uuid(text),
    11 Json(text),
    12 Other(typed),
});

record!(Column { name, type_name });
record!(Rows {
    columns,
    rows,
    cursor
});
record!(Done {
    affected,
    last_insert_id
});

variant!(Dialect {
    0 Postgres,
    1 Mysql,
    2 Sqlite,
});

variant!(Isolation {
    0 Default,
    1 ReadCommitted,
    2 RepeatableRead,
    3 Serializable,
});

variant!(ConstraintKind {
    0 Unique,
    1 ForeignKey,
    2 NotNull,
    3 Check,
    4 Other,
});

record!(Constraint { kind, name });
record!(DbError {
    code,
    message,
    detail,
    constraint
});

variant!(SqlError {
    0 NoSuchDatabase,
    1 AccessDenied,
    2 InvalidParameter(why),
    3 Failed(error),
    4 TryAgain(error),
    5 TransactionGone,
    6 CursorGone,
    7 Timeout,
    8 Busy(why),
    9 Unavailable(why),
    10 Other(why),
});
