//! What `lattice:sql@0.1.0` passes.

use bytes::Bytes;

/// `value`: one that a statement is given, or a cell of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// None.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A whole number.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// A decimal number, digit by digit.
    Decimal(String),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Bytes),
    /// A day.
    Date(String),
    /// A time of day.
    Time(String),
    /// A point in time.
    Timestamp(String),
    /// A UUID.
    Uuid(String),
    /// A JSON text.
    Json(String),
    /// The name of another type, and a text of it.
    Other((String, String)),
}

/// `column`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// What the database calls its type.
    pub type_name: String,
}

/// `rows`: a page of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, cell by cell.
    pub rows: Vec<Vec<Value>>,
    /// Where the next page is; `None` after the last one.
    pub cursor: Option<String>,
}

/// `done`: what a statement without rows has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// How many rows it was about.
    pub affected: u64,
    /// The last id that the database gave.
    pub last_insert_id: Option<i64>,
}

/// `isolation` of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The database's own.
    Default,
    /// It sees what is committed.
    ReadCommitted,
    /// It sees the same again.
    RepeatableRead,
    /// As if it were alone.
    Serializable,
}

/// `constraint-kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// Only one row may have the value.
    Unique,
    /// The other row has to be there.
    ForeignKey,
    /// There has to be a value.
    NotNull,
    /// A condition of the table's.
    Check,
    /// Any other.
    Other,
}

/// `constraint`: one that a statement would have broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// Of which kind it is.
    pub kind: ConstraintKind,
    /// What it is called, where that is known.
    pub name: Option<String>,
}

/// `db-error`: what the database says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbError {
    /// Its code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// More of that.
    pub detail: Option<String>,
    /// The constraint that would have been broken.
    pub constraint: Option<Constraint>,
}

/// `error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// There is no such database.
    NoSuchDatabase,
    /// The caller may not use it.
    AccessDenied,
    /// A value that the statement cannot take.
    InvalidParameter(String),
    /// The statement failed.
    Failed(DbError),
    /// It failed, and may succeed when it is tried again.
    TryAgain(DbError),
    /// There is no such transaction any more.
    TransactionGone,
    /// There is no such cursor any more.
    CursorGone,
    /// It took too long.
    Timeout,
    /// There are as many at once as may be.
    Busy(String),
    /// The database cannot be reached, or does not do its work.
    Unavailable(String),
    /// Anything else, in words.
    Other(String),
}
