//! Redis.

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;

use super::{Batch, Work};
use crate::capabilities::unknown;

/// One connection that all share.
pub(super) struct Redis(MultiplexedConnection);

impl Redis {
    pub(super) async fn open(url: &str) -> Result<Self> {
        let client = redis::Client::open(url)?;
        Ok(Self(client.get_multiplexed_async_connection().await?))
    }

    async fn batch(&self, batch: Batch<'_>) -> Result<()> {
        let mut connection = self.0.clone();
        let data = vec![7; batch.size as usize];
        // Apart from what components write.
        let key = format!("native-{}", batch.place);
        for _ in 0..batch.times {
            match batch.kind {
                "key-value-get" => {
                    let got: Option<Vec<u8>> = connection.get(&key).await?;
                    ensure!(got.is_some_and(|got| got.len() == data.len()), "no value");
                }
                "key-value-set" => {
                    let () = connection.set(&key, &data).await?;
                }
                other => return unknown(other),
            }
        }
        Ok(())
    }
}

impl Work for Redis {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.batch(batch).boxed()
    }
}
