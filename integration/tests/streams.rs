//! Streams stay streams: a large body passes through two processes in little memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lattice_integration::{Lattice, peak, program};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long the body is.
const LENGTH: u64 = 1 << 30;
/// By how much a process may grow while it passes.
const ROOM: u64 = 64 << 20;
const PIECE: usize = 256 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_passes_in_64_mebibytes() {
    let lattice = Lattice::start(1).await.unwrap();
    // Beside the programs, as the folder for temporary files may be in memory.
    let beside = program("lattice-host").unwrap();
    let root = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
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
    let patient = json!({ "timeout_ms": "300000" });
    let address = lattice.serve_http_with(0, "blobs", patient).await.unwrap();
    lattice.until_status(&address, "/none", 404).await.unwrap();

    let host = &lattice.hosts[0];
    let processes = [
        ("the host", host.pid().unwrap()),
        ("the blob store", host.provider_pid("blobstore-fs").unwrap()),
        ("the HTTP server", host.provider_pid("http-server").unwrap()),
    ];
    let before = processes.map(|(_, pid)| peak(pid).unwrap());
    upload(&address).await;
    download(&address).await;
    for ((name, pid), before) in processes.into_iter().zip(before) {
        let grown = peak(pid).unwrap().saturating_sub(before);
        println!("{name} grew by {} KiB", grown >> 10);
        assert!(grown < ROOM, "{name} grew by {} MiB", grown >> 20);
    }
}

/// Bytes that tell where in the body they are.
fn piece(at: u64) -> Vec<u8> {
    let mark = (at / PIECE as u64).to_le_bytes();
    mark.iter().copied().cycle().take(PIECE).collect()
}

async fn upload(address: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("PUT /big HTTP/1.1\r\nhost: {address}\r\ncontent-length: {LENGTH}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for at in (0..LENGTH).step_by(PIECE) {
        stream.write_all(&piece(at)).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 201");
}

async fn download(address: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // As 1.0, the body is not in chunks and ends with the connection.
    let head = format!("GET /big HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let mut got = vec![0; PIECE];
    for at in (0..LENGTH).step_by(PIECE) {
        stream.read_exact(&mut got).await.unwrap();
        assert!(got == piece(at), "another piece at {at}");
    }
    assert_eq!(stream.read(&mut got).await.unwrap(), 0);
}
