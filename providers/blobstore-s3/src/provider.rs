//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_backend_http::aws;
use lattice_core::StringMap;
use lattice_provider_sdk::blobstore::{self, BlobSettings, PartRoom};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Sharing, StartError, async_trait,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::S3Backend;
use crate::client::S3;
use crate::names;
use crate::settings::S3Settings;

/// How long the service may take to say whether it is there. Less than a put or a look has.
const GREETING: Duration = Duration::from_millis(2400);
/// What the parts of all uploads may take of memory, in bytes: two of the largest, at least.
const ROOM: usize = 128 << 20;

/// Blobs in S3.
#[derive(Debug)]
pub struct BlobstoreS3 {
    session: Session,
    services: Sharing<S3Settings, Arc<S3>>,
    backends: Arc<Backends<S3Backend>>,
    links: Mutex<HashMap<LinkKey, Arc<S3Backend>>>,
    room: PartRoom,
}

impl BlobstoreS3 {
    async fn backend(&self, link: &ProviderLink) -> Result<S3Backend, LinkError> {
        if !link.is_for("wasi", "blobstore") {
            return Err(LinkError::invalid(
                "blobstore-s3 serves wasi:blobstore only",
            ));
        }
        let settings = Settings::of(&self.session, link);
        let (settings, of_link) = S3Settings::read(&settings, aws::environment)?;
        let mut shared = BlobSettings::of(&self.session, link)?;
        of_link.add_to(&mut shared.aliases, link.name.as_str());
        for bucket in shared.aliases.values().chain(&of_link.bucket) {
            names::bucket(bucket).map_err(|error| LinkError::invalid(error.to_string()))?;
        }
        let make = || async {
            let settings = settings.clone().located().await?;
            S3::new(settings).map(Arc::new)
        };
        let s3 = self.services.get(&settings, make).await;
        let s3 = s3.map_err(|error| {
            LinkError::invalid_because("the certificates of the link cannot be used", error)
        })?;
        Ok(S3Backend::new(s3, shared, of_link.bucket, &self.room))
    }

    fn of(&self, link: &ProviderLink) -> Option<Arc<S3Backend>> {
        self.links.lock().get(&link.key()).cloned()
    }
}

async fn greet(backend: &S3Backend) -> Result<(), LinkError> {
    let greeted = tokio::time::timeout(GREETING, backend.check()).await;
    greeted.unwrap_or_else(|_| {
        Err(LinkError::unavailable(format!(
            "S3 did not answer within {GREETING:?}"
        )))
    })
}

#[async_trait]
impl Provider for BlobstoreS3 {
    const NAME: &'static str = "blobstore-s3";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        blobstore::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            services: Sharing::new(),
            backends,
            links: Mutex::default(),
            room: PartRoom::new(ROOM),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let backend = Arc::new(self.backend(link).await?);
        greet(&backend).await?;
        self.links.lock().insert(link.key(), Arc::clone(&backend));
        self.backends.put(link, backend);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.links.lock().remove(&link.key());
        self.backends.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        self.of(link)
            .map_or_else(Features::new, |backend| backend.features())
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.of(link) {
            Some(backend) => greet(&backend).await,
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Any value may be one that links fall back on.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        let backends = self.backends.all();
        let cleaned = futures::future::join_all(backends.iter().map(|backend| backend.cleaned()));
        if tokio::time::timeout_at(until, cleaned).await.is_err() {
            tracing::warn!("parts of broken uploads are left");
        }
    }
}
