//! What the functions pass, as it stands on the wire.

use lattice_core::values::sql as plain;

use super::{
    Column, Constraint, ConstraintKind, DbError, Dialect, Done, Isolation, Rows, SqlError, Value,
};
use crate::wire::{record, variant};

variant!(Value as plain::Value {
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

record!(Column as plain::Column { name, type_name });
record!(Rows as plain::Rows {
    columns,
    rows,
    cursor
});
record!(Done as plain::Done {
    affected,
    last_insert_id
});

variant!(Dialect {
    0 Postgres,
    1 Mysql,
    2 Sqlite,
});

variant!(Isolation as plain::Isolation {
    0 Default,
    1 ReadCommitted,
    2 RepeatableRead,
    3 Serializable,
});

variant!(ConstraintKind as plain::ConstraintKind {
    0 Unique,
    1 ForeignKey,
    2 NotNull,
    3 Check,
    4 Other,
});

record!(Constraint as plain::Constraint { kind, name });
record!(DbError as plain::DbError {
    code,
    message,
    detail,
    constraint
});

variant!(SqlError as plain::Error {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::tests::same;

    fn values() -> Vec<plain::Value> {
        let text = || "t".to_owned();
        vec![
            plain::Value::Null,
            plain::Value::Boolean(true),
            plain::Value::Int(i64::MIN),
            plain::Value::Float(-0.5),
            plain::Value::Decimal(text()),
            plain::Value::Text(text()),
            plain::Value::Bytes(Bytes::from_static(&[0, 255])),
            plain::Value::Date(text()),
            plain::Value::Time(text()),
            plain::Value::Timestamp(text()),
            plain::Value::Uuid(text()),
            plain::Value::Json(text()),
            plain::Value::Other(("name".to_owned(), text())),
        ]
    }

    #[test]
    fn what_is_handed_over_is_the_same_as_on_the_wire() {
        same::<Rows>(plain::Rows {
            columns: vec![plain::Column {
                name: "a".to_owned(),
                type_name: "b".to_owned(),
            }],
            rows: vec![values(), Vec::new()],
            cursor: Some("c".to_owned()),
        });
        same::<Done>(plain::Done {
            affected: 7,
            last_insert_id: Some(-1),
        });
        for isolation in [
            plain::Isolation::Default,
            plain::Isolation::ReadCommitted,
            plain::Isolation::RepeatableRead,
            plain::Isolation::Serializable,
        ] {
            same::<Isolation>(isolation);
        }
    }

    #[test]
    fn errors_that_are_handed_over_are_the_same_as_on_the_wire() {
        let text = || "t".to_owned();
        let said = |kind| plain::DbError {
            code: text(),
            message: "m".to_owned(),
            detail: Some("d".to_owned()),
            constraint: Some(plain::Constraint { kind, name: None }),
        };
        for error in [
            plain::Error::NoSuchDatabase,
            plain::Error::AccessDenied,
            plain::Error::InvalidParameter(text()),
            plain::Error::Failed(said(plain::ConstraintKind::Unique)),
            plain::Error::Failed(said(plain::ConstraintKind::ForeignKey)),
            plain::Error::Failed(said(plain::ConstraintKind::NotNull)),
            plain::Error::TryAgain(said(plain::ConstraintKind::Check)),
            plain::Error::TryAgain(said(plain::ConstraintKind::Other)),
            plain::Error::TransactionGone,
            plain::Error::CursorGone,
            plain::Error::Timeout,
            plain::Error::Busy(text()),
            plain::Error::Unavailable(text()),
            plain::Error::Other(text()),
        ] {
            same::<SqlError>(error);
        }
    }
}
