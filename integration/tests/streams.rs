//! Streams stay streams: a large body passes through two processes in little memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_integration::{Lattice, peak, program};
use lattice_services::{Kind, Service};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a body is that shows as much where a store takes its time: four times the room.
const LONG: u64 = 256 << 20;
/// By how much a process may grow while it passes, beyond what it takes idle.
const ROOM: u64 = 64 << 20;
const PIECE: usize = 256 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_passes_in_64_mebibytes() {
    // Beside the programs, as the folder for temporary files may be in memory.
    let beside = program("lattice-host").unwrap();
    let root = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
    passes("blobstore-fs", json!({ "root": root.path() }), 1 << 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_passes_to_nats_in_64_mebibytes() {
    passes("blobstore-nats", json!({}), LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_passes_to_s3_in_64_mebibytes() {
    let moto = Service::start(Kind::Moto).await.unwrap();
    // It believes anybody.
    let account = json!({
        "access_key_id": "lattice", "secret_access_key": "lattice", "region": "us-east-1",
        "endpoint": moto.url(),
    });
    passes("blobstore-s3", account, LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_body_passes_to_azure_in_64_mebibytes() {
    let azurite = Service::start(Kind::Azurite).await.unwrap();
    // The account that it has, whose key is in its documentation.
    let name = "devstoreaccount1";
    let account = json!({
        "STORAGE_ACCOUNT": name,
        "STORAGE_ACCESS_KEY": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/\
                               K1SZFPTOtr/KBHBeksoGMGw==",
        "endpoint": format!("{}/{name}", azurite.url()),
    });
    passes("blobstore-azure", account, LONG).await;
}

/// Sends a body of that length into a store and reads it again, while three processes stay small.
async fn passes(store: &str, config: Value, length: u64) {
    let lattice = Lattice::start(1).await.unwrap();
    lattice.run(0, "blobs", "http-blobs", 10).await.unwrap();
    lattice
        .provide(0, "store", &format!("{store}-provider"), &[])
        .await
        .unwrap();
    lattice.config("store", config).await.unwrap();
    let interface = "wasi:blobstore/blobstore,container,types";
    lattice
        .link("blobs", "store", interface, &[], &["store"])
        .await
        .unwrap();
    let patient = json!({ "timeout_ms": "300000" });
    let address = lattice.serve_http_with(0, "blobs", patient).await.unwrap();
    lattice.until_status(&address, "/none", 404).await.unwrap();

    let host = &lattice.hosts[0];
    let processes = [
        ("the host", host.pid().unwrap()),
        ("the blob store", host.provider_pid(store).unwrap()),
        ("the HTTP server", host.provider_pid("http-server").unwrap()),
    ];
    let before = processes.map(|(_, pid)| peak(pid).unwrap());
    upload(&address, length).await;
    download(&address, length).await;
    for ((name, pid), before) in processes.into_iter().zip(before) {
        let grown = peak(pid).unwrap().saturating_sub(before);
        assert!(grown < ROOM, "{name} grew by {} MiB", grown >> 20);
    }
}

/// Bytes that tell where in the body they are.
fn piece(at: u64) -> Vec<u8> {
    let mark = (at / PIECE as u64).to_le_bytes();
    mark.iter().copied().cycle().take(PIECE).collect()
}

async fn upload(address: &str, length: u64) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("PUT /big HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for at in (0..length).step_by(PIECE) {
        stream.write_all(&piece(at)).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 201");
}

async fn download(address: &str, length: u64) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // As 1.0, the body is not in chunks and ends with the connection.
    let head = format!("GET /big HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let mut got = vec![0; PIECE];
    for at in (0..length).step_by(PIECE) {
        stream.read_exact(&mut got).await.unwrap();
        assert!(got == piece(at), "another piece at {at}");
    }
    assert_eq!(stream.read(&mut got).await.unwrap(), 0);
}
