//! The containers behind one link.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use lattice_provider_sdk::Context;
use lattice_provider_sdk::blobstore::{
    Blob, BlobError, BlobSettings, Blobs, ContainerInfo, Names, ObjectId, ObjectInfo, Span, Upload,
};

use crate::listing;
use crate::room::Bounds;
use crate::settings::MemorySettings;
use crate::store::Store;

/// How much is kept in one piece, so that data are not kept in pieces of any size.
const PIECE: usize = 64 << 10;

/// A store as one link sees it.
#[derive(Debug)]
pub(crate) struct MemoryBackend {
    store: Arc<Store>,
    pub(crate) settings: MemorySettings,
}

impl MemoryBackend {
    pub(crate) fn new(store: Arc<Store>, settings: MemorySettings) -> Self {
        Self { store, settings }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            container: self.settings.max_bytes,
            total: self.settings.max_total_bytes,
        }
    }
}

impl Blobs for MemoryBackend {
    fn settings(&self) -> &BlobSettings {
        &self.settings.shared
    }

    async fn create_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        self.store.create(name, self.bounds())
    }

    async fn delete_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        self.store.delete(name);
        Ok(())
    }

    async fn clear_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        self.store.container(name)?.clear();
        Ok(())
    }

    async fn container_exists(&self, _cx: &Context, name: &str) -> Result<bool, BlobError> {
        Ok(self.store.has(name))
    }

    async fn container_info(&self, _cx: &Context, name: &str) -> Result<ContainerInfo, BlobError> {
        let created_at = self.store.container(name)?.created_at;
        Ok(ContainerInfo { created_at })
    }

    async fn list_objects(&self, _cx: &Context, container: &str) -> Result<Names, BlobError> {
        Ok(listing::names(self.store.container(container)?))
    }

    async fn object_info(&self, _cx: &Context, id: &ObjectId) -> Result<ObjectInfo, BlobError> {
        let object = self.store.container(&id.container)?.get(&id.object)?;
        Ok(object.info)
    }

    async fn delete_object(&self, _cx: &Context, id: &ObjectId) -> Result<(), BlobError> {
        self.store.container(&id.container)?.delete(&id.object);
        Ok(())
    }

    async fn copy_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        let target = self.store.container(&to.container)?;
        let object = self.store.container(&from.container)?.get(&from.object)?;
        target.copy(&object, &to.object, self.bounds())
    }

    async fn move_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        let target = self.store.container(&to.container)?;
        let source = self.store.container(&from.container)?;
        let object = source.get(&from.object)?;
        target.copy(&object, &to.object, self.bounds())?;
        // One that was written meanwhile was not moved.
        source.delete_this(&from.object, &object);
        Ok(())
    }

    async fn read_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        span: Span,
    ) -> Result<Blob, BlobError> {
        let object = self.store.container(&id.container)?.get(&id.object)?;
        let range = span.within(object.info.size);
        let len = range.end - range.start;
        let pieces: Vec<_> = object.pieces(range).collect();
        // The object is held for as long as its data are, since so long they take room.
        let held = pieces.into_iter().map(move |piece| {
            let _held = &object;
            Ok(piece)
        });
        let data = futures::stream::iter(held).boxed();
        Ok(Blob { len, data })
    }

    async fn write_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        mut data: Upload,
    ) -> Result<(), BlobError> {
        let container = self.store.container(&id.container)?;
        let mut draft = container.draft(&id.object, self.bounds())?;
        while let Some(piece) = data.part(PIECE).await? {
            // What came is part of a message, which would be kept as a whole.
            draft.push(Bytes::copy_from_slice(&piece))?;
        }
        container.put(&id.object, draft)
    }
}
