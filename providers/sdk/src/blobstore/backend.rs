//! What a blob provider does for one link.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use lattice_rpc::Context;

use super::{BlobError, BlobSettings, Span, Upload};

/// How many objects [`Blobs::delete_objects`] deletes at once.
const DELETES_AT_ONCE: usize = 16;

/// What an object is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectId {
    /// The container, under the name that the backend has for it.
    pub container: String,
    /// The object.
    pub object: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in container `{}`", self.object, self.container)
    }
}

/// What is known of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerInfo {
    /// When it was created, in seconds since 1970; 0 where the backend cannot tell.
    pub created_at: u64,
}

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectInfo {
    /// When it was written, in seconds since 1970; 0 where the backend cannot tell.
    pub created_at: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// A time as the interface has it.
#[must_use]
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The bytes of an object, piece by piece. Nothing is read before it is asked for, but for what a
/// backend may read ahead. Pieces of 64 KiB to 256 KiB pass best.
pub type Data = BoxStream<'static, Result<Bytes, BlobError>>;

/// The names of objects, some at a time, in an order that does not change between two calls.
pub type Names = BoxStream<'static, Result<Vec<String>, BlobError>>;

/// What is read of an object.
pub struct Blob {
    /// How many bytes the data are.
    pub len: u64,
    /// The data.
    pub data: Data,
}

impl Blob {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            len: 0,
            data: futures::stream::empty().boxed(),
        }
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob").field("len", &self.len).finish()
    }
}

/// The containers behind one link.
///
/// Operations are dropped when their caller gives up, and those that answer at once when their
/// deadline passes, so they need a time limit of their own only against a backend that is silent
/// within a stream. The context says who calls, through which link, and until when. The names of
/// containers are those of the backend: aliases have been replaced. Names are not empty and not
/// longer than 1024 bytes; everything else about them is the backend's business.
pub trait Blobs: Send + Sync + 'static {
    /// The settings of the link that all blob providers share.
    fn settings(&self) -> &BlobSettings;

    /// Creates a container; one that is there is created already.
    fn create_container(
        &self,
        cx: &Context,
        name: &str,
    ) -> impl Future<Output = Result<(), BlobError>> + Send;

    /// Deletes a container with everything in it; one that is not there is deleted already.
    fn delete_container(
        &self,
        cx: &Context,
        name: &str,
    ) -> impl Future<Output = Result<(), BlobError>> + Send;

    /// Deletes all objects of a container.
    fn clear_container(
        &self,
        cx: &Context,
        name: &str,
    ) -> impl Future<Output = Result<(), BlobError>> + Send;

    /// Whether there is such a container.
    fn container_exists(
        &self,
        cx: &Context,
        name: &str,
    ) -> impl Future<Output = Result<bool, BlobError>> + Send;

    /// What is known of a container.
    fn container_info(
        &self,
        cx: &Context,
        name: &str,
    ) -> impl Future<Output = Result<ContainerInfo, BlobError>> + Send;

    /// The names of all objects of a container. They are asked for only as far as the caller wants
    /// them; which page of them that is, is cut out by the SDK.
    fn list_objects(
        &self,
        cx: &Context,
        container: &str,
    ) -> impl Future<Output = Result<Names, BlobError>> + Send;

    /// What is known of an object.
    fn object_info(
        &self,
        cx: &Context,
        id: &ObjectId,
    ) -> impl Future<Output = Result<ObjectInfo, BlobError>> + Send;

    /// Whether there is such an object.
    fn has_object(
        &self,
        cx: &Context,
        id: &ObjectId,
    ) -> impl Future<Output = Result<bool, BlobError>> + Send {
        async move {
            match self.object_info(cx, id).await {
                Ok(_) => Ok(true),
                Err(BlobError::NoObject(_) | BlobError::NoContainer(_)) => Ok(false),
                Err(error) => Err(error),
            }
        }
    }

    /// Deletes an object; one that is not there is deleted already.
    fn delete_object(
        &self,
        cx: &Context,
        id: &ObjectId,
    ) -> impl Future<Output = Result<(), BlobError>> + Send;

    /// Deletes some objects of a container. All are tried; the error says how many are left, and
    /// why the first of them is.
    fn delete_objects(
        &self,
        cx: &Context,
        container: &str,
        objects: Vec<String>,
    ) -> impl Future<Output = Result<(), BlobError>> + Send {
        async move {
            let of = objects.len();
            let deletes = objects.into_iter().map(|object| async move {
                let container = container.to_owned();
                self.delete_object(cx, &ObjectId { container, object })
                    .await
            });
            let deletes: Vec<_> = deletes.collect();
            let mut done = futures::stream::iter(deletes).buffered(DELETES_AT_ONCE);
            let mut failed = Vec::new();
            while let Some(deleted) = done.next().await {
                failed.extend(deleted.err());
            }
            BlobError::of_some(of, failed)
        }
    }

    /// Copies an object. Source and destination differ.
    fn copy_object(
        &self,
        cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> impl Future<Output = Result<(), BlobError>> + Send;

    /// Moves an object. Source and destination differ. What is written to the source meanwhile is
    /// not moved, and stays where the backend can tell it from what was copied: without more than
    /// is known here, it is deleted.
    fn move_object(
        &self,
        cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> impl Future<Output = Result<(), BlobError>> + Send {
        async move {
            self.copy_object(cx, from, to).await?;
            self.delete_object(cx, from).await
        }
    }

    /// Opens an object for reading. [`Span::within`] says which bytes of it are meant. The data of
    /// one version of the object are read to their end, or they fail.
    fn read_object(
        &self,
        cx: &Context,
        id: &ObjectId,
        span: Span,
    ) -> impl Future<Output = Result<Blob, BlobError>> + Send;

    /// Writes an object. It must not appear, and not replace an older one, before [`Upload::next`]
    /// has said that the data are all there; when that is an error, or the future is dropped
    /// before, everything that was stored so far is taken away again.
    fn write_object(
        &self,
        cx: &Context,
        id: &ObjectId,
        data: Upload,
    ) -> impl Future<Output = Result<(), BlobError>> + Send;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(seconds(UNIX_EPOCH + Duration::from_millis(5_999)), 5);
        assert_eq!(seconds(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
