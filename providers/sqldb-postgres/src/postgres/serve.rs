//! The generated bindings in front of the links.

use std::sync::Arc;
use std::time::Duration;

use lattice_postgres::PostgresError;
use lattice_provider_sdk::{Backends, NoLink, ServeError, Session};
use lattice_rpc::Context;
use tokio::time::Instant;

use super::bindings;
use super::bindings::exports::wasmcloud::postgres::prepared::{
    self, PreparedStatementExecError, StatementPrepareError,
};
use super::bindings::exports::wasmcloud::postgres::query::{self, PgValue, QueryError, ResultRow};
use super::checks::values_are_there;
use super::link::{Failure, PostgresLink};

/// How long before its deadline a call ends with an error, so that the error still arrives.
const MARGIN: Duration = Duration::from_millis(100);

/// Serves `query` and `prepared` until the provider stops.
///
/// # Errors
///
/// [`ServeError`] when NATS refuses.
pub(crate) async fn serve(
    session: &Session,
    links: Arc<Backends<PostgresLink>>,
) -> Result<(), ServeError> {
    const QUERY: &str = "wasmcloud:postgres/query@0.1.1-draft";
    const PREPARED: &str = "wasmcloud:postgres/prepared@0.1.1-draft";
    let server = session
        .server()
        .checking(QUERY, "query", values_are_there)
        .checking(PREPARED, "exec", values_are_there);
    let functions = bindings::serve(&server, Calls(links))
        .await
        .map_err(|e| ServeError::Bindings(e.into()))?;
    server.drive(functions).await
}

/// Answers each call with the server that its link names.
#[derive(Clone)]
struct Calls(Arc<Backends<PostgresLink>>);

/// The outer error would fail the call; everything that can go wrong here is a value instead.
type Answer<T, E> = anyhow::Result<Result<T, E>>;

/// When a call has to be done.
fn until(cx: &Context) -> Instant {
    let left = cx.deadline.saturating_duration_since(Instant::now());
    cx.deadline - MARGIN.min(left / 10)
}

fn warned<E>(function: &str, cx: &Context, error: E) -> E
where
    E: std::fmt::Debug,
{
    let source = cx.source_id.as_deref().unwrap_or("<unknown>");
    let link_name = &*cx.link_name;
    tracing::debug!(source, link_name, function, ?error, "a call of 1.x failed");
    error
}

impl From<NoLink> for QueryError {
    fn from(error: NoLink) -> Self {
        Self::Unexpected(error.to_string())
    }
}

impl From<Failure> for QueryError {
    fn from(failure: Failure) -> Self {
        let why = format!("failed to perform query: {failure}");
        match &failure {
            Failure::Server(PostgresError::Unfit(_)) => Self::InvalidParams(why),
            Failure::Server(error @ PostgresError::Refused(_)) => {
                match error.code().and_then(|code| code.code().get(..2)) {
                    Some("42") => Self::InvalidQuery(why),
                    Some("22") => Self::InvalidParams(why),
                    _ => Self::Unexpected(why),
                }
            }
            _ => Self::Unexpected(why),
        }
    }
}

impl query::Handler<Context> for Calls {
    async fn query(
        &self,
        cx: Context,
        query: String,
        params: Vec<PgValue>,
    ) -> Answer<Vec<ResultRow>, QueryError> {
        let work = async {
            let link = self.0.of(&cx).await?;
            Ok(link.query(&query, &params, until(&cx)).await?)
        };
        let done: Result<_, QueryError> = work.await;
        Ok(done.map_err(|error| warned("query", &cx, error)))
    }

    async fn query_batch(&self, cx: Context, query: String) -> Answer<(), QueryError> {
        let work = async {
            let link = self.0.of(&cx).await?;
            Ok(link.query_batch(&query, until(&cx)).await?)
        };
        let done: Result<_, QueryError> = work.await;
        Ok(done.map_err(|error| warned("query-batch", &cx, error)))
    }
}

impl prepared::Handler<Context> for Calls {
    async fn prepare(
        &self,
        cx: Context,
        statement: String,
    ) -> Answer<String, StatementPrepareError> {
        let unexpected = |why: String| StatementPrepareError::Unexpected(why);
        let work = async {
            let link = self.0.of(&cx).await;
            let link = link.map_err(|error| unexpected(error.to_string()))?;
            let prepared = link.prepare(&statement, until(&cx)).await;
            prepared.map_err(|error| unexpected(format!("failed to prepare query: {error}")))
        };
        let done = work.await;
        Ok(done.map_err(|error| warned("prepare", &cx, error)))
    }

    async fn exec(
        &self,
        cx: Context,
        stmt_token: String,
        params: Vec<PgValue>,
    ) -> Answer<u64, PreparedStatementExecError> {
        let work = async {
            let link = self.0.of(&cx).await;
            let link =
                link.map_err(|error| PreparedStatementExecError::Unexpected(error.to_string()))?;
            let done = link.exec(&stmt_token, &params, until(&cx)).await;
            done.map_err(|failure| match failure {
                Failure::Unknown => PreparedStatementExecError::UnknownPreparedQuery,
                failure => PreparedStatementExecError::QueryError(failure.into()),
            })
        };
        let done = work.await;
        Ok(done.map_err(|error| warned("exec", &cx, error)))
    }
}
