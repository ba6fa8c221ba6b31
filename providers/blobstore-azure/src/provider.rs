//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_provider_sdk::blobstore::{self, BlobSettings, PartRoom};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Sharing, StartError, async_trait,
};
use parking_lot::Mutex;

use crate::backend::{Account, AzureBackend};
use crate::names;
use crate::settings::{AzureSettings, add_aliases};

/// How long the service may take to say whether it is there. Less than a put or a look has.
const GREETING: Duration = Duration::from_millis(2400);
/// What the parts of all uploads may take of memory, in bytes: two of the largest, at least.
const ROOM: usize = 128 << 20;

/// Blobs in Azure.
#[derive(Debug)]
pub struct BlobstoreAzure {
    session: Session,
    accounts: Sharing<AzureSettings, Account>,
    backends: Arc<Backends<AzureBackend>>,
    links: Mutex<HashMap<LinkKey, Arc<AzureBackend>>>,
    room: PartRoom,
}

impl BlobstoreAzure {
    async fn backend(&self, link: &ProviderLink) -> Result<AzureBackend, LinkError> {
        if !link.is_for("wasi", "blobstore") {
            return Err(LinkError::invalid(
                "blobstore-azure serves wasi:blobstore only",
            ));
        }
        let settings = Settings::of(&self.session, link);
        let container = settings
            .text("container")
            .map(|text| text.trim().to_owned());
        let environment = |name: &str| std::env::var(name).ok();
        let settings = AzureSettings::read(&settings, environment)?;
        let mut shared = BlobSettings::of(&self.session, link)?;
        add_aliases(
            &mut shared.aliases,
            container.as_deref(),
            link.name.as_str(),
        );
        for name in shared.aliases.values().chain(&container) {
            names::container(name).map_err(|error| LinkError::invalid(error.to_string()))?;
        }
        let make = || async { Account::new(settings.clone()) };
        let account = self.accounts.get(&settings, make).await;
        let account = account.map_err(|error| {
            LinkError::invalid_because("the certificates of the link cannot be used", error)
        })?;
        Ok(AzureBackend::new(account, shared, container, &self.room))
    }

    fn of(&self, link: &ProviderLink) -> Option<Arc<AzureBackend>> {
        self.links.lock().get(&link.key()).cloned()
    }
}

async fn greet(backend: &AzureBackend) -> Result<(), LinkError> {
    let greeted = tokio::time::timeout(GREETING, backend.check()).await;
    greeted.unwrap_or_else(|_| {
        Err(LinkError::unavailable(format!(
            "Azure did not answer within {GREETING:?}"
        )))
    })
}

#[async_trait]
impl Provider for BlobstoreAzure {
    const NAME: &'static str = "blobstore-azure";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        blobstore::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            accounts: Sharing::new(),
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
}
