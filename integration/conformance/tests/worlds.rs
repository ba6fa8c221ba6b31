//! Components with the imports and exports of the 1.x examples, in the versions of that time: a counter, blobs, messages
//! and PostgreSQL.

#![expect(
    clippy::disallowed_methods,
    reason = "a test asks as a client of the broker"
)]

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use http::Request;
use http_body_util::Full;
use lattice_integration::{HttpClient, Lattice, STEP, component, free_port, program, until};
use lattice_services::{Kind, Service};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

/// The version in which guests of this repository have WASI.
const BUILT: &str = "@0.2.6";
const HTTP: &str = "wasi:http/incoming-handler";

/// Writes a copy of a guest that has WASI in another version, as long as the one it was built with; gives where it is.
fn in_version(name: &str, version: &str, folder: &Path) -> Result<String> {
    let built = component(name)?;
    let built = built.strip_prefix("file://").context("no file")?;
    let mut bytes = std::fs::read(built)?;
    let (old, new) = (BUILT.as_bytes(), version.as_bytes());
    ensure!(old.len() == new.len(), "`{version}` does not fit");
    let places = bytes.windows(old.len()).enumerate();
    let places = places.filter_map(|(at, here)| (here == old).then_some(at));
    let places: Vec<_> = places.collect();
    ensure!(!places.is_empty(), "{name} has no WASI {BUILT}");
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    let copy = folder.join(format!("{name}-{}.wasm", &version[1..]));
    std::fs::write(&copy, bytes)?;
    Ok(format!("file://{}", copy.display()))
}

/// Gives a component an address of the server that runs.
async fn served(lattice: &Lattice, id: &str) -> Result<String> {
    let address = format!("127.0.0.1:{}", free_port()?);
    lattice.config(id, json!({ "address": address })).await?;
    lattice.link("http", id, HTTP, &[id], &[]).await?;
    lattice.until_listening(&address).await?;
    Ok(address)
}

async fn send(
    address: &str,
    method: &str,
    path: &str,
    body: &'static str,
) -> Result<(u16, String)> {
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Full::new(body.into()))?;
    let response = HttpClient::connect(address).await?.send(request).await?;
    let text = String::from_utf8_lossy(response.body()).into_owned();
    Ok((response.status().as_u16(), text))
}

/// One host with providers inside, and a server.
async fn lattice() -> Result<Lattice> {
    let mut lattice = Lattice::start(1).await?;
    lattice.inside = true;
    lattice
        .provide(0, "http", "http-server-provider", &[])
        .await?;
    Ok(lattice)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_with_older_http_count() -> Result<()> {
    let folder = TempDir::new()?;
    // Not 0.2.0: the library of Rust imports `wasi:io` in that version already, and no name may be there twice.
    for (id, version) in [("first", "@0.2.1"), ("second", "@0.2.2")] {
        let counter = in_version("http-keyvalue-counter", version, folder.path())?;
        // Each in a lattice of its own, as the server has one link of that name.
        let lattice = lattice().await?;
        lattice
            .provide(0, "kv", "keyvalue-nats-provider", &[])
            .await?;
        lattice.scale(0, id, &counter, 10).await?;
        let interfaces = "wasi:keyvalue/store,atomics";
        lattice.link(id, "kv", interfaces, &[], &[]).await?;
        let address = served(&lattice, id).await?;
        let path = format!("/{id}");
        let text = lattice.until_status(&address, &path, 200).await?;
        ensure!(text == format!("Counter /{id}: 1\n"), "{version}: {text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_with_older_http_are_kept_and_requests_are_logged() -> Result<()> {
    let (lattice, folder) = (lattice().await?, TempDir::new()?);
    let blobs = in_version("world-blobs", "@0.2.1", folder.path())?;
    lattice.scale(0, "blobs", &blobs, 10).await?;
    lattice
        .provide(0, "store", "blobstore-fs-provider", &[])
        .await?;
    let root = json!({ "root": folder.path().join("root") });
    lattice.config("folder", root).await?;
    let interfaces = "wasi:blobstore/blobstore,container,types";
    lattice
        .link("blobs", "store", interfaces, &[], &["folder"])
        .await?;
    let address = served(&lattice, "blobs").await?;
    lattice.until_status(&address, "/note.txt", 404).await?;
    let (status, text) = send(&address, "PUT", "/note.txt", "kept").await?;
    ensure!(status == 201, "{status}: {text}");
    let got = send(&address, "GET", "/note.txt", "").await?;
    ensure!(got == (200, "kept".to_owned()), "{got:?}");
    let (status, text) = send(&address, "DELETE", "/note.txt", "").await?;
    ensure!(status == 200, "{status}: {text}");
    lattice.until_status(&address, "/note.txt", 404).await?;
    until(async || match lattice.hosts[0].log() {
        log if log.contains("asked for note.txt") => Ok(()),
        log => bail!("the host has not written what the component logs:\n{log}"),
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_answered_and_logged() -> Result<()> {
    let lattice = lattice().await?;
    lattice.run(0, "echo", "world-echo", 10).await?;
    lattice
        .provide(0, "messages", "messaging-nats-provider", &[])
        .await?;
    let subjects = json!({ "subscriptions": "worlds.echo" });
    lattice.config("subjects", subjects).await?;
    let [consumer, handler] = ["consumer", "handler"].map(|it| format!("wasmcloud:messaging/{it}"));
    lattice
        .link("echo", "messages", &consumer, &[], &[])
        .await?;
    lattice
        .link("messages", "echo", &handler, &["subjects"], &[])
        .await?;
    lattice.until_ready(2).await?;
    let answer = until(async || {
        let ask = lattice.client.request("worlds.echo", "hello".into());
        Ok(timeout(STEP, ask).await??.payload)
    })
    .await?;
    ensure!(answer == "hello", "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_made_by_wash_call() -> Result<()> {
    let database = Service::start(Kind::Postgres).await?;
    let (lattice, home) = (lattice().await?, TempDir::new()?);
    lattice.run(0, "query", "world-query", 10).await?;
    lattice
        .provide(0, "sql", "sqldb-postgres-provider", &[])
        .await?;
    // As a config of 1.x says it.
    let config = json!({
        "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": database.port().to_string(),
        "POSTGRES_USERNAME": "lattice", "POSTGRES_PASSWORD": "lattice",
        "POSTGRES_DATABASE": "lattice", "POSTGRES_TLS_REQUIRED": "false",
    });
    lattice.config("database", config).await?;
    lattice
        .link(
            "query",
            "sql",
            "wasmcloud:postgres/query",
            &[],
            &["database"],
        )
        .await?;
    lattice.until_ready(1).await?;
    for id in 1..3 {
        let told = called(&lattice, &home).await?;
        let wanted = format!("id: {id}, guest: Ada, came: a moment");
        ensure!(told["result"] == wanted.as_str(), "{told}");
    }
    Ok(())
}

/// What `wash call` tells of the query, as a user would type it.
async fn called(lattice: &Lattice, home: &TempDir) -> Result<Value> {
    let port = lattice.nats.port.to_string();
    let mut wash = Command::new(program("wash")?);
    wash.args(["call", "query", "wasmcloud:examples/invoke.call"])
        .args(["-o", "json", "-t", "20000", "--rpc-port", &port])
        .env("HOME", home.path())
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CONFIG_HOME")
        .current_dir(home.path())
        .kill_on_drop(true);
    let output = timeout(STEP, wash.output())
        .await
        .context("wash does not end")??;
    ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}
