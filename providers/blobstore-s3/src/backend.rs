//! The containers behind one link.

use std::sync::Arc;

use lattice_provider_sdk::blobstore::{
    Blob, BlobError, BlobSettings, Blobs, ContainerInfo, Names, ObjectId, ObjectInfo, PartRoom,
    Span, Upload,
};
use lattice_provider_sdk::{Context, Features, LinkError, Shared, chain};

use crate::client::S3;
use crate::error::S3Error;
use crate::names;
use crate::upload::MOST_PARTS;

/// What a link gives its component.
#[derive(Debug)]
pub(crate) struct S3Backend {
    s3: Shared<Arc<S3>>,
    settings: BlobSettings,
    /// A bucket that has to be there.
    bucket: Option<String>,
    /// For the parts of what the link writes.
    room: PartRoom,
}

impl S3Backend {
    pub(crate) fn new(
        s3: Shared<Arc<S3>>,
        settings: BlobSettings,
        bucket: Option<String>,
        room: &PartRoom,
    ) -> Self {
        let room = room.share(s3.part_size());
        Self {
            s3,
            settings,
            bucket,
            room,
        }
    }

    /// Whether the service is there, knows the key, and has the bucket.
    pub(crate) async fn check(&self) -> Result<(), LinkError> {
        let greeted = self.s3.greet(self.bucket.as_deref()).await;
        greeted.map_err(|error| {
            let why = chain(&error);
            match &self.bucket {
                Some(bucket) if error.is_missing() => {
                    let what = format!("the bucket `{bucket}` of the link is not there: {why}");
                    LinkError::unavailable(what)
                }
                _ => LinkError::unavailable(why),
            }
        })
    }

    /// Waits until what broken uploads left is taken away.
    pub(crate) async fn cleaned(&self) {
        self.s3.cleaners.close();
        self.s3.cleaners.wait().await;
    }

    pub(crate) fn features(&self) -> Features {
        let most = MOST_PARTS * self.s3.part_size() as u64;
        Features::new()
            .with("ranges", "native")
            .with("copy", "native")
            .with("move", "copy-delete")
            .with("consistency", "strong")
            .lacking("ttl")
            .lacking("cas")
            .with("paging", "offset")
            .with("created-at", "containers-and-objects")
            .with("order", "name")
            .with("max-object-bytes", self.settings.max_object_bytes.min(most))
            .having("durable")
    }
}

fn checked(id: &ObjectId) -> Result<(), BlobError> {
    names::bucket(&id.container)?;
    names::object(&id.object)
}

impl Blobs for S3Backend {
    fn settings(&self) -> &BlobSettings {
        &self.settings
    }

    async fn create_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        names::bucket(name)?;
        Ok(self.s3.create_bucket(name).await?)
    }

    async fn delete_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        names::bucket(name)?;
        self.s3.delete_bucket(name).await
    }

    async fn clear_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        names::bucket(name)?;
        self.s3.clear_bucket(name).await
    }

    async fn container_exists(&self, _cx: &Context, name: &str) -> Result<bool, BlobError> {
        names::bucket(name)?;
        Ok(self.s3.bucket_exists(name).await?)
    }

    async fn container_info(&self, _cx: &Context, name: &str) -> Result<ContainerInfo, BlobError> {
        names::bucket(name)?;
        let created_at = match self.s3.bucket_created_at(name).await? {
            Some(created_at) => created_at,
            // It is another's, or the key may not list buckets: nobody tells when it was made.
            None if self.s3.bucket_exists(name).await? => 0,
            None => return Err(BlobError::NoContainer(name.to_owned())),
        };
        Ok(ContainerInfo { created_at })
    }

    async fn list_objects(&self, _cx: &Context, container: &str) -> Result<Names, BlobError> {
        names::bucket(container)?;
        Arc::clone(&self.s3).names(container).await
    }

    async fn object_info(&self, _cx: &Context, id: &ObjectId) -> Result<ObjectInfo, BlobError> {
        checked(id)?;
        self.s3.info(id).await
    }

    async fn has_object(&self, _cx: &Context, id: &ObjectId) -> Result<bool, BlobError> {
        checked(id)?;
        match self.s3.head(&id.container, &id.object).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn delete_object(&self, _cx: &Context, id: &ObjectId) -> Result<(), BlobError> {
        checked(id)?;
        let deleted: Result<(), S3Error> = self.s3.delete(&id.container, &id.object).await;
        deleted.map_err(|error| error.of_object(id))
    }

    async fn delete_objects(
        &self,
        _cx: &Context,
        container: &str,
        objects: Vec<String>,
    ) -> Result<(), BlobError> {
        names::bucket(container)?;
        for object in &objects {
            names::object(object)?;
        }
        self.s3.delete_batch(container, objects).await
    }

    async fn copy_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        checked(from)?;
        checked(to)?;
        self.s3.copy(from, to).await
    }

    async fn move_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        checked(from)?;
        checked(to)?;
        self.s3.move_to(from, to).await
    }

    async fn read_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        span: Span,
    ) -> Result<Blob, BlobError> {
        checked(id)?;
        self.s3.read(id, span, self.settings.stream_idle).await
    }

    async fn write_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        data: Upload,
    ) -> Result<(), BlobError> {
        checked(id)?;
        self.s3.write_in(&self.room, id, data).await
    }
}
