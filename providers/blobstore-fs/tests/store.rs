//! What components may do with the folders of their links.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::symlink;
use std::path::Path;

use blobstore_fs::BlobstoreFs;
use bytes::Bytes;
use lattice_core::link::LinkState;
use support::{Component, Lattice, until};
use tempfile::TempDir;

async fn linked() -> (Lattice, Component, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut lattice = Lattice::start::<BlobstoreFs>().await;
    let root = folder.path().to_str().unwrap();
    let blobs = lattice.link("app", &[("root", root)]).await;
    (lattice, blobs, folder)
}

fn incoming(folder: &TempDir) -> usize {
    std::fs::read_dir(folder.path().join(".incoming")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn both_versions_do_the_same() {
    let (_lattice, blobs, folder) = linked().await;
    for (name, blobs) in [("new", blobs.clone()), ("old", blobs.old())] {
        blobs.create(name).await.unwrap();
        blobs.create(name).await.unwrap();
        let large = vec![7; 300_000];
        blobs.set(name, "small", b"abcdef").await.unwrap();
        blobs.set(name, "large", &large).await.unwrap();
        blobs.set(name, "none", b"").await.unwrap();
        assert_eq!(blobs.get(name, "small").await.unwrap(), b"abcdef");
        assert_eq!(blobs.get(name, "large").await.unwrap(), large);
        assert_eq!(blobs.get(name, "none").await.unwrap(), b"");
        assert_eq!(blobs.read(name, "small", 1, 3).await.unwrap(), b"bcd");
        assert_eq!(
            blobs.read(name, "large", 5, 200_004).await.unwrap().len(),
            200_000
        );
        assert_eq!(
            blobs.list(name, None, None).await.unwrap(),
            ["large", "none", "small"]
        );
        assert_eq!(blobs.list(name, Some(1), Some(1)).await.unwrap(), ["none"]);
        assert_eq!(blobs.info(name, "large").await.unwrap().1, 300_000);
        let refused = blobs.read(name, "small", 3, 1).await.unwrap_err();
        assert!(refused.contains("ends before it"), "{refused}");
        let absent = blobs.get(name, "other").await.unwrap_err();
        assert_eq!(
            absent,
            format!("there is no object `other` in container `{name}`")
        );
        blobs.copy((name, "small"), (name, "a/copy")).await.unwrap();
        blobs
            .move_to((name, "large"), (name, "none"))
            .await
            .unwrap();
        assert_eq!(
            blobs.list(name, None, None).await.unwrap(),
            ["a/copy", "none", "small"]
        );
        assert_eq!(blobs.info(name, "none").await.unwrap().1, 300_000);
        blobs
            .move_to((name, "small"), (name, "small"))
            .await
            .unwrap();
        blobs.delete_all(name, &["none", "absent"]).await.unwrap();
        blobs.delete(name, "small").await.unwrap();
        assert_eq!(blobs.list(name, None, None).await.unwrap(), ["a/copy"]);
        blobs.clear(name).await.unwrap();
        assert!(blobs.list(name, None, None).await.unwrap().is_empty());
        blobs.delete_container(name).await.unwrap();
        blobs.delete_container(name).await.unwrap();
        assert!(!blobs.exists(name).await.unwrap());
    }
    assert_eq!(incoming(&folder), 0);
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let (_lattice, blobs, folder) = linked().await;
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("target");
    std::fs::write(&target, "untouched").unwrap();
    let absolute = target.to_str().unwrap();
    let upward = format!("../../{}", target.display());
    for name in [
        "..",
        ".",
        "../x",
        absolute,
        &upward,
        "a/../../b",
        ".incoming",
    ] {
        blobs.create(name).await.unwrap();
        blobs.set(name, name, b"mine").await.unwrap();
        assert_eq!(blobs.get(name, name).await.unwrap(), b"mine", "{name}");
    }
    assert_eq!(std::fs::read(&target).unwrap(), b"untouched");
    // What leads out is not followed, in the place of a container or of an object.
    symlink(outside.path(), folder.path().join("way")).unwrap();
    assert!(!blobs.exists("way").await.unwrap());
    assert!(blobs.get("way", "target").await.is_err());
    blobs.create("c").await.unwrap();
    symlink(&target, folder.path().join("c/link")).unwrap();
    assert!(blobs.get("c", "link").await.is_err());
    assert!(!blobs.has("c", "link").await.unwrap());
    assert!(blobs.copy(("c", "link"), ("c", "copy")).await.is_err());
    assert!(blobs.move_to(("c", "link"), ("c", "copy")).await.is_err());
    assert!(blobs.list("c", None, None).await.unwrap().is_empty());
    blobs.set("c", "link", b"mine").await.unwrap();
    assert_eq!(blobs.get("c", "link").await.unwrap(), b"mine");
    assert_eq!(std::fs::read(&target).unwrap(), b"untouched");
}

#[tokio::test]
async fn links_do_not_see_each_other() {
    let (mut lattice, one, folder) = linked().await;
    let beside = folder.path().join("beside");
    let other = lattice
        .link("other", &[("ROOT", beside.to_str().unwrap())])
        .await;
    one.create("c").await.unwrap();
    one.set("c", "o", b"x").await.unwrap();
    assert!(!other.exists("c").await.unwrap());
    let error = other.set("c", "o", b"y").await.unwrap_err();
    assert_eq!(error, "there is no container `c`; create it first");
    let stranger = lattice.component("stranger").exists("c").await.unwrap_err();
    assert!(stranger.contains("no working link"), "{stranger}");
}

#[tokio::test]
async fn data_that_break_off_leave_no_object() {
    let (_lattice, blobs, folder) = linked().await;
    blobs.create("c").await.unwrap();
    blobs.set("c", "o", b"before").await.unwrap();
    for blobs in [blobs.clone(), blobs.old()] {
        let (call, mut writer) = blobs.begin("c", "o").await.unwrap();
        for _ in 0..20 {
            writer.write(Bytes::from(vec![1; 50_000])).await.unwrap();
        }
        until(|| async { incoming(&folder) == 1 }).await;
        // As when the guest drops its value: what it has begun is given up.
        drop((call, writer));
        until(|| async { incoming(&folder) == 0 }).await;
        // As when only the stream ends, without the mark of its end.
        let (call, mut writer) = blobs.begin("c", "o").await.unwrap();
        writer.write(Bytes::from(vec![1; 50_000])).await.unwrap();
        drop(writer);
        let error = blobs.written(call).await.unwrap_err();
        assert!(error.contains("nothing was stored"), "{error}");
        assert_eq!(blobs.get("c", "o").await.unwrap(), b"before");
        assert_eq!(incoming(&folder), 0);
    }
}

#[tokio::test]
async fn a_caller_that_stands_still_is_given_up() {
    let (mut lattice, _, folder) = linked().await;
    let root = folder.path().to_str().unwrap();
    let config = [
        ("root", root),
        ("stream_idle_ms", "300"),
        ("alias_mine", "c"),
    ];
    let blobs = lattice.link("slow", &config).await;
    blobs.create("mine").await.unwrap();
    for blobs in [blobs.clone(), blobs.old()] {
        let (call, mut writer) = blobs.begin("mine", "o").await.unwrap();
        writer.write(Bytes::from_static(b"some")).await.unwrap();
        let error = blobs.written(call).await.unwrap_err();
        assert_eq!(error, "the caller gave no data for 300ms");
        assert!(!blobs.has("mine", "o").await.unwrap());
    }
    assert!(Path::new(root).join("c").is_dir());
    // A stream that moves may take longer than its call.
    let hasty = blobs.within(std::time::Duration::from_millis(400));
    blobs.set("mine", "large", &vec![5; 3 << 20]).await.unwrap();
    let mut reading = hasty.open("mine", "large", 0, u64::MAX).await.unwrap();
    let mut len = 0;
    while let Some(piece) = reading.next().await {
        len += piece.unwrap().len();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    reading.end().await.unwrap();
    assert_eq!(len, 3 << 20);
}

#[tokio::test]
async fn an_object_may_be_read_as_slowly_as_it_is_read_steadily() {
    let (mut lattice, _, folder) = linked().await;
    let root = folder.path().to_str().unwrap();
    let config = [("root", root), ("stream_idle_ms", "2000")];
    let blobs = lattice.link("steady", &config).await;
    blobs.create("c").await.unwrap();
    // More than is sent with the answer, and more than one piece of the backend.
    let data = vec![5; 130 << 10];
    blobs.set("c", "o", &data).await.unwrap();
    let slow = lattice.component_with_window("steady", 8 << 10).await;
    let mut reading = slow.open("c", "o", 0, u64::MAX).await.unwrap();
    let mut len = 0;
    while let Some(piece) = reading.next().await {
        len += piece.unwrap().len();
        // All of a piece takes longer than the limit, and some of it does not.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    reading.end().await.unwrap();
    assert_eq!(len, data.len());
}

#[tokio::test]
async fn limits_of_the_link_are_told_by_name() {
    let (mut lattice, _, folder) = linked().await;
    let root = folder.path().to_str().unwrap();
    let blobs = lattice
        .link("small", &[("root", root), ("max_object_bytes", "1000")])
        .await;
    blobs.create("c").await.unwrap();
    blobs.set("c", "fits", &[1; 1000]).await.unwrap();
    let error = blobs.set("c", "large", &[1; 1001]).await.unwrap_err();
    assert!(
        error.contains("1000 bytes") && error.contains("max_object_bytes"),
        "{error}"
    );
    assert_eq!(blobs.list("c", None, None).await.unwrap(), ["fits"]);
    let long = "x".repeat(2000);
    for error in [
        blobs.set("c", &long, b"").await.unwrap_err(),
        blobs.create(&"ü/".repeat(120)).await.unwrap_err(),
        blobs.create("").await.unwrap_err(),
        blobs.delete_all("c", &["fits", ""]).await.unwrap_err(),
    ] {
        assert!(error.contains("cannot be the name"), "{error}");
    }
    assert!(!blobs.has("c", "fits").await.unwrap());
}

#[tokio::test]
async fn many_objects_are_listed_page_by_page() {
    let (_lattice, blobs, folder) = linked().await;
    blobs.create("c").await.unwrap();
    let mut expected = Vec::new();
    for number in 0..10_001 {
        let name = format!("object {number}");
        std::fs::write(folder.path().join("c").join(&name), "").unwrap();
        expected.push(name);
    }
    expected.sort_unstable();
    for blobs in [blobs.clone(), blobs.old()] {
        assert_eq!(blobs.list("c", None, None).await.unwrap(), expected);
        let page = blobs.list("c", Some(9_990), Some(100)).await.unwrap();
        assert_eq!(page, expected[9_990..]);
        let page = blobs.list("c", Some(4_000), Some(3)).await.unwrap();
        assert_eq!(page, expected[4_000..4_003]);
    }
}

#[tokio::test]
async fn a_link_waits_for_its_folder_and_notices_when_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut lattice = Lattice::start::<BlobstoreFs>().await;
    let root = folder.path().join("root");
    std::fs::write(&root, "no folder").unwrap();
    let blobs = lattice
        .put("app", &[("root", root.to_str().unwrap())])
        .await;
    let report = lattice.report_of(LinkState::Failed).await;
    let why = report.reason.unwrap_or_default();
    assert!(why.contains("root` (`root`)"), "{why}");
    std::fs::remove_file(&root).unwrap();
    lattice.report_of(LinkState::Ready).await;
    blobs.create("c").await.unwrap();
    std::fs::rename(&root, folder.path().join("away")).unwrap();
    let report = lattice.report_of(LinkState::Failed).await;
    assert!(
        report
            .reason
            .unwrap_or_default()
            .contains("could not open the folder")
    );
    let error = blobs.exists("c").await.unwrap_err();
    assert!(error.contains("could not open the folder"), "{error}");
    std::fs::rename(folder.path().join("away"), &root).unwrap();
    lattice.report_of(LinkState::Ready).await;
    assert!(blobs.exists("c").await.unwrap());
}

#[tokio::test]
async fn what_a_killed_provider_has_left_is_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(".incoming")).unwrap();
    std::fs::write(folder.path().join(".incoming/1-2-3"), "half").unwrap();
    let mut lattice = Lattice::start::<BlobstoreFs>().await;
    lattice
        .link("app", &[("root", folder.path().to_str().unwrap())])
        .await;
    assert_eq!(incoming(&folder), 0);
}

#[tokio::test]
async fn times_are_those_of_the_file_system() {
    let (_lattice, blobs, _folder) = linked().await;
    let now = || lattice_provider_sdk::blobstore::seconds(std::time::SystemTime::now());
    let before = now();
    blobs.create("c").await.unwrap();
    blobs.set("c", "o", b"x").await.unwrap();
    // Clocks of file systems are coarse.
    let sane = before - 1..=now() + 1;
    assert!(sane.contains(&blobs.created_at("c").await.unwrap()));
    assert!(sane.contains(&blobs.info("c", "o").await.unwrap().0));
}

#[tokio::test]
async fn writers_at_once_leave_one_whole_object() {
    let (_lattice, blobs, _folder) = linked().await;
    blobs.create("c").await.unwrap();
    let writes = (0..16_u8).map(|number| {
        let blobs = blobs.clone();
        async move { blobs.set("c", "o", &vec![number; 200_000]).await.unwrap() }
    });
    futures::future::join_all(writes).await;
    let data = blobs.get("c", "o").await.unwrap();
    assert_eq!(data.len(), 200_000);
    assert!(data.iter().all(|byte| *byte == data[0]));
    let long = "deep/".repeat(200);
    let writes = (0..50).map(|number| {
        let (blobs, name) = (blobs.clone(), format!("{long}{}", number % 5));
        async move {
            blobs.set("c", &name, b"x").await.unwrap();
            blobs.delete("c", &name).await.unwrap();
        }
    });
    futures::future::join_all(writes).await;
    assert_eq!(blobs.list("c", None, None).await.unwrap(), ["o"]);
}
