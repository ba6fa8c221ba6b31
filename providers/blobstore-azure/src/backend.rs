//! The containers behind one link.

use std::sync::Arc;

use lattice_azure::Azure;
use lattice_backend_http::{HttpBackend, Retry, TlsError};
use lattice_provider_sdk::blobstore::{
    Blob, BlobError, BlobSettings, Blobs, ContainerInfo, Names, ObjectId, ObjectInfo, PartRoom,
    Span, Upload,
};
use lattice_provider_sdk::{Context, Features, LinkError, Shared, chain};

use crate::settings::AzureSettings;
use crate::upload::{MOST_BLOCKS, Writer};
use crate::{blobs, containers, names};

/// One account, shared by links that say the same.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) azure: Arc<Azure>,
    pub(crate) part_size: usize,
}

impl Account {
    pub(crate) fn new(settings: AzureSettings) -> Result<Self, TlsError> {
        let http = HttpBackend::new(settings.http)?;
        let retry = Retry {
            attempts: settings.attempts,
            ..Retry::default()
        };
        Ok(Self {
            azure: Arc::new(Azure::new(http, settings.account, retry)),
            part_size: settings.part_size,
        })
    }

    pub(crate) fn writer<'a>(&'a self, room: &'a PartRoom) -> Writer<'a> {
        Writer {
            azure: &self.azure,
            room,
            size: self.part_size,
        }
    }
}

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct AzureBackend {
    account: Shared<Account>,
    settings: BlobSettings,
    /// A container that has to be there.
    container: Option<String>,
    /// For the blocks of what the link writes.
    room: PartRoom,
}

impl AzureBackend {
    pub(crate) fn new(
        account: Shared<Account>,
        settings: BlobSettings,
        container: Option<String>,
        room: &PartRoom,
    ) -> Self {
        let room = room.share(account.part_size);
        Self {
            account,
            settings,
            container,
            room,
        }
    }

    fn azure(&self) -> &Arc<Azure> {
        &self.account.azure
    }

    /// Whether the service is there, lets us in, and has the container.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        let greeted = containers::greet(self.azure(), self.container.as_deref()).await;
        greeted.map_err(|error| {
            let why = chain(&error);
            match &self.container {
                Some(container) if error.is_missing() => LinkError::unavailable(format!(
                    "the container `{container}` of the link is not there: {why}"
                )),
                _ => LinkError::unavailable(why),
            }
        })
    }

    pub(crate) fn features(&self) -> Features {
        let most = MOST_BLOCKS as u64 * self.account.part_size as u64;
        Features::new()
            .with("ranges", "native")
            .with("copy", "native")
            .with("move", "copy-delete")
            .with("consistency", "strong")
            .lacking("ttl")
            .lacking("cas")
            .with("paging", "offset")
            .with("created-at", "objects")
            .with("order", "name")
            .with("max-object-bytes", self.settings.max_object_bytes.min(most))
            .having("durable")
    }
}

fn checked(id: &ObjectId) -> Result<(), BlobError> {
    names::container(&id.container)?;
    names::blob(&id.object)
}

impl Blobs for AzureBackend {
    fn settings(&self) -> &BlobSettings {
        &self.settings
    }

    async fn create_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        names::container(name)?;
        containers::create(self.azure(), name).await
    }

    async fn delete_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        names::container(name)?;
        containers::delete_container(self.azure(), name).await
    }

    async fn clear_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        names::container(name)?;
        containers::clear(self.azure(), name).await
    }

    async fn container_exists(&self, _cx: &Context, name: &str) -> Result<bool, BlobError> {
        names::container(name)?;
        let changed = containers::changed_at(self.azure(), name).await?;
        Ok(changed.is_some())
    }

    async fn container_info(&self, _cx: &Context, name: &str) -> Result<ContainerInfo, BlobError> {
        names::container(name)?;
        match containers::changed_at(self.azure(), name).await? {
            Some(created_at) => Ok(ContainerInfo { created_at }),
            None => Err(BlobError::NoContainer(name.to_owned())),
        }
    }

    async fn list_objects(&self, _cx: &Context, container: &str) -> Result<Names, BlobError> {
        names::container(container)?;
        containers::names(Arc::clone(self.azure()), container, containers::PAGE).await
    }

    async fn object_info(&self, _cx: &Context, id: &ObjectId) -> Result<ObjectInfo, BlobError> {
        checked(id)?;
        blobs::info(self.azure(), id).await
    }

    async fn delete_object(&self, _cx: &Context, id: &ObjectId) -> Result<(), BlobError> {
        checked(id)?;
        blobs::delete(self.azure(), &id.container, &id.object).await
    }

    async fn delete_objects(
        &self,
        _cx: &Context,
        container: &str,
        objects: Vec<String>,
    ) -> Result<(), BlobError> {
        names::container(container)?;
        containers::delete_all(self.azure(), container, objects).await
    }

    async fn copy_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        checked(from)?;
        checked(to)?;
        blobs::copy(self.azure(), from, to).await
    }

    async fn move_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        checked(from)?;
        checked(to)?;
        blobs::move_to(self.azure(), from, to).await
    }

    async fn read_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        span: Span,
    ) -> Result<Blob, BlobError> {
        checked(id)?;
        blobs::read(self.azure(), id, span, self.settings.stream_idle).await
    }

    async fn write_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        data: Upload,
    ) -> Result<(), BlobError> {
        checked(id)?;
        self.account.writer(&self.room).write(id, data).await
    }
}
