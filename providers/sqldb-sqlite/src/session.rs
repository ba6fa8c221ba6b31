//! A connection that a call or a transaction uses.

use std::collections::VecDeque;
use std::time::Duration;

use lattice_provider_sdk::sql::{
    Batch, Column, Control, Done, Row, Session, SqlError, Statement, Value,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::actor::Command;
use crate::errors::gone;
use crate::store::Taken;
use crate::whole::How;

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
    /// The first rows of a query, which came with its columns, and how many bytes they are.
    ready: VecDeque<Row>,
    ready_bytes: usize,
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
            ready: VecDeque::new(),
            ready_bytes: 0,
        }
    }

    /// Some of the rows that came with the columns, which are asked for as in [`Session::next`].
    fn take_ready(&mut self, rows: usize, bytes: usize) -> Vec<Row> {
        // One by one where all would be too much at once.
        let most = if self.ready_bytes > bytes { 1 } else { rows };
        let count = most.min(rows).min(self.ready.len());
        self.ready.drain(..count).collect()
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
        self.ask(until, |reply| Command::Plain { text, reply })
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
        // Whatever it says when its file is closed.
        let or_gone = |error| if actor.has_left() { gone() } else { error };
        let until = until.min(Instant::now() + self.limit);
        let (reply, answer) = oneshot::channel();
        self.is_busy = true;
        let asked = async {
            let sent = actor.commands.send(command(reply)).await;
            sent.map_err(|_| ended())?;
            answer.await.map_err(|_| ended())
        };
        let answer = match tokio::time::timeout_at(until, asked).await {
            Ok(answer) => answer.map_err(or_gone)?.map_err(or_gone),
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
        let into = statement
            .table_of_rows()
            .filter(|_| inserts)
            .map(str::to_owned);
        let how = How {
            within: self.in_transaction,
            is_whole: writes(statement),
        };
        let command = |reply| Command::Execute {
            text,
            rows,
            into,
            how,
            reply,
        };
        self.ask(until, command).await
    }
}

/// Whether a statement may leave a part of what it does when it fails. Those that make tables do not.
fn writes(statement: &Statement) -> bool {
    const VERBS: [&str; 5] = ["INSERT", "REPLACE", "UPDATE", "DELETE", "WITH"];
    VERBS.contains(&statement.verb()) && !statement.reads_only()
}

impl Drop for SqliteSession {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take() else {
            return;
        };
        if self.is_busy || self.in_transaction || self.is_reading || self.is_soiled {
            // The connection is closed when its thread is done, which undoes what is open.
            taken.actor().interrupt();
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
        let how = How {
            within: self.in_transaction,
            // By itself it ends with its rows only, when nobody may be there any more.
            is_whole: self.in_transaction && writes(statement),
        };
        let command = |reply| Command::Query {
            text,
            values,
            how,
            reply,
        };
        self.ready.clear();
        let begun = self.ask(until, command).await?;
        self.is_reading = !begun.first.is_last;
        self.ready = begun.first.rows.into();
        self.ready_bytes = begun.bytes;
        Ok(begun.columns)
    }

    async fn next(&mut self, rows: usize, bytes: usize, until: Instant) -> Result<Batch, SqlError> {
        let mut taken = self.take_ready(rows, bytes);
        let rows = rows - taken.len();
        // What is ready may be all that is wanted, or all that there is.
        let left = match taken.is_empty() {
            true => bytes,
            false => bytes.saturating_sub(self.ready_bytes),
        };
        if !self.is_reading || !self.ready.is_empty() || rows == 0 || left == 0 {
            return Ok(Batch {
                rows: taken,
                is_last: !self.is_reading && self.ready.is_empty(),
            });
        }
        let command = |reply| Command::Next {
            rows,
            bytes: left,
            reply,
        };
        let batch = self.ask(until, command).await;
        self.is_reading = matches!(&batch, Ok(batch) if !batch.is_last);
        let batch = batch?;
        taken.extend(batch.rows);
        Ok(Batch {
            rows: taken,
            is_last: batch.is_last,
        })
    }

    async fn stop(&mut self, until: Instant) -> Result<(), SqlError> {
        self.ready.clear();
        if !self.is_reading {
            return Ok(());
        }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lattice_provider_sdk::sql::{Backend, Dialect, Isolation, Purpose};
    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;

    fn until() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// The first so many numbers, as a query that has begun.
    async fn numbers(count: i64) -> (TempDir, impl Session) {
        let folder = tempfile::tempdir().unwrap();
        let backend = crate::databases(folder.path().to_owned()).await.unwrap();
        let text = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) \
                    SELECT i FROM n";
        let statement = Statement::read(text, Dialect::Sqlite).unwrap();
        let session = backend.connect(None, Purpose::One(&statement), until());
        let mut session = session.await.unwrap();
        let values = vec![Value::Int(count)];
        let columns = session.query(&statement, values, until()).await.unwrap();
        assert_eq!(columns.len(), 1);
        (folder, session)
    }

    async fn next(session: &mut impl Session, rows: usize, bytes: usize) -> (Vec<i64>, bool) {
        let batch = session.next(rows, bytes, until()).await.unwrap();
        let number = |row: Row| match row[..] {
            [Value::Int(number)] => number,
            _ => panic!("not a number: {row:?}"),
        };
        let rows = batch.rows.into_iter().map(number).collect();
        (rows, batch.is_last)
    }

    const MUCH: usize = 1 << 20;

    #[tokio::test]
    async fn rows_come_in_order_however_they_are_asked_for() {
        let (_folder, mut session) = numbers(40).await;
        assert_eq!(next(&mut session, 1, 1).await, (vec![1], false));
        assert_eq!(
            next(&mut session, 5, MUCH).await,
            ((2..=6).collect(), false)
        );
        // Some that came with the columns, and some that did not.
        assert_eq!(
            next(&mut session, 20, MUCH).await,
            ((7..=26).collect(), false)
        );
        assert_eq!(
            next(&mut session, 100, MUCH).await,
            ((27..=40).collect(), true)
        );
        assert_eq!(next(&mut session, 100, MUCH).await, (vec![], true));
    }

    #[tokio::test]
    async fn a_few_rows_are_all_there_at_once() {
        let (_folder, mut session) = numbers(3).await;
        assert_eq!(next(&mut session, 2, MUCH).await, (vec![1, 2], false));
        assert_eq!(next(&mut session, 2, MUCH).await, (vec![3], true));
    }

    #[tokio::test]
    async fn little_room_is_kept_to() {
        let (_folder, mut session) = numbers(3).await;
        assert_eq!(next(&mut session, 10, 1).await, (vec![1], false));
        assert_eq!(next(&mut session, 10, 1).await, (vec![2], false));
    }

    #[tokio::test]
    async fn what_is_left_is_forgotten_when_reading_stops() {
        let (_folder, mut session) = numbers(40).await;
        assert_eq!(next(&mut session, 1, 1).await, (vec![1], false));
        session.stop(until()).await.unwrap();
        assert_eq!(next(&mut session, 10, MUCH).await, (vec![], true));
    }

    async fn connect<B: Backend>(backend: &B, text: &str) -> (B::Session, Statement) {
        let statement = Statement::read(text, Dialect::Sqlite).unwrap();
        let session = backend.connect(None, Purpose::One(&statement), until());
        (session.await.unwrap(), statement)
    }

    async fn execute<B: Backend>(backend: &B, text: &str) -> Result<Done, SqlError> {
        let (mut session, statement) = connect(backend, text).await;
        session.execute(&statement, vec![], until()).await
    }

    #[tokio::test]
    async fn what_is_written_to_a_file_that_is_gone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.sqlite3");
        let backend = crate::databases(folder.path().to_owned()).await.unwrap();
        let is_gone = |error: &SqlError| matches!(error, SqlError::Unavailable(_));
        let insert = "INSERT INTO t VALUES (1)";
        for returning in [None, Some("INSERT INTO t VALUES (1) RETURNING a")] {
            execute(&backend, "CREATE TABLE t (a INTEGER)")
                .await
                .unwrap();
            let (mut session, statement) = connect(&backend, returning.unwrap_or(insert)).await;
            std::fs::remove_file(&path).unwrap();
            let failed = match returning {
                None => session.execute(&statement, vec![], until()).await.err(),
                Some(_) => session.query(&statement, vec![], until()).await.err(),
            };
            assert!(failed.as_ref().is_some_and(is_gone), "{failed:?}");
        }
        execute(&backend, "CREATE TABLE t (a INTEGER)")
            .await
            .unwrap();
        let statement = Statement::read(insert, Dialect::Sqlite).unwrap();
        let transaction = Purpose::Transaction(Isolation::Default);
        let session = backend.connect(None, transaction, until()).await;
        let mut session = session.unwrap();
        session.execute(&statement, vec![], until()).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let failed = session.control(Control::Commit, until()).await.err();
        assert!(failed.as_ref().is_some_and(is_gone), "{failed:?}");
    }

    /// Waits until somebody reads the file: then what is written does not all go from the `-wal`.
    async fn is_read(path: &Path) {
        let other = Connection::open(path).unwrap();
        other.busy_timeout(Duration::ZERO).unwrap();
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        loop {
            other.execute("INSERT INTO t VALUES (1)", []).unwrap();
            let is_busy = other.query_row(checkpoint, [], |row| row.get::<_, bool>(0));
            if is_busy.unwrap() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    const MANY: &str = "WITH RECURSIVE n (i) AS \
                        (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000)";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_new_file_is_opened_when_the_old_one_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default.sqlite3");
        let backend = crate::databases(folder.path().to_owned()).await.unwrap();
        execute(&backend, "CREATE TABLE t (a)").await.unwrap();
        let text = format!("{MANY} SELECT count(*), (SELECT count(*) FROM t) FROM n");
        let (mut session, statement) = connect(&backend, &text).await;
        let counted =
            tokio::spawn(async move { session.query(&statement, vec![], until()).await.map(drop) });
        let begun = tokio::time::timeout(Duration::from_secs(20), is_read(&path));
        begun.await.unwrap();
        std::fs::remove_file(&path).unwrap();
        execute(&backend, "CREATE TABLE t (b)").await.unwrap();
        let counted = tokio::time::timeout(Duration::from_secs(1), counted).await;
        let counted = counted.expect("it was broken off").unwrap();
        assert!(
            matches!(counted, Err(SqlError::Unavailable(_))),
            "{counted:?}"
        );
        assert!(path.exists());
        execute(&backend, "INSERT INTO t (b) VALUES (1)")
            .await
            .unwrap();
    }

    async fn texts<B: Backend>(backend: &B, text: &str) -> Vec<Value> {
        let (mut session, statement) = connect(backend, text).await;
        session.query(&statement, vec![], until()).await.unwrap();
        let batch = session.next(100, MUCH, until()).await.unwrap();
        batch.rows.into_iter().flatten().collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_there_is_not_mixed_into_the_file_that_replaces_it() {
        // Who opens the new file first, the one that reads or the one that writes.
        for writes in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let [path, next] = ["default.sqlite3", "next"].map(|name| folder.path().join(name));
            let backend = crate::databases(folder.path().to_owned()).await.unwrap();
            let make = "CREATE TABLE t (a TEXT)";
            execute(&backend, make).await.unwrap();
            let insert = "INSERT INTO t VALUES ('old')";
            execute(&backend, insert).await.unwrap();
            // Rows wait, so that the file is read all the time.
            let text = format!("{MANY} SELECT i, a FROM n, t");
            let (mut session, statement) = connect(&backend, &text).await;
            session.query(&statement, vec![], until()).await.unwrap();
            let other = Connection::open(&next).unwrap();
            let fill = format!("{make}; INSERT INTO t VALUES ('new')");
            other.execute_batch(&fill).unwrap();
            drop(other);
            std::fs::rename(&next, &path).unwrap();
            let mut there = vec![Value::Text("new".into())];
            if writes {
                let insert = "INSERT INTO t VALUES ('more')";
                execute(&backend, insert).await.unwrap();
                there.push(Value::Text("more".into()));
            }
            assert_eq!(texts(&backend, "SELECT a FROM t").await, there);
            let sound = texts(&backend, "SELECT * FROM pragma_integrity_check").await;
            assert_eq!(sound, [Value::Text("ok".into())]);
        }
    }
}
