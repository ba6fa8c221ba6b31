//! The bucket of compiled code.

use std::time::Duration;

use async_nats::jetstream::object_store::ObjectStore;
use bytes::Bytes;
use lattice_core::LatticeName;
use lattice_nats_box::NatsBox;
use lattice_store::{CodeBucket, LatticeStore, StoreError, StoreOptions};

use crate::{soon, started};

const LIMIT: usize = 1 << 20;

fn bytes(byte: u8, len: usize) -> Bytes {
    vec![byte; len].into()
}

/// The bucket as another client sees it.
async fn raw_objects(nats: &NatsBox) -> ObjectStore {
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    js.get_object_store("CODECACHE_default").await.unwrap()
}

async fn stream(nats: &NatsBox) -> async_nats::jetstream::stream::Stream {
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    js.get_stream("OBJ_CODECACHE_default").await.unwrap()
}

/// A bucket with room for `max_bytes`.
async fn small(nats: &NatsBox, max_bytes: u64) -> CodeBucket {
    let options = StoreOptions {
        code_max_bytes: max_bytes,
        ..StoreOptions::default()
    };
    let client = nats.client().await.unwrap();
    let store = LatticeStore::open(client, &LatticeName::default(), options).await;
    store.unwrap().code().clone()
}

#[tokio::test]
async fn the_bucket_is_made_by_the_first_write_with_bounds() {
    let (nats, store) = started().await;
    assert_eq!(store.code().get("a/1", LIMIT).await.unwrap(), None);
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    assert!(js.get_object_store("CODECACHE_default").await.is_err());
    store.code().put("a/1", &bytes(1, 10)).await.unwrap();
    let config = stream(&nats).await.cached_info().config.clone();
    assert_eq!(config.max_age, Duration::from_secs(30 * 24 * 3600));
    assert_eq!(config.max_bytes, 512 << 20);
}

#[tokio::test]
async fn objects_are_read_as_they_were_written() {
    let (nats, store) = started().await;
    // More than one part, and none at all.
    for (name, len) in [("a/1", 300_000), ("a/2", 0), ("b/1", 1)] {
        store.code().put(name, &bytes(7, len)).await.unwrap();
        // By another client, which has to open the bucket first.
        let other = small(&nats, 1).await;
        let read = soon(name, other.get(name, LIMIT)).await.unwrap();
        assert_eq!(read, Some(bytes(7, len)));
    }
    assert_eq!(store.code().get("b/2", LIMIT).await.unwrap(), None);
}

#[tokio::test]
async fn the_same_is_written_once_and_others_are_replaced() {
    let (nats, store) = started().await;
    let id = async || raw_objects(&nats).await.info("a/1").await.unwrap().nuid;
    store.code().put("a/1", &bytes(1, 10)).await.unwrap();
    let first = id().await;
    store.code().put("a/1", &bytes(1, 10)).await.unwrap();
    assert_eq!(id().await, first);
    store.code().put("a/1", &bytes(2, 10)).await.unwrap();
    assert_ne!(id().await, first);
    let read = store.code().get("a/1", LIMIT).await.unwrap();
    assert_eq!(read, Some(bytes(2, 10)));
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let (_nats, store) = started().await;
    store.code().put("a/1", &bytes(1, 11)).await.unwrap();
    let error = store.code().get("a/1", 10).await.unwrap_err();
    assert!(matches!(error, StoreError::Read { .. }), "{error:?}");
}

#[tokio::test]
async fn an_object_without_its_parts_is_not_given() {
    let (nats, store) = started().await;
    store.code().put("a/1", &bytes(1, 300_000)).await.unwrap();
    let parts = stream(&nats).await;
    parts
        .purge()
        .filter("$O.CODECACHE_default.C.>")
        .await
        .unwrap();
    let read = store.code().get("a/1", LIMIT);
    let read = tokio::time::timeout(Duration::from_secs(1), read).await;
    assert!(!matches!(read, Ok(Ok(_))), "{read:?}");
}

#[tokio::test]
async fn the_oldest_make_room_for_new_ones() {
    let nats = NatsBox::start().await.unwrap();
    let code = small(&nats, 250_000).await;
    for name in ["a/1", "a/2", "a/3"] {
        code.put(name, &bytes(1, 100_000)).await.unwrap();
    }
    assert_eq!(code.get("a/1", LIMIT).await.unwrap(), None);
    for name in ["a/2", "a/3"] {
        assert!(code.get(name, LIMIT).await.unwrap().is_some(), "{name}");
    }
}

#[tokio::test]
async fn parts_that_were_never_finished_make_room_too() {
    let nats = NatsBox::start().await.unwrap();
    let code = small(&nats, 250_000).await;
    code.put("a/1", &bytes(1, 10)).await.unwrap();
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    for _ in 0..2 {
        let part = js.publish("$O.CODECACHE_default.C.lost", bytes(1, 100_000));
        part.await.unwrap().await.unwrap();
    }
    code.put("a/2", &bytes(1, 100_000)).await.unwrap();
    assert!(code.get("a/2", LIMIT).await.unwrap().is_some());
}

#[tokio::test]
async fn a_bucket_that_vanishes_is_made_anew() {
    let (nats, store) = started().await;
    store.code().put("a/1", &bytes(1, 10)).await.unwrap();
    let js = async_nats::jetstream::new(nats.client().await.unwrap());
    js.delete_object_store("CODECACHE_default").await.unwrap();
    let _gone = store.code().get("a/1", LIMIT).await;
    store.code().forget();
    store.code().put("a/1", &bytes(1, 10)).await.unwrap();
    let read = store.code().get("a/1", LIMIT).await.unwrap();
    assert_eq!(read, Some(bytes(1, 10)));
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_in_time() {
    let (mut nats, store) = started().await;
    store.code().put("a/1", &bytes(1, 10)).await.unwrap();
    nats.stop();
    let read = soon("an answer", store.code().get("a/1", LIMIT)).await;
    assert!(read.is_err(), "{read:?}");
}
