//! Callers of the 1.9 lattice: generated bindings on the stock transport, in both versions.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../blobstore-fs/tests/support/mod.rs"]
mod support;

use blobstore_memory::BlobstoreMemory;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use std::pin::Pin;
use support::Lattice;
use wrpc_transport_nats_031::Client;

#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::error_impl_error,
    clippy::missing_errors_doc,
    clippy::wildcard_imports,
    reason = "generated from the WIT package"
)]
mod bindings {
    wit_bindgen_wrpc::generate!({
        inline: "
            package lattice:stock;
            world caller {
                import wrpc:blobstore/blobstore@0.2.0;
                import wrpc:blobstore/blobstore@0.1.0;
            }
        ",
        path: [
            "../../interfaces/wit/wasi-io-0.2.6",
            "../../interfaces/wit/wasi-blobstore-0.2.0-draft",
            "../../interfaces/wit/wrpc-blobstore-0.1.0",
            "../../interfaces/wit/wrpc-blobstore-0.2.0",
        ],
        world: "lattice:stock/caller",
        generate_all,
    });
}

use bindings::wasi::blobstore::types::ObjectId;
use bindings::wrpc::blobstore0_1_0::blobstore as old;
use bindings::wrpc::blobstore0_2_0::blobstore as new;

type Data = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

async fn stock() -> (Lattice, Client, async_nats_049::HeaderMap) {
    let mut lattice = Lattice::start::<BlobstoreMemory>().await;
    lattice.link("app", &[]).await;
    let nats = async_nats_049::connect(&lattice.nats.url).await.unwrap();
    let client = Client::new(nats, "default.blobs", None).await.unwrap();
    let mut headers = async_nats_049::HeaderMap::new();
    headers.insert("source-id", "app");
    headers.insert("link-name", "default");
    (lattice, client, headers)
}

fn id(object: &str) -> ObjectId {
    ObjectId {
        container: "c".to_owned(),
        object: object.to_owned(),
    }
}

fn data(pieces: usize) -> Data {
    Box::pin(futures::stream::iter(
        (0..pieces).map(|_| Bytes::from(vec![7; 50_000])),
    ))
}

async fn length(mut data: Data) -> usize {
    let mut length = 0;
    while let Some(piece) = data.next().await {
        length += piece.len();
    }
    length
}

#[tokio::test]
async fn the_newer_version_is_spoken_as_stock_callers_do() {
    let (_lattice, client, headers) = stock().await;
    let cx = || Some(headers.clone());
    let created = new::create_container(&client, cx(), "c").await;
    created.unwrap().unwrap();
    for pieces in [0, 1, 40] {
        let called = new::write_container_data(&client, cx(), &id("o"), data(pieces)).await;
        let (written, io) = called.unwrap();
        let sent = async {
            if let Some(io) = io {
                io.await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(written.unwrap(), sent);
        written.unwrap();
        let called = new::get_container_data(&client, cx(), &id("o"), 0, u64::MAX).await;
        let (read, io) = called.unwrap();
        let (data, ended) = read.unwrap();
        let received = async {
            if let Some(io) = io {
                io.await.unwrap();
            }
        };
        let (read, ended, ()) = tokio::join!(length(data), ended, received);
        ended.unwrap();
        assert_eq!(read, pieces * 50_000);
    }
    let called = new::list_container_objects(&client, cx(), "c", None, None).await;
    let (listed, io) = called.unwrap();
    let (mut names, ended) = listed.unwrap();
    let received = async {
        if let Some(io) = io {
            io.await.unwrap();
        }
    };
    let (names, ended, ()) = tokio::join!(names.next(), ended, received);
    ended.unwrap();
    assert_eq!(names.unwrap(), ["o"]);
    let absent = new::get_object_info(&client, cx(), &id("none")).await;
    assert!(absent.unwrap().unwrap_err().contains("no object `none`"));
}

#[tokio::test]
async fn the_older_version_is_spoken_as_stock_callers_do() {
    let (_lattice, client, headers) = stock().await;
    let cx = || Some(headers.clone());
    let created = old::create_container(&client, cx(), "c").await;
    created.unwrap().unwrap();
    for pieces in [0, 1, 40] {
        let called = old::write_container_data(&client, cx(), &id("o"), data(pieces)).await;
        let (written, io) = called.unwrap();
        if let Some(io) = io {
            io.await.unwrap();
        }
        written.unwrap();
        let called = old::get_container_data(&client, cx(), &id("o"), 0, u64::MAX).await;
        let (read, io) = called.unwrap();
        let received = async {
            if let Some(io) = io {
                io.await.unwrap();
            }
        };
        let (read, ()) = tokio::join!(length(read.unwrap()), received);
        assert_eq!(read, pieces * 50_000);
    }
    let info = old::get_object_info(&client, cx(), &id("o")).await;
    assert_eq!(info.unwrap().unwrap().size, 2_000_000);
    let absent = old::get_container_data(&client, cx(), &id("none"), 0, 1).await;
    let (absent, _) = absent.unwrap();
    assert!(absent.err().unwrap().contains("no object `none`"));
}
