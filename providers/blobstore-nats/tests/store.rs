//! What components may do with the object stores of their links.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../blobstore-fs/tests/support/mod.rs"]
mod support;

use async_nats::jetstream;
use async_nats::jetstream::object_store::ObjectStore;
use blobstore_nats::BlobstoreNats;
use bytes::Bytes;
use support::{Component, Lattice, until};
use tokio::io::AsyncReadExt as _;

async fn linked() -> (Lattice, Component) {
    let mut lattice = Lattice::start::<BlobstoreNats>().await;
    let blobs = lattice.link("app", &[]).await;
    (lattice, blobs)
}

async fn stores(lattice: &Lattice) -> jetstream::Context {
    jetstream::new(lattice.nats.client().await.unwrap())
}

/// How many messages there are in a container.
async fn messages(lattice: &Lattice, container: &str) -> u64 {
    let stores = stores(lattice).await;
    let stream = stores.get_stream(format!("OBJ_{container}")).await.unwrap();
    stream.cached_info().state.messages
}

async fn read(store: &ObjectStore, name: &str) -> Vec<u8> {
    let mut data = Vec::new();
    let mut object = store.get(name).await.unwrap();
    object.read_to_end(&mut data).await.unwrap();
    data
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn both_versions_do_the_same() {
    let (_lattice, blobs) = linked().await;
    for (name, blobs) in [("new", blobs.clone()), ("old", blobs.old())] {
        blobs.create(name).await.unwrap();
        blobs.create(name).await.unwrap();
        let large = pattern(700_000);
        blobs.set(name, "small ü/1", b"abcdef").await.unwrap();
        blobs.set(name, "large", &large).await.unwrap();
        blobs.set(name, "none", b"").await.unwrap();
        assert_eq!(blobs.get(name, "small ü/1").await.unwrap(), b"abcdef");
        assert_eq!(blobs.get(name, "large").await.unwrap(), large);
        assert_eq!(blobs.get(name, "none").await.unwrap(), b"");
        assert_eq!(blobs.read(name, "small ü/1", 1, 3).await.unwrap(), b"bcd");
        for (start, end) in [(5, 300_004), (131_071, 131_072), (699_999, u64::MAX)] {
            let wanted = &large[start as usize..=(end.min(699_999) as usize)];
            assert!(blobs.read(name, "large", start, end).await.unwrap() == wanted);
        }
        let all = ["small ü/1", "large", "none"];
        assert_eq!(blobs.list(name, None, None).await.unwrap(), all);
        assert_eq!(blobs.list(name, Some(1), Some(1)).await.unwrap(), ["large"]);
        blobs.copy((name, "large"), (name, "copy")).await.unwrap();
        blobs
            .move_to((name, "large"), (name, "none"))
            .await
            .unwrap();
        assert!(blobs.get(name, "copy").await.unwrap() == large);
        assert!(blobs.get(name, "none").await.unwrap() == large);
        blobs
            .delete_all(name, &["none", "absent", "copy"])
            .await
            .unwrap();
        assert_eq!(blobs.list(name, None, None).await.unwrap(), ["small ü/1"]);
        blobs.clear(name).await.unwrap();
        assert!(blobs.list(name, None, None).await.unwrap().is_empty());
        let absent = blobs.get(name, "copy").await.unwrap_err();
        assert_eq!(
            absent,
            format!("there is no object `copy` in container `{name}`")
        );
        blobs.delete_container(name).await.unwrap();
        blobs.delete_container(name).await.unwrap();
        assert!(!blobs.exists(name).await.unwrap());
        let nowhere = blobs.set(name, "o", b"x").await.unwrap_err();
        assert!(nowhere.contains("there is no container"), "{nowhere}");
        for error in [
            blobs.get(name, "o").await.unwrap_err(),
            blobs.list(name, None, None).await.unwrap_err(),
            blobs.clear(name).await.unwrap_err(),
            blobs.delete(name, "o").await.unwrap_err(),
            blobs.created_at(name).await.unwrap_err(),
        ] {
            assert!(error.contains("there is no container"), "{error}");
        }
    }
    let forbidden = blobs.create("a.b").await.unwrap_err();
    assert!(
        forbidden.contains("cannot be the name of a container"),
        "{forbidden}"
    );
}

#[tokio::test]
async fn other_clients_of_nats_see_the_same_objects() {
    let (lattice, blobs) = linked().await;
    blobs.create("shared").await.unwrap();
    let store = stores(&lattice)
        .await
        .get_object_store("shared")
        .await
        .unwrap();
    let data = pattern(500_000);
    blobs.set("shared", "ours", &data).await.unwrap();
    assert!(read(&store, "ours").await == data);
    store.put("theirs", &mut &data[..]).await.unwrap();
    assert!(blobs.get("shared", "theirs").await.unwrap() == data);
    let part = blobs
        .read("shared", "theirs", 200_000, 400_000)
        .await
        .unwrap();
    assert!(part == data[200_000..=400_000]);
    // What they make of ours, with the description that came with it.
    let mut again = &data[..300_000];
    let ours = store.info("ours").await.unwrap();
    store.put(ours.clone(), &mut again).await.unwrap();
    assert!(
        blobs
            .read("shared", "ours", 150_000, 1 << 30)
            .await
            .unwrap()
            == data[150_000..300_000]
    );
    let object = store.get("theirs").await.unwrap();
    store.add_link("link", &object).await.unwrap();
    assert!(blobs.get("shared", "link").await.unwrap() == data);
    store.delete("theirs").await.unwrap();
    assert!(!blobs.has("shared", "theirs").await.unwrap());
    blobs.delete("shared", "ours").await.unwrap();
    assert!(store.get("ours").await.is_err());
    assert_eq!(blobs.list("shared", None, None).await.unwrap(), ["link"]);
}

#[tokio::test]
async fn data_that_are_no_object_any_more_are_purged() {
    let (lattice, blobs) = linked().await;
    blobs.create("c").await.unwrap();
    blobs.set("c", "o", &pattern(600_000)).await.unwrap();
    blobs.set("c", "o", b"short").await.unwrap();
    // A description and a piece.
    until(|| async { messages(&lattice, "c").await == 2 }).await;
    for blobs in [blobs.clone(), blobs.old()] {
        let (call, mut writer) = blobs.begin("c", "o").await.unwrap();
        for _ in 0..20 {
            writer.write(Bytes::from(vec![1; 100_000])).await.unwrap();
        }
        until(|| async { messages(&lattice, "c").await > 5 }).await;
        drop((call, writer));
        until(|| async { messages(&lattice, "c").await == 2 }).await;
        assert_eq!(blobs.get("c", "o").await.unwrap(), b"short");
    }
    blobs.delete("c", "o").await.unwrap();
    until(|| async { messages(&lattice, "c").await == 1 }).await;
}

#[tokio::test]
async fn writers_at_once_leave_one_whole_object() {
    let (lattice, blobs) = linked().await;
    blobs.create("c").await.unwrap();
    let writes = (0..12_u8).map(|number| {
        let blobs = blobs.clone();
        async move { blobs.set("c", "o", &vec![number; 300_000]).await.unwrap() }
    });
    futures::future::join_all(writes).await;
    let data = blobs.get("c", "o").await.unwrap();
    assert_eq!(data.len(), 300_000);
    assert!(data.iter().all(|byte| *byte == data[0]));
    // Three pieces and their description; what the others have written is gone.
    until(|| async { messages(&lattice, "c").await == 4 }).await;
}

#[tokio::test]
async fn an_object_of_many_pieces_is_read_from_any_byte() {
    let (lattice, blobs) = linked().await;
    blobs.create("c").await.unwrap();
    // More pieces than there is room for in an index, and others among them.
    let data = pattern(70 << 20);
    let (one, other) = tokio::join!(
        blobs.set("c", "o", &data),
        blobs.set("c", "p", &data[..9 << 20])
    );
    one.and(other).unwrap();
    for start in [0, 1, 131_072, 40_000_000, 70_000_000, (70 << 20) - 1] {
        let part = blobs.read("c", "o", start, start + 300_000).await.unwrap();
        let start = start as usize;
        assert!(
            part == data[start..(start + 300_001).min(data.len())],
            "{start}"
        );
    }
    assert!(blobs.get("c", "o").await.unwrap() == data);
    // Nothing is left of who has read.
    let stream = || async { stores(&lattice).await.get_stream("OBJ_c").await.unwrap() };
    until(|| async { stream().await.cached_info().state.consumer_count == 0 }).await;
}

#[tokio::test]
async fn what_is_cleared_in_the_middle_of_a_write_is_no_object() {
    let (lattice, blobs) = linked().await;
    blobs.create("c").await.unwrap();
    let (call, mut writer) = blobs.begin("c", "o").await.unwrap();
    writer.write(Bytes::from(vec![1; 600_000])).await.unwrap();
    until(|| async { messages(&lattice, "c").await >= 4 }).await;
    blobs.clear("c").await.unwrap();
    writer.finish(Bytes::new()).await.unwrap();
    let error = blobs.written(call).await.unwrap_err();
    assert!(error.contains("cleared meanwhile"), "{error}");
    assert!(!blobs.has("c", "o").await.unwrap());
}

#[tokio::test]
async fn what_is_written_while_its_container_is_made_anew_is_no_object() {
    let (lattice, blobs) = linked().await;
    blobs.create("c").await.unwrap();
    let (call, mut writer) = blobs.begin("c", "o").await.unwrap();
    writer.write(Bytes::from(vec![1; 600_000])).await.unwrap();
    until(|| async { messages(&lattice, "c").await >= 4 }).await;
    blobs.delete_container("c").await.unwrap();
    blobs.create("c").await.unwrap();
    writer.finish(Bytes::from(vec![2; 300_000])).await.unwrap();
    let error = blobs.written(call).await.unwrap_err();
    assert!(error.contains("cleared meanwhile"), "{error}");
    assert!(!blobs.has("c", "o").await.unwrap());
}

#[tokio::test]
async fn what_has_no_room_is_refused_and_leaves_nothing() {
    let mut lattice = Lattice::start::<BlobstoreNats>().await;
    let blobs = lattice.link("app", &[("max_bytes", "1000000")]).await;
    blobs.create("c").await.unwrap();
    blobs.set("c", "fits", &[1; 400_000]).await.unwrap();
    let error = blobs
        .set("c", "large", &vec![1; 3_000_000])
        .await
        .unwrap_err();
    assert!(error.contains("no room"), "{error}");
    assert_eq!(blobs.list("c", None, None).await.unwrap(), ["fits"]);
    until(|| async { messages(&lattice, "c").await == 5 }).await;
    blobs.set("c", "other", &[1; 400_000]).await.unwrap();
}

#[tokio::test]
async fn links_reach_only_the_containers_of_their_prefix() {
    let mut lattice = Lattice::start::<BlobstoreNats>().await;
    let all = lattice.link("all", &[]).await;
    let config = [("container_prefix", "team_"), ("alias_common", "common")];
    let team = lattice.link("team", &config).await;
    for name in ["common", "c", "team_c"] {
        all.create(name).await.unwrap();
        all.set(name, "o", name.as_bytes()).await.unwrap();
    }
    assert_eq!(team.get("c", "o").await.unwrap(), b"team_c");
    assert_eq!(team.get("common", "o").await.unwrap(), b"common");
    assert!(!team.exists("team_c").await.unwrap());
}

#[tokio::test]
async fn times_are_those_of_the_server() {
    let (_lattice, blobs) = linked().await;
    let now = || lattice_provider_sdk::blobstore::seconds(std::time::SystemTime::now());
    let before = now();
    blobs.create("c").await.unwrap();
    blobs.set("c", "o", b"x").await.unwrap();
    let sane = before..=now();
    assert!(sane.contains(&blobs.created_at("c").await.unwrap()));
    assert!(sane.contains(&blobs.info("c", "o").await.unwrap().0));
}

#[tokio::test]
async fn what_a_killed_provider_has_left_is_purged() {
    let mut lattice = Lattice::start::<BlobstoreNats>().await;
    let first = lattice.link("first", &[]).await;
    first.create("c").await.unwrap();
    first.set("c", "o", &pattern(300_000)).await.unwrap();
    let context = stores(&lattice).await;
    let left = context.publish("$O.c.C.left", "half".into()).await;
    left.unwrap().await.unwrap();
    assert_eq!(messages(&lattice, "c").await, 5);
    // A connection of its own, which has not met the container, once the data are old enough.
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let url = lattice.nats.url.clone();
    let config = [("cluster_uri", url.as_str()), ("abandoned_after", "1")];
    let second = lattice.link("second", &config).await;
    assert!(second.has("c", "o").await.unwrap());
    until(|| async { messages(&lattice, "c").await == 4 }).await;
    assert!(second.get("c", "o").await.unwrap() == pattern(300_000));
}

#[tokio::test]
async fn compiled_code_of_the_lattice_is_out_of_reach() {
    let (lattice, blobs) = linked().await;
    let config = jetstream::object_store::Config {
        bucket: "CODECACHE_default".into(),
        ..Default::default()
    };
    let code = stores(&lattice)
        .await
        .create_object_store(config)
        .await
        .unwrap();
    code.put("code", &mut &b"trusted"[..]).await.unwrap();
    let (name, mine) = ("CODECACHE_default", "mine");
    blobs.create(mine).await.unwrap();
    blobs.set(mine, "evil", b"evil").await.unwrap();
    for refused in [
        blobs.get(name, "code").await.unwrap_err(),
        blobs.set(name, "code", b"evil").await.unwrap_err(),
        blobs
            .copy((mine, "evil"), (name, "code"))
            .await
            .unwrap_err(),
        blobs
            .copy((name, "code"), (mine, "code"))
            .await
            .unwrap_err(),
        blobs.list(name, None, None).await.unwrap_err(),
        blobs.create("CODECACHE_other").await.unwrap_err(),
    ] {
        assert!(refused.contains("compiled code"), "{refused}");
    }
    assert_eq!(read(&code, "code").await, b"trusted");
}
