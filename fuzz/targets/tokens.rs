//! Feeds tokens and keys to `lattice-claims`, raw and behind a valid signature.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_claims::claims::{ComponentMetadata, ProviderMetadata};
use lattice_claims::peer::{PeerMetadata, verify_peer};
use lattice_claims::{CurveKey, KeyKind, PublicKey, SigningKey, TrustedIssuers, token};
use lattice_core::identity::PeerTokens;
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate(KeyKind::Account));
static CURVE: LazyLock<CurveKey> = LazyLock::new(CurveKey::generate);

fuzz_target!(|data: &[u8]| {
    let _ = CURVE.open(data, &CURVE);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = token::verify::<ComponentMetadata>(text, 0);
        let _ = token::decode::<ProviderMetadata>(text);
        let _ = (SigningKey::from_seed(text), PublicKey::parse(text));
        let _ = (CurveKey::from_seed(text), CurveKey::from_public_key(text));
        signed(text);
        peer(text);
    }
});

/// Tokens of a host and a provider, one after the other.
fn peer(text: &str) {
    let (host, provider) = text.split_once('\n').unwrap_or((text, ""));
    let tokens = PeerTokens {
        host: host.to_owned(),
        provider: Some(provider.to_owned()),
    };
    let _ = verify_peer(&tokens, "default", &[], 0);
}

/// Who vouches for whom.
fn vouched(text: &str, token: &str) {
    let mut trusted = TrustedIssuers::default();
    let _ = (trusted.trust(text), trusted.trust(&KEY.public_key()));
    if trusted.add_token(token).is_ok() {
        let _ = trusted.check(text, 0);
        assert_eq!(trusted.check(&KEY.public_key(), 0), Ok(()));
    }
}

/// Signs arbitrary claims, so that the code behind the signature is reached.
fn signed(text: &str) {
    let claims = text.replace("ISSUER", &KEY.public_key());
    let header = URL_SAFE_NO_PAD.encode(r#"{"typ":"jwt","alg":"Ed25519"}"#);
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = KEY.sign(message.as_bytes()).expect("a generated key signs");
    let made = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    if let Ok(claims) = token::verify::<ComponentMetadata>(&made, 0) {
        let _ = lattice_claims::stored_component(&claims);
        let _ = lattice_claims::component_info(&claims);
    }
    let _ = token::verify::<ProviderMetadata>(&made, 0);
    let _ = token::verify::<PeerMetadata>(&made, 0);
    vouched(text, &made);
    let tokens = PeerTokens {
        host: made.clone(),
        provider: Some(made),
    };
    let _ = verify_peer(&tokens, "default", &[], 0);
}
