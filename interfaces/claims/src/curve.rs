//! Curve keys (xkeys) and sealing for one reader.

use std::fmt;

use lattice_core::id::PUBLIC_KEY_CHARS;
use lattice_core::provider::{SecretMap, SecretText};
use nkeys::XKey;

use crate::keys::{KeyError, SEED_CHARS, check_length};

/// The longest text that is sealed or opened, in bytes.
pub const MAX_SEALED_BYTES: usize = 8 * 1024 * 1024;

/// What sealing adds: the version, the nonce and the tag.
const OVERHEAD: usize = 4 + 24 + 16;

const PUBLIC: &str = "public curve key";
const SEED: &str = "curve seed";

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A key is not a curve key.
    #[error("cannot seal or open without a valid curve key")]
    Key(#[from] KeyError),
    /// More than [`MAX_SEALED_BYTES`].
    #[error("{bytes} bytes to seal or open are over the limit of {MAX_SEALED_BYTES}")]
    TooLong {
        /// The length.
        bytes: usize,
    },
    /// Sealing failed.
    #[error("could not seal")]
    Seal(#[source] nkeys::error::Error),
    /// The bytes were not sealed by the sender for this key, or were changed.
    #[error("could not open, the bytes were changed or sealed with other keys")]
    Open(#[source] nkeys::error::Error),
    /// The opened text is not a map of secrets.
    #[error("the sealed secrets are not the expected JSON")]
    Json(#[source] serde_json::Error),
}

/// A curve key pair, or only its public half.
#[derive(Clone)]
pub struct CurveKey(XKey);

impl fmt::Debug for CurveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CurveKey({})", self.public_key())
    }
}

impl CurveKey {
    /// A fresh key pair.
    #[must_use]
    pub fn generate() -> Self {
        Self(XKey::new())
    }

    /// Reads a seed, `SX…`.
    ///
    /// # Errors
    ///
    /// Says what is wrong without repeating the seed.
    pub fn from_seed(seed: &str) -> Result<Self, KeyError> {
        let seed = seed.trim();
        check_length(SEED, seed, SEED_CHARS)?;
        let key = XKey::from_seed(seed);
        key.map(Self)
            .map_err(|source| KeyError::Malformed { what: SEED, source })
    }

    /// Reads a public key, `X…`.
    ///
    /// # Errors
    ///
    /// Says what the text is not.
    pub fn from_public_key(text: &str) -> Result<Self, KeyError> {
        check_length(PUBLIC, text, PUBLIC_KEY_CHARS)?;
        let key = XKey::from_public_key(text);
        key.map(Self).map_err(|source| KeyError::Malformed {
            what: PUBLIC,
            source,
        })
    }

    /// The public key as text.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.0.public_key()
    }

    /// The seed as text; empty for a public half.
    #[must_use]
    pub fn seed(&self) -> SecretText {
        self.0.seed().map(SecretText::new).unwrap_or_default()
    }

    /// Seals bytes so that only the owner of `reader` can open them, and knows
    /// that they come from this key.
    ///
    /// # Errors
    ///
    /// Fails for too many bytes and for a key without its private half.
    pub fn seal(&self, bytes: &[u8], reader: &Self) -> Result<Vec<u8>, SealError> {
        if bytes.len() > MAX_SEALED_BYTES {
            return Err(SealError::TooLong { bytes: bytes.len() });
        }
        self.0.seal(bytes, &reader.0).map_err(SealError::Seal)
    }

    /// Opens what `sender` sealed for this key.
    ///
    /// # Errors
    ///
    /// Fails for bytes that were changed or sealed with other keys.
    pub fn open(&self, sealed: &[u8], sender: &Self) -> Result<Vec<u8>, SealError> {
        if sealed.len() > MAX_SEALED_BYTES + OVERHEAD {
            return Err(SealError::TooLong {
                bytes: sealed.len(),
            });
        }
        self.0.open(sealed, &sender.0).map_err(SealError::Open)
    }

    /// Seals the secrets of one end of a link; nothing for no secrets.
    ///
    /// # Errors
    ///
    /// As [`CurveKey::seal`].
    pub fn seal_secrets(
        &self,
        secrets: &SecretMap,
        reader: &Self,
    ) -> Result<Option<Vec<u8>>, SealError> {
        if secrets.is_empty() {
            return Ok(None);
        }
        let json = serde_json::to_vec(secrets).map_err(SealError::Json)?;
        self.seal(&json, reader).map(Some)
    }

    /// Opens the secrets of one end of a link; no secrets for nothing.
    ///
    /// # Errors
    ///
    /// As [`CurveKey::open`], and for a text that is not a map of secrets.
    pub fn open_secrets(
        &self,
        sealed: Option<&[u8]>,
        sender: &Self,
    ) -> Result<SecretMap, SealError> {
        let Some(sealed) = sealed else {
            return Ok(SecretMap::new());
        };
        let json = self.open(sealed, sender)?;
        serde_json::from_slice(&json).map_err(SealError::Json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lattice_core::provider::SecretValue;
    use proptest::prelude::*;

    #[test]
    fn secrets_reach_their_reader_and_nobody_else() {
        let (host, provider, other) = (
            CurveKey::generate(),
            CurveKey::generate(),
            CurveKey::generate(),
        );
        let mut secrets = SecretMap::new();
        secrets.insert("db".into(), SecretValue::String("hunter2".into()));
        secrets.insert("key".into(), SecretValue::Bytes(vec![0, 255]));
        let reader = CurveKey::from_public_key(&provider.public_key()).unwrap();
        let sealed = host.seal_secrets(&secrets, &reader).unwrap().unwrap();
        assert!(sealed.starts_with(b"xkv1"));
        let sender = CurveKey::from_public_key(&host.public_key()).unwrap();
        assert_eq!(
            provider.open_secrets(Some(&sealed), &sender).unwrap(),
            secrets
        );
        assert!(matches!(
            other.open_secrets(Some(&sealed), &sender),
            Err(SealError::Open(_))
        ));
        assert!(provider.open_secrets(Some(&sealed), &other).is_err());
        assert!(matches!(
            sender.open(&sealed, &reader),
            Err(SealError::Open(_))
        ));
    }

    #[test]
    fn no_secrets_are_nothing_on_the_wire() {
        let (host, provider) = (CurveKey::generate(), CurveKey::generate());
        assert_eq!(
            host.seal_secrets(&SecretMap::new(), &provider).unwrap(),
            None
        );
        assert!(provider.open_secrets(None, &host).unwrap().is_empty());
    }

    #[test]
    fn keys_survive_their_text_form() {
        let key = CurveKey::generate();
        assert!(key.public_key().starts_with('X') && key.seed().expose().starts_with("SX"));
        let again = CurveKey::from_seed(key.seed().expose()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert!(
            CurveKey::from_public_key(&key.public_key())
                .unwrap()
                .seed()
                .is_empty()
        );
        assert!(CurveKey::from_public_key("X").is_err());
        assert!(CurveKey::from_seed(&key.public_key()).is_err());
    }

    #[test]
    fn too_much_is_refused() {
        let key = CurveKey::generate();
        let long = vec![0; MAX_SEALED_BYTES + OVERHEAD + 1];
        assert!(matches!(
            key.seal(&long, &key),
            Err(SealError::TooLong { .. })
        ));
        assert!(matches!(
            key.open(&long, &key),
            Err(SealError::TooLong { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn nothing_unsealed_opens_or_panics(bytes in any::<Vec<u8>>(), text in any::<String>()) {
            let key = CurveKey::generate();
            prop_assert!(key.open(&bytes, &key).is_err());
            prop_assert!(key.open(&[b"xkv1", &bytes[..]].concat(), &key).is_err());
            let _ = (CurveKey::from_seed(&text), CurveKey::from_public_key(&text));
        }
    }
}
