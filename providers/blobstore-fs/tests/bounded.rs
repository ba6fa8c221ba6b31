//! What an object takes of memory does not depend on its size.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::{Lattice, large, stream_through};

/// The most that a provider may take.
const BOUND: u64 = 64 << 20;

#[tokio::test]
async fn a_large_object_passes_both_ways_in_bounded_memory() {
    let program = env!("CARGO_BIN_EXE_blobstore-fs-provider");
    let mut lattice = Lattice::start_program(program).await;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let blobs = lattice.link("app", &[("root", root)]).await;
    // What streams into a call ends with the deadline of the call, at the caller.
    let blobs = blobs.within(Duration::from_secs(600));
    let most = stream_through(&lattice, &blobs, large()).await;
    assert!(most < BOUND, "{} MiB", most >> 20);
    println!("{} MiB at most", most >> 20);
}
