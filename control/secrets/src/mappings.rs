//! Which entity may have which secrets.

use std::collections::BTreeSet;

use async_nats::jetstream::kv::{Store, UpdateError, UpdateErrorKind};
use bytes::Bytes;
use lattice_claims::PublicKey;

/// How often a change is tried again that somebody else was faster with.
const ATTEMPTS: u32 = 8;
/// The most secrets of one entity.
const MOST_KEYS: usize = 10_000;

/// Keeps, for each public key, the keys of the secrets it may have.
#[derive(Debug)]
pub(crate) struct Mappings {
    bucket: Store,
}

/// Why a mapping could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum MappingError {
    /// The text is no public key.
    #[error("`{entity}` is not the public key of a component or provider")]
    Entity { entity: String },
    /// There are too many.
    #[error("`{entity}` would have more than {MOST_KEYS} secrets")]
    TooMany { entity: String },
    /// What is stored is something else.
    #[error("what is stored for `{entity}` is no list of secrets")]
    Malformed { entity: String },
    /// Others changed it all the time.
    #[error("the secrets of `{entity}` are being changed by others")]
    Contended { entity: String },
    /// The bucket did not answer.
    #[error("could not reach the bucket of mappings: {reason}")]
    Bucket { reason: String },
}

type Keys = BTreeSet<String>;

impl Mappings {
    pub(crate) fn new(bucket: Store) -> Self {
        Self { bucket }
    }

    /// Whether an entity may have a secret.
    pub(crate) async fn allows(&self, entity: &str, key: &str) -> Result<bool, MappingError> {
        let (keys, _) = self.read(entity).await?;
        Ok(keys.contains(key))
    }

    /// Lets an entity have further secrets.
    pub(crate) async fn add(&self, entity: &str, keys: &[String]) -> Result<(), MappingError> {
        self.change(entity, |known| known.extend(keys.iter().cloned()))
            .await
    }

    /// Lets an entity no longer have some.
    pub(crate) async fn remove(&self, entity: &str, keys: &[String]) -> Result<(), MappingError> {
        self.change(entity, |known| known.retain(|key| !keys.contains(key)))
            .await
    }

    async fn change(&self, entity: &str, edit: impl Fn(&mut Keys)) -> Result<(), MappingError> {
        let entity = check(entity)?;
        for _ in 0..ATTEMPTS {
            let (mut keys, revision) = self.read(entity).await?;
            edit(&mut keys);
            if keys.len() > MOST_KEYS {
                let entity = entity.to_owned();
                return Err(MappingError::TooMany { entity });
            }
            let json = serde_json::to_vec(&keys).map_err(|_| malformed(entity))?;
            let stored = self
                .bucket
                .update(entity, Bytes::from(json), revision)
                .await;
            match stored {
                Ok(_revision) => return Ok(()),
                Err(error) if is_late(&error) => {}
                Err(error) => return Err(unreached(&error)),
            }
        }
        Err(MappingError::Contended {
            entity: entity.to_owned(),
        })
    }

    /// The keys, and the revision that a change has to name.
    async fn read(&self, entity: &str) -> Result<(Keys, u64), MappingError> {
        let entity = check(entity)?;
        let entry = self.bucket.entry(entity).await.map_err(|e| unreached(&e))?;
        let Some(entry) = entry else {
            return Ok((Keys::new(), 0));
        };
        if entry.value.is_empty() {
            return Ok((Keys::new(), entry.revision));
        }
        let keys = serde_json::from_slice(&entry.value).map_err(|_| malformed(entity))?;
        Ok((keys, entry.revision))
    }
}

fn check(entity: &str) -> Result<&str, MappingError> {
    match PublicKey::parse(entity) {
        Ok(_) => Ok(entity),
        Err(_) => Err(MappingError::Entity {
            entity: entity.chars().take(80).collect(),
        }),
    }
}

fn is_late(error: &UpdateError) -> bool {
    error.kind() == UpdateErrorKind::WrongLastRevision
}

fn malformed(entity: &str) -> MappingError {
    MappingError::Malformed {
        entity: entity.to_owned(),
    }
}

fn unreached(error: &dyn std::error::Error) -> MappingError {
    MappingError::Bucket {
        reason: error.to_string(),
    }
}
