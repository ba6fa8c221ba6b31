//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::blobstore;
use lattice_provider_sdk::nats::{BackendSettings, NatsBackend};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Shared, Sharing,
    StartError, async_trait, chain,
};
use tokio::time::Instant;

use crate::backend::NatsBlobs;
use crate::container::Nats;
use crate::settings::NatsBlobSettings;

/// Blobs in NATS object stores.
#[derive(Debug)]
pub struct BlobstoreNats {
    session: Session,
    connections: Sharing<BackendSettings, Arc<Nats>>,
    backends: Arc<Backends<NatsBlobs>>,
}

impl BlobstoreNats {
    async fn connect(&self, settings: &BackendSettings) -> Result<Shared<Arc<Nats>>, LinkError> {
        let open = || async {
            let backend = NatsBackend::open(settings, &self.session).await?;
            let domain = settings.domain.clone();
            Ok(Arc::new(Nats::new(backend, domain)))
        };
        let connection = self.connections.get(settings, open).await;
        connection.map_err(|error: lattice_provider_sdk::nats::NatsError| {
            LinkError::unavailable(chain(&error))
        })
    }
}

#[async_trait]
impl Provider for BlobstoreNats {
    const NAME: &'static str = "blobstore-nats";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        blobstore::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            connections: Sharing::new(),
            backends,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !link.is_for("wasi", "blobstore") {
            let what = "blobstore-nats serves wasi:blobstore only";
            return Err(LinkError::invalid(what));
        }
        let settings = NatsBlobSettings::of(&self.session, link)?;
        let connection = self.connect(&settings.backend).await?;
        let blobs = NatsBlobs::new(connection, settings);
        let checked = blobs.check().await;
        checked.map_err(|error| LinkError::unavailable(error.to_string()))?;
        self.backends.put(link, Arc::new(blobs));
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let features = Features::new()
            .with("ranges", "native")
            .with("copy", "stream")
            .with("move", "copy-delete")
            .with("consistency", "strong")
            .with("ttl", "container")
            .lacking("cas")
            .with("paging", "offset")
            .with("created-at", "containers-and-objects")
            .with("order", "written")
            .having("durable");
        let Some(blobs) = self.backends.get(link) else {
            return features;
        };
        let settings = &blobs.settings;
        let room = settings.keeping.max_bytes().unwrap_or(u64::MAX);
        features.with(
            "max-object-bytes",
            room.min(settings.shared.max_object_bytes),
        )
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let Some(blobs) = self.backends.get(link) else {
            return Ok(());
        };
        let checked = blobs.check().await;
        checked.map_err(|error| LinkError::unavailable(error.to_string()))
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        for blobs in self.backends.all() {
            blobs.nats.chores.finish(until).await;
        }
    }
}
