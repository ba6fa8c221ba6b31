//! Values at rest: each sealed in the bucket, under the key that it was put under.
//!
//! 1.x seals the value alone. Such a one is read as it is, and bound to its key when it is put again.

use async_nats::jetstream::kv::{Entry, Operation, Store};
use bytes::Bytes;
use futures::StreamExt as _;
use lattice_claims::{CurveKey, SealError};
use lattice_core::provider::SecretValue;
use lattice_core::secrets::{PutSecretRequest, Secret};

/// The longest key of a secret, in bytes.
const LONGEST_KEY: usize = 512;

/// Why a value could not be kept or had. Holds nothing of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The text cannot be the key of a secret.
    #[error("`{key}` cannot be the key of a secret")]
    Key {
        /// The text.
        key: String,
    },
    /// The version is no number.
    #[error("version `{version}` of `{key}` is no number")]
    Version {
        /// The key of the secret.
        key: String,
        /// What was asked for.
        version: String,
    },
    /// The bucket did not answer.
    #[error("could not reach the bucket of secrets: {reason}")]
    Bucket {
        /// What the client says.
        reason: String,
    },
    /// The value could not be sealed.
    #[error("could not seal the value of `{key}`")]
    Seal {
        /// The key of the secret.
        key: String,
        /// Why.
        source: SealError,
    },
    /// The value was sealed with another key, or was changed.
    #[error("could not open the value of `{key}`")]
    Open {
        /// The key of the secret.
        key: String,
        /// Why.
        source: SealError,
    },
    /// What was sealed is no value of this key: it may have been put under another one.
    #[error("what is stored under `{key}` was not stored under that key")]
    Foreign {
        /// The key of the secret.
        key: String,
    },
}

/// The sealed values.
#[derive(Debug)]
pub struct StoredValues {
    bucket: Store,
    key: CurveKey,
}

impl StoredValues {
    /// The values in `bucket`, sealed with `key`.
    #[must_use]
    pub fn new(bucket: Store, key: CurveKey) -> Self {
        Self { bucket, key }
    }

    /// Makes sure that the key is the one with which the first value was sealed.
    ///
    /// # Errors
    ///
    /// [`VaultError::Open`] when it is another one.
    pub async fn check(&self) -> Result<(), VaultError> {
        let mut keys = self.bucket.keys().await.map_err(|e| unreached(&e))?;
        while let Some(key) = keys.next().await {
            let key = key.map_err(|e| unreached(&e))?;
            if self.get(&key, None).await?.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Keeps a value; gives the number of its version.
    ///
    /// # Errors
    ///
    /// [`VaultError`] for a key that cannot be one, or when the bucket does not take it.
    pub async fn put(&self, request: &PutSecretRequest) -> Result<u64, VaultError> {
        let key = check_key(&request.key)?;
        let sealed = seal(&self.key, request)?;
        let put = self.bucket.put(key, Bytes::from(sealed)).await;
        put.map_err(|error| unreached(&error))
    }

    /// A value, the latest unless a version is named.
    ///
    /// # Errors
    ///
    /// [`VaultError`] when it does not open or the bucket does not answer.
    pub async fn get(
        &self,
        key: &str,
        version: Option<&str>,
    ) -> Result<Option<Secret>, VaultError> {
        check_key(key)?;
        let entry = match version {
            None => self.bucket.entry(key).await,
            Some(version) => {
                let number = version.parse().map_err(|_| VaultError::Version {
                    key: key.to_owned(),
                    version: version.chars().take(40).collect(),
                })?;
                self.bucket.entry_for_revision(key, number).await
            }
        };
        let entry = entry.map_err(|error| unreached(&error))?;
        let stored = entry.filter(|entry| entry.operation == Operation::Put);
        stored.map(|entry| self.open(key, &entry)).transpose()
    }

    fn open(&self, key: &str, entry: &Entry) -> Result<Secret, VaultError> {
        let value = open(&self.key, key, &entry.value)?;
        Ok(Secret::new(entry.revision.to_string(), value))
    }
}

/// Seals a value together with its key, so that nobody who can write to the bucket can pass one
/// off as another.
pub(crate) fn seal(key: &CurveKey, request: &PutSecretRequest) -> Result<Vec<u8>, VaultError> {
    let foreign = || VaultError::Foreign {
        key: request.key.clone(),
    };
    let json = serde_json::to_vec(request).map_err(|_| foreign())?;
    key.seal(&json, key).map_err(|source| VaultError::Seal {
        key: request.key.clone(),
        source,
    })
}

/// Opens what is stored under `name`: what [`seal`] has made, or the value alone, as 1.x seals it.
pub(crate) fn open(key: &CurveKey, name: &str, sealed: &[u8]) -> Result<SecretValue, VaultError> {
    let opened = key.open(sealed, key).map_err(|source| VaultError::Open {
        key: name.to_owned(),
        source,
    })?;
    let Some(stored) = with_its_key(&opened) else {
        return Ok(alone(opened));
    };
    let value = (stored.key == name).then(|| stored.into_value());
    value.flatten().ok_or_else(|| VaultError::Foreign {
        key: name.to_owned(),
    })
}

/// What [`seal`] has written, to the letter: a value of 1.x may be JSON that has a field `key`, too.
fn with_its_key(opened: &[u8]) -> Option<PutSecretRequest> {
    let stored: PutSecretRequest = serde_json::from_slice(opened).ok()?;
    let written = serde_json::to_vec(&stored).ok()?;
    (written == opened).then_some(stored)
}

/// A value of 1.x, which does not keep whether it was a text, and takes for one what is UTF-8.
fn alone(opened: Vec<u8>) -> SecretValue {
    match String::from_utf8(opened) {
        Ok(text) => SecretValue::String(text),
        Err(error) => SecretValue::Bytes(error.into_bytes()),
    }
}

pub(crate) fn check_key(key: &str) -> Result<&str, VaultError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=/.".contains(&byte);
    let formed = !key.is_empty()
        && key.len() <= LONGEST_KEY
        && key.bytes().all(allowed)
        && key.split('.').all(|token| !token.is_empty());
    if formed {
        return Ok(key);
    }
    Err(VaultError::Key {
        key: key.chars().take(80).collect(),
    })
}

fn unreached(error: &dyn std::error::Error) -> VaultError {
    VaultError::Bucket {
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(key: &str, value: SecretValue) -> PutSecretRequest {
        PutSecretRequest::new(key, value)
    }

    #[test]
    fn a_value_opens_under_its_own_key_only() {
        let key = CurveKey::generate();
        let value = SecretValue::String("hunter2".into());
        let sealed = seal(&key, &put("db", value.clone())).unwrap();
        assert_eq!(open(&key, "db", &sealed).unwrap(), value);
        assert!(matches!(
            open(&key, "other", &sealed),
            Err(VaultError::Foreign { .. })
        ));
        assert!(matches!(
            open(&CurveKey::generate(), "db", &sealed),
            Err(VaultError::Open { .. })
        ));
    }

    #[test]
    fn a_value_that_was_sealed_alone_as_in_1x_opens() {
        let key = CurveKey::generate();
        let opened = |value: &[u8]| open(&key, "db", &key.seal(value, &key).unwrap()).unwrap();
        let ours = serde_json::to_string(&put("other", SecretValue::String("x".into()))).unwrap();
        let spaced = ours.replace(':', ": ");
        for text in [
            "hunter2",
            "",
            r#"{"key":"AKIA","secret":"x"}"#,
            r#"{"key":"db","string_secret":"x"}"#,
            &spaced,
        ] {
            let value = SecretValue::String(text.to_owned());
            assert_eq!(opened(text.as_bytes()), value);
        }
        assert_eq!(opened(&[0xff, 0]), SecretValue::Bytes(vec![0xff, 0]));
    }

    #[test]
    fn keys_are_those_that_a_bucket_takes() {
        for key in ["db", "a/b", "a.b", "A-1_=x"] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", "a b", "a..b", ".a", "a.", "a*", ">", "ä"] {
            assert!(check_key(key).is_err(), "{key}");
        }
        assert!(check_key(&"x".repeat(LONGEST_KEY + 1)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_is_sealed_is_what_is_opened_and_does_not_show(
            name in "[a-z]{1,8}",
            text in "[a-zA-Z0-9]{12,40}",
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let key = CurveKey::generate();
            for value in [SecretValue::String(text.clone()), SecretValue::Bytes(bytes.clone())] {
                let sealed = seal(&key, &put(&name, value.clone())).unwrap();
                prop_assert!(!sealed.windows(text.len()).any(|part| part == text.as_bytes()));
                prop_assert_eq!(open(&key, &name, &sealed).unwrap(), value);
                let again = seal(&key, &put(&name, SecretValue::String(text.clone()))).unwrap();
                prop_assert_ne!(sealed, again);
            }
        }

        #[test]
        fn a_flipped_bit_does_not_open(at in 0_usize..120, bit in 0_u32..8) {
            let key = CurveKey::generate();
            let mut sealed = seal(&key, &put("db", SecretValue::String("x".repeat(60)))).unwrap();
            let at = at % sealed.len();
            sealed[at] ^= 1 << bit;
            prop_assert!(open(&key, "db", &sealed).is_err());
        }
    }
}
