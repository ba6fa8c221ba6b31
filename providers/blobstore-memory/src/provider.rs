//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::blobstore;
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, Provider, ProviderLink, Session, StartError,
    async_trait,
};

use crate::backend::MemoryBackend;
use crate::settings::MemorySettings;
use crate::store::Stores;

/// Blobs in memory.
pub struct BlobstoreMemory {
    session: Session,
    stores: Stores,
    backends: Arc<Backends<MemoryBackend>>,
}

impl std::fmt::Debug for BlobstoreMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the data.
        f.debug_struct("BlobstoreMemory").finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for BlobstoreMemory {
    const NAME: &'static str = "blobstore-memory";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        blobstore::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            stores: Stores::default(),
            backends,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !link.is_for("wasi", "blobstore") {
            let what = "blobstore-memory serves wasi:blobstore only";
            return Err(LinkError::invalid(what));
        }
        let settings = MemorySettings::of(&self.session, link)?;
        let store = self.stores.get(&settings.store);
        let backend = MemoryBackend::new(store, settings);
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        let backend = self.backends.delete(link);
        self.stores.settle();
        drop(backend);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let features = Features::new()
            .with("ranges", "native")
            .with("copy", "native")
            .with("move", "copy-delete")
            .with("consistency", "strong")
            .lacking("ttl")
            .lacking("cas")
            .with("paging", "offset")
            .with("created-at", "containers-and-objects")
            .with("order", "name")
            .lacking("durable");
        match MemorySettings::of(&self.session, link) {
            Ok(settings) => features.with("max-object-bytes", settings.largest()),
            Err(_) => features,
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        ConfigChange::Relink
    }
}
