//! Stored claims.

use std::sync::Arc;

use bytes::Bytes;
use lattice_core::ComponentId;
use lattice_core::record::StoredClaims;
use lattice_core::subject::store::claims_key;

use crate::bucket::Bucket;
use crate::edit::Edit;
use crate::error::StoreError;

/// The claims of the components and providers that were started with a token.
///
/// They live in the bucket of the specs; [`crate::LinkStore::watch`] tells their changes too.
#[derive(Debug, Clone)]
pub struct ClaimsStore {
    bucket: Arc<Bucket>,
}

impl ClaimsStore {
    pub(crate) fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket }
    }

    /// Stores claims under their subject. Claims that are there already are not written again,
    /// so that hosts which start the same component do not wake each other.
    ///
    /// # Errors
    ///
    /// Fails when the subject is not one token or the store does not answer.
    pub async fn put(&self, claims: &StoredClaims) -> Result<(), StoreError> {
        // Public keys and entity ids obey the same rule: one token that can be a key.
        ComponentId::new(claims.subject())?;
        let key = claims_key(claims.subject());
        let value = encode(&key, claims)?;
        let editor = |present: Option<&[u8]>| {
            let same = present.and_then(|bytes| serde_json::from_slice(bytes).ok());
            Ok(if same.as_ref() == Some(claims) {
                Edit::Keep(())
            } else {
                Edit::Write(value.clone(), ())
            })
        };
        self.bucket.edit::<_, StoreError>(&key, editor).await
    }

    /// Writes claims back that were lost with their bucket, unless somebody has written or deleted them
    /// in the new one.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer.
    pub async fn restore(&self, claims: &StoredClaims) -> Result<(), StoreError> {
        let key = claims_key(claims.subject());
        let value = encode(&key, claims)?;
        self.bucket.restore(&key, value).await.map(drop)
    }

    /// Reads the claims of a subject.
    ///
    /// # Errors
    ///
    /// Fails when the store does not answer or the record is not claims.
    pub async fn get(&self, subject: &str) -> Result<Option<StoredClaims>, StoreError> {
        ComponentId::new(subject)?;
        let key = claims_key(subject);
        let Some(record) = self.bucket.get(&key).await? else {
            return Ok(None);
        };
        serde_json::from_slice(&record.value)
            .map(Some)
            .map_err(|source| StoreError::Malformed {
                bucket: self.bucket.name().to_owned(),
                key,
                expected: "claims",
                source,
            })
    }

    /// Removes the claims of a subject.
    ///
    /// # Errors
    ///
    /// Fails when the subject is not one token or the store does not answer.
    pub async fn delete(&self, subject: &str) -> Result<(), StoreError> {
        ComponentId::new(subject)?;
        self.bucket.purge(&claims_key(subject)).await
    }
}

fn encode(key: &str, claims: &StoredClaims) -> Result<Bytes, StoreError> {
    serde_json::to_vec(claims)
        .map(Bytes::from)
        .map_err(|source| StoreError::Encode {
            key: key.to_owned(),
            source,
        })
}
