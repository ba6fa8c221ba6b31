//! The generated bindings in front of the backends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_rpc::Context;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::bindings;
use super::bindings::exports::lattice::sql::sql::Handler;
use super::copies::{Copy, Other, Renamed};
use super::linked::Linked;
use super::{Backend, Control, Databases, Dialect, Done, Isolation, Limits, Rows, SqlError, Value};
use crate::backends::Backends;
use crate::complaint;
use crate::error::ServeError;
use crate::link::{LinkKey, ProviderLink};
use crate::serving::Server;
use crate::session::Session;
use crate::wire::answered;

/// The interface.
const SQL: &str = "lattice:sql/sql@0.1.0";

/// How long before its deadline a call ends with an error, so that the error still arrives.
const MARGIN: Duration = Duration::from_millis(100);

/// The links of an SQL provider.
#[derive(Debug)]
pub struct Sql<B: Backend> {
    calls: Arc<Backends<Linked<B>>>,
    links: Mutex<HashMap<LinkKey, Arc<Linked<B>>>>,
    copy: Copy,
}

impl<B: Backend> Sql<B> {
    /// Serves the interface until the provider stops. Called once, in `Provider::start`.
    ///
    /// # Errors
    ///
    /// [`ServeError`] when NATS refuses.
    pub async fn serve(session: &Session) -> Result<Self, ServeError> {
        let links = Arc::new(Backends::new());
        let copy = Copy::new(session).map_err(|error| ServeError::Bindings(error.text().into()))?;
        let failed = |error: anyhow::Error| ServeError::Bindings(error.into());
        let calls = Calls {
            links: Arc::clone(&links),
            passes_on: Some(copy.clone()),
        };
        let server = server_of(session, SQL, &calls);
        let functions = bindings::serve(&server, calls).await.map_err(failed)?;
        server.drive(functions).await?;
        // What others pass on is not passed on again.
        let calls = Calls {
            links: Arc::clone(&links),
            passes_on: None,
        };
        let instance = copy.instance();
        let server = server_of(session, instance, &calls);
        let renamed = Renamed {
            server: &server,
            instance,
        };
        let functions = bindings::serve(&renamed, calls).await.map_err(failed)?;
        renamed.drive(functions).await?;
        Ok(Self {
            calls: links,
            links: Mutex::default(),
            copy,
        })
    }

    /// Uses a backend for a link.
    pub fn put(&self, link: &ProviderLink, backend: Arc<B>, databases: Databases, limits: Limits) {
        let linked = Linked::new(backend, databases, limits, self.copy.clone());
        let linked = Arc::new(linked);
        self.links.lock().insert(link.key(), Arc::clone(&linked));
        self.calls.put(link, linked);
    }

    /// Stops using it, and rolls back what is open.
    pub async fn delete(&self, link: &ProviderLink) {
        self.calls.delete(link);
        let linked = self.links.lock().remove(&link.key());
        if let Some(linked) = linked {
            linked.end().await;
        }
    }

    /// The backend of a link.
    pub fn backend(&self, link: &ProviderLink) -> Option<Arc<B>> {
        let links = self.links.lock();
        links
            .get(&link.key())
            .map(|linked| Arc::clone(&linked.backend))
    }

    /// Rolls back what is open for any link, by `until` at the latest.
    pub async fn end(&self, until: Instant) {
        let linked: Vec<_> = self.links.lock().values().cloned().collect();
        let ended = futures::future::join_all(linked.iter().map(|linked| linked.end()));
        if tokio::time::timeout_at(until, ended).await.is_err() {
            tracing::warn!("the database did not undo open transactions in time");
        }
    }
}

/// Answers what components call again and again without generated code.
fn server_of<B: Backend>(session: &Session, instance: &'static str, calls: &Calls<B>) -> Server {
    let server = session.server();
    answered! { server, calls;
        instance "query" query(
            db: String,
            tx: Option<String>,
            statement: String,
            params: Vec<Value>,
            max_rows: u32
        );
        instance "fetch" fetch(db: String, cursor: String, max_rows: u32);
        instance "close" close(db: String, cursor: String);
        instance "execute" execute(
            db: String,
            tx: Option<String>,
            statement: String,
            params: Vec<Value>
        );
        instance "execute-many" execute_many(
            db: String,
            tx: Option<String>,
            statement: String,
            params: Vec<Vec<Value>>
        );
        instance "begin" begin(db: String, isolation: Isolation, timeout_ms: u32);
        instance "commit" commit(db: String, tx: String);
        instance "rollback" rollback(db: String, tx: String);
    }
}

/// Answers each call with the backend that its link names.
struct Calls<B: Backend> {
    links: Arc<Backends<Linked<B>>>,
    /// Who we are among the copies of the provider; `None` for calls that a copy passed on.
    passes_on: Option<Copy>,
}

impl<B: Backend> Clone for Calls<B> {
    fn clone(&self) -> Self {
        Self {
            links: Arc::clone(&self.links),
            passes_on: self.passes_on.clone(),
        }
    }
}

impl<B: Backend> Calls<B> {
    async fn of(&self, cx: &Context) -> Result<Arc<Linked<B>>, SqlError> {
        Ok(self.links.of(cx).await?)
    }

    async fn finish(
        &self,
        cx: &Context,
        db: &str,
        tx: &str,
        control: Control,
    ) -> Result<(), SqlError> {
        if let Some(other) = self.other(cx, Some(tx)) {
            return other.finish(db, tx, control).await;
        }
        let linked = self.of(cx).await?;
        linked.finish(db, tx, control, until(cx)).await
    }

    /// The copy of the provider that holds the transaction or cursor of that name, if it is not
    /// this one.
    fn other(&self, cx: &Context, held: Option<&str>) -> Option<Other> {
        self.passes_on.as_ref()?.other(cx, held?)
    }
}

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T> = anyhow::Result<Result<T, SqlError>>;

fn answer<T>(function: &str, cx: &Context, done: Result<T, SqlError>) -> Answer<T> {
    if let Err(error) = &done {
        let why = error.text();
        if error.concerns_operator() {
            complaint::warn("an SQL call failed", cx, function, &why);
        } else {
            let source = cx.source_id.as_deref().unwrap_or("<unknown>");
            let link_name = &*cx.link_name;
            tracing::debug!(
                source,
                link_name,
                function,
                error = why,
                "an SQL call failed"
            );
        }
    }
    Ok(done)
}

/// When a call has to be done.
fn until(cx: &Context) -> Instant {
    let left = cx.deadline.saturating_duration_since(Instant::now());
    cx.deadline - MARGIN.min(left / 10)
}

impl<B: Backend> Handler<Context> for Calls<B> {
    async fn query(
        &self,
        cx: Context,
        db: String,
        tx: Option<String>,
        statement: String,
        params: Vec<Value>,
        max_rows: u32,
    ) -> Answer<Rows> {
        let work = async {
            let (tx, until) = (tx.as_deref(), until(&cx));
            if let Some(other) = self.other(&cx, tx) {
                return other.query(&db, tx, &statement, &params, max_rows).await;
            }
            let linked = self.of(&cx).await?;
            linked
                .query(&db, tx, &statement, params, max_rows, until)
                .await
        };
        answer("query", &cx, work.await)
    }

    async fn fetch(&self, cx: Context, db: String, cursor: String, max_rows: u32) -> Answer<Rows> {
        let work = async {
            if let Some(other) = self.other(&cx, Some(&cursor)) {
                return other.fetch(&db, &cursor, max_rows).await;
            }
            let linked = self.of(&cx).await?;
            linked.fetch(&db, cursor, max_rows, until(&cx)).await
        };
        answer("fetch", &cx, work.await)
    }

    async fn close(&self, cx: Context, db: String, cursor: String) -> Answer<()> {
        let work = async {
            if let Some(other) = self.other(&cx, Some(&cursor)) {
                return other.close(&db, &cursor).await;
            }
            self.of(&cx).await?.close(&db, &cursor, until(&cx)).await
        };
        answer("close", &cx, work.await)
    }

    async fn execute(
        &self,
        cx: Context,
        db: String,
        tx: Option<String>,
        statement: String,
        params: Vec<Value>,
    ) -> Answer<Done> {
        let work = async {
            let (tx, until) = (tx.as_deref(), until(&cx));
            if let Some(other) = self.other(&cx, tx) {
                return other.execute(&db, tx, &statement, &params).await;
            }
            let linked = self.of(&cx).await?;
            linked.execute(&db, tx, &statement, params, until).await
        };
        answer("execute", &cx, work.await)
    }

    async fn execute_many(
        &self,
        cx: Context,
        db: String,
        tx: Option<String>,
        statement: String,
        params: Vec<Vec<Value>>,
    ) -> Answer<Done> {
        let work = async {
            let (tx, until) = (tx.as_deref(), until(&cx));
            if let Some(other) = self.other(&cx, tx) {
                return other.execute_many(&db, tx, &statement, &params).await;
            }
            let linked = self.of(&cx).await?;
            linked
                .execute_many(&db, tx, &statement, params, until)
                .await
        };
        answer("execute-many", &cx, work.await)
    }

    async fn begin(
        &self,
        cx: Context,
        db: String,
        isolation: Isolation,
        timeout_ms: u32,
    ) -> Answer<String> {
        let work = async {
            let linked = self.of(&cx).await?;
            linked.begin(&db, isolation, timeout_ms, until(&cx)).await
        };
        answer("begin", &cx, work.await)
    }

    async fn commit(&self, cx: Context, db: String, tx: String) -> Answer<()> {
        let work = async { self.finish(&cx, &db, &tx, Control::Commit).await };
        answer("commit", &cx, work.await)
    }

    async fn rollback(&self, cx: Context, db: String, tx: String) -> Answer<()> {
        let work = async { self.finish(&cx, &db, &tx, Control::Rollback).await };
        answer("rollback", &cx, work.await)
    }

    async fn dialect_of(&self, cx: Context, db: String) -> Answer<Dialect> {
        let work = async { self.of(&cx).await?.dialect_of(&db) };
        answer("dialect-of", &cx, work.await)
    }
}
