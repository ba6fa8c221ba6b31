//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::keyvalue::{self, Backends};
use lattice_provider_sdk::{
    ConfigChange, LinkError, Provider, ProviderLink, Session, StartError, async_trait,
};
use parking_lot::Mutex;

use crate::backend::MemoryBackend;
use crate::buckets::Buckets;
use crate::settings::{LinkSettings, SHARED_KEYS};

/// Key-value buckets in memory.
pub struct KeyValueMemory {
    session: Session,
    buckets: Arc<Buckets>,
    backends: Arc<Backends<MemoryBackend>>,
    /// What the provider's config said about links when it was last looked at.
    said: Mutex<Vec<Option<String>>>,
}

impl std::fmt::Debug for KeyValueMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the data.
        f.debug_struct("KeyValueMemory").finish_non_exhaustive()
    }
}

/// What the config says about links.
fn about_links(session: &Session) -> Vec<Option<String>> {
    let keys = SHARED_KEYS.into_iter();
    keys.map(|key| session.config_value(key)).collect()
}

#[async_trait]
impl Provider for KeyValueMemory {
    const NAME: &'static str = "keyvalue-memory";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            said: Mutex::new(about_links(&session)),
            session,
            buckets: Arc::default(),
            backends,
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !link.is_for("wasi", "keyvalue") {
            let what = "keyvalue-memory serves wasi:keyvalue only";
            return Err(LinkError::invalid(what));
        }
        let settings = LinkSettings::read(
            |key| link.value(key).map(str::to_owned),
            |key| self.session.config_value(key),
            self.session.lattice(),
        );
        let settings = settings.map_err(|e| LinkError::invalid(e.to_string()))?;
        let buckets = Arc::clone(&self.buckets);
        let backend = MemoryBackend::new(buckets, link.name.as_str(), settings);
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        // The buckets stay: whoever changes a link does not mean the data.
        self.backends.delete(link);
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        let says = about_links(&self.session);
        let mut said = self.said.lock();
        if *said == says {
            return ConfigChange::Taken;
        }
        *said = says;
        ConfigChange::Relink
    }
}
