//! Archives that hold, and those that are refused.

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::build::append;
use super::*;
use crate::claims::Claims;
use crate::component::ValidTimes;
use crate::keys::{KeyKind, SigningKey};

const NOW: u64 = 1_800_000_000;

fn limits() -> ArchiveLimits {
    ArchiveLimits {
        entry_bytes: 1 << 20,
        total_bytes: 4 << 20,
        entries: 8,
    }
}

fn keys() -> (SigningKey, SigningKey) {
    (
        SigningKey::generate(KeyKind::Account),
        SigningKey::generate(KeyKind::Provider),
    )
}

fn archive(gzip: bool) -> Vec<u8> {
    let (issuer, subject) = keys();
    let metadata = ProviderMetadata {
        name: Some("kv".into()),
        version: Some("0.1.0".into()),
        ..ProviderMetadata::default()
    };
    let mut bytes = Vec::new();
    ArchiveBuilder::new(metadata)
        .library("x86_64-linux", b"linux library".to_vec())
        .unwrap()
        .library("aarch64-macos", b"mac library".to_vec())
        .unwrap()
        .world(b"world".to_vec())
        .write(&mut bytes, gzip, &issuer, &subject, ValidTimes::from(NOW))
        .unwrap();
    bytes
}

/// An archive with a valid token for one library, and further raw entries.
fn custom(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (issuer, subject) = keys();
    let hashes = [("x86_64-linux".to_owned(), hex_digest(b"lib"))]
        .into_iter()
        .collect();
    let metadata = ProviderMetadata {
        target_hashes: hashes,
        ..ProviderMetadata::default()
    };
    let token = Claims::new(subject.public_key(), metadata, NOW)
        .sign(&issuer)
        .unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "./claims.jwt", token.as_bytes(), 0o644).unwrap();
    for (name, bytes) in entries {
        append(&mut tar, name, bytes, 0o644).unwrap();
    }
    tar.into_inner().unwrap()
}

fn read(bytes: &[u8], keep: Keep<'_>) -> Result<ProviderArchive, ArchiveError> {
    ProviderArchive::read(bytes, keep, limits(), NOW)
}

#[test]
fn an_archive_is_written_and_read_back_with_and_without_gzip() {
    for gzip in [false, true] {
        let bytes = archive(gzip);
        assert_eq!(bytes.starts_with(&GZIP_MAGIC), gzip);
        let mut all = read(&bytes, Keep::All).unwrap();
        assert_eq!(all.targets, ["x86_64-linux", "aarch64-macos"]);
        assert_eq!(all.libraries.len(), 2);
        assert_eq!(all.world.as_deref(), Some(&b"world"[..]));
        assert_eq!(
            all.claims.metadata.as_ref().unwrap().name.as_deref(),
            Some("kv")
        );
        assert_eq!(all.take_library("aarch64-macos").unwrap(), b"mac library");
    }
}

#[test]
fn only_the_wanted_library_is_kept() {
    let mut found = read(&archive(true), Keep::Target("x86_64-linux")).unwrap();
    assert_eq!(found.libraries.len(), 1);
    assert_eq!(
        found.take_library("x86_64-linux").unwrap(),
        b"linux library"
    );
    let error = read(&archive(true), Keep::Target("riscv64-linux"))
        .unwrap()
        .take_library("riscv64-linux")
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the provider archive holds no library for `riscv64-linux`, \
         only for: x86_64-linux, aarch64-macos"
    );
}

#[test]
fn an_entry_that_was_not_signed_is_refused() {
    let good = custom(&[("x86_64-linux.bin", b"lib"), ("README.md", b"ignored")]);
    assert!(read(&good, Keep::All).is_ok());
    let error = read(&custom(&[("x86_64-linux.bin", b"evil")]), Keep::All).unwrap_err();
    assert!(error.to_string().starts_with("hash mismatch"), "{error}");
    let error = read(&custom(&[("x86_64-macos.bin", b"lib")]), Keep::All).unwrap_err();
    assert!(matches!(error, ArchiveError::NoHash { .. }));
    let error = read(&custom(&[("world.wasm", b"w")]), Keep::All).unwrap_err();
    assert!(matches!(error, ArchiveError::NoHash { .. }));
}

#[test]
fn doubled_entries_are_refused() {
    let library: (&str, &[u8]) = ("x86_64-linux.bin", b"lib");
    let error = read(&custom(&[library, library]), Keep::Target("none-none")).unwrap_err();
    assert!(matches!(error, ArchiveError::Duplicate { .. }));
    let error = read(&custom(&[("claims.jwt", b"a.b.c")]), Keep::All).unwrap_err();
    assert!(matches!(error, ArchiveError::Duplicate { .. }));
}

#[test]
fn an_archive_without_a_valid_token_is_refused() {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "x86_64-linux.bin", b"lib", 0o755).unwrap();
    let bytes = tar.into_inner().unwrap();
    assert!(matches!(
        read(&bytes, Keep::All),
        Err(ArchiveError::NoClaims)
    ));
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "claims.jwt", b"a.b.c", 0o755).unwrap();
    let bytes = tar.into_inner().unwrap();
    assert!(matches!(
        read(&bytes, Keep::All),
        Err(ArchiveError::Token(_))
    ));
    assert!(matches!(read(b"", Keep::All), Err(ArchiveError::NoClaims)));
    let (issuer, subject) = keys();
    let times = ValidTimes {
        now: NOW,
        expires: Some(NOW - 1),
        not_before: None,
    };
    let mut bytes = Vec::new();
    ArchiveBuilder::new(ProviderMetadata::default())
        .library("a-b", vec![])
        .unwrap()
        .write(&mut bytes, false, &issuer, &subject, times)
        .unwrap();
    let error = read(&bytes, Keep::All).unwrap_err();
    assert!(matches!(
        error,
        ArchiveError::Token(TokenError::Expired { .. })
    ));
}

#[test]
fn a_gzip_bomb_is_refused_while_it_unpacks() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..64 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    // Zeros end a tar, so the bomb is put behind a header of a skipped entry.
    let mut header = tar::Header::new_gnu();
    header.set_path("filler").unwrap();
    header.set_size(63 << 20);
    header.set_cksum();
    let mut first = GzEncoder::new(Vec::new(), Compression::best());
    first.write_all(header.as_bytes()).unwrap();
    let bytes = [first.finish().unwrap(), bomb].concat();
    assert!(bytes.len() < 1 << 18);
    let error = read(&bytes, Keep::All).unwrap_err();
    assert!(
        matches!(error, ArchiveError::TooLarge { what: "bytes", .. }),
        "{error:?}"
    );
}

#[test]
fn a_length_bomb_in_a_header_is_refused() {
    for size in [u64::MAX >> 1, 2 << 20] {
        let mut header = tar::Header::new_gnu();
        header.set_path("x86_64-linux.bin").unwrap();
        header.set_size(size);
        header.set_cksum();
        let error = read(header.as_bytes(), Keep::All).unwrap_err();
        assert!(matches!(error, ArchiveError::TooLarge { .. }), "{error:?}");
    }
    let long = vec![b'a'; MAX_TOKEN_BYTES + 1];
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "claims.jwt", &long, 0o644).unwrap();
    let error = read(&tar.into_inner().unwrap(), Keep::All).unwrap_err();
    assert!(matches!(error, ArchiveError::TooLarge { .. }));
}

#[test]
fn a_cut_archive_and_too_many_entries_are_refused() {
    let bytes = archive(false);
    assert!(read(&bytes[..700], Keep::All).is_err());
    let names: Vec<String> = (0..9).map(|i| format!("file{i}")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b"x"[..])).collect();
    let error = read(&custom(&entries), Keep::All).unwrap_err();
    assert!(matches!(
        error,
        ArchiveError::TooLarge {
            what: "entries",
            ..
        }
    ));
}

#[test]
fn a_long_name_extension_is_not_read_into_memory() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(1 << 20);
    tar.append_data(&mut header, "././@LongLink", io::repeat(b'a').take(1 << 20))
        .unwrap();
    let error = read(&tar.into_inner().unwrap(), Keep::All).unwrap_err();
    assert!(matches!(error, ArchiveError::NoClaims), "{error:?}");
}

#[test]
fn nothing_is_written_with_wrong_keys_or_targets() {
    let (issuer, subject) = keys();
    let builder = || ArchiveBuilder::new(ProviderMetadata::default());
    assert!(builder().library("../evil", vec![]).is_err());
    assert!(builder().library("noarch", vec![]).is_err());
    let times = ValidTimes::from(NOW);
    let none = builder().write(io::sink(), true, &issuer, &subject, times);
    assert!(matches!(none, Err(ArchiveError::NoLibrary { .. })));
    let swapped = builder().library("a-b", vec![]).unwrap();
    let swapped = swapped.write(io::sink(), true, &subject, &issuer, times);
    assert!(matches!(swapped, Err(ArchiveError::Key(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in any::<Vec<u8>>()) {
        let _ = read(&bytes, Keep::All);
        let _ = read(&[&GZIP_MAGIC[..], &bytes].concat(), Keep::All);
    }

    #[test]
    fn a_damaged_archive_does_not_panic(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        gzip in any::<bool>(),
    ) {
        let mut bytes = archive(gzip);
        let at = at.index(bytes.len());
        bytes[at] = value;
        let _ = read(&bytes, Keep::All);
    }
}
