//! Signed components: signing one, and all the checks before one starts.

use crate::claims::{Claims, ComponentClaims, ComponentMetadata, normalise_call_alias};
use crate::keys::{KeyError, KeyKind, SigningKey};
use crate::token::{self, TokenError};
use crate::wasm::{self, WasmError};

/// Why the claims in a component were not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComponentClaimsError {
    /// The file could not be read.
    #[error("could not read the claims of the component")]
    Wasm(#[from] WasmError),
    /// The token does not hold.
    #[error("the claims of the component do not hold")]
    Token(#[from] TokenError),
    /// The file is not the one that was signed.
    #[error("hash mismatch, the component is not the one that was signed")]
    HashMismatch {
        /// The hash in the claims.
        claimed: String,
        /// The hash of the file.
        computed: String,
    },
    /// The claims say nothing about a component.
    #[error("the token in the component holds no component claims")]
    NoMetadata,
    /// A key is of the wrong kind.
    #[error("could not sign the component")]
    Key(#[from] KeyError),
}

/// The claims of a component that passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedComponent {
    /// The token as it stands in the file; it goes into requests for secrets.
    pub token: String,
    /// What it says.
    pub claims: ComponentClaims,
}

/// Checks the claims of a component: hash, header, issuer, subject, signature
/// and times. A file without a token has no claims and is accepted as such.
///
/// The hash is only compared for claims of revision 3 or later, because older
/// tools computed it in another way. Older claims prove nothing about the file:
/// see [`Claims::is_bound`].
///
/// # Errors
///
/// Returns the first check that failed.
pub fn verify_component(
    wasm: &[u8],
    now: u64,
) -> Result<Option<VerifiedComponent>, ComponentClaimsError> {
    let Some(token) = wasm::find_token(wasm)? else {
        return Ok(None);
    };
    let unchecked: ComponentClaims = token::decode(token)?;
    check_hash(wasm, &unchecked)?;
    let claims = token::verify::<ComponentMetadata>(token, now)?;
    Ok(Some(VerifiedComponent {
        token: token.to_owned(),
        claims,
    }))
}

fn check_hash(wasm: &[u8], claims: &ComponentClaims) -> Result<(), ComponentClaimsError> {
    let Some(metadata) = &claims.metadata else {
        return Err(ComponentClaimsError::NoMetadata);
    };
    if !claims.is_bound() {
        return Ok(());
    }
    let computed = wasm::hash(wasm)?;
    if computed == metadata.module_hash {
        return Ok(());
    }
    let claimed = metadata.module_hash.chars().take(computed.len()).collect();
    Err(ComponentClaimsError::HashMismatch { claimed, computed })
}

/// Signs a component and puts the token into it, in place of any other.
///
/// Fills in the hash and normalises the call alias.
///
/// # Errors
///
/// Fails for bytes that are not wasm and for keys of the wrong kind.
pub fn sign_component(
    wasm: &[u8],
    mut metadata: ComponentMetadata,
    issuer: &SigningKey,
    subject: &SigningKey,
    times: ValidTimes,
) -> Result<Vec<u8>, ComponentClaimsError> {
    expect_kind(issuer, KeyKind::Account)?;
    expect_kind(subject, KeyKind::Component)?;
    metadata.module_hash = wasm::hash(wasm)?;
    metadata.call_alias = metadata.call_alias.as_deref().map(normalise_call_alias);
    let mut claims = Claims::new(subject.public_key(), metadata, times.now);
    claims.expires = times.expires;
    claims.not_before = times.not_before;
    let token = claims.sign(issuer)?;
    Ok(wasm::with_token(wasm, &token)?)
}

pub(crate) fn expect_kind(key: &SigningKey, expected: KeyKind) -> Result<(), KeyError> {
    if key.kind() == expected {
        Ok(())
    } else {
        Err(KeyError::WrongKind {
            expected,
            found: key.kind(),
        })
    }
}

/// When a token is signed and how long it holds, in epoch seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ValidTimes {
    /// The time of signing.
    pub now: u64,
    /// When it expires.
    pub expires: Option<u64>,
    /// When it becomes valid.
    pub not_before: Option<u64>,
}

impl ValidTimes {
    /// Valid from `now` without end.
    #[must_use]
    pub fn from(now: u64) -> Self {
        Self {
            now,
            expires: None,
            not_before: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{Component, CustomSection, Module};

    const NOW: u64 = 1_800_000_000;

    fn keys() -> (SigningKey, SigningKey) {
        (
            SigningKey::generate(KeyKind::Account),
            SigningKey::generate(KeyKind::Component),
        )
    }

    fn signed(times: ValidTimes) -> Vec<u8> {
        let (issuer, subject) = keys();
        let metadata = ComponentMetadata {
            name: Some("cart".into()),
            call_alias: Some("Shop Cart".into()),
            ..ComponentMetadata::default()
        };
        let wasm = Component::new().finish();
        sign_component(&wasm, metadata, &issuer, &subject, times).unwrap()
    }

    #[test]
    fn a_signed_component_is_verified() {
        let wasm = signed(ValidTimes::from(NOW));
        let found = verify_component(&wasm, NOW).unwrap().unwrap();
        let metadata = found.claims.metadata.unwrap();
        assert_eq!(metadata.call_alias.as_deref(), Some("shop_cart"));
        assert_eq!(metadata.module_hash, wasm::hash(&wasm).unwrap());
        assert_eq!(wasm::find_token(&wasm).unwrap(), Some(found.token.as_str()));
    }

    #[test]
    fn a_component_without_a_token_has_no_claims() {
        assert_eq!(
            verify_component(&Component::new().finish(), NOW).unwrap(),
            None
        );
        assert_eq!(
            verify_component(&Module::new().finish(), NOW).unwrap(),
            None
        );
    }

    #[test]
    fn a_component_changed_after_signing_is_refused() {
        let signed = signed(ValidTimes::from(NOW));
        let token = wasm::find_token(&signed).unwrap().unwrap();
        let mut other = Component::new();
        other.section(&CustomSection {
            name: "x".into(),
            data: (&b"x"[..]).into(),
        });
        let changed = wasm::with_token(&other.finish(), token).unwrap();
        let error = verify_component(&changed, NOW).unwrap_err();
        assert!(matches!(error, ComponentClaimsError::HashMismatch { .. }));
        assert!(error.to_string().starts_with("hash mismatch"));
    }

    #[test]
    fn the_hash_of_older_claims_is_not_compared() {
        let (issuer, subject) = keys();
        let mut claims = Claims::new(subject.public_key(), ComponentMetadata::default(), NOW);
        claims.revision = Some(2);
        let token = claims.sign(&issuer).unwrap();
        let wasm = wasm::with_token(&Component::new().finish(), &token).unwrap();
        let found = verify_component(&wasm, NOW).unwrap().unwrap();
        assert!(!found.claims.is_bound());
    }

    #[test]
    fn expired_claims_are_refused() {
        let times = ValidTimes {
            now: NOW,
            expires: Some(NOW + 10),
            not_before: None,
        };
        let wasm = signed(times);
        assert!(verify_component(&wasm, NOW).is_ok());
        let error = verify_component(&wasm, NOW + 11).unwrap_err();
        assert!(matches!(
            error,
            ComponentClaimsError::Token(TokenError::Expired { .. })
        ));
    }

    #[test]
    fn keys_of_other_kinds_do_not_sign() {
        let (issuer, subject) = keys();
        let wasm = Component::new().finish();
        let sign = |a, b| {
            sign_component(
                &wasm,
                ComponentMetadata::default(),
                a,
                b,
                ValidTimes::from(NOW),
            )
        };
        assert!(matches!(
            sign(&subject, &issuer),
            Err(ComponentClaimsError::Key(_))
        ));
        assert!(matches!(
            sign(&issuer, &issuer),
            Err(ComponentClaimsError::Key(_))
        ));
    }
}
