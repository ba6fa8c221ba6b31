//! Tokens of the providers that are part of a host.
//!
//! No file vouches for such a provider: its host does, as the code is the host's own. It is the same entity on
//! every host, and hosts that share a cluster key sign for it as the same account, so that who decides by
//! entity and issuer, as a secrets backend does, need not know the hosts.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::claims::{ProviderClaims, ProviderMetadata};
use crate::keys::{KeyError, KeyKind, SigningKey};
use crate::token::TokenError;

/// What keeps keys that are made from something apart from those that are made from it for another purpose.
const ISSUER: &[u8] = b"lattice issuer of providers in hosts v1\0";
const ENTITY: &[u8] = b"lattice provider in hosts v1\0";

/// The public key (`V…`) that the provider `builtin://NAME` is known by, on every host of every lattice. Nobody
/// signs with it: who a token is believed from is the issuer.
///
/// # Errors
///
/// [`KeyError`] when no key can be made.
pub fn builtin_entity(name: &str) -> Result<String, KeyError> {
    Ok(derived(KeyKind::Provider, ENTITY, name.as_bytes())?.public_key())
}

/// The account that signs for the providers in the hosts of one cluster.
pub struct BuiltinIssuer {
    account: SigningKey,
}

impl fmt::Debug for BuiltinIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BuiltinIssuer").field(&self.account).finish()
    }
}

impl BuiltinIssuer {
    /// That of the hosts that have this cluster key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when no key can be made.
    pub fn of(cluster: &SigningKey) -> Result<Self, KeyError> {
        let account = derived(KeyKind::Account, ISSUER, cluster.seed().expose().as_bytes())?;
        Ok(Self { account })
    }

    /// Its public key, `A…`.
    #[must_use]
    pub fn public_key(&self) -> String {
        self.account.public_key()
    }

    /// The token of `builtin://NAME`, made at `now` in seconds since 1970; it does not end.
    ///
    /// # Errors
    ///
    /// [`TokenError`] when it cannot be signed.
    pub fn token(&self, name: &str, now: u64) -> Result<String, TokenError> {
        let metadata = ProviderMetadata {
            name: Some(name.to_owned()),
            vendor: "lattice".to_owned(),
            ..ProviderMetadata::default()
        };
        let entity = builtin_entity(name).map_err(TokenError::Issuer)?;
        ProviderClaims::new(entity, metadata, now).sign(&self.account)
    }
}

fn derived(kind: KeyKind, purpose: &[u8], from: &[u8]) -> Result<SigningKey, KeyError> {
    let bytes = Sha256::new().chain_update(purpose).chain_update(from);
    SigningKey::of_bytes(kind, bytes.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::token::verify;

    #[test]
    fn hosts_of_a_cluster_sign_alike_for_the_same_entity() {
        let cluster = SigningKey::generate(KeyKind::Cluster);
        let again = SigningKey::from_seed(cluster.seed().expose()).unwrap();
        let issuer = |cluster: &SigningKey| BuiltinIssuer::of(cluster).unwrap();
        let (one, other) = (issuer(&cluster), issuer(&again));
        assert_eq!(one.public_key(), other.public_key());
        let stranger = issuer(&SigningKey::generate(KeyKind::Cluster));
        assert_ne!(one.public_key(), stranger.public_key());

        let token = one.token("keyvalue-redis", 100).unwrap();
        let claims = verify::<ProviderMetadata>(&token, 100).unwrap();
        assert_eq!(claims.subject, builtin_entity("keyvalue-redis").unwrap());
        assert_eq!(claims.issuer, one.public_key());
        assert!(claims.subject.starts_with('V') && claims.issuer.starts_with('A'));
        assert_ne!(claims.subject, builtin_entity("keyvalue-nats").unwrap());
        assert!(!format!("{one:?}").contains(cluster.seed().expose()));
    }
}
