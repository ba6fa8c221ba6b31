//! Tokens that hold, and those that are refused.

use super::*;
use crate::claims::{ComponentMetadata, HostMetadata, ProviderMetadata, SignerMetadata};
use crate::keys::KeyKind;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;

fn component() -> Claims<ComponentMetadata> {
    let subject = SigningKey::generate(KeyKind::Component).public_key();
    let metadata = ComponentMetadata {
        name: Some("cart".into()),
        module_hash: "AB".into(),
        tags: Some(vec!["shop".into()]),
        revision: Some(4),
        version: Some("0.4.0".into()),
        call_alias: Some("cart".into()),
        provider: false,
    };
    Claims::new(subject, metadata, NOW)
}

fn signed(claims: &mut Claims<ComponentMetadata>) -> String {
    claims
        .sign(&SigningKey::generate(KeyKind::Account))
        .unwrap()
}

/// A token with other parts, signed anew so that only the change is wrong.
fn forged(header: &str, claims: &str) -> String {
    let key = SigningKey::generate(KeyKind::Account);
    let claims = claims.replace("ISSUER", &key.public_key());
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).unwrap());
    format!("{message}.{signature}")
}

const GOOD_HEADER: &str = r#"{"typ":"jwt","alg":"Ed25519"}"#;

#[test]
fn a_signed_token_is_verified_and_says_what_was_signed() {
    let mut claims = component();
    let token = signed(&mut claims);
    let header = token.split('.').next().unwrap();
    assert_eq!(
        URL_SAFE_NO_PAD.decode(header).unwrap(),
        GOOD_HEADER.as_bytes()
    );
    assert_eq!(verify::<ComponentMetadata>(&token, NOW).unwrap(), claims);
    assert_eq!(
        decode::<ComponentMetadata>(&format!(" {token}\n")).unwrap(),
        claims
    );
}

#[test]
fn every_kind_of_claims_is_signed_and_read() {
    let account = SigningKey::generate(KeyKind::Account);
    let subject = |kind| SigningKey::generate(kind).public_key();
    let mut provider = Claims::new(subject(KeyKind::Provider), ProviderMetadata::default(), NOW);
    let mut signer = Claims::new(subject(KeyKind::Account), SignerMetadata::default(), NOW);
    let mut host = Claims::new(subject(KeyKind::Host), HostMetadata::default(), NOW);
    let token = provider.sign(&account).unwrap();
    assert_eq!(verify::<ProviderMetadata>(&token, NOW).unwrap(), provider);
    let token = signer
        .sign(&SigningKey::generate(KeyKind::Operator))
        .unwrap();
    assert_eq!(verify::<SignerMetadata>(&token, NOW).unwrap(), signer);
    let token = host.sign(&account).unwrap();
    assert_eq!(verify::<HostMetadata>(&token, NOW).unwrap(), host);
}

#[test]
fn expired_and_early_tokens_are_refused() {
    let mut claims = component();
    claims.expires = Some(NOW - 1);
    let error = verify::<ComponentMetadata>(&signed(&mut claims), NOW).unwrap_err();
    assert!(matches!(error, TokenError::Expired { .. }), "{error}");
    assert!(error.to_string().starts_with("token expired"));
    claims.expires = Some(NOW);
    assert!(verify::<ComponentMetadata>(&signed(&mut claims), NOW).is_ok());
    claims.not_before = Some(NOW + 1);
    let error = verify::<ComponentMetadata>(&signed(&mut claims), NOW).unwrap_err();
    assert!(
        error.to_string().starts_with("token not yet usable"),
        "{error}"
    );
}

#[test]
fn a_changed_token_is_refused() {
    let token = signed(&mut component());
    let other = signed(&mut component());
    let (message, _) = token.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    let error = verify::<ComponentMetadata>(&format!("{message}.{signature}"), NOW).unwrap_err();
    assert!(
        error.to_string().starts_with("signature invalid"),
        "{error}"
    );
}

#[test]
fn headers_of_other_algorithms_and_types_are_refused() {
    let claims = r#"{"jti":"","iat":0,"iss":"ISSUER","sub":"M"}"#;
    assert!(verify::<ComponentMetadata>(&forged(GOOD_HEADER, claims), NOW).is_ok());
    for header in [
        r#"{"typ":"jwt","alg":"none"}"#,
        r#"{"typ":"jwt","alg":"EdDSA"}"#,
        "{}",
    ] {
        let error = verify::<ComponentMetadata>(&forged(header, claims), NOW).unwrap_err();
        assert!(
            error.to_string().starts_with("invalid algorithm"),
            "{error}"
        );
    }
    let header = r#"{"typ":"nkeys","alg":"Ed25519"}"#;
    let error = verify::<ComponentMetadata>(&forged(header, claims), NOW).unwrap_err();
    assert!(error.to_string().starts_with("token type"), "{error}");
}

#[test]
fn issuer_and_subject_must_be_there() {
    let check = |claims| verify::<ComponentMetadata>(&forged(GOOD_HEADER, claims), NOW);
    let error = check(r#"{"iss":"","sub":"M"}"#).unwrap_err();
    assert_eq!(error.to_string(), "missing issuer in token claims");
    let error = check(r#"{"iss":"ISSUER"}"#).unwrap_err();
    assert_eq!(error.to_string(), "missing subject in token claims");
    let error = check(r#"{"iss":"nobody","sub":"M"}"#).unwrap_err();
    assert!(matches!(error, TokenError::Issuer(_)));
    let nobody = Claims::new(String::new(), ComponentMetadata::default(), NOW);
    let error = { nobody }
        .sign(&SigningKey::generate(KeyKind::Account))
        .unwrap_err();
    assert!(matches!(error, TokenError::MissingSubject));
}

#[test]
fn texts_that_are_not_tokens_are_refused() {
    for text in [
        "", ".", "..", "a.b", "a.b.c", "a.b.c.d", "e30.e30.", "ä.ö.ü",
    ] {
        assert!(verify::<ComponentMetadata>(text, NOW).is_err(), "{text}");
    }
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    assert!(matches!(
        verify::<ComponentMetadata>(&long, NOW),
        Err(TokenError::TooLong { .. })
    ));
    let mut huge = component();
    huge.metadata.as_mut().unwrap().tags = Some(vec!["x".repeat(MAX_TOKEN_BYTES)]);
    let error = huge
        .sign(&SigningKey::generate(KeyKind::Account))
        .unwrap_err();
    assert!(matches!(error, TokenError::TooLong { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn claims_are_signed_and_read_back(
        name in prop::option::of(any::<String>()),
        tags in prop::option::of(prop::collection::vec(any::<String>(), 0..4)),
        revision in prop::option::of(any::<i32>()),
        expires in prop::option::of(NOW..),
        not_before in prop::option::of(..=NOW),
    ) {
        let mut claims = component();
        let metadata = claims.metadata.as_mut().unwrap();
        (metadata.name, metadata.tags, metadata.revision) = (name, tags, revision);
        (claims.expires, claims.not_before) = (expires, not_before);
        let token = signed(&mut claims);
        prop_assert_eq!(verify::<ComponentMetadata>(&token, NOW).unwrap(), claims);
    }

    #[test]
    fn any_changed_byte_is_noticed(at in any::<prop::sample::Index>(), flip in 1u8..128) {
        let token = signed(&mut component());
        let mut bytes = token.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(changed) = String::from_utf8(bytes)
            && changed.trim() != token
        {
            prop_assert!(verify::<ComponentMetadata>(&changed, NOW).is_err());
        }
    }

    #[test]
    fn no_text_makes_the_token_parser_panic(
        text in any::<String>(),
        parts in prop::array::uniform3("[A-Za-z0-9_-]{0,40}"),
    ) {
        let _ = verify::<ComponentMetadata>(&text, NOW);
        let _ = verify::<ProviderMetadata>(&parts.join("."), NOW);
    }
}
