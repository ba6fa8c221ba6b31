//! Which entity may have which secrets, and who signs for it.
//!
//! The list of an entity stands under its public key, as `secrets-nats-kv` of 1.x has it. Those who
//! sign for it stand under another key, of which 1.x does not know: a token is bound to them, since
//! anybody can sign one about anything.

use std::collections::BTreeSet;

use async_nats::jetstream::kv::{Store, UpdateError, UpdateErrorKind};
use bytes::Bytes;
use lattice_claims::PublicKey;

/// How often a change is tried again that somebody else was faster with.
const ATTEMPTS: u32 = 8;
/// The most secrets of one entity.
const MOST_KEYS: usize = 10_000;
/// What the key of the issuers of an entity begins with.
const ISSUERS: &str = "issuers.";
/// What stands before an issuer whom nobody has named, and who counts for having asked first.
const FIRST: &str = "first:";

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
    /// Somebody else signs for the entity.
    #[error(
        "`{issuer}` does not sign for `{entity}`, whose secrets are for tokens of another issuer; \
         `wash secrets-backend add-mapping {entity} KEY --issuer {issuer}` would let it, in the place of who \
         has only asked first"
    )]
    Issuer { entity: String, issuer: String },
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
        let (keys, _) = self.read(entity, check(entity)?).await?;
        Ok(keys.contains(key))
    }

    /// Refuses a token of `entity` that somebody else has signed than those who are known to. Says
    /// whether anybody is known.
    pub(crate) async fn check_issuer(
        &self,
        entity: &str,
        issuer: &str,
    ) -> Result<bool, MappingError> {
        let (known, _) = self.read(entity, &issuers(check(entity)?)).await?;
        let is_known = known.contains(issuer) || known.contains(&first(issuer));
        match known.is_empty() || is_known {
            true => Ok(!known.is_empty()),
            false => Err(MappingError::Issuer {
                entity: entity.to_owned(),
                issuer: issuer.to_owned(),
            }),
        }
    }

    /// Binds the secrets of an entity to who asks for one first, where nobody is known to sign for it.
    pub(crate) async fn bind_first(&self, entity: &str, issuer: &str) -> Result<(), MappingError> {
        let key = issuers(check(entity)?);
        self.change(entity, &key, |known| {
            if known.is_empty() {
                known.insert(first(issuer));
            }
        })
        .await?;
        // Another may have been faster.
        self.check_issuer(entity, issuer).await.map(drop)
    }

    /// Names who signs for an entity, beside those who were named before. Who was there first does not
    /// count any more.
    pub(crate) async fn bind(&self, entity: &str, issuer: &str) -> Result<(), MappingError> {
        let key = issuers(check(entity)?);
        self.change(entity, &key, |known| {
            known.retain(|known| !known.starts_with(FIRST));
            known.insert(issuer.to_owned());
        })
        .await
    }

    /// Lets an entity have further secrets.
    pub(crate) async fn add(&self, entity: &str, keys: &[String]) -> Result<(), MappingError> {
        let more = |known: &mut Keys| known.extend(keys.iter().cloned());
        self.change(entity, check(entity)?, more).await
    }

    /// Lets an entity no longer have some. Who signs for one that has none left is forgotten.
    pub(crate) async fn remove(&self, entity: &str, keys: &[String]) -> Result<(), MappingError> {
        let fewer = |known: &mut Keys| known.retain(|key| !keys.contains(key));
        self.change(entity, check(entity)?, fewer).await?;
        if self.read(entity, entity).await?.0.is_empty() {
            self.change(entity, &issuers(entity), Keys::clear).await?;
        }
        Ok(())
    }

    async fn change(
        &self,
        entity: &str,
        place: &str,
        edit: impl Fn(&mut Keys),
    ) -> Result<(), MappingError> {
        for _ in 0..ATTEMPTS {
            let (known, revision) = self.read(entity, place).await?;
            let mut keys = known.clone();
            edit(&mut keys);
            if keys == known {
                return Ok(());
            }
            if keys.len() > MOST_KEYS {
                let entity = entity.to_owned();
                return Err(MappingError::TooMany { entity });
            }
            let json = serde_json::to_vec(&keys).map_err(|_| malformed(entity))?;
            let stored = self.bucket.update(place, Bytes::from(json), revision).await;
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

    /// What stands at a place about an entity, and the revision that a change has to name.
    async fn read(&self, entity: &str, place: &str) -> Result<(Keys, u64), MappingError> {
        let entry = self.bucket.entry(place).await.map_err(|e| unreached(&e))?;
        let Some(entry) = entry else {
            return Ok((Keys::new(), 0));
        };
        Ok((listed(entity, &entry.value)?, entry.revision))
    }
}

/// Reads what is stored about an entity.
pub(crate) fn listed(entity: &str, stored: &[u8]) -> Result<Keys, MappingError> {
    if stored.is_empty() {
        return Ok(Keys::new());
    }
    serde_json::from_slice(stored).map_err(|_| malformed(entity))
}

fn issuers(entity: &str) -> String {
    format!("{ISSUERS}{entity}")
}

fn first(issuer: &str) -> String {
    format!("{FIRST}{issuer}")
}

pub(crate) fn check(entity: &str) -> Result<&str, MappingError> {
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
