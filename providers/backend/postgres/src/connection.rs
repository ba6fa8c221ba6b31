//! One connection of a pool, in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use tokio::time::Instant;
use tokio_postgres::{Error, Statement};

use crate::error::PostgresError;
use crate::pool::Server;

/// How many prepared statements one connection keeps. They cost memory at the server, and their
/// texts are the component's.
const MOST_STATEMENTS: usize = 256;
/// The longest text that is kept.
const LONGEST_KEPT: usize = 16 * 1024;

/// How much later than the server we give a statement up, so that its own words come first.
const GRACE: Duration = Duration::from_millis(500);

/// How long the server may take to hear that a statement is given up.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);

/// One connection of a pool. It goes back when this is dropped, or is closed when it cannot serve
/// others: after work that was given up half way, and when it was [soiled](Self::soil).
#[derive(Debug)]
pub struct Connection {
    /// `None` only while it is dropped.
    object: Option<Object>,
    server: Arc<Server>,
    is_busy: AtomicBool,
    is_soiled: AtomicBool,
}

impl Connection {
    pub(crate) fn new(object: Object, server: Arc<Server>) -> Self {
        Self {
            object: Some(object),
            server,
            is_busy: AtomicBool::new(false),
            is_soiled: AtomicBool::new(false),
        }
    }

    /// The client, for the work that [`Connection::within`] waits for.
    ///
    /// # Panics
    ///
    /// Never: the client is there until this is dropped.
    #[must_use]
    pub fn client(&self) -> &ClientWrapper {
        self.object
            .as_ref()
            .expect("a connection in use has its client")
    }

    /// Waits for a piece of work, until `until` and for no longer than a statement may take. Work
    /// that is not waited for to its end is cancelled and costs the connection.
    ///
    /// # Errors
    ///
    /// [`PostgresError`].
    pub async fn within<T>(
        &self,
        until: Instant,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, PostgresError> {
        let begun = Instant::now();
        let longest = self
            .server
            .statement_limit
            .map(|limit| begun + limit + GRACE);
        let until = longest.map_or(until, |longest| until.min(longest));
        self.is_busy.store(true, Ordering::Relaxed);
        match tokio::time::timeout_at(until, work).await {
            Ok(done) => {
                self.is_busy.store(false, Ordering::Relaxed);
                done.map_err(|error| self.failed(error, begun))
            }
            Err(_) => {
                self.server.doubt.arise();
                Err(PostgresError::Silent {
                    address: self.server.address.clone(),
                    limit: until - begun,
                })
            }
        }
    }

    fn failed(&self, error: Error, begun: Instant) -> PostgresError {
        let error = PostgresError::of_statement(&self.server.address, error);
        match error {
            // The server may wait for something that the client does not know how to send.
            PostgresError::Unfit(_) => self.soil(),
            PostgresError::Lost { .. } => self.give_up_idle(begun),
            _ => {}
        }
        error
    }

    /// Closes what waits in the pool and was not used since: what became of this connection has most
    /// likely become of those, and each would cost a call its time.
    fn give_up_idle(&self, begun: Instant) {
        if let Some(pool) = self.object.as_ref().and_then(Object::pool) {
            let since = begun.elapsed();
            drop(pool.retain(|_, metrics| metrics.last_used() < since));
        }
    }

    /// Prepares a statement, or finds the one that was prepared before.
    ///
    /// # Errors
    ///
    /// [`PostgresError`].
    pub async fn prepare(&self, until: Instant, text: &str) -> Result<Statement, PostgresError> {
        let (statement, _is_known) = self.find_or_prepare(until, text).await?;
        Ok(statement)
    }

    /// As [`Connection::prepare`], and says whether the statement was prepared before: what it was
    /// prepared for may have been altered since, see [`Connection::forget`].
    ///
    /// # Errors
    ///
    /// [`PostgresError`].
    pub async fn find_or_prepare(
        &self,
        until: Instant,
        text: &str,
    ) -> Result<(Statement, bool), PostgresError> {
        let client = self.client();
        if text.len() > LONGEST_KEPT {
            let statement = self.within(until, client.prepare(text)).await?;
            return Ok((statement, false));
        }
        let cache = &client.statement_cache;
        if cache.size() >= MOST_STATEMENTS {
            cache.clear();
        }
        let before = cache.size();
        let statement = self.within(until, client.prepare_cached(text)).await?;
        // Nobody else uses the connection, so one more is this one.
        Ok((statement, cache.size() == before))
    }

    /// Has a statement prepared anew when it is wanted next.
    pub fn forget(&self, text: &str) {
        drop(self.client().statement_cache.remove(text, &[]));
    }

    /// Says that rows wait at the connection, or do not any more: a connection with rows is of no
    /// use to others.
    pub fn keep_busy(&self, is: bool) {
        self.is_busy.store(is, Ordering::Relaxed);
    }

    /// Has the connection closed instead of used again, for something was done that its next user
    /// must not meet: an open transaction, a changed setting.
    pub fn soil(&self) {
        self.is_soiled.store(true, Ordering::Relaxed);
    }

    /// Says that the connection is as new again, after a transaction that ended.
    pub fn cleaned(&self) {
        self.is_soiled.store(false, Ordering::Relaxed);
    }

    /// Whether it is closed instead of used again.
    #[must_use]
    pub fn is_soiled(&self) -> bool {
        self.is_soiled.load(Ordering::Relaxed)
    }

    /// Whether it is of use to anybody.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed) || self.client().is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(object) = self.object.take() else {
            return;
        };
        let is_busy = self.is_busy.load(Ordering::Relaxed);
        if !is_busy && !self.is_soiled.load(Ordering::Relaxed) {
            return;
        }
        let client = Object::take(object);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if !is_busy || client.is_closed() {
            return;
        }
        // The server looks at its socket only between statements, so that one under way would go on.
        let (token, tls) = (client.cancel_token(), self.server.tls.clone());
        runtime.spawn(async move {
            let told = tls.cancel(&token);
            if let Ok(Err(error)) = tokio::time::timeout(CANCEL_LIMIT, told).await {
                tracing::debug!(%error, "could not cancel a statement");
            }
        });
    }
}
