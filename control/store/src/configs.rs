//! Named configs and references to secrets.

use std::sync::Arc;

use bytes::Bytes;
use lattice_core::config::SECRET_PREFIX;
use lattice_core::subject::store::config_key;
use lattice_core::{ConfigName, ErrorCode, StringMap};

use crate::bucket::Bucket;
use crate::config_watch::{ConfigWatch, Hub};
use crate::error::StoreError;
use crate::leader::Present;
use crate::raw_watch;

/// Why the configs that a link or a start command names cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckConfigsError {
    /// Some do not exist. Clients of the 1.9 generation know the text.
    #[error(
        "Failed to validate configuration and secrets. {}",
        missing_text(names)
    )]
    Missing {
        /// The names, in the order asked for.
        names: Vec<ConfigName>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn missing_text(names: &[ConfigName]) -> String {
    let one = |name: &ConfigName| {
        let kind = if name.is_secret() {
            "Secret reference"
        } else {
            "Configuration"
        };
        format!("{kind} {name} not found in config store")
    };
    names.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl CheckConfigsError {
    /// The code under which the error crosses the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Missing { .. } => ErrorCode::MissingConfig,
            Self::Store(error) => error.code(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { names } => {
                let name = names.first()?;
                Some(match name.as_str().strip_prefix(SECRET_PREFIX) {
                    Some(secret) => format!("put it first: `wash secrets put {secret} ...`"),
                    None => format!("put it first: `wash config put {name} key=value`"),
                })
            }
            Self::Store(error) => error.hint().map(str::to_owned),
        }
    }
}

/// The configs and secret references of a lattice, by name.
#[derive(Debug, Clone)]
pub struct ConfigStore {
    bucket: Arc<Bucket>,
    hub: Arc<Hub>,
}

impl ConfigStore {
    pub(crate) fn new(bucket: Arc<Bucket>) -> Self {
        let hub = Arc::new(Hub::new(Arc::clone(&bucket)));
        Self { bucket, hub }
    }

    /// Reads a config.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer or the record is not a map of strings.
    pub async fn get(&self, name: &ConfigName) -> Result<Option<StringMap>, StoreError> {
        let key = config_key(name);
        let Some(record) = self.bucket.get(&key).await? else {
            return Ok(None);
        };
        parse(&self.bucket, &key, &record.value).map(Some)
    }

    /// Stores a config in place of the one that was there.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn put(&self, name: &ConfigName, config: &StringMap) -> Result<(), StoreError> {
        let key = config_key(name);
        self.bucket.put(&key, encode(&key, config)?).await
    }

    /// Removes a config, whether or not it is there.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn delete(&self, name: &ConfigName) -> Result<(), StoreError> {
        self.bucket.purge(&config_key(name)).await
    }

    /// The names of all configs and secret references, sorted.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn names(&self) -> Result<Vec<ConfigName>, StoreError> {
        let records = raw_watch::snapshot(&self.bucket).await?;
        let mut names: Vec<ConfigName> = records
            .into_iter()
            .filter_map(|record| ConfigName::new(record.key).ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// Makes sure that every name has a config or a secret reference.
    ///
    /// # Errors
    ///
    /// Names all that are missing at once, so that they can be put in one go. Fails also when a
    /// name breaks a rule or the store does not answer.
    pub async fn check<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), CheckConfigsError> {
        let mut missing = Vec::new();
        for name in names {
            let name = ConfigName::new(name).map_err(StoreError::InvalidName)?;
            let known = self.bucket.get(&config_key(&name)).await?.is_some();
            if !known && !missing.contains(&name) {
                missing.push(name);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(CheckConfigsError::Missing { names: missing })
    }

    /// Reads a config and keeps it up to date for as long as the result is kept.
    ///
    /// All watches share one consumer, which ends with the last of them. A config that is lost together
    /// with its bucket stays as it was, and is written back. While the bucket has no leader it may be an
    /// earlier one at first.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer or the record is not a map of strings.
    pub async fn watch(&self, name: &ConfigName) -> Result<ConfigWatch, StoreError> {
        let has_copies = self.bucket.has_copies().await?;
        self.watch_with(name, has_copies).await
    }

    async fn watch_with(
        &self,
        name: &ConfigName,
        has_copies: bool,
    ) -> Result<ConfigWatch, StoreError> {
        // The watch comes first, so that no change between it and the read is missed. Its consumer may have
        // told of a change before, which a server that is behind has not yet: the leader has.
        let watch = Hub::subscribe(&self.hub, name);
        let key = config_key(name);
        let present = match has_copies {
            true => self.leading_or_said(name, &key).await?,
            false => self.bucket.entry(&key).await?.into(),
        };
        if let Some(value) = present.value {
            let config = parse(&self.bucket, &key, &value)?;
            self.hub.read(name, present.revision, config);
        }
        Ok(watch.mark_seen())
    }

    /// What the leader says; while there is none, what any server has, for which the leader is asked as soon
    /// as there is one. That there is no config, the leader has to say.
    async fn leading_or_said(&self, name: &ConfigName, key: &str) -> Result<Present, StoreError> {
        let error = match self.bucket.leading(key).await {
            Ok(present) => return Ok(present),
            Err(error) => error,
        };
        match self.bucket.entry(key).await.map(Present::from) {
            Ok(said) if said.value.is_some() => {
                tracing::debug!(config = key, %error, "no leader says what a config is");
                Hub::make_sure(&self.hub, name);
                Ok(said)
            }
            _ => Err(error),
        }
    }

    /// How many names are being watched in this process.
    #[must_use]
    pub fn watched_names(&self) -> usize {
        self.hub.names()
    }
}

pub(crate) fn parse(bucket: &Bucket, key: &str, value: &[u8]) -> Result<StringMap, StoreError> {
    serde_json::from_slice(value).map_err(|source| StoreError::Malformed {
        bucket: bucket.name().to_owned(),
        key: key.to_owned(),
        expected: "a map of strings",
        source,
    })
}

pub(crate) fn encode(key: &str, config: &StringMap) -> Result<Bytes, StoreError> {
    serde_json::to_vec(config)
        .map(Bytes::from)
        .map_err(|source| StoreError::Encode {
            key: key.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use lattice_nats::NewBucket;
    use lattice_nats_box::{NatsBox, NatsBoxOptions};

    use crate::bucket::Limits;

    #[tokio::test]
    async fn a_watch_begins_with_what_any_server_has_while_no_leader_answers() {
        let extra_config = r#"
            authorization {
                default_permissions: { publish: { deny: ["$JS.API.STREAM.MSG.GET.>"] } }
                users: [{ user: a, password: a }]
            }
            no_auth_user: a"#;
        let options = NatsBoxOptions {
            extra_config: extra_config.to_owned(),
            ..NatsBoxOptions::default()
        };
        let nats = NatsBox::start_with(options).await.unwrap();
        let client = nats.client().await.unwrap();
        let js = async_nats::jetstream::new(client.clone());
        let new = NewBucket {
            name: "configs".to_owned(),
            ..NewBucket::default()
        };
        let limits = Limits {
            request: Duration::from_secs(2),
            write: Duration::from_secs(20),
        };
        let store = ConfigStore::new(Arc::new(Bucket::new(client, js, new, limits)));
        let name = |name: &str| ConfigName::new(name).unwrap();
        let config = StringMap::from_iter([("key".to_owned(), "value".to_owned())]);
        store.put(&name("there"), &config).await.unwrap();
        let watch = store.watch_with(&name("there"), true).await.unwrap();
        assert_eq!(watch.current().as_deref(), Some(&config));
        // Any server may be behind.
        let missing = store.watch_with(&name("missing"), true).await;
        assert_eq!(missing.unwrap_err().code(), ErrorCode::Timeout);
    }

    #[test]
    fn missing_configs_and_secrets_are_told_apart() {
        let names = ["http", "SECRET_db"]
            .map(|name| ConfigName::new(name).unwrap())
            .to_vec();
        let error = CheckConfigsError::Missing { names };
        assert_eq!(
            error.to_string(),
            "Failed to validate configuration and secrets. Configuration http not found in config \
             store, Secret reference SECRET_db not found in config store"
        );
        assert_eq!(error.code(), ErrorCode::MissingConfig);
        assert_eq!(
            error.hint().unwrap(),
            "put it first: `wash config put http key=value`"
        );
    }
}
