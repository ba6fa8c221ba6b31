//! The provider: its links and its functions.

use std::collections::HashMap;
use std::sync::Arc;

use lattice_core::StringMap;
use lattice_core::provider::SecretValue;
use lattice_provider_sdk::keyvalue::{self, Backends};
use lattice_provider_sdk::{
    ConfigChange, LinkError, LinkKey, Provider, ProviderLink, Session, Shared, Sharing, StartError,
    async_trait, chain,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::backend::RedisBackend;
use crate::connection::{ConnectError, Connection};
use crate::settings::{DISABLE_DEFAULT, InvalidSetting, SHARED_KEYS, ServerSettings};
use crate::watch::{FeedError, Teller, Watched, Watcher};

/// Key-value buckets in Redis.
#[derive(Debug)]
pub struct KeyValueRedis {
    session: Session,
    connections: Sharing<ServerSettings, Connection>,
    backends: Arc<Backends<RedisBackend>>,
    watchers: Mutex<HashMap<LinkKey, Watcher>>,
    /// What the provider's config said about links when it was last looked at.
    said: Mutex<Vec<Option<String>>>,
}

impl KeyValueRedis {
    /// What the provider itself says, its secrets before its config.
    fn own_value(&self, name: &str) -> Option<String> {
        let secrets = self.session.secrets();
        let secret = secrets
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        match secret {
            Some((_, SecretValue::String(text))) => Some(text.clone()),
            _ => self.session.config_value(name),
        }
    }

    /// The connection that a link says, shared with others that say the same.
    async fn connect(&self, link: &ProviderLink) -> Result<Shared<Connection>, LinkError> {
        if !link.is_for("wasi", "keyvalue") {
            let what = "keyvalue-redis serves wasi:keyvalue only";
            return Err(LinkError::invalid(what));
        }
        let of_link = |name: &str| link.value(name).map(str::to_owned);
        let settings = ServerSettings::read(of_link, |name| self.own_value(name));
        let settings = settings.map_err(unusable)?;
        let open = || Connection::open(&settings);
        let connection = self.connections.get(&settings, open).await;
        connection.map_err(no_connection)
    }
}

/// What the config says about links.
fn about_links(session: &Session) -> Vec<Option<String>> {
    let keys = SHARED_KEYS.into_iter().chain([DISABLE_DEFAULT]);
    keys.map(|key| session.config_value(key)).collect()
}

#[async_trait]
impl Provider for KeyValueRedis {
    const NAME: &'static str = "keyvalue-redis";

    async fn start(session: Session) -> Result<Arc<Self>, StartError> {
        let backends = Arc::new(Backends::new());
        keyvalue::serve(&session, Arc::clone(&backends)).await?;
        Ok(Arc::new(Self {
            said: Mutex::new(about_links(&session)),
            session,
            connections: Sharing::new(),
            backends,
            watchers: Mutex::default(),
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let connection = self.connect(link).await?;
        let backend = RedisBackend::new(connection, link.name.as_str());
        self.backends.put(link, Arc::new(backend));
        Ok(())
    }

    async fn put_source_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        let watched = link.value("watch").ok_or(InvalidSetting::NoWatch);
        let watched = watched.and_then(Watched::parse).map_err(unusable)?;
        let connection = self.connect(link).await?;
        let teller = Teller::new(&self.session, link);
        let watcher = Watcher::start(connection, watched, teller).await;
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

    async fn put_config(&self, _config: &StringMap) -> ConfigChange {
        let says = about_links(&self.session);
        let mut said = self.said.lock();
        if *said == says {
            return ConfigChange::Taken;
        }
        *said = says;
        ConfigChange::Relink
    }

    async fn shutdown(&self, _until: Instant) {
        let watchers = std::mem::take(&mut *self.watchers.lock());
        for watcher in watchers.into_values() {
            watcher.end().await;
        }
    }
}

fn unusable(error: InvalidSetting) -> LinkError {
    LinkError::invalid(error.to_string())
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
