//! What an SQL provider does for one link.

use tokio::time::Instant;

use super::{Column, DbError, Dialect, Done, Isolation, SqlError, Statement, Value};
use crate::NoLink;

/// The values of one row.
pub type Row = Vec<Value>;

/// What a session is wanted for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// One statement, which is a transaction of its own.
    One(&'a Statement),
    /// A transaction, which has begun when the session is there.
    Transaction(Isolation),
}

/// What becomes of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// It takes effect.
    Commit,
    /// It is undone.
    Rollback,
    /// A point to go back to is set.
    Savepoint,
    /// The point is not needed any more.
    Release,
    /// All since the point is undone.
    Undo,
}

impl Control {
    /// The statement that does it, the same in all dialects.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Commit => "COMMIT",
            Self::Rollback => "ROLLBACK",
            Self::Savepoint => "SAVEPOINT lattice_many",
            Self::Release => "RELEASE SAVEPOINT lattice_many",
            Self::Undo => "ROLLBACK TO SAVEPOINT lattice_many",
        }
    }
}

/// Some of the rows that a query has.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The rows.
    pub rows: Vec<Row>,
    /// Whether there are surely no more; it may take an empty batch to find out.
    pub is_last: bool,
}

/// The databases behind one link.
pub trait Backend: std::fmt::Debug + Send + Sync + 'static {
    /// One connection in use.
    type Session: Session;

    /// What the statements are written in.
    fn dialect(&self) -> Dialect;

    /// A session with the database of the link, or with another one by its real name.
    fn connect(
        &self,
        db: Option<&str>,
        purpose: Purpose<'_>,
        until: Instant,
    ) -> impl Future<Output = Result<Self::Session, SqlError>> + Send;
}

/// One connection in use: a transaction, a query with rows to come, or one statement.
///
/// It is used by one call at a time. Every operation ends by `until`. When a session is dropped in
/// the middle of an operation, or before its transaction was committed or rolled back, what it did
/// is undone, and what it still does is cancelled: no later session may meet any of it. So is one
/// whose operation ended with [`SqlError::Timeout`].
///
/// A statement may take its transaction with it. Every further operation is
/// [`SqlError::TransactionGone`] then, but a rollback of what is rolled back already.
pub trait Session: std::fmt::Debug + Send + 'static {
    /// Runs a statement whose rows are then taken by [`Session::next`]; there is at most one such
    /// statement at a time. A statement without rows has no columns.
    fn query(
        &mut self,
        statement: &Statement,
        values: Vec<Value>,
        until: Instant,
    ) -> impl Future<Output = Result<Vec<Column>, SqlError>> + Send;

    /// The next rows: at most `rows` of them, and none after they have reached `bytes`.
    fn next(
        &mut self,
        rows: usize,
        bytes: usize,
        until: Instant,
    ) -> impl Future<Output = Result<Batch, SqlError>> + Send;

    /// Gives up the rows that are left.
    fn stop(&mut self, until: Instant) -> impl Future<Output = Result<(), SqlError>> + Send;

    /// Runs a statement for its effect.
    fn execute(
        &mut self,
        statement: &Statement,
        values: Vec<Value>,
        until: Instant,
    ) -> impl Future<Output = Result<Done, SqlError>> + Send;

    /// Runs a statement for each row, in their order, up to the first error. What is affected is
    /// the sum. Called inside a transaction only.
    fn execute_many(
        &mut self,
        statement: &Statement,
        rows: Vec<Vec<Value>>,
        until: Instant,
    ) -> impl Future<Output = Result<Done, SqlError>> + Send {
        async move {
            let mut sum = Done {
                affected: 0,
                last_insert_id: None,
            };
            for values in rows {
                let done = self.execute(statement, values, until).await?;
                sum.affected += done.affected;
                sum.last_insert_id = done.last_insert_id.or(sum.last_insert_id);
            }
            Ok(sum)
        }
    }

    /// Does with the transaction what is said. A commit that does not take effect is an error.
    fn control(
        &mut self,
        control: Control,
        until: Instant,
    ) -> impl Future<Output = Result<(), SqlError>> + Send;
}

impl SqlError {
    /// A failure in words.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    /// The call is wrong.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::InvalidParameter(text.into())
    }

    /// What happened, for a log.
    #[must_use]
    pub fn text(&self) -> String {
        let said = |error: &DbError| format!("{} ({})", error.message, error.code);
        match self {
            Self::NoSuchDatabase => "there is no such database".to_owned(),
            Self::AccessDenied => "access denied".to_owned(),
            Self::Failed(error) | Self::TryAgain(error) => said(error),
            Self::TransactionGone => "there is no such transaction any more".to_owned(),
            Self::CursorGone => "there is no such cursor any more".to_owned(),
            Self::Timeout => "out of time".to_owned(),
            Self::InvalidParameter(text)
            | Self::Busy(text)
            | Self::Unavailable(text)
            | Self::Other(text) => text.clone(),
        }
    }

    /// Whether a session that said so is of no more use.
    pub(crate) fn ends_session(&self) -> bool {
        matches!(
            self,
            Self::TryAgain(_) | Self::Timeout | Self::Unavailable(_) | Self::AccessDenied
        )
    }

    /// Whether it is the provider's operator who should hear of it.
    pub(crate) fn concerns_operator(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::Busy(_) | Self::Other(_) | Self::AccessDenied
        )
    }
}

impl From<NoLink> for SqlError {
    fn from(error: NoLink) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Waits for work until `until`.
///
/// # Errors
///
/// That of the work, or [`SqlError::Timeout`].
pub async fn in_time<T>(
    until: Instant,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    let done = tokio::time::timeout_at(until, work).await;
    done.unwrap_or(Err(SqlError::Timeout))
}

/// How much memory a value takes, roughly.
pub(crate) fn size_of(value: &Value) -> usize {
    let content = match value {
        Value::Null | Value::Boolean(_) | Value::Int(_) | Value::Float(_) => 0,
        Value::Decimal(text)
        | Value::Text(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Timestamp(text)
        | Value::Uuid(text)
        | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Other((name, text)) => name.len() + text.len(),
    };
    content + 8
}

/// How much memory a row takes, roughly.
#[must_use]
pub(crate) fn size_of_row(row: &Row) -> usize {
    row.iter().map(size_of).sum::<usize>() + 8
}
