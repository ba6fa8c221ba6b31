//! Operations by the clients of backends, as a program without a lattice would use them.

mod files;
mod http;
mod memory;
mod nats;
mod postgres;
mod redis;
mod sqlite;

use std::sync::Arc;

use anyhow::{Result, bail};

use super::catalog::Subject;
use super::ground::Ground;
use super::{Batch, Work, Worker};

/// What SQL is measured with; the guest does the same.
pub(super) const ROWS: u32 = 1000;
pub(super) const TABLE: [&str; 2] = [
    "DROP TABLE IF EXISTS ops",
    "CREATE TABLE ops (id BIGINT PRIMARY KEY, name TEXT NOT NULL, n BIGINT NOT NULL)",
];
pub(super) const INSERT: &str = "INSERT INTO ops (id, name, n) VALUES ($1, $2, $3)";
pub(super) const SELECT: &str = "SELECT id, name, n FROM ops WHERE id = $1";
pub(super) const UPDATE: &str = "UPDATE ops SET n = n + 1 WHERE id = $1";

/// The client of a subject, connected.
pub(super) async fn of(ground: &Ground, subject: &Subject) -> Result<Worker> {
    let nats = ground.nats_url();
    Ok(match subject.provider {
        "keyvalue-nats" | "lock-nats" | "schedule-nats" => {
            Arc::new(nats::Keys::open(nats, subject.capability).await?)
        }
        "messaging-nats" => Arc::new(nats::Messages::open(nats).await?),
        "queue-nats" => Arc::new(nats::Queue::open(nats).await?),
        "keyvalue-redis" => Arc::new(redis::Redis::open(&ground.redis_url()).await?),
        "keyvalue-memory" => Arc::new(memory::Map::default()),
        "blobstore-fs" => Arc::new(files::Files::open(&ground.folder("native")).await?),
        "sqldb-sqlite" => Arc::new(sqlite::Sqlite::open(&ground.folder("native.sqlite3"))?),
        "sqldb-postgres" => Arc::new(postgres::Postgres::open(&ground.postgres_url())),
        "http-client" => Arc::new(http::Http),
        other => bail!("`{other}` has no client to be compared with"),
    })
}
