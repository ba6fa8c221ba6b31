//! The WIT packages in `interfaces/wit` parse, match their lock and are what
//! their folders say.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test, where a panic is the failure"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wit_parser::Resolve;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")
}

fn files() -> BTreeMap<String, PathBuf> {
    let folders = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files = BTreeMap::new();
    for folder in folders.filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            let name = file
                .strip_prefix(root())
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            assert!(name.ends_with(".wit"), "{name} is no WIT file");
            files.insert(name, file);
        }
    }
    files
}

#[test]
fn every_file_matches_the_lock() {
    let lock = std::fs::read_to_string(root().join("wit.lock")).unwrap();
    let locked: BTreeMap<&str, &str> = lock
        .lines()
        .map(|line| {
            line.split_once("  ")
                .map(|(hash, name)| (name, hash))
                .unwrap()
        })
        .collect();
    let files = files();
    assert!(
        locked
            .keys()
            .eq(files.keys().map(String::as_str).collect::<Vec<_>>().iter())
    );
    for (name, path) in files {
        let digest = Sha256::digest(std::fs::read(path).unwrap());
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            locked[name.as_str()],
            hash,
            "{name} changed but a published package does not"
        );
    }
}

/// The folders a package needs before it, in order; the table of the README.
fn needs(folder: &str) -> &'static [&'static str] {
    const IO: &str = "wasi-io-0.2.6";
    const BASE: [&str; 5] = [
        IO,
        "wasi-clocks-0.2.6",
        "wasi-filesystem-0.2.6",
        "wasi-sockets-0.2.6",
        "wasi-random-0.2.6",
    ];
    const WITH_CLI: [&str; 6] = [
        BASE[0],
        BASE[1],
        BASE[2],
        BASE[3],
        BASE[4],
        "wasi-cli-0.2.6",
    ];
    match folder {
        "wasi-clocks-0.2.6" | "wasi-blobstore-0.2.0-draft" | "wrpc-rpc-0.1.0" => &[IO],
        "wasi-filesystem-0.2.6" | "wasi-sockets-0.2.6" => &[IO, "wasi-clocks-0.2.6"],
        "wasi-cli-0.2.6" => &BASE,
        "wasi-http-0.2.6" => &WITH_CLI,
        "wasmcloud-bus-2.0.1" => &[IO, "wrpc-rpc-0.1.0"],
        "wrpc-blobstore-0.1.0" | "wrpc-blobstore-0.2.0" => &[IO, "wasi-blobstore-0.2.0-draft"],
        _ => &[],
    }
}

#[test]
fn every_package_parses_after_those_it_needs_and_is_named_like_its_folder() {
    for entry in std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if !entry.is_dir() {
            continue;
        }
        let folder = entry.file_name().unwrap().to_str().unwrap();
        let mut resolve = Resolve::default();
        for needed in needs(folder) {
            resolve
                .push_dir(root().join(needed))
                .unwrap_or_else(|e| panic!("{needed}: {e:?}"));
        }
        let (package, _) = resolve
            .push_dir(&entry)
            .unwrap_or_else(|error| panic!("{folder}: {error:?}"));
        let name = &resolve.packages[package].name;
        let version = name.version.as_ref().map(ToString::to_string).unwrap();
        let expected = format!("{}-{}-{version}", name.namespace, name.name);
        assert!(folder.starts_with(&expected), "{folder} holds {name}");
    }
}

/// Cases and fields decide the encoding, so their order is pinned where peers
/// rely on it most.
#[test]
fn the_http_error_codes_of_wire_and_guest_agree() {
    let mut guest = Resolve::default();
    for needed in needs("wasi-http-0.2.6") {
        guest.push_dir(root().join(needed)).unwrap();
    }
    guest.push_dir(root().join("wasi-http-0.2.6")).unwrap();
    let mut wire = Resolve::default();
    wire.push_dir(root().join("wrpc-http-0.1.0")).unwrap();
    let cases = |resolve: &Resolve| -> Vec<String> {
        let (_, found) = resolve
            .types
            .iter()
            .find(|(_, def)| def.name.as_deref() == Some("error-code") && is_variant(def))
            .unwrap();
        let wit_parser::TypeDefKind::Variant(variant) = &found.kind else {
            unreachable!()
        };
        variant.cases.iter().map(|case| case.name.clone()).collect()
    };
    // wasi:sockets has an enum of the same name, which is not a variant.
    assert_eq!(cases(&wire).len(), 39);
    assert_eq!(cases(&wire), cases(&guest));
}

fn is_variant(def: &wit_parser::TypeDef) -> bool {
    matches!(def.kind, wit_parser::TypeDefKind::Variant(_))
}
