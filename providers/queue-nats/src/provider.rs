//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::nats::NatsError;
use lattice_provider_sdk::queue::{self, Handlers, Linked, PushSettings};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::NatsQueues;
use crate::cluster::Cluster;
use crate::settings::{ClusterSettings, LinkSettings};

/// Queues in NATS JetStream.
#[derive(Debug)]
pub struct QueueNats {
    session: Session,
    clusters: Sharing<ClusterSettings, Cluster>,
    backends: Arc<Backends<Linked<Arc<NatsQueues>>>>,
    handlers: Handlers,
    /// What was made of each link that was put.
    made: Mutex<HashMap<LinkKey, Arc<NatsQueues>>>,
}

type Opened = (Arc<NatsQueues>, Linked<Arc<NatsQueues>>);

impl QueueNats {
    async fn open(&self, link: &ProviderLink, settings: &Settings) -> Result<Opened, LinkError> {
        let own = self.session.nats_settings();
        let said = LinkSettings::read(settings, self.session.lattice(), &own)?;
        let connect = || Cluster::connect(&said.cluster, &self.session);
        let cluster = self.clusters.get(&said.cluster, connect).await;
        let queues = Arc::new(NatsQueues::new(cluster.map_err(no_connection)?, said));
        let linked = Linked::new(link, settings, Arc::clone(&queues))?;
        queues.open_own().await?;
        Ok((queues, linked))
    }

    fn made(&self, link: &ProviderLink) -> Option<Arc<NatsQueues>> {
        self.made.lock().get(&link.key()).map(Arc::clone)
    }
}

#[async_trait]
impl Provider for QueueNats {
    const NAME: &'static str = "queue-nats";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        queue::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            clusters: Sharing::new(),
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
            Some(queues) => queues.check().await,
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }

    async fn shutdown(&self, until: Instant) {
        self.handlers.end(until).await;
    }
}

fn no_connection(error: NatsError) -> LinkError {
    LinkError::unavailable(chain(&error))
}
