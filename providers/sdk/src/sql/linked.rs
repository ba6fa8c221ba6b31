//! The calls of one link.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::copies::Copy;
use super::held::{AsyncWork, Held, Holding, Slot, undo, undo_after};
use super::limits::{MAX_PAGE_ROWS, USUAL_PAGE_ROWS};
use super::reading::{Page, Run};
use super::writing::undone;
use super::{
    Backend, Control, Databases, Dialect, Done, Isolation, Limits, Purpose, Rows, Session,
    SqlError, Statement, Value,
};

/// How often held sessions are looked at.
const SWEEP: Duration = Duration::from_millis(200);
/// How long what is left of a query may be passed over when its cursor is closed, which keeps its
/// connection; after that it is broken off.
const CLOSE_LIMIT: Duration = Duration::from_millis(250);

/// A link with its backend and what is held for its component.
#[derive(Debug)]
pub(super) struct Linked<B: Backend> {
    pub(super) backend: Arc<B>,
    databases: Databases,
    limits: Limits,
    /// The places for transactions, and for cursors outside of them, that are not taken.
    transactions: Arc<Semaphore>,
    cursors: Arc<Semaphore>,
    held: Arc<Held<B::Session>>,
    copy: Copy,
    sweeper: AbortHandle,
}

impl<B: Backend> Drop for Linked<B> {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

impl<B: Backend> Linked<B> {
    pub(super) fn new(backend: Arc<B>, databases: Databases, limits: Limits, copy: Copy) -> Self {
        let held = Arc::new(Held::new());
        let swept = Arc::clone(&held);
        let sweeper = tokio::spawn(async move {
            loop {
                swept.not_empty().await;
                tokio::time::sleep(SWEEP).await;
                swept.sweep().await;
            }
        });
        Self {
            backend,
            databases,
            transactions: Arc::new(Semaphore::new(limits.max_transactions)),
            cursors: Arc::new(Semaphore::new(limits.max_cursors)),
            limits,
            held,
            copy,
            sweeper: sweeper.abort_handle(),
        }
    }

    /// Rolls back what is open.
    pub(super) async fn end(&self) {
        self.held.end().await;
    }

    pub(super) fn dialect_of(&self, db: &str) -> Result<Dialect, SqlError> {
        self.databases.find(db)?;
        Ok(self.backend.dialect())
    }

    fn read(&self, text: &str, values: usize, tx: Option<&str>) -> Result<Statement, SqlError> {
        let statement = Statement::read(text, self.backend.dialect())?;
        statement.check(values, tx.is_some())?;
        Ok(statement)
    }

    /// The transaction that a call names, if it is one of the database.
    fn transaction(&self, db: Option<&str>, tx: &str) -> Result<Arc<Slot<B::Session>>, SqlError> {
        let slot = self.held.find(tx).filter(|slot| {
            slot.holding == Holding::Transaction && slot.db.as_deref() == db && is_transaction(tx)
        });
        slot.ok_or(SqlError::TransactionGone)
    }

    /// Works in a transaction.
    async fn within<T>(
        &self,
        slot: &Arc<Slot<B::Session>>,
        until: Instant,
        work: impl AsyncWork<B::Session, T>,
    ) -> Result<T, SqlError> {
        let now = Instant::now();
        if now >= slot.ends {
            return Err(SqlError::TransactionGone);
        }
        slot.with(until, work).await
    }

    pub(super) async fn query(
        &self,
        db: &str,
        tx: Option<&str>,
        text: &str,
        values: Vec<Value>,
        max_rows: u32,
        until: Instant,
    ) -> Result<Rows, SqlError> {
        let db = self.databases.find(db)?;
        let statement = self.read(text, values.len(), tx)?;
        let name = self.copy.new_name("cursor")?;
        let work = Query {
            name: &name,
            statement: &statement,
            values,
            rows: page_rows(max_rows),
        };
        if let Some(tx) = tx {
            let slot = self.transaction(db, tx)?;
            let page = self.within(&slot, until, work).await?;
            if !page.is_last {
                self.held.put(&name, slot);
            }
            return Ok(named(page, name));
        }
        let (page, run) = match statement.reads_only() {
            true => self.look(db, work, until).await?,
            false => self.write(db, work, until).await?,
        };
        if !page.is_last {
            self.hold_cursor(&name, db, run);
        }
        Ok(named(page, name))
    }

    /// Runs a statement that only reads.
    async fn look(
        &self,
        db: Option<&str>,
        work: Query<'_>,
        until: Instant,
    ) -> Result<(Page, Run<B::Session>), SqlError> {
        let purpose = Purpose::One(work.statement);
        let mut run = Run::new(self.backend.connect(db, purpose, until).await?);
        let page = work.run(&mut run, until).await?;
        if !page.is_last {
            run.occupy(self.place_for_cursor()?);
        }
        Ok((page, run))
    }

    pub(super) fn place_for_cursor(&self) -> Result<OwnedSemaphorePermit, SqlError> {
        let place = Arc::clone(&self.cursors).try_acquire_owned();
        place.map_err(|_| {
            let most = self.limits.max_cursors;
            SqlError::Busy(format!(
                "{most} cursors are open, which is the most that the link allows (`max_cursors`)"
            ))
        })
    }

    fn too_many_transactions(&self) -> SqlError {
        let most = self.limits.max_transactions;
        SqlError::Busy(format!(
            "{most} transactions are open, which is the most that the link allows (`max_transactions`)"
        ))
    }

    fn hold_cursor(&self, name: &str, db: Option<&str>, run: Run<B::Session>) {
        let (lasts, idle) = (self.limits.cursor, self.limits.cursor_idle);
        let slot = Slot::new(Holding::Cursor, db, run, lasts, idle);
        self.held.put(name, Arc::new(slot));
    }

    /// The session that a cursor reads from.
    fn cursor(&self, db: Option<&str>, name: &str) -> Result<Arc<Slot<B::Session>>, SqlError> {
        let slot = self.held.find(name);
        let slot = slot.filter(|slot| slot.db.as_deref() == db && !is_transaction(name));
        slot.ok_or(SqlError::CursorGone)
    }

    pub(super) async fn fetch(
        &self,
        db: &str,
        cursor: String,
        max_rows: u32,
        until: Instant,
    ) -> Result<Rows, SqlError> {
        let slot = self.cursor(self.databases.find(db)?, &cursor)?;
        let work = Fetch {
            name: &cursor,
            rows: page_rows(max_rows),
        };
        let page = slot.with(until, work).await;
        // To who fetches, the end of a transaction is the end of its cursor.
        let page = page.map_err(|error| match error {
            SqlError::TransactionGone => SqlError::CursorGone,
            other => other,
        });
        if !matches!(&page, Ok(page) if !page.is_last) {
            self.done_with(&slot, &cursor);
        }
        Ok(named(page?, cursor))
    }

    /// Forgets a cursor, with its session if that is its own.
    fn done_with(&self, slot: &Arc<Slot<B::Session>>, cursor: &str) {
        match slot.holding {
            Holding::Cursor => self.held.remove(slot),
            Holding::Transaction => self.held.forget(cursor),
        }
    }

    pub(super) async fn close(
        &self,
        db: &str,
        cursor: &str,
        until: Instant,
    ) -> Result<(), SqlError> {
        let Ok(slot) = self.cursor(self.databases.find(db)?, cursor) else {
            return Ok(());
        };
        let is_alone = slot.holding == Holding::Cursor;
        let until = match is_alone {
            true => until.min(Instant::now() + CLOSE_LIMIT),
            false => until,
        };
        let closed = slot.with(until, Close { name: cursor }).await;
        self.done_with(&slot, cursor);
        match closed {
            Err(SqlError::TransactionGone | SqlError::CursorGone) => Ok(()),
            Err(SqlError::Timeout) if is_alone => {
                // Another call may be at it still, with the connection.
                slot.give_up();
                Ok(())
            }
            closed => closed,
        }
    }

    pub(super) async fn execute(
        &self,
        db: &str,
        tx: Option<&str>,
        text: &str,
        values: Vec<Value>,
        until: Instant,
    ) -> Result<Done, SqlError> {
        let db = self.databases.find(db)?;
        let statement = self.read(text, values.len(), tx)?;
        if let Some(tx) = tx {
            let slot = self.transaction(db, tx)?;
            let statement = &statement;
            return self
                .within(&slot, until, Execute { statement, values })
                .await;
        }
        let purpose = Purpose::One(&statement);
        let mut session = self.backend.connect(db, purpose, until).await?;
        session.execute(&statement, values, until).await
    }

    pub(super) async fn execute_many(
        &self,
        db: &str,
        tx: Option<&str>,
        text: &str,
        rows: Vec<Vec<Value>>,
        until: Instant,
    ) -> Result<Done, SqlError> {
        let db = self.databases.find(db)?;
        let statement = Statement::read(text, self.backend.dialect())?;
        for row in &rows {
            statement.check(row.len(), true)?;
        }
        if rows.is_empty() {
            return Ok(Done {
                affected: 0,
                last_insert_id: None,
            });
        }
        let statement = &statement;
        if let Some(tx) = tx {
            let slot = self.transaction(db, tx)?;
            return self.within(&slot, until, Many { statement, rows }).await;
        }
        let purpose = Purpose::Transaction(Isolation::Default);
        let mut session = self.backend.connect(db, purpose, until).await?;
        match session.execute_many(statement, rows, until).await {
            Ok(done) => {
                session.control(Control::Commit, until).await?;
                Ok(done)
            }
            Err(error) => Err(undone(Run::new(session), error).await),
        }
    }

    pub(super) async fn begin(
        &self,
        db: &str,
        isolation: Isolation,
        timeout_ms: u32,
        until: Instant,
    ) -> Result<String, SqlError> {
        let db = self.databases.find(db)?;
        if self.transactions.available_permits() == 0 {
            return Err(self.too_many_transactions());
        }
        let lasts = match timeout_ms {
            0 => self.limits.transaction,
            ms => Duration::from_millis(ms.into()).min(self.limits.transaction),
        };
        let name = self.copy.new_name(TRANSACTION)?;
        let purpose = Purpose::Transaction(isolation);
        let mut run = Run::new(self.backend.connect(db, purpose, until).await?);
        // Those that wait for a connection are not open: only now it shows who was too many.
        match Arc::clone(&self.transactions).try_acquire_owned() {
            Ok(place) => run.occupy(place),
            Err(_) => return Err(undone(run, self.too_many_transactions()).await),
        }
        let idle = self.limits.transaction_idle;
        let slot = Slot::new(Holding::Transaction, db, run, lasts, idle);
        self.held.put(&name, Arc::new(slot));
        Ok(name)
    }

    pub(super) async fn finish(
        &self,
        db: &str,
        tx: &str,
        control: Control,
        until: Instant,
    ) -> Result<(), SqlError> {
        let slot = self.transaction(self.databases.find(db)?, tx)?;
        let taken = slot.take(until).await;
        if !matches!(taken, Err(SqlError::Timeout)) {
            self.held.remove(&slot);
        }
        let mut run = match (taken, control) {
            // An error ended it before.
            (Err(SqlError::TransactionGone), Control::Rollback) => return Ok(()),
            (taken, _) => taken?,
        };
        if Instant::now() >= slot.ends && control == Control::Commit {
            undo(Holding::Transaction, run).await;
            return Err(SqlError::TransactionGone);
        }
        // Rows that nobody has read do not keep it open for longer than it lasts.
        match (run.close_all(until.min(slot.ends)).await, control) {
            // What failed is undone, which is what is wanted.
            (Err(SqlError::Failed(_) | SqlError::TryAgain(_)), Control::Rollback) => {}
            // So does the end of the connection.
            (Err(SqlError::Timeout), Control::Rollback) => return Ok(()),
            (closed, _) => closed?,
        }
        let done = run.session()?.control(control, until).await;
        if let Err(error) = &done {
            undo_after(error, Holding::Transaction, run).await;
        }
        done
    }
}

const TRANSACTION: &str = "tx";

fn is_transaction(name: &str) -> bool {
    name.starts_with(TRANSACTION)
}

fn page_rows(max_rows: u32) -> usize {
    match usize::try_from(max_rows) {
        Ok(0) => USUAL_PAGE_ROWS,
        Ok(rows) => rows.min(MAX_PAGE_ROWS),
        Err(_) => MAX_PAGE_ROWS,
    }
}

fn named(mut page: Page, name: String) -> Rows {
    if !page.is_last {
        page.rows.cursor = Some(name);
    }
    page.rows
}

pub(super) struct Query<'a> {
    name: &'a str,
    pub(super) statement: &'a Statement,
    values: Vec<Value>,
    rows: usize,
}

impl<S: Session> AsyncWork<S, Page> for Query<'_> {
    async fn run(self, run: &mut Run<S>, until: Instant) -> Result<Page, SqlError> {
        let rows = self.rows;
        run.query(self.name, self.statement, self.values, rows, until)
            .await
    }
}

struct Fetch<'a> {
    name: &'a str,
    rows: usize,
}

impl<S: Session> AsyncWork<S, Page> for Fetch<'_> {
    async fn run(self, run: &mut Run<S>, until: Instant) -> Result<Page, SqlError> {
        run.fetch(self.name, self.rows, until).await
    }
}

struct Close<'a> {
    name: &'a str,
}

impl<S: Session> AsyncWork<S, ()> for Close<'_> {
    async fn run(self, run: &mut Run<S>, until: Instant) -> Result<(), SqlError> {
        run.close(self.name, until).await
    }
}

struct Execute<'a> {
    statement: &'a Statement,
    values: Vec<Value>,
}

impl<S: Session> AsyncWork<S, Done> for Execute<'_> {
    async fn run(self, run: &mut Run<S>, until: Instant) -> Result<Done, SqlError> {
        run.keep(until).await?;
        run.session()?
            .execute(self.statement, self.values, until)
            .await
    }
}

struct Many<'a> {
    statement: &'a Statement,
    rows: Vec<Vec<Value>>,
}

impl<S: Session> AsyncWork<S, Done> for Many<'_> {
    async fn run(self, run: &mut Run<S>, until: Instant) -> Result<Done, SqlError> {
        run.keep(until).await?;
        let session = run.session()?;
        session.control(Control::Savepoint, until).await?;
        let done = session.execute_many(self.statement, self.rows, until).await;
        match &done {
            Ok(_) => session.control(Control::Release, until).await?,
            Err(error) if error.ends_session() => {}
            Err(_) => match session.control(Control::Undo, until).await {
                // The statement that failed took the transaction with it, and the point too.
                Err(SqlError::TransactionGone) => {}
                undone => undone?,
            },
        }
        done
    }
}

#[cfg(test)]
mod tests;
