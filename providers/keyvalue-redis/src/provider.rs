//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::StringMap;
use lattice_provider_sdk::keyvalue;
use lattice_provider_sdk::keyvalue::watch::{ChangeNotifier, Watched};
use lattice_provider_sdk::{
    Backends, ConfigChange, Features, LinkError, LinkKey, Provider, ProviderLink, Session,
    Settings, Shared, Sharing, StartError, async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::RedisBackend;
use crate::connection::{ConnectError, Connection};
use crate::settings::{Buckets, ServerSettings};
use crate::watch::{FeedError, Source, Watcher};

/// Key-value buckets in Redis.
#[derive(Debug)]
pub struct KeyValueRedis {
    session: Session,
    connections: Sharing<ServerSettings, Connection>,
    backends: Arc<Backends<RedisBackend>>,
    watchers: Mutex<HashMap<LinkKey, Watcher>>,
}

impl KeyValueRedis {
    /// The connection that a link says, shared with others that say the same.
    async fn connect(
        &self,
        link: &ProviderLink,
        settings: &Settings,
    ) -> Result<Shared<Connection>, LinkError> {
        keyvalue::accept(Self::NAME, link)?;
        let server = ServerSettings::read(settings)?;
        let open = || Connection::open(&server);
        let connection = self.connections.get(&server, open).await;
        connection.map_err(no_connection)
    }
}

#[async_trait]
impl Provider for KeyValueRedis {
    const NAME: &'static str = "keyvalue-redis";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            session,
            connections: Sharing::new(),
            backends,
            watchers: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = Settings::of(&self.session, link);
        let lifetime = keyvalue::lifetime(&settings)?;
        let buckets = Buckets::read(&settings)?;
        let connection = self.connect(link, &settings).await?;
        let backend = RedisBackend::new(connection, link.name.as_str(), buckets, lifetime);
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let settings = Settings::of(&self.session, link);
        let watched = Watched::read(&settings)?;
        let buckets = Buckets::read(&settings)?;
        let connection = self.connect(link, &settings).await?;
        let bucket = settings.text("bucket").filter(|name| *name != "default");
        // Hosts of 1.9 take numbers only, which also mean the keys of the default bucket.
        let told = bucket.unwrap_or("0");
        let notifier = ChangeNotifier::new(&self.session, link, told, watched);
        let source = Source {
            connection: Arc::new(connection),
            keys: buckets.keys(bucket.unwrap_or_default()),
            memory: format!("lattice:kv:watch:{}", self.session.name_in_backend(link)),
        };
        let watcher = Watcher::start(source, notifier).await;
        let watcher = watcher.map_err(no_changes)?;
        self.watchers.lock().insert(link.key(), watcher);
        Ok(())
    }

    async fn delete_source_link(&self, link: &ProviderLink) {
        let watcher = self.watchers.lock().remove(&link.key());
        if let Some(watcher) = watcher {
            watcher.end().await;
        }
    }

    async fn delete_target_link(&self, link: &ProviderLink) {
        self.backends.delete(link);
    }

    async fn describe(&self, _link: &ProviderLink) -> Features {
        RedisBackend::features()
    }

    async fn check_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        match self.backends.get(link) {
            Some(backend) => backend.check().await,
            None => {
                let watcher = self
                    .watchers
                    .lock()
                    .get(&link.key())
                    .map(|watcher| (watcher.connection(), watcher.trouble()));
                let Some((connection, trouble)) = watcher else {
                    return Ok(());
                };
                connection.ping().await?;
                trouble.map_or(Ok(()), |why| Err(LinkError::unavailable(why)))
            }
        }
    }

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        // Every link takes from it what it does not say itself.
        ConfigChange::Relink
    }

    async fn shutdown(&self, _until: Instant) {
        let watchers = std::mem::take(&mut *self.watchers.lock());
        for watcher in watchers.into_values() {
            watcher.end().await;
        }
    }
}

fn no_changes(error: FeedError) -> LinkError {
    LinkError::unavailable(chain(&error))
}

fn no_connection(error: ConnectError) -> LinkError {
    let why = chain(&error);
    match error {
        ConnectError::Url(_) => LinkError::invalid(why),
        ConnectError::Connect { .. } => LinkError::unavailable(why),
    }
}
