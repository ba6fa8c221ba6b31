//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_azure::Azure;
use lattice_core::StringMap;
use lattice_provider_sdk::queue::{self, Handlers, Linked, PushSettings};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Sharing, StartError, async_trait,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::{AzureQueues, open};
use crate::settings::{AzureSettings, LinkSettings};

/// How long Azure may take to say whether it is there. Less than a put or a look has.
const GREETING: Duration = Duration::from_secs(4);

/// Queues in Azure.
#[derive(Debug)]
pub struct QueueAzure {
    session: Session,
    accounts: Sharing<AzureSettings, Azure>,
    backends: Arc<Backends<Linked<Arc<AzureQueues>>>>,
    handlers: Handlers,
    /// What was made of each link that was put.
    made: Mutex<HashMap<LinkKey, Arc<AzureQueues>>>,
}

type Opened = (Arc<AzureQueues>, Linked<Arc<AzureQueues>>);

impl QueueAzure {
    async fn open(&self, link: &ProviderLink, settings: &Settings) -> Result<Opened, LinkError> {
        let environment = |name: &str| std::env::var(name).ok();
        let service = AzureSettings::read(settings, environment)?;
        let said = LinkSettings::read(settings, &service)?;
        let make = || async { open(service.clone()) };
        let azure = self.accounts.get(&service, make).await;
        let azure = azure.map_err(|error| {
            LinkError::invalid_because("the certificates of the link cannot be used", error)
        })?;
        let queues = Arc::new(AzureQueues::new(azure, said));
        let linked = Linked::new(link, settings, Arc::clone(&queues))?;
        in_time(queues.open_own()).await?;
        Ok((queues, linked))
    }

    fn made(&self, link: &ProviderLink) -> Option<Arc<AzureQueues>> {
        self.made.lock().get(&link.key()).cloned()
    }
}

async fn in_time(look: impl Future<Output = Result<(), LinkError>>) -> Result<(), LinkError> {
    let looked = tokio::time::timeout(GREETING, look).await;
    looked.unwrap_or_else(|_| {
        Err(LinkError::unavailable(format!(
            "Azure did not answer within {GREETING:?}"
        )))
    })
}

#[async_trait]
impl Provider for QueueAzure {
    const NAME: &'static str = "queue-azure";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        queue::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            accounts: Sharing::new(),
            backends,
            handlers: Handlers::new(),
            made: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = Settings::of(&self.session, link);
        let (queues, linked) = self.open(link, &settings).await?;
        self.backends.put(link, Arc::new(linked));
        self.made.lock().insert(link.key(), queues);
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = Settings::of(&self.session, link);
        let push = PushSettings::read(&settings)?;
        let (queues, linked) = self.open(link, &settings).await?;
        self.handlers.put(&self.session, link, linked, push);
        self.made.lock().insert(link.key(), queues);
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.made.lock().remove(&link.key());
        self.backends.delete(link);
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.made.lock().remove(&link.key());
        self.handlers.delete(link).await;
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let queues = self.made(link);
        queues.map_or_else(Features::new, |queues| queues.features())
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.made(link) {
            Some(queues) => in_time(queues.check()).await,
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Any value may be one that links fall back on.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        self.handlers.end(until).await;
    }
}
