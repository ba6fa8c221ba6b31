//! A connection that a call or a transaction uses.

use std::time::Duration;

use lattice_provider_sdk::sql::{
    Batch, Column, Control, Done, Session, SqlError, Statement, Value,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::actor::Command;
use crate::store::Taken;

/// A connection in use.
#[derive(Debug)]
pub(crate) struct SqliteSession {
    /// `None` only while it is dropped.
    taken: Option<Taken>,
    limit: Duration,
    /// Something is under way that nobody may meet.
    is_busy: bool,
    in_transaction: bool,
    /// Something stays with the connection.
    is_soiled: bool,
    /// Rows wait at the connection.
    is_reading: bool,
}

impl SqliteSession {
    pub(crate) fn new(taken: Taken, limit: Duration) -> Self {
        Self {
            taken: Some(taken),
            limit,
            is_busy: false,
            in_transaction: false,
            is_soiled: false,
            is_reading: false,
        }
    }

    /// Begins a transaction as the one that may write.
    pub(crate) async fn begin(&mut self, until: Instant) -> Result<(), SqlError> {
        self.in_transaction = true;
        self.plain("BEGIN IMMEDIATE", until).await
    }

    /// Reads the schema.
    pub(crate) async fn look(&mut self, until: Instant) -> Result<(), SqlError> {
        self.plain("SELECT count(*) FROM sqlite_schema", until)
            .await
    }

    async fn plain(&mut self, text: &str, until: Instant) -> Result<(), SqlError> {
        let text = text.to_owned();
        self.ask(until, |reply| Command::Control { text, reply })
            .await
    }

    /// Has the thread of the connection do something.
    async fn ask<T>(
        &mut self,
        until: Instant,
        command: impl FnOnce(oneshot::Sender<Result<T, SqlError>>) -> Command,
    ) -> Result<T, SqlError> {
        let ended = || SqlError::other("the thread of the connection ended");
        let actor = self.taken.as_ref().ok_or_else(ended)?.actor();
        let until = until.min(Instant::now() + self.limit);
        let (reply, answer) = oneshot::channel();
        self.is_busy = true;
        let asked = async {
            let sent = actor.commands.send(command(reply)).await;
            sent.map_err(|_| ended())?;
            answer.await.map_err(|_| ended())
        };
        let answer = match tokio::time::timeout_at(until, asked).await {
            Ok(answer) => answer?,
            Err(_) => return Err(SqlError::Timeout),
        };
        self.is_busy = false;
        answer
    }

    async fn run(
        &mut self,
        statement: &Statement,
        rows: Vec<Vec<Value>>,
        until: Instant,
    ) -> Result<Done, SqlError> {
        self.is_soiled |= statement.leaves_traces();
        let text = statement.text().to_owned();
        let inserts = matches!(statement.verb(), "INSERT" | "REPLACE");
        let command = |reply| Command::Execute {
            text,
            rows,
            inserts,
            reply,
        };
        self.ask(until, command).await
    }
}

impl Drop for SqliteSession {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take() else {
            return;
        };
        if self.is_busy || self.in_transaction || self.is_reading || self.is_soiled {
            // The connection is closed when its thread is done, which undoes what is open.
            taken.actor().interrupt.interrupt();
            return;
        }
        taken.give_back();
    }
}

impl Session for SqliteSession {
    async fn query(
        &mut self,
        statement: &Statement,
        values: Vec<Value>,
        until: Instant,
    ) -> Result<Vec<Column>, SqlError> {
        self.is_soiled |= statement.leaves_traces();
        let text = statement.text().to_owned();
        let command = |reply| Command::Query {
            text,
            values,
            reply,
        };
        let columns = self.ask(until, command).await?;
        self.is_reading = true;
        Ok(columns)
    }

    async fn next(&mut self, rows: usize, bytes: usize, until: Instant) -> Result<Batch, SqlError> {
        let command = |reply| Command::Next { rows, bytes, reply };
        let batch = self.ask(until, command).await;
        self.is_reading = matches!(&batch, Ok(batch) if !batch.is_last);
        batch
    }

    async fn stop(&mut self, until: Instant) -> Result<(), SqlError> {
        self.ask(until, |reply| Command::Stop { reply }).await?;
        self.is_reading = false;
        Ok(())
    }

    async fn execute(
        &mut self,
        statement: &Statement,
        values: Vec<Value>,
        until: Instant,
    ) -> Result<Done, SqlError> {
        self.run(statement, vec![values], until).await
    }

    async fn execute_many(
        &mut self,
        statement: &Statement,
        rows: Vec<Vec<Value>>,
        until: Instant,
    ) -> Result<Done, SqlError> {
        self.run(statement, rows, until).await
    }

    async fn control(&mut self, control: Control, until: Instant) -> Result<(), SqlError> {
        self.plain(control.text(), until).await?;
        if matches!(control, Control::Commit | Control::Rollback) {
            self.in_transaction = false;
        }
        Ok(())
    }
}
