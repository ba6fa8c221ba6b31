//! Feeds provider archives to `lattice-claims`, raw and behind valid headers.
#![no_main]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use lattice_claims::archive::{ArchiveLimits, Keep, ProviderArchive};
use libfuzzer_sys::fuzz_target;

const LIMITS: ArchiveLimits = ArchiveLimits {
    entry_bytes: 64 << 10,
    total_bytes: 256 << 10,
    entries: 8,
};
const NAMES: [&str; 4] = [
    "claims.jwt",
    "x86_64-linux.bin",
    "world.wasm",
    "./claims.jwt",
];

fuzz_target!(|data: &[u8]| {
    read(data);
    if let Some((shape, rest)) = data.split_first() {
        let tar = entries(rest);
        read(&if shape & 1 == 0 { tar } else { gzip(&tar) });
    }
});

fn read(bytes: &[u8]) {
    if let Ok(found) = ProviderArchive::read(bytes, Keep::All, LIMITS, 0) {
        assert!(
            found
                .libraries
                .values()
                .all(|lib| lib.len() as u64 <= LIMITS.entry_bytes)
        );
    }
    let _ = ProviderArchive::read(bytes, Keep::Target("x86_64-linux"), LIMITS, 0);
}

/// Entries of a name, a claimed size that may be a lie, and some bytes.
fn entries(mut data: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    while let [name, lie, length, rest @ ..] = data {
        let (content, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        let mut header = tar::Header::new_gnu();
        let _ = header.set_path(NAMES[usize::from(*name) % NAMES.len()]);
        let size = content.len() as u64;
        header.set_size(if lie % 4 == 0 {
            size << (lie >> 2).min(40)
        } else {
            size
        });
        header.set_entry_type(tar::EntryType::new(if lie % 4 == 1 { *lie } else { b'0' }));
        header.set_cksum();
        tar.extend_from_slice(header.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .unwrap_or_default()
}
