//! PostgreSQL.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_postgres::{Client, NoTls, Statement};

use super::{Batch, INSERT, ROWS, SELECT, TABLE, UPDATE, Work};
use crate::capabilities::unknown;

/// A connection with its prepared statements.
struct Ready {
    client: Client,
    select: Statement,
    update: Statement,
}

/// As many connections as are at work at once.
pub(super) struct Postgres {
    url: String,
    idle: Mutex<Vec<Ready>>,
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

impl Postgres {
    pub(super) fn open(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            idle: Mutex::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Ready>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ready(&self) -> Result<Ready> {
        if let Some(ready) = self.idle().pop() {
            return Ok(ready);
        }
        let client = connect(&self.url).await?;
        Ok(Ready {
            select: client.prepare(SELECT).await?,
            update: client.prepare(UPDATE).await?,
            client,
        })
    }

    async fn batch(&self, batch: Batch<'_>) -> Result<()> {
        if batch.kind == "sql-prepare" {
            return self.prepare(batch.size).await;
        }
        let ready = self.ready().await?;
        for at in 0..batch.times {
            let id = i64::from(at % ROWS);
            match batch.kind {
                "sql-query" => {
                    let rows = ready.client.query(&ready.select, &[&id]).await?;
                    ensure!(rows.len() == 1, "{} rows", rows.len());
                    let row: (i64, String, i64) = (rows[0].get(0), rows[0].get(1), rows[0].get(2));
                    std::hint::black_box(row);
                }
                "sql-execute" => {
                    let affected = ready.client.execute(&ready.update, &[&id]).await?;
                    ensure!(affected == 1, "{affected} rows were changed");
                }
                other => return unknown(other),
            }
        }
        self.idle().push(ready);
        Ok(())
    }

    async fn prepare(&self, size: u32) -> Result<()> {
        let client = connect(&self.url).await?;
        for text in TABLE {
            client.batch_execute(text).await?;
        }
        let name = "x".repeat(size as usize);
        let insert = client.prepare(INSERT).await?;
        client.batch_execute("BEGIN").await?;
        for at in 0..ROWS {
            let row: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                [&i64::from(at), &name, &0_i64];
            client.execute(&insert, &row).await?;
        }
        Ok(client.batch_execute("COMMIT").await?)
    }
}

impl Work for Postgres {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.batch(batch).boxed()
    }
}
