//! Proof that a question comes from the host that it names.
//!
//! The token of a host is signed by a key that the host made up, as in 1.x, so that anybody can make
//! one. A host of ours also signs each sealed question with the key of its id. An answer is sealed
//! for the key that is part of what is signed, so that a question which is sent once more by
//! somebody else gives them nothing.
//!
//! The other way round, an answer is sealed with a key made for it, as in 1.x, which anybody can do.
//! A backend of ours also seals the name of that key with the key that questions are sealed for, so
//! that whoever knows this key knows who answered.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lattice_claims::{CurveKey, PublicKey, SigningKey};

/// The header with the signature of the host; an addition that backends of 1.x ignore.
pub(crate) const PROOF: &str = "Lattice-Host-Proof";

/// The header by which a backend proves that an answer is its own; an addition as well.
pub(crate) const ANSWER_PROOF: &str = "Lattice-Server-Proof";

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

/// Proves to `reader` that an answer sealed with the key `sender` is that of `server`.
pub(crate) fn of_answer(server: &CurveKey, sender: &str, reader: &CurveKey) -> Option<String> {
    let sealed = server.seal(sender.as_bytes(), reader).ok()?;
    Some(URL_SAFE_NO_PAD.encode(sealed))
}

/// Whether the answer to `reader` that was sealed with the key `sender` is that of `server`.
pub(crate) fn is_answer_of(
    server: &CurveKey,
    sender: &str,
    reader: &CurveKey,
    proof: Option<&str>,
) -> bool {
    if sender == server.public_key() {
        return true;
    }
    let sealed = proof.and_then(|proof| URL_SAFE_NO_PAD.decode(proof).ok());
    let opened = sealed.and_then(|sealed| reader.open(&sealed, server).ok());
    opened.is_some_and(|opened| opened == sender.as_bytes())
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
    fn an_answer_is_that_of_one_server_to_one_question() {
        let [server, sender, reader, other] = [(); 4].map(|()| CurveKey::generate());
        let name = sender.public_key();
        let proof = of_answer(&server, &name, &reader);
        let proof = proof.as_deref();
        assert!(is_answer_of(&server, &name, &reader, proof));
        assert!(is_answer_of(&server, &server.public_key(), &reader, None));
        assert!(!is_answer_of(&server, &name, &reader, None));
        assert!(!is_answer_of(&other, &name, &reader, proof));
        assert!(!is_answer_of(&server, &name, &other, proof));
        assert!(!is_answer_of(&server, &other.public_key(), &reader, proof));
    }

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
