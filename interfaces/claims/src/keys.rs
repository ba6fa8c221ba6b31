//! Ed25519 keys in the nkeys text form.

use std::fmt;

use lattice_core::id::PUBLIC_KEY_CHARS;
use lattice_core::provider::SecretText;
use nkeys::{KeyPair, KeyPairType};

/// What a key stands for; the first letter of its public form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// Signs accounts.
    Operator,
    /// Signs components and providers.
    Account,
    /// The subject of a component.
    Component,
    /// The subject of a provider.
    Provider,
    /// The id of a host.
    Host,
    /// A group of hosts: signs the code that they compile for one another.
    Cluster,
    /// A NATS user.
    User,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Operator,
        Self::Account,
        Self::Component,
        Self::Provider,
        Self::Host,
        Self::Cluster,
        Self::User,
    ];

    /// The first letter of a public key of this kind.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Operator => 'O',
            Self::Account => 'A',
            Self::Component => 'M',
            Self::Provider => 'V',
            Self::Host => 'N',
            Self::Cluster => 'C',
            Self::User => 'U',
        }
    }

    fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.letter() == letter)
    }

    fn expect(self, expected: Self) -> Result<(), KeyError> {
        if self == expected {
            return Ok(());
        }
        Err(KeyError::WrongKind {
            expected,
            found: self,
        })
    }

    fn to_nkeys(self) -> KeyPairType {
        match self {
            Self::Operator => KeyPairType::Operator,
            Self::Account => KeyPairType::Account,
            Self::Component => KeyPairType::Module,
            Self::Provider => KeyPairType::Service,
            Self::Host => KeyPairType::Server,
            Self::Cluster => KeyPairType::Cluster,
            Self::User => KeyPairType::User,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Account => "account",
            Self::Component => "component",
            Self::Provider => "provider",
            Self::Host => "host",
            Self::Cluster => "cluster",
            Self::User => "user",
        })
    }
}

/// The length of a seed in text form.
pub const SEED_CHARS: usize = 58;

/// Why a text is not a key, or a key cannot be used so. Never holds a seed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text has another length than keys have.
    #[error("a {what} has {expected} characters, not {found}")]
    Length {
        /// What was expected.
        what: &'static str,
        /// The length it has.
        expected: usize,
        /// The length of the text.
        found: usize,
    },
    /// The text is no key of a known kind, or its checksum does not fit.
    #[error("not a valid {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// Why not.
        #[source]
        source: nkeys::error::Error,
    },
    /// The key is of a kind this crate does not sign with.
    #[error("the first letters of the {what} name no kind of key that signs")]
    UnknownKind {
        /// What was expected.
        what: &'static str,
    },
    /// The key is of another kind than needed.
    #[error("expected a key of kind {expected}, found {found}")]
    WrongKind {
        /// The kind needed.
        expected: KeyKind,
        /// The kind of the key.
        found: KeyKind,
    },
    /// The signature could not be made.
    #[error("could not sign")]
    Sign(#[source] nkeys::error::Error),
}

const PUBLIC: &str = "public key";
const SEED: &str = "seed";

/// nkeys takes some lengths for granted, so each text is measured first.
pub(crate) fn check_length(
    what: &'static str,
    text: &str,
    expected: usize,
) -> Result<(), KeyError> {
    if text.len() == expected {
        Ok(())
    } else {
        Err(KeyError::Length {
            what,
            expected,
            found: text.len(),
        })
    }
}

/// A key pair that can sign.
pub struct SigningKey {
    pair: KeyPair,
    kind: KeyKind,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public_key())
    }
}

impl SigningKey {
    /// A fresh key pair.
    #[must_use]
    pub fn generate(kind: KeyKind) -> Self {
        Self {
            pair: KeyPair::new(kind.to_nkeys()),
            kind,
        }
    }

    /// The key pair of these bytes.
    pub(crate) fn of_bytes(kind: KeyKind, bytes: [u8; 32]) -> Result<Self, KeyError> {
        let pair = KeyPair::new_from_raw(kind.to_nkeys(), bytes)
            .map_err(|source| KeyError::Malformed { what: SEED, source })?;
        Ok(Self { pair, kind })
    }

    /// Reads a seed, `S` and the letter of its kind first.
    ///
    /// # Errors
    ///
    /// Says what is wrong without repeating the seed.
    pub fn from_seed(seed: &str) -> Result<Self, KeyError> {
        let seed = seed.trim();
        check_length(SEED, seed, SEED_CHARS)?;
        let pair = KeyPair::from_seed(seed)
            .map_err(|source| KeyError::Malformed { what: SEED, source })?;
        // nkeys reads unknown kinds as operators; the letter tells.
        let kind = seed.chars().nth(1).and_then(KeyKind::from_letter);
        let kind = kind.ok_or(KeyError::UnknownKind { what: SEED })?;
        Ok(Self { pair, kind })
    }

    /// The same key if it is of the kind needed.
    ///
    /// # Errors
    ///
    /// Returns [`KeyError::WrongKind`] if it is not.
    pub fn expect_kind(self, expected: KeyKind) -> Result<Self, KeyError> {
        self.kind.expect(expected)?;
        Ok(self)
    }

    /// What the key stands for.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public key as text.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.pair.public_key()
    }

    /// The seed as text, to be stored where only its owner reads.
    #[must_use]
    pub fn seed(&self) -> SecretText {
        // A signing key always has its seed.
        self.pair.seed().map(SecretText::new).unwrap_or_default()
    }

    /// Signs a message.
    ///
    /// # Errors
    ///
    /// Returns [`KeyError::Sign`] if the key holds no private part, which no
    /// constructor allows.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.pair.sign(message).map_err(KeyError::Sign)
    }
}

/// A public key, which can verify.
#[derive(Clone)]
pub struct PublicKey {
    pair: KeyPair,
    kind: KeyKind,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.pair.public_key())
    }
}

impl PublicKey {
    /// Reads a public key of a kind that signs.
    ///
    /// # Errors
    ///
    /// Says what the text is not.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        check_length(PUBLIC, text, PUBLIC_KEY_CHARS)?;
        let pair = KeyPair::from_public_key(text).map_err(|source| KeyError::Malformed {
            what: PUBLIC,
            source,
        })?;
        let kind = text.chars().next().and_then(KeyKind::from_letter);
        let kind = kind.ok_or(KeyError::UnknownKind { what: PUBLIC })?;
        Ok(Self { pair, kind })
    }

    /// The same key if it is of the kind needed.
    ///
    /// # Errors
    ///
    /// Returns [`KeyError::WrongKind`] if it is not.
    pub fn expect_kind(self, expected: KeyKind) -> Result<Self, KeyError> {
        self.kind.expect(expected)?;
        Ok(self)
    }

    /// What the key stands for.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key as text.
    #[must_use]
    pub fn as_text(&self) -> String {
        self.pair.public_key()
    }

    /// Whether `signature` is this key's signature of `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.pair.verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_has_its_letter_and_survives_its_text_form() {
        for kind in KeyKind::ALL {
            let key = SigningKey::generate(kind);
            assert!(key.public_key().starts_with(kind.letter()));
            let again = SigningKey::from_seed(key.seed().expose()).unwrap();
            assert_eq!((again.kind(), again.public_key()), (kind, key.public_key()));
            assert_eq!(key.seed().expose().len(), SEED_CHARS);
            let public = PublicKey::parse(&key.public_key()).unwrap();
            assert_eq!((public.kind(), public.as_text()), (kind, key.public_key()));
        }
    }

    #[test]
    fn signatures_hold_for_their_message_and_key_only() {
        let key = SigningKey::generate(KeyKind::Account);
        let signature = key.sign(b"message").unwrap();
        let public = PublicKey::parse(&key.public_key()).unwrap();
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
        assert!(!public.verifies(b"message", &signature[1..]));
        let other = SigningKey::generate(KeyKind::Account).public_key();
        assert!(
            !PublicKey::parse(&other)
                .unwrap()
                .verifies(b"message", &signature)
        );
    }

    #[test]
    fn texts_that_are_not_keys_are_refused() {
        let key = SigningKey::generate(KeyKind::Host);
        let public = key.public_key();
        assert!(matches!(PublicKey::parse(""), Err(KeyError::Length { .. })));
        assert!(matches!(
            PublicKey::parse(&public[1..]),
            Err(KeyError::Length { .. })
        ));
        let mut wrong = public.clone().into_bytes();
        wrong[20] = if wrong[20] == b'A' { b'B' } else { b'A' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert!(matches!(
            PublicKey::parse(&wrong),
            Err(KeyError::Malformed { .. })
        ));
        assert!(SigningKey::from_seed(&public).is_err());
        let error = key.expect_kind(KeyKind::Account).unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a key of kind account, found host"
        );
    }

    #[test]
    fn errors_and_debug_output_do_not_show_seeds() {
        let key = SigningKey::generate(KeyKind::User);
        let mut seed = key.seed().expose().to_owned();
        seed.replace_range(10..11, "1");
        let error = SigningKey::from_seed(&seed).unwrap_err();
        let shown = format!("{error} {error:?} {key:?}");
        assert!(!shown.contains(&seed[11..]));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_key_parsers_panic(
            any_text in any::<String>(),
            seed in "S[A-Z2-7]{57}",
            public in "[A-Z2-7]{56}",
        ) {
            for text in [any_text, seed, public] {
                let _ = SigningKey::from_seed(&text);
                let _ = PublicKey::parse(&text);
            }
        }
    }
}
