//! The provider: its links and its functions.

use std::sync::Arc;

use lattice_core::StringMap;
use lattice_core::provider::SecretValue;
use lattice_provider_sdk::keyvalue::{self, Backends};
use lattice_provider_sdk::{
    ConfigChange, LinkError, Provider, ProviderLink, Session, Sharing, StartError, async_trait,
    chain,
};
use parking_lot::Mutex;

use crate::backend::RedisBackend;
use crate::connection::{ConnectError, Connection};
use crate::settings::{DISABLE_DEFAULT, SHARED_KEYS, ServerSettings};

/// Key-value buckets in Redis.
#[derive(Debug)]
pub struct KeyValueRedis {
    session: Session,
    connections: Sharing<ServerSettings, Connection>,
    backends: Arc<Backends<RedisBackend>>,
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
        }))
    }

    async fn put_target_link(&self, link: &ProviderLink) -> Result<(), LinkError> {
        if !link.is_for("wasi", "keyvalue") {
            let what = "keyvalue-redis serves wasi:keyvalue only";
            return Err(LinkError::invalid(what));
        }
        let of_link = |name: &str| link.value(name).map(str::to_owned);
        let settings = ServerSettings::read(of_link, |name| self.own_value(name))
            .map_err(|e| LinkError::invalid(e.to_string()))?;
        let open = || Connection::open(&settings);
        let connection = self.connections.get(&settings, open).await;
        let connection = connection.map_err(no_connection)?;
        let backend = RedisBackend::new(connection, link.name.as_str());
        self.backends.put(link, Arc::new(backend));
        Ok(())
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
}

fn no_connection(error: ConnectError) -> LinkError {
    let why = chain(&error);
    match error {
        ConnectError::Url(_) => LinkError::invalid(why),
        ConnectError::Connect { .. } => LinkError::unavailable(why),
    }
}
