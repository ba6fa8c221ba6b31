//! Compiled code as hosts give it to one another: compressed, and signed.
//!
//! What is signed are this format, the key of the entry, the length of the code and the SHA-256 of
//! the compressed bytes. So one entry cannot stand for another, and nothing is unpacked, let alone
//! run, before its signature has been checked.

use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use lattice_claims::{PublicKey, SigningKey};
use sha2::{Digest as _, Sha256};

use super::CodeKey;
use crate::SealCodeError;

/// The first bytes of every entry; the last one counts the versions of the format.
const MAGIC: &[u8; 8] = b"lattcod\x01";
const SIGNATURE_LEN: usize = 64;
const HEADER_LEN: usize = MAGIC.len() + size_of::<u64>() + SIGNATURE_LEN;

/// The most bytes that an entry may have.
pub(crate) const MAX_ENTRY: usize = 64 << 20;
/// The most bytes that the code in it may have.
const MAX_CODE: u64 = 256 << 20;

/// Why an entry is not used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[error("it is cut off")]
    Truncated,
    #[error("it is not in the format of this version")]
    Format,
    #[error("it has {size} bytes, more than the limit of {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("its signature is not by the key that it is filed under, or not of these bytes")]
    Signature,
    #[error("its code cannot be unpacked")]
    Packing,
}

/// Packs and signs code.
pub(crate) fn seal(
    key: CodeKey,
    code: &[u8],
    signer: &SigningKey,
) -> Result<Vec<u8>, SealCodeError> {
    let len = code.len() as u64;
    let packed = pack(code).map_err(SealCodeError::Pack)?;
    if len > MAX_CODE || packed.len() > MAX_ENTRY - HEADER_LEN {
        return Err(SealCodeError::TooLarge { size: len });
    }
    entry_of(key, len, &packed, signer)
}

/// Signs what is said to be `len` bytes of code, packed.
pub(crate) fn entry_of(
    key: CodeKey,
    len: u64,
    packed: &[u8],
    signer: &SigningKey,
) -> Result<Vec<u8>, SealCodeError> {
    let signature = signer
        .sign(&signed_text(key, len, packed))
        .map_err(SealCodeError::Sign)?;
    let mut entry = Vec::with_capacity(HEADER_LEN + packed.len());
    entry.extend_from_slice(MAGIC);
    entry.extend_from_slice(&len.to_le_bytes());
    entry.extend_from_slice(&signature);
    entry.extend_from_slice(packed);
    Ok(entry)
}

/// Checks an entry filed under `issuer` and takes its code out. The bytes are those of a stranger
/// until the signature has been checked.
pub(crate) fn open(key: CodeKey, entry: &[u8], issuer: &PublicKey) -> Result<Vec<u8>, Refusal> {
    if entry.len() > MAX_ENTRY {
        return Err(too_large(entry.len() as u64, MAX_ENTRY as u64));
    }
    let (magic, rest) = entry.split_first_chunk().ok_or(Refusal::Truncated)?;
    if magic != MAGIC {
        return Err(Refusal::Format);
    }
    let (len, rest) = rest.split_first_chunk().ok_or(Refusal::Truncated)?;
    let (signature, packed) = rest
        .split_first_chunk::<SIGNATURE_LEN>()
        .ok_or(Refusal::Truncated)?;
    let len = u64::from_le_bytes(*len);
    if len > MAX_CODE {
        return Err(too_large(len, MAX_CODE));
    }
    if !issuer.verifies(&signed_text(key, len, packed), signature) {
        return Err(Refusal::Signature);
    }
    unpack(packed, len).ok_or(Refusal::Packing)
}

fn too_large(size: u64, limit: u64) -> Refusal {
    Refusal::TooLarge { size, limit }
}

fn signed_text(key: CodeKey, len: u64, packed: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(packed);
    [
        MAGIC.as_slice(),
        key.as_bytes(),
        &len.to_le_bytes(),
        &digest,
    ]
    .concat()
}

/// Makes code of a few hundred kilobytes less than half as long.
fn pack(code: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = DeflateEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(code)?;
    packer.finish()
}

/// `None` when the bytes are not those of `len` bytes packed.
fn unpack(packed: &[u8], len: u64) -> Option<Vec<u8>> {
    let mut code = Vec::with_capacity(usize::try_from(len).ok()?);
    // One more than there should be, to notice more.
    DeflateDecoder::new(packed)
        .take(len + 1)
        .read_to_end(&mut code)
        .ok()?;
    (code.len() as u64 == len).then_some(code)
}

#[cfg(test)]
mod tests {
    use lattice_claims::KeyKind;
    use proptest::prelude::*;
    use wasmtime::Engine;

    use super::*;
    use crate::cache::CodeKeys;

    const CODE: &[u8] = b"code code code code";

    fn key(wasm: &[u8]) -> CodeKey {
        CodeKeys::of(&Engine::default()).key_for(wasm)
    }

    fn signer() -> (SigningKey, PublicKey) {
        let signer = SigningKey::generate(KeyKind::Cluster);
        let issuer = PublicKey::parse(&signer.public_key()).unwrap();
        (signer, issuer)
    }

    #[test]
    fn code_comes_out_as_it_went_in() {
        let (signer, issuer) = signer();
        for code in [&b""[..], CODE, &[7; 100_000]] {
            let entry = seal(key(b"a"), code, &signer).unwrap();
            assert_eq!(open(key(b"a"), &entry, &issuer).unwrap(), code);
            assert_eq!(seal(key(b"a"), code, &signer).unwrap(), entry);
        }
    }

    #[test]
    fn no_bit_can_be_changed_and_no_byte_left_out() {
        let (signer, issuer) = signer();
        let entry = seal(key(b"a"), CODE, &signer).unwrap();
        for at in 0..entry.len() {
            let mut changed = entry.clone();
            changed[at] ^= 1;
            assert!(open(key(b"a"), &changed, &issuer).is_err(), "byte {at}");
            assert!(
                open(key(b"a"), &entry[..at], &issuer).is_err(),
                "cut at {at}"
            );
        }
        let longer = [&entry[..], b"x"].concat();
        assert_eq!(open(key(b"a"), &longer, &issuer), Err(Refusal::Signature));
    }

    #[test]
    fn an_entry_counts_for_its_key_and_its_issuer_only() {
        let (signer, issuer) = signer();
        let entry = seal(key(b"a"), CODE, &signer).unwrap();
        assert_eq!(open(key(b"b"), &entry, &issuer), Err(Refusal::Signature));
        let (_, stranger) = self::signer();
        assert_eq!(open(key(b"a"), &entry, &stranger), Err(Refusal::Signature));
    }

    #[test]
    fn lengths_are_checked_before_anything_is_reserved() {
        let (signer, issuer) = signer();
        let mut entry = seal(key(b"a"), CODE, &signer).unwrap();
        entry[MAGIC.len()..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(
            open(key(b"a"), &entry, &issuer),
            Err(too_large(u64::MAX, MAX_CODE))
        );
        let huge = vec![0; MAX_ENTRY + 1];
        let refused = open(key(b"a"), &huge, &issuer);
        assert_eq!(refused, Err(too_large(huge.len() as u64, MAX_ENTRY as u64)));
    }

    #[test]
    fn what_unpacks_to_another_length_is_refused() {
        let packed = pack(CODE).unwrap();
        assert_eq!(unpack(&packed, CODE.len() as u64).as_deref(), Some(CODE));
        assert_eq!(unpack(&packed, CODE.len() as u64 - 1), None);
        assert_eq!(unpack(&packed, CODE.len() as u64 + 1), None);
        assert_eq!(unpack(b"\xff", 1), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), magic in any::<bool>()) {
            let (_, issuer) = signer();
            let entry = if magic { [&MAGIC[..], &bytes].concat() } else { bytes };
            prop_assert!(open(key(b"a"), &entry, &issuer).is_err());
        }
    }
}
