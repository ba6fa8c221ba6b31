//! Transactions and cursors between calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::reading::Run;
use super::{Control, Session, SqlError};

/// How long the database may take to undo what was given up.
const UNDO_LIMIT: Duration = Duration::from_secs(2);

/// How long one that was lost is known, so that to roll it back is no error. It has no place among those
/// that a link may have, and so nothing else bounds how many there are.
const LOST_LIMIT: Duration = Duration::from_secs(30);

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    Transaction,
    /// A cursor of its own; those of transactions go with them.
    Cursor,
}

/// One session between calls.
#[derive(Debug)]
pub(super) struct Slot<S> {
    pub(super) holding: Holding,
    /// Its database, as the link has it.
    pub(super) db: Option<String>,
    /// When it ends at the latest.
    pub(super) ends: Instant,
    idle: Duration,
    used: Mutex<Instant>,
    /// Nobody wants what is under way.
    given_up: CancellationToken,
    /// Empty while a call uses it and after it was given up: a call that is dropped in the middle
    /// takes the session with it.
    run: tokio::sync::Mutex<Option<Run<S>>>,
}

impl<S: Session> Slot<S> {
    pub(super) fn new(
        holding: Holding,
        db: Option<&str>,
        run: Run<S>,
        lasts: Duration,
        idle: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            holding,
            db: db.map(str::to_owned),
            ends: now + lasts,
            idle,
            used: Mutex::new(now),
            given_up: CancellationToken::new(),
            run: tokio::sync::Mutex::new(Some(run)),
        }
    }

    fn gone(&self) -> SqlError {
        match self.holding {
            Holding::Transaction => SqlError::TransactionGone,
            Holding::Cursor => SqlError::CursorGone,
        }
    }

    /// Works with the session, alone, for no longer than it lasts. An error that ends sessions ends
    /// this one.
    pub(super) async fn with<T>(
        &self,
        until: Instant,
        work: impl AsyncWork<S, T>,
    ) -> Result<T, SqlError> {
        let Ok(mut place) = tokio::time::timeout_at(until, self.run.lock()).await else {
            return Err(SqlError::Timeout);
        };
        let mut run = place.take().ok_or_else(|| self.gone())?;
        // Dropped before the place is free.
        let _use = Use(&self.used);
        let done = tokio::select! {
            biased;
            // With the session, which is closed.
            () = self.given_up.cancelled() => return Err(self.gone()),
            done = work.run(&mut run, until.min(self.ends)) => done,
        };
        match &done {
            Err(error) if error.ends_session() => undo_after(error, self.holding, run).await,
            _ => *place = Some(run),
        }
        done
    }

    /// Breaks off what is under way, which ends the session.
    pub(super) fn give_up(&self) {
        self.given_up.cancel();
    }

    /// Takes the session out for good.
    pub(super) async fn take(&self, until: Instant) -> Result<Run<S>, SqlError> {
        let Ok(mut place) = tokio::time::timeout_at(until, self.run.lock()).await else {
            return Err(SqlError::Timeout);
        };
        place.take().ok_or_else(|| self.gone())
    }

    /// Whether its time is over. One in use is left alone: its statement is broken off when its time is
    /// over.
    fn is_over(&self, now: Instant) -> bool {
        let Ok(run) = self.run.try_lock() else {
            return false;
        };
        let idle = match *run {
            Some(_) => self.idle,
            None => self.idle.min(LOST_LIMIT),
        };
        now >= self.ends || now >= *self.used.lock() + idle
    }
}

/// A use of a session, which counts up to its end, also where the call is dropped in the middle.
struct Use<'a>(&'a Mutex<Instant>);

impl Drop for Use<'_> {
    fn drop(&mut self) {
        *self.0.lock() = Instant::now();
    }
}

/// What is done with a session in one call.
pub(super) trait AsyncWork<S, T>: Send {
    fn run(
        self,
        run: &mut Run<S>,
        until: Instant,
    ) -> impl Future<Output = Result<T, SqlError>> + Send;
}

/// Undoes what a session did, as far as the database answers; without an answer the connection is
/// closed, which undoes it too.
pub(super) async fn undo<S: Session>(holding: Holding, mut run: Run<S>) {
    let until = Instant::now() + UNDO_LIMIT;
    let undone = async {
        run.close_all(until).await?;
        match holding {
            Holding::Transaction => run.session()?.control(Control::Rollback, until).await,
            Holding::Cursor => Ok(()),
        }
    };
    if let Ok(Err(error)) = tokio::time::timeout_at(until, undone).await {
        let error = error.text();
        tracing::debug!(error, "could not undo a session, it is closed");
    }
}

/// As [`undo`], after an error. A database that did not answer in time is not asked again, which would
/// wait for the statement that is under way: to drop the session cancels that and closes the connection,
/// and so undoes it, at once.
pub(super) async fn undo_after<S: Session>(error: &SqlError, holding: Holding, run: Run<S>) {
    if !matches!(error, SqlError::Timeout | SqlError::Unavailable(_)) {
        undo(holding, run).await;
    }
}

/// What one link holds, by the names that calls use.
#[derive(Debug)]
pub(super) struct Held<S> {
    slots: Mutex<HashMap<String, Arc<Slot<S>>>>,
    more: tokio::sync::Notify,
}

impl<S: Session> Held<S> {
    pub(super) fn new() -> Self {
        Self {
            slots: Mutex::default(),
            more: tokio::sync::Notify::new(),
        }
    }

    pub(super) fn put(&self, name: &str, slot: Arc<Slot<S>>) {
        self.slots.lock().insert(name.to_owned(), slot);
        self.more.notify_one();
    }

    pub(super) fn find(&self, name: &str) -> Option<Arc<Slot<S>>> {
        self.slots.lock().get(name).cloned()
    }

    /// Forgets one name.
    pub(super) fn forget(&self, name: &str) {
        self.slots.lock().remove(name);
    }

    /// Forgets a session by all its names.
    pub(super) fn remove(&self, slot: &Arc<Slot<S>>) {
        self.slots.lock().retain(|_, held| !Arc::ptr_eq(held, slot));
    }

    /// Waits until something is held.
    pub(super) async fn not_empty(&self) {
        while self.slots.lock().is_empty() {
            self.more.notified().await;
        }
    }

    /// Gives up what was not used for too long, or is there for too long.
    pub(super) async fn sweep(&self) {
        let now = Instant::now();
        let mut over = Vec::new();
        self.slots.lock().retain(|_, slot| {
            let is_over = slot.is_over(now);
            if is_over && !over.iter().any(|other| Arc::ptr_eq(other, slot)) {
                over.push(Arc::clone(slot));
            }
            !is_over
        });
        give_up(over).await;
    }

    /// Gives up everything.
    pub(super) async fn end(&self) {
        let slots = std::mem::take(&mut *self.slots.lock());
        let mut unique: Vec<Arc<Slot<S>>> = Vec::new();
        for slot in slots.into_values() {
            if !unique.iter().any(|other| Arc::ptr_eq(other, &slot)) {
                unique.push(slot);
            }
        }
        give_up(unique).await;
    }
}

async fn give_up<S: Session>(slots: Vec<Arc<Slot<S>>>) {
    let undone = slots.into_iter().map(|slot| async move {
        if let Ok(run) = slot.take(Instant::now() + UNDO_LIMIT).await {
            undo(slot.holding, run).await;
        }
    });
    futures::future::join_all(undone).await;
}

#[cfg(test)]
mod tests;
