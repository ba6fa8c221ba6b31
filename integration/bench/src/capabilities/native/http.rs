//! HTTP.

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lattice_integration::HttpClient;

use super::{Batch, Work};

/// A connection for each batch.
#[derive(Debug)]
pub(super) struct Http;

impl Work for Http {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut client = HttpClient::connect(batch.place).await?;
            for _ in 0..batch.times {
                let answer = client.get("/").await?;
                ensure!(answer.status() == 200, "the status is {}", answer.status());
            }
            Ok(())
        }
        .boxed()
    }
}
