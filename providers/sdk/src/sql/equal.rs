//! Equality of the generated types. The generator gives it to enums only, and would give it to
//! them twice if it were asked for all.

use super::{Column, Constraint, DbError, Done, Rows, SqlError, Value};

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Boolean(a), Self::Boolean(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Decimal(a), Self::Decimal(b))
            | (Self::Text(a), Self::Text(b))
            | (Self::Date(a), Self::Date(b))
            | (Self::Time(a), Self::Time(b))
            | (Self::Timestamp(a), Self::Timestamp(b))
            | (Self::Uuid(a), Self::Uuid(b))
            | (Self::Json(a), Self::Json(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Other(a), Self::Other(b)) => a == b,
            _ => false,
        }
    }
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.type_name == other.type_name
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.columns == other.columns && self.rows == other.rows && self.cursor == other.cursor
    }
}

impl PartialEq for Done {
    fn eq(&self, other: &Self) -> bool {
        self.affected == other.affected && self.last_insert_id == other.last_insert_id
    }
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name
    }
}

impl PartialEq for DbError {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
            && self.message == other.message
            && self.detail == other.detail
            && self.constraint == other.constraint
    }
}

impl PartialEq for SqlError {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::InvalidParameter(a), Self::InvalidParameter(b))
            | (Self::Busy(a), Self::Busy(b))
            | (Self::Unavailable(a), Self::Unavailable(b))
            | (Self::Other(a), Self::Other(b)) => a == b,
            (Self::Failed(a), Self::Failed(b)) | (Self::TryAgain(a), Self::TryAgain(b)) => a == b,
            // The other cases carry nothing.
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b) && a.is_bare(),
        }
    }
}

impl SqlError {
    fn is_bare(&self) -> bool {
        matches!(
            self,
            Self::NoSuchDatabase
                | Self::AccessDenied
                | Self::TransactionGone
                | Self::CursorGone
                | Self::Timeout
        )
    }
}
