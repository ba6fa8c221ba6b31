//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lattice_core::StringMap;
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::keyvalue::watch::{ChangeNotifier, Watched};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, StartError, async_trait,
};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::backend::{MemoryBackend, features};
use crate::buckets::Buckets;
use crate::settings::LinkSettings;
use crate::watch::Watcher;

/// How often keys whose time is over are dropped. They count as absent before.
const SWEEP: Duration = Duration::from_millis(500);

/// Key-value buckets in memory.
pub struct KeyValueMemory {
    session: Session,
    buckets: Arc<Buckets>,
    backends: Arc<Backends<MemoryBackend>>,
    watchers: Mutex<HashMap<LinkKey, Watcher>>,
    _sweeping: JoinSet<()>,
}

impl std::fmt::Debug for KeyValueMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the data.
        f.debug_struct("KeyValueMemory").finish_non_exhaustive()
    }
}

async fn sweep(buckets: Arc<Buckets>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        buckets.sweep();
    }
}

impl KeyValueMemory {
    fn settings(&self, link: &ProviderLink) -> Result<LinkSettings, LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let settings = LinkSettings::read(
            &Settings::of(&self.session, link),
            &Settings::of_provider(&self.session),
            self.session.lattice(),
        );
        Ok(settings?)
    }
}

#[async_trait]
impl Provider for KeyValueMemory {
    const NAME: &'static str = "keyvalue-memory";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        let buckets = Arc::<Buckets>::default();
        let mut sweeping = JoinSet::new();
        sweeping.spawn(sweep(Arc::clone(&buckets)));
        Ok(Arc::new(Self {
            session,
            buckets,
            backends,
            watchers: Mutex::default(),
            _sweeping: sweeping,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = self.settings(link)?;
        let buckets = Arc::clone(&self.buckets);
        let backend = MemoryBackend::new(buckets, link.name.as_str(), settings);
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = self.settings(link)?;
        let watched = Watched::read(&Settings::of(&self.session, link))?;
        let bucket = self.buckets.of_link(&settings.bucket);
        let notifier = ChangeNotifier::new(&self.session, link, &settings.bucket, watched);
        let watcher = Watcher::start(bucket, notifier);
        self.watchers.lock().insert(link.key(), watcher);
        Ok(())
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.watchers.lock().remove(&link.key());
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        // The buckets stay: whoever changes a link does not mean the data.
        self.backends.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let settings = self.settings(link);
        settings.map_or_else(|_| Features::new(), |settings| features(&settings))
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }

    async fn shutdown(&self, _until: Instant) {
        self.watchers.lock().clear();
    }
}
