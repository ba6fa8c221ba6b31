//! Statements that write and answer rows, without a transaction of their caller.
//!
//! By the time their rows are read they may have taken effect. So they run in a transaction of
//! ours, which is committed when all rows are here and undone when they cannot be answered.

use tokio::time::Instant;

use super::held::{AsyncWork as _, Holding, undo_after};
use super::limits::MAX_KEPT_BYTES;
use super::linked::{Linked, Query};
use super::reading::{Page, Run};
use super::{Backend, Control, Isolation, Purpose, Session, SqlError};

impl<B: Backend> Linked<B> {
    /// Runs a statement, and takes in the rows after its first page.
    pub(super) async fn write(
        &self,
        db: Option<&str>,
        work: Query<'_>,
        until: Instant,
    ) -> Result<(Page, Run<B::Session>), SqlError> {
        // So that nothing is done in vain.
        drop(self.place_for_cursor()?);
        let statement = work.statement;
        let can_be_undone = statement.can_be_undone();
        let purpose = match can_be_undone {
            true => Purpose::Transaction(Isolation::Default),
            false => Purpose::One(statement),
        };
        let mut run = Run::new(self.backend.connect(db, purpose, until).await?);
        let done = match can_be_undone {
            true => self.write_and_commit(&mut run, work, until).await,
            false => self.write_at_once(&mut run, work, until).await,
        };
        match done {
            Ok(page) => {
                run.release();
                Ok((page, run))
            }
            Err(error) if can_be_undone => Err(undone(run, error).await),
            Err(error) => Err(error),
        }
    }

    async fn write_and_commit(
        &self,
        run: &mut Run<B::Session>,
        work: Query<'_>,
        until: Instant,
    ) -> Result<Page, SqlError> {
        let page = work.run(run, until).await?;
        if !run.take_in(until).await? {
            let why = too_long();
            return Err(SqlError::invalid(format!(
                "{why}, so it was undone; begin a transaction and fetch them all before it is committed"
            )));
        }
        if !page.is_last {
            // Later it has taken effect, and must not be answered as if it had not.
            run.occupy(self.place_for_cursor()?);
        }
        run.session()?.control(Control::Commit, until).await?;
        Ok(page)
    }

    /// For a statement that takes no transaction around it.
    async fn write_at_once(
        &self,
        run: &mut Run<B::Session>,
        work: Query<'_>,
        until: Instant,
    ) -> Result<Page, SqlError> {
        // Taken whether or not there will be rows for it: nothing can be refused later.
        let place = self.place_for_cursor()?;
        let page = work.run(run, until).await?;
        if !run.take_in(until).await? {
            return Err(SqlError::other(format!(
                "{}; it took effect, and must not be run again for its rows",
                too_long()
            )));
        }
        if !page.is_last {
            run.occupy(place);
        }
        Ok(page)
    }
}

/// Undoes a transaction of ours after an error, which is given back.
pub(super) async fn undone<S: Session>(run: Run<S>, error: SqlError) -> SqlError {
    undo_after(&error, Holding::Transaction, run).await;
    error
}

fn too_long() -> String {
    format!(
        "the rows that the statement answers are more than the {} MiB that are kept of a write",
        MAX_KEPT_BYTES / 1024 / 1024
    )
}
