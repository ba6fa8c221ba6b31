//! Components written against the interfaces that 1.x published: blobs, messages, PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test asks as a client of the broker"
)]

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use lattice_integration::{HttpClient, Lattice, STEP, until};
use lattice_services::{Kind, Service};
use serde_json::json;
use tokio::time::timeout;

async fn send(address: &str, method: &str, path: &str, body: Vec<u8>) -> (u16, Bytes) {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Full::new(body.into())).unwrap();
    let mut client = HttpClient::connect(address).await.unwrap();
    let response = client.send(request).await.unwrap();
    (response.status().as_u16(), response.into_body())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_come_back_and_go() {
    let lattice = Lattice::start(1).await.unwrap();
    let root = tempfile::tempdir().unwrap();
    lattice.run(0, "blobs", "http-blobs", 10).await.unwrap();
    lattice
        .provide(0, "store", "blobstore-fs-provider", &[])
        .await
        .unwrap();
    lattice
        .config("folder", json!({ "root": root.path() }))
        .await
        .unwrap();
    let interface = "wasi:blobstore/blobstore,container,types";
    lattice
        .link("blobs", "store", interface, &[], &["folder"])
        .await
        .unwrap();
    let address = lattice.serve_http(0, "blobs").await.unwrap();
    lattice.until_status(&address, "/none", 404).await.unwrap();

    let body: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let (status, text) = send(&address, "PUT", "/a/b.bin", body.clone()).await;
    assert_eq!(status, 201, "{text:?}");
    assert_eq!(
        send(&address, "GET", "/a/b.bin", vec![]).await,
        (200, body.into())
    );
    let (_, names) = send(&address, "GET", "/", vec![]).await;
    assert_eq!(names, "a/b.bin\n");
    assert_eq!(send(&address, "DELETE", "/a/b.bin", vec![]).await.0, 200);
    assert_eq!(send(&address, "GET", "/a/b.bin", vec![]).await.0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_echoed() {
    let lattice = Lattice::start(1).await.unwrap();
    lattice.run(0, "echo", "messaging-echo", 10).await.unwrap();
    lattice
        .provide(0, "messages", "messaging-nats-provider", &[])
        .await
        .unwrap();
    lattice
        .config("subjects", json!({ "subscriptions": "example.echo" }))
        .await
        .unwrap();
    let consumer = "wasmcloud:messaging/consumer";
    let handler = "wasmcloud:messaging/handler";
    lattice
        .link("echo", "messages", consumer, &[], &[])
        .await
        .unwrap();
    lattice
        .link("messages", "echo", handler, &["subjects"], &[])
        .await
        .unwrap();
    let answer = until(async || {
        let ask = lattice.client.request("example.echo", "hello".into());
        Ok(timeout(STEP, ask).await??.payload)
    })
    .await
    .unwrap();
    assert_eq!(answer, "hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_are_kept_in_postgres() {
    let database = Service::start(Kind::Postgres).await.unwrap();
    let lattice = Lattice::start(1).await.unwrap();
    lattice
        .run(0, "notes", "http-postgres-notes", 10)
        .await
        .unwrap();
    lattice
        .provide(0, "sql", "sqldb-postgres-provider", &[])
        .await
        .unwrap();
    // As a config of 1.x says it.
    let config = json!({
        "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": database.port().to_string(),
        "POSTGRES_USERNAME": "lattice", "POSTGRES_PASSWORD": "lattice",
        "POSTGRES_DATABASE": "lattice", "POSTGRES_TLS_REQUIRED": "false",
    });
    lattice.config("database", config).await.unwrap();
    lattice
        .link(
            "notes",
            "sql",
            "wasmcloud:postgres/query",
            &[],
            &["database"],
        )
        .await
        .unwrap();
    let address = lattice.serve_http(0, "notes").await.unwrap();
    lattice.until_status(&address, "/", 200).await.unwrap();
    let sly = "x'); DROP TABLE notes; --";
    for note in ["first", sly] {
        let (status, text) = send(&address, "POST", "/", note.into()).await;
        assert_eq!(status, 201, "{text:?}");
    }
    let (_, notes) = send(&address, "GET", "/", vec![]).await;
    assert_eq!(notes, format!("first\n{sly}\n"));
}
