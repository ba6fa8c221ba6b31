//! Values in memory: what a program would do without any store.

use std::collections::HashMap;
use std::sync::RwLock;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Batch, Work};
use crate::capabilities::unknown;

/// A map behind a lock.
#[derive(Debug, Default)]
pub(super) struct Map(RwLock<HashMap<String, Bytes>>);

impl Map {
    fn batch(&self, batch: Batch<'_>) -> Result<()> {
        let data = vec![7; batch.size as usize];
        for _ in 0..batch.times {
            match batch.kind {
                "key-value-get" => {
                    let map = self.0.read().ok().context("poisoned")?;
                    std::hint::black_box(map.get(batch.place).context("no value")?.clone());
                }
                "key-value-set" => {
                    let mut map = self.0.write().ok().context("poisoned")?;
                    map.insert(batch.place.to_owned(), Bytes::copy_from_slice(&data));
                }
                other => return unknown(other),
            }
        }
        Ok(())
    }
}

impl Work for Map {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        async move { self.batch(batch) }.boxed()
    }
}
