//! Files.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::{Batch, Work};
use crate::capabilities::unknown;

/// A folder.
#[derive(Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) async fn open(folder: &str) -> Result<Self> {
        tokio::fs::create_dir_all(folder).await?;
        Ok(Self(folder.into()))
    }

    async fn batch(&self, batch: Batch<'_>) -> Result<()> {
        let path = self.0.join(batch.place);
        let data = vec![7; batch.size as usize];
        for _ in 0..batch.times {
            match batch.kind {
                "blob-read" => {
                    let got = tokio::fs::read(&path).await?;
                    ensure!(got.len() == data.len(), "another length");
                }
                "blob-write" => {
                    // Nobody sees half of it, and it is there after a loss of power.
                    let draft = path.with_extension("new");
                    let mut file = File::create(&draft).await?;
                    file.write_all(&data).await?;
                    file.sync_all().await?;
                    tokio::fs::rename(&draft, &path).await?;
                    File::open(&self.0).await?.sync_all().await?;
                }
                other => return unknown(other),
            }
        }
        Ok(())
    }
}

impl Work for Files {
    fn run<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Result<()>> {
        self.batch(batch).boxed()
    }
}
