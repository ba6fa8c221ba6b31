//! NATS and JetStream.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use async_nats::jetstream::{self, kv};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use lattice_nats::NewBucket;

use super::{Batch, Work};
use crate::capabilities::unknown;

/// How long a message may take: others take the one that was sent here, and leave theirs.
const PATIENCE: Duration = Duration::from_secs(10);

fn data(batch: Batch<'_>) -> Bytes {
    vec![7; batch.size as usize].into()
}

/// A bucket.
#[derive(Debug)]
pub(super) struct Keys(kv::Store);

impl Keys {
    pub(super) async fn open(url: &str, name: &str) -> Result<Self> {
        let jetstream = jetstream::new(async_nats::connect(url).await?);
        let new = NewBucket {
            name: format!("bench-{name}"),
            ..NewBucket::default()
        };
        Ok(Self(lattice_nats::create_bucket(&jetstream, new).await?))
    }

    async fn batch(&self, batch: Batch<'_>) -> Result<()> {
        let (Self(store), data) = (self, data(batch));
        for _ in 0..batch.times {
            match batch.kind {
                "key-value-get" => {
                    let got = store.get(batch.place).await?;
                    ensure!(got.is_some_and(|got| got.len() == data.len()), "no value");
                }
                "key-value-set" | "schedule-put" => {
                    store.put(batch.place, data.clone()).await?;
                }
                "lock-cycle" => {
                    store.create(batch.place, data.clone()).await?;
                    store.delete(batch.place).await?;
                }
                other => return unknown(other),
            }
        }
        Ok(())
    }
}

impl Work for Keys {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.batch(batch).boxed()
    }
}

/// Messages without a stream.
#[derive(Debug)]
pub(super) struct Messages(async_nats::Client);

impl Messages {
    pub(super) async fn open(url: &str) -> Result<Self> {
        Ok(Self(async_nats::connect(url).await?))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "what is measured here is NATS itself"
    )]
    async fn batch(&self, batch: Batch<'_>) -> Result<()> {
        let (Self(client), data) = (self, data(batch));
        let subject = async_nats::Subject::from(batch.place);
        for _ in 0..batch.times {
            match batch.kind {
                "publish" => client.publish(subject.clone(), data.clone()).await?,
                "request" => {
                    let answer = client.request(subject.clone(), data.clone()).await?;
                    ensure!(answer.payload.len() == data.len(), "another answer");
                }
                other => return unknown(other),
            }
        }
        Ok(())
    }
}

impl Work for Messages {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.batch(batch).boxed()
    }
}

/// A work queue.
#[derive(Debug)]
pub(super) struct Queue {
    jetstream: jetstream::Context,
    consumer: PullConsumer,
}

const STREAM: &str = "bench-queue";

impl Queue {
    pub(super) async fn open(url: &str) -> Result<Self> {
        let jetstream = jetstream::new(async_nats::connect(url).await?);
        let config = Config {
            name: STREAM.to_owned(),
            subjects: vec![STREAM.to_owned()],
            retention: RetentionPolicy::WorkQueue,
            ..Config::default()
        };
        let stream = jetstream.create_stream(config).await?;
        let config = pull::Config {
            durable_name: Some("bench".to_owned()),
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await?;
        Ok(Self {
            jetstream,
            consumer,
        })
    }

    async fn batch(&self, batch: Batch<'_>) -> Result<()> {
        let data = data(batch);
        for _ in 0..batch.times {
            let sent = self.jetstream.publish(STREAM, data.clone()).await?;
            sent.await?;
            let one = self.consumer.batch().max_messages(1).expires(PATIENCE);
            let mut got = one.messages().await?;
            let message = got.next().await.context("there is no message")?;
            let message = message.map_err(|error| anyhow!(error))?;
            let acknowledged = message.double_ack().await;
            acknowledged.map_err(|error| anyhow!(error))?;
        }
        Ok(())
    }
}

impl Work for Queue {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.batch(batch).boxed()
    }
}
