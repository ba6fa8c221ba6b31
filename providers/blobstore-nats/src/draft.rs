//! An object that is being written.

use std::collections::VecDeque;

use async_nats::jetstream::context::PublishAckFuture;
use bytes::Bytes;
use lattice_provider_sdk::blobstore::{BlobError, Upload};
use sha2::{Digest as _, Sha256};

use crate::api::{disconnected, failed};
use crate::container::Container;
use crate::index::Index;
use crate::meta::NewMeta;

/// How large a piece is: what other clients take, and far below what a message may have.
const PIECE: usize = 128 << 10;

/// How many pieces may be on their way into the stream.
const AHEAD: usize = 8;

/// Data that are no object yet. They are purged when this is dropped before they are.
struct Draft {
    container: Container,
    object: String,
    /// What the data are called.
    data: String,
    digest: Sha256,
    size: usize,
    pieces: usize,
    index: Index,
    acks: VecDeque<PublishAckFuture>,
    settled: bool,
}

/// Writes an object.
pub(crate) async fn write(
    container: Container,
    object: &str,
    mut data: Upload,
) -> Result<(), BlobError> {
    let mut draft = Draft::new(container, object);
    while let Some(piece) = data.part(PIECE).await? {
        draft.push(piece).await?;
    }
    draft.finish().await
}

impl Draft {
    fn new(container: Container, object: &str) -> Self {
        Self {
            container,
            object: object.to_owned(),
            data: uuid::Uuid::new_v4().simple().to_string(),
            digest: Sha256::new(),
            size: 0,
            pieces: 0,
            index: Index::new(PIECE),
            acks: VecDeque::new(),
            settled: false,
        }
    }

    /// Sends a piece. It is stored later.
    async fn push(&mut self, piece: Bytes) -> Result<(), BlobError> {
        if !self.container.nats.backend.is_connected() {
            return Err(disconnected());
        }
        while self.acks.len() >= AHEAD {
            self.settle().await?;
        }
        self.digest.update(&piece);
        self.size += piece.len();
        self.pieces += 1;
        let subject = self.container.data_subject(&self.data);
        let sent = self.container.writing.publish(subject, piece).await;
        self.acks
            .push_back(sent.map_err(|e| failed(&self.container.name, &e))?);
        Ok(())
    }

    /// Waits until the oldest piece is stored.
    async fn settle(&mut self) -> Result<(), BlobError> {
        if let Some(ack) = self.acks.pop_front() {
            self.index.push(self.container.stored(ack).await?);
        }
        Ok(())
    }

    /// Makes the data an object.
    async fn finish(mut self) -> Result<(), BlobError> {
        while !self.acks.is_empty() {
            self.settle().await?;
        }
        let digest = std::mem::take(&mut self.digest).finalize();
        let meta = NewMeta {
            container: &self.container.name,
            name: &self.object,
            data: &self.data,
            size: self.size,
            pieces: self.pieces,
            piece: PIECE,
            digest: &digest,
            index: &self.index,
        };
        let info = meta.info();
        let place = self.container.replace(&info).await?;
        if self.is_torn().await? {
            self.container.take_back(&info, place).await;
            let why = "the container was cleared meanwhile";
            return Err(BlobError::BrokeOff(why.to_owned()));
        }
        self.settled = true;
        Ok(())
    }

    /// Whether the object has these data, but not all of them.
    async fn is_torn(&self) -> Result<bool, BlobError> {
        // Whoever has replaced the object since takes the data away too, and that is no fault. Nor
        // is it when a server that has just begun to lead does not know of all pieces yet: once it
        // knows of the description, it knows of what was stored before it.
        for _ in 0..2 {
            if self.is_whole().await? || !self.is_last().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the object still has these data.
    async fn is_last(&self) -> Result<bool, BlobError> {
        let last = self.container.last_meta(&self.object).await?;
        Ok(last.is_some_and(|meta| meta.info.nuid == self.data && !meta.info.deleted))
    }

    /// Whether all pieces are there. They are not when the container was cleared after the first of
    /// them was stored, or deleted and created again.
    async fn is_whole(&self) -> Result<bool, BlobError> {
        if self.pieces == 0 {
            return Ok(true);
        }
        Ok(self.container.count(&self.data).await? >= self.pieces)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.settled || self.pieces == 0 {
            return;
        }
        let (container, object) = (self.container.clone(), std::mem::take(&mut self.object));
        let data = std::mem::take(&mut self.data);
        self.container
            .nats
            .chores
            .add("purging a write that broke off", move || {
                let (container, object, data) = (container.clone(), object.clone(), data.clone());
                async move { container.purge_unless_used(&object, &data).await }
            });
    }
}
