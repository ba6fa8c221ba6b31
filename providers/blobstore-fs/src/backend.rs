//! The containers behind one link.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use lattice_provider_sdk::Context;
use lattice_provider_sdk::blobstore::{
    Blob, BlobError, BlobSettings, Blobs, ContainerInfo, Names, ObjectId, ObjectInfo, Span, Upload,
    seconds,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::copying::{Wanted, copy};
use crate::failure::{failed, on_disk};
use crate::folder::{Container, Root, created, empty};
use crate::incoming::Draft;
use crate::listing;
use crate::reading;

/// How much is written at once.
const PIECE: usize = 256 << 10;

/// A folder with containers.
#[derive(Debug)]
pub(crate) struct FsBackend {
    pub(crate) root: Root,
    pub(crate) sync: bool,
    pub(crate) shared: BlobSettings,
    /// When it was last looked for what was left behind.
    pub(crate) looked: Mutex<Instant>,
}

impl FsBackend {
    /// Works in an open container.
    async fn within<T: Send + 'static>(
        &self,
        container: &str,
        work: impl FnOnce(Container) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let (root, name) = (self.root.clone(), container.to_owned());
        on_disk(move || work(root.container(&name)?)).await
    }

    /// Works in the containers of two objects.
    async fn between<T: Send + 'static>(
        &self,
        from: &ObjectId,
        to: &ObjectId,
        work: impl FnOnce(Container, &ObjectId, Container, &ObjectId) -> Result<T, BlobError>
        + Send
        + 'static,
    ) -> Result<T, BlobError> {
        let root = self.root.clone();
        let (from, to) = (from.clone(), to.clone());
        on_disk(move || {
            let source = root.container(&from.container)?;
            let target = root.container(&to.container)?;
            work(source, &from, target, &to)
        })
        .await
    }
}

fn info(file: &File) -> Result<ObjectInfo, BlobError> {
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    Ok(ObjectInfo {
        created_at: seconds(created(&metadata)),
        size: metadata.len(),
    })
}

fn append(file: &File, data: &Bytes) -> Result<(), BlobError> {
    let mut file = file;
    file.write_all(data).map_err(|error| failed(&error))
}

impl Blobs for FsBackend {
    fn settings(&self) -> &BlobSettings {
        &self.shared
    }

    async fn create_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        let (root, name, sync) = (self.root.clone(), name.to_owned(), self.sync);
        on_disk(move || root.create(&name, sync)).await
    }

    async fn delete_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        let (root, name) = (self.root.clone(), name.to_owned());
        on_disk(move || root.delete(&name)).await
    }

    async fn clear_container(&self, _cx: &Context, name: &str) -> Result<(), BlobError> {
        let clear = |container: Container| empty(container.folder()).map_err(|e| failed(&e));
        self.within(name, clear).await
    }

    async fn container_exists(&self, _cx: &Context, name: &str) -> Result<bool, BlobError> {
        match self.within(name, |_| Ok(())).await {
            Ok(()) => Ok(true),
            Err(BlobError::NoContainer(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn container_info(&self, _cx: &Context, name: &str) -> Result<ContainerInfo, BlobError> {
        let created_at = self
            .within(name, |container| container.created_at())
            .await?;
        Ok(ContainerInfo { created_at })
    }

    async fn list_objects(&self, _cx: &Context, container: &str) -> Result<Names, BlobError> {
        self.within(container, Ok).await.map(listing::names)
    }

    async fn object_info(&self, _cx: &Context, id: &ObjectId) -> Result<ObjectInfo, BlobError> {
        let object = id.object.clone();
        self.within(&id.container, move |container| {
            info(&container.open(&object)?)
        })
        .await
    }

    async fn delete_object(&self, _cx: &Context, id: &ObjectId) -> Result<(), BlobError> {
        let object = id.object.clone();
        self.within(&id.container, move |container| container.delete(&object))
            .await
    }

    async fn copy_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        let (root, sync) = (self.root.clone(), self.sync);
        let wanted = Wanted::default();
        let still = wanted.look();
        self.between(from, to, move |source, from, target, to| {
            let file = source.open(&from.object)?;
            let draft = Draft::new(&root)?;
            copy(&file, &draft.file, &still)?;
            draft.place(&target, &to.object, sync)
        })
        .await
    }

    async fn move_object(
        &self,
        _cx: &Context,
        from: &ObjectId,
        to: &ObjectId,
    ) -> Result<(), BlobError> {
        let sync = self.sync;
        self.between(from, to, move |source, from, target, to| {
            source.move_to(&from.object, &target, &to.object, sync)
        })
        .await
    }

    async fn read_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        span: Span,
    ) -> Result<Blob, BlobError> {
        let object = id.object.clone();
        self.within(&id.container, move |container| {
            let file = container.open(&object)?;
            let range = span.within(info(&file)?.size);
            reading::read(file, range)
        })
        .await
    }

    async fn write_object(
        &self,
        _cx: &Context,
        id: &ObjectId,
        mut data: Upload,
    ) -> Result<(), BlobError> {
        let root = self.root.clone();
        let begin = move |container| Ok((Arc::new(container), Draft::new(&root)?));
        let (container, draft) = self.within(&id.container, begin).await?;
        let mut last = data.part(PIECE).await?.unwrap_or_default();
        // The last piece is written with what completes the object.
        while let Some(next) = data.part(PIECE).await? {
            let piece = std::mem::replace(&mut last, next);
            let file = Arc::clone(&draft.file);
            on_disk(move || append(&file, &piece)).await?;
        }
        let (object, sync) = (id.object.clone(), self.sync);
        on_disk(move || {
            append(&draft.file, &last)?;
            draft.place(&container, &object, sync)
        })
        .await
    }
}
