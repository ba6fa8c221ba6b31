//! Operations by the implementations of providers, without a lattice: what the SDK calls.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use lattice_provider_sdk::blobstore::{BlobSettings, Blobs, ObjectId, Span, Upload};
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::sql::{self, Dialect, Purpose, Session as _, Statement, Value};
use lattice_rpc::Context;
use tokio::time::Instant;

use super::catalog::{Subject, Way};
use super::ground::Ground;
use super::native::{ROWS, SELECT, UPDATE};
use super::{Batch, Work, Worker, unknown};

/// Until when an operation has to be done.
const LIMIT: Duration = Duration::from_secs(60);
const CONTAINER: &str = "ops";
/// How much of the answer to a query is asked for at once, as by the SDK.
const PAGE_BYTES: usize = 512 * 1024;

/// The implementation behind a subject.
pub(super) async fn of(ground: &Ground, subject: &Subject) -> Result<Worker> {
    let root = PathBuf::from(ground.folder(Way::Sdk.name()));
    Ok(match subject.provider {
        "keyvalue-memory" => std::sync::Arc::new(Values(keyvalue_memory::store())),
        "blobstore-fs" => std::sync::Arc::new(Objects(blobstore_fs::folder(root).await?)),
        "sqldb-sqlite" => std::sync::Arc::new(Tables(sqldb_sqlite::databases(root).await?)),
        other => anyhow::bail!("`{other}` is not called without a lattice"),
    })
}

fn context() -> Context {
    Context::alone(Instant::now() + LIMIT)
}

/// An error of a provider, most of which are no [`std::error::Error`].
fn told(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("{error:?}")
}

struct Values<B>(B);

impl<B: keyvalue::Backend> Values<B> {
    async fn batch(&self, batch: Batch<'_>) -> Result<()> {
        let value = vec![7; batch.size as usize];
        for _ in 0..batch.times {
            let cx = context();
            match batch.kind {
                "key-value-get" => {
                    let got = self.0.get(&cx, "", batch.place).await.map_err(told)?;
                    ensure!(got.is_some(), "no value");
                }
                "key-value-set" => {
                    let value = Bytes::copy_from_slice(&value);
                    let done = self.0.set(&cx, "", batch.place, value, None);
                    done.await.map_err(told)?;
                }
                other => return unknown(other),
            }
        }
        Ok(())
    }
}

impl<B: keyvalue::Backend> Work for Values<B> {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.batch(batch).boxed()
    }
}

struct Objects<B>(B);

impl<B: Blobs> Objects<B> {
    async fn batch(&self, batch: Batch<'_>) -> Result<()> {
        let id = ObjectId {
            container: CONTAINER.to_owned(),
            object: batch.place.to_owned(),
        };
        self.0.create_container(&context(), CONTAINER).await?;
        let data = vec![7; batch.size as usize];
        for _ in 0..batch.times {
            match batch.kind {
                "blob-read" => self.read(&id, batch.size as usize).await?,
                "blob-write" => {
                    let data = Bytes::copy_from_slice(&data);
                    let data = futures::stream::once(async { Ok(data) }).boxed();
                    let data = Upload::of(data, &BlobSettings::default());
                    self.0.write_object(&context(), &id, data).await?;
                }
                other => return unknown(other),
            }
        }
        Ok(())
    }

    async fn read(&self, id: &ObjectId, size: usize) -> Result<()> {
        let span = Span::new(0, u64::MAX)?;
        let mut blob = self.0.read_object(&context(), id, span).await?;
        let mut all = Vec::with_capacity(size);
        while let Some(piece) = blob.data.next().await {
            all.extend_from_slice(&piece?);
        }
        ensure!(all.len() == size, "the object has {} bytes", all.len());
        Ok(())
    }
}

impl<B: Blobs> Work for Objects<B> {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.batch(batch).boxed()
    }
}

struct Tables<B>(B);

impl<B: sql::Backend> Tables<B> {
    async fn batch(&self, batch: Batch<'_>) -> Result<()> {
        for at in 0..batch.times {
            match batch.kind {
                "sql-prepare" => self.prepare(batch.size).await?,
                "sql-query" => self.query(at).await?,
                "sql-execute" => {
                    let affected = self.execute(UPDATE, vec![id(at)]).await?;
                    ensure!(affected == 1, "{affected} rows were changed");
                }
                other => return unknown(other),
            }
        }
        Ok(())
    }

    async fn query(&self, at: u32) -> Result<()> {
        let until = Instant::now() + LIMIT;
        let statement = Statement::read(SELECT, Dialect::Sqlite)?;
        let session = self.0.connect(None, Purpose::One(&statement), until).await;
        let mut session = session.map_err(told)?;
        let values = statement.in_order(vec![id(at)]);
        session
            .query(&statement, values, until)
            .await
            .map_err(told)?;
        let batch = session.next(10, PAGE_BYTES, until).await.map_err(told)?;
        ensure!(batch.rows.len() == 1, "{} rows", batch.rows.len());
        if !batch.is_last {
            session.stop(until).await.map_err(told)?;
        }
        Ok(())
    }

    async fn execute(&self, text: &str, values: Vec<Value>) -> Result<u64> {
        let until = Instant::now() + LIMIT;
        let statement = Statement::read(text, Dialect::Sqlite)?;
        let session = self.0.connect(None, Purpose::One(&statement), until).await;
        let values = statement.in_order(values);
        let mut session = session.map_err(told)?;
        let done = session.execute(&statement, values, until).await;
        Ok(done.map_err(told).context("could not change")?.affected)
    }

    async fn prepare(&self, size: u32) -> Result<()> {
        for text in super::native::TABLE {
            self.execute(text, Vec::new()).await?;
        }
        let name = "x".repeat(size as usize);
        for at in 0..ROWS {
            let values = vec![id(at), Value::Text(name.clone()), Value::Int(0)];
            self.execute(super::native::INSERT, values).await?;
        }
        Ok(())
    }
}

fn id(at: u32) -> Value {
    Value::Int(i64::from(at % ROWS))
}

impl<B: sql::Backend> Work for Tables<B> {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.batch(batch).boxed()
    }
}
