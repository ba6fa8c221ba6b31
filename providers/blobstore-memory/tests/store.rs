//! What components may do with the memory of their links.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../blobstore-fs/tests/support/mod.rs"]
mod support;

use blobstore_memory::BlobstoreMemory;
use bytes::Bytes;
use lattice_core::link::LinkState;
use support::{Lattice, until};

#[tokio::test]
async fn links_share_the_stores_that_they_name() {
    let mut lattice = Lattice::start::<BlobstoreMemory>().await;
    let one = lattice.link("one", &[]).await;
    let other = lattice.link("other", &[("store", "one")]).await;
    let alone = lattice.link("alone", &[]).await;
    one.create("c").await.unwrap();
    one.set("c", "large", &vec![3; 1_000_000]).await.unwrap();
    assert_eq!(other.get("c", "large").await.unwrap(), vec![3; 1_000_000]);
    assert_eq!(
        other
            .old()
            .read("c", "large", 9, 70_000)
            .await
            .unwrap()
            .len(),
        69_992
    );
    assert!(!alone.exists("c").await.unwrap());
    other.move_to(("c", "large"), ("c", "moved")).await.unwrap();
    assert_eq!(one.list("c", None, None).await.unwrap(), ["moved"]);
    // Whoever changes a link does not mean the data.
    lattice.link("one", &[("max_bytes", "2000000")]).await;
    assert!(one.has("c", "moved").await.unwrap());
}

#[tokio::test]
async fn what_has_no_room_is_refused_by_name_and_leaves_nothing() {
    let mut lattice = Lattice::start::<BlobstoreMemory>().await;
    let blobs = lattice.link("app", &[("max_bytes", "100000")]).await;
    blobs.create("c").await.unwrap();
    blobs.set("c", "a", &[1; 90_000]).await.unwrap();
    for blobs in [blobs.clone(), blobs.old()] {
        let error = blobs.set("c", "b", &[1; 300_000]).await.unwrap_err();
        assert!(error.contains("`max_bytes`"), "{error}");
        let error = blobs.copy(("c", "a"), ("c", "b")).await.unwrap_err();
        assert!(error.contains("no room"), "{error}");
    }
    assert_eq!(blobs.list("c", None, None).await.unwrap(), ["a"]);
    // What was taken for it meanwhile has been given back.
    blobs.delete("c", "a").await.unwrap();
    blobs.set("c", "b", &[1; 90_000]).await.unwrap();
    lattice
        .put("big", &[("require", "max-object-bytes>=67108865")])
        .await;
    let report = lattice.report_of(LinkState::Failed).await;
    let why = report.reason.unwrap_or_default();
    assert!(why.contains("max-object-bytes"), "{why}");
}

#[tokio::test]
async fn data_that_break_off_give_their_room_back() {
    let mut lattice = Lattice::start::<BlobstoreMemory>().await;
    let blobs = lattice.link("app", &[("max_bytes", "1000000")]).await;
    blobs.create("c").await.unwrap();
    let (call, mut writer) = blobs.begin("c", "o").await.unwrap();
    writer.write(Bytes::from(vec![1; 800_000])).await.unwrap();
    let full = || async { blobs.set("c", "p", &[1; 800_000]).await.is_err() };
    until(full).await;
    drop((call, writer));
    until(|| async { !full().await }).await;
    assert_eq!(blobs.list("c", None, None).await.unwrap(), ["p"]);
}
