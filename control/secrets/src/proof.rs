//! Proof that a question comes from the host that it names.
//!
//! The token of a host is signed by a key that the host made up, as in 1.x, so that anybody can make
//! one. A host of ours also signs each sealed question with the key of its id. An answer is sealed
//! for the key that is part of what is signed, so that a question which is sent once more by
//! somebody else gives them nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_claims::{PublicKey, SigningKey};

/// The header with the signature of the host; an addition that backends of 1.x ignore.
pub(crate) const PROOF: &str = "Lattice-Host-Proof";

/// Keeps signatures of other things from being taken for proofs.
const MARK: &[u8] = b"lattice-secrets-1";

/// Signs a sealed question.
pub(crate) fn sign(host: &SigningKey, xkey: &str, sealed: &[u8]) -> Option<String> {
    let signature = host.sign(&text(xkey, sealed)).ok()?;
    Some(URL_SAFE_NO_PAD.encode(signature))
}

/// Whether the host with this id has signed the question.
pub(crate) fn holds(host: &PublicKey, xkey: &str, sealed: &[u8], proof: &str) -> bool {
    let signature = URL_SAFE_NO_PAD.decode(proof);
    signature.is_ok_and(|signature| host.verifies(&text(xkey, sealed), &signature))
}

fn text(xkey: &str, sealed: &[u8]) -> Vec<u8> {
    // The key has a fixed length, so that the parts cannot be moved against one another.
    [MARK, b"\n", xkey.as_bytes(), b"\n", sealed].concat()
}

#[cfg(test)]
mod tests {
    use lattice_claims::KeyKind;

    use super::*;

    #[test]
    fn a_proof_holds_for_its_host_and_question_only() {
        let host = SigningKey::generate(KeyKind::Host);
        let id = PublicKey::parse(&host.public_key()).unwrap();
        let other = SigningKey::generate(KeyKind::Host).public_key();
        let other = PublicKey::parse(&other).unwrap();
        let proof = sign(&host, "XA", b"sealed").unwrap();
        assert!(holds(&id, "XA", b"sealed", &proof));
        assert!(!holds(&other, "XA", b"sealed", &proof));
        assert!(!holds(&id, "XB", b"sealed", &proof));
        assert!(!holds(&id, "XA", b"other", &proof));
        for broken in ["", "zz", "00", &proof[1..]] {
            assert!(!holds(&id, "XA", b"sealed", broken), "{broken}");
        }
    }
}
