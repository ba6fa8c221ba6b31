//! Writing blobs, large ones in blocks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName};
use lattice_azure::{Azure, AzureRequest};
use lattice_provider_sdk::blobstore::{BlobError, HeldPart, ObjectId, PartRoom, Upload};
use uuid::Uuid;

use crate::blobs::path;
use crate::error::of_container;

/// How many blocks a blob may have.
pub(crate) const MOST_BLOCKS: usize = 50_000;
/// The type of blobs that are given none.
const BINARY: &str = "application/octet-stream";
/// Why the blocks of a write are gone: the service keeps one set for each blob.
const DROPPED: &str =
    "another write of the object ended meanwhile, which drops the blocks of this one";
const BLOB_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-type");
const BLOB_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-ms-blob-content-type");

/// Writes blobs.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) azure: &'a Azure,
    /// For the blocks that are held.
    pub(crate) room: &'a PartRoom,
    /// The size of a block.
    pub(crate) size: usize,
}

/// The names of the blocks of one write. All names of a blob are of one length; those of other
/// writes are others.
struct Blocks {
    write: Uuid,
    count: usize,
}

impl Blocks {
    fn name(&self, number: usize) -> String {
        STANDARD.encode(format!("{}-{number:05}", self.write.simple()))
    }
}

impl Writer<'_> {
    /// Writes a blob that appears when all of the data are there.
    pub(crate) async fn write(&self, id: &ObjectId, mut data: Upload) -> Result<(), BlobError> {
        let Some(first) = data.held_part(self.size, self.room).await? else {
            return self.put(id, Bytes::new()).await;
        };
        if first.0.len() == self.size && data.has_more().await? {
            return self.write_blocks(id, first, data).await;
        }
        let (all, _taken) = first;
        self.put(id, all).await
    }

    async fn put(&self, id: &ObjectId, data: Bytes) -> Result<(), BlobError> {
        let mut asked = AzureRequest::new("write the blob", Method::PUT, path(id));
        asked.headers = vec![
            (BLOB_TYPE, "BlockBlob".to_owned()),
            (CONTENT_TYPE, BINARY.to_owned()),
        ];
        asked.body = data;
        self.ask(id, &asked).await
    }

    async fn ask(&self, id: &ObjectId, asked: &AzureRequest<'_>) -> Result<(), BlobError> {
        let done = self.azure.ask(asked).await;
        done.map(drop)
            .map_err(|error| of_container(&error, &id.container))
    }

    async fn write_blocks(
        &self,
        id: &ObjectId,
        first: HeldPart,
        mut data: Upload,
    ) -> Result<(), BlobError> {
        let mut blocks = Blocks {
            write: Uuid::new_v4(),
            count: 0,
        };
        let mut next = Some(first);
        while let Some(block) = next {
            if blocks.count == MOST_BLOCKS {
                return Err(BlobError::TooLarge {
                    limit: MOST_BLOCKS as u64 * self.size as u64,
                    whose: "Azure (with the link's `part_size_mb`)",
                });
            }
            let name = blocks.name(blocks.count);
            // While one block is sent the next one is collected.
            let put = self.put_block(id, &name, block);
            let collect = data.held_part(self.size, self.room);
            let ((), collected) = futures::try_join!(put.boxed(), collect.boxed())?;
            blocks.count += 1;
            next = collected;
        }
        self.commit(id, &blocks).await
    }

    /// Sends a block, whose room is given back when it is there.
    async fn put_block(
        &self,
        id: &ObjectId,
        name: &str,
        (data, _taken): HeldPart,
    ) -> Result<(), BlobError> {
        let mut asked = AzureRequest::new("write a block of the blob", Method::PUT, path(id));
        asked.query = vec![("comp", "block"), ("blockid", name)];
        asked.body = data;
        self.ask(id, &asked).await
    }

    async fn commit(&self, id: &ObjectId, blocks: &Blocks) -> Result<(), BlobError> {
        let names = (0..blocks.count).map(|number| {
            let name = blocks.name(number);
            format!("<Uncommitted>{name}</Uncommitted>")
        });
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{}</BlockList>",
            names.collect::<String>()
        );
        let mut asked = AzureRequest::new("finish the blob", Method::PUT, path(id));
        asked.query = vec![("comp", "blocklist")];
        asked.headers = vec![(BLOB_CONTENT_TYPE, BINARY.to_owned())];
        asked.body = Bytes::from(body);
        // The second time the blocks would not be uncommitted any more.
        asked.once = true;
        let done = self.azure.ask(&asked).await;
        done.map(drop).map_err(|error| match error.code() {
            Some("InvalidBlockList") => BlobError::Unavailable(DROPPED.to_owned()),
            _ => of_container(&error, &id.container),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{StreamExt as _, stream};
    use lattice_provider_sdk::Settings;
    use lattice_provider_sdk::blobstore::BlobSettings;

    use super::*;
    use crate::backend::Account;
    use crate::settings::AzureSettings;

    #[tokio::test]
    async fn blocks_are_taken_when_there_is_room_for_them() {
        let says = [
            ("CLOUD_LOCATION", "http://127.0.0.1:1"),
            ("STORAGE_ACCOUNT", "devstoreaccount1"),
            ("part_size_mb", "1"),
        ];
        let settings = AzureSettings::read(&Settings::from_texts(says, []), |_| None);
        let room = PartRoom::new(2 << 20);
        let account = Account::new(settings.unwrap()).unwrap();
        // Another upload has it, maybe of another link.
        let endless = stream::repeat_with(|| Ok(Bytes::from(vec![0; 1 << 18])));
        let mut other = Upload::of(endless.boxed(), &BlobSettings::default());
        let _first = other.held_part(1 << 20, &room).await.unwrap().unwrap();
        let _second = other.held_part(1 << 20, &room).await.unwrap().unwrap();
        let given = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&given);
        let pieces = stream::repeat_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(vec![0; 1 << 18]))
        });
        let data = Upload::of(pieces.take(20).boxed(), &BlobSettings::default());
        let id = ObjectId {
            container: "corp".to_owned(),
            object: "large".to_owned(),
        };
        let writer = account.writer(&room);
        let mut write = pin!(writer.write(&id, data));
        assert!(futures::poll!(write.as_mut()).is_pending());
        // No block of 1 MiB was begun.
        assert_eq!(given.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn names_of_blocks_are_of_one_length() {
        let blocks = Blocks {
            write: Uuid::new_v4(),
            count: 0,
        };
        let length = blocks.name(0).len();
        assert!(length <= 64);
        assert_eq!(blocks.name(MOST_BLOCKS).len(), length);
        assert_ne!(blocks.name(1), blocks.name(2));
    }
}
