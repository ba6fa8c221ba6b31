//! Several copies of a provider, which take calls in turn.
//!
//! A transaction and a cursor are held by one copy, with its connection. So their names tell the
//! copy, and each copy serves the interface once more under a name of its own, where the others
//! pass on what is not theirs. Who has a link with one copy has it with all of them.

use bytes::Bytes;
use lattice_core::ComponentId;
use lattice_rpc::wrpc::{CallContext, Client, Incoming, Outgoing};
use lattice_rpc::{CallError, Context};
use tokio::time::Instant;
use wrpc_transport::{Invoke, Serve};

use super::{Control, Done, Rows, SqlError, Value, bindings};
use crate::error::{ServeError, call_error};
use crate::serving::{Invocations, Server};
use crate::session::Session;
use bindings::lattice::sql::sql;

/// How long the name of a copy is.
const NAME_LEN: usize = 16;

/// This copy.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    name: String,
    session: Session,
}

impl Copy {
    pub(super) fn new(session: &Session) -> Result<Self, SqlError> {
        Ok(Self {
            name: random(8)?,
            session: session.clone(),
        })
    }

    /// A name for what this copy holds, which nobody can guess.
    pub(super) fn new_name(&self, kind: &str) -> Result<String, SqlError> {
        Ok(format!("{kind}-{}-{}", self.name, random(16)?))
    }

    /// Under which name this copy serves the interface once more. The name is made once for each
    /// start of a provider, and the calls under it go on to its end.
    pub(super) fn instance(&self) -> &'static str {
        Box::leak(instance_of(&self.name).into_boxed_str())
    }

    /// The copy that holds what `held` names, when that is another one.
    pub(super) fn other(&self, cx: &Context, held: &str) -> Option<Other> {
        let name = held.split('-').nth(1)?;
        let is_name = name.len() == NAME_LEN && name.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_name || name == self.name {
            return None;
        }
        let source = ComponentId::new(cx.source_id.as_deref()?).ok()?;
        let session = &self.session;
        let left = cx.deadline.saturating_duration_since(Instant::now());
        Some(Other {
            client: Client::new(
                session.peer().clone(),
                session.lattice(),
                source,
                session.id().clone(),
                left,
            ),
            instance: instance_of(name),
            context: CallContext {
                link_name: Some(cx.link_name.to_string()),
                deadline: Some(cx.deadline),
                trace: cx.trace.clone(),
            },
        })
    }
}

fn instance_of(copy: &str) -> String {
    format!("lattice:sql/copy-{copy}@0.1.0")
}

fn random(len: usize) -> Result<String, SqlError> {
    crate::random::hex(len)
        .map_err(|error| SqlError::other(format!("there are no random numbers: {error}")))
}

/// Another copy, for one call.
#[derive(Debug)]
pub(super) struct Other {
    client: Client,
    instance: String,
    context: CallContext,
}

impl Invoke for Other {
    type Context = CallContext;
    type Outgoing = Outgoing;
    type Incoming = Incoming;

    async fn invoke<P>(
        &self,
        cx: Self::Context,
        _instance: &str,
        func: &str,
        params: Bytes,
        paths: impl AsRef<[P]> + Send,
    ) -> anyhow::Result<(Self::Outgoing, Self::Incoming)>
    where
        P: AsRef<[Option<usize>]> + Send + Sync,
    {
        let called = self.client.invoke(cx, &self.instance, func, params, paths);
        called.await
    }
}

/// What became of a call that was passed on; `gone` is what it means that its copy is.
fn passed<T>(called: anyhow::Result<Result<T, SqlError>>, gone: SqlError) -> Result<T, SqlError> {
    called.unwrap_or_else(|error| Err(unanswered(call_error(error), gone)))
}

/// What became of a commit that was passed on.
fn committed(called: anyhow::Result<Result<(), SqlError>>) -> Result<(), SqlError> {
    called.unwrap_or_else(|error| {
        Err(match call_error(error) {
            // It had the call, and may have done it.
            CallError::Gone { .. } => SqlError::Unavailable(
                "the copy of the provider that held the transaction went away; whether it took effect is not known"
                    .to_owned(),
            ),
            error => unanswered(error, SqlError::TransactionGone),
        })
    })
}

fn unanswered(error: CallError, gone: SqlError) -> SqlError {
    match error {
        // What it held was rolled back with its connections.
        CallError::NotServed { .. } | CallError::Gone { .. } => gone,
        CallError::Deadline { .. } => SqlError::Timeout,
        error => SqlError::Unavailable(format!(
            "the copy of the provider that holds it did not answer: {error}"
        )),
    }
}

impl Other {
    fn cx(&self) -> CallContext {
        self.context.clone()
    }

    pub(super) async fn query(
        &self,
        db: &str,
        tx: Option<&str>,
        statement: &str,
        values: &[Value],
        max_rows: u32,
    ) -> Result<Rows, SqlError> {
        let called = sql::query(self, self.cx(), db, tx, statement, values, max_rows).await;
        passed(called, SqlError::TransactionGone)
    }

    pub(super) async fn fetch(
        &self,
        db: &str,
        cursor: &str,
        max_rows: u32,
    ) -> Result<Rows, SqlError> {
        let called = sql::fetch(self, self.cx(), db, cursor, max_rows).await;
        passed(called, SqlError::CursorGone)
    }

    pub(super) async fn close(&self, db: &str, cursor: &str) -> Result<(), SqlError> {
        let called = sql::close(self, self.cx(), db, cursor).await;
        match passed(called, SqlError::CursorGone) {
            Err(SqlError::CursorGone) => Ok(()),
            closed => closed,
        }
    }

    pub(super) async fn execute(
        &self,
        db: &str,
        tx: Option<&str>,
        statement: &str,
        values: &[Value],
    ) -> Result<Done, SqlError> {
        let called = sql::execute(self, self.cx(), db, tx, statement, values).await;
        passed(called, SqlError::TransactionGone)
    }

    pub(super) async fn execute_many(
        &self,
        db: &str,
        tx: Option<&str>,
        statement: &str,
        rows: &[Vec<Value>],
    ) -> Result<Done, SqlError> {
        let rows: Vec<&[Value]> = rows.iter().map(Vec::as_slice).collect();
        let called = sql::execute_many(self, self.cx(), db, tx, statement, &rows).await;
        passed(called, SqlError::TransactionGone)
    }

    pub(super) async fn finish(
        &self,
        db: &str,
        tx: &str,
        control: Control,
    ) -> Result<(), SqlError> {
        match control {
            Control::Commit => committed(sql::commit(self, self.cx(), db, tx).await),
            _ => {
                let called = sql::rollback(self, self.cx(), db, tx).await;
                passed(called, SqlError::TransactionGone)
            }
        }
    }
}

/// Has bindings served under another name than their own.
pub(super) struct Renamed<'a> {
    pub(super) server: &'a Server,
    pub(super) instance: &'static str,
}

impl Serve for Renamed<'_> {
    type Context = Context;
    type Outgoing = Outgoing;
    type Incoming = Incoming;

    async fn serve(
        &self,
        _instance: &str,
        func: &str,
        paths: impl Into<std::sync::Arc<[Box<[Option<usize>]>]>> + Send,
    ) -> anyhow::Result<
        impl futures::Stream<Item = anyhow::Result<(Context, Outgoing, Incoming)>> + Send + 'static,
    > {
        self.server.serve(self.instance, func, paths).await
    }
}

impl Renamed<'_> {
    /// Takes calls for what the bindings returned.
    pub(super) async fn drive(
        &self,
        functions: impl IntoIterator<Item = (&'static str, &'static str, Invocations)>,
    ) -> Result<(), ServeError> {
        let renamed = functions
            .into_iter()
            .map(|(_, function, invocations)| (self.instance, function, invocations));
        self.server.drive(renamed).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_whose_copy_went_away_is_not_known() {
        let subject = || "copy".to_owned();
        let gone = CallError::Gone { subject: subject() };
        assert!(matches!(
            committed(Err(gone.clone().into())),
            Err(SqlError::Unavailable(why)) if why.contains("not known")
        ));
        let never_there = CallError::NotServed { subject: subject() };
        assert!(matches!(
            committed(Err(never_there.into())),
            Err(SqlError::TransactionGone)
        ));
        assert!(matches!(
            passed::<()>(Err(gone.into()), SqlError::CursorGone),
            Err(SqlError::CursorGone)
        ));
    }
}
