//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::keyvalue::watch::{ChangeNotifier, Watched};
use lattice_provider_sdk::nats::{BackendSettings, NatsError};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::{NatsBackend, features};
use crate::cluster::{Cluster, New, OpenError};
use crate::ruled::{Ruled, RuledLinks};
use crate::settings::LinkSettings;
use crate::watch::{Source, WatchError, Watcher};

/// Key-value buckets in NATS JetStream.
pub struct KeyValueNats {
    session: Session,
    clusters: Sharing<BackendSettings, Cluster>,
    backends: Arc<Backends<NatsBackend>>,
    ruled: Arc<RuledLinks>,
    watchers: Mutex<HashMap<LinkKey, Watcher>>,
}

impl std::fmt::Debug for KeyValueNats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyValueNats").finish_non_exhaustive()
    }
}

impl KeyValueNats {
    /// What a link says, and the NATS behind it, shared with others that say the same.
    async fn cluster(
        &self,
        link: &ProviderLink,
    ) -> Result<(Shared<Cluster>, LinkSettings), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let own = self.session.nats_settings();
        let settings = Settings::of(&self.session, link);
        let settings = LinkSettings::read(&settings, self.session.lattice(), &own)?;
        let connect = || Cluster::connect(&settings.cluster, &self.session);
        let cluster = self.clusters.get(&settings.cluster, connect).await;
        Ok((cluster.map_err(no_connection)?, settings))
    }

    /// Remembers what a link with rules leads to, whatever becomes of it.
    fn remember(&self, link: &ProviderLink) {
        let own = self.session.nats_settings();
        let settings = Settings::of(&self.session, link);
        let ruled = Ruled::read(link, &settings, self.session.lattice(), &own);
        self.ruled.wish(link, ruled);
    }

    async fn serve(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let (cluster, settings) = self.cluster(link).await?;
        self.ruled.reached(link, cluster.system());
        let backend = NatsBackend::new(cluster, link, settings, &self.backends, &self.ruled);
        backend.check().await.map_err(no_bucket)?;
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }
}

#[async_trait]
impl Provider for KeyValueNats {
    const NAME: &'static str = "keyvalue-nats";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            ruled: Arc::new(RuledLinks::new(session.nats_settings())),
            session,
            clusters: Sharing::new(),
            backends,
            watchers: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        // Before anything can fail: its bucket is not to be had by others meanwhile.
        self.remember(link);
        let served = self.serve(link).await;
        match &served {
            Err(error) if error.may_pass() => self.ruled.let_go(link),
            Err(_) => self.ruled.refuse(link),
            Ok(()) => {}
        }
        served
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let watched = Watched::read(&Settings::of(&self.session, link))?;
        let (cluster, settings) = self.cluster(link).await?;
        let notifier = ChangeNotifier::new(&self.session, link, &settings.bucket, watched);
        let source = Source {
            durable: self.session.name_in_backend(link),
            cluster,
            new: New {
                create: settings.create_own,
                lifetime: settings.lifetime,
            },
            bucket: settings.bucket,
        };
        let watcher = Watcher::start(source, notifier).await.map_err(no_changes)?;
        self.watchers.lock().insert(link.key(), watcher);
        Ok(())
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.watchers.lock().remove(&link.key());
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.ruled.let_go(link);
        self.backends.delete(link);
    }

    async fn forget_target_link(&self, link: &ProviderLink) {
        self.ruled.forget(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        if let Some(backend) = self.backends.get(link) {
            let features = backend.features().await;
            let required = link.value("require").unwrap_or_default();
            if !features.lacks(required).is_empty() {
                self.ruled.refuse(link);
            }
            return features;
        }
        let watched = self.watchers.lock().get(&link.key()).map(Watcher::source);
        match watched {
            Some(source) => features(&source.cluster, &source.bucket, source.new).await,
            None => Features::new(),
        }
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.backends.get(link) {
            Some(backend) => {
                // A server that was started again is another one.
                self.ruled.reached(link, backend.system());
                backend.check().await.map(drop).map_err(no_bucket)
            }
            None => {
                let watched = self.watchers.lock().get(&link.key()).map(Watcher::source);
                match watched {
                    Some(source) => source.check().await.map_err(no_bucket),
                    None => Ok(()),
                }
            }
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }

    async fn shutdown(&self, _until: Instant) {
        self.watchers.lock().clear();
    }
}

fn no_changes(error: WatchError) -> LinkError {
    match error {
        WatchError::Open(error) => no_bucket(error),
        WatchError::Consumer { .. } => LinkError::unavailable(chain(&error)),
    }
}

fn no_connection(error: NatsError) -> LinkError {
    LinkError::unavailable(chain(&error))
}

fn no_bucket(error: OpenError) -> LinkError {
    let why = chain(&error);
    LinkError::unavailable(match error {
        OpenError::Missing(_) => {
            format!("{why}; create it, or let `enable_bucket_auto_create` be true")
        }
        _ => why,
    })
}
