//! Tokens of peers: what is signed is read, and nothing else.

use super::*;

use proptest::prelude::*;

const NOW: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3600);

struct Cast {
    cluster: SigningKey,
    host: SigningKey,
    host_curve: CurveKey,
    provider_curve: CurveKey,
}

impl Cast {
    fn new() -> Self {
        Self {
            cluster: SigningKey::generate(KeyKind::Cluster),
            host: SigningKey::generate(KeyKind::Host),
            host_curve: CurveKey::generate(),
            provider_curve: CurveKey::generate(),
        }
    }

    fn host_token(&self, signer: &SigningKey) -> String {
        let host = self.host.public_key();
        sign_host(signer, &host, "prod", &self.host_curve, (NOW, HOUR)).unwrap()
    }

    fn provider_token(&self, signer: &SigningKey) -> String {
        let valid = (NOW, HOUR / 2);
        sign_provider(signer, "kv", "i-1", "prod", &self.provider_curve, valid).unwrap()
    }

    fn trusted(&self) -> Vec<PublicKey> {
        vec![PublicKey::parse(&self.cluster.public_key()).unwrap()]
    }

    fn verify(&self, host: String, provider: Option<String>) -> Result<VerifiedPeer, PeerError> {
        verify_peer(&PeerTokens { host, provider }, "prod", &self.trusted(), NOW)
    }
}

#[test]
fn a_cluster_vouches_for_a_host_and_the_host_for_its_provider() {
    let cast = Cast::new();
    let host = cast.verify(cast.host_token(&cast.cluster), None).unwrap();
    assert_eq!(host.cluster, Some(cast.cluster.public_key()));
    assert_eq!(host.session_key, cast.host_curve.public_key());
    assert!(host.may_serve("anything") && host.may_call_as("anything"));
    let token = cast.provider_token(&cast.host);
    let provider = cast
        .verify(cast.host_token(&cast.cluster), Some(token))
        .unwrap();
    assert_eq!(provider.provider.as_deref(), Some("kv"));
    assert_eq!(provider.session_key, cast.provider_curve.public_key());
    assert_eq!(provider.expires, NOW + 1800);
    assert!(provider.may_serve("kv") && !provider.may_serve("other"));
    assert!(provider.may_call_as("kv") && !provider.may_call_as("other"));
}

#[test]
fn a_host_that_vouches_for_itself_is_of_no_cluster() {
    let cast = Cast::new();
    let alone = cast.verify(cast.host_token(&cast.host), None).unwrap();
    assert_eq!(alone.cluster, None);
    let stranger = SigningKey::generate(KeyKind::Cluster);
    let other = cast.verify(cast.host_token(&stranger), None).unwrap();
    assert_eq!(other.cluster, None);
}

#[test]
fn others_cannot_vouch() {
    let cast = Cast::new();
    let good = || cast.host_token(&cast.cluster);
    for kind in [KeyKind::Host, KeyKind::Account] {
        let signer = SigningKey::generate(kind);
        let host = cast.verify(cast.host_token(&signer), None);
        assert!(matches!(host, Err(PeerError::Issuer { .. })), "{host:?}");
        let provider = cast.verify(good(), Some(cast.provider_token(&signer)));
        assert!(
            matches!(provider, Err(PeerError::Issuer { .. })),
            "{provider:?}"
        );
    }
    let swapped = cast.verify(cast.provider_token(&cast.host), None);
    assert!(
        matches!(swapped, Err(PeerError::Role { .. })),
        "{swapped:?}"
    );
    let twice = cast.verify(good(), Some(good()));
    assert!(matches!(twice, Err(PeerError::Role { .. })), "{twice:?}");
}

#[test]
fn tokens_are_for_their_lattice_and_time() {
    let cast = Cast::new();
    let tokens = PeerTokens {
        host: cast.host_token(&cast.cluster),
        provider: None,
    };
    let trusted = cast.trusted();
    let elsewhere = verify_peer(&tokens, "test", &trusted, NOW);
    assert!(matches!(elsewhere, Err(PeerError::Lattice { .. })));
    let skew = CLOCK_SKEW.as_secs();
    assert!(verify_peer(&tokens, "prod", &trusted, NOW + 3600 + skew).is_ok());
    let late = verify_peer(&tokens, "prod", &trusted, NOW + 3601 + skew).unwrap_err();
    assert!(late.is_expired(), "{late:?}");
    let mut changed = tokens;
    let at = changed.host.len() / 2;
    let other = if changed.host.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    changed.host.replace_range(at..=at, other);
    assert!(verify_peer(&changed, "prod", &trusted, NOW).is_err());
}

#[test]
fn long_texts_are_not_looked_at() {
    let cast = Cast::new();
    let long = cast.verify("a".repeat(MAX_PEER_TOKEN_BYTES + 1), None);
    assert!(matches!(long, Err(PeerError::TooLong { .. })));
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(host: String, provider: Option<String>) {
        let tokens = PeerTokens { host, provider };
        prop_assert!(verify_peer(&tokens, "prod", &[], NOW).is_err());
    }
}
