//! SQLite.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rusqlite::{Connection, params};

use super::{Batch, INSERT, ROWS, SELECT, TABLE, UPDATE, Work};
use crate::capabilities::unknown;

/// A database with a writer and as many readers as are at work at once. What is done blocks, so it
/// is done on threads for such work, a batch at a time.
#[derive(Debug, Clone)]
pub(super) struct Sqlite(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

fn connect(path: &PathBuf) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.busy_timeout(Duration::from_secs(10))?;
    Ok(connection)
}

impl Sqlite {
    pub(super) fn open(path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        Ok(Self(Arc::new(Shared {
            writer: Mutex::new(connect(&path)?),
            readers: Mutex::default(),
            path,
        })))
    }
}

impl Shared {
    fn query(&self, times: u32) -> Result<()> {
        let idle = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = idle().pop();
        let reader = reader.map_or_else(|| connect(&self.path), Ok)?;
        for at in 0..times {
            let mut statement = reader.prepare_cached(SELECT)?;
            let mut rows = statement.query([i64::from(at % ROWS)])?;
            let mut count = 0;
            while let Some(row) = rows.next()? {
                let row: (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                std::hint::black_box(row);
                count += 1;
            }
            ensure!(count == 1, "{count} rows");
        }
        idle().push(reader);
        Ok(())
    }

    fn execute(&self, times: u32) -> Result<()> {
        for at in 0..times {
            // Others may write in between, as they may through a provider.
            let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let mut statement = writer.prepare_cached(UPDATE)?;
            let affected = statement.execute([i64::from(at % ROWS)])?;
            ensure!(affected == 1, "{affected} rows were changed");
        }
        Ok(())
    }

    fn prepare(&self, size: u32) -> Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for text in TABLE {
            writer.execute_batch(text)?;
        }
        let name = "x".repeat(size as usize);
        let transaction = writer.transaction()?;
        for at in 0..ROWS {
            transaction.execute(INSERT, params![i64::from(at), name, 0])?;
        }
        Ok(transaction.commit()?)
    }
}

impl Work for Sqlite {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        let (shared, kind) = (Arc::clone(&self.0), batch.kind.to_owned());
        let (times, size) = (batch.times, batch.size);
        let work = move || match kind.as_str() {
            "sql-prepare" => shared.prepare(size),
            "sql-query" => shared.query(times),
            "sql-execute" => shared.execute(times),
            other => unknown(other),
        };
        async move { tokio::task::spawn_blocking(work).await? }.boxed()
    }
}
