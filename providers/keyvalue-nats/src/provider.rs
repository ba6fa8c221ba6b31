//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, Provider, ProviderLink, Session, Settings,
    Sharing, StartError, async_trait, chain,
};

use crate::backend::NatsBackend;
use crate::cluster::{Cluster, ConnectError, OpenError};
use crate::settings::{ClusterSettings, LinkSettings};

/// Key-value buckets in NATS JetStream.
pub struct KeyValueNats {
    session: Session,
    clusters: Sharing<ClusterSettings, Cluster>,
    backends: Arc<Backends<NatsBackend>>,
}

impl std::fmt::Debug for KeyValueNats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyValueNats").finish_non_exhaustive()
    }
}

#[async_trait]
impl Provider for KeyValueNats {
    const NAME: &'static str = "keyvalue-nats";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            clusters: Sharing::new(),
            backends,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let own = self.session.nats_settings();
        let settings = Settings::of(&self.session, link);
        let settings = LinkSettings::read(&settings, self.session.lattice(), &own)?;
        let nats = self.session.peer().nats();
        let name = self.session.id().as_str();
        let connect = || Cluster::connect(&settings.cluster, nats, name);
        let cluster = self.clusters.get(&settings.cluster, connect).await;
        let backend = NatsBackend::new(
            cluster.map_err(no_connection)?,
            link.name.as_str(),
            settings,
        );
        backend.check().await.map_err(no_bucket)?;
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        match self.backends.get(link) {
            Some(backend) => backend.features().await,
            None => Features::new(),
        }
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.backends.get(link) {
            Some(backend) => backend.check().await.map(drop).map_err(no_bucket),
            None => Ok(()),
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }
}

fn no_connection(error: ConnectError) -> LinkError {
    LinkError::unavailable(chain(&error))
}

fn no_bucket(error: OpenError) -> LinkError {
    let why = chain(&error);
    if let OpenError::Lifetime { .. } = error {
        return LinkError::invalid(why);
    }
    LinkError::unavailable(match error {
        OpenError::Missing(_) => {
            format!("{why}; create it, or let `enable_bucket_auto_create` be true")
        }
        _ => why,
    })
}
