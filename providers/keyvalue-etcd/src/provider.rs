//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::StringMap;
use lattice_etcd::{Etcd, EtcdOptions, OpenError};
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::keyvalue::watch::{ChangeNotifier, Watched};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::{EtcdBackend, features, unusable};
use crate::namespace::Namespace;
use crate::settings::{EtcdKey, LinkSettings};
use crate::watch::{Source, Watcher};

/// Key-value buckets in etcd.
#[derive(Debug)]
pub struct KeyValueEtcd {
    session: Session,
    clients: Sharing<EtcdKey, Etcd>,
    backends: Arc<Backends<EtcdBackend>>,
    watchers: Mutex<HashMap<LinkKey, Watcher>>,
}

impl KeyValueEtcd {
    /// A client of the etcd that a link says, shared with others that say the same.
    async fn client(&self, options: &EtcdOptions) -> Result<Shared<Etcd>, LinkError> {
        let open = || async { Etcd::new(options.clone()) };
        let client = self.clients.get(&EtcdKey::of(options), open).await;
        client.map_err(|error: OpenError| LinkError::invalid(chain(&error)))
    }
}

#[async_trait]
impl Provider for KeyValueEtcd {
    const NAME: &'static str = "keyvalue-etcd";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            clients: Sharing::new(),
            backends,
            watchers: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let settings = LinkSettings::read(&Settings::of(&self.session, link))?;
        let etcd = self.client(&settings.etcd).await?;
        let backend = EtcdBackend::new(etcd, link.name.as_str(), settings);
        backend.check().await?;
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let said = Settings::of(&self.session, link);
        let watched = Watched::read(&said)?;
        let settings = LinkSettings::read(&said)?;
        let bucket = said.text("bucket").filter(|name| *name != "default");
        let told = bucket.unwrap_or("default");
        let (name, prefix) = (self.session.name_in_backend(link), &settings.prefix);
        let source = Source {
            etcd: self.client(&settings.etcd).await?,
            keys: Namespace::of(prefix, bucket.unwrap_or_default()),
            memory: format!("{prefix}watch/{name}").into(),
        };
        let notifier = ChangeNotifier::new(&self.session, link, told, watched);
        let watcher = Watcher::start(source, notifier).await.map_err(unusable)?;
        self.watchers.lock().insert(link.key(), watcher);
        Ok(())
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        self.watchers.lock().remove(&link.key());
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
    }

    async fn describe(&self, link: &ProviderLink) -> Features {
        let settings = LinkSettings::read(&Settings::of(&self.session, link));
        settings.map_or_else(|_| Features::new(), |settings| features(&settings))
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.backends.get(link) {
            Some(backend) => backend.check().await,
            None => {
                let watched = self.watchers.lock().get(&link.key()).map(Watcher::source);
                match watched {
                    Some(source) => source.check().await.map_err(unusable),
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
