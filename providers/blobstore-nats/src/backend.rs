//! The containers behind one link.

use std::sync::Arc;

use async_nats::jetstream::ErrorCode;
use lattice_provider_sdk::blobstore::{
    Blob, BlobError, BlobSettings, Blobs, ContainerInfo, Names, ObjectId, ObjectInfo, Span, Upload,
};
use lattice_provider_sdk::{Context, Shared};

use crate::api::{Coded as _, failed};
use crate::container::{Container, Nats};
use crate::meta::{Meta, seconds};
use crate::settings::NatsBlobSettings;
use crate::{draft, listing, reading};

/// The object stores of a NATS as one link sees them.
#[derive(Debug)]
pub(crate) struct NatsBlobs {
    pub(crate) nats: Arc<Nats>,
    /// The connection lives as long as one of its links.
    _connection: Shared<Arc<Nats>>,
    pub(crate) settings: NatsBlobSettings,
}

impl NatsBlobs {
    pub(crate) fn new(connection: Shared<Arc<Nats>>, settings: NatsBlobSettings) -> Self {
        Self {
            nats: Arc::clone(&connection),
            _connection: connection,
            settings,
        }
    }

    async fn container(&self, name: &str) -> Result<Container, BlobError> {
        let container = Container::of(&self.nats, name, self.settings.write_wait).await?;
        container.tidy_once(self.settings.abandoned_after);
        Ok(container)
    }

    /// An object that is no link to another; of one that is, the other.
    async fn object(&self, id: &ObjectId) -> Result<(Container, Meta), BlobError> {
        let container = self.container(&id.container).await?;
        let meta = container.meta(&id.object).await?;
        self.followed(id, container, meta).await
    }

    /// What an object is or, when it is a link, the other.
    async fn followed(
        &self,
        id: &ObjectId,
        container: Container,
        meta: Meta,
    ) -> Result<(Container, Meta), BlobError> {
        let (container, meta) = match meta.link() {
            None => return Ok((container, meta)),
            Some((_, None)) => return Err(BlobError::NoObject(id.clone())),
            Some((other, Some(object))) => {
                let container = self.container(other).await?;
                let meta = container.meta(object).await?;
                (container, meta)
            }
        };
        match meta.link() {
            None => Ok((container, meta)),
            Some(_) => Err(BlobError::NoObject(id.clone())),
        }
    }

    /// Writes the data of an object as those of another.
    async fn carry(
        &self,
        source: Container,
        meta: &Meta,
        target: Container,
        object: &str,
    ) -> Result<(), BlobError> {
        let idle = self.settings.shared.stream_idle;
        let all = Span::ALL.within(meta.info.size as u64);
        let blob = reading::read(source, meta, all, idle).await?;
        let data = Upload::of(blob.data, &self.settings.shared);
        draft::write(target, object, data).await
    }

    /// Whether JetStream answers.
    pub(crate) async fn check(&self) -> Result<(), BlobError> {
        if !self.nats.backend.is_connected() {
            return Err(crate::api::disconnected());
        }
        // What a stream that is not there is answered with shows that JetStream answers.
        let jetstream = self.nats.backend.jetstream();
        match jetstream.get_stream("OBJ_").await {
            Err(error) if error.code() != Some(ErrorCode::STREAM_NOT_FOUND) => {
                Err(failed("", &error))
            }
            _ => Ok(()),
        }
    }
}

impl Blobs for NatsBlobs {
    fn settings(&self) -> &BlobSettings {
        &self.settings.shared
    }

    async fn create_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        let container = self.container(name).await?;
        let stream = self.settings.keeping.stream(name);
        match container.writing.create_stream(stream).await {
            // One that is kept in another way is there too.
            Err(error) if error.code() == Some(ErrorCode::STREAM_NAME_EXIST) => Ok(()),
            created => created.map(drop).map_err(|error| failed(name, &error)),
        }
    }

    async fn delete_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        let container = self.container(name).await?;
        let deleted = container.writing.delete_stream(format!("OBJ_{name}")).await;
        match deleted.map_err(|error| failed(name, &error)) {
            Err(BlobError::NoContainer(_)) => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    async fn clear_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        let container = self.container(name).await?;
        let purged = container.stream.purge().await;
        purged.map(drop).map_err(|error| failed(name, &error))
    }

    async fn container_exists(&self, cx: &Context, name: &str) -> Result<bool, BlobError> {
        match self.container_info(cx, name).await {
            Ok(_) => Ok(true),
            Err(BlobError::NoContainer(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn container_info(&self, _cx: &Context, name: &str) -> Result<ContainerInfo, BlobError> {
        self.container(name).await?;
        let jetstream = self.nats.backend.jetstream();
        let stream = jetstream.get_stream(format!("OBJ_{name}")).await;
        let stream = stream.map_err(|error| failed(name, &error))?;
        Ok(ContainerInfo {
            created_at: seconds(stream.cached_info().created),
        })
    }

    async fn list_objects(&self, _cx: &Context, container: &str) -> Result<Names, BlobError> {
        let container = self.container(container).await?;
        listing::names(container, self.settings.shared.stream_idle).await
    }

    async fn object_info(&self, _cx: &Context, id: &ObjectId) -> Result<ObjectInfo, BlobError> {
        let (_, meta) = self.object(id).await?;
        Ok(meta.told())
    }

    async fn delete_object(&self, _cx: &Context, id: &ObjectId) -> Result<(), BlobError> {
        self.container(&id.container)
            .await?
            .delete(&id.object)
            .await
    }

    async fn copy_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        let target = self.container(&to.container).await?;
        let (source, meta) = self.object(from).await?;
        self.carry(source, &meta, target, &to.object).await
    }

    async fn move_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        let target = self.container(&to.container).await?;
        let source = self.container(&from.container).await?;
        let moved = source.meta(&from.object).await?;
        let (other, meta) = self.followed(from, source.clone(), moved.clone()).await?;
        self.carry(other, &meta, target, &to.object).await?;
        // One that was written meanwhile was not moved.
        source.delete_this(moved).await.map(drop)
    }

    async fn read_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        span: Span,
    ) -> Result<Blob, BlobError> {
        let (container, meta) = self.object(id).await?;
        let range = span.within(meta.info.size as u64);
        let idle = self.settings.shared.stream_idle;
        reading::read(container, &meta, range, idle).await
    }

    async fn write_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        data: Upload,
    ) -> Result<(), BlobError> {
        let container = self.container(&id.container).await?;
        draft::write(container, &id.object, data).await
    }
}
