//! The description of an object, as all clients of NATS have it.

use async_nats::jetstream::object_store::{ObjectInfo, ObjectOptions};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use lattice_provider_sdk::blobstore::{self, BlobError};

use crate::index::Index;

/// A description, with where it is.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    pub(crate) info: ObjectInfo,
    /// Its place in the stream.
    pub(crate) place: u64,
    /// When it was written, in seconds since 1970.
    written: u64,
}

/// Seconds since 1970.
pub(crate) fn seconds(time: async_nats::datetime::DateTime) -> u64 {
    blobstore::seconds(time.into())
}

/// The last part of the subject of a description.
pub(crate) fn token(name: &str) -> String {
    URL_SAFE.encode(name)
}

impl Meta {
    /// Reads a message.
    pub(crate) fn read(
        payload: &[u8],
        place: u64,
        time: async_nats::datetime::DateTime,
    ) -> Result<Self, BlobError> {
        let info = serde_json::from_slice(payload).map_err(|error| {
            let text = format!("the description of the object cannot be read: {error}");
            BlobError::Unavailable(text)
        })?;
        Ok(Self {
            info,
            place,
            written: seconds(time),
        })
    }

    /// What components are told.
    pub(crate) fn told(&self) -> blobstore::ObjectInfo {
        blobstore::ObjectInfo {
            created_at: self.written,
            size: self.info.size as u64,
        }
    }

    /// Where its data are, if that is known.
    pub(crate) fn index(&self) -> Option<Index> {
        let info = &self.info;
        Index::read(&info.nuid, info.size as u64, &info.metadata)
    }

    /// The object that this one stands for, as container and name.
    pub(crate) fn link(&self) -> Option<(&str, Option<&str>)> {
        let link = self.info.options.as_ref()?.link.as_ref()?;
        Some((&link.bucket, link.name.as_deref()))
    }
}

/// What is written of an object.
#[derive(Debug)]
pub(crate) struct NewMeta<'a> {
    pub(crate) container: &'a str,
    pub(crate) name: &'a str,
    /// What its data are called.
    pub(crate) data: &'a str,
    pub(crate) size: usize,
    pub(crate) pieces: usize,
    pub(crate) piece: usize,
    pub(crate) digest: &'a [u8],
    pub(crate) index: &'a Index,
}

impl NewMeta<'_> {
    /// The description.
    pub(crate) fn info(&self) -> ObjectInfo {
        let mut info = ObjectInfo {
            name: self.name.to_owned(),
            description: None,
            metadata: std::collections::HashMap::new(),
            headers: None,
            options: Some(ObjectOptions {
                link: None,
                max_chunk_size: Some(self.piece),
            }),
            bucket: self.container.to_owned(),
            nuid: self.data.to_owned(),
            size: self.size,
            chunks: self.pieces,
            modified: Some(async_nats::datetime::now()),
            digest: Some(digest(self.digest)),
            deleted: false,
        };
        if self.pieces > 0 {
            self.index.put(self.data, &mut info.metadata);
        }
        info
    }
}

/// A digest as it is written.
pub(crate) fn digest(sha256: &[u8]) -> String {
    format!("SHA-256={}", URL_SAFE.encode(sha256))
}

/// The description of an object that was deleted.
pub(crate) fn deleted(mut info: ObjectInfo) -> ObjectInfo {
    info.deleted = true;
    (info.size, info.chunks) = (0, 0);
    info.metadata.clear();
    info
}
