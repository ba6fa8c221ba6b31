//! The provider: its links and its functions.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::blobstore::{self, Blobs};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, Provider, ProviderLink, Session, StartError,
    async_trait,
};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use crate::backend::FsBackend;
use crate::settings::FsSettings;

/// How often it is looked for what was left behind.
const TIDY: Duration = Duration::from_secs(600);

/// Blobs in folders.
#[derive(Debug)]
pub struct BlobstoreFs {
    session: Session,
    backends: Arc<Backends<FsBackend>>,
}

/// Whether it is time to look again for what was left behind.
fn is_due(backend: &FsBackend) -> bool {
    let mut looked = backend.looked.lock();
    let is_due = looked.elapsed() >= TIDY;
    if is_due {
        *looked = Instant::now();
    }
    is_due
}

/// Takes away what was left behind in the folder of a link.
async fn tidy(backend: &FsBackend) {
    let root = backend.root.clone();
    let path = root.0.display().to_string();
    match tokio::task::spawn_blocking(move || root.tidy()).await {
        Ok(Ok(0)) => {}
        Ok(Ok(count)) => tracing::info!(path, count, "took away what was left behind"),
        Ok(Err(error)) => tracing::warn!(path, %error, "could not take away what was left behind"),
        Err(error) => tracing::warn!(path, %error, "could not look for what was left behind"),
    }
}

async fn prepare(settings: FsSettings) -> Result<FsBackend, LinkError> {
    let prepared = tokio::task::spawn_blocking(move || {
        Ok(FsBackend {
            root: settings.prepare()?,
            sync: settings.sync,
            shared: settings.shared,
            looked: Mutex::new(Instant::now()),
        })
    });
    let prepared = prepared.await;
    prepared.unwrap_or_else(|error| Err(LinkError::unavailable(error.to_string())))
}

/// The containers in a folder, for use without a lattice, as a link that says no more than its
/// `root` has them.
///
/// # Errors
///
/// [`LinkError`] when the folder cannot be made or used.
pub async fn folder(root: PathBuf) -> Result<impl Blobs + Debug, LinkError> {
    prepare(FsSettings::at(root)).await
}

#[async_trait]
impl Provider for BlobstoreFs {
    const NAME: &'static str = "blobstore-fs";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        blobstore::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self { session, backends }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !link.is_for("wasi", "blobstore") {
            let what = "blobstore-fs serves wasi:blobstore only";
            return Err(LinkError::invalid(what));
        }
        let settings = FsSettings::of(&self.session, link)?;
        let backend = Arc::new(prepare(settings).await?);
        tidy(&backend).await;
        self.backends.put(link, backend);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        // The folder stays: whoever changes a link does not mean the data.
        self.backends.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let features = Features::new()
            .with("ranges", "native")
            .with("copy", "native")
            .with("move", "atomic")
            .with("consistency", "strong")
            .lacking("ttl")
            .lacking("cas")
            .with("paging", "offset")
            .with("created-at", "containers-and-objects")
            .with("order", "name")
            .having("durable");
        match self.backends.get(link).map(|b| b.shared.max_object_bytes) {
            Some(limit) => features.with("max-object-bytes", limit),
            None => features,
        }
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let Some(backend) = self.backends.get(link) else {
            return Ok(());
        };
        let root = backend.root.clone();
        let looked = tokio::task::spawn_blocking(move || root.open()).await;
        match looked {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(LinkError::unavailable(error.to_string())),
            Err(error) => return Err(LinkError::unavailable(error.to_string())),
        }
        if is_due(&backend) {
            tidy(&backend).await;
        }
        Ok(())
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        ConfigChange::Relink
    }
}
