//! A connection that a call or a transaction uses.

use std::sync::Arc;
use std::time::Duration;

use lattice_provider_sdk::sql::{
    Batch, Column, Control, Done, Isolation, Session, SqlError, Statement, Value, in_time,
};
use mysql_async::Value as Sent;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::actor::Command;
use crate::decimals::Scales;
use crate::pool::{Pool, Taken};
use crate::values::sent;

/// A connection in use.
#[derive(Debug)]
pub(crate) struct MysqlSession {
    /// `None` only while it is dropped.
    taken: Option<Taken>,
    pool: Arc<Pool>,
    limit: Duration,
    /// Something is under way that nobody may meet.
    is_busy: bool,
    in_transaction: bool,
    /// Something stays with the connection.
    is_soiled: bool,
    /// Rows wait at the connection.
    is_reading: bool,
}

impl MysqlSession {
    pub(crate) fn new(taken: Taken, pool: Arc<Pool>, limit: Duration) -> Self {
        Self {
            taken: Some(taken),
            pool,
            limit,
            is_busy: false,
            in_transaction: false,
            is_soiled: false,
            is_reading: false,
        }
    }

    pub(crate) async fn begin(
        &mut self,
        isolation: Isolation,
        until: Instant,
    ) -> Result<(), SqlError> {
        self.in_transaction = true;
        let level = match isolation {
            Isolation::Default => None,
            Isolation::ReadCommitted => Some("READ COMMITTED"),
            Isolation::RepeatableRead => Some("REPEATABLE READ"),
            Isolation::Serializable => Some("SERIALIZABLE"),
        };
        let level = level.map(|level| format!("SET TRANSACTION ISOLATION LEVEL {level}"));
        let texts = level.into_iter().chain(["START TRANSACTION".to_owned()]);
        let texts = texts.collect();
        self.ask(until, |reply| Command::Begin { texts, reply })
            .await
    }

    /// Has the task of the connection do something.
    async fn ask<T>(
        &mut self,
        until: Instant,
        command: impl FnOnce(oneshot::Sender<Result<T, SqlError>>) -> Command,
    ) -> Result<T, SqlError> {
        let ended = || SqlError::Unavailable("the connection has ended".to_owned());
        let actor = self.taken.as_ref().ok_or_else(ended)?.actor();
        let until = until.min(Instant::now() + self.limit);
        let (reply, answer) = oneshot::channel();
        self.is_busy = true;
        let asked = async {
            let sent = actor.commands.send(command(reply)).await;
            sent.map_err(|_| ended())?;
            answer.await.map_err(|_| ended())
        };
        let answer = in_time(until, asked).await?;
        if matches!(answer, Err(SqlError::Unavailable(_))) {
            self.pool.forget_idle();
        } else {
            self.is_busy = false;
        }
        answer
    }

    async fn run(
        &mut self,
        statement: &Statement,
        rows: Vec<Vec<Value>>,
        until: Instant,
    ) -> Result<Done, SqlError> {
        self.is_soiled |= statement.leaves_traces();
        let rows = rows.into_iter().map(|values| prepared(statement, values));
        let rows = rows.collect::<Result<Vec<_>, SqlError>>()?;
        let statement = statement.clone();
        let command = |reply| Command::Execute {
            statement,
            rows,
            reply,
        };
        self.ask(until, command).await
    }
}

/// The values for a statement as they are sent, and which of them it has to call decimals.
fn prepared(statement: &Statement, values: Vec<Value>) -> Result<(Scales, Vec<Sent>), SqlError> {
    let values = statement.in_order(values);
    let scales = Scales::of(statement, &values);
    Ok((scales, sent(values)?))
}

impl Drop for MysqlSession {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take() else {
            return;
        };
        if self.is_busy || self.is_reading {
            taken.kill();
        } else if !self.in_transaction && !self.is_soiled {
            taken.give_back();
        }
        // Any other is closed, which undoes what is open.
    }
}

impl Session for MysqlSession {
    async fn query(
        &mut self,
        statement: &Statement,
        values: Vec<Value>,
        until: Instant,
    ) -> Result<Vec<Column>, SqlError> {
        self.is_soiled |= statement.leaves_traces();
        let (scales, values) = prepared(statement, values)?;
        let text = scales.text(statement);
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
        self.ask(until, |reply| Command::Control { control, reply })
            .await?;
        if matches!(control, Control::Commit | Control::Rollback) {
            self.in_transaction = false;
        }
        Ok(())
    }
}
